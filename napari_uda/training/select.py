"""Which of several trained runs to take for some images, told without any label of theirs."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napari_uda.core.errors import Cancelled, InputError
from napari_uda.core.notebook import shown_progress
from napari_uda.data.folder import find_cases
from napari_uda.inference.loaded import LoadedRun
from napari_uda.run import checkpoint
from napari_uda.run.history import VALIDATION
from napari_uda.run.run import Run, each_run
from napari_uda.training.volume_score import PARTS, Part, VolumeScore, mean_of, score_volume

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

_WEIGHTS = (checkpoint.WEIGHTS, checkpoint.BEST, checkpoint.PREVIOUS_WEIGHTS, checkpoint.START)


class NoImagesError(InputError):
    """Runs that name no images to be chosen for, or different ones: only their user knows which are meant."""


@dataclass(frozen=True)
class Candidate:
    """A run, or one of its checkpoints, and what was told of every volume.

    Attributes:
        run: the run folder, or packed run.
        weights: file of the checkpoint; "" where it is the one that predicts.
        source_dice: Dice of held-out source cases, as the run logged it last; NaN where it did not.
        volumes: by name of the case.
    """

    run: Path
    weights: str
    source_dice: float
    volumes: dict[str, VolumeScore]

    @property
    def name(self) -> str:
        """Of the run, and of the checkpoint."""
        return f"{self.run} ({self.weights})" if self.weights else str(self.run)

    @property
    def score(self) -> float:
        """Mean over the volumes."""
        return self.mean("score")

    def mean(self, what: Part | Literal["score"]) -> float:
        """Mean of a score over the volumes."""
        return mean_of(self.volumes.values(), what)


@dataclass(frozen=True)
class Selection:
    """Candidates, the best one first."""

    candidates: tuple[Candidate, ...]

    @property
    def choice(self) -> Candidate:
        """The one to take."""
        return self.candidates[0]

    def rows(self) -> list[dict[str, str | float]]:
        """A row per candidate: its run and weights, the score and its parts, and Dice of held-out source cases."""
        return [
            {
                "run": str(one.run),
                **({"weights": one.weights} if one.weights else {}),
                "score": one.score,
                **{part: one.mean(part) for part in PARTS},
                "source Dice": one.source_dice,
            }
            for one in self.candidates
        ]

    def __str__(self) -> str:
        return self.reason

    @property
    def reason(self) -> str:
        """Why, in one sentence."""
        best = self.choice
        numbers = ", ".join(f"{part} {best.mean(part):.2f}" for part in PARTS)
        if len(self.candidates) == 1:
            return f"{best.name} is the only one ({numbers})"
        second = self.candidates[1]
        if second.score == best.score:
            return f"{best.name} and {second.name} have the same score, {best.score:.3f} ({numbers}); take either"
        return (
            f"{best.name} has the highest score, {best.score:.3f} ({numbers}); the next is {second.name} with "
            f"{second.score:.3f}"
        )


def select(
    runs: Sequence[Run | str | os.PathLike[str]],
    data: str | os.PathLike[str] | None = None,
    *,
    checkpoints: bool = False,
    device: str = "auto",
    on_progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
) -> Selection:
    """Rank trained runs for some images; no label of these is read.

    Args:
        runs: run folders, or opened runs, that segment the same structures.
        data: folder of images, with or without labels; the target of the runs when left out.
        checkpoints: rank all weights that each run holds, and not only those that predict.
        device: cpu, cuda, ...; auto takes the first GPU when there is one.
        on_progress: called with volumes done and volumes in all; a notebook shows a bar where it is left out.
        stop: when set, `Cancelled` is raised before the next volume.

    Returns:
        The candidates, best first.

    Raises:
        NoImagesError: when it is not known for which images.
        InputError: for folders that are no trained runs, runs that segment other structures than the first, or
            images that cannot be read.
        Cancelled: when `stop` was set.
    """
    opened = [one if isinstance(one, Run) else Run.open(one) for one in each_run(runs)]
    if not opened:
        raise InputError("no run given to choose from; name at least one run folder")
    _check_structures(opened)
    cases = find_cases([_folder(opened, data)])[0].cases
    files = [(run, file) for run in opened for file in _weights_of(run, checkpoints)]
    candidates = [
        Candidate(run.place, file.name if checkpoints else "", _source_dice(run), {})
        for run, file in files
    ]
    loaded = [LoadedRun.load(run, device, weights=file) for run, file in files]
    with shown_progress("select", "volume", on_progress) as report:
        for number, case in enumerate(cases, start=1):
            image = case.read_image()
            for candidate, network in zip(candidates, loaded, strict=True):
                if stop is not None and stop.is_set():
                    raise Cancelled
                candidate.volumes[case.name] = score_volume(network, image)
            if report is not None:
                report(number, len(cases))
    return Selection(tuple(sorted(candidates, key=lambda one: -one.score)))


def _folder(runs: Sequence[Run], data: str | os.PathLike[str] | None) -> Path:
    """Where the images are."""
    if data is not None:
        return Path(data)
    named = [run.data_folder(run.config.data.target) for run in runs if run.config.data.target]
    folders = {folder.resolve() for folder in named}
    if len(folders) != 1:
        which = (
            "none of the runs names a target" if not folders else "the runs have different targets"
        )
        raise NoImagesError(
            f"{which}; give the folder of the images that they are to be chosen for with --data"
        )
    return folders.pop()


def _check_structures(runs: Sequence[Run]) -> None:
    first = runs[0]
    for run in runs[1:]:
        if run.labels != first.labels:
            raise InputError(
                f"{run.place} segments {', '.join(run.labels)}, and {first.place} {', '.join(first.labels)}; give "
                "runs that segment the same structures with the same label values"
            )


def _weights_of(run: Run, checkpoints: bool) -> list[Path]:
    if not checkpoints:
        return [run.weights_file()]
    found = [run.checkpoints / name for name in _WEIGHTS]
    return [file for file in found if file.exists()] or [run.weights_file()]


def _source_dice(run: Run) -> float:
    """The Dice of held-out source cases that the run logged last."""
    return next(
        (float(m[VALIDATION]) for m in reversed(list(run.metrics())) if VALIDATION in m), math.nan
    )
