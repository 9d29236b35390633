"""`napari-uda train`: options from the settings tree, one process or several, a bar, a way to stop.

The options come from `RunConfig`, never written twice; only those that say which settings or which folder
are taken out before: `--run-dir`, `--recipe` and `--resume`.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from napari_uda.cli.arguments import take_flag, take_option
from napari_uda.cli.output import answer, asks_for_help, is_verbose
from napari_uda.cli.terminal import note, step_bar, stop_on_signal, unbreakable
from napari_uda.cli.train_help import OWN_OPTIONS, RESUME_OPTIONS, basic_help, kept_page
from napari_uda.cli.usage import parse
from napari_uda.core.errors import InputError

if TYPE_CHECKING:
    from napari_uda.run.config import RunConfig
    from napari_uda.run.run import Run


def train(given: list[str]) -> None:
    """`train METHOD --data.source DIR ... --run-dir RUN` or `train --resume RUN`.

    Raises:
        InputError: for options, data or a run that cannot be used; a new run folder is taken back then.
        FloatingPointError: when a loss is not finite; says how to get past it.
        KeyboardInterrupt: when it was stopped; the run is saved.
    """
    if len(given) == 2 and given[1] in ("-h", "--help"):
        page = kept_page(given[0])
        if page:
            print(page)
            sys.exit(0)
    from napari_uda import api
    from napari_uda.run.recipes import build_config
    from napari_uda.run.run import Run

    resume, rest = take_option(given, "--resume")
    if resume is not None:
        force, rest = take_flag(rest, "--force")
        skip, rest = take_flag(rest, "--skip-step")
        _check_changeable(rest)
        run = Run.open(resume, to_write=True)
        with _process_group() as leader:
            run = _changed(run, rest, skip=skip and leader, force=force)
            _wait_for_all()
            drive(run, force=force)
            _answer(Run.open(resume))
        return
    strict, rest = take_flag(rest, "--strict")
    run_dir, rest = take_option(rest, "--run-dir")
    recipe, rest = take_option(rest, "--recipe")
    rest = _with_short_names(rest)
    method = rest.pop(0) if rest and not rest[0].startswith("-") else ""
    if not method and not recipe:
        print(_overview())
        if not asks_for_help(rest):
            answer(error="no method is given; name one, or a recipe that names one")
            sys.exit(2)
        sys.exit(0)
    default = build_config(method, recipe=recipe)
    if asks_for_help(rest) and "--help-all" not in rest:
        print(basic_help(default))
        sys.exit(0)
    config = _parse_settings(default, rest)
    if run_dir is None:
        raise InputError("no run folder is given; add --run-dir with a new folder")
    with _process_group() as leader:
        Run.check_new(run_dir)
        _wait_for_all()  # every process has looked before the first one makes the folder
        with api.new_run(run_dir, config) if leader else nullcontext():
            _wait_for_all()
            drive(Run.open(run_dir), strict=strict)
            _answer(Run.open(run_dir))


def _with_short_names(given: list[str]) -> list[str]:
    """The options with `--series` and `--placement`, as every command that reads images has them, spelt out."""
    for name in ("series", "placement"):
        value, given = take_option(given, f"--{name}")
        if value is not None:
            given = [*given, f"--data.{name}", value]
    return given


def _answer(run: Run) -> None:
    steps, seconds = run.config.steps, run.seconds()
    answer(str(run.path), run=run.path, method=run.config.method.name, steps=steps, seconds=seconds)


def _overview() -> str:
    from napari_uda.methods.listing import list_methods
    from napari_uda.run.recipes import list_recipes

    methods = ", ".join(entry["name"] for entry in list_methods())
    return (
        "usage: napari-uda train METHOD --data.source DIR --data.target DIR --run-dir RUN "
        "[--recipe NAME|FILE[,...]] [--strict] [options]\n       napari-uda train --resume RUN "
        "[--skip-step] [--force] [--method.segmentor-optimizer.lr NUMBER] [--data.source DIR] "
        "[--data.target DIR] [--data.corrected DIR]\n\n"
        f"methods: {methods}\nrecipes: {', '.join(list_recipes())}\n"
        "napari-uda train METHOD --help lists the options, napari-uda methods and napari-uda recipes tell more"
    )


def _changed(run: Run, options: list[str], *, skip: bool, force: bool) -> Run:
    """The run with what may be changed before it goes on; it is written once the data has turned out to fit.

    Raises:
        InputError: for a value that does not fit, when another process trains the run, or when no step
            failed that could be skipped.
    """
    from dataclasses import replace

    from napari_uda.run.run import with_absolute_paths
    from napari_uda.run.status import refuse_second_trainer

    if not options and not skip:
        return run
    config = _parse_settings(run.config, options) if options else run.config
    refuse_second_trainer(run, force=force)
    if skip:
        run.skip_failed_step()
    return replace(run, config=with_absolute_paths(config))


def _check_changeable(options: list[str]) -> None:
    """Refuse options that would change anything but learning rates and where files lie, with their values."""
    from napari_uda.methods.registry import METHODS

    fields = [
        field for kind in METHODS.values() for field in kind.config_class.model_fields.items()
    ]
    files = [f"method.{name}" for name, field in fields if Path in get_args(field.annotation)]
    places = {_option(f"data.{side}") for side in ("source", "target", "corrected")}
    places |= {_option(name) for name in files}
    strange: list[str] = []
    is_strange = True
    for word in options:
        if re.match(r"--?[a-zA-Z]", word):  # -1 is a value
            name = word.partition("=")[0].replace("_", "-")
            is_known = name.endswith(".lr") or name in places or asks_for_help([name])
            is_strange = not is_known
        if is_strange:
            strange.append(word)
    if strange:
        raise InputError(
            "--resume goes on with the run's own settings, except for learning rates and for where its data "
            f"lies now (--data.source, --data.target, --data.corrected); leave {' '.join(strange)} out"
        )


def _option(path: str) -> str:
    """How a setting is called on the command line."""
    return f"--{path.replace('_', '-')}"


def _parse_settings(default: RunConfig, rest: list[str]) -> RunConfig:
    from napari_uda.run.config import RunConfig

    name = default.method.name
    description = (
        f"{RunConfig.__doc__}\n\n--run-dir RUN, a new folder, must be given; --recipe NAME|FILE[,...] "
        "starts from presets, and their values are the defaults shown here; --strict refuses data in which "
        "anything is odd."
    )
    program = f"napari-uda train {name}"
    config = parse(
        RunConfig,
        rest,
        program,
        more_options=[*(option.partition(" ")[0] for option in OWN_OPTIONS), *RESUME_OPTIONS],
        default=default,
        description=description,
    )
    assert isinstance(config, RunConfig)
    return config


def drive(run: Run, title: str = "", *, force: bool = False, strict: bool = False) -> None:
    """Train with a progress bar; the first interrupt saves and stops.

    Args:
        run: a created run, or one that was stopped.
        title: what stands before the bar; the name of the method when left out.
        force: whether to begin although another machine seems to train the run.
        strict: whether to refuse data in which anything is odd.

    Raises:
        FloatingPointError: when a loss is not finite; says how to get past it.
        KeyboardInterrupt: when it was stopped; says how to go on.
    """
    from napari_uda import api
    from napari_uda.core import distributed

    say = None if is_verbose() else note  # the log has the same sentences
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
        try:
            for progress in api.iterate(run, stop=stop, force=force, strict=strict, say=say):
                stopped = progress.stopped
                bar.update(progress.step - bar.n)
                if progress.scalars:
                    bar.set_postfix(loss=f"{sum(_losses(progress.scalars)):.3f}", refresh=False)
        except FloatingPointError as error:
            raise FloatingPointError(f"{error}; {_past_it(run)}") from error
        if bar.n:
            bar.refresh()  # a file gets the last state of a run that was shorter than its interval
    if stopped:
        raise KeyboardInterrupt(
            f"stopped and saved; continue with: napari-uda train --resume {shlex.quote(str(run.path))}"
        )


def _past_it(run: Run) -> str:
    """How to get past a loss that is not finite: a tenth of the first learning rate, or without the step."""
    from napari_uda.core.setting_paths import by_path
    from napari_uda.run.checkpoint import WEIGHTS

    rates = {path: value for path, value in by_path(run.config).items() if path.endswith(".lr")}
    resume = f"napari-uda train --resume {shlex.quote(str(run.path))}"
    ways = [f"{resume} {_option(path)} {value / 10:g}" for path, value in rates.items()][:1]
    has_one = (run.checkpoints / WEIGHTS).exists()
    kept = "the last checkpoint is kept" if has_one else "no checkpoint was written yet"
    return f"{kept}, go on with: " + " or: ".join([*ways, f"{resume} --skip-step"])


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
