"""RunList: the runs of this machine and of mounted folders, with their states."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QHideEvent, QShowEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QGridLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_uda.gui.kit import preferences
from napari_uda.gui.kit.jobs import Job
from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.train.known_runs import KnownRun, RunScanner
from napari_uda.gui.train.run_summary import state_text
from napari_uda.run.status import RunState

_FOLDERS = "train/run_folders"
_MOST_FOLDERS = 12
_REFRESH_MS = 3000
_NO_RUNS = "No runs yet: start one under New run, or add a folder that holds runs."
_HEADERS = ("Run", "State", "Method", "Steps")


class RunList(QWidget):
    """Lists runs; what is done with one is said by signals and done elsewhere.

    `watch_requested(Path)`, `compare_requested(list of two Paths)`, `delete_requested(Path)`.

    Attributes:
        table: a row per run, newest first.
        watch, compare, delete, add, refresh: buttons.
    """

    watch_requested = Signal(object)
    compare_requested = Signal(object)
    delete_requested = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scanner = RunScanner()
        self._job: Job | None = None
        self._runs: list[KnownRun] = []
        self._again = False
        self._build()
        self._timer = QTimer(self)
        self._timer.setInterval(_REFRESH_MS)
        self._timer.timeout.connect(self._on_refresh)
        self._update_buttons()

    def _build(self) -> None:
        self.table = QTableWidget(0, len(_HEADERS))
        self.table.setObjectName("run_table")
        self.table.setHorizontalHeaderLabels(_HEADERS)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.table.setShowGrid(False)
        self.table.setWordWrap(False)
        self.table.verticalHeader().setVisible(False)
        self.table.verticalHeader().setDefaultSectionSize(24)
        header = self.table.horizontalHeader()
        header.setMinimumSectionSize(40)
        for column in range(len(_HEADERS)):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.watch = _button("Watch", "watch_run", "Show the run, and follow it while it trains")
        self.compare = _button("Compare", "compare_runs", "Mark two runs to compare them")
        self.delete = _button("Delete…", "delete_run", "Delete the folder of the run")
        self.add = _button(
            "Add folder…", "add_runs", "A folder that holds runs, or a run; mounted ones too"
        )
        self.refresh = _button("Refresh", "refresh_runs", "Look again now")
        self.note = QLabel(_NO_RUNS)
        self.note.setObjectName("note")
        self.note.setWordWrap(True)
        buttons = QGridLayout()
        for index, one in enumerate(
            (self.watch, self.compare, self.delete, self.add, self.refresh)
        ):
            buttons.addWidget(one, index // 3, index % 3)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.note)
        layout.addLayout(buttons)
        self.table.itemSelectionChanged.connect(self._on_selection)
        self.table.cellDoubleClicked.connect(self._on_watch)
        self.watch.clicked.connect(self._on_watch)
        self.compare.clicked.connect(self._on_compare)
        self.delete.clicked.connect(self._on_delete)
        self.add.clicked.connect(self._on_add)
        self.refresh.clicked.connect(self._on_refresh)

    # -- which runs -------------------------------------------------------------------------------

    @property
    def runs(self) -> list[KnownRun]:
        """The rows."""
        return list(self._runs)

    def selected(self) -> list[Path]:
        """Run folders of the marked rows, from top to bottom."""
        rows = sorted({index.row() for index in self.table.selectionModel().selectedRows()})
        return [self._runs[row].path for row in rows if row < len(self._runs)]

    def select(self, paths: Iterable[Path]) -> None:
        """Mark rows."""
        wanted = set(paths)
        self.table.clearSelection()
        mode = self.table.selectionMode()
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.MultiSelection)
        for row, run in enumerate(self._runs):
            if run.path in wanted:
                self.table.selectRow(row)
        self.table.setSelectionMode(mode)

    def add_folder(self, path: Path) -> None:
        """List the runs of a folder, today and in later sessions."""
        kept = [folder for folder in known_folders() if folder != path]
        preferences.settings().setValue(
            _FOLDERS, [str(one) for one in [path, *kept][:_MOST_FOLDERS]]
        )
        self.look()

    def look(self) -> None:
        """Read all states in a thread; the table follows."""
        if self._job is not None:
            self._again = True
            return
        folders = [*known_folders(), Path("runs").absolute()]
        scanner = self._scanner
        job = Job("List runs", lambda report, stop: scanner.scan(folders), self, quiet=True)
        job.succeeded.connect(self._on_scanned)
        job.ended.connect(self._on_ended)
        self._job = job
        job.start()

    @guarded
    def _on_scanned(self, runs: list[KnownRun]) -> None:
        marked = self.selected()
        self.table.blockSignals(True)
        self._runs = runs
        self.table.setRowCount(len(runs))
        for row, run in enumerate(runs):
            steps = f"{run.step} / {run.total}" if run.total else str(run.step)
            state = run.status.state.value
            for column, text in enumerate((run.path.name, state, run.method, steps)):
                item = QTableWidgetItem(text)
                item.setToolTip(f"{run.path}\n{state_text(run.status)}")
                if column == len(_HEADERS) - 1:
                    item.setTextAlignment(
                        Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    )
                self.table.setItem(row, column, item)
        self.select(marked)
        self.table.blockSignals(False)
        problems = self._scanner.problems
        self.note.setText("\n".join(problems) or _NO_RUNS)
        self.note.setVisible(bool(problems) or not runs)
        self._update_buttons()

    @guarded
    def _on_ended(self) -> None:
        self._job = None
        if self._again:
            self._again = False
            self.look()

    def showEvent(self, event: QShowEvent | None) -> None:
        """Keep the list fresh while it is seen."""
        super().showEvent(event)
        self.look()
        self._timer.start()

    def hideEvent(self, event: QHideEvent | None) -> None:
        """Rest while nobody looks."""
        super().hideEvent(event)
        self._timer.stop()

    # -- buttons ----------------------------------------------------------------------------------

    def _update_buttons(self) -> None:
        marked = self.selected()
        states = {run.path: run.status.state for run in self._runs}
        running = any(states.get(path) is RunState.RUNNING for path in marked)
        self.watch.setEnabled(len(marked) == 1)
        self.compare.setEnabled(len(marked) == 2)
        self.delete.setEnabled(len(marked) == 1 and not running)
        self.delete.setToolTip(
            "Stop the run first" if running else "Delete the folder of the marked run"
        )

    @guarded
    def _on_selection(self) -> None:
        self._update_buttons()

    @guarded
    def _on_watch(self) -> None:
        marked = self.selected()
        if len(marked) == 1:
            self.watch_requested.emit(marked[0])

    @guarded
    def _on_compare(self) -> None:
        marked = self.selected()
        if len(marked) == 2:
            self.compare_requested.emit(marked)

    @guarded
    def _on_delete(self) -> None:
        marked = self.selected()
        if len(marked) == 1:
            self.delete_requested.emit(marked[0])

    @guarded
    def _on_add(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Folder that holds runs")
        if chosen:
            self.add_folder(Path(chosen))

    @guarded
    def _on_refresh(self) -> None:
        self.look()


def known_folders() -> list[Path]:
    """Folders that the user added or trained in, newest first."""
    stored = preferences.settings().value(_FOLDERS) or []
    return [Path(one) for one in ([stored] if isinstance(stored, str) else stored)]


def _button(text: str, name: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setObjectName(name)
    button.setToolTip(tip)
    return button
