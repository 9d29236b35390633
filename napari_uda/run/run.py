"""Run: a folder with settings, weights, logs and predictions; its file names are in `run.folder`."""

from __future__ import annotations

import datetime
import json
import logging
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from napari_uda.core.config import plain_problem
from napari_uda.core.errors import InputError, refusal
from napari_uda.core.files import atomic_file, cannot_write
from napari_uda.run.folder import RunFolder, parse_object, read_object

if TYPE_CHECKING:
    import os

    import numpy as np
    from numpy.typing import NDArray

    from napari_uda.data.facts import DataFacts
    from napari_uda.run.config import RunConfig

_PREVIEWS_KEPT = 5


@dataclass(frozen=True)
class Run(RunFolder):
    """One run folder with its settings.

    Attributes:
        path: the folder.
        config: its resolved settings.
    """

    config: RunConfig

    @classmethod
    def create(cls, path: str | os.PathLike[str], config: RunConfig) -> Run:
        """Make a new run folder; its settings name data by absolute paths, to resume from anywhere.

        Raises:
            InputError: if the folder is not empty or cannot be written.
        """
        cls.check_new(path)
        run = cls(Path(path), with_absolute_paths(config))
        try:
            write_text(run.config_file, dump_config(run.config))
            environment = json.dumps(_environment(run.config), indent=2)
            write_text(run.path / "environment.json", environment + "\n")
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
    def open(cls, path: str | os.PathLike[str]) -> Run:
        """Open an existing run folder.

        Raises:
            InputError: if it is none, or its settings cannot be read by this version.
        """
        folder = Path(path)
        file = RunFolder(folder).config_file
        try:
            is_run = file.is_file()
        except OSError as error:
            raise InputError(refusal(error)) from error
        if not is_run:
            raise InputError(
                f"{folder} is not a run folder (it has no config.yaml); give one that is"
            )
        return cls(folder, read_config(file))

    @staticmethod
    def list(folder: str | os.PathLike[str]) -> list[Path]:
        """Run folders directly inside `folder`, newest first."""
        found = [file.parent for file in Path(folder).glob("*/config.yaml")]
        return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)

    @cached_property
    def facts(self) -> DataFacts:
        """What the run measured on its data.

        Raises:
            InputError: if training has not begun.
        """
        from napari_uda.data.facts import DataFacts  # numpy is slow to import for a list of runs

        file = self.facts_file
        try:
            return DataFacts.model_validate_json(file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise InputError(f"{self.path} has no data.json; train the run first") from error
        except OSError as error:
            raise InputError(refusal(error)) from error
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
    def created(self) -> str:
        """When the run was made, ISO 8601 in UTC; empty if its environment.json does not say."""
        return _stored_environment(self.path).get("created", "")

    def write_facts(self, facts: DataFacts) -> None:
        """Store what was measured on the data."""
        write_text(self.facts_file, facts.model_dump_json(indent=2) + "\n")

    def known_facts(self) -> DataFacts | None:
        """`facts`, or None before training has begun."""
        try:
            return self.facts if self.facts_file.exists() else None
        except OSError as error:
            raise InputError(refusal(error)) from error

    def weights_file(self) -> Path:
        """Weights that predict: the best ones when the run's settings select them, else the last.

        Raises:
            InputError: if there are none yet.
        """
        from napari_uda.run import checkpoint

        best = self.checkpoints / checkpoint.BEST
        pair = checkpoint.newest(self.checkpoints)
        last = pair[1] if pair else self.checkpoints / checkpoint.WEIGHTS
        try:
            if self.config.select != "last" and best.exists():
                return best
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

    def metrics(self) -> Iterator[dict[str, Any]]:
        """Lines of `metrics.jsonl`, damaged and unfinished ones left out."""
        if not self.metrics_file.exists():
            return
        with self.metrics_file.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                values = parse_object(line) if line.endswith("\n") else None
                if values is not None and "step" in values:
                    yield values

    def rewind(self, step: int) -> None:
        """Drop what a resumed run will write again: what belongs to steps after `step`, partial files."""
        # `predictions` may belong to a process that predicts right now
        for folder in (self.path, self.previews, self.checkpoints):
            for leftover in folder.glob(".*.tmp"):
                if leftover.is_file():
                    leftover.unlink(missing_ok=True)
        for preview in self.previews.glob("*.npz"):  # or they would pass for the newest ones
            if not preview.stem.isdecimal() or int(preview.stem) > step:
                preview.unlink(missing_ok=True)
        if self.metrics_file.exists():
            kept = [json.dumps(line) for line in self.metrics() if line["step"] <= step]
            write_text(self.metrics_file, "".join(f"{line}\n" for line in kept))
        if self.events_file.exists():
            whole = self.events_file.read_text(encoding="utf-8").rpartition("\n")
            write_text(self.events_file, whole[0] + whole[1])

    def seconds(self) -> float:
        """Training time logged so far."""
        return max((float(line["seconds"]) for line in self.metrics()), default=0.0)

    def save_preview(self, step: int, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Write `previews/<step>.npz` and keep the newest few."""
        import numpy as np

        folder = self.previews

        with atomic_file(folder / f"{step:06d}.npz") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        for old in sorted(folder.glob("*.npz"))[:-_PREVIEWS_KEPT]:
            old.unlink(missing_ok=True)

    def log_handler(self) -> logging.Handler:
        """A handler that writes to `log.txt`."""
        handler = logging.FileHandler(self.log_file, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        return handler


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with atomic_file(path) as file:
        file.write(text.encode("utf-8"))


def dump_config(config: RunConfig) -> str:
    """The settings as YAML, every field written out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """The settings with every path absolute, so that a run goes on from any folder."""

    def absolute(path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()

    data, segmentor = config.data, config.segmentor
    folders = {"source": absolute(data.source), "target": absolute(data.target)}
    changes: dict[str, object] = {
        "data": data.model_copy(update=folders),
        "segmentor": segmentor.model_copy(update={"weights": absolute(segmentor.weights)}),
        "init": absolute(config.init),
        "method": config.method.model_copy(
            update={name: absolute(v) for name, v in config.method if isinstance(v, Path)}
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
    return parse_config(values, RunConfig, str(file), remedy(file.parent, "correct or remove it"))


def parse_config(
    values: Any, kind: type[RunConfig], where: str, advice: str = "correct or remove it"
) -> RunConfig:
    """Validate plain values as settings, with one sentence when they do not fit."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
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


def _stored_environment(folder: Path) -> dict[str, str]:
    """What `environment.json` says; empty when it cannot be read."""
    found = read_object(folder / "environment.json") or {}
    return {name: str(value) for name, value in found.items()}


def read_yaml(file: Path) -> Any:
    """Plain values of a YAML file, no tags, no objects."""
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{file} is not valid YAML ({_yaml_problem(error)}); mend it") from error
    except OSError as error:
        raise InputError(refusal(error)) from error


def _yaml_problem(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return " ".join(str(error).split())


def _append(file: Path, line: str) -> None:
    try:
        with file.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
    except OSError as error:
        raise InputError(cannot_write(file.name, file.parent, error)) from error


def _environment(config: RunConfig) -> dict[str, str]:
    import numpy as np
    import torch

    from napari_uda.core.version import __version__
    from napari_uda.methods.registry import METHODS

    return {
        "napari_uda": __version__,
        "method_package": METHODS.package(config.method.name),  # "" for a method of napari_uda
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.system(),
        "machine": platform.machine(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
