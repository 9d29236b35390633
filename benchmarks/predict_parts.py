"""Where the processor time of one prediction goes: importing, opening the run, reading, the network, all around it, writing.

    OMP_NUM_THREADS=1 python benchmarks/predict_parts.py [--size 512x512x300] [--backend torch] [--vote]

The image is that of `predict.py`, the run is the sample model. With one thread nothing is done beside anything else, so
that each part has its own seconds. Modules are compiled before, as those of an installed package are.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def compile_modules() -> None:
    """Let another process import all that prediction imports, and keep it compiled."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    code = "import napari_uda.inference.predict, napari_uda.inference.backend"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", default="512x512x300", help="voxels, x y z")
    parser.add_argument("--backend", default="torch", choices=("torch", "openvino"))
    parser.add_argument("--vote", action="store_true", help="with the vote on reliability")
    options = parser.parse_args()
    compile_modules()
    parts: list[tuple[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        began = time.process_time()

        def done(part: str) -> None:
            nonlocal began
            now = time.process_time()
            parts.append((part, now - began))
            began = now

        from napari_uda.data.volume import read_volume
        from napari_uda.inference import predict as module
        from napari_uda.inference.loaded import LoadedRun

        done("importing")
        from predict import HERE, sides, write_image

        write_image(place / "image.nii.gz", sides(options.size))
        began = (
            time.process_time()
        )  # what the benchmark itself has imported and made does not count
        loaded = LoadedRun.load(HERE / "sample_data/model", "cpu").for_prediction(options.backend)
        done("opening the run")
        volume = read_volume(place / "image.nii.gz")
        done("reading")
        network, segment = 0.0, module._segment_slices

        def timed(*arguments: Any) -> Any:
            nonlocal network
            before = time.process_time()
            found = segment(*arguments)
            network += time.process_time() - before
            return found

        module._segment_slices = timed
        prediction = module.predict(loaded, volume, reliability=options.vote, entropy_dtype="uint8")
        done("around the network")
        parts[-1] = (parts[-1][0], parts[-1][1] - network)
        parts.append(("network", network))
        prediction.save(place / "out")
        done("writing")
    whole = sum(seconds for _, seconds in parts)
    print("| part | processor time | share |\n|---|---|---|")
    for part, seconds in parts:
        print(f"| {part} | {seconds:.2f} s | {seconds / whole:.0%} |")


if __name__ == "__main__":
    main()
