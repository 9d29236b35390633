"""Disks that take no more: one sentence, the old files as they were, and a way on."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from ordinary_user import locked
from tiny_cases import small_config

import napari_uda as uda
from napari_uda.cli.terminal import Unbreakable
from napari_uda.core.errors import InputError
from napari_uda.core.files import whole_folder
from napari_uda.data.volume import Volume, write_maps
from napari_uda.phantom.generate import write_phantom
from napari_uda.run.run import Run

Fill = Callable[[int], None]


@pytest.fixture
def fill(monkeypatch: pytest.MonkeyPatch) -> Fill:
    """Let so many more files reach the disk."""

    def fill(passing: int) -> None:
        left = iter(range(passing))

        def full(descriptor: int) -> None:
            if next(left, None) is None:
                raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)

    return fill


@pytest.mark.parametrize("passing", [0, 2])  # a file, and its folder
def test_a_run_that_cannot_be_made_leaves_its_folder_free(
    passing: int, fill: Fill, two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    config = small_config("source_only", *two_domains)
    fill(passing)
    with pytest.raises(InputError, match="no space left on device; free space there"):
        Run.create(tmp_path / "run", config)
    assert not (tmp_path / "run").exists()
    fill(9)
    assert Run.create(tmp_path / "run", config).config.steps == config.steps


def test_maps_are_written_all_or_none(fill: Fill, tmp_path: Path) -> None:
    grid = Volume(np.zeros((2, 3, 4), np.uint8), np.eye(4), "case")
    old, new = (dict.fromkeys("ab", grid.array + value) for value in (1, 2))
    out = tmp_path / "out"
    kept = [file.read_bytes() for file in write_maps(out, "case", grid, old)]
    fill(2)
    with pytest.raises(InputError) as caught:
        write_maps(out, "case", grid, new)
    assert str(caught.value) == (
        f"cannot write the maps of case to {out}: no space left on device; free space there or choose "
        "a folder that can be written"
    )
    assert [file.read_bytes() for file in sorted(out.iterdir())] == kept


@pytest.mark.parametrize("passing", [0, 2])
@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_hidden_places_are_not_named(
    name: str, passing: int, fill: Fill, tiny_run: Run, tmp_path: Path
) -> None:
    """What is written aside and moved as a whole is named by where it would have appeared."""
    pack = partial(uda.pack, tiny_run.path)
    write = partial(write_phantom, subjects=1, size=64) if name == "out" else pack
    fill(passing)
    with pytest.raises(InputError) as caught:
        write(tmp_path / name)
    assert str(caught.value) == (
        f"cannot write {name} to {tmp_path}: no space left on device; free space there or choose "
        "a folder that can be written"
    )
    assert not list(tmp_path.iterdir())


def test_what_could_not_be_read_is_not_called_unwritten(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="maps cannot be read"), whole_folder(tmp_path / "out"):
        raise InputError("maps cannot be read") from OSError(errno.EIO, "Input/output error")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_filled_meanwhile_is_in_the_way(tmp_path: Path) -> None:
    def write() -> None:
        with whole_folder(tmp_path / "out"):
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "of another").touch()

    with pytest.raises(InputError, match="directory not empty; a file is in the way"):
        write()


def test_a_log_that_takes_no_line_is_named(two_domains: tuple[Path, Path], tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", small_config("source_only", *two_domains))
    run.log(1, 0.5, {"loss": 1.0})
    with locked(run.metrics_file), pytest.raises(InputError, match=r"cannot write metrics\.jsonl"):
        run.log(2, 1.0, {"loss": 0.5})
    assert [line["step"] for line in run.metrics()] == [1]


def test_training_needs_no_progress_bar() -> None:
    class Full:
        def write(self, text: str) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def flush(self) -> None:
            self.write("")

    stream = Unbreakable(Full())  # type: ignore[arg-type]
    stream.write("1 of 2")
    stream.flush()
