"""Recipes: YAML files with a part of a run's settings, and how settings are built from them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_uda.core.config import merged
from napari_uda.core.errors import InputError, refusal
from napari_uda.core.setting_paths import by_path
from napari_uda.core.small_files import parse_yaml, read_small, read_yaml
from napari_uda.core.suggestions import listed, near
from napari_uda.run.run import parse_config

if TYPE_CHECKING:
    from napari_uda.run.config import RunConfig

_LONGEST_ABOUT = 220  # letters


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

    @property
    def about(self) -> str:
        """The first sentences of the comment that the file begins with; "" without one."""
        return _about(self.file)


def _about(file: Path) -> str:
    comment = takewhile(lambda line: line.startswith("#"), read_small(file).splitlines())
    text = " ".join(line.lstrip("# ").rstrip() for line in comment)
    if len(text) <= _LONGEST_ABOUT:
        return text
    whole = text[:_LONGEST_ABOUT].rpartition(". ")[0]
    return f"{whole}." if whole else text[:_LONGEST_ABOUT] + "…"


def list_recipes() -> dict[str, Path]:
    """Shipped presets by name."""
    folder = Path(str(resources.files("napari_uda") / "recipes"))
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def recipe_table() -> list[dict[str, str]]:
    """Name, method ("" for any) and purpose of every shipped preset; loads no method."""
    rows = []
    for name, file in list_recipes().items():
        content = read_yaml(file)
        method = content.get("method", "") if isinstance(content, dict) else ""
        named = method.get("name", "") if isinstance(method, dict) else method
        rows.append({"name": name, "method": str(named), "about": _about(file)})
    return rows


def read_recipe(file: Path) -> Recipe:
    """What a recipe file holds, its settings not yet checked.

    Raises:
        InputError: if it cannot be read or is no recipe.
    """
    try:
        text = read_small(file)
    except FileNotFoundError as error:
        raise InputError(refusal(error)) from error
    return _parsed(file, text)


@lru_cache(maxsize=32)
def _parsed(file: Path, text: str) -> Recipe:
    """Read once and not for every run of a benchmark: reading YAML takes longer than all else."""
    from napari_uda.methods.registry import method_name

    content = parse_yaml(text, str(file))
    if not isinstance(content, dict):
        raise InputError(f"{file} holds no settings; write each one as `name: value`")
    per_method = content.pop("per_method", {})
    if not isinstance(per_method, dict) or not all(
        isinstance(part, dict) for part in per_method.values()
    ):
        raise InputError(
            f"per_method in {file} holds no settings; write `METHOD: {{NAME: VALUE}}` below it"
        )
    method = content.get("method", {})
    if isinstance(method, str):
        content["method"] = method = {"name": method}
    if not isinstance(method, dict):
        raise InputError(f"method in {file} is {method!r}; write `method: {{name: NAME}}`")
    parts = {method_name(str(name)): part for name, part in per_method.items()}
    return Recipe(file, str(method.get("name", "")), content, parts)


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
    from napari_uda.methods.registry import METHODS, method_name
    from napari_uda.run.config import RunConfig

    recipes = [read_recipe(file) for file in _recipe_files(recipe)]
    for each in recipes:
        if method and each.method and method_name(method) != method_name(each.method):
            raise InputError(
                f"recipe {each.name} is for {each.method}, not {method}; choose another recipe"
            )
        method = method or each.method
    if not method:
        raise InputError("no method is given; name one, or a recipe that names one")
    name = method_name(method)
    # from the resolved defaults, or a nested part that is given in part would take the rest from its class
    default = RunConfig(method={"name": name})
    values = default.model_dump()
    if not METHODS[name].learns:
        values["steps"] = 1
    for each in recipes:
        values = merged(merged(values, each.settings), each.per_method.get(name, {}))
    values = merged(merged(values, settings), {"method": {"name": name}})
    where = " and ".join(str(each.file) for each in recipes) or f"settings of {name}"
    return parse_config(values, RunConfig, where, known=list(by_path(default)))


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
            raise InputError(
                f"there is no recipe {name!r}; did you mean {listed(alike)}? (napari-uda recipes lists all)"
                if (alike := near(name, known))
                else f"there is no recipe {name!r}; give a YAML file or one of {', '.join(known)}"
            )
        files.append(file)
    return files
