"""The two forms in which a NIfTI header says where a volume lies, kept so that results say the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from napari_uda.data.grid import Affine

_FIELDS = (
    "qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
    "sform_code", "srow_x", "srow_y", "srow_z",
)  # fmt: skip
_LENGTHS = {"qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"}


@dataclass(frozen=True, eq=False)
class NiftiForms:
    """The qform and the sform of a file, field by field, with lengths in millimetres.

    An affine does not say all of that: a file may hold both forms, a little apart or in different spaces, and
    programs differ in which one they take.
    """

    affine: Affine
    """The placement they were read as; a volume that lies elsewhere has no use for them."""
    disagree: bool
    """Whether the two place the volume differently, so that somebody had to choose."""
    fields: dict[str, Any]
    """Names of header fields and what they hold."""
    pixdim: tuple[float, ...]
    """The sign of the qform's third axis and the three spacings."""

    @classmethod
    def of(cls, header: Any, affine: Affine, millimetres: float, *, disagree: bool) -> Self:
        """The forms of a header.

        Args:
            header: of nibabel.
            affine: what it was read as, in millimetres.
            millimetres: how long the header's unit is.
            disagree: see the attribute.
        """
        fields = {
            name: np.array(header[name], np.float64) * (millimetres if name in _LENGTHS else 1)
            for name in _FIELDS
        }
        sign, *spacing = (float(value) for value in header["pixdim"][:4])
        return cls(affine, disagree, fields, (sign, *(step * millimetres for step in spacing)))

    def put(self, header: Any) -> None:
        """Let a header, in millimetres, say the same; NIfTI-1 rounds it to float32."""
        # a form that does not count may hold anything
        with np.errstate(over="ignore", invalid="ignore"):
            for name, value in self.fields.items():
                header[name] = value
            header["pixdim"][:4] = self.pixdim
