"""The command `report`: a file by its ending, one sentence where it cannot be made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_uda.cli.dispatch import main
from napari_uda.data.volume import Volume, write_volume


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = 0
    try:
        main([str(word) for word in words])
    except SystemExit as end:
        code = int(end.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_report_is_written_and_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cube = np.zeros((3, 8, 8), np.uint8)
    cube[1, 2:6, 2:6] = 1
    for name in ("predictions/a_labels", "labels/a"):
        write_volume(tmp_path / f"{name}.nii.gz", Volume(cube, np.eye(4), "a"))
    given = ("report", tmp_path / "predictions", tmp_path / "labels", "--out", tmp_path / "r.html")
    code, out, err = run(capsys, *given, "--reader", "Dr. X", "--json")
    assert (code, json.loads(out)["file"]) == (0, str(tmp_path / "r.html")), err
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "1 case scored with the protocol recommended: Dice 1.000." in page
    assert "read by Dr. X" in page
    code, out, _ = run(capsys, "report", tmp_path / "predictions", "--out", tmp_path / "u.html")
    assert (code, out.strip()) == (0, str(tmp_path / "u.html"))
    code, _, err = run(capsys, *given[:3], "--out", tmp_path / "r.txt")
    assert code == 2
    assert "a report is a page or a PDF; give a name that ends with .html or .pdf" in err
