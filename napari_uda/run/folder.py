"""RunFolder: the files of a run by name, and requests to the process that trains it.

Without torch: whoever watches a run, on this machine or through a mounted folder, needs neither it nor
the run's settings to be readable. The folder may come from anyone, so no file of it is written through a
link, and none is read that is no plain file.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from napari_uda.core.errors import InputError
from napari_uda.core.files import atomic_file, temporary_path
from napari_uda.core.leftovers import remove_leftovers
from napari_uda.core.small_files import json_lines, open_plain, read_object, read_small

Domain = Literal["source", "target"]
StopRequest = Literal["", "save", "discard"]

LEAST_PREVIEW_SECONDS = 0.5
_MOST_SLICES = 12
_MOST_EVENT_BYTES = 1_000_000  # of the newest events; a thousand sessions need less
_MOST_REQUEST_BYTES = 1000
_LARGEST_COUNT = 2**31 - 1  # as large as a window's progress bar can be
_LONGEST_SECONDS = 1e9  # a lifetime
_LIBRARY_NAME = re.compile(r"\.tmp[0-9A-Za-z]{6}")
_FILES = (
    "environment.json", "data.json", "metrics.jsonl", "events.jsonl", "log.txt", "output.txt",
    "heartbeat.json", "stop", "scores.csv", "scores.json", "slices.csv", "card.yaml",
)  # fmt: skip


@dataclass(frozen=True)
class SlicePlace:
    """A slice of the training data.

    Attributes:
        domain: source (the labelled domain) or target.
        case: name of the volume.
        index: slice of the volume across the run's axis, from 0, in the order towards head, front or
            patient's right.
    """

    domain: Domain
    case: str
    index: int


@dataclass(frozen=True)
class PreviewRequest:
    """Which slices somebody wants to see while a run trains.

    Attributes:
        slices: what to show; empty lets the trainer choose.
        seconds: least time between two previews.
    """

    slices: tuple[SlicePlace, ...] = ()
    seconds: float = 2.0


@dataclass(frozen=True)
class RunFolder:
    """A run folder by its file names.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def config_file(self) -> Path:
        """`config.yaml`."""
        return self.path / "config.yaml"

    @property
    def facts_file(self) -> Path:
        """`data.json`: what was measured on the data."""
        return self.path / "data.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of weights."""
        return self.path / "checkpoints"

    @property
    def metrics_file(self) -> Path:
        """`metrics.jsonl`: one object a line with step, seconds and scalars."""
        return self.path / "metrics.jsonl"

    @property
    def events_file(self) -> Path:
        """`events.jsonl`: one object a line with time and event."""
        return self.path / "events.jsonl"

    @property
    def log_file(self) -> Path:
        """`log.txt`."""
        return self.path / "log.txt"

    @property
    def output_file(self) -> Path:
        """`output.txt`: what a training process that the Train dock started has printed."""
        return self.path / "output.txt"

    @property
    def heartbeat_file(self) -> Path:
        """`heartbeat.json`: rewritten every few seconds while the run trains, gone afterwards."""
        return self.path / "heartbeat.json"

    @property
    def stop_file(self) -> Path:
        """`stop`: a request that the trainer obeys and removes."""
        return self.path / "stop"

    @property
    def previews(self) -> Path:
        """Folder of preview arrays."""
        return self.path / "previews"

    @property
    def preview_request_file(self) -> Path:
        """`previews/request.json`: which slices somebody wants to see."""
        return self.previews / "request.json"

    @property
    def slices_file(self) -> Path:
        """`previews/slices.json`: domain to case to number of slices, what can be asked for."""
        return self.previews / "slices.json"

    @property
    def predictions(self) -> Path:
        """Folder of predictions."""
        return self.path / "predictions"

    @property
    def scores_file(self) -> Path:
        """`scores.csv`."""
        return self.path / "scores.csv"

    @property
    def cache(self) -> Path:
        """Folder of memory-mapped slices while training."""
        return self.path / "cache"

    def link_outside(self) -> Path | None:
        """The first link among the run's own files and folders that leads out of the run folder, or None.

        Whoever trains writes and removes these files, so such a link would let a folder that was handed
        on reach any file of its user.
        """
        root = Path(os.path.realpath(self.path))
        for path in self._own_paths():
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root):
                return path
        return None

    def _own_paths(self) -> Iterator[Path]:
        """Everything in the folder that a run writes, links not followed."""
        for name in ("config.yaml", *_FILES):
            yield self.path / name
        for folder in (self.checkpoints, self.previews, self.predictions, self.cache):
            yield folder
            if not folder.is_symlink():
                for parent, folders, files in os.walk(folder):
                    yield from (Path(parent, name) for name in (*folders, *files))

    def has_trained(self) -> bool:
        """Whether there is anything of a step."""
        return self.metrics_file.exists() or self.checkpoints.exists()

    def take_back(self) -> None:
        """Remove a run that has not trained a step; one that has, or that somebody trains, is left alone."""
        if not self.has_trained() and not self.heartbeat_file.exists():
            self.delete()

    def delete(self) -> None:
        """Remove every file of the run, and the folder if nothing else is in it."""
        self.config_file.unlink(
            missing_ok=True
        )  # first, so that what is left of a half removed run is no run
        for folder in (self.cache, self.previews, self.checkpoints, self.predictions):
            shutil.rmtree(folder, ignore_errors=True)
        for name in _FILES:
            (self.path / name).unlink(missing_ok=True)
        with suppress(OSError):
            self.path.rmdir()

    def remove_leftovers(self) -> list[Path]:
        """Remove what killed processes left under hidden names; returns what is gone."""
        return remove_leftovers(self.path, self.checkpoints, self.previews, self.predictions)

    def torn_weights(self) -> list[Path]:
        """What the safetensors library left where version 0.1 was killed; while a run trains, not only that."""
        return [
            file
            for file in self.checkpoints.glob(".tmp*")
            if _LIBRARY_NAME.fullmatch(file.name) and file.is_file() and not file.is_symlink()
        ]

    def remove_torn_weights(self) -> None:
        """Remove `torn_weights`; only for who trains the run."""
        for file in self.torn_weights():
            file.unlink(missing_ok=True)

    def ask_to_stop(self, request: StopRequest = "save") -> None:
        """Ask the trainer, wherever it runs, to end after its current step.

        Args:
            request: save (a checkpoint first) or discard (without one).

        Raises:
            InputError: if the folder cannot be written.
        """
        with atomic_file(self.stop_file, follow=False) as file:
            file.write(request.encode())

    def stop_request(self) -> StopRequest:
        """What `ask_to_stop` left; a file of other content is a request to save."""
        try:
            text = read_small(self.stop_file, most_bytes=_MOST_REQUEST_BYTES).strip()
        except OSError:
            return ""
        except InputError:
            return "save"
        return "discard" if text == "discard" else "save"

    def ask_for_previews(self, request: PreviewRequest) -> None:
        """Ask the trainer for previews until `refuse_previews`.

        Raises:
            InputError: if the folder cannot be written.
        """
        slices = [{"domain": s.domain, "case": s.case, "slice": s.index} for s in request.slices]
        content = {"seconds": request.seconds, "slices": slices}
        with atomic_file(self.preview_request_file, follow=False) as file:
            file.write((json.dumps(content, indent=2) + "\n").encode())

    def refuse_previews(self) -> None:
        """Take the request for previews back."""
        with suppress(OSError):
            self.preview_request_file.unlink(missing_ok=True)

    def preview_request(self) -> PreviewRequest | None:
        """What `ask_for_previews` left; None without a readable request."""
        content = read_object(self.preview_request_file)
        if content is None:
            return None
        try:
            slices = tuple(
                SlicePlace(
                    "source" if s["domain"] == "source" else "target",
                    str(s["case"]),
                    int(s["slice"]),
                )
                for s in content.get("slices", [])
            )
            seconds = float(content.get("seconds", PreviewRequest.seconds))
        except (KeyError, TypeError, ValueError, OverflowError):
            return None
        return PreviewRequest(slices[:_MOST_SLICES], max(LEAST_PREVIEW_SECONDS, seconds))

    def events(self) -> list[dict[str, Any]]:
        """Lines of `events.jsonl`, damaged and unfinished ones left out; the newest of a very long file."""
        try:
            with open_plain(self.events_file) as stream:
                size = stream.seek(0, os.SEEK_END)
                stream.seek(max(0, size - _MOST_EVENT_BYTES))
                return [line for line in json_lines(stream) if line]
        except (OSError, InputError):
            return []

    def write_beat(self, content: Mapping[str, Any], *, first: bool = False) -> None:
        """Replace `heartbeat.json`; not forced to the disk, since it is worth nothing after a crash.

        Args:
            content: what it says.
            first: whether there must not be one yet, so that of two processes that begin at once only
                one has it.

        Raises:
            FileExistsError: if `first` and another process was faster.
        """
        temporary = temporary_path(self.path)
        try:
            with temporary.open("x", encoding="utf-8") as file:
                file.write(json.dumps(content))
            if first:
                _link(temporary, self.heartbeat_file)
            else:
                temporary.replace(self.heartbeat_file)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _link(file: Path, name: Path) -> None:
    """Give a file a second name that nothing has yet; where a disk knows no such names, a new one."""
    try:
        os.link(file, name)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError, AttributeError):
        file.replace(name)


def metric_line(line: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A line of `metrics.jsonl` if it is one: with the steps and seconds that it belongs to; else None."""
    if line is None:
        return None
    step, seconds = line.get("step"), line.get("seconds")
    is_time = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    known = is_count(step) and is_time and 0 <= (seconds or 0) <= _LONGEST_SECONDS
    return dict(line) if known else None


def is_count(value: object) -> bool:
    """Whether a value from a file is a number of steps, slices or the like."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_COUNT
