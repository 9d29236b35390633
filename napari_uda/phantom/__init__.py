"""Phantoms: made-up subjects whose anatomy a reader recognises, seen by CT and by MR."""

from __future__ import annotations

from napari_uda.phantom.generate import write_phantom
from napari_uda.phantom.scene import LABELS

__all__ = ["LABELS", "write_phantom"]
