"""Heartbeat: how long the event loop of a window lets a timer wait, by phase of what goes on."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from qtpy.QtCore import QEventLoop, Qt, QTimer

BEAT_MS = 5
LONG_MS = 50.0
_POLL_MS = 20


@dataclass(frozen=True)
class Row:
    """One line of the table, in milliseconds.

    Attributes:
        what: what was measured.
        median, p95, p99, worst: of the values.
        own: the longest time that the thread of the window computed between two beats, or the median per
            slice; what the others have beyond it, it waited: for other threads, other processes, the
            display. NaN when not measured.
        count: number of values.
        verdict: the goal, and whether it is met.
    """

    what: str
    median: float
    p95: float
    p99: float
    worst: float
    own: float
    count: int
    verdict: str = ""

    @staticmethod
    def of(what: str, values_ms: Sequence[float], verdict: str = "", own: float = np.nan) -> Row:
        """Statistics of some values."""
        p95, p99 = np.percentile(values_ms, (95, 99))
        median, worst = statistics.median(values_ms), max(values_ms)
        return Row(what, median, float(p95), float(p99), worst, own, len(values_ms), verdict)


class Heartbeat:
    """A timer that fires every few milliseconds; each gap counts for the phase in which it ended."""

    def __init__(self, phase: Callable[[], str]) -> None:
        """Begin to beat.

        Args:
            phase: names what goes on now; gaps in phases without a name are left out.
        """
        self._phase = phase
        self._beats: dict[str, list[tuple[float, float]]] = {}  # gap, computed; ms
        self._last = time.perf_counter(), time.thread_time()
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(BEAT_MS)
        self._timer.timeout.connect(self._on_beat)
        self._timer.start()

    def stop(self) -> None:
        """Beat no more."""
        self._timer.stop()

    def rows(self, *, steady: Sequence[str] = ()) -> list[Row]:
        """One row per phase, in order.

        Args:
            steady: the phases that the goal is for.
        """
        rows = []
        for phase, beats in self._beats.items():
            gaps = [gap for gap, _ in beats]
            row = Row.of(phase, gaps, own=max(own for _, own in beats))
            verdict = ""
            if phase in steady:
                met = row.p99 <= LONG_MS and row.worst <= 4 * LONG_MS
                verdict = f"p99 <= 50, max <= 200: {'met' if met else 'MISSED'}"
            rows.append(Row(**{**vars(row), "verdict": verdict}))
        return rows

    def _on_beat(self) -> None:
        now = time.perf_counter(), time.thread_time()
        gap, own = ((new - old) * 1e3 for new, old in zip(now, self._last, strict=True))
        self._last = now
        phase = self._phase()
        if phase:
            self._beats.setdefault(phase, []).append((gap, own))


def live(seconds: float) -> None:
    """Let the window live for a while."""
    end = time.perf_counter() + seconds
    live_until(lambda: time.perf_counter() >= end)


def live_until(ready: Callable[[], bool], seconds: float = 180.0) -> None:
    """Let the window live in a loop of Qt's own until something is true."""
    loop, end = QEventLoop(), time.perf_counter() + seconds

    def look() -> None:
        if ready() or time.perf_counter() > end:
            loop.quit()

    timer = QTimer()
    timer.timeout.connect(look)
    timer.start(_POLL_MS)
    loop.exec()
    timer.stop()
    if not ready():
        raise TimeoutError("the window did not get there")
