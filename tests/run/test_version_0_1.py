"""Run folders of version 0.1, stopped half way by commit 95e2373, still open, predict and go on.

`expected.json` holds what that commit came to in the last step, and how many voxels of each label it
then predicted. Other processors round differently, so numbers are compared, not bits.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_cases import WRITTEN_BY_0_1, stored_run

import napari_uda as uda
from napari_uda.api import iterate
from napari_uda.run.status import RunState, run_status


@pytest.fixture(params=["se_asa", "sfda"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def run(name: str, tmp_path: Path) -> uda.Run:
    return stored_run(name, tmp_path / "stored")


def expected(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        (WRITTEN_BY_0_1 / "expected.json").read_text(encoding="utf-8")
    )
    return content[name]


def test_a_stored_run_goes_on_to_the_same_end(run: uda.Run, name: str) -> None:
    assert run_status(run).state is RunState.STOPPED
    (*_, last) = iterate(run)
    assert last.step == 6
    *_, line = run.metrics()
    wanted = expected(name)["last_step"]
    assert line.keys() - {"seconds"} == wanted.keys()
    for scalar, value in wanted.items():
        assert line[scalar] == pytest.approx(value, rel=1e-3, abs=1e-6), scalar

    image = run.path.parents[1] / "target" / "images" / "target_0.nii.gz"
    prediction = uda.predict(run, image, reliability=True)
    for label, voxels in expected(name)["voxels_per_label"].items():
        assert np.sum(prediction.labels == int(label)) == pytest.approx(voxels, abs=20), label


def test_a_stored_run_predicts_before_it_goes_on(run: uda.Run) -> None:
    image = run.path.parents[1] / "target" / "images" / "target_0.nii.gz"
    prediction = uda.predict(run, image, reliability=True)
    assert prediction.names == {1: "inner", 3: "outer"}
    assert set(np.unique(prediction.reliability)) == {1, 2}
    assert prediction.labels.shape == prediction.entropy.shape == (6, 40, 40)
    assert prediction.fit.verdict in ("fits", "doubtful", "does not fit")
    assert "stored nothing of its training images" in prediction.fit.note
