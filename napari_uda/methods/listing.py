"""What every method says of itself where methods are listed, known without importing torch.

The rows of the methods of this folder lie in `listing.csv`, where `make readme` writes them. Where another
package brings methods, or this folder has a module that the file does not know, the methods are asked
themselves, which imports torch.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_uda.core.csv_text import csv_text, read_csv

if TYPE_CHECKING:
    from napari_uda.methods.base import Method

FILE = Path(__file__).with_name("listing.csv")
GROUP = "napari_uda.methods"
"""Entry points of the packages that bring methods."""
NO_METHODS = ("base", "listing", "registry")
"""Modules of this folder that define no method."""
_COLUMNS = ("name", "family", "paper", "summary", "needs")


def list_methods() -> list[dict[str, str]]:
    """Name, family, paper, summary and needs (data, a run to start from) of every method."""
    rows = read_csv(FILE.read_text(encoding="utf-8"))
    if entry_points(group=GROUP) or {row["module"] for row in rows} != set(own_modules()):
        rows = _asked()
    return [{column: row[column] for column in _COLUMNS} for row in rows]


def own_modules() -> list[str]:
    """Names of the modules of this folder that define methods."""
    found = pkgutil.iter_modules([str(FILE.parent)])
    return sorted(info.name for info in found if info.name not in NO_METHODS)


def kept_listing() -> str:
    """What `listing.csv` has to hold: the methods of this folder, each with its module."""
    from napari_uda.methods.registry import METHODS

    rows = [row for row in _asked() if not METHODS.package(row["name"])]
    columns = ("module", *_COLUMNS)
    return csv_text(columns, [[row[column] for column in columns] for row in rows])


def _asked() -> list[dict[str, str]]:
    """The rows of all methods, from their classes."""
    from napari_uda.methods.registry import METHODS

    return [
        {
            "module": kind.__module__.rpartition(".")[2],
            "name": name,
            "family": kind.family,
            "paper": kind.paper,
            "summary": kind.summary,
            "needs": "; ".join(
                [
                    _needs(kind, {}),
                    *(
                        f"with {variant}: {_needs(kind, part)}"
                        for variant, part in kind.variants.items()
                        if _needs(kind, part) != _needs(kind, {})
                    ),
                ]
            ),
        }
        for name, kind in METHODS.items()
    ]


def _needs(kind: type[Method[Any]], settings: Mapping[str, Any]) -> str:
    """What a method needs with some settings, in words."""
    config = kind.config_class.model_validate(settings)
    data = [need.replace("_", " ") for need in sorted(kind.needs_with(config))]
    return ", ".join(data + ["a trained run"] * kind.needs_start_with(config))
