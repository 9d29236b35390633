"""The spec of a benchmark: which rows, on which data, with which seeds, scored how. YAML, no code."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from napari_uda.core.config import Config, plain_problem
from napari_uda.core.errors import InputError
from napari_uda.core.small_files import read_yaml
from napari_uda.evaluation.protocols import get_protocol

POSITION_PRIOR = "blind position prior"
"""Name of the row that looks at no image."""


class DataSet(Config):
    """One direction: labelled source, unlabelled target, and the labelled volumes to score on."""

    name: str = Field(min_length=1)
    """Name in the tables, such as "CT to MR"."""
    source: Path
    """Data folder of the labelled source; a relative path starts at the folder of the spec, or at
    --data."""
    target: Path
    """Data folder of the target; a relative path starts at the folder of the spec, or at --data."""
    score: Path | None = None
    """Data folder whose labelled volumes are segmented and scored; without it those of the target
    are."""
    recipe: str = ""
    """Recipes of this direction, joined with commas; they are used after those of the spec and of
    the row."""
    labels: dict[str, int] = Field(default_factory=dict)
    """Label value of each structure by the name that the tables use, for data without
    dataset.json."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of every run on this data."""
    runs_of: str = ""
    """Data set whose runs are scored here on other volumes, such as those that they were adapted to;
    nothing is trained then, and what is not named is as there."""

    def has_row(self, row: Row) -> bool:
        """Whether a row is for this data, or for that whose runs are scored here."""
        return not row.data or bool({self.name, self.runs_of} & set(row.data))

    def names(self) -> dict[int, str]:
        """Label value to structure name, for every structure that is named."""
        from napari_uda.data.folder import DataFolder
        from napari_uda.data.segments import small_values

        assert self.score is not None
        named = small_values(self.labels) or DataFolder.open(self.score).labels
        return dict(sorted((value, name) for name, value in named.items() if value))


class Row(Config):
    """One line of the table: a method with its settings."""

    name: str = Field(min_length=1)
    """Name of the row in the tables."""
    method: str = ""
    """Method of the row; empty takes the one that the recipes name."""
    recipe: str = ""
    """Recipes of this row, joined with commas; they are used after those of the spec and before
    those of the data."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of this row; they win over all recipes."""
    init: str = ""
    """Row from whose run of the same data and seed this one starts; empty starts anew."""
    seeds: tuple[int, ...] = ()
    """Seeds of this row; empty takes those of the spec."""
    data: tuple[str, ...] = ()
    """Names of the data sets that this row is for; empty takes all."""
    against: str = ""
    """Row that this one has to beat, such as the source network that was trained as long: the tables say
    by how much it does, and test that pair; empty compares it with none."""


class Published(Config):
    """Numbers from the literature. They stand in columns of their own and enter no computation."""

    row: str
    """Row beside which the numbers stand."""
    data: str = ""
    """Data set that the numbers are for; it may be empty when the spec has a single one."""
    source: str = Field(min_length=1)
    """Where the numbers were read: paper and table."""
    dice: dict[str, float] = Field(default_factory=dict)
    """Dice in per cent by structure; `mean` is the average."""
    distance: dict[str, float] = Field(default_factory=dict)
    """Surface distance by structure, in the unit of that paper; `mean` is the average."""
    unit: str = ""
    """What the distance is and its unit, such as "ASD in voxels"."""


class Pictures(Config):
    """What the qualitative pictures show."""

    cases: tuple[str, ...] = ()
    """Scored cases to draw; a data set that scores none of them shows its first `count` cases by
    name."""
    count: int = Field(default=3, ge=1, le=20)
    """How many cases to draw when none is named."""
    rows: tuple[str, ...] = ()
    """Rows to draw, one column each, in this order; empty takes all."""


class Spec(Config):
    """A benchmark."""

    name: str = Field(min_length=1)
    """Title of the tables."""
    data: tuple[DataSet, ...] = Field(min_length=1)
    """The data sets, each of them one direction of adaptation."""
    rows: tuple[Row, ...] = Field(min_length=1)
    """The rows of the tables, in their order."""
    recipe: str = ""
    """Recipes of every run, joined with commas; later ones win over earlier ones."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of every run, used after the recipes; relative paths in settings start where the
    command runs."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of every row that names none of its own."""
    steps: int = Field(default=0, ge=0)
    """Training steps of every run; 0 takes the number from recipes and settings."""
    protocol: str = "recommended"
    """Name of the protocol that scores the predictions, see `napari-uda evaluate`."""
    device: str = "auto"
    """Where to compute: cpu, cuda, ... or auto; a run that is finished stays so when the device
    changes."""
    reliability: bool = False
    """Also vote on reliability when segmenting, for the pictures; it takes seven passes instead of
    one."""
    position_prior: bool = False
    """Add a row that sees no image and answers with the most common source label of each place."""
    structures: tuple[str, ...] = ()
    """Structures in the tables, in this order; empty takes all that are labelled."""
    lower: str = "source_only"
    """Row at which the recovered share of the gap is 0 %."""
    upper: str = "target_supervised"
    """Row at which the recovered share of the gap is 100 %; without both rows the column is left
    out."""
    compare: tuple[tuple[str, str], ...] = ()
    """Pairs of rows to test beside those of rows with `against`; without either all are tested. Holm's
    correction is over the pairs that are tested."""
    published: tuple[Published, ...] = ()
    """Numbers from the literature, shown in columns of their own."""
    pictures: Pictures = Pictures()
    """What the qualitative pictures show."""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_runs_of(cls, content: Any) -> Any:
        """A data set that scores the runs of another one says only what is other than there."""
        data = content.get("data") if isinstance(content, dict) else None
        if not isinstance(data, list | tuple) or not all(isinstance(each, dict) for each in data):
            return content
        by_name = {each.get("name"): each for each in data if not each.get("runs_of")}
        filled = [{**by_name.get(each.get("runs_of"), {}), **each} for each in data]
        return {**content, "data": filled}

    @field_validator("seeds")
    @classmethod
    def _some_seed(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value:
            raise ValueError("there must be at least one seed; write `seeds: [0]`")
        return value

    @field_validator("protocol")
    @classmethod
    def _known_protocol(cls, value: str) -> str:
        return get_protocol(value).name

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        rows, data = [row.name for row in self.rows], [each.name for each in self.data]
        _check_unique(rows, "row")
        _check_unique(data, "data set")
        if POSITION_PRIOR in rows:
            raise ValueError(
                f"row name {POSITION_PRIOR!r} is reserved for the row that sees no image; choose another name, or write `position_prior: true`"
            )
        scored = [*rows, *([POSITION_PRIOR] if self.position_prior else [])]
        for row in self.rows:
            where = f"row {row.name!r}"
            _check_seeds(row.seeds or self.seeds, where)
            _check_known(row.data, data, f"{where}: data set")
            _check_known((row.init,) if row.init else (), rows, f"{where}: init")
            _check_settings(row.settings, where)
            _check_known((row.against,) if row.against else (), rows, f"{where}: against")
            if row.against == row.name:
                raise ValueError(f"{where} is against itself; name another row")
        trained = {each.name: each for each in self.data if not each.runs_of}
        for each in self.data:
            _check_settings(each.settings, f"data set {each.name!r}")
            if each.runs_of:
                _check_known((each.runs_of,), list(trained), f"data set {each.name!r}: runs_of")
                _check_same_runs(each, trained[each.runs_of])
        _check_settings(self.settings, "settings")
        for pair in self.compare:
            _check_known(pair, scored, "compare: row")
            if pair[0] == pair[1]:
                raise ValueError(f"compare names {pair[0]!r} twice; give two different rows")
        for entry in self.published:
            _check_known((entry.row,), scored, "published: row")
            if not entry.data and len(data) > 1:
                raise ValueError(
                    f"published numbers of {entry.row!r} need `data:`, one of {', '.join(data)}"
                )
            _check_known((entry.data,) if entry.data else (), data, "published: data set")
        _check_unique(
            [f"{entry.row} on {entry.data or data[0]}" for entry in self.published], "published"
        )
        _check_known(self.pictures.rows, scored, "pictures: row")
        self.in_order()
        return self

    def in_order(self) -> list[Row]:
        """Rows in their order, but each after those it starts from.

        Raises:
            ValueError: if rows start from each other in a circle.
        """
        by_name = {row.name: row for row in self.rows}
        ordered: dict[str, Row] = {}
        for row in self.rows:
            before = [row]
            while before[-1].init and before[-1].init not in ordered:
                before.append(by_name[before[-1].init])
                if before[-1] in before[:-1]:
                    circle = ", ".join(sorted({each.name for each in before}))
                    raise ValueError(f"rows {circle} start from each other in a circle; break it")
            ordered |= {each.name: each for each in reversed(before)}
        return list(ordered.values())

    def tested_pairs(self) -> tuple[tuple[str, str], ...]:
        """Pairs of rows to test; () for all."""
        against = ((row.against, row.name) for row in self.rows if row.against)
        return tuple(dict.fromkeys([*self.compare, *against]))

    def seeds_of(self, row: Row) -> tuple[int, ...]:
        """Seeds of one row."""
        return row.seeds or self.seeds


def read_spec(
    file: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    only: Sequence[str] = (),
) -> Spec:
    """Read a spec; its relative data folders become absolute.

    `include: FILE` takes what the spec does not say itself from another file, named from the spec's folder.

    Args:
        file: YAML file.
        data: folder that relative data folders start from; none takes the folder of the spec.
        only: data sets to keep, with those that score the same runs; empty keeps all.

    Raises:
        InputError: naming the first thing in it that does not fit.
    """
    path = Path(file)
    content = _content(path)
    shared = content.pop("include", "")
    if shared:
        content = {**_content(path.parent / str(shared)), **content}
    try:
        spec = Spec.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: {_sentence(error)}") from error
    trained = {each.name: each.runs_of or each.name for each in spec.data}
    unknown = [name for name in only if name not in trained]
    if unknown:
        raise InputError(
            f"{path} has no data set {unknown[0]!r}; choose among {', '.join(trained)}"
        )
    kept = {trained[name] for name in only}
    root = (Path(data) if data is not None else path.parent).expanduser().absolute()
    sets = tuple(
        each.model_copy(
            update={
                "source": root / each.source.expanduser(),
                "target": root / each.target.expanduser(),
                "score": root / (each.score or each.target).expanduser(),
            }
        )
        for each in spec.data
        if not only or trained[each.name] in kept
    )
    return spec.model_copy(update={"data": sets})


def _content(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise InputError(
            f"{path} does not describe a benchmark; write `name:`, `data:` and `rows:`"
        )
    return content


def _sentence(error: ValidationError) -> str:
    """The first problem; those found between fields bring their own remedy."""
    if error.errors()[0]["loc"]:
        return f"{plain_problem(error)}; correct or remove it"
    return plain_problem(error)


def _check_unique(names: list[str], what: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{what} {twice[0]!r} is there twice; give each one a name of its own")


def _check_known(names: Iterable[str], known: list[str], what: str) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{what} {name!r} is not in the spec; choose among {', '.join(known)}")


def _check_seeds(seeds: tuple[int, ...], where: str) -> None:
    if len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ValueError(f"{where}: seeds {list(seeds)} must be different and not negative")


def _check_same_runs(scored: DataSet, trained: DataSet) -> None:
    for name in ("source", "target", "recipe", "settings"):
        if getattr(scored, name) != getattr(trained, name):
            raise ValueError(
                f"data set {scored.name!r} scores the runs of {trained.name!r} and has another {name}; "
                "leave it out"
            )


def _check_settings(settings: dict[str, Any], where: str) -> None:
    """What the spec has a place of its own for may not be set a second time."""
    data = settings.get("data")
    taken = [
        f"data.{side}" for side in ("source", "target") if isinstance(data, dict) and side in data
    ]
    taken += [name for name in ("seed", "device") if name in settings]
    if taken:
        raise ValueError(
            f"{where}: {taken[0]} has its own place in the spec; take it out of settings"
        )
