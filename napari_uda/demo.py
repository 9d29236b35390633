"""The demo: adapt the sample CT to the sample MR, score the networks on unseen MR, show the result."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_uda import api
from napari_uda.core.errors import InputError
from napari_uda.core.leftovers import is_own_name
from napari_uda.data.folder import DataFolder
from napari_uda.run.folder import RunFolder
from napari_uda.run.run import Run

if TYPE_CHECKING:
    from napari_uda.evaluation.report import Scores
    from napari_uda.run.config import RunConfig

_AUGMENTED = {"augment": {"intensity": "gin_ipa"}}
ROWS: Mapping[str, tuple[str, Mapping[str, Any], str]] = {
    "source_only": ("source_only", {}, ""),
    # what augmentation shows is harder to learn, and se_asa wants a network that is sure of the source
    "source_only_augmented": ("source_only", {**_AUGMENTED, "steps": 900}, ""),
    "se_asa": ("se_asa", _AUGMENTED, "source_only_augmented"),
    "target_supervised": ("target_supervised", {}, ""),
}
"""Row of the table and name of its run: method, settings beyond the recipe's, run it starts from."""
_CONTENTS = {"data", "runs", "scores.txt", "viewer.png"}
_UNSEEN = 2
"""MR subjects that no network trains on."""


def run_demo(
    out: Path, *, drive: Callable[[Run, str], None], with_viewer: bool
) -> dict[str, Scores]:
    """Train, predict, score and show; an interrupted demo goes on, a finished one is shown again.

    Args:
        out: new folder for everything.
        drive: trains a run and shows its progress: `drive(run, title)`.
        with_viewer: whether napari opens at the end, or a screenshot is saved without a display.

    Returns:
        Scores on the unseen MR subjects by row.

    Raises:
        InputError: if `out` holds something else than an earlier demo, or napari is missing.
    """
    from napari_uda.evaluation.report import evaluate_folders
    from napari_uda.inference.loaded import LoadedRun
    from napari_uda.inference.predict import predict

    out = out.absolute()
    there = {item.name for item in out.iterdir()} if out.exists() else set()
    if {name for name in there if not is_own_name(name)} - _CONTENTS:
        raise InputError(
            f"{out} holds files that are not from the demo; choose another folder with --out"
        )
    if with_viewer and find_spec("napari") is None:
        raise InputError("napari is not installed; install napari_uda[all], or add --no-viewer")
    samples = Path(str(resources.files("napari_uda") / "sample_data"))
    training, unseen = _split_subjects(samples / "mr", out / "data")
    scores = {}
    data = {"source": str(samples / "ct"), "target": str(training)}
    for name, (method, settings, start) in ROWS.items():
        init = {"init": str(out / "runs" / start)} if start else {}
        config = api.build_config(method, recipe="demo", data=data, **settings, **init)
        drive(_run(out / "runs" / name, config), name)
        loaded = LoadedRun.load(out / "runs" / name)
        run = loaded.run
        for case in DataFolder.open(unseen).cases:
            predict(loaded, case.image).save(run.predictions)
        scores[name] = evaluate_folders(run.predictions, unseen / "labels")
        scores[name].write(run.path)
    _say(_table(scores))
    (out / "scores.txt").write_text(_table(scores) + "\n", encoding="utf-8")
    if with_viewer:
        first = DataFolder.open(unseen).cases[0]
        _show(out, first.image, sorted((out / "runs/se_asa/predictions").glob(f"{first.name}_*")))
    return scores


def _run(path: Path, config: RunConfig) -> Run:
    """A new run, or the one an earlier demo began: it goes on where it stopped."""
    if not RunFolder(path).config_file.exists():
        return Run.create(path, config)
    run = Run.open(path)
    if run.config != config:
        raise InputError(
            f"{path} was made with other settings; remove the folder of the demo, or choose another one with --out"
        )
    return run


def _split_subjects(folder: Path, out: Path) -> tuple[Path, Path]:
    """Copies of the MR sample as two data folders: subjects to adapt to, subjects to score on."""
    cases = DataFolder.open(folder).cases
    parts = {"mr": cases[:-_UNSEEN], "mr_unseen": cases[-_UNSEEN:]}
    for name, part in parts.items():
        for kind in ("images", "labels"):
            (out / name / kind).mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "dataset.json", out / name)
        for case in part:
            shutil.copy(case.image, out / name / "images")
            if case.label is not None:
                shutil.copy(case.label, out / name / "labels")
    return out / "mr", out / "mr_unseen"


def _table(scores: dict[str, Scores]) -> str:
    """Dice and ASSD per structure, a row per method."""
    names = list(next(iter(scores.values())).means("dice"))
    lines = [
        f"{_UNSEEN} unseen MR phantoms: Dice (0 to 1) / ASSD (mm), mean over subjects",
        f"{'':<22}" + "".join(f"{name:>16}" for name in names),
    ]
    for row, score in scores.items():
        dice, assd = score.means("dice"), score.means("assd_mm")
        cells = (f"{dice[name]:.2f} / {assd[name]:5.1f}" for name in names)
        lines.append(f"{row:<22}" + "".join(f"{cell:>16}" for cell in cells))
    return "\n".join(lines)


def _show(out: Path, image: Path, results: list[Path]) -> None:
    """Open the viewer; without a display draw it under Xvfb and say where the picture is."""
    command = [sys.executable, "-P", "-m", "napari_uda", "show", str(image), *map(str, results)]
    has_display = sys.platform != "linux" or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    if has_display:
        _say("napari opens now; close its window to end the demo.")
        subprocess.run(command, check=True)
        return
    xvfb = shutil.which("xvfb-run")
    if xvfb is None:
        _say("There is no display to open napari on; install the package xvfb for a screenshot.")
        return
    picture = out / "viewer.png"
    screen = ["-a", "-s", "-screen 0 1600x1000x24"]
    subprocess.run([xvfb, *screen, *command, "--screenshot", str(picture)], check=True)
    _say(f"There is no display, so napari was drawn under Xvfb; the picture is {picture}.")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
