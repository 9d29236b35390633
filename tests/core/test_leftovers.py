"""What killed processes leave: found by its name, gone once its process is, never before."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import napari_uda
from napari_uda.core import leftovers, processes
from napari_uda.core.errors import InputError
from napari_uda.core.files import (
    atomic_file,
    check_new_folder,
    temporary_folder,
    temporary_path,
    whole_folder,
)
from napari_uda.core.leftovers import find_leftovers, is_own_name, own_name, remove_leftovers
from napari_uda.core.processes import process_exists, process_start, this_machine

pytestmark = pytest.mark.skipif(os.name != "posix", reason="asks for processes")
linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")

DAY = 24 * 3600
WRITER = """
import sys
from pathlib import Path
from napari_uda.core.files import atomic_file, temporary_folder
folder = Path(sys.argv[1])
with atomic_file(folder / "result") as file, temporary_folder(folder) as aside:
    file.write(b"half of it")
    (aside / "part").write_bytes(b"x")
    print("writing", flush=True)
    sys.stdin.readline()
    file.write(b", and the rest")
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process in the middle of writing a file and a folder into `tmp_path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    yield process
    process.kill()
    process.communicate()


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob(".*"))


def leave(folder: Path, *, age: float = 0.0, **owner: object) -> Path:
    """A file of an owner who differs from this process in some part."""
    found = re.fullmatch(r"\.napari_uda-(\w+)-(\d+)-(\d+)-(\w+)\.tmp", own_name())
    assert found is not None
    given = dict(zip(("machine", "pid", "start", "random"), found.groups(), strict=True))
    name = "-".join(str(value) for value in {**given, **owner}.values())
    path = folder / f".napari_uda-{name}.tmp"
    path.write_bytes(b"left")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_what_a_killed_process_left_goes_with_the_next_write(
    tmp_path: Path, writer: subprocess.Popen[str]
) -> None:
    assert len(hidden(tmp_path)) == 2
    writer.kill()
    writer.wait()
    with atomic_file(tmp_path / "other") as file:
        file.write(b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_two_commands_write_into_one_folder(tmp_path: Path, writer: subprocess.Popen[str]) -> None:
    """The second cleans up, and the first one's files are as they were."""
    before = hidden(tmp_path)
    with atomic_file(tmp_path / "other") as file:
        file.write(b"whole")
    assert remove_leftovers(tmp_path) == []
    kept = {found.kept for found in find_leftovers(tmp_path)}
    assert kept == {f"process {writer.pid} is writing it"}
    assert hidden(tmp_path) == before
    writer.communicate("go on\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "result"]
    assert (tmp_path / "result").read_bytes() == b"half of it, and the rest"


def test_files_of_this_process_stay_however_old(tmp_path: Path) -> None:
    leave(tmp_path, age=9 * DAY)
    with temporary_folder(tmp_path) as aside, whole_folder(tmp_path / "out") as staging:
        assert remove_leftovers(tmp_path) == []
        assert aside.is_dir()
        assert staging.is_dir()


@linux
def test_the_number_of_a_process_may_belong_to_another_one_by_now(tmp_path: Path) -> None:
    """Also in a container whose first process always has the number 1."""
    started = int(process_start(os.getpid()))
    leave(tmp_path, start=started - 1)
    assert len(remove_leftovers(tmp_path)) == 1


@linux
def test_a_container_of_equal_name_and_number_is_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process cannot be asked for: the same number belongs to another one here."""
    here = this_machine()
    assert here.startswith(platform.node())
    assert here.rpartition(" ")[2] == Path("/proc/self/ns/pid").readlink().name
    monkeypatch.setattr(leftovers, "this_machine", lambda: here + " container")
    there = leave(tmp_path)
    monkeypatch.undo()
    assert remove_leftovers(tmp_path) == []
    (found,) = find_leftovers(tmp_path)
    assert found.kept == "a process of another machine or container wrote it less than 24 hours ago"
    os.utime(there, (time.time() - DAY - 60,) * 2)
    assert remove_leftovers(tmp_path) == [there]


def test_a_folder_of_another_machine_is_as_young_as_the_youngest_in_it(tmp_path: Path) -> None:
    folder = tmp_path / own_name().replace(own_name().split("-")[1], "0" * 16)
    inner = folder / "train" / "images"
    inner.mkdir(parents=True)
    (inner / "a.nii.gz").write_bytes(b"x")
    for path in (folder, folder / "train", inner):
        os.utime(path, (time.time() - 2 * DAY,) * 2)
    assert remove_leftovers(tmp_path) == []
    os.utime(inner / "a.nii.gz", (time.time() - 2 * DAY,) * 2)
    assert remove_leftovers(tmp_path) == [folder]
    assert not folder.exists()


def test_only_names_of_this_program_are_touched(tmp_path: Path) -> None:
    others = (
        ".git", ".nfs0001", ".tmpAbCdEf", ".x.tmp", ".case.123.tmp", ".napari_uda", ".napari_uda.tmp",
        ".napari_uda-1-2-3-4.tmp", f"{own_name()}.bak", own_name()[1:], own_name(".keep"),
    )  # fmt: skip
    for name in others:
        (tmp_path / name).write_bytes(b"mine")
        os.utime(tmp_path / name, (0, 0))
        assert not is_own_name(name)
    assert remove_leftovers(tmp_path) == []
    assert {path.name for path in tmp_path.iterdir()} == set(others)


def test_names_of_version_0_1_say_nothing_and_go_after_a_day(tmp_path: Path) -> None:
    file, folder = tmp_path / f".{'0a' * 16}.tmp", tmp_path / f".{'0b' * 16}.tmp"
    file.write_bytes(b"x")
    folder.mkdir()
    assert remove_leftovers(tmp_path) == []
    for path in (file, folder):
        os.utime(path, (time.time() - DAY - 60,) * 2)
    assert remove_leftovers(tmp_path) == [file, folder]


def test_a_link_goes_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    place = tmp_path / "elsewhere"
    place.mkdir()
    (place / "mine").write_bytes(b"mine")
    (tmp_path / "out").mkdir()
    link = tmp_path / "out" / own_name(".swap").replace(f"-{os.getpid()}-", "-4194304-")
    link.symlink_to(place)
    assert remove_leftovers(tmp_path / "out") == [link]
    assert (place / "mine").read_bytes() == b"mine"


def test_a_folder_with_nothing_but_what_was_left_counts_as_empty(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    leave(out, pid=2**22)
    check_new_folder(out)
    leave(out)
    with pytest.raises(InputError, match="out: is not empty"):
        check_new_folder(out)


def test_a_folder_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    assert remove_leftovers(tmp_path / "nowhere", file) == []


def test_every_hidden_name_says_whose_it_is(tmp_path: Path) -> None:
    first, second = temporary_path(tmp_path), temporary_path(tmp_path)
    assert first != second
    assert first.parent == tmp_path
    assert f"-{os.getpid()}-{process_start(os.getpid()):.0f}-" in first.name
    assert is_own_name(first.name)


def test_a_process_is_known_by_its_number_and_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    pid = os.getpid()
    assert process_exists(pid, process_start(pid))
    assert process_exists(pid, 0)
    assert not process_exists(2**22, 0)

    def forbidden(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(processes.os, "kill", forbidden)  # of another user
    assert process_exists(pid, process_start(pid))


def test_no_other_temporary_names_are_made() -> None:
    """One function makes them all, or nobody could tell whose they are."""
    package = Path(napari_uda.__file__).parent
    makers = re.compile(r"mkstemp|mkdtemp|TemporaryDirectory|TemporaryFile|\.tmp\b|uuid4")
    found = {
        file.relative_to(package).as_posix()
        for file in package.rglob("*.py")
        if makers.search(file.read_text(encoding="utf-8"))
    }
    # a journal of edits has a name that nothing else has, and stays; folder.py knows names of safetensors, and
    # files of scratch.py have none
    assert found == {
        "core/leftovers.py",
        "core/scratch.py",
        "data/edit_journal.py",
        "run/folder.py",
    }
