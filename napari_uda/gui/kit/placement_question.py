"""The question which of the two placements of a NIfTI file is the right one."""

from __future__ import annotations

from qtpy.QtCore import QThread
from qtpy.QtWidgets import QApplication, QMainWindow, QMessageBox, QWidget

from napari_uda.data.nifti import Placement, TwoPlacements


def window_in_use() -> QMainWindow | None:
    """The window a user works in, for which events must be running: no script waits for an answer."""
    application = QApplication.instance()
    if not isinstance(application, QApplication) or QThread.currentThread().loopLevel() == 0:
        return None
    if QThread.currentThread() is not application.thread():
        return None
    windows = (w for w in application.topLevelWidgets() if isinstance(w, QMainWindow))
    return max(filter(QMainWindow.isVisible, windows), key=QMainWindow.isActiveWindow, default=None)


def ask_placement(found: TwoPlacements, window: QWidget) -> Placement | None:
    """Ask the user of a window which placement to trust; None when the file shall not be opened."""
    box = QMessageBox(window)
    box.setIcon(QMessageBox.Icon.Question)
    box.setWindowTitle("Two placements")
    box.setText(f"{found.file} says twice where it lies, {found.difference}.")
    box.setInformativeText(
        "Choose the placement that its other files are in, and the same one for images and labels."
    )
    sform = box.addButton(f"sform: {found.sform}", QMessageBox.ButtonRole.AcceptRole)
    qform = box.addButton(f"qform: {found.qform}", QMessageBox.ButtonRole.AcceptRole)
    box.addButton(QMessageBox.StandardButton.Cancel)
    box.setDefaultButton(QMessageBox.StandardButton.Cancel)
    box.exec()
    if box.clickedButton() == sform:
        return "sform"
    return "qform" if box.clickedButton() == qform else None
