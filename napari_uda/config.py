"""Config: the base of every setting; a field's type, bounds and docstring define YAML, CLI and form."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Immutable, typed settings that reject unknown fields.

    A field is written once: its docstring is the CLI help and the tooltip, its bounds are checked
    wherever the value comes from.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        protected_namespaces=(),
        allow_inf_nan=False,
    )
