"""What a segmentation is of and by whom: the structures of its values, and the model that made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from napari_uda.core.structure_colours import structure_colour
from napari_uda.core.version import __version__

PROGRAM = "napari_uda"
_HASH_LETTERS = 8  # enough to tell the models of a laboratory apart


@dataclass(frozen=True)
class Structure:
    """A label value, what it stands for, and how it is drawn."""

    value: int
    name: str
    colour: str
    """`#RRGGBB`."""

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green and blue, 0 to 255."""
        red, green, blue = bytes.fromhex(self.colour[1:])
        return red, green, blue


@dataclass(frozen=True)
class ModelOrigin:
    """The trained network that made a result.

    Attributes:
        name: of its run.
        hash: SHA-256 of its weights file, as `sha256sum` gives it; "" where it is unknown.
        date: day on which its run was made, ISO 8601; "" where it is unknown.
        path: its run folder on this machine; "" where it is unknown.
        adapted_by: the method that fitted the weights to the image before, or "".
        no_change_by: the method that did so and was given up, so that the weights are the model's own, or "".
    """

    name: str
    hash: str = ""
    date: str = ""
    path: str = ""
    adapted_by: str = ""
    no_change_by: str = ""

    @classmethod
    def read(cls, entries: Mapping[str, Any]) -> Self:
        """From the entries of a layer or of `<case>.json`, which calls the hash `weights_sha256`."""
        stored = {**entries, "hash": entries.get("hash") or entries.get("weights_sha256")}
        return cls(**{field.name: str(stored.get(field.name) or "") for field in fields(cls)})

    @property
    def title(self) -> str:
        """Name, and what fitted it to the image."""
        kept = f"{self.name}, no change by {self.no_change_by}" if self.no_change_by else self.name
        return f"{self.name} adapted by {self.adapted_by}" if self.adapted_by else kept

    def __str__(self) -> str:
        """One line: `ct2mr of 2026-08-21, weights 3fa9c01b`."""
        day = f" of {self.date}" if self.date else ""
        weights = f", weights {self.hash[:_HASH_LETTERS]}" if self.hash else ""
        return f"{self.title}{day}{weights}"


@dataclass(frozen=True)
class Provenance:
    """Who made a segmentation, and of what.

    Attributes:
        case: name of the case.
        structures: in order of their values.
        origin: the model.
    """

    case: str
    structures: tuple[Structure, ...]
    origin: ModelOrigin

    @classmethod
    def of(cls, case: str, names: Mapping[int, str], origin: ModelOrigin) -> Self:
        """From the names of label values; colours are those of every layer and picture."""
        structures = tuple(
            Structure(value, names[value], structure_colour(names[value], value))
            for value in sorted(names)
        )
        return cls(case, structures, origin)

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.origin.name

    @property
    def program(self) -> str:
        """Name and version of this program."""
        return f"{PROGRAM} {__version__}"

    def described_model(self) -> str:
        """Model, adaptation and checksum in one line."""
        parts = [f"model {self.model}"]
        parts += [f"adapted by {self.origin.adapted_by}"] if self.origin.adapted_by else []
        parts += [f"weights sha256 {self.origin.hash}"] if self.origin.hash else []
        return ", ".join(parts)
