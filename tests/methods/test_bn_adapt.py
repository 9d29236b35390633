"""bn_adapt: statistics of source and target, mixed by how many slices each counts for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from method_cases import CPU, bench
from tiny_cases import assert_same_tensors, changed, small_config, snapshot

from napari_uda.api import iterate
from napari_uda.losses.entropy import minimum_entropy_loss
from napari_uda.networks.normalisation import batch_norms, move_statistics
from napari_uda.run import checkpoint
from napari_uda.run.run import Run

Domains = tuple[Path, Path]


@pytest.mark.parametrize("source_slices", [0, 6, 16])
def test_statistics_are_mixed_by_the_number_of_slices(
    source_slices: int, two_domains: Domains, tmp_path: Path
) -> None:
    """mu = N/(N+n) mu_source + n/(N+n) mu_target with n = 18; the first layer by hand."""
    stand = bench("bn_adapt", two_domains, tmp_path, method={"source_slices": source_slices})
    segmentor = stand.method.segmentor
    convolution, norm = segmentor.encoders[0][0], segmentor.encoders[0][1]  # type: ignore[index]
    norm.running_mean.fill_(0.3)
    norm.running_var.fill_(2.0)
    assert stand.data.target is not None
    with torch.no_grad():
        parts = [convolution(stand.data.target.image(np.arange(i, 18, 2))) for i in (0, 1)]
    mean = sum(part.mean((0, 2, 3)) for part in parts) / 2
    variance = sum(part.var((0, 2, 3)) for part in parts) / 2
    before = snapshot(stand.method)
    stand.step()
    own = source_slices / (source_slices + 18)
    torch.testing.assert_close(
        norm.running_mean, 0.3 * own + mean * (1 - own), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        norm.running_var, 2.0 * own + variance * (1 - own), rtol=1e-4, atol=1e-5
    )
    moved = changed(before, stand.method)
    assert all("running" in name or "num_batches" in name for name in moved)
    assert all(layer.momentum == 0.1 for layer in batch_norms(segmentor))


def test_a_step_logs_the_entropy_with_the_moved_statistics(
    two_domains: Domains, tmp_path: Path
) -> None:
    stand = bench("bn_adapt", two_domains, tmp_path, method={"aux_weight": 0})
    logged = stand.step()["entropy"]
    stand.method.eval()
    with torch.no_grad():
        logits = stand.method.predict(stand.data.batch(0, CPU).unlabelled().image)
    torch.testing.assert_close(logged, minimum_entropy_loss(logits))


def test_more_steps_change_nothing(two_domains: Domains, tmp_path: Path) -> None:
    weights = []
    for steps in (1, 3):
        run = Run.create(
            tmp_path / f"of_{steps}", small_config("bn_adapt", *two_domains, steps=steps)
        )
        for _ in iterate(run):
            pass
        weights.append(checkpoint.load_weights(run.checkpoints / checkpoint.WEIGHTS))
    assert_same_tensors(*weights)


def test_move_statistics_is_exact_at_both_ends() -> None:
    torch.manual_seed(0)
    layer = torch.nn.BatchNorm2d(3)
    layer.running_mean = torch.randn(3)
    own = snapshot(layer)
    images = [torch.randn(4, 3, 5, 5) for _ in range(2)]
    move_statistics(layer, images, 0.0)
    assert changed(own, layer) == {"num_batches_tracked"}
    layer.eval()
    move_statistics(layer, images, 1.0)
    assert not layer.training
    expected = torch.stack([image.mean((0, 2, 3)) for image in images]).mean(0)
    torch.testing.assert_close(layer.running_mean, expected)
