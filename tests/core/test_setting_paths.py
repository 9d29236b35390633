"""Settings by dotted path and back, and what is wrong with one."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field, ValidationError

from napari_uda.core.config import Config
from napari_uda.core.setting_paths import bounds, by_path, leaves, nested, problems_by_field


class Inner(Config):
    rate: float = Field(default=0.5, gt=0, le=1)
    names: dict[str, int] = Field(default_factory=lambda: {"LV": 1})


class Outer(Config):
    inner: Inner = Inner()
    steps: int = Field(default=3, ge=1, lt=10)


def test_a_config_by_path_has_nested_settings_last() -> None:
    assert by_path(Outer()) == {"steps": 3, "inner.rate": 0.5, "inner.names": {"LV": 1}}
    assert [path for path, _, _ in leaves(Outer())] == ["steps", "inner.rate", "inner.names"]


@pytest.mark.parametrize(
    ("settings", "whole", "expected"),
    [
        ({"a": {"b": 1, "c": {}}, "d": [1]}, (), {"a.b": 1, "a.c": {}, "d": [1]}),
        ({"a": {"b": {"LV": 1}}}, ("a.b",), {"a.b": {"LV": 1}}),
        ({"a": {"b": {"LV": 1}}}, (), {"a.b.LV": 1}),
        ({"o": Inner()}, (), {"o.rate": 0.5, "o.names": {"LV": 1}}),
    ],
)
def test_plain_settings_by_path(
    settings: dict[str, Any], whole: tuple[str, ...], expected: dict[str, Any]
) -> None:
    assert by_path(settings, whole) == expected


def test_nested_undoes_by_path() -> None:
    settings = {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    assert nested(by_path(settings)) == settings


def test_bounds_in_words() -> None:
    assert bounds(Outer.model_fields["steps"]) == "at least 1, below 10"
    assert bounds(Inner.model_fields["rate"]) == "above 0, at most 1"
    assert bounds(Inner.model_fields["names"]) == ""


def test_problems_by_the_setting_they_are_about() -> None:
    given = {"inner": {"rate": 0, "names": {"LV": "x"}}, "steps": 1.5, "colour": 1}
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(given)
    assert problems_by_field(caught.value) == {
        "inner.rate": "must be above 0",
        "inner.names.LV": "must be a whole number",
        "steps": "must be a whole number",
        "colour": "is no setting",
    }
