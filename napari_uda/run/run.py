"""Run: a folder with settings, weights, logs and predictions; its file names are in `run.folder`."""

from __future__ import annotations

import datetime
import hashlib
import io
import json
import logging
import os
import platform
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from napari_uda.core.config import plain_problem, setting_path
from napari_uda.core.errors import InputError, refusal
from napari_uda.core.files import as_path, atomic_file, cannot_write, is_file, is_folder, shown
from napari_uda.core.notebook import html_table
from napari_uda.core.small_files import (
    dump_yaml,
    json_lines,
    open_plain,
    parse_json,
    parse_yaml,
    read_object,
    read_small,
    read_yaml,
)
from napari_uda.core.suggestions import listed, near_option
from napari_uda.run.folder import RunFolder, metric_line
from napari_uda.run.packed import CARD_FILE, ON_THE_WAY, is_packed, unpacked

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_uda.data.facts import DataFacts
    from napari_uda.run.config import RunConfig

logger = logging.getLogger(__name__)

NOT_FINITE_AT = "not_finite_at"
"""Entry of the event failed: the step, counted from 0, whose loss was not finite."""
_PREVIEWS_KEPT = 5
_ENVIRONMENT = "environment.json"
_CONFIG_HASH, _FACTS_HASH = "config_sha256", "data_sha256"
"""Entries of `environment.json`: checksums of what config.yaml and data.json say; older runs have none."""


class NoRunError(InputError):
    """A path at which there is no run."""


@dataclass(frozen=True)
class Run(RunFolder):
    """One run folder with its settings.

    Attributes:
        path: the folder.
        config: its resolved settings.
        packed: the packed run that the folder was unpacked from for this process; None for a run folder.
    """

    config: RunConfig
    packed: Path | None = None

    @property
    def place(self) -> Path:
        """What the user gave: the folder, or the file that it is packed into."""
        return self.packed or self.path

    def __repr__(self) -> str:
        return f"<Run {self.place}: {self.config.method.name}>"

    def __str__(self) -> str:
        return "\n  ".join([self._title(), *self._facts()])

    def _repr_html_(self) -> str:
        return html_table(self._title(), self._facts())

    def _title(self) -> str:
        return f"Run {self.place}: {self.config.method.name}, {self._how_far()}"

    def _how_far(self) -> str:
        from napari_uda.run.status import RunState, run_status

        status, total = run_status(self), self.config.steps
        match status.state:
            case RunState.NEW:
                return f"not trained yet ({total} steps)"
            case RunState.FINISHED:
                said = f", {status.reason}" if status.reason else ""
                return f"{total} steps, finished{said}"
            case RunState.RUNNING if status.beat is not None:
                return f"at step {status.beat.step} of {total}, training"
            case RunState.STOPPED:
                return f"stopped at step {status.step} of {total}"
        return f"{status.state}: {status.reason}" if status.reason else str(status.state)

    def _facts(self) -> list[str]:
        folders = self.config.data
        data = {
            "source": folders.source,
            "target": folders.target,
            "corrected": folders.corrected,
        }
        named = [f"{side} {path}" for side, path in data.items() if path is not None]
        return [*named, f"network {self.config.segmentor.name}, {self.config.data.size} pixels"]

    @classmethod
    def create(cls, path: str | os.PathLike[str], config: RunConfig) -> Run:
        """Make a new run folder; its settings name data by absolute paths, to resume from anywhere.

        Raises:
            InputError: if the folder is not empty or cannot be written.
        """
        cls.check_new(path)
        run = cls(Path(path), with_absolute_paths(config))
        try:
            text = dump_config(run.config)
            write_text(run.config_file, text, follow=False)
            checksum = content_hash(parse_yaml(text, str(run.config_file)))
            run._write_environment({**_environment(run.config), _CONFIG_HASH: checksum})
        except InputError:
            run.take_back()  # or the folder would hold a run already when there is space again
            raise
        return run

    @staticmethod
    def check_new(path: str | os.PathLike[str]) -> None:
        """Refuse a folder in which `create` could not make a run.

        What is in the folder would go with the run when it is taken back or deleted.

        Raises:
            InputError: if it is a file, or holds a run or anything else already, hidden files not counted.
        """
        folder = RunFolder(Path(path))
        if folder.config_file.exists():
            raise InputError(
                f"{path} holds a run already; choose another --run-dir or continue it with --resume"
            )
        try:
            others = [one for one in folder.path.iterdir() if not one.name.startswith(".")]
        except FileNotFoundError:
            return
        except NotADirectoryError as error:
            raise InputError(f"{path} is a file; choose a folder for the run") from error
        except OSError as error:
            raise InputError(
                f"{path} cannot be read ({error.strerror}); choose another --run-dir"
            ) from error
        if others:
            raise InputError(
                f"{path} holds other files ({others[0].name}); choose a new or empty folder as --run-dir"
            )

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, to_write: bool = False) -> Run:
        """Open an existing run folder, or a packed run.

        Args:
            path: the folder, or a file that `pack` wrote.
            to_write: whether something is to be written into the run, which a packed run does not take.

        Raises:
            InputError: if it is none, its settings cannot be read by this version or are not those that
                it wrote, or one of its files is a link out of the folder.
        """
        folder = as_path(path, "give a run folder")
        if is_packed(folder):
            if to_write:
                raise InputError(
                    f"{folder} is a packed run, and nothing can be written into it; "
                    f"`napari-uda unpack {shlex.quote(str(folder))} --out FOLDER` makes a run folder of it"
                )
            try:
                return replace(cls.open(unpacked(folder)), packed=folder)
            except InputError as error:
                if str(folder) in str(error) or shown(folder) in str(error):
                    raise
                raise InputError(f"{folder} is damaged ({error}); {ON_THE_WAY}") from error
        file = RunFolder(folder).config_file
        try:
            link = RunFolder(folder).link_outside()
            is_run = file.is_file()
        except OSError as error:
            raise InputError(refusal(error)) from error
        if link is not None:
            raise InputError(
                f"{link} is a link to a place outside of the run folder, which is not followed; put the "
                "file itself in its place, or remove it"
            )
        if not is_run:
            raise NoRunError(
                f"{folder} is not a run folder (it has no config.yaml); give one that is"
            )
        RunFolder(folder).remove_leftovers()
        return cls(folder, read_config(file))

    @staticmethod
    def list(folder: str | os.PathLike[str]) -> list[Path]:
        """Run folders directly inside `folder`, newest first."""
        found = [file.parent for file in Path(folder).glob("*/config.yaml")]
        return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)

    def data_folder(self, folder: Path) -> Path:
        """A folder that the settings name, where it lies as seen from here.

        A relative one starts from where training was started: mostly that is a folder above the run.
        """
        if folder.is_absolute() or is_folder(folder):
            return folder
        above = (one / folder for one in self.path.absolute().parents)
        return next((one for one in above if is_folder(one)), folder)

    @cached_property
    def facts(self) -> DataFacts:
        """What the run measured on its data.

        Raises:
            InputError: if training has not begun.
        """
        from napari_uda.data.facts import DataFacts  # numpy is slow to import for a list of runs

        file = self.facts_file
        try:
            text = read_small(file)
            check_hash(file, parse_json(text, str(file)), _FACTS_HASH)
            return DataFacts.model_validate_json(text)
        except FileNotFoundError as error:
            raise InputError(f"{self.path} has no data.json; train the run first") from error
        except ValidationError as error:
            raise InputError(
                f"{file} is not readable by this version ({plain_problem(error)}); "
                f"{remedy(self.path, 'retrain the run')}"
            ) from error

    @property
    def labels(self) -> dict[str, int]:
        """Structure names and label values."""
        return self.facts.labels

    @property
    def name(self) -> str:
        """What its results call it: see `run_name`."""
        return run_name(self.path)

    @property
    def created(self) -> str:
        """When the run was made, ISO 8601 in UTC; empty if its environment.json does not say."""
        return _stored_environment(self.path).get("created", "")

    @property
    def made_by(self) -> str:
        """Program and version that made the run; empty if its environment.json does not say."""
        version = _stored_environment(self.path).get("napari_uda", "")
        return f"napari_uda {version}" if version else ""

    def write_facts(self, facts: DataFacts) -> None:
        """Store what was measured on the data."""
        text = facts.model_dump_json(indent=2) + "\n"
        self._write_checked(
            self.facts_file, text, parse_json(text, str(self.facts_file)), _FACTS_HASH
        )
        self.__dict__.pop("facts", None)  # what was read before

    def write_config(self, config: RunConfig) -> Run:
        """Replace the settings; returns the run with the new ones."""
        text = dump_config(config)
        self._write_checked(
            self.config_file, text, parse_yaml(text, str(self.config_file)), _CONFIG_HASH
        )
        return Run(self.path, config)

    def _write_checked(self, file: Path, text: str, values: Any, entry: str) -> None:
        """Write a file and its checksum, so that a kill in between leaves no checksum of something else."""
        stored = read_object(self.path / _ENVIRONMENT)
        checksum = content_hash(values)
        if stored and stored.get(entry) not in (None, checksum):
            self._write_environment({k: v for k, v in stored.items() if k != entry})
        write_text(file, text, follow=False)
        if stored and stored.get(entry) != checksum:
            self._write_environment({**stored, entry: checksum})

    def _write_environment(self, content: Mapping[str, Any]) -> None:
        text = json.dumps(content, indent=2) + "\n"
        write_text(self.path / _ENVIRONMENT, text, follow=False)

    def write_copy(self, path: Path, config: RunConfig, facts: DataFacts) -> None:
        """Write this run's settings and facts, changed as given, into another folder, with their checksums."""
        copy = Run(path, config)
        stored = _stored_environment(self.path)
        kept = {k: v for k, v in stored.items() if k not in (_CONFIG_HASH, _FACTS_HASH)}
        text = dump_config(config)
        write_text(copy.config_file, text, follow=False)
        checksum = content_hash(parse_yaml(text, str(copy.config_file)))
        copy._write_environment({**kept, _CONFIG_HASH: checksum})
        copy.write_facts(facts)

    def known_facts(self) -> DataFacts | None:
        """`facts`, or None before training has begun."""
        try:
            return self.facts if self.facts_file.exists() else None
        except OSError as error:
            raise InputError(refusal(error)) from error

    def weights_file(self) -> Path:
        """Weights that predict: the best ones when the run's settings select them, else the last.

        A run without source data whose end was given up (`Outcome.no_change`) predicts with those of its start.

        Raises:
            InputError: if there are none yet.
        """
        from napari_uda.run import checkpoint

        best, start = (self.checkpoints / name for name in (checkpoint.BEST, checkpoint.START))
        facts = self.known_facts()
        given_up = facts is not None and facts.outcome is not None and facts.outcome.no_change
        try:
            pair = checkpoint.newest(self.checkpoints)
            last = pair[1] if pair else self.checkpoints / checkpoint.WEIGHTS
            if self.config.select != "last" and best.exists():
                return best
            if given_up and start.exists():  # a packed run has the weights that predict alone
                return start
            if not last.exists():
                raise InputError(f"{self.path} has no weights; train the run first")
        except OSError as error:
            raise InputError(refusal(error)) from error
        return last

    def log(self, step: int, seconds: float, scalars: Mapping[str, float]) -> None:
        """Append one line to `metrics.jsonl`."""
        line = {"step": step, "seconds": round(seconds, 3), **scalars}
        _append(self.metrics_file, json.dumps(line))

    def event(self, kind: str, **details: Any) -> None:
        """Append one line to `events.jsonl`: started, resumed, stopped, discarded, finished, failed."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        _append(self.events_file, json.dumps({"time": now, "event": kind, **details}))

    def skipped_steps(self) -> frozenset[int]:
        """Steps, counted from 0, that `skip_failed_step` has taken out of the run."""
        found = [event.get("step") for event in self.events() if event.get("event") == "skipped"]
        return frozenset(step for step in found if isinstance(step, int))

    def skip_failed_step(self) -> int:
        """Take the step whose loss was not finite out of the run, for this and every later session.

        Returns:
            The step, counted from 0.

        Raises:
            InputError: if training did not end by such a loss.
        """
        events = [event for event in self.events() if event.get("event") != "changed"]
        step = events[-1].get(NOT_FINITE_AT) if events else None
        if not isinstance(step, int):
            raise InputError(
                f"{self.path} did not end by a loss that is not finite, so there is no step to skip; leave "
                "--skip-step out"
            )
        self.event("skipped", step=step)
        return step

    def metrics(self) -> Iterator[dict[str, Any]]:
        """Lines of `metrics.jsonl`, damaged and unfinished ones left out."""
        return (line for line in self._metric_lines() if line is not None)

    def _metric_lines(self) -> Iterator[dict[str, Any] | None]:
        """The same with None for each damaged line."""
        if not self.metrics_file.exists():
            return
        try:
            with open_plain(self.metrics_file) as stream:
                yield from map(metric_line, json_lines(stream))
        except OSError as error:
            raise InputError(refusal(error)) from error

    def rewind(self, step: int) -> None:
        """Drop what a resumed run will write again: what belongs to steps after `step`, partial files."""
        self.remove_leftovers()
        self.remove_torn_weights()
        for preview in self.previews.glob("*.npz"):  # or they would pass for the newest ones
            if not preview.stem.isdecimal() or int(preview.stem) > step:
                preview.unlink(missing_ok=True)
        if self.metrics_file.exists():
            lines = list(self._metric_lines())
            damaged = lines.count(None)
            if damaged:
                logger.warning("metrics.jsonl has %d damaged lines, which are left out", damaged)
            kept = [json.dumps(line) for line in lines if line and line["step"] <= step]
            write_text(self.metrics_file, "".join(f"{line}\n" for line in kept), follow=False)
        if self.events_file.exists():
            self._end_events()

    def _end_events(self) -> None:
        """Take away the half line that a kill may have left at the end of `events.jsonl`."""
        try:
            with open_plain(self.events_file) as stream:
                whole, end, half = stream.read().rpartition(b"\n")
        except OSError as error:
            raise InputError(refusal(error)) from error
        if half:
            with atomic_file(self.events_file, follow=False) as file:
                file.write(whole + end)

    def seconds(self) -> float:
        """Training time logged so far."""
        return max((float(line["seconds"]) for line in self.metrics()), default=0.0)

    def save_preview(self, step: int, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Write `previews/<step>.npz` and keep the newest few."""
        import numpy as np

        folder = self.previews

        with atomic_file(folder / f"{step:06d}.npz", follow=False) as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        for old in sorted(folder.glob("*.npz"))[:-_PREVIEWS_KEPT]:
            old.unlink(missing_ok=True)

    def log_handler(self) -> logging.Handler:
        """A handler that writes to `log.txt`."""
        handler = _LogFile(self.log_file, encoding="utf-8", errors="backslashreplace")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        return handler


class _LogFile(logging.FileHandler):
    """Appends to a plain file, never to one that a link leads to."""

    def _open(self) -> io.TextIOWrapper:
        stream = open_plain(self.baseFilename, "ab", follow=False)
        return io.TextIOWrapper(stream, encoding=self.encoding, errors=self.errors)


def write_text(path: Path, text: str, *, follow: bool = True) -> None:
    """Write UTF-8 text, whole or not at all; a link is followed or, without `follow`, replaced."""
    with atomic_file(path, follow=follow) as file:
        file.write(text.encode("utf-8"))


def content_hash(values: Any) -> str:
    """Sha256 of what a file of settings or facts says, whatever its layout.

    Args:
        values: plain values as its loader gives them.
    """
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def check_hash(file: Path, values: Any, entry: str = _CONFIG_HASH) -> None:
    """Refuse a file of a run that does not say any more what the run wrote.

    Args:
        file: the file.
        values: what it says.
        entry: name of its checksum in `environment.json`; a run without one is taken as it is.

    Raises:
        InputError: if it is another one.
    """
    stored = _stored_environment(file.parent).get(entry, "")
    if stored and stored != content_hash(values):
        raise InputError(
            f"{file} is damaged or was changed: it does not fit its checksum in {_ENVIRONMENT}; restore "
            f"the file or, if you changed it on purpose, remove {entry} from {_ENVIRONMENT}"
        )


def dump_config(config: RunConfig) -> str:
    """The settings as YAML, every field written out."""
    return dump_yaml(config.model_dump(mode="json"))


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """The settings with every path absolute, so that a run goes on from any folder."""
    return with_paths(config, lambda path: path.expanduser().absolute())


def with_paths(config: RunConfig, change: Callable[[Path], Path]) -> RunConfig:
    """The settings with every path in them changed."""

    def changed(path: Path | None) -> Path | None:
        return None if path is None else change(path)

    data, segmentor = config.data, config.segmentor
    folders = {
        "source": changed(data.source),
        "target": changed(data.target),
        "corrected": changed(data.corrected),
    }
    changes: dict[str, object] = {
        "data": data.model_copy(update=folders),
        "segmentor": segmentor.model_copy(update={"weights": changed(segmentor.weights)}),
        "init": changed(config.init),
        "method": config.method.model_copy(
            update={name: changed(v) for name, v in config.method if isinstance(v, Path)}
        ),
    }
    return config.model_copy(update=changes)


def read_config(file: Path) -> RunConfig:
    """Read a complete `config.yaml`.

    Raises:
        InputError: naming the first field that does not fit, or the package that the method came from
            if that is not installed.
    """
    from napari_uda.methods.registry import METHODS
    from napari_uda.run.config import RunConfig

    values = read_yaml(file)
    method = values.get("method") if isinstance(values, dict) else None
    name = str(method.get("name", "")) if isinstance(method, dict) else ""
    package = _stored_environment(file.parent).get("method_package", "")
    if package and name not in METHODS:
        raise InputError(f"{file.parent}: {METHODS.why_missing(name, package)}")
    check_hash(file, values)
    return parse_config(values, RunConfig, str(file), remedy(file.parent, "correct or remove it"))


def parse_config(
    values: Any,
    kind: type[RunConfig],
    where: str,
    advice: str = "correct or remove it",
    known: Sequence[str] = (),
) -> RunConfig:
    """Validate plain values as settings, with one sentence when they do not fit.

    Args:
        values: what was written.
        kind: the class of settings.
        where: what they stand in.
        advice: the end of the sentence.
        known: paths of the settings that there are, to say which one was meant.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        if problem["type"] == "extra_forbidden":
            alike = near_option(setting_path(problem["loc"]), known)
            advice = f"did you mean {listed(alike)}?" if alike else advice
        raise InputError(f"{where}: {plain_problem(error)}; {advice}") from error


def remedy(folder: Path, otherwise: str) -> str:
    """What helps where a run cannot be understood: the version that made it, if that is another one."""
    from napari_uda.core.version import __version__, installed_version

    stored = _stored_environment(folder)
    made_by = stored.get("napari_uda", "")
    if made_by not in ("", __version__):
        return f"it was made by napari_uda {made_by}, and this is {__version__}: use that version"
    package, _, version = stored.get("method_package", "").partition(" ")
    here = installed_version(package) if package else ""
    if here != version:
        now = f"this is {here}" if here else "none is installed here"
        return f"it was made by {package} {version}, and {now}: use that version"
    return otherwise


def run_name(folder: Path) -> str:
    """What results call a run: the name on its card, which one that was handed on has, else that of its folder."""
    with suppress(InputError):  # of a damaged card those tell who read all of it
        card = read_yaml(folder / CARD_FILE) if is_file(folder / CARD_FILE) else None
        if isinstance(card, dict) and card.get("name"):
            return " ".join(str(card["name"]).split())
    return folder.resolve().name


def _stored_environment(folder: Path) -> dict[str, str]:
    """What `environment.json` says; empty when it cannot be read."""
    found = read_object(folder / _ENVIRONMENT) or {}
    return {name: str(value) for name, value in found.items()}


def _append(file: Path, line: str) -> None:
    try:
        with open_plain(file, "ab", follow=False) as stream:
            stream.write(f"{line}\n".encode())
    except OSError as error:
        raise InputError(cannot_write(file.name, file.parent, error)) from error


def _environment(config: RunConfig) -> dict[str, str]:
    import numpy as np
    import torch

    from napari_uda.core.version import __version__, commit
    from napari_uda.methods.registry import METHODS

    return {
        "napari_uda": __version__,
        "commit": commit(),  # "" where it does not run from a clone
        "method_package": METHODS.package(config.method.name),  # "" for a method of napari_uda
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.system(),
        "machine": platform.machine(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def each_run(runs: Sequence[Any]) -> Sequence[Any]:
    """The runs, where a single path is not taken for the sequence of its letters.

    Raises:
        InputError: for one path.
    """
    if isinstance(runs, (str, os.PathLike)):
        raise InputError(
            f"{os.fspath(runs)} is one path where several runs are expected; give a list"
        )
    return runs
