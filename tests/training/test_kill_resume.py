"""A real training process that is killed and resumed ends with the weights of one that was not."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "kill_resume.py"


def _benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kill_resume", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_killed_runs_resume_to_identical_weights(
    two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    kills = _benchmark().run_all(*two_domains, tmp_path, kills=2, steps=12, size=32, seed=1)
    assert len(kills) == 2  # one in a step, one aimed at a save
    assert all(kill.equal for kill in kills), "weights or training state differ"
    assert all(kill.lines_equal for kill in kills), "logged losses differ"
    assert all(0 <= kill.step <= 12 for kill in kills)
