"""No harm: when an adapted network is given up. Nothing but the target's images is needed to tell.

`adapt` takes a volume's result where the network becomes surer of the structures, and none moves too far. A training
run without source data ends with its own weights where the score by which `select` ranks runs has risen enough.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_uda.data.outcome import Outcome
from napari_uda.data.volume_change import how_far
from napari_uda.methods.registry import METHODS, adapts_alone
from napari_uda.networks.normalisation import evaluating
from napari_uda.run import checkpoint
from napari_uda.run.outline import build_from
from napari_uda.training.volume_score import PARTS, Part, mean_of, score_case

if TYPE_CHECKING:
    from napari_uda.core.runtime import Runtime
    from napari_uda.data.batches import TrainingData
    from napari_uda.data.facts import DataFacts
    from napari_uda.methods.base import Method
    from napari_uda.run.run import Run

logger = logging.getLogger(__name__)

MAX_VOLUME_CHANGE = 4.0
"""Factor by which a structure may grow or shrink, unless it comes nearer to its usual size."""
_MOST_CASES = 20
_NUMBERS: tuple[Literal["score"] | Part, ...] = ("score", *PARTS)


def why_no_change(
    entropy_inside: tuple[float, float],
    volumes_ml: Mapping[str, tuple[float, float]],
    usual_ml: Mapping[str, float],
    *,
    surer_by: float,
    max_volume_change: float = MAX_VOLUME_CHANGE,
) -> str:
    """Why an adapted result is given up, as the end of a sentence; "" where it is taken.

    Args:
        entropy_inside: before and after, of the voxels that either result gives to a structure; NaN without any.
        volumes_ml: structure name to millilitres before and after.
        usual_ml: structure name to what is usual in as much of a body; none in older runs.
        surer_by: share by which the entropy has to fall; 0 asks for no fall.
        max_volume_change: factor by which a structure may move away from what is usual; 0 allows all.
    """
    return too_far(volumes_ml, max_volume_change, usual_ml) or _no_surer(*entropy_inside, surer_by)


def _no_surer(was: float, now: float, share: float) -> str:
    """That the network is not surer of the structures by the share, as a sentence; "" where it is."""
    if not share:
        return ""
    if math.isnan(was):
        return "neither result has a structure"
    if now <= (1 - share) * was:
        return ""
    becomes = f"becomes by less than {share:.0%}" if now < was else "does not become"
    entropies = f"{was:.3f} -> {now:.3f}"
    return f"the network {becomes} surer of the structures (entropy inside them {entropies})"


def too_far(
    volumes_ml: Mapping[str, tuple[float, float]],
    factor: float,
    usual_ml: Mapping[str, float] | None = None,
) -> str:
    """The structure whose volume moved most, as a sentence, if it moved by more than the factor.

    One that moved so far towards what is usual, and not beyond it by as much as it was away, is what a network that
    is far off is adapted for.
    """
    usual_ml = usual_ml or {}
    moves = {
        name: how_far(*pair)
        for name, pair in volumes_ml.items()
        if not (name in usual_ml and _nearer(*pair, usual_ml[name]))
    }
    worst = max(moves, key=lambda name: moves[name], default="")
    if not factor or not worst or moves[worst] <= math.log(factor):
        return ""
    was, now = volumes_ml[worst]
    away = " and away from its usual size" if worst in usual_ml else ""
    return f"{worst} went from {was:.1f} to {now:.1f} mL, more than {factor:g} times{away}"


def _nearer(was: float, now: float, usual: float) -> bool:
    """Whether a volume is less far from the usual one than it was."""
    return how_far(now, usual) < how_far(was, usual)


def usual_ml(facts: DataFacts, height_mm: float) -> dict[str, float]:
    """Volume of each structure in as much of a body, if it had as much of its slices as in the source.

    Args:
        facts: of the run; older ones know no sizes, and nothing is usual then.
        height_mm: of all slices together, across them.
    """
    return {
        name: size.area_mm2 * size.slice_share * height_mm / 1000
        for name, size in facts.sizes.items()
    }


def is_checked(run: Run, facts: DataFacts) -> bool:
    """Whether the end of a run is compared with its start: it adapts to a target alone, and is asked to."""
    config = run.config
    alone = adapts_alone(METHODS[config.method.name], config.method)
    return bool(config.better_by) and alone and not facts.corrected_contents


def why_no_better(was: float, now: float, better_by: float) -> str:
    """Why the end of a run is given up, as the end of a sentence; "" where it is taken.

    Args:
        was: score without labels at the start.
        now: the same at the end.
        better_by: share by which the score has to rise.
    """
    if now > 0 and now >= (1 + better_by) * was:
        return ""
    rises = f"rises by less than {better_by:.0%}" if now > was else "does not rise"
    return f"the score without labels {rises} ({was:.3f} -> {now:.3f})"


def judge_end(run: Run, method: Method[Any], data: TrainingData, runtime: Runtime) -> Outcome:
    """Compare a trained network with the weights that its run kept of its start, by their scores without labels.

    They segment all target cases, or, of more than 20, some that are spread evenly over them.

    Args:
        run: the run, with `checkpoint.START`.
        method: as it is after the last step.
        data: the target's slices, and what is known of the source.
        runtime: device and precision.
    """
    start = build_from(run.config, data.facts)
    start.load_state_dict(checkpoint.load_method_weights(run.checkpoints / checkpoint.START)[0])
    with evaluating(method):
        found = _compare(start.eval().place(runtime.device), method, data, runtime)
    assert found.score is not None  # measured just now
    reason = why_no_better(*found.score, run.config.better_by)
    if reason:
        logger.warning(
            "no change: the run predicts with the weights that it starts from, because %s; train it with "
            "--better-by 0 to take the trained ones all the same",
            reason,
        )
    return found.model_copy(update={"no_change": reason})


def _compare(start: Method[Any], end: Method[Any], data: TrainingData, runtime: Runtime) -> Outcome:
    """The score of both networks, and its parts; means over the cases."""
    store = data.target
    assert store is not None
    cases = np.unique(np.linspace(0, len(store.cases) - 1, _MOST_CASES).round().astype(int))
    with runtime.autocast():
        was, now = (
            [score_case(one, data.facts, store, int(case), runtime.device) for case in cases]
            for one in (start, end)
        )
    return Outcome(**{what: (mean_of(was, what), mean_of(now, what)) for what in _NUMBERS})
