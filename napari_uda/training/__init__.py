"""Training: data loaded, the loop, what watches it, adaptation to volumes."""
