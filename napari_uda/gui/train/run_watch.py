"""RunWatch: looks at a run folder in a thread, twice a second, and hands over what is new.

The thread is a plain daemon, no worker of napari: napari waits for its workers when it closes, and a folder on
a lost network mount can keep a read waiting for minutes. It hands its findings over in a queue that the main
thread empties, so that no signal ever reaches a widget that is gone.
"""

from __future__ import annotations

import importlib
import logging
import queue
import threading
from pathlib import Path

from qtpy.QtCore import QObject, QTimer, Signal

from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.train.run_reader import RunReader, RunUpdate

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_BETWEEN_PARTS = 0.02  # of a long file
_COLLECT_MS = 200


class RunWatch(QObject):
    """Watches one run at a time; `updated(RunUpdate)` is emitted in the main thread after every look."""

    updated = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._found: queue.SimpleQueue[RunUpdate] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._path: Path | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(_COLLECT_MS)
        self._timer.timeout.connect(self._collect)

    @property
    def path(self) -> Path | None:
        """The run folder; None while nothing is watched."""
        return self._path

    def start(self, path: Path) -> None:
        """Watch a run from its first line on, and no other one any more."""
        self.stop()
        self._path = path
        self._stop, self._found = threading.Event(), queue.SimpleQueue()
        threading.Thread(
            target=_watch,
            args=(path, self._found, self._stop),
            name="napari_uda watch",
            daemon=True,
        ).start()
        # the thread ends with this object, whatever becomes of its owner
        self.destroyed.connect(self._stop.set)
        self._timer.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._timer.stop()
        self._path = None

    @guarded
    def _collect(self) -> None:
        while self._path is not None:
            try:
                update = self._found.get_nowait()
            except queue.Empty:
                return
            self.updated.emit(update)


def _watch(path: Path, found: queue.SimpleQueue[RunUpdate], stop: threading.Event) -> None:
    """In the thread."""
    importlib.import_module("pyqtgraph")  # a fifth of a second that the first curve need not wait
    reader = RunReader(path)
    while not stop.is_set():
        try:
            update = reader.look()
        except Exception:
            logger.exception("looking at %s failed", path)
            stop.wait(_SECONDS_BETWEEN_LOOKS)
            continue
        found.put(update)
        stop.wait(_SECONDS_BETWEEN_PARTS if update.more else _SECONDS_BETWEEN_LOOKS)
