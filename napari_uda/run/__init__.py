"""The run folder: its files, settings, recipes, weights and state."""
