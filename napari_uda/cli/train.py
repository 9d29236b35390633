"""`napari-uda train`: options from the settings tree, one process or several, a bar, a way to stop.

The options come from `RunConfig`, never written twice; only those that say which settings or which folder
are taken out before: `--run-dir`, `--recipe` and `--resume`.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from napari_uda.cli.arguments import take_option
from napari_uda.cli.terminal import step_bar, stop_on_signal, unbreakable
from napari_uda.cli.usage import parse
from napari_uda.core.errors import InputError

if TYPE_CHECKING:
    from napari_uda.run.config import RunConfig
    from napari_uda.run.run import Run


def train(given: list[str]) -> None:
    """`train METHOD --data.source DIR ... --run-dir RUN` or `train --resume RUN`.

    Raises:
        InputError: for options, data or a run that cannot be used; a new run folder is taken back then.
        KeyboardInterrupt: when it was stopped; the run is saved.
    """
    from napari_uda import api
    from napari_uda.run.recipes import build_config
    from napari_uda.run.run import Run

    resume, rest = take_option(given, "--resume")
    if resume is not None:
        if rest:
            raise InputError(
                f"--resume goes on with the run's own settings; leave {' '.join(rest)} out"
            )
        with _process_group():
            drive(Run.open(resume))
        return
    run_dir, rest = take_option(rest, "--run-dir")
    recipe, rest = take_option(rest, "--recipe")
    series, rest = take_option(rest, "--series")  # as every command that reads images has it
    if series is not None:
        rest += ["--data.series", series]
    placement, rest = take_option(rest, "--placement")  # as every command that reads images has it
    if placement is not None:
        rest += ["--data.placement", placement]
    method = rest.pop(0) if rest and not rest[0].startswith("-") else ""
    if not method and not recipe:
        print(_overview())
        sys.exit(0 if {"-h", "--help"} & set(rest) else 2)
    default = build_config(method, recipe=recipe)
    config = _parse_settings(default, rest)
    if run_dir is None:
        raise InputError("no run folder is given; add --run-dir with a new folder")
    with _process_group() as leader:
        Run.check_new(run_dir)
        _wait_for_all()  # every process has looked before the first one makes the folder
        with api.new_run(run_dir, config) if leader else nullcontext():
            _wait_for_all()
            drive(Run.open(run_dir))


def _overview() -> str:
    from napari_uda.api import list_methods
    from napari_uda.run.recipes import list_recipes

    methods = ", ".join(entry["name"] for entry in list_methods())
    return (
        "usage: napari-uda train METHOD --data.source DIR --data.target DIR --run-dir RUN "
        "[--recipe NAME|FILE[,...]] [options]\n       napari-uda train --resume RUN\n\n"
        f"methods: {methods}\nrecipes: {', '.join(list_recipes())}\n"
        "napari-uda train METHOD --help lists the options"
    )


def _parse_settings(default: RunConfig, rest: list[str]) -> RunConfig:
    from napari_uda.run.config import RunConfig

    name = default.method.name
    description = (
        f"{RunConfig.__doc__}\n\n--run-dir RUN, a new folder, must be given; --recipe NAME|FILE[,...] "
        "starts from presets, and their values are the defaults shown here."
    )
    program = f"napari-uda train {name}"
    config = parse(RunConfig, rest, program, default=default, description=description)
    assert isinstance(config, RunConfig)
    return config


def drive(run: Run, title: str = "") -> None:
    """Train with a progress bar; the first interrupt saves and stops.

    Args:
        run: a created run, or one that was stopped.
        title: what stands before the bar; the name of the method when left out.

    Raises:
        KeyboardInterrupt: when it was stopped; says how to go on.
    """
    from napari_uda import api
    from napari_uda.core import distributed

    with (
        stop_on_signal() as stop,
        step_bar(
            title=title or run.config.method.name,
            total=run.config.steps,
            file=unbreakable(sys.stderr),
            disable=distributed.rank() != 0,
        ) as bar,
    ):
        stopped = False
        for progress in api.iterate(run, stop=stop):
            stopped = progress.stopped
            bar.update(progress.step - bar.n)
            if progress.scalars:
                bar.set_postfix(loss=f"{sum(_losses(progress.scalars)):.3f}", refresh=False)
        if bar.n:
            bar.refresh()  # a file gets the last state of a run that was shorter than its interval
    if stopped:
        raise KeyboardInterrupt(
            f"stopped and saved; continue with: napari-uda train --resume {shlex.quote(str(run.path))}"
        )


def _losses(scalars: Mapping[str, float]) -> list[float]:
    """The segmentor's loss terms among what a method logs."""
    return [
        value
        for name, value in scalars.items()
        if not name.startswith("discriminator") and not name.endswith(("_share", "_dice"))
    ]


@contextmanager
def _process_group() -> Iterator[bool]:
    """Join the other processes when started by torchrun; yields whether this is the first one."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield True
        return
    import torch
    import torch.distributed as dist

    if dist.is_initialized():  # by a script that trains several runs
        yield dist.get_rank() == 0
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        dist.init_process_group("cpu:gloo,cuda:nccl")
    else:
        dist.init_process_group("gloo")
    try:
        yield dist.get_rank() == 0
        dist.barrier()  # gloo aborts when one process leaves while another still talks
    finally:
        dist.destroy_process_group()


def _wait_for_all() -> None:
    from napari_uda.core import distributed

    if distributed.is_distributed():
        import torch.distributed as dist

        dist.barrier()
