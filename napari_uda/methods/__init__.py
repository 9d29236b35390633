"""Adaptation methods, one file each; `base.METHODS` finds them by scanning this folder."""
