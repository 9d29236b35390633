"""AdaptConfig: everything that `adapt` can be told; Python, the command and the dock derive from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, SerializeAsAny, ValidationError, ValidationInfo, field_validator

from napari_uda.core.config import Config, merged, plain_problem
from napari_uda.core.errors import InputError
from napari_uda.core.suggestions import what_to_choose
from napari_uda.losses.size_prior import SizePriorConfig, has_size_prior
from napari_uda.methods.base import MethodConfig
from napari_uda.methods.registry import METHODS, adapts_alone, source_free_methods
from napari_uda.training.no_harm import MAX_VOLUME_CHANGE

DEFAULT_METHOD = "sfda"
STEPS = 50
"""Steps of a method that does not say how many a volume needs (`Method.for_a_volume`)."""
SURER_BY = 0.1
"""Share by which the entropy inside the structures has to fall, for a method that does not say it."""


class AdaptConfig(Config):
    """How a run is adapted to volumes, and when the adapted result is given up.

    `method` may also be given as a name, or as a mapping with a name and some settings; the other settings
    are then those that the method has for a volume.
    """

    method: SerializeAsAny[MethodConfig] = Field(
        default_factory=lambda: method_for_a_volume(DEFAULT_METHOD)
    )
    """The source-free method and its settings."""
    steps: int = Field(default=0, ge=0)
    """Training steps; 0 takes the method's own number for a volume. A method that trains nothing (bn_adapt) takes none."""
    sizes_ml: dict[str, float] = Field(default_factory=dict)
    """For methods with a prior of sizes (sfda): the expected volumes of all structures in mL, by name, instead of the sizes stored in the run."""
    max_volume_change: float = Field(default=MAX_VOLUME_CHANGE, ge=0)
    """A structure that grows or shrinks by more than this factor, and not towards its usual size, keeps the result from before; with 0 every result is taken as it is, surer or not."""
    surer_by: float = Field(
        default_factory=lambda given: _surer_by(given.get("method")), ge=0, lt=1
    )
    """Keep the result from before unless the network becomes surer of the structures: unless the mean entropy of the voxels that either result gives to one falls by at least this share; with 0 it need not fall. By default a tenth, and a half for mean_teacher, which grows sure of its own labels, right or wrong."""
    noted_volume_change: float = Field(default=1.25, ge=0)
    """A structure that grows or shrinks by more than this factor is named in a warning; with 0 none is."""
    together: bool = False
    """Adapt once to all volumes together, instead of to each one from the run's weights."""
    reliability: bool = False
    """Let transformed views of each slice vote on where the labels are reliable."""
    device: str = "auto"
    """cpu, cuda, ...; auto takes the first GPU when there is one."""

    @field_validator("method", mode="before")
    @classmethod
    def _method_by_name(cls, value: Any) -> Any:
        if isinstance(value, MethodConfig):
            _check_source_free(value.name)
            return value
        given = {"name": value} if isinstance(value, str) else value
        if not isinstance(given, Mapping):
            return value
        settings = {key: each for key, each in given.items() if key != "name"}
        return method_for_a_volume(str(given.get("name", "")), settings)

    @field_validator("max_volume_change", "noted_volume_change")
    @classmethod
    def _a_factor(cls, value: float, info: ValidationInfo) -> float:
        if value and not value > 1:
            kept = info.field_name == "max_volume_change"
            what = "to keep every result" if kept else "to be warned of none"
            raise ValueError(f"must be a factor above 1, or 0 {what}")
        return value

    @field_validator("method")
    @classmethod
    def _needs_no_source(cls, value: MethodConfig) -> MethodConfig:
        if not adapts_alone(METHODS[value.name], value):
            raise ValueError(
                f"has settings with which {value.name} needs source data, and there are none here; leave out what "
                "says so, such as source_free"
            )
        return value

    @field_validator("sizes_ml")
    @classmethod
    def _sizes_are_used(cls, value: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        method = info.data.get("method")  # not there when it does not fit itself
        if value and method is not None and not has_size_prior(method):
            raise ValueError(
                f"is for methods with a prior of sizes ({_names(with_sizes=True)}), not for "
                f"{method.name}; leave it out"
            )
        return value

    @property
    def training_steps(self) -> int:
        """How many steps are taken; 0 for a method that trains nothing."""
        kind = METHODS[self.method.name]
        return (self.steps or int(kind.for_a_volume.get("steps", STEPS))) if kind.learns else 0

    @property
    def method_with_sizes(self) -> MethodConfig:
        """The settings of the method, with the sizes in mL in their place."""
        if not self.sizes_ml:
            return self.method
        sizes = {"prior_sizes": "millilitres", "given_sizes": self.sizes_ml}
        return self.method.model_validate({**self.method.model_dump(), **sizes})


def build_adapt_config(
    method: str | Mapping[str, Any] | MethodConfig = DEFAULT_METHOD,
    /,
    *,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> AdaptConfig:
    """Options of `adapt` from plain values.

    Args:
        method: name of a source-free method, or what `AdaptConfig.method` takes.
        settings: of the method; what they leave out is as the method has it for a volume.
        options: other fields of `AdaptConfig`.

    Raises:
        InputError: naming the first option that does not fit.
    """
    if isinstance(method, str):
        _check_source_free(method)
    if settings and isinstance(method, str):
        method = {**settings, "name": method}
    elif settings:
        raise InputError(
            "settings are for a method that is given by its name; put them into method"
        )
    values = {"method": method, **{key: each for key, each in options.items() if each is not None}}
    try:
        return AdaptConfig.model_validate(values)
    except ValidationError as error:
        raise InputError(f"adapt: {plain_problem(error)}; correct or remove it") from error


def method_for_a_volume(name: str, settings: Mapping[str, Any] | None = None) -> MethodConfig:
    """The settings with which a source-free method trains on one volume.

    Args:
        name: of the method; `-` and `_` are equal.
        settings: those that shall be other than the method's own for a volume; nested parts merge.

    Raises:
        InputError: if there is no such source-free method.
    """
    key = _check_source_free(name)
    kind = METHODS[key]
    # from the resolved defaults, or a nested part that is given in part would take the rest from its class
    own = merged(kind.config_class().model_dump(), kind.for_a_volume.get("method", {}))  # type: ignore[call-arg]
    return kind.config_class.model_validate(merged(own, settings or {}))


def _surer_by(method: MethodConfig | None) -> float:
    """What a method asks for, as its results on volumes need it; None is one that did not fit itself."""
    own = {} if method is None else METHODS[method.name].for_a_volume
    return float(own.get("surer_by", SURER_BY))


def methods_without_sizes() -> str:
    """The source-free methods that need no sizes of structures: `bn_adapt, mean_teacher or tent`."""
    return _names(with_sizes=False)


def _check_source_free(name: str) -> str:
    key = name.strip().replace("-", "_")
    known = source_free_methods()
    if key not in known:
        raise InputError(f"cannot adapt by {name!r}; {what_to_choose(name, known)}")
    return key


def _names(*, with_sizes: bool) -> str:
    *names, last = (
        name
        for name in source_free_methods()
        if issubclass(METHODS[name].config_class, SizePriorConfig) is with_sizes
    )
    return f"{', '.join(names)} or {last}" if names else last
