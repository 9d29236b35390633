"""The window that DICOM files ask to be looked at with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import item, planes, write_frames, write_slices

from napari_uda.data.volume import Volume, read_volume, write_volume
from napari_uda.data.window import Window, usual_window


def test_the_window_of_the_middle_slice(tmp_path: Path) -> None:
    each = [{"WindowWidth": width, "WindowCenter": 40} for width in (100, 300, 500)]
    write_slices(tmp_path, planes(3), [0.0, 3, 6], each)
    assert read_volume(tmp_path).window == Window(300, 40)


@pytest.mark.parametrize(
    ("width", "centre", "window"),
    [
        ([1500, 80], [-600, 40], Window(1500, -600)),
        (0, 40, None),
        (None, 40, None),
        (400, None, None),
        ("1E400", 40, None),
        (["-1", "400"], ["40", "40"], None),
    ],
)
def test_the_first_of_several_and_none_that_cannot_be_shown(
    tmp_path: Path, width: Any, centre: Any, window: Window | None
) -> None:
    write_slices(tmp_path, planes(2), [0.0, 3], WindowWidth=width, WindowCenter=centre)
    assert read_volume(tmp_path).window == window


def test_the_window_of_frames(tmp_path: Path) -> None:
    each = [
        {"FrameVOILUTSequence": item(WindowWidth=200 + number, WindowCenter=90)}
        for number in range(3)
    ]
    file = write_frames(tmp_path / "IM1", planes(3), [0.0, 3, 6], each)
    assert read_volume(file).window == Window(201, 90)


def test_other_files_ask_for_none(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.nii", Volume(np.zeros((2, 2, 2), np.int16), np.eye(4)))
    assert read_volume(tmp_path / "a.nii").window is None


def test_an_empty_map_with_one_thing_in_it_is_not_black() -> None:
    volume = np.zeros((20, 50, 50))
    volume[3, 4:6, 5] = 7
    assert usual_window(volume).limits == (0, 7)
