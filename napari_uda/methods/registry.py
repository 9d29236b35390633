"""METHODS: every adaptation method by name, found in this folder and in other installed packages.

A package offers a method by an entry point of the group `napari_uda.methods` that names the module it is
in. Its name, settings, form and tests then come from the method's class, as for those of this folder.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from threading import RLock
from types import ModuleType
from typing import Any

import torch

from napari_uda.core.errors import InputError
from napari_uda.methods.base import Method, MethodConfig
from napari_uda.networks.build import build_segmentor
from napari_uda.networks.segmentor import SegmentorConfig

logger = logging.getLogger(__name__)

GROUP = "napari_uda.methods"
_PACKAGE = "napari_uda"


class _Methods(Mapping[str, type[Method[Any]]]):
    """Name to method class; folder and entry points are looked through at first use."""

    def __init__(self) -> None:
        self._found: dict[str, type[Method[Any]]] = {}
        self._packages: dict[str, str] = {}
        self._begun = self._complete = False
        self._lock = RLock()

    def package(self, name: str) -> str:
        """Name and version of the package that a method comes from; "" for those of this one."""
        self._scan()
        return self._packages.get(name, "")

    def _scan(self) -> dict[str, type[Method[Any]]]:
        if self._complete:
            return self._found
        with (
            self._lock
        ):  # docks ask from several threads at once, and none may see half of the list
            if self._begun:
                return self._found
            self._begun = True
            package = importlib.import_module("napari_uda.methods")
            for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
                if info.name not in ("base", "registry"):
                    self._add(importlib.import_module(f"napari_uda.methods.{info.name}"))
            for point in sorted(entry_points(group=GROUP), key=lambda p: p.name):
                self._add_foreign(point)
            self._complete = True
        return self._found

    def _add(self, module: ModuleType) -> list[str]:
        """Take the methods that a module defines."""
        added: dict[str, type[Method[Any]]] = {}
        for value in vars(module).values():
            if not isinstance(value, type) or value.__module__ != module.__name__:
                continue
            if issubclass(value, Method):
                name = value.config_class.model_fields["name"].default
                known = self._found.get(name) or added.get(name)
                if known is not None:
                    raise TypeError(
                        f"method {name!r} is defined in {known.__module__} and in {module.__name__}"
                    )
                added[name] = value
        self._found |= added
        return list(added)

    def _add_foreign(self, point: EntryPoint) -> None:
        """Take the methods of another package; one that cannot be imported is left out, with a warning."""
        package = point.dist.name if point.dist is not None else point.value
        try:
            names = self._add(importlib.import_module(point.module))
        except Exception as error:  # noqa: BLE001 - a broken package must not take the others with it
            logger.warning(
                "The methods of the package %s are left out, because it cannot be imported (%s: %s); "
                "update or uninstall it.",
                package,
                type(error).__name__,
                error,
            )
            return
        version = point.dist.version if point.dist is not None else ""
        self._packages |= {name: f"{package} {version}".strip() for name in names}

    def __getitem__(self, name: str) -> type[Method[Any]]:
        return self._scan()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._scan())

    def __len__(self) -> int:
        return len(self._scan())


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
        raise InputError(f"unknown method {name!r}; choose one of {', '.join(METHODS)}")
    return key


def translating_methods() -> str:
    """Names of the methods that have generators, as a person would list them: `attent or cyclegan`."""
    *names, last = (name for name, kind in METHODS.items() if kind.translates)
    return f"{', '.join(names)} or {last}" if names else last


def source_free_methods() -> list[str]:
    """Names of the methods that adapt a trained run to the target alone: those that `adapt` can use."""
    return [
        name
        for name, kind in METHODS.items()
        if kind.family == "source-free" and kind.needs <= {"target"}
    ]


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
