"""Two processes under torchrun train what one process trains with the doubled batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from napari_uda.api import train
from napari_uda.cli import main

# plain SGD for the discriminators as well: Adam turns the rounding of a gradient near zero into a step
_ADVERSARY = [
    "--method.adversary.discriminator",
    "patch_bn",
    "--method.adversary.width",
    "8",
    "--method.discriminator-optimizer.kind",
    "sgd",
    "--method.discriminator-optimizer.lr",
    "0.01",
]
_METHODS = {
    "source_only": ["--augment.intensity", "gin", "--augment.spatial.rotation-deg", "10"],
    "advent": ["--method.adversary.main-weight", "0.1", *_ADVERSARY],
    "attent": [
        *("--method.adversary.main-weight", "0.1", *_ADVERSARY, "--method.joint"),
        *("--method.translator.generator.width", "4", "--method.translator.generator.blocks", "1"),
        *("--method.translator.discriminator-width", "4", "--method.translator.pool-size", "6"),
        *("--method.translator.generator-optimizer.kind", "sgd"),
        *("--method.translator.discriminator-optimizer.kind", "sgd"),
    ],
    "sfda": [  # its prior compares the mean over the whole batch
        *("--method.segmentor-optimizer.kind", "sgd", "--method.segmentor-optimizer.lr", "0.05"),
    ],
    "se_asa": ["--method.prototype-batches", "2", "--save-every", "2", *_ADVERSARY],
}
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
    return [
        *("train", method, "--data.source", str(source), "--data.target", str(target)),
        *("--run-dir", str(run_dir), "--batch-size", str(batch_size), "--steps", "4"),
        *("--data.size", "32", "--segmentor.width", "4", "--segmentor.depth", "2"),
        *("--log-every", "1", "--device", "cpu", "--init", str(init), *_METHODS[method]),
    ]


def _torchrun(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*(sys.executable, "-m", "torch.distributed.run", "--standalone"), *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=120,
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
    several = [_arguments(m, two_domains, two / m, 2, decided) for m in _METHODS if m != "se_asa"]
    _torchrun(["--nproc-per-node", "2", str(script), json.dumps(several)])
    _torchrun(
        [
            *("--nproc-per-node", "2", "-m", "napari_uda"),
            *_arguments("se_asa", two_domains, two / "se_asa", 2, decided),
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
        # statistics are sums over thousands of pixels, up to 10 in size; weights are held to 1e-6
        statistic = any(word in name for word in ("running_", "prototypes"))
        tolerance = 2e-5 if statistic else 1e-6
        if ".generators." in name:
            tolerance = 1e-5  # the loss is a sum of dozens of passes, with absolute values in it
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
            voted = name == "reliable_share" or name.startswith("entropy_")
            tolerance = {"abs": 2.5 / 4096} if voted else {"rel": 1e-4, "abs": 1e-6}
            assert found[name] == pytest.approx(value, **tolerance), name


@pytest.mark.slow
def test_two_ranks_write_one_run_folder(runs: tuple[Path, Path]) -> None:
    one, two = (
        {file.relative_to(run / "se_asa").as_posix() for file in (run / "se_asa").rglob("*")}
        for run in runs
    )
    assert two == one
    events = (runs[1] / "se_asa" / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in events] == ["started", "finished"]
