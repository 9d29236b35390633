"""The Score dock: predictions against a reference, and their correction."""
