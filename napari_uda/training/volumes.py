"""The volumes of a training run while they are read, measured and checked: each file is opened once."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_uda.core.files import shown
from napari_uda.data.check import hearing
from napari_uda.data.intensity import thinned
from napari_uda.data.segmentation import needs_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from napari_uda.data.check import DomainCheck
    from napari_uda.data.findings import Problem
    from napari_uda.data.folder import Case, DataFolder
    from napari_uda.data.volume import Volume

    _Reading = Future[tuple[Volume, list[Problem]]]

_FIT_VOXELS = 200_000
_AHEAD = 2
"""Volumes that are read before their turn, each by a thread: decompressing leaves Python to the others."""


@dataclass(frozen=True)
class Scan:
    """What one pass over a domain's images found."""

    shapes: dict[str, tuple[int, int, int]]
    spacings_mm: list[tuple[float, float, float]]
    samples: list[NDArray[np.generic]]


class Volumes:
    """The volumes of one folder, each file read and decompressed once however often it is looked at.

    Intensities are fitted to all volumes before the first one becomes slices, so voxels wait in between:
    in memory, or, beyond a budget, uncompressed in a folder that is mapped.
    """

    def __init__(
        self, folder: DataFolder, waiting: Path, budget_bytes: float, check: DomainCheck
    ) -> None:
        """Begin.

        Args:
            folder: whose volumes.
            waiting: folder for what is beyond the budget.
            budget_bytes: how much may wait in memory.
            check: is shown every volume.
        """
        self.folder = folder
        self.check = check
        self.budget_bytes = budget_bytes
        self._waiting = waiting
        self._read: dict[Path, Volume] = {}

    @cached_property
    def scan(self) -> Scan:
        """Shapes, spacings and some voxels of all images."""
        shapes: dict[str, tuple[int, int, int]] = {}
        spacings, samples = [], []
        cases = self.folder.cases
        images = self._in_order((case.image, case.read_image) for case in cases)
        for case, image in zip(cases, images, strict=True):
            self.check.take_image(case.name, image)
            volume = image.canonical()
            z, y, x = volume.array.shape
            shapes[case.name] = (z, y, x)
            spacings.append(volume.spacing_mm)
            samples.append(thinned(volume.array, _FIT_VOXELS).copy())
        return Scan(shapes, spacings, samples)

    def image(self, case: Case) -> Volume:
        """The image of a case."""
        return self._once(case.image, case.read_image)

    def labels(self, cases: Iterable[Case]) -> Iterator[Volume]:
        """The labels of cases, which must have some, one after another."""
        return self._in_order(map(self._wanted_label, cases))

    def _wanted_label(self, case: Case) -> tuple[Path, Callable[[], Volume]]:
        assert case.label is not None
        image = self.image(case) if needs_image(case.label) else None
        return case.label, partial(case.read_labels, image)

    def forget(self, case: Case) -> None:
        """Give back the memory of a case that has become slices."""
        for path in (case.image, case.label):
            if path is not None:
                self._read.pop(path, None)

    def _once(self, path: Path, read: Callable[[], Volume]) -> Volume:
        return self._read[path] if path in self._read else self._keep(path, *_heard(path, read))

    def _in_order(self, wanted: Iterable[tuple[Path, Callable[[], Volume]]]) -> Iterator[Volume]:
        """Read one file after another, the next ones meanwhile; what is there already comes from memory."""
        coming: deque[tuple[Path, _Reading | None]] = deque()
        with ThreadPoolExecutor(_AHEAD, "read") as pool:
            for path, read in wanted:
                known = path in self._read
                coming.append((path, None if known else pool.submit(_heard, path, read)))
                if len(coming) > _AHEAD:
                    yield self._taken(*coming.popleft())
            while coming:
                yield self._taken(*coming.popleft())

    def _taken(self, path: Path, reading: _Reading | None) -> Volume:
        return self._read[path] if reading is None else self._keep(path, *reading.result())

    def _keep(self, path: Path, volume: Volume, said: list[Problem]) -> Volume:
        """Hold a volume that was read, in memory or beyond the budget as a file."""
        self.check.problems += said
        held = sum(v.array.nbytes for v in self._read.values())
        if held + volume.array.nbytes > self.budget_bytes:
            self._waiting.mkdir(parents=True, exist_ok=True)
            file = self._waiting / f"{len(list(self._waiting.iterdir()))}.npy"
            np.save(file, volume.array)
            volume = volume.with_array(np.load(file, mmap_mode="r"))
        self._read[path] = volume
        return volume


def _heard(path: Path, read: Callable[[], Volume]) -> tuple[Volume, list[Problem]]:
    """A volume and what reading it warned of."""
    said: list[Problem] = []
    with hearing(shown(path), said):
        volume = read()
    return volume, said
