"""Dock `Train`: compose a run, watch it, list and compare runs. Training itself is a process of its own."""

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import napari.viewer
from napari.utils.notifications import show_error
from napari.utils.theme import get_theme
from qtpy.QtCore import QEvent, QObject, QThread
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QInputDialog,
    QMainWindow,
    QMessageBox,
    QStackedWidget,
    QTabWidget,
    QWidget,
)

from napari_uda.core.errors import InputError
from napari_uda.gui.kit.dock import AROUND, Dock
from napari_uda.gui.kit.jobs import load_torch
from napari_uda.gui.kit.layout import column
from napari_uda.gui.kit.panel import listen
from napari_uda.gui.kit.widgets import compact, named
from napari_uda.gui.train.run_comparison import RunComparison
from napari_uda.gui.train.run_list import RunList
from napari_uda.gui.train.train_form import TrainForm
from napari_uda.gui.train.training_process import TrainingProcess
from napari_uda.gui.train.watch_tab import WatchTab
from napari_uda.run.folder import RunFolder, StopRequest
from napari_uda.run.reader import RunUpdate
from napari_uda.run.status import RunState, run_status

_MOST_STEPS = 10_000_000
_STOPPED = 130  # exit code of a run that was asked to stop
_BAD_INPUT = 2
_FULL_BYTES = 2**20
_ENDED = frozenset(RunState) - {RunState.RUNNING}
_HELP = (
    "New run asks what data you have, offers the methods that can learn from it, and starts one.",
    "Watch shows the curves of a run, what they hint at, and live previews of its slices.",
    "Runs lists what was trained on this machine and in folders that you add, and compares two runs.",
    "Training is a process of its own: it goes on when napari is closed, and Runs finds it again.",
    "Stop saves, so that the run can be resumed; Cancel deletes the run.",
)


class TrainDock(Dock):
    """Starts and ends training processes, and leads from one part of the dock to another.

    Attributes:
        viewer: where the previews are shown.
        processes: the training processes whose end was not noticed yet, by run folder.
        form: settings of a new run.
        watch: the run that is watched.
        previews: its live previews.
        runs: all runs.
        comparison: two of them.
        tabs: New run, Watch, Runs.
    """

    manual = ("Train", _HELP)

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__(napari_viewer)
        self.processes: dict[Path, TrainingProcess] = {}
        self._created: set[Path] = set()  # runs of this dock that have not trained yet
        self._discarding: set[Path] = set()
        self._again: set[Path] = set()  # to be resumed once their process has ended
        self._window: QMainWindow | None = None
        self.form = TrainForm(napari_viewer)
        self.watch = WatchTab(napari_viewer)
        self.previews = self.watch.previews
        self.runs = RunList()
        self.comparison = RunComparison()
        self._lists = QStackedWidget()
        self._lists.addWidget(self.runs)
        self._lists.addWidget(self.comparison)
        self.tabs = compact(named(QTabWidget(), "train_tabs"))
        self.tabs.addTab(self.form, "New run")
        self.tabs.addTab(self.watch, "Watch")
        self.tabs.addTab(self._lists, "Runs")
        self.open_bar.add(self.help)
        column(self.open_bar, (self.tabs, 1), of=self).setContentsMargins(*AROUND)
        self._connect()
        self._on_theme()

    def _connect(self) -> None:
        self.form.started.connect(self._on_started)
        self.watch.updated.connect(self._on_updated)
        self.watch.stop.clicked.connect(self._on_stop)
        self.watch.discard.clicked.connect(self._on_discard)
        self.watch.resume.clicked.connect(self._on_resume)
        self.watch.more.clicked.connect(self._on_more)
        self.runs.watch.clicked.connect(self._on_watch)
        self.runs.table.cellDoubleClicked.connect(self._on_watch)
        self.runs.compare.clicked.connect(self._on_compare)
        self.runs.delete.clicked.connect(self._on_delete)
        self.comparison.back.clicked.connect(self._on_back)
        listen(self, self._on_theme, self.viewer.events.theme)

    @property
    def is_settled(self) -> bool:
        """Whether nothing is on its way but training itself."""
        return self.previews.is_settled and super().is_settled

    def _on_theme(self) -> None:
        theme = get_theme(self.viewer.theme)
        for curves in (self.watch.curves, self.comparison.curves):
            curves.set_theme(theme.background.as_hex("long"), theme.text.as_hex("long"))

    def _on_problem(self, problem: str) -> None:
        self.watch.say(problem)
        show_error(problem)

    # -- watching ---------------------------------------------------------------------------------

    def attach(self, path: Path) -> None:
        """Watch a run folder, whoever trains it, here or behind a mounted folder."""
        self.watch.attach(path.absolute())
        self.tabs.setCurrentWidget(self.watch)

    def go_on_with_corrected(self, run: Path | None, corrected: Path) -> None:
        """Show a new run that starts from a run and learns from corrected cases; see `TrainForm`."""
        self.tabs.setCurrentWidget(self.form)
        self.form.go_on_with_corrected(run, corrected)

    def _on_watch(self) -> None:
        marked = self.runs.selected()
        if len(marked) == 1:
            self.attach(marked[0])

    def _on_updated(self, update: RunUpdate) -> None:
        if update.lines:
            self._created.discard(update.path)
        over = not update.is_running and update.path not in self.processes
        if over and update.path in self._discarding:
            self._delete(update.path)

    # -- starting ---------------------------------------------------------------------------------

    def _on_started(self, order: tuple[Path, Any]) -> None:
        run_dir, config = order
        self._create(run_dir, lambda: config)

    def _create(self, run_dir: Path, settings: Callable[[], Any]) -> None:
        """Make the run folder in a thread, then train in it."""
        self._aside("Create the run", partial(_create_run, run_dir, settings), self._on_created)

    def _on_created(self, path: Path) -> None:
        self._created.add(path)
        self.runs.add_folder(path.parent)
        self._train(path)

    def _train(self, path: Path) -> None:
        """Start a process for a run folder and watch it."""
        known = self.processes.get(path)
        if known is not None and known.is_running:  # it has saved, and is about to end
            self._again.add(path)
            self.watch.say("Resuming…", until=(RunState.RUNNING,))
            return
        process = TrainingProcess(path, self)
        process.ended.connect(partial(self._on_ended, process))
        self.processes[path] = process
        process.start()
        self.attach(path)
        self.watch.say("Starting the training process…", until=(RunState.RUNNING,))

    def _on_resume(self) -> None:
        if self.watch.path is not None:
            self._train(self.watch.path)

    def _on_more(self) -> None:
        path, update = self.watch.path, self.watch.update_seen
        if path is None or update is None:
            return
        steps, agreed = QInputDialog.getInt(
            self,
            "Continue with more steps",
            "A new run starts from the weights of this one. Learning rates begin anew\n"
            "and fall over its own steps. How many?",
            max(1, update.total),
            1,
            _MOST_STEPS,
        )
        if agreed:
            self.continue_run(path, steps)

    def continue_run(self, path: Path, steps: int) -> None:
        """Train a new run of `steps` steps from the weights of a finished one, beside it."""
        from napari_uda.run.continuation import folder_for_more, more_steps
        from napari_uda.run.run import Run

        self._create(folder_for_more(path), lambda: more_steps(Run.open(path), steps))

    # -- ending -----------------------------------------------------------------------------------

    def _on_stop(self) -> None:
        path = self.watch.path
        if path is not None:
            self._ask(path, "save")
            self.watch.say("Saving after the current step…", until=_ENDED)

    def _on_discard(self) -> None:
        path = self.watch.path
        if path is None:
            return
        text = (
            f"End training and delete {path}?\n\nEverything in this run is lost: weights, curves, "
            "predictions, steps of earlier sessions too. Stop would save it."
        )
        if self._agreed("Cancel training", text):
            self.discard(path)

    def discard(self, path: Path) -> None:
        """End a run without saving, and delete it."""
        self._discarding.add(path)
        self.watch.say("Cancelling…", until=_ENDED)
        process = self.processes.get(path)
        if process is not None and process.is_running:
            process.kill()  # deleted once it has ended
        else:
            self._ask(path, "discard")

    def _ask(self, path: Path, request: StopRequest) -> None:
        """Leave a request for the trainer."""
        process = self.processes.get(path)
        if process is not None and process.is_running and request == "save":
            self._aside("Ask to stop", process.stop)
        else:
            self._aside("Ask to stop", partial(RunFolder(path).ask_to_stop, request))

    def _on_ended(self, process: TrainingProcess, code: int) -> None:
        path = process.folder.path
        process.deleteLater()
        if self.processes.get(path) is not process:  # resumed before its end was noticed
            return
        del self.processes[path]
        again = path in self._again
        self._again.discard(path)
        if path in self._discarding:
            self._delete(path)
            return
        if again and code in (0, _STOPPED):
            self._train(path)
            return
        words = process.last_words()
        may_take_back = path in self._created and code == _BAD_INPUT
        self._created.discard(path)
        if path == self.watch.path:
            self.watch.say("")
        if code in (0, _STOPPED):
            return
        self._aside(
            "Read how training ended",
            partial(_outcome, path, code, words, may_take_back),
            partial(self._on_outcome, path),
        )

    def _on_outcome(self, path: Path, outcome: tuple[str, bool]) -> None:
        sentence, taken_back = outcome
        if path == self.watch.path:
            if taken_back:
                self.watch.leave()
                self.tabs.setCurrentWidget(self.form)
            self.watch.say(sentence)
        show_error(f"{path.name}: {sentence}")

    # -- deleting ---------------------------------------------------------------------------------

    def _on_delete(self) -> None:
        marked = self.runs.selected()
        if len(marked) != 1:
            return
        text = f"Delete {marked[0]}?\n\nWeights, curves and predictions of this run are lost."
        if self._agreed("Delete the run", text):
            self._delete(marked[0])

    def _delete(self, path: Path) -> None:
        self._discarding.discard(path)
        if path == self.watch.path:
            self.watch.leave()
        self._aside("Delete the run", RunFolder(path).delete, lambda _: self.runs.look())

    def _agreed(self, title: str, text: str) -> bool:
        buttons = QMessageBox.StandardButton
        answer = QMessageBox.question(self, title, text, buttons.Yes | buttons.No, buttons.No)
        return bool(answer == buttons.Yes)

    # -- comparing --------------------------------------------------------------------------------

    def _on_compare(self) -> None:
        marked = self.runs.selected()
        if len(marked) == 2:
            self._lists.setCurrentWidget(self.comparison)
            self.comparison.compare(*marked)

    def _on_back(self) -> None:
        self._lists.setCurrentWidget(self.runs)

    def put_back(self) -> None:
        """End the previews; training goes on, and Runs of the next dock finds it."""
        self.previews.end()

    # -- closing napari ---------------------------------------------------------------------------

    def showEvent(self, event: QShowEvent) -> None:
        """Hear when the window is closed: a docked widget gets no close event of its own."""
        super().showEvent(event)
        window = self._main_window()
        if window is not None and window is not self._window:
            self._window = window
            window.installEventFilter(self)

    def _main_window(self) -> QMainWindow | None:
        """The window of napari, also while the dock floats in one of its own."""
        windows = [one for one in _ancestors(self) if isinstance(one, QMainWindow)]
        return windows[-1] if windows else None

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Ask what becomes of training before the window closes."""
        if event.type() != QEvent.Type.Close or watched is not self._window:
            return False
        if not self._may_close(ask=is_of_user(event)):
            event.ignore()
            return True
        return False

    def _may_close(self, *, ask: bool) -> bool:
        """Whether napari may close; what the user wants of running trainings is done.

        Without anybody to ask they go on, which loses nothing: they can be watched, stopped or resumed later.
        """
        running = [path for path, process in self.processes.items() if process.is_training]
        if running and ask:
            answer = self.ask_about_closing(running)
            if answer == "stay":
                return False
            if answer == "stop":
                for path in running:
                    try:
                        self.processes[path].stop()  # it saves and ends by itself
                    except InputError as error:
                        show_error(str(error))
                        return False
        self.previews.leave()
        return True

    def ask_about_closing(self, running: list[Path]) -> str:
        """Ask the user: "stop" (and save), "go_on" (without napari) or "stay"."""
        names = ", ".join(path.name for path in running)
        box = QMessageBox(self)
        box.setIcon(QMessageBox.Icon.Question)
        box.setWindowTitle("Training goes on")
        box.setText(f"{names} {'is' if len(running) == 1 else 'are'} still training.")
        box.setInformativeText(
            "Training can go on without napari: open the Train dock later, and choose the run under Runs."
        )
        stop = box.addButton("Stop and save", QMessageBox.ButtonRole.AcceptRole)
        go_on = box.addButton("Let it go on", QMessageBox.ButtonRole.AcceptRole)
        box.addButton("Stay", QMessageBox.ButtonRole.RejectRole)
        box.setDefaultButton(go_on)
        box.exec()
        answers = ((stop, "stop"), (go_on, "go_on"))
        return next((said for one, said in answers if box.clickedButton() == one), "stay")


def _ancestors(widget: QWidget) -> Iterator[QWidget]:
    parent = widget.parentWidget()
    while parent is not None:
        yield parent
        parent = parent.parentWidget()


def is_of_user(closing: QEvent) -> bool:
    """Whether somebody sits there who closes the window and can answer a question.

    A click on the window's own button comes from the window system. napari's menu and its key close the window
    as a script does, so for them it counts that an event loop runs: a script that closes the viewer by itself,
    `viewer.close()`, mostly has none. One that does so from a timer is taken for a user.
    """
    return bool(closing.spontaneous() or QThread.currentThread().loopLevel() > 0)


def _create_run(run_dir: Path, settings: Callable[[], Any]) -> Path:
    """In the thread: a new run folder."""
    load_torch()
    from napari_uda.run.run import Run

    return Run.create(run_dir.absolute(), settings()).path


def _outcome(path: Path, code: int, words: str, may_take_back: bool) -> tuple[str, bool]:
    """In the thread: a sentence on a process that failed, and whether its run was taken back."""
    folder = RunFolder(path)
    status = run_status(folder)
    reason = status.reason if status.state is RunState.FAILED else words
    kind, _, rest = reason.partition(": ")
    if kind == "InputError":
        reason = rest
    if code < 0:
        reason = (
            f"The training process was ended by signal {-code}, perhaps because memory ran out; "
            "Resume continues from the last checkpoint."
        )
    taken_back = may_take_back and not folder.has_trained()
    if taken_back:
        folder.take_back()
    if not reason and _is_full(path):
        reason = (
            f"The disk of {path} is full, so training could not continue; free space there, and Resume "
            "continues from the last checkpoint."
        )
    return (
        reason or f"The training process ended with code {code}; log.txt may say why.",
        taken_back,
    )


def _is_full(path: Path) -> bool:
    """Whether the disk takes no more: then a run cannot even say so."""
    try:
        return shutil.disk_usage(path).free < _FULL_BYTES
    except OSError:
        return False
