"""Imports go down only, the engine knows neither napari nor Qt, and importing the package costs next to nothing."""

from __future__ import annotations

import ast
import json
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import napari_uda

GUI_LIBRARIES = {
    "napari", "qtpy", "magicgui", "pyqtgraph", "superqt", "vispy", "PyQt5", "PyQt6", "PySide6",
}  # fmt: skip
OPTIONAL_LIBRARIES = {
    "matplotlib", "monai", "medpy", "surface_distance", "submitit", "skimage", "pytest",
}  # fmt: skip
HEAVY_LIBRARIES = {
    "torch", "scipy", "nibabel", "SimpleITK", "pydicom", "pydantic", "tyro", "numpy",
}  # fmt: skip
PACKAGE = Path(napari_uda.__file__).parent

FLOORS = (
    {"core"},
    {"data"},
    {"networks", "convert", "phantom"},
    {"losses"},
    {"uncertainty", "evaluation"},
    {"players"},
    {"methods"},
    {"run"},
    {"inference"},
    {"training"},
    {"experiments"},
    {"api"},
    {"demo"},
    {"gui"},
    {"cli"},
    {"__init__", "__main__"},
)
"""The rooms of the package, from the ground up: a room may import those of lower floors, and no other.

An import that only type checkers follow counts, and so does one inside a function: those are there so
that importing the package and starting the command stay fast, not to get round this list.
"""
GUI_FLOORS = (
    {"kit"},
    {"data", "score", "segment", "train", "translate", "view"},
    {"launch", "workbench"},
)
"""The same inside of `gui`: docks use the kit, and do not know each other."""


def engine_modules() -> list[str]:
    """Every importable module outside `napari_uda.gui`; `__main__` is the command itself."""
    found = [
        f"napari_uda.{path.relative_to(PACKAGE).with_suffix('').as_posix().replace('/', '.')}"
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).parts[0] not in {"gui", "__main__.py"}
    ]
    return sorted(name.removesuffix(".__init__") for name in found)


def imports_of(path: Path) -> list[tuple[int, str]]:
    """Line and dotted name of everything of the package that a file imports, wherever it does so."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports here are absolute, so that they can be read"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names = [ast.literal_eval(a) for a in node.args if isinstance(a, ast.Constant)]
        else:
            continue
        found += [(node.lineno, name) for name in names if f"{name}.".startswith("napari_uda.")]
    return found


def forbidden_imports(
    package: Path, floors: Sequence[set[str]], prefix: str = "napari_uda"
) -> list[str]:
    """Imports of another room that is not on a lower floor, as `file:line imports name`."""
    floor_of = {room: level for level, rooms in enumerate(floors) for room in rooms}
    offenders = []
    for path in sorted(package.rglob("*.py")):
        own = path.relative_to(package).with_suffix("").parts[0]
        for line, name in imports_of(path):
            room = f"{name}.".removeprefix(f"{prefix}.").partition(".")[0]
            if not f"{name}.".startswith(f"{prefix}.") or room == own:
                continue
            if room not in floor_of:
                room = "__init__"  # a public name of the package itself
            if floor_of.get(room, len(floors)) >= floor_of.get(own, 0):
                offenders.append(f"{path.relative_to(package).as_posix()}:{line} imports {name}")
    return offenders


def test_imports_go_down_only() -> None:
    assert forbidden_imports(PACKAGE, FLOORS) == []


def test_docks_use_the_kit_and_do_not_know_each_other() -> None:
    gui = PACKAGE / "gui"
    assert forbidden_imports(gui, GUI_FLOORS, "napari_uda.gui") == []
    rooms = {path.relative_to(gui).with_suffix("").parts[0] for path in gui.rglob("*.py")}
    assert rooms == {*set().union(*GUI_FLOORS), "__init__"}


def test_every_room_has_a_floor() -> None:
    rooms = {path.relative_to(PACKAGE).with_suffix("").parts[0] for path in PACKAGE.rglob("*.py")}
    assert rooms == set().union(*FLOORS)
    assert len(list(PACKAGE.glob("*.py"))) <= 5


@pytest.mark.parametrize(
    "planted",
    [
        "from napari_uda.training.loop import train_run",
        "import napari_uda.training.loop",
        "from napari_uda import training",
        "from napari_uda import train",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from napari_uda.run.run import Run",
        "def late():\n    from napari_uda.methods.base import Method",
        "from importlib import import_module\nimport_module('napari_uda.cli.dispatch')",
        "from napari_uda.convert import convert  # a neighbour on the same floor",
    ],
)
def test_an_import_upward_is_found(tmp_path: Path, planted: str) -> None:
    (tmp_path / "networks").mkdir()
    (tmp_path / "core").mkdir()
    file = tmp_path / "networks" / "planted.py"
    file.write_text("from napari_uda.core import errors\n")
    (tmp_path / "core" / "errors.py").write_text("import torch\n")
    assert forbidden_imports(tmp_path, FLOORS) == []
    file.write_text(planted + "\n")
    (found,) = forbidden_imports(tmp_path, FLOORS)
    assert found.startswith("networks/planted.py:")


def loaded_after(code: str) -> set[str]:
    """Top-level modules that a fresh process without a display has loaded after `code`."""
    program = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"DISPLAY", "WAYLAND_DISPLAY", "QT_API", "PYTEST_QT_API"}
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=environment,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


@pytest.fixture(scope="module")
def engine() -> set[str]:
    """What is loaded after importing the whole engine."""
    modules = engine_modules()
    assert {"napari_uda", "napari_uda.core.config", "napari_uda.methods.base"} <= set(modules)
    return loaded_after("\n".join(f"import {name}" for name in modules))


def test_engine_loads_no_gui_library(engine: set[str]) -> None:
    assert "torch" in engine  # the probe sees what is imported
    assert engine & GUI_LIBRARIES == set()


def test_engine_loads_no_optional_library(engine: set[str]) -> None:
    assert engine & OPTIONAL_LIBRARIES == set()


def test_import_of_the_package_is_lazy() -> None:
    loaded = loaded_after("import napari_uda")
    assert loaded & (GUI_LIBRARIES | OPTIONAL_LIBRARIES | HEAVY_LIBRARIES) == set()


@pytest.mark.slow
def test_public_names_resolve_without_gui() -> None:
    names = [name for name in napari_uda.__all__ if name != "show"]
    assert {"train", "predict", "evaluate", "Run", "Volume", "Prediction", "Scores"} <= set(names)
    loaded = loaded_after("import napari_uda as uda\n" + "\n".join(f"uda.{name}" for name in names))
    assert loaded & GUI_LIBRARIES == set()


def test_dir_lists_the_public_names() -> None:
    assert set(dir(napari_uda)) >= set(napari_uda.__all__)
    assert "show" in dir(napari_uda)


def test_only_gui_mentions_gui_libraries() -> None:
    """Also inside functions, where the import of a whole module does not reach."""
    offenders = []
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] == "gui":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            else:
                continue
            offenders += [
                f"{path.name}:{node.lineno} {name}"
                for name in names
                if name.partition(".")[0] in GUI_LIBRARIES
            ]
    assert offenders == []


def test_no_module_of_scipy_spatial_is_imported_before_the_package() -> None:
    """The package imports them itself: a thread that begins with one is refused it while another has the package."""
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(import|from) scipy\.spatial\.", text), path


def test_every_folder_of_code_is_a_package() -> None:
    """A folder without __init__.py would be missing from the wheel."""
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    packages = {
        PACKAGE.joinpath(*info.name.split(".")[1:])
        for info in pkgutil.walk_packages([str(PACKAGE)], "napari_uda.", onerror=lambda _: None)
        if info.ispkg
    }
    assert folders - {PACKAGE} <= packages
