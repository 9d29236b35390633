"""Predictions of cases whose corrected labels the run has learnt from: these are never scored."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from napari_uda.core.errors import InputError
from napari_uda.core.files import case_name, is_file
from napari_uda.core.small_files import read_object
from napari_uda.evaluation.inputs import PredictionLike, Scorable

LABEL_ENDINGS = ("_labels", "_rtstruct")
"""What follows the case in the name of labels that `predict` writes."""


def learnt_from(prediction: Scorable) -> str:
    """The corrected case that a prediction is of, "" where it is of none or nobody knows.

    Args:
        prediction: what `evaluate` takes; a file says it in the `<case>.json` beside it.
    """
    if isinstance(prediction, PredictionLike):
        return str(getattr(prediction, "corrected", ""))
    if not isinstance(prediction, (str, os.PathLike)):
        return ""
    path, stem = Path(prediction), case_name(Path(prediction))
    for ending in LABEL_ENDINGS:
        stem = stem.removesuffix(ending)
    beside = path.with_name(f"{stem}.json")
    said = (read_object(beside) or {}).get("corrected") if is_file(beside) else None
    return said if isinstance(said, str) else ""


def refuse_learnt(prediction: Scorable) -> None:
    """Refuse to score a case that the run has learnt from with its corrected labels.

    Raises:
        InputError: naming the case.
    """
    case = learnt_from(prediction)
    if case:
        from napari_uda.data.corrected import left_out  # nibabel comes with it

        raise InputError(f"{left_out([case])}; score other cases")


def without_learnt(
    pairs: Sequence[tuple[str, Path, Path]],
) -> tuple[list[tuple[str, Path, Path]], str]:
    """The pairs of case, prediction and reference that may be scored, and a sentence on the others.

    Raises:
        InputError: if none is left.
    """
    from napari_uda.data.corrected import left_out

    learnt = [case for case, prediction, _ in pairs if learnt_from(prediction)]
    kept = [pair for pair in pairs if pair[0] not in learnt]
    sentence = left_out(learnt) if learnt else ""
    if not kept:
        raise InputError(f"{sentence}, and no other case is there; predict and score other cases")
    return kept, sentence
