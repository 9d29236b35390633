"""The models a dock offers: the shipped one, those used before, and run folders beside the user.

Segment offers every run, Translate those with generators.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QSettings

from napari_uda.core.errors import InputError
from napari_uda.core.files import is_folder
from napari_uda.experiments.gap_recovered import share_of_gap
from napari_uda.gui.samples import MODEL, SAMPLES
from napari_uda.gui.worker import load_torch

if TYPE_CHECKING:
    from napari_uda.run.run import Run

_RECENT = "segment/recent_models"
_MOST_RECENT = 5
_MOST_FOUND = 10


def known_models() -> list[tuple[str, Path]]:
    """Title and run folder of every model to offer; the shipped one first."""
    from napari_uda.run.run import Run

    found: list[tuple[str, Path]] = []
    if MODEL in Run.list(SAMPLES):
        found.append(("Shipped model (cardiac phantom)", MODEL))
    runs = Run.list(Path("runs"))[:_MOST_FOUND] if is_folder("runs") else []
    seen = {path for _, path in found}
    for path in (*recent_models(), *(run.resolve() for run in runs)):
        if path not in seen:
            seen.add(path)
            found.append((title_of(path), path))
    return found


def recent_models() -> list[Path]:
    """Run folders the user chose before and that still exist, newest first."""
    stored = _settings().value(_RECENT) or []
    paths = [stored] if isinstance(stored, str) else list(stored)
    return [Path(path) for path in paths if is_folder(path)]


def remember_model(path: Path) -> None:
    """Put a run folder at the head of the recent ones."""
    if path == MODEL:
        return
    kept = [other for other in recent_models() if other != path]
    _settings().setValue(_RECENT, [str(one) for one in [path, *kept][:_MOST_RECENT]])


def describe_model(path: Path) -> str:
    """What a model is, line by line. Slow at first: loads torch.

    First method, modalities, steps and date; then the structures; what the method was told of the
    target's labels, if it was told anything; and the share of the gap that it recovers, if it is a run of
    a benchmark whose tables know it.

    Raises:
        InputError: if the folder is no trained run, or its weights cannot be read.
    """
    load_torch()
    from napari_uda.run.checkpoint import check_weights
    from napari_uda.run.run import Run

    run = Run.open(path)
    check_weights(run.weights_file())
    facts, config = run.facts, run.config
    source, target = config.data.source, config.data.target
    domains = [
        modality or folder.name
        for modality, folder in ((facts.source_modality, source), (facts.target_modality, target))
        if folder is not None
    ]
    first = [config.method.name, " → ".join(domains), _steps(run), run.created[:10]]
    lines = [_dotted(first), _dotted(facts.labels)]
    if facts.target_supervision != "none":
        lines.append(f"It was told of the target's labels: {facts.target_supervision}")
    share = share_of_gap(path)
    if share:
        lines.append(share)
    return "\n".join(lines)


def known_translators() -> list[tuple[str, Path, str]]:
    """Title, run folder and description of every run to offer that has generators.

    Slow, and it loads torch: for a worker thread.
    """
    found = []
    for title, path in known_models():
        with suppress(InputError):  # what is no run, or another kind of run, is not offered
            found.append((title, path, describe_translator(path)))
    return found


def describe_translator(path: Path) -> str:
    """`describe_model` of a run with generators. Slow at first: loads torch.

    Raises:
        InputError: if the folder is no trained run or has no generators.
    """
    text = describe_model(path)
    from napari_uda.players.translator import TranslatorConfig
    from napari_uda.run.run import Run

    method = Run.open(path).config.method
    if not isinstance(getattr(method, "translator", None), TranslatorConfig):
        raise InputError(
            f"{path} was trained with {method.name}, which has no generators; "
            "choose a run of cyclegan or attent"
        )
    return text


def _steps(run: Run) -> str:
    from napari_uda.run.checkpoint import newest

    pair = newest(run.checkpoints)
    done, wanted = pair[0] if pair else run.config.steps, run.config.steps
    return f"{done} steps" if done == wanted else f"{done} of {wanted} steps"


def _dotted(parts: Iterable[str]) -> str:
    return " · ".join(part for part in parts if part)


def title_of(path: Path) -> str:
    """How a run folder is listed."""
    return f"{path.name} ({path.parent.name})"


def _settings() -> QSettings:
    return QSettings("napari_uda", "napari_uda")
