"""Draw docs/images/floors.svg, the picture of the architecture: `python tools/floor_plan.py`.

The list of floors is the one that tests/test_boundary.py enforces.
"""

from __future__ import annotations

import ast
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "images" / "floors.svg"

ROOMS = {
    "cli": "the commands",
    "gui": "the docks, reader and writer of napari",
    "demo": "make demo",
    "api": "the public functions",
    "experiments": "benchmarks: the papers' tables from one spec",
    "training": "the loop, previews, heartbeat, adaptation to volumes",
    "inference": "predict, translate",
    "run": "the run folder: settings, recipes, weights, state",
    "methods": "one paper per file",
    "players": "networks that learn against each other",
    "uncertainty": "the views of a slice and their vote",
    "evaluation": "scores, protocols, reports",
    "losses": "loss terms",
    "networks": "architectures",
    "convert": "public data sets",
    "phantom": "made-up subjects",
    "data": "volumes, folders, slices, intensities, augmentation",
    "core": "settings, errors, files, seeds, devices",
}
"""Every room in a few words."""
WIDTH, HEIGHT, GAP, MARGIN = 680, 42, 7, 24
COLOURS = {
    "cli": "#ffecb3",
    "gui": "#ffe0b2",
    "demo": "#ffecb3",
    "api": "#ffecb3",
    "methods": "#c5cae9",
    "data": "#d7ccc8",
    "core": "#d7ccc8",
}
WALL_COLOUR = "#e8eaf6"


def floors() -> list[list[str]]:
    """The rooms of each floor, from the roof to the ground, without the package's own modules."""
    source = (ROOT / "tests" / "test_boundary.py").read_text(encoding="utf-8")
    for line in ast.parse(source).body:
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "FLOORS":
            order = list(ROOMS)
            found = [
                sorted((room for room in floor if room in ROOMS), key=order.index)
                for floor in ast.literal_eval(line.value)
            ]
            return [floor for floor in reversed(found) if floor]
    raise ValueError(
        "tests/test_boundary.py has no list FLOORS; name the list here that took its place"
    )


def drawing() -> str:
    """The picture as SVG."""
    step = HEIGHT + GAP
    plan = floors()
    height = len(plan) * step - GAP + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + 4 * MARGIN} {height}" '
        'font-family="Helvetica, Arial, sans-serif">',
        "<title>The folders of napari_uda as floors of a house; an import may only go down</title>",
        '<rect width="100%" height="100%" rx="10" fill="#fff"/>',
    ]
    for level, rooms in enumerate(plan):
        width = (WIDTH - GAP * (len(rooms) - 1)) / len(rooms)
        for place, name in enumerate(rooms):
            parts.append(_room(MARGIN + place * (width + GAP), MARGIN + level * step, width, name))
    parts.append(_arrow(WIDTH + 2 * MARGIN, MARGIN, height - MARGIN))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _room(left: float, top: float, width: float, name: str) -> str:
    middle, colour = left + width / 2, COLOURS.get(name, WALL_COLOUR)
    return (
        f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{HEIGHT}" rx="5" fill="{colour}" '
        'stroke="#5c6bc0" stroke-opacity=".5"/>'
        f'<text x="{middle:.1f}" y="{top + 18}" text-anchor="middle" font-size="15" font-weight="bold" '
        f'fill="#1a237e">{escape(name)}</text>'
        f'<text x="{middle:.1f}" y="{top + 34}" text-anchor="middle" font-size="11.5" fill="#37474f">'
        f"{escape(ROOMS[name])}</text>"
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
