"""Volumes, data folders, slices, augmentation and phantoms."""
