"""Sizes that no honest file has are refused in one sentence, before memory is taken for them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tiny_cases import without_checksums

from napari_uda.core.errors import InputError
from napari_uda.data import slices
from napari_uda.data.intensity import Intensity
from napari_uda.data.slices import SliceGrid, window_labels, window_slices
from napari_uda.data.volume import Volume
from napari_uda.inference.predict import predict
from napari_uda.run.run import Run

WINDOW = Intensity(mode="window", bounds=(0.0, 255.0))


def volume(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Volume:
    affine = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
    return Volume(np.zeros(shape, np.uint8), affine, "a")


def grid(pixel_mm: float) -> SliceGrid:
    return SliceGrid(axis=0, pixel_mm=pixel_mm, size=64)


def test_a_slice_may_become_as_large_as_slices_are_and_four_times_as_large_as_it_is() -> None:
    """2048 x 2048 pixels are allowed for any slice; 1200 x 1200 voxels may become 2400 x 2400."""
    assert grid(1.0).plane_shape(volume((1, 64, 64), (5, 32, 32))) == (2048, 2048)
    assert grid(0.5).plane_shape(volume((1, 1200, 1200), (5, 1, 1))) == (2400, 2400)
    for pixel_mm, one in (
        (1.0, volume((1, 64, 64), (5, 33, 32))),
        (0.49, volume((1, 1200, 1200), (5, 1, 1))),
    ):
        with pytest.raises(InputError, match=r"a: its slices of .* pixels of .* too large; check"):
            grid(pixel_mm).plane_shape(one)


def test_a_file_of_two_kilobytes_does_not_become_slices_of_gigabytes(tiny_run: Run) -> None:
    """400 x 400 voxels of 50 mm would be 8547 to 13333 pixels wide."""
    with pytest.raises(
        InputError, match=r"400 x 400 voxels of 50 x 50 mm would be \d+ x \d+ pixels"
    ):
        predict(tiny_run, volume((2, 400, 400), (5, 50, 50)))


def test_slices_are_cut_in_parts_without_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    image = Volume(rng.integers(0, 255, (7, 20, 30)).astype(np.uint8), np.eye(4), "a")
    labels = image.with_array((image.array > 99).astype(np.uint8))
    whole = window_slices(image, WINDOW, grid(0.7)), window_labels(labels, grid(0.7))
    asked: list[int] = []
    resample = slices.resample_plane

    def watched(planes: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
        asked.append(len(planes))
        return resample(planes, shape)

    monkeypatch.setattr(slices, "resample_plane", watched)
    monkeypatch.setattr(slices, "_PIXELS_AT_ONCE", 3 * 29 * 43)
    np.testing.assert_array_equal(window_slices(image, WINDOW, grid(0.7)), whole[0])
    np.testing.assert_array_equal(window_labels(labels, grid(0.7)), whole[1])
    assert asked == [3, 3, 1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"labels": {"a": 300, "b": 2}},
            r"labels: label values must be different and from 1 to 255 \(a 300",
        ),
        ({"labels": {"a": 1, "b": 1}}, "labels: label values must be different"),
        ({"labels": {"a": -1, "b": 1}}, "labels: label values must be different"),
        ({"labels": {f"s{i}": i for i in range(1, 250)}}, "does not fit the run's settings"),
        ({"grid": {"size": 100_000}}, "grid.size"),
        ({"grid": {"neighbours": 100_001}}, "grid.neighbours"),
        ({"grid": {"neighbours": 3}}, "does not fit the run's settings"),
        ({"grid": {"pixel_mm": 1e-9}}, "too large; check the spacing"),
        ({"target_intensity": {"mode": "window", "bounds": [1e308, -1e308]}}, "bounds are 1e"),
        ({"target_intensity": {"mode": "percentile", "bounds": [0, 101]}}, "bounds are 0 and 101"),
    ],
)
def test_sizes_in_a_run_that_its_weights_do_not_fit_are_refused(
    change: dict[str, object], said: str, tiny_run: Run, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_run.path, tmp_path / "run"))
    file = folder / "data.json"
    facts = json.loads(file.read_text())
    for name, value in change.items():
        facts[name] = {**facts[name], **value} if name == "grid" else value  # type: ignore[dict-item]
    file.write_text(json.dumps(facts))
    without_checksums(folder)
    with pytest.raises(InputError, match=said):
        predict(folder, volume((2, 40, 40), (4, 1.5, 1.5)), reliability=False)


def test_a_constant_volume_of_any_value_is_mapped() -> None:
    for value in (0.0, 7.0, 1e20, -1e30):
        mapped = WINDOW.model_copy(update={"mode": "percentile", "bounds": (0.5, 99.5)}).apply(
            np.full((2, 3, 4), value)
        )
        assert np.isfinite(mapped).all()


def test_bounds_that_no_mapping_can_have_are_refused() -> None:
    for bounds in ((3.0, 1.0), (0.0, float("inf")), (float("nan"), 1.0)):
        with pytest.raises(ValidationError):
            Intensity(mode="window", bounds=bounds)
    assert Intensity(mode="window", bounds=(5.0, 5.0)).raw_bounds(np.zeros(3)) == (5.0, 6.0)
