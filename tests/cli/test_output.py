"""`--json`, `-v` and `-q`, which every command has."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from tiny_cases import small_config

from napari_uda import demo
from napari_uda.api import iterate
from napari_uda.cli import commands, main
from napari_uda.cli.output import (
    Manner,
    answer,
    answer_each,
    in_braces,
    speaking,
    take_manner,
    text_table,
)
from napari_uda.core.version import __version__
from napari_uda.evaluation.report import evaluate
from napari_uda.run.run import Run

TINY = [
    *("--data.size", "32", "--segmentor.width", "4", "--segmentor.depth", "2"),
    *("--batch-size", "2", "--steps", "1", "--device", "cpu"),
]


@dataclass(frozen=True)
class Answered:
    """Exit code, the one object on stdout, and stderr."""

    code: int
    facts: Any
    err: str


Ask = Callable[..., Answered]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run a command with --json; stdout must be one JSON object and nothing else."""

    def run(*words: object) -> Answered:
        code = 0
        try:
            main([*map(str, words), "--json"])
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        facts = json.loads(said.out)
        assert isinstance(facts, dict)
        return Answered(code, facts, said.err)

    return run


# --- one object for each command ------------------------------------------------------------------


def test_methods_and_recipes(ask: Ask) -> None:
    methods = {row["name"]: row for row in ask("methods").facts["methods"]}
    assert methods["se_asa"]["paper"] == "Feng et al., AAAI 2023"
    recipes = {row["name"]: row for row in ask("recipes").facts["recipes"]}
    assert (recipes["cpu_small"]["method"], recipes["demo"]["about"] != "") == ("", True)
    assert recipes["advent_paper"]["method"] == "advent"
    assert ask("--version").facts == {"version": __version__}


def test_predict_and_evaluate(
    ask: Ask, tiny_run: Run, two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    out, target = tmp_path / "out", two_domains[1]
    volumes = ask("predict", tiny_run.path, target, "--out", out).facts["volumes"]
    assert [volume["case"] for volume in volumes] == ["target_0", "target_1", "target_2"]
    assert volumes[0]["files"][0] == str(out / "target_0_labels.nii.gz")
    assert volumes[0]["shape"] == [6, 40, 40]
    assert set(volumes[0]["volumes_ml"]) == {"inner", "outer"}
    found = ask("evaluate", out, target / "labels", "--out", tmp_path / "scores").facts
    stored = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert {name: found[name] for name in stored} == stored
    assert found["files"][0] == str(tmp_path / "scores" / "scores.csv")


def test_adapt_and_tags(
    ask: Ask, tiny_run: Run, two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    image = two_domains[1] / "images" / "target_0.nii.gz"
    given = (tiny_run.path, image, "--out", tmp_path / "fitted", "--method", "bn_adapt")
    (volume,) = ask("adapt", *given).facts["volumes"]
    assert (volume["case"], volume["method"]) == ("target_0", "bn_adapt")
    stored = json.loads((tmp_path / "fitted" / "target_0_adaptation.json").read_text())
    assert volume["fit"] == stored["fit"]
    assert volume["fit"] in ("fits", "doubtful", "does not fit")
    assert volume["files"][-1] == str(tmp_path / "fitted" / "target_0_adaptation.json")
    tags = tmp_path / "tags.json"
    assert ask("tags", tiny_run.path, two_domains[1], "--out", tags).facts == {"file": str(tags)}


def test_translate(ask: Ask, two_domains: tuple[Path, Path], tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", small_config("cyclegan", *two_domains, steps=1))
    for _ in iterate(run):
        pass
    image = two_domains[1] / "images" / "target_0.nii.gz"
    (volume,) = ask("translate", run.path, image, "--out", tmp_path / "out").facts["volumes"]
    assert volume["direction"] == "target_to_source"
    assert volume["slice_change"]["translated"] > 0


def test_train_phantom_and_convert(
    ask: Ask, two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    said = ask("train", "source_only", "--data.source", two_domains[0], *TINY, "--run-dir", run)
    assert (said.facts["run"], said.facts["steps"]) == (str(run), 1)
    assert "source_only: 100 %, step 1/1" in said.err
    folders = ask("phantom", tmp_path / "made", "--subjects", "1", "--size", "64").facts["folders"]
    assert folders == [str(tmp_path / "made" / side) for side in ("ct", "mr")]
    release = tmp_path / "release" / "ct_train"
    release.mkdir(parents=True)
    heart = np.resize([205, 420, 500, 550, 600, 820, 850], (6, 5, 4)).astype(np.int16)
    for kind in ("image", "label"):
        nib.save(nib.Nifti1Image(heart, np.eye(4)), release / f"ct_train_1001_{kind}.nii.gz")
    given = ("convert", "mmwhs", tmp_path / "release", tmp_path / "converted")
    assert ask(*given).facts["folders"] == [str(tmp_path / "converted" / "ct")]


def test_demo(ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    labels = np.zeros((2, 4, 4), np.uint8)
    labels[:, 1:3, 1:3] = 1
    scores = evaluate(labels, labels, spacing_mm=(1, 1, 1), names={1: "cube"})
    monkeypatch.setattr(demo, "run_demo", lambda out, **_: {"se_asa": scores})
    rows = ask("demo", "--out", tmp_path).facts["rows"]["se_asa"]
    assert [(row["name"], row["dice"]["mean"]) for row in rows] == [("cube", 1), ("mean", 1)]


def test_a_new_command_needs_to_do_nothing_for_it(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def check(folder: Path) -> None:
        """Look at a folder."""
        sys.stdout.write("printed by a command that knows nothing of --json\n")
        answer("a line")
        answer_each("findings", {"text": "1 < 2", "share": float("nan"), "n": np.int64(3)}, "found")
        answer(folder=folder)

    monkeypatch.setitem(commands.COMMANDS, "check", check)
    said = ask("check", "--folder", "there")
    assert said.facts == {
        "findings": [{"text": "1 < 2", "share": None, "n": 3}],
        "folder": "there",
    }
    assert "printed by a command" in said.err
    main(["check", "--folder", "there"])
    assert capsys.readouterr().out.splitlines()[1:] == ["a line", "found"]


def test_what_other_processes_print_is_not_on_stdout() -> None:
    code = (
        "import os, sys\n"
        "from napari_uda.cli import commands, main\n"
        "def noisy(): os.system('echo from a child')\n"
        "commands.COMMANDS['noisy'] = noisy\n"
        "main(['noisy', '--json'])\n"
        "main(['noisy'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "{}\nfrom a child\n"
    assert done.stderr == "from a child\n"


# --- refusals and help ----------------------------------------------------------------------------


def test_a_refusal_is_an_object_too(
    ask: Ask, tiny_run: Run, two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    said = ask("predict", "nowhere", "image.nii.gz", "--out", tmp_path / "out")
    assert said.code == 2
    assert said.facts == {
        "error": "nowhere is not a run folder (it has no config.yaml); give one that is"
    }
    assert said.err == f"napari-uda: {said.facts['error']}\n"
    torn = tmp_path / "torn.nii.gz"
    torn.write_bytes((two_domains[1] / "images" / "target_0.nii.gz").read_bytes()[:200])
    good = two_domains[1] / "images" / "target_1.nii.gz"
    said = ask("predict", tiny_run.path, torn, good, "--out", tmp_path / "out")
    assert said.code == 2
    assert [volume["case"] for volume in said.facts["volumes"]] == ["target_1"]
    assert [failed["case"] for failed in said.facts["failed"]] == ["torn"]


def test_a_command_with_an_exit_code_of_its_own_answers(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def strict() -> None:
        """Refuse."""
        answer("no", ok=False)
        sys.exit(1)

    monkeypatch.setitem(commands.COMMANDS, "strict", strict)
    said = ask("strict")
    assert (said.code, said.facts) == (1, {"ok": False})


@pytest.mark.parametrize("name", ["train", *commands.COMMANDS])
def test_help_tells_of_them(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["source_only"] if name == "train" else []
    with pytest.raises(SystemExit):
        main([name, *words, "--help", "--json"])
    said = capsys.readouterr().out
    assert "usage: napari-uda" in said
    assert "--json" in said


# --- how much is said -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "loudness"),
    [
        ("", 0),
        ("-v", 1),
        ("-v -v", 2),
        ("-vv", 2),
        ("-vv --verbose", 2),
        ("-vvv", 2),
        ("-q", -1),
        ("-v -q", -1),
    ],
)
def test_loudness(words: str, loudness: int) -> None:
    manner, rest = take_manner(["predict", *words.split(), "RUN"])
    assert (manner.loudness, manner.as_json, rest) == (loudness, False, ["predict", "RUN"])


def test_what_is_logged_is_shown_from_a_level_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])  # those of pytest
    logger = logging.getLogger("napari_uda.somewhere")
    shown = {}
    for loudness in (-1, 0, 1, 2):
        with speaking(Manner(loudness=loudness)):
            for level in ("debug", "info", "warning", "error"):
                getattr(logger, level)(level)
        shown[loudness] = capsys.readouterr().err.split()[1::2]
    assert shown == {
        -1: ["error"],
        0: ["warning", "error"],
        1: ["info", "warning", "error"],
        2: ["debug", "info", "warning", "error"],
    }
    assert root.handlers == []
    assert logging.getLogger("napari_uda").level == logging.NOTSET


def test_quiet_keeps_the_answer(
    tiny_run: Run,
    two_domains: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    main(["predict", str(tiny_run.path), str(two_domains[1]), "--out", str(out), "-q"])
    said = capsys.readouterr()
    assert said.err == ""
    verdicts = [line.partition(":")[0] for line in said.out.splitlines()]
    assert verdicts == ["target_0", "target_1", "target_2"]


def test_the_first_of_several_processes_speaks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    main(["methods"])
    main(["methods", "--json"])
    assert capsys.readouterr().out == ""


def test_a_reader_that_goes_away_is_no_error() -> None:
    code = "from napari_uda.cli import main; main(['recipes', '--json'])"
    readable, writable = os.pipe()
    os.close(readable)
    with os.fdopen(writable, "wb") as nobody:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=nobody, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (0, b"")


# --- texts ----------------------------------------------------------------------------------------


def test_files_of_one_folder_share_a_line() -> None:
    names = ["o/a_1_labels.nii.gz", "o/a_1_entropy.nii.gz", "o/scores.csv", "o/x/a_1_labels.nii.gz"]
    assert in_braces(list(map(Path, names))) == [
        "o/a_1_{labels,entropy}.nii.gz",
        "o/scores.csv",
        "o/x/a_1_labels.nii.gz",
    ]
    assert in_braces([Path("o/scores.csv"), Path("o/slices.csv"), Path("o/scores.json")]) == [
        "o/scores.csv",
        "o/slices.csv",
        "o/scores.json",
    ]
    assert in_braces([Path("1.2_labels.nii.gz"), Path("1.2_entropy.nii.gz")]) == [
        "1.2_{labels,entropy}.nii.gz"
    ]


def test_a_table_of_text() -> None:
    rows = [{"a": "x", "b": "long text"}, {"a": "yyy", "b": ""}]
    assert text_table(("a", "b"), rows) == "a    b\nx    long text\nyyy"


@pytest.mark.parametrize(
    ("words", "key"), [("train", "error"), ("--completion bash", "completion")]
)
def test_what_is_usage_for_people_is_an_answer_for_programs(
    words: str, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with suppress(SystemExit):
        main([*words.split(), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert list(found) == [key]
    assert found[key]


@pytest.mark.parametrize("words", ["methods", "methods --json"])
@pytest.mark.parametrize(
    ("where", "code", "said"),
    [
        (">/dev/full", 2, "no space left on device"),
        (">&-", 0, ""),
        ("2>&- >/dev/null", 0, ""),
    ],
)
def test_an_answer_that_nobody_can_read_is_no_traceback(
    words: str, where: str, code: int, said: str
) -> None:
    line = f"{sys.executable} -m napari_uda {words} {where}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_letters_that_a_terminal_lacks_are_escaped(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "napari_uda", "check", tmp_path / "M\u00fcller"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout.splitlines()[0] == "M\\xfcller"
