"""LivePreviews: the switch, the slices and the layers of the previews of a run in training."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from napari.components import ViewerModel
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QListWidget

from napari_uda.gui.kit.canvas_panels import panels_button
from napari_uda.gui.kit.jobs import Turns, background
from napari_uda.gui.kit.layout import column, wrapped
from napari_uda.gui.kit.panel import Panel
from napari_uda.gui.kit.widgets import SpinBox, check_box, combo_box, label, named, tool_button
from napari_uda.gui.train.training_layers import PreviewLayers
from napari_uda.run.folder import PreviewRequest, RunFolder, SlicePlace
from napari_uda.run.reader import Preview, RunUpdate

_SECONDS = 2.0
_ROWS = 3
_MOST = 12


class LivePreviews(Panel):
    """Asks the trainer of the watched run for previews and shows them in the viewer.

    Attributes:
        wanted: whether previews are asked for and shown.
        slices: which ones.
        problem: why there are none.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._layers = PreviewLayers(viewer)
        self._path: Path | None = None
        self._asked = False
        self._turn = threading.Lock()  # a thread must not ask after the dock has left
        self._running = False
        self._refused = ""  # why the run was not asked
        self._newest: Preview | None = None
        self._drawn: Preview | None = None
        self._turns = Turns(self)  # in which layers come and go
        self._turns.rested.connect(self._on_rested)
        self.wanted = check_box(
            "Live previews",
            "Input, translation, prediction, entropy, reliable pixels and views of the chosen slices.\n"
            "They cost the run a tenth of its time at most and do not change its weights.",
            self._on_wanted,
            "live_previews",
        )
        self.slices = SliceChoice()
        self.problem = label(name="no_preview")
        column(
            wrapped((self.wanted, 1), panels_button(viewer)),
            self.slices,
            self.problem,
            of=self,
            margin=0,
        )
        self.problem.setVisible(False)
        self.slices.setVisible(False)
        self.slices.changed.connect(self._on_slices_changed)
        self.slices.chosen.currentRowChanged.connect(self._on_slice_marked)

    @property
    def is_settled(self) -> bool:
        """Whether no layers are on their way."""
        return not self._turns.is_busy

    def watch(self, path: Path | None) -> None:
        """Turn to another run, or to none."""
        if path == self._path:
            return
        self.leave()
        self._hide()
        self._path, self._newest = path, None
        self._running, self._refused = False, ""
        self.slices.clear()
        self._tell()

    def take(self, update: RunUpdate) -> None:
        """What a look at the run found."""
        self.slices.set_choices(update.slices)
        if update.preview is not None:
            self._newest = update.preview
            self.slices.set_places(update.preview.places)
        self._running = update.is_running
        if self.wanted.isChecked():
            if update.is_running and not self._asked:
                self._ask()
            self._draw()
        self._tell()

    def _tell(self) -> None:
        """Why no preview is seen though they are wanted; nothing when one is."""
        said = self._refused
        if not said and self._newest is None and self._path is not None:
            said = (
                "Waiting for the first preview of this run…"
                if self._running
                else "This run is not training now and has left no preview."
            )
        self.problem.setText(said)
        self.problem.setVisible(bool(said) and self.wanted.isChecked())

    def end(self) -> None:
        """Leave for good, and remove the layers at once: no turn of the event loop will come for them."""
        self.leave()
        self._path = None
        self._turns.drop()
        for _ in self._layers.hide():
            pass

    def leave(self) -> None:
        """Nobody looks any more: let the trainer save the time."""
        with self._turn:
            if self._path is not None and self._asked:
                RunFolder(self._path).refuse_previews()
            self._asked = False

    def _ask(self) -> None:
        if self._path is None:
            return
        self._asked = True
        request = PreviewRequest(self.slices.places, _SECONDS)
        background(
            self,
            "Ask for previews",
            partial(self._write, self._path, request),
            lambda _: self._on_problem(""),
            failed=self._on_problem,
            quiet=True,
        )

    def _write(self, path: Path, request: PreviewRequest) -> None:
        """In the thread."""
        with self._turn:
            if self._asked and path == self._path:
                RunFolder(path).ask_for_previews(request)

    def _on_problem(self, text: str) -> None:
        self._refused = text
        self._tell()

    def _on_wanted(self, wanted: bool) -> None:
        self.slices.setVisible(wanted)
        self._tell()
        if wanted:
            self._draw()
        else:
            self.leave()
            self._hide()

    def _on_slices_changed(self) -> None:
        self._ask()

    def _on_slice_marked(self, index: int) -> None:
        self._layers.go_to(index)

    # -- layers -----------------------------------------------------------------------------------

    def _hide(self) -> None:
        """Remove the layers, also those that are on their way."""
        self._drawn = None
        self._turns.drop()
        self._turns.take(self._layers.hide())

    def _draw(self) -> None:
        """Show the newest preview, a few layers per turn of the event loop; the one on its way first."""
        newest, path = self._newest, self._path
        if self._turns.is_busy or path is None or newest is None or newest is self._drawn:
            return
        self._drawn = newest
        self._turns.take(self._layers.show(newest, path.name))

    def _on_rested(self) -> None:
        if self.wanted.isChecked():
            self._draw()


class SliceChoice(Panel):
    """A list of slices that grows and shrinks; `changed()` says that the user chose others.

    Attributes:
        cases: volume to take a slice of.
        number: the slice.
        add, remove: buttons.
        chosen: the list.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._places: list[SlicePlace] = []
        self._choices: dict[str, dict[str, int]] = {}
        self._by_user = False
        self.cases = combo_box(
            (),
            "Training volume to take a slice of",
            self._on_case,
            "preview_cases",
            least_letters=6,
        )
        self.number = named(
            SpinBox(), "preview_slice", "Slice of the volume, from foot, back or left"
        )
        self.number.setPrefix("slice ")
        self.add = tool_button("+", slot=self._on_add, name="add_slice")
        self.remove = tool_button(
            "−", "Take the marked slice out of the list", self._on_remove, "remove_slice"
        )
        self.chosen = named(
            QListWidget(),
            "chosen_slices",
            "Slices of the live previews; a click shows one of them in the viewer",
        )
        self.chosen.setFixedHeight(_ROWS * 20 + 6)
        self.chosen.currentRowChanged.connect(self._on_row_changed)
        column(
            wrapped((self.cases, 1), self.number, self.add, self.remove),
            self.chosen,
            of=self,
            margin=0,
        )
        self._update_buttons()

    @property
    def places(self) -> tuple[SlicePlace, ...]:
        """What the user chose; empty as long as the trainer may choose."""
        return tuple(self._places) if self._by_user else ()

    def clear(self) -> None:
        """Forget a run."""
        self._by_user = False
        self.set_choices({})
        self._show([])

    def set_choices(self, choices: Mapping[str, Mapping[str, int]]) -> None:
        """Offer volumes.

        Args:
            choices: domain to case to number of slices.
        """
        new = {domain: dict(cases) for domain, cases in choices.items()}
        if new == self._choices:
            return
        self._choices = new
        self.cases.clear()
        for domain, cases in new.items():
            for case, count in cases.items():
                self.cases.addItem(f"{domain} · {case}", (domain, case, count))
        self._update_buttons()

    def set_places(self, places: Sequence[SlicePlace]) -> None:
        """Show what a preview holds, unless the user chose otherwise since."""
        if not self._by_user:
            self._show(list(places))

    def _show(self, places: list[SlicePlace]) -> None:
        if places == self._places:
            return
        marked = self.chosen.currentRow()
        self._places = places
        self.chosen.blockSignals(True)
        self.chosen.clear()
        self.chosen.addItems([f"{one.domain} · {one.case} · {one.index}" for one in places])
        self.chosen.setCurrentRow(min(marked, len(places) - 1))
        self.chosen.blockSignals(False)
        self._update_buttons()

    def _choose(self, places: list[SlicePlace]) -> None:
        self._by_user = True
        self._show(places)
        self.changed.emit()

    def _update_buttons(self) -> None:
        offered, full = self.cases.count() > 0, len(self._places) >= _MOST
        for widget in (self.cases, self.number):
            widget.setEnabled(offered)
        self.add.setEnabled(offered and not full)
        if full:
            self.add.setToolTip(f"{_MOST} slices are the most; take one out of the list first")
        elif offered:
            self.add.setToolTip("Show this slice while the run trains")
        else:
            self.add.setToolTip("The volumes are known with the first preview of a run")
        self.remove.setEnabled(len(self._places) > 1 and self.chosen.currentRow() >= 0)

    def _on_case(self) -> None:
        entry = self.cases.currentData()
        if entry is not None:
            _, _, count = entry
            self.number.setRange(0, count - 1)
            self.number.setValue(count // 2)

    def _on_add(self) -> None:
        domain, case, _ = self.cases.currentData()
        place = SlicePlace(domain, case, self.number.value())
        if place not in self._places:
            self._choose([*self._places, place])

    def _on_remove(self) -> None:
        marked = self.chosen.currentRow()
        if marked >= 0:
            self._choose([place for index, place in enumerate(self._places) if index != marked])

    def _on_row_changed(self) -> None:
        self._update_buttons()
