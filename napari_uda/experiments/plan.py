"""The plan of a benchmark: its cells, one run per row, data set and seed, each named by a hash.

The hash is of what the cell's numbers depend on. It covers the resolved settings, the content of the
data, the runs it starts from and the volumes to segment. It leaves out where files lie, the device and
how often is logged, so that a benchmark that was moved or interrupted finds its cells again. The
protocol and the labels to score on are not in it either: when they change, the predictions that are
there are scored again, and nothing is trained.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_uda.core.config import merged
from napari_uda.core.errors import InputError
from napari_uda.data.folder import DataFolder
from napari_uda.experiments.fingerprints import content_hash, data_fingerprint, digest, scored_cases
from napari_uda.experiments.spec import DataSet, Row, Spec
from napari_uda.experiments.store import Cell, Store
from napari_uda.run.recipes import build_config
from napari_uda.run.run import with_absolute_paths

if TYPE_CHECKING:
    from napari_uda.run.config import RunConfig

_NOT_IDENTITY = (
    "device", "save_every", "log_every", "preview_every", "data.cache_gib",
)  # fmt: skip
_LIKE_BEFORE = (
    ("data.placement", "auto"),
    ("data.corrected", None),
    ("method.corrected_weight", 1.0),
)
"""Defaults of settings that came later: cells that were planned without them keep their names."""


def plan(spec: Spec, out: Path, *, ranks: int = 1) -> list[Cell]:
    """Every cell of a spec, each after those it starts from.

    Args:
        spec: the benchmark, with absolute folders.
        out: folder of the benchmark.
        ranks: processes that train one cell together (`torchrun`).

    Raises:
        InputError: for settings or folders that cannot be used; nothing has been trained then.
    """
    store = Store(out.absolute())
    for data in spec.data:
        _check_data(data, spec.structures)
    _check_pictures(spec)
    known: dict[tuple[str, str, int], Cell] = {}
    for trained in (data for data in spec.data if not data.runs_of):
        scored = [data for data in spec.data if data.runs_of == trained.name]
        for row in spec.in_order():
            if not trained.has_row(row):
                continue
            for seed in spec.seeds_of(row):
                start = _start(row, trained, seed, known)
                cell = _cell(spec, row, trained, seed, start, store, ranks)
                known[row.name, trained.name, seed] = cell
                for data in scored:
                    if not learnt_from_labels_of(data, cell):
                        known[row.name, data.name, seed] = _scored_again(cell, data)
    return list(known.values())


def learnt_from_labels_of(data: DataSet, cell: Cell) -> bool:
    """Whether a run was trained on the labels of volumes that are scored."""
    if "target_labels" not in _needs(cell.config):
        return False
    assert data.score is not None
    trained = {content_hash(case.image) for case in DataFolder.open(data.target).cases}
    return any(content_hash(case.image) in trained for case in scored_cases(data.score))


def _scored_again(cell: Cell, data: DataSet) -> Cell:
    """The cell that scores a finished one's run on other volumes."""
    assert data.score is not None
    key = digest(f"{cell.key} on {data_fingerprint(data.score, False)}".encode())
    return replace(
        cell, data=data.name, key=key, score=data.score, start=cell.key, scores_start=True
    )


def _check_data(data: DataSet, structures: tuple[str, ...]) -> None:
    assert data.score is not None
    for folder in (data.source, data.target):
        DataFolder.open(folder)
    scored_cases(data.score)
    names = data.names().values()
    unknown = [name for name in structures if names and name not in names]
    if unknown:
        raise InputError(
            f"structure {unknown[0]!r} is not labelled in {data.score}; choose among {', '.join(names)}"
        )


def _check_pictures(spec: Spec) -> None:
    scored = {case.name for data in spec.data if data.score for case in scored_cases(data.score)}
    unknown = [name for name in spec.pictures.cases if name not in scored]
    if unknown:
        raise InputError(
            f"pictures: case {unknown[0]!r} is not scored; choose among {', '.join(sorted(scored))}"
        )


def _start(
    row: Row, data: DataSet, seed: int, known: Mapping[tuple[str, str, int], Cell]
) -> Cell | None:
    """The cell whose run this row starts from."""
    if not row.init:
        return None
    cell = known.get((row.init, data.name, seed))
    if cell is None:
        raise InputError(
            f"row {row.name!r} starts from {row.init!r}, which has no seed {seed} on {data.name!r}; "
            "give that row the same seeds and data"
        )
    return cell


def _cell(
    spec: Spec,
    row: Row,
    data: DataSet,
    seed: int,
    start: Cell | None,
    store: Store,
    ranks: int,
) -> Cell:
    assert data.score is not None
    config = cell_config(spec, row, data, seed, None if start is None else store.run(start.key))
    folders, target_labels = config.data, "target_labels" in _needs(config)
    fingerprints = {
        "data.source": data_fingerprint(folders.source, True) if folders.source else "",
        "data.target": data_fingerprint(data.target, target_labels),
        **(
            {"data.corrected": data_fingerprint(folders.corrected, True)}
            if folders.corrected
            else {}
        ),
        **({"init": start.key} if start is not None else {}),
    }
    identity = {
        "settings": _identity(config.model_dump(), fingerprints),
        "segmented": data_fingerprint(data.score, False),
        "reliability": spec.reliability,
        **({"ranks": ranks} if ranks > 1 else {}),
    }
    key = digest(json.dumps(identity, sort_keys=True, default=str).encode())
    return Cell(
        row=row.name,
        data=data.name,
        seed=seed,
        key=key,
        config=config,
        score=data.score,
        protocol=spec.protocol,
        reliability=spec.reliability,
        ranks=ranks,
        start=start.key if start is not None else "",
    )


def cell_config(
    spec: Spec, row: Row, data: DataSet, seed: int, start: Path | None = None
) -> RunConfig:
    """Settings of one run: recipes of the spec, the row and the data, then their settings.

    Args:
        spec: the benchmark.
        row: one of its rows.
        data: one of its data sets; a method that needs no source does not learn where it lies.
        seed: the run's seed.
        start: run folder to start from.

    Raises:
        InputError: naming the row and what cannot be used.
    """
    recipe = ",".join(part for part in (spec.recipe, row.recipe, data.recipe) if part) or None
    settings: dict[str, Any] = {"seed": seed, "device": spec.device}
    if spec.steps:
        settings["steps"] = spec.steps
    for layer in (spec.settings, data.settings, row.settings):
        settings = merged(settings, layer)
    if start is not None:
        settings["init"] = str(start)
    try:
        needs = _needs(build_config(row.method, recipe=recipe, **settings))
        folders = {"target": str(data.target)}
        if "source" in needs:
            folders["source"] = str(data.source)
        settings = merged(settings, {"data": folders})
        return with_absolute_paths(build_config(row.method, recipe=recipe, **settings))
    except InputError as error:
        raise InputError(f"row {row.name!r}: {error}") from error


def _needs(config: RunConfig) -> frozenset[str]:
    from napari_uda.methods.registry import method_class

    return method_class(config.method.name).needs_with(config.method)


def _identity(tree: Mapping[str, Any], fingerprints: Mapping[str, str], at: str = "") -> Any:
    """The settings with paths replaced by what they lead to, without what changes no number."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        where = f"{at}{name}"
        if where in _NOT_IDENTITY or (where, value) in _LIKE_BEFORE:
            continue
        if where in fingerprints:
            found[name] = fingerprints[where]
        elif isinstance(value, Mapping):
            found[name] = _identity(value, fingerprints, f"{where}.")
        else:
            found[name] = content_hash(value) if isinstance(value, Path) else value
    return found
