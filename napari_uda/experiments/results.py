"""From finished cells to the numbers of a table: per row and data set, over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from napari_uda.data.folder import DataFolder
from napari_uda.data.volume import Placement
from napari_uda.evaluation.protocols import Protocol, get_protocol
from napari_uda.experiments.fingerprints import (
    content_hash,
    labels_fingerprint,
    scored_cases,
    split_fingerprint,
)
from napari_uda.experiments.spec import POSITION_PRIOR, DataSet, Published, Spec
from napari_uda.experiments.statistics import Comparison, Pairs, compare_rows
from napari_uda.experiments.store import Cell, Result, Store, read_result
from napari_uda.methods.base import supervision_with_corrected, supervision_with_start
from napari_uda.run.folder import RunFolder

AVERAGE = "mean"
"""Name of the average over structures."""


@dataclass(frozen=True)
class Number:
    """A mean over seeds. `sd` is the sample standard deviation; NaN for a single seed."""

    mean: float
    sd: float
    n: int


@dataclass(frozen=True)
class RowResults:
    """One row on one data set.

    Attributes:
        name: of the row.
        results: by seed, the finished ones.
        failed: by seed, why it failed.
        waiting: seeds that are not finished yet.
        predictions: by seed, the folder of predictions.
    """

    name: str
    results: dict[int, Result] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    waiting: tuple[int, ...] = ()
    predictions: dict[int, Path] = field(default_factory=dict)

    def of_seeds(self, column: str, structure: str, structures: Sequence[str]) -> list[float]:
        """One value per finished seed: of a structure, or the average of the structures."""
        values = []
        for _, result in sorted(self.results.items()):
            means = [result.summary.get(name, {}).get(column) for name in structures]
            if structure != AVERAGE:
                means = [result.summary.get(structure, {}).get(column)]
            defined = [value for value in means if value is not None]
            values.append(float(np.mean(defined)) if defined else math.nan)
        return values

    def number(self, column: str, structure: str, structures: Sequence[str]) -> Number:
        """Mean and standard deviation over seeds."""
        return over_seeds(self.of_seeds(column, structure, structures))

    def missed(self, structures: Sequence[str]) -> int:
        """How often a structure was missed altogether, over volumes, structures and seeds."""
        found = [
            result.summary.get(name, {}).get("n_missing") or 0
            for result in self.results.values()
            for name in structures
        ]
        return int(sum(found))

    def pairs(self, column: str, structures: Sequence[str]) -> Pairs:
        """Value by (volume, structure), the mean over seeds; NaN where a seed has none."""
        collected: dict[tuple[str, str], list[float]] = {}
        for result in self.results.values():
            for case in result.cases:
                if case["name"] in structures:
                    value = case[column]
                    key = str(case["case"]), str(case["name"])
                    collected.setdefault(key, []).append(math.nan if value is None else value)
        return {key: float(np.mean(values)) for key, values in collected.items()}


@dataclass(frozen=True)
class DataResults:
    """All rows on one data set, and what a caption must say.

    Attributes:
        data: the data set.
        protocol: the rules.
        columns: the overlap and the distance that the tables show, columns of scores.csv.
        structures: their names in order.
        rows: in the order of the spec.
        recovered: share of the gap between the bounds by row, in per cent of average Dice.
        comparisons: tests by column.
        against: by row the one that it has to beat.
        published: numbers of the literature by row.
        volumes: volumes that are scored.
        seen: those of them that are also among the unlabelled training volumes.
        split: hash of what trains and what is scored.
        selection: which weights predict, in words.
        ranks: processes per run.
        supervision: rows that used labels of the target in training, and which.
        series: which DICOM volumes its runs read.
        placement: which placement of NIfTI files they trust.
    """

    data: DataSet
    protocol: Protocol
    columns: tuple[str, str]
    structures: tuple[str, ...]
    rows: list[RowResults]
    recovered: dict[str, float]
    comparisons: dict[str, list[Comparison]]
    against: dict[str, str]
    published: dict[str, Published]
    volumes: int
    seen: int
    split: str
    selection: str
    ranks: int
    supervision: dict[str, str]
    series: str = ""
    placement: Placement = "auto"

    def row(self, name: str) -> RowResults:
        """The row of that name."""
        return next(row for row in self.rows if row.name == name)


def over_seeds(values: Iterable[float]) -> Number:
    """Mean and sample standard deviation of the defined values."""
    defined = [value for value in values if math.isfinite(value)]
    mean = float(np.mean(defined)) if defined else math.nan
    sd = float(np.std(defined, ddof=1)) if len(defined) > 1 else math.nan
    return Number(mean, sd, len(defined))


def collect(spec: Spec, cells: Sequence[Cell], store: Store) -> list[DataResults]:
    """Everything the tables need, from the results that are there by now."""
    return [_of_data(spec, data, cells, store) for data in spec.data]


def _of_data(spec: Spec, data: DataSet, cells: Sequence[Cell], store: Store) -> DataResults:
    assert data.score is not None
    protocol = get_protocol(spec.protocol)
    columns = "dice", protocol.headline[1]
    rows = []
    if spec.position_prior:
        key = position_key(data)
        found = _named(position_result(store, data, protocol.name), data)
        folder = {0: store.run(key)} if found else {}
        waiting = () if found else (0,)
        rows.append(RowResults(POSITION_PRIOR, {0: found} if found else {}, {}, waiting, folder))
    of_data = [cell for cell in cells if cell.data == data.name]
    for row in spec.rows:
        own = [cell for cell in of_data if cell.row == row.name]
        if own or (data.runs_of and data.has_row(row)):
            rows.append(_row(row.name, own, store, data))
    results = [result for row in rows for result in row.results.values()]
    structures = spec.structures or _ordered(results)
    structures = structures or tuple(data.names().values())  # none is finished yet
    with_results = [row.name for row in rows if row.results]
    wanted = spec.tested_pairs() or tuple(
        (first, second) for i, first in enumerate(with_results) for second in with_results[i + 1 :]
    )
    wanted = tuple(pair for pair in wanted if set(pair) <= set(with_results))
    comparisons = {}
    for column in columns:
        pairs = {row.name: row.pairs(column, structures) for row in rows}
        averages = {row.name: row.of_seeds(column, AVERAGE, structures) for row in rows}
        comparisons[column] = compare_rows(pairs, averages, wanted)
    series, placement = reading_of(cells, data)
    scored = scored_cases(data.score)
    trained = {content_hash(case.image) for case in DataFolder.open(data.target).cases}
    return DataResults(
        data=data,
        protocol=protocol,
        columns=columns,
        structures=tuple(structures),
        rows=rows,
        recovered=_recovered(spec, rows, structures),
        comparisons=comparisons,
        against={row.name: row.against for row in spec.rows if row.against},
        published={p.row: p for p in spec.published if p.data in ("", data.name)},
        volumes=len(scored),
        seen=sum(content_hash(case.image) in trained for case in scored),
        split=split_fingerprint(data),
        selection=_selection(of_data),
        ranks=max((cell.ranks for cell in of_data), default=1),
        supervision=_target_supervision(of_data),
        series=series,
        placement=placement,
    )


def reading_of(cells: Sequence[Cell], data: DataSet) -> tuple[str, Placement]:
    """The `series` and `placement` by which the runs on a data set read their files; those of the first."""
    of_data = (cell.config.data for cell in cells if cell.data == data.name)
    return next(((each.series, each.placement) for each in of_data), ("", "auto"))


def position_key(data: DataSet) -> str:
    """Folder of the predictions of the row without images."""
    return f"position_prior_{split_fingerprint(data)}"


def position_result(store: Store, data: DataSet, protocol: str) -> Result | None:
    """Its result when it is there and still right."""
    assert data.score is not None
    found = read_result(store.result_file(position_key(data)))
    if found is None or found.protocol != protocol:
        return None
    return found if found.labels == labels_fingerprint(data.score) else None


def _named(result: Result | None, data: DataSet) -> Result | None:
    """The result with the names that the spec gives to label values."""
    if result is None or not data.labels:
        return result
    names = {f"label_{value}": name for value, name in data.names().items()}
    return replace(
        result,
        summary={names.get(name, name): numbers for name, numbers in result.summary.items()},
        cases=[
            {**case, "name": names.get(str(case["name"]), case["name"])} for case in result.cases
        ],
    )


def _row(name: str, cells: Sequence[Cell], store: Store, data: DataSet) -> RowResults:
    results, failed, waiting, predictions = {}, {}, [], {}
    for cell in cells:
        result = _named(store.result(cell), data)
        reason = store.reason(cell.key)
        if result is not None:
            results[cell.seed] = result
            predictions[cell.seed] = RunFolder(store.run(cell.key)).predictions
        elif reason:
            failed[cell.seed] = reason
        else:
            waiting.append(cell.seed)
    return RowResults(name, results, failed, tuple(waiting), predictions)


def _ordered(results: Sequence[Result]) -> tuple[str, ...]:
    """Structures in the order of their label values, as every result lists them."""
    longest = max((tuple(result.summary) for result in results), key=len, default=())
    extra = {name for result in results for name in result.summary} - set(longest)
    return (*longest, *sorted(extra))


def _recovered(
    spec: Spec, rows: Sequence[RowResults], structures: Sequence[str]
) -> dict[str, float]:
    """(row - lower) / (upper - lower) of average Dice, in per cent; {} without a gap to recover."""
    dice = {row.name: row.number("dice", AVERAGE, structures).mean for row in rows if row.results}
    if not {spec.lower, spec.upper} <= dice.keys():
        return {}
    gap = dice[spec.upper] - dice[spec.lower]
    if not gap > 0:
        return {}
    return {name: 100 * (value - dice[spec.lower]) / gap for name, value in dice.items()}


def _target_supervision(cells: Sequence[Cell]) -> dict[str, str]:
    """Which labels of the target each row used, itself or in the run it starts from."""
    known: dict[str, str] = {}
    for cell in cells:  # each after the one it starts from
        start, config = known.get(cell.start, "none"), cell.config
        folder = config.data.corrected if config.method.corrected_weight else None
        cases = 0 if folder is None else len(scored_cases(folder))
        own = supervision_with_corrected(config.method.target_supervision, cases)
        known[cell.key] = supervision_with_start(own, start)
    return {cell.row: known[cell.key] for cell in cells if known[cell.key] != "none"}


def _selection(cells: Sequence[Cell]) -> str:
    words = {
        "last": "last weights",
        "source_validation": "best weights on held-out source cases",
        "consistency": "best weights by held-out source cases and consistency on the target",
    }
    return " or ".join(sorted({words[cell.config.select] for cell in cells}))
