"""The picture of a vote on reliability: views of a slice, what they say, and what follows (SE-ASA Fig. 4)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_uda.core.errors import InputError
from napari_uda.core.structure_colours import RELIABLE_COLOUR, UNRELIABLE_COLOUR
from napari_uda.evaluation.slice_picture import as_seen
from napari_uda.experiments.picture_parts import (
    TILE_INCHES,
    Slice,
    choose_slice,
    drawn_cases,
    drawn_rows,
    new_figure,
    save_figure,
    show_slice,
    structure_colours,
    write_legend,
)
from napari_uda.experiments.results import DataResults
from napari_uda.experiments.spec import Pictures
from napari_uda.inference.loaded import LoadedRun
from napari_uda.inference.slice_views import AGREES, DISAGREES, SliceViews, slice_views
from napari_uda.run.run import Run


def draw_views(found: DataResults, wanted: Pictures, out: Path) -> Path | None:
    """The vote on reliability in one slice of each case (SE-ASA Fig. 4).

    First line of a case: the slice as the network sees it, its random transforms, its Fourier views.
    Second line: prediction, reference, where most views of each kind agree or disagree with the
    prediction, the intersection of agreement and the union of disagreement. Views and masks are those of
    `predict`, with the weights and the amplitude bank of `voting_run`; a run is asked whether it voted
    in training or not.

    Returns:
        The file; None when no run that could be asked is left.
    """
    voting = voting_run(found, wanted)
    if voting is None:
        return None
    name, run = voting
    # here, which may be a machine without the device that the run was trained on
    loaded, cases = LoadedRun.load(run, "auto"), drawn_cases(found, wanted)
    cuts = [choose_slice(case, loaded.run.facts.grid.axis) for case in cases]
    asked = [
        slice_views(loaded, case.read_image(), cut.index)
        for case, cut in zip(cases, cuts, strict=True)
    ]
    count = max(1 + 2 * len(asked[0].random), 6)
    figure = new_figure(TILE_INCHES * count, (TILE_INCHES + 0.25) * 2 * len(cases) + 0.7)
    tiles = figure.subplots(2 * len(cases), count, squeeze=False)
    for tile in tiles.flat:
        tile.axis("off")
    for lines, case, cut, views in zip(
        tiles.reshape(-1, 2, count), cases, cuts, asked, strict=True
    ):
        _draw_views_of_slice(lines, replace(cut, image=as_seen(views.image)), views, found)
        lines[0, 0].set_ylabel(f"{case.name}\nslice {cut.index}", fontsize=7)
        lines[1, 0].set_ylabel(f"reliable:\n{100 * views.reliable.mean():.1f} %", fontsize=7)
    figure.suptitle(f"{found.data.name}: views and their vote, {name}", fontsize=8)
    write_legend(figure, found, {"agree": RELIABLE_COLOUR, "disagree": UNRELIABLE_COLOUR})
    return save_figure(figure, out)


def _draw_views_of_slice(lines: Any, cut: Slice, views: SliceViews, found: DataResults) -> None:
    """Fill two lines of tiles."""
    trust = {AGREES: RELIABLE_COLOUR, DISAGREES: UNRELIABLE_COLOUR}
    colours = structure_colours(found)
    images = [("image", views.image)]
    for kind, made in (("random", views.random), ("Fourier", views.fourier)):
        images += [(f"{kind} {number}", view) for number, view in enumerate(made, start=1)]
    for tile, (title, image) in zip(lines[0], images, strict=False):
        # one window for all, or a change of brightness would not be seen
        show_slice(tile, replace(cut, image=as_seen(image)), None, {}, window=(-1, 1))
        tile.set_title(title, fontsize=7)
        tile.axis("on")
    masks = (
        ("prediction", as_seen(views.labels), colours),
        ("reference", cut.reference, colours),
        ("vote of the\nrandom views", as_seen(views.random_vote), trust),
        ("vote of the\nFourier views", as_seen(views.fourier_vote), trust),
        ("reliable:\nboth agree", as_seen(AGREES * views.reliable), trust),
        ("unreliable:\neither disagrees", as_seen(DISAGREES * views.unreliable), trust),
    )
    for tile, (title, mask, shown) in zip(lines[1], masks, strict=False):
        show_slice(tile, cut, mask, shown, window=(-1, 1))
        tile.set_title(title, fontsize=7)
        tile.axis("on")


def voting_run(found: DataResults, wanted: Pictures) -> tuple[str, Run] | None:
    """Name and run of the last drawn row that voted while it trained, else of the last one with weights."""
    runs: list[tuple[str, Run]] = []
    for name, predictions in drawn_rows(found, wanted):
        with suppress(InputError):  # the row that sees no image, or weights that were removed
            run = Run.open(predictions.parent)
            run.weights_file()
            runs.append((name, run))
    voted = [each for each in runs if any("reliable_share" in line for line in each[1].metrics())]
    return next(reversed(voted or runs), None)
