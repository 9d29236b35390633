"""Which settings of a run come first, and which do nothing: in the Train dock and in `train METHOD --help`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_uda.core.config import Config
from napari_uda.core.setting_paths import leaves
from napari_uda.methods.base import MethodConfig
from napari_uda.methods.registry import method_class

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
_OF_HELD_OUT_CASES = (
    "data.validation_fraction",
    "data.patient_pattern",
    "validate_every",
    "select",
)
_OF_LABELLED_SLICES = ("augment.intensity", "augment.structures.")


def basic_settings(config: RunConfig) -> list[str]:
    """Paths of the settings that everybody asks for, and of the weights and lengths of the method.

    Args:
        config: of a run; its method says which weights there are, and which settings do something.
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
    unused = unused_settings(config)
    return [path for path in (*_FIRST, *own, *_LAST) if path not in unused]


def unused_settings(config: RunConfig) -> list[str]:
    """Paths of the settings that do nothing in a run of this method.

    Those of held-out cases count as used once they ask for scores, for training refuses them where no labels
    are read, and then they have to be seen.
    """
    kind = method_class(config.method.name)
    unused = kind.unused_settings()
    if kind.needs_with(config.method) <= {"target"}:
        asks_for_scores = config.validate_every or config.select != "last"
        unused += () if asks_for_scores else _OF_HELD_OUT_CASES
        unused += () if kind.learns_from_corrected else _OF_LABELLED_SLICES
    return [path for path, _, _ in leaves(config) if path.startswith(unused)]
