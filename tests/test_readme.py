"""What the README promises exists: the method table, make targets, files, commands and extras."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]


@pytest.mark.slow
def test_method_table_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "methods_table.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_not_a_medical_device() -> None:
    assert "not a medical device" in README.lower()


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", makefile, flags=re.MULTILINE))
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^)make ([a-z][a-z0-9-]*)", text, flags=re.MULTILINE))
    assert named - targets == set()


@pytest.mark.parametrize("page", PAGES)
def test_links_to_files_lead_somewhere(page: str) -> None:
    text = re.sub(r"<!--.*?-->", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text)
    broken = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert broken == []


@pytest.mark.slow
def test_commands_exist() -> None:
    text = re.sub(r"<!--.*?-->", "", README, flags=re.DOTALL)
    commands = sorted(set(re.findall(r"^(?:\$ )?napari-uda ([a-z]+)", text, flags=re.MULTILINE)))
    assert {"demo", "train", "predict", "evaluate", "phantom", "methods", "show"} <= set(commands)
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "napari_uda", command, "--help"],
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"


def test_extras_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {
        extra for group in re.findall(r"\.\[([a-z0-9,]+)\]", README) for extra in group.split(",")
    }
    assert named
    assert named - set(project["optional-dependencies"]) == set()


def test_citation_has_the_version_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {project['version']}\n" in citation
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
