"""The Python interface: train a method; methods are listed by `methods.listing`, recipes by `run.recipes`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from napari_uda.core.config import merged
from napari_uda.core.errors import InputError
from napari_uda.core.notebook import shown_progress
from napari_uda.methods.listing import list_methods
from napari_uda.run.recipes import build_config, list_recipes
from napari_uda.run.run import Run

if TYPE_CHECKING:
    import threading

    from napari_uda.run.config import RunConfig
    from napari_uda.training.loop import Progress

__all__ = ["build_config", "iterate", "list_methods", "list_recipes", "new_run", "train"]


def train(
    method: str,
    /,
    *,
    source: str | os.PathLike[str] | None = None,
    target: str | os.PathLike[str] | None = None,
    corrected: str | os.PathLike[str] | None = None,
    run_dir: str | os.PathLike[str],
    recipe: str | os.PathLike[str] | None = None,
    stop: threading.Event | None = None,
    strict: bool = False,
    **settings: Any,
) -> Run:
    """Train a method and return its run; a notebook shows a bar meanwhile.

    Args:
        method: method name.
        source: labelled data folder.
        target: data folder of the target domain.
        corrected: data folder of target cases with labels that were corrected; the supervised loss learns from
            them too, and they are left out of every score.
        run_dir: new folder for the run.
        recipe: presets or YAML files, as for `build_config`.
        stop: when set, training saves and returns after the current step.
        strict: refuse to begin if the check of the data finds anything; otherwise it is logged as a warning.
        settings: anything of `RunConfig`: `steps=500, seed=1, data={"size": 128}`.

    Raises:
        InputError: for data or settings that cannot be used.
    """
    config = build_config(method, recipe=recipe, **_with_data(settings, source, target, corrected))
    with new_run(run_dir, config) as run:
        title = f"train {config.method.name}"
        with shown_progress(title, "step", None, stays=True) as report:
            for progress in iterate(run, stop=stop, strict=strict):
                if report is not None:
                    report(progress.step, progress.total)
    return run


@contextmanager
def new_run(run_dir: str | os.PathLike[str], config: RunConfig) -> Iterator[Run]:
    """Make a run folder that is taken back when bad input keeps training from its first step."""
    run = Run.create(run_dir, config)
    try:
        yield run
    except InputError:
        run.take_back()
        raise


def iterate(
    run: Run,
    *,
    stop: threading.Event | None = None,
    force: bool = False,
    strict: bool = False,
    say: Callable[[str], None] | None = None,
) -> Iterator[Progress]:
    """Train a created run, or go on with a stopped one, step by step.

    Args:
        run: the run.
        stop: as for `train`.
        force: as for `--force`.
        strict: as for `train`.
        say: is told in a sentence what was found on each side, before the first step.
    """
    from napari_uda.training.loop import train_run

    findings: Literal["refuse", "warn"] = "refuse" if strict else "warn"
    return train_run(run, stop=stop, force=force, findings=findings, say=say)


def _with_data(
    settings: dict[str, Any],
    source: str | os.PathLike[str] | None,
    target: str | os.PathLike[str] | None,
    corrected: str | os.PathLike[str] | None,
) -> dict[str, Any]:
    folders = {"source": source, "target": target, "corrected": corrected}
    data = {side: os.fspath(path) for side, path in folders.items() if path is not None}
    return merged({"data": data}, settings)
