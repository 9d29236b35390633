"""Dock `Data`: opens a user's files; a tab for each way of looking at what is there."""

from pathlib import Path

import napari.viewer
from qtpy.QtWidgets import QTabWidget

from napari_uda.gui.data.cases import CasesPanel
from napari_uda.gui.data.layer_tree import LayerTree
from napari_uda.gui.data.models_panel import ModelsPanel
from napari_uda.gui.data.session_menu import SessionMenu
from napari_uda.gui.kit.dock import AROUND, Dock
from napari_uda.gui.kit.layout import column
from napari_uda.gui.kit.widgets import compact, named

_HELP = (
    "Opens your own volumes, DICOM folders and folders of cases.",
    "A tab for each way of looking at what is there.",
    "What is opened here is offered as image or labels in the other docks.",
)


class DataDock(Dock):
    """Open files, and see what is open.

    Attributes:
        cases: the tab with the cases of a folder.
        session: saves what is on the screen, and brings it back.
    """

    manual = ("Data", _HELP)
    kept = ("data_tabs",)

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__(napari_viewer)
        self.session = SessionMenu(napari_viewer)
        self.tabs = compact(named(QTabWidget(), "data_tabs"))
        self.cases = CasesPanel(napari_viewer)
        self.tabs.addTab(self.cases, "Cases")
        self.layer_tree = LayerTree(napari_viewer)
        self.tabs.addTab(self.layer_tree, "On screen")
        self.models = ModelsPanel()
        self.tabs.addTab(self.models, "Models")
        self.open_bar.data_folder_found.connect(self._on_data_folder)
        self.open_bar.session_found.connect(self.session.open)
        self.open_bar.add(self.session.button, self.help)
        column(self.open_bar, self.session, (self.tabs, 1), of=self).setContentsMargins(*AROUND)

    @property
    def is_settled(self) -> bool:
        """Whether nothing is being read, and all layers are there."""
        return super().is_settled and self.cases.is_settled and self.session.is_settled

    def _on_data_folder(self, folder: Path, case: str) -> None:
        """List a folder; its first case is read unless it is opened already."""
        self.tabs.setCurrentWidget(self.cases)
        self.cases.open_folder(folder, on_screen=case or None)


def open_dicom(viewer: napari.viewer.Viewer) -> None:
    """File > IO Utilities: the button Open DICOM… of this dock, without napari's question for a reader."""
    _, dock = viewer.window.add_plugin_dock_widget("napari_uda", "Data")
    dock.open_bar.dicom.click()
