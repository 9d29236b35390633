"""Fourier views: another image's low-frequency amplitude on this image's phase (SE-ASA Eqs. 4, 5)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from napari_uda.core.precision import in_float32

FourierMode = Literal["mix", "literal", "swap"]


@in_float32
def low_frequency_amplitude(image: Tensor, half_width: int) -> Tensor:
    """Amplitude of the lowest frequencies, per pixel, so that it does not grow with the image.

    Args:
        image: `(B, K, H, W)` float.
        half_width: `b`; the window is the `(2b+1) x (2b+1)` bins round zero frequency.

    Returns:
        `(B, K, 2b+1, 2b+1)`, frequencies -b to b: zero frequency, the mean, is in the middle.

    Raises:
        ValueError: if the image is smaller than the window.
    """
    spectrum = torch.fft.fft2(image.float(), norm="forward")
    rows, columns = _window(image.shape, half_width, image.device)
    amplitude: Tensor = spectrum[..., rows[:, None], columns].abs()
    return amplitude


@in_float32
def mix_amplitude(
    image: Tensor, amplitude: Tensor, *, mu: float, half_width: int, mode: FourierMode = "mix"
) -> Tensor:
    """Give `image` (part of) another image's low-frequency amplitude and keep its phase.

    With `V` the low-frequency window, `A_t` the amplitude of `image` and `A_s` the given one:

    * mix: `A_t (1-V) + ((1-mu) A_t + mu A_s) V`, Eq. 4 read so that frequencies outside the window
      stay as they are (SE-D3).
    * literal: `(1-mu) A_t (1-V) + mu A_s V`, Eq. 4 as printed; it flattens the image's contrast.
    * swap: mix with `mu = 1`, the authors' released code.

    Args:
        image: `(B, K, H, W)` float in [-1, 1].
        amplitude: `(B, K, 2b+1, 2b+1)` from `low_frequency_amplitude`, of any image size.
        mu: share of the other amplitude, 0 (identity in mode mix) to 1.
        half_width: `b`, the same as for `amplitude`.
        mode: see above.

    Returns:
        `(B, K, H, W)` float32, clipped to [-1, 1].
    """
    # The authors work on grey values from 0 to 255; [-1, 1] -> [0, 1] differs by a factor only,
    # and keeps the zero-frequency amplitude (the mean) away from a change of sign.
    grey = (image.float() + 1) / 2
    spectrum = torch.fft.fft2(grey, norm="forward")
    rows, columns = _window(image.shape, half_width, image.device)
    low = spectrum[..., rows[:, None], columns]
    share = 1.0 if mode == "swap" else mu
    kept = 0.0 if mode == "literal" else 1 - share
    # the amplitude changes, the phase stays: anatomy is in the phase
    mixed = torch.polar(kept * low.abs() + share * amplitude.float(), low.angle())
    rest = spectrum * (1 - mu) if mode == "literal" else spectrum.clone()
    rest[..., rows[:, None], columns] = mixed
    grey_view: Tensor = torch.fft.ifft2(rest, norm="forward").real
    return (grey_view * 2 - 1).clamp(-1, 1)


def grey_amplitude(image: Tensor, half_width: int) -> Tensor:
    """`low_frequency_amplitude` of an image in [-1, 1], on the grey scale that `mix_amplitude` uses."""
    return low_frequency_amplitude((image.float() + 1) / 2, half_width)


def _window(shape: torch.Size, half_width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    height, width = shape[-2:]
    if 2 * half_width + 1 > min(height, width):
        raise ValueError(
            f"Fourier window of {2 * half_width + 1} bins does not fit into {height} x {width} pixels"
        )
    offsets = torch.arange(-half_width, half_width + 1, device=device)
    return offsets % height, offsets % width
