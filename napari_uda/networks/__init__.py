"""Segmentors and discriminators."""
