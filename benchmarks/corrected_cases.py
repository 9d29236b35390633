"""What two corrected cases are worth: a run goes on with and without them, and the other target cases are scored.

    python benchmarks/corrected_cases.py [--methods advent source_only] [--out DIR] [--cases 2] [--steps 300]

Phantom hearts are made, CT with labels and MR (8 subjects each). A run of source_only learns from the CT with
augmented intensities, as all runs do. Each method then goes on from it twice with the same steps and seed: as
it is, and with `corrected`, a folder of the
first MR cases with their true labels, as if somebody had corrected them. Cases are taken by number and all weights
are the last ones, so that no label chooses anything. Runs that are finished are used again.

Prints a table: mean Dice over structures of the MR cases that nobody corrected, before and after both
continuations. Exit code 1 when the corrected cases raise it for no method.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from napari_uda.api import build_config, iterate, new_run
from napari_uda.core.files import is_file
from napari_uda.data.folder import DataFolder, write_dataset_json
from napari_uda.data.volume import write_volume
from napari_uda.evaluation.report import evaluate_folders
from napari_uda.inference.loaded import LoadedRun
from napari_uda.inference.predict import predict
from napari_uda.phantom import write_phantom
from napari_uda.run.run import Run

SMALL: dict[str, Any] = {
    "recipe": "cpu_small",
    "data": {"size": 64},
    "augment": {"intensity": "gin_ipa"},
    "segmentor": {"width": 8},
    "log_every": 50,
    "device": "cpu",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--methods", nargs="+", default=["advent", "source_only"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--cases", type=int, default=2)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return compare(options, options.out or Path(folder))


def compare(options: argparse.Namespace, out: Path) -> int:
    """Train what is not trained yet, score, and print the table."""
    data = out / f"data_{options.seed}"
    if not is_file(data / "mr" / "dataset.json"):
        write_phantom(data, subjects=8, size=64, seed=options.seed)
    corrected, others = first_cases(data / "mr", data, options.cases)
    start = trained(out, data, "source_only", "start", 2 * options.steps, options.seed)
    before = dice(start, others, out)
    print(f"Dice of {len(DataFolder.open(others).cases)} MR cases that nobody corrected")
    print(f"{'method':14} {'start':>7} {'without':>8} {'with':>7} {'gain':>7}")
    gained = False
    for method in options.methods:
        plain, helped = (
            dice(
                trained(
                    *(out, data, method, f"{method}_{name}", options.steps, options.seed),
                    init=str(start.path),
                    data=folders,
                ),
                *(others, out),
            )
            for name, folders in (("plain", {}), ("corrected", {"corrected": str(corrected)}))
        )
        gained |= helped > plain
        print(f"{method:14} {before:7.3f} {plain:8.3f} {helped:7.3f} {helped - plain:+7.3f}")
    return 0 if gained else 1


def first_cases(target: Path, data: Path, count: int) -> tuple[Path, Path]:
    """The first cases with their labels as a folder of corrected ones, and the others as one to score."""
    opened = DataFolder.open(target)
    folders = data / f"corrected_{count}", data / f"others_{count}"
    for folder, cases in zip(folders, (opened.cases[:count], opened.cases[count:]), strict=True):
        for case in cases:
            image = case.read_image()
            write_volume(folder / "images" / f"{case.name}.nii.gz", image)
            write_volume(folder / "labels" / f"{case.name}.nii.gz", case.read_labels(image))
        write_dataset_json(folder, opened.labels, opened.modality)
    return folders


def trained(
    out: Path, phantoms: Path, method: str, name: str, steps: int, seed: int, **settings: Any
) -> Run:
    """The run of that name, trained unless it is finished."""
    path = out / f"{name}_{seed}"
    folders = {
        "source": str(phantoms / "ct"),
        "target": str(phantoms / "mr"),
        **settings.pop("data", {}),
    }
    tree = {**SMALL, "steps": steps, "seed": seed, **settings}
    tree["data"] = {**SMALL["data"], **folders}
    if not path.exists():
        with new_run(path, build_config(method, **tree)) as run:
            for _ in iterate(run):
                pass
    run = Run.open(path)
    for _ in iterate(run):  # nothing is left of one that is finished
        pass
    return run


def dice(run: Run, others: Path, out: Path) -> float:
    """Mean Dice over structures and cases."""
    folder, loaded = out / f"{run.path.name}_predictions", LoadedRun.load(run)
    for case in DataFolder.open(others).cases:
        predict(loaded, case.read_image(), reliability=False).save(folder)
    return evaluate_folders(folder, others / "labels").means("dice")["mean"]


if __name__ == "__main__":
    sys.exit(main())
