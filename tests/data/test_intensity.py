"""Raw intensities to [-1, 1]."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from napari_uda.data.intensity import Intensity, IntensityConfig, fit_intensity


def test_a_window_maps_its_bounds_and_clips_by_hand() -> None:
    window = Intensity(mode="window", bounds=(-100.0, 300.0))
    raw = np.array([-2000, -100, 0, 100, 200, 300, 3000], np.int16)
    mapped = window.apply(raw)
    np.testing.assert_allclose(mapped, [-1, -1, -0.5, 0, 0.5, 1, 1])
    assert mapped.dtype == np.float32


def test_percentiles_are_those_of_each_volume() -> None:
    mapping = Intensity(mode="percentile", bounds=(10.0, 90.0))
    ramp = np.arange(101, dtype=np.uint16)  # its p-th percentile is p
    assert mapping.raw_bounds(ramp) == (10.0, 90.0)
    np.testing.assert_allclose(
        mapping.apply(ramp)[[0, 10, 30, 50, 90, 100]], [-1, -1, -0.5, 0, 1, 1]
    )
    # twice as bright and shifted: the same picture
    np.testing.assert_allclose(mapping.apply(2 * ramp + 7), mapping.apply(ramp), atol=1e-6)


def test_zscore_by_hand() -> None:
    mapping = Intensity(mode="zscore", bounds=(-2.0, 2.0), clip_percentile=100)
    raw = np.array([1.0, 3.0, 1.0, 3.0])  # mean 2, standard deviation 1
    assert mapping.raw_bounds(raw) == (0.0, 4.0)
    np.testing.assert_allclose(mapping.apply(raw), [-0.5, 0.5, -0.5, 0.5])


def test_zscore_clips_the_brightest_before_it_measures() -> None:
    mapping = Intensity(mode="zscore", bounds=(-2.0, 2.0), clip_percentile=50)
    raw = np.array([0.0, 1.0, 2.0, 3.0, 1000.0])  # clipped at the median: 0, 1, 2, 2, 2
    mean, deviation = 1.4, np.std([0, 1, 2, 2, 2])
    low, high = mapping.raw_bounds(raw)
    assert low == pytest.approx(mean - 2 * deviation)
    assert high == pytest.approx(mean + 2 * deviation)


@pytest.mark.parametrize("mode", ["window", "percentile", "zscore"])
@pytest.mark.parametrize("value", [0, 7, -1024])
def test_a_constant_volume_stays_constant_and_finite(mode: str, value: int) -> None:
    bounds = {"window": (-50.0, 50.0), "percentile": (0.5, 99.5), "zscore": (-2.8, 3.2)}[mode]
    mapped = Intensity(mode=mode, bounds=bounds).apply(np.full((2, 3, 4), value, np.int16))
    assert mapped.shape == (2, 3, 4)
    assert np.isfinite(mapped).all()
    assert len(np.unique(mapped)) == 1
    assert -1 <= mapped.min() <= mapped.max() <= 1


def test_auto_fits_one_window_for_ct_on_body_voxels_only() -> None:
    body = np.arange(0, 1001, dtype=np.int16)
    air = np.full(5000, -1000, np.int16)
    fitted = fit_intensity(IntensityConfig(percentiles=(10, 90)), [np.r_[air, body]], "ct")
    assert fitted.mode == "window"
    assert fitted.bounds == (100.0, 900.0)
    # the fitted numbers are used again: a volume is not measured anew
    assert fitted.raw_bounds(np.array([5, 6])) == (100.0, 900.0)


def test_auto_takes_percentiles_of_each_volume_for_anything_else() -> None:
    config = IntensityConfig(percentiles=(1, 99))
    for modality in ("MR", "", "US"):
        fitted = fit_intensity(config, [np.arange(5)], modality)
        assert (fitted.mode, fitted.bounds) == ("percentile", (1.0, 99.0))


def test_a_ct_of_air_alone_still_has_a_window() -> None:
    low, high = fit_intensity(IntensityConfig(), [np.full(10, -1000.0)], "CT").raw_bounds(
        np.zeros(1)
    )
    assert low == -1000
    assert high > low


def test_a_named_window_and_the_z_range_are_taken_as_given() -> None:
    window = fit_intensity(IntensityConfig(mode="window", window=(-125, 275)), [np.arange(9)], "MR")
    assert window == Intensity(mode="window", bounds=(-125.0, 275.0))
    zscore = fit_intensity(IntensityConfig(mode="zscore", z_range=(-1.8, 4.4)), [], "CT")
    assert zscore == Intensity(mode="zscore", bounds=(-1.8, 4.4))


def test_fitted_numbers_survive_the_file() -> None:
    fitted = fit_intensity(IntensityConfig(), [np.random.default_rng(0).normal(100, 30, 999)], "CT")
    again = Intensity.model_validate_json(fitted.model_dump_json())
    assert again == fitted  # bit for bit: JSON writes the shortest number that reads back the same


def test_how_a_large_volume_lies_in_memory_does_not_change_its_bounds() -> None:
    canonical = np.random.default_rng(0).gamma(2, 100, (30, 180, 160)).astype(np.int16)
    expected = Intensity(mode="percentile", bounds=(0.5, 99.5)).raw_bounds(canonical)
    stored_otherwise = np.ascontiguousarray(canonical.transpose(2, 0, 1)[:, ::-1])
    view = stored_otherwise[:, ::-1].transpose(1, 2, 0)
    assert np.array_equal(view, canonical)
    assert Intensity(mode="percentile", bounds=(0.5, 99.5)).raw_bounds(view) == expected
    exact = np.percentile(canonical, (0.5, 99.5))
    np.testing.assert_allclose(expected, exact, rtol=0.05)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"window": (400, -100)}, "window is 400 to -100; give the lower value first"),
        ({"percentiles": (99.5, 0.5)}, "percentiles is 99.5 to 0.5"),
        ({"percentiles": (0.5, 150)}, "give numbers from 0 to 100"),
        ({"z_range": (1, 1)}, "z_range is 1 to 1"),
    ],
)
def test_bounds_the_wrong_way_round_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(sentence)):
        IntensityConfig(**settings)


def test_what_contradicts_a_fitted_mapping() -> None:
    fitted = Intensity(mode="window", bounds=(-100, 200))
    assert not IntensityConfig().contradicts(fitted)
    assert not IntensityConfig(mode="window").contradicts(fitted)  # fitted again, to the same
    assert not IntensityConfig(mode="window", window=(-100, 200)).contradicts(fitted)
    assert IntensityConfig(mode="window", window=(-100, 300)).contradicts(fitted)
    assert IntensityConfig(mode="zscore").contradicts(fitted)
