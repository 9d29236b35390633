"""Settings by dotted path, such as `data.size`: what a form, a table of settings and a message call them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from annotated_types import Ge, Gt, Le, Lt
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from napari_uda.core.config import Config, problem_text


def leaves(config: Config, prefix: str = "") -> Iterator[tuple[str, FieldInfo, Any]]:
    """Path, field and value of every setting; those of nested configs come after a config's own."""
    fields = type(config).model_fields.items()
    own = [(name, field, getattr(config, name)) for name, field in fields]
    for name, field, value in own:
        if not isinstance(value, Config):
            yield f"{prefix}{name}", field, value
    for name, _, value in own:
        if isinstance(value, Config):
            yield from leaves(value, f"{prefix}{name}.")


def by_path(
    values: Config | Mapping[str, Any], whole: Collection[str] = (), prefix: str = ""
) -> dict[str, Any]:
    """Nested settings by path.

    Args:
        values: a config, or settings as plain values.
        whole: paths whose mapping is a value itself. An empty mapping always is one.
        prefix: what every path begins with.
    """
    if isinstance(values, Config):
        return {path: value for path, _, value in leaves(values, prefix)}
    found: dict[str, Any] = {}
    for name, value in values.items():
        path = f"{prefix}{name}"
        is_group = isinstance(value, Config) or (isinstance(value, Mapping) and value)
        if is_group and path not in whole:
            found |= by_path(value, whole, f"{path}.")
        else:
            found[path] = value
    return found


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """The tree of settings given by path; undoes `by_path`."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *groups, name = path.split(".")
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})
        branch[name] = value
    return tree


def problems_by_field(error: ValidationError) -> dict[str, str]:
    """Dotted path of each field, or group of fields, that does not fit, and why.

    The path goes as far as the error does: `data.labels.MYO` for an entry of a mapping, `method` for
    what holds between several fields, "" for the settings as a whole.
    """
    found: dict[str, str] = {}
    for problem in error.errors(include_url=False):
        path = ".".join(str(part) for part in problem["loc"])
        found.setdefault(path, problem_text(problem))
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
