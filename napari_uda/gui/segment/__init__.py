"""The Segment dock: a model, volumes, and what to look at in the result."""
