"""What can be scored: predictions, volumes, files and arrays become a pair of label maps on one grid."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from napari_uda.core.errors import InputError
from napari_uda.core.files import case_name, is_file, shown
from napari_uda.core.small_files import read_json, read_object
from napari_uda.data.entropy_steps import in_unit_range
from napari_uda.data.folder import MOST_DATASET_BYTES
from napari_uda.data.grid import Lattice
from napari_uda.data.labels import LARGEST, check_labels, small_labels, to_labels
from napari_uda.data.segments import small_values
from napari_uda.evaluation.overlap import Labels

if TYPE_CHECKING:
    from napari_uda.data.volume import Placement, Volume

_logger = logging.getLogger(__name__)

_MOST_NAMED = 5
_SPACING_TOLERANCE_MM = 1e-3


@runtime_checkable
class PredictionLike(Protocol):
    """What a `Prediction` offers to be scored."""

    @property
    def labels(self) -> Labels:
        """Labels `(Z, Y, X)`."""

    @property
    def entropy(self) -> NDArray[np.float32] | NDArray[np.uint8]:
        """Normalised entropy `(Z, Y, X)`, float32 in [0, 1] or uint8 in steps of 1/255."""

    @property
    def names(self) -> dict[int, str]:
        """Value to name."""

    @property
    def volume(self) -> Volume:
        """The image that was segmented; its grid is the grid of the labels."""

    @property
    def case(self) -> str:
        """Name of the case."""


_Reader: TypeAlias = "Callable[[Scorable, str, Volume | None], _Side]"
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
    placement: Placement = "auto",
) -> Pair:
    """Bring both sides to label maps and check that they lie on one grid.

    Args:
        prediction: a `Prediction`, `Volume`, file or `(Z, Y, X)` array.
        reference: the same kinds; a DICOM SEG, RTSTRUCT or `.seg.nrrd` is put on the grid of the prediction,
            and its structures are matched by name.
        spacing_mm: voxel size (z, y, x); needed for two arrays, for the others it must agree.
        names: label to structure name; default those of the prediction, then of the `dataset.json` beside
            the reference's folder, then of the reference. Labels above 255 become small numbers.
        case: name of the case; default that of the prediction or of the reference's file.
        entropy: `(Z, Y, X)`; default that of the prediction.
        placement: which of sform and qform is trusted in NIfTI files that have both.

    Raises:
        InputError: different grids (the numbers are given), no voxel size, or unreadable input.
    """
    stored = _stored_names(names, prediction, reference)
    known = bool(stored) or names is not None
    sides = _read_sides(
        prediction, reference, placement, partial(_read_side, stored, known, placement)
    )
    segmented = prediction.case if isinstance(prediction, PredictionLike) else ""
    case = case or segmented or sides[1].case or sides[0].case
    notes: list[str] = []
    grid, expected = _common_grid(*sides, case, notes)
    spacing = _spacing(spacing_mm, grid, case)
    entropy = sides[0].entropy if entropy is None else entropy
    if entropy is not None and entropy.shape != expected.shape:
        raise InputError(
            f"{_of(case)}the entropy map has shape {entropy.shape} and the labels {expected.shape};"
            " give the entropy on the grid of the labels"
        )
    found: Mapping[int, str] = sides[0].names or sides[1].names
    if stored:
        found = {value: name for name, value in small_values(stored).items()}
    elif names is not None:
        found = names
    if found is sides[1].names and found and not sides[0].names:
        _say_whose_numbers(reference, found, notes)
    for note in notes:
        _logger.warning("%s", note)
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

    Values above 255 have become small ones, as in `stored_values`.

    Raises:
        InputError: if the file is not JSON or a label has no whole number.
    """
    small = small_values(stored_values(dataset_json))
    return dict(sorted((value, name) for name, value in small.items()))


def predicted_names(about: Mapping[str, object]) -> dict[int, str]:
    """Label value to name, as `predict` wrote them into `<case>.json`; empty where it did not."""
    listed = about.get("structures")
    found = {}
    for one in listed if isinstance(listed, list) else []:
        if isinstance(one, dict) and isinstance(one.get("value"), int):
            found[one["value"]] = str(one.get("name") or f"label_{one['value']}")
    return found


def result_stem(prediction: Path) -> str:
    """What the names of all files of a result begin with: that of its labels without what says so."""
    return case_name(prediction).removesuffix("_labels").removesuffix("_rtstruct")


def names_beside(prediction: Path) -> dict[int, str]:
    """Label value to name from the `<case>.json` beside a predicted label map; empty where `predict` wrote none.

    Segmentations that name their structures themselves have no use for it, and are read by those names.
    """
    if _stores_a_part(prediction):
        return {}
    about = read_object(prediction.with_name(f"{result_stem(prediction)}.json"))
    return predicted_names(about or {})


def stored_values_above(labels: Path) -> dict[str, int]:
    """`stored_values` of the `dataset.json` beside a folder of label maps, else in it; patients lie beside theirs."""
    folders = labels.resolve().parent, labels
    found = (stored_values(folder / "dataset.json") for folder in folders)
    return next((values for values in found if values), {})


def stored_values(dataset_json: Path) -> dict[str, int]:
    """Structure name to value in the files from a `dataset.json`; empty when there is no such file.

    Both orders are read, name to value and value to name (nnU-Net 2 and 1); background and
    entries that join several labels are left out.

    Raises:
        InputError: if the file is not JSON or a label has no whole number.
    """
    if not dataset_json.exists():
        return {}
    content = read_json(dataset_json, most_bytes=MOST_DATASET_BYTES)
    try:
        labels = content.get("labels", {})
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
    return {name: value for value, name in sorted(names.items()) if value > 0}


def _stored_names(
    names: Mapping[int, str] | None, prediction: Scorable, reference: Scorable
) -> dict[str, int]:
    """Structure name to value in files and arrays, {} where nobody names them, or two by one name."""
    if names is None and isinstance(prediction, PredictionLike):
        names = prediction.names or None
    if names is not None:
        _check_names(names)
        stored = {str(name): int(value) for value, name in names.items() if int(value) != 0}
        return stored if len(stored) == len({int(value) for value in names} - {0}) else {}
    for side in (prediction, reference):
        if isinstance(side, (str, os.PathLike)):
            beside = stored_values(Path(side).parent.parent / "dataset.json")
            if beside:
                return beside
    return _names_of_masks(prediction, reference)


def _names_of_masks(prediction: Scorable, reference: Scorable) -> dict[str, int]:
    """Numbers for masks, which have none, by the names of both sides; {} where neither side is masks.

    Raises:
        InputError: the other side has no names.
    """
    from napari_uda.data.segmentation import (  # readers are slow to import
        found_structures,
        kind_of,
        nameless,
        structures_in,
    )

    sides = [Path(one) for one in (prediction, reference) if isinstance(one, (str, os.PathLike))]
    masks = [side for side in sides if kind_of(side) == "masks"]
    if masks and len(sides) == 1:
        raise nameless((one.name for one in structures_in(masks[0])), "labels of the other side")
    return found_structures(sides, renumber=True) if masks else {}


def _check_names(names: Mapping[int, str]) -> None:
    for value in names:
        if not isinstance(value, (int, np.integer)):
            raise InputError(
                f"names are given by label, such as {{1: 'liver'}}, and {value!r} is no label; turn them round"
            )


def _read_sides(
    prediction: Scorable, reference: Scorable, placement: Placement, read: _Reader
) -> tuple[_Side, _Side]:
    """Both sides; where one stores less than a whole grid, on that of the other one."""
    beside = _grid_beside(prediction, placement)
    if beside is not None:
        first = read(prediction, "prediction", beside)
        return first, read(reference, "reference", first.grid)
    if not _stores_a_part(prediction):
        first = read(prediction, "prediction", None)
        return first, read(reference, "reference", first.grid)
    second = None
    if not _stores_a_part(reference) or _is_contours(prediction):
        second = read(reference, "reference", None)
    first = read(prediction, "prediction", None if second is None else second.grid)
    if second is not None:
        return first, second
    from napari_uda.data.whole_voxels import on_common_grid  # readers are slow to import

    if _is_contours(reference):
        return first, read(reference, "reference", first.grid)
    second = read(reference, "reference", None)
    if first.grid is None or second.grid is None:
        return first, second
    grids = on_common_grid(first.grid, second.grid, partial(_logger.warning, "%s"))
    return (
        replace(first, grid=grids[0], array=grids[0].array),
        replace(second, grid=grids[1], array=grids[1].array),
    )


def _grid_beside(prediction: Scorable, placement: Placement) -> Volume | None:
    """The grid of predicted contours, that of a map beside them, which `predict` writes; None without one."""
    if not isinstance(prediction, (str, os.PathLike)) or not _is_contours(prediction):
        return None
    from napari_uda.data.volume import read_volume  # readers are slow to import

    path = Path(prediction)
    stem = result_stem(path)
    for role in ("reliability", "entropy"):
        beside = path.with_name(f"{stem}_{role}.nii.gz")
        if is_file(beside):
            return read_volume(beside, placement=placement)
    return None


def _stores_a_part(source: Scorable) -> bool:
    if not isinstance(source, (str, os.PathLike)):
        return False
    from napari_uda.data.segmentation import needs_image  # readers are slow to import

    return needs_image(Path(source))


def _is_contours(source: Scorable) -> bool:
    if not isinstance(source, (str, os.PathLike)):
        return False
    from napari_uda.data.segmentation import kind_of  # readers are slow to import

    return kind_of(Path(source)) == "rtstruct"


def _read_side(
    stored: dict[str, int],
    known: bool,
    placement: Placement,
    source: Scorable,
    what: str,
    grid: Volume | None,
) -> _Side:
    """One side; where the names are known, nobody looks for those of a file, which is slow in a large folder."""
    numbered = what == "prediction"
    if isinstance(source, np.ndarray):
        if source.ndim != 3:
            raise InputError(
                f"{what}: shape {source.shape} is not a volume; give a (Z, Y, X) array, a single slice"
                " as (1, Y, X)"
            )
        return _Side(_small(source, what, 0.0, stored, numbered), None, "", {}, None)
    if isinstance(source, PredictionLike):
        if source.labels.shape != source.volume.array.shape:
            raise InputError(
                f"{what}: labels of shape {source.labels.shape} do not lie on the grid of their volume,"
                f" {source.volume.array.shape}; give the prediction on the grid of its image"
            )
        entropy = in_unit_range(source.entropy)
        return _Side(source.labels, source.volume, source.case, source.names, entropy)
    if isinstance(source, (str, os.PathLike)):
        from napari_uda.data.segmentation import (  # readers are slow to import
            read_label_volume,
            read_segmentation,
        )

        own: dict[int, str] = {}
        if known:
            volume = read_label_volume(source, grid, stored, placement, numbered=numbered)
        else:
            found = read_segmentation(source, grid=grid, placement=placement, numbered=numbered)
            volume, own = found.labels, found.names
        return _Side(volume.array, volume, volume.name.removesuffix("_labels"), own, None)
    from napari_uda.data.volume import Volume  # readers are slow to import

    if not isinstance(source, Volume):
        raise InputError(
            f"{what}: is a {type(source).__name__}; give a Prediction, a Volume, a file or a numpy array (Z, Y, X)"
        )
    array = _small(source.array, what, source.value_step, stored, numbered)
    return _Side(array, source, source.name.removesuffix("_labels"), {}, None)


def _small(
    array: NDArray[np.generic], what: str, step: float, stored: dict[str, int], numbered: bool
) -> NDArray[np.generic]:
    """Values of an array that are named above 255 as small ones; what is no label is told later."""
    if array.dtype.kind in "iuf" and any(value > LARGEST for value in stored.values()):
        return small_labels(array, what, step, stored, small_values(stored), numbered=numbered)
    return check_labels(array, what, step) if step else array


def _say_whose_numbers(reference: Scorable, names: Mapping[int, str], notes: list[str]) -> None:
    """Values of a prediction and those of a named segmentation need not mean the same."""
    if isinstance(reference, (str, os.PathLike)) and _stores_a_part(reference):
        listed = ", ".join(f"{value} {name}" for value, name in sorted(names.items())[:_MOST_NAMED])
        notes.append(
            f"{shown(reference)} numbers its structures itself ({listed}); give names where the prediction's values "
            "mean others"
        )


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
    try:
        spacing = tuple(float(step) for step in given)
    except (TypeError, ValueError):
        raise InputError(
            f"{_of(case)}spacing_mm {given!r} is not a voxel size; give three positive millimetres (z, y, x)"
        ) from None
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
