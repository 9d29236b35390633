"""Fourier views: what changes, and what must not (SE-ASA Eqs. 4 and 5)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_uda.data.fourier import grey_amplitude, low_frequency_amplitude, mix_amplitude

B = 2


def _smooth(seed: int, height: int = 24, width: int = 32, batch: int = 2) -> Tensor:
    """Images well inside [-1, 1], so that nothing is clipped."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 1, 6, 8, generator=generator) - 0.5
    fine = torch.rand(batch, 1, height, width, generator=generator) - 0.5
    image = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return 0.5 * image + 0.1 * fine


def _in_window(height: int, width: int) -> Tensor:
    rows = torch.fft.fftfreq(height, 1 / height).abs() <= B
    columns = torch.fft.fftfreq(width, 1 / width).abs() <= B
    return rows[:, None] & columns


def _spectrum(image: Tensor) -> Tensor:
    return torch.fft.fft2((image.double() + 1) / 2, norm="forward")


@pytest.mark.parametrize("seed", range(4))
def test_share_zero_returns_the_image(seed: int) -> None:
    image = torch.rand(2, 3, 17, 20, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    other = torch.rand(2, 3, 5, 5)
    mixed = mix_amplitude(image, other, mu=0.0, half_width=B)
    torch.testing.assert_close(mixed, image, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("mode", "mu"), [("swap", 0.3), ("mix", 0.8), ("mix", 1.0)])
def test_an_images_own_amplitude_changes_nothing(mode, mu) -> None:
    image = _smooth(0)
    mixed = mix_amplitude(image, grey_amplitude(image, B), mu=mu, half_width=B, mode=mode)
    torch.testing.assert_close(mixed, image, atol=1e-5, rtol=0)


def test_mix_and_swap_by_an_independent_reference() -> None:
    """The textbook way: numpy, shifted spectra, a centred window."""
    image, other = _smooth(1), _smooth(2)
    for mode, mu in (("mix", 0.8), ("swap", 0.8)):
        mixed = mix_amplitude(image, grey_amplitude(other, B), mu=mu, half_width=B, mode=mode)
        share = 1.0 if mode == "swap" else mu
        for sample in range(2):
            ours, theirs = (
                np.fft.fftshift(np.fft.fft2((v[sample, 0].double().numpy() + 1) / 2))
                for v in (image, other)
            )
            amplitude, phase = np.abs(ours), np.angle(ours)
            window = np.s_[12 - B : 13 + B, 16 - B : 17 + B]
            amplitude[window] = (1 - share) * amplitude[window] + share * np.abs(theirs[window])
            view = np.fft.ifft2(np.fft.ifftshift(amplitude * np.exp(1j * phase)))
            assert np.abs(view.imag).max() < 1e-12
            np.testing.assert_allclose(mixed[sample, 0], view.real * 2 - 1, atol=1e-5)


def test_phase_and_high_frequencies_stay() -> None:
    image, other = _smooth(3), _smooth(4)
    mixed = mix_amplitude(image, grey_amplitude(other, B), mu=0.8, half_width=B)
    before, after = _spectrum(image), _spectrum(mixed)
    window = _in_window(24, 32)
    torch.testing.assert_close(after[..., ~window], before[..., ~window], atol=1e-6, rtol=0)
    significant = (before.abs() > 1e-3) & (after.abs() > 1e-3)
    turn = torch.angle(after / before)[significant]
    assert significant[..., window].sum() > 40
    assert turn.abs().max() < 1e-3
    expected = 0.2 * before.abs() + 0.8 * _spectrum(other).abs()
    torch.testing.assert_close(
        after.abs()[..., window], expected[..., window], atol=1e-6, rtol=1e-5
    )


def test_literal_scales_high_frequencies_down() -> None:
    image, other = _smooth(5), _smooth(6)
    literal = mix_amplitude(image, grey_amplitude(other, B), mu=0.8, half_width=B, mode="literal")
    before, after, theirs = _spectrum(image), _spectrum(literal), _spectrum(other)
    window = _in_window(24, 32)
    torch.testing.assert_close(after[..., ~window], 0.2 * before[..., ~window], atol=1e-6, rtol=0)
    torch.testing.assert_close(
        after.abs()[..., window], 0.8 * theirs.abs()[..., window], atol=1e-6, rtol=1e-5
    )


def test_the_view_is_real_clipped_and_float32() -> None:
    image = torch.rand(3, 1, 16, 16, dtype=torch.float64) * 2 - 1
    huge = torch.full((3, 1, 5, 5), 7.0)
    view = mix_amplitude(image, huge, mu=0.8, half_width=B)
    assert view.dtype == torch.float32
    assert view.shape == image.shape
    assert view.min() >= -1
    assert view.max() == 1
    assert torch.isfinite(view).all()


def test_amplitude_does_not_grow_with_the_image() -> None:
    image = _smooth(7)
    doubled = image.repeat_interleave(2, 2).repeat_interleave(
        2, 3
    )  # same picture, four pixels each
    small, large = (low_frequency_amplitude(v, B) for v in (image, doubled))
    assert small.shape == large.shape == (2, 1, 5, 5)
    torch.testing.assert_close(large, small, atol=2e-3, rtol=0.03)
    torch.testing.assert_close(small[..., B, B], image.mean((2, 3)).abs())  # frequency 0: the mean


def test_amplitudes_fit_images_of_another_size() -> None:
    bank = grey_amplitude(_smooth(8, 64, 64), B)
    view = mix_amplitude(_smooth(9), bank, mu=1.0, half_width=B)
    torch.testing.assert_close(grey_amplitude(view, B), bank, atol=1e-4, rtol=1e-3)


def test_half_width_zero_moves_the_mean_alone() -> None:
    image, other = _smooth(10), _smooth(11)
    view = mix_amplitude(image, grey_amplitude(other, 0), mu=1.0, half_width=0)
    centred = image - image.mean((2, 3), keepdim=True)
    expected = centred + other.mean((2, 3), keepdim=True)
    torch.testing.assert_close(view, expected, atol=1e-5, rtol=0)


def test_a_window_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="5 bins does not fit into 4 x 9"):
        grey_amplitude(torch.zeros(1, 1, 4, 9), 2)


def test_every_sample_keeps_to_itself() -> None:
    image, bank = _smooth(12, batch=4), grey_amplitude(_smooth(13, batch=4), B)
    together = mix_amplitude(image, bank, mu=0.8, half_width=B)
    for i in range(4):
        alone = mix_amplitude(image[i : i + 1], bank[i : i + 1], mu=0.8, half_width=B)
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-6, rtol=0)
