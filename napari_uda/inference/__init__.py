"""From a run and a volume to labels, entropy and reliability."""
