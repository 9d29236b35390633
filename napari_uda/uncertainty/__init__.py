"""Where a prediction is not to be trusted."""
