"""The files of a benchmark folder, and what they hold of a cell: its job, its result, why it failed."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_uda.core.errors import InputError
from napari_uda.core.small_files import parse_json, parse_yaml, read_small
from napari_uda.experiments.fingerprints import labels_fingerprint
from napari_uda.run.run import dump_config, parse_config, write_text

if TYPE_CHECKING:
    from napari_uda.run.config import RunConfig


_MOST_RESULT_BYTES = 100_000_000


@dataclass(frozen=True)
class Cell:
    """One run of a benchmark: a row of its table on one data set with one seed.

    Attributes:
        row: name of the row.
        data: name of the data set.
        seed: seed of the run.
        key: hash that names the run folder; cells of equal key are one run.
        config: settings of the run, with absolute paths.
        score: data folder to score on.
        protocol: name of the protocol.
        reliability: whether prediction votes on reliability.
        ranks: processes that train together.
        start: key of the cell whose run this one starts from; "" when it starts anew.
        scores_start: whether nothing is trained, and the run of `start` is scored on other volumes.
    """

    row: str
    data: str
    seed: int
    key: str
    config: RunConfig
    score: Path
    protocol: str
    reliability: bool = False
    ranks: int = 1
    start: str = ""
    scores_start: bool = False

    @property
    def title(self) -> str:
        """The cell in words."""
        return f"{self.row}, {self.data}, seed {self.seed}"


@dataclass(frozen=True)
class Result:
    """Scores of one finished cell.

    Attributes:
        protocol: name of the protocol.
        labels: fingerprint of the labels that it was scored on.
        summary: mean of every column by structure, in order of label values: `{"MYO": {"dice": 0.8}}`;
            `n_missing` among them counts the volumes in which the structure was missed.
        cases: one mapping per volume and structure: `case`, `name`, `state` and the score columns; an
            undefined number is None.
        seconds: training time.
        predict_seconds: time to segment the volumes that were not yet segmented.
        cost: what training and prediction took, as `experiments.cost` says; {} where that is not known.
    """

    protocol: str
    labels: str
    summary: dict[str, dict[str, float | None]]
    cases: list[dict[str, Any]]
    seconds: float = 0.0
    predict_seconds: float = 0.0
    cost: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Store:
    """The files of a benchmark folder by the key of a cell."""

    out: Path

    def run(self, key: str) -> Path:
        """Run folder."""
        return self.out / "runs" / key

    def job(self, key: str) -> Path:
        """File with what another process needs to run the cell."""
        return self.out / "cells" / f"{key}.json"

    def log(self, key: str) -> Path:
        """What the cell's process printed, when it had one of its own."""
        return self.out / "cells" / f"{key}.log"

    def lock(self, key: str) -> Path:
        """Held by the process that works on the cell."""
        return self.out / "cells" / f"{key}.lock"

    def failure(self, key: str) -> Path:
        """Why the cell failed, until it succeeds."""
        return self.out / "cells" / f"{key}.failed.json"

    def cost_file(self, key: str) -> Path:
        """What training cost, until `result_file` says it."""
        return self.out / "cells" / f"{key}.cost.json"

    def training_cost(self, key: str) -> dict[str, Any]:
        """What the cost file says; {} where training was not measured."""
        try:
            return dict(_read(self.cost_file(key)))
        except (OSError, ValueError, TypeError):
            return {}

    def result_file(self, key: str) -> Path:
        """Scores of the cell."""
        return self.out / "results" / f"{key}.json"

    def result(self, cell: Cell) -> Result | None:
        """The scores, when the cell is finished: same protocol, same labels."""
        found = read_result(self.result_file(cell.key))
        if found is None or found.protocol != cell.protocol:
            return None
        return found if found.labels == labels_fingerprint(cell.score) else None

    def reason(self, key: str) -> str:
        """Why the cell failed; "" when it did not."""
        try:
            return str(_read(self.failure(key))["reason"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""


def write_job(store: Store, cell: Cell) -> Path:
    """Write what another process needs to run the cell."""
    content = {**asdict(cell), "config": dump_config(cell.config), "score": str(cell.score)}
    write_text(store.job(cell.key), json.dumps(content, indent=2) + "\n")
    return store.job(cell.key)


def read_job(file: Path) -> tuple[Store, Cell]:
    """The cell of a job file, and the folder it belongs to."""
    from napari_uda.run.config import RunConfig

    content = _read(file)
    content["config"] = parse_config(parse_yaml(content["config"], str(file)), RunConfig, str(file))
    content["score"] = Path(content["score"])
    return Store(file.absolute().parent.parent), Cell(**content)


def read_result(file: Path) -> Result | None:
    """A result file; None when there is none or another version wrote it."""
    try:
        return Result(**_read(file))
    except (OSError, ValueError, TypeError):
        return None


def _read(file: Path) -> Any:
    """What a file of the store says; scores of many cases are larger than settings."""
    return parse_json(read_small(file, most_bytes=_MOST_RESULT_BYTES), str(file))


def note_failure(store: Store, key: str, error: Exception | str) -> None:
    """Write down why a cell failed, in one line."""
    text = str(error) or type(error).__name__
    if isinstance(error, Exception) and not isinstance(error, InputError):
        text = f"{type(error).__name__}: {text}"
    content = {"reason": " ".join(text.split()), "input": isinstance(error, InputError)}
    with suppress(InputError):  # on a full disk the caller still says it
        write_text(store.failure(key), json.dumps(content) + "\n")


def is_input_failure(store: Store, key: str) -> bool:
    """Whether a cell failed because of what it was given, not because of the program."""
    try:
        return bool(_read(store.failure(key))["input"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
