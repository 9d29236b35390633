"""Options that do not fit: the sentences, and what is left of them with a tyro that has no hook."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pytest
import tyro
from pydantic import BaseModel, Field

from napari_uda.cli import main
from napari_uda.cli.usage import parse, parse_call
from napari_uda.core.errors import InputError
from napari_uda.data.volume import Volume, write_volume
from napari_uda.run.run import Run


class _Part(BaseModel):
    width: int = Field(default=4, ge=2)


class _Settings(BaseModel):
    rate: float = Field(default=0.5, lt=1)
    kind: Literal["flat", "deep"] = "flat"
    part: _Part = _Part()


def _command(run: Annotated[Path, tyro.conf.Positional], out: Path, pair: tuple[int, int]) -> None:
    raise ValueError(f"{run} {out} {pair}")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("--bogus", "there is no option --bogus"),
        ("--bogus=2 --more", "there is no option --bogus and no option --more"),
        ("here", "there is no place for here in this command"),
        ("--rate", "--rate needs a value"),
        ("--rate x", "--rate must be a number, not 'x'"),
        ("--rate 1", "rate must be below 1, not 1.0"),
        ("--kind round", "--kind cannot be 'round'; choose one of flat, deep"),
        ("--part.width 1", "part.width must be at least 2, not 1"),
    ],
)
def test_settings_that_do_not_fit(given: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(_Settings, given.split(), "program")
    assert str(caught.value) == f"{sentence}; see program --help"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("", "PATH, --out PATH, --pair INT INT must be given"),
        ("run --pair 1 2", "--out PATH must be given"),
        ("run --out there --pair 1", "--pair needs a value"),
        ("--bogus", "PATH must be given"),
    ],
)
def test_arguments_that_are_missing(given: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_call(_command, given.split(), "program")
    assert str(caught.value) == f"{sentence}; see program --help"


def test_an_error_of_the_work_is_not_one_of_the_options() -> None:
    call = parse_call(_command, ["run", "--out", "there", "--pair", "1", "2"], "program")
    with pytest.raises(ValueError, match=r"run there \(1, 2\)"):
        call()


def test_a_tyro_without_the_hook_says_it_in_its_own_box(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tyro._errors", None)
    with pytest.raises(SystemExit) as caught:
        parse(_Settings, ["--kind", "round"], "program")
    assert caught.value.code == 2
    assert "round" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("methods --jsno", "there is no option --jsno; did you mean --json?"),
        ("predict run image --out o --quite", "there is no option --quite; did you mean --quiet?"),
        ("convert", "DATASET, SOURCE, OUT must be given"),
        (
            "evaluate --match a=b predictions labels --out o",
            "PREDICTIONS, LABELS must be given before --match, which takes all words that follow it; see",
        ),
        (
            "adapt --sizes-ml liver 1500 run image --out o",
            "RUN must be given before --sizes-ml, which takes all words that follow it; see",
        ),
        ("predict --out o run --entropy-dtype uint9", "--entropy-dtype cannot be 'uint9'"),
        ("evaluate --out o predictions", "LABELS must be given; see"),
        (
            "adapt run --sizes-ml liver 1500 image --out o",
            "--sizes-ml must be names and numbers in turn, NAME NUMBER ...; put all other words before it",
        ),
        ("predict r i --out o --batch-size two", "--batch-size must be a whole number, not 'two'"),
    ],
)
def test_common_options_and_values_are_named_in_plain_words(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(words.split())
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", ["predict", "adapt", "translate", "tags"])
def test_an_image_in_the_place_of_the_run_tells_the_order(
    command: str, tiny_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "image.nii.gz"
    write_volume(image, Volume(np.zeros((3, 32, 32), np.int16), np.eye(4)))
    with pytest.raises(SystemExit):
        main([command, str(image), str(tiny_run.path), "--out", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert f"{image} is not a run folder (it has no config.yaml); the run comes first, and" in said


def test_an_image_after_ensemble_tells_the_order(
    tiny_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "image.nii.gz"
    write_volume(image, Volume(np.zeros((3, 32, 32), np.int16), np.eye(4)))
    run = str(tiny_run.path)
    for words in ([run, "--ensemble", run, str(image)], ["--ensemble", run, str(image)]):
        with pytest.raises(SystemExit):
            main(["predict", *words, "--out", str(tmp_path / "out")])
        said = capsys.readouterr().err
        if words[0] == run:
            assert said.endswith("; all words after --ensemble are runs, so put images before it\n")
        else:
            assert "RUN must be given before --ensemble, which takes all words that" in said
