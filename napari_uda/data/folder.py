"""Data folders: which images and label maps belong together, and what the labels are called.

Two layouts are read as they are: the contract's (`images/`, `labels/`, optional `dataset.json`) and
nnU-Net raw (`imagesTr/<case>_0000.nii.gz`, `labelsTr/<case>.nii.gz`, `dataset.json`).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_uda.core.errors import InputError, reason
from napari_uda.core.files import (
    VOLUME_SUFFIXES,
    atomic_file,
    case_name,
    shown,
    volume_suffix,
)

if TYPE_CHECKING:
    from napari_uda.data.nifti import Placement

_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")


@dataclass(frozen=True)
class Case:
    """One image and, where there is one, its label map."""

    name: str
    image: Path
    label: Path | None
    placement: Placement = "auto"
    """Which of sform and qform is trusted in NIfTI files that have both."""


@dataclass(frozen=True)
class DataFolder:
    """The cases of a folder and the names of their labels. No volume is read."""

    path: Path
    cases: tuple[Case, ...]
    """Ordered by name."""
    labels: dict[str, int]
    """Structure name to label value 1 to 255, in order of value, without background; {} when unknown."""
    modality: str
    """As `dataset.json` says it ("CT", "MR", ...), or ""."""

    @classmethod
    def open(cls, path: str | os.PathLike[str], placement: Placement = "auto") -> DataFolder:
        """List a data folder of either layout.

        Hidden files (`.DS_Store`, `._case.nii.gz`) and files of other types are ignored. A subfolder of
        `images` is a case stored as a DICOM series.

        Args:
            path: the folder.
            placement: kept in the cases, for those who read them.

        Raises:
            InputError: no such folder, no images, several channels, two images of one case, labels
                without an image, or a malformed `dataset.json`.
        """
        folder = Path(path)
        try:
            images, labels, nnunet = _subfolders(folder)
            image_files, label_files = _volumes(images), _volumes(labels)
        except OSError as error:
            raise InputError(
                f"{shown(folder)}: cannot be read ({reason(error)}); check the folder"
            ) from error
        named = _by_case(((_image_case(file, nnunet), file) for file in image_files), images)
        if not named:
            raise InputError(
                f"{shown(folder)}: {images.name} holds no volume; put files named <case>"
                f"{'_0000' if nnunet else ''}.nii.gz there (known types: {', '.join(VOLUME_SUFFIXES)})"
            )
        references = _by_case(((case_name(file), file) for file in label_files), labels)
        _check_paired(named.keys(), references.keys(), images, labels)
        cases = tuple(
            Case(name, image, references.get(name), placement)
            for name, image in sorted(named.items())
        )
        values, modality = _read_dataset_json(folder / "dataset.json")
        return cls(folder, cases, values, modality)


def find_volumes(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Volume files among `paths`: files as they are, folders of volumes opened up.

    A folder with `images/` gives those images; a folder without any volume file is taken for a DICOM
    series.

    Raises:
        InputError: a path does not exist, or nothing was given.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        try:
            found += _volumes_of(path)
        except OSError as error:
            raise InputError(
                f"{shown(path)}: cannot be read ({reason(error)}); check the path"
            ) from error
    if not found:
        raise InputError("no volume is given; name files or folders")
    return found


def _volumes_of(path: Path) -> list[Path]:
    """The file itself, or the volumes of a folder."""
    if not path.exists():
        raise InputError(f"{shown(path)}: there is no such file or folder; check the path")
    if not path.is_dir():
        return [path]
    if (path / "images").is_dir() or (path / "imagesTr").is_dir():
        return [case.image for case in DataFolder.open(path).cases]
    return [file for file in _volumes(path) if volume_suffix(file)] or [path]


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
        raise InputError(
            f"{shown(folder)}: is no data folder, it holds neither images nor imagesTr; "
            "put the volumes into a subfolder named images"
        )
    ending = "Tr" if nnunet else ""
    return folder / f"images{ending}", folder / f"labels{ending}", nnunet


def _volumes(folder: Path) -> list[Path]:
    """Volume files and subfolders, without hidden ones; [] where the folder does not exist."""
    if not folder.exists():
        return []
    return sorted(
        entry
        for entry in folder.iterdir()
        if not entry.name.startswith(".") and (volume_suffix(entry) or entry.is_dir())
    )


def _image_case(file: Path, nnunet: bool) -> str:
    """The case an image belongs to; nnU-Net appends its channel, of which only the first is known."""
    name = case_name(file)
    if not nnunet:
        return name
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


def _by_case(files: Iterable[tuple[str, Path]], folder: Path) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for name, file in files:
        if name in named:
            raise InputError(
                f"{folder.name}: {shown(named[name])} and {shown(file)} are both case {name}; keep one of them"
            )
        named[name] = file
    return named


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


def _read_dataset_json(file: Path) -> tuple[dict[str, int], str]:
    """Labels and modality; ({}, "") where there is no file."""
    if not file.exists():
        return {}, ""
    try:
        content = json.loads(file.read_text("utf-8-sig"), object_pairs_hook=_no_doubled_keys)
    except OSError as error:
        raise InputError(
            f"dataset.json: cannot be read ({reason(error)}); check the file"
        ) from error
    except (ValueError, RecursionError) as error:
        cause = str(error).replace("\n", " ") or "nested too deeply"
        raise InputError(f"dataset.json: is not valid JSON ({cause}); correct the file") from error
    if not isinstance(content, dict):
        raise InputError(
            f'dataset.json: holds a {type(content).__name__}, not an object; write {{"labels": {{...}}}}'
        )
    return _labels(content.get("labels", {})), _modality(content)


def _no_doubled_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return content


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
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 255:
        raise InputError(
            f"dataset.json: label {name!r} has the value {value!r}; use a whole number from 0 to 255"
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
    content = {"labels": {"background": 0, **_labels(dict(labels))}, "modality": modality}
    with atomic_file(Path(folder) / "dataset.json") as stream:
        stream.write((json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
