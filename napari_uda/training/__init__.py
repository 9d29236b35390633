"""Training: reading the data, the loop, previews and validation, and adaptation to single volumes."""
