"""The package in examples/new_method, installed as a user installs it, for child processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "examples" / "new_method"
NAME = "translated_self_training"
PACKAGE = "uda-self-training"
SMALL_METHOD: dict[str, Any] = {
    "segmentor_optimizer": {"kind": "adam", "lr": 1e-3},
    "translator": {
        "generator": {"width": 4, "blocks": 1},
        "discriminator_width": 4,
        "pool_size": 3,
    },
    "translation_steps": 2,
    "threshold_every": 2,
    "threshold_slices": 5,
}


def install_new_method(folder: Path) -> dict[str, str]:
    """Install the package into `folder`; returns the environment of processes that shall see it.

    It is built from a copy, so that no build folder is left in the example, and without a network.
    """
    copy = shutil.copytree(SOURCE, folder / "source")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    python("-m", "pip", "install", "-q", *options, "--target", folder / "site", copy)
    # an editable napari_uda stays where this process has it
    path = [folder / "site", ROOT, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}


def python(*arguments: object, environment: dict[str, str] | None = None, code: int = 0) -> str:
    """What a Python process says on both of its outputs; it must end with `code`."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=600,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == code, said[-6000:]
    return said
