"""Rows of adaptation methods on one pair of domains: train, segment unseen volumes, score, one table.

    python benchmarks/adaptation.py --source bssfp --target lge --score lge_val --out results

Every row is a run folder under OUT; a row whose run has finished is not trained again, a row that was
interrupted goes on where it stopped. The table is written to OUT/table.md as well. Selection rule: the
last weights, always; labels of the scored volumes are read after training only.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from napari_uda import api
from napari_uda.data.folder import DataFolder
from napari_uda.data.volume import read_labels, read_volume, write_volume
from napari_uda.inference.loaded import LoadedRun
from napari_uda.inference.predict import predict
from napari_uda.metrics.report import evaluate_folders
from napari_uda.runs import Run


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 1
    recipe: str = ""
    augmented: bool = False


ROWS = (
    Row("source_only", "source_only", seeds=2),
    Row("source_only + augmentation", "source_only", seeds=2, augmented=True),
    Row("adaptsegnet", "adaptsegnet"),
    Row("adaptsegnet + augmentation", "adaptsegnet", augmented=True),
    Row("advent", "advent"),
    Row("advent + augmentation", "advent", augmented=True),
    Row("se_asa", "se_asa", seeds=2),
    Row("se_asa + augmentation", "se_asa", seeds=2, augmented=True),
    Row("target_supervised", "target_supervised", seeds=2),
)
ABLATION = tuple(
    Row(name, "se_asa", recipe=name, augmented=True)
    for name in api.list_recipes()
    if name.startswith("table")
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="labelled data folder")
    parser.add_argument("--target", type=Path, required=True, help="target data folder")
    parser.add_argument("--score", type=Path, required=True, help="labelled folder to score on")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", default="cpu_small")
    parser.add_argument("--rows", default="", help="comma-separated parts of row names; all")
    parser.add_argument("--ablation", action="store_true", help="the rows of Tables 2 to 4")
    parser.add_argument(
        "--augmentation",
        default="gin_ipa",
        choices=("gamma", "bezier", "gin", "gin_ipa"),
        help="source augmentation of the rows that have it, the ablation's among them",
    )
    parser.add_argument("--seeds", type=int, default=0, help="seeds per row; 0: as listed")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()

    wanted = [part.strip() for part in given.rows.split(",") if part.strip()]
    rows = [
        row
        for row in (ABLATION if given.ablation else ROWS)
        if not wanted or any(part == row.name or part in row.name.split() for part in wanted)
    ]
    lines = []
    if not given.ablation and not wanted:
        lines.append(_position_prior(given.source, given.score, given.out / "position_prior"))
    for row in rows:
        results = [_result(row, seed, given) for seed in range(given.seeds or row.seeds)]
        lines.append(_line(row.name, results))
        table = _table(lines, given)
        (given.out / "table.md").write_text(table + "\n", encoding="utf-8")
    print(table)


def _result(row: Row, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """Train unless done, predict and score; the numbers of one run."""
    name = "".join(c if c.isalnum() else "_" for c in row.name)
    path = given.out / f"{name}_seed{seed}"
    finished = path / "result.json"
    if finished.exists():
        return json.loads(finished.read_text())  # type: ignore[no-any-return]
    settings: dict[str, Any] = {
        "seed": seed,
        "device": given.device,
        "data": {"source": str(given.source), "target": str(given.target)},
        **row.settings,
    }
    if row.augmented:
        settings["augment"] = {"intensity": given.augmentation}
    recipe = ",".join(name for name in (given.recipe, row.recipe) if name)
    resumed = (path / "config.yaml").exists()
    if resumed:
        run = Run.open(path)
    else:
        run = Run.create(path, api.build_config(row.method, recipe=recipe, **settings))
    with tqdm(desc=f"{row.name}, seed {seed}", total=run.config.steps, mininterval=5) as bar:
        for progress in api.iterate(run):
            bar.update(progress.step - bar.n)
    seconds = run.seconds()
    began = time.monotonic()
    loaded = LoadedRun.load(run, given.device)
    for case in DataFolder.open(given.score).cases:
        predict(loaded, case.image, reliability=False).save(run.predictions)
    scores = evaluate_folders(run.predictions, given.score / "labels")
    scores.write(path)
    result = {
        "dice": scores.means("dice"),
        "assd_mm": scores.means("assd_mm"),
        "seconds": seconds,
        "predict_seconds": time.monotonic() - began,
    }
    finished.write_text(json.dumps(result))
    return result


def _position_prior(source: Path, score: Path, out: Path) -> str:
    """The most frequent source label at each relative position, without looking at any image."""
    side, depth = 64, 16
    cases = DataFolder.open(source).cases
    values = sorted(
        {int(v) for case in cases if case.label for v in np.unique(read_labels(case.label).array)}
    )
    counts = torch.zeros(len(values), depth, side, side)
    for case in cases:
        if case.label is None:
            continue
        label = torch.from_numpy(read_labels(case.label).canonical().array.copy())
        onehot = torch.stack([(label == value).float() for value in values])
        counts += F.interpolate(onehot[None], (depth, side, side), mode="trilinear")[0]
    for case in DataFolder.open(score).cases:
        volume = read_volume(case.image)
        shape = volume.canonical().array.shape
        guess = F.interpolate(counts[None], shape, mode="trilinear")[0].argmax(0).numpy()
        labels = np.array(values, np.uint8)[guess]
        array = np.ascontiguousarray(volume.orientation.invert(labels))
        write_volume(out / f"{case.name}.nii.gz", volume.with_array(array))
    scores = evaluate_folders(out, score / "labels")
    result = {"dice": scores.means("dice"), "assd_mm": scores.means("assd_mm"), "seconds": 0.0}
    return _line("blind position prior", [result])


def _line(name: str, results: list[dict[str, Any]]) -> str:
    """Dice of every structure and their mean, mean ASSD, and time; over seeds mean (min to max)."""
    structures = list(results[0]["dice"])
    cells = []
    for structure in structures:
        values = [100 * result["dice"][structure] for result in results]
        spread = f" ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else ""
        cells.append(f"{np.mean(values):.1f}{spread if structure == 'mean' else ''}")
    assd = np.mean([result["assd_mm"]["mean"] for result in results])
    seconds = max(result["seconds"] for result in results)
    header = "|".join(structures)
    return (
        f"{header}\n| {name} | {' | '.join(cells)} | {assd:.2f} | {seconds:.0f} | {len(results)} |"
    )


def _table(lines: list[str], given: argparse.Namespace) -> str:
    structures = lines[0].splitlines()[0].split("|")
    head = ["row", *(f"Dice {name}" for name in structures), "mean ASSD mm", "train s", "seeds"]
    return "\n".join(
        [
            f"Recipe {given.recipe}, {torch.get_num_threads()} threads, last weights; "
            f"scored on {len(DataFolder.open(given.score).cases)} volumes never trained on "
            "unless --score is the target folder; protocol recommended.",
            "",
            f"| {' | '.join(head)} |",
            f"|{'---|' * len(head)}",
            *(line.splitlines()[1] for line in lines),
        ]
    )


if __name__ == "__main__":
    main()
