"""Tab: the script of `--completion` completes commands, methods, recipes and options."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from napari_uda.cli import main
from napari_uda.cli.completion import completion_script
from napari_uda.core.errors import InputError

bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")

_ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_napari_uda
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("completion") / "napari-uda"
    file.write_text(completion_script(["bash"]), encoding="utf-8")
    return file


@bash
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("napari-uda pre", "predict"),
        ("napari-uda train se", "se_asa"),
        ("napari-uda train se-asa --data.nei", "--data.neighbours"),
        ("napari-uda train se_asa --recipe cpu", "cpu_small"),
        ("napari-uda train --resume RUN --sk", "--skip-step"),
        ("napari-uda train tent --run", "--run-dir"),
        ("napari-uda adapt --max", "--max-volume-change"),
        ("napari-uda predict RUN IMAGE --no-r", "--no-reliability"),
        ("napari-uda recipes --j", "--json"),
        ("napari-uda predict ru", ""),  # files, which the shell adds
        ("napari-uda --completion z", "zsh"),
        ("napari-uda evaluate P L --protocol attent", "attent_slice"),
        ("napari-uda predict RUN IMAGE --placement s", "sform"),
        ("napari-uda train se_asa --precision b", "bf16"),
        ("napari-uda train se_asa --augment.intensity gin_", "gin_ipa"),
        ("napari-uda adapt RUN IMAGE --method te", "tent"),
    ],
)
def test_what_tab_offers(typed: str, offered: str, script: Path) -> None:
    done = subprocess.run(
        ["bash", "--norc", "-c", _ASK, "ask", str(script), *typed.split()],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == offered
    assert done.stderr == ""


def test_zsh_gets_the_same_function(script: Path) -> None:
    text = completion_script(["zsh"])
    assert text.startswith("#compdef napari-uda\n")
    assert script.read_text(encoding="utf-8") in text


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str], script: Path) -> None:
    main(["--completion", "bash"])
    assert capsys.readouterr().out.strip() == script.read_text(encoding="utf-8").strip()
    for words in ([], ["fish"], ["bash", "zsh"]):
        with pytest.raises(InputError, match="give bash or zsh"):
            completion_script(words)
