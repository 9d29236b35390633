"""Corrected target cases: what they change in a step, what they leave, and that no score sees them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from method_cases import CPU, bench
from tiny_cases import (
    LABELS,
    assert_same_tensors,
    blob_case,
    changed,
    metric_lines,
    small_config,
    snapshot,
)

import napari_uda as uda
from napari_uda.api import iterate
from napari_uda.core import distributed
from napari_uda.core.errors import InputError
from napari_uda.data.corrected import corrected_case, left_out
from napari_uda.data.facts import DataFacts
from napari_uda.data.folder import write_dataset_json
from napari_uda.data.volume import read_volume, write_volume
from napari_uda.evaluation.report import evaluate_folders
from napari_uda.inference.loaded import LoadedRun
from napari_uda.methods.base import supervision_with_corrected, supervision_with_start
from napari_uda.methods.registry import METHODS
from napari_uda.run import checkpoint
from napari_uda.run.run import Run
from napari_uda.training.load import load_training_data

Domains = tuple[Path, Path]
ABLE = [name for name, kind in METHODS.items() if kind.learns_from_corrected]
UNABLE = sorted(set(METHODS) - set(ABLE))


@pytest.fixture(scope="session")
def corrected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two of the target's cases with labels, as the Score dock writes them."""
    folder = tmp_path_factory.mktemp("hand") / "corrected"
    for index in (10, 11):
        image, labels = blob_case(f"target_{index - 10}", index, bright=False)
        write_volume(folder / "images" / f"{image.name}.nii.gz", image)
        write_volume(folder / "labels" / f"{image.name}.nii.gz", labels)
    write_dataset_json(folder, LABELS, "MR")
    return folder


def with_corrected(folder: Path, weight: float = 1.0, **settings: Any) -> dict[str, Any]:
    data = {"corrected": str(folder), **settings.pop("data", {})}
    method = {"corrected_weight": weight, **settings.pop("method", {})}
    return {"data": data, "method": method, **settings}


# --- a step ---------------------------------------------------------------------------------------


def test_methods_with_a_supervised_loss_learn_from_corrected_cases() -> None:
    labelled = {n for n, k in METHODS.items() if k.needs & {"source", "target_labels"}}
    # its source network has learnt in the run that it starts from, and does not move any more
    assert set(ABLE) == labelled - {"pnp_adanet"}


@pytest.mark.parametrize("name", ABLE)
def test_corrected_slices_add_one_term_and_change_no_other(
    name: str, two_domains: Domains, corrected: Path, tmp_path: Path
) -> None:
    """And a weight of 0 changes nothing, and does not even look for the folder.

    The second step is the segmentor's alone: other players may follow it in theirs.
    """
    plain = bench(name, two_domains, tmp_path)
    off = bench(name, two_domains, tmp_path, **with_corrected(tmp_path / "nowhere", weight=0))
    stand = bench(name, two_domains, tmp_path, **with_corrected(corrected))
    assert_same_tensors(snapshot(plain.method), snapshot(stand.method))
    for one in (plain, off, stand):
        one.runtime.set_learning_rates(0.0)
    without, logs = plain.step(), stand.step()
    assert logs.keys() - without.keys() == {"corrected"}
    for term, value in without.items():  # of the same weights, since nobody moves
        assert torch.equal(value, logs[term]), term
    off_logs = off.step()
    assert {k: float(v) for k, v in off_logs.items()} == {k: float(v) for k, v in without.items()}
    learner = "student" if "student" in plain.method.optimizers() else "segmentor"
    for one in (plain, off, stand):
        for group in one.runtime._optimizers[learner].param_groups:
            group["lr"] = 1e-3
        one.step()
    parameters = {n for n, _ in plain.method.named_parameters()}
    moved = changed(snapshot(plain.method), stand.method) & parameters
    assert moved
    assert all(n.startswith(("segmentor.", "student.")) for n in moved), moved
    assert off.data.corrected is None
    assert off.data.facts == plain.data.facts
    assert_same_tensors(snapshot(plain.method), snapshot(off.method))


@pytest.mark.parametrize("name", ABLE)
def test_the_term_is_the_supervised_loss_of_what_is_seen_of_the_target(
    name: str, two_domains: Domains, corrected: Path, tmp_path: Path
) -> None:
    stand = bench(name, two_domains, tmp_path, **with_corrected(corrected, weight=0.5))
    batch = stand.data.batch(0, CPU)
    assert batch.corrected is not None
    stand.method.before_step(stand.data, stand.runtime)
    stand.method.eval()  # so that a second look gives the same
    found = stand.method.corrected_terms(batch)["corrected"].detach()
    seen = stand.method.of_target(batch.corrected.image)
    again = stand.method.segmentor(seen)
    assert torch.equal(again.logits, stand.method.predict(batch.corrected.image))
    loss = stand.method.supervised_loss(again, batch.corrected.label).detach()
    assert float(found) == pytest.approx(0.5 * float(loss), rel=1e-6)
    assert set(batch.corrected.label.unique().tolist()) <= {0, 1, 2}
    for part in (batch.source, batch.target):  # the network learns, the data does not
        assert part is None or not part.image.requires_grad


@pytest.mark.parametrize("name", UNABLE)
def test_other_methods_refuse_and_name_those_that_can(
    name: str, two_domains: Domains, corrected: Path, tmp_path: Path
) -> None:
    config = small_config(name, *two_domains, **with_corrected(corrected))
    with pytest.raises(InputError, match=f"{name} has no supervised loss.* or target_supervised"):
        load_training_data(config, METHODS[name], cache=tmp_path)


def test_ranks_share_a_batch_of_corrected_slices(
    two_domains: Domains, corrected: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    augment = {"intensity": "gamma", "spatial": {"rotation_deg": 20}}

    def data(size: int) -> Any:
        settings = with_corrected(corrected, batch_size=size, augment=augment)
        return bench("source_only", two_domains, tmp_path, **settings).data

    whole, part = data(4).batch(3, CPU).corrected, data(2)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    halves = []
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        halves.append(part.batch(3, CPU).corrected)
    assert torch.equal(torch.cat([half.image for half in halves]), whole.image)
    assert torch.equal(torch.cat([half.label for half in halves]), whole.label)


# --- a run ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["se_asa", pytest.param("cyclegan", marks=pytest.mark.slow)])
def test_a_resumed_run_is_the_run_that_was_not_stopped(
    name: str, two_domains: Domains, corrected: Path, tmp_path: Path
) -> None:
    settings = with_corrected(corrected, steps=4, save_every=2, augment={"intensity": "bezier"})
    config = small_config(name, *two_domains, **settings)
    whole, parts = (Run.create(tmp_path / folder, config) for folder in ("whole", "parts"))
    for _ in iterate(whole):
        pass
    begun = iterate(parts)
    next(begun), next(begun)
    begun.close()
    for _ in iterate(Run.open(parts.path)):
        pass
    for file in (checkpoint.WEIGHTS, checkpoint.STATE):
        first, second = (checkpoint.load_weights(r.checkpoints / file) for r in (whole, parts))
        assert_same_tensors(first, second)
    assert metric_lines(whole) == metric_lines(parts)
    assert "corrected" in metric_lines(whole)[0]


def test_facts_say_who_was_corrected_here_and_before(
    two_domains: Domains, corrected: Path, tmp_path: Path
) -> None:
    source, target = two_domains
    settings: dict[str, Any] = {"steps": 1, **with_corrected(corrected)}
    first = Run.create(tmp_path / "first", small_config("source_only", source, target, **settings))
    list(iterate(first))
    facts = Run.open(first.path).facts
    assert facts.target_supervision == "corrected (2 cases)"
    assert sorted(facts.corrected_contents) == ["target_0", "target_1"]
    assert all(len(both.split()) == 2 for both in facts.corrected_contents.values())
    assert not facts.corrected_before
    _scores_leave_it_out(first, target, tmp_path)
    one = Path(shutil.copytree(corrected, tmp_path / "one"))
    for name in ("images", "labels"):
        (one / name / "target_0.nii.gz").unlink()
        (one / name / "target_1.nii.gz").rename(one / name / "other.nii.gz")
    settings = {"steps": 1, "init": str(first.path), **with_corrected(one)}
    again = Run.create(tmp_path / "again", small_config("advent", source, target, **settings))
    list(iterate(again))
    later = Run.open(again.path).facts
    assert later.target_supervision == (
        "corrected (1 case); in the run it starts from, corrected (2 cases)"
    )
    assert sorted(later.corrected_cases) == ["other", "target_0", "target_1"]
    after = small_config("sfda", source, target, init=str(again.path))
    data = load_training_data(after, METHODS["sfda"], cache=tmp_path)
    assert sorted(data.facts.corrected_cases) == ["other", "target_0", "target_1"]


def _scores_leave_it_out(run: Run, target: Path, folder: Path) -> None:
    """What a run predicts of its corrected cases says so, wherever it goes."""
    out, loaded = folder / "out", LoadedRun.load(run.path, "cpu")
    predictions = [
        uda.predict(loaded, target / "images" / f"target_{index}.nii.gz", reliability=False)
        for index in range(3)
    ]
    assert [one.corrected for one in predictions] == ["target_0", "target_1", ""]
    for one in predictions:
        one.save(out)
    beside = json.loads((out / "target_0.json").read_text())
    assert beside["corrected"] == "target_0"
    assert beside["target_supervision"] == "corrected (2 cases)"
    assert "corrected" not in json.loads((out / "target_2.json").read_text())
    scores = evaluate_folders(out, target / "labels")
    assert {str(row["case"]) for row in scores.rows} == {"target_2"}
    reference = target / "labels" / "target_0.nii.gz"
    for prediction in (predictions[0], out / "target_0_labels.nii.gz"):
        with pytest.raises(InputError, match=r"target_0 is left out of the scores.*other cases"):
            uda.evaluate(prediction, reference)


def test_a_run_goes_on_with_the_corrected_cases_that_it_began_with(
    two_domains: Domains, corrected: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(corrected, tmp_path / "own"))
    settings = with_corrected(own, steps=3, save_every=1)
    run = Run.create(tmp_path / "run", small_config("source_only", *two_domains, **settings))
    begun = iterate(run)
    next(begun)
    begun.close()
    moved = Path(shutil.move(own, tmp_path / "moved"))
    with pytest.raises(
        InputError, match=r"no longer at .*own \(corrected\).*--data\.corrected DIR"
    ):
        list(iterate(Run.open(run.path)))
    labels = moved / "labels" / "target_1.nii.gz"
    before = labels.read_bytes()
    image = nib.load(labels)
    voxels = np.array(image.dataobj)
    voxels[10:14, 10:14, 2] = 3
    nib.save(nib.Nifti1Image(voxels, image.affine), labels)
    from napari_uda.cli import main

    with pytest.raises(SystemExit) as refused:
        main(["train", "--resume", str(run.path), "--data.corrected", str(moved)])
    assert refused.value.code == 2
    labels.write_bytes(before)
    main(["train", "--resume", str(run.path), "--data.corrected", str(moved)])
    assert Run.open(run.path).config.data.corrected == moved
    assert len(metric_lines(run)) == 3


def test_what_was_found_is_said_and_can_be_refused(
    two_domains: Domains, corrected: Path, tmp_path: Path
) -> None:
    odd = Path(shutil.copytree(corrected, tmp_path / "odd"))
    image, _ = blob_case("target_9", 19, bright=False)
    write_volume(odd / "images" / "target_9.nii.gz", image)  # without labels
    said: list[str] = []
    settings = with_corrected(odd, steps=1)
    run = Run.create(tmp_path / "run", small_config("source_only", *two_domains, **settings))
    list(iterate(run, say=said.append))
    assert said[-1] == (
        "corrected: 2 patients with 12 slices, with labels; left out of every score"
    )
    labels = odd / "labels" / "target_1.nii.gz"
    stored = nib.load(labels)
    empty = np.zeros(stored.shape, np.uint8)
    nib.save(nib.Nifti1Image(empty, stored.affine), labels)
    config = small_config("source_only", *two_domains, **settings)
    found: list[str] = []

    def listen(reports: Any) -> None:
        found.extend(problem.sentence for problem in reports["corrected"].problems)

    load_training_data(config, METHODS["source_only"], cache=tmp_path, on_checked=listen)
    assert any("target_1: its label map holds background only" in one for one in found)
    strict = Run.create(tmp_path / "strict", small_config("source_only", *two_domains, **settings))
    with pytest.raises(InputError, match=r"strict takes \d warnings"):
        list(iterate(strict, strict=True))


def test_a_folder_that_cannot_be_used_is_refused_in_a_sentence(
    two_domains: Domains, corrected: Path, tmp_path: Path
) -> None:
    def refusal(folder: Path, **settings: Any) -> str:
        config = small_config("source_only", *two_domains, **with_corrected(folder, **settings))
        with pytest.raises(InputError) as refused:
            load_training_data(config, METHODS["source_only"], cache=tmp_path)
        return str(refused.value)

    bare = Path(shutil.copytree(corrected, tmp_path / "bare"))
    shutil.rmtree(bare / "labels")
    assert "has no label maps" in refusal(bare)
    other = Path(shutil.copytree(corrected, tmp_path / "other"))
    write_dataset_json(other, {"inner": 1, "shell": 3}, "MR")
    assert "are not those of the run" in refusal(other)
    config = small_config("source_only", *two_domains, **with_corrected(corrected))
    alone = config.model_copy(update={"data": config.data.model_copy(update={"target": None})})
    with pytest.raises(InputError, match=r"give --data\.target as well"):
        load_training_data(alone, METHODS["source_only"], cache=tmp_path)


def test_python_and_the_shell_take_the_folder(
    two_domains: Domains, corrected: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = two_domains
    config = small_config("source_only", source, target, steps=1)
    settings = {"segmentor": {"width": 4, "depth": 2}, "data": {"size": 32}, "batch_size": 2}
    run = uda.train(
        "source_only",
        source=source,
        target=target,
        corrected=corrected,
        run_dir=tmp_path / "run",
        steps=1,
        device="cpu",
        **settings,
    )
    assert run.config.data.corrected == corrected
    assert config.data.corrected is None
    from napari_uda.cli import main

    for name in ("se_asa", "tent"):
        with pytest.raises(SystemExit):
            main(["train", name, "--help"])
        page = capsys.readouterr().out
        assert ("--data.corrected DIR" in page) == (name in ABLE)


# --- no score -------------------------------------------------------------------------------------


def test_held_out_cases_that_were_corrected_are_not_scored(
    two_domains: Domains, corrected: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def held_out(method: str, folder: Path, **domains: Any) -> list[str]:
        settings = with_corrected(folder, data={"validation_fraction": 0.6, **domains})
        config = small_config(method, *two_domains, **settings)
        data = load_training_data(config, METHODS[method], cache=tmp_path)
        assert data.facts.source is not None
        names = [case.name for case in data.held_out]
        assert list(data.facts.source.validation) == names
        return names

    # of the source, a case called as a corrected one is another patient
    assert len(held_out("source_only", corrected)) == 2
    assert "left out" not in caplog.text
    renamed = Path(shutil.copytree(two_domains[0], tmp_path / "renamed"))
    kept = held_out("source_only", corrected)[0]
    for part in ("images", "labels"):
        for file in (renamed / part).iterdir():
            if file.name != f"{kept}.nii.gz":
                file.unlink()
            else:
                file.rename(file.with_name("someone.nii.gz"))
    left = held_out("source_only", renamed)  # its voxels tell
    assert left == [name for name in held_out("source_only", corrected) if name != kept]
    assert f"{kept} is left out of the scores, because the run has learnt from" in caplog.text


def test_a_corrected_case_is_known_by_name_or_by_voxels(corrected: Path) -> None:
    image = read_volume(corrected / "images" / "target_0.nii.gz")
    other, _ = blob_case("target_7", 17, bright=False)
    from napari_uda.data.contents import content_digest

    known = {"target_0": f"{content_digest(image)} abc"}
    assert corrected_case(known, "target_0", other) == "target_0"
    assert corrected_case(known, "new name", image) == "target_0"
    assert corrected_case(known, "target_7", other) == ""
    assert corrected_case({}, "target_0", image) == ""
    assert left_out(["a", "b"], "run").startswith("a, b are left out of the scores, because run")


def test_words_of_supervision() -> None:
    assert supervision_with_corrected("none", 0) == "none"
    assert supervision_with_corrected("none", 1) == "corrected (1 case)"
    both = supervision_with_corrected("all: trained on them", 2)
    assert both == "all: trained on them; corrected (2 cases)"
    assert supervision_with_start("none", both) == f"in the run it starts from, {both}"
    assert DataFacts.model_fields["corrected_contents"].description
