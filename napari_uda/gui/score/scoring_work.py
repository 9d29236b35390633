"""Scoring in a worker thread: which layers, and as what they are to be scored while edits go on."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from napari.layers import Image, Labels
from numpy.typing import NDArray

from napari_uda.core.errors import Cancelled
from napari_uda.gui.kit.jobs import Report, reporting
from napari_uda.gui.score.scoring import LayerScores, score_layers

T = TypeVar("T")
_POLL_S = 0.1


@dataclass(frozen=True, eq=False)
class Target:
    """A layer to score, its entropy map, the copy of its labels that follows its edits, and chosen structures."""

    layer: Labels
    entropy: Image | None
    labels: Future[NDArray[Any]] | None = None
    matches: dict[str, str] = field(default_factory=dict)


def score_targets(
    targets: Sequence[Target],
    reference: Labels,
    protocol: str,
    report: Report,
    stop: threading.Event,
) -> list[LayerScores]:
    """The scores of layers against one reference; imports what they are drawn with."""
    results = []
    for done, target in enumerate(targets):
        reporting(report, stop)(done, len(targets))
        labels = None if target.labels is None else wait_for(target.labels, report, stop)
        result = score_layers(
            target.layer, reference, target.entropy, protocol, labels, target.matches
        )
        result.lines(result.coarsest_axis, "dice")  # sorts its slices, which it then remembers
        results.append(result)
    if stop.is_set():
        raise Cancelled
    import napari_uda.gui.score.score_plots  # noqa: F401 - a fifth of a second, not in the main thread

    return results


def wait_for(promised: Future[T], report: Report, stop: threading.Event) -> T:
    """What was promised, unless napari closes or the layer goes meanwhile."""
    while not stop.is_set():
        try:
            return promised.result(_POLL_S)
        except TimeoutError:
            report(0, 1)  # sets `stop` when napari is closing
        except CancelledError:
            break
    raise Cancelled
