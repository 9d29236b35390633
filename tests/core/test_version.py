"""Which version this is: the commit of a clone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from napari_uda.core.version import commit


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with one committed file in a new repository."""
    package = tmp_path / "clone" / "some_package"
    package.mkdir(parents=True)
    (package / "module.py").write_text("x = 1\n")
    git(package, "init", "-q")
    return package


def git(package: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(package.parent), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_commit_of_a_clone_and_whether_files_differ_from_it(package: Path) -> None:
    assert commit(package) == ""  # nothing is committed yet
    git(package, "add", ".")
    git(package, "commit", "-q", "-m", "one")
    git(package, "tag", "-a", "v1", "-m", "a tag does not take the place of the commit")
    made = git(package, "rev-parse", "HEAD")
    assert len(made) == 40
    assert commit(package) == made
    (package / "module.py").write_text("x = 2\n")
    assert commit(package) == f"{made}-dirty"


def test_a_package_without_its_clone_has_no_commit(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = (
        package / "site-packages" / "napari_uda"
    )  # an environment in the clone of something else
    inside.mkdir(parents=True)
    assert commit(inside) == ""
    monkeypatch.setenv("PATH", str(tmp_path))  # no git
    assert commit(package) == ""
