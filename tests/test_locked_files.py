"""Files that the system does not let us open: one sentence with the file and what helps, never a traceback."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from ordinary_user import as_ordinary_user, locked

import napari_uda as uda
from napari_uda.cli import main
from napari_uda.cli.commands import COMMANDS
from napari_uda.core.errors import InputError, refusal
from napari_uda.core.files import is_file, is_folder
from napari_uda.data.folder import find_volumes
from napari_uda.run.folder import RunFolder
from napari_uda.run.run import Run
from napari_uda.run.status import RunState, run_status


@pytest.fixture(scope="module", autouse=True)
def _locks_hold(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Where everybody may read everything, as on Windows, there is nothing to see."""
    file = tmp_path_factory.mktemp("lock") / "file"
    file.write_text("")
    with locked(file):
        try:
            file.read_text()
        except PermissionError:
            return
    pytest.skip("locks do not hold here")


def test_the_right_is_given_back(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("text")
    with locked(file), pytest.raises(PermissionError):
        file.read_text()
    with as_ordinary_user():
        assert file.read_text() == "text"


PARTS: list[tuple[str, str]] = [
    (".", "config.yaml"),
    ("config.yaml", "config.yaml"),
    ("data.json", "data.json"),
    ("checkpoints", "last.safetensors"),
    ("checkpoints/last.safetensors", "last.safetensors"),
]


@pytest.mark.parametrize(("part", "named"), PARTS)
def test_a_locked_part_of_a_run_is_named(
    part: str, named: str, tiny_run: Run, two_domains: tuple[Path, Path]
) -> None:
    image = two_domains[1] / "images" / "target_0.nii.gz"
    with (
        locked(tiny_run.path / part),
        pytest.raises(InputError, match=rf"{named} cannot be used \(permission denied\); ask"),
    ):
        uda.predict(tiny_run.path, image, device="cpu")


def test_a_locked_run_is_broken_with_the_reason(tiny_run: Run) -> None:
    with locked(tiny_run.path):
        status = run_status(RunFolder(tiny_run.path))
        assert not is_file(tiny_run.config_file)
        assert not is_folder(tiny_run.checkpoints)
    assert status.state is RunState.BROKEN
    assert "permission denied" in status.reason
    assert run_status(RunFolder(tiny_run.path)).state is RunState.FINISHED


@pytest.mark.parametrize(
    "find", [find_volumes, lambda paths: uda.evaluate(*paths, *paths)], ids=["find", "evaluate"]
)
def test_a_locked_folder_of_volumes_is_named(
    find: Callable[[list[Path]], object], two_domains: tuple[Path, Path]
) -> None:
    with (
        locked(two_domains[1]),
        pytest.raises(InputError, match=r"cannot be read \(permission denied\); check the path"),
    ):
        find([two_domains[1] / "images"])


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, "ask its owner for access"),
        (errno.ENOSPC, "free space there"),
        (errno.ESTALE, "check its disk or network drive"),
        (errno.EBUSY, "check the path"),
    ],
)
def test_the_remedy_follows_from_the_reason(number: int, remedy: str) -> None:
    said = refusal(OSError(number, "No Such Luck", "/data/file"))
    assert said.startswith("/data/file cannot be used (no such luck); ")
    assert remedy in said


def test_commands_end_with_the_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/data/file")

    monkeypatch.setitem(COMMANDS, "methods", refuse)
    with pytest.raises(SystemExit) as end:
        main(["methods"])
    assert end.value.code == 2
    assert capsys.readouterr().err == (
        "napari-uda: /data/file cannot be used (permission denied); ask its owner for access, or "
        "choose another folder\n"
    )
