"""Networks that learn against each other, with their losses and optimisers."""
