"""The most memory that a process has held."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from napari_uda.core.processes import forget_peak_memory, peak_memory_mib


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak cannot begin anew")
def test_the_peak_rises_with_an_array_and_stays_until_it_is_forgotten() -> None:
    forget_peak_memory()
    before, mib = peak_memory_mib(), 64
    held = np.ones(mib * 2**20, np.uint8)
    with_it = peak_memory_mib()
    del held
    assert with_it >= before + 0.9 * mib
    assert peak_memory_mib() >= with_it - 1  # Linux counts roughly
    forget_peak_memory()
    assert peak_memory_mib() <= with_it - 0.9 * mib
