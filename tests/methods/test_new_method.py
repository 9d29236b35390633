"""examples/new_method: a package of its own brings a method, and nothing in napari_uda knows of it."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import yaml
from method_cases import CPU, Bench
from new_method_cases import NAME, PACKAGE, ROOT, SMALL_METHOD, SOURCE, install_new_method, python
from tiny_cases import SMALL, changed, small_config, snapshot

from napari_uda.cli import main
from napari_uda.core.errors import InputError
from napari_uda.core.small_files import dump_yaml
from napari_uda.data.volume import read_volume
from napari_uda.methods.registry import METHODS
from napari_uda.networks.build import build_segmentor
from napari_uda.networks.normalisation import batch_statistics_only
from napari_uda.run import checkpoint
from napari_uda.run.folder import RunFolder
from napari_uda.training.load import load_training_data
from napari_uda.training.loop import build_runtime

Domains = tuple[Path, Path]
Environment = dict[str, str]

STAGE_1 = {"segmentation", "translation", "cycle", "identity"} | {
    f"discriminator_{domain}" for domain in ("source", "target")
}
STAGE_2 = {"segmentation", "pseudo_label", "pseudo_share"}

# --- installed ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The environment of processes that see the package."""
    return install_new_method(tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="module")
def run(
    environment: Environment, two_domains: Domains, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Two steps of each stage, by the command line. Tests must leave its folder as it is."""
    folder = tmp_path_factory.mktemp("new_method")
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({**SMALL, "method": {"name": NAME, **SMALL_METHOD}}))
    data = ("--data.source", two_domains[0], "--data.target", two_domains[1])
    arguments = ("train", "--recipe", recipe, *data, "--steps", 4, "--run-dir", folder / "run")
    python("-m", "napari_uda", *arguments, environment=environment)
    return folder / "run"


def scalars(run: Path) -> list[set[str]]:
    """What each line of the log holds."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [set(json.loads(line)) - {"step", "seconds"} for line in lines]


@pytest.mark.slow
def test_it_trains_in_two_stages(run: Path) -> None:
    assert scalars(run) == [STAGE_1, STAGE_1, STAGE_2, STAGE_2]
    (line,) = [line for line in (run / "config.yaml").read_text().splitlines() if NAME in line]
    assert line == f"  name: {NAME}"
    environment = json.loads((run / "environment.json").read_text())
    assert environment["method_package"] == f"{PACKAGE} 1.0"


@pytest.mark.slow
def test_it_is_listed_and_translates(
    run: Path, environment: Environment, two_domains: Domains, tmp_path: Path
) -> None:
    listed = python("-m", "napari_uda", "methods", environment=environment)
    assert any(line.split()[:2] == [NAME, "self-training"] for line in listed.splitlines())
    image = two_domains[1] / "images" / "target_0.nii.gz"
    arguments = ("translate", run, image, "--out", tmp_path, "--device", "cpu")
    said = python("-m", "napari_uda", *arguments, environment=environment)
    assert "target_0: change from slice to slice" in said
    translated = read_volume(tmp_path / "target_0_translated.nii.gz")
    assert translated.array.shape == read_volume(image).array.shape
    assert np.isfinite(translated.array).all()


CONTINUE = """
import sys
from napari_uda.api import iterate
from napari_uda.run.continuation import folder_for_more, more_steps
from napari_uda.run.run import Run
run = Run.open(sys.argv[1])
assert folder_for_more(run.path).name == "run_more"
for _ in iterate(Run.create(sys.argv[2], more_steps(run, 2))):
    pass
"""


@pytest.mark.slow
def test_continue_goes_on_with_its_second_stage(
    run: Path, environment: Environment, tmp_path: Path
) -> None:
    more = tmp_path / "run_more"
    python("-c", CONTINUE, run, more, environment=environment)
    settings = yaml.safe_load((more / "config.yaml").read_text())
    assert (settings["init"], settings["seed"], settings["steps"]) == (str(run), 1, 2)
    assert settings["method"]["translation_steps"] == 0
    assert scalars(more) == [STAGE_2, STAGE_2]
    before, after = (
        checkpoint.load_weights(RunFolder(one).checkpoints / checkpoint.WEIGHTS)
        for one in (run, more)
    )
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("segmentor.") for name in moved)
    assert not any(name.startswith("translator.generators.") for name in moved)


@pytest.mark.slow
def test_it_is_a_row_of_a_benchmark(
    environment: Environment, two_domains: Domains, tmp_path: Path
) -> None:
    source, target = map(str, two_domains)
    spec = {
        "name": "Blobs",
        "data": [{"name": "CT to MR", "source": source, "target": target}],
        "rows": [
            {"name": "source_only", "method": "source_only"},
            {"name": "ours", "method": NAME, "settings": {"method": SMALL_METHOD}},
        ],
        "settings": {name: value for name, value in SMALL.items() if name != "device"},
        "steps": 3,
        "device": "cpu",
    }
    (tmp_path / "spec.yaml").write_text(dump_yaml(spec))
    arguments = ("benchmark", tmp_path / "spec.yaml", "--out", tmp_path / "out", "--no-pictures")
    said = python("-m", "napari_uda", *arguments, environment=environment)
    assert "2/2" in said
    (ours,) = [line for line in said.splitlines() if line.startswith("| ours |")]
    assert sum(part.strip()[:1].isdigit() for part in ours.split("|")) >= 2  # a score per structure
    cells = (tmp_path / "out" / "cells.csv").read_text()
    assert "ours" in cells


@pytest.mark.slow
def test_without_the_package_its_run_says_what_to_install(
    run: Path, two_domains: Domains, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert NAME not in METHODS
    image = str(two_domains[1] / "images" / "target_0.nii.gz")
    for command in (
        ["predict", str(run), image, "--out", str(tmp_path / "out")],
        ["translate", str(run), image, "--out", str(tmp_path / "out")],
        ["train", "--resume", str(run)],
    ):
        with pytest.raises(SystemExit) as end:
            main(command)
        assert end.value.code == 2
        assert capsys.readouterr().err == (
            f"napari-uda: {run}: the run was made by the method {NAME} of the package {PACKAGE} 1.0, "
            f"which is not installed here; install it (pip install {PACKAGE})\n"
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_it_passes_what_every_method_has_to_pass(environment: Environment, tmp_path: Path) -> None:
    tests = ROOT / "tests" / "methods" / "test_every_method.py"
    options = ("-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'tests'}")
    said = python("-m", "pytest", tests, "-k", NAME, *options, environment=environment)
    passed = re.search(r"^(\d+) passed, \d+ deselected in", said, flags=re.MULTILINE)
    assert passed is not None, said
    assert int(passed[1]) > 20


def test_nothing_in_napari_uda_knows_of_it() -> None:
    assert {file.name for file in SOURCE.iterdir() if file.is_file()} == {
        "pyproject.toml",
        "small.yaml",
        "uda_self_training.py",
    }
    files = [file for file in (ROOT / "napari_uda").rglob("*") if file.suffix in (".py", ".yaml")]
    assert [file for file in files if NAME in file.read_text(encoding="utf-8")] == []


# --- what it computes -----------------------------------------------------------------------------


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module itself, in this process, which does not know it as a method."""
    monkeypatch.syspath_prepend(str(SOURCE))
    return importlib.import_module("uda_self_training")


def stand(module: ModuleType, domains: Domains, cache: Path, **method: object) -> Bench:
    """The method before its first step."""
    config = small_config("source_only", *domains, steps=4)
    data = load_training_data(config, module.SelfTraining, cache=cache)
    settings = module.SelfTrainingConfig.model_validate({**SMALL_METHOD, **method})
    classes = data.facts.num_classes
    torch.manual_seed(0)
    network = build_segmentor(config.segmentor, data.facts.grid.neighbours, classes)
    built = module.SelfTraining(settings, network, classes).place(CPU).train()
    runtime = build_runtime(config)
    runtime.attach(built.optimizers())
    return Bench(config, data, built, runtime)


def test_each_stage_moves_its_networks(
    module: ModuleType, two_domains: Domains, tmp_path: Path
) -> None:
    bench = stand(module, two_domains, tmp_path)
    for moving in (
        {"segmentor", "translator.generators", "translator.discriminators"},
        {"segmentor"},
    ):
        before = snapshot(bench.method)
        bench.step(), bench.step()
        moved = changed(before, bench.method)
        parameters = {name for name, _ in bench.method.named_parameters()}
        assert {name for name in moved & parameters if name.startswith(tuple(moving))} == (
            moved & parameters
        )
        for part in moving:
            assert any(name.startswith(part) for name in moved), part
    assert "thresholds" in moved
    assert "thresholds" in bench.method.state_dict()  # and so in the checkpoint


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_of_each_class_the_surest_share_is_learnt(
    module: ModuleType, two_domains: Domains, tmp_path: Path, share: float
) -> None:
    bench = stand(
        module, two_domains, tmp_path, sure_share=share, threshold_slices=99, translation_steps=0
    )
    bench.method.translator.generators["source_to_target"].trained_steps += 1
    bench.method.translator.generators["target_to_source"].trained_steps += 1
    bench.method.before_step(bench.data, bench.runtime)
    target = bench.data.target
    assert target is not None
    found = []
    for start in range(0, len(target), 2):  # two slices a step: statistics are those of the batch
        image = target.image(np.arange(start, min(start + 2, len(target))))
        with torch.no_grad(), batch_statistics_only(bench.method.segmentor):
            found.append(bench.method.segmentor(image).logits.softmax(1))
    confidence, label = torch.cat(found).max(1)
    for index, threshold in enumerate(bench.method.thresholds):
        of_class = confidence[label == index]
        if len(of_class):
            kept = (of_class >= threshold).float().mean()
            assert kept == pytest.approx(share, abs=1.5 / len(of_class))
        else:
            assert threshold == 1


def test_a_weight_of_zero_leaves_the_target_unseen(
    module: ModuleType, two_domains: Domains, tmp_path: Path
) -> None:
    bench = stand(module, two_domains, tmp_path, pseudo_weight=0, translation_steps=1)
    seen: list[torch.Tensor] = []
    bench.method.segmentor.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    bench.step()
    assert set(bench.step()) == {"segmentation"}
    assert len(seen) == 2  # the translated source of each step


def test_it_does_not_begin_without_trained_generators(
    module: ModuleType, two_domains: Domains, tmp_path: Path
) -> None:
    bench = stand(module, two_domains, tmp_path, translation_steps=0)
    assert set(bench.method.optimizers()) == {"segmentor"}
    with pytest.raises(InputError, match="there are no trained generators; give --init"):
        bench.step()
