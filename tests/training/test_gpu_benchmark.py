"""The benchmark of graphics cards runs on a CPU, too, where it finds both sides the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from napari_uda.methods.registry import METHODS

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.mark.slow
def test_all_of_it_works_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    command = [sys.executable, str(BENCHMARK), "--device", "cpu", "--tiny", "--out", str(out)]
    command += ["--minutes", "60"]  # however slow the machine is
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text(encoding="utf-8"))

    assert [row["method"] for row in found["parity"]] == [n for n in METHODS for _ in range(2)]
    assert all(row["losses"] == 0 and row["weights"] == 0 for row in found["parity"])
    assert [row["precision"] for row in found["se_asa"]] == ["fp32", "bf16"]
    assert all(row["ours ms"] > 0 and row["naive ms"] > 0 for row in found["se_asa"])
    assert [row["vote"] for row in found["predict"]] == [False, True]
    assert [row["same weights"] for row in found["resume"]] == [True] * 4
    *predicted, trained = found["memory"]
    assert [row["batch halved"] for row in predicted] == [1, 2, 4, 4]
    assert "one slice does not fit into memory" in predicted[-1]["end"]
    assert trained["end"].startswith("memory ran out after step 2 of RUN")
    assert trained["end"].endswith("then resumed with step 3 to 4")
    presets = {row["preset"]: row for row in found["presets"]}
    assert {"se_asa_ct2mr", "attent_paper", "sfda_paper_cardiac"} <= presets.keys()
    left_out = {
        name for name, row in presets.items() if row.get("left out", "").startswith("is for")
    }
    assert left_out == {"sfda_paper_prostate", "sfda_paper_spine"}
    assert all(row["bf16 ms"] > 0 for name, row in presets.items() if name not in left_out)
    assert "| se_asa_ct2mr | se_asa |" in done.stdout
