"""The Translate dock: volumes in the look of the other domain."""
