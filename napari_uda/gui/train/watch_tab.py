"""WatchTab: one run while it trains and afterwards: progress, curves, hints, previews, and what can be done."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection
from html import escape
from pathlib import Path

from napari.components import ViewerModel
from qtpy.QtCore import QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QBoxLayout, QLabel, QProgressBar, QWidget

from napari_uda.gui.kit.jobs import Looking
from napari_uda.gui.kit.layout import LongerSide, Scrolling, column, wrapped
from napari_uda.gui.kit.panel import Panel
from napari_uda.gui.kit.widgets import button, label, named
from napari_uda.gui.train.live_previews import LivePreviews
from napari_uda.gui.train.loss_curves import LossCurves
from napari_uda.run.hints import Hint, hints
from napari_uda.run.history import RunHistory, curves_of, time_text
from napari_uda.run.reader import Preview, RunReader, RunUpdate
from napari_uda.run.status import RunState, machine_text

_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_BETWEEN_PARTS = 0.02  # of a long file
_THOUSANDTHS = 1000
_RESUMABLE = (RunState.NEW, RunState.STOPPED, RunState.FAILED, RunState.BROKEN)


class WatchTab(Panel):
    """Shows one run, wherever its process is; it starts and ends nothing itself.

    `updated(RunUpdate)` says that a look at the run is shown.

    Attributes:
        path: the run folder; None while there is none.
        update_seen: the last look; None before the first.
        history: the run's scalars.
        curves: their plots.
        previews: the live previews.
        stop, discard, resume, more, open: the buttons; what the first four do is up to the dock.
    """

    updated = Signal(object)

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self.path: Path | None = None
        self.update_seen: RunUpdate | None = None
        self.history = RunHistory()
        self.previews = LivePreviews(viewer)
        self.curves = LossCurves(
            "No curves yet: those of all losses appear here while a run trains."
        )
        self._preview: Preview | None = None
        self._undrawn = False  # lines came that no curve shows yet
        self._message = ""
        self._until: frozenset[RunState] = frozenset()
        self._looking = Looking(self, "napari_uda watch", self._show)
        self._build()
        self._lay_out()
        self._on_turned(False)
        self._show_nothing()

    # -- construction -----------------------------------------------------------------------------

    def _build(self) -> None:
        self.heading = label(name="heading")
        self.status = label(name="run_status")
        self.step_bar = named(QProgressBar(), "step_bar", "Steps done")
        self.time_bar = named(
            QProgressBar(),
            "time_bar",
            "Time trained and time left, at the speed of the newest steps",
        )
        self.time_bar.setRange(0, _THOUSANDTHS)
        self.machine = label(name="machine", tooltip="Device and memory of the training process")
        self.hints = label(
            name="hints",
            tooltip="Rules of thumb about the curves and previews; they change nothing",
        )
        self.areas = label(
            name="areas",
            tooltip="Mean area of each structure that the network draws on the previewed slices",
        )
        self.stop = button(
            "Stop", "Save and end after the current step; it can be resumed", name="stop"
        )
        self.discard = button("Cancel…", "End at once and delete the run", name="discard")
        self.resume = button("Resume", "Continue exactly from the last checkpoint", name="resume")
        self.more = button(
            "Continue…",
            "More steps: a new run that starts from the weights of this one, with learning rates\n"
            "that begin anew and fall over the new steps. This run stays as it is.",
            name="more",
        )
        self.open = button(
            "Open folder", "Show the run folder in the file manager", self._on_open, "open_folder"
        )
        self.open.setFlat(True)

    def _lay_out(self) -> None:
        buttons = wrapped(*((one, 1) for one in (self.stop, self.discard, self.resume, self.more)))
        facts = column(
            wrapped((self.heading, 1), self.open),
            *(self.status, self.step_bar, self.time_bar, self.machine),
            buttons,
            self.hints,
            ...,
        )
        content = QWidget()
        self._content = QBoxLayout(QBoxLayout.Direction.TopToBottom, content)
        self._content.setContentsMargins(0, 0, 0, 0)
        for part in (facts, column(self.curves), column(self.areas, self.previews, ...)):
            self._content.addLayout(part)
        column(Scrolling(content), of=self, margin=0)
        LongerSide(self).turned.connect(self._on_turned)

    def _on_turned(self, wide: bool) -> None:
        """Stand in a side dock, lie in a bottom dock."""
        ways = QBoxLayout.Direction
        self._content.setDirection(ways.LeftToRight if wide else ways.TopToBottom)
        for index, stretch in enumerate((2, 3, 2) if wide else (0, 1, 0)):
            self._content.setStretch(index, stretch)

    # -- watching ---------------------------------------------------------------------------------

    def attach(self, path: Path) -> None:
        """Watch a run folder from its first line on, whoever trains it, here or behind a mounted folder."""
        self._forget()
        self.path = path
        self.previews.watch(path)
        self.heading.setText(f"<b>{escape(path.name)}</b>")
        self.heading.setToolTip(str(path))
        self._message = "Reading the run…"
        self._looking.start(_look_at(path))
        self._show_state()

    def leave(self) -> None:
        """Watch nothing."""
        self._forget()
        self.previews.watch(None)

    def _forget(self) -> None:
        self._looking.stop()
        self.path = self.update_seen = self._preview = None
        self.history.clear()
        self._message, self._until = "", frozenset()
        self._undrawn = False
        self._show_nothing()

    def say(self, message: str, until: Collection[RunState] = ()) -> None:
        """Show a sentence until the state changes.

        Args:
            message: what to say; empty says what the run does.
            until: given when the run is on its way to another state: no button fits before one of these.
        """
        self._message, self._until = message, frozenset(until)
        self._show_state()

    # -- showing ----------------------------------------------------------------------------------

    def _show(self, update: RunUpdate) -> None:
        before = self.update_seen
        changed = before is None or before.status.state is not update.status.state
        if update.status.state in self._until or (changed and not self._until):
            self._message, self._until = "", frozenset()
        self.update_seen = update
        if update.restarted:
            self.history.clear()
        self.history.add(update.lines, update.damaged)
        if update.preview is not None:
            self._preview = update.preview
        self._show_state()
        self._undrawn |= bool(update.lines or update.damaged) or update.restarted
        if not update.more:  # of a long file there is a part every 20 ms
            if self._undrawn or update.preview is not None:
                self._show_hints(update)
            if self._undrawn:
                selects = update.settings.get("select", "last") != "last"
                self.curves.show_curves(curves_of(self.history, selects=selects))
            self._undrawn = False
        self.previews.take(update)
        self.updated.emit(update)

    def _show_nothing(self) -> None:
        self.heading.setText("No run: start one under New run, or choose one under Runs.")
        self.heading.setToolTip("")
        for words in (self.hints, self.areas):
            _say(words, "")
        self.curves.show_curves([])
        self._show_state()

    def _show_state(self) -> None:
        update = self.update_seen
        self._show_progress(update)
        status = None if update is None else update.status
        words = "" if update is None else update.words
        if update is not None and update.method:
            words = f"{update.method} · {words}"
        _say(self.status, self._message or words)
        machine = machine_text(None if status is None else status.beat)
        running = update is not None and update.is_running
        _say(self.machine, machine if running or not machine else f"Last seen: {machine}")
        state = None if status is None or self._until else status.state
        self.stop.setEnabled(state is RunState.RUNNING)
        starts = RunState.RUNNING in self._until  # a process imports for seconds before it trains
        self.discard.setEnabled(state is RunState.RUNNING or starts)
        self.resume.setEnabled(state in _RESUMABLE)
        self.more.setEnabled(state is RunState.FINISHED)
        self.open.setEnabled(self.path is not None)

    def _show_progress(self, update: RunUpdate | None) -> None:
        total = 0 if update is None else update.total
        for bar in (self.step_bar, self.time_bar):
            bar.setVisible(total > 0)
        if update is None or total <= 0:
            return
        step = update.step
        self.step_bar.setRange(0, total)
        self.step_bar.setValue(min(step, total))
        self.step_bar.setFormat(f"step {step} of {total}")
        seconds = self.history.seconds
        left = self.history.seconds_left(step, total) if update.is_running else None
        whole = seconds + (left or 0.0)
        share = seconds / whole if whole and (left is not None or step >= total) else 0.0
        self.time_bar.setValue(round(_THOUSANDTHS * share))
        starting = update.is_running and step == 0
        self.time_bar.setFormat(
            "reading data, first step…"
            if starting
            else time_text(seconds, left, is_running=update.is_running)
        )

    def _show_hints(self, update: RunUpdate) -> None:
        preview = self._preview
        areas = {} if preview is None else preview.areas_mm2()
        _say(self.hints, "<br>".join(map(_as_line, hints(self.history, update.settings, areas))))
        means = [f"{escape(name)} {one.mean() / 100:.1f} cm²" for name, one in areas.items()]
        step = 0 if preview is None else preview.step
        _say(self.areas, f"Drawn at step {step}: {', '.join(means)} a slice" if means else "")

    def _on_open(self) -> None:
        if self.path is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.path)))


def _look_at(path: Path) -> Callable[[], tuple[RunUpdate, float | None]]:
    """What the thread does again and again for a run."""
    reader = RunReader(path)

    def look() -> tuple[RunUpdate, float | None]:
        importlib.import_module("pyqtgraph")  # a fifth of a second that the curves need not wait
        update = reader.look()
        return update, _SECONDS_BETWEEN_PARTS if update.more else _SECONDS_BETWEEN_LOOKS

    return look


def _as_line(hint: Hint) -> str:
    return f"{'⚠' if hint.level == 'warning' else '•'} {escape(hint.text)}"


def _say(words: QLabel, text: str) -> None:
    """Show a text, and no empty line for none."""
    words.setText(text)
    words.setVisible(bool(text))
