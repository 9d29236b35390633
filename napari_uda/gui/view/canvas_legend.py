"""What the colours on the canvas stand for: a line of napari's own text for each, so that screenshots have them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from napari.components.overlays import TextOverlay
from napari.layers import Labels, Layer
from napari.utils.theme import get_theme
from qtpy.QtCore import QObject, QTimer

from napari_uda.core.structure_colours import full_name
from napari_uda.gui.kit.colormaps import readable
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.hatching import HATCHED, HATCHING
from napari_uda.gui.kit.layers import EDITED, structure_names
from napari_uda.gui.kit.panel import Following, Guarded, delay, listen

if TYPE_CHECKING:
    from napari.components import ViewerModel

_PREFIX = "napari_uda_legend_"
_SETTLING_MS = 60
_MOST_LINES = 16
_POINTS = 9.0
_STRUCTURES = ("prediction", EDITED, "reference")
_WORDS = None
"""The colour of words without one of their own: napari takes one that is seen on its canvas, dark or light."""
_AREA = "■"
_LEAST_CONTRAST = 4.5
"""Of words of normal size, as WCAG 2 asks for (AA)."""


class Line(NamedTuple):
    """A line of the legend, in the colour that it explains; None for words alone."""

    text: str
    colour: str | None


class CanvasLegend(Guarded, QObject):
    """Follows the layers that are seen and how they are drawn, as long as it is wanted.

    Making an overlay takes napari some 50 ms, so that they are made one per turn of the event loop, and reused.
    """

    def __init__(self, viewer: ViewerModel, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._wanted = False
        self._overlays: list[TextOverlay] = []
        self._lines: list[Line] = []
        self._settle = delay(self, _SETTLING_MS, self._on_settled)
        self._write = QTimer(self)
        self._write.setInterval(0)
        self._write.timeout.connect(self._on_write)
        self._looks = Following(self, self._on_look_changed)
        listen(self, self._on_layers, viewer.layers.events.inserted, viewer.layers.events.removed)
        listen(self, self._on_look_changed, viewer.events.theme)
        overlays = self._overlays

        def leave() -> None:
            for number in range(len(overlays)):
                viewer.canvas.overlays.pop(f"{_PREFIX}{number}", None)

        parent.destroyed.connect(leave)
        self._on_layers()

    @property
    def is_settled(self) -> bool:
        """Whether the canvas shows what it should."""
        return not self._settle.isActive() and not self._write.isActive()

    def want(self, wanted: bool) -> None:
        """Show the legend, or none."""
        self._wanted = wanted
        self._settle.start()

    def _on_layers(self) -> None:
        self._looks.follow(*(event for layer in self._viewer.layers for event in _events(layer)))
        self._settle.start()

    def _on_look_changed(self) -> None:
        self._settle.start()

    def _on_settled(self) -> None:
        self._lines = list(legend_lines(list(self._viewer.layers))) if self._wanted else []
        if len(self._lines) > _MOST_LINES:
            more = len(self._lines) - _MOST_LINES + 1
            self._lines[_MOST_LINES - 1 :] = [Line(f"and {more} more", _WORDS)]
        self._write.start()

    def _seen(self, colour: str | None) -> str | None:
        """A colour in which words can be read on the canvas and its boxes; None leaves it to napari."""
        behind = get_theme(self._viewer.theme).canvas.as_hex("long")
        return None if colour is None else readable(colour, behind, _LEAST_CONTRAST)

    def _on_write(self) -> None:
        """Change what is there already, and make one overlay that is missing."""
        for number, overlay in enumerate(self._overlays):
            line = self._lines[number] if number < len(self._lines) else None
            if line is not None and overlay.text != line.text:
                overlay.text = line.text
            if line is not None:
                overlay.color = self._seen(line.colour)
            if overlay.visible != (line is not None):
                overlay.visible = line is not None
        number = len(self._overlays)
        if number >= len(self._lines):
            self._write.stop()
            return
        line = self._lines[number]
        overlay = TextOverlay(
            text=line.text,
            color=self._seen(line.colour),
            position="top_left",
            font_size=_POINTS,
            visible=True,
        )
        self._overlays.append(overlay)
        self._viewer.canvas.overlays[f"{_PREFIX}{number}"] = overlay


def legend_lines(layers: list[Layer]) -> Iterator[Line]:
    """The lines that explain the layers that are seen: structures once, then what the maps' colours mean.

    Args:
        layers: of the viewer, the lowest first.
    """
    shown = [layer for layer in layers if layer.visible]
    structures = [one for one in shown if isinstance(one, Labels) and _role(one) in _STRUCTURES]
    lines: dict[Line, str] = {}  # without its sign, and the sign
    for layer in structures:
        for line in _of_labels(layer):
            plain = line._replace(text=line.text[1:])
            if lines.get(plain) != _AREA:  # an outline beside it is told of below
                lines[plain] = line.text[0]
    for layer in shown:
        if _role(layer) == "surface" and _is_plain(layer.colormap.colors):
            name = full_name(str(tag(layer).get("structure", layer.name)))
            lines[Line(f" {name}", _hex(layer.colormap.colors[-1]))] = _AREA
    for line, sign in lines.items():
        yield line._replace(text=sign + line.text)
    if len({bool(layer.contour) for layer in structures}) > 1:
        for layer in structures:
            drawn = "outline" if layer.contour else "area"
            yield Line(f"{drawn}: {_role(layer)}", _WORDS)
    under = {tag(layer)["of"] for layer in shown if _role(layer) == HATCHING}
    for layer in shown:
        if isinstance(layer, Labels) and _role(layer) in HATCHED:
            hatched = HATCHED[_role(layer)] if str(layer.unique_id) in under else None
            yield from _of_labels(layer, hatched)
        elif _role(layer) == "entropy":
            yield Line("colour bar: entropy, 0 sure to 1 undecided", _WORDS)


def _of_labels(layer: Labels, hatched: int | None = None) -> Iterator[Line]:
    for value, name in structure_names(layer).items():
        colour = layer.get_color(value)
        if colour is not None and colour[3] > 0:  # the legend's eyes hide by a transparent colour
            sign = "▨" if value == hatched else "□" if layer.contour else _AREA
            yield Line(f"{sign} {full_name(name)}", _hex(colour))


def _is_plain(colours: Any) -> bool:
    """Whether a colormap has one colour alone; its name tells nothing, for napari numbers equal ones."""
    return bool((np.asarray(colours) == np.asarray(colours)[0]).all())


def _hex(colour: Any) -> str:
    return "#" + "".join(f"{round(float(part) * 255):02X}" for part in np.asarray(colour)[:3])


def _role(layer: Layer) -> str:
    return str(tag(layer).get("role", ""))


def _events(layer: Layer) -> list[Any]:
    names = ("visible", "colormap", "contour", "features", "metadata")
    return [getattr(layer.events, name) for name in names if hasattr(layer.events, name)]
