"""ModelsPanel: what each run is for, how it scored and under which licence; runs come and go as one file."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QFileDialog, QLineEdit, QTableWidget, QTableWidgetItem, QWidget

from napari_uda.core.errors import InputError
from napari_uda.gui.kit.jobs import background, load_torch, running
from napari_uda.gui.kit.layout import Scrolling, column, form, wrapped
from napari_uda.gui.kit.models import is_shipped, known_models, remember_model, title_of
from napari_uda.gui.kit.panel import Panel
from napari_uda.gui.kit.tables import TablePlace
from napari_uda.gui.kit.widgets import button, label, named, text_table

if TYPE_CHECKING:
    from napari_uda.experiments.model_card import ModelCard

_HEADERS = ("Model", "For", "Mean Dice")
_PACKED = "Packed runs (*.zip)"
_READING = "Reading the models…"
_NO_MODELS = "No trained run is known yet. Import one, or train one in the Train dock."


@dataclass(frozen=True)
class _Known:
    title: str
    path: Path
    card: ModelCard


class ModelsPanel(Panel):
    """Lists trained runs with their cards.

    Attributes:
        table: a row per run.
        card: everything that is known of the chosen one.
        purpose, licence: what its owner says of it; kept in the run.
        status: one sentence.
    """

    def __init__(self) -> None:
        super().__init__()
        self._known: list[_Known] = []
        self._build()
        self._lay_out()
        self._update_buttons()

    def _build(self) -> None:
        self.table = text_table(_HEADERS, "model_table", wide=(0, 1))
        # a table of few rows leaves its room to the card
        self.table.setSizeAdjustPolicy(QTableWidget.SizeAdjustPolicy.AdjustToContents)
        self.table.itemSelectionChanged.connect(self._on_chosen)
        self.card = label(name="model_card")
        self.card.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.purpose = named(QLineEdit(), "purpose", "What the model is for, in a sentence")
        self.licence = named(
            QLineEdit(), "licence", "Under which the weights may be used, such as CC-BY-4.0"
        )
        for field in (self.purpose, self.licence):
            field.editingFinished.connect(self._on_said)
        self.export = button("Export…", slot=self._on_export, name="export_model")
        self.take_in = button(
            "Import…",
            "A file that Export or `napari-uda pack` wrote; a folder of that name is made for it",
            self._on_import,
            "import_model",
        )
        self.add = button(
            "Add run…", "The folder of a trained run on this machine", self._on_add, "add_model"
        )
        self.status = label(name="model_status")

    def _lay_out(self) -> None:
        place = QWidget()  # a label alone would not tell that it has other lines
        column(self.card, of=place, margin=0)
        column(
            (TablePlace(self.table, "Models", (0, 2, 1)), 1),
            Scrolling(place),
            form(("For", self.purpose), ("Licence", self.licence)),
            wrapped((self.export, 1), (self.take_in, 1), (self.add, 1)),
            self.status,
            of=self,
            margin=4,
        )

    @property
    def is_settled(self) -> bool:
        """Whether no run is being read or written."""
        return not running(self)

    @property
    def model(self) -> Path | None:
        """Run folder of the chosen row."""
        chosen = self._chosen()
        return None if chosen is None else chosen.path

    # -- the list ---------------------------------------------------------------------------------

    def showEvent(self, event: QShowEvent) -> None:
        """Read the runs that are known now."""
        super().showEvent(event)
        self.look()

    def look(self, wanted: Path | None = None) -> None:
        """Read all cards in a thread; the row of `wanted` is chosen then."""
        if not self._known:
            self.status.setText(_READING)
        background(
            self, "Read the models", _read_all, lambda found: self._show(found, wanted), quiet=True
        )

    def _show(self, found: list[_Known], wanted: Path | None) -> None:
        wanted = wanted or self.model
        self._known = found
        self.table.blockSignals(True)
        self.table.setRowCount(len(found))
        for index, one in enumerate(found):
            mean = one.card.dice.get("mean")
            known = mean is not None and not one.card.outdated
            texts = (one.title, one.card.purpose, f"{mean:.3f}" if known else "–")
            for place, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setToolTip(f"{text}\n{one.path}")
                self.table.setItem(index, place, item)
        self.table.blockSignals(False)
        rows = [index for index, one in enumerate(found) if one.path == wanted]
        if found:
            self.table.selectRow(rows[0] if rows else 0)
        if not found:
            self.status.setText(_NO_MODELS)
        elif self.status.text() in (_READING, _NO_MODELS):  # what was done just now stays
            self.status.setText("")
        self._on_chosen()

    def _chosen(self) -> _Known | None:
        rows = self.table.selectionModel().selectedRows()
        index = rows[0].row() if rows else -1
        return self._known[index] if 0 <= index < len(self._known) else None

    def _on_chosen(self) -> None:
        chosen = self._chosen()
        card = None if chosen is None else chosen.card
        self.card.setText("" if card is None else _in_short(card))
        self.card.setToolTip("" if card is None else f"Weights: sha256 {card.weights_sha256}")
        self.purpose.setText("" if card is None else card.purpose)
        self.licence.setText("" if card is None else card.licence)
        for field in (self.purpose, self.licence):
            field.setCursorPosition(0)
        self._update_buttons()
        if chosen is not None and not chosen.card.weights_sha256:
            self._count(chosen)

    def _count(self, chosen: _Known) -> None:
        """The checksum needs all weights, and comes later."""
        path = chosen.path
        background(
            self,
            "Read the weights",
            lambda: _read(path, checksum=True),
            self._on_counted,
            failed=self.status.setText,
            quiet=True,
        )

    def _on_counted(self, found: _Known) -> None:
        self._known = [found if one.path == found.path else one for one in self._known]
        if found.path == self.model:
            self._on_chosen()

    def _update_buttons(self) -> None:
        chosen = self._chosen()
        own = chosen is not None and not is_shipped(chosen.path)
        self.purpose.setEnabled(own)
        self.licence.setEnabled(own)
        self.export.setEnabled(chosen is not None)
        self.export.setToolTip(
            "One file to hand on: what predicts, and this card; no names or places of patients"
            if chosen is not None
            else "Choose a model first"
        )

    # -- what is done with them -------------------------------------------------------------------

    def _on_said(self) -> None:
        """Keep what the owner says of the run."""
        chosen = self._chosen()
        if chosen is None or is_shipped(chosen.path):
            return
        said = {
            name: text
            for name, text in (
                ("purpose", self.purpose.text().strip()),
                ("licence", self.licence.text().strip()),
            )
            if text and text != getattr(chosen.card, name)
        }
        if said:
            path = chosen.path
            background(
                self,
                "Write the card",
                lambda: _write(path, said),
                lambda _: self.look(path),
                failed=self.status.setText,
                quiet=True,
            )

    def _on_export(self) -> None:
        chosen = self._chosen()
        if chosen is None:
            return
        name, _ = QFileDialog.getSaveFileName(
            self, "Export the model", f"{chosen.card.name}.zip", _PACKED
        )
        if name:
            file = Path(name if name.endswith(".zip") else f"{name}.zip")
            path = chosen.path
            background(
                self,
                "Export the model",
                lambda: _pack(path, file),
                lambda _: self.status.setText(f"{file.name} holds the model and its card."),
                failed=self.status.setText,
            )

    def _on_import(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Import a model", "", _PACKED)
        if name:
            self.import_file(Path(name))

    def import_file(self, file: Path) -> None:
        """Make a run folder of a packed run, under `runs` in the current folder."""
        background(
            self,
            "Import the model",
            lambda: _unpack(file, Path("runs").absolute()),
            self._on_imported,
            failed=self.status.setText,
        )

    def _on_imported(self, run: Path) -> None:
        remember_model(run)
        self.look(run)
        self.status.setText(f"{run.name} can be chosen in Segment now; it lies in {run}.")

    def _on_add(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Folder of a trained run")
        if name:
            path = Path(name).resolve()
            background(
                self,
                "Read the model",
                lambda: _read(path),
                lambda found: self._on_imported(found.path),
                failed=self.status.setText,
                quiet=True,
            )


def _in_short(card: ModelCard) -> str:
    """What the fields do not say; a checksum by its beginning, which is as wide as a dock may be."""
    lines = dict(card.lines()) | {"For": "", "Licence": ""}
    lines["Weights"] = f"sha256 {card.weights_sha256[:12]}…" if card.weights_sha256 else ""
    return "\n".join(f"{title}: {text}" for title, text in lines.items() if text)


def _read_all() -> list[_Known]:
    """In the thread: whatever is listed and can be read."""
    found = []
    for _, path in known_models():
        with suppress(InputError):  # not trained yet, or damaged: the Train dock lists those
            found.append(_read(path))
    return found


def _read(path: Path, *, checksum: bool = False) -> _Known:
    load_torch()
    from napari_uda.experiments.model_card import read_card

    return _Known(title_of(path), path, read_card(path, checksum=checksum))


def _write(path: Path, said: dict[str, str]) -> None:
    load_torch()
    from napari_uda.experiments.model_card import write_card

    write_card(path, **said)


def _pack(path: Path, file: Path) -> None:
    load_torch()
    from napari_uda.experiments.model_pack import pack

    pack(path, file)


def _unpack(file: Path, runs: Path) -> Path:
    """The run folder: the file's name, with a number where that is taken."""
    load_torch()
    from napari_uda.experiments.model_pack import unpack

    names = (file.stem, *(f"{file.stem}_{number}" for number in range(2, 1000)))
    out = next(runs / name for name in names if not (runs / name).exists())
    unpack(file, out)
    return out
