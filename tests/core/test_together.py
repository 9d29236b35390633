"""Files that appear together: errors at each of their names, links, two processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from napari_uda.core import together as together_module
from napari_uda.core.errors import InputError
from napari_uda.core.leftovers import own_name, remove_leftovers, stamp
from napari_uda.core.together import write_together

NAMES = ("a.csv", "b.json", "c.csv")
WRITER = """
import sys
from functools import partial
from pathlib import Path
from napari_uda.core.leftovers import alone_in, remove_leftovers
from napari_uda.core.together import write_together

out, text, *names = Path(sys.argv[1]), *sys.argv[2:]
files = {name: partial(Path.write_text, data=f"{text} {name}") for name in names}
for _ in range(25):
    write_together(out, "the tables", files)
    remove_leftovers(out)
    with alone_in(out):
        found = {(out / name).read_text().split()[0] for name in names}
    assert len(found) == 1, found
"""
posix = pytest.mark.skipif(os.name != "posix", reason="needs links and processes")


def write(folder: Path, text: str) -> None:
    files = {name: partial(Path.write_text, data=f"{text} {name}") for name in NAMES}
    assert write_together(folder, "the tables", files) == [folder / name for name in NAMES]


def content(folder: Path) -> dict[str, str]:
    return {
        path.name: path.read_text(encoding="utf-8") for path in folder.iterdir() if path.is_file()
    }


def of(text: str) -> dict[str, str]:
    return {name: f"{text} {name}" for name in NAMES}


def left_swap(folder: Path) -> Path:
    """The new files of a killed process, on the way to their places."""
    swap = folder / own_name(".swap").replace(f"-{os.getpid()}-", "-4194304-")
    swap.mkdir(parents=True)
    stamps = {}
    for name in NAMES:
        (swap / name).write_text(f"new {name}", encoding="utf-8")
        stamps[name] = (stamp(folder / name), stamp(swap / name))
    (swap / ".places.json").write_text(json.dumps(stamps), encoding="utf-8")
    return swap


def test_new_files_replace_old_ones_and_nothing_else_is_left(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    write(out, "old")
    (out / "notes.txt").write_text("mine")
    write(out, "new")
    assert content(out) == {**of("new"), "notes.txt": "mine"}
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("bad", NAMES)
def test_where_one_name_is_taken_all_old_files_stay(tmp_path: Path, bad: str) -> None:
    write(tmp_path, "old")
    (tmp_path / bad).unlink()
    (tmp_path / bad).mkdir()
    before = content(tmp_path)
    assert len(before) == 2
    with pytest.raises(InputError, match=r"cannot write the tables to .*; free space there"):
        write(tmp_path, "new")
    assert content(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("fails", range(3))
def test_an_error_or_interrupt_in_the_middle_puts_the_old_files_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: int, links: bool
) -> None:
    """Also on a disk that knows no second names."""
    write(tmp_path, "old")
    replace, count = Path.replace, iter(range(99))

    def interrupted(path: Path, target: Path) -> Path:
        if next(count) == fails:
            raise KeyboardInterrupt
        return replace(path, target)

    def no_links(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "replace", interrupted)
    if not links:
        monkeypatch.setattr(together_module.os, "link", no_links)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, "new")
    assert content(tmp_path) == of("old")
    assert len(list(tmp_path.iterdir())) == 3


@posix
def test_two_processes_write_into_one_folder_and_never_mix(tmp_path: Path) -> None:
    """Each looks after every write: the files it finds are all of one of the two."""
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), text, *NAMES])
        for text in ("first", "second")
    ]
    assert [process.wait() for process in processes] == [0, 0]
    assert len({text.split()[0] for text in content(tmp_path).values()}) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    write(tmp_path, "old")

    def half(path: Path) -> None:
        path.write_text("half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_together(tmp_path, "the tables", {"a.csv": half})
    assert content(tmp_path) == of("old")
    assert len(list(tmp_path.iterdir())) == 3


@posix
def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    place = tmp_path / "elsewhere"
    place.write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.json").symlink_to(place)
    write(tmp_path / "out", "new")
    assert place.read_text() == "mine"
    assert content(tmp_path / "out") == of("new")
    assert not (tmp_path / "out" / "b.json").is_symlink()


@posix
@pytest.mark.parametrize("moved", range(4))
def test_what_a_killed_process_had_ready_is_brought_to_its_place(
    tmp_path: Path, moved: int
) -> None:
    write(tmp_path, "old")
    swap = left_swap(tmp_path)
    for name in NAMES[:moved]:
        (swap / name).replace(tmp_path / name)
    assert remove_leftovers(tmp_path) == [swap]
    assert content(tmp_path) == of("new")
    assert len(list(tmp_path.iterdir())) == 3


@posix
@pytest.mark.parametrize("moved", range(4))
def test_what_somebody_wrote_since_is_not_written_over(tmp_path: Path, moved: int) -> None:
    write(tmp_path, "old")
    swap = left_swap(tmp_path)
    for name in NAMES[:moved]:
        (swap / name).replace(tmp_path / name)
    for name in NAMES:
        (tmp_path / name).unlink()
        (tmp_path / name).write_text(f"newest {name}", encoding="utf-8")
    assert remove_leftovers(tmp_path) == [swap]
    assert content(tmp_path) == of("newest")


@posix
@pytest.mark.parametrize(
    "said",
    [
        "", "[]", "{", '{"a.csv": 1}', '{"a.csv": [null, "x"]}', '{"a.csv": [null, [1]]}',
        '{"../a.csv": [null, [1, 2]]}', '{"": [null, [1, 2]]}', '{"..": [null, [1, 2]]}',
    ],
)  # fmt: skip
def test_a_list_of_places_that_says_something_else_moves_nothing(tmp_path: Path, said: str) -> None:
    out = tmp_path / "out"
    write(out, "old")
    swap = left_swap(out)
    (swap / ".places.json").write_text(said)
    assert remove_leftovers(out) == [swap]
    assert content(out) == of("old")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@posix
def test_a_folder_in_a_place_is_left_there(tmp_path: Path) -> None:
    swap = left_swap(tmp_path)
    (tmp_path / "b.json").mkdir()
    assert remove_leftovers(tmp_path) == [swap]
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]
