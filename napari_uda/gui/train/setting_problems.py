"""What is wrong with settings, one sentence per field, in words for people who do not know pydantic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from annotated_types import Ge, Gt, Le, Lt
from pydantic import ValidationError
from pydantic.fields import FieldInfo

_TEXTS = {
    "float_parsing": "must be a number, such as 0.5",
    "float_type": "must be a number, such as 0.5",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "finite_number": "must be a finite number",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be below {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "literal_error": "must be {expected}",
    "dict_type": "must be names and values, such as MYO: 1, LVC: 2",
    "path_type": "must be a path",
    "missing": "must be given",
    "extra_forbidden": "is no setting of this method; remove it",
}


def problems_by_field(error: ValidationError) -> dict[str, str]:
    """Dotted path of each field, or group of fields, that does not fit, and why.

    The path goes as far as the error does: `data.labels.MYO` for an entry of a mapping, `method` for
    what holds between several fields, "" for the settings as a whole.
    """
    found: dict[str, str] = {}
    for problem in error.errors(include_url=False):
        path = ".".join(str(part) for part in problem["loc"])
        found.setdefault(path, _sentence(problem))
    return found


def bounds(field: FieldInfo) -> str:
    """The range of a number in words, "" without one: `at least 0, below 1`."""
    words: list[str] = []
    for limit in field.metadata:
        if isinstance(limit, Ge):
            words.append(f"at least {limit.ge}")
        elif isinstance(limit, Gt):
            words.append(f"above {limit.gt}")
        elif isinstance(limit, Le):
            words.append(f"at most {limit.le}")
        elif isinstance(limit, Lt):
            words.append(f"below {limit.lt}")
    return ", ".join(words)


def _sentence(problem: Mapping[str, Any]) -> str:
    text = _TEXTS.get(problem["type"])
    if text is not None:
        return text.format(**problem.get("ctx", {}))
    message: str = problem["msg"]
    return message.removeprefix("Value error, ")
