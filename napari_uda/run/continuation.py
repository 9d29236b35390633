"""Runs that start from the weights of another one, and more training for a run that has had all its steps.

A learning rate that falls to 0 over the steps of a run depends on their number. A larger number written
into the old settings would make it jump up in the middle, and the weights would no longer follow from
(settings, seed). So the old run stays as it is, and a new one with `init` has a schedule of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_uda.core.errors import InputError
from napari_uda.run.run import Run, parse_config

if TYPE_CHECKING:
    from pathlib import Path

    from napari_uda.run.config import RunConfig


def more_steps(run: Run, steps: int) -> RunConfig:
    """Settings of a run that trains `steps` more steps from the weights of `run`.

    Everything is as in `run`, with these exceptions: `init` is `run`; learning rates begin anew at their
    first value and fall over the new steps; stages at the beginning are over and whole networks are taken
    along, as the method says (`Method.when_continued`). The seed is the next one, so that other slices come in another order,
    unless cases are held out: then it stays, for the same ones must be held out. States of optimisers and
    prototypes' momentum are not taken along.

    Raises:
        InputError: if `run` has no weights yet, or `steps` is below 1.
    """
    from napari_uda.methods.registry import method_class  # torch is slow to import
    from napari_uda.run.config import RunConfig

    if steps < 1:
        raise InputError(f"the number of further steps is {steps}; give 1 or more")
    run.weights_file()
    settings: dict[str, Any] = run.config.model_dump(mode="json")
    for name in ("source", "target", "corrected"):
        folder = getattr(run.config.data, name)
        settings["data"][name] = None if folder is None else str(run.data_folder(folder))
    settings |= {"init": str(run.path.absolute()), "steps": steps}
    if not run.config.data.validation_fraction:
        settings["seed"] += 1
    settings["method"] |= method_class(run.config.method.name).when_continued
    return parse_config(settings, RunConfig, f"settings of {run.path}")


def folder_for_more(path: Path) -> Path:
    """A new folder beside a run: `<name>_more`, `<name>_more2`, ..."""
    stem = path.name.rpartition("_more")[0] if _is_continued(path.name) else path.name
    number, folder = 2, path.with_name(f"{stem}_more")
    while folder.exists():
        folder, number = path.with_name(f"{stem}_more{number}"), number + 1
    return folder


def settings_of_start(folder: Path) -> dict[str, Any]:
    """The settings that a run takes over from the one it starts from, nested.

    Raises:
        InputError: if the folder is no trained run.
    """
    run = Run.open(folder)
    run.weights_file()
    data = run.config.data
    return {
        "segmentor": run.config.segmentor,
        "data": {"size": data.size, "neighbours": data.neighbours},
    }


def _is_continued(name: str) -> bool:
    stem, found, number = name.rpartition("_more")
    return bool(stem and found and (not number or number.isdecimal()))
