"""benchmarks/compare.py: which commands it runs, in whose environment, and what they print."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
PROJECT = '[project]\ndependencies = ["NumPy>=1.26", "nibabel[zstd]>=5.4"]\n'


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("compare")


def test_every_row_is_a_command_that_is_there(compare: ModuleType) -> None:
    found = compare.rows(Path("other"), 5, quick=False)
    assert {"start-up", "metrics", "folder", "steps"} <= set(found)
    for words in found.values():
        assert (BENCHMARKS / words[0]).is_file()
        assert words[1:3] == ["--base", "other"]
        assert "5" in words


@pytest.mark.parametrize(
    ("numpy", "same"), [("numpy==2.4.0", True), ("numpy==2.3.9  # older", False), ("", True)]
)
def test_the_environment_is_shared_where_versions_are_equal(
    compare: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numpy: str, same: bool
) -> None:
    """Only what the package imports counts: another pytest, or a library that is new, does not."""
    here, base = tmp_path / "here", tmp_path / "base"
    for folder, pins in (
        (here, "numpy==2.4.0\nnibabel==5.4.2\npytest==9.1.1\ntyro==1.0.17\n"),
        (base, f"{numpy}\nNibabel==5.4.2\npytest==9.2.0\n"),
    ):
        folder.mkdir()
        (folder / "pyproject.toml").write_text(PROJECT)
        (folder / "constraints.txt").write_text(pins)
    monkeypatch.setattr(compare, "HERE", here)
    assert compare.same_versions(base) is same


def test_a_commit_that_is_none(compare: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, BENCHMARKS / "compare.py", "--base", "no_such_commit"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "git has no commit 'no_such_commit'" in done.stderr


@pytest.mark.slow
def test_scores_of_two_checkouts_in_turns() -> None:
    """This checkout beside itself: a line for everything that is timed."""
    command = [sys.executable, BENCHMARKS / "compare.py", "--base", BENCHMARKS.parent, "--quick"]
    command += ["--repeats", "1", "--rows", "metrics"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(lines) == 6
    assert all(float(before) > 0 and float(after) > 0 for _, before, after, _ in lines[1:])
