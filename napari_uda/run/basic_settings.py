"""The settings of a run that come first, in the Train dock and in `train METHOD --help`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_uda.core.config import Config
from napari_uda.methods.base import MethodConfig

if TYPE_CHECKING:
    from napari_uda.run.config import RunConfig

_FIRST = (
    "steps",
    "batch_size",
    "data.size",
    "segmentor.name",
    "method.segmentor_optimizer.lr",
)
_LAST = ("data.validation_fraction", "validate_every", "device", "seed")
_OWN_ENDINGS = ("_weight", "_steps")


def basic_settings(config: RunConfig) -> list[str]:
    """Paths of the settings that everybody asks for, and of the weights and lengths of the method.

    Args:
        config: of a run; its method says which weights there are.
    """
    own = []
    for name in type(config.method).model_fields:
        value = getattr(config.method, name)
        if name in MethodConfig.model_fields:
            continue
        if isinstance(value, Config):
            fields = type(value).model_fields
            own += [f"method.{name}.{field}" for field in fields if field.endswith("_weight")]
        elif name.endswith(_OWN_ENDINGS):
            own.append(f"method.{name}")
    return [*_FIRST, *own, *_LAST]
