"""What can be scored: predictions, volumes, files and arrays become a pair of label maps on one grid."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from napari_uda.core.errors import InputError
from napari_uda.core.files import shown
from napari_uda.data.grid import Lattice
from napari_uda.data.labels import check_labels, to_labels
from napari_uda.evaluation.overlap import Labels

if TYPE_CHECKING:
    from napari_uda.data.volume import Volume

_logger = logging.getLogger(__name__)

_MAX_LABEL = 255
_SPACING_TOLERANCE_MM = 1e-3


@runtime_checkable
class PredictionLike(Protocol):
    """What a `Prediction` offers to be scored."""

    @property
    def labels(self) -> Labels:
        """Labels `(Z, Y, X)`."""

    @property
    def entropy(self) -> NDArray[np.float32]:
        """Normalised entropy `(Z, Y, X)` in [0, 1]."""

    @property
    def names(self) -> dict[int, str]:
        """Value to name."""

    @property
    def volume(self) -> Volume:
        """The image that was segmented; its grid is the grid of the labels."""

    @property
    def case(self) -> str:
        """Name of the case."""


Scorable: TypeAlias = "PredictionLike | Volume | str | os.PathLike[str] | NDArray[np.generic]"


@dataclass(frozen=True, eq=False)
class Pair:
    """A prediction and its reference on one grid.

    Attributes:
        case: name of the case.
        prediction: `(Z, Y, X)`, any numeric dtype; `label_map` turns it into labels.
        reference: `(Z, Y, X)`, the same shape.
        spacing_mm: voxel size (z, y, x).
        affine: `(4, 4)` voxel index (x, y, z, 1) to RAS+ millimetres; None for bare arrays.
        names: label to structure name, background left out.
        entropy: `(Z, Y, X)` in [0, 1], or None.
        notes: what is worth knowing about the two grids, one sentence each.
    """

    case: str
    prediction: NDArray[np.generic]
    reference: NDArray[np.generic]
    spacing_mm: tuple[float, float, float]
    affine: NDArray[np.float64] | None
    names: dict[int, str]
    entropy: NDArray[np.floating] | None
    notes: tuple[str, ...] = ()

    @property
    def lattice(self) -> Lattice:
        """What distances, areas and volumes follow from: the affine, or else the voxel size alone."""
        if self.affine is None:
            return Lattice.right_angled(self.spacing_mm)
        return Lattice.of(self.affine)


@dataclass(frozen=True, eq=False)
class _Side:
    array: NDArray[np.generic]
    grid: Volume | None
    case: str
    names: dict[int, str]
    entropy: NDArray[np.float32] | None


def read_pair(
    prediction: Scorable,
    reference: Scorable,
    *,
    spacing_mm: Sequence[float] | None = None,
    names: Mapping[int, str] | None = None,
    case: str = "",
    entropy: NDArray[np.floating] | None = None,
) -> Pair:
    """Bring both sides to label maps and check that they lie on one grid.

    Args:
        prediction: a `Prediction`, `Volume`, file or `(Z, Y, X)` array.
        reference: the same kinds.
        spacing_mm: voxel size (z, y, x); needed for two arrays, for the others it must agree.
        names: label to structure name; default those of the prediction, then of the `dataset.json` beside
            the reference's folder.
        case: name of the case; default that of the prediction or of the reference's file.
        entropy: `(Z, Y, X)`; default that of the prediction.

    Raises:
        InputError: different grids (the numbers are given), no voxel size, or unreadable input.
    """
    sides = _read_side(prediction, "prediction"), _read_side(reference, "reference")
    segmented = prediction.case if isinstance(prediction, PredictionLike) else ""
    case = case or segmented or sides[1].case or sides[0].case
    notes: list[str] = []
    grid, expected = _common_grid(*sides, case, notes)
    for note in notes:
        _logger.warning("%s", note)
    spacing = _spacing(spacing_mm, grid, case)
    entropy = sides[0].entropy if entropy is None else entropy
    if entropy is not None and entropy.shape != expected.shape:
        raise InputError(
            f"{_of(case)}the entropy map has shape {entropy.shape} and the labels {expected.shape};"
            " give the entropy on the grid of the labels"
        )
    found = names if names is not None else sides[0].names or sides[1].names
    return Pair(
        case=case,
        prediction=sides[0].array,
        reference=expected,
        spacing_mm=spacing,
        affine=None if grid is None else grid.affine,
        names={int(value): str(name) for value, name in found.items() if int(value) != 0},
        entropy=entropy,
        notes=tuple(notes),
    )


def label_map(array: NDArray[np.generic], what: str) -> Labels:
    """The array as uint8 labels, without a copy when it is uint8 or bool.

    Args:
        array: any shape, any numeric dtype, whole numbers 0 to 255.
        what: names the array in the error.

    Raises:
        InputError: if a value is not a whole number from 0 to 255.
    """
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"{what}: holds values of type {array.dtype}, which are no labels; give whole numbers from 0 to 255"
        )
    labels, wrong = to_labels(array)
    if wrong is not None:
        raise InputError(
            f"{what}: value {wrong:g} is not a label; give whole numbers from 0 to 255"
        )
    return labels


def structure_names(dataset_json: Path) -> dict[int, str]:
    """Label to structure name from a `dataset.json`; empty when there is no such file.

    Both orders are read, name to value and value to name (nnU-Net 2 and 1); background and
    entries that join several labels are left out.

    Raises:
        InputError: if the file is not JSON or a label has no whole number.
    """
    if not dataset_json.is_file():
        return {}
    try:
        labels = json.loads(dataset_json.read_text(encoding="utf-8-sig")).get("labels", {})
        names = {}
        for key, value in labels.items():
            if isinstance(value, list):
                continue
            name, number = (value, key) if str(key).isdigit() else (key, value)
            names[int(number)] = str(name)
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{shown(dataset_json)}: its labels cannot be read ({error}); write"
            ' {"labels": {"background": 0, "liver": 1}}'
        ) from error
    return {value: name for value, name in sorted(names.items()) if 0 < value <= _MAX_LABEL}


def _read_side(source: Scorable, what: str) -> _Side:
    if isinstance(source, np.ndarray):
        if source.ndim != 3:
            raise InputError(
                f"{what}: shape {source.shape} is not a volume; give a (Z, Y, X) array, a single slice"
                " as (1, Y, X)"
            )
        return _Side(source, None, "", {}, None)
    if isinstance(source, PredictionLike):
        if source.labels.shape != source.volume.array.shape:
            raise InputError(
                f"{what}: labels of shape {source.labels.shape} do not lie on the grid of their volume,"
                f" {source.volume.array.shape}; give the prediction on the grid of its image"
            )
        return _Side(source.labels, source.volume, source.case, source.names, source.entropy)
    if isinstance(source, (str, os.PathLike)):
        from napari_uda.data.volume import read_labels  # readers are slow to import

        path = Path(source)
        volume = read_labels(path)
        names = structure_names(path.parent.parent / "dataset.json")
        return _Side(volume.array, volume, volume.name.removesuffix("_labels"), names, None)
    array = (
        check_labels(source.array, what, source.value_step) if source.value_step else source.array
    )
    return _Side(array, source, source.name.removesuffix("_labels"), {}, None)


def _common_grid(
    prediction: _Side, reference: _Side, case: str, notes: list[str]
) -> tuple[Volume | None, NDArray[np.generic]]:
    """The grid both sides share, the prediction's when both have one; and the reference on it."""
    if prediction.grid is not None and reference.grid is not None:
        from napari_uda.data.same_grid import on_grid_of

        expected = reference.grid.with_array(reference.array)
        try:
            return prediction.grid, on_grid_of(expected, prediction.grid, notes.append).array
        except InputError as error:
            raise InputError(
                f"{_of(case)}prediction and reference do not match, {error}"
            ) from error
    if prediction.array.shape != reference.array.shape:
        raise InputError(
            f"{_of(case)}the prediction has shape {prediction.array.shape} and the reference"
            f" {reference.array.shape}; resample the prediction onto the grid of the reference"
        )
    return reference.grid or prediction.grid, reference.array


def _spacing(
    given: Sequence[float] | None, grid: Volume | None, case: str
) -> tuple[float, float, float]:
    if given is None:
        if grid is None:
            raise InputError(
                f"{_of(case)}arrays carry no voxel size; give spacing_mm=(z, y, x) in millimetres"
            )
        return grid.spacing_mm
    spacing = tuple(float(step) for step in given)
    if len(spacing) != 3 or not all(np.isfinite(step) and step > 0 for step in spacing):
        raise InputError(
            f"{_of(case)}spacing_mm {spacing} is not a voxel size; give three positive millimetres"
            " (z, y, x)"
        )
    if grid is not None and not np.allclose(
        spacing,
        grid.spacing_mm,
        rtol=0,
        atol=min(_SPACING_TOLERANCE_MM, min(grid.spacing_mm) / 100),
    ):
        raise InputError(
            f"{_of(case)}spacing_mm {spacing} contradicts the volume's {grid.spacing_mm}; leave it out"
        )
    if grid is not None:
        return grid.spacing_mm
    return spacing[0], spacing[1], spacing[2]


def _of(case: str) -> str:
    return f"{case}: " if case else ""
