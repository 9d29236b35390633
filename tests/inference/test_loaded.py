"""Weights are read once for several volumes, and maps are those of a fresh start."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_uda.cli import main
from napari_uda.core.errors import InputError
from napari_uda.data.folder import DataFolder
from napari_uda.inference import loaded as loaded_module
from napari_uda.inference.loaded import LoadedRun
from napari_uda.inference.predict import predict
from napari_uda.run.run import Run

Domains = tuple[Path, Path]
SHIPPED = Path(__file__).parents[2] / "sample_data" / "model"


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Run folders whose weights were read."""
    seen: list[Path] = []
    read = loaded_module.load_method_weights

    def watched(file: Path) -> object:
        seen.append(file.parents[1])
        return read(file)

    monkeypatch.setattr(loaded_module, "load_method_weights", watched)
    return seen


def test_a_loaded_run_predicts_what_a_run_folder_does(
    tiny_run: Run, two_domains: Domains, loads: list[Path]
) -> None:
    loaded = LoadedRun.load(tiny_run.path, "cpu").for_prediction()
    assert (loaded.device, loaded.bf16) == (torch.device("cpu"), False)
    assert not loaded.method.training
    assert loaded.network is not None
    assert loaded.predict == loaded.network
    assert loaded.network != loaded.method.predict
    assert replace(loaded, network=None).predict == loaded.method.predict
    for case in DataFolder.open(two_domains[1]).cases[:2]:
        again, fresh = predict(loaded, case.image), predict(tiny_run, case.image, device="cpu")
        for role in ("labels", "entropy", "reliability"):
            np.testing.assert_array_equal(getattr(again, role), getattr(fresh, role))
        assert (again.case, again.run, again.names) == (fresh.case, fresh.run, fresh.names)
    assert len(loads) == 3  # once for both volumes, and once for each fresh start


def test_the_command_reads_the_weights_once(
    tiny_run: Run, two_domains: Domains, tmp_path: Path, loads: list[Path]
) -> None:
    main(["predict", str(tiny_run.path), str(two_domains[1]), "--out", str(tmp_path / "out")])
    assert len(list((tmp_path / "out").glob("*_labels.nii.gz"))) == 3
    assert loads == [tiny_run.path]


def test_results_call_a_run_as_its_card_does(tiny_run: Run, tmp_path: Path) -> None:
    assert LoadedRun.load(tiny_run).origin.name == tiny_run.path.name
    run = Run.open(shutil.copytree(tiny_run.path, tmp_path / "model"))
    for text, name in (
        ("purpose: x\n", "model"),
        ("name: '  ct2mr\n  of A '\n", "ct2mr of A"),
        ("name: [1\n", "model"),
    ):
        (run.path / "card.yaml").write_text(text)
        assert LoadedRun.load(run).origin.name == run.name == name
    assert Run.open(SHIPPED).name == "ct2mr"


def test_what_cannot_be_loaded(tmp_path: Path, tiny_run: Run) -> None:
    with pytest.raises(InputError, match="is not a run folder"):
        LoadedRun.of(tmp_path)
    with pytest.raises(InputError, match="device 'moon' cannot be used"):
        LoadedRun.of(tiny_run, "moon")


def test_loading_leaves_the_compiler_of_torch_alone(tiny_run: Run) -> None:
    """It takes a second to import, and torch does so where weights on the device meta are drawn."""
    code = (
        "import sys; from napari_uda.inference.loaded import LoadedRun\n"
        "LoadedRun.load(sys.argv[1], 'cpu').for_prediction('torch')\n"
        "print('torch._dynamo' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tiny_run.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
