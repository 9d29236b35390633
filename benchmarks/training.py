"""Peak memory and step time of every method, each trained in a process of its own.

    python benchmarks/training.py [--recipe cpu_small] [--device cuda] [--steps 20] [--methods se_asa sfda]

Every line is the beginning of a real run, as `napari-uda train` makes it, on phantoms of the abdomen; a
method whose steps change their kind in the course of a run has a line for each kind. A method that can
only start from a trained run starts from a short one of source_only. Step times are of the whole loop:
slices, augmentation, losses, optimisers; the first two steps are not timed. The mean is above the median
where something is done every few steps alone. Peak memory is the largest resident set of the process, on
a GPU also the most that torch held there; `torch alone` is the process before it touched any data.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

UNTIMED = 2
KINDS: dict[str, dict[str, dict[str, Any]]] = {
    "se_asa": {
        "warm-up": {"warmup_steps": 10**6},
        "with votes": {"warmup_steps": 0, "prototype_batches": 1},
    },
    "attent": {
        "translation": {"joint": False, "translation_steps": 10**6},
        "alignment": {"joint": False, "translation_steps": 1},
    },
}
"""Settings of a method that make every timed step of one kind.

Alignment begins with one step of translation, without which it refuses to start; its peak is of both.
"""


@dataclass(frozen=True)
class Measured:
    """What the first steps of a run cost.

    Attributes:
        median_ms: of the timed steps.
        mean_ms: of the timed steps.
        peak_mb: largest resident set of the process.
        torch_mb: the same before the run was opened.
        gpu_mb: most memory that torch reserved on the GPU; 0 on a CPU.
        where: device and number of threads.
    """

    median_ms: float
    mean_ms: float
    peak_mb: float
    torch_mb: float
    gpu_mb: float
    where: str


def measure(folder: Path, steps: int) -> Measured:
    """Train the first steps of a run in this process, which must be a fresh one."""
    import torch

    from napari_uda.api import iterate
    from napari_uda.core.precision import choose_device
    from napari_uda.run.run import Run
    from napari_uda.training.loop import train_run  # noqa: F401 - all imports before the first figure

    before = peak_mb()
    run = Run.open(folder)
    device = choose_device(run.config.device)
    on_gpu = device.type == "cuda"
    times = []
    began = time.perf_counter()
    for progress in iterate(run):
        if on_gpu:
            torch.cuda.synchronize(device)
        now = time.perf_counter()
        times.append(now - began)
        began = now
        if progress.step == steps + UNTIMED:
            break
    timed = [1e3 * seconds for seconds in times[UNTIMED:]] or [1e3 * times[-1]]
    return Measured(
        median_ms=statistics.median(timed),
        mean_ms=statistics.mean(timed),
        peak_mb=peak_mb(),
        torch_mb=before,
        gpu_mb=torch.cuda.max_memory_reserved(device) / 1e6 if on_gpu else 0.0,
        where=torch.cuda.get_device_name(device)
        if on_gpu
        else f"{torch.get_num_threads()} threads",
    )


def peak_mb() -> float:
    """Largest resident set of this process so far.

    Linux's `ru_maxrss` begins with the size of the process that started this one; `VmHWM` does not.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(
            x for x in status.read_text(encoding="utf-8").splitlines() if x.startswith("VmHWM:")
        )
        return float(line.split()[1]) * 1024 / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes on macOS


def measure_apart(folder: Path, steps: int) -> Measured:
    """The same in a process of its own.

    Raises:
        RuntimeError: with the last line of what the process said, if it failed.
    """
    command = [sys.executable, __file__, "--run-folder", str(folder), "--steps", str(steps)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode:
        raise RuntimeError((child.stderr.strip().splitlines() or ["no message"])[-1])
    return Measured(**json.loads(child.stdout.splitlines()[-1]))


def make_run(
    folder: Path, name: str, data: dict[str, str], options: argparse.Namespace, **settings: Any
) -> Path:
    """A new run folder with the settings of a method."""
    from napari_uda.run.recipes import build_config
    from napari_uda.run.run import Run

    shared = {"data": data, "device": options.device, **settings}
    Run.create(folder, build_config(name, recipe=options.recipe or None, **shared))
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recipe", default="cpu_small", help="'' takes the defaults, the papers'")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=20, help="timed steps of each line")
    parser.add_argument("--methods", nargs="+", default=[], help="these alone")
    parser.add_argument("--subjects", type=int, default=2, help="phantoms of each domain")
    parser.add_argument("--run-folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run_folder:
        print(json.dumps(asdict(measure(options.run_folder, options.steps))))
        return 0

    from napari_uda.core.errors import InputError
    from napari_uda.methods.registry import METHODS, method_name
    from napari_uda.phantom import write_phantom

    try:
        methods = [method_name(name) for name in options.methods or METHODS]
    except InputError as error:
        parser.error(str(error))
    print(f"{'method':<20}{'steps':<13}{'median':>10}{'mean':>10}{'peak memory':>14}", end="")
    print(f"{'torch alone':>14}{'GPU memory':>13}", flush=True)
    failed, where = 0, ""
    with tempfile.TemporaryDirectory(prefix="training_") as temporary:
        work = Path(temporary)
        folders = write_phantom(work / "data", anatomy="abdominal", subjects=options.subjects)
        data = dict(zip(("source", "target"), map(str, folders), strict=True))
        trained: Path | None = None
        for method in methods:
            for kind, settings in KINDS.get(method, {"all": {}}).items():
                try:
                    start: dict[str, Any] = {}
                    if METHODS[method].needs_init:
                        if trained is None:
                            trained = make_run(
                                work / "trained", "source_only", data, options, steps=UNTIMED + 1
                            )
                            measure_apart(trained, 1)
                        start = {"init": str(trained)}
                    enough = {"steps": 2 * 10**6, "save_every": 10**6}
                    run = make_run(
                        work / f"{method} {kind}",
                        method,
                        data,
                        options,
                        method=settings,
                        **start,
                        **enough,
                    )
                    found = measure_apart(run, options.steps)
                except Exception as error:  # noqa: BLE001 - the other methods are still measured
                    failed += 1
                    print(f"{method:<20}{kind:<13}failed: {error}", flush=True)
                    continue
                where = found.where
                gpu = f"{found.gpu_mb:>10.0f} MB" if found.gpu_mb else f"{'-':>13}"
                print(
                    f"{method:<20}{kind:<13}{found.median_ms:>7.1f} ms{found.mean_ms:>7.1f} ms"
                    f"{found.peak_mb:>11.0f} MB{found.torch_mb:>11.0f} MB{gpu}",
                    flush=True,
                )
    print(f"recipe {options.recipe or 'none'}, {options.device} ({where}), {options.steps} steps")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
