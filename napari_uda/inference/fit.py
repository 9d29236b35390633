"""Does a model fit an image? One verdict, and a sentence for every reason, each a quantity that can be checked.

Compared are the field of view and the voxels, the grey values, the picture as a whole (anatomy, flips,
inversion), and the structures that were found (missing, too small or large, in mirrored places,
unreliable) with what training stored of its images and of the source's labels. A target label is never
looked at: bounds are ranges over the training images, each of which was left out once and compared with the
others, widened by the factors below. The factors were chosen on phantoms and on the source images
(bSSFP, CHAOS); `benchmarks/fit_verdict.py` measures how often the verdict is right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_uda.data.domain_statistics import (
    DomainStatistics,
    Range,
    VolumeStatistics,
    correlation,
    measure_volume,
    uprightness,
)
from napari_uda.data.structure_statistics import centres

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_uda.data.facts import DataFacts
    from napari_uda.data.intensity import Intensity
    from napari_uda.data.volume import Volume

Verdict = Literal["fits", "doubtful", "does not fit", "not judged"]

EXTENT_FACTOR = 1.6
"""A field of view this many times larger or smaller than any of the training images is doubtful. Heights
of the bSSFP stacks differ by 1.75 among themselves, so that a new one may well be this far outside."""
COARSER, FINER = 2.0, 4.0
"""Voxels this many times coarser or finer than any in training are doubtful; finer ones lose little, for
slices are resampled to the run's pixels."""
FAR = 3.0
"""Sizes that are this many times further out than the doubtful ones are of another unit or object."""
PROFILE_DISTANCE = 2.0
"""Distance of intensity profiles, in standard deviations of the training images, that is doubtful; left
out, bSSFP and CHAOS images reach 1.7 and 1.4, phantoms mostly 1.8."""
PROFILE_WIDER = 1.2
"""And at least this many times the distance of the farthest training image, where they differ more."""
UNLIKE, OTHER = 5.0, 8.0
"""Standard deviations below the usual correlation with the mean training image that are doubtful, and that
are of something else. Of 40 fresh phantoms, one with a strong bias field came down to 4.1, the others to 3."""
USUAL_LIKENESS = 3.0
"""Standard deviations below it that an image which was turned back may have, to be called flipped."""
INVERTED = -0.2
"""Correlation with the mean training image below which bright and dark are exchanged: other anatomies
came down to -0.1 among phantoms and source images, inverted ones of the same anatomy are below -0.5."""
MIRRORED = -2.0
"""Natural logarithm of how much likelier an image is as it is than flipped, below which it is flipped."""
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
CT_AIR_HU = -200.0
"""Air is well below it in CT, and nothing is in MR."""

_LIKENESS_FLOOR = 0.04  # standard deviation of correlations of which only a few are known
_UPRIGHT_FLOOR = 0.05
_PRIOR = 3  # training images for which the two floors count
_PLACE_FLOOR = 0.05  # of the field of view: how far a segmentation moves a centre
_MOST_SURE = (
    20.0  # of the logarithm of a likelihood ratio, so that one structure does not decide alone
)
_SHORTEST = 64  # voxels along an axis that are enough to find a centre
_TOWARDS = (
    ("towards the head", "towards the feet"),
    ("to the front", "to the back"),
    ("to the patient's right", "to the patient's left"),
)
_WAYS = ("from foot to head", "from back to front", "from left to right")


@dataclass(frozen=True)
class Fit:
    """Whether a model fits an image.

    Attributes:
        verdict: fits, doubtful (look at the result with care), does not fit, or not judged.
        reasons: one sentence for each quantity that is out of the ordinary, the gravest first.
        note: what could not be compared, or "".
    """

    verdict: Verdict = "not judged"
    reasons: tuple[str, ...] = ()
    note: str = ""

    def __str__(self) -> str:
        said = f"{self.verdict}: {'; '.join(self.reasons)}" if self.reasons else self.verdict
        return f"{said} ({self.note})" if self.note else said


@dataclass(frozen=True)
class _Finding:
    sentence: str
    grave: bool = False


@dataclass(frozen=True)
class _Found:
    """A predicted structure: its volume, and its centre from the middle of the image, in canonical axes."""

    volume_ml: float
    centre_mm: tuple[float, float, float]


def judge(
    facts: DataFacts,
    volume: Volume,
    labels: NDArray[np.uint8],
    reliability: NDArray[np.uint8] | None = None,
) -> Fit:
    """Compare a volume and what was found in it with the training data of a run.

    Args:
        facts: what the run measured in training.
        volume: the image.
        labels: `(Z, Y, X)` label values that the run predicts, on the grid of the image.
        reliability: `(Z, Y, X)` 1 reliable, 2 unreliable, if a vote was asked for.
    """
    found = _find_structures(facts, volume, labels)
    findings, note = _image_findings(facts, volume)
    findings += _structure_findings(facts, volume, found)
    if reliability is not None:
        findings += _unreliable(labels, reliability)
    findings.sort(key=lambda finding: not finding.grave)
    verdict: Verdict = "fits"
    if findings:
        verdict = "does not fit" if findings[0].grave else "doubtful"
    return Fit(verdict, tuple(finding.sentence for finding in findings), note)


def unreliable_share(labels: NDArray[np.uint8], reliability: NDArray[np.uint8]) -> float:
    """Share of the voxels of the structures found that are unreliable; NaN when none was found."""
    from napari_uda.uncertainty.reliability import (
        UNRELIABLE,
    )  # it needs torch, a table of verdicts does not

    inside = labels > 0
    count = int(np.count_nonzero(inside))
    return np.count_nonzero(reliability[inside] == UNRELIABLE) / count if count else float("nan")


def _image_findings(facts: DataFacts, volume: Volume) -> tuple[list[_Finding], str]:
    """What the image tells, and what could not be compared."""
    measured = measure_volume(volume, facts.prediction_intensity)
    if np.ptp(measured.picture) == 0 and measured.grey[0] == measured.grey[2]:
        return [_Finding(f"every voxel is {measured.grey[1]:g}", grave=True)], ""
    adapted = facts.target is not None
    own, foreign = facts.source_statistics, facts.target_statistics
    if (adapted or own is None) and foreign is not None:
        own, foreign = foreign, own
    if own is None:
        note = (
            "the run was trained by a version that stored nothing of its training images, so only the "
            "size of the image, air and the sizes of structures were compared"
        )
        return _from_old_facts(facts, measured), note
    findings = _size_findings(own, measured)
    if any(finding.grave for finding in findings):
        return findings, ""  # the picture of another part of the body tells nothing more
    findings += _look_findings(own, measured, facts.prediction_intensity, same_view=not findings)
    mapping = facts.source_intensity if adapted else facts.target_intensity
    if findings and foreign is not None and mapping is not None:
        there = measure_volume(volume, mapping)
        if not (
            _size_findings(foreign, there)
            or _look_findings(foreign, there, mapping, same_view=True)
        ):
            return [_Finding(_of_the_other_domain(facts, adapted))], ""
    few = own.volumes if own.upright is None else 0
    return findings, _without_flips(few) if few else ""


def _without_flips(count: int) -> str:
    images = "1 training image" if count == 1 else f"{count} training images"
    return f"with {images} flips cannot be told, so they were not looked for"


def _of_the_other_domain(facts: DataFacts, adapted: bool) -> str:
    source, target = facts.source_modality or "source", facts.target_modality or "target"
    if adapted:
        return f"it looks like the {source} images with labels, and the run was adapted to {target} images"
    return f"it looks like the {target} images of the target, to which the run was not adapted"


def _from_old_facts(facts: DataFacts, measured: VolumeStatistics) -> list[_Finding]:
    """Size and air, from the grid and the typical range of grey values."""
    grid = facts.grid
    side = grid.size * grid.pixel_mm
    sizes = [mm for axis, mm in enumerate(measured.extent_mm) if axis != grid.axis]
    largest, findings = max(sizes), []
    if not side / FAR <= largest <= side * FAR:
        findings.append(
            _Finding(
                f"its slices are {largest:.3g} mm wide, those of the training images about {side:.3g} mm",
                grave=not side / FAR**2 <= largest <= side * FAR**2,
            )
        )
    usual = facts.target_range if facts.target_intensity is not None else facts.source_range
    if usual is not None:
        findings += _air(measured.grey[0], (usual[0], usual[0]))
    return findings


def _size_findings(own: DomainStatistics, measured: VolumeStatistics) -> list[_Finding]:
    """Field of view and voxels."""
    rules = (
        ("it shows", "training images show", measured.extent_mm, own.extent_mm, EXTENT_FACTOR, EXTENT_FACTOR),
        ("its voxels are", "those of training images", measured.spacing_mm, own.spacing_mm, FINER, COARSER),
    )  # fmt: skip
    findings = []
    for here, there, sizes, usual, smaller, larger in rules:
        ratios = [_outside(mm, span) for mm, span in zip(sizes, usual, strict=True)]
        if all(1 / smaller <= ratio <= larger for ratio in ratios):
            continue
        said = (
            f"{here} {_sides(f'{mm:.3g}' for mm in sizes)} mm (foot to head, back to front, left to right), "
            f"{there} {_sides(map(_span, usual))} mm"
        )
        grave = not all(1 / (smaller * FAR) <= ratio <= larger * FAR for ratio in ratios)
        findings.append(_Finding(said, grave))
    return findings


def _look_findings(
    own: DomainStatistics, measured: VolumeStatistics, mapping: Intensity, *, same_view: bool
) -> list[_Finding]:
    """Air, intensities, inversion, flips and anatomy."""
    findings = _air(measured.grey[0], own.grey[0])
    mean_picture = own.mean_picture()
    if correlation(measured.picture, mean_picture) < INVERTED:
        said = "bright and dark are exchanged: it is like the negative of the training images"
        return [*findings, _Finding(said, grave=True)]
    bound = max(PROFILE_DISTANCE, PROFILE_WIDER * own.profile_farthest)
    distance = own.profile_distance(measured.profile)
    if distance > bound:
        said = _of_profile(own, measured, mapping, distance)
        findings.append(_Finding(said, grave=distance > 2 * bound))
    if own.likeness is None or not same_view:  # pictures of another size need not be alike
        return findings
    mean, spread = own.likeness
    spread = _shrunk(spread, _LIKENESS_FLOOR, own.volumes)
    alike = correlation(measured.picture, mean_picture)
    turn = (
        _best_turn(measured.picture, mean_picture)
        if min(_flip_odds(own, measured)) < MIRRORED
        else ()
    )
    turned = correlation(np.flip(measured.picture, turn), mean_picture)
    # a flipped image is like the others when it is turned back; another object is so in no way
    if turn and turned > mean - USUAL_LIKENESS * spread:
        ways = " and ".join(_WAYS[axis] for axis in turn)
        said = f"it is flipped {ways}: turned back it agrees better with the training images"
        return [*findings, _Finding(f"{said}; check its orientation", grave=True)]
    if turn or alike < mean - UNLIKE * spread:
        said = (
            f"it shows another part of the body, or less or more of it: it correlates by {alike:.2f} "
            f"with the mean training image, and training images by {mean:.2f} ± {spread:.2f}"
        )
        findings.append(_Finding(said, grave=alike < mean - OTHER * spread))
    return findings


def _best_turn(picture: NDArray[np.float64], mean_picture: NDArray[np.float64]) -> tuple[int, ...]:
    """The axes along which a picture has to be flipped to be most like the mean one."""
    turns = [axes for count in range(4) for axes in combinations(range(3), count)]
    return max(turns, key=lambda axes: correlation(np.flip(picture, axes), mean_picture))


def _flip_odds(own: DomainStatistics, measured: VolumeStatistics) -> list[float]:
    """How much likelier the image is as it is than flipped, for each axis, as a natural logarithm.

    Two normal distributions that are mirror images of each other, of how upright the training images are.
    Where structures are found does not help: networks look for the liver where it was in training.
    """
    if own.upright is None:
        return [0.0, 0.0, 0.0]
    scores = uprightness(measured.picture, own.mean_picture())
    odds = []
    for score, (mean, spread) in zip(scores, own.upright, strict=True):
        square = _shrunk(spread, _UPRIGHT_FLOOR, own.volumes) ** 2
        odds.append(2 * max(mean, 0.0) * score / square)
    return odds


def _air(low: float, usual: Range) -> list[_Finding]:
    """CT has air at -1000 HU, MR has no such values."""
    if low < CT_AIR_HU <= usual[0]:
        said = f"its grey values go down to {low:.4g} as in CT, those of training images to {usual[0]:.4g}"
        return [_Finding(said, grave=True)]
    if usual[1] < CT_AIR_HU <= low:
        said = (
            f"no grey value is below {low:.4g}, and the training images have air at {usual[1]:.4g}"
        )
        return [_Finding(f"{said} (Hounsfield units)")]
    return []


def _of_profile(
    own: DomainStatistics, measured: VolumeStatistics, mapping: Intensity, distance: float
) -> str:
    if mapping.mode == "window":
        what = f"half of them are below {measured.grey[1]:.4g}, in training images below {_span(own.grey[1])}"
    else:
        middle = len(own.profile) // 2
        here, there = (_percent(values[middle]) for values in (measured.profile, own.profile))
        what = f"the median lies at {here} of the range from dark to bright, in training images at {there}"
    return f"its grey values are spread differently: {what} ({distance:.1f} standard deviations in all)"


def _percent(value: float) -> str:
    return f"{(value + 1) / 2:.0%}"


def _find_structures(
    facts: DataFacts, volume: Volume, labels: NDArray[np.uint8]
) -> dict[str, _Found]:
    """Volume and centre of each structure; the centre from a few voxels along each axis."""
    canonical = volume.orientation.apply(labels)
    counts = np.zeros(256, np.int64)
    for plane in labels:
        counts += np.bincount(plane.ravel(), minlength=256)
    steps = [max(1, count // _SHORTEST) for count in canonical.shape]
    few = canonical[tuple(slice(None, None, step) for step in steps)]
    _, indices = centres(few, 256)
    middle = (np.array(canonical.shape) - 1) / 2
    places = (indices * steps - middle) * volume.canonical().spacing_mm
    voxel_ml = volume.lattice.voxel_ml
    found = {}
    for value, name in facts.names().items():
        z, y, x = (float(mm) for mm in np.nan_to_num(places[value]))
        found[name] = _Found(float(counts[value]) * voxel_ml, (z, y, x))
    return found


def _structure_findings(
    facts: DataFacts, volume: Volume, found: Mapping[str, _Found]
) -> list[_Finding]:
    """Structures that are missing or of another size than in the source's labels."""
    usual = _usual_volumes(facts, volume)
    here = {name: found[name].volume_ml for name in usual if name in found}
    missing = [name for name, millilitres in here.items() if not millilitres]
    if missing and len(missing) == len(here):
        return [_Finding("none of the structures was found", grave=True)]
    findings = []
    if missing:
        findings.append(_Finding(f"not found, but in the training volumes: {', '.join(missing)}"))
    odd = [
        f"{name} {here[name]:.3g} mL (training {_span(usual[name])} mL)"
        for name in here
        if name not in missing
        and not 1 / VOLUME_FACTOR <= _outside(here[name], usual[name]) <= VOLUME_FACTOR
    ]
    if odd:
        findings.append(_Finding(f"structures of unusual size: {', '.join(odd)}"))
    elsewhere = _misplaced(facts, volume, found)
    if elsewhere:
        findings.append(_Finding(f"structures in unusual places: {', '.join(elsewhere)}"))
    return findings


def _misplaced(facts: DataFacts, volume: Volume, found: Mapping[str, _Found]) -> list[str]:
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


def _unreliable(labels: NDArray[np.uint8], reliability: NDArray[np.uint8]) -> list[_Finding]:
    share = unreliable_share(labels, reliability)
    if not share > UNRELIABLE_SHARE:
        return []
    return [_Finding(f"{share:.0%} of the voxels of the structures found are unreliable")]


def _shrunk(spread: float, floor: float, count: int) -> float:
    """A standard deviation of few values, drawn towards a floor and widened for a new value."""
    square = (count * spread**2 + _PRIOR * floor**2) / (count + _PRIOR)
    return float(np.sqrt(square * (1 + 1 / count)))


def _outside(value: float, usual: Range) -> float:
    """How many times a size is above the largest or below the smallest; 1 in between."""
    low, high = usual
    if low <= 0:  # a size that no image has
        return 1.0
    return value / high if value > high else value / low if value < low else 1.0


def _sides(sizes: Iterable[str]) -> str:
    return " x ".join(sizes)


def _span(usual: Range) -> str:
    low, high = (f"{value:.4g}" for value in usual)
    return low if low == high else f"{low} to {high}"
