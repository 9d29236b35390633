"""From the data folders of a run to its training data: volumes are read, measured and cut into slices."""

from __future__ import annotations

import hashlib
import logging
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_uda.core import distributed
from napari_uda.core.errors import InputError
from napari_uda.data.batches import TrainingData
from napari_uda.data.domain_statistics import (
    DomainStatistics,
    domain_statistics,
    measure_volume,
)
from napari_uda.data.facts import DataFacts
from napari_uda.data.folder import Case, DataFolder
from napari_uda.data.intensity import Intensity, fit_intensity, thinned
from napari_uda.data.same_grid import on_grid_of
from napari_uda.data.sizes import structure_sizes
from napari_uda.data.slices import (
    SliceGrid,
    SliceStore,
    choose_axis,
    choose_pixel_mm,
    fill_store,
)
from napari_uda.data.split import Split, split_cases
from napari_uda.data.structure_statistics import structure_statistics
from napari_uda.data.volume import Volume
from napari_uda.methods.base import Method, supervision_with_start
from napari_uda.run.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from napari_uda.run.config import DataConfig, RunConfig

logger = logging.getLogger(__name__)

_FIT_VOXELS = 200_000


@dataclass(frozen=True)
class _Scan:
    """What one pass over a domain's images found."""

    shapes: dict[str, tuple[int, int, int]]
    spacings_mm: list[tuple[float, float, float]]
    samples: list[NDArray[np.generic]]


class _Volumes:
    """The volumes of one folder, each file read and decompressed once however often it is looked at.

    Intensities are fitted to all volumes before the first one becomes slices, so voxels wait in between:
    in memory, or, beyond a budget, uncompressed in a folder that is mapped.
    """

    def __init__(self, folder: DataFolder, waiting: Path, budget_bytes: float) -> None:
        self.folder = folder
        self.budget_bytes = budget_bytes
        self._waiting = waiting
        self._read: dict[Path, Volume] = {}

    @cached_property
    def scan(self) -> _Scan:
        """Shapes, spacings and some voxels of all images."""
        shapes: dict[str, tuple[int, int, int]] = {}
        spacings, samples = [], []
        for case in self.folder.cases:
            volume = self.image(case).canonical()
            z, y, x = volume.array.shape
            shapes[case.name] = (z, y, x)
            spacings.append(volume.spacing_mm)
            samples.append(thinned(volume.array, _FIT_VOXELS).copy())
        return _Scan(shapes, spacings, samples)

    def image(self, case: Case) -> Volume:
        """The image of a case."""
        return self._once(case.image, lambda _: case.read_image())

    def label(self, case: Case) -> Volume:
        """The labels of a case, which must have some."""
        assert case.label is not None
        return self._once(case.label, lambda _: case.read_labels())

    def forget(self, case: Case) -> None:
        """Give back the memory of a case that has become slices."""
        for path in (case.image, case.label):
            if path is not None:
                self._read.pop(path, None)

    def _once(self, path: Path, read: Callable[[Path], Volume]) -> Volume:
        if path not in self._read:
            volume = read(path)
            held = sum(v.array.nbytes for v in self._read.values())
            if held + volume.array.nbytes > self.budget_bytes:
                self._waiting.mkdir(parents=True, exist_ok=True)
                file = self._waiting / f"{len(list(self._waiting.iterdir()))}.npy"
                np.save(file, volume.array)
                volume = volume.with_array(np.load(file, mmap_mode="r"))
            self._read[path] = volume
        return self._read[path]


def load_training_data(
    config: RunConfig,
    method: type[Method[Any]],
    *,
    cache: Path,
    known: DataFacts | None = None,
) -> TrainingData:
    """Read the volumes a method needs and turn them into slices.

    Args:
        config: the run's settings.
        method: its `needs` decide which folder is read, and whether with labels.
        cache: folder for memory-mapped slices of large data.
        known: facts to reuse instead of fitting: those of the run itself when it is resumed; without
            them those of the run it starts from, if there is one.

    Raises:
        InputError: if a needed folder is not given, is empty, lacks labels or holds labels that do
            not fit its images, or if the method needs a run to start from and there is none.
    """
    known, supervision = _known_before(config, method, known)
    labelled, unlabelled = _folders(config.data, method)
    splits = _split(config, labelled, unlabelled)
    # The target's intensities are fitted for a method that does not train on the target, too: MR must
    # not be read with a CT window when it predicts.
    appearance = unlabelled
    if appearance is None and config.data.target is not None and "source" in method.needs:
        appearance = DataFolder.open(
            config.data.target, series=config.data.series, placement=config.data.placement
        )
    budget = config.data.cache_gib * 2**30
    waiting = cache / "waiting" / str(distributed.rank())
    folders = {f.path: f for f in (labelled, appearance) if f is not None}
    volumes = {path: _Volumes(folder, waiting, budget) for path, folder in folders.items()}
    labels = _labels(config.data, labelled, volumes) if known is None else known.labels
    facts = _facts(config.data, labels, labelled, appearance, volumes, splits, known)
    facts = facts.model_copy(update={"target_supervision": supervision})
    source = target = None
    held_out: tuple[Case, ...] = ()
    if labelled is not None and facts.source is not None and facts.source_intensity is not None:
        train = set(facts.source.train)
        cases = [case for case in labelled.cases if case.name in train]
        held_out = tuple(c for c in labelled.cases if c.name in set(facts.source.validation))
        source = _store(
            volumes[labelled.path],
            cases,
            facts,
            facts.source_intensity,
            cache / "source",
            with_labels=True,
        )
        facts = facts.model_copy(update=_structures(source, facts))
    if unlabelled is not None and facts.target_intensity is not None:
        target = _store(
            volumes[unlabelled.path],
            list(unlabelled.cases),
            facts,
            facts.target_intensity,
            cache / "target",
            with_labels=False,
        )
    volumes.clear()  # maps are closed before their files go
    shutil.rmtree(waiting, ignore_errors=True)
    return TrainingData(
        facts, source, target, held_out, config.seed, config.batch_size, config.augment
    )


def _known_before(
    config: RunConfig, method: type[Method[Any]], known: DataFacts | None
) -> tuple[DataFacts | None, str]:
    """The facts of the run that this one goes on from, if any, and what it was told of the target's labels."""
    supervision = config.method.target_supervision
    if known is not None:
        return known, known.target_supervision if supervision == "none" else supervision
    if config.init is None:
        if method.needs_init:
            raise InputError(
                f"{config.method.name} starts from a trained run; give it one with --init RUN"
            )
        return None, supervision
    start = Run.open(config.init)
    known = start.facts
    if config.data.target is not None and start.config.data.target == config.data.target:
        supervision = supervision_with_start(supervision, known.target_supervision)
    return known, supervision


def _structures(store: SliceStore, facts: DataFacts) -> dict[str, object]:
    """Sizes and places of the structures, in the order of their classes."""
    assert store.labels is not None
    names = list(facts.names().values())
    return {
        "sizes": structure_sizes(store.labels, names, store.pixel_areas()),
        "structures": structure_statistics(store, facts.grid, names),
    }


def _folders(
    data: DataConfig,
    method: type[Method[Any]],
) -> tuple[DataFolder | None, DataFolder | None]:
    """The labelled and the unlabelled folder that the method's needs ask for."""
    name = method.config_class.model_fields["name"].default
    labelled = unlabelled = None
    if "source" in method.needs:
        labelled = _open(data, "source", name)
    if "target_labels" in method.needs:
        labelled = _open(data, "target", name)
    if labelled is not None and not any(case.label for case in labelled.cases):
        raise InputError(
            f"{labelled.path} has no label maps, which {name} needs; put them into its subfolder labels"
        )
    if "target" in method.needs:
        unlabelled = _open(data, "target", name)
    return labelled, unlabelled


def _open(data: DataConfig, domain: Literal["source", "target"], method: str) -> DataFolder:
    path = data.source if domain == "source" else data.target
    if path is None:
        raise InputError(f"{method} needs --data.{domain}; give it a data folder")
    folder = DataFolder.open(path, series=data.series, placement=data.placement)
    if folder.passed_over:
        logger.warning("%s: %s", domain, folder.notes())
    return folder


def _split(
    config: RunConfig, labelled: DataFolder | None, unlabelled: DataFolder | None
) -> tuple[Split | None, Split | None]:
    source = None
    if labelled is not None:
        source = split_cases(
            [case.name for case in labelled.cases if case.label is not None],
            validation_fraction=config.data.validation_fraction,
            seed=config.seed,
            patient_pattern=config.data.patient_pattern,
        )
    target = (
        Split(train=tuple(c.name for c in unlabelled.cases)) if unlabelled is not None else None
    )
    return source, target


def _facts(
    data: DataConfig,
    labels: dict[str, int],
    labelled: DataFolder | None,
    appearance: DataFolder | None,
    volumes: Mapping[Path, _Volumes],
    splits: tuple[Split | None, Split | None],
    known: DataFacts | None,
) -> DataFacts:
    source, target = splits
    fingerprint = _fingerprint(labelled, appearance)
    changes: dict[str, object] = {"source": source, "target": target, "fingerprint": fingerprint}
    if known is not None:
        grid = known.grid
        _check_known(data, labelled, known)
        same_domain = labelled is None or labelled.path != data.target
        # target_supervised learns from the target folder, and predicts with the mapping it learnt with
        changes["source_intensity"] = (
            known.source_intensity if same_domain else known.target_intensity
        )
        changes["target_intensity"] = known.target_intensity
        changes |= {
            name: getattr(known, name)
            for name in ("sizes", "structures", "source_statistics", "target_statistics")
        }
        changes["source_range"], changes["target_range"] = known.source_range, known.target_range
    else:
        reference = volumes[(labelled or appearance).path].scan  # type: ignore[union-attr]
        axis = choose_axis(data.axis, reference.spacings_mm)
        pixel = data.pixel_mm or choose_pixel_mm(
            axis, list(reference.shapes.values()), reference.spacings_mm, data.size
        )
        grid = SliceGrid(axis=axis, pixel_mm=pixel, size=data.size, neighbours=data.neighbours)
    for folder, side, setting in (
        (labelled, "source", data.source_intensity),
        (appearance, "target", data.target_intensity),
    ):
        if folder is None:
            continue
        changes[f"{side}_modality"] = folder.modality
        if side == "source" and folder.path == data.target:
            setting = data.target_intensity
        taken_over = changes.get(f"{side}_intensity")
        if isinstance(taken_over, Intensity):
            if setting.contradicts(taken_over):
                raise InputError(
                    f"data.{side}_intensity asks for {setting.mode} and the run this one starts from "
                    f"maps by {taken_over.mode} with {taken_over.bounds[0]:g} and "
                    f"{taken_over.bounds[1]:g}; give both the same, or leave it at auto"
                )
        else:
            fitted = fit_intensity(setting, volumes[folder.path].scan.samples, folder.modality)
            changes[f"{side}_intensity"] = fitted
        intensity = changes[f"{side}_intensity"]
        assert isinstance(intensity, Intensity)
        changes[f"{side}_range"] = intensity.typical_bounds(volumes[folder.path].scan.samples)
        train = source.train if side == "source" and source is not None else None
        changes[f"{side}_statistics"] = _statistics(volumes[folder.path], intensity, train)
    return DataFacts(labels=labels, grid=grid, **changes)


def _statistics(
    volumes: _Volumes, intensity: Intensity, train: tuple[str, ...] | None
) -> DomainStatistics:
    """What the training images of a folder look like, without those that are held out."""
    cases = volumes.folder.cases
    used = [case for case in cases if train is None or case.name in train] or cases
    return domain_statistics([measure_volume(volumes.image(case), intensity) for case in used])


def _check_known(data: DataConfig, labelled: DataFolder | None, known: DataFacts) -> None:
    """A run that starts from another one sees slices as that one did; settings must not say otherwise."""
    axis_differs = data.axis != "auto" and choose_axis(data.axis, []) != known.grid.axis
    for name, wanted, given, differs in (
        ("data.size", data.size, known.grid.size, data.size != known.grid.size),
        ("data.neighbours", data.neighbours, known.grid.neighbours,
         data.neighbours != known.grid.neighbours),
        ("data.pixel_mm", data.pixel_mm, known.grid.pixel_mm,
         data.pixel_mm not in (0, known.grid.pixel_mm)),
        ("data.axis", data.axis, "zyx"[known.grid.axis], axis_differs),
    ):  # fmt: skip
        if differs:
            raise InputError(
                f"{name} is {wanted} here and {given} in the run it starts from; give both the same"
            )
    named = data.labels or (labelled.labels if labelled is not None else {})
    if named and {k: v for k, v in named.items() if v} != known.labels:
        raise InputError(
            f"structures {named} are not those of the run it starts from, {known.labels}; "
            "give both the same"
        )


def _labels(
    data: DataConfig, labelled: DataFolder | None, volumes: Mapping[Path, _Volumes]
) -> dict[str, int]:
    if data.labels:
        labels = {name: value for name, value in data.labels.items() if value != 0}
    elif labelled is None:
        raise InputError(
            "this method reads no labels that could name the structures; give --init with a trained run, or data.labels"
        )
    elif labelled.labels:
        labels = dict(labelled.labels)
    else:
        found = np.zeros(256, bool)
        for case in labelled.cases:
            if case.label is not None:
                raw = volumes[labelled.path].label(case)
                found |= np.bincount(raw.array.ravel(), minlength=256) > 0
        labels = {f"label_{value}": int(value) for value in np.flatnonzero(found) if value}
    if not labels:
        raise InputError("the label maps hold background only; give label maps with structures")
    if len(set(labels.values())) != len(labels) or not all(0 < v < 256 for v in labels.values()):
        raise InputError(
            f"label values {labels} must be different and between 1 and 255; correct them"
        )
    return dict(sorted(labels.items(), key=lambda item: item[1]))


def _store(
    volumes: _Volumes,
    cases: list[Case],
    facts: DataFacts,
    intensity: Intensity,
    cache: Path,
    *,
    with_labels: bool,
) -> SliceStore:
    counts = [volumes.scan.shapes[case.name][facts.grid.axis] for case in cases]
    needed = sum(counts) * facts.grid.size**2 * (3 if with_labels else 2)
    # two processes must not map the same file for writing
    folder = cache / str(distributed.rank()) if needed > volumes.budget_bytes else None
    return fill_store(
        _read_cases(volumes, cases, facts, with_labels=with_labels),
        counts,
        facts.grid,
        intensity,
        with_labels=with_labels,
        cache_folder=folder,
    )


def _read_cases(
    volumes: _Volumes, cases: list[Case], facts: DataFacts, *, with_labels: bool
) -> Iterator[tuple[str, Volume, Volume | None]]:
    table = facts.class_of_value()
    for case in cases:
        image = volumes.image(case)
        label = None
        if with_labels and case.label is not None:
            raw = volumes.label(case)
            try:
                raw = on_grid_of(raw, image)
            except InputError as error:
                raise InputError(
                    f"labels of {case.name} do not lie on the image's grid: {error}"
                ) from error
            label = raw.with_array(table[raw.array])
        yield case.name, image, label
        volumes.forget(case)


def _fingerprint(labelled: DataFolder | None, appearance: DataFolder | None) -> str:
    """Hash of names and sizes of all files that training reads; target labels are not among them."""
    digest = hashlib.sha256()
    for folder in (labelled, appearance):
        for case in folder.cases if folder is not None else ():
            digest.update(f"{case.name}:{case.image.stat().st_size};".encode())
            if folder is labelled and case.label is not None:
                digest.update(f"{case.label.stat().st_size};".encode())
    return digest.hexdigest()[:16]
