"""Two processes must compute what one process computes with the doubled batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from napari_uda.losses.prototype import class_means, prototype_distance
from napari_uda.losses.segmentation import class_weights, segmentation_loss, weighted_cross_entropy
from napari_uda.networks.normalisation import BatchNorm2d, batch_statistics_only
from napari_uda.networks.segmentor import SegmentorOutput

CLASSES = 3


class TinyNetwork(nn.Module):
    """Two convolutions with batch normalisation between."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = BatchNorm2d(4)
        self.last = nn.Conv2d(4, CLASSES, 1)

    def forward(self, image: Tensor) -> SegmentorOutput:
        features = self.norm(self.first(image)).tanh()
        logits = self.last(features)
        return SegmentorOutput(logits, None, features)


def _compute(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Values, gradients and running statistics of one step on this batch."""
    torch.manual_seed(1)
    network = TinyNetwork()
    output = network(images)
    weights = class_weights(labels, CLASSES)
    means, present = class_means(output.features, labels, CLASSES, labels != 1)
    cross_entropy = weighted_cross_entropy(output.logits, labels, weights)
    distance = prototype_distance(means, torch.ones_like(means), present)
    with batch_statistics_only(network):
        view = network(images * 2 + 1)
    loss = segmentation_loss(output, labels) + distance + view.logits.square().mean()
    loss.backward()
    results = {
        "weights": weights,
        "cross_entropy": cross_entropy.detach(),
        "means": means.detach(),
        "present": present,
        "loss": loss.detach(),
        "running_mean": network.norm.running_mean,
        "running_var": network.norm.running_var,
        "num_batches_tracked": network.norm.num_batches_tracked,
    }
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        results[f"gradient of {name}"] = parameter.grad
    return results


def _batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 1, 8, 8, generator=generator)
    images[2:] = 3 * images[2:] + 2  # the two halves differ, so local statistics would not do
    labels = torch.randint(2, (4, 8, 8), generator=generator)
    labels[3, 0, :5] = 2  # a class that only the second rank has
    return images, labels


def _work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    images, labels = _batch()
    half = slice(2 * rank, 2 * rank + 2)
    results = _compute(images[half], labels[half])
    for name, value in results.items():
        if name.startswith("gradient") or name == "loss":
            dist.all_reduce(value)
            value /= 2
    torch.save(results, Path(folder) / f"rank{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_gloo_available(), reason="this torch has no gloo")
@pytest.mark.slow
def test_two_ranks_equal_the_doubled_batch(tmp_path: Path) -> None:
    spawn(_work, args=(str(tmp_path),), nprocs=2)
    expected = _compute(*_batch())
    for rank in range(2):
        found = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(
                found[name],
                value,
                atol=1e-6,
                rtol=1e-6,
                msg=lambda text, name=name: f"{name}: {text}",
            )
