"""Dock: a widget that ends with its place in the window."""

from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import QWidget

from napari_uda.gui.worker import guarded, running

_leaving: set["Dock"] = set()  # Python must not free them before Qt has told their listeners


class Dock(QWidget):
    """Deletes itself once napari has taken it out of the window; its keys and listeners go with it.

    napari only lets go of a dock that the user closes. Whoever takes it out to put it elsewhere does so
    before the event loop turns again.
    """

    @property
    def is_settled(self) -> bool:
        """Whether nothing that was asked of the dock is still on its way."""
        return not running(self)

    def changeEvent(self, event: QEvent | None) -> None:
        """Notice that the window lets go."""
        super().changeEvent(event)
        if event is None or event.type() != QEvent.Type.ParentChange or self.parent() is not None:
            return
        if self not in _leaving:
            _leaving.add(self)
            self.destroyed.connect(lambda: _leaving.discard(self))
            QTimer.singleShot(0, self._delete_unless_kept)

    def put_back(self) -> None:
        """What a subclass has changed in the viewer and nobody could undo without the dock."""

    @guarded
    def _delete_unless_kept(self) -> None:
        if self.parent() is None:
            self.deleteLater()
            self.put_back()
        else:
            _leaving.discard(self)
