"""Draw docs/images/floors.svg, the picture of the architecture: `python tools/floor_plan.py`.

The list of floors below is the list of the page docs/architecture.md; a test compares it with the folders of the package.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "floors.svg"

Room = tuple[str, str]
FLOORS: tuple[tuple[Room, ...], ...] = (
    (("gui", "the docks, reader and writer of napari"),),
    (("api", "train, list"), ("demo", "make demo"), ("cli", "the commands")),
    (("experiments", "the papers' tables from one spec"),),
    (("training", "the loop, previews, heartbeat, adapt"),),
    (("inference", "predict, translate"), ("evaluation", "scores, protocols, reports")),
    (("run", "the run folder: settings, recipes, weights, state"),),
    (("methods", "one paper per file"),),
    (("players", "networks that learn against each other"),),
    (("networks", "architectures"), ("losses", "loss terms"), ("uncertainty", "views, vote")),
    (("data", "volumes, folders, slices, intensities, augmentation"),),
    (("core", "settings, errors, files, seeds, devices"),),
)
"""Rooms and what they hold, from the roof to the ground; an import may only go down."""
ANNEX: tuple[Room, ...] = (("convert", "public data sets"), ("phantom", "made-up subjects"))
"""Rooms that stand on `data` alone and that nobody needs to understand the engine."""

WIDTH, ANNEX_WIDTH, HEIGHT, GAP, MARGIN = 620, 180, 50, 8, 24
COLOURS = {"gui": "#ffe0b2", "methods": "#c5cae9", "core": "#d7ccc8", "data": "#d7ccc8"}
ROOF_COLOUR, WALL_COLOUR, ANNEX_COLOUR = "#ffecb3", "#e8eaf6", "#efebe9"


def drawing() -> str:
    """The picture as SVG."""
    step = HEIGHT + GAP
    total = len(FLOORS) * step - GAP + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + GAP + ANNEX_WIDTH + 4 * MARGIN} {total}" '
        'font-family="Helvetica, Arial, sans-serif">',
        "<title>The folders of napari_uda as floors of a house; an import may only go down</title>",
        '<rect width="100%" height="100%" rx="10" fill="#fff"/>',
    ]
    for level, rooms in enumerate(FLOORS):
        under_annex = level >= len(FLOORS) - 2
        whole = WIDTH + (GAP + ANNEX_WIDTH if under_annex else 0)
        width = (whole - GAP * (len(rooms) - 1)) / len(rooms)
        top = MARGIN + level * step
        for place, (name, what) in enumerate(rooms):
            colour = COLOURS.get(name, ROOF_COLOUR if level < 2 else WALL_COLOUR)
            parts.append(_room(MARGIN + place * (width + GAP), top, width, name, what, colour))
    ground = len(FLOORS) - 2  # the floor of `data`
    for height, (name, what) in enumerate(ANNEX):
        top = MARGIN + (ground - 1 - height) * step
        left = MARGIN + WIDTH + GAP
        parts.append(_room(left, top, ANNEX_WIDTH, name, what, ANNEX_COLOUR))
    parts.append(_arrow(MARGIN + WIDTH + GAP + ANNEX_WIDTH + MARGIN, MARGIN, total - MARGIN))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _room(left: float, top: float, width: float, name: str, what: str, colour: str) -> str:
    middle = left + width / 2
    return (
        f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{HEIGHT}" rx="5" fill="{colour}" '
        'stroke="#5c6bc0" stroke-opacity=".5"/>'
        f'<text x="{middle:.1f}" y="{top + 21}" text-anchor="middle" font-size="15" font-weight="bold" '
        f'fill="#1a237e">{escape(name)}</text>'
        f'<text x="{middle:.1f}" y="{top + 39}" text-anchor="middle" font-size="11.5" fill="#37474f">'
        f"{escape(what)}</text>"
    )


def _arrow(left: float, top: float, bottom: float) -> str:
    middle = (top + bottom) / 2
    return (
        f'<path d="M{left} {top} V{bottom - 8} m-6 -2 l6 10 l6 -10 z" fill="#78909c" stroke="#78909c" stroke-width="2"/>'
        f'<text transform="translate({left + 16} {middle}) rotate(90)" text-anchor="middle" font-size="12" '
        'fill="#546e7a">imports go down</text>'
    )


if __name__ == "__main__":
    PICTURE.write_text(drawing(), encoding="utf-8")
