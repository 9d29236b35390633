"""Two processes under torchrun train what one process trains with the doubled batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
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
"""Trained by the command itself under torchrun; the others one after the other in two processes."""
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
    "rounds": 1,  # a later round would label by weights that rounding has moved
    "gate_accuracy": 0,
}
_RATES = {
    "discriminator_optimizer": 0.01,
    "adversary_optimizer": 1e-4,  # squares of what it makes of raw logits have large gradients
}
_CHOSEN_IN: dict[type[BaseModel], dict[str, Any]] = {
    # with batch normalisation, whose statistics are those of all ranks
    AdversaryConfig: {"main_weight": 0.2, "discriminator": "patch_bn", "width": 8},
    GeneratorConfig: {"width": 4},
    # seven steps that follow each other multiply rounding, and quick discriminators do so most
    SharedTranslatorConfig: {
        "width": 4,
        "discriminator_optimizer": {"kind": "sgd", "lr": 2.5e-4},
    },
}


def _settings(config: BaseModel) -> dict[str, Any]:
    """Settings of any method with which rounding stays rounding, found by walking through its own."""
    settings: dict[str, Any] = {}
    for name, value in config:
        if isinstance(value, OptimizerConfig):
            # no Adam: it turns the rounding of a gradient near zero into a step
            rate = _RATES.get(name, 2.5e-4)
            settings[name] = {"kind": "sgd", "lr": rate}
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
import torch.distributed as dist
from napari_uda.cli import main
dist.init_process_group("gloo")
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
    for method in _METHODS:
        main(_arguments(method, two_domains, one / method, 4, decided))
    script = two / "several.py"
    script.write_text(_SEVERAL, encoding="utf-8")
    several = [
        _arguments(m, two_domains, two / m, 2, decided) for m in _METHODS if m != _BY_COMMAND
    ]
    _torchrun(["--nproc-per-node", "2", str(script), json.dumps(several)])
    _torchrun(
        [
            *("--nproc-per-node", "2", "-m", "napari_uda"),
            *_arguments(_BY_COMMAND, two_domains, two / _BY_COMMAND, 2, decided),
        ]
    )
    return one, two


@pytest.mark.slow
@pytest.mark.parametrize("method", _METHODS)
def test_two_ranks_end_with_the_weights_of_the_doubled_batch(
    method: str, runs: tuple[Path, Path]
) -> None:
    one, two = (load_file(run / method / "checkpoints" / "last.safetensors") for run in runs)
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        # statistics are sums over thousands of pixels, ten and more in size; weights are held to 1e-6
        statistic = any(word in name for word in ("running_", "prototypes"))
        tolerance = 2e-6 * max(10.0, float(tensor.abs().max())) if statistic else 1e-6
        if not tensor.numel():  # what only training needed
            continue
        if ".generators." in name:
            tolerance = 1e-5  # the loss is a sum of dozens of passes, with absolute values in it
        if name.startswith("adversary.discriminators."):
            # some see raw logits, which give gradients of a hundred and more
            tolerance = max(tolerance, 5e-6)
        if ".pools." in name:
            tolerance = 1e-3  # stored in float16, where the next number is 5e-4 away
        difference = float((two[name].float() - tensor.float()).abs().max())
        assert difference <= tolerance, name


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
            # a sum in another order may turn the vote of a pixel or two out of 4 x 32 x 32
            counted = "_share" in name or name == "discriminator_accuracy"
            voted = counted or name.startswith("entropy_")
            tolerance = {"abs": 2.5 / 4096} if voted else {"rel": 1e-4, "abs": 1e-6}
            assert found[name] == pytest.approx(value, **tolerance), name


@pytest.mark.slow
def test_two_ranks_write_one_run_folder(runs: tuple[Path, Path]) -> None:
    one, two = (
        {file.relative_to(run / _BY_COMMAND).as_posix() for file in (run / _BY_COMMAND).rglob("*")}
        for run in runs
    )
    assert two == one
    events = (runs[1] / _BY_COMMAND / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in events] == ["started", "finished"]
