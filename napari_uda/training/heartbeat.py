"""Heartbeat: a thread that shows that a run is training, and reads requests left in its folder."""

from __future__ import annotations

import os
import platform
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Self

import torch

from napari_uda.core.processes import peak_memory_mib, process_start, this_machine
from napari_uda.core.words import number_of
from napari_uda.run.folder import PreviewRequest, RunFolder, StopRequest
from napari_uda.run.status import (
    BEAT_SECONDS,
    Beat,
    read_beat,
    refuse_second_trainer,
)

_LISTEN_SECONDS = 0.25
_MIB = 2**20


class Heartbeat:
    """Rewrites `heartbeat.json` and reads requests, so that a step waits for no file system.

    The thread computes nothing and draws no random number: with it or without it a run has the same
    weights. It is there while the data are read, too, and during long steps and validations.

    Attributes:
        step: steps done, set by the training loop.
        device: where the run computes; None while that is not known.
        stop_request: what the run is asked for: "", save or discard.
        preview_request: slices somebody wants to see, or None.
    """

    def __init__(self, folder: RunFolder, *, active: bool = True, force: bool = False) -> None:
        """Prepare.

        Args:
            folder: the run.
            active: whether there is a thread at all; the first of several ranks speaks for them.
            force: whether to begin although another machine may be training the run.
        """
        self.step = 0
        self.device: torch.device | None = None
        self.stop_request: StopRequest = ""
        self.preview_request: PreviewRequest | None = None
        self._folder, self._active, self._force = folder, active, force
        self._count = 0
        self._request_stamp: tuple[int, int] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="napari_uda heartbeat", daemon=True)

    def __enter__(self) -> Self:
        """Start the thread.

        Raises:
            InputError: if another process trains the run.
        """
        if self._active:
            stale = refuse_second_trainer(self._folder, force=self._force)
            with suppress(OSError):  # a request to an earlier session that was killed
                self._folder.stop_file.unlink(missing_ok=True)
            self._listen()
            self._claim(stale)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._active:
            return
        self._ended.set()
        self._thread.join()
        for file in (self._folder.heartbeat_file, self._folder.stop_file):
            with suppress(OSError):
                file.unlink(missing_ok=True)

    def _claim(self, stale: Beat | None) -> None:
        """Write the first heartbeat in place of an old one; of two that begin at once, one is refused."""
        with suppress(OSError):
            if read_beat(self._folder) == stale:
                self._folder.heartbeat_file.unlink(missing_ok=True)
        try:
            self._beat(first=True)
        except FileExistsError:
            refuse_second_trainer(self._folder, force=self._force)
            self._beat()

    def _run(self) -> None:
        next_beat = time.monotonic() + BEAT_SECONDS
        while not self._ended.wait(_LISTEN_SECONDS):
            self._listen()
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + BEAT_SECONDS
                self._beat()

    def _listen(self) -> None:
        folder = self._folder
        self.stop_request = self.stop_request or folder.stop_request()
        try:
            seen = folder.preview_request_file.stat()
        except OSError:
            self._request_stamp = self.preview_request = None
            return
        stamp = (seen.st_mtime_ns, seen.st_ino)
        if stamp != self._request_stamp:
            self._request_stamp = stamp
            self.preview_request = folder.preview_request()

    def _beat(self, *, first: bool = False) -> None:
        self._count += 1
        taken, total = _gpu_memory_mib(self.device)
        beat = Beat(
            count=self._count,
            time=time.time(),
            pid=os.getpid(),
            host=platform.node(),
            step=self.step,
            device=_device_name(self.device),
            memory_mib=_memory_mib(),
            gpu_memory_mib=taken,
            gpu_total_mib=total,
            machine=this_machine(),
            started=process_start(os.getpid()),
        )
        try:
            self._folder.write_beat(asdict(beat), first=first)
        except FileExistsError:
            raise
        except OSError:  # a full disk or a lost mount is the checkpoint's to complain about
            pass


def _device_name(device: torch.device | None) -> str:
    if device is None:
        return ""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    threads = torch.get_num_threads()
    return f"{device}, {number_of(threads, 'thread')}" if device.type == "cpu" else str(device)


def _memory_mib() -> float:
    """Memory of this process: what it holds now, or where the system does not say, the most it ever held."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return round(pages * os.sysconf("SC_PAGE_SIZE") / _MIB, 1)
    except (OSError, AttributeError, ValueError, IndexError):
        pass
    return round(peak_memory_mib(), 1)


def _gpu_memory_mib(device: torch.device | None) -> tuple[float, float]:
    """Memory that torch has taken on a GPU, and what the GPU has; zeros without one."""
    if device is None or device.type != "cuda":
        return 0.0, 0.0
    total = torch.cuda.get_device_properties(device).total_memory
    return round(torch.cuda.memory_reserved(device) / _MIB, 1), round(total / _MIB, 1)
