"""A run packed into one file: it predicts the same elsewhere, tells what it is, and names no patient."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tiny_cases

import napari_uda as uda
from napari_uda.cli import main
from napari_uda.core.errors import InputError
from napari_uda.core.small_files import file_sha256, read_yaml
from napari_uda.data.volume import Volume
from napari_uda.experiments.model_card import read_card, write_card
from napari_uda.run.run import Run


@pytest.fixture(scope="module")
def run(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("clinic") / "first"
    shutil.copytree(tiny_run.path, folder)
    return Run.open(folder)


@pytest.fixture(scope="module")
def packed(run: Run) -> Path:
    file = run.path.parent / "first.zip"
    uda.pack(run.path, file, licence="CC-BY-4.0")
    return file


def volume() -> Volume:
    return tiny_cases.blob_case("new", 7, bright=False)[0]


def test_unpacked_run_predicts_the_same(run: Run, packed: Path, tmp_path: Path) -> None:
    uda.unpack(packed, tmp_path / "there")
    before, after = uda.predict(run, volume()), uda.predict(tmp_path / "there", volume())
    np.testing.assert_array_equal(before.labels, after.labels)
    np.testing.assert_array_equal(before.entropy, after.entropy)
    assert after.model.hash == before.model.hash


def test_an_opened_run_is_packed_as_its_folder_is(run: Run, packed: Path, tmp_path: Path) -> None:
    first, again = tmp_path / "first.zip", tmp_path / "again.zip"
    uda.pack(run, first, licence="CC-BY-4.0")
    uda.pack(Run.open(packed), again)  # of the file that it was opened from
    assert zip_content(first) == zip_content(packed) == zip_content(again)
    with pytest.raises(InputError, match=r"^a NoneType is no path; give a run folder$"):
        uda.pack(None, first)


def zip_content(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_packed_run_is_taken_as_it_is(
    run: Run, packed: Path, two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    before, after = uda.predict(run, volume()), uda.predict(packed, volume())
    np.testing.assert_array_equal(before.labels, after.labels)
    np.testing.assert_array_equal(before.entropy, after.entropy)
    assert after.model.hash == before.model.hash
    assert (after.model.name, after.model.path) == ("first", str(packed.resolve()))
    assert Run.open(packed).path == Run.open(packed).path  # unpacked once
    again = uda.pack(packed, tmp_path / "again.zip", licence="MIT")
    assert (again.licence, again.weights_sha256) == ("MIT", after.model.hash)
    settings = {**tiny_cases.SMALL, "init": packed, "steps": 1}
    started = uda.train("sfda", target=two_domains[1], run_dir=tmp_path / "next", **settings)
    assert started.config.init == packed
    with pytest.raises(InputError, match=r"first.zip was trained with se_asa, which has no gener"):
        uda.translate(packed, volume())


def test_nothing_is_written_into_a_packed_run(
    packed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = packed.read_bytes()
    with pytest.raises(InputError, match=r"`napari-uda unpack .*first.zip --out FOLDER` makes a r"):
        write_card(packed, licence="MIT")
    with pytest.raises(SystemExit) as exit_:
        main(["train", "--resume", str(packed)])
    assert exit_.value.code == 2
    assert "is a packed run, and nothing can be written into it" in capsys.readouterr().err
    assert packed.read_bytes() == before


def test_unpacked_files_are_gone_with_the_process(packed: Path, tmp_path: Path) -> None:
    code = "import sys; from napari_uda.run.run import Run; print(Run.open(sys.argv[1]).path)"
    found = subprocess.run(
        [sys.executable, "-c", code, str(packed)],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(found.stdout.strip()).is_relative_to(tmp_path)
    assert not list(tmp_path.iterdir())


def test_no_name_or_place_of_a_patient_is_in_the_file(run: Run, packed: Path) -> None:
    splits = [run.facts.source, run.facts.target]
    names = [name for split in splits if split for name in (*split.train, *split.validation)]
    assert len(names) == 6
    with zipfile.ZipFile(packed) as archive:
        text = "".join(
            archive.read(name).decode() for name in archive.namelist() if "safetensors" not in name
        )
    for word in (*names, str(run.config.data.source), str(run.path.parent)):
        assert word not in text
    assert '"case 1"' in text  # their number stays


def test_card_tells_what_the_run_is(run: Run, packed: Path, tmp_path: Path) -> None:
    card = uda.unpack(packed, tmp_path / "there")
    assert card.name == "first"
    assert card.licence == "CC-BY-4.0"
    assert (card.method, card.steps) == ("se_asa", 4)
    assert (card.source, card.source_cases) == ("CT", 3)
    assert (card.target, card.target_cases) == ("MR", 3)
    assert card.purpose == "Segments inner, outer in MR"
    assert card.structures == tiny_cases.LABELS
    assert card.weights_sha256 == file_sha256(run.weights_file())
    titles = dict(card.lines())
    assert titles["Structures"] == "inner, outer"
    assert titles["Licence"] == "CC-BY-4.0"
    assert titles["Trained on"] == "3 CT cases with labels, adapted to 3 MR cases"
    alone = card.model_copy(update={"source": "", "source_cases": 0})  # without source data
    assert dict(alone.lines())["Trained on"] == "adapted to 3 MR cases"
    assert read_card(tmp_path / "there") == card.model_copy(update={"weights_sha256": ""})


def test_card_holds_the_scores_of_the_run_and_what_its_owner_says(run: Run) -> None:
    rows = [
        {"name": name, "n_cases": 5, "dice": {"mean": mean}}
        for name, mean in (("inner", 0.91234), ("outer", None), ("mean", 0.9))
    ]
    (run.path / "scores.json").write_text(json.dumps({"protocol": "sifa", "summary": rows}))
    write_card(run.path, purpose="For a study", licence="MIT")
    write_card(run.path, licence="CC0-1.0")
    card = read_card(run.path)
    (run.path / "scores.json").unlink()
    (run.path / "card.yaml").unlink()
    assert card.dice == {"inner": 0.9123, "mean": 0.9}
    assert (card.scored_cases, card.protocol) == (5, "sifa")
    assert (card.purpose, card.licence) == ("For a study", "CC0-1.0")
    assert ("Dice", "inner 0.912, mean 0.900 (5 cases, sifa)") in card.lines()


def rewritten(packed: Path, out: Path, **changes: bytes | None) -> Path:
    """The archive with members of other content, or with one more."""
    with zipfile.ZipFile(packed) as archive, zipfile.ZipFile(out, "w") as new:
        for member in archive.infolist():
            new.writestr(member, changes.pop(member.filename, None) or archive.read(member))
        for name, content in changes.items():
            new.writestr(name, content or b"")
    return out


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"../escaped.txt": b"x"}, "holds other files"),
        ({"checkpoints/last.state.safetensors": b"x"}, "holds other files"),
        ({"checkpoints/last.safetensors": b"x" * 100}, "is damaged"),
        ({"config.yaml": b"steps: 3\n"}, "is damaged"),
        ({"card.yaml": b"name: [1\n"}, "is damaged"),
    ],
)
def test_what_pack_did_not_write_is_refused_and_leaves_nothing(
    packed: Path, tmp_path: Path, changes: dict[str, bytes], words: str
) -> None:
    file = rewritten(packed, tmp_path / "bent.zip", **changes)
    with pytest.raises(InputError, match=words):
        uda.unpack(file, tmp_path / "there")
    with pytest.raises(InputError, match=rf"bent.zip.*{words}"):
        Run.open(file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bent.zip"]


def test_other_weights_do_not_fit_the_card(packed: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(packed) as archive:
        weights = bytearray(archive.read("checkpoints/last.safetensors"))
    weights[-1] ^= 1
    file = rewritten(
        packed, tmp_path / "bent.zip", **{"checkpoints/last.safetensors": bytes(weights)}
    )
    with pytest.raises(InputError, match="do not fit the checksum of its card"):
        uda.unpack(file, tmp_path / "there")


def test_half_a_file_and_no_file_are_named(packed: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.zip"
    half.write_bytes(packed.read_bytes()[:2000])
    with pytest.raises(InputError, match="no packed run or damaged"):
        uda.unpack(half, tmp_path / "there")
    with pytest.raises(InputError, match="does not exist"):
        uda.unpack(tmp_path / "none.zip", tmp_path / "there")


def test_a_folder_that_is_not_empty_and_a_name_without_its_ending_are_refused(
    run: Run, packed: Path, tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        uda.unpack(packed, tmp_path / "there")
    with pytest.raises(InputError, match="a packed run is a file"):
        uda.pack(run.path, tmp_path / "model")


def test_card_is_read_back_as_it_is_in_the_file(packed: Path, tmp_path: Path) -> None:
    card = uda.unpack(packed, tmp_path / "there")
    assert read_yaml(tmp_path / "there" / "card.yaml") == card.model_dump()


def test_cases_of_unknown_modality_are_counted_in_plain_words(run: Run) -> None:
    card = read_card(run.path).model_copy(update={"source": "the source", "source_cases": 3})
    assert dict(card.lines())["Trained on"].startswith("3 cases of the source with labels")
    card = card.model_copy(update={"source": "CT", "source_cases": 1})
    assert dict(card.lines())["Trained on"].startswith("1 CT case with labels")
