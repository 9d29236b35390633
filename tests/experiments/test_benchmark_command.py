"""The command as a user meets it: what it prints, writes and returns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmark_cases import tiny_content, write_spec

from napari_uda.cli import main

Domains = tuple[Path, Path]
ROW = {"name": "source_only", "method": "source_only"}
ODD = {"name": "odd", "method": "source_only", "settings": {"data": {"size": 33}}}


def code_of(*arguments: object) -> int:
    """Exit code of `napari-uda benchmark`."""
    try:
        main(["benchmark", *map(str, arguments)])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.slow
def test_tables_are_written_and_printed(
    two_domains: Domains, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write_spec(tmp_path / "spec.yaml", tiny_content(two_domains))
    out = tmp_path / "out"
    assert code_of(spec, "--out", out) == 0
    said = capsys.readouterr()
    assert said.out.strip() == (out / "table.md").read_text().strip()
    assert "2/2" in said.err  # the bar over cells
    names = {path.name for path in out.iterdir() if path.is_file()}
    named = "table.md table.csv table.tex tests.csv cells.csv cost.md cost.csv spec.yaml"
    assert names == set(named.split())
    assert (out / "pictures" / "cases_CT_to_MR.png").is_file()
    assert code_of(spec, "--out", out, "--no-pictures", "--json") == 0  # nothing is left to train
    found = json.loads(capsys.readouterr().out)
    assert [row["row"] for row in found["rows"]] == ["source_only", "advent"]
    assert 0 <= found["rows"][0]["dice_percent_inner"] <= 100
    assert (found["failed"], found["files"][0]) == ({}, str(out / "table.md"))


def test_failed_cell_makes_the_exit_code(
    two_domains: Domains, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write_spec(tmp_path / "spec.yaml", tiny_content(two_domains, rows=[ODD, ROW]))
    assert code_of(spec, "--out", tmp_path / "out", "--no-pictures") == 2
    said = capsys.readouterr()
    assert (
        "napari-uda: 1 cell failed; the others are in the tables: odd, CT to MR, seed 0:"
        in said.err
    )
    assert "| source_only |" in said.out


def test_bad_spec_is_one_sentence(
    two_domains: Domains, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write_spec(tmp_path / "spec.yaml", tiny_content(two_domains, rows=[ROW, ROW]))
    assert code_of(spec, "--out", tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("napari-uda: ")
    assert "is there twice" in line
    assert code_of(spec) == 2
    assert "--out" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_odd_in_the_data_is_said_once_before_the_first_cell(
    two_domains: Domains, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two cells on one data set, whose source calls itself CT and has no air."""
    rows = [ROW, {**ROW, "name": "again", "settings": {"batch_size": 3}}]
    content = tiny_content(two_domains, rows=rows, steps=1)
    spec, out = write_spec(tmp_path / "spec.yaml", content), tmp_path / "out"
    assert code_of(spec, "--out", out, "--no-pictures") == 0
    said = [record.getMessage() for record in caplog.records]
    (finding,) = [one for one in said if "air has -1000 HU" in one]
    assert finding.startswith("CT to MR, source: the images are said to be CT")
    logs = [file.read_text() for file in out.glob("runs/*/log.txt")]
    assert len(logs) == 2
    assert all(
        "INFO napari_uda.training.findings: source: the images are said to be CT" in log
        for log in logs
    )
    caplog.clear()
    assert code_of(spec, "--out", out, "--no-pictures") == 0  # all is finished, nothing is read
    assert not any("air has -1000 HU" in record.getMessage() for record in caplog.records)


def test_strict_refuses_before_anything_is_written(
    two_domains: Domains, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write_spec(tmp_path / "spec.yaml", tiny_content(two_domains))
    assert code_of(spec, "--out", tmp_path / "out", "--no-pictures", "--strict") == 2
    assert (
        "strict takes a warning about the data for an error (CT to MR, source: the images are said to be"
        in (capsys.readouterr().err)
    )
    assert not (tmp_path / "out").exists()
