"""What a look at a domain can find: reports of cases and domains, and the rules for what is odd in them.

The rules look at headers and at numbers that reading gives anyway; no label of the target is among them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from napari_uda.data.grid import DIRECTIONS

_FAR = 2.0  # times the median spacing
_FEWEST_TO_COMPARE = 3
_FAR_TURNED = 0.5  # cosine of 60 degrees: oblique slices of hearts differ by less, flips by more
_USUAL_SHARE = 2 / 3
_CT_AIR_HU = -200.0
_TOO_SMALL = 0.5  # of what the source's structures need, for one volume: a wrong header, a crop
_USUALLY_TOO_SMALL = 0.8  # for the median volume: another part of the body, or too few slices
_MOST_NAMED = 5


@dataclass(frozen=True)
class Problem:
    """One finding.

    Attributes:
        file: the file or the case, or "" for the domain.
        sentence: one sentence.
        fatal: whether training would refuse.
        said: whether the log has it already, from the reader of the file.
    """

    file: str
    sentence: str
    fatal: bool = False
    said: bool = False


@dataclass(frozen=True)
class CaseReport:
    """One readable case.

    Attributes:
        name: the case.
        shape: voxels from foot to head, back to front, left to right, whatever the file's order.
        spacing_mm: in the same order.
        orientation: towards where the file's x, y and z indices grow, such as "LPS".
        intensity_range: smallest and largest grey value.
        voxels: label value to number of voxels, background included; None where no labels were read.
        axes: unit vectors in RAS+ along which the file's x, y and z indices grow.
        structures_mm: sides of the box round all structures, in the order of `shape`; None without any.
        image_digest: checksum of the image's content.
        label_digest: the same of its labels, "" where none were read.
    """

    name: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    orientation: str
    intensity_range: tuple[float, float]
    voxels: dict[int, int] | None = None
    axes: tuple[tuple[float, ...], ...] = ()
    structures_mm: tuple[float, float, float] | None = None
    image_digest: str = ""
    label_digest: str = ""

    @property
    def view_mm(self) -> tuple[float, float, float]:
        """Sides of the field of view, in the order of `shape`."""
        z, y, x = (n * step for n, step in zip(self.shape, self.spacing_mm, strict=True))
        return z, y, x

    @property
    def is_constant(self) -> bool:
        """Whether all voxels are equal."""
        return self.intensity_range[0] == self.intensity_range[1]


@dataclass(frozen=True)
class Structure:
    """One label of a domain: its name ("" for none), value, voxels in all cases, cases that have it."""

    name: str
    value: int
    voxels: int
    cases: int


@dataclass(frozen=True, eq=False)
class DomainReport:
    """What the check found in one domain.

    Attributes:
        name: of the data folder or the layer.
        case_count: cases, unreadable ones included.
        label_count: cases with a label map, read or not.
        modality: as `dataset.json` or the DICOM images say it, or "".
        cases: the readable ones.
        structures: labels by value, without background; () where no labels were read.
        histogram: voxels of a sample per bin, `(64,)`; the tails beyond the outermost 0.1 % are in
            the first and last bin. Empty without a readable case.
        edges: grey values between the bins, `(65,)`.
        problems: fatal ones first.
        names: structure names and values, by the settings or by `dataset.json`; {} when unknown.
    """

    name: str
    case_count: int = 0
    label_count: int = 0
    modality: str = ""
    cases: tuple[CaseReport, ...] = ()
    structures: tuple[Structure, ...] = ()
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    edges: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    problems: tuple[Problem, ...] = ()
    names: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_fatal(self) -> bool:
        """Whether training would refuse this domain."""
        return any(problem.fatal for problem in self.problems)

    def orientations(self) -> dict[str, int]:
        """Orientation to number of cases, the most common first."""
        return dict(Counter(case.orientation for case in self.cases).most_common())


def renamed_report(report: DomainReport, value: int, name: str) -> DomainReport:
    """The report with another name of one of its structures."""
    found = (one if one.value != value else replace(one, name=name) for one in report.structures)
    names = {one: number for one, number in report.names.items() if number != value}
    return replace(report, structures=tuple(found), names={**names, name: value})


# -- one domain -----------------------------------------------------------------------------------


def find_structures(
    cases: Sequence[CaseReport], named: Mapping[int, str], found: Mapping[int, str]
) -> tuple[Structure, ...]:
    """Every named structure and every value found, by value; () when no labels were read.

    Names that were found in label files count for the values that occur.
    """
    read = [case.voxels for case in cases if case.voxels is not None]
    if not read:
        return ()
    values = sorted({value for voxels in read for value in voxels if value} | set(named))
    return tuple(
        Structure(
            name=named.get(value, "" if named else found.get(value, f"label_{value}")),
            value=value,
            voxels=sum(voxels.get(value, 0) for voxels in read),
            cases=sum(value in voxels for voxels in read),
        )
        for value in values
    )


def label_problems(
    cases: Sequence[CaseReport], structures: Sequence[Structure], has_names: bool, unread: int = 0
) -> list[Problem]:
    """Values without a name, and names without a voxel.

    Args:
        cases: the readable cases.
        structures: of `find_structures`.
        has_names: whether there are names at all.
        unread: labelled cases whose labels nobody has read, since they are held out.
    """
    if all(case.voxels is None for case in cases):
        return []
    found: list[Problem] = []
    if not any(one.voxels for one in structures):
        sentence = "the label maps hold background only; give label maps with structures"
        return [Problem("", sentence, fatal=True)]
    if not unread and not any(one.voxels for one in structures if one.name):
        values = ", ".join(str(one.value) for one in structures if one.voxels)
        names = ", ".join(f"{one.name} ({one.value})" for one in structures if one.name)
        sentence = (
            f"the label maps hold label {values} and none of the named structures, {names}; correct the "
            "values in dataset.json or in data.labels"
        )
        return [Problem("", sentence, fatal=True)]
    for one in structures:
        if has_names and not one.name:
            sentence = (
                f"label {one.value} ({one.voxels} voxels in {one.cases} cases) has no name and is taken "
                "for background; name it in dataset.json or in data.labels"
            )
            found.append(Problem("", sentence))
        elif not one.voxels:
            which = "no case that trains" if unread else "no case"
            sentence = f"{which} has {one.name} (label {one.value}); check names and values"
            found.append(Problem("", sentence))
    return found


def without_labels(names: Sequence[str], count: int) -> list[Problem]:
    """Say which of `count` cases of a labelled domain have no labels."""
    if not names:
        return []
    sentence = f"{len(names)} of {count} cases have no labels and are left out: {listed(names)}"
    return [Problem("", sentence)]


def far_spacings(cases: Sequence[CaseReport]) -> list[Problem]:
    """Cases whose voxels are much larger or smaller than those of the others."""
    if len(cases) < _FEWEST_TO_COMPARE:
        return []
    spacings = np.array([case.spacing_mm for case in cases])
    median = np.median(spacings, axis=0)
    ratio = spacings / median
    far = ((ratio > _FAR) | (ratio < 1 / _FAR)).any(axis=1)
    usual = sizes_text(tuple(float(value) for value in median))
    return [
        Problem(
            case.name,
            f"{case.name}: its voxels are {sizes_text(case.spacing_mm)} mm, those of most others {usual} mm; "
            "check its header",
        )
        for case, differs in zip(cases, far, strict=True)
        if differs
    ]


def far_orientations(cases: Sequence[CaseReport]) -> list[Problem]:
    """Cases stored in another orientation than most: a trace of a header that is wrong.

    Axes are compared, not their codes, which change where oblique slices lie near 45 degrees.
    """
    known = [case for case in cases if case.axes]
    if len(known) < _FEWEST_TO_COMPARE:
        return []
    axes = np.array([case.axes for case in known])  # (N, 3, 3)
    middle = np.median(axes, axis=0)
    length = np.linalg.norm(middle, axis=1, keepdims=True)
    if (length < _FAR_TURNED).any():  # there is no usual orientation
        return []
    near = ((axes * (middle / length)).sum(axis=2) > _FAR_TURNED).all(axis=1)
    if near.mean() < _USUAL_SHARE:
        return []
    usual = Counter(case.orientation for case, is_near in zip(known, near, strict=True) if is_near)
    odd: dict[str, list[str]] = defaultdict(list)
    for case, is_near in zip(known, near, strict=True):
        if not is_near:
            odd[case.orientation].append(case.name)
    return [
        Problem(
            names[0] if len(names) == 1 else "",
            f"{listed(names)}: stored as {code}, most others as {usual.most_common(1)[0][0]}; look whether "
            "head, front and left are where the header puts them",
        )
        for code, names in odd.items()
    ]


def modality_problems(modality: str, cases: Sequence[CaseReport]) -> list[Problem]:
    """CT without air is no CT in Hounsfield units, or is stored with an offset: all cases, or some of them.

    Where no modality is stated, a domain is taken for CT when two thirds of its cases reach down to air.
    """
    said = modality.strip().upper()
    if not cases or (said and not said.startswith("CT")):
        return []
    check = "and air has -1000 HU; check that the values are Hounsfield units"
    high = [case for case in cases if case.intensity_range[0] >= _CT_AIR_HU]
    if len(high) == len(cases):
        low = min(case.intensity_range[0] for case in cases)
        whole = f"the images are said to be CT, but no value is below {low:g}, {check}"
        return [Problem("", whole)] if said else []
    if not said and len(high) > len(cases) * (1 - _USUAL_SHARE):
        return []
    high = [case for case in high if not case.is_constant]  # which is said of them already
    if not high:
        return []
    low, names = min(case.intensity_range[0] for case in high), [case.name for case in high]
    some = f"{listed(names)}: no value is below {low:g} as in the other CT images, {check}"
    return [Problem(names[0] if len(names) == 1 else "", some)]


def doubled_images(cases: Sequence[CaseReport]) -> list[Problem]:
    """Cases with one and the same image: a patient that counts twice, or a file under a wrong name."""
    by_content: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        if case.image_digest and not case.is_constant:
            by_content[case.image_digest].append(case.name)
    return [
        Problem(names[1], f"{listed(names)} are the same image; remove all but one of them")
        for names in by_content.values()
        if len(names) > 1
    ]


# -- two domains ----------------------------------------------------------------------------------


def compare_domains(source: DomainReport, target: DomainReport, *, is_same: bool) -> list[Problem]:
    """What is odd about two domains together, judged without any label of the target.

    Args:
        source: report of the labelled domain.
        target: report of the other one.
        is_same: whether both are one folder or one layer.
    """
    if is_same:
        sentence = (
            "source and target are the same images, so there is nothing to adapt to; check both"
        )
        return [Problem("", sentence)]
    return [
        *_shared_images(source, target),
        *_other_names(source.names, target.names),
        *_small_views(source, target),
    ]


def _shared_images(source: DomainReport, target: DomainReport) -> list[Problem]:
    known = {case.image_digest for case in source.cases if case.image_digest}
    shared = [
        case.name for case in target.cases if case.image_digest in known and not case.is_constant
    ]
    if not shared:
        return []
    if len(shared) == len(target.cases):
        sentence = "every image of the target is one of the source, so there is nothing to adapt to; check both"
    else:
        sentence = (
            f"{len(shared)} of {len(target.cases)} images of the target are images of the source, too "
            f"({listed(shared)}); remove them from one of the two"
        )
    return [Problem("", sentence)]


def _other_names(source: Mapping[str, int], target: Mapping[str, int]) -> list[Problem]:
    """Structures that the two `dataset.json` call by other names, or give other values."""
    if not source or not target:
        return []
    found = []
    by_value = {value: name for name, value in target.items()}
    for name, value in source.items():
        other = target.get(name)
        if other == value:
            continue
        if other is not None:
            found.append(
                f"{name} is label {value} in the source and label {other} in the target, and predictions "
                "have the source's values; give it one value in both"
            )
        elif value in by_value and by_value[value] not in source:
            found.append(
                f"label {value} is {name} in the source and {by_value[value]} in the target; give it one "
                "name in both dataset.json"
            )
        else:
            found.append(
                f"{name} (label {value}) of the source is not among the structures of the target "
                f"({listed(list(target))}); check the names in both dataset.json"
            )
    return [Problem("", sentence) for sentence in found]


def _small_views(source: DomainReport, target: DomainReport) -> list[Problem]:
    """Volumes of the target that cannot hold the structures of the source."""
    boxes = [case.structures_mm for case in source.cases if case.structures_mm is not None]
    if not boxes or not target.cases:
        return []
    needed = np.median(np.array(boxes), axis=0)
    views = np.array([case.view_mm for case in target.cases])
    parts, names = [], dict[str, None]()
    for axis, direction in enumerate(DIRECTIONS):
        usually = np.median(views[:, axis]) < _USUALLY_TOO_SMALL * needed[axis]
        small = views[:, axis] < (1 if usually else _TOO_SMALL) * needed[axis]
        if small.any():
            names |= {
                case.name: None
                for case, is_small in zip(target.cases, small, strict=True)
                if is_small
            }
            parts.append(f"{views[small, axis].max():.0f} mm {direction} for {needed[axis]:.0f} mm")
    if not parts:
        return []
    sentence = (
        f"{len(names)} of {len(target.cases)} volumes of the target ({listed(list(names))}) have a field of view "
        f"too small for what the structures of the source span: at most {', '.join(parts)}; check the headers, "
        "or leave out what does not show the structures"
    )
    return [Problem("", sentence)]


# -- words ----------------------------------------------------------------------------------------


def listed(names: Sequence[str]) -> str:
    """The first few names in one text."""
    return ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")


def sizes_text(sizes: Sequence[float]) -> str:
    """Three sizes in one text, `8 x 1.5 x 1.5`."""
    return " x ".join(f"{size:.3g}" if size < 1000 else f"{size:.0f}" for size in sizes)


def fatal_first(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """The problems in their order, those that training would refuse before the others."""
    return tuple(sorted(problems, key=lambda problem: not problem.fatal))
