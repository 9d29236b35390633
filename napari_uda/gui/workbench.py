"""Workbench: one entry that opens all docks as a bar of tabs at the right edge, Data in front."""

import importlib

import napari.viewer
from qtpy.QtCore import QObject, QTimer
from qtpy.QtGui import QShowEvent

from napari_uda.gui.kit.jobs import background
from napari_uda.gui.kit.panel import Guarded, Panel
from napari_uda.gui.kit.place import DOCKS as DOCKS
from napari_uda.gui.kit.place import bring_tab_to_front, built, in_front, wait_for


def open_workbench(viewer: napari.viewer.Viewer) -> None:
    """Open Data, in front, and a tab for every other dock that is not open; what is behind a tab is built later."""
    _Opening(viewer)


class Workbench(Panel):
    """What napari opens for the entry; it opens the docks and leaves, for it shows nothing itself."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self._opened = False

    def showEvent(self, event: QShowEvent) -> None:
        """Open the docks once napari has finished with this one."""
        super().showEvent(event)
        if not self._opened:
            self._opened = True
            QTimer.singleShot(0, self._on_shown)

    def _on_shown(self) -> None:
        open_workbench(self.viewer)
        self.viewer.window.remove_dock_widget(self)
        self.deleteLater()


class _Opening(Guarded, QObject):
    """Opens Data, and tabs for the others a turn later; it lives in the window, which may close in between."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer.window.main_menu.window())
        self._viewer = viewer
        self._waiting = list(DOCKS)
        self._front, self._left, self._built = DOCKS[0], in_front(viewer), built(viewer)
        background(self, "Open the workbench", _load, lambda _: self._on_turn(), quiet=True)

    def _on_turn(self) -> None:
        window, name = self._viewer.window, self._waiting.pop(0)
        seen = in_front(self._viewer)
        for chosen in built(self._viewer) - self._built:  # by the user, and not drawn yet
            seen = chosen
        if seen != self._left:  # the user chose another one meanwhile
            self._front = seen or self._front
        if name == DOCKS[0]:
            window.add_plugin_dock_widget("napari_uda", name)[0].show()
        else:
            wait_for(self._viewer, name)
        bring_tab_to_front(self._viewer, self._front)  # before the new one is drawn
        self._left, self._built = in_front(self._viewer), built(self._viewer)
        if self._waiting:
            QTimer.singleShot(0, self._on_turn)
        else:
            self.deleteLater()


def _load() -> None:
    """In the thread: the docks' modules, whose import takes longer than a turn of the event loop may."""
    for name in DOCKS:
        importlib.import_module(f"napari_uda.gui.{name.lower()}.dock")
    importlib.import_module("napari_uda.evaluation.protocols")  # Score lists them when it is made
