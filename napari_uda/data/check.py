"""A look at all volumes of a domain before training: what they are, and what is wrong with which file.

What training would refuse is fatal; the rest is worth knowing. Nothing is changed, and labels are read
only where training reads them. `DomainCheck` looks at volumes that somebody else has read, so training
needs no second look at its files.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from napari_uda.core.errors import Cancelled, InputError
from napari_uda.core.files import shown
from napari_uda.data.contents import content_digest
from napari_uda.data.findings import (
    CaseReport,
    DomainReport,
    Problem,
    Structure,
    compare_domains,
    doubled_images,
    far_orientations,
    far_spacings,
    fatal_first,
    find_structures,
    label_problems,
    modality_problems,
    sizes_text,
    without_labels,
)
from napari_uda.data.folder import Case, DataFolder
from napari_uda.data.intensity import thinned
from napari_uda.data.same_grid import on_grid_of
from napari_uda.data.volume import Placement, Volume

__all__ = [
    "CaseReport", "DomainCheck", "DomainReport", "Problem", "Structure", "check_folder", "check_folders",
    "check_volume", "is_same_folder", "sizes_text", "with_comparison",
]  # fmt: skip

OnProgress = Callable[[int, int], None]

_BINS = 64
_TAIL_PERCENTILES = (0.1, 99.9)
_SAMPLES = 2_000_000  # of a domain
_FEWEST_SAMPLES = 2_000  # of a case


class DomainCheck:
    """What is known of a domain, gathered while its cases are read; for one thread."""

    def __init__(
        self,
        name: str,
        *,
        names: Mapping[str, int] | None = None,
        found_names: Mapping[str, int] | None = None,
        modality: str = "",
        samples: int = 0,
        problems: Sequence[Problem] = (),
    ) -> None:
        """Begin.

        Args:
            name: of the data folder or the layer.
            names: structure names and values; empty for none.
            found_names: those that the label files give, which count where `names` is empty.
            modality: as `dataset.json` or the DICOM images say it, or "".
            samples: voxels of a case that the histogram counts; 0 draws none.
            problems: what is known already.
        """
        self.name, self.modality = name, modality
        self.names = {title: value for title, value in (names or {}).items() if value}
        self.found_names = dict(found_names or {})
        self.problems = list(problems)
        self._samples_of_case = samples
        self._cases: dict[str, CaseReport] = {}
        self._samples: list[NDArray[Any]] = []

    @classmethod
    def of_folder(
        cls,
        folder: DataFolder,
        *,
        labelled: bool,
        names: Mapping[str, int] | None = None,
        samples: int = 0,
    ) -> DomainCheck:
        """Begin with what a data folder says before a volume is read; `names` count where it names nothing."""
        check = cls(
            shown(folder.path),
            names=folder.labels or names,
            found_names=folder.found_labels,
            modality=folder.modality,
            samples=samples,
        )
        if folder.passed_over:
            check.problems.append(Problem("", f"{check.name}: {folder.notes()}"))
        missing = [case.name for case in folder.cases if case.label is None]
        if labelled and len(missing) == len(folder.cases):
            sentence = f"{check.name} has no label maps; {folder.where_labels_go}"
            check.problems.append(Problem("", sentence, fatal=True))
        elif labelled:
            check.problems += without_labels(missing, len(folder.cases))
        return check

    @contextmanager
    def hearing(self, file: str) -> Iterator[None]:
        """Take what reading a file warns of (a guessed orientation, an unknown unit) into the findings."""
        said: list[Problem] = []
        try:
            with hearing(file, said):
                yield
        finally:
            self.problems += said

    def take_image(self, name: str, image: Volume) -> None:
        """Look at the grey values of a case."""
        low, high = float(image.array.min()), float(image.array.max())
        if low == high:
            sentence = f"{name}: every voxel is {low:g}; check whether the image is empty"
            self.problems.append(Problem(name, sentence))
        canonical = image.canonical()
        z, y, x = canonical.array.shape
        axes = image.affine[:3, :3] / np.linalg.norm(image.affine[:3, :3], axis=0)
        self._cases[name] = CaseReport(
            name=name,
            shape=(z, y, x),
            spacing_mm=canonical.spacing_mm,
            orientation="".join(nib.aff2axcodes(image.affine)),
            intensity_range=(low, high),
            axes=tuple(tuple(float(part) for part in axis) for axis in axes.T),
            image_digest=content_digest(image),
        )
        if self._samples_of_case:
            sample = thinned(image.array, self._samples_of_case).astype(np.float32)
            self._samples.append(sample)

    def take_labels(self, name: str, labels: Volume, image: Volume) -> Volume:
        """Look at the labels of a case whose image was looked at.

        Returns:
            The labels on the grid of the image.

        Raises:
            InputError: if they do not lie there.
        """
        digest, refused = content_digest(labels), None
        near: list[str] = []
        try:
            labels = on_grid_of(labels, image, near.append)
        except InputError as error:
            refused = error
        self.problems += [Problem(name, f"labels of {name}: {sentence}") for sentence in near]
        counts = np.bincount(labels.array.ravel(order="K"), minlength=1)
        voxels = {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
        if not set(voxels) - {0}:
            sentence = (
                f"{name}: its label map holds background only; check whether it is the right file"
            )
            self.problems.append(Problem(name, sentence))
        self._cases[name] = replace(
            self._cases[name],
            voxels=voxels,
            structures_mm=_box_mm(labels.canonical(), list(self.names.values())),
            label_digest=digest,
        )
        if refused is not None:
            raise InputError(
                f"labels of {name} do not lie on the image's grid: {refused}"
            ) from refused
        return labels

    def report(
        self, *, case_count: int | None = None, label_count: int = 0, unread: int = 0
    ) -> DomainReport:
        """What was found.

        Args:
            case_count: cases, unreadable ones included; those that were looked at when left out.
            label_count: cases with a label map, read or not.
            unread: labelled cases whose labels nobody has read, since they are held out.
        """
        cases = tuple(self._cases.values())
        named = {value: name for name, value in self.names.items()}
        found = {value: name for name, value in self.found_names.items()}
        structures = find_structures(cases, named, found)
        histogram, edges = _histogram(self._samples)
        problems = [
            *self.problems,
            *label_problems(cases, structures, bool(named), unread),
            *far_spacings(cases),
            *far_orientations(cases),
            *modality_problems(self.modality, cases),
            *doubled_images(cases),
        ]
        return DomainReport(
            name=self.name,
            case_count=len(cases) if case_count is None else case_count,
            label_count=label_count,
            modality=self.modality,
            cases=cases,
            structures=structures,
            histogram=histogram,
            edges=edges,
            problems=fatal_first(problems),
            names=self.names,
        )


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
        wanted = (
            names if labelled else None
        )  # of the other domain nothing but its own names is known
        folder = DataFolder.open(path, series=series, placement=placement, labels=wanted)
        if labelled:
            folder = folder.named()
    except InputError as error:
        return DomainReport(shown(path), problems=(Problem("", str(error), fatal=True),))
    count = len(folder.cases)
    samples = max(_SAMPLES // count, _FEWEST_SAMPLES)
    check = DomainCheck.of_folder(folder, labelled=labelled, samples=samples)
    for index, case in enumerate(folder.cases):
        if stop is not None and stop.is_set():
            raise Cancelled
        _check_case(check, case, labelled)
        if on_progress is not None:
            on_progress(index + 1, count)
    label_count = sum(case.label is not None for case in folder.cases)
    return check.report(case_count=count, label_count=label_count)


def check_folders(
    source: Path,
    target: Path | None = None,
    *,
    labelled: bool = True,
    names: Mapping[str, int] | None = None,
    series: str = "",
    placement: Placement = "auto",
    on_progress: OnProgress | None = None,
    stop: threading.Event | None = None,
) -> dict[str, DomainReport]:
    """Check one folder or two, and the two together; of the second no label is read.

    Args:
        source: the first data folder.
        target: the second one.
        labelled: whether the labels of the first one are read.
        names: as for `check_folder`.
        series: as for `check_folder`.
        placement: as for `check_folder`.
        on_progress: as for `check_folder`, anew for each folder.
        stop: as for `check_folder`.

    Returns:
        The reports of `source` and `target`.

    Raises:
        Cancelled: if `stop` was set.
    """
    folders = {"source": (source, labelled)} | ({"target": (target, False)} if target else {})
    reports = {
        side: check_folder(
            path,
            labelled=is_labelled,
            names=names,
            series=series,
            placement=placement,
            on_progress=on_progress,
            stop=stop,
        )
        for side, (path, is_labelled) in folders.items()
        if path is not None
    }
    return with_comparison(reports, is_same=target is not None and is_same_folder(source, target))


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
    check = DomainCheck(image.name, names=names, modality=modality, samples=_SAMPLES)
    label_count = int(labels is not None)
    if not np.isfinite(image.array).all():  # files with such voxels are not even read
        sentence = f"{image.name}: some of its voxels are NaN or infinite; replace them"
        check.problems.append(Problem(image.name, sentence, fatal=True))
        return check.report(case_count=1, label_count=label_count)
    check.take_image(image.name, image)
    if labels is not None:
        try:
            check.take_labels(image.name, labels, image)
        except InputError as error:
            check.problems.append(Problem(image.name, str(error), fatal=True))
    return check.report(case_count=1, label_count=label_count)


def with_comparison(
    reports: Mapping[str, DomainReport], *, is_same: bool
) -> dict[str, DomainReport]:
    """The reports, that of `target` with what is odd about both domains together.

    Args:
        reports: of `source` and `target`, or of one of them; of `corrected` the structures are compared.
        is_same: whether both are one folder or one layer.
    """
    reports = _with_same_structures(reports)
    if not {"source", "target"} <= set(reports):
        return dict(reports)
    source, target = reports["source"], reports["target"]
    extra = compare_domains(source, target, is_same=is_same)
    problems = fatal_first([*target.problems, *extra])
    return {**reports, "target": replace(target, problems=problems)}


def _with_same_structures(reports: Mapping[str, DomainReport]) -> dict[str, DomainReport]:
    """The reports, that of `corrected` with an error where it names other structures than the labelled domain."""
    labelled = next((reports[side] for side in ("source", "target") if side in reports), None)
    corrected = reports.get("corrected")
    names = {} if labelled is None else labelled.names
    if corrected is None or not names or not corrected.names or corrected.names == names:
        return dict(reports)
    sentence = f"structures {corrected.names} of the corrected cases are not those of the run, {names}; give both the same"
    problem = Problem("", sentence, fatal=True)
    found = fatal_first([problem, *corrected.problems])
    return {**reports, "corrected": replace(corrected, problems=found)}


def is_same_folder(source: Path, target: Path) -> bool:
    """Whether two paths lead to one folder."""
    return source.exists() and target.exists() and source.samefile(target)


def _check_case(check: DomainCheck, case: Case, labelled: bool) -> None:
    """Read one case; a file that cannot be read is a problem, not the end."""
    file = shown(case.image)
    try:
        with check.hearing(file):
            image = case.read_image()
    except InputError as error:
        check.problems.append(Problem(file, str(error), fatal=True))
        return
    check.take_image(case.name, image)
    if not labelled or case.label is None:
        return
    file = f"labels/{shown(case.label)}"
    try:
        with check.hearing(file):
            labels = case.read_labels(image)
    except InputError as error:
        check.problems.append(Problem(file, str(error), fatal=True))
        return
    try:
        check.take_labels(case.name, labels, image)
    except InputError as error:
        check.problems.append(Problem(case.name, str(error), fatal=True))


@contextmanager
def hearing(file: str, said: list[Problem]) -> Iterator[None]:
    """Add what reading a file in this thread warns of to `said`."""
    listener = _Listener()
    logger = logging.getLogger("napari_uda.data")
    logger.addHandler(listener)
    try:
        yield
    finally:
        logger.removeHandler(listener)
        said += [Problem(file, one, said=True) for one in listener.sentences]


class _Listener(logging.Handler):
    """Collects the warnings of the thread that made it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.sentences: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.sentences.append(record.getMessage())


def _box_mm(labels: Volume, values: Sequence[int]) -> tuple[float, float, float] | None:
    """Sides of the box round the structures of a canonical label map; all values count without `values`."""
    table = np.ones(256, bool)
    if values:
        table[:] = False
        table[[value for value in values if value < len(table)]] = True
    table[0] = False
    there = table[labels.array]
    plane = there.any(axis=0)
    if not plane.any():
        return None
    along = (there.any(axis=(1, 2)), plane.any(axis=1), plane.any(axis=0))
    z, y, x = (
        float(np.ptp(np.flatnonzero(line)) + 1) * step
        for line, step in zip(along, labels.spacing_mm, strict=True)
    )
    return z, y, x


def _histogram(samples: Sequence[NDArray[Any]]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    if not samples:
        return np.zeros(0, np.int64), np.zeros(0)
    pooled = np.concatenate(samples)
    low, high = (float(value) for value in np.percentile(pooled, _TAIL_PERCENTILES))
    if high <= low:
        low, high = low - 0.5, low + 0.5
    counts, edges = np.histogram(np.clip(pooled, low, high), _BINS, (low, high))
    return counts.astype(np.int64), edges.astype(np.float64)
