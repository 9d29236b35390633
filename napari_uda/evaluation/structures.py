"""One structure of one case: cut out of both label maps, scored in 3-D and slice by slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_uda.data.grid import Lattice
from napari_uda.data.slice_position import slice_names
from napari_uda.evaluation.inputs import Pair
from napari_uda.evaluation.overlap import (
    NOWHERE,
    Box,
    Labels,
    Mask,
    SliceCounts,
    dice_from_counts,
    label_boxes,
    slice_counts,
)
from napari_uda.evaluation.protocols import METRICS, Protocol, State
from napari_uda.evaluation.scores import Row
from napari_uda.evaluation.surface import SurfaceDistances, Surfaces

AXES = ("z", "y", "x")
"""Names of the array axes."""
_VOXEL = (1.0, 1.0, 1.0)


@dataclass(frozen=True, eq=False)
class Structure:
    """One structure of a case: its crop of both label maps, empty where neither has it."""

    label: int
    name: str
    box: Box
    prediction: Mask
    reference: Mask

    def counts(self, axis: int, length: int) -> SliceCounts:
        """Voxels in each of the volume's `length` slices along `axis`."""
        return slice_counts(self.prediction, self.reference, axis, self.box[axis].start, length)

    def surfaces(self, rules: Protocol, slice_axis: int | None = None) -> Surfaces:
        """Border voxels in 3-D, or those of every slice along `slice_axis`."""
        return Surfaces.of(self.prediction, self.reference, slice_axis, rules.connectivity)


def find_structures(
    prediction: Labels, reference: Labels, names: Mapping[int, str]
) -> list[Structure]:
    """Cut every structure out of both maps.

    Args:
        prediction: `(Z, Y, X)`.
        reference: `(Z, Y, X)`.
        names: label to name; a label that occurs without a name is called `label_<value>`.

    Returns:
        One per label in `names` or either map, in order of the label.
    """
    boxes = label_boxes(prediction, reference)
    structures = []
    for label in sorted(boxes.keys() | names.keys()):
        box = boxes.get(label, NOWHERE)
        name = names.get(label, f"label_{label}")
        structures.append(
            Structure(label, name, box, prediction[box] == label, reference[box] == label)
        )
    return structures


def score_structure(
    structure: Structure, pair: Pair, rules: Protocol, axis: int
) -> tuple[Row, list[Row]]:
    """Score one structure of a case.

    Args:
        structure: the structure.
        pair: the case.
        rules: the protocol.
        axis: the axis of the slices, for protocols that score slices.

    Returns:
        Its row of scores.csv, and the rows the summary averages: that row, or one per slice.
    """
    counts = structure.counts(axis, pair.reference.shape[axis])
    predicted, referenced, _ = counts.total()
    head: Row = {
        "case": pair.case,
        "label": structure.label,
        "name": structure.name,
        "state": _state(predicted, referenced),
    }
    millilitres = pair.lattice.voxel_ml
    tail: Row = {
        "volume_prediction_ml": predicted * millilitres,
        "volume_reference_ml": referenced * millilitres,
    }
    if rules.scope == "volume":
        row: Row = {**head, **_volume_metrics(structure, pair, rules, counts), **tail}
        return row, [row]
    parts = _slice_metrics(structure, pair, rules, axis, counts)
    means = {column: _defined_mean([part[column] for part in parts]) for column in METRICS}
    states = map(_state, counts.prediction.tolist(), counts.reference.tolist())
    samples: list[Row] = [
        {**head, "state": state, **part} for state, part in zip(states, parts, strict=True)
    ]
    return {**head, **means, **tail}, samples


def _volume_metrics(
    structure: Structure, pair: Pair, rules: Protocol, counts: SliceCounts
) -> dict[str, float]:
    surfaces = structure.surfaces(rules)
    millimetres, voxels = _distances(surfaces, pair.lattice)
    totals = counts.total()
    return _metrics(
        float(dice_from_counts(*totals, rules.dice_smoothing)),
        millimetres,
        voxels,
        rules,
        structure.name,
        _state(totals[0], totals[1]),
        _diagonals(pair.reference.shape, pair.lattice),
    )


def _slice_metrics(
    structure: Structure, pair: Pair, rules: Protocol, axis: int, counts: SliceCounts
) -> list[dict[str, float]]:
    """Every metric of every slice, measured in 2-D."""
    length = pair.reference.shape[axis]
    surfaces = structure.surfaces(rules, axis)
    start = structure.box[axis].start
    millimetres, voxels = (
        surfaces.by_slice(distances, start, length)
        for distances in _distances(surfaces, pair.lattice)
    )
    plane = [size for other, size in enumerate(pair.reference.shape) if other != axis]
    diagonals = _diagonals(plane, pair.lattice.slice_across(axis))
    dice = counts.dice(rules.dice_smoothing)
    return [
        _metrics(
            float(dice[index]),
            millimetres[index],
            voxels[index],
            rules,
            structure.name,
            _state(int(counts.prediction[index]), int(counts.reference[index])),
            diagonals,
        )
        for index in range(length)
    ]


def _metrics(
    dice: float,
    millimetres: SurfaceDistances,
    voxels: SurfaceDistances,
    rules: Protocol,
    name: str,
    state: State,
    diagonals: tuple[float, float],
) -> dict[str, float]:
    """The score columns of one structure in one volume or slice, the empty policy applied."""
    values = {"dice": dice, "nsd": millimetres.nsd(rules.tolerance_mm(name))}
    units = (("mm", millimetres, diagonals[0]), ("voxel", voxels, diagonals[1]))
    for unit, distances, diagonal in units:
        values[f"assd_{unit}"] = _assd(distances, rules)
        values[f"masd_{unit}"] = distances.masd()
        values[f"hd95_{unit}"] = distances.hd95(rules.hd95_rule)
        if state in ("missed", "invented"):
            for kind in ("assd", "masd", "hd95"):
                column = f"{kind}_{unit}"
                values[column] = rules.empty_distance(column, diagonal)
    return {column: values[column] for column in METRICS}


def score_slices(
    structure: Structure, pair: Pair, rules: Protocol, axis: int, first: int = 0
) -> list[Row]:
    """Score one structure of a case slice by slice.

    Args:
        structure: the structure.
        pair: the case.
        rules: the protocol.
        axis: the axis of the slices.
        first: number of the first slice, when the pair holds only part of the volume.

    Returns:
        Its rows of slices.csv, one per slice.
    """
    length = pair.reference.shape[axis]
    counts = structure.counts(axis, length)
    surfaces = structure.surfaces(rules, axis)
    distances = surfaces.by_slice(
        surfaces.distances(pair.lattice), structure.box[axis].start, length
    )
    dice = counts.dice(rules.dice_smoothing).tolist()
    area = pair.lattice.slice_across(axis).cell
    entropy = _slice_entropy(structure, pair, axis, counts).tolist()
    position, step = _position(pair, axis)
    words = _slice_names(pair, axis, range(first, first + length))
    return [
        {
            "case": pair.case,
            "axis": AXES[axis],
            "slice": first + index,
            "position_mm": position + step * (first + index),
            "label": structure.label,
            "name": structure.name,
            "dice": dice[index],
            "assd_mm": _assd(distances[index], rules),
            "area_prediction_mm2": int(counts.prediction[index]) * area,
            "area_reference_mm2": int(counts.reference[index]) * area,
            "mean_entropy": entropy[index],
            "slice_name": words[index],
        }
        for index in range(length)
    ]


def _slice_entropy(
    structure: Structure, pair: Pair, axis: int, counts: SliceCounts
) -> NDArray[np.float64]:
    """`(N,)` mean entropy over the pixels of prediction or reference; NaN without any."""
    result = np.full(counts.both.size, np.nan)
    if pair.entropy is None:
        return result
    union = structure.prediction | structure.reference
    others = tuple(other for other in range(3) if other != axis)
    inside = np.where(union, pair.entropy[structure.box], 0)
    window = structure.box[axis]
    size = (counts.prediction + counts.reference - counts.both)[window]
    np.divide(inside.sum(axis=others, dtype=np.float64), size, out=result[window], where=size > 0)
    return result


def _position(pair: Pair, axis: int) -> tuple[float, float]:
    """Position of slice 0 along the slices' normal and the distance between slices, millimetres.

    The normal points to the patient's right, front or head, whichever it is closest to; for an
    axis-aligned volume the position is the slice's coordinate in the scanner's space.
    """
    if pair.affine is None:
        return 0.0, pair.spacing_mm[axis]
    columns = pair.affine[:3, :3].T[::-1]  # steps along z, y, x
    first, second = (columns[other] for other in range(3) if other != axis)
    normal = np.cross(first, second)
    normal /= np.linalg.norm(normal)
    normal *= np.sign(normal[np.argmax(np.abs(normal))])
    return float(normal @ pair.affine[:3, 3]), float(normal @ columns[axis])


def _slice_names(pair: Pair, axis: int, indices: Sequence[int]) -> list[str]:
    """What the docks call these slices; those of bare arrays by the array's axis."""
    if pair.affine is not None:
        shape = pair.reference.shape[::-1]  # the affine takes indices (x, y, z)
        return slice_names(pair.affine, shape, 2 - axis, indices)
    step = pair.spacing_mm[axis]
    return [f"slice {index} along {AXES[axis]}, {index * step:.1f} mm" for index in indices]


def _distances(surfaces: Surfaces, lattice: Lattice) -> tuple[SurfaceDistances, SurfaceDistances]:
    """Distances in millimetres and in voxels; one search when voxels are cubes."""
    voxels = surfaces.distances(_VOXEL)
    side = lattice.spacing_mm[0]
    if lattice == Lattice.right_angled((side, side, side)):
        return SurfaceDistances(voxels.forward * side, voxels.backward * side), voxels
    return surfaces.distances(lattice), voxels


def _assd(distances: SurfaceDistances, rules: Protocol) -> float:
    return distances.assd() if rules.assd_rule == "pooled" else distances.directed()


def _diagonals(shape: Sequence[int], lattice: Lattice) -> tuple[float, float]:
    """Diagonal of the volume or slice in millimetres and in voxels, outer edge to outer edge."""
    return lattice.diagonal_mm(shape), float(np.linalg.norm(np.array(shape, np.float64)))


def _state(predicted: int, referenced: int) -> State:
    if predicted and referenced:
        return "both"
    if referenced:
        return "missed"
    return "invented" if predicted else "absent"


def _defined_mean(values: Sequence[float]) -> float:
    defined = [value for value in values if np.isfinite(value)]
    return float(np.mean(defined)) if defined else float("nan")
