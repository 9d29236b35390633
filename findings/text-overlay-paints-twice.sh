#!/usr/bin/env bash
# napari 0.9.2: a text on the canvas that changes with the slice makes napari draw every slice twice.
#
# One would guess: a slice and the text of an overlay that are changed one after the other, before anything is drawn, are
#   drawn together.
# What happens: the slice is drawn, and then once more: napari puts overlays into their places at the end of a drawing when
#   one of them has changed, and that asks for another drawing. So whoever writes the slice, the window or the case on the
#   canvas draws twice as often. A text that stays as it is costs no second drawing.
# Seen (napari 0.9.2, vispy 0.17.0, PyQt6 6.11.0, Python 3.11, Linux), drawings of 8 changes:
#   the slice alone: 8
#   the slice and the text of a visible overlay: 16
#   the slice, the overlay is there and keeps its text: 8
# Needs the system libraries of Qt 6 and a display; where there is none, xvfb-run (of the package xvfb on Debian).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet napari==0.9.2 vispy==0.17.0 PyQt6==6.11.0 PyQt6-Qt6==6.11.2 QtPy==2.4.3 numpy==2.4.6
cd "$folder"
run=(venv/bin/python)
if [ -z "${DISPLAY:-}" ]; then run=(xvfb-run --auto-servernum venv/bin/python); fi
HOME=$folder NAPARI_CONFIG=$folder/napari.yaml QT_API=pyqt6 QT_QPA_PLATFORM=xcb "${run[@]}" - <<'PYTHON'
import time

import napari
import numpy as np
from napari.components.overlays import TextOverlay
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QApplication, QOpenGLWidget

print("napari", napari.__version__)


class Drawings(QObject):
    count = 0

    def eventFilter(self, watched, event):
        self.count += event.type() == QEvent.Type.Paint
        return False


def settle():
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        QApplication.processEvents()


viewer = napari.Viewer()
viewer.add_image(np.random.default_rng(0).random((20, 32, 32)))
text = viewer.canvas.overlays["text"] = TextOverlay(text="slice 0", visible=False)
canvas = viewer.window.main_menu.window().findChild(QOpenGLWidget)
for _ in range(4):
    settle()
drawings = Drawings()
canvas.installEventFilter(drawings)


def drawn(with_text):
    settle()
    before = drawings.count
    for index in range(1, 9):
        viewer.dims.set_current_step(0, index)
        if with_text:
            text.text = f"slice {index}"
        settle()
    viewer.dims.set_current_step(0, 0)
    settle()
    return drawings.count - before - 1


alone = drawn(False)
text.visible = True
changed, same = drawn(True), drawn(False)
print("the slice alone:", alone)
print("the slice and the text of a visible overlay:", changed)
print("the slice, the overlay is there and keeps its text:", same)
canvas.removeEventFilter(drawings)
viewer.close()
assert alone == same == 8, "slices are drawn otherwise now"
assert changed == 16, "slice and text are drawn together now"
PYTHON
