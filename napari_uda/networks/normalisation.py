"""Batch normalisation that sees all ranks, passes that leave its statistics alone, and one that moves them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from napari_uda.core.distributed import all_sum, is_distributed

NormName = Literal["batch", "instance"]


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation over the batch of all ranks together.

    On one rank, and in evaluation mode, it is `torch.nn.BatchNorm2d` itself. In training on several
    ranks mean and variance are taken over the images of all ranks (two passes, float32,
    differentiable), so that two ranks compute what one rank computes with the doubled batch. Unlike
    `torch.nn.SyncBatchNorm` it also runs on a CPU.
    """

    def forward(self, image: Tensor) -> Tensor:
        """Normalise `image` `(B, C, H, W)`; same shape and dtype come back."""
        if not (self.training and is_distributed()):
            normalised: Tensor = super().forward(image)
            return normalised
        self._check_input_dim(image)
        return self._normalise_over_ranks(image)

    def _normalise_over_ranks(self, image: Tensor) -> Tensor:
        values = image.float()
        size = values.new_tensor([float(values.numel() // values.shape[1])])
        # the number of pixels travels with the C sums, in one message
        sums = all_sum(torch.cat([values.sum((0, 2, 3)), size]))  # (C + 1,)
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = values - mean[:, None, None]
        variance = all_sum(centred.square().sum((0, 2, 3))) / count
        self._update_running_statistics(mean.detach(), variance.detach(), count)
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            scale = scale * self.weight
        normalised = centred * scale[:, None, None]
        if self.affine:
            normalised = normalised + self.bias[:, None, None]
        return normalised.to(image.dtype)

    @torch.no_grad()
    def _update_running_statistics(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        momentum = self.momentum
        if momentum is None:  # torch's cumulative average
            momentum = 1.0 / float(self.num_batches_tracked or 1)
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * count / (count - 1), momentum)  # unbiased, as torch's


def normalisation(name: NormName, channels: int) -> nn.Module:
    """A normalisation layer with affine parameters: over the batch, or per image."""
    if name == "batch":
        return BatchNorm2d(channels)
    return nn.InstanceNorm2d(channels, affine=True)


def over_all_ranks(module: nn.Module) -> nn.Module:
    """Replace every `torch.nn.BatchNorm2d` in a foreign network by our `BatchNorm2d`, in place."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            ours = BatchNorm2d(
                child.num_features,
                child.eps,
                child.momentum,
                child.affine,
                child.track_running_stats,
            )
            ours.load_state_dict(child.state_dict())
            setattr(module, name, ours)
        else:
            over_all_ranks(child)
    return module


def batch_norms(module: nn.Module) -> list[_BatchNorm]:
    """Every layer of batch normalisation inside `module`."""
    return [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]


@torch.no_grad()
def move_statistics(module: nn.Module, batches: Iterable[Tensor], share: float) -> None:
    """Let running statistics become `(1 - share)` of their own plus `share` of those of some images.

    Mean and variance are taken in every batch and averaged over batches. A layer sees what the layers
    before it make of the same batch, normalised by the statistics of the batch.

    Args:
        module: any network with batch normalisation.
        batches: images `(B, K, H, W)`; each batch weighs the same.
        share: 0 keeps the statistics, 1 forgets them.
    """
    layers = batch_norms(module)
    own = [
        (_given(layer.running_mean), _given(layer.running_var), layer.momentum) for layer in layers
    ]
    for layer, (mean, variance, _) in zip(layers, own, strict=True):
        layer.running_mean, layer.running_var = torch.zeros_like(mean), torch.ones_like(variance)
        layer.num_batches_tracked = torch.zeros_like(_given(layer.num_batches_tracked))
        layer.momentum = None  # torch then takes the mean over batches
    with _all_set(module, "training", True):
        for images in batches:
            module(images)
    for layer, (mean, variance, momentum) in zip(layers, own, strict=True):
        layer.running_mean = torch.lerp(mean, _given(layer.running_mean), share)
        layer.running_var = torch.lerp(variance, _given(layer.running_var), share)
        layer.momentum = momentum


def _given(statistic: Tensor | None) -> Tensor:
    assert statistic is not None  # no network here is built without running statistics
    return statistic


@contextmanager
def batch_statistics_only(module: nn.Module, *, when: bool = True) -> Iterator[None]:
    """Let batch normalisation use batch statistics without remembering them.

    For passes on augmented views: layers in training mode normalise with the statistics of the view,
    and running mean, running variance and batch counter stay as they are, bit for bit. Layers in
    evaluation mode are not changed. The released SE-ASA code updates them on every view, so that the
    network is evaluated with the statistics of jittered images (our decision SE-D6).

    Args:
        module: any network; every batch normalisation layer inside is meant.
        when: without, nothing is changed.
    """
    with _all_set(module, "track_running_stats", False, when=when):
        yield


@contextmanager
def running_statistics(module: nn.Module, *, when: bool = True) -> Iterator[None]:
    """Let batch normalisation use its running statistics, and leave them alone, also in training.

    Args:
        module: any network; its affine parameters still get gradients.
        when: without, nothing is changed.
    """
    with _all_set(module, "training", False, when=when):
        yield


@contextmanager
def statistics_of_the_batch(module: nn.Module) -> Iterator[None]:
    """Let batch normalisation use the batch's statistics, also in evaluation, and forget them.

    Predictions then depend on which slices share a batch.

    Args:
        module: any network.
    """
    with _all_set(module, "training", True), batch_statistics_only(module):
        yield


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """A whole network in evaluation mode, dropout included, and as it was afterwards.

    Args:
        module: any network that is as a whole in training or in evaluation mode.
    """
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


@contextmanager
def _all_set(module: nn.Module, field: str, value: bool, *, when: bool = True) -> Iterator[None]:
    """Every batch normalisation inside `module` with this value of a field, the old one afterwards."""
    layers = batch_norms(module) if when else []
    before = [getattr(layer, field) for layer in layers]
    for layer in layers:
        setattr(layer, field, value)
    try:
        yield
    finally:
        for layer, old in zip(layers, before, strict=True):
            setattr(layer, field, old)
