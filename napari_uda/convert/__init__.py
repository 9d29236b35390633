"""Adapters: one module and one YAML file per public data set; `layout.LAYOUTS` finds them by scanning this folder."""

from __future__ import annotations

from napari_uda.convert.convert import convert
from napari_uda.convert.layout import LAYOUTS, layout

__all__ = ["LAYOUTS", "convert", "layout"]
