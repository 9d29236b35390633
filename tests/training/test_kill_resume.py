"""A real training process that is killed and resumed ends with the weights of one that was not."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmark_scripts import benchmark_script


@pytest.mark.slow
def test_killed_runs_resume_to_identical_weights(
    two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    kills = benchmark_script("kill_resume").run_all(
        *two_domains, tmp_path, kills=2, steps=12, size=32, seed=1
    )
    assert len(kills) == 2  # one in a step, one aimed at a save
    assert all(kill.equal for kill in kills), "weights or training state differ"
    assert all(kill.lines_equal for kill in kills), "logged losses differ"
    assert all(0 <= kill.step <= 12 for kill in kills)
