"""RunReader: reads a run folder bit by bit, however it grows and wherever it lies. No Qt, no torch.

Every look reads what is new and no more than half a megabyte, so that neither a slow mount nor Python's lock
holds anybody up for long.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_uda.core.errors import InputError
from napari_uda.core.files import is_file
from napari_uda.run.folder import RunFolder, SlicePlace, read_object
from napari_uda.run.run import read_yaml
from napari_uda.run.status import Beat, RunState, RunStatus, run_status

MOST_BYTES = 500_000


@dataclass(frozen=True, eq=False)
class Preview:
    """What the network made of some slices.

    Attributes:
        step: steps done by then.
        places: the N slices.
        maps: role to `(N, H, W)`: input, translation, random_view, fourier_view float32 in [-1, 1];
            prediction uint8 label values; entropy float32 in [0, 1]; reliability uint8, 1 and 2.
        pixel_mm: side of a pixel.
        names: label value to structure name.
    """

    step: int
    places: tuple[SlicePlace, ...]
    maps: dict[str, NDArray[Any]]
    pixel_mm: float
    names: dict[int, str]

    def areas_mm2(self) -> dict[str, NDArray[np.float64]]:
        """Area of each structure in each slice, `(N,)`, by name."""
        prediction = self.maps["prediction"]
        return {
            name: (prediction == value).sum((1, 2)) * self.pixel_mm**2
            for value, name in self.names.items()
        }


@dataclass(frozen=True, eq=False)
class RunUpdate:
    """What a look found.

    Attributes:
        path: the run folder.
        status: its state.
        settings: `config.yaml` as plain values.
        lines: new lines of `metrics.jsonl`.
        restarted: whether earlier lines do not count any more, since the run was rewound.
        preview: the newest preview when it is a new one, else None.
        slices: domain to case to number of slices that can be asked for.
        more: whether there is more to read at once.
    """

    path: Path
    status: RunStatus
    settings: dict[str, Any] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)
    restarted: bool = False
    preview: Preview | None = None
    slices: dict[str, dict[str, int]] = field(default_factory=dict)
    more: bool = False

    @property
    def total(self) -> int:
        """Steps of the run; 0 when its settings do not say."""
        steps = self.settings.get("steps", 0)
        return steps if isinstance(steps, int) else 0

    @property
    def method(self) -> str:
        """Name of the method; empty when the settings do not say."""
        part = self.settings.get("method")
        return str(part.get("name", "")) if isinstance(part, dict) else ""


class RunReader:
    """Looks at one run again and again; for one thread."""

    def __init__(self, path: Path) -> None:
        self._folder = RunFolder(path)
        self._settings: dict[str, Any] | None = None
        self._problem = ""
        self._beat: Beat | None = None
        self._offset = 0
        self._file_number = 0
        self._preview_stamp: tuple[str, int] | None = None

    def look(self) -> RunUpdate:
        """Read what is new."""
        status = self._status()
        lines, restarted, more = self._new_lines()
        choice = read_object(self._folder.slices_file) or {}
        return RunUpdate(
            path=self._folder.path,
            status=status,
            settings=self._settings or {},
            lines=lines,
            restarted=restarted,
            preview=self._new_preview(),
            slices={d: c for d, c in choice.items() if isinstance(c, dict)},
            more=more,
        )

    def _status(self) -> RunStatus:
        status = run_status(self._folder, earlier=self._beat)
        self._beat = status.beat
        if self._settings is None and is_file(self._folder.config_file):
            self._settings, self._problem = read_settings(self._folder)
        if self._problem and status.state is not RunState.RUNNING:
            return RunStatus(RunState.BROKEN, self._problem, status.beat)
        return status

    def _new_lines(self) -> tuple[list[dict[str, Any]], bool, bool]:
        """New whole lines, whether they replace the earlier ones, and whether more are waiting."""
        file = self._folder.metrics_file
        try:
            seen = file.stat()
            restarted = seen.st_ino != self._file_number or seen.st_size < self._offset
            if restarted:
                self._offset, self._file_number = 0, seen.st_ino
            with file.open("rb") as stream:
                stream.seek(self._offset)
                data = stream.read(MOST_BYTES)
        except OSError:
            restarted, self._offset, self._file_number = self._offset > 0, 0, 0
            return [], restarted, False
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        lines = [line for line in map(_scalars, whole.splitlines()) if line]
        return lines, restarted, len(data) == MOST_BYTES and bool(whole)

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
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return None  # removed meanwhile, or of another version
        self._preview_stamp = stamp
        return preview


def read_settings(folder: RunFolder) -> tuple[dict[str, Any], str]:
    """`config.yaml` as plain values, and what is wrong with it, empty when nothing is."""
    try:
        values = read_yaml(folder.config_file)
    except InputError as error:
        return {}, str(error)
    if not isinstance(values, dict):
        return {}, f"{folder.config_file} holds no settings; restore it or delete the run"
    return values, ""


def _scalars(line: bytes) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _read_preview(file: Path, folder: RunFolder) -> Preview:
    with np.load(file, allow_pickle=False) as arrays:
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
    names = dict(sorted((value, name) for name, value in labels.items()))
    return Preview(int(file.stem), places, maps, float(content["pixel_mm"]), names)
