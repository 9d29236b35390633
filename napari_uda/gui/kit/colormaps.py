"""Fixed colours as napari's colour maps."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from types import MappingProxyType

import numpy as np
from napari.utils.colormaps import Colormap, DirectLabelColormap, ensure_colormap

from napari_uda.core.colours import hexadecimal
from napari_uda.core.structure_colours import RELIABLE_COLOUR, UNRELIABLE_COLOUR, structure_colour

RELIABLE, UNRELIABLE = 1, 2
RELIABILITY_NAMES = MappingProxyType({RELIABLE: "reliable", UNRELIABLE: "unreliable"})
"""Values of a reliability map, and what they are called."""
_RELIABILITY = {RELIABLE: f"{RELIABLE_COLOUR}50", UNRELIABLE: UNRELIABLE_COLOUR}
_STRIPES = "#000000"
_CLEAR_ENTROPY = 0.25
DARK = ("#262930", "#F0F1F2")
"""Background and text of napari's dark theme, until the theme in use is known."""


def structure_colormap(
    names: Mapping[int, str],
    hidden: Collection[int] = (),
    colours: Mapping[int, str] = MappingProxyType({}),
) -> DirectLabelColormap:
    """Label colours of structures; background and unnamed values are transparent or palette colours.

    Args:
        names: label value to structure name, without background.
        hidden: label values that are not to be seen.
        colours: label value to `#RRGGBB`, for those that a file colours itself.
    """
    table = {value: structure_colour(name, value) for value, name in names.items()}
    table |= {value: colour for value, colour in colours.items() if value in names}
    table |= dict.fromkeys(hidden, "transparent")
    return _colormap(tuple(table.items()))


def reliability_colormap() -> DirectLabelColormap:
    """Thin blue-green where the network agrees with itself, yellow where it contradicts itself."""
    return _colormap(tuple(_RELIABILITY.items()))


def hatching_colormap() -> DirectLabelColormap:
    """Black stripes: what they lie on shows its own colour between them."""
    return _colormap(((1, _STRIPES),))


@cache
def entropy_colormap(least: float, /) -> Colormap:
    """Inferno that lets the image through where entropy is below 0.25, the more the lower it is.

    The same object for the same value, always given by its place: the cache would hold a default apart.

    Args:
        least: nothing is drawn where entropy is below this; in [0, 1].
    """
    entropy = np.linspace(0, 1, 256)
    colours = np.array(ensure_colormap("inferno").map(entropy))
    colours[:, 3] = np.where(entropy < least, 0, np.clip(entropy / _CLEAR_ENTROPY, 0, 1))
    return Colormap(colours, name="entropy", display_name="entropy")


def contour_colormap(entropies: Sequence[float]) -> DirectLabelColormap:
    """Colours of iso-contours: label `k` is the `k`-th of `entropies`, in the colour of its map."""
    colours = ensure_colormap("inferno").map(np.asarray(entropies, float))
    return _colormap(tuple(enumerate((hexadecimal(one[:3]) for one in colours), start=1)))


def unnamed(values: Iterable[int]) -> dict[int, str]:
    """Names for label values without one."""
    return {int(value): f"label {int(value)}" for value in values if value}


@cache
def _colormap(colours: tuple[tuple[int, str], ...]) -> DirectLabelColormap:
    """Built once per set of colours and shared: changing one is slow in napari."""
    table: dict[int | None, str] = {None: "transparent", 0: "transparent"}
    table.update(dict(colours))
    return DirectLabelColormap(color_dict=table)
