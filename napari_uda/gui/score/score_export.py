"""Scores of layers as files: tables, the cohort, and the report page with pictures of the worst slices."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_uda.data.window import PERCENTILES, percentile_window
from napari_uda.evaluation.cohort import write_cohort
from napari_uda.gui.kit.models import known_models
from napari_uda.gui.score.scoring import LayerScores

if TYPE_CHECKING:
    from napari_uda.evaluation.calibration import StructureCalibration
    from napari_uda.evaluation.report_page import Result
    from napari_uda.evaluation.scores import Scores
    from napari_uda.evaluation.slice_picture import Picture

_MOST_PICTURES = 4
_HASH_LETTERS = 16


@dataclass(frozen=True, eq=False)
class Exported:
    """One scored layer and what belongs to it.

    Attributes:
        scores: of the layer.
        run: name of the run that predicted it; empty when unknown.
        fit: whether that run fits the image, in a sentence; empty when unknown.
        edited: whether it was changed by hand.
        image: grey values on the layer's grid, or None.
    """

    scores: LayerScores
    run: str
    fit: str
    edited: bool
    image: NDArray[np.generic] | None
    told: str = ""
    """Which labels of the target the run was given, in words; empty for none."""


def export_scores(
    folder: Path, layers: Sequence[Exported], cohort: Mapping[str, Scores]
) -> list[Path]:
    """Write everything; for a worker thread.

    A single prediction's `scores.csv`, `scores.json` and `slices.csv` lie in the folder itself, those of
    several in one folder each; `cohort.csv` and `report.html` cover all.

    Args:
        folder: where to.
        layers: at least one.
        cohort: the cases of every method.

    Raises:
        InputError: if the folder cannot be written.
    """
    from napari_uda.evaluation.report_page import write_report_page

    several = len(layers) > 1
    paths = []
    for number, layer in enumerate(layers, start=1):
        name = f"{number}_{_file_name(layer.scores.name)}"
        paths += layer.scores.scores.write(folder / name if several else folder)
    if cohort:
        paths.append(folder / "cohort.csv")
        write_cohort(paths[-1], cohort.items())
    results = [_result(layer) for layer in layers]
    title = f"Scores of {', '.join(dict.fromkeys(layer.scores.case for layer in layers))}"
    paths.append(write_report_page(folder / "report.html", title, results))
    return paths


def calibrations_of(scores: LayerScores) -> list[StructureCalibration]:
    """Calibration against the entropy map; empty without one. Seconds for a large volume."""
    from napari_uda.evaluation.calibration import calibrate_structures

    if scores.entropy is None:
        return []
    evaluation = scores.evaluation
    return calibrate_structures(
        evaluation.prediction,
        evaluation.reference,
        np.asarray(scores.entropy, np.float32),
        scores.lattice,
        scores.names,
    )


def model_hash(run: str) -> str:
    """The first letters of the SHA-256 of a run's weights; empty when the run is not known here."""
    from napari_uda.run.run import Run

    for _, path in known_models():
        if path.name == run:
            with Run.open(path).weights_file().open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()[:_HASH_LETTERS]
    return ""


def _result(layer: Exported) -> Result:
    from napari_uda.evaluation.report_page import Result

    scores = layer.scores
    affine = np.array2string(scores.placement.affine[:3], precision=4, suppress_small=True)
    origin = {"affine, voxel (x, y, z) to RAS+ mm": " ".join(affine.split())}
    if layer.run:
        found = model_hash(layer.run)
        origin["run"] = layer.run
        origin["model"] = f"SHA-256 {found}…" if found else "not found on this machine"
    if layer.fit:
        origin["does the model fit the image?"] = layer.fit
    if layer.told:
        origin["labels of the target that the model was given"] = layer.told
    if layer.edited:
        origin["edits"] = "changed by hand after the prediction"
    return Result(scores.name, scores.scores, calibrations_of(scores), _pictures(layer), origin)


def _pictures(layer: Exported) -> list[Picture]:
    """The worst slice of every structure, across the coarsest axis, as the viewer shows it."""
    from napari_uda.evaluation.slice_picture import Picture, draw_slice

    scores = layer.scores
    axis = scores.coarsest_axis
    prediction, reference = (
        scores.placement.to_layer(labels)
        for labels in (scores.evaluation.prediction, scores.evaluation.reference)
    )
    window = (0.0, 1.0)
    if layer.image is not None:
        window = percentile_window(layer.image, *PERCENTILES[0]).limits
    steps = [step for other, step in enumerate(scores.spacing_mm) if other != axis]
    pictures = []
    for line in scores.lines(axis, "dice")[:_MOST_PICTURES]:
        index = scores.worst_slice(axis, line.label)
        if index is None:
            continue
        cut = tuple(index if other == axis else slice(None) for other in range(3))
        rgb = draw_slice(
            None if layer.image is None else layer.image[cut],
            prediction[cut],
            reference[cut],
            scores.names,
            steps,
            window,
        )
        value = line.values[line.slices == index][0]
        pictures.append(
            Picture(
                rgb,
                f"worst slice of {line.name}, number {index} in the viewer, Dice {value:.3f}; "
                "filled: prediction, white outline: reference",
            )
        )
    return pictures


def _file_name(text: str) -> str:
    """Letters, digits, dots, dashes and underscores of a layer's name."""
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in text)
