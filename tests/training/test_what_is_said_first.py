"""What training says before its first step: findings and numbers, on the terminal and in `log.txt`."""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tiny_cases import LABELS, small_config

import napari_uda.api as uda
from napari_uda.core.errors import InputError
from napari_uda.data.folder import write_dataset_json
from napari_uda.run.log import kept_log
from napari_uda.run.run import Run
from napari_uda.training.loop import train_run

Domains = tuple[Path, Path]
CT = "source: the images are said to be CT, but no value is below"


@pytest.fixture
def sound(two_domains: Domains, tmp_path: Path) -> Domains:
    """Two domains in which nothing is odd."""
    source, target = (Path(shutil.copytree(d, tmp_path / d.name)) for d in two_domains)
    write_dataset_json(source, LABELS, "MR")
    return source, target


def begin(
    domains: Domains, folder: Path, method: str = "source_only", **settings: object
) -> tuple[Run, list[str]]:
    """A run of two steps, and what it said of its data."""
    run = Run.create(folder, small_config(method, *domains, steps=2, **settings))
    said: list[str] = []
    for _ in train_run(run, say=said.append):
        pass
    return run, said


def log_of(run: Run) -> list[str]:
    """Levels and sentences of `log.txt`, without times."""
    lines = run.log_file.read_text().splitlines()
    return [re.sub(r"^.*? (INFO|WARNING) [\w.]+: ", r"\1 ", line) for line in lines]


def test_findings_and_milestones_are_in_the_log(
    two_domains: Domains, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, said = begin(two_domains, tmp_path / "run", "se_asa")
    log = log_of(run)
    warned = [line for line in log if line.startswith("WARNING")]
    assert len(warned) == 1
    assert warned[0].startswith(f"WARNING {CT}")
    assert "INFO source: 3 patients with 18 slices" in log
    assert "INFO target: 3 patients with 18 slices" in log
    assert "INFO se_asa on cpu, step 0 of 2" in log
    assert log[-1] == "INFO finished after step 2"
    assert said == [
        "source: 3 patients with 18 slices",
        "target: 3 patients with 18 slices",
    ]
    # the terminal hears the warning alone
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_run_that_goes_on_is_not_warned_again(
    two_domains: Domains, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run.create(tmp_path / "run", small_config("source_only", *two_domains, steps=2))
    iterator = train_run(run)
    next(iterator)
    iterator.close()
    caplog.clear()
    for _ in train_run(Run.open(run.path)):
        pass
    assert caplog.records == []
    assert sum("WARNING" in line for line in run.log_file.read_text().splitlines()) == 1


def test_held_out_patients_and_patients_of_several_volumes_are_counted(
    sound: Domains, tmp_path: Path
) -> None:
    settings = {"patient_pattern": "source_[01]|source_2", "validation_fraction": 0.34}
    _, said = begin(sound, tmp_path / "run", data=settings)
    assert said == ["source: 2 patients with 12 slices; 1 patient held out"]
    _, said = begin(sound, tmp_path / "one", data={"patient_pattern": "(source)_."})
    assert said == ["source: 1 patient in 3 volumes with 18 slices"]


def test_strict_refuses_and_leaves_no_run(two_domains: Domains, tmp_path: Path) -> None:
    config = small_config("source_only", *two_domains, steps=2)
    settings = config.model_dump(mode="json", exclude={"method"})
    with pytest.raises(InputError, match=rf"strict takes a warning .* for an error \({CT}"):
        uda.train("source_only", run_dir=tmp_path / "run", strict=True, **settings)
    assert not (tmp_path / "run").exists()


def test_strict_trains_on_sound_data(sound: Domains, tmp_path: Path) -> None:
    settings = small_config("source_only", *sound, steps=1).model_dump(
        mode="json", exclude={"method"}
    )
    assert uda.train("source_only", run_dir=tmp_path / "run", strict=True, **settings).metrics()


def test_what_reading_warns_of_is_said_once_and_counts_for_strict(
    sound: Domains, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in ("images", "labels"):
        file = sound[0] / folder / "source_0.nii.gz"
        image = nib.load(file)
        image.header["sform_code"] = image.header["qform_code"] = 0
        bare = nib.Nifti1Image(np.asanyarray(image.dataobj), None, image.header)
        bare.header["sform_code"] = bare.header["qform_code"] = 0
        nib.save(bare, file)
    run = Run.create(tmp_path / "run", small_config("source_only", *sound, steps=1))
    for _ in train_run(run):
        pass
    said = [record.getMessage() for record in caplog.records]
    assert sum("its orientation is a guess" in one for one in said) == 2  # image and labels
    again = Run.create(tmp_path / "again", small_config("source_only", *sound, steps=1))
    with pytest.raises(InputError, match=r"strict takes .* warnings .* its orientation is a guess"):
        next(train_run(again, findings="refuse"))


def test_label_maps_without_any_named_structure_are_refused(sound: Domains, tmp_path: Path) -> None:
    write_dataset_json(sound[0], {"heart": 7}, "MR")
    run = Run.create(tmp_path / "run", small_config("source_only", *sound, steps=1))
    with pytest.raises(InputError, match=r"hold label 1, 3 and none of the named .* heart \(7\)"):
        next(train_run(run))


def test_the_log_is_kept_for_several_runs_and_leaves_everything_as_it_was() -> None:
    logger = logging.getLogger("napari_uda")
    before = logger.level, logger.propagate, list(logger.handlers)
    first, second = kept_log(logging.NullHandler()), kept_log(logging.NullHandler())
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert logger.getEffectiveLevel() == logging.INFO
    second.__exit__(None, None, None)
    assert (logger.level, logger.propagate, list(logger.handlers)) == before


def test_a_warning_is_heard_where_nothing_listens(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, []
    try:
        with kept_log(logging.NullHandler()):
            logging.getLogger("napari_uda.data").warning("odd")
            logging.getLogger("napari_uda.data").info("a milestone")
    finally:
        root.handlers = handlers
    assert capsys.readouterr().err == "odd\n"
