"""Tiny benchmarks for the tests of tables: two directions of blobs, networks that train in a blink."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tiny_cases import SMALL, SMALL_METHOD, merge

from napari_uda.core.small_files import dump_yaml
from napari_uda.experiments.benchmark import Outcome, run_benchmark
from napari_uda.experiments.spec import Spec, read_spec

SETTINGS = {**{k: v for k, v in SMALL.items() if k != "device"}, "method": SMALL_METHOD}
ADVERSARY = {"method": {"adversary": {"width": 4}}}


def tiny_content(domains: tuple[Path, Path], **changes: Any) -> dict[str, Any]:
    """The content of a spec file; `changes` replace whole entries."""
    source, target = domains
    return {
        "name": "Blobs",
        "data": [{"name": "CT to MR", "source": str(source), "target": str(target)}],
        "rows": [
            {"name": "source_only", "method": "source_only"},
            {"name": "advent", "method": "advent", "settings": ADVERSARY},
        ],
        "settings": SETTINGS,
        "steps": 3,
        "device": "cpu",
        **changes,
    }


def write_spec(file: Path, content: dict[str, Any]) -> Path:
    """Write a spec file."""
    file.write_text(dump_yaml(content), encoding="utf-8")
    return file


def tiny_spec(domains: tuple[Path, Path], folder: Path, **changes: Any) -> Spec:
    """The spec as it is read from a file in `folder`."""
    return read_spec(write_spec(folder / "spec.yaml", tiny_content(domains, **changes)))


def run_tiny(spec: Spec, out: Path, **options: Any) -> Outcome:
    """Run a benchmark without pictures."""
    return run_benchmark(spec, out, **{"with_pictures": False, **options})


def events_of_runs(out: Path) -> dict[str, list[str]]:
    """Kinds of events by run folder."""
    return {
        file.parent.name: [json.loads(line)["event"] for line in file.read_text().splitlines()]
        for file in sorted(out.glob("runs/*/events.jsonl"))
    }


__all__ = ["merge", "run_tiny", "tiny_content", "tiny_spec", "write_spec"]
