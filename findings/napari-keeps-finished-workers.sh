#!/usr/bin/env bash
# napari 0.9.2: a worker that has finished, and every array that its function holds, stays in memory.
#
# One would guess: once `create_worker`'s worker has finished and nobody holds it, it is freed with the arrays of its
#   function.
# What happens: napari notes every worker in its list of tasks, for the question that it asks when somebody closes it,
#   and does not take it out when the work is done. A volume that a worker was given is kept as long as the window
#   lives. superqt's `create_worker`, on which napari's stands, frees it.
# Seen (napari 0.9.2, superqt 0.9.0, PyQt6 6.11.0, Python 3.11, Linux):
#   superqt's create_worker: the volume is kept: False
#   napari's create_worker: the volume is kept: True
# Needs the system libraries of Qt 6 (libegl1 and libgl1 on Debian), no display.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet \
    napari==0.9.2 superqt==0.9.0 numpy==2.4.6 QtPy==2.4.3 PyQt6==6.11.0 PyQt6-Qt6==6.11.2
cd "$folder"
HOME=$folder NAPARI_CONFIG=$folder/napari.yaml QT_API=pyqt6 QT_QPA_PLATFORM=offscreen \
    venv/bin/python -W ignore - 2>errors.txt <<'PYTHON' || { cat errors.txt >&2; exit 1; }
import gc
import time
import weakref

import napari
import numpy as np
from napari.qt import threading as napari_threads
from qtpy.QtCore import QCoreApplication, QEvent
from qtpy.QtWidgets import QApplication
from superqt import utils as superqt_threads

print("napari", napari.__version__)
viewer = napari.Viewer(show=False)
application = QApplication.instance()


def settle(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        application.processEvents()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    gc.collect()


def mean_of(create_worker):
    """Compute the mean of a volume in a worker; a weak reference to the volume."""
    volume = np.zeros((20, 100, 100))
    done = []
    worker = create_worker(volume.mean, _start_thread=False)
    worker.finished.connect(lambda: done.append(True))
    worker.start()
    until = time.monotonic() + 30
    while not done:
        assert time.monotonic() < until
        application.processEvents()
    return weakref.ref(volume)


kept = {}
for name, threads in (("superqt", superqt_threads), ("napari", napari_threads)):
    volume = mean_of(threads.create_worker)
    settle(1)
    kept[name] = volume() is not None
    print(f"{name}'s create_worker: the volume is kept: {kept[name]}")
viewer.close()
assert kept == {"superqt": False, "napari": True}, "napari frees finished workers now"
PYTHON
