#!/usr/bin/env bash
# napari 0.9.2: a dock that was closed gets no closeEvent and is not deleted.
#
# One would guess: when a user closes a plugin's dock, or a script takes it out with `remove_dock_widget`, the widget
#   gets Qt's closeEvent or is destroyed, so that it can stop its work and drop its listeners.
# What happens: it is hidden and taken out of the window, and nothing else. Its keys, timers and listeners to the
#   viewer live on. Even when the whole viewer is closed there is no closeEvent.
# Seen (napari 0.9.2, PyQt6 6.11.0, Python 3.11, Linux):
#   remove_dock_widget: hideEvent; still listening to the viewer: True
#   the dock's own close button: hideEvent; still listening to the viewer: True
#   viewer.close: hideEvent destroyed
# Needs the system libraries of Qt 6 (libegl1 and libgl1 on Debian), no display.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet napari==0.9.2 numpy==2.4.6 QtPy==2.4.3 PyQt6==6.11.0 PyQt6-Qt6==6.11.2
cd "$folder"
HOME=$folder NAPARI_CONFIG=$folder/napari.yaml QT_API=pyqt6 QT_QPA_PLATFORM=offscreen \
    venv/bin/python -W ignore - 2>errors.txt <<'PYTHON' || { cat errors.txt >&2; exit 1; }
import napari
from qtpy.QtCore import QCoreApplication, QEvent
from qtpy.QtWidgets import QAbstractButton, QApplication, QWidget

print("napari", napari.__version__)
viewer = napari.Viewer(show=True)
application = QApplication.instance()


class Panel(QWidget):
    def __init__(self):
        super().__init__()
        self.told, self.heard = told, heard = [], []
        self.destroyed.connect(lambda: told.append("destroyed"))
        viewer.dims.events.ndisplay.connect(lambda: heard.append(1))

    def closeEvent(self, event):
        self.told.append("closeEvent")

    def hideEvent(self, event):
        self.told.append("hideEvent")


def settle():
    for _ in range(5):
        application.processEvents()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def docked(name):
    panel = Panel()
    dock = viewer.window.add_dock_widget(panel, name=name)
    settle()
    panel.told.clear()
    return panel, dock


def ended(text, panel):
    settle()
    viewer.dims.ndisplay = 5 - viewer.dims.ndisplay
    seen = f"{' '.join(panel.told)}; still listening to the viewer: {bool(panel.heard)}"
    print(f"{text}: {seen}")
    return seen


def close_button(dock):
    bar = dock.titleBarWidget()
    return next(b for b in bar.findChildren(QAbstractButton) if "close" in b.objectName().lower())


panel, dock = docked("removed by a script")
viewer.window.remove_dock_widget(dock)
removed = ended("remove_dock_widget", panel)

panel, dock = docked("closed by a user")
close_button(dock).click()
closed = ended("the dock's own close button", panel)

panel, dock = docked("open until the end")
told = panel.told
viewer.close()
settle()
print("viewer.close:", *told)

assert removed == closed == "hideEvent; still listening to the viewer: True", "docks are told of their end now"
assert told == ["hideEvent", "destroyed"]
PYTHON
