#!/usr/bin/env bash
# superqt 0.9.0, on which napari's thread_worker stands: a RuntimeError in a generator worker reaches nobody.
#
# One would guess: an exception in a worker emits `errored`, then `finished`, whatever its class and however the work
#   was written.
# What happens: when the work is a generator, a RuntimeError is taken for a deleted Qt object. One warning is printed;
#   neither `errored` nor `finished` is emitted, and `is_running` stays true for ever, so progress bars stay and buttons
#   stay disabled. Most errors of torch are RuntimeErrors, running out of GPU memory among them. The same error from a
#   plain function is reported, and so is any other class from a generator.
# Seen (superqt 0.9.0, PyQt6 6.11.0, Python 3.11, Linux):
#   function, ValueError: errored finished, running False
#   function, RuntimeError: errored finished, running False
#   generator, ValueError: errored finished, running False
#   generator, RuntimeError: nothing, running True
# Needs the system libraries of Qt 6 (libegl1 and libgl1 on Debian), no display.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet superqt==0.9.0 QtPy==2.4.3 PyQt6==6.11.0 PyQt6-Qt6==6.11.2
cd "$folder"
QT_API=pyqt6 QT_QPA_PLATFORM=offscreen venv/bin/python -W ignore - <<'PYTHON'
import sys
import time
from importlib.metadata import version

from qtpy.QtCore import QCoreApplication, QThreadPool
from superqt.utils import create_worker

print("superqt", version("superqt"))
application = QCoreApplication([])
sys.excepthook = lambda *error: None  # superqt raises it again in the main thread, where PyQt would end the process


def function(error):
    raise error


def generator(error):
    yield 1
    raise error


def heard(work, error):
    told = []
    worker = create_worker(work, error, _start_thread=False)
    worker.errored.connect(lambda _: told.append("errored"))
    worker.finished.connect(lambda: told.append("finished"))
    worker.start()
    assert QThreadPool.globalInstance().waitForDone(30_000)  # the thread has ended, its signals are on the way
    until = time.monotonic() + 1
    while time.monotonic() < until:
        application.processEvents()
    seen = f"{' '.join(told) or 'nothing'}, running {worker.is_running}"
    print(f"{work.__name__}, {type(error).__name__}: {seen}")
    return seen


usual = "errored finished, running False"
assert heard(function, ValueError("bad value")) == usual
assert heard(function, RuntimeError("out of memory")) == usual
assert heard(generator, ValueError("bad value")) == usual
assert heard(generator, RuntimeError("out of memory")) == "nothing, running True", "it is reported now"
PYTHON
