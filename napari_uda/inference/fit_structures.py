"""What the structures found tell of whether a model fits an image: missing, odd in size or place, unreliable.

They are compared with the labels of the source. The factors were chosen on phantoms and held-out source images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_uda.core.scratch import each_plane
from napari_uda.data.plane import count_values
from napari_uda.data.structure_statistics import centres
from napari_uda.inference.fit_finding import Finding, Range, plain, span_text, times_outside

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_uda.data.facts import DataFacts
    from napari_uda.data.volume import Volume

USUAL = 0.9
"""Share of the training volumes that have a structure, above which it is missed where it is not found."""
VOLUME_FACTOR = 4.0
"""A structure this many times larger or smaller than any in training is doubtful; in fitting phantoms and
held-out bSSFP the worst one was 3.6 times too small."""
PLACE_DISTANCE = 4.0
"""Distance of a structure's centre from its place in training, along any axis and in standard deviations,
that is doubtful; in fitting phantoms and held-out bSSFP it went up to 2.7."""
UNRELIABLE_SHARE = 0.9
"""Share of the voxels of all structures found, above which their unreliability is doubtful; held-out
bSSFP images reach 0.83 with a network that was trained without varied intensities."""

_PLACE_FLOOR = 0.05  # of the field of view: how far a segmentation moves a centre
_SHORTEST = 64  # voxels along an axis that are enough to find a centre
_TOWARDS = (
    ("towards the head", "towards the feet"),
    ("to the front", "to the back"),
    ("to the patient's right", "to the patient's left"),
)


@dataclass(frozen=True)
class Found:
    """A predicted structure: its volume, and its centre from the middle of the image, in canonical axes."""

    volume_ml: float
    centre_mm: tuple[float, float, float]


def find_structures(
    facts: DataFacts, volume: Volume, labels: NDArray[np.uint8]
) -> dict[str, Found]:
    """Volume and centre of each structure; the centre from a few voxels along each axis."""
    canonical = volume.orientation.apply(labels)
    counts = count_values(labels, 256)
    steps = [max(1, count // _SHORTEST) for count in canonical.shape]
    few = canonical[tuple(slice(None, None, step) for step in steps)]
    _, indices = centres(few, 1 + max(int(few.max()), *facts.names()))
    middle = (np.array(canonical.shape) - 1) / 2
    places = (indices * steps - middle) * volume.canonical().spacing_mm
    voxel_ml = volume.lattice.voxel_ml
    found = {}
    for value, name in facts.names().items():
        z, y, x = (float(mm) for mm in np.nan_to_num(places[value]))
        found[name] = Found(float(counts[value]) * voxel_ml, (z, y, x))
    return found


def structure_findings(
    facts: DataFacts, volume: Volume, found: Mapping[str, Found]
) -> list[Finding]:
    """Structures that are missing or of another size than in the source's labels."""
    usual = _usual_volumes(facts, volume)
    here = {name: found[name].volume_ml for name in usual if name in found}
    missing = [name for name, millilitres in here.items() if not millilitres]
    if missing and len(missing) == len(here):
        return [Finding("none of the structures was found", grave=True)]
    findings = []
    if missing:
        findings.append(Finding(f"not found, but in the training volumes: {', '.join(missing)}"))
    odd = [
        f"{name} {plain(here[name], 3)} mL (training {span_text(usual[name])} mL)"
        for name in here
        if name not in missing
        and not 1 / VOLUME_FACTOR <= times_outside(here[name], usual[name]) <= VOLUME_FACTOR
    ]
    if odd:
        findings.append(Finding(f"structures of unusual size: {', '.join(odd)}"))
    elsewhere = _misplaced(facts, volume, found)
    if elsewhere:
        findings.append(Finding(f"structures in unusual places: {', '.join(elsewhere)}"))
    return findings


def _misplaced(facts: DataFacts, volume: Volume, found: Mapping[str, Found]) -> list[str]:
    """Structures whose centres are far from where they are in training."""
    canonical = volume.canonical()
    far = []
    for name, usual in facts.structures.items():
        here = found.get(name)
        if here is None or not here.volume_ml or usual.case_share < USUAL:
            continue
        away = np.array(here.centre_mm) - usual.centre_mm
        floor = _PLACE_FLOOR * np.array(canonical.array.shape) * canonical.spacing_mm
        distances = np.abs(away) / np.hypot(usual.centre_spread_mm, floor)
        if distances.max() > PLACE_DISTANCE:
            axis = int(distances.argmax())
            way = _TOWARDS[axis][int(away[axis] < 0)]
            far.append(f"{name} {abs(away[axis]):.3g} mm too far {way}")
    return far


def _usual_volumes(facts: DataFacts, volume: Volume) -> dict[str, Range]:
    """Volumes in millilitres of the structures that nearly every training volume has."""
    if facts.structures:
        return {
            name: one.volume_ml for name, one in facts.structures.items() if one.case_share >= USUAL
        }
    # older runs know mean areas in slices only, whose number is that of this volume
    axis = facts.grid.axis
    canonical = volume.canonical()
    height_mm = canonical.array.shape[axis] * canonical.spacing_mm[axis]
    mean = {n: one.area_mm2 * one.slice_share * height_mm / 1000 for n, one in facts.sizes.items()}
    return {n: (ml / 2, 2 * ml) for n, ml in mean.items() if ml > 0}


def unreliable_findings(labels: NDArray[np.uint8], reliability: NDArray[np.uint8]) -> list[Finding]:
    """Structures that the views of the slices hardly agree on."""
    share = unreliable_share(labels, reliability)
    if not share > UNRELIABLE_SHARE:
        return []
    return [Finding(f"{share:.0%} of the voxels of the structures found are unreliable")]


def unreliable_share(labels: NDArray[np.uint8], reliability: NDArray[np.uint8]) -> float:
    """Share of the voxels of the structures found that are unreliable; NaN when none was found."""
    # it brings torch, which a table of verdicts does not need
    from napari_uda.uncertainty.reliability import UNRELIABLE

    count = unreliable = 0
    for here, how in zip(each_plane(labels), each_plane(reliability), strict=True):
        inside = here > 0
        count += int(np.count_nonzero(inside))
        unreliable += int(np.count_nonzero(inside & (how == UNRELIABLE)))
    return unreliable / count if count else float("nan")
