"""`napari-uda adapt`: its options are `AdaptConfig`, with the settings of the method that `--method` names.

The command imports this module when it runs, for the options of a method are known only with torch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from napari_uda.cli.arguments import Paths, Placement, RunFolder, take_option
from napari_uda.cli.terminal import counted, stop_on_signal
from napari_uda.cli.usage import parse_call
from napari_uda.cli.volumes import (
    Report,
    answer_files,
    different_cases,
    open_run,
    volume_by_volume,
)
from napari_uda.training.adapt_config import DEFAULT_METHOD, AdaptConfig, build_adapt_config

if TYPE_CHECKING:
    from napari_uda.data.patients import Case
    from napari_uda.run.run import Run
    from napari_uda.training.adapt import Adaptation

_PROGRAM = "napari-uda adapt"


def parse_adapt(given: list[str]) -> Callable[[], None]:
    """The command with the options of the words, ready to be called.

    Raises:
        InputError: for options that do not fit.
    """
    name, rest = take_option(given, "--method")
    presence, rest = take_option(rest, "--presence")  # its name before all settings had options
    if presence is not None:
        rest += ["--method.presence", presence]
    command = _command(build_adapt_config(name or DEFAULT_METHOD))
    return parse_call(command, rest, _PROGRAM, more_options=["--method"])


def _command(default: AdaptConfig) -> Callable[..., None]:
    """The command, its options with the values of `default`."""

    def adapt(
        run: RunFolder,
        images: Paths,
        out: Path,
        config: Annotated[AdaptConfig, tyro.conf.arg(name="")] = default,
        series: str = "",
        placement: Placement = "auto",
    ) -> None:
        """Adapt a run to volumes and segment them before and after; the run is not changed.

        --method NAME chooses the source-free method, {method} when left out; its settings are the options
        that begin with --method. For each volume it is printed whether the model fits it.

        Args:
            run: run folder of a trained model.
            images: volumes, DICOM folders, or folders of volumes or of patients.
            out: folder for `before/`, `after/` (with files as those of predict) and `<case>_adaptation.json`.
            config: how it is adapted.
            series: which DICOM volumes, where a folder holds several: a series number, or a part of a description.
            placement: which of the two placements in a NIfTI file is trusted where they disagree, sform or qform; auto refuses such a file.
        """
        opened = open_run(run)
        _adapt(opened, different_cases(images, series, placement), out, config)

    adapt.__doc__ = (adapt.__doc__ or "").format(method=DEFAULT_METHOD)
    return adapt


def _adapt(run: Run, cases: list[Case], out: Path, config: AdaptConfig) -> None:
    from napari_uda.training.adapt import adapt

    def work(given: Case | list[Case], stop: threading.Event, report: Report) -> list[Adaptation]:
        volumes = [case.read_image() for case in (given if isinstance(given, list) else [given])]
        return adapt(run, volumes, config, on_progress=report, stop=stop)

    def save(found: list[Adaptation]) -> None:
        for adaptation in found:
            said = f"{adaptation.summary()}\n{adaptation.after.summary()}"
            answer_files(adaptation.save(out), adaptation.report(), said)

    if not config.together:
        volume_by_volume(cases, work, save, "adapt", "adapted to", part="part")
        return
    with stop_on_signal() as stop, counted("part", "adapt") as report:
        found = work(cases, stop, report)
    save(found)
