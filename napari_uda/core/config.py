"""Config: the base of every setting; a field's type, bounds and docstring define YAML, CLI and form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict


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


def merged(base: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    """Plain settings with those of `layer` over them; nested mappings merge, all else is replaced."""
    result = dict(base)
    for key, value in layer.items():
        old = result.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[key] = merged(old, value) if both else value  # type: ignore[arg-type]
    return result
