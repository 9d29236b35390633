"""`python held_training.py FILE STEP [-P] -m MODULE ...`: MODULE, whose training rests until it is told something.

Before its step number STEP it waits for a signal to this process, as long as FILE exists: so a test can
stop or kill it there, however fast or slow the machine is.
"""

from __future__ import annotations

import itertools
import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any


def hold(file: Path, step: int) -> None:
    """Let every source_only training of this process rest before a step."""
    from napari_uda.methods.registry import METHODS

    method, taken = METHODS["source_only"], itertools.count(1)
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell)  # also of a signal that came before the step
    take = method.step

    def held(self: Any, *arguments: Any) -> Any:
        if next(taken) == step and file.exists():
            os.read(told, 1)
        return take(self, *arguments)

    method.step = held  # type: ignore[method-assign]


def main() -> None:
    file, step, *given = sys.argv[1:]
    module, *arguments = given[given.index("-m") + 1 :]
    if module.partition(".")[0] == "napari_uda":
        hold(Path(file), int(step))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
