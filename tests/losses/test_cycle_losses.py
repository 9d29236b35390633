from __future__ import annotations

import pytest
import torch

from napari_uda.losses.cycle import image_distance, structure_dice


def test_distance_by_hand() -> None:
    image = torch.tensor([0.0, 1.0, -1.0], dtype=torch.bfloat16, requires_grad=True)
    loss = image_distance(image, torch.tensor([0.0, 0.5, 1.0]))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx((0 + 0.5 + 2) / 3)
    loss.backward()
    assert image.grad is not None
    assert image.grad.float().tolist() == pytest.approx([0, 1 / 3, -1 / 3], rel=0.01)


def test_structure_dice_by_hand() -> None:
    label = torch.tensor([[[0, 1, 1, 2]]])
    prediction = torch.tensor([[[1, 1, 0, 2]]])
    # class 1: 2 * 1 / (2 + 2), class 2: 1; class 3 is nowhere
    assert structure_dice(prediction, label, 4).item() == pytest.approx((0.5 + 1) / 2)
    assert structure_dice(label, label, 4).item() == 1
    invented = torch.tensor([[[3, 1, 1, 2]]])
    assert structure_dice(invented, label, 4).item() == pytest.approx(2 / 3)


def test_background_alone_agrees() -> None:
    empty = torch.zeros(2, 4, 4, dtype=torch.int64)
    assert structure_dice(empty, empty, 3).item() == 1
