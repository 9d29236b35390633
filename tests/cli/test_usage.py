"""Options that do not fit: the sentences, and what is left of them with a tyro that has no hook."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import pytest
import tyro
from pydantic import BaseModel, Field

from napari_uda.cli import main
from napari_uda.cli.usage import parse, parse_call
from napari_uda.core.errors import InputError


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
        ("predict r i --out o --batch-size two", "--batch-size must be a whole number, not 'two'"),
    ],
)
def test_common_options_and_values_are_named_in_plain_words(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(words.split())
    assert said in capsys.readouterr().err
