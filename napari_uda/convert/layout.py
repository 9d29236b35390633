"""Layout: what is known about a public data set (label codes, splits) and how its cases are found."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Annotated, Protocol, Self, cast

import numpy as np
import yaml
from pydantic import Field, model_validator

from napari_uda.core.config import Config
from napari_uda.core.errors import InputError
from napari_uda.core.suggestions import what_to_choose
from napari_uda.data.volume import Placement, Volume

_PACKAGE = "napari_uda.convert"

Code = Annotated[int, Field(ge=0, le=2**15)]
CodeRange = tuple[Code, Code]
_CHUNK = 2**20  # voxels at once: the types in between are eight times as large


class Structure(Config):
    """One structure: its value in the data folder and its codes in the files."""

    value: int = Field(ge=1, le=255)
    """Label value in the converted folder."""
    codes: tuple[Code | CodeRange, ...] = Field(min_length=1)
    """Values that mean this structure in the files; a pair is a range, both ends included."""


class CaseSplit(Config):
    """Which cases the papers train on and which they test on."""

    source: str
    """Where the split comes from."""
    given: bool = False
    """Whether the release itself is split; its parts are then never written into one folder."""
    train: tuple[str, ...] = Field(min_length=1)
    """Keys of the training cases."""
    test: tuple[str, ...] = Field(min_length=1)
    """Keys of the test cases."""
    left_out: tuple[str, ...] = ()
    """Keys of cases that belong to neither; not written when the parts are."""

    @model_validator(mode="after")
    def _no_case_twice(self) -> Self:
        keys = [*self.train, *self.test, *self.left_out]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise ValueError(f"case {twice[0]} is in the split twice; keep one of them")
        return self

    def part_of(self, key: str) -> str | None:
        """The part a case belongs to: "train", "test", "left_out", or None for an unknown case."""
        for part in ("train", "test", "left_out"):
            if key in getattr(self, part):
                return part
        return None


class Domain(Config):
    """One modality, site or contrast of a data set: it becomes a data folder of its own."""

    modality: str
    """Modality as `dataset.json` shall say it."""
    structures: dict[str, Structure] = Field(min_length=1)
    """Structures by name."""
    background: tuple[Code | CodeRange, ...] = (0,)
    """Codes that become background: nothing, and structures that the papers do not segment."""
    split: CaseSplit | None = None
    """The papers' split, where there is one."""

    @model_validator(mode="after")
    def _codes_are_unique(self) -> Self:
        values = [structure.value for structure in self.structures.values()]
        if len(set(values)) < len(values):
            raise ValueError("two structures have the same value; give each one a value of its own")
        ranges = sorted(
            map(_as_range, chain(self.background, *(s.codes for s in self.structures.values())))
        )
        for (low, high), (following, _) in zip(ranges, [*ranges[1:], (2**16, 0)], strict=True):
            if not low <= high < following:
                raise ValueError(f"code {high} means two things; keep one of them")
        return self

    @property
    def labels(self) -> dict[str, int]:
        """Structure name to label value."""
        return {name: structure.value for name, structure in self.structures.items()}

    def to_labels(self, array: np.ndarray, name: str) -> np.ndarray:
        """Turn the codes of a label map into the values of the data folder.

        Args:
            array: codes, any shape, whole numbers in any type.
            name: the file, for messages.

        Returns:
            uint8 values of the same shape.

        Raises:
            InputError: a code that this data set does not have; it is never taken for background.
        """
        meaning = [(code, 0) for code in self.background]
        for structure in self.structures.values():
            meaning += [(code, structure.value) for code in structure.codes]
        last = max(_as_range(code)[1] for code, _ in meaning)
        table = np.full(last + 1, -1, np.int16)
        for code, value in meaning:
            low, high = _as_range(code)
            table[low : high + 1] = value
        flat = array.reshape(-1)
        labels = np.empty(flat.shape, np.uint8)
        wrong, example = 0, 0.0
        for start in range(0, len(flat), _CHUNK):
            given = flat[start : start + _CHUNK].astype(np.float64)
            codes = np.clip(given, 0, last).astype(np.intp)
            values = np.where(codes == given, table[codes], -1)
            unknown = values < 0
            if unknown.any():
                example = example if wrong else float(given[unknown][0])
                wrong += int(unknown.sum())
            labels[start : start + _CHUNK] = values
        if wrong:
            known = ", ".join(_as_text(code) for code, _ in sorted(meaning, key=_first_code))
            raise InputError(
                f"{name}: {wrong} voxels hold no label code of this data set, the first of them {example:g} "
                f"(known: {known}); check that SOURCE is the release of this layout or correct the voxels"
            )
        return labels.reshape(array.shape)


def _as_range(code: Code | CodeRange) -> CodeRange:
    return code if isinstance(code, tuple) else (code, code)


def _first_code(meaning: tuple[Code | CodeRange, int]) -> int:
    return _as_range(meaning[0])[0]


def _as_text(code: Code | CodeRange) -> str:
    return "{} to {}".format(*code) if isinstance(code, tuple) else str(code)


@dataclass(frozen=True)
class FoundCase:
    """A case that an adapter found in a release; nothing of it has been read yet."""

    domain: str
    """One of the layout's domains."""
    name: str
    """Name of the case in the data folder, unique within the domain."""
    key: str
    """Name of the case in the split."""
    label: str
    """Name of its label map, for messages."""
    read: Callable[[Placement], tuple[Volume, Volume]]
    """Reads image and label map; the label map holds the codes of the release. It is told which placement of a
    NIfTI file is trusted."""


class _Adapter(Protocol):
    def find_cases(self, source: Path) -> list[FoundCase]: ...


class Layout(Config):
    """A public data set: its YAML file in this folder, and the module beside it that finds its cases."""

    title: str
    """What the data set is, in one line."""
    domains: dict[str, Domain] = Field(min_length=1)
    """The domains, by the name of the folder that each is written to."""

    def find_cases(self, name: str, source: Path) -> list[FoundCase]:
        """The cases of the release in folder `source`, by the module called `name`.

        Raises:
            InputError: nothing of this layout is there, or an image lacks its label map.
        """
        adapter = cast(_Adapter, importlib.import_module(f"{_PACKAGE}.{name}"))
        return adapter.find_cases(source)


class _Layouts(Mapping[str, Layout]):
    """Layouts by name, read from the YAML files when first asked for."""

    def __init__(self) -> None:
        self._read: dict[str, Layout] = {}

    def _names(self) -> list[str]:
        folder = resources.files(_PACKAGE)
        return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml"))

    def __getitem__(self, name: str) -> Layout:
        if name not in self._read:
            if name not in self._names():
                raise KeyError(name)
            text = (resources.files(_PACKAGE) / f"{name}.yaml").read_text("utf-8")
            # files of this package, which say with aliases what several domains share
            self._read[name] = Layout.model_validate(yaml.safe_load(text))
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())


LAYOUTS: Mapping[str, Layout] = _Layouts()
"""Every layout of this folder by name."""


def layout(name: str) -> Layout:
    """The layout called `name`.

    Raises:
        InputError: if there is none, naming the ones there are.
    """
    if name not in LAYOUTS:
        raise InputError(f"unknown layout {name!r}; {what_to_choose(name, LAYOUTS)}")
    return LAYOUTS[name]
