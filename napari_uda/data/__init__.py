"""Volumes, data folders, slices, their augmentation, and the batches that training draws."""
