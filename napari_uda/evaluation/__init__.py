"""Scores of a prediction against a reference.

The public names are imported on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_uda.evaluation.protocols import PROTOCOLS, Protocol
    from napari_uda.evaluation.report import evaluate, evaluate_folders, evaluate_slice
    from napari_uda.evaluation.scores import Scores

__all__ = ["evaluate", "evaluate_folders", "evaluate_slice", "Scores", "Protocol", "PROTOCOLS"]

_HOMES = {
    "evaluate": "report",
    "evaluate_folders": "report",
    "evaluate_slice": "report",
    "Scores": "scores",
    "Protocol": "protocols",
    "PROTOCOLS": "protocols",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
