"""Layers that napari's own File > Open adds: the view goes to them, as to what the docks open."""

from __future__ import annotations

from typing import Any

from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget

from napari_uda.gui.kit.geometry import METADATA, tag
from napari_uda.gui.kit.namesakes import tell_apart
from napari_uda.gui.kit.opening import Shows, go_to
from napari_uda.gui.kit.panel import Guarded, delay, listen
from napari_uda.gui.kit.placement_question import window_in_use


class Arrivals(Guarded, QObject):
    """Waits until all layers of one go are there. What a script opens before events run is the script's to arrange.

    Of those in a window the first one acts. `arrived(layers, sentence)` of all says what is seen then.
    """

    arrived = Signal(list, str)

    def __init__(self, viewer: ViewerModel, part: QWidget) -> None:
        super().__init__(part)
        self._part = part
        self._viewer = viewer
        self._new: list[Layer] = []
        self._rest = delay(self, 0, self._on_rest)
        for number, layer in enumerate(viewer.layers):  # opened before any dock
            # a slice of napari's list would be a list that listens to its layers, too
            tell_apart(list(viewer.layers)[:number], layer)
        listen(self, self._on_inserted, viewer.layers.events.inserted)

    def _on_inserted(self, event: Any) -> None:
        layer = event.value
        by_reader = layer.source.reader_plugin == METADATA and "affine" in tag(layer)
        if by_reader:
            tell_apart(self._viewer.layers, layer)
        if by_reader and window_in_use() is not None:
            self._new.append(layer)
            self._rest.start()

    def _on_rest(self) -> None:
        new = [layer for layer in self._new if layer in self._viewer.layers]
        self._new = []
        all_here = self._part.window().findChildren(Arrivals)
        if not new or all_here[0] is not self:
            return
        shows = Shows(new)
        go_to(self._viewer, [layer for layer in self._viewer.layers if layer not in new], shows)
        self._viewer.status = shows.sentence()
        for one in all_here:
            one.arrived.emit(new, shows.sentence())
