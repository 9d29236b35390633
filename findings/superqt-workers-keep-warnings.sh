#!/usr/bin/env bash
# superqt 0.9.0, on which napari's thread_worker stands: two workers at a time leave the process's warnings with one that ended.
#
# One would guess: when all workers are done, `warnings.showwarning` is what it was before the first one started.
# What happens: a worker puts its own function there and, at its end, what it found at its start. Of two that overlap, the
#   later one finds the first one's function and puts it back when the first one is long gone. From then on every warning of
#   the process goes to signals of a worker that has ended, and no warning is printed.
# Seen (superqt 0.9.0, PyQt6 6.11.0, Python 3.11, Linux):
#   one worker: showwarning as before
#   two workers, the first one ends first: showwarning of a worker that has ended
# Needs the system libraries of Qt 6 (libegl1 and libgl1 on Debian), no display.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet superqt==0.9.0 QtPy==2.4.3 PyQt6==6.11.0 PyQt6-Qt6==6.11.2
cd "$folder"
QT_API=pyqt6 QT_QPA_PLATFORM=offscreen venv/bin/python - <<'PYTHON'
import threading
import warnings
from importlib.metadata import version

from qtpy.QtCore import QCoreApplication, QThreadPool
from superqt.utils import create_worker

print("superqt", version("superqt"))
application = QCoreApplication([])
QThreadPool.globalInstance().setMaxThreadCount(4)
before = warnings.showwarning


def work(began, end):
    began.set()
    assert end.wait(30)


def start():
    began, end = threading.Event(), threading.Event()
    ended = threading.Event()
    worker = create_worker(work, began, end, _start_thread=False)
    run = worker.run

    def watched():
        run()
        ended.set()

    worker.run = watched
    worker.start()
    assert began.wait(30)
    return worker, end, ended


worker, end, ended = start()
end.set()
assert ended.wait(30)
print("one worker: showwarning", "as before" if warnings.showwarning is before else "changed")
assert warnings.showwarning is before

first, second = start(), start()
for _, end, ended in (first, second):
    end.set()
    assert ended.wait(30)
left = warnings.showwarning
print("two workers, the first one ends first: showwarning", "as before" if left is before else "of a worker that has ended")
assert left is not before, "it is put back now"
warnings.showwarning = before
PYTHON
