"""Score predictions against references: one case, one edited slice, or two folders."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from napari_uda.core.errors import InputError
from napari_uda.core.files import (
    FIRST_CHANNEL,
    VOLUME_SUFFIXES,
    case_name,
    check_is_text,
    is_file,
    shown,
    volume_suffix,
)
from napari_uda.core.small_files import file_sha256
from napari_uda.core.suggestions import what_to_choose
from napari_uda.data.patients import LABEL_FOLDERS, dicom_segmentations, find_labels, find_patients
from napari_uda.evaluation.evaluation import Evaluation
from napari_uda.evaluation.inputs import (
    Pair,
    Scorable,
    label_map,
    names_beside,
    read_pair,
    result_stem,
    stored_values_above,
)
from napari_uda.evaluation.learnt import LABEL_ENDINGS, refuse_learnt, without_learnt
from napari_uda.evaluation.matching import read_matched_pair, with_matched_prediction
from napari_uda.evaluation.protocols import Protocol, get_protocol
from napari_uda.evaluation.scores import Row, Scores
from napari_uda.evaluation.structures import AXES, find_structures, score_slices

if TYPE_CHECKING:
    from napari_uda.data.volume import Placement

__all__ = ["evaluate", "evaluate_slice", "evaluate_folders", "pair_files", "Scores", "Axis"]

Axis = Literal["z", "y", "x"]

_logger = logging.getLogger(__name__)


def evaluate(
    prediction: Scorable,
    reference: Scorable,
    *,
    spacing_mm: Sequence[float] | None = None,
    names: Mapping[int, str] | None = None,
    case: str = "",
    protocol: str | Protocol = "recommended",
    axes: Sequence[Axis] | None = None,
    entropy: NDArray[np.floating] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Score one case.

    Every label that occurs in `names`, the prediction or the reference is a structure; 0 is background.

    Args:
        prediction: a `Prediction`, `Volume`, file or `(Z, Y, X)` array of labels 0 to 255.
        reference: the same kinds, on the same grid; a DICOM SEG, RTSTRUCT or `.seg.nrrd` is put on it.
        spacing_mm: voxel size (z, y, x); needed for two arrays, which carry none.
        names: label to structure name on both sides. By default each side has its own, and equal names are
            compared whatever their numbers are, as `evaluate_folders` does: those of the prediction or of the
            `<case>.json` beside it, and those of the `dataset.json` beside the folder of the reference or of the
            reference itself. Where one side has none, those of the other count; else `label_<value>`.
        case: name of the case in the tables.
        protocol: name of a protocol, or one made with `Protocol(...)`.
        axes: axes to score slices along; default the one with the coarsest spacing (z among equals).
            A protocol whose scope is the slice averages along the first.
        entropy: `(Z, Y, X)` in [0, 1] for the mean entropy per slice; default the prediction's own.
        on_progress: called with slices done and slices in all, after each structure.

    Returns:
        The scores of the case.

    Raises:
        InputError: different grids (the numbers are given), an unknown protocol or axis, no voxel size,
            values that are not labels, or a case whose corrected labels the run has learnt from.
    """
    refuse_learnt(prediction)
    rules = get_protocol(protocol)
    pair = read_matched_pair(
        prediction, reference, spacing_mm=spacing_mm, names=names, case=case, entropy=entropy
    )
    along = _axis_indices(axes, pair.spacing_mm)
    return _told(Evaluation(pair, rules, along, on_progress).scores)


def evaluate_slice(
    prediction: Scorable,
    reference: Scorable,
    axis: Axis,
    index: int,
    *,
    spacing_mm: Sequence[float] | None = None,
    names: Mapping[int, str] | None = None,
    case: str = "",
    protocol: str | Protocol = "recommended",
    entropy: NDArray[np.floating] | None = None,
) -> list[Row]:
    """Score one slice again, after an edit: milliseconds, because only that slice is looked at.

    Args:
        prediction: as for `evaluate`; an array or `Volume` to be fast.
        reference: as for `evaluate`.
        axis: the axis the slice is taken along.
        index: the slice.
        spacing_mm: as for `evaluate`.
        names: label to structure name; give all structures, those absent from the slice are otherwise
            not listed.
        case: name of the case in the rows.
        protocol: as for `evaluate`.
        entropy: as for `evaluate`.

    Returns:
        The rows that `evaluate(...).slices` holds for this slice, one per structure.

    Raises:
        InputError: as `evaluate`, or if there is no such slice.
    """
    rules = get_protocol(protocol)
    pair = read_matched_pair(
        prediction, reference, spacing_mm=spacing_mm, names=names, case=case, entropy=entropy
    )
    (along,) = _axis_indices((axis,), pair.spacing_mm)
    length = pair.reference.shape[along]
    if not 0 <= index < length:
        raise InputError(f"slice {index} along {axis} does not exist; choose 0 to {length - 1}")
    window = [slice(None)] * 3
    window[along] = slice(index, index + 1)
    view = Pair(
        case=pair.case,
        prediction=pair.prediction[tuple(window)],
        reference=pair.reference[tuple(window)],
        spacing_mm=pair.spacing_mm,
        affine=pair.affine,
        names=pair.names,
        entropy=None if pair.entropy is None else pair.entropy[tuple(window)],
    )
    structures = find_structures(
        label_map(view.prediction, "prediction"),
        label_map(view.reference, "reference"),
        view.names,
    )
    return [
        row
        for structure in structures
        for row in score_slices(structure, view, rules, along, first=index)
    ]


def evaluate_folders(
    predictions: str | Path,
    labels: str | Path,
    *,
    protocol: str | Protocol = "recommended",
    axes: Sequence[Axis] | None = None,
    placement: Placement = "auto",
    match: Mapping[str, str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    on_slices: Callable[[int, int, int, int], None] | None = None,
) -> Scores:
    """Score every case of a folder, or one file against another.

    `LABELS/<case>.nii.gz`, or the label map in the folder `LABELS/<case>`, is paired with `PREDICTIONS/<case>_labels.nii.gz`, else
    `PREDICTIONS/<case>.nii.gz`; `PREDICTIONS/<case>_entropy.nii.gz` is used when it is there. A prediction
    may be named after nnU-Net's image, `<case>_0000`, instead. The other volume formats are paired the
    same way. A label without prediction is refused, because
    leaving it out would improve the mean; a prediction without label cannot be scored and is logged. A case whose
    corrected labels the run has learnt from (`data.corrected`) is left out, and that is logged. A folder
    `PREDICTIONS/<case>` or `LABELS/<case>` may hold masks instead, each named as its structure.
    References and predictions may be segmentations of any kind, see `read_segmentation`; LABELS may also be a
    tree of DICOM whose segmentations refer to the images beside them.

    Args:
        predictions: folder of predicted labels, or one file of them.
        labels: folder of reference labels, or one file of them; names come from the `dataset.json` beside this
            folder, or else from the files.
        protocol: as for `evaluate`.
        axes: as for `evaluate`.
        placement: which of sform and qform is trusted where a NIfTI file has both.
        match: name of a structure in the labels to its name in the predictions where the two differ, "" for
            none. Names of predictions are those that `predict` wrote beside them; equal names, then equal
            numbers are matched without it.
        on_progress: called with the cases done and the cases in all.
        on_slices: called with the case, counted from 0, the cases in all, and of this case the slices done
            and in all; each structure's slices count.

    Returns:
        The scores of all cases, in order of their names.

    Raises:
        InputError: no such folder, a file and a folder, no labels, labels without prediction, or as `evaluate`.
    """
    rules = get_protocol(protocol)
    pairs, learnt = without_learnt(pair_files(Path(predictions), Path(labels)))
    if learnt:
        _logger.warning("%s", learnt)
    named = replace(_named(Path(labels), pairs), match=dict(match or {}))
    _check_matches(named)
    parts = []
    for done, (case, prediction, reference) in enumerate(pairs):
        if on_progress is not None:
            on_progress(done, len(pairs))
        slices = None if on_slices is None else partial(on_slices, done, len(pairs))
        parts.append(
            _evaluate_files(case, prediction, reference, named, rules, axes, placement, slices)
        )
    if on_progress is not None:
        on_progress(len(pairs), len(pairs))
    return _told(Scores.join(parts))


def _told(scores: Scores) -> Scores:
    """The scores; a warning says where no structure of any case is on both sides, so that nothing was compared."""
    states = {
        state: [row["name"] for row in scores.rows if row["state"] == state]
        for state in ("both", "missed", "invented")
    }
    if states["missed"] and states["invented"] and not states["both"]:
        predicted, expected = (
            ", ".join(dict.fromkeys(map(str, states[state]))) for state in ("invented", "missed")
        )
        _logger.warning(
            "nothing was compared: the predictions hold %s and the references %s, and no structure is in both; give them "
            "the same values, or the same names in dataset.json",
            *(predicted, expected),
        )
    return scores


@dataclass(frozen=True)
class _Named:
    """Structure name to value in the files, and whether label files say so instead of `dataset.json`.

    `match` holds names of the labels and those of the predictions that the user paired.
    """

    stored: dict[str, int]
    found: bool
    match: dict[str, str] = field(default_factory=dict)


def _named(labels: Path, pairs: Sequence[tuple[str, Path, Path]]) -> _Named:
    stored = stored_values_above(labels.parent if is_file(labels) else labels)
    if stored:
        return _Named(stored, found=False)
    from napari_uda.data.segmentation import found_structures, needs_image  # slow to import

    # where predictions have names as well, it does not matter how files number the structures
    by_name = all(needs_image(prediction) or names_beside(prediction) for _, prediction, _ in pairs)
    references = (reference for *_, reference in pairs)
    found = found_structures(references, renumber=by_name)
    if not found:
        _refuse_nameless(prediction for _, prediction, _ in pairs)
    return _Named(found, found=True)


def _refuse_nameless(predictions: Iterable[Path]) -> None:
    """Refuse masks where the references do not name anything."""
    from napari_uda.data.segmentation import kind_of, nameless, structures_in  # slow to import

    for prediction in predictions:
        if kind_of(prediction) == "masks":
            raise nameless((one.name for one in structures_in(prediction)), "label maps")


def _check_matches(named: _Named) -> None:
    """Refuse a structure that no label file can have; a slip of the pen would go unnoticed."""
    for name in named.match:
        if name not in named.stored:
            raise InputError(
                f"the labels have no structure {name!r} to compare; {what_to_choose(name, list(named.stored))}"
                if named.stored
                else f"the labels name no structures, so {name!r} cannot be found; put a dataset.json beside their folder"
            )


def pair_files(predictions: Path, labels: Path) -> list[tuple[str, Path, Path]]:
    """Pair the files of two folders by case name, or a file with a file, see `evaluate_folders`.

    Returns:
        Case, prediction and label of every case, in order of the names.

    Raises:
        InputError: a label has no prediction, a case has several files, or a prediction would be scored against itself.
    """
    if is_file(predictions) and is_file(labels):
        case = result_stem(predictions)
        _check_two(case, predictions, labels)
        return [(case, predictions, labels)]
    predicted, references = _by_name(predictions), _references(labels)
    if not references:
        inside = next(
            (labels / name for name in ("labels", "labelsTr") if (labels / name).is_dir()), None
        )
        remedy = f"give {inside}" if inside else "give the folder of the <case>.nii.gz labels"
        raise InputError(f"{shown(labels)}: holds no label volumes; {remedy}")
    pairs, missing = [], []
    for case, reference in sorted(references.items()):
        files = _predictions_of(case, predicted)
        files = files or list(_of_masks({case: predictions / case}).values())
        if not files:
            missing.append(case)
            continue
        _check_one(case, files, predictions)
        _check_one(case, reference, labels)
        _check_two(case, files[0], reference[0])
        pairs.append((case, files[0], reference[0]))
    if missing:
        some = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise InputError(
            f"{len(missing)} of {len(references)} labels in {shown(labels)} have no prediction in"
            f" {shown(predictions)} ({some}); predict them (<case>_labels.nii.gz or <case>.nii.gz) or score a folder without"
            " their labels"
        )
    used = {prediction for _, prediction, _ in pairs}
    extra = [
        case
        for case, files in sorted(predicted.items())
        if used.isdisjoint(files) and not case.endswith(("_entropy", "_reliability"))
    ]
    if extra:
        _logger.warning(
            "there are no labels for %s, so these predictions are not scored", ", ".join(extra)
        )
    return pairs


def prediction_files(folder: Path) -> list[tuple[str, Path]]:
    """Case and file of every prediction in a folder, or of one file, without regard to labels, in order of the names."""
    if is_file(folder):
        return [(result_stem(folder), folder)]
    found = []
    for stem, files in sorted(_by_name(folder).items()):
        if stem.endswith(("_entropy", "_reliability")):
            continue
        _check_one(stem, files, folder)
        ending = next((end for end in LABEL_ENDINGS if stem.endswith(end)), "")
        found.append((stem.removesuffix(ending), files[0]))
    return found


def _predictions_of(case: str, predicted: Mapping[str, list[Path]]) -> list[Path]:
    """What may be the prediction of a case: what `predict` writes, in any format, before a file with its name."""
    for name in (case, case + FIRST_CHANNEL):
        written = [file for end in LABEL_ENDINGS for file in predicted.get(name + end, [])]
        if written:
            return written
        if name in predicted:
            return predicted[name]
    return []


def _check_one(case: str, files: Sequence[Path], folder: Path) -> None:
    """Refuse two label maps of one case: which of them is meant, and which an older one, nobody can tell."""
    if len(files) > 1:
        listed = " and ".join(shown(file) for file in files)
        raise InputError(f"{shown(folder)}: {listed} are both case {case}; keep one of them")


def _check_two(case: str, prediction: Path, label: Path) -> None:
    if prediction.samefile(label):
        raise InputError(
            f"{case}: prediction and label are one file, {shown(label)} in {shown(label.parent)}, and would agree in every "
            "voxel; give the folder of the predictions and that of the labels, or a file of each"
        )


def _references(folder: Path) -> dict[str, list[Path]]:
    """Label maps by case: files, and those in folders of patients, also beside their images; folders of masks."""
    _check_folder(folder)
    files: dict[str, list[Path]] = {}
    folders: dict[str, Path] = {}
    for case, path in find_labels(folder):
        if path.is_dir():
            folders[case] = path
        else:
            files.setdefault(case, []).append(path)
    holds_labels = folder.name.lower() in LABEL_FOLDERS
    if holds_labels:
        for case, path in _of_masks(folders).items():
            files.setdefault(case, []).append(path)
    if files and (not folders or holds_labels):
        return files
    found = find_patients(folder, shorten=not files)
    known = {file for paths in files.values() for file in paths}
    for one in found.cases:
        if one.label is not None and one.label not in known:
            files.setdefault(one.name, []).append(one.label)
    if not files and not {"images", "labels", "imagesTr", "labelsTr"} & folders.keys():
        files = {case: [path] for case, path in _of_masks(folders).items()}
    return files


def _of_masks(folders: Mapping[str, Path]) -> dict[str, Path]:
    """Those folders that hold masks."""
    from napari_uda.data.mask_folder import is_mask_folder  # its library is slow to import

    return {case: path for case, path in folders.items() if is_mask_folder(path)}


def _check_folder(folder: Path) -> None:
    if is_file(folder):
        raise InputError(
            f"{shown(folder)}: is a file beside a folder; give two folders, or a file of predictions and one of labels"
        )
    if not folder.is_dir():
        raise InputError(
            f"{shown(folder)}: is not a folder; give the folder that holds the volumes"
        )


def _by_name(folder: Path) -> dict[str, list[Path]]:
    """Volumes and segmentations by their names without suffix."""
    _check_folder(folder)
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(".") and (volume_suffix(path) or dicom_segmentations([path])):
            check_is_text(path)
            found.setdefault(case_name(path), []).append(path)
    return found


def _evaluate_files(
    case: str,
    prediction: Path,
    reference: Path,
    named: _Named,
    rules: Protocol,
    axes: Sequence[Axis] | None,
    placement: Placement,
    on_progress: Callable[[int, int], None] | None,
) -> Scores:
    from napari_uda.data.same_grid import on_grid_of
    from napari_uda.data.volume import Volume, read_volume

    names = {value: name for name, value in named.stored.items()}
    pair = read_pair(prediction, reference, names=names, case=case, placement=placement)
    if named.found:  # a description may name a hundred structures that no file has
        there = np.unique(pair.prediction), np.unique(pair.reference)
        present = {int(value) for values in there for value in values}
        own = {value: name for value, name in pair.names.items() if value in present}
        pair = replace(pair, names=own)
    stem, predicted = result_stem(prediction), names_beside(prediction)
    if not predicted and named.match:
        predicted = dict(pair.names)  # nobody names them: the numbers of the labels are meant
    if predicted and pair.names:
        told = set(pair.notes)
        pair = with_matched_prediction(pair, predicted, named.match)
        for note in pair.notes:
            if note not in told:
                _logger.warning("%s: %s", case, note)
    candidates = (prediction.with_name(f"{stem}_entropy{suffix}") for suffix in VOLUME_SUFFIXES)
    path = next((path for path in candidates if path.is_file()), None)
    if path is not None and pair.affine is not None:
        segmented = Volume(pair.prediction, pair.affine, case_name(prediction))
        try:
            volume = on_grid_of(read_volume(path, placement=placement), segmented)
        except InputError as error:
            raise InputError(f"{case}: entropy map and prediction do not match, {error}") from error
        pair = replace(pair, entropy=np.asarray(volume.array, np.float32))
    scores = Evaluation(pair, rules, _axis_indices(axes, pair.spacing_mm), on_progress).scores
    scored = file_sha256(prediction) if prediction.is_file() else ""
    return replace(scores, grids=[replace(one, prediction_sha256=scored) for one in scores.grids])


def _axis_indices(
    axes: Sequence[Axis] | None, spacing: tuple[float, float, float]
) -> tuple[int, ...]:
    if axes is None:
        return (int(np.argmax(spacing)),)
    unknown = [axis for axis in axes if axis not in AXES]
    if unknown or not axes:
        raise InputError(f"axes {tuple(axes)} are not axes of a volume; choose among z, y, x")
    return tuple(AXES.index(axis) for axis in axes)
