"""Volumes are read before their turn, and are handed out, warned of and refused in their order."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_uda.core.errors import InputError
from napari_uda.data.volume import Volume
from napari_uda.training.volumes import Volumes

WAIT = 60


@dataclass
class SlowCase:
    """A case whose image is there once another one has been asked for."""

    name: str
    value: int
    needed: Event = field(default_factory=Event)
    asked: Event = field(default_factory=Event)
    label: Path | None = None

    @property
    def image(self) -> Path:
        return Path(f"{self.name}.nii.gz")

    def read_image(self) -> Volume:
        self.asked.set()
        assert self.needed.wait(WAIT), "the next volume was not read meanwhile"
        logging.getLogger("napari_uda.data").warning("%s is odd", self.name)
        if self.value < 0:
            raise InputError(f"{self.name} is damaged; restore it")
        return Volume(np.full((2, 3, 4), self.value, np.int16), np.eye(4))


class Check:
    """Stands for the check of a folder."""

    def __init__(self) -> None:
        self.problems: list[Any] = []
        self.seen: list[tuple[str, int]] = []

    def take_image(self, name: str, image: Volume) -> None:
        self.seen.append((name, int(image.array[0, 0, 0])))


def volumes_of(values: list[int], folder: Path) -> tuple[Volumes, Check]:
    """Volumes of which each of the first two waits for the one after it."""
    cases = [SlowCase(f"case_{index}", value) for index, value in enumerate(values)]
    cases[0].needed = cases[1].asked
    for case in cases[1:]:
        case.needed.set()
    check = Check()
    volumes = Volumes(SimpleNamespace(cases=cases), folder / "waiting", 60.0, check)  # type: ignore[arg-type]
    return volumes, check


def test_the_next_volume_is_read_meanwhile_and_nothing_changes_places(tmp_path: Path) -> None:
    volumes, check = volumes_of([5, 6, 7, 8], tmp_path)
    assert list(volumes.scan.shapes) == ["case_0", "case_1", "case_2", "case_3"]
    assert check.seen == [("case_0", 5), ("case_1", 6), ("case_2", 7), ("case_3", 8)]
    assert [problem.sentence for problem in check.problems] == [
        f"case_{index} is odd" for index in range(4)
    ]
    # 48 bytes each, and 60 may wait in memory: the others are files
    assert len(list((tmp_path / "waiting").iterdir())) == 3
    assert int(volumes.image(volumes.folder.cases[3]).array[0, 0, 0]) == 8


def test_the_first_volume_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    volumes, check = volumes_of([5, -1, -1, 8], tmp_path)
    with pytest.raises(InputError, match="case_1 is damaged"):
        _ = volumes.scan
    assert check.seen == [("case_0", 5)]
