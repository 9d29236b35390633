"""From the data folders of a run to its training data: volumes are read, measured and cut into slices."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_uda.core import distributed
from napari_uda.core.errors import InputError
from napari_uda.data.batches import TrainingData
from napari_uda.data.case_shapes import case_shapes
from napari_uda.data.check import DomainCheck, is_same_folder, with_comparison
from napari_uda.data.corrected import corrected_by_digest, left_out
from napari_uda.data.domain_statistics import (
    DomainStatistics,
    domain_statistics,
    measure_volume,
)
from napari_uda.data.facts import DataFacts
from napari_uda.data.folder import Case, DataFolder
from napari_uda.data.intensity import Intensity, fit_intensity
from napari_uda.data.segments import small_values
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
from napari_uda.methods.base import (
    Method,
    Need,
    supervision_with_corrected,
    supervision_with_start,
)
from napari_uda.methods.registry import correctable_methods
from napari_uda.run.run import Run
from napari_uda.training.same_data import files_of_method
from napari_uda.training.volumes import Volumes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from napari_uda.data.findings import DomainReport
    from napari_uda.run.config import DataConfig, RunConfig

logger = logging.getLogger(__name__)


def load_training_data(
    config: RunConfig,
    method: type[Method[Any]],
    *,
    cache: Path,
    known: DataFacts | None = None,
    on_checked: Callable[[Mapping[str, DomainReport]], None] | None = None,
) -> TrainingData:
    """Read the volumes a method needs and turn them into slices.

    Args:
        config: the run's settings.
        method: its `needs` decide which folder is read, and whether with labels.
        cache: folder for memory-mapped slices of large data.
        known: facts to reuse instead of fitting: those of the run itself when it is resumed; without
            them those of the run it starts from, if there is one.
        on_checked: is told what the check of the data has found, by domain, once all is read.

    Raises:
        InputError: if a needed folder is not given, is empty, lacks labels or holds labels that do
            not fit its images, or if the method needs a run to start from and there is none.
    """
    corrected = _open_corrected(config, method)
    before = None if known is None else known.corrected_before
    known, supervision = _known_before(config, method, known, _count(corrected))
    if before is None:
        before = {} if known is None else known.corrected_cases
    needs = method.needs_with(config.method)
    labelled, unlabelled = _folders(config.data, config.method.name, needs)
    if labelled is not None:
        labelled = labelled.named(known.labels if known is not None else None)
    splits = _split(config, labelled, unlabelled)
    # The target's intensities are fitted for a method that does not train on the target, too: MR must
    # not be read with a CT window when it predicts.
    appearance = unlabelled
    if appearance is None and config.data.target is not None and "source" in needs:
        appearance = DataFolder.open(
            config.data.target, series=config.data.series, placement=config.data.placement
        )
    budget = config.data.cache_gib * 2**30
    waiting = cache / "waiting" / str(distributed.rank())
    folders = {f.path: f for f in (labelled, appearance) if f is not None}
    volumes = {
        path: Volumes(folder, waiting, budget, _check(folder, labelled, known))
        for path, folder in folders.items()
    }
    labels = _labels(config.data, labelled, volumes) if known is None else known.labels
    facts = _facts(config.data, labels, labelled, appearance, volumes, splits, known)
    supervised = {"target_supervision": supervision, "corrected_before": before}
    facts = facts.model_copy(update=supervised)
    source = target = corrections = None
    learnt: dict[str, DomainReport] = {}
    if corrected is not None:
        corrections, learnt["corrected"] = _corrections(
            *(config.data, corrected, facts, cache, waiting),
            of_labelled="target_labels" in needs,
        )
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
    reports = _reports(config.data, labelled, appearance, volumes, len(held_out)) | learnt
    volumes.clear()  # maps are closed before their files go
    shutil.rmtree(waiting, ignore_errors=True)
    fatal = [one for report in reports.values() for one in report.problems if one.fatal]
    if fatal:
        raise InputError(fatal[0].sentence)
    if on_checked is not None:
        on_checked(reports)
    contents = {f"{side}_contents": _contents(report) for side, report in reports.items()}
    facts = facts.model_copy(update={**contents, "files": files_of_method(config.method)})
    facts, held_out = _never_scored(config.data, facts, labelled, held_out)
    return TrainingData(
        *(facts, source, target, held_out, config.seed, config.batch_size, config.augment),
        corrected=corrections,
    )


def _open_corrected(config: RunConfig, method: type[Method[Any]]) -> DataFolder | None:
    """The folder of corrected target cases, None where the run has none or gives them no weight."""
    data, name = config.data, config.method.name
    if data.corrected is None or not config.method.corrected_weight:
        return None
    if not method.learns_from_corrected:
        raise InputError(
            f"{name} has no supervised loss on corrected cases; leave --data.corrected out, or choose "
            f"{correctable_methods()}"
        )
    folder = DataFolder.open(
        data.corrected, series=data.series, placement=data.placement, labels=data.labels
    )
    if not _count(folder):
        raise InputError(
            f"{folder.path} has no label maps, and it is said to hold corrected cases (--data.corrected); put "
            "the corrected labels into its subfolder labels"
        )
    return folder


def _count(corrected: DataFolder | None) -> int:
    """How many corrected cases have labels."""
    return 0 if corrected is None else sum(case.label is not None for case in corrected.cases)


def _corrections(
    data: DataConfig,
    corrected: DataFolder,
    facts: DataFacts,
    cache: Path,
    waiting: Path,
    *,
    of_labelled: bool,
) -> tuple[SliceStore, DomainReport]:
    """Slices of the corrected cases, which look like the target, and what the check finds in them.

    `of_labelled` says that the labelled domain is the target.
    """
    corrected = corrected.named(facts.labels)
    if corrected.labels and corrected.labels != facts.labels:
        raise InputError(
            f"structures {corrected.labels} of the corrected cases in {corrected.path} are not those of the run, "
            f"{facts.labels}; give both the same"
        )
    look = facts.source_intensity if of_labelled else facts.target_intensity
    if look is None:
        raise InputError(
            "corrected cases are of the target, and the run does not know how to read its intensities; give "
            "--data.target as well"
        )
    corrected = replace(
        corrected, cases=tuple(case for case in corrected.cases if case.label is not None)
    )
    check = DomainCheck.of_folder(corrected, labelled=True, names=facts.labels)
    volumes = Volumes(corrected, waiting / "corrected", data.cache_gib * 2**30, check)
    cases = list(corrected.cases)
    store = _store(volumes, cases, facts, look, cache / "corrected", with_labels=True)
    return store, check.report(label_count=len(cases))


def _never_scored(
    data: DataConfig, facts: DataFacts, labelled: DataFolder | None, held_out: tuple[Case, ...]
) -> tuple[DataFacts, tuple[Case, ...]]:
    """The held-out cases without those that the run learns from, or has learnt from, as corrected ones."""
    corrected = facts.corrected_cases
    if not corrected or not held_out or labelled is None or facts.source is None:
        return facts, held_out
    of_target = labelled.path == data.target
    contents = facts.target_contents if of_target else facts.source_contents
    learnt = [
        case.name
        for case in held_out
        if corrected_by_digest(
            corrected,
            case.name if of_target else "",
            contents.get(case.name, "").partition(" ")[0],
        )
    ]
    if not learnt:
        return facts, held_out
    logger.warning("%s", left_out(learnt))
    kept = tuple(case for case in held_out if case.name not in learnt)
    split = Split(train=facts.source.train, validation=tuple(case.name for case in kept))
    return facts.model_copy(update={"source": split}), kept


def _check(folder: DataFolder, labelled: DataFolder | None, known: DataFacts | None) -> DomainCheck:
    """The check of a folder, which goes along while it is read."""
    if labelled is not None and folder.path == labelled.path:
        names = None if known is None else known.labels
        return DomainCheck.of_folder(labelled, labelled=True, names=names)
    return DomainCheck.of_folder(folder, labelled=False)


def _reports(
    data: DataConfig,
    labelled: DataFolder | None,
    appearance: DataFolder | None,
    volumes: Mapping[Path, Volumes],
    unread: int,
) -> dict[str, DomainReport]:
    """What was found in each domain; `unread` is the number of cases that are held out."""
    reports = {}
    for folder in (labelled, appearance):
        if folder is None:
            continue
        side = "target" if folder is appearance or folder.path == data.target else "source"
        with_labels = sum(case.label is not None for case in folder.cases)
        missing = unread if folder is labelled else 0
        check = volumes[folder.path].check
        reports[side] = check.report(label_count=with_labels, unread=missing)
    paths = [folder.path for folder in (labelled, appearance) if folder is not None]
    is_same = len(paths) > 1 and is_same_folder(*paths)
    if is_same and paths[0] == paths[1]:  # read once, and told once
        reports["source"] = replace(reports["target"])
        reports["target"] = replace(reports["target"], problems=())
    return with_comparison(reports, is_same=is_same)


def _contents(report: DomainReport) -> dict[str, str]:
    """Checksum of each image and, where they were read, of its labels, by case."""
    return {
        case.name: " ".join(part for part in (case.image_digest, case.label_digest) if part)
        for case in report.cases
    }


def _known_before(
    config: RunConfig, method: type[Method[Any]], known: DataFacts | None, corrected: int
) -> tuple[DataFacts | None, str]:
    """The facts of the run that this one goes on from, if any, and what it was told of the target's labels.

    `corrected` is the number of corrected cases that it learns from.
    """
    supervision = supervision_with_corrected(config.method.target_supervision, corrected)
    if known is not None:
        told = known.target_supervision
        return known, supervision if told == "none" else told
    if config.init is None:
        if method.needs_start_with(config.method):
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
        "shapes": case_shapes(store, facts.grid, names),
    }


def _folders(
    data: DataConfig, name: str, needs: frozenset[Need]
) -> tuple[DataFolder | None, DataFolder | None]:
    """The labelled and the unlabelled folder that the needs of the method called `name` ask for."""
    labelled = unlabelled = None
    if "source" in needs:
        labelled = _open(data, "source", name, labelled=True)
    if "target_labels" in needs:
        labelled = _open(data, "target", name, labelled=True)
    if labelled is not None and not any(case.label for case in labelled.cases):
        raise InputError(
            f"{labelled.path} has no label maps, which {name} needs; {labelled.where_labels_go}"
        )
    if "target" in needs:
        unlabelled = _open(data, "target", name, labelled=False)
    return labelled, unlabelled


def _open(
    data: DataConfig, domain: Literal["source", "target"], method: str, *, labelled: bool
) -> DataFolder:
    path = data.source if domain == "source" else data.target
    if path is None:
        raise InputError(f"{method} needs --data.{domain}; give it a data folder")
    return DataFolder.open(
        path, series=data.series, placement=data.placement, labels=data.labels if labelled else None
    )


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
    volumes: Mapping[Path, Volumes],
    splits: tuple[Split | None, Split | None],
    known: DataFacts | None,
) -> DataFacts:
    source, target = splits
    changes: dict[str, object] = {"source": source, "target": target}
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
            for name in ("sizes", "structures", "shapes", "source_statistics", "target_statistics")
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
    volumes: Volumes, intensity: Intensity, train: tuple[str, ...] | None
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
    named = labelled.labels if labelled is not None else small_values(data.labels)
    if named and named != known.labels:
        raise InputError(
            f"structures {named} are not those of the run it starts from, {known.labels}; "
            "give both the same"
        )


def _labels(
    data: DataConfig, labelled: DataFolder | None, volumes: Mapping[Path, Volumes]
) -> dict[str, int]:
    if data.labels:
        labels = small_values(data.labels)
    elif labelled is None:
        raise InputError(
            "this method reads no labels that could name the structures; give --init with a trained run, or data.labels"
        )
    elif labelled.labels:
        labels = dict(labelled.labels)
    else:
        found = np.zeros(256, bool)
        with_labels = [case for case in labelled.cases if case.label is not None]
        for raw in volumes[labelled.path].labels(with_labels):
            found |= np.bincount(raw.array.ravel(), minlength=256) > 0
        names = {value: name for name, value in labelled.found_labels.items()}
        values = [int(value) for value in np.flatnonzero(found) if value]
        labels = {names.get(value, f"label_{value}"): value for value in values}
    if not labels:
        raise InputError("the label maps hold background only; give label maps with structures")
    given = {name: value for name, value in (data.labels or labels).items() if value}
    if len(set(given.values())) != len(given) or not all(value > 0 for value in given.values()):
        raise InputError(f"label values {given} must be different and from 1 on; correct them")
    return dict(sorted(labels.items(), key=lambda item: item[1]))


def _store(
    volumes: Volumes,
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
    volumes: Volumes, cases: list[Case], facts: DataFacts, *, with_labels: bool
) -> Iterator[tuple[str, Volume, Volume | None]]:
    table = facts.class_of_value()
    labels = volumes.labels(case for case in cases if with_labels and case.label is not None)
    for case in cases:
        image = volumes.image(case)
        label = None
        if with_labels and case.label is not None:
            raw = volumes.check.take_labels(case.name, next(labels), image)
            label = raw.with_array(table[raw.array])
        yield case.name, image, label
        volumes.forget(case)
