"""Cancel, open and close, and rearrange layers for as long as it takes to find what is left behind.

    tools/with-display .venv/bin/python benchmarks/endurance.py [--quick] [--seed 0] [--part cancel|docks|layers]

Drives a real viewer with the docks on the sample data, in three parts:

* 220 jobs are cancelled by their button, each at a random moment of its time. The answer is what a person
  would see: from the moment of the click, until the dock says so and the window is free again; where a question
  comes first, until the question, or from there on if that is longer. Then nothing may be left: no process,
  thread, layer, file or object, and no memory.
* All docks are opened and closed again 50 times, and bare widgets as often, to see what napari itself keeps.
* Layers are deleted, renamed, moved, copied and painted in random order while docks show results and jobs run:
  no exception may come of it. Sentences that tell a user what is missing are no exceptions.

Prints one table of goals; exit code 1 when one is missed. Settings, runs and journals of the user are not touched.
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import gc
import logging
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

CANCELS = {
    "train": 30,
    "check": 10,
    "segment": 40,
    "batch": 20,
    "adapt": 40,
    "translate": 40,
    "score": 40,
}
QUICK = {"train": 2, "check": 2, "segment": 5, "batch": 3, "adapt": 2, "translate": 5, "score": 5}
ANSWER_MS = 100.0
CANCEL_KIB, ROUND_KIB = 100.0, 200.0  # growth per cancel, and per round beyond that of bare docks
DOCKS = ("Data", "Train", "Segment", "Translate", "Score", "View")
_HELD = ("_Task", "_Worker")
_ARENA_MAX = -8  # of glibc's malloc.h
LIMIT_SECONDS = 600
"""As long as nothing goes on: then all threads are printed, and it ends. The whole takes as long as the machine needs."""
TINY = {
    "segmentor": {"name": "unet", "width": 4, "depth": 2},
    "data": {"size": 64},
    "batch_size": 2,
}


# -- the event loop --------------------------------------------------------------------------------


def wait(seconds: float) -> None:
    """Let the window live for a while, in a real event loop: only there Qt deletes what is to be deleted."""
    from qtpy.QtCore import QEventLoop, QTimer

    loop = QEventLoop()
    QTimer.singleShot(round(seconds * 1000), loop.quit)
    loop.exec()


def wait_until(ready: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
    """Let the window live until something is true."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        wait(0.01)


def go_on() -> None:
    """Wait for a hang from here on."""
    faulthandler.dump_traceback_later(LIMIT_SECONDS, exit=True)


def no_jobs() -> bool:
    """Whether no thread of a dock is at work."""
    from napari_uda.gui.kit.jobs import running

    return not running()


# -- what there is ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Census:
    """Everything that could be left behind."""

    processes: int
    threads: int
    layers: int
    files: int
    widgets: int
    listeners: Counter[str]
    objects: Counter[str]

    def growth(self, before: Census) -> dict[str, int]:
        """What is more than before, by name; nothing when nothing is left."""
        found = {
            name: getattr(self, name) - getattr(before, name)
            for name in ("processes", "threads", "layers", "files", "widgets")
        }
        found |= self.listeners - before.listeners
        # the newest worker of a pool may still hold the last task
        more = self.objects - before.objects
        found |= {name: count for name, count in more.items() if count > 1}
        return {name: more for name, more in found.items() if more > 0}


def census(viewer: Any, work: Path) -> Census:
    """Count once everything is at rest."""
    import psutil
    from qtpy.QtCore import QThreadPool
    from qtpy.QtWidgets import QApplication

    wait_until(no_jobs, "the threads of the docks")
    wait(0.2)
    clean()
    living = [one for one in threading.enumerate() if type(one).__name__ != "_DummyThread"]
    children = psutil.Process().children(recursive=True)
    return Census(
        processes=sum(child.status() != psutil.STATUS_ZOMBIE for child in children),
        threads=len(living) + QThreadPool.globalInstance().activeThreadCount(),
        layers=len(viewer.layers),
        files=sum(path.is_file() for path in work.rglob("*")),
        widgets=len(QApplication.allWidgets()),
        listeners=listeners(viewer),
        objects=objects(),
    )


def clean() -> None:
    """Free what can be freed, so that what is counted and measured is really held."""
    gc.collect()
    wait(0.02)
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


def listeners(viewer: Any) -> Counter[str]:
    """Callbacks of each event of the viewer and its layers, keys, what hears the mouse, and overlays."""
    groups = {
        "viewer": viewer.events,
        "layers": viewer.layers.events,
        "selection": viewer.layers.selection.events,
        "dims": viewer.dims.events,
        "cursor": viewer.cursor.events,
        **{layer.name: layer.events for layer in viewer.layers},
    }
    found = Counter(
        {
            f"{title}.{name}": sum(map(is_alive, emitter.callbacks))
            for title, group in groups.items()
            for name, emitter in group.emitters.items()
        }
    )
    found["keys"], found["mouse"] = len(viewer.keymap), len(viewer.mouse_drag_callbacks)
    found["overlays"] = len(viewer.canvas.overlays)
    return found


def is_alive(callback: Any) -> bool:
    """Whether anybody would be called: napari forgets callbacks of what is gone when the event comes next."""
    return not isinstance(callback, tuple) or callback[0]() is not None


def objects() -> Counter[str]:
    """Python objects of this package's classes, and Qt's timers and threads, by class.

    Not the workers with a progress bar and their empty tasks: napari's list of tasks holds them until it closes.
    """
    kinds = (type(one) for one in gc.get_objects())
    return Counter(
        kind.__name__
        for kind in kinds
        if (str(kind.__module__).startswith("napari_uda.") and kind.__name__ not in _HELD)
        or kind.__name__ in ("QTimer", "QThread")
    )


def share_one_arena() -> None:
    """Let all threads take memory from one place: what ended threads leave in places of their own moves by tens of MiB."""
    if sys.platform == "linux":
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)


def resident_kib() -> float:
    """Memory of this process."""
    import psutil

    clean()
    return float(psutil.Process().memory_info().rss) / 1024


def rise(values: list[float]) -> float:
    """Growth from a value to the next: the median over any two of the second half, for the first one fills caches.

    A leak lifts them all. The allocator's spare memory, which comes and goes, lifts some.
    """
    late = list(enumerate(values))[len(values) // 2 :]
    slopes = [
        (last - first) / (there - here) for (here, first), (there, last) in combinations(late, 2)
    ]
    return statistics.median(slopes) if slopes else 0.0


# -- what goes wrong -------------------------------------------------------------------------------


@dataclass(eq=False)
class Errors(logging.Handler):
    """Exceptions, wherever they end up: hooks, the log of the docks, napari's notifications."""

    found: list[str] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        super().__init__(logging.ERROR)

    def emit(self, record: logging.LogRecord) -> None:
        """A dock logs what it did not expect."""
        self.found.append(self.format(record))

    def hook(self, kind: Any, error: Any, trace: Any) -> None:
        """What nobody caught."""
        import traceback

        self.found.append("".join(traceback.format_exception(kind, error, trace)))

    def on_notification(self, notification: Any) -> None:
        """What the user was told; napari's own errors carry an exception."""
        error = getattr(notification, "exception", None)
        if error is not None:
            self.hook(type(error), error, error.__traceback__)
        else:
            self.told[str(notification.message)] += 1


@contextmanager
def caught() -> Iterator[Errors]:
    """Collect errors meanwhile."""
    from napari.utils.notifications import notification_manager

    errors = Errors()
    log = logging.getLogger("napari_uda")
    log.addHandler(errors)
    notification_manager.notification_ready.connect(errors.on_notification)
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    sys.excepthook = errors.hook
    threading.excepthook = lambda a: errors.hook(a.exc_type, a.exc_value, a.exc_traceback)
    sys.unraisablehook = lambda a: errors.hook(type(a.exc_value), a.exc_value, a.exc_traceback)
    try:
        yield errors
    finally:
        sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
        notification_manager.notification_ready.disconnect(errors.on_notification)
        log.removeHandler(errors)


# -- the table -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One goal: what was measured, and whether it is good."""

    what: str
    value: str
    goal: str
    good: bool


def print_table(rows: list[Row]) -> None:
    """All goals below each other."""
    widths = [max(len(getattr(row, name)) for row in rows) for name in ("what", "value", "goal")]
    for row in rows:
        cells = (
            text.ljust(width)
            for text, width in zip((row.what, row.value, row.goal), widths, strict=True)
        )
        print(*cells, "ok" if row.good else "MISSED", sep="  ", flush=True)


def left_row(what: str, left: dict[str, int]) -> Row:
    """The row that says what was left behind."""
    text = ", ".join(f"{more} {name}" for name, more in left.items()) or "nothing"
    return Row(f"{what}: left behind", text, "nothing", not left)


# -- 1: cancel -------------------------------------------------------------------------------------


@dataclass
class Kind:
    """One kind of work to cancel.

    Attributes:
        start: begin it; the button that begins it can be pressed.
        button: ends it.
        says: whether the dock says that it is being cancelled, or rests.
        rests: whether it has ended.
        press: instead of a click on the button, where a question is asked: agrees, and returns when
            the question was there.
    """

    start: Callable[[], None]
    button: Any
    says: Callable[[], bool]
    rests: Callable[[], bool]
    press: Callable[[], float] | None = None

    def can_cancel(self) -> bool:
        """Whether there is work, and its button is there to be pressed."""
        return self.button.isEnabled() and not self.rests()


@dataclass
class Cancelled:
    """What cancels of one kind took."""

    answers_ms: list[float] = field(default_factory=list)
    ends_s: list[float] = field(default_factory=list)
    memory_kib: list[float] = field(default_factory=list)
    unsaid: int = 0


def cancel_once(kind: Kind, moment: float, seen: Cancelled) -> bool:
    """Start, and cancel after so many seconds; False when the work was done before."""
    go_on()
    from qtpy.QtCore import Qt, QTimer
    from qtpy.QtWidgets import QApplication

    done: list[bool] = []

    def click() -> None:
        if not kind.can_cancel():
            done.append(False)
            return
        answered = [due]
        if kind.press is None:
            kind.button.click()
        else:
            answered.append(kind.press())
        QApplication.processEvents()
        answered.append(time.perf_counter())
        seen.answers_ms.append(max(end - start for start, end in pairwise(answered)) * 1000)
        seen.unsaid += not kind.says()
        done.append(True)

    timer = QTimer()
    timer.setSingleShot(True)
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(click)
    wait(0.1)  # until the removal of layers is drawn
    kind.start()
    due = time.perf_counter() + moment
    timer.start(round(moment * 1000))
    wait_until(lambda: bool(done), "the moment to cancel")
    wait_until(kind.rests, "the end of what was cancelled")
    wait_until(no_jobs, "the thread of what was cancelled")
    if done[0]:
        seen.ends_s.append(time.perf_counter() - due)
    return done[0]


def time_to_cancel(kind: Kind, viewer: Any) -> float:
    """Seconds that its button can be pressed; the least of three, as nothing is imported any more."""
    seconds = []
    for _ in range(3):
        go_on()
        kind.start()
        start = time.perf_counter()
        wait_until(lambda: not kind.can_cancel(), "work that nobody cancels")
        seconds.append(time.perf_counter() - start)
        wait_until(lambda: kind.rests() and no_jobs(), "the results of work that nobody cancels")
        remove_results(viewer)
    return min(seconds)


def remove_results(viewer: Any) -> None:
    """Back to what was opened: results of work that was done before it could be cancelled."""
    from napari_uda.gui.kit.geometry import tag

    results = [one for one in viewer.layers if tag(one).get("role") not in ("image", "reference")]
    with viewer.layers.batched_update():  # napari collects garbage after every batch, for long
        for layer in results:
            viewer.layers.remove(layer)


def cancels(work: Path, counts: dict[str, int], moments: random.Random) -> list[Row]:
    """Part 1."""
    import napari

    viewer = napari.Viewer(title="endurance: cancel")
    viewer.window.resize(1500, 900)
    viewer.open_sample("napari_uda", "mr_labelled")
    rows: list[Row] = []
    with caught() as errors:
        for name, count in counts.items():
            kind, close = KINDS[name](viewer, work)
            seen = Cancelled()
            longest = TRAINING_SECONDS if name == "train" else time_to_cancel(kind, viewer)
            remove_results(viewer)
            before = census(viewer, work)
            done = 0
            while done < count:
                moment = moments.uniform(0, longest)
                if cancel_once(kind, moment, seen):
                    done += 1
                else:
                    longest = moment  # it takes less time than it took at first
                if name not in LASTING or not seen.ends_s:
                    remove_results(viewer)
                if done % 5 == 0:
                    seen.memory_kib.append(resident_kib() / 5)
            remove_results(viewer)
            left = census(viewer, work).growth(before)
            rows += cancel_rows(name, count, longest, seen, left)
            print_table(rows[-3:])
            close()
    viewer.close()
    rows.append(error_row("cancel", errors))
    return rows


LASTING = ("batch",)
TRAINING_SECONDS = 6.0


def cancel_rows(
    name: str, count: int, longest: float, seen: Cancelled, left: dict[str, int]
) -> list[Row]:
    answers, growth = seen.answers_ms, rise(seen.memory_kib)
    ends = f"ended after {statistics.median(seen.ends_s):.2f} s, {max(seen.ends_s):.2f} s at most"
    return [
        Row(
            f"{name}: {count} cancels within {longest:.1f} s",
            f"answer {statistics.median(answers):.0f} ms, {max(answers):.0f} ms at most; {ends}",
            f"answer <= {ANSWER_MS:.0f} ms, said",
            max(answers) <= ANSWER_MS and not seen.unsaid,
        ),
        Row(
            f"{name}: memory",
            f"{growth:+.0f} KiB a cancel",
            f"<= {CANCEL_KIB:.0f}",
            growth <= CANCEL_KIB,
        ),
        left_row(name, left),
    ]


def error_row(what: str, errors: Errors) -> Row:
    for text in errors.found:
        print(text, file=sys.stderr)
    return Row(f"{what}: exceptions", str(len(errors.found)), "0", not errors.found)


def add_dock(viewer: Any, name: str) -> tuple[Any, Callable[[], None]]:
    """Open a dock; and what closes it."""
    dock, widget = viewer.window.add_plugin_dock_widget("napari_uda", name)
    wait_until(no_jobs, f"the {name} dock")

    def close() -> None:
        viewer.window.remove_dock_widget(dock)
        wait(0.2)

    return widget, close


def of_job(dock: Any, begin: Any, rests: Callable[[], bool]) -> Kind:
    """Work that a dock does in a thread."""
    return Kind(
        start=begin.click,
        button=dock.cancel,
        says=lambda: not dock.cancel.isEnabled(),  # it is cancelling, or done
        rests=rests,
    )


def choose_statistics(dock: Any) -> None:
    """Adapt by the quickest method; which there are is known when the dock has read its model."""
    wait_until(lambda: dock.way.count() > 0, "the methods")
    dock.way.setCurrentIndex(dock.way.findData("bn_adapt"))


def segment_kinds(which: str) -> Callable[[Any, Path], tuple[Kind, Callable[[], None]]]:
    def make(viewer: Any, work: Path) -> tuple[Kind, Callable[[], None]]:
        dock, close = add_dock(viewer, "Segment")
        dock.reliability.setChecked(False)  # one more vote takes time, not another way

        def rests() -> bool:
            return dock.is_settled and not dock.results.is_counting

        begin = {"segment": dock.run, "adapt": dock.adapt, "batch": dock.batch.layers}[which]
        wait_until(begin.isEnabled, "the model")
        choose_statistics(dock)
        return of_job(dock, begin, rests), close

    return make


def translate_kind(viewer: Any, work: Path) -> tuple[Kind, Callable[[], None]]:
    dock, close = add_dock(viewer, "Translate")
    dock.add_model(translator(work))
    wait_until(lambda: no_jobs() and dock.translate.isEnabled(), "the translator")
    return of_job(dock, dock.translate, lambda: dock.is_settled), close


def score_kind(viewer: Any, work: Path) -> tuple[Kind, Callable[[], None]]:
    from napari_uda.gui.kit.geometry import tag

    reference = next(layer for layer in viewer.layers if tag(layer).get("role") == "reference")
    if not any(layer.name == "to be scored" for layer in viewer.layers):
        viewer.add_labels(
            reference.data.copy(),
            name="to be scored",
            scale=reference.scale,
            translate=reference.translate,
            units=reference.units,
            metadata={"napari_uda": {**tag(reference), "role": "reference"}},
        )
    dock, close = add_dock(viewer, "Score")
    dock.choices.references.choose(reference)
    dock.choices.predictions.choose(viewer.layers["to be scored"])
    wait_until(dock.score.isEnabled, "the layers to score")
    return of_job(dock, dock.score, lambda: dock.is_settled), close


def check_kind(viewer: Any, work: Path) -> tuple[Kind, Callable[[], None]]:
    from napari_uda.gui.kit.files import SAMPLES

    train, close = add_dock(viewer, "Train")
    form = train.form
    form.data.source.set_folder(SAMPLES / "ct")
    form.data.target.set_folder(SAMPLES / "mr")

    wait_until(form.data.check.isEnabled, "the form")
    return of_job(form, form.data.check, lambda: form.is_settled), close


def train_kind(viewer: Any, work: Path) -> tuple[Kind, Callable[[], None]]:
    """Real processes, cancelled from their start on; the question is answered at once."""
    from qtpy.QtCore import QTimer
    from qtpy.QtWidgets import QApplication, QMessageBox

    dock, close = add_dock(viewer, "Train")
    asked: list[float] = []
    paths = (work / "runs" / f"run_{number}" for number in range(10_000))

    def begin() -> None:
        path = next(paths)
        dock.form.started.emit((path, training_config()))
        wait_until(lambda: path in dock.processes, "the training process")

    def agree() -> None:
        box = QApplication.activeModalWidget()
        if box is None:
            QTimer.singleShot(1, agree)
        else:
            asked.append(time.perf_counter())
            box.button(QMessageBox.StandardButton.Yes).click()

    def press() -> float:
        QTimer.singleShot(0, agree)
        dock.watch.discard.click()
        return asked.pop()

    kind = Kind(
        start=begin,
        button=dock.watch.discard,
        says=lambda: dock.watch.path is None or dock.watch.status.text() == "Cancelling…",
        rests=lambda: not dock.processes and dock.watch.path is None,
        press=press,
    )
    begin()  # for what is made once: settings, curves, the form that comes back
    wait_until(lambda: dock.watch.curves.is_drawn, "the first curves")
    press()
    wait_until(lambda: kind.rests() and no_jobs(), "the end of the first training")
    return kind, close


KINDS: dict[str, Callable[[Any, Path], tuple[Kind, Callable[[], None]]]] = {
    "train": train_kind,
    "check": check_kind,
    "segment": segment_kinds("segment"),
    "batch": segment_kinds("batch"),
    "adapt": segment_kinds("adapt"),
    "translate": translate_kind,
    "score": score_kind,
}


def training_config() -> Any:
    """A run that is never done."""
    from napari_uda.gui.kit.files import SAMPLES
    from napari_uda.run.recipes import build_config

    folders = {"source": str(SAMPLES / "ct"), "target": str(SAMPLES / "mr")}
    data = {**TINY["data"], **folders}  # type: ignore[dict-item]
    return build_config("source_only", **{**TINY, "data": data, "steps": 100_000, "device": "cpu"})


def translator(work: Path) -> Path:
    """A run with small generators, trained once for two steps."""
    import napari_uda as uda
    from napari_uda.gui.kit.files import SAMPLES

    path = work / "translator"
    if not path.exists():
        generator = {"kind": "gated", "width": 8, "blocks": 2}
        uda.train(
            "cyclegan",
            source=SAMPLES / "ct",
            target=SAMPLES / "mr",
            run_dir=path,
            steps=2,
            device="cpu",
            method={"translator": {"generator": generator, "discriminator_width": 4}},
            **TINY,
        )
    return path


# -- 2: open and close -----------------------------------------------------------------------------


def docks(work: Path, rounds: int) -> list[Row]:
    """Part 2."""
    import napari
    from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

    viewer = napari.Viewer(title="endurance: docks")
    viewer.window.resize(1500, 900)
    viewer.open_sample("napari_uda", "mr_labelled")

    def bare() -> list[Any]:
        opened = []
        for name in DOCKS:
            widget = QWidget()
            QVBoxLayout(widget).addWidget(QLabel(name))
            opened.append(viewer.window.add_dock_widget(widget, name=name))
        return opened

    def ours() -> list[Any]:
        return [viewer.window.add_plugin_dock_widget("napari_uda", name)[0] for name in DOCKS]

    def turn(open_all: Callable[[], list[Any]]) -> None:
        go_on()
        opened = open_all()
        wait(0.1)
        wait_until(no_jobs, "the docks")
        for dock in opened:
            viewer.window.remove_dock_widget(dock)
        del opened
        wait(0.1)

    memory: dict[str, list[float]] = {"bare": [], "ours": []}
    with caught() as errors:
        for open_all in (bare, ours, ours):
            turn(open_all)
        before = census(viewer, work)
        for name, open_all in (("bare", bare), ("ours", ours)):
            for _ in range(rounds):
                turn(open_all)
                memory[name].append(resident_kib())
            if name == "bare":
                of_napari = census(viewer, work).growth(before)
                before = census(viewer, work)
        left = census(viewer, work).growth(before)
    viewer.close()
    growth, least = rise(memory["ours"]), rise(memory["bare"])
    return [
        left_row(f"{rounds} rounds of bare docks", of_napari),
        left_row(f"{rounds} rounds of all docks", left),
        Row(
            f"{rounds} rounds: memory",
            f"{growth:+.0f} KiB a round, {least:+.0f} KiB with bare docks",
            f"<= {ROUND_KIB:.0f} more",
            growth - least <= ROUND_KIB,
        ),
        error_row("docks", errors),
    ]


# -- 3: layers -------------------------------------------------------------------------------------


def layers(work: Path, actions: int, chance: random.Random) -> list[Row]:
    """Part 3."""
    import napari

    viewer = napari.Viewer(title="endurance: layers")
    viewer.window.resize(1500, 900)
    with caught() as errors:
        storm = Storm(viewer, work, chance)
        for _ in range(actions):
            storm.act()
        storm.end()
    viewer.close()
    print("told the user:", dict(errors.told), file=sys.stderr)
    print("done:", dict(storm.done), file=sys.stderr)
    return [
        Row("layers: actions", f"{sum(storm.done.values())} of {len(storm.done)} kinds", "", True),
        error_row("layers", errors),
    ]


class Storm:
    """Random actions on layers and docks of one viewer."""

    def __init__(self, viewer: Any, work: Path, chance: random.Random) -> None:
        self.viewer, self.chance = viewer, chance
        self.done: Counter[str] = Counter()
        self.docks = {
            name: viewer.window.add_plugin_dock_widget("napari_uda", name)[1] for name in DOCKS
        }
        self.docks["Translate"].add_model(translator(work))
        choose_statistics(self.docks["Segment"])
        self.out = work / "exported"
        self.open_sample()
        wait_until(no_jobs, "the docks")
        self.train(work / "runs" / "storm")

    def train(self, path: Path) -> None:
        """A real process with live previews, whose layers come and go as well."""
        dock = self.docks["Train"]
        self.run = path
        dock.previews.wanted.setChecked(True)
        dock.form.started.emit((path, training_config()))
        wait_until(lambda: path in dock.processes, "the training process")

    def end(self) -> None:
        """Let all work end."""
        dock = self.docks["Train"]
        dock.discard(self.run)
        wait_until(lambda: not self.run.exists(), "the end of training")
        wait_until(no_jobs, "the docks")
        wait(0.5)

    def act(self) -> None:
        """One action, and a moment for what follows from it."""
        go_on()
        kinds = [
            *(self.delete, self.rename, self.move, self.copy, self.select, self.toggle) * 2,
            *(self.press,) * 6,
            *(self.tick, self.paint, self.scroll, self.export),
        ]
        if len(self.viewer.layers) < 3:
            action: Callable[[], None] = self.open_sample
        elif len(self.viewer.layers) > 24:
            action = self.delete
        else:
            action = self.chance.choice(kinds)
        self.done[action.__name__] += 1
        try:
            action()
        except Exception:  # noqa: BLE001 - it is what is looked for
            sys.excepthook(*sys.exc_info())
        wait(self.chance.choice((0.0, 0.02, 0.1)))

    def one(self) -> Any:
        """Any layer."""
        return self.chance.choice(list(self.viewer.layers))

    def open_sample(self) -> None:
        """One of the two samples, with its reference."""
        self.viewer.open_sample("napari_uda", self.chance.choice(("mr_labelled", "ct_labelled")))

    def delete(self) -> None:
        """Any layer."""
        self.viewer.layers.remove(self.one())

    def rename(self) -> None:
        """Also to a name that another layer has."""
        self.one().name = self.chance.choice(("mine", "image", "mr_001", "a b", "…"))

    def move(self) -> None:
        """Up or down in the list."""
        count = len(self.viewer.layers)
        self.viewer.layers.move(self.chance.randrange(count), self.chance.randrange(count + 1))

    def copy(self) -> None:
        """As napari's own Duplicate does."""
        from napari.layers import Layer

        data, state, kind = self.one().as_layer_data_tuple()
        state["name"] += " copy"
        self.viewer.add_layer(Layer.create(deepcopy(data), state, kind))

    def select(self) -> None:
        """As a click into the list."""
        self.viewer.layers.selection.active = self.one()

    def toggle(self) -> None:
        """Its eye."""
        layer = self.one()
        layer.visible = not layer.visible

    def scroll(self) -> None:
        """To any slice."""
        self.viewer.dims.set_current_step(
            0, self.chance.randrange(max(1, self.viewer.dims.nsteps[0]))
        )

    def paint(self) -> None:
        """A dab of the brush on labels that are seen: napari's own drawing fails where they are not."""
        from napari.layers import Labels

        seen = [layer for layer in self.viewer.layers if layer.visible and layer.editable]
        found = [layer for layer in seen if isinstance(layer, Labels)]
        layer = self.chance.choice(found) if found else None
        if layer is not None and layer.get_value(self.viewer.dims.point, world=True) is not None:
            self.viewer.layers.selection.active = layer
            layer.mode = "paint"
            where = list(layer.world_to_data(self.viewer.dims.point).round().astype(int))
            for axis in self.viewer.dims.displayed[-2:]:
                where[axis] = self.chance.randrange(layer.data.shape[axis])
            layer.paint(where, self.chance.randrange(4))
            layer.mode = "pan_zoom"

    def press(self) -> None:
        """Any button that starts, ends or shows something, if it can be pressed."""
        segment, translate, score, view = (self.docks[name] for name in DOCKS[2:])
        buttons = (
            *(segment.run, segment.adapt, segment.batch.layers, segment.cancel, segment.views),
            *(segment.results.entropy.next, segment.results.structures.outlines),
            *(translate.translate, translate.cancel, translate.blink, translate.views),
            *(score.score, score.cancel, score.slices.worst, score.slices.disagreement),
            *(score.slices.errors, view.linked, view.neurological, view.window_panel.drag),
            *(view.planes.button(0), view.planes.button(2), self.docks["Train"].previews.wanted),
        )
        button = self.chance.choice(buttons)
        if button.isEnabled():
            button.click()

    def tick(self) -> None:
        """Looks of the results: uncertainty, contours, an eye, another layer in a chooser."""
        segment, score = self.docks["Segment"], self.docks["Score"]
        entropy = segment.results.entropy
        choosers = (segment.images, segment.results.results, score.choices.predictions)
        which = self.chance.randrange(3)
        if which == 0:
            self.chance.choice((entropy.map, entropy.contours, entropy.map_above)).toggle()
        elif which == 1:
            segment.results.tabs.setCurrentIndex(self.chance.randrange(3))
            score.tabs.setCurrentIndex(self.chance.randrange(3))
        else:
            chooser = self.chance.choice(choosers)
            if chooser.count():
                chooser.choose(chooser.itemData(self.chance.randrange(chooser.count())))

    def export(self) -> None:
        """Write what the docks hold while its layers change."""
        self.docks["Score"].export_to(self.out / "scores")
        self.docks["Translate"].export_to(self.out / "translation")


# -- all of it -------------------------------------------------------------------------------------


def isolate(work: Path) -> None:
    """No settings, runs or journals of the user."""
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "TMPDIR"):
        folder = work / name.lower()
        folder.mkdir()
        os.environ[name] = str(folder)
    os.environ["NAPARI_CONFIG"] = str(work / "napari.yaml")
    tempfile.tempdir = None
    os.chdir(work)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="about a minute")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and actions")
    parser.add_argument("--part", choices=("cancel", "docks", "layers"), help="one part alone")
    parser.add_argument("--kind", choices=tuple(CANCELS), help="cancel this kind of work alone")
    options = parser.parse_args()
    faulthandler.enable()
    share_one_arena()
    go_on()
    counts = QUICK if options.quick else CANCELS
    if options.kind:
        counts = {options.kind: counts[options.kind]}
    rows: list[Row] = []
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="endurance_") as temporary:
        work = Path(temporary)
        isolate(work)
        if options.part in (None, "cancel"):
            rows += cancels(work, counts, random.Random(options.seed))
        if options.part in (None, "docks"):
            rows += docks(work, 6 if options.quick else 50)
        if options.part in (None, "layers"):
            rows += layers(work, 80 if options.quick else 500, random.Random(options.seed))
    print_table(rows)
    print(f"{time.monotonic() - start:.0f} s, seed {options.seed}")
    return 0 if all(row.good for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
