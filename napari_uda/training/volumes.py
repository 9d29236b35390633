"""The volumes of a training run while they are read, measured and checked: each file is opened once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_uda.core.files import shown
from napari_uda.data.intensity import thinned
from napari_uda.data.segmentation import needs_image

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_uda.data.check import DomainCheck
    from napari_uda.data.folder import Case, DataFolder
    from napari_uda.data.volume import Volume

_FIT_VOXELS = 200_000


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
        for case in self.folder.cases:
            image = self.image(case)
            self.check.take_image(case.name, image)
            volume = image.canonical()
            z, y, x = volume.array.shape
            shapes[case.name] = (z, y, x)
            spacings.append(volume.spacing_mm)
            samples.append(thinned(volume.array, _FIT_VOXELS).copy())
        return Scan(shapes, spacings, samples)

    def image(self, case: Case) -> Volume:
        """The image of a case."""
        return self._once(case.image, lambda _: case.read_image())

    def label(self, case: Case) -> Volume:
        """The labels of a case, which must have some."""
        assert case.label is not None
        image = self.image(case) if needs_image(case.label) else None
        return self._once(case.label, lambda _: case.read_labels(image))

    def forget(self, case: Case) -> None:
        """Give back the memory of a case that has become slices."""
        for path in (case.image, case.label):
            if path is not None:
                self._read.pop(path, None)

    def _once(self, path: Path, read: Callable[[Path], Volume]) -> Volume:
        if path not in self._read:
            with self.check.hearing(shown(path)):
                volume = read(path)
            held = sum(v.array.nbytes for v in self._read.values())
            if held + volume.array.nbytes > self.budget_bytes:
                self._waiting.mkdir(parents=True, exist_ok=True)
                file = self._waiting / f"{len(list(self._waiting.iterdir()))}.npy"
                np.save(file, volume.array)
                volume = volume.with_array(np.load(file, mmap_mode="r"))
            self._read[path] = volume
        return self._read[path]
