"""Tent: what learns, on which statistics, and with which it predicts in the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from method_cases import CPU, bench
from tiny_cases import assert_same_tensors, changed, small_config, snapshot

from napari_uda.api import iterate
from napari_uda.losses.entropy import minimum_entropy_loss
from napari_uda.methods.tent import TentConfig
from napari_uda.networks.normalisation import batch_norms
from napari_uda.run import checkpoint
from napari_uda.run.run import Run

Domains = tuple[Path, Path]


def test_scales_and_offsets_of_batch_normalisation_learn_and_nothing_else(
    two_domains: Domains, tmp_path: Path
) -> None:
    stand = bench("tent", two_domains, tmp_path)
    layers = batch_norms(stand.method.segmentor)
    affine = {id(parameter) for layer in layers for parameter in (layer.weight, layer.bias)}
    names = {name for name, p in stand.method.named_parameters() if id(p) in affine}
    assert stand.parameters_of("segmentor") == names
    before = snapshot(stand.method)
    stand.step()
    parameters = {name for name, _ in stand.method.named_parameters()}
    assert changed(before, stand.method) & parameters == names


def test_a_frozen_scale_learns_too(two_domains: Domains, tmp_path: Path) -> None:
    """DeepLab trains with frozen batch normalisation."""
    stand = bench("tent", two_domains, tmp_path)
    for layer in batch_norms(stand.method.segmentor):
        layer.requires_grad_(False)
    players = stand.method.optimizers()
    (group,) = players["segmentor"].param_groups
    assert len(group["params"]) == 2 * len(batch_norms(stand.method.segmentor))


def test_the_loss_is_the_entropy_on_statistics_of_the_batch(
    two_domains: Domains, tmp_path: Path
) -> None:
    stand = bench("tent", two_domains, tmp_path, method={"aux_weight": 0.25})
    image = stand.data.batch(0, CPU).unlabelled().image
    with torch.no_grad():
        output = stand.method.segmentor(image)  # in training mode
    assert output.aux_logits is not None
    main, aux = (minimum_entropy_loss(logits) for logits in (output.logits, output.aux_logits))
    assert float(stand.step()["entropy"]) == pytest.approx(float(main + 0.25 * aux), rel=1e-6)


def test_after_the_last_step_statistics_are_those_of_the_whole_target(
    two_domains: Domains, tmp_path: Path
) -> None:
    """18 slices in two parts of every second one; the first layer by hand."""
    stand = bench("tent", two_domains, tmp_path, steps=3)
    for _ in range(3):
        stand.step()
    segmentor = stand.method.segmentor
    convolution, norm = segmentor.encoders[0][0], segmentor.encoders[0][1]  # type: ignore[index]
    assert stand.data.target is not None
    assert len(stand.data.target) == 18
    means, variances = [], []
    for first in (0, 1):
        with torch.no_grad():
            features = convolution(stand.data.target.image(np.arange(first, 18, 2)))
        means.append(features.mean((0, 2, 3)))
        variances.append(features.var((0, 2, 3)))
    torch.testing.assert_close(norm.running_mean, sum(means) / 2, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, sum(variances) / 2, rtol=1e-4, atol=1e-5)
    assert norm.momentum == 0.1


def test_a_stopped_run_ends_with_the_weights_of_one_that_was_not(
    two_domains: Domains, tmp_path: Path
) -> None:
    """Stopped before its last step, after which statistics are taken anew."""
    config = small_config("tent", *two_domains, steps=3, save_every=1)
    whole, parts = (Run.create(tmp_path / name, config) for name in ("whole", "parts"))
    for _ in iterate(whole):
        pass
    steps = iterate(parts)
    next(steps), next(steps)
    steps.close()  # type: ignore[attr-defined]
    for _ in iterate(Run.open(parts.path)):
        pass
    first, second = (
        checkpoint.load_weights(run.checkpoints / checkpoint.WEIGHTS) for run in (whole, parts)
    )
    assert_same_tensors(first, second)


def test_the_rate_stays_as_in_the_paper() -> None:
    config = TentConfig()
    assert config.lr_power == 0
    optimizer = config.segmentor_optimizer
    assert (optimizer.kind, optimizer.lr, optimizer.weight_decay) == ("adam", 1e-3, 0)
