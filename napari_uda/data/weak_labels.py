"""Weak labels: per slice which structures are there, or how large they are, in one small file.

They are made from label maps once; what trains with them never opens a label map again (SF-D7).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from napari_uda.core.config import Config, plain_problem
from napari_uda.core.errors import InputError
from napari_uda.core.files import atomic_file, shown
from napari_uda.core.small_files import parse_json, read_small
from napari_uda.data.sizes import slice_areas
from napari_uda.data.slices import SliceGrid, window_labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_uda.data.folder import DataFolder

_MOST_BYTES = 100_000_000  # a number for each structure of each slice
Kind = Literal["tags", "areas"]


class WeakLabels(Config):
    """Tags or areas of the slices of some cases."""

    kind: Kind
    """What the numbers are: tags (1 where a slice contains the structure, else 0) or areas (in
    square millimetres)."""
    axis: int = Field(ge=0, le=2)
    """Canonical axis across which the slices were cut."""
    structures: tuple[str, ...]
    """Names of the structures, in the order of a slice's numbers."""
    cases: dict[str, tuple[tuple[float, ...], ...]]
    """Case name to its slices in canonical order, each with one number per structure."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for case, slices in self.cases.items():
            for row in slices:
                if len(row) != len(self.structures) or min(row, default=0) < 0:
                    raise ValueError(
                        f"a slice of {case} has the numbers {list(row)} for the structures "
                        f"{list(self.structures)}"
                    )
        return self

    def table(
        self, case: str, structures: Sequence[str], axis: int, count: int
    ) -> NDArray[np.float64]:
        """The numbers of one case.

        Args:
            case: its name.
            structures: which structures, in which order.
            axis: canonical slice axis of the run.
            count: slices of the case.

        Returns:
            `(count, len(structures))`.

        Raises:
            InputError: if the case, a structure or a slice is not in the file.
        """
        missing = [name for name in structures if name not in self.structures]
        if missing:
            raise InputError(
                f"the weak labels know {', '.join(self.structures)} but not {missing[0]}; make them "
                "again with napari-uda tags"
            )
        if axis != self.axis:
            raise InputError(
                f"the weak labels are of slices across {'zyx'[self.axis]}, the run's are across "
                f"{'zyx'[axis]}; make them again with napari-uda tags"
            )
        rows = self.cases.get(case)
        if rows is None or len(rows) != count:
            known = "none" if rows is None else str(len(rows))
            raise InputError(
                f"{case} has {count} slices, and the weak labels know {known} of it; make them again "
                "with napari-uda tags"
            )
        order = [self.structures.index(name) for name in structures]
        return np.asarray(rows, float).reshape(count, len(self.structures))[:, order]

    def write(self, path: str | os.PathLike[str]) -> None:
        """Store as JSON, whole or not at all."""
        with atomic_file(path) as file:
            file.write(self.model_dump_json().encode() + b"\n")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> WeakLabels:
        """Read what `write` wrote.

        Raises:
            InputError: if the file is missing or is something else.
        """
        try:
            text = read_small(path, most_bytes=_MOST_BYTES)
            parse_json(text, shown(path))  # bounds, which pydantic's own reader does not know
            return cls.model_validate_json(text)
        except FileNotFoundError as error:
            raise InputError(
                f"{shown(path)}: cannot be read ({error.strerror}); make it with napari-uda tags"
            ) from error
        except ValidationError as error:
            raise InputError(
                f"{shown(path)}: is no file of weak labels ({plain_problem(error)}); make it with "
                "napari-uda tags"
            ) from error


def make_weak_labels(
    folder: DataFolder, labels: Mapping[str, int], grid: SliceGrid, kind: Kind = "tags"
) -> WeakLabels:
    """Weak labels of all cases of a folder, counted in the window that a network sees.

    Args:
        folder: data folder with label maps.
        labels: structure names and values of the run that will use them.
        grid: its slice grid.
        kind: tags, or areas for the bound that knows true sizes.

    Raises:
        InputError: if a case has no label map.
    """
    classes = np.zeros(256, np.uint8)
    names = [name for name, _ in sorted(labels.items(), key=lambda item: item[1])]
    for index, name in enumerate(names, start=1):
        classes[labels[name]] = index
    cases = {}
    for case in folder.cases:
        if case.label is None:
            raise InputError(
                f"{case.name} has no label map in {shown(folder.path)}; add it to labels/"
            )
        raw = case.read_labels()
        slices = window_labels(raw.with_array(classes[raw.array]), grid)
        areas = slice_areas(slices, len(names) + 1)[:, 1:]
        numbers = (areas > 0).astype(int) if kind == "tags" else areas * grid.pixel_mm2(raw)
        cases[case.name] = tuple(tuple(float(n) for n in row) for row in numbers)
    return WeakLabels(kind=kind, axis=grid.axis, structures=tuple(names), cases=cases)
