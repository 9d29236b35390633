"""The command line: `napari-uda COMMAND ...`, also as `python -m napari_uda`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from napari_uda.core.interrupts import sigterm_as_interrupt

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code; from here on SIGTERM means the same as Ctrl-C.

    Args:
        arguments: the words of the command; None takes those of the process, which ends with the command.
    """
    with sigterm_as_interrupt(process_ends=arguments is None):
        try:
            from napari_uda.cli.dispatch import main as run

            run(arguments)
        except KeyboardInterrupt:  # while the commands are imported
            sys.stderr.write("napari-uda: interrupted before the work was done\n")
            sys.exit(130)
