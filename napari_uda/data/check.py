"""A look at all volumes of a domain before training: what they are, and what is wrong with which file.

What training would refuse is fatal; the rest is worth knowing. Nothing is changed, and labels are read
only where training reads them.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from napari_uda.core.errors import Cancelled, InputError
from napari_uda.core.files import shown
from napari_uda.data.folder import Case, DataFolder
from napari_uda.data.intensity import thinned
from napari_uda.data.same_grid import on_grid_of
from napari_uda.data.volume import Placement, Volume

OnProgress = Callable[[int, int], None]

_BINS = 64
_TAIL_PERCENTILES = (0.1, 99.9)
_SAMPLES = 2_000_000  # of a domain
_FEWEST_SAMPLES = 2_000  # of a case
_FAR = 2.0  # times the median spacing
_FEWEST_TO_COMPARE = 3
_CT_AIR_HU = -200.0
_MOST_NAMED = 5


@dataclass(frozen=True)
class Problem:
    """One finding: the file (or "" for the domain), one sentence, and whether training would refuse."""

    file: str
    sentence: str
    fatal: bool = False


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
    """

    name: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    orientation: str
    intensity_range: tuple[float, float]
    voxels: dict[int, int] | None = None


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
        modality: as `dataset.json` says it, or "".
        cases: the readable ones.
        structures: labels by value, without background; () where no labels were read.
        histogram: voxels of a sample per bin, `(64,)`; the tails beyond the outermost 0.1 % are in
            the first and last bin. Empty without a readable case.
        edges: grey values between the bins, `(65,)`.
        problems: fatal ones first.
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

    @property
    def is_fatal(self) -> bool:
        """Whether training would refuse this domain."""
        return any(problem.fatal for problem in self.problems)

    def orientations(self) -> dict[str, int]:
        """Orientation to number of cases, the most common first."""
        return dict(Counter(case.orientation for case in self.cases).most_common())


def check_folder(
    path: str | os.PathLike[str],
    *,
    labelled: bool,
    names: Mapping[str, int] | None = None,
    series: str = "",
    placement: Placement = "auto",
    on_progress: OnProgress | None = None,
    stop: threading.Event | None = None,
) -> DomainReport:
    """Read all volumes of a data folder and say what they are.

    Args:
        path: the data folder.
        labelled: whether training reads its labels; without, no label map is opened.
        names: structure names and values that replace those of `dataset.json`; empty for none.
        series: which DICOM volumes are read where a patient has several.
        placement: which of sform and qform training trusts where a NIfTI file has both.
        on_progress: called after each case with the number done and the number of all.
        stop: when set, the check ends after the current case.

    Raises:
        Cancelled: if `stop` was set.
    """
    try:
        folder = DataFolder.open(path, series=series, placement=placement, labels=names)
        if labelled:
            folder = folder.named()
    except InputError as error:
        return DomainReport(shown(path), problems=(Problem("", str(error), fatal=True),))
    checked: list[_Checked] = []
    for index, case in enumerate(folder.cases):
        if stop is not None and stop.is_set():
            raise Cancelled
        most = max(_SAMPLES // len(folder.cases), _FEWEST_SAMPLES)
        checked.append(_check_case(case, labelled, most))
        if on_progress is not None:
            on_progress(index + 1, len(folder.cases))
    label_count = sum(case.label is not None for case in folder.cases)
    problems: list[Problem] = []
    if folder.passed_over:
        problems.append(Problem("", f"{shown(path)}: {folder.notes()}"))
    if labelled and not label_count:
        problems.append(
            Problem(
                "",
                f"{shown(path)} has no label maps; put them into its subfolder labels",
                fatal=True,
            )
        )
    elif labelled:
        problems += _without_labels(folder.cases)
    return _report(
        shown(path),
        checked,
        label_count=label_count,
        names=folder.labels,
        found_names=folder.found_labels,
        modality=folder.modality,
        problems=problems,
    )


def check_volume(
    image: Volume, labels: Volume | None, *, names: Mapping[str, int], modality: str = ""
) -> DomainReport:
    """The same for a domain of one case that is in memory.

    Args:
        image: its grey values.
        labels: its labels (uint8), None where training reads none.
        names: structure names and values.
        modality: such as "CT", or "".
    """
    checked = _check_volumes(image.name, image, labels, _SAMPLES)
    return _report(
        image.name,
        [checked],
        label_count=int(labels is not None),
        names=names,
        modality=modality,
        problems=[],
    )


@dataclass(frozen=True, eq=False)
class _Checked:
    """What one case adds to the report."""

    case: CaseReport | None = None
    sample: NDArray[Any] | None = None
    problems: tuple[Problem, ...] = ()


def _check_case(case: Case, labelled: bool, most: int) -> _Checked:
    """Read one case; a file that cannot be read is a problem, not the end."""
    problems: list[Problem] = []
    try:
        with _heard(shown(case.image), problems):
            image = case.read_image()
    except InputError as error:
        return _Checked(problems=(Problem(shown(case.image), str(error), fatal=True),))
    labels = None
    if labelled and case.label is not None:
        file = f"labels/{shown(case.label)}"
        try:
            with _heard(file, problems):
                labels = case.read_labels(image)
        except InputError as error:
            problems.append(Problem(file, str(error), fatal=True))
    checked = _check_volumes(case.name, image, labels, most)
    return _Checked(checked.case, checked.sample, (*problems, *checked.problems))


@contextmanager
def _heard(file: str, problems: list[Problem]) -> Iterator[None]:
    """Take what reading a file warns of (a guessed orientation, an unknown unit) into the findings."""
    listener = _Listener()
    logger = logging.getLogger("napari_uda.data")
    logger.addHandler(listener)
    try:
        yield
    finally:
        logger.removeHandler(listener)
        problems += [Problem(file, sentence) for sentence in listener.sentences]


class _Listener(logging.Handler):
    """Collects the warnings of the thread that made it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.sentences: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.sentences.append(record.getMessage())


def _check_volumes(name: str, image: Volume, labels: Volume | None, most: int) -> _Checked:
    problems: list[Problem] = []
    if not np.isfinite(image.array).all():  # files with such voxels are not even read
        sentence = f"{name}: some of its voxels are NaN or infinite; replace them"
        return _Checked(problems=(Problem(name, sentence, fatal=True),))
    low, high = float(image.array.min()), float(image.array.max())
    if low == high:
        problems.append(
            Problem(name, f"{name}: every voxel is {low:g}; check whether the image is empty")
        )
    voxels = None
    if labels is not None:
        near: list[str] = []
        try:
            labels = on_grid_of(labels, image, near.append)
        except InputError as error:
            sentence = f"labels of {name} do not lie on the image's grid: {error}"
            problems.append(Problem(name, sentence, fatal=True))
        problems += [Problem(name, f"labels of {name}: {sentence}") for sentence in near]
        counts = np.bincount(labels.array.ravel(order="K"), minlength=1)
        voxels = {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
        if not set(voxels) - {0}:
            problems.append(
                Problem(
                    name,
                    f"{name}: its label map holds background only; check whether it is the right file",
                )
            )
    canonical = image.canonical()
    z, y, x = canonical.array.shape
    report = CaseReport(
        name=name,
        shape=(z, y, x),
        spacing_mm=canonical.spacing_mm,
        orientation="".join(nib.aff2axcodes(image.affine)),
        intensity_range=(low, high),
        voxels=voxels,
    )
    return _Checked(report, thinned(image.array, most).astype(np.float32), tuple(problems))


def _report(
    name: str,
    checked: Sequence[_Checked],
    *,
    label_count: int,
    names: Mapping[str, int],
    modality: str,
    problems: list[Problem],
    found_names: Mapping[str, int] | None = None,
) -> DomainReport:
    cases = tuple(one.case for one in checked if one.case is not None)
    named = {value: title for title, value in names.items() if value}
    found = {value: title for title, value in (found_names or {}).items()}
    structures = _structures(cases, named, found)
    for one in checked:
        problems += one.problems
    problems += _label_problems(cases, structures, bool(named))
    problems += _far_spacings(cases)
    problems += _modality_problems(modality, cases)
    samples = [one.sample for one in checked if one.sample is not None]
    histogram, edges = _histogram(samples)
    return DomainReport(
        name=name,
        case_count=len(checked),
        label_count=label_count,
        modality=modality,
        cases=cases,
        structures=structures,
        histogram=histogram,
        edges=edges,
        problems=tuple(sorted(problems, key=lambda problem: not problem.fatal)),
    )


def _structures(
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


def _label_problems(
    cases: Sequence[CaseReport], structures: Sequence[Structure], has_names: bool
) -> list[Problem]:
    if all(case.voxels is None for case in cases):
        return []
    found: list[Problem] = []
    if not any(one.voxels for one in structures):
        sentence = "the label maps hold background only; give label maps with structures"
        return [Problem("", sentence, fatal=True)]
    for one in structures:
        if has_names and not one.name:
            sentence = (
                f"label {one.value} ({one.voxels} voxels in {one.cases} cases) has no name and is taken "
                "for background; name it in dataset.json or in data.labels"
            )
            found.append(Problem("", sentence))
        elif not one.voxels:
            sentence = f"no case has {one.name} (label {one.value}); check names and values"
            found.append(Problem("", sentence))
    return found


def _without_labels(cases: Sequence[Case]) -> list[Problem]:
    names = [case.name for case in cases if case.label is None]
    if not names:
        return []
    listed = ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
    return [
        Problem("", f"{len(names)} of {len(cases)} cases have no labels and are left out: {listed}")
    ]


def _far_spacings(cases: Sequence[CaseReport]) -> list[Problem]:
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


def _modality_problems(modality: str, cases: Sequence[CaseReport]) -> list[Problem]:
    """CT without air is no CT in Hounsfield units."""
    if not modality.strip().upper().startswith("CT") or not cases:
        return []
    low = min(case.intensity_range[0] for case in cases)
    if low < _CT_AIR_HU:
        return []
    sentence = (
        f"dataset.json says CT, but no value is below {low:g}, and air has -1000 HU; "
        "check that the values are Hounsfield units"
    )
    return [Problem("", sentence)]


def _histogram(samples: Sequence[NDArray[Any]]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    if not samples:
        return np.zeros(0, np.int64), np.zeros(0)
    pooled = np.concatenate(samples)
    low, high = (float(value) for value in np.percentile(pooled, _TAIL_PERCENTILES))
    if high <= low:
        low, high = low - 0.5, low + 0.5
    counts, edges = np.histogram(np.clip(pooled, low, high), _BINS, (low, high))
    return counts.astype(np.int64), edges.astype(np.float64)


def sizes_text(sizes: Sequence[float]) -> str:
    """Three sizes in one text, `8 x 1.5 x 1.5`."""
    return " x ".join(f"{size:.3g}" if size < 1000 else f"{size:.0f}" for size in sizes)


def same_folder(source: Path, target: Path) -> list[Problem]:
    """A warning when both domains are the same folder: there is nothing to adapt to."""
    if not (source.exists() and target.exists() and source.samefile(target)):
        return []
    sentence = "source and target are the same folder, so there is nothing to adapt to; check both"
    return [Problem("", sentence)]
