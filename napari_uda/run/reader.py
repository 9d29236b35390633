"""What run folders tell, read bit by bit, however they grow and wherever they lie.

`RunReader` looks at one run, at all of it or at its state only; `RunScanner` finds runs and looks at the state of
each. Every look reads what is new and no more than half a megabyte, so that neither a slow mount nor Python's
lock holds anybody up for long.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_uda.core.errors import InputError, refusal
from napari_uda.core.files import is_file
from napari_uda.core.small_files import json_lines, open_plain, parse_object, read_object, read_yaml
from napari_uda.run.folder import RunFolder, SlicePlace, is_count, metric_line
from napari_uda.run.run import Run, check_hash
from napari_uda.run.status import Beat, RunState, RunStatus, run_status

MOST_BYTES = 500_000
_LAST_BYTES = 4000
_MOST_PREVIEW_BYTES = 256 * 2**20
"""Of all arrays of a preview: twice what the trainer makes of the most and the largest slices."""
_MOST_SLICES = 64
_PREVIEW_ERRORS = (
    OSError, InputError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError,
    NotImplementedError, RuntimeError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What numpy and zipfile raise for a file that is cut short, damaged or none of theirs."""
_STATES = {
    RunState.NEW: "not started",
    RunState.RUNNING: "training",
    RunState.FINISHED: "finished",
    RunState.STOPPED: "stopped, can be resumed",
    RunState.FAILED: "failed",
    RunState.BROKEN: "broken off",
}


@dataclass(frozen=True, eq=False)
class Preview:
    """What the network made of some slices.

    Attributes:
        step: steps done by then.
        places: the N slices.
        maps: role to `(N, H, W)`: input, translation, random_view, fourier_view float32 in [-1, 1];
            prediction uint8 label values; entropy float32 in [0, 1]; reliability uint8, 1 and 2; maps of a
            method's own as `labels.TITLE` (uint8 label values, 255 for none) and `grey.TITLE`.
        pixel_mm: side of a pixel.
        pixel_mm2: `(N,)` area of a pixel: less than the side squared where a slice is sheared.
        names: label value to structure name.
        axis: canonical axis (z, y, x) that the slices were cut across; None where the run does not say.
    """

    step: int
    places: tuple[SlicePlace, ...]
    maps: dict[str, NDArray[Any]]
    pixel_mm: float
    pixel_mm2: NDArray[np.float64]
    names: dict[int, str]
    axis: int | None = None

    def areas_mm2(self) -> dict[str, NDArray[np.float64]]:
        """Area of each structure in each slice, `(N,)`, by name."""
        prediction = self.maps["prediction"]
        return {
            name: (prediction == value).sum((1, 2)) * self.pixel_mm2
            for value, name in self.names.items()
        }


@dataclass(frozen=True, eq=False)
class KnownRun:
    """What a short look at a run found.

    Attributes:
        path: the run folder.
        status: its state.
        settings: `config.yaml` as plain values.
        step: steps done, as far as its files tell.
        changed: seconds since 1970 of its last line, or of its settings.
    """

    path: Path
    status: RunStatus
    settings: dict[str, Any] = field(default_factory=dict)
    step: int = 0
    changed: float = 0.0

    @property
    def total(self) -> int:
        """Steps of the run; 0 when its settings do not say."""
        steps = self.settings.get("steps", 0)
        return int(steps) if is_count(steps) else 0

    @property
    def method(self) -> str:
        """Name of the method; empty when the settings do not say."""
        part = self.settings.get("method")
        return str(part.get("name", "")) if isinstance(part, dict) else ""

    @property
    def is_running(self) -> bool:
        """Whether a process trains it."""
        return self.status.state is RunState.RUNNING

    @property
    def state(self) -> str:
        """The state in a word or two."""
        is_given_up = self.status.state is RunState.FINISHED and self.status.reason
        return "no change" if is_given_up else self.status.state.value

    @property
    def words(self) -> str:
        """The state in words, with the reason when there is one."""
        words = _STATES[self.status.state]
        return f"{words}: {self.status.reason}" if self.status.reason else words


@dataclass(frozen=True, eq=False)
class RunUpdate(KnownRun):
    """What a look at all of a run found.

    Attributes:
        lines: new lines of `metrics.jsonl`.
        restarted: whether earlier lines do not count any more, since the run was rewound.
        preview: the newest preview when it is a new one, else None.
        slices: domain to case to number of slices that can be asked for.
        more: whether there is more to read at once.
        damaged: how many of the new lines are damaged and left out.
    """

    lines: list[dict[str, Any]] = field(default_factory=list)
    restarted: bool = False
    preview: Preview | None = None
    slices: dict[str, dict[str, int]] = field(default_factory=dict)
    more: bool = False
    damaged: int = 0


class RunReader:
    """Looks at one run again and again; for one thread."""

    def __init__(self, path: Path) -> None:
        self._folder = RunFolder(path)
        self._settings: dict[str, Any] = {}
        self._problem = ""  # of the settings
        self._stamp = 0.0  # when they were written
        self._beat: Beat | None = None
        self._offset = 0
        self._file_number = 0
        self._step = 0  # of the last line
        self._in_long_line = False  # whose beginning was passed over
        self._preview_stamp: tuple[str, int] | None = None

    def glance(self) -> KnownRun:
        """Read the state, and the last line only."""
        status = self._status()
        step, written = _last_line(self._folder.metrics_file)
        return KnownRun(
            path=self._folder.path,
            status=status,
            settings=self._settings,
            step=_steps_done(status, step),
            changed=max(written, self._stamp),
        )

    def look(self) -> RunUpdate:
        """Read what is new."""
        status = self._status()
        lines, restarted, more, damaged = self._new_lines()
        choice = read_object(self._folder.slices_file) or {}
        return RunUpdate(
            path=self._folder.path,
            status=status,
            settings=self._settings,
            step=_steps_done(status, self._step),
            lines=lines,
            restarted=restarted,
            preview=self._new_preview(),
            slices={domain: _counts(cases) for domain, cases in choice.items()},
            more=more,
            damaged=damaged,
        )

    def _status(self) -> RunStatus:
        status = run_status(self._folder, earlier=self._beat)
        self._beat = status.beat
        self._read_settings()
        if self._problem and status.state is not RunState.RUNNING:
            return RunStatus(RunState.BROKEN, self._problem, status.beat)
        return status

    def _read_settings(self) -> None:
        """Read `config.yaml` when it is new or could not be read; one that is away changes nothing."""
        with suppress(OSError):
            stamp = self._folder.config_file.stat().st_mtime
            if stamp != self._stamp or self._problem:
                self._settings, self._problem = _settings_in(self._folder)
                self._stamp = stamp

    def _new_lines(self) -> tuple[list[dict[str, Any]], bool, bool, int]:
        """New whole lines, whether they replace the earlier ones, whether more wait, how many are damaged."""
        file = self._folder.metrics_file
        try:
            seen = file.stat()
            restarted = seen.st_ino != self._file_number or seen.st_size < self._offset
            if restarted:
                self._offset, self._file_number, self._step = 0, seen.st_ino, 0
                self._in_long_line = False
            with open_plain(file) as stream:
                stream.seek(self._offset)
                data = stream.read(MOST_BYTES)
        except (OSError, InputError):
            restarted = self._offset > 0
            self._offset = self._file_number = self._step = 0
            return [], restarted, False, 0
        more = len(data) == MOST_BYTES
        end = data.rfind(b"\n") + 1
        if more and not end:  # a line without an end: it is passed over, part by part
            self._offset += len(data)
            first, self._in_long_line = not self._in_long_line, True
            return [], restarted, True, int(first)
        whole = data[:end]
        self._offset += end
        if self._in_long_line and end:
            whole, self._in_long_line = whole.partition(b"\n")[2], False
        found = [metric_line(line) for line in json_lines(io.BytesIO(whole))]
        lines = [line for line in found if line is not None]
        if lines:
            self._step = lines[-1]["step"]
        return lines, restarted, more, len(found) - len(lines)

    def _new_preview(self) -> Preview | None:
        try:
            files = [f for f in self._folder.previews.glob("*.npz") if f.stem.isdecimal()]
            if not files:
                return None
            file = max(files, key=lambda f: int(f.stem))
            stamp = (file.name, file.stat().st_mtime_ns)
            if stamp == self._preview_stamp:
                return None
            preview = _read_preview(file, self._folder)
        except _PREVIEW_ERRORS:
            return None  # removed meanwhile, damaged, or of another version
        self._preview_stamp = stamp
        return preview


class RunScanner:
    """Looks for runs in folders again and again; for one thread.

    Attributes:
        problems: folders that could not be looked into, a sentence each.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._readers: dict[Path, RunReader] = {}

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
        self._readers = {path: self._readers.get(path) or RunReader(path) for path in paths}
        found = [reader.glance() for reader in self._readers.values()]
        there = [run for run in found if is_file(RunFolder(run.path).config_file)]
        return sorted(there, key=lambda run: run.changed, reverse=True)


def _settings_in(folder: RunFolder) -> tuple[dict[str, Any], str]:
    """`config.yaml` as plain values, and what is wrong with the run, empty when nothing is."""
    file = folder.config_file
    link = folder.link_outside()
    if link is not None:
        return {}, f"{link} is a link to a place outside of the run folder; remove it"
    try:
        values = read_yaml(file)
        if not isinstance(values, dict):
            return {}, f"{file} holds no settings; restore it or delete the run"
        check_hash(file, values)
    except InputError as error:
        return {}, str(error)
    return values, ""


def _steps_done(status: RunStatus, step: int) -> int:
    """Steps by the last line, or by what the trainer said since."""
    beat = status.beat if status.state is RunState.RUNNING else None
    known = (step, status.step, 0 if beat is None else beat.step)
    return max(number for number in (0, *known) if is_count(number))


def _counts(cases: Any) -> dict[str, int]:
    """Cases of a domain that have slices to be asked for."""
    items = cases.items() if isinstance(cases, dict) else ()
    return {case: count for case, count in items if is_count(count) and count}


def _last_line(file: Path) -> tuple[int, float]:
    """Step and time of the last whole line of `metrics.jsonl`; zeros when there is none."""
    try:
        with open_plain(file) as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _LAST_BYTES))
            lines = stream.read().rpartition(b"\n")[0].splitlines()
        return _step_of(_object_in(lines[-1])), file.stat().st_mtime
    except (OSError, InputError, IndexError):
        return 0, 0.0


def _object_in(line: bytes) -> dict[str, Any]:
    return parse_object(line.decode(errors="replace")) or {}


def _step_of(line: dict[str, Any]) -> int:
    step = line.get("step")
    return int(step) if is_count(step) else 0  # type: ignore[arg-type]


def _check_preview_size(file: Path) -> None:
    """Look at the sizes that the arrays of a preview announce, before memory is taken for them.

    Raises:
        InputError: if they are absurd, or not those of the data behind them.
    """
    total = 0
    with open_plain(file) as stream, zipfile.ZipFile(stream) as archive:
        for member in archive.infolist():
            with archive.open(member) as content:
                np.lib.format.read_magic(content)
                shape, _, dtype = np.lib.format.read_array_header_1_0(content)
                begin = content.tell()
            size = math.prod(shape) * dtype.itemsize
            total += size
            if begin + size != member.file_size or total > _MOST_PREVIEW_BYTES:
                raise InputError(f"{file} is damaged or too large for a preview; remove it")


def _read_preview(file: Path, folder: RunFolder) -> Preview:
    _check_preview_size(file)
    with open_plain(file) as stream, np.load(stream, allow_pickle=False) as arrays:
        content = {name: arrays[name] for name in arrays}
    places = tuple(
        SlicePlace("source" if domain == "source" else "target", str(case), int(index))
        for domain, case, index in zip(
            content["domains"], content["cases"], content["slices"], strict=True
        )
    )
    facts = read_object(folder.facts_file) or {}
    labels = {str(name): int(value) for name, value in (facts.get("labels") or {}).items()}
    maps = {
        name: values.astype(np.float32) if values.dtype == np.float16 else values
        for name, values in content.items()
        if values.ndim == 3
    }
    value_of_class = np.zeros(256, np.uint8)
    values = np.array(sorted(labels.values()), np.uint8)
    value_of_class[1 : len(values) + 1] = values
    maps["prediction"] = value_of_class[maps["prediction"]]
    value_of_class[255] = 255  # no label
    own = [name for name in maps if name.startswith("labels.")]
    maps |= {name: value_of_class[maps[name]] for name in own}
    shapes = {values.shape for values in maps.values()}
    if len(shapes) != 1 or len(places) != len(maps["prediction"]) or len(places) > _MOST_SLICES:
        raise InputError(f"{file} holds maps that do not belong together; remove it")
    names = dict(sorted((value, name) for name, value in labels.items()))
    side = float(content["pixel_mm"])
    areas = content.get("pixel_mm2", np.full(len(places), side**2))  # version 0.1 has none
    grid = facts.get("grid")
    axis = grid.get("axis") if isinstance(grid, dict) else None
    if axis not in (0, 1, 2):
        axis = None
    return Preview(int(file.stem), places, maps, side, areas.astype(np.float64), names, axis)
