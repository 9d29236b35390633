"""Whether `adapt` makes a good model worse: Dice of volumes before and after, from weak and from strong networks.

    python benchmarks/adapt_no_harm.py [--out DIR] [--methods sfda tent bn_adapt] [--keep-all]
    python benchmarks/adapt_no_harm.py --runs RUN [RUN ...] --data FOLDER [--methods sfda]

Without `--runs`, phantoms of heart and abdomen are made and networks trained on the CT or the MR of each, with random
convolutions (600 steps) and without (300), and each adapts to volumes of both modalities that it never saw. With
`--runs`, these runs adapt to the volumes of the data folder. Labels are read after a volume's adaptation, for its score
alone. `--keep-all` takes every adapted result, surer or not, which shows what the check is worth. Runs that are finished
are used again.

Prints Dice (mean over structures, %) of each network and volume, and at the end: of networks above 80, the share of
volumes within one point of the start or above it; of networks below 65, the mean gain. Exit code 1 when that share
is below 90 %.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from napari_uda.api import build_config, iterate, new_run
from napari_uda.core.files import is_file
from napari_uda.data.folder import DataFolder
from napari_uda.evaluation.overlap import dice
from napari_uda.inference.predict import Prediction
from napari_uda.phantom import write_phantom
from napari_uda.run.run import Run
from napari_uda.training.adapt import adapt

STRONG, WEAK, HARMED = 80.0, 65.0, 1.0
SMALL: dict[str, Any] = {
    "recipe": "cpu_small",
    "segmentor": {"width": 8},
    "log_every": 50,
    "device": "cpu",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--methods", nargs="+", default=["sfda"])
    parser.add_argument("--runs", nargs="+", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--volumes", type=int, default=4, help="of each data folder at most")
    parser.add_argument("--keep-all", action="store_true")
    options = parser.parse_args()
    if bool(options.runs) != bool(options.data):
        parser.error("--runs and --data belong together; give both or none")
    with tempfile.TemporaryDirectory() as folder:
        if options.runs:
            pairs = [(run, options.data) for run in options.runs]
            return compare(pairs, options, len(DataFolder.open(options.data).cases))
        return compare(phantom_pairs(options.out or Path(folder)), options, options.volumes)


def phantom_pairs(out: Path) -> Iterator[tuple[Path, Path]]:
    """Runs on phantoms, trained where they are not yet, each with both folders of other subjects."""
    for anatomy in ("cardiac", "abdominal"):
        for folder, seed, subjects in (("train", 0, 8), ("test", 1, 4)):
            data = out / anatomy / folder
            if not is_file(data / "mr" / "dataset.json"):
                write_phantom(data, anatomy=anatomy, subjects=subjects, size=64, seed=seed)
        for intensity, steps in (("gin_ipa", 600), ("none", 300)):
            for source in ("ct", "mr"):
                path = out / anatomy / f"{source}_{intensity}"
                settings = {**SMALL, "augment": {"intensity": intensity}, "steps": steps}
                settings["data"] = {"size": 64, "source": str(out / anatomy / "train" / source)}
                if path.exists():
                    for _ in iterate(Run.open(path)):  # nothing is left of one that is finished
                        pass
                else:
                    with new_run(path, build_config("source_only", **settings)) as run:
                        for _ in iterate(run):
                            pass
                for target in ("ct", "mr"):
                    yield path, out / anatomy / "test" / target


def compare(pairs: Any, options: argparse.Namespace, most: int) -> int:
    """Adapt, print a line per volume, and say what it comes to."""
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in options.methods}
    print(f"{'method':9} {'network':16} {'volume':16} {'before':>6} {'after':>6}  entropy inside")
    for path, folder in pairs:
        run = Run.open(path)
        for name in options.methods:
            rows = [
                one_volume(run, case, name, keep_all=options.keep_all)
                for case in DataFolder.open(folder).cases[:most]
            ]
            start = float(np.mean([was for was, _ in rows]))
            found[name] += [(start, *row) for row in rows]
    return max(summary(name, rows) for name, rows in found.items())


def one_volume(run: Run, case: Any, method: str, *, keep_all: bool) -> tuple[float, float]:
    """Dice before and after."""
    image = case.read_image()
    options = {"max_volume_change": 0} if keep_all else {}
    (one,) = adapt(run, image, method=method, on_progress=lambda *_: None, **options)
    truth = case.read_labels(image).array
    was, now = mean_dice(one.before, truth), mean_dice(one.after, truth)
    said = "no change" if one.reverted else ""
    entropy = " -> ".join(f"{value:.3f}" for value in one.entropy_inside)
    name = f"{run.path.parent.name}/{run.path.name}"[-16:]
    print(
        f"{method:9} {name:16} {case.name:16} {was:6.1f} {now:6.1f}  {entropy}  {said}", flush=True
    )
    return was, now


def mean_dice(prediction: Prediction, truth: Any) -> float:
    """Mean over the structures that the prediction or the labels have, in per cent."""
    masks = [(prediction.labels == value, truth == value) for value in prediction.names]
    return 100 * float(np.mean([dice(*pair) for pair in masks if pair[0].any() or pair[1].any()]))


def summary(method: str, rows: list[tuple[float, float, float]]) -> int:
    """One line; `rows` hold the mean Dice of the network on the folder, and of a volume before and after."""
    strong = [now - was for start, was, now in rows if start > STRONG]
    weak = [now - was for start, was, now in rows if start < WEAK]
    unharmed = sum(gain >= -HARMED for gain in strong)
    parts = [f"all {len(rows)}: mean gain {np.mean([now - was for _, was, now in rows]):+.1f}"]
    if strong:
        worst = f"worst {min(strong):+.1f}, mean {np.mean(strong):+.1f}"
        parts.append(f"start > {STRONG:g}: {unharmed} of {len(strong)} unharmed, {worst}")
    if weak:
        parts.append(f"start < {WEAK:g}: mean gain {np.mean(weak):+.1f} of {len(weak)}")
    print(f"{method}: {'; '.join(parts)}")
    return int(bool(strong) and unharmed < 0.9 * len(strong))


if __name__ == "__main__":
    sys.exit(main())
