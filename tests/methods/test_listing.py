"""The kept list of methods is what the methods say, and steps aside where it does not know them all."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from napari_uda.methods import listing
from napari_uda.methods.registry import METHODS

FOREIGN = EntryPoint("some_package", "some_package", listing.GROUP)


def test_the_kept_rows_are_those_of_the_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = listing.list_methods()
    assert [row["name"] for row in rows] == list(METHODS)
    assert rows[0]["needs"] == "source, target"
    monkeypatch.setattr(listing, "own_modules", lambda: ["a_new_file"])
    assert listing.list_methods() == rows


def test_the_file_is_not_read_where_another_package_brings_methods(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = listing.list_methods()
    empty = tmp_path / "listing.csv"
    empty.write_text("module,name,family,paper,summary,needs\n")
    monkeypatch.setattr(listing, "FILE", empty)
    monkeypatch.setattr(listing, "own_modules", list)
    assert listing.list_methods() == []
    monkeypatch.setattr(listing, "entry_points", lambda group: [FOREIGN])
    assert listing.list_methods() == rows


def test_the_list_needs_no_torch() -> None:
    code = (
        "import sys, napari_uda\n"
        "assert [row['name'] for row in napari_uda.list_methods()][0] == 'adaptsegnet'\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
