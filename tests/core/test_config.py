from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field, ValidationError, field_validator, model_validator

from napari_uda.core.config import Config, plain_problem, problem_text


class Part(Config):
    """A group."""

    low: int = Field(default=1, ge=1, le=9)
    """A docstring that
    goes over three
    lines."""
    share: float = Field(default=0.5, gt=0, lt=1)
    """A share."""
    kind: Literal["mean", "max", "min"] = "mean"
    """A choice."""
    factor: Literal[1, 2] = 1
    """A choice of numbers."""
    pair: tuple[float, float] = (0.0, 1.0)
    """Two numbers."""
    pattern: str = ""
    """A pattern."""

    @field_validator("pattern")
    @classmethod
    def _short(cls, value: str) -> str:
        if len(value) > 3:
            raise ValueError("is too long")
        if value == "odd":
            raise ValueError("give another one")
        return value


class Whole(Config):
    """Settings."""

    name: str = Field(default="x", min_length=1)
    """A name."""
    part: Part = Part()
    """A group."""
    parts: tuple[Part, ...] = Field(default=(), max_length=2)
    """Groups."""
    labels: dict[str, int] = Field(default_factory=dict)
    """Numbers by name."""
    folder: Path | None = None
    """A folder."""
    on: bool = False
    """A switch."""

    @model_validator(mode="after")
    def _agree(self) -> Whole:
        if self.on and not self.labels:
            raise ValueError("on needs labels; give some")
        return self


class Needy(Config):
    """Settings without a default."""

    source: Path
    """A file."""


def problem(kind: type[Config], values: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(values)
    return plain_problem(caught.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"part": {"low": 0}}, "part.low must be at least 1, not 0"),
        ({"part": {"low": 10}}, "part.low must be at most 9, not 10"),
        ({"part": {"low": 1.5}}, "part.low must be a whole number, not 1.5"),
        ({"part": {"low": "many"}}, "part.low must be a whole number, not 'many'"),
        ({"part": {"share": 0}}, "part.share must be above 0, not 0"),
        ({"part": {"share": 1}}, "part.share must be below 1, not 1"),
        ({"part": {"share": float("nan")}}, "part.share must be a finite number, not nan"),
        ({"part": {"share": []}}, "part.share must be a number, such as 0.5"),
        ({"part": {"kind": "sum"}}, "part.kind must be mean, max or min, not 'sum'"),
        ({"part": {"factor": 3}}, "part.factor must be 1 or 2, not 3"),
        ({"part": {"pair": [1]}}, "part.pair (entry 2) must be given"),
        (
            {"part": {"pair": [1, "a"]}},
            "part.pair (entry 2) must be a number, such as 0.5, not 'a'",
        ),
        ({"part": {"pair": 3}}, "part.pair must be a list, such as [0, 1], not 3"),
        ({"part": {"pattern": "long"}}, "part.pattern is too long"),
        ({"part": {"pattern": "odd"}}, "part.pattern: give another one"),
        ({"part": 3}, "part must be settings, each written as name: value, not 3"),
        ({"parts": [{}, {"low": 0}]}, "parts (entry 2).low must be at least 1, not 0"),
        ({"parts": [{}, {}, {}]}, "parts must have at most 2 entries"),
        ({"labels": {"LV": "a"}}, "labels.LV must be a whole number, not 'a'"),
        ({"labels": 3}, "labels must be names and values, such as MYO: 1, LVC: 2, not 3"),
        ({"folder": 3}, "folder must be a path, not 3"),
        ({"on": "perhaps"}, "on must be true or false, not 'perhaps'"),
        ({"name": ""}, "name must not be empty, not ''"),
        ({"name": 3}, "name must be a text, not 3"),
        ({"part": {"colour": 1}}, "there is no setting part.colour"),
        ({"on": True}, "on needs labels; give some"),
    ],
)
def test_problem_is_said_in_plain_words(values: dict[str, Any], said: str) -> None:
    assert problem(Whole, values) == said


def test_what_is_missing_and_what_is_no_group_at_all() -> None:
    assert problem(Needy, {}) == "source must be given"
    assert problem(Needy, 3) == "must be settings, each written as name: value"


def test_damaged_json() -> None:
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate_json("{")
    assert plain_problem(caught.value).startswith("is not valid JSON (")


def test_long_values_are_not_repeated() -> None:
    assert problem(Whole, {"part": {"low": "many " * 20}}) == "part.low must be a whole number"


def test_kind_without_words_of_its_own_keeps_those_of_pydantic() -> None:
    text = problem_text({"type": "url_type", "msg": "Input should be a URL"})
    assert text == "must be a URL"


def test_docstring_of_several_lines_is_shown_as_one() -> None:
    assert Part.model_fields["low"].description == "A docstring that goes over three lines."
