"""The examples run on small data, and use nothing but public names."""

from __future__ import annotations

import ast
import csv
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import nibabel as nib
import numpy as np
import pytest

import napari_uda as uda

FOLDER = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(FOLDER.glob("*.py"))
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
Domains = tuple[Path, Path]
FILES = (".json", "_entropy.nii.gz", "_labels.nii.gz", "_reliability.nii.gz")


def run_script(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: object) -> None:
    """Run a script with these arguments, in this process."""
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(FOLDER / name), run_name="__main__")


def cells(notebook: Path, kind: str = "code") -> list[dict[str, Any]]:
    content = json.loads(notebook.read_text(encoding="utf-8"))
    return [cell for cell in content["cells"] if cell["cell_type"] == kind]


def source_of(example: Path) -> str:
    if example.suffix == ".py":
        return example.read_text(encoding="utf-8")
    return "\n".join("".join(cell["source"]) for cell in cells(example))


def test_every_example_is_tested_here() -> None:
    assert [path.name for path in (*SCRIPTS, *NOTEBOOKS)] == [
        "adapt_ct_to_mr.py",
        "score_a_folder.py",
        "source_free.py",
        "inspect_uncertainty.ipynb",
    ]


@pytest.mark.parametrize("example", [*SCRIPTS, *NOTEBOOKS], ids=lambda path: path.name)
def test_only_public_names_are_used(example: Path) -> None:
    tree = ast.parse(source_of(example))
    imported = {
        alias.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert {name for name in imported if name and name.startswith("napari_uda")} == {"napari_uda"}
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "uda"
    }
    assert used
    assert used <= set(uda.__all__)


@pytest.mark.slow
def test_adapt_ct_to_mr(
    two_domains: Domains,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, target = two_domains
    out = tmp_path / "out"
    given = ("--source", source, "--target", target, "--out", out, "--steps", 2)
    run_script(monkeypatch, "adapt_ct_to_mr.py", *given)
    said = capsys.readouterr().out
    assert "source_only, on the volumes that se_asa saw without their labels" in said
    assert said.count("inner") == said.count("outer") == 2
    before, after = (uda.Run.open(out / "runs" / name) for name in ("source_only", "se_asa"))
    assert after.config.init == before.path
    assert (before.config.steps, after.config.steps) == (2, 2)
    for name in ("source_only", "se_asa"):
        files = sorted(path.name for path in (out / "predictions" / name).iterdir())
        assert files == [f"target_{index}{end}" for index in range(3) for end in FILES]


@pytest.mark.slow
def test_source_free(
    two_domains: Domains,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, target = two_domains
    first = tmp_path / "first"
    given = ("--target", target, "--steps", 2)
    run_script(monkeypatch, "source_free.py", *given, "--source", source, "--out", first)
    said = capsys.readouterr().out
    assert said.count("mean Dice before: ") == said.count("mean Dice after: ") == 3
    adapted = uda.Run.open(first / "second_site")
    assert adapted.config.data.source is None
    assert adapted.config.init == first / "first_site"
    # a run that came from elsewhere, with a network of its own
    other = uda.train(
        "source_only",
        source=source,
        run_dir=tmp_path / "handed_on",
        steps=1,
        batch_size=2,
        data={"size": 32},
        segmentor={"width": 4, "depth": 2},
    )
    second = tmp_path / "second"
    run_script(monkeypatch, "source_free.py", *given, "--run", other.path, "--out", second)
    assert not (second / "first_site").exists()
    config = uda.Run.open(second / "second_site").config
    assert (config.segmentor.width, config.data.size) == (4, 32)
    assert len(list((second / "predictions").glob("*_labels.nii.gz"))) == 3


def test_score_a_folder(
    two_domains: Domains,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The references themselves, one of them without its inner structure."""
    labels = two_domains[1] / "labels"
    predictions = tmp_path / "predictions"
    predictions.mkdir()
    for index, file in enumerate(sorted(labels.glob("*.nii.gz"))):
        volume = nib.load(file)
        array = np.asarray(volume.dataobj)
        array = np.where(array == 1, 0, array) if index == 1 else array
        nib.save(nib.Nifti1Image(array.astype(np.uint8), volume.affine), predictions / file.name)
    out = tmp_path / "out"
    given = ("--labels", labels, "--out", out)
    run_script(monkeypatch, "score_a_folder.py", *given, "--predictions", predictions)
    said = capsys.readouterr().out
    assert "lowest:\n  target_1 inner: 0.000\n" in said
    with (out / "scores.csv").open() as file:
        dice = {(row["case"], row["name"]): float(row["dice"]) for row in csv.DictReader(file)}
    assert dice == {
        (f"target_{index}", name): float((index, name) != (1, "inner"))
        for index in range(3)
        for name in ("inner", "outer")
    }
    (predictions / "target_2.nii.gz").unlink()
    with pytest.raises(SystemExit, match="has no prediction of target_2; segment that volume too"):
        run_script(monkeypatch, "score_a_folder.py", *given, "--predictions", predictions)


@pytest.mark.slow
def test_score_a_folder_segments_the_samples_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_script(monkeypatch, "score_a_folder.py", "--out", tmp_path)
    (mean,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("mean ")]
    assert float(mean.split()[1]) > 0.7  # the shipped model was adapted to these volumes


# --- the notebook ---------------------------------------------------------------------------------


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_stored_without_outputs(notebook: Path) -> None:
    assert cells(notebook)
    for cell in cells(notebook):
        assert (cell["outputs"], cell["execution_count"]) == ([], None)


@pytest.mark.slow
def test_inspect_uncertainty(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cell by cell in the folder of the notebook, as Jupyter starts it."""
    monkeypatch.chdir(FOLDER)
    names: dict[str, Any] = {}
    with mpl.rc_context({"backend": "Agg"}):
        for cell in cells(FOLDER / "inspect_uncertainty.ipynb"):
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
        names["plt"].close("all")
    assert "% of the unreliable voxels are wrong" in capsys.readouterr().out
    # what the notebook says: errors are where entropy is high and the answer is not reliable
    shares = names["share_wrong"]
    assert shares[:4].mean() < shares[4:].mean() / 2
    assert names["share_of"]["reliable"] < names["share_of"]["unreliable"] / 2
