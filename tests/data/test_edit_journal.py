"""The journal of edits: every stroke that was taken is there after a kill, and no half one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tiny_cases import blob_case

from napari_uda.core.errors import InputError
from napari_uda.data import edit_journal
from napari_uda.data.edit_journal import About, EditJournal, leftovers
from napari_uda.data.volume import Volume

ABOUT = About("case_0", "tiny", "case_0 prediction", {1: "MYO", 2: "LVC"})


def oblique_labels() -> Volume:
    """Labels on a grid that is turned by 11 degrees, rounded to float32 as NIfTI stores it."""
    labels = blob_case("case_0", 0, bright=True)[1]
    turn = nib.eulerangles.euler2mat(0.2, 0.0, 0.15)
    affine = labels.affine.copy()
    affine[:3, :3] = turn @ affine[:3, :3]
    return Volume(labels.array, affine.astype(np.float32).astype(np.float64), labels.name)


@pytest.fixture
def labels() -> Volume:
    return oblique_labels()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "edits"
    assert not edit_journal._in_use, "a test left a journal open"


def stroke(labels: Volume, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    voxels = random.choice(labels.array.size, 50, replace=False)
    return voxels, random.integers(0, 3, 50)


def expected(labels: Volume, count: int) -> np.ndarray:
    array = labels.array.copy()
    for seed in range(count):
        voxels, values = stroke(labels, seed)
        array.reshape(-1)[voxels] = values
    return array


def write(labels: Volume, folder: Path, count: int) -> EditJournal:
    journal = EditJournal.begin(labels, ABOUT, folder)
    for seed in range(count):
        journal.append(*stroke(labels, seed))
    return journal


def test_edits_are_offered_again(labels: Volume, folder: Path) -> None:
    journal = write(labels, folder, 3)
    assert leftovers(folder) == []  # it is still being written
    journal.close()
    (found,) = leftovers(folder)
    assert (found.about.case, found.about.names, found.strokes) == ("case_0", ABOUT.names, 3)
    before, edited = found.read()
    np.testing.assert_array_equal(before.array, labels.array)
    np.testing.assert_array_equal(edited.array, expected(labels, 3))
    np.testing.assert_array_equal(edited.affine, labels.affine)
    found.discard()
    assert leftovers(folder) == []
    assert list(folder.iterdir()) == []


def test_journal_of_a_viewer_that_was_killed_before_it_began_goes_after_a_day(
    folder: Path,
) -> None:
    """A viewer writes the labels first; nothing said afterwards whose they were, so they stayed for good."""
    names = ("0a" * 16, "0b" * 16, "0c" * 16, "mine")
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "labels.nii.gz").write_bytes(b"x")
    (folder / names[2] / "strokes.bin").write_bytes(b"x")
    for name in names[1:]:
        os.utime(folder / name, (time.time() - 25 * 3600,) * 2)
    assert leftovers(folder) == []
    assert sorted(path.name for path in folder.iterdir()) == [names[0], *names[2:]]


def test_journal_without_a_stroke_is_swept_away(labels: Volume, folder: Path) -> None:
    write(labels, folder, 0).close()
    assert leftovers(folder) == []
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("lost", [1, 7, 60])
def test_half_stroke_is_left_out_and_writing_goes_on_behind_it(
    lost: int, labels: Volume, folder: Path
) -> None:
    journal = write(labels, folder, 3)
    journal.close()
    file = journal.folder / "strokes.bin"
    os.truncate(file, file.stat().st_size - lost)
    (found,) = leftovers(folder)
    assert found.strokes == 2
    np.testing.assert_array_equal(found.read()[1].array, expected(labels, 2))
    again = found.adopt()
    again.append(*stroke(labels, 2))
    again.close()
    (found,) = leftovers(folder)
    assert found.strokes == 3
    np.testing.assert_array_equal(found.read()[1].array, expected(labels, 3))


def test_flipped_bit_ends_the_reading(labels: Volume, folder: Path) -> None:
    journal = write(labels, folder, 3)
    journal.close()
    file = journal.folder / "strokes.bin"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert leftovers(folder)[0].strokes == 1


def test_journal_of_a_living_process_is_not_offered(labels: Volume, folder: Path) -> None:
    import psutil

    journal = write(labels, folder, 1)
    journal.close()
    file = journal.folder / "about.json"
    content = json.loads(file.read_text())
    parent = psutil.Process(os.getppid())
    file.write_text(
        json.dumps({**content, "process": parent.pid, "process_began": parent.create_time()})
    )
    assert leftovers(folder) == []
    # another process that got the number of the dead one
    file.write_text(json.dumps({**content, "process": parent.pid, "process_began": 0.0}))
    assert len(leftovers(folder)) == 1


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"case": 1, "names": []}'])
def test_broken_journal_is_left_alone(text: str, labels: Volume, folder: Path) -> None:
    journal = write(labels, folder, 1)
    journal.close()
    (journal.folder / "about.json").write_text(text)
    assert leftovers(folder) == []
    assert (journal.folder / "strokes.bin").exists()


def test_no_folder_yet(folder: Path) -> None:
    assert leftovers(folder) == []


def test_folder_that_cannot_be_written(labels: Volume, tmp_path: Path, folder: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        EditJournal.begin(labels, ABOUT, tmp_path / "file")


def test_full_disk_is_said_once_it_happens(
    labels: Volume, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = write(labels, folder, 1)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="no space left on device"):
        journal.append(*stroke(labels, 1))
    journal.discard()


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_stroke_that_did_not_fit_is_taken_when_there_is_space(
    labels: Volume, folder: Path
) -> None:
    import resource

    journal = write(labels, folder, 2)
    size = (journal.folder / "strokes.bin").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, before[1]))
    try:
        with pytest.raises(InputError, match=r"takes no more \(file too large\); free space there"):
            journal.append(*stroke(labels, 2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (journal.folder / "strokes.bin").stat().st_size == size
    journal.append(*stroke(labels, 2))
    journal.append(*stroke(labels, 3))
    journal.close()
    (found,) = leftovers(folder)
    assert found.strokes == 4
    np.testing.assert_array_equal(found.read()[1].array, expected(labels, 4))


@pytest.mark.slow
def test_strokes_survive_a_kill(labels: Volume, folder: Path, tmp_path: Path) -> None:
    """A child process paints until it is killed; what it counted is in the journal."""
    script = """
import sys
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from test_edit_journal import ABOUT, EditJournal, oblique_labels, stroke
labels = oblique_labels()
journal = EditJournal.begin(labels, ABOUT, Path(sys.argv[1]))
for seed in range(100000):
    journal.append(*stroke(labels, seed))
    print(seed + 1, flush=True)
"""
    here = Path(__file__).parent
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(folder), str(here), str(here.parent)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    said = [int(child.stdout.readline()) for _ in range(5)]
    child.send_signal(signal.SIGKILL)
    rest = child.stdout.read().splitlines()
    child.wait()
    count = int(rest[-1]) if rest else said[-1]
    (found,) = leftovers(folder)
    assert found.strokes in (count, count + 1)  # killed between the disk and the counting
    np.testing.assert_array_equal(found.read()[1].array, expected(labels, found.strokes))


def test_folder_is_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert edit_journal.journal_folder() == tmp_path / "napari_uda" / "edits"
