"""What a segmentation is of and by whom: the structures of its values, and the model that made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from napari_uda.core.structure_colours import structure_colour
from napari_uda.core.version import __version__

PROGRAM = "napari_uda"


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
class Provenance:
    """Who made a segmentation, and of what.

    Attributes:
        case: name of the case.
        structures: in order of their values.
        model: name of the run.
        weights_sha256: checksum of its weights file; "" where it is unknown.
        adapted_by: the method that fitted the weights to the image before, or "".
    """

    case: str
    structures: tuple[Structure, ...]
    model: str
    weights_sha256: str = ""
    adapted_by: str = ""

    @classmethod
    def of(
        cls,
        case: str,
        names: Mapping[int, str],
        model: str,
        weights_sha256: str = "",
        adapted_by: str = "",
    ) -> Self:
        """From the names of label values; colours are those of every layer and picture."""
        structures = tuple(
            Structure(value, names[value], structure_colour(names[value], value))
            for value in sorted(names)
        )
        return cls(case, structures, model, weights_sha256, adapted_by)

    @property
    def program(self) -> str:
        """Name and version of this program."""
        return f"{PROGRAM} {__version__}"

    def described_model(self) -> str:
        """Model, adaptation and checksum in one line."""
        parts = [f"model {self.model}"]
        parts += [f"adapted by {self.adapted_by}"] if self.adapted_by else []
        parts += [f"weights sha256 {self.weights_sha256}"] if self.weights_sha256 else []
        return ", ".join(parts)
