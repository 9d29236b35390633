"""Five looks of other scanners, fixed, for scores alone."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from benchmark_scripts import benchmark_script

import napari_uda
from napari_uda.data.folder import DataFolder
from napari_uda.data.volume import read_volume


@pytest.fixture(scope="module")
def looks() -> ModuleType:
    return benchmark_script("scanner_looks")


def test_each_look_by_hand(looks: ModuleType) -> None:
    assert list(looks.LOOKS) == ["gamma", "turned", "bias", "coarse", "noisy"]
    image = np.full((2, 3, 3), 0.25)
    image[0, 0, 0], image[1, 1, 1] = 0.01, 0.81
    assert looks.gamma(image)[1, 1, 1] == pytest.approx(0.9)
    found = looks.turned(image)
    assert found[1, 1, 1] == pytest.approx(0.24)  # 1.05 - 0.81
    assert found[0, 0, 0] == 0.01  # air
    np.testing.assert_allclose(looks.bias(image)[0, [0, 1, 2], [1, 1, 2]], [0.325, 0.25, 0.1])
    point = np.zeros((3, 9, 9))
    point[1, 4, 4] = 1
    spread = looks.coarse(point)
    assert spread[1].sum() == pytest.approx(1, abs=0.01)
    assert spread[1, 4, 5] / spread[1, 4, 4] == pytest.approx(np.exp(-1 / (2 * 1.2**2)))
    assert not spread[[0, 2]].any()  # slices are not blurred into each other
    black = looks.noisy(np.zeros((4, 64, 64)))
    assert black.mean() == pytest.approx(0.08 * np.sqrt(np.pi / 2), rel=0.02)  # Rayleigh
    np.testing.assert_array_equal(black, looks.noisy(np.zeros((4, 64, 64))))


def test_a_folder_is_written_in_every_look_and_its_labels_are_kept(
    looks: ModuleType,
    two_domains: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["scanner_looks.py", str(two_domains[1]), str(tmp_path)])
    assert looks.main() == 0
    given = DataFolder.open(two_domains[1])
    for name, look in looks.LOOKS.items():
        found = DataFolder.open(tmp_path / name)
        assert found.labels == given.labels
        for case, original in zip(found.cases, given.cases, strict=True):
            volume, before = read_volume(case.image), read_volume(original.image)
            np.testing.assert_array_equal(volume.array, looks.shown_by(look, before.array))
            np.testing.assert_allclose(volume.affine, before.affine)
            assert case.label is not None
            assert original.label is not None
            assert case.label.read_bytes() == original.label.read_bytes()


def test_nothing_that_trains_knows_the_looks() -> None:
    package = Path(napari_uda.__file__).parent
    files = sorted(package.rglob("*.py"))
    assert len(files) > 300
    knowing = [file for file in files if "scanner_looks" in file.read_text(encoding="utf-8")]
    knowing += [file for file in files if "import benchmarks" in file.read_text(encoding="utf-8")]
    assert knowing == []
