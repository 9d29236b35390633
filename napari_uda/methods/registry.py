"""METHODS: every adaptation method by name, found in this folder and in other installed packages.

A package offers a method by an entry point of the group `napari_uda.methods` that names its class, or the
module it is in. Its name, settings and form then come from the class, as for those of this folder; see
`examples/new_method`.
"""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from threading import RLock
from types import ModuleType
from typing import Any, get_args

import torch

from napari_uda.core.errors import InputError
from napari_uda.core.suggestions import what_to_choose
from napari_uda.core.version import installed_version
from napari_uda.methods.base import Family, Method, MethodConfig, Need
from napari_uda.methods.listing import GROUP, own_modules
from napari_uda.networks.build import build_segmentor
from napari_uda.networks.segmentor import SegmentorConfig

logger = logging.getLogger(__name__)


class _Methods(Mapping[str, type[Method[Any]]]):
    """Name to method class; folder and entry points are looked through at first use."""

    def __init__(self) -> None:
        self._found: dict[str, type[Method[Any]]] = {}
        self._packages: dict[str, str] = {}
        self._unusable: dict[str, str] = {}
        self._scanning = self._complete = False
        self._lock = RLock()

    def package(self, name: str) -> str:
        """Name and version of the package that a method comes from; "" for those of this one."""
        self._scan()
        return self._packages.get(name, "")

    def why_missing(self, name: str, package: str) -> str:
        """Why the method of a run is not here, and what helps, in one sentence.

        Args:
            name: of the method.
            package: name and version of the package that it came from (`package` where the run was made).
        """
        self._scan()
        made_by = f"the run was made by the method {name} of the package {package}"
        package, _, version = package.partition(" ")
        if package in self._unusable:
            return (
                f"{made_by}, which is installed here but cannot be used ({self._unusable[package]}); "
                f"update it or install it anew (pip install --force-reinstall {package})"
            )
        here = installed_version(package)
        if not here:
            return f"{made_by}, which is not installed here; install it (pip install {package})"
        return (
            f"{made_by}, and the version that is installed here, {here}, does not bring this method; "
            f"install that version (pip install {package}=={version})"
        )

    def _scan(self) -> dict[str, type[Method[Any]]]:
        if self._complete:
            return self._found
        with self._lock:  # docks ask from several threads, and none may see half of the list
            if self._complete or self._scanning:  # or a package asks while it is imported
                return self._found
            self._scanning = True
            try:
                self._found.clear()
                self._add_own()
                for point in sorted(entry_points(group=GROUP), key=lambda p: p.name):
                    self._add_foreign(point)
                self._complete = True
            finally:
                self._scanning = False
        return self._found

    def _add_own(self) -> None:
        """Take the methods of this folder."""
        for module in own_modules():
            for kind in _defined_in(importlib.import_module(f"napari_uda.methods.{module}")):
                known = self._found.setdefault(_name_of(kind), kind)
                if known is not kind:
                    raise TypeError(
                        f"method {_name_of(kind)!r} is defined in {known.__module__} and in {kind.__module__}"
                    )

    def _add_foreign(self, point: EntryPoint) -> None:
        """Take the methods of another package; what cannot be used is left out, with a warning."""
        package = point.dist.name if point.dist is not None else point.value
        package_version = f"{package} {point.dist.version}" if point.dist is not None else package
        try:
            loaded = point.load()
            kinds = _defined_in(loaded) if isinstance(loaded, ModuleType) else [loaded]
            if not kinds:
                raise TypeError(f"{point.value} defines no method")
            for kind in kinds:
                _check(kind)
        except Exception as error:  # noqa: BLE001 - a broken package must not take the others with it
            self._unusable[package] = f"{type(error).__name__}: {error}"
            logger.warning(
                "The methods of the package %s are left out, because it cannot be used (%s); update or "
                "uninstall it.",
                package_version,
                self._unusable[package],
            )
            return
        for kind in kinds:
            name = _name_of(kind)
            if name in self._found:
                logger.warning(
                    "The method %s of the package %s is left out, because %s has a method of that name "
                    "already; ask the authors of %s for another name, or uninstall it.",
                    name,
                    package_version,
                    f"the package {self._packages[name]}"
                    if name in self._packages
                    else "napari_uda itself",
                    package,
                )
                continue
            self._found[name] = kind
            self._packages[name] = package_version

    def __getitem__(self, name: str) -> type[Method[Any]]:
        if not self._complete and name in own_modules():  # one is imported sooner than all of them
            for kind in _defined_in(importlib.import_module(f"napari_uda.methods.{name}")):
                if _name_of(kind) == name:
                    return kind
        return self._scan()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._scan())

    def __len__(self) -> int:
        return len(self._scan())


def _defined_in(module: ModuleType) -> list[type[Method[Any]]]:
    """The methods that a module defines, those that it only imports left out."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Method)
        and value.__module__ == module.__name__
    ]


def _name_of(kind: type[Method[Any]]) -> str:
    name: str = kind.config_class.model_fields["name"].default
    return name


def _check(kind: object) -> None:
    """Refuse what would fail later wherever methods are listed.

    Raises:
        TypeError: if it is no method, or does not say what a method says of itself.
        ValueError: if it says what nobody understands.
    """
    if not isinstance(kind, type) or not issubclass(kind, Method):
        raise TypeError(f"{kind!r} is not a subclass of Method")
    for attribute in ("config_class", "family", "paper", "summary", "needs"):
        if not hasattr(kind, attribute):
            raise TypeError(f"{kind.__name__} has no {attribute}")
    name = kind.config_class.model_validate({}).name  # all settings have defaults, or this fails
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"the name {name!r} has other characters than a to z, 0 to 9 and _")
    if kind.family not in get_args(Family):
        raise ValueError(f"family {kind.family!r} is none of {', '.join(get_args(Family))}")
    if not kind.needs <= set(get_args(Need)):
        raise ValueError(f"needs holds other words than {', '.join(get_args(Need))}")


METHODS = _Methods()
"""Every method by name: a mapping that also knows from which package each comes."""


def method_class(name: str) -> type[Method[Any]]:
    """The method called `name`; `-` and `_` are equal.

    Raises:
        InputError: if there is none, naming the ones there are.
    """
    return METHODS[method_name(name)]


def method_name(name: str) -> str:
    """The name as METHODS has it; `-` and `_` are equal.

    Raises:
        InputError: if there is none, naming the ones there are.
    """
    key = name.strip().replace("-", "_")
    if key not in METHODS:
        raise InputError(f"unknown method {name!r}; {what_to_choose(name, METHODS)}")
    return key


def translating_methods() -> str:
    """Names of the methods that have generators, as a person would list them: `attent or cyclegan`."""
    *names, last = (name for name, kind in METHODS.items() if kind.translates)
    return f"{', '.join(names)} or {last}" if names else last


def correctable_methods() -> str:
    """Names of the methods that learn from corrected cases, as a person would list them."""
    *names, last = (name for name, kind in METHODS.items() if kind.learns_from_corrected)
    return f"{', '.join(names)} or {last}" if names else last


def source_free_methods() -> list[str]:
    """Names of the methods that adapt a trained run to the target alone: those that `adapt` can use."""
    return [
        name
        for name, kind in METHODS.items()
        if adapts_alone(kind, kind.config_class.model_validate(kind.for_a_volume.get("method", {})))
    ]


def adapts_alone(kind: type[Method[Any]], config: MethodConfig) -> bool:
    """Whether a method starts from a trained run with these settings, and needs no label and no source data."""
    return kind.needs_start_with(config) and kind.needs_with(config) <= {"target"}


def build_method(
    settings: MethodConfig,
    segmentor: SegmentorConfig,
    *,
    neighbours: int,
    num_classes: int,
    seed: int,
    pretrained: bool = True,
) -> Method[Any]:
    """A new method whose first weights depend on the seed alone; torch's own state is restored.

    Args:
        settings: of the method, which they name.
        segmentor: the segmentation network.
        neighbours: K, slices given to the network as channels.
        num_classes: C, background included.
        seed: of the run.
        pretrained: read the file of ImageNet weights; off where the run's own weights are loaded next.

    Raises:
        InputError: for an unknown network, or settings or a weights file that do not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_segmentor(segmentor, neighbours, num_classes, pretrained=pretrained)
        return method_class(settings.name)(settings, network, num_classes)
