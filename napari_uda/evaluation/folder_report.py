"""The report of a folder of predictions, with scores where there are labels, from files alone."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_uda.core.errors import InputError
from napari_uda.core.files import VOLUME_SUFFIXES, case_name, is_file, shown
from napari_uda.core.small_files import read_object, read_yaml
from napari_uda.evaluation.case_pictures import SeenCase, typical_cases
from napari_uda.evaluation.inputs import predicted_names, read_pair, result_stem
from napari_uda.evaluation.matching import with_matched_prediction
from napari_uda.evaluation.report import (
    evaluate_folders,
    pair_files,
    prediction_files,
)
from napari_uda.evaluation.report_content import CaseFacts, Result, case_means
from napari_uda.evaluation.report_page import check_report_path, write_report_page
from napari_uda.evaluation.scores import CaseGrid, Scores, sides
from napari_uda.evaluation.slice_picture import Picture

if TYPE_CHECKING:
    from napari_uda.data.volume import Placement, Volume
    from napari_uda.evaluation.calibration import StructureCalibration

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Predicted:
    """A case, its prediction, its reference, and what stands in the file beside the prediction."""

    case: str
    prediction: Path
    reference: Path | None
    about: Mapping[str, Any]

    @property
    def image(self) -> Path | None:
        """The image that was segmented, if it still lies where it lay."""
        path = _part(self.about, "image").get("path")
        if not isinstance(path, str) or not path:
            return None
        found = Path(os.path.realpath(self.prediction.parent)) / path
        return found if found.exists() else None


def report(
    predictions: str | Path,
    labels: str | Path | None = None,
    *,
    out: str | Path,
    reader: str = "",
    protocol: str = "recommended",
    placement: Placement = "auto",
    match: Mapping[str, str] | None = None,
    on_slices: Callable[[int, int, int, int], None] | None = None,
) -> Path:
    """Write a report of a folder of predictions as one file: a page (`.html`) or a PDF (`.pdf`).

    It begins with one sentence and a picture, then come numbers, the verdict whether the model fits each
    image, where everything comes from, and definitions. What is known of image and model is read from
    `<case>.json` beside each prediction.

    Args:
        predictions: folder or file, as for `evaluate_folders`.
        labels: folder or file of reference labels; None reports volumes, entropy and verdicts without scores.
        out: the file.
        reader: name of who reads or signs it, such as "Dr. X".
        protocol: name of a protocol.
        placement: which of sform and qform is trusted where a NIfTI file has both.
        match: as for `evaluate_folders`.
        on_slices: as for `evaluate_folders`; without labels called once for each case.

    Returns:
        The file.

    Raises:
        InputError: another ending, no predictions, or as `evaluate_folders`.
    """
    check_report_path(Path(out))
    folder = Path(predictions)
    name = _name(folder)
    if labels is None:
        result = _without_labels(folder, name, placement, on_slices)
    else:
        result = _with_labels(
            folder, Path(labels), name, protocol, placement, dict(match or {}), on_slices
        )
    return write_report_page(out, f"Report of {name}", [result], reader=reader)


def _name(folder: Path) -> str:
    """What predictions are known by: their folder, or their run's, or the case of a file."""
    if is_file(folder):
        return result_stem(folder)
    whole = folder.resolve()
    return (whole.parent if whole.name == "predictions" else whole).name or "predictions"


def _with_labels(
    folder: Path,
    labels: Path,
    name: str,
    protocol: str,
    placement: Placement,
    match: Mapping[str, str],
    on_slices: Callable[[int, int, int, int], None] | None,
) -> Result:
    scores = evaluate_folders(
        *(folder, labels),
        protocol=protocol,
        placement=placement,
        match=match,
        on_slices=on_slices,
    )
    found = {
        case: _Predicted(case, prediction, reference, _about(prediction))
        for case, prediction, reference in pair_files(folder, labels)
    }
    names = {int(row["label"]): str(row["name"]) for row in scores.rows}
    opening: list[Picture] = []
    worst: list[Picture] = []
    legend: dict[str, str] = {}
    for case, about in typical_cases(case_means(scores)):
        seen = _seen(found[case], names, placement, match)
        opening.append(seen.middle_picture(about))
        legend |= seen.legend()
        worst = seen.worst_pictures(scores)  # of the worst case, which comes last
    cases = [_facts(one, scores) for one in found.values()]
    calibrated = [_calibrated(one, names, placement, match) for one in found.values()]
    known = [one for one in calibrated if one]
    return Result(name, scores, known, worst, {}, cases, opening, legend)


def _calibrated(
    one: _Predicted, names: Mapping[int, str], placement: Placement, match: Mapping[str, str]
) -> list[StructureCalibration]:
    """Calibration of a case; empty without an entropy map, or where that is none."""
    from napari_uda.data.volume import Volume
    from napari_uda.evaluation.calibration import calibrate_structures

    if _entropy_file(one) is None:
        return []
    seen = _seen(one, names, placement, match)
    grid = Volume(seen.prediction, seen.affine, one.case)
    entropy = _entropy(one, grid, placement)
    if entropy is None or seen.reference is None:
        return []
    try:
        return calibrate_structures(
            seen.prediction.astype(np.uint8, copy=False),
            seen.reference.astype(np.uint8, copy=False),
            entropy.astype(np.float32, copy=False),
            grid.lattice,
            names,
        )
    except InputError as error:
        _logger.warning("the report has no calibration of %s: %s", one.case, error)
        return []


def _without_labels(
    folder: Path,
    name: str,
    placement: Placement,
    on_slices: Callable[[int, int, int, int], None] | None,
) -> Result:
    files = prediction_files(folder)
    if not files:
        raise InputError(
            f"{shown(folder)}: holds no predictions; give the folder with <case>_labels.nii.gz files"
        )
    cases: list[CaseFacts] = []
    opening: list[Picture] = []
    legend: dict[str, str] = {}
    for done, (case, prediction) in enumerate(files):
        if on_slices is not None:
            on_slices(done, len(files), 0, 1)
        one = _Predicted(case, prediction, None, _about(prediction))
        seen = _seen(one, {}, placement)
        cases.append(_measured(one, seen, placement))
        if not opening:
            opening, legend = [seen.middle_picture(case)], seen.legend()
    return Result(name, None, (), (), {}, cases, opening, legend)


def _about(prediction: Path) -> Mapping[str, Any]:
    """What `predict` wrote beside a prediction; empty where there is nothing."""
    stem = case_name(prediction).removesuffix("_labels").removesuffix("_rtstruct")
    return read_object(prediction.with_name(f"{stem}.json")) or {}


def _part(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = content.get(key)
    return part if isinstance(part, dict) else {}


def _seen(
    one: _Predicted,
    names: Mapping[int, str],
    placement: Placement,
    match: Mapping[str, str] | None = None,
) -> SeenCase:
    """The labels of a case on one grid, and its image if it is found on that grid."""
    from napari_uda.data.segmentation import read_segmentation  # readers are slow to import
    from napari_uda.data.volume import Volume

    image = _image(one, placement)
    if one.reference is None:
        found = read_segmentation(one.prediction, grid=image, placement=placement)
        known = predicted_names(one.about) or found.names
        labels, reference = found.labels, None
        present = (int(value) for value in np.unique(labels.array) if value)
        names = known | {value: f"label_{value}" for value in present if value not in known}
    else:
        pair = read_pair(
            one.prediction, one.reference, names=names, case=one.case, placement=placement
        )
        known = predicted_names(one.about)
        pair = with_matched_prediction(pair, known, match) if known else pair
        affine = np.eye(4) if pair.affine is None else pair.affine
        labels = Volume(pair.prediction, affine, one.case)
        reference = np.asarray(pair.reference).astype(np.uint8, copy=False)
    return SeenCase(
        one.case,
        np.asarray(labels.array).astype(np.uint8, copy=False),
        reference,
        labels.affine,
        dict(names),
        _on_grid(image, labels),
    )


def _image(one: _Predicted, placement: Placement) -> Volume | None:
    """The image, or None where it is gone or cannot be read: the report is worth having without."""
    from napari_uda.data.volume import read_volume  # readers are slow to import

    path = one.image
    if path is None:
        return None
    series = _part(one.about, "image").get("series")
    try:
        return read_volume(path, series=str(series or ""), placement=placement)
    except InputError as error:
        _logger.warning("the report shows %s without its image: %s", one.case, error)
        return None


def _on_grid(image: Volume | None, grid: Volume) -> np.ndarray[Any, Any] | None:
    from napari_uda.data.same_grid import on_grid_of  # readers are slow to import

    if image is None:
        return None
    try:
        return on_grid_of(image, grid).array
    except InputError as error:
        _logger.warning("the report shows %s without its image: %s", grid.name, error)
        return None


def _facts(one: _Predicted, scores: Scores | None) -> CaseFacts:
    """Verdict and origin of a case, and the volumes that were scored."""
    fit = _part(one.about, "fit")
    reasons = fit.get("reasons")
    rows = [] if scores is None else scores.only(one.case).rows
    return CaseFacts(
        case=one.case,
        verdict=str(fit.get("verdict") or ""),
        reasons=tuple(map(str, reasons)) if isinstance(reasons, list) else (),
        volumes_ml={str(row["name"]): float(row["volume_prediction_ml"]) for row in rows},
        origin=_origin(one),
    )


def _measured(one: _Predicted, seen: SeenCase, placement: Placement) -> CaseFacts:
    """The same of a case without reference, whose volumes and entropy are measured here."""
    from napari_uda.data.grid import Lattice
    from napari_uda.data.volume import Volume

    known = _facts(one, None)
    grid = Volume(seen.prediction, seen.affine, one.case)
    voxel_ml = Lattice.of(seen.affine).voxel_ml
    counts = np.bincount(seen.prediction.ravel(), minlength=256)
    return CaseFacts(
        case=one.case,
        verdict=known.verdict,
        reasons=known.reasons,
        volumes_ml={
            name: float(counts[value] * voxel_ml)
            for value, name in sorted(seen.names.items())
            if value < counts.size
        },
        entropy=_mean_entropy(one, grid, placement),
        origin=known.origin,
        grid=CaseGrid(one.case, sides(seen.prediction.shape), grid.spacing_mm, ()),
    )


def _mean_entropy(one: _Predicted, grid: Volume, placement: Placement) -> float:
    inside = grid.array > 0
    entropy = _entropy(one, grid, placement) if inside.any() else None
    return float("nan") if entropy is None else float(entropy[inside].mean(dtype=np.float64))


def _entropy_file(one: _Predicted) -> Path | None:
    stem = case_name(one.prediction).removesuffix("_labels").removesuffix("_rtstruct")
    files = (one.prediction.with_name(f"{stem}_entropy{suffix}") for suffix in VOLUME_SUFFIXES)
    return next((file for file in files if is_file(file)), None)


def _entropy(one: _Predicted, grid: Volume, placement: Placement) -> np.ndarray[Any, Any] | None:
    from napari_uda.data.volume import read_volume  # readers are slow to import

    path = _entropy_file(one)
    return None if path is None else _on_grid(read_volume(path, placement=placement), grid)


def _names(models: object) -> list[str]:
    """Names of the further models of an ensemble, as `<case>.json` lists them."""
    found = (
        [m.get("name") for m in models if isinstance(m, dict)] if isinstance(models, list) else []
    )
    return [str(name) for name in found if name]


def _origin(one: _Predicted) -> dict[str, str]:
    """Image, model and seed, as far as they are known, each in words."""
    image, model = _part(one.about, "image"), _part(one.about, "model")
    entries = {"prediction": shown(one.prediction)}
    if image.get("path"):
        there = "" if one.image is not None else ", where it is not found"
        entries["image"] = f"{image['path']} (from the folder of the prediction{there})"
    if image.get("voxels_sha256"):
        entries["voxels of the image"] = f"SHA-256 {image['voxels_sha256']}"
    if model.get("name"):
        entries["model"] = str(model["name"])
    if model.get("adapted_by"):
        entries["model"] += f", adapted by {model['adapted_by']}"
    if model.get("no_change_by"):
        entries["model"] += (
            f", no change by {model['no_change_by']}: the result from before is kept"
        )
    if others := _names(one.about.get("ensemble")):
        entries["averaged with"] = ", ".join(others)
    if one.about.get("tta"):
        entries["test-time augmentation"] = f"mean over {one.about['tta']} of each slice"
    if one.about.get("smooth_mm"):
        entries["smoothed across slices"] = f"by a Gaussian of {one.about['smooth_mm']:g} mm"
    if one.about.get("largest_parts"):
        entries["after segmentation"] = "only the largest part of each structure was kept"
    if model.get("weights_sha256"):
        entries["weights of the model"] = f"SHA-256 {model['weights_sha256']}"
    if model.get("date"):
        entries["model of"] = str(model["date"])
    seed = model.get("seed", _seed(one))
    if seed is not None:
        entries["seed of the training"] = str(seed)
    if one.about.get("program"):
        entries["predicted by"] = str(one.about["program"])
    if not one.about:
        entries["model"] = "not known: no file with the case's name and .json lies beside it"
    if one.reference is not None:
        entries["reference"] = shown(one.reference)
    return entries


def _seed(one: _Predicted) -> object:
    """The seed of the run that the predictions lie in; None where they lie elsewhere."""
    run = one.prediction.resolve().parent.parent
    if _part(one.about, "model").get("name") != run.name:
        return None
    try:
        config = read_yaml(run / "config.yaml")
    except InputError:
        return None
    return config.get("seed") if isinstance(config, dict) else None
