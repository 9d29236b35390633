"""Classes and entropy at the file's pixels."""

from __future__ import annotations

import math

import numpy as np
import torch

from napari_uda.data.slices import resample_plane
from napari_uda.inference.voxels import classes_and_entropy
from napari_uda.losses.entropy import entropy_of_probabilities


def test_by_hand() -> None:
    certain, half, tie = (1.0, 0, 0, 0), (0.5, 0.5, 0, 0), (0.25, 0.25, 0.25, 0.25)
    pixels = torch.tensor([certain, half, tie, (0, 0, 0.1, 0.9)]).T.reshape(1, 4, 1, 4)
    classes, entropy = classes_and_entropy(pixels.contiguous(), (1, 4))
    assert classes.tolist() == [[[0, 0, 0, 3]]]  # the first of several that are alike
    last = -(0.1 * math.log(0.1) + 0.9 * math.log(0.9)) / math.log(4)
    np.testing.assert_allclose(entropy[0, 0], [0, 0.5, 1, last], atol=1e-6)


def test_it_is_the_same_as_in_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    shares = (torch.randn(3, 7, 11, 13, generator=generator) * 4).softmax(1)
    fine = resample_plane(shares, (29, 8))
    classes, entropy = classes_and_entropy(shares, (29, 8))
    assert (classes.dtype, entropy.dtype) == (np.uint8, np.float32)
    np.testing.assert_array_equal(classes, fine.argmax(1).numpy())
    np.testing.assert_allclose(entropy, entropy_of_probabilities(fine).numpy(), atol=1e-6)
