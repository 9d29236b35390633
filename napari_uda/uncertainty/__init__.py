"""Uncertainty: where a prediction is not to be trusted."""
