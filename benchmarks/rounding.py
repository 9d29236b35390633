"""How far bfloat16 moves labels and entropy, and what a slice takes: the network in torch and in OpenVINO, in both precisions.

    python benchmarks/rounding.py [--run sample_data/model] [--slices 12] [--repeats 3]

Slices of the image that `predict.py` makes go through the network of a run by itself, two at once, by one thread. Labels and
entropy at the image's pixels are compared with those of torch in float32. Times are processor time, the lowest of the repeats.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from predict import HERE, write_image
from torch import Tensor

from napari_uda.data.intensity import to_unit_range
from napari_uda.data.slices import resample_plane
from napari_uda.data.volume import read_volume
from napari_uda.inference.backend import prepare_network, with_folded_norms
from napari_uda.inference.loaded import LoadedRun
from napari_uda.inference.tiles import predict_any_size
from napari_uda.losses.entropy import entropy_of_probabilities

Network = Callable[[Tensor], Tensor]


def slices_of(loaded: LoadedRun, count: int) -> tuple[Tensor, tuple[int, int]]:
    """Slices as the network sees them, and the shape of those of the file."""
    facts = loaded.run.facts
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image.nii.gz"
        write_image(file, (512, 512, count))
        volume = read_volume(file)
    planes = facts.grid.cut(volume.canonical().array)
    grey = to_unit_range(planes, facts.prediction_intensity.raw_bounds(planes))
    shape = facts.grid.plane_shape(volume)
    return resample_plane(torch.from_numpy(grey)[:, None], shape), planes.shape[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, default=HERE / "sample_data/model")
    parser.add_argument("--slices", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    loaded = LoadedRun.load(options.run, "cpu")
    method, size = loaded.method, loaded.run.facts.grid.size
    slices, fine = slices_of(loaded, options.slices)

    def in_openvino(bf16: bool) -> Network:
        return prepare_network(
            method, "openvino", loaded.device, bf16=bf16, checksum=loaded.weights_sha256
        )

    folded = with_folded_norms(method).predict
    ways: dict[str, tuple[Network, bool]] = {
        "torch in float32": (method.predict, False),
        "torch in bfloat16": (method.predict, True),
        "torch in bfloat16, norms folded": (folded, True),
        "OpenVINO in bfloat16": (in_openvino(True), False),
        "OpenVINO in float32": (in_openvino(False), False),
    }

    def segmented(network: Network, bf16: bool) -> Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            parts = [
                predict_any_size(
                    network, part, method.num_classes, size, method.segmentor.stride
                ).float()
                for part in slices.split(2)
            ]
        return torch.cat(parts)

    print("| network | labels as in float32 | entropy differs by | a slice |\n|---|---|---|---|")
    exact: tuple[Tensor, Tensor] | None = None
    for name, (network, bf16) in ways.items():
        logits, lowest = segmented(network, bf16), math.inf  # the first time compiles
        for _ in range(options.repeats):
            began = time.process_time()
            segmented(network, bf16)
            lowest = min(lowest, (time.process_time() - began) / len(slices))
        shares = resample_plane(logits.softmax(1), fine)
        labels, entropy = shares.argmax(1), entropy_of_probabilities(shares)
        exact = exact or (labels, entropy)
        same = float((labels == exact[0]).float().mean())
        off = np.abs((entropy - exact[1]).numpy())
        print(
            f"| {name} | {same:.3%} | {off.mean():.4f}, at most {off.max():.3f} | {lowest * 1e3:.1f} ms |",
            flush=True,
        )


if __name__ == "__main__":
    main()
