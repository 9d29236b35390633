"""Dock `Data`: opens a user's files; a tab for each way of looking at what is there."""

import napari.viewer
from qtpy.QtWidgets import QTabWidget, QWidget

from napari_uda.gui.kit.dock import Dock, share_place
from napari_uda.gui.kit.help import help_button
from napari_uda.gui.kit.layout import column
from napari_uda.gui.kit.open_bar import OpenBar
from napari_uda.gui.kit.widgets import compact, named

_HELP = (
    "Opens your own volumes, DICOM folders and folders of cases.",
    "A tab for each way of looking at what is there.",
    "What is opened here is offered as image or labels in the other docks.",
)


class DataDock(Dock):
    """Open files, and see what is open."""

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = napari_viewer
        share_place(self)
        self.open_bar = OpenBar(napari_viewer)
        self.tabs = compact(named(QTabWidget(), "data_tabs"))
        self.tabs.setCornerWidget(help_button(self, "Data", _HELP))
        column(self.open_bar, (self.tabs, 1), of=self)
