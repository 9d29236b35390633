"""Scores of a prediction against a reference."""
