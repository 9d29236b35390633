"""Adaptation methods, one file each; `registry.METHODS` finds them, and those of other packages."""
