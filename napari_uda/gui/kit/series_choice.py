"""The question which of several volumes, such as the series of a DICOM study, are to be opened."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QItemSelectionModel
from qtpy.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QDialogButtonBox,
    QTableWidgetItem,
    QWidget,
)

from napari_uda.gui.kit.layout import column
from napari_uda.gui.kit.panel import Guarded
from napari_uda.gui.kit.widgets import label, text_table
from napari_uda.run.offers import Offer

_COLUMNS = ("Description", "Modality", "Slices", "Size", "Date", "Case")
_TALL, _LEAST, _MOST = 340, 680, 0.9  # pixels, pixels, and share of the screen's width
_AROUND = 40  # pixels: frame of the table, margins of the dialog


class SeriesDialog(Guarded, QDialog):
    """A table of volumes, the one with the most slices chosen; Open, or a double click, takes what is chosen."""

    def __init__(self, offers: Sequence[Offer], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._offers = offers
        self.setWindowTitle("Several volumes")
        self.table = text_table(_COLUMNS, "series", wide=(0,))
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.table.setRowCount(len(offers))
        for number, offer in enumerate(offers):
            cells = (
                offer.description,
                offer.modality,
                offer.slices,
                offer.size,
                offer.date,
                offer.name,
            )
            for place, text in enumerate(cells):
                cell = QTableWidgetItem(text)
                cell.setToolTip(text)
                self.table.setItem(number, place, cell)
        kinds = QDialogButtonBox.StandardButton
        self.buttons = QDialogButtonBox(kinds.Open | kinds.Cancel)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        self.table.cellDoubleClicked.connect(self._on_double_clicked)
        self.table.itemSelectionChanged.connect(self._on_selected)
        about = f"There are {len(offers)} volumes. Choose one, or several with Ctrl or Shift."
        column(label(about), (self.table, 1), self.buttons, of=self)
        self.resize(self._wide_enough(), _TALL)
        self.table.selectRow(max(range(len(offers)), key=lambda row: int(offers[row].slices or 0)))

    def _wide_enough(self) -> int:
        """Pixels that show every column in full, as far as the screen has them."""
        table, header = self.table, self.table.horizontalHeader()
        columns = sum(
            max(table.sizeHintForColumn(place), header.sectionSizeHint(place))
            for place in range(table.columnCount())
        )
        around = table.verticalScrollBar().sizeHint().width() + _AROUND
        return max(
            _LEAST, min(columns + around, round(_MOST * self.screen().availableSize().width()))
        )

    @property
    def chosen(self) -> list[Offer]:
        """What is selected, in the order of the list."""
        rows = {index.row() for index in self.table.selectionModel().selectedRows()}
        return [offer for row, offer in enumerate(self._offers) if row in rows]

    def _on_selected(self) -> None:
        self.buttons.button(QDialogButtonBox.StandardButton.Open).setEnabled(bool(self.chosen))

    def _on_double_clicked(self, row: int) -> None:
        flags = QItemSelectionModel.SelectionFlag
        index = self.table.model().index(row, 0)
        self.table.selectionModel().select(index, flags.ClearAndSelect | flags.Rows)
        self.accept()


def choose_offers(offers: Sequence[Offer], parent: QWidget) -> list[Offer]:
    """Ask which are to be opened; [] when none."""
    dialog = SeriesDialog(offers, parent.window())
    agreed = dialog.exec()
    chosen = dialog.chosen if agreed else []
    dialog.deleteLater()
    return chosen
