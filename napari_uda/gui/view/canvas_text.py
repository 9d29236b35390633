"""Letters on the four sides of napari's canvas, and a line in its corner: napari's own text overlays."""

from __future__ import annotations

from napari.components import ViewerModel
from napari.components.overlays import TextOverlay

from napari_uda.gui.view.sides import Sides

_POSITIONS = {
    "left": "middle_left",
    "right": "middle_right",
    "top": "top_center",
    "bottom": "bottom_center",
    "line": "bottom_left",
}
_LETTER_POINTS, _LINE_POINTS = 16.0, 10.0
_PREFIX = "napari_uda_"


class CanvasText:
    """Texts that are wanted, and the overlays that show them.

    Making an overlay takes napari some 50 ms, so `step` makes one at a time; to change a text is quick.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._overlays: dict[str, TextOverlay] = {}
        self._wanted = dict.fromkeys(_POSITIONS, "")

    def want_sides(self, sides: Sides | None) -> None:
        """Letters to be shown; None for none."""
        for side in ("left", "right", "top", "bottom"):
            self._wanted[side] = "" if sides is None else getattr(sides, side)

    def want_line(self, text: str) -> None:
        """Lines in the lower left corner: whose image, which slice, its window; "" for none."""
        self._wanted["line"] = text

    def change(self) -> None:
        """Change what is there already, which is quick."""
        for name, overlay in self._overlays.items():
            text = self._wanted[name]
            if text and overlay.text != text:
                overlay.text = text
            if overlay.visible != bool(text):
                overlay.visible = bool(text)

    def step(self) -> bool:
        """Change what is there already, and make one overlay that is missing; False if none is missing."""
        self.change()
        missing = [name for name in _POSITIONS if self._wanted[name] and name not in self._overlays]
        for name in missing[:1]:
            self._make(name)
        return len(missing) > 1

    def remove(self) -> None:
        """Take all overlays off the canvas."""
        self._wanted = dict.fromkeys(_POSITIONS, "")
        for name in self._overlays:
            self._viewer.canvas.overlays.pop(_PREFIX + name, None)
        self._overlays = {}

    def _make(self, name: str) -> None:
        overlay = TextOverlay(
            position=_POSITIONS[name],
            text=self._wanted[name],
            font_size=_LINE_POINTS if name == "line" else _LETTER_POINTS,
            visible=True,
        )
        self._overlays[name] = overlay
        self._viewer.canvas.overlays[_PREFIX + name] = overlay
