"""Classes and entropy at the file's pixels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_uda.data.slices import resample_plane
from napari_uda.inference.voxels import classes_and_entropy
from napari_uda.losses.entropy import entropy_of_probabilities


def _found(shares: Tensor, shape: tuple[int, int]) -> tuple[NDArray[Any], NDArray[Any]]:
    classes, entropy = zip(*classes_and_entropy(shares, shape), strict=True)
    return np.array(classes), np.array(entropy)


def test_by_hand() -> None:
    certain, half, tie = (1.0, 0, 0, 0), (0.5, 0.5, 0, 0), (0.25, 0.25, 0.25, 0.25)
    pixels = torch.tensor([certain, half, tie, (0, 0, 0.1, 0.9)]).T.reshape(1, 4, 1, 4)
    classes, entropy = _found(pixels.contiguous(), (1, 4))
    assert classes.tolist() == [[[0, 0, 0, 3]]]  # the first of several that are alike
    last = -(0.1 * math.log(0.1) + 0.9 * math.log(0.9)) / math.log(4)
    np.testing.assert_allclose(entropy[0, 0], [0, 0.5, 1, last], atol=1e-6)


def test_it_is_the_same_as_in_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    shares = (torch.randn(3, 7, 11, 13, generator=generator) * 4).softmax(1)
    fine = resample_plane(shares, (29, 8))
    classes, entropy = _found(shares, (29, 8))
    assert (classes.dtype, entropy.dtype) == (np.uint8, np.float32)
    np.testing.assert_array_equal(classes, fine.argmax(1).numpy())
    np.testing.assert_allclose(entropy, entropy_of_probabilities(fine).numpy(), atol=1e-6)


def test_enlarged_slices_have_the_classes_of_every_pixel_and_nearly_its_entropy() -> None:
    """Smooth blobs as networks find them, and noise where every pixel is open."""
    generator = torch.Generator().manual_seed(1)
    smooth = resample_plane(torch.randn(2, 5, 6, 9, generator=generator) * 9, (40, 50))
    noise = torch.randn(2, 5, 40, 50, generator=generator) * 3
    for logits, least_exact in ((smooth, 0.2), (noise, 1.0)):
        shares = logits.softmax(1).contiguous()
        fine = resample_plane(shares, (121, 163))
        classes, entropy = _found(shares, (121, 163))
        np.testing.assert_array_equal(classes, fine.argmax(1).numpy())
        below = entropy_of_probabilities(fine).numpy() - entropy
        assert below.min() > -1e-5
        assert below.max() <= 1 / 255
        assert (below < 1e-5).mean() >= least_exact


def test_one_row_of_pixels_is_enlarged() -> None:
    shares = torch.tensor([[0.9, 0.2], [0.1, 0.8]]).reshape(1, 2, 1, 2)
    classes, _ = _found(shares, (3, 4))
    assert classes.tolist() == [[[0, 0, 1, 1]] * 3]
