"""Files and folders that are dropped on a window: which they are, and on the canvas those of this package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari.components import ViewerModel
from napari.qt import QtViewer
from qtpy.QtCore import QEvent, QMimeData, QObject, Qt
from qtpy.QtGui import QDropEvent
from qtpy.QtWidgets import QApplication, QWidget

from napari_uda.data.session import is_session
from napari_uda.gui.kit.canvas import window_of
from napari_uda.gui.kit.files import is_ours
from napari_uda.gui.kit.panel import Guarded

if TYPE_CHECKING:
    from napari_uda.gui.kit.open_bar import OpenBar

_NAPARI_ASKS = Qt.KeyboardModifier.AltModifier | Qt.KeyboardModifier.ShiftModifier


def paths_of(dropped: QMimeData | None) -> list[Path]:
    """The files and folders of this machine that something dragged stands for; [] when it is anything else."""
    if dropped is None or not dropped.hasUrls():
        return []
    urls = dropped.urls()
    return [Path(url.toLocalFile()) for url in urls] if all(u.isLocalFile() for u in urls) else []


def take_drop(event: QDropEvent) -> None:
    """Say that what was dropped is taken as a copy: a move would let a file manager delete it."""
    event.setDropAction(Qt.DropAction.CopyAction)
    event.accept()


def accept_on_canvas(viewer: ViewerModel) -> None:
    """From now on, open medical volumes that are dropped on the canvas as the docks do; once for a window.

    napari's own way asks for a reader, offers its own first, which cannot read them, and stands still meanwhile.
    """
    window = window_of(viewer)
    for part in window.findChildren(QtViewer) if window is not None else ():
        if part.findChild(CanvasDrops) is None:
            CanvasDrops(part)


class CanvasDrops(Guarded, QObject):
    """Hands volumes to a dock that can open them; everything else, and what comes with Alt or Shift, is napari's."""

    def __init__(self, part: QWidget) -> None:
        super().__init__(part)
        self._part = part
        part.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Look at every drop before napari does."""
        if isinstance(event, QDropEvent) and event.type() == QEvent.Type.Drop:
            paths, bar = paths_of(event.mimeData()), self._bar()
            held = QApplication.keyboardModifiers() & _NAPARI_ASKS
            ours = all(map(is_ours, paths)) or (len(paths) == 1 and is_session(paths[0]))
            if paths and bar is not None and not held and ours:
                take_drop(event)
                bar.open(paths)
                return True
        return False

    def _bar(self) -> OpenBar | None:
        """That of a dock that is seen, else any."""
        from napari_uda.gui.kit.open_bar import OpenBar

        bars = self._part.window().findChildren(OpenBar)
        return max(bars, key=OpenBar.isVisible, default=None)
