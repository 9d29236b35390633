"""Data folders: which images and label maps belong together, and what the labels are called.

Three layouts are read as they are: the contract's (`images/`, `labels/`, optional `dataset.json`),
nnU-Net raw (`imagesTr/<case>_0000.nii.gz`, `labelsTr/<case>.nii.gz`, `dataset.json`), and folders of
patients (`<case>/image.nii.gz` with `<case>/label.nii.gz` beside it, or `<case>/` with DICOM files).
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from napari_uda.core.errors import InputError, reason
from napari_uda.core.files import (
    VOLUME_SUFFIXES,
    atomic_file,
    case_name,
    case_of_image,
    check_is_text,
    is_file,
    shown,
    volume_suffix,
)
from napari_uda.core.small_files import read_json
from napari_uda.data.patients import (
    LABEL_MAPS,
    OWN_RESULT,
    Case,
    Found,
    find_labels,
    find_patients,
    passed_over_text,
    stated_modality,
)
from napari_uda.data.segments import small_values

__all__ = ["Case", "DataFolder", "find_cases", "find_volumes", "write_dataset_json"]

Item = TypeVar("Item", Case, Path)

if TYPE_CHECKING:
    from napari_uda.data.nifti import Placement

MOST_DATASET_BYTES = 20_000_000
"""Size of the largest `dataset.json`: nnU-Net's lists every case."""
_LARGEST_STORED = 2**32 - 1
_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")
_WITHIN_PATIENT = re.compile(
    r"dicom|dcm|ct|mri?|pt|pet|us|anat|scans?|stud(?:y|ies)[-_ ]?\d*|series[-_ ]?\d*|st\d+|se\d+|\d+(?:\.\d+){3,}",
    re.IGNORECASE,
)
"""Folders that programs make within that of a patient: of a modality, a study or a series, by word or UID."""


@dataclass(frozen=True)
class DataFolder:
    """The cases of a folder and the names of their labels. No volume is read."""

    path: Path
    cases: tuple[Case, ...]
    """Ordered by name."""
    labels: dict[str, int]
    """Structure name to label value 1 to 255, in order of value, without background; {} when unknown.

    Values above 255 in the files have become small ones: `small_values`.
    """
    modality: str
    """As `dataset.json` says it ("CT", "MR", ...), else as the DICOM images do, or ""."""

    passed_over: tuple[str, ...] = ()
    """What lies there and cannot be used, each with why."""
    found_labels: dict[str, int] = field(default_factory=dict)
    """As `labels`, for a folder that does not name them but whose label files do; see `named`."""

    @property
    def stored_labels(self) -> dict[str, int]:
        """As `labels`, with the values that the files hold."""
        stored = self.cases[0].stored if self.cases else ()
        return dict(sorted(stored, key=lambda item: item[1]))

    @property
    def label_folder(self) -> Path:
        """Where the label maps lie: in `labels`, or beside the images."""
        named = (self.path / name for name in ("labels", "labelsTr", "images", "imagesTr"))
        return next((folder for folder in named if folder.is_dir()), self.path)

    @property
    def where_labels_go(self) -> str:
        """What to do where there are no label maps, as the end of a sentence."""
        remedy = "put them into its subfolder labels"
        if any(note.endswith(LABEL_MAPS) for note in self.passed_over):
            remedy += (
                ", one label map for each case, or leave in the folder of each patient one image and beside it one folder of "
                "masks, such as segmentations/liver.nii.gz"
            )
        return remedy

    def notes(self) -> str:
        """What was passed over, or ""."""
        return passed_over_text(self.passed_over)

    def named(self, names: Mapping[str, int] | None = None) -> DataFolder:
        """The same folder, read by names where `dataset.json` gives none.

        Args:
            names: structure name to label value; empty takes what the label files name, of which the headers
                are read.

        Raises:
            InputError: files that cannot be read, or descriptions of labels that differ.
        """
        if self.labels:
            return self
        stored = dict(names or {})
        if not stored:
            from napari_uda.data.segmentation import found_structures  # readers are slow to import

            files = [case.label for case in self.cases if case.label is not None]
            stored = found_structures(files, renumber=True)
        return replace(
            self,
            cases=tuple(replace(case, stored=tuple(stored.items())) for case in self.cases),
            found_labels=small_values(stored),
        )

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        series: str = "",
        placement: Placement = "auto",
        labels: Mapping[str, int] | None = None,
    ) -> DataFolder:
        """List a data folder of any layout.

        Hidden files (`.DS_Store`, `._case.nii.gz`) are ignored, and so are files of other types. A
        subfolder of `images` is a patient: see `find_patients`.

        Args:
            path: the folder.
            series: takes those DICOM volumes only that it fits; "" takes all.
            placement: which of sform and qform the cases trust where a NIfTI file has both.
            labels: structure name to value in the files, instead of those of `dataset.json`.

        Raises:
            InputError: no such folder, no images, several channels, two images of one case, labels
                without an image, or a malformed `dataset.json`.
        """
        folder = Path(path)
        try:
            images, references_in, nnunet = _subfolders(folder)
            found = find_patients(images, series)
            stated = stated_modality(found.cases)
            references: dict[str, Path] = {}
            if references_in != images and references_in.exists():
                references = _by_case(find_labels(references_in), references_in)
        except OSError as error:
            raise InputError(
                f"{shown(folder)}: cannot be read ({reason(error)}); check the folder"
            ) from error
        if images == folder and not _are_patients(found, folder):
            raise InputError(
                f"{shown(folder)}: is no data folder, it holds neither images nor imagesTr nor folders of patients; "
                "put the volumes into a subfolder named images"
            )
        # the Medical Segmentation Decathlon has the same folders, and no channels in the names
        channels = nnunet and any(_CHANNEL.fullmatch(case_name(one.image)) for one in found.cases)
        named = _by_case(
            ((_image_case(case.image, case.name, channels), case) for case in found.cases), images
        )
        if not named:
            raise InputError(
                f"{shown(folder)}: {images.name} holds no volume; put files named <case>"
                f"{'_0000' if nnunet else ''}.nii.gz there (known types: {', '.join(VOLUME_SUFFIXES)})"
            )
        if references_in != images:
            _check_paired(named.keys(), references.keys(), images, references_in)
        values, modality = _read_dataset_json(folder / "dataset.json")
        stored = {name: value for name, value in (labels or values).items() if value}
        cases = tuple(
            replace(
                case,
                name=name,
                label=references.get(name, case.label),
                placement=placement,
                stored=tuple(stored.items()),
            )
            for name, case in sorted(named.items())
        )
        return cls(folder, cases, small_values(stored), modality or stated, found.passed_over)


def find_cases(
    paths: Iterable[str | os.PathLike[str]], series: str = "", placement: Placement = "auto"
) -> list[Found]:
    """The volumes among `paths`, for each path: a file as it is, a folder with all that lies below it.

    A folder with `images/` gives those images; one whose own files are DICOM slices is a series.

    Args:
        paths: files and folders.
        series: takes those DICOM volumes only that it fits; "" takes all.
        placement: which of sform and qform the cases trust where a NIfTI file has both.

    Returns:
        For each path its cases. Cases of different paths with one name are named by their folders, too.

    Raises:
        InputError: a path does not exist or holds no volume, or nothing was given.
    """
    given = [Path(path) for path in paths]
    found: list[Found] = []
    for path in given:
        try:
            found.append(_found_in(path, series))
        except OSError as error:
            raise InputError(
                f"{shown(path)}: cannot be read ({reason(error)}); check the path"
            ) from error
    if not found:
        raise InputError("no volume is given; name files or folders")
    names = Counter(name for one in found for name in {case.name for case in one.cases})
    return [
        replace(
            one,
            cases=tuple(
                replace(_apart(case, path, one, names), placement=placement) for case in one.cases
            ),
        )
        for path, one in zip(given, found, strict=True)
    ]


def find_volumes(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The files and DICOM folders of `find_cases`, without the `<case>.json` beside the labels of a result.

    Raises:
        InputError: as `find_cases`.
    """
    given = [path for path in map(Path, paths) if not _is_beside_labels(path)]
    return [case.image for found in find_cases(given) for case in found.cases] if given else []


def _is_beside_labels(path: Path) -> bool:
    """Whether a file says what a result was made from and by: `results/*` in a shell names it, too."""
    return path.suffix == ".json" and is_file(path.with_name(f"{path.stem}_labels.nii.gz"))


def _apart(case: Case, path: Path, found: Found, names: Mapping[str, int]) -> Case:
    """The case, named by its folder where its own name comes twice."""
    folder = case_name(path)
    if names[case.name] == 1 or not path.is_dir() or case.name == folder:
        return case
    return replace(case, name=folder if len(found.cases) == 1 else f"{folder}_{case.name}")


def _found_in(path: Path, series: str) -> Found:
    """The file itself, or the volumes of a folder."""
    if not path.exists():
        raise InputError(f"{shown(path)}: there is no such file or folder; check the path")
    if not path.is_dir():
        check_is_text(path)
        dicom = not volume_suffix(path)
        return Found((Case(case_of_image(path), path, None, series if dicom else ""),), ())
    if (path / "images").is_dir() or (path / "imagesTr").is_dir():
        folder = DataFolder.open(path, series=series)
        return Found(folder.cases, folder.passed_over)
    found = find_patients(path, series, shorten=True)
    if found.cases:
        return replace(found, cases=tuple(_of_patient(case, path, found) for case in found.cases))
    if any(note.endswith(OWN_RESULT) for note in found.passed_over):
        raise InputError(
            f"{shown(path)}: holds results of napari_uda and no image; give the folder of the images"
        )
    return Found((Case(case_name(path), path, None, series),), found.passed_over)


def _of_patient(case: Case, folder: Path, found: Found) -> Case:
    """The case, named by its folder where it is called as folders within those of patients are, such as `CT`."""
    below = case.image.relative_to(folder).parts
    if not any(_WITHIN_PATIENT.fullmatch(part) and case.name.startswith(part) for part in below):
        return case
    name = case_name(folder)
    return replace(case, name=name if len(found.cases) == 1 else f"{name}_{case.name}")


def _subfolders(folder: Path) -> tuple[Path, Path, bool]:
    """Folder of images, folder of labels, and whether the layout is nnU-Net's."""
    if not folder.exists():
        raise InputError(
            f"{shown(folder)}: there is no such folder in {folder.parent}; check the path"
        )
    if not folder.is_dir():
        raise InputError(
            f"{shown(folder)}: is a file; give the folder that holds images/ and labels/"
        )
    contract, nnunet = (folder / "images").is_dir(), (folder / "imagesTr").is_dir()
    if contract and nnunet:
        raise InputError(
            f"{shown(folder)}: holds both images and imagesTr; keep one of the two layouts"
        )
    if not contract and not nnunet:
        inside = [
            shown(entry)
            for entry in sorted(folder.iterdir())
            if (entry / "images").is_dir() or (entry / "imagesTr").is_dir()
        ]
        if inside:
            raise InputError(
                f"{shown(folder)}: is no data folder, it holds {len(inside)} of them ({', '.join(inside[:5])}); "
                "name one of them"
            )
        return folder, folder, False
    ending = "Tr" if nnunet else ""
    return folder / f"images{ending}", folder / f"labels{ending}", nnunet


def _are_patients(found: Found, folder: Path) -> bool:
    """Whether there are folders of patients, and no DICOM series in the folder itself.

    A volume beside them is a patient by itself; volumes alone are no folder of patients.
    """
    images = [case.image for case in found.cases]
    return folder not in images and any(
        image.parent != folder or image.is_dir() for image in images
    )


def _image_case(file: Path, name: str, channels: bool) -> str:
    """The case an image belongs to; nnU-Net appends its channel, of which only the first is known."""
    if not channels:
        return name
    if volume_suffix(file):
        name = case_name(file)  # with its channel
    match = _CHANNEL.fullmatch(name)
    if not match:
        raise InputError(
            f"imagesTr/{shown(file)}: lacks nnU-Net's channel number; name it {name}_0000{volume_suffix(file)}"
        )
    if match["channel"] != "0000":
        raise InputError(
            f"imagesTr/{shown(file)}: is channel {match['channel']} of {match['case']}, and only one channel per "
            "case can be used; keep the files ending in _0000"
        )
    return match["case"]


def _by_case(entries: Iterable[tuple[str, Item]], folder: Path) -> dict[str, Item]:
    named: dict[str, Item] = {}
    for name, entry in entries:
        if name in named:
            first, second = (_shown_of(one) for one in (named[name], entry))
            raise InputError(
                f"{folder.name}: {first} and {second} are both case {name}; keep one of them"
            )
        named[name] = entry
    return named


def _shown_of(entry: Case | Path) -> str:
    return shown(entry if isinstance(entry, Path) else entry.image)


def _check_paired(
    images: Iterable[str], references: Iterable[str], image_folder: Path, label_folder: Path
) -> None:
    lonely = sorted(set(references) - set(images))
    if lonely:
        listed = ", ".join(lonely[:5]) + (", ..." if len(lonely) > 5 else "")
        raise InputError(
            f"{label_folder.name}: {len(lonely)} label map(s) without an image in {image_folder.name} ({listed}); "
            "add the images, rename or remove the label maps"
        )


def modality_beside(file: Path) -> str:
    """The modality that the data folder of an image says it has; "" for a file in no data folder.

    Raises:
        InputError: `dataset.json` cannot be read.
    """
    if file.parent.name not in ("images", "imagesTr", "imagesTs"):
        return ""
    return _read_dataset_json(file.parent.parent / "dataset.json")[1]


def _read_dataset_json(file: Path) -> tuple[dict[str, int], str]:
    """Labels and modality; ({}, "") where there is no file."""
    if not file.exists():
        return {}, ""
    content = read_json(file, most_bytes=MOST_DATASET_BYTES, no_name_twice=True)
    if not isinstance(content, dict):
        raise InputError(
            f'dataset.json: holds a {type(content).__name__}, not an object; write {{"labels": {{...}}}}'
        )
    return _labels(content.get("labels", {})), _modality(content)


def _labels(entry: object) -> dict[str, int]:
    """Name to value from either style: {"LV": 1} or the older {"1": "LV"}; background dropped."""
    if not isinstance(entry, dict):
        raise InputError(
            f'dataset.json: labels is a {type(entry).__name__}; write names and values, such as {{"LV": 1}}'
        )
    older = bool(entry) and all(
        key.isdecimal() and len(key) < 10 and isinstance(value, str) for key, value in entry.items()
    )
    pairs = [(value, int(key)) for key, value in entry.items()] if older else list(entry.items())
    labels: dict[str, int] = {}
    for name, value in pairs:
        _check_label(name, value)
        if value == 0:
            continue
        if name in labels or value in labels.values():
            raise InputError(
                f"dataset.json: label {name!r} with value {value} repeats a name or a value; make each unique"
            )
        labels[name] = value
    return dict(sorted(labels.items(), key=lambda item: item[1]))


def _check_label(name: str, value: object) -> None:
    if isinstance(value, list):
        raise InputError(
            f"dataset.json: label {name!r} is the region {value}, and regions cannot be used; give each label one value"
        )
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST_STORED:
        raise InputError(
            f"dataset.json: label {name!r} has the value {value!r}; use a whole number from 0 to {_LARGEST_STORED}"
        )
    if not name.strip():
        raise InputError(f"dataset.json: the label with value {value} has no name; give it one")
    if name.lower() == "background" and value != 0:
        raise InputError(f"dataset.json: background has the value {value}; background must be 0")
    if name.lower() == "ignore":
        raise InputError(
            f"dataset.json: label 'ignore' (value {value}) is nnU-Net's mark for voxels without a label, which cannot "
            "be used; give these voxels a label and remove the entry"
        )


def _modality(content: Mapping[str, object]) -> str:
    """The one modality: a text, or nnU-Net's {"0": "CT"} under `channel_names` or `modality`."""
    entry = content.get("modality", content.get("channel_names", ""))
    if isinstance(entry, dict):
        if len(entry) > 1:
            channels = ", ".join(map(str, entry.values()))
            raise InputError(
                f"dataset.json: names {len(entry)} channels ({channels}), and only one can be used; "
                "keep one channel per case"
            )
        entry = next(iter(entry.values()), "")
    if not isinstance(entry, str):
        raise InputError(f'dataset.json: modality is {entry!r}; write a text such as "CT"')
    return entry


def write_dataset_json(
    folder: str | os.PathLike[str], labels: Mapping[str, int], modality: str
) -> None:
    """Write `dataset.json` of a data folder: names and values (background included) and modality.

    Args:
        folder: the data folder, created when missing.
        labels: structure name to value 1 to 255.
        modality: such as "CT" or "MR".

    Raises:
        InputError: a value or name that could not be read back, or a folder that cannot be written.
    """
    checked = _labels(dict(labels))
    content = {"labels": {"background": 0, **checked}, "modality": modality}
    with atomic_file(Path(folder) / "dataset.json") as stream:
        stream.write((json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
