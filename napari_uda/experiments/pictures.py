"""Pictures of a benchmark, drawn from its run folders: bars with p-values, and segmentations side by side.

matplotlib is needed only here (extra `tables`); figures are drawn without a display.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from napari_uda.core.errors import InputError
from napari_uda.core.structure_colours import PALETTE, RELIABLE_COLOUR, UNRELIABLE_COLOUR
from napari_uda.data.folder import Case
from napari_uda.experiments.cells import translations
from napari_uda.experiments.picture_parts import (
    TILE_INCHES,
    choose_slice,
    drawn_cases,
    drawn_rows,
    new_figure,
    save_figure,
    show_slice,
    structure_colours,
    write_legend,
    write_titles,
)
from napari_uda.experiments.results import AVERAGE, DataResults
from napari_uda.experiments.spec import Pictures
from napari_uda.experiments.tables import column_title
from napari_uda.experiments.vote_picture import draw_views
from napari_uda.uncertainty.reliability import UNRELIABLE


def check_matplotlib() -> None:
    """Say at once, not after hours of training, that pictures cannot be drawn.

    Raises:
        InputError: without matplotlib.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise InputError(
            "pictures need matplotlib; install napari_uda[tables], or add --no-pictures"
        ) from error


# --- bars (AttENT, Fig. 5) ------------------------------------------------------------------------


@dataclass(frozen=True)
class Bracket:
    """A p-value between two bars.

    Attributes:
        first: index of a bar.
        second: index of another one to its right.
        text: the p-value.
        level: height above the bars, 0 the lowest; brackets of one level do not overlap.
    """

    first: int
    second: int
    text: str
    level: int


def brackets(found: DataResults, column: str, names: Sequence[str], chosen: bool) -> list[Bracket]:
    """Brackets of the tested pairs: those that the spec names, else neighbours only.

    Args:
        found: results of one data set.
        column: the metric.
        names: rows in the order of their bars.
        chosen: whether the spec names the pairs.
    """
    spans = []
    for each in found.comparisons[column]:
        first, second = sorted((names.index(each.first), names.index(each.second)))
        if not chosen and second != first + 1:
            continue
        p = each.paired_holm
        text = each.paired.note.partition(":")[0] if p is None else _p_text(p)
        spans.append((first, second, text))
    levels: list[list[tuple[int, int]]] = []
    placed = []
    for first, second, text in sorted(spans, key=lambda span: (span[1] - span[0], span[0])):
        free = (
            level
            for level, taken in enumerate(levels)
            if all(second <= a or b <= first for a, b in taken)
        )
        level = next(free, len(levels))
        if level == len(levels):
            levels.append([])
        levels[level].append((first, second))
        placed.append(Bracket(first, second, text, level))
    return placed


def draw_bars(found: DataResults, column: str, out: Path, *, chosen: bool = False) -> Path:
    """Averages as bars with the standard deviation over seeds, and Wilcoxon's p (Holm) as brackets."""
    rows = [row for row in found.rows if row.results]
    numbers = [row.number(column, AVERAGE, found.structures) for row in rows]
    factor = 100 if column == "dice" else 1
    means = np.array([0 if math.isnan(n.mean) else factor * n.mean for n in numbers])
    spreads = np.array([0 if math.isnan(n.sd) else factor * n.sd for n in numbers])
    marks = brackets(found, column, [row.name for row in rows], chosen)
    levels = max((mark.level + 1 for mark in marks), default=0)
    figure = new_figure(max(4.0, 1.1 * len(rows) + 1), 4.2 + 0.3 * levels)
    axes = figure.add_subplot()
    colours = [PALETTE[index % len(PALETTE)] for index in range(len(rows))]
    spread = [value if value else math.nan for value in spreads]  # no whisker for a single seed
    axes.bar(range(len(rows)), means, yerr=spread, color=colours, capsize=4, width=0.65)
    top = float((means + spreads).max(initial=0)) or 1.0
    for index, (mean, deviation) in enumerate(zip(means, spreads, strict=True)):
        text = f"{mean:.1f}" if column == "dice" else f"{mean:.2f}"
        axes.text(index, mean + deviation + 0.01 * top, text, ha="center", va="bottom", fontsize=8)
    for mark in marks:
        height = top * (1.13 + 0.09 * mark.level)
        left, right = mark.first + 0.06, mark.second - 0.06
        foot = height - 0.02 * top
        axes.plot([left, left, right, right], [foot, height, height, foot], "k-", linewidth=0.8)
        axes.text((left + right) / 2, height, mark.text, ha="center", va="bottom", fontsize=7)
    axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= 1.05 * top])
    axes.set_ylim(0, top * (1.12 + 0.09 * levels))
    axes.set_xticks(
        range(len(rows)), [row.name for row in rows], rotation=30, ha="right", fontsize=8
    )
    axes.set_ylabel(f"average {column_title(column)}")
    axes.set_title(
        f"{found.data.name}\nbars: mean and sd over seeds; p: Wilcoxon, Holm",
        fontsize=8,
    )
    axes.spines[["top", "right"]].set_visible(False)
    return save_figure(figure, out)


def _p_text(p: float) -> str:
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.4f}"


# --- segmentations side by side -------------------------------------------------------------------


def draw_grid(found: DataResults, wanted: Pictures, out: Path) -> Path:
    """Cases in rows; image, every method's labels and the reference in columns (SE-ASA Fig. 3).

    With a method that translates, the last one's image in the look of the source is the second column
    (AttENT Fig. 4).
    """
    cases, rows = drawn_cases(found, wanted), drawn_rows(found, wanted)
    colours = structure_colours(found)
    looks = [(n, translations(f.parent)) for n, f in rows if translations(f.parent).is_dir()][-1:]
    titles = ["image", *(f"translated\n({name})" for name, _ in looks)]
    titles += [*(name for name, _ in rows), "reference"]
    figure = new_figure(TILE_INCHES * len(titles), TILE_INCHES * len(cases) + 0.7)
    tiles = figure.subplots(len(cases), len(titles), squeeze=False)
    for line, case in zip(tiles, cases, strict=True):
        cut = choose_slice(case)
        show_slice(line[0], cut, None, colours)
        for tile, (_, folder) in zip(line[1:], looks, strict=False):
            image = cut.take(folder / f"{case.name}_translated.nii.gz", labels=False)
            show_slice(tile, replace(cut, image=image), None, colours)
        for tile, (_, folder) in zip(line[1 + len(looks) : -1], rows, strict=True):
            show_slice(
                tile, cut, cut.take(folder / f"{case.name}_labels.nii.gz", labels=True), colours
            )
        show_slice(line[-1], cut, cut.reference, colours)
        line[0].set_ylabel(f"{case.name}\nslice {cut.index}", fontsize=7)
    write_titles(tiles[0], titles)
    write_legend(figure, found)
    return save_figure(figure, out)


def draw_doubt(found: DataResults, case: Case, wanted: Pictures, out: Path) -> Path:
    """One case, a method a row: image, labels, reference, entropy in [0, 1] (SE-ASA Fig. 1).

    Where prediction was asked to vote, reliable and unreliable pixels as well (the outcome of Fig. 4).
    """
    rows = drawn_rows(found, wanted)
    rows = [row for row in rows if (row[1] / f"{case.name}_entropy.nii.gz").exists()]
    cut, colours = choose_slice(case), structure_colours(found)
    maps = [folder / f"{case.name}_reliability.nii.gz" for _, folder in rows]
    votes = [cut.take(file, labels=True) if file.exists() else None for file in maps]
    voted = any(vote is not None and (vote == UNRELIABLE).any() for vote in votes)
    titles = ["image", "labels", "reference", *(["reliability"] if voted else []), "entropy"]
    figure = new_figure(TILE_INCHES * len(titles) + 0.9, TILE_INCHES * max(1, len(rows)) + 0.7)
    tiles = figure.subplots(max(1, len(rows)), len(titles), squeeze=False)
    drawn = None
    for line, (name, folder), vote in zip(tiles, rows, votes, strict=False):
        show_slice(line[0], cut, None, colours)
        show_slice(
            line[1], cut, cut.take(folder / f"{case.name}_labels.nii.gz", labels=True), colours
        )
        show_slice(line[2], cut, cut.reference, colours)
        entropy = cut.take(folder / f"{case.name}_entropy.nii.gz", labels=False)
        drawn = line[-1].imshow(entropy, cmap="inferno", vmin=0, vmax=1, aspect=cut.aspect)
        if voted:
            trust = {1: RELIABLE_COLOUR, UNRELIABLE: UNRELIABLE_COLOUR}
            show_slice(line[3], cut, vote, trust)
        for tile in line:
            tile.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, fontsize=7)
    write_titles(tiles[0], titles)
    if drawn is not None:
        figure.colorbar(drawn, ax=tiles[:, -1].tolist(), shrink=0.8, label="entropy")
    write_legend(figure, found)
    return save_figure(figure, out)


def draw_all(
    results: Sequence[DataResults], wanted: Pictures, out: Path, *, chosen: bool
) -> list[Path]:
    """Every picture of a benchmark.

    Args:
        results: what is finished.
        wanted: cases and rows of the qualitative pictures.
        out: folder for the files.
        chosen: whether the spec names the pairs of rows that are tested.
    """
    files = []
    for found in results:
        if not any(row.results for row in found.rows):
            continue
        name = "".join(c if c.isalnum() else "_" for c in found.data.name)
        for column in found.columns:
            files.append(draw_bars(found, column, out / f"bars_{name}_{column}.png", chosen=chosen))
        files.append(draw_grid(found, wanted, out / f"cases_{name}.png"))
        views = draw_views(found, wanted, out / f"views_{name}.png")
        files += [views] if views is not None else []
        files += [
            draw_doubt(found, case, wanted, out / f"doubt_{name}_{case.name}.png")
            for case in drawn_cases(found, wanted)
        ]
    return files


__all__ = ["check_matplotlib", "draw_all", "draw_bars", "draw_doubt", "draw_grid", "draw_views"]
