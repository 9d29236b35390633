"""WatchTab: one run while it trains and afterwards: progress, curves, hints, and what can be done with it."""

from __future__ import annotations

from collections.abc import Collection
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QBoxLayout,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_uda.core.structure_colours import PALETTE
from napari_uda.gui.kit.colormaps import DARK
from napari_uda.gui.kit.layout import LongerSide
from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.train.health import Hint, hints
from napari_uda.gui.train.run_history import RunHistory, is_share, title
from napari_uda.gui.train.run_reader import Preview, RunUpdate
from napari_uda.gui.train.run_summary import machine_text, state_text, time_text
from napari_uda.gui.train.run_watch import RunWatch
from napari_uda.run.status import RunState

if TYPE_CHECKING:
    from napari_uda.gui.train.loss_curves import Curve, LossCurves

_THOUSANDTHS = 1000
_RESUMABLE = (RunState.NEW, RunState.STOPPED, RunState.FAILED, RunState.BROKEN)


class WatchTab(QWidget):
    """Shows one run, wherever its process is; it starts and ends nothing itself.

    `stop_requested()`, `discard_requested()`, `resume_requested()` and `more_requested()` are emitted by the
    buttons; `updated(RunUpdate)` after each look at the run.

    Attributes:
        path: the run folder; None while there is none.
        update_seen: the last look; None before the first.
        history: the run's scalars.
        stop, discard, resume, more, open: the buttons.
    """

    stop_requested = Signal()
    discard_requested = Signal()
    resume_requested = Signal()
    more_requested = Signal()
    updated = Signal(object)

    def __init__(self, previews: QWidget | None = None, parent: QWidget | None = None) -> None:
        """Build.

        Args:
            previews: a widget to stand below the buttons.
            parent: owner.
        """
        super().__init__(parent)
        self.path: Path | None = None
        self.update_seen: RunUpdate | None = None
        self.history = RunHistory()
        self._preview: Preview | None = None
        self._undrawn = False  # lines came that no curve shows yet
        self._message = ""
        self._until: frozenset[RunState] = frozenset()
        self._colours = DARK
        self.curves: LossCurves | None = None
        self._watch = RunWatch(self)
        self._watch.updated.connect(self._on_updated)
        self._build(previews)
        self._show_nothing()

    # -- construction -----------------------------------------------------------------------------

    def _build(self, previews: QWidget | None) -> None:
        self.heading = _label("heading")
        self.status = _label("run_status")
        self.step_bar = _bar("step_bar", "Steps done")
        self.time_bar = _bar(
            "time_bar", "Time trained and time left, at the speed of the newest steps"
        )
        self.machine = _label("machine")
        self.machine.setToolTip("Device and memory of the training process")
        self.hints = _label("hints")
        self.hints.setToolTip("Rules of thumb about the curves and previews; they change nothing")
        self.areas = _label("areas")
        self.areas.setToolTip(
            "Mean area of each structure that the network draws on the previewed slices"
        )
        self.stop = _button(
            "Stop", "stop", "Save and end after the current step; it can be resumed"
        )
        self.discard = _button("Cancel…", "discard", "End at once and delete the run")
        self.resume = _button("Resume", "resume", "Go on from the last checkpoint, exactly")
        self.more = _button(
            "Continue…",
            "more",
            "More steps: a new run that starts from the weights of this one, with learning rates\n"
            "that begin anew and fall over the new steps. This run stays as it is.",
        )
        self.open = _button("Open folder", "open_folder", "Show the run folder in the file manager")
        self.open.setFlat(True)
        top = QHBoxLayout()
        top.addWidget(self.heading, 1)
        top.addWidget(self.open)
        buttons = QGridLayout()
        for index, button in enumerate((self.stop, self.discard, self.resume, self.more)):
            buttons.addWidget(button, index // 2, index % 2)
        facts = QVBoxLayout()
        facts.addLayout(top)
        for widget in (self.status, self.step_bar, self.time_bar, self.machine):
            facts.addWidget(widget)
        facts.addLayout(buttons)
        facts.addWidget(self.hints)
        facts.addStretch(1)
        self._hint = _label("no_curves")
        self._hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._hint.setText("Curves of all losses appear here.")
        self._plots = QVBoxLayout()
        self._plots.addWidget(self._hint)
        seen = QVBoxLayout()
        seen.addWidget(self.areas)
        if previews is not None:
            seen.addWidget(previews)
        seen.addStretch(1)
        content = QWidget()
        self._content = QBoxLayout(QBoxLayout.Direction.TopToBottom, content)
        self._content.setContentsMargins(0, 0, 0, 0)
        for column in (facts, self._plots, seen):
            self._content.addLayout(column)
        self._lay(False)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(content)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)
        self.setMinimumWidth(300)
        self.stop.clicked.connect(self._on_stop)
        self.discard.clicked.connect(self._on_discard)
        self.resume.clicked.connect(self._on_resume)
        self.more.clicked.connect(self._on_more)
        self.open.clicked.connect(self._on_open)
        LongerSide(self).turned.connect(self._lay)

    @guarded
    def _lay(self, wide: bool) -> None:
        """Stand in a side dock, lie in a bottom dock."""
        ways = QBoxLayout.Direction
        self._content.setDirection(ways.LeftToRight if wide else ways.TopToBottom)
        for index, stretch in enumerate((2, 3, 2) if wide else (0, 1, 0)):
            self._content.setStretch(index, stretch)

    def set_theme(self, background: str, text: str) -> None:
        """Colours of napari's theme, `#RRGGBB`."""
        self._colours = (background, text)
        if self.curves is not None:
            self.curves.set_theme(background, text)

    # -- watching ---------------------------------------------------------------------------------

    def attach(self, path: Path) -> None:
        """Watch a run folder from its first line on."""
        self.leave()
        self.path = path
        self.heading.setText(f"<b>{escape(path.name)}</b>")
        self.heading.setToolTip(str(path))
        self._message = "Reading the run…"
        self._watch.start(path)
        self._show_state()

    def leave(self) -> None:
        """Watch nothing."""
        self._watch.stop()
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

    @guarded
    def _on_updated(self, update: RunUpdate) -> None:
        if update.path != self.path:
            return
        before = self.update_seen
        changed = before is None or before.status.state is not update.status.state
        if update.status.state in self._until or (changed and not self._until):
            self._message, self._until = "", frozenset()
        self.update_seen = update
        if update.restarted:
            self.history.clear()
        self.history.add(update.lines)
        if update.preview is not None:
            self._preview = update.preview
        self._show_state()
        self._undrawn |= bool(update.lines) or update.restarted
        if not update.more:  # of a long file there is a part every 20 ms
            if self._undrawn or update.preview is not None:
                self._show_hints(update)
            if self._undrawn:
                self._draw_curves(update)
            self._undrawn = False
        self.updated.emit(update)

    # -- showing ----------------------------------------------------------------------------------

    def _show_nothing(self) -> None:
        self.heading.setText("No run: start one under New run, or choose one under Runs.")
        self.heading.setToolTip("")
        for label in (self.hints, self.areas, self.machine):
            label.clear()
            label.setVisible(False)
        if self.curves is not None:
            self.curves.show_curves([])
        self._show_state()

    def _show_state(self) -> None:
        update = self.update_seen
        self._show_progress(update)
        status = None if update is None else update.status
        words = "" if status is None else state_text(status)
        if update is not None and update.method:
            words = f"{update.method} · {words}"
        self.status.setText(self._message or words)
        self.status.setVisible(bool(self.status.text()))
        machine = machine_text(None if status is None else status.beat)
        self.machine.setText(machine)
        self.machine.setVisible(bool(machine))
        state = None if status is None or self._until else status.state
        self.stop.setEnabled(state is RunState.RUNNING)
        starts = RunState.RUNNING in self._until  # a process imports for seconds before it trains
        self.discard.setEnabled(state is RunState.RUNNING or starts)
        self.resume.setEnabled(state in _RESUMABLE)
        self.more.setEnabled(state is RunState.FINISHED)
        self.open.setEnabled(self.path is not None)

    def _show_progress(self, update: RunUpdate | None) -> None:
        total = 0 if update is None else update.total
        shown = update is not None and total > 0
        for bar in (self.step_bar, self.time_bar):
            bar.setVisible(shown)
        if update is None or not shown:
            return
        beat = update.status.beat
        running = update.status.state is RunState.RUNNING and beat is not None
        step = max(self.history.step, update.status.step)
        if running and beat is not None:
            step = max(step, beat.step)
        self.step_bar.setRange(0, total)
        self.step_bar.setValue(min(step, total))
        self.step_bar.setFormat(f"step {step} of {total}")
        seconds = self.history.seconds
        left = self.history.seconds_left(step, total) if running else None
        whole = seconds + (left or 0.0)
        self.time_bar.setRange(0, _THOUSANDTHS)
        share = seconds / whole if whole and (left is not None or step >= total) else 0.0
        self.time_bar.setValue(round(_THOUSANDTHS * share))
        starting = running and beat is not None and not beat.step and not self.history.step
        text = "reading data, first step…" if starting else time_text(seconds, left)
        self.time_bar.setFormat(text)

    def _show_hints(self, update: RunUpdate) -> None:
        preview = self._preview
        areas = None if preview is None else preview.areas_mm2()
        found = hints(self.history, update.settings, areas)
        self.hints.setText("<br>".join(map(_as_line, found)))
        self.hints.setVisible(bool(found))
        text = ""
        if preview is not None and areas:
            means = [f"{escape(n)} {a.mean() / 100:.1f} cm²" for n, a in areas.items()]
            text = f"Drawn at step {preview.step}: {', '.join(means)} a slice"
        self.areas.setText(text)
        self.areas.setVisible(bool(text))

    def _draw_curves(self, update: RunUpdate) -> None:
        if self.curves is None:
            from napari_uda.gui.train.loss_curves import LossCurves

            self.curves = LossCurves()
            self.curves.set_theme(*self._colours)
            self._plots.replaceWidget(self._hint, self.curves)
            self._hint.deleteLater()
        selects = update.settings.get("select") == "source_validation"
        self.curves.show_curves(curves_of(self.history, selects=selects))

    # -- buttons ----------------------------------------------------------------------------------

    @guarded
    def _on_stop(self) -> None:
        self.stop_requested.emit()

    @guarded
    def _on_discard(self) -> None:
        self.discard_requested.emit()

    @guarded
    def _on_resume(self) -> None:
        self.resume_requested.emit()

    @guarded
    def _on_more(self) -> None:
        self.more_requested.emit()

    @guarded
    def _on_open(self) -> None:
        if self.path is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.path)))


def curves_of(history: RunHistory, *, selects: bool = False) -> list[Curve]:
    """A curve for each scalar of a run, in colours that follow from their order."""
    from napari_uda.gui.train.loss_curves import Curve

    return [
        Curve(
            name,
            title(name, selects=selects),
            *history.series(name),
            PALETTE[index % len(PALETTE)],
            share=is_share(name),
        )
        for index, name in enumerate(history.names())
    ]


def _as_line(hint: Hint) -> str:
    return f"{'⚠' if hint.level == 'warning' else '•'} {escape(hint.text)}"


def _label(name: str) -> QLabel:
    label = QLabel()
    label.setObjectName(name)
    label.setWordWrap(True)
    return label


def _bar(name: str, tip: str) -> QProgressBar:
    bar = QProgressBar()
    bar.setObjectName(name)
    bar.setToolTip(tip)
    bar.setTextVisible(True)
    return bar


def _button(text: str, name: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setObjectName(name)
    button.setToolTip(tip)
    return button
