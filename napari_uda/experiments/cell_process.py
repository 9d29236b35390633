"""One cell as a process of its own: `python -m napari_uda.experiments.cell_process JOB.json`.

Started by executors. It prints nothing but what libraries print: result and failure are files.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from napari_uda.core.errors import Cancelled


def main(file: str) -> int:
    """Run the cell; 0 when it is finished, 1 when it failed, 130 when it was asked to stop and saved."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):  # before the imports, which take seconds
        signal.signal(number, lambda *_: stop.set())
    from napari_uda.experiments.cells import run_cell
    from napari_uda.experiments.store import read_job

    store, cell = read_job(Path(file))
    try:
        run_cell(store, cell, stop=stop)
    except Cancelled:
        return 130
    except Exception:  # noqa: BLE001 - run_cell has noted it in the cell's folder
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
