"""Two processes under torchrun train what one process trains with the doubled batch.

In float64, where sums in another order differ by 1e-13 and a fault by orders of magnitude more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from in_float64 import in_float64
from pydantic import BaseModel
from safetensors.torch import load_file

from napari_uda.api import train
from napari_uda.cli import main
from napari_uda.core.optimizer import OptimizerConfig
from napari_uda.methods.registry import METHODS
from napari_uda.networks.generator import GeneratorConfig
from napari_uda.players.output_adversary import AdversaryConfig
from napari_uda.players.shared_translator import SharedTranslatorConfig

_METHODS = tuple(METHODS)
_BY_COMMAND = "se_asa"
"""Trained by the command itself under torchrun, in float32."""
_AUGMENTED = "source_only"
"""The one that also changes its slices at random, and learns from corrected cases."""
_RUN: dict[str, Any] = {
    "data": {"size": 32},
    "segmentor": {"width": 4, "depth": 2},
    "log_every": 1,
    "save_every": 2,
    "device": "cpu",
}
_CHOSEN: dict[str, Any] = {
    "pool_size": 6,
    "blocks": 1,
    "discriminator_width": 4,
    "score_width": 16,
    "ramp_epoch_steps": 0,
    "critic_width": 16,
    "critic_stages": 2,
    "prototype_batches": 2,
    "joint": True,
    "gate_accuracy": 0,
}
_RATE = 2.5e-4
_RATE_OF_DISCRIMINATORS = 0.01
_CHOSEN_IN: dict[type[BaseModel], dict[str, Any]] = {
    # with batch normalisation, whose statistics are those of all ranks
    AdversaryConfig: {"main_weight": 0.2, "discriminator": "patch_bn", "width": 8},
    GeneratorConfig: {"width": 4},
    SharedTranslatorConfig: {"width": 4},
}


def _settings(config: BaseModel) -> dict[str, Any]:
    """Small settings of any method, all of its stages in every step, found by walking through its own."""
    settings: dict[str, Any] = {}
    for name, value in config:
        if isinstance(value, OptimizerConfig):
            # no Adam: it turns the rounding of a gradient near zero into a step
            judges = name in ("discriminator_optimizer", "adversary_optimizer")
            settings[name] = {"kind": "sgd", "lr": _RATE_OF_DISCRIMINATORS if judges else _RATE}
        elif isinstance(value, BaseModel):
            inside = _settings(value)
            settings |= {name: inside} if inside else {}
        elif name in _CHOSEN:
            settings[name] = _CHOSEN[name]
    for kind, chosen in _CHOSEN_IN.items():
        if isinstance(config, kind):
            settings |= chosen
    return settings


_SEVERAL = """
import json, sys
sys.path.insert(0, sys.argv[2])
import torch.distributed as dist
from in_float64 import in_float64
from napari_uda.cli import main
dist.init_process_group("gloo")
with in_float64():
    for arguments in json.loads(sys.argv[1]):
        main(arguments)
dist.barrier()
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def decided(two_domains: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained network: its votes are no ties, which the order of a sum could decide."""
    run = train(
        "source_only",
        source=two_domains[0],
        run_dir=tmp_path_factory.mktemp("decided") / "run",
        steps=60,
        batch_size=4,
        data={"size": 32},
        segmentor={"width": 4, "depth": 2},
        method={"segmentor_optimizer": {"kind": "adam", "lr": 2e-2}},
        device="cpu",
    )
    return run.path


def _arguments(
    method: str, two_domains: tuple[Path, Path], run_dir: Path, batch_size: int, init: Path
) -> list[str]:
    source, target = two_domains
    recipe = run_dir.with_suffix(".yaml")
    settings = {**_RUN, "method": _settings(METHODS[method].config_class())}  # type: ignore[call-arg]
    if method == _AUGMENTED:
        settings["augment"] = {"intensity": "gin", "spatial": {"rotation_deg": 10}}
        settings["data"] = {**_RUN["data"], "corrected": str(target)}
    recipe.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return [
        *("train", method, "--data.source", str(source), "--data.target", str(target)),
        *("--run-dir", str(run_dir), "--recipe", str(recipe), "--init", str(init)),
        *("--batch-size", str(batch_size), "--steps", "4"),
    ]


def _torchrun(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*(sys.executable, "-m", "torch.distributed.run", "--standalone"), *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def runs(
    two_domains: tuple[Path, Path], decided: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Folders of the runs of one rank (batches of 4) and of two ranks (batches of 2 each)."""
    one, two = tmp_path_factory.mktemp("one_rank"), tmp_path_factory.mktemp("two_ranks")
    with in_float64():
        for method in _METHODS:
            main(_arguments(method, two_domains, one / method, 4, decided))
    script = two / "several.py"
    script.write_text(_SEVERAL, encoding="utf-8")
    several = [_arguments(m, two_domains, two / m, 2, decided) for m in _METHODS]
    tests = str(Path(__file__).parents[1])
    _torchrun(["--nproc-per-node", "2", str(script), json.dumps(several), tests])
    return one, two


@pytest.mark.slow
@pytest.mark.parametrize("method", _METHODS)
def test_two_ranks_end_with_the_weights_of_the_doubled_batch(
    method: str, runs: tuple[Path, Path]
) -> None:
    one, two = (load_file(run / method / "checkpoints" / "last.safetensors") for run in runs)
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        # translated slices of earlier steps are stored in float16, where the next number is 5e-4 away
        tolerance = 1e-3 if ".pools." in name else 1e-11
        torch.testing.assert_close(
            two[name], tensor, rtol=0, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )
    assert any(tensor.dtype == torch.float64 for tensor in one.values())


@pytest.mark.slow
@pytest.mark.parametrize("method", _METHODS)
def test_two_ranks_log_the_losses_of_the_doubled_batch_once(
    method: str, runs: tuple[Path, Path]
) -> None:
    one, two = (
        [json.loads(line) for line in (run / method / "metrics.jsonl").read_text().splitlines()]
        for run in runs
    )
    assert [line["step"] for line in two] == [1, 2, 3, 4]
    for expected, found in zip(one, two, strict=True):
        del expected["seconds"], found["seconds"]
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, rel=1e-10, abs=1e-12), name


@pytest.mark.slow
def test_the_command_itself_under_torchrun_writes_one_run_folder(
    two_domains: tuple[Path, Path], decided: Path, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    main(_arguments(_BY_COMMAND, two_domains, one, 4, decided))
    words = _arguments(_BY_COMMAND, two_domains, two, 2, decided)
    _torchrun(["--nproc-per-node", "2", "-m", "napari_uda", *words])
    files, found = (
        {file.relative_to(run).as_posix() for file in run.rglob("*")} for run in (one, two)
    )
    assert found == files
    events = (two / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in events] == ["started", "finished"]
    expected, weights = (load_file(r / "checkpoints" / "last.safetensors") for r in (one, two))
    torch.testing.assert_close(weights, expected, rtol=1e-4, atol=1e-5)
