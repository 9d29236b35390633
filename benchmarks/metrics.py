"""Time the scores beside MedPy, MONAI and surface-distance on one synthetic pair of label maps.

Usage: python benchmarks/metrics.py [--quick] [--peers medpy,monai,surface-distance | none]
       python benchmarks/metrics.py --base CHECKOUT [--repeats 5] [--quick]

The pair is 512 x 512 x 300 uint8 with four structures of 85 thousand to 2 million voxels (liver, kidneys and spleen
in size) and rough borders, 1.5 x 0.8 x 0.8 mm. Ours starts from the label maps; the peers are given
ready masks of the whole volume, as their documentation shows. MedPy takes minutes. With `--base` ours is compared with that of
another checkout instead, in turns, by seconds of CPU time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

try:
    from napari_uda.evaluation.report import evaluate, evaluate_slice
    from napari_uda.evaluation.structures import Structure, find_structures
    from napari_uda.evaluation.surface import SurfaceDistances, Surfaces
except ImportError:  # where they were before 0.1.0
    from napari_uda.metrics.report import evaluate, evaluate_slice
    from napari_uda.metrics.structures import Structure, find_structures
    from napari_uda.metrics.surface import SurfaceDistances, Surfaces

SHAPE = (300, 512, 512)
SPACING_MM = (1.5, 0.8, 0.8)
VOXEL = (1.0, 1.0, 1.0)
TOLERANCE_MM = 2.0
NAMES = {1: "liver", 2: "right_kidney", 3: "left_kidney", 4: "spleen"}
# centre and radii in voxels of the full size
ORGANS = {
    1: ((170, 230, 170), (62, 90, 88)),
    2: ((120, 310, 170), (32, 24, 25)),
    3: ((115, 310, 350), (36, 26, 27)),
    4: ((190, 300, 390), (38, 34, 36)),
}

Labels = NDArray[np.uint8]
Values = dict[str, list[float]]


def phantom(shape: tuple[int, int, int], seed: int = 0) -> tuple[Labels, Labels]:
    """A reference of four rough ellipsoids and a prediction with other roughness."""
    rng = np.random.default_rng(seed)
    reference, prediction = np.zeros((2, *shape), np.uint8)
    scale = np.array(shape) / SHAPE
    for label, (centre, radii) in ORGANS.items():
        middle, radius = centre * scale, radii * scale
        low = np.maximum(np.floor(middle - 1.4 * radius).astype(int), 0)
        high = np.minimum(np.ceil(middle + 1.4 * radius).astype(int) + 1, shape)
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        grid = np.ogrid[box]
        squares = (((g - m) / r) ** 2 for g, m, r in zip(grid, middle, radius, strict=True))
        depth = np.sqrt(sum(squares)).astype(np.float32)
        depth += rough(rng, depth.shape, 6, 0.08)
        for labels in (reference, prediction):
            fine = rough(rng, depth.shape, 1, 0.6) + rough(rng, depth.shape, 5, 1.5)
            labels[box][depth + fine / radius.mean() < 1] = label
    return prediction, reference


def rough(
    rng: np.random.Generator, shape: tuple[int, ...], width: float, size: float
) -> NDArray[np.float32]:
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), width, truncate=3)
    return size * noise / noise.std()


def timed(work: Callable[[], Values], repeats: int = 1) -> tuple[float, Values]:
    """Shortest of some runs in seconds, and the result."""
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        values = work()
        best = min(best, time.perf_counter() - start)
    return best, values


def masks(prediction: Labels, reference: Labels) -> list[tuple[NDArray[np.bool_], ...]]:
    return [(prediction == label, reference == label) for label in NAMES]


# --- ours ---------------------------------------------------------------------------------------


def our_dice(prediction: Labels, reference: Labels) -> Values:
    dices = []
    for structure in find_structures(prediction, reference, NAMES):
        counts = structure.counts(0, prediction.shape[0])
        counts.dice()
        predicted, referenced, both = counts.total()
        dices.append(2 * both / (predicted + referenced))
    return {"dice": dices}


def our_surfaces(prediction: Labels, reference: Labels) -> Values:
    values: Values = {}
    for structure in find_structures(prediction, reference, NAMES):
        for unit, found in distances(structure):
            for name, value in (
                ("assd", found.assd()),
                ("masd", found.masd()),
                ("hd95", found.hd95()),
                ("hd95_max", found.hd95("max")),
                ("nsd", found.nsd(TOLERANCE_MM)),
            ):
                values.setdefault(f"{name}_{unit}", []).append(value)
    return values


def distances(structure: Structure) -> Iterator[tuple[str, SurfaceDistances]]:
    surfaces = Surfaces.of(structure.prediction, structure.reference)
    yield "mm", surfaces.distances(SPACING_MM)
    yield "voxel", surfaces.distances(VOXEL)


def our_jobs(
    prediction: Labels, reference: Labels
) -> Iterator[tuple[str, int, Callable[[], Values]]]:
    """What is timed, how often, and the work."""
    yield "Dice per slice and volume", 5, lambda: our_dice(prediction, reference)
    yield "ASSD MASD HD95 NSD, mm and voxel", 5, lambda: our_surfaces(prediction, reference)
    options = {"spacing_mm": SPACING_MM, "names": NAMES}

    def everything() -> Values:
        evaluate(prediction, reference, **options)
        return {}

    yield "evaluate(): all that, and ASSD per slice", 3, everything

    def one_slice() -> Values:
        evaluate_slice(prediction, reference, "z", prediction.shape[0] // 2, **options)
        return {}

    yield "evaluate_slice(): one edited slice", 10, one_slice
    side = prediction.shape[1] // 20
    poor = np.roll(prediction, (side, side, -side), (0, 1, 2))

    def off() -> Values:
        our_surfaces(poor, reference)
        return {}

    yield f"the distances, prediction {side} voxels off", 1, off


def ours(prediction: Labels, reference: Labels) -> Iterator[tuple[str, str, float, Values]]:
    for what, repeats, work in our_jobs(prediction, reference):
        seconds, values = timed(work, repeats)
        yield "napari_uda", what, seconds, values


def time_once(pair: Path) -> None:
    """Print the seconds of CPU time of every job as a line of JSON: the lower of two, for at first memory is handed out."""
    with np.load(pair) as maps:
        prediction, reference = maps["prediction"], maps["reference"]
    our_surfaces(prediction[:40, :60, :60], reference[:40, :60, :60])  # what is imported late
    seconds = {}
    for what, _, work in our_jobs(prediction, reference):
        taken = []
        for _ in range(2):
            began = time.process_time()
            work()
            taken.append(time.process_time() - began)
        seconds[what] = min(taken)
    print(json.dumps(seconds))


def compare(base: Path, repeats: int, shape: tuple[int, int, int]) -> None:
    from checkouts import in_turns, print_table, run_in

    with tempfile.TemporaryDirectory() as folder:
        pair = Path(folder) / "pair.npz"
        prediction, reference = phantom(shape)
        np.savez(pair, prediction=prediction, reference=reference)

        def measure(checkout: Path) -> dict[str, float]:
            printed = run_in(checkout, [Path(__file__).resolve(), "--once", pair])[1]
            return dict(json.loads(printed.splitlines()[-1]))

        print_table("scores", base, in_turns(base, measure, repeats))


# --- peers --------------------------------------------------------------------------------------


def medpy(prediction: Labels, reference: Labels) -> Iterator[tuple[str, str, float, Values]]:
    from medpy.metric import binary

    pairs = masks(prediction, reference)
    tool = f"MedPy {version('medpy')}"
    seconds, values = timed(lambda: {"dice": [binary.dc(*pair) for pair in pairs]})
    yield tool, "Dice per volume", seconds, values
    for name, function in (("assd_mm", binary.assd), ("hd95_mm", binary.hd95)):
        seconds, values = timed(
            lambda name=name, function=function: {
                name: [function(*pair, voxelspacing=SPACING_MM) for pair in pairs]
            }
        )
        yield tool, name.replace("_mm", "").upper() + ", mm", seconds, values


def monai(prediction: Labels, reference: Labels) -> Iterator[tuple[str, str, float, Values]]:
    import torch
    from monai import metrics

    pairs = [np.stack(side)[None] for side in zip(*masks(prediction, reference), strict=True)]
    tensors = [torch.from_numpy(side) for side in pairs]
    tool = f"MONAI {version('monai')}"
    options = {"include_background": True, "spacing": SPACING_MM}
    tolerances = [TOLERANCE_MM] * len(NAMES)
    jobs = {
        "Dice per volume": ("dice", lambda: metrics.compute_dice(*tensors)),
        "ASSD, mm": (
            "assd_mm",
            lambda: metrics.compute_average_surface_distance(*tensors, symmetric=True, **options),
        ),
        "HD95 (max), mm": (
            "hd95_max_mm",
            lambda: metrics.compute_hausdorff_distance(*tensors, percentile=95, **options),
        ),
        "NSD, mm": (
            "nsd_mm",
            lambda: metrics.compute_surface_dice(*tensors, tolerances, **options),
        ),
    }
    for what, (name, job) in jobs.items():
        seconds, values = timed(lambda name=name, job=job: {name: job().ravel().tolist()})
        yield tool, what, seconds, values


def surface_distance(
    prediction: Labels, reference: Labels
) -> Iterator[tuple[str, str, float, Values]]:
    # The released 0.1 uses np.NaN and np.Inf, which NumPy 2 removed; with the two names back it runs.
    for name, value in (("NaN", np.nan), ("Inf", np.inf)):
        if not hasattr(np, name):
            setattr(np, name, value)
    import surface_distance as deepmind

    pairs = masks(prediction, reference)
    tool = f"surface-distance {version('surface-distance')}"
    seconds, values = timed(
        lambda: {"dice": [deepmind.compute_dice_coefficient(b, a) for a, b in pairs]}
    )
    yield tool, "Dice per volume", seconds, values

    def job() -> Values:
        for a, b in pairs:
            found = deepmind.compute_surface_distances(b, a, SPACING_MM)
            deepmind.compute_average_surface_distance(found)
            deepmind.compute_robust_hausdorff(found, 95)
            deepmind.compute_surface_dice_at_tolerance(found, TOLERANCE_MM)
        return {}  # surfels, not border voxels: other numbers by definition

    seconds, values = timed(job)
    yield tool, "directed ASD, HD95 (max), NSD (surfels), mm", seconds, values


PEERS = {"medpy": medpy, "monai": monai, "surface-distance": surface_distance}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="a quarter of the size along every axis"
    )
    parser.add_argument("--peers", default=",".join(PEERS), help="which to compare with, or none")
    parser.add_argument("--base", type=Path, help="compare with this checkout, not with peers")
    parser.add_argument(
        "--repeats", type=int, default=5, help="with --base: measurements of each side"
    )
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once is not None:
        time_once(arguments.once)
        return
    names = [] if arguments.peers == "none" else arguments.peers.split(",")
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        parser.error(f"unknown peers {', '.join(unknown)}; choose among {', '.join(PEERS)} or none")
    warnings.simplefilter("ignore")

    depth, height, width = (side // 4 for side in SHAPE) if arguments.quick else SHAPE
    if arguments.base is not None:
        compare(arguments.base.resolve(), arguments.repeats, (depth, height, width))
        return
    prediction, reference = phantom((depth, height, width))
    sizes = ", ".join(f"{name} {(reference == label).sum()}" for label, name in NAMES.items())
    print(f"{width} x {height} x {depth} uint8, voxels: {sizes}; z y x {SPACING_MM} mm")
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()},"
        f" NumPy {np.__version__}, SciPy {version('scipy')}"
    )
    line = "{:<22} {:<46} {:>9}  {}"
    print(line.format("tool", "what", "seconds", "largest difference from ours"))
    expected: Values = {}
    for source in (ours, *(PEERS[name] for name in names)):
        try:
            for tool, what, seconds, values in source(prediction, reference):
                differences = [
                    np.abs(np.subtract(expected[name], found)).max()
                    for name, found in values.items()
                    if name in expected
                ]
                if source is ours:
                    expected.update(values)
                said = f"{max(differences):.1e}" if differences else ""
                print(line.format(tool, what, f"{seconds:.3f}", said), flush=True)
        except ImportError as error:
            print(line.format(source.__name__, f"not installed ({error.name})", "", ""))


if __name__ == "__main__":
    main()
