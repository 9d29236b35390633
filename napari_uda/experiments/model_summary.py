"""What a trained run is, in a few lines for somebody who is to choose one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from napari_uda.core.errors import InputError
from napari_uda.experiments.gap_recovered import share_of_gap
from napari_uda.methods.registry import method_class, translating_methods
from napari_uda.run.checkpoint import check_weights, newest
from napari_uda.run.run import Run


def describe_model(path: Path) -> str:
    """What a model is, line by line.

    First method, modalities, steps and date; then the structures; what the method was told of the
    target's labels, if it was told anything; and the share of the gap that it recovers, if it is a run of
    a benchmark whose tables know it.

    Raises:
        InputError: if the folder is no trained run, or its weights cannot be read.
    """
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


def describe_translator(path: Path) -> str:
    """`describe_model` of a run with generators.

    Raises:
        InputError: if the folder is no trained run or has no generators.
    """
    text = describe_model(path)
    name = Run.open(path).config.method.name
    if not method_class(name).translates:
        raise InputError(
            f"{path} was trained with {name}, which has no generators; "
            f"choose a run of {translating_methods()}"
        )
    return text


def _steps(run: Run) -> str:
    pair = newest(run.checkpoints)
    done, wanted = pair[0] if pair else run.config.steps, run.config.steps
    return f"{done} steps" if done == wanted else f"{done} of {wanted} steps"


def _dotted(parts: Iterable[str]) -> str:
    return " · ".join(part for part in parts if part)
