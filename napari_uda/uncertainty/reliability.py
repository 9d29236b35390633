"""Reliable or unreliable: the majority vote of random and Fourier views (SE-ASA, step 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from pydantic import Field, field_validator
from torch import Tensor

from napari_uda.core.config import Config
from napari_uda.core.distributed import gather
from napari_uda.data.appearance import jitter_and_blur
from napari_uda.data.fourier import FourierMode, grey_amplitude, mix_amplitude

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

RELIABLE, UNRELIABLE = 1, 2
"""Values of the reliability map that is written to disk and shown in the viewer."""


class ReliabilityConfig(Config):
    """Views of a slice and the vote over them."""

    views: int = Field(default=3, ge=1, le=15)
    """Number of views in each of the two sets (random transforms and Fourier views); 3 in the
    paper, 5 in its code."""
    jitter: float = Field(default=0.9, ge=0, le=1)
    """Strength of the random changes of brightness and contrast (factors from 1 - jitter to 1 +
    jitter); 0 switches them off."""
    blur_probability: float = Field(default=0.5, ge=0, le=1)
    """Share of random transforms that blur; 0 never blurs."""
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Smallest and largest standard deviation of the blur, in pixels."""
    fourier_mu: float = Field(default=0.8, ge=0, le=1)
    """Share of the source amplitude in a Fourier view of mode mix or literal; in mode mix, 0 leaves
    the slice as it is."""
    fourier_half_width: int = Field(default=2, ge=0, le=32)
    """Half width b of the window of low frequencies, which has (2b+1) x (2b+1) bins; 2 in the
    released code, for 256 pixels."""
    fourier_mode: FourierMode = "mix"
    """How a Fourier view combines amplitudes: mix (in the window only, SE-D3), literal (Eq. 4 as
    printed) or swap (the source's alone in the window, the released code)."""
    bank_size: int = Field(default=32, ge=1, le=1024)
    """How many source amplitudes a run keeps, so that prediction can vote without any source
    image."""

    @field_validator("blur_sigma")
    @classmethod
    def _low_before_high(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= value[0] <= value[1]:
            raise ValueError("must be two numbers from 0, the lower one first")
        return value


class Reliability(NamedTuple):
    """`reliable` and `unreliable`, `(B, H, W)` bool; complementary for an odd number of views."""

    reliable: Tensor
    unreliable: Tensor


def vote(agrees_random: Tensor, agrees_fourier: Tensor) -> Reliability:
    """Reliable where the majority of both sets agrees with the un-augmented prediction.

    With `n_S` of `N` views of set S agreeing: `C_S = n_S >= N//2 + 1`, `I_S = N - n_S >= N//2 + 1`;
    reliable is `C_random and C_fourier`, unreliable `I_random or I_fourier`.

    Args:
        agrees_random: `(N, B, H, W)` bool, view by view: same class as the un-augmented slice?
        agrees_fourier: the same for the Fourier views; N may differ.
    """
    consistent_random, inconsistent_random = majority(agrees_random)
    consistent_fourier, inconsistent_fourier = majority(agrees_fourier)
    return Reliability(
        consistent_random & consistent_fourier, inconsistent_random | inconsistent_fourier
    )


def vote_of_views(
    classify: Callable[[Tensor], Tensor],
    image: Tensor,
    label: Tensor,
    config: ReliabilityConfig,
    generators: Sequence[np.random.Generator],
    source_image: Tensor | None = None,
) -> Reliability:
    """The vote over views of some slices, where no gradient is wanted; each set is one batch.

    Args:
        classify: classes `(M, H, W)` of `(M, K, H, W)` slices.
        image: `(B, K, H, W)` float in [-1, 1].
        label: what the slices themselves are called, `(B, H, W)`.
        config: views and their strengths.
        generators: one per slice.
        source_image: slices of the source, of whose grey values, with those of all other processes, Fourier
            views are made; without them random views vote alone.
    """
    sets = [random_views(image, config, generators)]
    if source_image is not None:
        sets.append(fourier_views(image, amplitudes_of(source_image, config), config, generators))
    agrees = [classify(views).view(config.views, *label.shape) == label for views in sets]
    return vote(agrees[0], agrees[-1])


def vote_with_logits(
    segment: Callable[[Tensor], Tensor],
    image: Tensor,
    label: Tensor,
    config: ReliabilityConfig,
    generators: Sequence[np.random.Generator],
    source_image: Tensor,
    *,
    with_gradient: bool,
) -> tuple[Tensor | None, Reliability]:
    """The same vote, and what the network says of the random views, where that is learnt from.

    Args:
        segment: logits `(M, C, H, W)` of `(M, K, H, W)` slices.
        image: as for `vote_of_views`, and so are those that follow.
        label: what the slices themselves are called.
        config: views and their strengths.
        generators: one per slice; Fourier views are drawn first here.
        source_image: slices of the source.
        with_gradient: whether the logits are wanted; without, no graph of the network is kept.

    Returns:
        `(N, B, C, H, W)` of the N random views, or None; and the vote.
    """
    fourier = fourier_views(image, amplitudes_of(source_image, config), config, generators)
    random = random_views(image, config, generators)
    with torch.no_grad():
        fourier_label = segment(fourier).argmax(1)
    with torch.set_grad_enabled(with_gradient):
        logits = segment(random)
    logits = logits.view(config.views, len(image), *logits.shape[1:])
    agrees_fourier = fourier_label.view(config.views, *label.shape) == label
    result = vote(logits.detach().argmax(2) == label, agrees_fourier)
    return logits if with_gradient else None, result


def amplitudes_of(source_image: Tensor, config: ReliabilityConfig) -> Tensor:
    """What Fourier views take of source slices `(B, K, H, W)`: those of all ranks, as one rank would have them."""
    return gather(grey_amplitude(source_image, config.fourier_half_width))


def majority(agrees: Tensor) -> tuple[Tensor, Tensor]:
    """Where most of one set of views agree, and where most do not: `C_S` and `I_S` of `vote`.

    Args:
        agrees: `(N, ...)` bool, view by view.

    Returns:
        Two `(...)` bool; for an even number of views a tie is in neither.
    """
    views = agrees.shape[0]
    needed = views // 2 + 1
    count = agrees.sum(0)
    return count >= needed, (views - count) >= needed


def random_views(
    image: Tensor, config: ReliabilityConfig, generators: Sequence[np.random.Generator]
) -> Tensor:
    """`views` random transforms of every slice, view-major.

    Args:
        image: `(B, K, H, W)` float in [-1, 1].
        config: strengths.
        generators: one per slice; each draws for all its views.

    Returns:
        `(views * B, K, H, W)` float32; rows `n*B ... n*B + B - 1` are view `n`.
    """
    return jitter_and_blur(
        image.repeat(config.views, 1, 1, 1),
        list(generators) * config.views,
        strength=config.jitter,
        blur_probability=config.blur_probability,
        blur_sigma=config.blur_sigma,
    )


def fourier_views(
    image: Tensor,
    bank: Tensor,
    config: ReliabilityConfig,
    generators: Sequence[np.random.Generator],
) -> Tensor:
    """`views` Fourier views of every slice, each with the amplitude of a random entry of `bank`.

    Args:
        image: `(B, K, H, W)` float in [-1, 1].
        bank: `(M, K, 2b+1, 2b+1)` source amplitudes (`data.fourier.grey_amplitude`).
        config: strengths.
        generators: one per slice.

    Returns:
        `(views * B, K, H, W)` float32, view-major.
    """
    chosen = [int(g.integers(len(bank))) for _ in range(config.views) for g in generators]
    amplitude = bank[torch.tensor(chosen, device=bank.device)]
    return mix_amplitude(
        image.repeat(config.views, 1, 1, 1),
        amplitude,
        mu=config.fourier_mu,
        half_width=config.fourier_half_width,
        mode=config.fourier_mode,
    )
