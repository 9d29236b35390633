"""RunList: the runs of this machine and of mounted folders, with their states."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QItemSelectionModel
from qtpy.QtGui import QHideEvent, QShowEvent
from qtpy.QtWidgets import QFileDialog, QTableWidgetItem

from napari_uda.gui.kit import preferences
from napari_uda.gui.kit.jobs import Job, Looking, Report, background, load_torch
from napari_uda.gui.kit.layout import column, wrapped
from napari_uda.gui.kit.panel import Panel
from napari_uda.gui.kit.tables import TablePlace
from napari_uda.gui.kit.widgets import button, label, right_aligned, text_table
from napari_uda.run.reader import KnownRun, RunScanner
from napari_uda.run.status import RunState

if TYPE_CHECKING:
    from napari_uda.training.select import Candidate, Selection

_FOLDERS = "train/run_folders"
_MOST_FOLDERS = 12
_SECONDS_BETWEEN_LOOKS = 3.0
_RANK, _CANCEL = "Rank", "Cancel"
_NO_RUNS = "No runs yet: start one under New run, or add a folder that holds runs."
_BY_IMPORTANCE = (0, 1, 4, 3, 2)
_HEADERS = ("Run", "State", "Method", "Steps", "Rank")
_ABOUT_RANK = (
    "Rank the marked runs for their target images; no label of these is read.\n"
    "How alike changed slices are segmented, how sure the network is, and whether volumes are as usual: napari-uda select"
)


class RunList(Panel):
    """Lists runs, and keeps the list fresh while it is seen.

    Attributes:
        table: a row per run, newest first.
        runs: what the rows show.
        watch, compare, delete: buttons for the marked runs; what they do is up to the dock.
        rank: button that ranks the marked runs without labels, and stops it again.
        add, refresh: buttons.
    """

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[KnownRun] = []
        self._scan = _Scan()
        self._looking: Looking | None = None
        self._ranking: Job | None = None
        self._ranks: dict[Path, tuple[int, Candidate]] = {}
        self._found = ""  # what the last ranking came to
        self._problems: list[str] = []
        self._build()
        self._update_buttons()

    def _build(self) -> None:
        self.table = text_table(_HEADERS, "run_table", row_pixels=24, wide=(0,))
        self.table.itemSelectionChanged.connect(self._on_selection)
        self.watch = button(
            "Watch", "Show the run, and follow it while it trains", name="watch_run"
        )
        self.compare = button("Compare", "Mark two runs to compare them", name="compare_runs")
        self.rank = button(_RANK, "", self._on_rank, "rank_runs")
        self.delete = button("Delete…", name="delete_run")
        self.add = button(
            "Add folder…",
            "A folder that holds runs, or a run; mounted ones too",
            self._on_add,
            "add_runs",
        )
        self.refresh = button("Refresh", "Look again now", self._on_refresh, "refresh_runs")
        self.note = label("Looking for runs…", "note")
        buttons = wrapped(
            *((one, 1) for one in (self.watch, self.compare, self.rank, self.delete)),
            *((one, 1) for one in (self.add, self.refresh)),
        )
        place = TablePlace(self.table, "Runs", _BY_IMPORTANCE)
        column((place, 1), self.note, buttons, of=self, margin=0)

    # -- which runs -------------------------------------------------------------------------------

    def selected(self) -> list[Path]:
        """Run folders of the marked rows, from top to bottom."""
        rows = sorted({index.row() for index in self.table.selectionModel().selectedRows()})
        return [self.runs[row].path for row in rows if row < len(self.runs)]

    def select(self, paths: Iterable[Path]) -> None:
        """Mark rows."""
        wanted, flags = set(paths), QItemSelectionModel.SelectionFlag
        self.table.clearSelection()
        for row, run in enumerate(self.runs):
            if run.path in wanted:
                index = self.table.model().index(row, 0)
                self.table.selectionModel().select(index, flags.Select | flags.Rows)

    def add_folder(self, path: Path) -> None:
        """List the runs of a folder, today and in later sessions."""
        kept = [folder for folder in known_folders() if folder != path]
        preferences.settings().setValue(
            _FOLDERS, [str(one) for one in [path, *kept][:_MOST_FOLDERS]]
        )
        self.look()

    def look(self) -> None:
        """Read all states in a thread; the table follows."""
        self._scan.folders = [*known_folders(), Path("runs").absolute()]
        if self._looking is None:
            self._looking = Looking(self, "napari_uda runs", self._show)
            self._looking.start(self._scan.look)
        else:
            self._looking.again()

    def _show(self, found: tuple[list[KnownRun], list[str]]) -> None:
        marked = self.selected()
        self.table.blockSignals(True)
        self.runs, self._problems = found
        self.table.setRowCount(len(self.runs))
        for row, run in enumerate(self.runs):
            steps = f"{run.step} / {run.total}" if run.total else str(run.step)
            if not run.step and run.status.state is RunState.FINISHED:
                steps = ""  # a model that was handed on without its numbers
            texts = (run.path.name, run.state, run.method)
            place, scored = self._ranks.get(run.path.resolve(), (0, None))
            rank = f"{place} ({scored.score:.3f})" if scored else ""
            numbers = (right_aligned(steps), right_aligned(rank))
            for index, item in enumerate([*map(QTableWidgetItem, texts), *numbers]):
                item.setToolTip(f"{run.path}\n{run.words}")
                self.table.setItem(row, index, item)
            if scored:
                numbers[1].setToolTip(_about(scored))
        self.select(marked)
        self.table.blockSignals(False)
        self._say()
        self._update_buttons()

    def _say(self) -> None:
        none = [] if self.runs else [_NO_RUNS]
        words = [*(self._problems or none), self._found]
        self.note.setText("\n".join(filter(None, words)))
        self.note.setVisible(any(words))

    def showEvent(self, event: QShowEvent) -> None:
        """Keep the list fresh while it is seen."""
        super().showEvent(event)
        self._scan.pause = _SECONDS_BETWEEN_LOOKS
        self.look()

    def hideEvent(self, event: QHideEvent) -> None:
        """Rest while nobody looks."""
        super().hideEvent(event)
        self._scan.pause = None

    # -- buttons ----------------------------------------------------------------------------------

    def _update_buttons(self) -> None:
        marked = self.selected()
        running = any(run.is_running for run in self.runs if run.path in marked)
        self.watch.setEnabled(len(marked) == 1)
        self.compare.setEnabled(len(marked) == 2)
        ranking = self._ranking is not None
        self.rank.setText(_CANCEL if ranking else _RANK)
        self.rank.setEnabled(ranking or (len(marked) > 1 and not running))
        why = "Stop a run before it is ranked" if running else "Mark several runs to rank them"
        self.rank.setToolTip(
            "Stop ranking" if ranking else _ABOUT_RANK if self.rank.isEnabled() else why
        )
        self.delete.setEnabled(len(marked) == 1 and not running)
        self.delete.setToolTip(
            "Stop the run first" if running else "Delete the folder of the marked run"
        )

    def _on_rank(self) -> None:
        if self._ranking is not None:
            self._ranking.cancel()
            return
        self._rank(self.selected(), None)

    def _rank(self, runs: Sequence[Path], images: Path | None) -> None:
        """Rank in a thread; where the runs have no images in common, the user is asked for a folder."""
        self._ranks, self._found = {}, f"Ranking {len(runs)} runs…"
        self._ranking = background(
            self,
            f"Rank {len(runs)} runs",
            partial(_select, runs, images),
            lambda found: self._on_ranked(runs, found),
            failed=self._on_end,
            cancelled=lambda: self._on_end("Cancelled; nothing was ranked."),
            progressed=self._on_progress,
        )
        self._say()
        self._update_buttons()

    def _on_progress(self, done: int, total: int) -> None:
        self._found = f"Ranking: volume {done} of {total}"
        self._say()

    def _on_ranked(self, runs: Sequence[Path], found: Selection | None) -> None:
        if found is None:
            title = "Folder of images that the runs are to be ranked for"
            chosen = QFileDialog.getExistingDirectory(self, title)
            if chosen:
                self._rank(runs, Path(chosen))
            else:
                self._on_end(
                    "The runs were trained for different images; choose some to rank them."
                )
            return
        scores = [
            one.score for one in found.candidates
        ]  # from high to low; equal ones share a place
        self._ranks = {
            one.run.resolve(): (scores.index(one.score) + 1, one) for one in found.candidates
        }
        first, score = found.choice.run.name, found.choice.score
        equal = sum(one.score == score for one in found.candidates) - 1
        words = f"Without labels, {first} comes first"
        self._on_end(f"{words}, and {equal} more with the same score." if equal else f"{words}.")

    def _on_end(self, words: str) -> None:
        self._ranking, self._found = None, words
        self._show((self.runs, self._problems))

    def _on_selection(self) -> None:
        self._update_buttons()

    def _on_add(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Folder that holds runs")
        if chosen:
            self.add_folder(Path(chosen))

    def _on_refresh(self) -> None:
        self.look()


def _select(
    runs: Sequence[Path], images: Path | None, report: Report, stop: threading.Event
) -> Selection | None:
    """In the thread; None where it is not known for which images."""
    load_torch()
    from napari_uda.training.select import NoImagesError, select

    try:
        return select(runs, images, on_progress=report, stop=stop)
    except NoImagesError:
        return None


def _about(one: Candidate) -> str:
    """What a rank is made of."""
    from napari_uda.training.volume_score import PARTS

    parts = ", ".join(f"{part} {one.mean(part):.3f}" for part in PARTS)
    count = len(one.volumes)
    return f"Score {one.score:.3f} of {count} volume{'s' * (count != 1)}, without labels: {parts}"


class _Scan:
    """What the thread of the list does, and what it is told: nothing of Qt.

    Attributes:
        folders: where to look for runs.
        pause: seconds until the next look; None for none.
    """

    def __init__(self) -> None:
        self.folders: list[Path] = []
        self.pause: float | None = None
        self._scanner = RunScanner()

    def look(self) -> tuple[tuple[list[KnownRun], list[str]], float | None]:
        runs = self._scanner.scan(self.folders)
        return (runs, self._scanner.problems), self.pause


def known_folders() -> list[Path]:
    """Folders that the user added or trained in, newest first."""
    stored = preferences.settings().value(_FOLDERS) or []
    return [Path(one) for one in ([stored] if isinstance(stored, str) else stored)]
