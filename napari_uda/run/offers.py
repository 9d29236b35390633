"""What the files and folders that a user opens hold: volumes that are opened together, or to be chosen from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path

import nibabel as nib

from napari_uda.core.errors import InputError, reason
from napari_uda.core.files import (
    NIFTI_SUFFIXES,
    case_name,
    case_of_image,
    is_folder,
    shown,
    volume_suffix,
)
from napari_uda.core.progress import tell
from napari_uda.data.folder import DataFolder
from napari_uda.data.patients import Case, find_patients, is_named_as_labels
from napari_uda.data.segmentation import kind_of, needs_image
from napari_uda.data.volume import Placement, Volume
from napari_uda.run.roles import RESULT_SUFFIXES, Shown, read_shown, role_by_name

_SUFFIX_OF = {role: suffix for suffix, role in RESULT_SUFFIXES.items()}
_MOST_OF_A_CASE = 8
"""Files that lie beside each other and may be one case: more are a collection."""
_MOST_FOLDERS = 400
"""In which the image of contours is looked for."""
_MOST_DEPTH = 4


class NoImageError(InputError):
    """Contours whose image is not found: only their user knows in which folder it lies.

    Attributes:
        file: the RTSTRUCT.
    """

    def __init__(self, file: Path, folders: Sequence[Path] = ()) -> None:
        """Say what is missing, and the remedy; `folders` is where it was looked for besides."""
        self.file = file
        where = " nor in ".join(["beside it", *map(shown, folders)])
        super().__init__(
            f"{shown(file)}: holds contours (RTSTRUCT), and the image series that they were drawn on is not {where}; "
            "choose the folder of that series"
        )


@dataclass(frozen=True)
class Part:
    """One file or DICOM series, which becomes one layer."""

    path: Path
    role: str = ""
    """As for `read_shown`."""
    series: str = ""
    names: tuple[tuple[int, str], ...] = ()
    """Label value to structure name; () for those of the file or of what lies beside it."""


@dataclass(frozen=True)
class Offer:
    """What is opened together: an image with its structures and results, or a file alone."""

    name: str
    """Of the case; "" leaves a file its own."""
    parts: tuple[Part, ...]
    """The image first."""
    description: str = ""
    modality: str = ""
    slices: str = ""
    size: str = ""
    """Of a slice: `512 x 512`."""
    date: str = ""


@dataclass(frozen=True)
class Offers:
    """All that some paths hold."""

    offers: tuple[Offer, ...]
    is_choice: bool = False
    """Whether they are not meant to be opened all at once."""
    data_folder: Path | None = None
    """The data folder whose first case is offered."""
    problems: tuple[str, ...] = ()
    """What is wrong with other paths, a sentence each."""


def find_offers(paths: Iterable[Path], image_folders: Sequence[Path] = ()) -> Offers:
    """Look at what a user opens; no voxels are read.

    A volume file is opened alone. One slice of a DICOM series stands for the series. The folder of a case gives its
    images, structures and results together, a data folder its first case, and every other folder a choice
    between the volumes below it.

    Args:
        paths: files and folders.
        image_folders: where the images of contours (RTSTRUCT) are looked for besides.

    Raises:
        NoImageError: contours whose image is not found.
        InputError: none of the paths exists, can be read and holds a volume.
    """
    found: list[Offers] = []
    problems: list[InputError] = []
    for path in paths:
        try:
            found.append(_offers_of(path, image_folders))
        except NoImageError:
            raise
        except InputError as error:
            problems.append(error)
        except OSError as error:
            said = f"{shown(path)}: cannot be read ({reason(error)}); check the path"
            problems.append(InputError(said))
    if problems and not found:
        raise problems[0]
    return Offers(
        tuple(offer for one in found for offer in one.offers),
        any(one.is_choice for one in found),
        next((one.data_folder for one in found if one.data_folder), None),
        tuple(map(str, problems)),
    )


def read_offer(offer: Offer, placement: Placement = "auto") -> list[Shown]:
    """Read an offer, every part of it as what it is, and named as the case.

    Args:
        offer: what to read.
        placement: which of sform and qform is trusted where a NIfTI file has both.

    Raises:
        InputError: as `read_shown`.
    """
    found: list[Shown] = []
    grid: Volume | None = None
    for part in offer.parts:
        names = dict(part.names) or None
        one = read_shown(part.path, part.role, names, placement, series=part.series, grid=grid)
        if grid is None and one.role == "image":
            grid = one.volume
        if offer.name:
            name = offer.name + _SUFFIX_OF.get(one.role, "")
            one = replace(one, volume=replace(one.volume, name=name))
        found.append(one)
    return found


def _offers_of(path: Path, image_folders: Sequence[Path]) -> Offers:
    if not path.exists():
        raise InputError(f"{shown(path)}: there is no such file or folder; check the path")
    if path.is_dir():
        return _in_folder(path)
    if path.suffix.lower() == ".img":  # half of a pair
        header = path.with_suffix(".hdr" if path.suffix == ".img" else ".HDR")
        return Offers((Offer("", (Part(header),)),))
    kind = kind_of(path)
    if kind == "rtstruct":
        image = image_of_contours(path, image_folders)
        drawn = Part(path, "reference")
        return Offers((replace(image, parts=(*image.parts, drawn)),))
    if kind or volume_suffix(path):
        return Offers((Offer("", (Part(path),)),))
    return _of_dicom_file(path)


def _of_dicom_file(path: Path) -> Offers:
    """The volumes of a file of many frames, or the series that a slice belongs to."""
    from napari_uda.data.dicom import dicom_volumes, find_stack

    own = dicom_volumes(path)
    if len(own) == 1 and len(own[0].frames) == 1:
        beside = dicom_volumes(path.parent)
        offers = list(_of_stacks(path.parent, case_name(path.parent), beside))
        holds = [any(frame.header.file == path for frame in stack.frames) for stack in beside]
        if any(holds):
            return Offers(tuple(compress(offers, holds)))
        own = []  # it is hidden, and no part of a series
    if not own:
        find_stack(path)  # says why
    return Offers(tuple(_of_stacks(path, case_of_image(path), own)), len(own) > 1)


def _of_stacks(path: Path, name: str, stacks: Sequence[object]) -> Iterator[Offer]:
    """One offer for each volume of a DICOM folder or file."""
    from napari_uda.data.dicom_stacks import Stack

    titles = Counter(stack.title for stack in stacks if isinstance(stack, Stack))
    for stack in stacks:
        assert isinstance(stack, Stack)
        header = stack.frames[0].header
        parts = [stack.title, stack.key if titles[stack.title] > 1 else ""]
        own = "_".join(filter(None, map(_plain, parts))) or stack.key
        case = name if len(stacks) == 1 else f"{name}_{own}"
        yield Offer(
            case,
            (Part(path, "image", stack.key),),
            stack.title or shown(path),
            header.modality,
            str(len(stack.frames)),
            " x ".join(map(str, header.shape)),
            header.date,
        )


def _plain(text: str) -> str:
    """A text as a part of a file's name."""
    return "_".join("".join(c if c.isalnum() or c in "-." else " " for c in text).split())


def _in_folder(folder: Path) -> Offers:
    if is_folder(folder / "images") or is_folder(folder / "imagesTr"):
        data = DataFolder.open(folder)
        return Offers((case_offer(data, data.cases[0]),), data_folder=folder)
    found = find_patients(folder, shorten=True)
    cases = list(found.cases)
    taken = {path for case in cases for path in (case.image, case.label)}
    beside = [
        file
        for file in sorted(folder.iterdir())
        if volume_suffix(file) and file not in taken and not file.name.startswith(".")
    ]
    # "label" beside t1 and t2 names no image, so it belongs to both
    beside += [case.image for case in cases if is_named_as_labels(case.image)]
    images = [case for case in cases if case.image not in beside]
    if images and beside and len(images) + len(beside) <= _MOST_OF_A_CASE:
        files = [case.image for case in images] + [case.label for case in images if case.label]
        if all(file.parent == folder for file in files):
            return Offers((_one_case(folder, images, beside),))
    cases = [_of_folder(case, folder) for case in cases]
    offers = [
        offer for number, case in enumerate(cases) for offer in _told(case, number, len(cases))
    ]
    if not offers:
        notes = f" ({found.notes()})" if found.passed_over else ""
        raise InputError(
            f"{shown(folder)}: holds no volume that can be opened{notes}; choose a folder with NIfTI files or a "
            "DICOM series"
        )
    return Offers(tuple(offers), len(offers) > 1)


def _of_folder(case: Case, folder: Path) -> Case:
    """The case, with the folder in its name where that is a patient's: its series are called "03" or "T2"."""
    below = case.image.relative_to(folder).parts
    if not below or case.name.startswith(case_of_image(below[0])):
        return case
    return replace(case, name=f"{case_name(folder)}_{case.name}")


def _one_case(folder: Path, cases: Sequence[Case], beside: Sequence[Path]) -> Offer:
    """Images, structures and results that lie in one folder."""
    images = [Part(case.image, "image") for case in cases]
    labels = [Part(case.label) for case in cases if case.label is not None]
    name = case_of_image(cases[0].image) if len(cases) == 1 else case_name(folder)
    return Offer(name, (*images, *labels, *(Part(file, role_by_name(file)) for file in beside)))


def _told(case: Case, number: int, count: int) -> Iterator[Offer]:
    """The offers of a case, of which a DICOM folder may hold several volumes."""
    tell(number, count)
    labels = () if case.label is None else (Part(case.label, names=_names(case)),)
    if volume_suffix(case.image):
        depth, plane = _size(case.image)
        part = Part(case.image, "image" if labels else "")
        offer = Offer(case.name, (part,), case.name, "", depth, plane)
        yield replace(offer, parts=(*offer.parts, *labels))
        return
    from napari_uda.data.dicom import dicom_volumes

    stacks = dicom_volumes(case.image)
    wanted = _referenced(case.label) if case.label is not None else set()
    for stack, offer in zip(stacks, _of_stacks(case.image, case.name, stacks), strict=True):
        drawn = len(stacks) == 1 or stack.frames[0].header.series in wanted
        yield replace(offer, parts=(*offer.parts, *(labels if drawn else ())))


def _names(case: Case) -> tuple[tuple[int, str], ...]:
    return tuple((value, name) for name, value in case.stored)


def _size(file: Path) -> tuple[str, str]:
    """Slices, and pixels of a slice, as the header of a NIfTI file has them; nothing for other files."""
    if volume_suffix(file) in NIFTI_SUFFIXES:
        with suppress(Exception):  # which is told when the file is read
            columns, rows, depth = nib.load(file).shape[:3]
            return str(depth), f"{rows} x {columns}"
    return "", ""


def case_offer(folder: DataFolder, case: Case) -> Offer:
    """A case of a data folder: image, labels, and what lies in its folder `predictions`.

    Args:
        folder: the data folder.
        case: one of its cases.
    """
    parts = [Part(case.image, "image", case.series)]
    if case.label is not None:
        # of names that `dataset.json` gives, contours and segments need those values
        stored = _names(case) if needs_image(case.label) else ()
        parts.append(Part(case.label, "reference", names=stored))
    for role, suffix in _SUFFIX_OF.items():
        file = folder.path / "predictions" / f"{case.name}{suffix}.nii.gz"
        if file.is_file():
            parts.append(Part(file, role))
    return Offer(case.name, tuple(parts), case.name)


def image_of_contours(file: Path, folders: Sequence[Path] = ()) -> Offer:
    """The image series that contours (RTSTRUCT) were drawn on, beside it or in the folders of its study.

    Args:
        file: the RTSTRUCT.
        folders: where to look besides.

    Raises:
        NoImageError: it is not there.
        OSError: a folder cannot be read.
    """
    from napari_uda.data.dicom import dicom_volumes

    wanted = _referenced(file)
    for place in _folders([file.parent, file.parent.parent, *folders]):
        if _first_series(place) & wanted:
            stacks = dicom_volumes(place)
            fitting = [
                offer
                for stack, offer in zip(
                    stacks, _of_stacks(place, case_name(place), stacks), strict=True
                )
                if stack.frames[0].header.series in wanted
            ]
            if len(fitting) == 1:
                return fitting[0]
    raise NoImageError(file, folders)


def _referenced(file: Path) -> set[str]:
    from napari_uda.data.dicom_structures import referenced_series

    return referenced_series(file) if kind_of(file) in ("rtstruct", "dicom-seg") else set()


def _folders(starts: Sequence[Path]) -> Iterator[Path]:
    """Folders and what lies below them, near ones first, none twice; so many at most."""
    seen: set[Path] = set()
    waiting = [(start, 0) for start in starts]
    while waiting and len(seen) < _MOST_FOLDERS:
        folder, depth = waiting.pop(0)
        if folder in seen:
            continue
        seen.add(folder)
        yield folder
        tell(0, 0)
        with suppress(OSError):
            below = sorted(entry for entry in folder.iterdir() if entry.is_dir())
            if depth < _MOST_DEPTH:
                waiting += [(entry, depth + 1) for entry in below]


def _first_series(folder: Path) -> set[str]:
    """UIDs of the series of a folder's DICOM files, each read as far as that."""
    from napari_uda.core.files import begins_as_dicom
    from napari_uda.data.dicom_headers import peek

    found: set[str] = set()
    with suppress(OSError):
        for file in sorted(folder.iterdir()):
            tell(0, 0)
            if file.is_file() and not volume_suffix(file) and begins_as_dicom(file):
                found.add(peek(file).series)
    return found - {""}
