"""The question which of the two placements of a NIfTI file is the right one."""

from __future__ import annotations

from qtpy.QtCore import QThread
from qtpy.QtWidgets import QApplication, QMainWindow, QMessageBox

from napari_uda.data.nifti import Placement, TwoPlacements


def someone_is_there() -> bool:
    """Whether a user works in a window, for which events must be running: no script waits for an answer."""
    application = QApplication.instance()
    if not isinstance(application, QApplication) or QThread.currentThread().loopLevel() == 0:
        return False
    return QThread.currentThread() is application.thread() and any(
        isinstance(window, QMainWindow) and window.isVisible()
        for window in application.topLevelWidgets()
    )


def ask_placement(found: TwoPlacements) -> Placement | None:
    """Ask the user which placement to trust; None when the file shall not be opened.

    Args:
        found: what the reader said.
    """
    box = QMessageBox(QApplication.activeWindow())
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
