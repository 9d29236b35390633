"""Give a structure another name, in the file that names the structures of a label map."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_uda.core.errors import InputError
from napari_uda.core.files import atomic_file, case_name, is_folder, shown
from napari_uda.core.small_files import read_json, read_object
from napari_uda.core.structure_colours import structure_colour
from napari_uda.data.folder import MOST_DATASET_BYTES, write_dataset_json

_IMAGE_FOLDERS = ("images", "imagesTr")
_HEADER = """# value red green blue opacity visible mesh name
"""


def rename_structure(label_file: Path, value: int, names: Mapping[int, str]) -> Path:
    """Write the names of a label map's structures, of which one is new, where they are read from again.

    For a case of a data folder that is its `dataset.json`, else a label description (ITK-SNAP) beside the label map
    and named like it; a prediction's `<case>.json` follows.

    Args:
        label_file: the label map.
        value: label value of the renamed structure.
        names: label value to name of all structures, the new name among them.

    Returns:
        The file that has the names.

    Raises:
        InputError: an empty name or one that another structure has, or a file that cannot be read or written.
    """
    name = names[value]
    check_name(value, names)
    folder = label_file.parent.parent
    dataset = folder / "dataset.json"
    if dataset.is_file() and any(is_folder(folder / one) for one in _IMAGE_FOLDERS):
        _rename_in_dataset(dataset, value, name)
        return dataset
    description = label_file.with_name(f"{case_name(label_file)}.label")
    _write_description(description, names)
    record = label_file.with_name(f"{case_name(label_file).removesuffix('_labels')}.json")
    content = read_object(record) or {}
    structures = content.get("structures")
    if isinstance(structures, list):
        for one in structures:
            if isinstance(one, dict) and one.get("value") == value:
                one["name"] = name
        _write_json(record, content)
    return description


def rename_in_folder(folder: Path, value: int, names: Mapping[int, str], modality: str) -> Path:
    """Write the names of a data folder's structures, of which one is new, into its `dataset.json`.

    Args:
        folder: the data folder.
        value: label value of the renamed structure.
        names: label value to name of all structures, the new name among them.
        modality: for a folder that has no `dataset.json` yet.

    Returns:
        The file that has the names.

    Raises:
        InputError: as for `rename_structure`.
    """
    check_name(value, names)
    dataset = folder / "dataset.json"
    if dataset.is_file():
        _rename_in_dataset(dataset, value, names[value])
    else:
        write_dataset_json(folder, {name: number for number, name in names.items()}, modality)
    return dataset


def check_name(value: int, names: Mapping[int, str]) -> None:
    """Whether a name can be told from the others.

    Raises:
        InputError: it is empty, has a quotation mark or a line break, or another structure has it.
    """
    name = names[value]
    if not name.strip() or name != name.strip() or any(sign in name for sign in '"\n\r'):
        raise InputError(
            f"{name!r} is no name of a structure; write some letters, without quotation marks"
        )
    if name.lower() == "background" or name.isdigit():
        raise InputError(f"a structure cannot be called {name}; choose a word for it")
    others = [other for number, other in names.items() if number != value]
    if name in others:
        raise InputError(f"another structure is called {name} already; choose a different name")


def _rename_in_dataset(file: Path, value: int, name: str) -> None:
    content = read_json(file, most_bytes=MOST_DATASET_BYTES)
    labels = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(labels, dict):
        raise InputError(f"{shown(file)}: has no labels; add them before you rename one")
    by_value = all(str(key).isdigit() for key in labels)
    renamed = {
        (key if by_value or entry != value else name): (
            name if by_value and str(key) == str(value) else entry
        )
        for key, entry in labels.items()
    }
    if len(renamed) != len(labels):
        raise InputError(f"{shown(file)}: has a label {name} already; choose a different name")
    if renamed == labels:
        raise InputError(
            f"{shown(file)}: has no label of value {value}; rename the structure in the file itself"
        )
    _write_json(file, {**content, "labels": renamed})


def _write_description(file: Path, names: Mapping[int, str]) -> None:
    lines = []
    for value, name in sorted(names.items()):
        red, green, blue = bytes.fromhex(structure_colour(name, value)[1:])
        lines.append(f'{value} {red} {green} {blue} 1 1 1 "{name}"\n')
    with atomic_file(file) as stream:
        stream.write((_HEADER + "".join(lines)).encode())


def _write_json(file: Path, content: Any) -> None:
    with atomic_file(file) as stream:
        stream.write((json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
