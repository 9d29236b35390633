"""The command line: `napari-uda COMMAND ...`, also as `python -m napari_uda`."""

from napari_uda.cli.dispatch import main

__all__ = ["main"]
