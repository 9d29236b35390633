"""Dock `Data`: opens a user's files; a tab for each way of looking at what is there."""

import napari.viewer
from qtpy.QtWidgets import QTabWidget, QWidget

from napari_uda.gui.data.layer_tree import LayerTree
from napari_uda.gui.kit.dock import Dock, share_place
from napari_uda.gui.kit.layout import column
from napari_uda.gui.kit.open_bar import OpenBar
from napari_uda.gui.kit.widgets import named


class DataDock(Dock):
    """Open files, and see what is open."""

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = napari_viewer
        share_place(self)
        self.open_bar = OpenBar(napari_viewer)
        self.tabs = named(QTabWidget(), "data_tabs")
        self.layer_tree = LayerTree(napari_viewer)
        self.tabs.addTab(self.layer_tree, "On screen")
        column(self.open_bar, (self.tabs, 1), of=self)
