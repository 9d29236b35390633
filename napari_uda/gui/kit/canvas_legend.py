"""What the colours on the canvas stand for: a line in its colour for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Layer
from qtpy.QtCore import QObject

from napari_uda.core.colours import hexadecimal
from napari_uda.core.structure_colours import full_name
from napari_uda.gui.kit.canvas_words import ASIDE, SIGNS, CanvasWords, Line
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.hatching import HATCHED, HATCHING
from napari_uda.gui.kit.layers import STRUCTURES, structure_names
from napari_uda.gui.kit.panel import Following, Guarded, delay, listen

if TYPE_CHECKING:
    from napari.components import ViewerModel

_LEGEND = "legend"
_SETTLING_MS = 60
_MOST_LINES = 16
_POINTS = 9.0
_OF_METHODS = "labels."  # previews that a method has of its own
_AREA, _OUTLINE, _STRIPES = tuple(SIGNS)


class CanvasLegend(Guarded, QObject):
    """Follows the layers that are seen and how they are drawn.

    Attributes:
        is_wanted: whether there is one.
    """

    def __init__(self, viewer: ViewerModel, words: CanvasWords, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer, self._words = viewer, words
        self.is_wanted = True
        self._settle = delay(self, _SETTLING_MS, self._on_settled)
        self._looks = Following(self, self._on_look_changed)
        listen(self, self._on_layers, viewer.layers.events.inserted, viewer.layers.events.removed)
        self._on_layers()

    @property
    def is_settled(self) -> bool:
        """Whether the canvas shows what it should."""
        return not self._settle.isActive()

    def want(self, wanted: bool) -> None:
        """Show the legend, or none."""
        self.is_wanted = wanted
        self._settle.start()

    def leave(self) -> None:
        """Take it off the canvas, which shows none from now on."""
        self._looks.follow()
        self.is_wanted = False
        self._words.write(_LEGEND, (), ASIDE)

    def _on_layers(self) -> None:
        self._looks.follow(*(event for layer in self._viewer.layers for event in _events(layer)))
        self._settle.start()

    def _on_look_changed(self) -> None:
        self._settle.start()

    def _on_settled(self) -> None:
        lines = list(legend_lines(list(self._viewer.layers))) if self.is_wanted else []
        if len(lines) > _MOST_LINES:
            more = len(lines) - _MOST_LINES + 1
            lines[_MOST_LINES - 1 :] = [Line(f"and {more} more")]
        self._words.write(_LEGEND, lines, ASIDE, _POINTS)


def legend_lines(layers: list[Layer]) -> Iterator[Line]:
    """The lines that explain the layers that are seen: structures once, then what the maps' colours mean.

    Args:
        layers: of the viewer, the lowest first.
    """
    shown = [layer for layer in layers if layer.visible]
    structures = [one for one in shown if isinstance(one, Labels) and _is_of_structures(one)]
    lines: dict[Line, str] = {}  # without its sign, and the sign
    for layer in structures:
        for line in _of_labels(layer):
            plain = line._replace(text=line.text[1:])
            if lines.get(plain) != _AREA:  # an outline beside it is told of below
                lines[plain] = line.text[0]
    for layer in shown:
        if _role(layer) == "surface" and _is_plain(layer.colormap.colors):
            name = full_name(str(tag(layer).get("structure", layer.name)))
            lines[Line(f" {name}", hexadecimal(layer.colormap.colors[-1][:3]))] = _AREA
    for line, sign in lines.items():
        yield line._replace(text=sign + line.text)
    yield from _how_drawn(structures)
    under = {tag(layer)["of"] for layer in shown if _role(layer) == HATCHING}
    for layer in shown:
        if isinstance(layer, Labels) and _role(layer) in HATCHED:
            hatched = HATCHED[_role(layer)] if str(layer.unique_id) in under else None
            yield from _of_labels(layer, hatched)
        elif _role(layer) == "contours":
            yield from _of_labels(layer)
        elif _role(layer) == "entropy":
            yield Line("entropy: 0 sure to 1 undecided")


def _how_drawn(structures: list[Labels]) -> Iterator[Line]:
    """What tells a prediction and a reference from each other, which have the same colours."""
    drawn: dict[str, dict[str, None]] = {}
    outlines = [layer.opacity for layer in structures if layer.contour]
    for layer in structures:
        faint = layer.contour and layer.opacity < max(outlines)
        how = "fainter outline" if faint else "outline" if layer.contour else "area"
        drawn.setdefault(how, {})[_role(layer)] = None
    if len(drawn) > 1 or len({role for roles in drawn.values() for role in roles}) > 1:
        for how, of in drawn.items():
            yield Line(f"{how}: {' and '.join(of)}")


def _of_labels(layer: Labels, hatched: int | None = None) -> Iterator[Line]:
    for value, name in structure_names(layer).items():
        colour = layer.get_color(value)
        if colour is not None and colour[3] > 0:  # the legend's eyes hide by a transparent colour
            sign = _STRIPES if value == hatched else _OUTLINE if layer.contour else _AREA
            yield Line(f"{sign} {full_name(name)}", hexadecimal(colour[:3]))


def _is_of_structures(layer: Labels) -> bool:
    return _role(layer) in STRUCTURES or _role(layer).startswith(_OF_METHODS)


def _is_plain(colours: Any) -> bool:
    """Whether a colormap has one colour alone; its name tells nothing, for napari numbers equal ones."""
    return bool((np.asarray(colours) == np.asarray(colours)[0]).all())


def _role(layer: Layer) -> str:
    own = tag(layer)
    return str(own.get("part" if own.get("role") == "preview" else "role", ""))


def _events(layer: Layer) -> list[Any]:
    names = ("visible", "colormap", "contour", "opacity", "features", "metadata")
    return [getattr(layer.events, name) for name in names if hasattr(layer.events, name)]
