from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from napari_uda.losses.prototype import (
    class_means,
    prototype_distance,
    resize_nearest,
    update_prototypes,
)

# two features on a 1 x 4 map
FEATURES = torch.tensor([[[[1.0, 3.0, 5.0, 7.0]], [[0.0, 2.0, -4.0, 8.0]]]])
LABEL = torch.tensor([[[0, 0, 2, 2]]])


def test_class_means_by_hand() -> None:
    means, present = class_means(FEATURES, LABEL, 3)
    assert means.tolist() == [[2.0, 1.0], [0.0, 0.0], [6.0, 2.0]]
    assert present.tolist() == [True, False, True]


def test_masked_pixels_do_not_count_and_a_masked_class_is_absent() -> None:
    mask = torch.tensor([[[True, False, False, False]]])
    means, present = class_means(FEATURES, LABEL, 3, mask)
    assert means.tolist() == [[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    assert present.tolist() == [True, False, False]


def test_labels_outside_the_classes_are_ignored() -> None:
    means, present = class_means(FEATURES, torch.tensor([[[0, 255, 9, 0]]]), 3)
    assert means[0].tolist() == [4.0, 4.0]
    assert present.tolist() == [True, False, False]


def test_class_means_agree_with_a_loop_and_stay_float32_under_autocast() -> None:
    torch.manual_seed(0)
    features, label = torch.randn(3, 6, 5, 4), torch.randint(4, (3, 5, 4))
    mask = torch.rand(3, 5, 4) > 0.3
    with torch.autocast("cpu", torch.bfloat16):
        means, _ = class_means(features, label, 4, mask)
    assert means.dtype == torch.float32
    rows = features.permute(0, 2, 3, 1)
    for value in range(4):
        torch.testing.assert_close(means[value], rows[(label == value) & mask].mean(0))


def test_gradient_reaches_exactly_the_pixels_that_count() -> None:
    features = FEATURES.clone().requires_grad_()
    mask = torch.tensor([[[True, True, True, False]]])
    means, _ = class_means(features, LABEL, 3, mask)
    means.sum().backward()
    assert features.grad is not None
    assert features.grad[0, 0, 0].tolist() == [0.5, 0.5, 1.0, 0.0]


def test_momentum_weighs_the_old_prototype() -> None:
    old, means = torch.full((1, 2), 100.0), torch.full((1, 2), 1.0)
    new = update_prototypes(old, means, torch.tensor([True]))
    torch.testing.assert_close(new, torch.full((1, 2), 0.01 * 100 + 0.99 * 1))
    new = update_prototypes(old, means, torch.tensor([True]), momentum=0.9)
    torch.testing.assert_close(new, torch.full((1, 2), 90.1))


def test_absent_class_keeps_its_prototype_and_gives_no_gradient() -> None:
    old = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    features = FEATURES.clone().requires_grad_()
    means, present = class_means(features, torch.ones_like(LABEL), 2)
    new = update_prototypes(old, means, present)
    assert new[0].tolist() == [1.0, 2.0]
    (absent,) = torch.autograd.grad(new[0].sum(), features, retain_graph=True)
    assert absent.abs().max() == 0
    (seen,) = torch.autograd.grad(new[1].sum(), features)
    torch.testing.assert_close(seen, torch.full_like(seen, 0.99 / 4))
    assert not new[0].detach().requires_grad
    assert torch.autograd.grad(
        update_prototypes(old, means.detach() + 0 * features.sum(), present).sum(),
        old,
        allow_unused=True,
    ) == (None,)


def test_distance_by_hand_over_present_classes() -> None:
    first = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    second = torch.tensor([[2.0, 0.0], [1.0, 4.0]])
    # mean over the features of the squared difference: 4 / 2 and 9 / 2
    assert prototype_distance(first, second).item() == pytest.approx(2 + 4.5)
    assert prototype_distance(first, second, torch.tensor([True, False])).item() == 2
    assert prototype_distance(first, second, torch.tensor([False, False])).item() == 0
    assert prototype_distance(first, first).item() == 0


def test_both_sides_are_pulled_together() -> None:
    first = torch.tensor([[0.0, 1.0]], requires_grad=True)
    second = torch.tensor([[2.0, -1.0]], requires_grad=True)
    prototype_distance(first, second).backward()
    assert first.grad is not None
    assert second.grad is not None
    assert torch.equal(first.grad, -second.grad)
    closer = prototype_distance(first - 0.1 * first.grad, second - 0.1 * second.grad)
    assert closer < prototype_distance(first, second)


@pytest.mark.parametrize("size", [(33, 33), (64, 128), (10, 7), (256, 256)])
def test_resize_is_interpolate_nearest_for_every_dtype(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    label = torch.randint(5, (2, 256, 256))
    expected = F.interpolate(label[:, None].float(), size=size, mode="nearest")[:, 0].long()
    assert torch.equal(resize_nearest(label, size), expected)
    mask = resize_nearest(label > 2, size)
    assert mask.dtype == torch.bool
    assert torch.equal(mask, expected > 2)
