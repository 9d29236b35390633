"""Units of length: what a file says its numbers are, in millimetres, which everything here is in."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from napari_uda.core.errors import InputError
from napari_uda.data.grid import Affine, is_usual_spacing, numbers_text, spacing_mm

_MILLIMETRES = {
    "nm": 1e-6, "nanometer": 1e-6, "nanometre": 1e-6,
    "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "micron": 1e-3, "micrometer": 1e-3, "micrometre": 1e-3,
    "mm": 1.0, "millimeter": 1.0, "millimetre": 1.0,
    "cm": 10.0, "centimeter": 10.0, "centimetre": 10.0,
    "m": 1000.0, "meter": 1000.0, "metre": 1000.0,
}  # fmt: skip
_NOT_SAID = {"", "?", "??", "???", "none", "unknown"}
_NIFTI_UNITS = {1: "m", 2: "mm", 3: "µm"}
"""Codes of `xyzt_units`; everything else says nothing."""
_HEADER_BYTES = 2**16
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')

_logger = logging.getLogger(__name__)


def in_millimetres(affine: Affine, unit: str, name: str, field: str) -> Affine:
    """An affine whose lengths are given in a unit, in millimetres.

    Args:
        affine: as the file says it.
        unit: of its lengths; "" where the file does not say any.
        name: the file, for messages.
        field: of the header that names the unit, for messages.

    Raises:
        InputError: lengths that cannot be meant in this unit.
    """
    factor = _MILLIMETRES.get(_plain(unit))
    if factor is None:
        if unit.strip().lower() not in _NOT_SAID:
            _logger.warning(
                "%s: its unit of length %r (%s) is unknown here, so its lengths are taken for millimetres",
                name, unit, field,
            )  # fmt: skip
        return affine
    if factor == 1:
        return affine
    scaled = affine.copy()
    scaled[:3] *= factor
    spacing = spacing_mm(scaled)
    if not is_usual_spacing(spacing) and is_usual_spacing(spacing_mm(affine)):
        raise InputError(
            f"{name}: its header gives lengths in {unit} ({field}), which makes its spacing (z, y, x) "
            f"{numbers_text(spacing)} mm; correct the unit if {numbers_text(spacing_mm(affine))} are millimetres"
        )
    return scaled


def millimetres_of(unit: str) -> float:
    """How long a unit is that `in_millimetres` knows; 1 for any other."""
    return _MILLIMETRES.get(_plain(unit), 1.0)


def nifti_unit(xyzt_units: int) -> str:
    """Unit of length of a NIfTI header; "" when it says none."""
    return _NIFTI_UNITS.get(xyzt_units & 7, "")


def unit_of_header(path: Path, name: str) -> tuple[str, str]:
    """Unit of length in the text header of a NRRD or MetaImage file, which ITK does not apply.

    Args:
        path: `.nrrd`, `.nhdr`, `.mha` or `.mhd`.
        name: the file, for messages.

    Returns:
        The unit, "" when there is none; and the field that names it.

    Raises:
        InputError: axes in different units.
    """
    with path.open("rb") as file:
        content = file.read(_HEADER_BYTES)
    is_nrrd = path.name.lower().endswith((".nrrd", ".nhdr"))
    for field in ("space units", "units") if is_nrrd else ("DistanceUnits",):
        text = _field(content, field, is_nrrd)
        units = _QUOTED.findall(text) if is_nrrd else [text]
        said = list(dict.fromkeys(unit for unit in units if unit.strip().lower() not in _NOT_SAID))
        if len({_MILLIMETRES.get(_plain(unit), unit) for unit in said}) > 1:
            raise InputError(
                f"{name}: its axes are in different units ({', '.join(said)} in {field}); save it in millimetres"
            )
        if said:
            return said[0], field
    return "", ""


def _field(content: bytes, field: str, is_nrrd: bool) -> str:
    """Value of a field of a text header, "" without it."""
    for line in content.splitlines():
        if is_nrrd and not line.strip():
            break  # the voxels follow
        key, _, value = line.partition(b":" if is_nrrd else b"=")
        if not is_nrrd and not value:
            key, _, value = line.partition(b":")
        if key.strip().lower() == field.lower().encode():
            return _decoded(value).strip()
        if key.strip() == b"ElementDataFile":
            break
    return ""


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _plain(unit: str) -> str:
    """A unit in the form the table has it in: `Millimeters` as `millimeter`."""
    word = unit.strip().lower()
    return word[:-1] if len(word) > 2 and word.endswith("s") else word
