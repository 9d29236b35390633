"""Config: the base of every setting; a field's type, bounds and docstring define YAML, CLI and form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

_PROBLEMS = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be names and values, such as MYO: 1, LVC: 2",
    "extra_forbidden": "is no setting",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number, such as 0.5",
    "float_type": "must be a number, such as 0.5",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "int_type": "must be a whole number",
    "json_invalid": "is not valid JSON ({error})",
    "less_than": "must be below {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "literal_error": "must be {expected}",
    "missing": "must be given",
    "model_attributes_type": "must be settings, each written as name: value",
    "model_type": "must be settings, each written as name: value",
    "path_type": "must be a path",
    "string_too_short": "must not be empty",
    "string_type": "must be a text",
    "too_long": "must have at most {max_length} entries",
    "too_short": "must have at least {min_length} entries",
    "tuple_type": "must be a list, such as [0, 1]",
}
"""What pydantic's kinds of errors say of a setting, to people who do not know pydantic."""
_LONGEST_SHOWN = 60


class Config(BaseModel):
    """Immutable, typed settings that reject unknown fields.

    A field is written once: its docstring is the help of the command line and the tooltip of the form,
    and its bounds are checked wherever the value comes from.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        protected_namespaces=(),
        allow_inf_nan=False,
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Join the lines of docstrings: the help of the command line would keep them apart."""
        super().__pydantic_init_subclass__(**kwargs)
        for field in cls.model_fields.values():
            if field.description:
                field.description = " ".join(field.description.split())


def plain_problem(error: ValidationError) -> str:
    """The first thing that is wrong with some settings, as one clause without a remedy.

    Args:
        error: what pydantic raised.

    Returns:
        Such as `steps must be at least 1, not 0` or `there is no setting data.colour`. What holds
        between several settings is said by the validator itself, after the path of their group.
    """
    problem = error.errors(include_url=False)[0]
    path, text = setting_path(problem["loc"]), problem_text(problem)
    if not path:
        return text
    if problem["type"] == "extra_forbidden":
        return f"there is no setting {path}"
    if problem["type"] in ("value_error", "assertion_error"):
        predicate = text.startswith(("is ", "must ", "has "))
        return f"{path} {text}" if predicate else f"{path}: {text}"
    return f"{path} {text}{_instead(problem)}"


def problem_text(problem: Mapping[str, Any]) -> str:
    """What is wrong with one setting, without its name: `must be at least 1`.

    Args:
        problem: one of `ValidationError.errors()`.
    """
    text = _PROBLEMS.get(problem["type"])
    if text is not None:
        values = dict(problem.get("ctx", {}))
        if problem["type"] == "literal_error":
            values["expected"] = values["expected"].replace("'", "")
        return text.format(**values)
    message: str = problem["msg"]
    for prefix in ("Value error, ", "Assertion failed, "):
        message = message.removeprefix(prefix)
    return message.replace("Input should be", "must be").replace("Input should", "must")


def setting_path(parts: tuple[int | str, ...]) -> str:
    """The dotted path of a setting; an entry of a list is counted from 1: `rows (entry 2).seeds`."""
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f" (entry {part + 1})"
        else:
            path += f".{part}" if path else part
    return path.strip()


def _instead(problem: Mapping[str, Any]) -> str:
    """What was given, after a comma; nothing for what is missing, a group, or too long to be shown."""
    given = problem.get("input")
    if problem["type"] in ("missing", "json_invalid") or isinstance(given, Mapping | list | tuple):
        return ""
    shown = repr(given)
    return f", not {shown}" if len(shown) <= _LONGEST_SHOWN else ""


def merged(base: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    """Plain settings with those of `layer` over them; nested mappings merge, all else is replaced."""
    result = dict(base)
    for key, value in layer.items():
        old = result.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[key] = merged(old, value) if both else value  # type: ignore[arg-type]
    return result
