"""From the words of a command line to its command, and from its end to an exit code.

Exit codes: 0 done, 1 internal error, 2 bad input or usage (a loss that is not finite and too little memory
among it), 130 interrupted. The commands are imported
when one is asked for, and they import torch when they run: `--help` answers at once.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

from napari_uda.cli.terminal import complain
from napari_uda.core.errors import REFUSALS, Cancelled, InputError, ran_out_of_memory, sentence
from napari_uda.core.interrupts import interrupt_came
from napari_uda.core.openmp import let_idle_threads_sleep

_TRAINING = ("train", "benchmark", "demo")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        _interruptible(given)
    except InputError as error:
        complain(str(error))
        sys.exit(2)
    except FloatingPointError as error:
        complain(str(error))
        sys.exit(2)
    except BrokenPipeError:  # `napari-uda methods | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (OSError, RuntimeError, MemoryError) as error:
        known = isinstance(error, OSError) and error.errno in REFUSALS
        if not known and not ran_out_of_memory(error):
            raise
        complain(sentence(error))
        sys.exit(2)
    except (KeyboardInterrupt, Cancelled) as interrupt:
        complain(str(interrupt) or "interrupted before the work was done")
        sys.exit(130)


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

        print(__version__)
        return
    from napari_uda.cli.commands import COMMANDS

    if not given or given[0] in ("-h", "--help"):
        print(_overview())
        return
    name, rest = given[0], given[1:]
    if name in _TRAINING and "torch" not in sys.modules:  # torch reads the variable once
        let_idle_threads_sleep(os.environ)
    if name == "train":
        from napari_uda.cli.train import train

        train(rest)
    elif name == "adapt":  # as for train, the method says what options there are
        COMMANDS[name](rest)
    elif name in COMMANDS:
        from napari_uda.cli.usage import parse_call

        parse_call(COMMANDS[name], rest, f"napari-uda {name}")()
    else:
        known = ", ".join(("train", *COMMANDS))
        raise InputError(f"unknown command {name!r}; choose one of {known}")


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
        ]
    )
