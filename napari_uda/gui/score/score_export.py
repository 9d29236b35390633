"""Scores of layers as files: tables, the cohort, and the report page with pictures of the worst slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels
from numpy.typing import NDArray

from napari_uda.core.errors import InputError
from napari_uda.data.provenance import ModelOrigin
from napari_uda.evaluation.cohort import write_cohort
from napari_uda.gui.kit.geometry import file_of, tag
from napari_uda.gui.kit.layer_order import model_of
from napari_uda.gui.kit.layers import EDITED, image_under
from napari_uda.gui.score.scoring import LayerScores

if TYPE_CHECKING:
    from napari_uda.evaluation.calibration import StructureCalibration
    from napari_uda.evaluation.case_pictures import SeenCase
    from napari_uda.evaluation.report_content import Result
    from napari_uda.evaluation.scores import Scores


@dataclass(frozen=True, eq=False)
class Exported:
    """One scored layer and what belongs to it.

    Attributes:
        scores: of the layer.
        model: the model that predicted it; None when unknown.
        fit: whether that run fits the image, in a sentence; empty when unknown.
        edited: whether it was changed by hand.
        image: grey values on the layer's grid, or None.
        image_path: file or folder that the image was read from; empty when unknown.
    """

    scores: LayerScores
    model: ModelOrigin | None
    fit: str
    edited: bool
    image: NDArray[np.generic] | None
    image_path: str = ""
    told: str = ""
    """Which labels of the target the run was given, in words; empty for none."""

    @classmethod
    def of(cls, viewer: ViewerModel, layer: Labels, scores: LayerScores) -> Self:
        """A layer of a viewer with the image that it lies on."""
        image, own = image_under(viewer, layer, scores.case), tag(layer)
        return cls(
            scores,
            model=model_of(layer),
            fit=str(own.get("fit") or ""),
            edited=own.get("role") == EDITED,
            image=None if image is None else image.data,
            image_path="" if image is None else str(file_of(image) or ""),
            told=str(own.get("target_supervision") or ""),
        )


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


def model_seed(model: ModelOrigin) -> int | None:
    """The seed that a model was trained with; None when its run is not on this machine."""
    from napari_uda.run.run import Run

    try:
        return Run.open(model.path).config.seed if model.path else None
    except InputError:
        return None


def _result(layer: Exported) -> Result:
    from napari_uda.evaluation.report_content import CaseFacts, Result

    scores = layer.scores
    affine = np.array2string(scores.placement.affine[:3], precision=4, suppress_small=True)
    origin = {"affine, voxel (x, y, z) to RAS+ mm": " ".join(affine.split())}
    origin |= _model(layer)
    if layer.told:
        origin["labels of the target that the model was given"] = layer.told
    if layer.edited:
        origin["edits"] = "changed by hand after the prediction"
    verdict, _, reasons = layer.fit.partition(": ")
    facts = CaseFacts(scores.case, verdict, (reasons,) if reasons else ())
    seen, calibrated = _seen(layer), calibrations_of(scores)
    return Result(
        scores.name,
        scores.scores,
        [calibrated] if calibrated else [],
        seen.worst_pictures(scores.scores),
        origin,
        [facts],
        [seen.middle_picture(scores.case)],
        seen.legend(),
    )


def _model(layer: Exported) -> dict[str, str]:
    """Model, weights and seed; and the image, if it came from a file."""
    from napari_uda.inference.results import voxels_sha256

    origin = {}
    if layer.model is not None:
        model = layer.model
        origin["model"] = f"{model.title} of {model.date}" if model.date else model.title
        origin["SHA-256 of the weights"] = model.hash or "not known"
        seed = model_seed(model)
        if seed is not None:
            origin["seed of the training"] = str(seed)
    if layer.image_path:
        origin["image"] = layer.image_path
    if layer.image is not None:
        voxels = np.asarray(layer.scores.placement.to_file(np.asarray(layer.image)))
        origin["voxels of the image"] = f"SHA-256 {voxels_sha256(voxels)}"
    return origin


def _seen(layer: Exported) -> SeenCase:
    """The layer on its file's grid, as the report draws it."""
    from napari_uda.evaluation.case_pictures import SeenCase

    scores = layer.scores
    image = layer.image
    return SeenCase(
        scores.case,
        scores.evaluation.prediction,
        scores.evaluation.reference,
        scores.placement.affine,
        scores.names,
        None if image is None else scores.placement.to_file(np.asarray(image)),
    )


def _file_name(text: str) -> str:
    """Letters, digits, dots, dashes and underscores of a layer's name."""
    text = text.replace(" · ", "_")
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in text)
