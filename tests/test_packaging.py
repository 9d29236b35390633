"""The wheel and the source archive hold what they must, and the engine runs from the wheel without napari and Qt."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterable
from email.message import Message
from email.parser import Parser
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
SOURCES = [
    "napari_uda",
    "sample_data",
    "tests",
    "napari.yaml",
    "pyproject.toml",
    "README.md",
    "LICENSE",
]
GUI_DISTRIBUTIONS = re.compile(r"^(napari|pyqt[56].*|pyside[26].*|vispy|superqt)$")

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Standard output of a command that must succeed; no display, nothing of this process's Qt."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in {"DISPLAY", "WAYLAND_DISPLAY", "PYTHONPATH", "QT_API", "VIRTUAL_ENV"}
    }
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=kept | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Wheel and source archive, built from a copy so that no old build folder slips in."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy2(ROOT / name, source / name)
    out = tmp_path_factory.mktemp("dist")
    for kind in ("--wheel", "--sdist"):
        run(
            sys.executable,
            "-m",
            "build",
            kind,
            "--no-isolation",
            "--outdir",
            out,
            source,
            cwd=source,
        )
    (wheel,) = out.glob("*.whl")
    (sdist,) = out.glob("*.tar.gz")
    return wheel, sdist


def shipped_files() -> set[str]:
    """What must be in the package besides the modules, as paths below `napari_uda/`."""
    samples = [path for path in (ROOT / "sample_data").rglob("*") if path.is_file()]
    settings = [
        path
        for folder in ("recipes", "data/adapters")
        for path in (ROOT / "napari_uda" / folder).glob("*.yaml")
    ]
    return (
        {f"napari_uda/{path.relative_to(ROOT).as_posix()}" for path in samples}
        | {path.relative_to(ROOT).as_posix() for path in settings}
        | {"napari_uda/napari.yaml", "napari_uda/py.typed"}
        | {"napari_uda/methods/listing.csv", "napari_uda/experiments/measured.csv"}
    )


def project_table() -> dict[str, Any]:
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"])


def modules() -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / "napari_uda").rglob("*.py")}


def test_manifest_and_samples_are_links() -> None:
    for name in ("napari.yaml", "sample_data"):
        link = ROOT / "napari_uda" / name
        assert link.is_symlink()
        assert link.readlink() == Path("..") / name
        assert not (ROOT / name).is_symlink()


def test_samples_are_small() -> None:
    total = sum(path.stat().st_size for path in (ROOT / "sample_data").rglob("*") if path.is_file())
    assert 0 < total < 8_000_000


def test_wheel_holds_the_package_and_nothing_else(archives: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(archives[0]) as wheel:
        names = {name for name in wheel.namelist() if not name.endswith("/")}
    assert (shipped_files() | modules()) - names == set()
    assert {name.partition("/")[0] for name in names} == {
        "napari_uda",
        next(name for name in names if ".dist-info/" in name).partition("/")[0],
    }


def test_source_archive_holds_the_package(archives: tuple[Path, Path]) -> None:
    with tarfile.open(archives[1]) as sdist:
        members = sdist.getmembers()
    names = {member.name.partition("/")[2] for member in members if member.isfile()}
    assert (
        shipped_files() | modules() | {"pyproject.toml", "LICENSE", "README.md"}
    ) - names == set()
    assert [member.name for member in members if member.issym() or member.islnk()] == []


def wheel_metadata(wheel_path: Path) -> Message:
    with zipfile.ZipFile(wheel_path) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(wheel.read(name).decode())


def test_metadata(archives: tuple[Path, Path]) -> None:
    header = wheel_metadata(archives[0])
    assert header["Name"] == "napari_uda"  # npe2 compares it with the manifest, letter by letter
    assert header["License-Expression"] == "BSD-3-Clause"
    assert header["Requires-Python"] == ">=3.11"
    assert "Framework :: napari" in header.get_all("Classifier", [])
    assert {"all", "dev", "monai", "cluster"} <= set(header.get_all("Provides-Extra", []))


def base_requirements(names: Iterable[str]) -> list[Requirement]:
    """Those that hold on this machine without any extra."""
    found = [Requirement(name) for name in names]
    return [r for r in found if r.marker is None or r.marker.evaluate({"extra": ""})]


def test_base_dependencies_hold_no_viewer(archives: tuple[Path, Path]) -> None:
    base = base_requirements(wheel_metadata(archives[0]).get_all("Requires-Dist", []))
    names = {canonicalize_name(requirement.name) for requirement in base}
    assert "torch" in names
    assert [name for name in sorted(names) if GUI_DISTRIBUTIONS.match(name)] == []


def dependency_closure(requirements: list[Requirement]) -> dict[str, metadata.Distribution]:
    """Every installed distribution that the requirements need, directly or through others."""
    found: dict[str, metadata.Distribution] = {}
    waiting = [(requirement.name, frozenset(requirement.extras)) for requirement in requirements]
    done: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = waiting.pop()
        key = (canonicalize_name(name), extras)
        if key in done:
            continue
        done.add(key)
        found[key[0]] = distribution = metadata.distribution(name)
        for line in distribution.requires or []:
            needed = Requirement(line)
            if needed.marker is None or any(
                needed.marker.evaluate({"extra": extra}) for extra in {"", *extras}
            ):
                waiting.append((needed.name, frozenset(needed.extras)))
    return found


@pytest.fixture(scope="module")
def python_without_napari(
    archives: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Interpreter of a new environment: the installed wheel and its declared dependencies, no more.

    The dependencies are links to the copies that this process uses, one per distribution in the
    closure of the wheel's own metadata. An undeclared import therefore fails as it would for a user,
    and nothing is downloaded.
    """
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps", "--no-index"]
    run(*pip, archives[0], cwd=folder)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(run(python, "-c", code, cwd=folder).strip())
    base = base_requirements(wheel_metadata(archives[0]).get_all("Requires-Dist", []))
    for distribution in dependency_closure(base).values():
        for top in {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}:
            link = packages / top
            if not link.exists():
                link.symlink_to(Path(str(distribution.locate_file(top))).resolve())
    return python


def test_viewer_is_absent_from_the_clean_environment(python_without_napari: Path) -> None:
    code = """
import importlib.util, json
from importlib import metadata
names = ["napari", "PyQt5", "PyQt6", "PySide6", "vispy", "monai", "medpy", "pytest"]
found = [name for name in names if importlib.util.find_spec(name)]
print(json.dumps(found + [d.name for d in metadata.distributions() if d.name.lower() in {"napari", "pyqt5"}]))
"""
    out = run(python_without_napari, "-c", code, cwd=python_without_napari.parent)
    assert json.loads(out) == []


def test_engine_runs_from_the_wheel(python_without_napari: Path) -> None:
    names = sorted(
        path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in modules()
        if not path.startswith("napari_uda/gui/") and path != "napari_uda/__main__.py"
    )
    code = f"""
import importlib, json
for name in {names!r}:
    importlib.import_module(name)
import napari_uda
from napari_uda.data.folder import DataFolder
from napari_uda.data.volume import read_labels, read_volume
from napari_uda.run.run import Run
from pathlib import Path
samples = Path(napari_uda.__file__).parent / "sample_data"
shapes = {{}}
for modality in ("ct", "mr"):
    folder = DataFolder.open(samples / modality)
    for case in folder.cases:
        image, label = read_volume(case.image), read_labels(case.label)
        shapes[f"{{modality}}/{{case.name}}"] = [image.array.shape == label.array.shape, len(folder.labels)]
print(json.dumps({{
    "file": napari_uda.__file__, "version": napari_uda.__version__, "shapes": shapes,
    "model": sorted(Run.open(samples / "model").labels), "labels": sorted(folder.labels),
}}))
"""
    out = run(python_without_napari, "-c", code, cwd=python_without_napari.parent)
    seen = json.loads(out.splitlines()[-1])
    assert Path(seen["file"]).is_relative_to(python_without_napari.parents[1])
    assert seen["version"] == project_table()["version"]
    assert {name.partition("/")[0] for name in seen["shapes"]} == {"ct", "mr"}
    assert all(same_grid and count >= 1 for same_grid, count in seen["shapes"].values())
    assert seen["model"] == seen["labels"]


def test_manifest_is_found_in_the_wheel(python_without_napari: Path) -> None:
    code = """
import json
from npe2 import PluginManager
manager = PluginManager()
manager.discover()
manifest = manager.get_manifest("napari_uda")
contributions = manifest.contributions
print(json.dumps({
    "version": manifest.package_version,
    "samples": [sample.key for sample in contributions.sample_data or []],
    "docks": [widget.display_name for widget in contributions.widgets or []],
    "readers": len(contributions.readers or []), "writers": len(contributions.writers or []),
}))
"""
    out = run(python_without_napari, "-c", code, cwd=python_without_napari.parent)
    found = json.loads(out.splitlines()[-1])
    assert found["version"] == project_table()["version"]
    assert len(found["samples"]) >= 2
    assert {"Segment", "Score"} <= set(found["docks"])
    assert found["readers"] >= 1
    assert found["writers"] >= 1


def test_command_runs_from_the_wheel(python_without_napari: Path) -> None:
    command = python_without_napari.with_name("napari-uda")
    out = run(command, "methods", cwd=python_without_napari.parent)
    assert "source_only" in out
    assert "se_asa" in out


def test_constraints_pin_every_declared_dependency() -> None:
    """Every requirement of every extra is pinned to the version that was tested."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert pins["torch"] == "2.13.0"
    project = project_table()
    optional = project["optional-dependencies"].values()
    declared = [Requirement(line) for line in sum(optional, project["dependencies"])]
    named = {canonicalize_name(requirement.name) for requirement in declared} - {"napari-uda"}
    assert named - {canonicalize_name(name) for name in pins} == set()
