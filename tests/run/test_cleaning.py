"""Cleaning a folder and all below it: what goes, what stays and why, and what is said."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from napari_uda.cli import main
from napari_uda.core.errors import InputError
from napari_uda.core.files import temporary_path
from napari_uda.core.leftovers import own_name
from napari_uda.core.processes import this_machine
from napari_uda.run.cleaning import clean
from napari_uda.run.folder import RunFolder
from napari_uda.run.status import Beat

pytestmark = pytest.mark.skipif(os.name != "posix", reason="asks for processes")


def of_killed(folder: Path, ending: str = ".tmp") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / own_name(ending).replace(f"-{os.getpid()}-", "-4194304-")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run that was killed while it trained, of version 0.1, with a cache."""
    run = RunFolder(tmp_path / "runs" / "killed")
    for folder in (run.path, run.checkpoints, run.cache / "source"):
        folder.mkdir(parents=True)
    run.config_file.write_text("method: {name: se_asa}\n")
    (run.checkpoints / ".tmpA1b2C3").write_bytes(b"x")
    (run.checkpoints / "last.safetensors").write_bytes(b"weights")
    (run.cache / "source" / "images.npy").write_bytes(b"x")
    return run


def test_everything_of_killed_commands_goes_and_nothing_else(
    tmp_path: Path, run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results").mkdir()
    mine = temporary_path(tmp_path / "results")
    mine.write_bytes(b"being written")
    file, folder = of_killed(run.previews), of_killed(tmp_path / "results")
    file.write_bytes(b"half")
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "labels.nii.gz").write_bytes(b"half")
    for name in ("results/.hidden", "results/.tmpA1b2C3", "cache/mine.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"mine")
    main(["clean", str(tmp_path)])
    said = capsys.readouterr().out.splitlines()
    gone = [folder, run.checkpoints / ".tmpA1b2C3", run.cache, file]
    assert sorted(said) == sorted(
        [*(f"removed {path}" for path in gone), f"kept {mine}: this process is writing it"]
    )
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {
        "runs/killed/config.yaml", "runs/killed/checkpoints/last.safetensors", "results/.hidden",
        "results/.tmpA1b2C3", "cache/mine.npy", f"results/{mine.name}",
    }  # fmt: skip
    mine.unlink()
    main(["clean", str(tmp_path)])
    assert capsys.readouterr().out == "nothing was left\n"


def test_a_run_that_somebody_trains_keeps_its_cache(run: RunFolder) -> None:
    run.write_beat(asdict(Beat(pid=os.getppid(), machine=this_machine(), time=time.time())))
    before = sorted(run.path.rglob("*"))
    assert clean(run.path).removed == ()
    assert sorted(run.path.rglob("*")) == before


def test_a_run_with_links_to_elsewhere_is_left_alone(tmp_path: Path, run: RunFolder) -> None:
    elsewhere = tmp_path / "elsewhere"
    run.cache.rename(elsewhere)
    run.cache.symlink_to(elsewhere)
    assert clean(run.path).removed == ()
    assert (elsewhere / "source" / "images.npy").exists()


def test_what_was_on_the_way_is_brought_to_its_place(tmp_path: Path) -> None:
    swap = of_killed(tmp_path / "scores", ".swap")
    swap.mkdir()
    (swap / "scores.csv").write_text("new")
    found = (swap / "scores.csv").stat()
    stamp = [found.st_size, found.st_mtime_ns]
    (swap / ".places.json").write_text(f'{{"scores.csv": [null, {stamp}]}}')
    assert clean(tmp_path).removed == (swap,)
    assert (tmp_path / "scores" / "scores.csv").read_text() == "new"


def test_a_place_that_is_no_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for name in ("nowhere", "file"):
        with pytest.raises(InputError, match=f"{name}: there is no such folder; give the folder"):
            clean(tmp_path / name)
    with pytest.raises(SystemExit) as ended:
        main(["clean", str(tmp_path / "nowhere")])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
