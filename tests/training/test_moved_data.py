"""A run whose data has moved: content decides, not folders, sizes or compression."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tiny_cases import events, metric_lines, small_config, without_checksums

from napari_uda.cli import main
from napari_uda.data.folder import DataFolder
from napari_uda.data.weak_labels import make_weak_labels
from napari_uda.run.run import Run
from napari_uda.training.loop import train_run

Domains = tuple[Path, Path]


@pytest.fixture
def own(two_domains: Domains, tmp_path: Path) -> Domains:
    source, target = (Path(shutil.copytree(d, tmp_path / "here" / d.name)) for d in two_domains)
    return source, target


def stopped(own: Domains, folder: Path, name: str = "source_only", **settings: object) -> Run:
    """A run of four steps with a checkpoint of the second."""
    run = Run.create(folder, small_config(name, *own, steps=4, save_every=2, **settings))
    iterator = train_run(run)
    next(iterator), next(iterator)
    iterator.close()
    return run


def resume(run: Run, *options: object) -> int:
    try:
        main(["train", "--resume", str(run.path), *(str(option) for option in options)])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def moved(own: Domains, folder: Path) -> Domains:
    """Both folders elsewhere, every file compressed anew: other sizes, the same content."""
    source, target = (Path(shutil.move(d, folder / d.name)) for d in own)
    for file in [*source.rglob("*.nii.gz"), *target.rglob("*.nii.gz")]:
        file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes()), 9))
    return source, target


def test_a_moved_run_goes_on_as_if_it_had_not_been_stopped(own: Domains, tmp_path: Path) -> None:
    whole = Run.create(tmp_path / "whole", small_config("advent", *own, steps=4, save_every=2))
    for _ in train_run(whole):
        pass
    run = stopped(own, tmp_path / "run", "advent")
    (tmp_path / "there").mkdir()
    source, target = moved(own, tmp_path / "there")
    assert resume(run, "--data.source", source, "--data.target", target) == 0
    assert metric_lines(run) == metric_lines(whole)
    after = Run.open(run.path)
    assert (after.config.data.source, after.config.data.target) == (source, target)
    assert events(after) == ["started", "changed", "resumed", "finished"]
    assert Run.open(run.path).facts.target_contents == whole.facts.target_contents


def test_without_the_new_place_the_sentence_says_what_is_missing(
    own: Domains, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stopped(own, tmp_path / "run")
    (tmp_path / "there").mkdir()
    moved(own, tmp_path / "there")
    assert resume(run) == 2
    assert "name the place where it is now" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("voxel", "the target has other voxels in the image of target_1"),
        ("place", "the target has other voxels in the image of target_1"),
        ("label", "the source has other labels of source_1"),
        ("new", "target_9 of the target is new"),
        ("missing", "target_1 of the target is missing"),
    ],
)
def test_other_content_is_refused_and_nothing_is_changed(
    change: str, said: str, own: Domains, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stopped(own, tmp_path / "run")
    (tmp_path / "there").mkdir()
    source, target = moved(own, tmp_path / "there")
    image, label = target / "images" / "target_1.nii.gz", source / "labels" / "source_1.nii.gz"
    match change:
        case "voxel":
            edit(image, lambda voxels: voxels.__setitem__((0, 0, 0), voxels[0, 0, 0] + 1))
        case "place":
            edit(image, lambda _: None, shift=1.0)
        case "label":
            edit(label, lambda voxels: voxels.__setitem__((0, 0, 0), 1))
        case "new":
            shutil.copy(image, image.with_name("target_9.nii.gz"))
        case "missing":
            image.unlink()
            (target / "labels" / "target_1.nii.gz").unlink()
    before = {file: file.read_bytes() for file in sorted(run.path.rglob("*")) if file.is_file()}
    assert resume(run, "--data.source", source, "--data.target", target) == 2
    error = capsys.readouterr().err
    assert f"not those that it began with: {said}" in error
    assert "--data." in error
    for file, content in before.items():
        if file.name not in ("log.txt", "events.jsonl"):
            assert file.read_bytes() == content, file


def edit(file: Path, change: object, shift: float = 0.0) -> None:
    image = nib.load(file)
    voxels = np.asanyarray(image.dataobj).copy()
    change(voxels)  # type: ignore[operator]
    affine = image.affine.copy()
    affine[0, 3] += shift
    nib.save(nib.Nifti1Image(voxels, affine), file)


def test_target_labels_do_not_count_where_they_are_not_read(own: Domains, tmp_path: Path) -> None:
    run = stopped(own, tmp_path / "run")
    for file in (own[1] / "labels").iterdir():
        file.write_bytes(b"anything")
    assert resume(run) == 0


def old_fingerprint(source: Path, target: Path) -> str:
    """As version 0.1 made it: names and sizes of images, and sizes of the labels that are read."""
    text = ""
    for folder, with_labels in ((source, True), (target, False)):
        for case in DataFolder.open(folder).cases:
            text += f"{case.name}:{case.image.stat().st_size};"
            if with_labels and case.label is not None:
                text += f"{case.label.stat().st_size};"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_a_run_of_version_0_1_knows_sizes_only_and_the_log_says_so(
    own: Domains, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stopped(own, tmp_path / "run")
    facts = json.loads(run.facts_file.read_text())
    for name in ("source_contents", "target_contents", "files"):
        del facts[name]
    facts["fingerprint"] = old_fingerprint(*own)
    run.facts_file.write_text(json.dumps(facts))
    without_checksums(run.path)
    there = tuple(shutil.move(d, tmp_path / d.name) for d in own)
    (there[1] / "images" / "target_2.nii.gz").open("ab").write(b"\0")
    assert resume(run, "--data.source", there[0], "--data.target", there[1]) == 2
    assert "names or sizes of files have changed" in capsys.readouterr().err
    file = there[1] / "images" / "target_2.nii.gz"
    file.write_bytes(file.read_bytes()[:-1])
    assert resume(run, "--data.source", there[0], "--data.target", there[1]) == 0
    assert "names and sizes of files, not checksums: these fit" in run.log_file.read_text()
    assert set(Run.open(run.path).facts.target_contents) == {"target_0", "target_1", "target_2"}


def test_a_file_that_the_method_reads_is_known_by_its_content(
    own: Domains, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = stopped(own, tmp_path / "start", "source_only")
    folder = DataFolder.open(own[1])
    file = tmp_path / "tags.json"
    make_weak_labels(folder, start.facts.labels, start.facts.grid, "tags").write(file)
    settings = {"init": str(start.path), "method": {"presence": "tags", "weak_labels": str(file)}}
    run = stopped(own, tmp_path / "run", "sfda", **settings)
    assert set(run.facts.files) == {"weak_labels"}
    there = shutil.move(file, tmp_path / "elsewhere.json")
    other = tmp_path / "other.json"
    other.write_text(Path(there).read_text() + "\n")
    assert resume(run, "--method.weak-labels", other) == 2
    assert "the file of --method.weak-labels is not the one" in capsys.readouterr().err
    assert resume(run, "--method.weak-labels", there) == 0


def test_images_have_a_checksum_and_labels_where_they_are_read(
    own: Domains, tmp_path: Path
) -> None:
    facts = stopped(own, tmp_path / "run").facts
    assert set(facts.source_contents) == {"source_0", "source_1", "source_2"}
    assert all(len(text.split()) == 2 for text in facts.source_contents.values())
    assert all(len(text.split()) == 1 for text in facts.target_contents.values())
    assert facts.fingerprint == ""


def test_a_run_whose_folders_are_gone_is_told_the_options(
    own: Domains, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stopped(own, tmp_path / "run", "advent")
    source, target = moved(own, tmp_path)
    capsys.readouterr()
    assert resume(run, "--data.source", source) == 2
    said = capsys.readouterr().err
    assert f"is no longer at {own[1]} (target); name the place where it is now" in said
    assert f"train --resume {run.path} --data.target DIR" in said
    assert resume(run, "--data.source", source, "--data.target", target) == 0
