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
from typing import TYPE_CHECKING

from napari_uda.cli.arguments import take_flag, take_option
from napari_uda.cli.output import answer, asks_for_help
from napari_uda.cli.terminal import step_bar, stop_on_signal, unbreakable
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
        _check_rates_only(rest)
        with _process_group() as leader:
            if leader:
                _change(Run.open(resume), rest, skip=skip, force=force)
            _wait_for_all()
            drive(Run.open(resume), force=force)
            _answer(Run.open(resume))
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
        sys.exit(0 if asks_for_help(rest) else 2)
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
            drive(Run.open(run_dir))
            _answer(Run.open(run_dir))


def _answer(run: Run) -> None:
    steps, seconds = run.config.steps, run.seconds()
    answer(str(run.path), run=run.path, method=run.config.method.name, steps=steps, seconds=seconds)


def _overview() -> str:
    from napari_uda.api import list_methods
    from napari_uda.run.recipes import list_recipes

    methods = ", ".join(entry["name"] for entry in list_methods())
    return (
        "usage: napari-uda train METHOD --data.source DIR --data.target DIR --run-dir RUN "
        "[--recipe NAME|FILE[,...]] [options]\n       napari-uda train --resume RUN "
        "[--skip-step] [--force] [--method.segmentor-optimizer.lr NUMBER]\n\n"
        f"methods: {methods}\nrecipes: {', '.join(list_recipes())}\n"
        "napari-uda train METHOD --help lists the options, napari-uda methods and napari-uda recipes tell more"
    )


def _change(run: Run, options: list[str], *, skip: bool, force: bool) -> None:
    """Change in a run what may be changed before it goes on: learning rates, and a step that is left out.

    Raises:
        InputError: for a rate that does not fit, when another process trains the run, or without such a step.
    """
    from napari_uda.core.setting_paths import by_path
    from napari_uda.run.status import refuse_second_trainer

    if not options and not skip:
        return
    config = _parse_settings(run.config, options) if options else run.config
    before, after = by_path(run.config), by_path(config)
    changes = {path: value for path, value in after.items() if value != before.get(path)}
    refuse_second_trainer(run, force=force)
    if skip:
        run.skip_failed_step()
    if changes:
        run.write_config(config)
        run.event("changed", settings=changes)


def _check_rates_only(options: list[str]) -> None:
    """Refuse options that would change anything but learning rates, with their values."""
    strange: list[str] = []
    is_strange = True
    for word in options:
        if re.match(r"--?[a-zA-Z]", word):  # -1 is a value
            name = word.partition("=")[0]
            is_strange = not name.endswith(".lr") and not asks_for_help([name])
        if is_strange:
            strange.append(word)
    if strange:
        raise InputError(
            "--resume goes on with the run's own settings, learning rates excepted; leave "
            f"{' '.join(strange)} out"
        )


def _option(path: str) -> str:
    """How a setting is called on the command line."""
    return f"--{path.replace('_', '-')}"


def _parse_settings(default: RunConfig, rest: list[str]) -> RunConfig:
    from napari_uda.run.config import RunConfig

    name = default.method.name
    description = (
        f"{RunConfig.__doc__}\n\n--run-dir RUN, a new folder, must be given; --recipe NAME|FILE[,...] "
        "starts from presets, and their values are the defaults shown here."
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


def drive(run: Run, title: str = "", *, force: bool = False) -> None:
    """Train with a progress bar; the first interrupt saves and stops.

    Args:
        run: a created run, or one that was stopped.
        title: what stands before the bar; the name of the method when left out.
        force: whether to begin although another machine seems to train the run.

    Raises:
        FloatingPointError: when a loss is not finite; says how to get past it.
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
        try:
            for progress in api.iterate(run, stop=stop, force=force):
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

    rates = {path: value for path, value in by_path(run.config).items() if path.endswith(".lr")}
    resume = f"napari-uda train --resume {shlex.quote(str(run.path))}"
    ways = [f"{resume} {_option(path)} {value / 10:g}" for path, value in rates.items()][:1]
    return "the last checkpoint is kept, go on with: " + " or: ".join(
        [*ways, f"{resume} --skip-step"]
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
