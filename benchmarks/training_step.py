"""Time one SE-ASA step as it is here, and the same step written naively as in the released code.

    python benchmarks/training_step.py [--device cuda] [--steps 10]

Naive: one forward pass per view, views made one image at a time on the CPU, Fourier views with numpy.
Ours: the views of each set are one batch, made on the device with torch. Both steps start from the same
weights and draw the same random numbers, so their losses agree; with batch normalisation over views that
are one batch or three the terms that depend on views may differ, therefore agreement is checked with
normalisation per image as well, where they must not.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from napari_uda.core.runtime import Runtime
from napari_uda.data.appearance import jitter_and_blur
from napari_uda.data.batches import Batch, Labelled, Unlabelled
from napari_uda.methods.se_asa import SEASA
from napari_uda.networks.build import build_segmentor
from napari_uda.networks.unet import UNet
from napari_uda.run.recipes import build_config
from napari_uda.training.loop import build_runtime
from napari_uda.uncertainty.reliability import Reliability, vote

if TYPE_CHECKING:
    from napari_uda.run.config import RunConfig

CLASSES = 5
VIEW_TERMS = ("reliable_share", "entropy_reliable", "entropy_unreliable", "prototype")


class NaiveSEASA(SEASA):
    """SE-ASA whose views are made and segmented one after the other."""

    def _vote(
        self,
        source: Labelled,
        target: Unlabelled,
        label: Tensor,
        generators: Sequence[np.random.Generator],
    ) -> tuple[Tensor | None, Reliability]:
        config = self.config.reliability
        chosen = [
            [int(g.integers(len(source.image))) for g in generators] for _ in range(config.views)
        ]
        agrees_fourier, agrees_random, kept = [], [], []
        for picks in chosen:
            view = torch.stack(
                [
                    _numpy_fourier(
                        image, source.image[pick], config.fourier_mu, config.fourier_half_width
                    )
                    for image, pick in zip(target.image, picks, strict=True)
                ]
            ).to(label.device)
            with torch.no_grad():
                agrees_fourier.append(self._view_logits(view).argmax(1) == label)
        # each generator first draws the brightness of all views, then their contrast, then their blur
        drawn = _one_by_one(target.image, generators, config)
        with_gradient = torch.is_grad_enabled() and self.config.entropy_view == "last_random"
        for view in drawn:
            with torch.set_grad_enabled(with_gradient):
                logits = self._view_logits(view.to(label.device))
            agrees_random.append(logits.detach().argmax(1) == label)
            kept.append(logits)
        random_logits = torch.stack(kept) if with_gradient else None
        return random_logits, vote(torch.stack(agrees_random), torch.stack(agrees_fourier))


def _one_by_one(
    image: Tensor, generators: Sequence[np.random.Generator], config: Any
) -> list[Tensor]:
    """The random views, one image at a time on the CPU: `views` tensors `(B, K, H, W)`."""
    per_image = [
        jitter_and_blur(
            single.cpu()[None].repeat(config.views, 1, 1, 1),
            [random] * config.views,
            strength=config.jitter,
            blur_probability=config.blur_probability,
            blur_sigma=config.blur_sigma,
        )
        for single, random in zip(image, generators, strict=True)
    ]
    return [torch.stack([views[n] for views in per_image]) for n in range(config.views)]


def _numpy_fourier(image: Tensor, other: Tensor, mu: float, half_width: int) -> Tensor:
    """`data.fourier.mix_amplitude` of one image with numpy, shifted spectra as in the released code."""
    spectra = [
        np.fft.fftshift(np.fft.fft2((x.cpu().numpy() + 1) / 2), axes=(-2, -1))
        for x in (image, other)
    ]
    amplitude, phase = np.abs(spectra[0]), np.angle(spectra[0])
    row, column = (side // 2 for side in amplitude.shape[-2:])
    window = (
        ...,
        slice(row - half_width, row + half_width + 1),
        slice(column - half_width, column + half_width + 1),
    )
    amplitude[window] = (1 - mu) * amplitude[window] + mu * np.abs(spectra[1])[window]
    mixed = np.fft.ifftshift(amplitude * np.exp(1j * phase), axes=(-2, -1))
    grey = np.fft.ifft2(mixed).real * 2 - 1
    return torch.from_numpy(grey.clip(-1, 1).astype(np.float32))


def slices(batch_size: int, size: int, device: torch.device) -> Batch:
    """Smooth random source and target slices with labels."""
    random = torch.Generator().manual_seed(0)

    def blobs(channels: int) -> Tensor:
        coarse = torch.randn(batch_size, channels, size // 16, size // 16, generator=random)
        return torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic")

    label = blobs(CLASSES).argmax(1)
    source, target = ((label[:, None] / 2 - 1 + 0.2 * blobs(1)).clamp(-1, 1) for _ in range(2))
    return Batch(Labelled(source.to(device), label.to(device)), Unlabelled(-target.to(device)))


def votes_from_the_start(norm: str, options: argparse.Namespace) -> RunConfig:
    """cpu_small with every term in the first step already."""
    return build_config(
        "se_asa",
        recipe="cpu_small",
        segmentor={"norm": norm},
        device=options.device,
        precision=options.precision,
        method={"warmup_steps": 0, "prototype_batches": 0, "entropy_view": "last_random"},
    )


def prepare(kind: type[SEASA], config: RunConfig) -> tuple[SEASA, Runtime]:
    """A method with seeded weights and its runtime."""
    runtime = build_runtime(config)
    torch.manual_seed(0)
    segmentor = build_segmentor(config.segmentor, 1, CLASSES)
    if isinstance(segmentor, UNet):  # or every pixel would be of one class
        torch.nn.init.normal_(segmentor.head.weight, std=1.0)
    method = kind(copy.deepcopy(config.method), segmentor, CLASSES)  # type: ignore[arg-type]
    method.place(runtime.device).train()
    runtime.attach(method.optimizers())
    return method, runtime


def take_step(method: SEASA, batch: Batch, runtime: Runtime) -> dict[str, Tensor]:
    """One step as the loop takes it, on slices that are there already."""
    with runtime.autocast():
        return method.step(batch, runtime)


def first_losses(norm: str, options: argparse.Namespace) -> list[dict[str, float]]:
    """Losses of the first step, ours and naive."""
    found = []
    for kind in (SEASA, NaiveSEASA):
        method, runtime = prepare(kind, votes_from_the_start(norm, options))
        batch = slices(options.batch_size, options.size, runtime.device)
        losses = take_step(method, batch, runtime)
        found.append({name: float(value) for name, value in losses.items()})
    return found


def measure(step: Callable[[], object], steps: int, device: torch.device) -> list[float]:
    """Seconds of each of `steps` steps."""
    times = []
    for _ in range(steps):
        _synchronise(device)
        began = time.perf_counter()
        step()
        _synchronise(device)
        times.append(time.perf_counter() - began)
    return times


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--size", type=int, default=96, help="pixels per side")
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each kind")
    options = parser.parse_args()

    good = True
    for norm in ("instance", "batch"):
        ours, naive = first_losses(norm, options)
        tolerance = 1e-4 if options.precision == "fp32" else 2e-2
        compared = [n for n in ours if norm == "instance" or n not in VIEW_TERMS]
        worst = max(abs(ours[n] - naive[n]) / max(abs(naive[n]), 1e-3) for n in compared)
        good &= worst <= tolerance
        print(
            f"{norm} norm: {len(compared)} of {len(ours)} terms compared, they agree to {worst:.0e} "
            f"(allowed {tolerance:.0e}); reliable share {ours['reliable_share']:.4f} and "
            f"{naive['reliable_share']:.4f}"
        )

    kinds = {"ours": SEASA, "naive": NaiveSEASA}
    config = votes_from_the_start("batch", options)
    ready = {name: prepare(kind, config) for name, kind in kinds.items()}
    device = ready["ours"][1].device
    batch = slices(options.batch_size, options.size, device)
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for block in range(options.steps + 1):  # in turns, so that other load falls on both alike
        for name, (method, runtime) in ready.items():
            runtime.step = block
            seconds = measure(lambda m=method, r=runtime: take_step(m, batch, r), 1, device)  # type: ignore[misc]
            times[name] += seconds if block else []
    print(
        f"{'step':<6}{'median':>10}{'best':>10}   {device}, batch {options.batch_size}, "
        f"{options.size} x {options.size} px, {options.precision}, {torch.get_num_threads()} threads"
    )
    for name, values in times.items():
        print(f"{name:<6}{statistics.median(values) * 1e3:>7.1f} ms{min(values) * 1e3:>7.1f} ms")
    ratio = statistics.median(times["naive"]) / statistics.median(times["ours"])
    print(
        f"naive / ours: {ratio:.2f} (median), {min(times['naive']) / min(times['ours']):.2f} (best)"
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
