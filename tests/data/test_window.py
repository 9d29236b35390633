"""Windows by organ and by percentiles, and what a drag makes of one."""

from __future__ import annotations

import numpy as np
import pytest

from napari_uda.data.window import Window, data_range, percentile_window, usual_window


def test_usual_windows_of_ct_and_mr() -> None:
    assert usual_window(np.array([-1000.0, 0, 40, 1000] * 9).reshape(1, 6, 6)) == Window(400, 40)
    mr = np.arange(101.0).reshape(1, 1, 101)
    assert usual_window(mr) == Window(98, 50)
    assert percentile_window(mr, 0, 100) == Window(100, 50)
    assert data_range(mr) == 100


def test_a_constant_volume_has_a_window() -> None:
    flat = np.full((2, 3, 3), 7, np.int16)
    assert percentile_window(flat, 1, 99) == Window(1, 7)
    assert data_range(flat) == 1


def test_an_empty_volume_has_a_window() -> None:
    assert usual_window(np.zeros((0, 3, 3))) == Window(1, 0)


def test_a_large_volume_is_sampled() -> None:
    ramp = np.broadcast_to(np.arange(256, dtype=np.float32), (256, 256, 256))
    window = percentile_window(ramp, 1, 99)
    assert window.limits == pytest.approx((2.55, 252.45), abs=5)


def test_numbers_of_a_window() -> None:
    assert Window.between(-160, 240) == Window(400, 40)
    assert Window(400, 40).limits == (-160, 240)
    assert [str(Window(*one)) for one in ((400, 40), (2, 0.5), (0.01, -0.5))] == [
        "W 400  L 40", "W 2.00  L 0.50", "W 0.01000  L -0.50000",
    ]  # fmt: skip


def test_drag_changes_width_to_the_right_and_level_downwards() -> None:
    assert Window(100, 50).dragged(60, 0, 1000) == Window(200, 50)
    assert Window(100, 50).dragged(0, 60, 1000) == Window(100, 150)
    assert Window(100, 50).dragged(-5000, 0, 1000).width == pytest.approx(0.1)
