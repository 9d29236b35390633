"""What happens between Start and the first step: checks, and layers written as a data folder.

Everything here runs in a worker thread and touches no widget.
"""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image, Labels

from napari_uda.core.errors import Cancelled, InputError
from napari_uda.core.files import temporary_path, written_as
from napari_uda.data.check import (
    DomainReport,
    check_folder,
    check_volume,
    is_same_folder,
    with_comparison,
)
from napari_uda.data.folder import DataFolder, write_dataset_json
from napari_uda.data.volume import Placement, Volume, write_volume
from napari_uda.gui.kit.geometry import labels_volume, layer_volume
from napari_uda.gui.kit.jobs import Report, load_torch
from napari_uda.gui.kit.layers import structure_names
from napari_uda.gui.train.method_picker import MethodEntry, read_methods
from napari_uda.gui.train.settings_panel import Preset, read_presets
from napari_uda.inference.fit import Fit, Verdict, judge_image, judge_several
from napari_uda.run.continuation import settings_of_start
from napari_uda.run.history import duration

if TYPE_CHECKING:
    from napari_uda.run.config import RunConfig

_MOST_JUDGED = 12  # of a domain: each is read once more


@dataclass(frozen=True)
class Catalogue:
    """What the form offers, read once.

    Attributes:
        methods: every method.
        presets: every shipped recipe.
        has_gpu: whether torch finds a GPU.
    """

    methods: list[MethodEntry]
    presets: list[Preset]
    has_gpu: bool


def read_catalogue() -> Catalogue:
    """Methods and presets. Slow at first: loads torch."""
    load_torch()
    import torch

    return Catalogue(read_methods(), read_presets(), torch.cuda.is_available())


@dataclass(frozen=True, eq=False)
class LayerDomain:
    """A domain of one case: an image layer and, for a labelled domain, its labels layer."""

    image: Image
    labels: Labels | None
    modality: str


@dataclass(frozen=True)
class RunPlan:
    """What is to be started.

    Attributes:
        run_dir: the new run folder.
        config: its settings; the paths of domains given as layers are still missing.
        domains: source and target, as far as the method trains on them, and corrected cases if there are any.
        labelled: the domain whose labels are read, "" for none.
        may_replace: whether the folder of written layers is one that this form wrote before.
    """

    run_dir: Path
    config: RunConfig
    domains: dict[str, Path | LayerDomain]
    labelled: str
    may_replace: bool = False

    @property
    def layer_folder(self) -> Path:
        """Where layers are written: beside the run folder, for the run is made later."""
        return self.run_dir.with_name(f"{self.run_dir.name}_data")


@dataclass(frozen=True, eq=False)
class Checked:
    """What the check found.

    Attributes:
        reports: by domain.
        signature: names, sizes and times of all files that were read; None when there are layers,
            which change without a trace.
    """

    reports: dict[str, DomainReport]
    signature: object | None

    @property
    def is_fatal(self) -> bool:
        """Whether training would refuse a domain."""
        return any(report.is_fatal for report in self.reports.values())


@dataclass(frozen=True)
class StartFit:
    """Whether the run that training starts from fits the images.

    Attributes:
        run: name of the run.
        fit: the gravest verdict, and reasons by case.
        verdicts: of each image that was looked at.
    """

    run: str
    fit: Fit
    verdicts: tuple[Verdict, ...]

    @property
    def words(self) -> str:
        """What was found, without the reasons."""
        count = len(self.verdicts)
        images = "the image" if count == 1 else f"{count} images looked at"
        if self.fit.verdict == "fits":
            return f"{self.run} fits {'the image' if count == 1 else f'all {images}'}"
        odd = [one for one in self.verdicts if one == self.fit.verdict]
        share = images if count == 1 else f"{len(odd)} of {images}"
        said = {"does not fit": "does not fit", "doubtful": "is doubtful for"}
        verb = said.get(self.fit.verdict, "could not be judged for")
        return f"{self.run}, as it is before training, {verb} {share}"


@dataclass(frozen=True, eq=False)
class Prepared:
    """What preparation found; `config` has every path, and is None when a report is fatal."""

    checked: Checked
    config: RunConfig | None


def check_domains(
    domains: Mapping[str, Path | LayerDomain],
    labelled: str,
    names: Mapping[str, int],
    report: Report,
    stop: threading.Event,
    known: Checked | None = None,
    series: str = "",
    placement: Placement = "auto",
) -> Checked:
    """Check every domain.

    Args:
        domains: name to data folder or layers.
        labelled: the domain whose labels training reads, "" for none.
        names: structures that the settings name; empty for none.
        report: progress, in cases of one domain.
        stop: ends the check.
        known: an earlier check, which holds as long as no file has changed.
        series: which DICOM volumes are read where a patient has several.
        placement: which of sform and qform is trusted where a NIfTI file has both.

    Raises:
        Cancelled: if `stop` was set.
        InputError: if a layer cannot be a volume.
    """
    signature = _signature(domains, labelled, names, (series, placement))
    if known is not None and signature is not None and signature == known.signature:
        return known
    found = {}
    for name, domain in domains.items():
        if isinstance(domain, Path):
            found[name] = check_folder(
                domain,
                labelled=name in (labelled, "corrected"),
                names=names,
                series=series,
                placement=placement,
                on_progress=report,
                stop=stop,
            )
        else:
            image, labels = domain_volumes(domain)
            used = dict(names)
            if domain.labels is not None and labels is not None and not used:
                used = domain_names(domain.labels, np.unique(labels.array))
            found[name] = check_volume(image, labels, names=used, modality=domain.modality)
    source, target = domains.get("source"), domains.get("target")
    is_same = (
        isinstance(source, Path) and isinstance(target, Path) and is_same_folder(source, target)
    )
    if isinstance(source, LayerDomain) and isinstance(target, LayerDomain):
        is_same = source.image is target.image
    found = with_comparison(found, is_same=is_same)
    return Checked(found, signature)


def judge_start(
    init: Path,
    domain: Path | LayerDomain,
    stop: threading.Event,
    series: str = "",
    placement: Placement = "auto",
) -> StartFit:
    """Whether the run that training starts from fits images as it is; of many, some are looked at.

    Raises:
        Cancelled: if `stop` was set.
        InputError: if the folder is no run, or an image cannot be read.
    """
    from napari_uda.run.run import Run

    facts = Run.open(init).facts
    fits = {}
    if isinstance(domain, LayerDomain):
        image, _ = domain_volumes(domain)
        fits[image.name] = judge_image(facts, image)
    else:
        cases = DataFolder.open(domain, series=series, placement=placement).cases
        for case in cases[:: -(-len(cases) // _MOST_JUDGED)]:
            if stop.is_set():
                raise Cancelled
            fits[case.name] = judge_image(facts, case.read_image())
    return StartFit(init.name, judge_several(fits), tuple(fit.verdict for fit in fits.values()))


def _signature(
    domains: Mapping[str, Path | LayerDomain],
    labelled: str,
    names: Mapping[str, int],
    choices: tuple[str, Placement],
) -> object | None:
    files = []
    for domain in domains.values():
        if isinstance(domain, LayerDomain):
            return None
        try:
            cases = DataFolder.open(domain, series=choices[0]).cases
            paths = [path for case in cases for path in (case.image, case.label) if path]
            paths += [path for path in (domain / "dataset.json",) if path.exists()]
            files += [(path, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
        except (InputError, OSError):  # the check will say what it is
            return None
    return dict(domains), labelled, dict(names), choices, files


def prepare(
    plan: RunPlan, report: Report, stop: threading.Event, known: Checked | None = None
) -> Prepared:
    """Check settings and data and, when training would take them, write the layers.

    Args:
        plan: what is to be started.
        report: progress, in cases of one domain.
        stop: ends the check.
        known: see `check_domains`.

    Raises:
        InputError: for settings that cannot be trained, or layers that cannot be written.
        Cancelled: if `stop` was set.
    """
    from napari_uda.run.run import Run
    from napari_uda.training.checks import check_held_out, check_network

    Run.check_new(plan.run_dir)
    layers = {name: d for name, d in plan.domains.items() if isinstance(d, LayerDomain)}
    if layers and plan.layer_folder.exists() and not plan.may_replace:
        raise InputError(f"{plan.layer_folder} exists already; choose another run folder")
    check_network(plan.config)
    if plan.config.init is not None:
        settings_of_start(plan.config.init)
    data = plan.config.data
    checked = check_domains(
        *(plan.domains, plan.labelled, data.labels, report, stop, known),
        series=data.series,
        placement=data.placement,
    )
    if checked.is_fatal:
        return Prepared(checked, None)
    labelled = checked.reports.get(plan.labelled)
    cases = [] if labelled is None else labelled.cases
    check_held_out(plan.config, [case.name for case in cases if case.voxels is not None])
    written = write_folder(plan.layer_folder, layers, stop) if layers else {}
    changed = data.model_copy(update=written)
    return Prepared(checked, plan.config.model_copy(update={"data": changed}))


def estimate_time(
    config: RunConfig,
    domains: Mapping[str, Path | LayerDomain],
    labelled: str,
    stop: threading.Event,
) -> str:
    """How long training would take on this machine, in a sentence.

    Args:
        config: settings of the run.
        domains: name to data folder or layers; only the names of structures are read.
        labelled: the domain whose labels training reads, "" for none.
        stop: ends the measurement.

    Raises:
        InputError: for settings that cannot be trained.
        Cancelled: if `stop` was set.
    """
    load_torch()
    from napari_uda.training.estimate import estimate

    found = estimate(config, _structures(config, domains.get(labelled)), stop=stop)
    each = f"{found.step_seconds:.2g} s a step on {found.device}"
    return f"About {duration(found.seconds)} for {found.steps} steps ({each}), besides reading the data."


def _structures(config: RunConfig, domain: Path | LayerDomain | None) -> dict[str, int]:
    """Those that the settings name, the labels show, or the run to start from knows."""
    from napari_uda.run.run import Run

    if config.data.labels:
        return dict(config.data.labels)
    if isinstance(domain, Path):
        return dict(DataFolder.open(domain).labels)
    if domain is not None and domain.labels is not None:
        return domain_names(domain.labels, np.unique(np.asarray(domain.labels.data)))
    return {"structure": 1} if config.init is None else Run.open(config.init).labels


# -- layers as a data folder ----------------------------------------------------------------------


def domain_volumes(domain: LayerDomain) -> tuple[Volume, Volume | None]:
    """Image and labels as volumes on their files' grids, the labels as uint8, both under one case name.

    Raises:
        InputError: if a layer is no single volume, or a label value is above 255.
    """
    image = layer_volume(domain.image)
    case = re.sub(r"[^\w.-]+", "_", image.name).strip("._") or "case"
    image = Volume(image.array, image.affine, case)
    if domain.labels is None:
        return image, None
    labels = labels_volume(domain.labels)
    return image, Volume(labels.array, labels.affine, case)


def domain_names(layer: Labels, values: np.ndarray) -> dict[str, int]:
    """Structure names of a labels layer by name; `label_<value>` for values without one."""
    names = structure_names(layer)
    return {names.get(value, f"label_{value}"): value for value in map(int, values) if value}


def write_folder(
    folder: Path, domains: Mapping[str, LayerDomain], stop: threading.Event
) -> dict[str, Path]:
    """Write each domain into `folder/<domain>` as a data folder: all of them or nothing.

    Args:
        folder: a folder of its own; what it held is replaced.
        domains: name (source, target) to its layers.
        stop: when set, nothing is written.

    Returns:
        The data folder of each domain.

    Raises:
        Cancelled: if `stop` was set.
        InputError: see `domain_volumes`; or the folder cannot be written.
    """
    aside = temporary_path(folder.parent)  # in the same file system
    with written_as(folder.name, folder.parent):
        try:
            for name, domain in domains.items():
                image, labels = domain_volumes(domain)
                write_volume(aside / name / "images" / f"{image.name}.nii.gz", image)
                structures: dict[str, int] = {}
                if labels is not None and domain.labels is not None:
                    write_volume(aside / name / "labels" / f"{image.name}.nii.gz", labels)
                    structures = domain_names(domain.labels, np.unique(labels.array))
                write_dataset_json(aside / name, structures, domain.modality)
            if stop.is_set():
                raise Cancelled
            shutil.rmtree(folder, ignore_errors=True)
            aside.replace(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return {name: folder / name for name in domains}
