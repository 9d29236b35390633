"""Which run folders there are and what is known of each; for a worker thread, no widget, no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_uda.core.files import is_file, refusal
from napari_uda.gui.train.run_reader import read_settings
from napari_uda.run.folder import RunFolder
from napari_uda.run.run import Run
from napari_uda.run.status import Beat, RunState, RunStatus, run_status

_LAST_BYTES = 4000


@dataclass(frozen=True)
class KnownRun:
    """One row of the list.

    Attributes:
        path: the run folder.
        status: its state.
        method: name of the method; empty when the settings cannot be read.
        step: steps done.
        total: steps of the run.
        changed: seconds since 1970 of its last line, or of its settings.
    """

    path: Path
    status: RunStatus
    method: str
    step: int
    total: int
    changed: float


class RunScanner:
    """Looks for runs in folders again and again; settings are read once, for they do not change.

    Attributes:
        problems: folders that could not be looked into, a sentence each.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._settings: dict[Path, tuple[int, dict[str, Any], str]] = {}
        self._beats: dict[Path, Beat | None] = {}

    def scan(self, folders: Iterable[Path]) -> list[KnownRun]:
        """All runs directly inside the folders, and the folders that are runs themselves; newest first."""
        paths: dict[Path, None] = {}
        problems: dict[str, None] = {}
        for folder in folders:
            try:
                with os.scandir(folder):  # a list of runs would pass over what it may not look into
                    pass
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                problems[refusal(error)] = None
                continue
            if is_file(RunFolder(folder).config_file):
                paths[folder] = None
            with suppress(OSError):
                paths |= dict.fromkeys(Run.list(folder))
        self.problems = list(problems)
        found = []
        for path in paths:
            with suppress(OSError):  # deleted meanwhile
                found.append(self._look(path))
        return sorted(found, key=lambda run: run.changed, reverse=True)

    def _look(self, path: Path) -> KnownRun:
        folder = RunFolder(path)
        stamp = folder.config_file.stat().st_mtime_ns
        known = self._settings.get(path)
        if known is None or known[0] != stamp:
            known = self._settings[path] = (stamp, *read_settings(folder))
        _, settings, problem = known
        status = run_status(folder, earlier=self._beats.get(path))
        self._beats[path] = status.beat
        if problem:
            status = RunStatus(RunState.BROKEN, problem)
        method, total = settings.get("method"), settings.get("steps")
        step, changed = _last_step(folder)
        beating = status.state is RunState.RUNNING and status.beat is not None
        return KnownRun(
            path=path,
            status=status,
            method=str(method.get("name", "")) if isinstance(method, dict) else "",
            step=max(step, status.step, status.beat.step if beating and status.beat else 0),
            total=total if isinstance(total, int) else 0,
            changed=max(changed, stamp / 1e9),
        )


def _last_step(folder: RunFolder) -> tuple[int, float]:
    """Step and time of the last whole line of `metrics.jsonl`; zeros when there is none."""
    try:
        with folder.metrics_file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _LAST_BYTES))
            lines = stream.read().rpartition(b"\n")[0].splitlines()
        changed = folder.metrics_file.stat().st_mtime
        return int(json.loads(lines[-1])["step"]), changed
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return 0, 0.0
