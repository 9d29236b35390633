"""Large slices window by window."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from napari_uda.inference.tiles import predict_in_tiles


@pytest.mark.parametrize("shape", [(8, 8), (5, 7), (8, 30), (21, 33), (64, 9), (1, 1), (12, 100)])
def test_a_point_wise_network_sees_no_tiles(shape: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *shape) * 2 - 1
    seen = []

    def predict(tile: Tensor) -> Tensor:
        seen.append(tuple(tile.shape))
        return torch.cat([tile.sum(1, keepdim=True), 2 * tile[:, :1]], dim=1)

    result = predict_in_tiles(predict, image, 2, 8)
    torch.testing.assert_close(result, predict(image), atol=1e-5, rtol=1e-5)
    assert set(seen[:-1]) == {(2, 3, 8, 8)}  # whatever the image, windows of one size


def test_padding_is_what_training_saw_outside_the_body() -> None:
    tiles = []
    predict_in_tiles(lambda t: tiles.append(t) or t, torch.zeros(1, 1, 5, 8), 1, 8)
    assert (tiles[0][:, :, :5] == 0).all()
    assert (tiles[0][:, :, 5:] == -1).all()


def test_overlap_is_blended_with_gaussian_weights_by_hand() -> None:
    """One row, windows at columns 0 and 2 of width 4 over 6 columns; tile n predicts n."""
    calls = iter(range(100))
    image = torch.zeros(1, 1, 4, 6)
    result = predict_in_tiles(lambda t: torch.full_like(t, float(next(calls))), image, 1, 4)
    sigma = 4 / 8
    profile = [max(math.exp(-((i - 1.5) ** 2) / (2 * sigma**2)), 1e-3) for i in range(4)]
    expected = [
        0.0,
        0.0,
        profile[0] / (profile[0] + profile[2]),  # column 2: third of window 0, first of window 1
        profile[1] / (profile[1] + profile[3]),
        1.0,
        1.0,
    ]
    torch.testing.assert_close(result[0, 0, 1], torch.tensor(expected), atol=1e-5, rtol=0)


def test_a_window_of_one_pixel_ends() -> None:
    image = torch.rand(1, 1, 3, 4)
    torch.testing.assert_close(predict_in_tiles(lambda t: t, image, 1, 1), image)
