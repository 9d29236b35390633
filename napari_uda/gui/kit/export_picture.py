"""Export picture…: any curve, table or grid of panels as SVG, PNG or PDF of a chosen size, drawn by the engine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

from napari.utils.notifications import show_info
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QToolButton,
    QWidget,
)

from napari_uda.core.errors import InputError
from napari_uda.core.files import case_name
from napari_uda.evaluation.figures import SIZES_MM, Drawing, TableText, write_figure
from napari_uda.gui.kit.jobs import background
from napari_uda.gui.kit.layout import column, form
from napari_uda.gui.kit.panel import Guarded, guarded
from napari_uda.gui.kit.widgets import DoubleSpinBox, combo_box, label, named, tool_button

Source: TypeAlias = Callable[[], Drawing | Callable[[], Drawing] | None]
"""What is drawn, or what makes it in a thread; None while there is nothing."""

TITLE = "Export picture…"
_TIP = "Write {what} as SVG, PNG (300 dpi) or PDF of a size in millimetres, for a paper or a talk"
_KINDS = (
    ("SVG, text stays text", "svg"),
    ("PNG, 300 dots per inch", "png"),
    ("PDF", "pdf"),
)
_TABLE_KINDS = (("CSV", "csv"), ("LaTeX (booktabs)", "tex"))
_WIDTH_MM, _HEIGHT_MM = 120.0, 80.0


def picture_button(
    source: Source, what: str, file_name: str, name: str = "export_picture", *, short: bool = False
) -> QToolButton:
    """A small button that exports what `source` gives at that moment.

    Args:
        source: called in the main thread when the button is clicked; copies what may change, quickly.
        what: is written, such as "these curves".
        file_name: that is proposed, without ending.
        name: of the widget.
        short: whether the button has room for one word only.
    """
    made = tool_button("Picture…" if short else TITLE, _TIP.format(what=what), name=name)
    made.setAccessibleName(TITLE)
    made.clicked.connect(guarded(lambda: ask_and_export(made, source, what, file_name)))
    return made


def ask_and_export(owner: QWidget, source: Source, what: str, file_name: str) -> None:
    """Ask for size, kind and file, and write the picture in a thread.

    Raises:
        InputError: if there is nothing to draw.
    """
    drawing = source()
    if drawing is None:
        raise InputError(
            f"There is nothing to export yet: {what} will be drawn when there is data."
        )
    dialog = PictureDialog(owner, table=isinstance(drawing, TableText))
    if not dialog.exec():
        return
    kind = dialog.kind
    proposed = f"{case_name(file_name)}.{kind}"
    path, _ = QFileDialog.getSaveFileName(owner, TITLE, proposed, f"{kind.upper()} (*.{kind})")
    if path:
        file = Path(path)
        if file.suffix.lower() != f".{kind}":
            file = file.with_name(f"{file.name}.{kind}")
        export_picture(owner, drawing, file, dialog.width_mm, dialog.height_mm)


def export_picture(
    owner: QWidget,
    drawing: Drawing | Callable[[], Drawing],
    path: Path,
    width_mm: float = _WIDTH_MM,
    height_mm: float = _HEIGHT_MM,
) -> None:
    """Write a picture in a thread, and say where it is."""

    def work() -> Path:
        what = drawing() if callable(drawing) else drawing
        return write_figure(path, what, width_mm=width_mm, height_mm=height_mm)

    background(owner, TITLE, work, partial(_say, path))


def _say(path: Path, _: object) -> None:
    show_info(f"{path.name} is written in {path.parent}")


class PictureDialog(Guarded, QDialog):
    """Asks for the kind of the file and the size of the picture."""

    def __init__(self, parent: QWidget, *, table: bool) -> None:
        """Build; `table` offers the kinds that hold a table as text as well."""
        super().__init__(parent)
        self.setObjectName("picture_dialog")
        self.setWindowTitle("Export picture")
        kinds = (*_KINDS, *(_TABLE_KINDS if table else ()))
        self.kinds = combo_box(kinds, "Kind of the file", self._on_kind, "picture_kind")
        self.width_box = self._millimetres("picture_width", _WIDTH_MM)
        self.height_box = self._millimetres("picture_height", _HEIGHT_MM)
        self.buttons = named(
            QDialogButtonBox(
                QDialogButtonBox.StandardButton.Save | QDialogButtonBox.StandardButton.Cancel
            ),
            "picture_buttons",
        )
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        note = "A column of a journal is about 85 mm wide, a page about 175 mm."
        fields = form(("Kind", self.kinds), ("Width", self.width_box), ("Height", self.height_box))
        column(fields, label(note), self.buttons, of=self)

    @property
    def kind(self) -> str:
        """Ending of the file, without the dot."""
        return str(self.kinds.currentData())

    @property
    def width_mm(self) -> float:
        """Width of the picture."""
        return float(self.width_box.value())

    @property
    def height_mm(self) -> float:
        """Height of the picture."""
        return float(self.height_box.value())

    def _millimetres(self, name: str, value: float) -> DoubleSpinBox:
        box = named(DoubleSpinBox(), name, "Size of the picture on paper")
        box.setRange(*SIZES_MM)
        box.setDecimals(0)
        box.setSuffix(" mm")
        box.setValue(value)
        return box

    def _on_kind(self) -> None:
        for box in (self.width_box, self.height_box):
            box.setEnabled(self.kind not in ("csv", "tex"))
