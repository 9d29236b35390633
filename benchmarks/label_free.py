"""What scores without labels are worth: which run is the best, and whether adaptation without source data did harm.

    python benchmarks/label_free.py --out DIR [--pairs cardiac:ct:mr abdominal:ct:mr] [--seeds 0] [--harsh] [--long] [--advent] [--check-only]
    python benchmarks/label_free.py --runs FOLDER --data FOLDER

Trains networks of 64 x 64 pixels on phantoms, for each pair of modalities a weak one (no augmentation, 200 steps) and
one with random convolutions and structure-wise appearance (300), both also as they were after a quarter and a half or
so of their steps; from each of the two `sfda` (80 steps), `tent` (50), `bn_adapt` and a `mean_teacher` without source
data (80), with whatever comes out; and with `--advent` one of `advent` (120). `--harsh` adds `sfda` and `tent` at ten times their
rate, which do harm more often, and `--long` a third network to start from, the augmented one after 600 steps. A seed is
that of the phantoms and of the training. A run that is finished is used again.
`uda.select` then ranks all runs of a pair for four volumes of other subjects, whose labels are read here alone.

Prints for each run its Dice (%, mean over structures and volumes), its score and what the score is made of; Spearman's rank
correlation of each with Dice over all (run, volume) pairs; and how far the chosen run is from the best one. Then, for each run
without source data, the Dice of its start and its end, what the check at its end (`better_by`) says of it, and how often
it is right; `--check-only` prints nothing else.

The second form ranks the runs in a folder, trained before by whatever method, for the images of a data folder, whose labels
are read for Dice alone.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from napari_uda.api import build_config, iterate, new_run
from napari_uda.core.files import is_file
from napari_uda.data.folder import DataFolder
from napari_uda.data.outcome import Outcome
from napari_uda.evaluation.overlap import dice
from napari_uda.inference.loaded import LoadedRun
from napari_uda.inference.predict import predict
from napari_uda.phantom import write_phantom
from napari_uda.run import checkpoint
from napari_uda.run.config import RunConfig
from napari_uda.run.run import Run
from napari_uda.training.load import load_training_data
from napari_uda.training.loop import build_runtime
from napari_uda.training.no_harm import judge_end
from napari_uda.training.select import Candidate, select
from napari_uda.training.volume_score import PARTS

SMALL: dict[str, Any] = {
    "recipe": "cpu_small",
    "segmentor": {"width": 8},
    "log_every": 50,
    "device": "cpu",
    "better_by": 0,
}
RISE = RunConfig.model_fields["better_by"].default
FULL = {"intensity": "gin_ipa", "structures": {"share": 1}}
ALONE: dict[str, dict[str, Any]] = {
    "sfda": {"method": "sfda", "steps": 80},
    "tent": {"method": "tent", "steps": 50},
    "bn": {"method": "bn_adapt", "steps": 1},
    "mt": {
        "method": "mean_teacher",
        "steps": 80,
        "recipe": "cpu_small,mean_teacher_source_free",
    },
}
HARSH: dict[str, dict[str, Any]] = {
    "sfda10": {**ALONE["sfda"], "lr": 1e-3},
    "tent10": {**ALONE["tent"], "lr": 1e-2},
}


def main() -> int:
    parser = pairs_parser(__doc__, ["cardiac:ct:mr", "abdominal:ct:mr"])
    parser.add_argument("--advent", action="store_true")
    parser.add_argument("--harsh", action="store_true")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--check-only", action="store_true")
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    if options.runs:
        rank(options.runs, options.data)
        return 0
    table: list[tuple[Candidate, str, float]] = []
    judged: list[tuple[float, bool]] = []
    for pair in trained_pairs(options):
        print(pair.title, flush=True)
        if not options.check_only:
            table += rank(pair.runs, pair.target)
        judged += no_harm(pair.runs, pair.target)
    print("all pairs")
    if table:
        correlations(table)
    print_judged(judged)
    return 0


@dataclass(frozen=True)
class Pair:
    """A pair of modalities whose networks are trained.

    Attributes:
        title: the pair and the seed.
        runs: the folder of its runs.
        source: data folder of other subjects in the modality of the labels.
        target: the same in that of the target.
    """

    title: str
    runs: Path
    source: Path
    target: Path


def pairs_parser(doc: str | None, pairs: list[str]) -> argparse.ArgumentParser:
    """The options of every benchmark on these networks."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("label_free"))
    parser.add_argument("--pairs", nargs="+", default=pairs)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.set_defaults(advent=False, harsh=False, long=False)
    return parser


def trained_pairs(options: argparse.Namespace) -> Iterator[Pair]:
    """Each pair of each seed, once its networks are there."""
    for seed in options.seeds:
        for pair in options.pairs:
            anatomy, source, target = pair.split(":")
            place = options.out / f"seed{seed}" / anatomy
            data, runs = phantoms(place, seed), place / f"{source}2{target}"
            train_all(runs, data / source, data / target, seed, options)
            tests = place / "test"
            yield Pair(f"{pair} seed {seed}", runs, tests / source, tests / target)


def phantoms(out: Path, seed: int) -> Path:
    """The folder of training subjects; others for tests lie beside it."""
    for folder, own, subjects in (("train", 2 * seed, 8), ("test", 2 * seed + 1, 4)):
        if not is_file(out / folder / "mr" / "dataset.json"):
            write_phantom(out / folder, anatomy=out.name, subjects=subjects, size=64, seed=own)  # type: ignore[arg-type] # a word of the command line
    return out / "train"


def train_all(
    folder: Path, source: Path, target: Path, seed: int, options: argparse.Namespace
) -> None:
    """The runs of a pair, those that are not there yet."""
    given: dict[str, Any] = {"source": source, "seed": seed}
    train(folder / "plain", "source_only", steps=200, early=(50, 100), **given)
    train(folder / "strong", "source_only", steps=300, early=(60, 180), augment=FULL, **given)
    if options.long:
        train(folder / "long", "source_only", steps=600, augment=FULL, **given)
    for start in ("plain", "strong", "long") if options.long else ("plain", "strong"):
        for name, settings in (ALONE | HARSH if options.harsh else ALONE).items():
            init = folder / start
            train(folder / f"{start}_{name}", target=target, init=init, seed=seed, **settings)
    if options.advent:
        train(folder / "advent", "advent", target=target, steps=120, **given)


def train(
    path: Path,
    method: str,
    *,
    source: Path | None = None,
    target: Path | None = None,
    init: Path | None = None,
    early: tuple[int, ...] = (),
    steps: int,
    lr: float = 0,
    **settings: Any,
) -> None:
    """Train a run unless it is there, and keep copies of it as it was after some steps."""
    if (path / "done").exists():
        return
    shutil.rmtree(path, ignore_errors=True)  # one that was broken off
    given: dict[str, Any] = {**SMALL, **settings, "steps": steps, "data": {"size": 64}}
    if source is not None:
        given["data"] |= {"source": str(source), "validation_fraction": 0.25}
        given["validate_every"] = given["save_every"] = early[0] if early else steps
    if target is not None:
        given["data"]["target"] = str(target)
    if init is not None:
        given["init"] = str(init)
    if lr:
        given["method"] = {"segmentor_optimizer": {"lr": lr}}
    with new_run(path, build_config(method, **given)) as run:
        for progress in iterate(run):
            if progress.step in early:
                shutil.copytree(path, path.with_name(f"{path.name}@{progress.step}"))
    (path / "done").touch()


def runs_in(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if is_file(one / "data.json"))


def rank(folder: Path, images: Path) -> list[tuple[Candidate, str, float]]:
    """Rank the runs of a folder; every candidate with every volume, and the Dice there."""
    found = select(runs_in(folder), images, on_progress=lambda *_: None)
    true = {one.run: true_dice(one.run, images) for one in found.candidates}
    for one in found.candidates:
        parts = "  ".join(f"{part} {one.mean(part):.2f}" for part in PARTS)
        mean = float(np.mean(list(true[one.run].values())))
        print(
            f"  {one.run.name:14} {Run.open(one.run).config.method.name:17} Dice {mean:5.1f}  score {one.score:.3f}  {parts}"
        )
    means = {run: float(np.mean(list(values.values()))) for run, values in true.items()}
    loss = max(means.values()) - means[found.choice.run]
    print(f"  chosen: {found.choice.run.name}, {loss:.1f} points below the best run")
    table = [(one, case, true[one.run][case]) for one in found.candidates for case in one.volumes]
    correlations(table)
    return table


def true_dice(path: Path, images: Path, weights: Path | None = None) -> dict[str, float]:
    """Mean Dice over the structures of each volume, in per cent, of the run's weights or others."""
    loaded, found = LoadedRun.load(path, "cpu", weights=weights), {}
    for case in DataFolder.open(images).cases:
        image = case.read_image()
        labels = predict(loaded, image, reliability=False, on_progress=lambda *_: None).labels
        truth = case.read_labels(image).array
        values = [dice(labels == value, truth == value) for value in loaded.run.facts.names()]
        found[case.name] = 100 * float(np.mean(values))
    return found


def correlations(table: list[tuple[Candidate, str, float]]) -> None:
    true = [value for _, _, value in table]
    for what in ("score", *PARTS):
        told = [getattr(one.volumes[case], what) for one, case, _ in table]
        rho = float(spearmanr(told, true)[0])
        print(f"  Spearman of {what} and Dice, {len(table)} (run, volume) pairs: {rho:.2f}")


def no_harm(folder: Path, images: Path) -> list[tuple[float, bool]]:
    """What the check at the end of each run without source data says; what it gained, and whether it is taken."""
    found: list[tuple[float, bool]] = []
    for path in runs_in(folder):
        if Run.open(path).config.init is None:
            continue
        outcome = checked(path, path.with_name(path.name.partition("_")[0]))
        start = Run.open(path).checkpoints / checkpoint.START
        was, now = (
            float(np.mean(list(true_dice(path, images, weights).values())))
            for weights in (start, None)
        )
        parts = "  ".join(
            "{} {:.2f} -> {:.2f}".format(part, *getattr(outcome, part))
            for part in ("score", *PARTS)
        )
        said = outcome.no_change or "taken"
        print(f"  {path.name:14} Dice {was:5.1f} -> {now:5.1f}  {parts}  {said}", flush=True)
        found.append((now - was, not outcome.no_change))
    return found


def print_judged(judged: list[tuple[float, bool]]) -> None:
    """How often the check is right."""
    good, bad = (
        [taken for gain, taken in judged if (gain >= 0) is rises] for rises in (True, False)
    )
    worst = min((gain for gain, taken in judged if taken), default=0.0)
    print(
        f"  {sum(good)} of {len(good)} good runs taken, {len(bad) - sum(bad)} of {len(bad)} harmful ones given up; "
        f"the worst one taken: {worst:+.1f}"
    )


def checked(path: Path, start: Path) -> Outcome:
    """What the check says of a run that was trained without it; the weights of its start are put beside its own."""
    run, began = Run.open(path), Run.open(start)
    run = Run(path, run.config.model_copy(update={"better_by": RISE}))
    method = LoadedRun.load(run, "cpu").method
    weights = {**method.state_dict(), **began_with(began)}
    checkpoint.save_weights(run.checkpoints / checkpoint.START, weights, 0)
    data = load_training_data(run.config, type(method), cache=path / "cache", known=run.facts)
    return judge_end(run, method, data, build_runtime(run.config))


def began_with(run: Run) -> dict[str, Any]:
    tensors = checkpoint.load_weights(run.weights_file())
    own = {name: one for name, one in tensors.items() if name.startswith("segmentor.")}
    return {**own, checkpoint.AMPLITUDE_BANK: tensors[checkpoint.AMPLITUDE_BANK]}


if __name__ == "__main__":
    sys.exit(main())
