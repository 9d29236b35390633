"""Time, memory and results of `napari-uda predict` here and in another checkout, in turns, each in a new process.

    python benchmarks/predict.py --base ../napari_uda_95e2373 [--size 512x512x300] [--rounds 5] [--monai]
    python benchmarks/predict.py --sizes 128x128x128 256x256x256 512x512x300 512x512x1200
    python benchmarks/predict.py --cases 1 10 --size 512x512x30

The other checkout is made by `git worktree add --detach ../napari_uda_95e2373 95e2373`. The image is an MR phantom
of the sample data, enlarged, in air with noise, as int16 in `.nii.gz`; the run is the sample model of the other
checkout, which both can read. Times are seconds of processor time of the whole command, reading and writing included,
and on the clock; medians of the rounds. Memory is the peak above a process that has imported everything and done
nothing, in multiples of the bytes of the voxels as int16; private memory leaves out what lies in mapped files. For
folders of several cases it is also said how many threads want a core on average, which other work on the machine does
not change much. Set OMP_NUM_THREADS=1 where the machine has other work: threads that wait for each other cost processor time.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parents[1]
MIB = 2**20
PIXEL_MM = 0.8

MONAI = """
import sys
import nibabel as nib
import numpy as np
import torch
from monai.inferers import sliding_window_inference
from napari_uda.inference.loaded import LoadedRun

run, image, out = sys.argv[1:]
loaded = LoadedRun.load(run, "cpu")
grid, facts = loaded.run.facts.grid, loaded.run.facts
file = nib.load(image)
array = torch.from_numpy(file.get_fdata(dtype=np.float32)).permute(2, 1, 0)
low, high = facts.prediction_intensity.raw_bounds(array.numpy())
array = ((array - (low + high) / 2) * (2 / (high - low))).clamp(-1, 1)[:, None]
shape = [round(side * mm / grid.pixel_mm) for side, mm in zip(array.shape[2:], file.header.get_zooms()[1::-1])]
shares = []
with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=loaded.bf16):
    for part in array.split(2):
        small = torch.nn.functional.interpolate(part, shape, mode="bilinear", antialias=True)
        logits = sliding_window_inference(small, (grid.size, grid.size), 4, loaded.method.predict, 0.5, "gaussian")
        fine = torch.nn.functional.interpolate(logits.float().softmax(1), array.shape[2:], mode="bilinear")
        entropy = -(fine * fine.clamp_min(1e-12).log()).sum(1) / np.log(fine.shape[1])
        shares.append((fine.argmax(1).byte(), entropy))
labels, entropy = (torch.cat(parts).permute(2, 1, 0).numpy() for parts in zip(*shares))
nib.save(nib.Nifti1Image(labels, file.affine), f"{out}/image_labels.nii.gz")
image = nib.Nifti1Image(entropy, file.affine)
image.set_data_dtype(np.uint8)  # scaled by its header
nib.save(image, f"{out}/image_entropy.nii.gz")
"""


@dataclass(frozen=True)
class Cost:
    """What one process took."""

    cpu: float
    wall: float
    peak: float
    private: float
    threads: float
    """How many of its threads want a core, on average."""


@dataclass(frozen=True)
class Way:
    """A way to segment the image: a checkout and what its command is given."""

    name: str
    checkout: Path
    options: tuple[str, ...] = ()
    code: str = ""


def measured(command: list[str], checkout: Path) -> Cost:
    """Run a command of a checkout; memory is looked at 20 times a second."""
    began, private, wanting = time.perf_counter(), 0.0, []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(checkout), *extra_paths()])}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled as well
    process = subprocess.Popen(
        command, cwd=checkout, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        text = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        found = re.search(r"RssAnon:\s+(\d+)", text)
        private = max(private, int(found[1]) / 1024 if found else 0.0)
        wanting.append(threads_wanting_a_core(process.pid))
        time.sleep(0.05)
    if status:
        sys.exit(process.stderr.read().decode() if process.stderr else "failed")
    process.returncode = 0
    wall = time.perf_counter() - began
    cpu, threads = usage.ru_utime + usage.ru_stime, statistics.mean(wanting)
    return Cost(cpu, wall, usage.ru_maxrss / 1024, private, threads)


def threads_wanting_a_core(process: int) -> int:
    """Threads of a process that run or wait for a core at this moment."""
    wanting = 0
    for task in Path(f"/proc/{process}/task").iterdir():
        with suppress(OSError):  # it has ended meanwhile
            state = (task / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
            wanting += state == "R"
    return wanting


def extra_paths() -> list[str]:
    """Folders of packages that the caller has added."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return [path for path in given if path and Path(path).resolve() != HERE]


def segmented(way: Way, run: Path, image: Path, out: Path) -> Cost:
    """Segment the image in one way."""
    out.mkdir(exist_ok=True)
    if way.code:
        command = [sys.executable, "-W", "ignore", "-c", way.code, str(run), str(image), str(out)]
    else:
        command = [sys.executable, "-m", "napari_uda", "predict", str(run), str(image)]
        command += ["--out", str(out), "--device", "cpu", *way.options]
    return measured(command, way.checkout)


def bare(checkout: Path) -> Cost:
    """A process that has everything imported, and has read nothing."""
    code = "import napari_uda.inference.predict, napari_uda.cli"
    return measured([sys.executable, "-c", code], checkout)


def write_image(file: Path, shape: tuple[int, int, int]) -> int:
    """An enlarged phantom as int16, x y z; returns the bytes of its voxels."""
    from scipy import ndimage

    x, y, z = shape
    sample = nib.load(HERE / "sample_data/mr/images/mr_001.nii.gz")
    small = np.asarray(sample.dataobj, np.float32)
    inner = min(x, y, round(small.shape[0] * float(sample.header.get_zooms()[0]) / PIXEL_MM))
    left, above = (x - inner) // 2, (y - inner) // 2
    rng, array = np.random.default_rng(0), np.empty(shape, np.int16)
    for index, place in enumerate(np.linspace(0, small.shape[2] - 1, z)):
        below = min(int(place), small.shape[2] - 2)
        plane = (1 - (place - below)) * small[..., below] + (place - below) * small[..., below + 1]
        frame = np.zeros((x, y), np.float32)
        frame[left : left + inner, above : above + inner] = ndimage.zoom(
            plane, inner / small.shape[0], order=1
        )
        frame += rng.normal(0, 10, frame.shape)
        array[..., index] = np.hypot(frame, rng.normal(0, 10, frame.shape))
    height = small.shape[2] * float(sample.header.get_zooms()[2]) / z
    nib.save(nib.Nifti1Image(array, np.diag([-PIXEL_MM, -PIXEL_MM, height, 1])), file)
    return array.nbytes


def read(out: Path, role: str) -> NDArray[np.float32]:
    return np.asarray(nib.load(out / f"image_{role}.nii.gz").dataobj, np.float32)


def compare(options: argparse.Namespace, work: Path) -> None:
    """Print the table beside the other checkout."""
    image, run = work / "image.nii.gz", options.base / "sample_data/model"
    volume = write_image(image, sides(options.size))
    empty = {path: bare(path) for path in (options.base, HERE)}
    print(
        "| vote | way | processor time | ratio | on the clock | ratio | peak | private | labels | entropy | reliability |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for vote in options.votes:
        more = ("--reliability",) if vote == "yes" else ("--no-reliability",)
        ways = [Way(options.base.name, options.base, more)]
        ways += [Way(name, HERE, (*more, "--backend", name)) for name in options.backends]
        if options.monai and vote == "no":
            ways.append(Way("MONAI", HERE, code=MONAI))
        for way in ways[1:]:  # what is made once per model is not timed
            segmented(way, run, image, work / way.name)
        costs: dict[str, list[Cost]] = {way.name: [] for way in ways}
        for _ in range(options.rounds):
            for way in ways:
                costs[way.name].append(segmented(way, run, image, work / way.name))
        first = costs[ways[0].name]
        roles = ("labels", "entropy", *["reliability"] * (vote == "yes"))
        before = {role: read(work / ways[0].name, role) for role in roles}
        for way in ways:
            cpu, wall, peak, private = medians(costs[way.name])
            cpu_before, wall_before, *_ = medians(first)
            start = empty[way.checkout]
            same = {
                role: f"{np.mean(read(work / way.name, role) == before[role]):.3%}"
                for role in roles
                if role != "entropy"
            }
            off = np.abs(read(work / way.name, "entropy") - before["entropy"])
            print(
                f"| {vote} | {way.name} | {cpu:.1f} s | {cpu / cpu_before:.2f} | {wall:.1f} s | {wall / wall_before:.2f} "
                f"| {(peak - start.peak) * MIB / volume:.1f} | {(private - start.private) * MIB / volume:.1f} "
                f"| {same['labels']} | {off.mean():.4f}, at most {off.max():.3f} | {same.get('reliability', '')} |",
                flush=True,
            )


def memory_by_size(options: argparse.Namespace, work: Path) -> None:
    """Print time and memory of this checkout for several sizes."""
    empty = bare(HERE)
    print(
        "| voxels | vote | processor time | ns per voxel | peak | private |\n|---|---|---|---|---|---|"
    )
    for text in options.sizes:
        image = work / "image.nii.gz"
        volume = write_image(image, sides(text))
        for vote in options.votes:
            way = Way("here", HERE, ("--reliability" if vote == "yes" else "--no-reliability",))
            cost = segmented(way, HERE / "sample_data/model", image, work / "out")
            print(
                f"| {text} | {vote} | {cost.cpu:.1f} s | {(cost.cpu - empty.cpu) / volume * 2e9:.0f} "
                f"| {cost.peak - empty.peak:.0f} MiB | {cost.private - empty.private:.0f} MiB |",
                flush=True,
            )


def by_cases(options: argparse.Namespace, work: Path) -> None:
    """Print time of this checkout for folders of several cases of one size."""
    print("| cases | processor time | on the clock | threads that want a core |\n|---|---|---|---|")
    for count in options.cases:
        folder = work / f"{count}_cases"
        folder.mkdir()
        write_image(folder / "0.nii.gz", sides(options.size))
        for index in range(1, count):
            shutil.copy(folder / "0.nii.gz", folder / f"{index}.nii.gz")
        way = Way("here", HERE, ("--no-reliability",))
        cost = segmented(way, HERE / "sample_data/model", folder, work / "out")
        print(
            f"| {count} | {cost.cpu:.1f} s | {cost.wall:.1f} s | {cost.threads:.2f} |", flush=True
        )


def medians(costs: list[Cost]) -> tuple[float, float, float, float]:
    rows = [(cost.cpu, cost.wall, cost.peak, cost.private) for cost in costs]
    cpu, wall, peak, private = (statistics.median(column) for column in zip(*rows, strict=True))
    return cpu, wall, peak, private


def sides(text: str) -> tuple[int, int, int]:
    x, y, z = (int(side) for side in text.split("x"))
    return x, y, z


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", type=Path, help="the other checkout")
    parser.add_argument("--size", default="512x512x300", help="voxels, x y z")
    parser.add_argument("--sizes", nargs="*", default=[], help="this checkout alone, with each")
    parser.add_argument("--cases", nargs="*", type=int, default=[], help="folders of so many")
    parser.add_argument("--rounds", "--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a small volume, to see that it works")
    parser.add_argument("--backends", nargs="*", default=["torch", "openvino"])
    parser.add_argument("--votes", nargs="*", default=["no", "yes"], choices=("no", "yes"))
    parser.add_argument(
        "--monai", action="store_true", help="and the same network in MONAI's windows"
    )
    options = parser.parse_args()
    if options.quick:
        options.size = "128x128x32"
    flags = torch.cpu.get_capabilities()
    able = [name for name in ("avx2", "avx512_f", "avx512_bf16", "amx_bf16") if flags.get(name)]
    print(f"{os.cpu_count()} cores, {', '.join(able)}; torch {torch.__version__}\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        if options.base is not None:
            options.base = options.base.resolve()
            compare(options, Path(folder))
        if options.sizes:
            memory_by_size(options, Path(folder))
        if options.cases:
            by_cases(options, Path(folder))


if __name__ == "__main__":
    main()
