"""`pack` and `unpack` show the card, and say in one line what they cannot use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import napari_uda as uda
from napari_uda.cli import main
from napari_uda.run.run import Run


def test_pack_and_unpack_show_the_same_card(
    tiny_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "model.zip"
    main(["pack", str(tiny_run.path), "--out", str(file), "--purpose", "For a test", "--json"])
    packed = json.loads(capsys.readouterr().out)
    main(["unpack", str(file), "--out", str(tmp_path / "run"), "--json"])
    unpacked = json.loads(capsys.readouterr().out)
    assert packed.pop("files") == [str(file)]
    assert unpacked.pop("run") == str(tmp_path / "run")
    assert packed == unpacked
    assert (packed["purpose"], packed["licence"]) == ("For a test", "not stated")
    main(["unpack", str(file), "--out", str(tmp_path / "again")])
    assert "For: For a test\n" in capsys.readouterr().out


def test_python_takes_paths_as_text(tiny_run: Run, tmp_path: Path) -> None:
    packed = uda.pack(str(tiny_run.path), str(tmp_path / "model.zip"))
    unpacked = uda.unpack(str(tmp_path / "model.zip"), str(tmp_path / "run"))
    assert packed == unpacked
    assert Run.open(tmp_path / "run").config == Run.open(tiny_run.path).config.model_copy(
        update={"data": Run.open(tmp_path / "run").config.data}
    )


def test_a_file_of_another_kind_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photo.zip").write_bytes(b"no archive")
    with pytest.raises(SystemExit) as end:
        main(["unpack", str(tmp_path / "photo.zip"), "--out", str(tmp_path / "run")])
    assert end.value.code == 2
    assert "is no packed run or damaged" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
