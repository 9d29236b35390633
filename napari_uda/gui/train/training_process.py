"""TrainingProcess: `python -m napari_uda train --resume RUN` as a process of its own, which may outlive napari."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from qtpy.QtCore import QObject, QTimer, Signal

from napari_uda.core.errors import InputError
from napari_uda.core.openmp import let_idle_threads_sleep
from napari_uda.core.small_files import open_plain
from napari_uda.gui.kit.panel import Guarded
from napari_uda.run.folder import RunFolder

_POLL_MS = 200
_LAST_BYTES = 4000
_PREFIX = "napari-uda: "
_ENDINGS = ("finished", "stopped", "failed", "discarded")


class TrainingProcess(Guarded, QObject):
    """Trains one run folder; what happens is read from that folder, not from the process.

    It runs in a session of its own: closing napari, or the terminal that napari was started from, does not
    touch it. Its memory, also on the GPU, is free again when it ends. `ended(int)` gives its exit code.
    """

    ended = Signal(int)

    def __init__(self, path: Path, parent: QObject | None = None) -> None:
        """Prepare.

        Args:
            path: a run folder that was created, or one to be resumed.
            parent: owner.
        """
        super().__init__(parent)
        self.folder = RunFolder(path)
        self._process: subprocess.Popen[bytes] | None = None
        self._earlier_events = 0
        self._timer = QTimer(self)
        self._timer.setInterval(_POLL_MS)
        self._timer.timeout.connect(self._on_poll)

    @property
    def pid(self) -> int | None:
        """Number of the process; None before it began."""
        return None if self._process is None else self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def is_training(self) -> bool:
        """Whether it trains or is about to: it has not ended, and has not said that it is at its end."""
        own = self.folder.events()[self._earlier_events :] if self.is_running else []
        return self.is_running and not any(event.get("event") in _ENDINGS for event in own)

    def start(self) -> None:
        """Begin; returns at once.

        Raises:
            InputError: if the folder cannot be written or no process can be started.
        """
        python = [sys.executable, "-P"]  # no module lies in wait where napari was started
        command = [*python, "-m", "napari_uda", "train", "--resume", str(self.folder.path)]
        # threads that wait sleep, or they would take the viewer's turns on the processor
        self._earlier_events = len(self.folder.events())
        environment = dict(os.environ)
        let_idle_threads_sleep(environment)
        # a file and no pipe: a pipe breaks, and training with it, when napari is gone
        try:
            with open_plain(self.folder.output_file, "wb", follow=False) as output:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=os.name == "posix",
                    creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # Windows
                )
        except OSError as error:
            raise InputError(
                f"training in {self.folder.path} cannot be started ({error.strerror}); check that the "
                "folder can be written"
            ) from error
        self._timer.start()

    def stop(self) -> None:
        """Ask to save and end; at once when training has not begun.

        Raises:
            InputError: if the folder cannot be written.
        """
        if not self.is_running:
            return
        if self.folder.heartbeat_file.exists():
            self.folder.ask_to_stop()
        else:  # it still imports: nothing to save, and nobody reads requests
            self.kill()

    def kill(self) -> None:
        """End it at once; what was not saved is lost."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        if os.name == "posix":
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # it leads its own group
        else:
            process.kill()

    def last_words(self) -> str:
        """The last line that it printed, without the progress bar; empty when there is none."""
        try:
            with open_plain(self.folder.output_file) as stream:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - _LAST_BYTES))
                text = stream.read().decode(errors="replace")
        except (OSError, InputError):
            return ""
        lines = [line.strip() for line in text.replace("\r", "\n").splitlines()]
        said = [line for line in lines if line.startswith(_PREFIX)] or [ln for ln in lines if ln]
        return said[-1].removeprefix(_PREFIX) if said else ""

    def _on_poll(self) -> None:
        code = None if self._process is None else self._process.poll()
        if code is not None:
            self._timer.stop()
            self.ended.emit(code)
