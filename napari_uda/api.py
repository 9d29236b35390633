"""The Python interface: build settings, train, list methods and recipes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_uda.core.config import merged
from napari_uda.core.errors import InputError
from napari_uda.run.run import Run, parse_config, read_yaml

if TYPE_CHECKING:
    import threading

    from napari_uda.run.config import RunConfig
    from napari_uda.training.loop import Progress


def list_methods() -> list[dict[str, str]]:
    """Name, family, paper, summary and needs (data, a run to start from) of every method."""
    from napari_uda.methods.base import METHODS

    return [
        {
            "name": name,
            "family": kind.family,
            "paper": kind.paper,
            "summary": kind.summary,
            "needs": ", ".join(
                [need.replace("_", " ") for need in sorted(kind.needs)]
                + ["a trained run"] * kind.needs_init
            ),
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
    """Settings of a run: the method's defaults, then the recipes in their order, then `settings`.

    A recipe is a YAML file with any part of the settings tree; `per_method` in it holds parts for
    single methods. It may name the method itself, or leave it to the caller. Several are joined with
    commas, later ones win: `cpu_small,table3_entmin_all` is a row of an ablation on a CPU.

    Args:
        method: method name; empty takes the recipe's.
        recipe: name of a shipped preset or path of a YAML file, or several with commas between.
        settings: parts of the tree, nested mappings merge: `data={"size": 128}`.

    Raises:
        InputError: for an unknown method, recipe or setting, or a value out of range.
    """
    from napari_uda.methods.base import method_name
    from napari_uda.run.config import RunConfig

    recipes = [read_recipe(file) for file in _recipe_files(recipe)]
    for each in recipes:
        if method and each.method and method_name(method) != method_name(each.method):
            raise InputError(
                f"recipe {each.name} is for {each.method}, not {method}; choose another recipe"
            )
        method = method or each.method
    if not method:
        raise InputError("no method given; name one, or a recipe that does")
    name = method_name(method)
    # from the resolved defaults, or a nested part that is given in part would take the rest from its class
    values = RunConfig(method={"name": name}).model_dump()
    for each in recipes:
        values = merged(merged(values, each.settings), each.per_method.get(name, {}))
    values = merged(merged(values, settings), {"method": {"name": name}})
    where = " and ".join(str(each.file) for each in recipes) or f"settings of {name}"
    return parse_config(values, RunConfig, where)


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
        recipe: presets or YAML files, as for `build_config`.
        stop: when set, training saves and returns after the current step.
        settings: anything of `RunConfig`: `steps=500, seed=1, data={"size": 128}`.

    Raises:
        InputError: for data or settings that cannot be used.
    """
    config = build_config(method, recipe=recipe, **_with_data(settings, source, target))
    with new_run(run_dir, config) as run:
        for _ in iterate(run, stop=stop):
            pass
    return run


@contextmanager
def new_run(run_dir: str | os.PathLike[str], config: RunConfig) -> Iterator[Run]:
    """Make a run folder that is taken back when bad input keeps training from its first step."""
    run = Run.create(run_dir, config)
    try:
        yield run
    except InputError:
        run.take_back()
        raise


def iterate(run: Run, *, stop: threading.Event | None = None) -> Iterator[Progress]:
    """Train a created run, or go on with a stopped one, step by step."""
    from napari_uda.training.loop import train_run

    return train_run(run, stop=stop)


def _with_data(
    settings: dict[str, Any],
    source: str | os.PathLike[str] | None,
    target: str | os.PathLike[str] | None,
) -> dict[str, Any]:
    folders = {"source": source, "target": target}
    data = {side: os.fspath(path) for side, path in folders.items() if path is not None}
    return merged({"data": data}, settings)


@dataclass(frozen=True)
class Recipe:
    """One recipe file: its method ("" for any), settings, and settings for single methods."""

    file: Path
    method: str
    settings: Mapping[str, Any]
    per_method: Mapping[str, Mapping[str, Any]]

    @property
    def name(self) -> str:
        """Name of the file without its suffix."""
        return self.file.stem


def _recipe_files(recipe: str | os.PathLike[str] | None) -> list[Path]:
    """Files of a recipe, or of several with commas between."""
    if recipe is None:
        return []
    known = list_recipes()
    if str(recipe) not in known and Path(recipe).is_file():
        return [Path(recipe)]
    files = []
    for name in str(recipe).split(","):
        file = known.get(name, Path(name))
        if not file.is_file():
            raise InputError(f"no recipe {name!r}; give a YAML file or one of {', '.join(known)}")
        files.append(file)
    return files


def read_recipe(file: Path) -> Recipe:
    """What a recipe file holds, its settings not yet checked.

    Raises:
        InputError: if it cannot be read or is no recipe.
    """
    from napari_uda.methods.base import method_name

    content = read_yaml(file)
    if not isinstance(content, dict):
        raise InputError(f"{file} holds no settings; write them as `name: value`")
    per_method = content.pop("per_method", {})
    if not isinstance(per_method, dict) or not all(
        isinstance(part, dict) for part in per_method.values()
    ):
        raise InputError(f"per_method in {file} is no settings; write the parts as `method: ...`")
    method = content.get("method", {})
    if isinstance(method, str):
        content["method"] = method = {"name": method}
    if not isinstance(method, dict):
        raise InputError(f"method in {file} is {method!r}; write `method: {{name: NAME}}`")
    parts = {method_name(str(name)): part for name, part in per_method.items()}
    return Recipe(file, str(method.get("name", "")), content, parts)
