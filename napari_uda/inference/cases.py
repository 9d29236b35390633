"""Cases: what there is of each patient of a folder (image, labels, prediction, score), and the image of a prediction.

Listing reads names, `<case>.json` and `scores.csv`, and no volume.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from napari_uda.core.csv_text import read_csv
from napari_uda.core.errors import InputError
from napari_uda.core.files import (
    VOLUME_SUFFIXES,
    case_name,
    case_of_image,
    is_file,
    is_folder,
    shown,
)
from napari_uda.core.small_files import read_object, read_small
from napari_uda.data.folder import DataFolder, find_cases
from napari_uda.data.patients import IMAGE_FOLDERS, Case
from napari_uda.data.segments import small_values
from napari_uda.data.volume import Placement, Volume
from napari_uda.evaluation.outdated import MOST_BYTES, outdated_cases
from napari_uda.inference.results import LABEL_ENDINGS, voxels_sha256
from napari_uda.run.folder import RunFolder
from napari_uda.run.run import Run

_PREDICTIONS = (LABEL_ENDINGS["nifti"], LABEL_ENDINGS["seg-nrrd"], LABEL_ENDINGS["dicom-seg"])
_MAPS = ("entropy", "reliability")
_SCORES = "scores.csv"


@dataclass(frozen=True)
class CaseFiles:
    """What there is of one case."""

    name: str
    images: tuple[Case, ...] = ()
    """Where its image is, with its labels where there are some; several where a prediction may be of any of them."""
    prediction: Path | None = None
    """The predicted labels."""
    dice: float = math.nan
    """Mean Dice over its structures, as `scores.csv` has it; NaN without, and where that is of an older prediction."""
    outdated: bool = False
    """Whether it was scored before this prediction was made."""
    missing: str = ""
    """The image that a prediction was made from, as its `<case>.json` names it, where it is not there."""

    @property
    def image(self) -> Path | None:
        """The image, as far as it can be told without reading it."""
        return self.images[0].image if self.images else None

    @property
    def labels(self) -> Path | None:
        """The label map that comes with the image."""
        return self.images[0].label if self.images else None

    @property
    def names(self) -> dict[int, str]:
        """Label value to structure name, as the data folder has them; {} where it has none."""
        stored = self.images[0].stored if self.images else ()
        return {value: name for name, value in small_values(dict(stored)).items()}

    @property
    def maps(self) -> dict[str, Path]:
        """Entropy and reliability of the prediction, those that are there."""
        if self.prediction is None:
            return {}
        files = {role: self.prediction.parent / f"{self.name}_{role}.nii.gz" for role in _MAPS}
        return {role: file for role, file in files.items() if is_file(file)}

    def read_image(self) -> tuple[Case, Volume]:
        """Read the image; that of a prediction is the one whose voxels it was made from.

        Returns:
            Where it was found, and the volume, named as the case.

        Raises:
            InputError: it is not there, is another one than the prediction was made from, or cannot be read.
        """
        about = _image_entry(self.prediction)
        other: Case | None = None
        for case in self.images:
            volume = replace(case, name=self.name).read_image()
            if _is_meant(volume, about):
                return case, volume
            other = other or case
        if other is not None:
            raise InputError(
                f"{self.name}: {shown(other.image)} in {other.image.parent} is not the image that the prediction was "
                "made from (its voxels differ); put that image beside the prediction, or predict again"
            )
        named = f"its image {self.missing} is missing" if self.missing else "it has no image"
        raise InputError(
            f"{self.name}: {named}; put {self.name}.nii.gz beside the prediction, or list its folder with the predictions"
        )


@dataclass(frozen=True)
class CaseList:
    """The cases of a folder, ordered by name."""

    path: Path
    cases: tuple[CaseFiles, ...]
    note: str = ""
    """What was passed over, or ""."""
    scores: Path | None = None
    """The `scores.csv` that the Dice values are from."""
    predictions: Path | None = None
    """The folder of predictions that was given, or None."""

    @property
    def is_scored(self) -> bool:
        """Whether any case has a score."""
        return any(not math.isnan(case.dice) for case in self.cases)

    @property
    def first(self) -> CaseFiles:
        """The case to look at first: one with a prediction, if there is one."""
        return next((case for case in self.cases if case.prediction), self.cases[0])


@dataclass
class _Search:
    """Where images of predictions are looked for; folders are listed once."""

    placement: Placement
    by_name: dict[str, Case]
    """Cases of the data folders that belong to the predictions."""
    listed: dict[Path, tuple[Case, ...]] = field(default_factory=dict)

    def images(self, file: Path, name: str, about: Mapping[str, Any]) -> Iterator[Case]:
        """Where the image of a prediction may be, the likeliest place first."""
        path = _named_image(file, about)
        if path is not None and path.exists():
            yield self._case_of(path, name, str(about.get("series") or ""))
        if name in self.by_name:
            yield self.by_name[name]
        for folder in (file.parent, file.parent.parent):
            for suffix in VOLUME_SUFFIXES:
                beside = folder / f"{name}{suffix}"
                if is_file(beside):
                    yield self._case_of(beside, name, "")

    def _case_of(self, image: Path, name: str, series: str) -> Case:
        """An image as a case of the folder that it lies in, with the labels there."""
        alone = Case(name, image, series=series, placement=self.placement)
        if is_folder(image):
            return alone
        in_data_folder = image.parent.name in IMAGE_FOLDERS
        folder = image.parent.parent if in_data_folder else image.parent
        if folder not in self.listed:
            self.listed[folder] = _cases_in(folder, self.placement) if in_data_folder else ()
        found = (case for case in self.listed[folder] if case.image.samefile(image))
        return next(found, replace(alone, label=_label_beside(image) if in_data_folder else None))


def _label_beside(image: Path) -> Path | None:
    """The label map of an image in a data folder that is not sound, as where the image of another case is gone."""
    folder = image.parent.parent / image.parent.name.replace("images", "labels")
    files = (folder / f"{case_of_image(image)}{suffix}" for suffix in VOLUME_SUFFIXES)
    return next((file for file in files if is_file(file)), None)


def list_cases(
    folder: str | os.PathLike[str],
    *,
    predictions: str | os.PathLike[str] | None = None,
    placement: Placement = "auto",
) -> CaseList:
    """List the cases of a folder: which have an image, labels, a prediction, a score. No volume is read.

    Scores are those of the `scores.csv` in the run, or in or beside the folder of predictions.

    Args:
        folder: a data folder or a folder of some, a folder of predictions, a run folder, or a tree of patients.
        predictions: a folder of predictions for the cases of a data folder; a run folder means its own.
        placement: which of sform and qform is trusted where a NIfTI file has both.

    Raises:
        InputError: no such folder, nothing in it, or a table of scores that cannot be read.
    """
    start = Path(folder)
    run_folder: Path | None = None
    data: tuple[Case, ...] = ()
    note = ""
    chosen = None if predictions is None else Path(predictions)
    if is_file(RunFolder(start).config_file):
        run_folder, data = start, _data_of(Run.open(start), placement)
        chosen = chosen or RunFolder(start).predictions
    elif holds_predictions(start):
        chosen = chosen or start
    else:
        data, note = _found_in(start, placement)
    if chosen is not None and is_file(RunFolder(chosen).config_file):
        run_folder, chosen = chosen, RunFolder(chosen).predictions
    search = _Search(placement, {case.name: case for case in data})
    made = {} if chosen is None else dict(_predictions(chosen))
    if predictions is not None and not made:
        raise InputError(
            f"{predictions}: holds no predictions; name the folder of <case>_labels.nii.gz"
        )
    table = _scores_file(run_folder, chosen)
    dice = {} if table is None else mean_dice(table)
    cases = {case.name: CaseFiles(case.name, (case,)) for case in data}
    cases |= {name: _predicted(name, file, search) for name, file in made.items()}
    if not cases:
        raise InputError(
            f"{start}: the run has no predictions, and its data are not where they were; write some with "
            f"napari-uda predict {start} IMAGE --out {RunFolder(start).predictions}"
        )
    old = frozenset() if table is None else outdated_cases(table, made)
    listed = (
        replace(
            case, dice=math.nan if name in old else dice.get(name, math.nan), outdated=name in old
        )
        for name, case in sorted(cases.items())
    )
    given = None if predictions is None else Path(predictions)
    return CaseList(start, tuple(listed), note, table, given)


def holds_predictions(folder: Path) -> bool:
    """Whether a folder holds results of `predict`: labels with `<case>.json` or a map of them beside."""
    return not is_folder(folder / "images") and any(
        is_file(folder / f"{name}.json")
        or any(is_file(folder / f"{name}_{role}.nii.gz") for role in _MAPS)
        for name, _ in _predictions(folder)
    )


def mean_dice(table: Path) -> dict[str, float]:
    """Case to its mean Dice over the structures that have one, from a `scores.csv`.

    Raises:
        InputError: it cannot be read, or has no columns `case` and `dice`.
    """
    try:
        rows = read_csv(read_small(table, most_bytes=MOST_BYTES))
    except (OSError, csv.Error) as error:
        raise InputError(
            f"{table} cannot be read as a table; write it with evaluate again"
        ) from error
    if rows and not {"case", "dice"} <= rows[0].keys():
        raise InputError(f"{table} has no columns case and dice; give a scores.csv of evaluate")
    values: dict[str, list[float]] = {}
    for row in rows:
        number = _number(row.get("dice", ""))
        if not math.isnan(number):
            values.setdefault(row["case"], []).append(number)
    return {case: sum(found) / len(found) for case, found in values.items()}


def _predicted(name: str, file: Path, search: _Search) -> CaseFiles:
    about = _image_entry(file)
    images = {case.image.absolute(): case for case in search.images(file, name, about)}
    named = _named_image(file, about)
    lost = named is not None and not named.exists()
    return CaseFiles(name, tuple(images.values()), file, missing=str(about["path"]) if lost else "")


def _image_entry(prediction: Path | None) -> Mapping[str, Any]:
    """What `<case>.json` says of the image of a prediction; {} where it is silent."""
    if prediction is None:
        return {}
    sidecar = prediction.with_name(f"{_case_of(prediction)}.json")
    entry = (read_object(sidecar) or {}).get("image") if is_file(sidecar) else None
    return entry if isinstance(entry, dict) else {}


def _named_image(prediction: Path, about: Mapping[str, Any]) -> Path | None:
    """The image by its path, which starts from the real folder of the prediction."""
    path = about.get("path")
    if not isinstance(path, str) or not path or "\0" in path:
        return None
    return Path(os.path.normpath(Path(os.path.realpath(prediction.parent), path)))


def _is_meant(volume: Volume, about: Mapping[str, Any]) -> bool:
    """Whether a volume is the image that a result was made from, by its shape and then by its voxels."""
    shape, checksum = about.get("shape_zyx"), about.get("voxels_sha256")
    if isinstance(shape, list) and tuple(shape) != volume.array.shape:
        return False
    return checksum is None or checksum == voxels_sha256(volume.array)


def _predictions(folder: Path) -> Iterator[tuple[str, Path]]:
    """Case and labels of the results in a folder."""
    if not is_folder(folder):
        return
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: cannot be read; check the folder") from error
    for file in files:
        if not file.name.startswith(".") and file.name.endswith(_PREDICTIONS):
            yield _case_of(file), file


def _case_of(prediction: Path) -> str:
    return case_name(prediction).removesuffix("_labels")


def _data_of(run: Run, placement: Placement) -> tuple[Case, ...]:
    """The cases that a run learned to segment, as far as they are there: of the target, else of the source."""
    named = (run.config.data.target, run.config.data.source)
    folders = (run.data_folder(one) for one in named if one is not None)
    found = (_cases_in(one, placement) for one in folders if is_folder(one))
    return next((cases for cases in found if cases), ())


def _cases_in(folder: Path, placement: Placement) -> tuple[Case, ...]:
    """The cases of a data folder; none where it is not sound any more."""
    try:
        return DataFolder.open(folder, placement=placement).cases
    except InputError:
        return ()


def _found_in(folder: Path, placement: Placement) -> tuple[tuple[Case, ...], str]:
    """The cases of data folders or of a tree of patients, and what was passed over."""
    parts: Iterable[Path] = [folder]
    if is_folder(folder) and not any(is_folder(folder / name) for name in IMAGE_FOLDERS):
        inside = [one for one in sorted(folder.iterdir()) if is_folder(one / "images")]
        parts = inside or parts
    found = find_cases(parts, placement=placement)
    notes = "; ".join(filter(None, (one.notes() for one in found)))
    return tuple(case for one in found for case in one.cases), notes


def _scores_file(run: Path | None, predictions: Path | None) -> Path | None:
    near = [run] if run is not None else []
    near += [] if predictions is None else [predictions, predictions.parent]
    return next((folder / _SCORES for folder in near if is_file(folder / _SCORES)), None)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
