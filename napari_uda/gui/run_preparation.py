"""What happens between Start and the first step: checks, and layers written as a data folder.

Everything here runs in a worker thread and touches no widget.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_uda.data.folder import DataFolder
from napari_uda.errors import InputError
from napari_uda.gui.domain_chooser import LayerDomain
from napari_uda.gui.layer_folder import write_folder
from napari_uda.gui.method_picker import MethodEntry, read_methods
from napari_uda.gui.preset_picker import Preset, read_presets
from napari_uda.gui.worker import Report, load_torch

if TYPE_CHECKING:
    from napari_uda.run_config import RunConfig


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


@dataclass(frozen=True)
class RunPlan:
    """What is to be started.

    Attributes:
        run_dir: the new run folder.
        config: its settings; the paths of domains given as layers are still missing.
        domains: source and target, as far as the method trains on them.
        labelled: the domain whose labels are read.
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


def prepare(plan: RunPlan, report: Report, stop: threading.Event) -> RunConfig:
    """Check the plan and write its layers.

    Returns:
        The settings with every path.

    Raises:
        InputError: for what cannot be trained.
    """
    from napari_uda.runs import Run

    Run.check_new(plan.run_dir)
    check_network(plan.config)
    for domain in plan.domains.values():
        if isinstance(domain, Path):
            DataFolder.open(domain)
    layers = {name: d for name, d in plan.domains.items() if isinstance(d, LayerDomain)}
    if not layers:
        return plan.config
    if plan.layer_folder.exists() and not plan.may_replace:
        raise InputError(f"{plan.layer_folder} exists already; choose another run folder")
    written = write_folder(plan.layer_folder, layers)
    return plan.config.model_copy(update={"data": plan.config.data.model_copy(update=written)})


def check_network(config: RunConfig) -> None:
    """Refuse a network that does not exist or does not fit the size of the slices.

    Raises:
        InputError: saying which.
    """
    import torch

    from napari_uda.networks.segmentor import build_segmentor

    with torch.device("meta"):  # no memory and no time for weights
        network = build_segmentor(config.segmentor, config.data.neighbours, 2, pretrained=False)
    if config.init is None and config.data.size % network.stride:
        raise InputError(
            f"slices of {config.data.size} pixels do not fit this network; choose a data.size that "
            f"is a multiple of {network.stride}"
        )
