"""The three files of an evaluation: killed at every step they are all old or all new, or become so; formulas in names."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_uda.core.csv_text import read_csv
from napari_uda.evaluation.cohort import write_cohort
from napari_uda.evaluation.report import Scores, evaluate
from napari_uda.run.comparison import read_scores
from napari_uda.run.folder import RunFolder

FILES = ("scores.csv", "scores.json", "slices.csv")
KILLED_AT = """
import os, signal, sys
from pathlib import Path
import numpy as np
from napari_uda.core.leftovers import remove_leftovers
from napari_uda.evaluation.report import evaluate

STEPS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.chmod", "os.truncate"}
work = Path(sys.argv[1])
labels = np.ones((2, 2, 2), np.uint8)
scores = {
    text: evaluate(labels, labels, spacing_mm=(1, 1, 1), case=text) for text in ("old", "new", "newest")
}


def killed_before(step, action):
    '''Do it in a process that kills itself before its n-th step; whether that came.'''
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    left = step

    def count(event, _):
        nonlocal left
        if event in STEPS:
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    sys.addaudithook(count)
    action()
    os._exit(0)


def state(folder):
    found = {
        text
        for name in ("scores.csv", "scores.json", "slices.csv")
        for text in ("old", "new")
        if text in (folder / name).read_text().replace("newest", "")
    }
    return "".join(sorted(found))


def repaired(folder):
    before, is_ready = state(folder), bool(list(folder.glob(".*.swap")))
    remove_leftovers(folder)
    assert not list(folder.glob(".*")), folder
    assert state(folder) == ("new" if is_ready else before), folder


step, seen = 0, []
while True:
    folder = work / str(step)
    scores["old"].write(folder)
    if not killed_before(step, lambda: scores["new"].write(folder)):
        break
    assert {path.name for path in folder.iterdir() if path.name[0] != "."} == {
        "scores.csv", "scores.json", "slices.csv"
    }
    seen.append(state(folder))
    if seen[-1] == "newold":  # kill those who repair it, too
        again = 0
        while killed_before(again, lambda: remove_leftovers(folder)):
            again += 1
        assert again > 5
        assert state(folder) == "new"
    repaired(folder)
    step += 1
scores["newest"].write(folder)
print(*seen)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes")
def test_killed_at_every_step_the_files_are_all_old_or_all_new(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = done.stdout.split()
    assert seen == sorted(seen, key=["old", "newold", "new"].index)  # and never back
    assert seen.count("old") > 8  # while they are written
    assert seen.count("newold") == 2  # between the three renames
    assert seen.count("new") > 3  # while the rest is removed


def scored(case: str, name: str) -> Scores:
    labels = np.ones((2, 2, 2), np.uint8)
    affine_free = {"spacing_mm": (1.0, 1.0, 1.0), "names": {1: name}, "case": case}
    return evaluate(labels, labels, **affine_free)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-LV", "@LV", "\tLV", "\rLV"])
def test_formulas_are_text_in_tables_and_plain_elsewhere(tmp_path: Path, text: str) -> None:
    scores = scored(text, text)
    for row in scores.slices:
        row["position_mm"] = -12.5
    scores.write(tmp_path)
    for name in ("scores.csv", "slices.csv"):
        written = (tmp_path / name).read_bytes().decode()
        with (tmp_path / name).open(newline="") as stream:
            foreign = list(csv.DictReader(stream))
        assert {(row["case"], row["name"]) for row in foreign} == {(f"'{text}", f"'{text}")}
        assert {(row["case"], row["name"]) for row in read_csv(written)} == {(text, text)}
    assert {row["position_mm"] for row in foreign} == {"-12.5"}
    document = json.loads((tmp_path / "scores.json").read_text())
    assert (document["rows"][0]["case"], document["rows"][0]["name"]) == (text, text)
    assert read_scores(RunFolder(tmp_path))[f"{text} · Dice"] == 1


def test_formulas_are_text_in_the_table_of_a_cohort(tmp_path: Path) -> None:
    write_cohort(tmp_path / "cohort.csv", [("=method", scored("case", "@LV"))])
    rows = (tmp_path / "cohort.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["'=method"] * 2
    assert rows[1].split(",")[2] == "'@LV"
