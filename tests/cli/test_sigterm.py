"""SIGTERM is Ctrl-C in every command from its first moment, while its libraries are imported, too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from napari_uda.cli.terminal import stop_on_signal
from napari_uda.core.interrupts import (
    Interrupt,
    interrupt_came,
    let_sigterm_end_windows,
    sigterm_as_interrupt,
)

pytestmark = [
    pytest.mark.slow,  # each signal goes to a process of its own
    pytest.mark.skipif(os.name != "posix", reason="sends signals"),
]
BOTH = [signal.SIGINT, signal.SIGTERM]

AT_IMPORT = """
import runpy, signal, sys
number, name, way, *sys.argv = int(sys.argv[1]), sys.argv[2], sys.argv[3], *sys.argv[3:]


class Finder:
    def find_spec(self, module, path=None, target=None):
        if module != name:
            return None
        sys.meta_path.remove(self)
        try:
            exec("signal.raise_signal(number)", globals())  # as dataclasses are made
        except BaseException:
            if way == "raised":
                raise
            if way == "converted":
                raise SystemError("error return without exception set")
        return None


sys.meta_path.insert(0, Finder())
runpy.run_module("napari_uda", run_name="__main__", alter_sys=True)
"""


def at_import(number: int, module: str, way: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A command to which a signal comes while it imports a module."""
    return subprocess.run(
        [sys.executable, "-c", AT_IMPORT, str(number), module, way, *words],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("number", BOTH)
@pytest.mark.parametrize(
    ("module", "way"),
    [
        ("napari_uda.cli.dispatch", "raised"),
        ("napari_uda.cli.commands", "raised"),
        ("napari_uda.evaluation.report", "raised"),
        ("numpy", "converted"),
    ],
)
def test_a_signal_during_imports_is_an_interrupt(
    number: int, module: str, way: str, tmp_path: Path
) -> None:
    words = ("evaluate", "predictions", "labels", "--out", str(tmp_path / "out"))
    done = at_import(number, module, way, *words)
    assert done.stderr == "napari-uda: interrupted before the work was done\n"
    assert (done.returncode, done.stdout) == (130, "")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_while_the_process_ends_leaves_its_exit_code(number: int) -> None:
    """It died by the signal, after all its work: neither 0 nor the 130 of an interrupt."""
    script = (
        "import atexit, signal; from napari_uda.cli import main; "
        f"atexit.register(signal.raise_signal, {int(number)}); main()"
    )
    command = [sys.executable, "-c", script, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in BOTH}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", BOTH)
def test_both_signals_raise_the_same_and_handlers_come_back(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in BOTH]
    with sigterm_as_interrupt():
        assert not interrupt_came()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert interrupt_came()
    assert [signal.getsignal(each) for each in BOTH] == before


@pytest.mark.usefixtures("handlers")
def test_sigterm_interrupts_a_background_job_whose_sigint_is_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with sigterm_as_interrupt():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupt):
            signal.raise_signal(signal.SIGTERM)
        let_sigterm_end_windows()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.usefixtures("handlers")
def test_sigterm_does_what_sigint_does_while_a_window_is_open() -> None:
    told = []
    with sigterm_as_interrupt():
        signal.signal(signal.SIGINT, lambda number, _: told.append(number))  # napari's own
        signal.raise_signal(signal.SIGTERM)
        let_sigterm_end_windows()
        signal.raise_signal(signal.SIGTERM)
    assert told == [signal.SIGINT] * 2


@pytest.mark.usefixtures("handlers")
def test_an_ignored_sigterm_stays_ignored() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with sigterm_as_interrupt():
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.usefixtures("handlers")
def test_an_interrupt_that_was_swallowed_stops_the_work() -> None:
    with sigterm_as_interrupt():
        with stop_on_signal() as stop:
            assert not stop.is_set()
        with pytest.raises(Interrupt):
            signal.raise_signal(signal.SIGTERM)
        with stop_on_signal() as stop:
            assert stop.is_set()


def test_another_thread_leaves_signals_alone() -> None:
    seen = []

    def look() -> None:
        with sigterm_as_interrupt():
            seen.append([signal.getsignal(each) for each in BOTH])

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [[signal.getsignal(each) for each in BOTH]]


def test_a_cell_of_a_benchmark_minds_signals_while_it_imports(tmp_path: Path) -> None:
    """It went by the signal, and left no word; here it goes on to the job, which is not there."""
    script = AT_IMPORT.replace('"napari_uda", run', '"napari_uda.experiments.cell_process", run')
    words = [str(int(signal.SIGTERM)), "napari_uda.experiments.cells", "raised"]
    done = subprocess.run(
        [sys.executable, "-c", script, *words, str(tmp_path / "job.json")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "job.json" in done.stderr
    assert done.returncode == 1
