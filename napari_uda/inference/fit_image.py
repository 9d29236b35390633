"""What an image by itself tells of whether a model fits it: size, voxels, grey values, anatomy, flips, inversion.

Bounds are ranges over the training images, each of which was left out once and compared with the others,
widened by the factors below. The factors were chosen on phantoms and on the source images (bSSFP, CHAOS).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_uda.core.words import number_of
from napari_uda.data.domain_statistics import (
    PROFILE_PERCENTILES,
    DomainStatistics,
    VolumeStatistics,
    correlation,
    measure_volume,
    uprightness,
)
from napari_uda.data.grid import DIRECTIONS
from napari_uda.inference.fit_finding import Finding, Range, plain, span_text, times_outside

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_uda.data.facts import DataFacts
    from napari_uda.data.intensity import Intensity
    from napari_uda.data.volume import Volume

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
"""Correlation with the mean training image below which bright and dark are exchanged, where its negative is
like the training images: whole images of other anatomies came down to -0.1 among phantoms and source images,
inverted ones of the same anatomy are below -0.5."""
MIRRORED = -2.0
"""Natural logarithm of how much likelier an image is as it is than flipped, below which it is
flipped: fresh phantoms and held-out bSSFP are above 4, and below -4 when flipped."""
CT_AIR_HU = -200.0
"""Air is well below it in CT, and nothing is in MR."""

_LIKENESS_FLOOR = 0.04  # standard deviation of correlations of which only a few are known
_UPRIGHT_FLOOR = 0.05
_PRIOR = 3  # training images for which the two floors count


def image_findings(facts: DataFacts, volume: Volume) -> tuple[list[Finding], str]:
    """What the image tells, and what could not be compared."""
    measured = measure_volume(volume, facts.prediction_intensity)
    if np.ptp(measured.picture) == 0 and measured.grey[0] == measured.grey[2]:
        return [Finding(f"every voxel is {measured.grey[1]:g}", grave=True)], ""
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
    if findings and foreign and mapping and _is_like(foreign, volume, mapping):
        return [Finding(_of_the_other_domain(facts, adapted))], ""
    if (
        findings
        and not adapted
        and facts.source_intensity not in (None, facts.prediction_intensity)
    ):
        assert facts.source_intensity is not None
        here = measure_volume(volume, facts.source_intensity)
        looks = _look_findings(own, here, facts.source_intensity, same_view=True)
        if not (_size_findings(own, here) or looks):
            grave = any(finding.grave for finding in findings)
            return [Finding(_of_the_other_mapping(facts), grave)], ""
    few = own.volumes if own.upright is None else 0
    return findings, _without_flips(few) if few else ""


def looks_like_the_other(
    facts: DataFacts, volume: Volume, domain: Literal["source", "target"]
) -> bool:
    """Whether a volume that is given as one of a domain looks like the training images of the other one instead.

    Grey values are what tells them apart; it is False where the run stored nothing of both domains.
    """
    sides = [
        (facts.source_statistics, facts.source_intensity),
        (facts.target_statistics, facts.target_intensity),
    ]
    said = [
        None if own is None or mapping is None else _is_like(own, volume, mapping)
        for own, mapping in (sides if domain == "source" else reversed(sides))
    ]
    return said == [False, True]


def _is_like(own: DomainStatistics, volume: Volume, mapping: Intensity) -> bool:
    measured = measure_volume(volume, mapping)
    return not (
        _size_findings(own, measured) or _look_findings(own, measured, mapping, same_view=True)
    )


def _without_flips(count: int) -> str:
    return f"with {number_of(count, 'training image')} flips cannot be told, so they were not looked for"


def _of_the_other_domain(facts: DataFacts, adapted: bool) -> str:
    source, target = facts.source_modality or "source", facts.target_modality or "target"
    if adapted:
        return f"it looks like the {source} images with labels, and the run was adapted to {target} images"
    return f"it looks like the {target} images of the target, and the run was trained on {source} images"


def _of_the_other_mapping(facts: DataFacts) -> str:
    source, target = facts.source_modality or "source", facts.target_modality or "target"
    return (
        f"it looks like the {source} images with labels, and the run reads grey values as those of {target} "
        f"images; for {source} images train one without --data.target"
    )


def _from_old_facts(facts: DataFacts, measured: VolumeStatistics) -> list[Finding]:
    """Size and air, from the grid and the typical range of grey values."""
    grid = facts.grid
    side = grid.size * grid.pixel_mm
    sizes = [mm for axis, mm in enumerate(measured.extent_mm) if axis != grid.axis]
    largest, findings = max(sizes), []
    if not side / FAR <= largest <= side * FAR:
        findings.append(
            Finding(
                f"its slices are {plain(largest, 3)} mm wide, those of the training images about {plain(side, 3)} mm",
                grave=not side / FAR**2 <= largest <= side * FAR**2,
            )
        )
    usual = facts.target_range if facts.target_intensity is not None else facts.source_range
    if usual is not None:
        findings += _air(measured.grey[0], (usual[0], usual[0]))
    return findings


def _size_findings(own: DomainStatistics, measured: VolumeStatistics) -> list[Finding]:
    """Field of view and voxels."""
    rules = (
        ("it shows", "training images show", measured.extent_mm, own.extent_mm, EXTENT_FACTOR, EXTENT_FACTOR),
        ("its voxels are", "those of training images", measured.spacing_mm, own.spacing_mm, FINER, COARSER),
    )  # fmt: skip
    findings = []
    for here, there, sizes, usual, smaller, larger in rules:
        ratios = [times_outside(mm, span) for mm, span in zip(sizes, usual, strict=True)]
        if all(1 / smaller <= ratio <= larger for ratio in ratios):
            continue
        said = (
            f"{here} {_sides(plain(mm, 3) for mm in sizes)} mm (foot to head, back to front, left to right), "
            f"{there} {_sides(map(span_text, usual))} mm"
        )
        grave = not all(1 / (smaller * FAR) <= ratio <= larger * FAR for ratio in ratios)
        findings.append(Finding(said, grave))
    return findings


def _look_findings(
    own: DomainStatistics, measured: VolumeStatistics, mapping: Intensity, *, same_view: bool
) -> list[Finding]:
    """Air, intensities, inversion, flips and anatomy."""
    findings = _air(measured.grey[0], own.grey[0])
    mean_picture = own.mean_picture()
    alike = correlation(measured.picture, mean_picture)
    mean, spread = own.likeness or (0.5, 0.0)
    spread = _shrunk(spread, _LIKENESS_FLOOR, own.volumes)
    if alike < INVERTED and -alike > mean - OTHER * spread:
        said = "bright and dark are exchanged: it is like the negative of the training images"
        return [*findings, Finding(said, grave=True)]
    bound = max(PROFILE_DISTANCE, PROFILE_WIDER * own.profile_farthest)
    distance = own.profile_distance(measured.profile)
    if distance > bound:
        said = _of_profile(own, measured, mapping, distance)
        findings.append(Finding(said, grave=distance > 2 * bound))
    if own.likeness is None or not same_view:  # pictures of another size need not be alike
        return findings
    mirrored = min(_flip_odds(own, measured)) < MIRRORED
    turn = _best_turn(measured.picture, mean_picture) if mirrored else ()
    turned = correlation(np.flip(measured.picture, turn), mean_picture)
    # a flipped image is like the others when it is turned back; another object is so in no way
    if turn and turned > mean - USUAL_LIKENESS * spread:
        ways = " and ".join(DIRECTIONS[axis] for axis in turn)
        said = f"it is flipped {ways}: turned back it agrees better with the training images"
        return [*findings, Finding(f"{said}; check its orientation", grave=True)]
    if turn or alike < mean - UNLIKE * spread:
        said = (
            f"it shows another part of the body, or less or more of it: it correlates by {alike:.2f} "
            f"with the mean training image, and training images by {mean:.2f} ± {spread:.2f}"
        )
        findings.append(Finding(said, grave=alike < mean - OTHER * spread))
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


def _air(low: float, usual: Range) -> list[Finding]:
    """CT has air at -1000 HU, MR has no such values."""
    if low < CT_AIR_HU <= usual[0]:
        said = f"its grey values go down to {plain(low, 4)} as in CT, those of training images to {plain(usual[0], 4)}"
        return [Finding(said, grave=True)]
    if usual[1] < CT_AIR_HU <= low:
        said = f"no grey value is below {plain(low, 4)}, and the training images have air at {plain(usual[1], 4)}"
        return [Finding(f"{said} (Hounsfield units)")]
    return []


def _of_profile(
    own: DomainStatistics, measured: VolumeStatistics, mapping: Intensity, distance: float
) -> str:
    """The percentile at which they are farthest apart, in grey values of the window or as a share of the range."""
    away = np.abs((measured.profile - own.profile) / own.profile_spread)
    most = int(away.argmax())

    def shown(mapped: float) -> str:
        share = (mapped + 1) / 2
        if mapping.mode != "window":
            return f"{share:.0%}"
        low, high = mapping.bounds
        return plain(low + share * (high - low), 4)

    where = "" if mapping.mode == "window" else " of the range from dark to bright"
    return (
        f"its grey values are spread differently: {PROFILE_PERCENTILES[most]} % of them are below "
        f"{shown(measured.profile[most])}{where}, in training images below {shown(own.profile[most])} "
        f"({distance:.1f} standard deviations in all)"
    )


def _shrunk(spread: float, floor: float, count: int) -> float:
    """A standard deviation of few values, drawn towards a floor and widened for a new value."""
    square = (count * spread**2 + _PRIOR * floor**2) / (count + _PRIOR)
    return float(np.sqrt(square * (1 + 1 / count)))


def _sides(sizes: Iterable[str]) -> str:
    return " x ".join(sizes)
