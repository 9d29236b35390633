"""How long training takes is measured on its own steps, and leaves nothing."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

import pytest
import tiny_cases

from napari_uda.core.errors import Cancelled
from napari_uda.run.run import Run
from napari_uda.training import estimate as module
from napari_uda.training.estimate import estimate

NOWHERE = Path("/nowhere")


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.mark.parametrize("method", ["se_asa", "target_supervised"])
def test_the_whole_run_takes_as_many_steps_as_it_has(method: str, tmp_path: Path) -> None:
    config = tiny_cases.small_config(method, NOWHERE, NOWHERE, steps=1000)
    found = estimate(config, tiny_cases.LABELS)
    assert found.steps == 1000
    assert found.step_seconds > 0
    assert found.seconds == 1000 * found.step_seconds
    assert list(tmp_path.glob(".*")) == []


def test_a_run_that_starts_from_another_is_measured_from_it(tiny_run: Run, tmp_path: Path) -> None:
    config = tiny_cases.small_config("sfda", NOWHERE, NOWHERE, steps=7, init=tiny_run.path)
    assert estimate(config, tiny_cases.LABELS).steps == 7


def test_seconds_are_those_of_the_steps_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 50.0, 52.0, 54.0, 56.0])  # a first step of 50 s is no measure
    monkeypatch.setattr(module, "perf_counter", lambda: next(times))
    config = tiny_cases.small_config("source_only", NOWHERE, NOWHERE, steps=10)
    assert estimate(config, tiny_cases.LABELS).step_seconds == 2.0


def test_stop_ends_it(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        estimate(
            tiny_cases.small_config("source_only", NOWHERE, NOWHERE), tiny_cases.LABELS, stop=stop
        )
    assert list(tmp_path.glob(".*")) == []
