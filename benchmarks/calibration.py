"""Whether what a network says of its own result is true: which voxels are wrong, and how good the whole is.

    python benchmarks/calibration.py --out DIR [--pairs cardiac:ct:mr abdominal:ct:mr cardiac:mr:ct abdominal:mr:ct] [--seeds 0]

Phantoms and networks of 64 x 64 pixels are those of `label_free.py`, and used again: the weak network, the augmented one,
and those that `sfda` and a `mean_teacher` without source data make of each. All segment four other subjects in both
modalities, that of the labels and that of the target; the labels of these are read here alone.

Wrong voxels: area under the risk-coverage curve, for the voxels that prediction or labels give to a structure. Voxels are
taken in the order of their uncertainty, the surest first; the risk is the share of wrong ones among those taken, and the
area its mean, in per cent. Without any order it is the share of wrong voxels; `best` is what the labels themselves
would give. The least is the best:
entropy, that of the mean over the slice and six views of it (`views`), the share of these views that contradict the slice
(`vote`), the same as the map of reliability shows it, yes or no (`reliable`), and half of the sum of the differences
between the probabilities of teacher and student (`teacher`, only with mean_teacher).

Predicted Dice: its mean absolute error in points over the volumes, where it is predicted by

- `constant`: the median of all the other pairs of modalities, which looks at nothing;
- `expected`: Dice of the labels with the probabilities themselves, as if these were calibrated;
- `agreement`: Dice of the labels with those of slices in other grey values;
- `own source`: the score of `select`, on the rising curve through what this network's score and Dice are for other
  subjects of its source, as they are and in four other looks;
- `other pairs`: the score, on the rising curve through all volumes of the other pairs and their true Dice.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import label_free
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from napari_uda.core.seeds import generator
from napari_uda.data.appearance import IntensityAugmentation, augment_intensity
from napari_uda.data.folder import DataFolder
from napari_uda.data.slices import SliceStore, fill_store
from napari_uda.evaluation.overlap import dice
from napari_uda.inference.loaded import LoadedRun
from napari_uda.losses.entropy import entropy_of_probabilities
from napari_uda.training.validation import changed_grey_values
from napari_uda.training.volume_score import score_case

Floats = NDArray[np.float64]
PAIRS = ["cardiac:ct:mr", "abdominal:ct:mr", "cardiac:mr:ct", "abdominal:mr:ct"]
NETWORKS = ("plain", "strong", "plain_sfda", "strong_sfda", "plain_mt", "strong_mt")
LOOKS: tuple[IntensityAugmentation, ...] = ("none", "gamma", "bezier", "gin", "gin_ipa")


@dataclass(frozen=True)
class Case:
    """One volume and what a network made of it.

    Attributes:
        score: that of `select`.
        expected: Dice in per cent that the probabilities promise.
        agreement: Dice in per cent of the labels with those of slices in other grey values.
        dice: the true one.
        areas: under the risk-coverage curve, by name of the uncertainty, in per cent.
    """

    score: float
    expected: float
    agreement: float
    dice: float
    areas: dict[str, float]


def main() -> int:
    options = label_free.pairs_parser(__doc__, PAIRS).parse_args()
    torch.set_num_threads(1)
    found: dict[tuple[str, str, str], list[Case]] = {}  # pair, network, source or target
    curves: dict[tuple[str, str], tuple[Floats, Floats]] = {}
    for pair in label_free.trained_pairs(options):
        for name in NETWORKS:
            loaded, key = LoadedRun.load(pair.runs / name, "cpu"), pair.title
            for where, images in (("source", pair.source), ("target", pair.target)):
                found[key, name, where] = look_at(loaded, store_of(loaded, images))
            curves[key, name] = own_source(loaded, store_of(loaded, pair.source))
            print_network(key, name, found, curves)
    print_areas(found)
    print_errors(found, curves)
    return 0


def store_of(loaded: LoadedRun, folder: Path) -> SliceStore:
    """The slices of a data folder as the network sees them, and their labels as classes."""
    facts, items = loaded.run.facts, []
    for case in DataFolder.open(folder).cases:
        image = case.read_image()
        labels = case.read_labels(image)
        items.append((case.name, image, labels.with_array(facts.class_of_value()[labels.array])))
    counts = [image.canonical().array.shape[facts.grid.axis] for _, image, _ in items]
    return fill_store(items, counts, facts.grid, facts.prediction_intensity, with_labels=True)


@torch.no_grad()
def look_at(loaded: LoadedRun, store: SliceStore) -> list[Case]:
    """Every volume of a store."""
    cases = []
    for rows, truth in each_case(store):
        places = np.arange(len(rows))
        image = store.image(rows)
        probabilities = loaded.method.predict(image).float().softmax(1)
        labels = probabilities.argmax(1)
        changed = loaded.method.predict(changed_grey_values(image, places, 0)).argmax(1)
        maps = uncertainties(loaded, image, probabilities, places)
        predicted = labels.numpy()
        region = (predicted > 0) | (truth > 0)
        wrong = (predicted != truth)[region]
        areas = {name: risk_coverage_area(one[region], wrong) for name, one in maps.items()}
        areas |= {"best": risk_coverage_area(wrong, wrong), "none": 100 * float(wrong.mean())}
        case = int(store.case_of[rows[0]])
        score = score_case(loaded.method, loaded.run.facts, store, case, loaded.device).score
        cases.append(
            Case(
                score,
                expected_dice(probabilities),
                mean_dice(predicted, changed.numpy(), probabilities.shape[1]),
                mean_dice(predicted, truth, probabilities.shape[1]),
                areas,
            )
        )
    return cases


def each_case(store: SliceStore) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
    """Rows of each case, and their labels."""
    assert store.labels is not None
    for case in range(len(store.cases)):
        rows = np.flatnonzero(store.case_of == case)
        yield rows, store.labels[rows]


def uncertainties(
    loaded: LoadedRun, image: torch.Tensor, probabilities: torch.Tensor, places: NDArray[np.int64]
) -> dict[str, Floats]:
    """Maps `(N, h, w)`, by name; more is less sure."""
    heard: list[torch.Tensor] = []

    def predict(slices: torch.Tensor) -> torch.Tensor:
        logits = loaded.method.predict(slices).float()
        heard.append(logits.softmax(1))
        return logits

    agreement = loaded.vote.compare(predict, image, probabilities.argmax(1), places)
    agrees = torch.cat([agreement.agrees_random, agreement.agrees_fourier]).float()
    maps = {
        "entropy": entropy_of_probabilities(probabilities),
        "views": entropy_of_probabilities(torch.stack([probabilities, *heard]).mean(0)),
        "vote": 1 - agrees.mean(0),
        "reliable": agreement.reliability().unreliable.float(),
    }
    student = getattr(loaded.method, "student", None)
    if student is not None:
        other = student.eval()(image).logits.float().softmax(1)
        maps["teacher"] = (other - probabilities).abs().sum(1) / 2
    return {name: one.double().numpy() for name, one in maps.items()}


def risk_coverage_area(uncertainty: NDArray[Any], wrong: NDArray[np.bool_]) -> float:
    """Mean over all coverages of the share of wrong voxels among the surest ones, in per cent.

    Of voxels that are equally sure each is as often wrong as they are on average.
    """
    _, group, size = np.unique(uncertainty, return_inverse=True, return_counts=True)
    share = np.bincount(group, wrong) / size
    risk = np.cumsum(np.repeat(share, size)) / np.arange(1, wrong.size + 1)
    return 100 * float(risk.mean())


def mean_dice(labels: NDArray[Any], truth: NDArray[Any], classes: int) -> float:
    """Mean over the structures that either has, in per cent."""
    masks = [(labels == value, truth == value) for value in range(1, classes)]
    values = [dice(*pair) for pair in masks if pair[0].any() or pair[1].any()]
    return 100 * float(np.mean(values)) if values else 0.0


def expected_dice(probabilities: torch.Tensor) -> float:
    """Dice of the labels with the probabilities that they are right, mean over the structures, in per cent."""
    labels, found = probabilities.argmax(1), []
    for value in range(1, probabilities.shape[1]):
        inside, soft = labels == value, probabilities[:, value]
        if inside.any():
            both = float(soft[inside].sum())
            found.append(2 * both / (float(inside.sum()) + float(soft.sum())))
    return 100 * float(np.mean(found)) if found else 0.0


@torch.no_grad()
def own_source(loaded: LoadedRun, store: SliceStore) -> tuple[Floats, Floats]:
    """Scores and Dice (%) of labelled source volumes, as they are and in other looks."""
    told, true = [], []
    for kind in LOOKS:
        looks = store.images.copy()
        for case, (rows, _) in enumerate(each_case(store)):
            image = torch.from_numpy(store.images[rows].astype(np.float32))[:, None]
            # the same change for all slices of a volume
            draws = [generator(0, "look", case) for _ in rows]
            looks[rows] = augment_intensity(image, kind, draws)[:, 0].numpy()
        seen = replace(store, images=looks)
        for case, (rows, truth) in enumerate(each_case(seen)):
            told.append(
                score_case(loaded.method, loaded.run.facts, seen, case, loaded.device).score
            )
            labels = loaded.method.predict(seen.image(rows)).argmax(1).numpy()
            true.append(mean_dice(labels, truth, loaded.run.facts.num_classes))
    return np.array(told), np.array(true)


def rising_curve(told: Floats, true: Floats, asked: Floats) -> Floats:
    """Values of the rising curve nearest to some points (isotonic regression), between them and beyond."""
    order = np.argsort(told)
    return np.interp(asked, told[order], isotonic_regression(true[order]).x)


def print_network(pair: str, name: str, found: Any, curves: Any) -> None:
    told, true = curves[pair, name]
    for where in ("source", "target"):
        cases = found[pair, name, where]
        scores = np.array([one.score for one in cases])
        means = [np.mean([getattr(one, key) for one in cases]) for key in ("dice", "expected")]
        own = float(np.mean(rising_curve(told, true, scores)))
        print(
            f"{pair:18} {name:12} {where}: Dice {means[0]:5.1f}, predicted by the probabilities {means[1]:5.1f}, "
            f"by its own source {own:5.1f}",
            flush=True,
        )


def print_areas(found: Any) -> None:
    """Mean area under the risk-coverage curve, in per cent, by kind of network and domain."""
    names = ("entropy", "views", "vote", "reliable", "teacher", "best", "none")
    print("area under the risk-coverage curve (%)")
    print(f"{'':24} {'volumes':>7} " + " ".join(f"{name:>8}" for name in names))
    for kind in NETWORKS:
        for where in ("source", "target"):
            cases = [
                one
                for (_, name, at), all_ in found.items()
                if (name, at) == (kind, where)
                for one in all_
            ]
            means = [np.mean([one.areas.get(name, np.nan) for one in cases]) for name in names]
            print(f"{kind:16} {where:7} {len(cases):7} " + " ".join(f"{one:8.1f}" for one in means))


def print_errors(found: Any, curves: Any) -> None:
    """Mean absolute error of each way to predict Dice, in points."""
    print("mean absolute error of predicted Dice (points)")
    errors: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (pair, name, where), cases in found.items():
        true = np.array([one.dice for one in cases])
        scores = np.array([one.score for one in cases])
        others = [one for key, all_ in found.items() if key[0] != pair for one in all_]
        all_scores, all_dice = (
            np.array([getattr(o, k) for o in others]) for k in ("score", "dice")
        )
        ways = {
            "expected": np.array([one.expected for one in cases]),
            "agreement": np.array([one.agreement for one in cases]),
            "own source": rising_curve(*curves[pair, name], scores),
        }
        if others:
            ways["constant"] = np.full(len(cases), np.median(all_dice))
            ways["other pairs"] = rising_curve(all_scores, all_dice, scores)
        for way, told in ways.items():
            for row in (f"{pair} {where}", f"{name} {where}", f"all {where}"):
                errors[row][way] += list(np.abs(told - true))
    ways_ = ("constant", "expected", "agreement", "own source", "other pairs")
    print(f"{'':28} {'volumes':>7} " + " ".join(f"{way:>11}" for way in ways_))
    for row, each in sorted(errors.items()):
        count = len(each["expected"])
        means = " ".join(f"{np.mean(each[way]) if each[way] else np.nan:11.1f}" for way in ways_)
        print(f"{row:28} {count:7} {means}")


if __name__ == "__main__":
    sys.exit(main())
