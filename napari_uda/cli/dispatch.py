"""From the words of a command line to its command, and from its end to an exit code.

Exit codes: 0 done, 1 internal error, 2 bad input or usage (a loss that is not finite and too little memory
among it), 130 interrupted. The commands are imported
when one is asked for, and they import torch when they run: `--help` answers at once.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from napari_uda.cli.output import (
    COMMON_OPTIONS,
    answer,
    asks_for_help,
    speaking,
    take_manner,
)
from napari_uda.cli.terminal import complain
from napari_uda.core.errors import REFUSALS, Cancelled, InputError, ran_out_of_memory, sentence
from napari_uda.core.interrupts import interrupt_came
from napari_uda.core.openmp import let_idle_threads_sleep
from napari_uda.core.suggestions import what_to_choose

_TRAINING = ("train", "benchmark", "demo")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    manner, given = take_manner(list(sys.argv[1:] if arguments is None else arguments))
    _open_what_is_closed()
    try:
        with speaking(manner):
            code = _run(given)
            if code is not None:
                sys.exit(code)
        sys.stdout.flush()  # here, and not when Python ends, a reader that has gone is noticed
    except BrokenPipeError:  # `napari-uda methods | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:  # the answer is the last thing that is written
        if error.errno not in REFUSALS:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        complain(f"the answer cannot be written: {sentence(error)}")
        sys.exit(2)


def _open_what_is_closed() -> None:
    """Python has no stdout and no stderr where the shell has closed them (`>&-`); nobody reads them then."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):  # a terminal that has no ± is no reason to fail
            stream.reconfigure(errors="backslashreplace")


def _run(given: list[str]) -> int | None:
    """Run one command; the exit code where it could not do its work."""
    try:
        _interruptible(given)
    except (InputError, FloatingPointError) as error:
        return _refused(str(error))
    except (OSError, RuntimeError, MemoryError) as error:
        known = isinstance(error, OSError) and error.errno in REFUSALS
        if not known and not ran_out_of_memory(error):
            raise
        return _refused(sentence(error))
    except (KeyboardInterrupt, Cancelled) as interrupt:
        return _refused(str(interrupt) or "interrupted before the work was done", 130)
    return None


def _refused(why: str, code: int = 2) -> int:
    answer(error=why)
    complain(why)
    return code


def _interruptible(given: list[str]) -> None:
    """Do it; an interrupt that a library has made another error of, as imports do, is one again."""
    try:
        _dispatch(given)
    except Exception as error:
        if interrupt_came() and not isinstance(error, Cancelled):
            raise KeyboardInterrupt from error
        raise


def _dispatch(given: list[str]) -> None:
    if given[:1] == ["--version"]:
        from napari_uda.core.version import __version__

        answer(__version__, version=__version__)
        return
    if given[:1] == ["--completion"]:
        from napari_uda.cli.completion import completion_script

        script = completion_script(given[1:])
        answer(script, completion=script)
        return
    from napari_uda.cli.commands import COMMANDS

    if not given or asks_for_help(given[:1]):
        print(_overview())
        return
    name, rest = given[0], given[1:]
    if name in _TRAINING and "torch" not in sys.modules:  # torch reads the variable once
        let_idle_threads_sleep(os.environ)
    if name not in ("train", *COMMANDS):
        raise InputError(f"unknown command {name!r}; {what_to_choose(name, ('train', *COMMANDS))}")
    try:
        if name == "train":
            from napari_uda.cli.train import train

            train(rest)
        elif name == "adapt":  # as for train, the method says what options there are
            COMMANDS[name](rest)
        else:
            from napari_uda.cli.usage import parse_call

            parse_call(COMMANDS[name], rest, f"napari-uda {name}")()
    except SystemExit as end:
        on_one_page = name == "train" and "--help-all" not in rest
        if not end.code and asks_for_help(rest) and not on_one_page:
            print(COMMON_OPTIONS)
        raise


def _overview() -> str:
    """A line for each command: the first one of its docstring."""
    from napari_uda.cli.commands import COMMANDS

    entries = {"train": "Train an adaptation method, or continue a run with --resume RUN."}
    entries |= {name: (run.__doc__ or "").splitlines()[0] for name, run in COMMANDS.items()}
    return "\n".join(
        [
            "usage: napari-uda COMMAND ... (COMMAND --help tells more)",
            "",
            *(f"  {name:<10} {text}" for name, text in entries.items()),
            "",
            COMMON_OPTIONS,
            "",
            "napari-uda --version; napari-uda --completion bash|zsh prints what makes Tab complete these words",
        ]
    )
