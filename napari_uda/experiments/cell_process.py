"""One cell as a process of its own: `python -m napari_uda.experiments.cell_process JOB.json [--needs-gpu]`.

Started by executors. It prints nothing but what libraries print: result and failure are files.
"""

from __future__ import annotations

import platform
import signal
import sys
import threading
from pathlib import Path

from napari_uda.core.errors import Cancelled, InputError

NEEDS_GPU = "--needs-gpu"
"""Says that the job was given a GPU: without it the cell would train on the processor for days, unnoticed."""


def main(file: str, *options: str) -> int:
    """Run the cell; 0 when it is finished, 1 when it failed, 130 when it was asked to stop and saved."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):  # before the imports, which take seconds
        signal.signal(number, lambda *_: stop.set())
    from napari_uda.experiments.cells import run_cell
    from napari_uda.experiments.store import note_failure, read_job

    store, cell = read_job(Path(file))
    device = cell.config.device
    if device.startswith("cuda") or (NEEDS_GPU in options and device == "auto"):
        import torch

        if not torch.cuda.is_available():
            note_failure(
                store,
                cell.key,
                InputError(
                    f"the cell asked for a GPU and PyTorch sees none on {platform.node()}; on a cluster ask for one "
                    "by --slurm gpus_per_node=1, and see that the PyTorch there is a CUDA build"
                ),
            )
            return 1
    try:
        run_cell(store, cell, stop=stop)
    except Cancelled:
        return 130
    except Exception:  # noqa: BLE001 - run_cell has noted it in the cell's folder
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
