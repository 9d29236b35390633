"""`train METHOD --help` is one page and there at once; `--help-all` has every setting."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from napari_uda.cli import main
from napari_uda.cli.output import COMMON_OPTIONS
from napari_uda.cli.train_help import PAGES, basic_help, kept_page
from napari_uda.core.setting_paths import leaves
from napari_uda.methods.registry import METHODS
from napari_uda.run.basic_settings import basic_settings
from napari_uda.run.recipes import build_config


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(["train", *words])
    assert not end.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize("method", METHODS)
def test_the_basics_fit_on_one_page(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, method.replace("_", "-"), "--help")
    lines = text.splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines[2:])) <= 80  # the usage line may be longer
    for path in basic_settings(build_config(method)):
        assert f"--{path.replace('_', '-')} " in text
    for option in ("--run-dir", "--recipe", "--init", "--help-all", "--resume"):
        assert option in text


def test_the_kept_pages_are_those_of_the_code() -> None:
    own = [method for method in METHODS if not METHODS.package(method)]
    assert sorted(page.stem for page in PAGES.glob("*.txt")) == sorted(own)
    differing = [name for name in own if kept_page(name) != basic_help(build_config(name))]
    assert differing == [], "run make readme"


def test_no_other_file_is_taken_for_a_page() -> None:
    assert kept_page("../../recipes/demo.yaml") == ""
    assert kept_page("nothing") == ""
    assert kept_page("se-asa") == kept_page("se_asa") != ""


def test_a_page_needs_no_torch() -> None:
    code = (
        "import sys; from napari_uda.cli import main\n"
        "try: main(['train', 'se_asa', '--help'])\nexcept SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0


def test_a_recipe_has_its_own_defaults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("steps: 4711\n")
    text = said(capsys, "advent", "--recipe", str(recipe), "-h")
    assert "Number of training steps [4711]." in text
    assert "[50000]" in said(capsys, "advent", "-h")


def test_everything_is_shown_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "se_asa", "--help-all")
    missing = [
        path
        for path, *_ in leaves(build_config("se_asa"))
        if not re.search(rf"--{re.escape(path.replace('_', '-'))}(?![\w.-])", text)
    ]
    assert missing == []
    assert COMMON_OPTIONS in text
