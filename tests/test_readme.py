"""What the README promises exists: the tables, make targets, files, commands and extras; and it is short."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))
PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", *DOCS]


@pytest.mark.slow
def test_tables_of_readme_and_documentation_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "methods_table.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_not_a_medical_device() -> None:
    assert "not a medical device" in README.lower()


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_readme_leads_to_every_page_of_the_documentation() -> None:
    linked = set(re.findall(r"\]\((docs/[^)#]+\.md)", README))
    assert sorted(set(DOCS) - linked - {"docs/index.md"}) == []


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", makefile, flags=re.MULTILINE))
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^)make ([a-z][a-z0-9-]*)", text, flags=re.MULTILINE))
    assert named - targets == set()


@pytest.mark.parametrize("page", [page for page in PAGES if page not in DOCS])
def test_links_to_files_lead_somewhere(page: str) -> None:
    text = re.sub(r"<!--.*?-->", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text)
    broken = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert broken == []


def test_commands_of_the_quick_start() -> None:
    """The ones that a newcomer meets first; tests/docs looks at each and at its options."""
    commands = set(re.findall(r"^napari-uda ([a-z]+)", README, flags=re.MULTILINE))
    assert {"train", "predict", "evaluate", "show"} <= commands
    assert "make demo" in README


def test_extras_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = README + (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    named = {
        extra for group in re.findall(r"\.\[([a-z0-9,]+)\]", text) for extra in group.split(",")
    }
    assert {"all", "pyqt6", "monai", "cluster", "tables", "dev"} <= named
    assert named - set(project["optional-dependencies"]) == set()


def test_citation_has_the_version_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {project['version']}\n" in citation
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
