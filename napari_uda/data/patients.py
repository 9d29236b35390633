"""Patients: the volumes below a folder, whose they are, and what lies there that cannot be used."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_uda.core.errors import InputError
from napari_uda.core.files import (
    DICOM_SUFFIXES,
    NNUNET_IMAGES,
    NO_TEXT,
    SEG_NRRD_SUFFIX,
    begins_as_dicom,
    case_name,
    case_of_image,
    check_is_text,
    is_text,
    shown,
    volume_suffix,
)
from napari_uda.core.small_files import read_object
from napari_uda.core.words import short_list

if TYPE_CHECKING:
    from napari_uda.data.dicom_headers import Glance
    from napari_uda.data.volume import Placement, Volume

LABEL_FOLDERS = {"labels", "labelstr", "labelsts", "segmentations", "masks"}
"""Folders of label maps, in lower case."""
IMAGE_FOLDERS = {"images", *NNUNET_IMAGES}
"""Folders of images."""

_LABEL_NAME = re.compile(
    r"(?:(?P<image>.+)[-_. ])?(?:labels?|seg|dseg|probseg|segmentations?|masks?|gt|groundtruth|entropy|reliability)",
    re.IGNORECASE,
)
_BESIDE = {
    ".txt", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".md", ".pdf", ".yaml", ".yml", ".html", ".log", ".bval",
    ".bvec", ".xlsx", ".docx", ".raw", ".zraw", ".img", ".ctbl", ".label", ".lbl", "",
}  # fmt: skip
_MOST_DEPTH = 12
LABEL_MAPS = " (a folder of label maps)"
"""Why such a folder is passed over."""
OWN_RESULT = " (a result of napari_uda)"
"""Why such a file is passed over."""
_RESULTS = ("labels", "entropy", "reliability")
"""What `predict` adds to the name of a case."""
_MOST_NAMED = 8


@dataclass(frozen=True)
class Case:
    """One image and, where there is one, its label map."""

    name: str
    image: Path
    """A volume file, a DICOM file of many frames, or the folder of a DICOM series."""
    label: Path | None = None
    series: str = ""
    """Which of several DICOM volumes; "" for the only one."""
    placement: Placement = "auto"
    """Which of sform and qform is trusted in NIfTI files that have both."""
    stored: tuple[tuple[str, int], ...] = field(default=(), compare=False)
    """Names of the labels and their values in the files; () where nothing names them."""

    def read_image(self) -> Volume:
        """The image, named as the case.

        Raises:
            InputError: as `read_volume`; the sentence names the case, too.
        """
        from napari_uda.data.volume import read_image  # readers are slow to import

        try:
            volume = read_image(self.image, series=self.series, placement=self.placement)
            return replace(volume, name=self.name)
        except InputError as error:
            sentence = str(error)
            if self.name in sentence:
                raise
            raise InputError(f"{self.name}: {sentence}") from error

    def read_labels(self, image: Volume | None = None) -> Volume:
        """The label map of a case that has one.

        Args:
            image: the image of the case, if it is at hand; else it is read where the labels need its grid.

        Raises:
            InputError: as `read_labels`.
        """
        from napari_uda.data.segmentation import needs_image  # readers are slow to import
        from napari_uda.data.volume import read_labels

        assert self.label is not None
        if image is None and needs_image(self.label):
            image = self.read_image()
        return read_labels(
            self.label, grid=image, names=dict(self.stored), placement=self.placement
        )

    def files_to_show(self) -> list[Path]:
        """The image, and the labels unless they are contours, which need the grid of the image."""
        from napari_uda.data.segmentation import kind_of  # readers are slow to import

        alone = self.label is not None and kind_of(self.label) != "rtstruct"
        return [self.image, self.label] if self.label is not None and alone else [self.image]


@dataclass(frozen=True)
class Found:
    """What lies below a folder."""

    cases: tuple[Case, ...]
    """Ordered by path."""
    passed_over: tuple[str, ...]
    """What cannot be used, each with why: "p7 (holds no volume)"."""

    def notes(self) -> str:
        """What was passed over, or ""."""
        return passed_over_text(self.passed_over)


def passed_over_text(passed_over: Sequence[str]) -> str:
    """A phrase about what was passed over, or ""."""
    return f"passed over {short_list(passed_over, _MOST_NAMED)}" if passed_over else ""


@dataclass(frozen=True)
class _Leaf:
    """A volume below a folder."""

    parts: tuple[str, ...]
    """Folders below the start, and the name of the file."""
    image: Path
    label: Path | None = None
    dicom: bool = False


def find_patients(folder: Path, series: str = "", *, shorten: bool = False) -> Found:
    """Find the volumes in a folder and below it: files, DICOM series and DICOM files of many frames.

    A folder with DICOM slices is one volume. A patient is what lies directly in `folder`, and gives the
    case its name; where one has several volumes, the names of what is below are added. In the folders of
    patients, files and folders named as label maps are no images. A DICOM SEG or RTSTRUCT belongs to the
    series that it refers to, or else to the only volume of its patient.

    Args:
        folder: the start.
        series: takes those DICOM volumes only that it fits; "" takes all.
        shorten: leave out the folders that all volumes have in common.

    Raises:
        InputError: no DICOM volume below fits `series`.
        OSError: a folder cannot be read.
    """
    passed_over: list[str] = []
    drawn: list[_Leaf] = []
    leaves = list(_leaves(folder, folder, (), passed_over, drawn, set()))
    leaves = _with_segmentations(leaves, drawn, folder, passed_over)
    if series:
        leaves = _of_series(leaves, series, folder, passed_over)
    while shorten and len(leaves) > 1 and _common(leaves):
        leaves = [replace(leaf, parts=leaf.parts[1:]) for leaf in leaves]
    patients: dict[str, int] = {}
    for leaf in leaves:
        patient = leaf.parts[0] if leaf.parts else ""
        patients[patient] = patients.get(patient, 0) + 1
    cases = tuple(
        Case(_name(leaf, patients, folder), leaf.image, leaf.label, series if leaf.dicom else "")
        for leaf in leaves
    )
    return Found(cases, tuple(passed_over))


def find_labels(folder: Path) -> list[tuple[str, Path]]:
    """The label maps of a folder by case: files, and what a patient's folder holds.

    That is the only file that is named as a label map or, in a folder of label maps, the only volume, or else
    the only DICOM SEG or RTSTRUCT; a patient with none stands for itself, as one with a DICOM series or with
    masks does. Where one patient has masks, the only volume of another one is a mask, too.

    Raises:
        InputError: a name that is no UTF-8.
        OSError: a folder cannot be read.
    """
    found: list[tuple[str, Path]] = []
    alone: list[int] = []
    masks = False
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        check_is_text(entry)
        if entry.is_dir():
            files = [file for file in sorted(entry.iterdir()) if not file.name.startswith(".")]
            volumes = [file for file in files if volume_suffix(file)]
            only = [file for file in volumes if is_named_as_labels(file)]
            if len(only) != 1 and folder.name.lower() in LABEL_FOLDERS:
                only = volumes
                masks |= len(volumes) > 1
                alone += [len(found)] * (len(volumes) == 1)
            if not only:
                only = dicom_segmentations(files)
            found.append((case_name(entry), only[0] if len(only) == 1 else entry))
        elif volume_suffix(entry) or dicom_segmentations([entry]):
            found.append((case_name(entry), entry))
    for place in alone if masks else ():
        case, file = found[place]
        found[place] = case, file.parent
    return found


def _has_image(label: Path, volumes: Sequence[Path]) -> bool:
    """Whether a file named as labels lies beside its image, in a folder that need not be a patient's."""
    if label.parent.name in IMAGE_FOLDERS:
        return False  # all that lies there are images, whatever their names
    match = _LABEL_NAME.fullmatch(case_name(label))
    others = [file for file in volumes if not is_named_as_labels(file)]
    if match is not None and match["image"]:
        return match["image"] in {case_name(file) for file in others}
    return len(others) == 1 and len(volumes) == 2


def is_named_as_labels(file: Path) -> bool:
    """Whether a volume file is a label map by its name."""
    return volume_suffix(file) == SEG_NRRD_SUFFIX or bool(_LABEL_NAME.fullmatch(case_name(file)))


def is_own_result(file: Path) -> bool:
    """Whether labels or a map of a case are what napari_uda predicted: `<case>.json` beside them, which it writes, says so.

    Other programs put files of such names beside a volume, too.
    """
    case, _, kind = case_name(file).rpartition("_")
    said = read_object(file.with_name(f"{case}.json")) if kind in _RESULTS else None
    return said is not None and str(said.get("program", "")).startswith("napari_uda ")


def _common(leaves: list[_Leaf]) -> bool:
    return len({leaf.parts[:1] for leaf in leaves}) == 1 and all(
        len(leaf.parts) > 1 for leaf in leaves
    )


def _name(leaf: _Leaf, patients: dict[str, int], folder: Path) -> str:
    if not leaf.parts:
        return case_name(folder)
    return leaf.parts[0] if patients[leaf.parts[0]] == 1 else "_".join(leaf.parts)


def _leaves(
    folder: Path,
    start: Path,
    parts: tuple[str, ...],
    passed_over: list[str],
    drawn: list[_Leaf],
    seen: set[Path],
) -> Iterator[_Leaf]:
    """The volumes of a folder, then those of its subfolders; DICOM segmentations are added to `drawn`."""
    real = folder.resolve()
    if real in seen or len(parts) > _MOST_DEPTH:
        return
    seen.add(real)
    entries = []
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        reason = _unusable(entry, start)
        if reason:
            passed_over.append(f"{_below(entry, start)} ({reason})")
        else:
            entries.append(entry)
    files = [entry for entry in entries if not entry.is_dir()]
    found = [file for file in files if volume_suffix(file)]
    predicted = [file for file in found if is_own_result(file)]
    passed_over += [f"{_below(file, start)}{OWN_RESULT}" for file in predicted]
    volumes = [file for file in found if file not in predicted]
    others = [file for file in files if not volume_suffix(file)]
    labels = [
        file
        for file in volumes
        if volume_suffix(file) == SEG_NRRD_SUFFIX
        or (is_named_as_labels(file) and (parts or _has_image(file, volumes)))
    ]
    images = [file for file in volumes if file not in labels]
    leaves = [
        _Leaf((*parts, case_of_image(file)), file, _label_of(file, images, labels))
        for file in images
    ]
    segmentations = dicom_segmentations(others)
    drawn += [_Leaf((*parts, shown(file)), file) for file in segmentations]
    others = [file for file in others if file not in segmentations]
    others = _without_other_dicom(others, folder, start, passed_over)
    first = next((file for file in others if _is_dicom(file)), None)
    dicom = [] if first is None else list(_dicom_leaves(folder, first, others, parts))
    if len(dicom) == len(labels) == 1 and not images:
        dicom = [replace(dicom[0], label=labels[0])]
    elif labels and not images:
        passed_over += [f"{_below(file, start)} (named as a label map)" for file in labels]
    leaves += dicom
    if not dicom:
        passed_over += [
            f"{_below(file, start)} (of an unknown type)"
            for file in others
            if file.suffix.lower() not in _BESIDE
        ]
    folders = [entry for entry in entries if entry.is_dir()]
    of_labels = [entry for entry in folders if entry.name.lower() in LABEL_FOLDERS]
    own = bool(parts or leaves)  # whether this is the folder of a patient
    for entry in folders:
        if entry in of_labels:
            continue
        before = len(passed_over) + len(drawn)
        below = list(_leaves(entry, start, (*parts, shown(entry)), passed_over, drawn, seen))
        leaves += below
        if not below and not parts and len(passed_over) + len(drawn) == before:
            passed_over.append(f"{shown(entry)} (holds no volume)")
    inside = _labels_in(of_labels[0]) if len(of_labels) == 1 else None
    if own and inside and len(leaves) == 1 and leaves[0].label is None:
        leaves = [replace(leaves[0], label=inside)]
    else:
        passed_over += [_below(entry, start) + LABEL_MAPS for entry in of_labels]
    yield from leaves


def _labels_in(folder: Path) -> Path | None:
    """The label map in a patient's folder of labels, or the folder itself where it holds masks named by structures."""
    volumes = [
        file for file in folder.iterdir() if volume_suffix(file) and not file.name.startswith(".")
    ]
    named = [file for file in volumes if is_named_as_labels(file)]
    if len(named) == len(volumes) == 1:
        return named[0]
    return folder if volumes and not named else None


def _unusable(entry: Path, start: Path) -> str:
    """Why an entry of a folder is neither a file nor a folder to look into, or ""."""
    if not is_text(entry):
        return NO_TEXT
    if entry.is_symlink() and entry.is_dir() and start.resolve().is_relative_to(entry.resolve()):
        return "a link to a folder above"
    if entry.exists() and not entry.is_file() and not entry.is_dir():
        return "a pipe, a socket or a device"
    return ""


def _without_other_dicom(
    files: list[Path], folder: Path, start: Path, passed_over: list[str]
) -> list[Path]:
    """The files of a folder; without DICOM where none of it is an image, but a report or the directory of a disc."""
    dicom = [file for file in files if _is_dicom(file)]
    if not dicom:
        return files
    from napari_uda.data.dicom_headers import DICOM_ERRORS, read_header  # see `_dicom_leaves`

    kinds: set[str] = set()
    for file in dicom:  # the first one is an image nearly always
        try:
            header = read_header(file)
        except DICOM_ERRORS:
            return files  # which is told when it is read
        if header is not None and not header.no_image:
            return files
        kinds |= set() if header is None else {header.no_image}
    if kinds:
        where = _below(folder, start) or shown(folder)
        passed_over.append(f"{where} ({', '.join(sorted(kinds))})")
    return [file for file in files if file not in dicom]


def _dicom_leaves(
    folder: Path, first: Path, others: list[Path], parts: tuple[str, ...]
) -> Iterator[_Leaf]:
    """A folder of slices is one volume; files of many frames are one each unless they share a series."""
    from napari_uda.data.dicom_headers import peek  # its library is not needed for other files

    if len(others) > 1 and peek(first).frames > 1:
        files = [file for file in others if _is_dicom(file)]
        peeked = [peek(file) for file in files]
        series = {glance.series for glance in peeked}
        if len(series) == len(files) > 1 and all(glance.frames > 1 for glance in peeked):
            for file in files:
                yield _Leaf((*parts, case_name(file)), file, dicom=True)
            return
    yield _Leaf(parts, folder, dicom=True)


def dicom_segmentations(files: Sequence[Path]) -> list[Path]:
    """The DICOM SEGs and RTSTRUCTs among files."""
    if not files:
        return []
    from napari_uda.data.dicom_structures import (
        dicom_kind,  # its library is not needed for other files
    )

    return [file for file in files if file.is_file() and dicom_kind(file)]


def _with_segmentations(
    leaves: list[_Leaf], drawn: Sequence[_Leaf], start: Path, passed_over: list[str]
) -> list[_Leaf]:
    """Give every DICOM segmentation to the volume it was drawn on; what fits none, or several do, is named."""
    if not drawn:
        return leaves
    from napari_uda.data.dicom_structures import referenced_series

    series = [_glance(leaf.image).series if leaf.dicom else "" for leaf in leaves]
    wanted: dict[int, list[Path]] = {}
    for leaf in drawn:
        referenced = referenced_series(leaf.image)
        fits = [place for place, uid in enumerate(series) if uid and uid in referenced]
        if not fits:
            own = [place for place, one in enumerate(leaves) if one.parts[:1] == leaf.parts[:1]]
            fits = own if len(own) == 1 and len(leaf.parts) > 1 else []
        if len(fits) == 1 and leaves[fits[0]].label is None:
            wanted.setdefault(fits[0], []).append(leaf.image)
        else:
            why = "without its image" if not fits else "beside another one"
            passed_over.append(f"{_below(leaf.image, start)} (a segmentation {why})")
    found = list(leaves)
    for place, files in wanted.items():
        if len(files) == 1:
            found[place] = replace(leaves[place], label=files[0])
        else:
            listed = ", ".join(_below(file, start) for file in files)
            passed_over.append(f"{listed} (several segmentations of one image)")
    return found


def stated_modality(cases: Iterable[Case]) -> str:
    """What the images say that they are, such as CT; "" where they differ, or one is no DICOM and says nothing.

    One file of each case is looked at.

    Raises:
        OSError: a folder or a file cannot be read.
    """
    stated: set[str] = set()
    for case in cases:
        stated.add("" if volume_suffix(case.image) else _glance(case.image).modality)
        if len(stated) > 1 or "" in stated:
            return ""
    return "".join(stated)


def _glance(image: Path) -> Glance:
    """At a DICOM file, or at the first one of a folder."""
    from napari_uda.data.dicom_headers import Glance, peek  # see `_dicom_leaves`

    if image.is_file():
        return peek(image)
    files = (file for file in sorted(image.iterdir()) if not file.name.startswith("."))
    # a pipe would be waited for without an end
    slices = (
        file for file in files if file.is_file() and not volume_suffix(file) and _is_dicom(file)
    )
    first = next(slices, None)
    return Glance() if first is None else peek(first)


def _is_dicom(file: Path) -> bool:
    if file.suffix.lower() in DICOM_SUFFIXES:
        return True
    return file.is_file() and begins_as_dicom(file)


def _label_of(image: Path, images: list[Path], labels: list[Path]) -> Path | None:
    """The label map beside an image: the only one of the only image, or the one with its name."""
    if len(images) == 1 and len(labels) == 1:
        return labels[0]
    named = [
        file
        for file in labels
        if case_name(file) == case_name(image)
        or (
            (match := _LABEL_NAME.fullmatch(case_name(file))) and match["image"] == case_name(image)
        )
    ]
    return named[0] if len(named) == 1 else None


def _below(path: Path, start: Path) -> str:
    return "/".join(shown(part) for part in path.relative_to(start).parts)


def _of_series(
    leaves: Iterable[_Leaf], series: str, folder: Path, passed_over: list[str]
) -> list[_Leaf]:
    """Leave out the DICOM volumes that are not the series asked for."""
    from napari_uda.data.dicom import dicom_volumes
    from napari_uda.data.dicom_stacks import fitting_stacks, listed_stacks

    kept: list[_Leaf] = []
    there: list[str] = []
    for leaf in leaves:
        stacks = dicom_volumes(leaf.image) if leaf.dicom else []
        if not stacks or fitting_stacks(stacks, series):
            kept.append(leaf)  # what holds none is refused when it is read, with its cause
            continue
        where = _below(leaf.image, folder) or shown(folder)
        held = listed_stacks(stacks)
        there.append(f"{where} holds {held}")
        passed_over.append(f"{where} (no series {series!r})")
    if there and not kept:
        listed = short_list(there, _MOST_NAMED, between="; ", last="; and ")
        raise InputError(
            f"{shown(folder)}: holds no DICOM volume {series!r}; choose one of these: {listed}"
        )
    return kept
