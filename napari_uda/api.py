"""The Python interface: build settings, train, list methods and recipes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_uda.errors import InputError
from napari_uda.runs import Run, parse_config, read_yaml

if TYPE_CHECKING:
    import threading

    from napari_uda.engine.trainer import Progress
    from napari_uda.run_config import RunConfig


def list_methods() -> list[dict[str, str]]:
    """Name, family, paper, summary and needed data of every method."""
    from napari_uda.methods.base import METHODS

    return [
        {
            "name": name,
            "family": kind.family,
            "paper": kind.paper,
            "summary": kind.summary,
            "needs": ", ".join(sorted(need.replace("_", " ") for need in kind.needs)),
        }
        for name, kind in METHODS.items()
    ]


def list_recipes() -> dict[str, Path]:
    """Shipped presets by name."""
    folder = Path(str(resources.files("napari_uda") / "recipes"))
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def build_config(
    method: str = "", /, *, recipe: str | os.PathLike[str] | None = None, **settings: Any
) -> RunConfig:
    """Settings of a run: the method's defaults, then the recipe, then `settings`.

    A recipe is a YAML file with any part of the settings tree; `per_method` in it holds parts for
    single methods. It may name the method itself, or leave it to the caller.

    Args:
        method: method name; empty takes the recipe's.
        recipe: name of a shipped preset or path of a YAML file.
        settings: parts of the tree, nested mappings merge: `data={"size": 128}`.

    Raises:
        InputError: for an unknown method, recipe or setting, or a value out of range.
    """
    from napari_uda.methods.base import method_class
    from napari_uda.run_config import RunConfig

    layers: list[Mapping[str, Any]] = []
    if recipe is not None:
        file = _recipe_file(recipe)
        content = read_yaml(file)
        if not isinstance(content, dict):
            raise InputError(f"{file} holds no settings; write them as `name: value`")
        per_method = content.pop("per_method", {})
        named = str(content.get("method", {}).get("name", ""))
        if method and named and method_class(method) is not method_class(named):
            raise InputError(
                f"recipe {file.stem} is for {named}, not {method}; choose another recipe"
            )
        method = method or named
        layers = [content, per_method.get(method.replace("-", "_"), {})]
    if not method:
        raise InputError("no method given; name one, or a recipe that does")
    merged: dict[str, Any] = {}
    for layer in (
        *layers,
        settings,
        {"method": {"name": method_class(method).config_class.model_fields["name"].default}},
    ):
        merged = _merge(merged, layer)
    return parse_config(merged, RunConfig, f"settings of {method}")


def train(
    method: str,
    /,
    *,
    source: str | os.PathLike[str] | None = None,
    target: str | os.PathLike[str] | None = None,
    run_dir: str | os.PathLike[str],
    recipe: str | os.PathLike[str] | None = None,
    stop: threading.Event | None = None,
    **settings: Any,
) -> Run:
    """Train a method and return its run.

    Args:
        method: method name.
        source: labelled data folder.
        target: data folder of the target domain.
        run_dir: new folder for the run.
        recipe: preset or YAML file.
        stop: when set, training saves and returns after the current step.
        settings: anything of `RunConfig`: `steps=500, seed=1, data={"size": 128}`.

    Raises:
        InputError: for data or settings that cannot be used.
    """
    config = build_config(method, recipe=recipe, **_with_data(settings, source, target))
    run = Run.create(run_dir, config)
    for _ in iterate(run, stop=stop):
        pass
    return run


def iterate(run: Run, *, stop: threading.Event | None = None) -> Iterator[Progress]:
    """Train a created run, or go on with a stopped one, step by step."""
    from napari_uda.engine.trainer import train_run

    return train_run(run, stop=stop)


def _with_data(
    settings: dict[str, Any],
    source: str | os.PathLike[str] | None,
    target: str | os.PathLike[str] | None,
) -> dict[str, Any]:
    folders = {"source": source, "target": target}
    data = {side: os.fspath(path) for side, path in folders.items() if path is not None}
    return _merge({"data": data}, settings)


def _recipe_file(recipe: str | os.PathLike[str]) -> Path:
    known = list_recipes()
    if str(recipe) in known:
        return known[str(recipe)]
    file = Path(recipe)
    if not file.is_file():
        raise InputError(
            f"no recipe {str(recipe)!r}; give a YAML file or one of {', '.join(known)}"
        )
    return file


def _merge(base: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in layer.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            merged[key] = _merge(old, value)
        else:
            merged[key] = value
    return merged
