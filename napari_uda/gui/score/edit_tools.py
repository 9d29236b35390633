"""EditTools: whole structures edited at a click: fill between slices, smooth, largest part, grow and shrink."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QMenu, QToolButton

from napari_uda.core.errors import InputError
from napari_uda.gui.kit.layers import structure_names
from napari_uda.gui.kit.layout import column, form, wrapped
from napari_uda.gui.kit.navigation import current_slice
from napari_uda.gui.kit.panel import Panel, guarded
from napari_uda.gui.kit.structure_items import add_structure
from napari_uda.gui.kit.widgets import (
    SHORT,
    DoubleSpinBox,
    button,
    check_box,
    combo_box,
    ignore_wheel,
    named,
    tool_button,
)

if TYPE_CHECKING:
    from napari_uda.data.label_edits import LabelEdit, Tool
    from napari_uda.gui.score.edit_session import EditSession

_TOOLS: tuple[tuple[Tool, str, str], ...] = (
    ("fill", "Fill between slices", "Make the slices between those that were painted from these"),
    ("smooth", "Smooth by {mm}", "Round the border, and keep the volume"),
    (
        "largest",
        "Keep the largest part",
        "Remove all parts but the largest; parts hang together by faces",
    ),
    ("grow", "Grow by {mm}", "Take all voxels that are at most this far away"),
    ("shrink", "Shrink by {mm}", "Remove the voxels that are at most this far from the outside"),
)
_DONE = {
    "fill": "filled between slices",
    "smooth": "smoothed by {mm}",
    "largest": "reduced to its largest part",
    "grow": "grown by {mm}",
    "shrink": "shrunk by {mm}",
}


@dataclass(frozen=True)
class ToolOrder:
    """What a tool is to do.

    Attributes:
        tool: which.
        value: the structure.
        name: its name.
        mm: of growing, shrinking and smoothing.
        in_slice: the slice that is shown, instead of the volume.
        overwrite: whether other structures may be taken.
        axis, index: the slice in the layer; `at` knows it.
        painted: slices that were painted by hand; `at` knows them.
        step_mm: from a voxel to the nearest one that the tool looks at; `at` knows it.
    """

    tool: Tool
    value: int
    name: str
    mm: float
    in_slice: bool
    overwrite: bool
    axis: int = 0
    index: int | None = None
    painted: frozenset[int] = frozenset()
    step_mm: float = 0.0

    @property
    def title(self) -> str:
        """What is done, for a progress bar."""
        words = next(text for tool, text, _ in _TOOLS if tool == self.tool)
        return f"{words.format(mm=f'{self.mm:g} mm')}: {self.name}"

    def at(self, viewer: ViewerModel, layer: Labels, session: EditSession) -> ToolOrder:
        """The same with the slice that is shown now.

        Raises:
            InputError: if it is for a slice and none is shown.
        """
        axis = shown_axis(viewer)
        index = None
        if self.in_slice and self.tool != "fill":
            index = current_slice(viewer, layer, axis)
            if index is None:
                raise InputError(
                    f"No slice of '{layer.name}' is shown: go to one in 2-D, or choose the whole volume"
                )
        painted = session.by_hand.slices(self.value, axis)
        steps = np.abs(layer.scale[-3:]).tolist()
        step = min(one for at, one in enumerate(steps) if index is None or at != axis)
        return replace(self, axis=axis, index=index, painted=painted, step_mm=step)

    def said(self, changed: int) -> str:
        """The outcome in a sentence."""
        if not changed and self.tool in ("grow", "shrink") and self.mm < self.step_mm:
            least = math.ceil(10 * self.step_mm) / 10
            return (
                f"{self.name}: nothing changes by {self.mm:g} mm, for the nearest voxels are "
                f"{self.step_mm:.2f} mm apart; give a distance of {least:g} mm or more."
            )
        if not changed:
            return f"{self.name}: nothing changes by this; no voxel was touched."
        done = _DONE[self.tool].format(mm=f"{self.mm:g} mm")
        where = "" if self.index is None else " in this slice"
        voxels = f"{changed:,} voxel{'s' * (changed != 1)}"
        return f"{self.name} {done}{where}: {voxels} changed. Ctrl+Z takes it back."


def shown_axis(viewer: ViewerModel) -> int:
    """The axis of a volume across which the view cuts."""
    dims = viewer.dims
    axis = int(dims.order[-3]) - (dims.ndim - 3)
    return max(axis, 0)


def use_tool(layer: Labels, order: ToolOrder, stop: threading.Event) -> LabelEdit:
    """In the thread: what the tool makes of the layer.

    Raises:
        InputError: see `edit_structure`.
        Cancelled: when `stop` was set.
    """
    from napari_uda.data.label_edits import edit_structure

    return edit_structure(
        np.array(layer.data),
        order.value,
        order.tool,
        np.abs(layer.scale[-3:]).tolist(),
        mm=order.mm,
        axis=order.axis,
        index=order.index,
        painted=order.painted,
        overwrite=order.overwrite,
        name=order.name,
        stop=stop,
    )


class EditTools(Panel):
    """Structure, place and distance, and a menu of tools; emits `wanted(ToolOrder)`.

    Attributes:
        structures: which structure.
        where: the volume or the slice that is shown.
        mm: distance in millimetres.
        overwrite: whether other structures may be taken.
        edit: button with the tools.
        go_on: saves the corrected cases and opens Train.
    """

    wanted = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._shown: dict[int, str] = {}
        self.structures = ignore_wheel(
            combo_box((), "The structure that the tools edit", name="edit_structure")
        )
        self.where = ignore_wheel(
            combo_box(
                (("whole volume", False), ("this slice", True)),
                "What is edited; filling between slices takes the volume",
                name="edit_where",
                least_letters=6,
            )
        )
        self.mm = ignore_wheel(
            named(DoubleSpinBox(), "edit_mm", "How far to grow, shrink or smooth, in millimetres")
        )
        self.mm.setRange(0.1, 50)
        self.mm.setSingleStep(0.5)
        self.mm.setDecimals(1)
        self.mm.setValue(2)
        self.mm.setSuffix(" mm")
        self.overwrite = check_box(
            "Over others",
            "Let the structure take voxels of other structures",
            name="edit_overwrite",
        )
        self.edit = tool_button("Edit structure  ", name="edit_menu")  # room for the arrow
        self.menu = QMenu(self.edit)
        self.menu.setToolTipsVisible(True)
        self.edit.setMenu(self.menu)
        self.edit.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        for tool, text, tooltip in _TOOLS:
            action = self.menu.addAction(text)
            action.setObjectName(f"edit_{tool}")
            action.setToolTip(tooltip)
            action.triggered.connect(guarded(partial(self._on_chosen, tool)))
        self.menu.aboutToShow.connect(self._on_menu)
        self._on_menu()
        self.go_on = button("Correct and continue…", name="correct_and_continue")
        fields = form(
            ("Structure", wrapped((self.structures, 1), (self.where, 1))),
            ("Distance", wrapped((self.mm, 1), self.overwrite, (self.edit, 1))),
        )
        column(fields, self.go_on, of=self, margin=0, spacing=4)

    def show_layer(self, layer: Labels | None, *, busy: bool) -> None:
        """Offer the structures of a layer; what was chosen stays as long as it is there."""
        names = {} if layer is None else structure_names(layer)
        if names != self._shown:
            chosen = self.structures.currentData(SHORT)
            self._shown = dict(names)
            self.structures.clear()
            for value, name in names.items():
                add_structure(self.structures, name, value, value)
            self.structures.setCurrentIndex(max(0, self.structures.findData(chosen, SHORT)))
        obstacle = "" if names else "Choose a prediction whose structures have names"
        if busy:
            obstacle = "Wait until what is at work is done"
        self.edit.setEnabled(not obstacle)
        self.edit.setToolTip(obstacle or "Edit the whole structure; one undo takes it back")

    def choose(self, value: int) -> None:
        """Choose a structure by its label value, if it is one of these."""
        index = self.structures.findData(value)
        if index >= 0:
            self.structures.setCurrentIndex(index)

    def allow_go_on(self, obstacle: str, *, busy: bool) -> None:
        """Enable the way to Train, or say why there is none."""
        self.go_on.setEnabled(not obstacle and not busy)
        self.go_on.setToolTip(
            obstacle
            or "Save image and corrected labels of the edited cases as a data folder, and open Train with it"
        )

    def order(self, tool: Tool) -> ToolOrder:
        """What is chosen, for a tool."""
        return ToolOrder(
            tool=tool,
            value=int(self.structures.currentData()),
            name=self.structures.currentText(),
            mm=self.mm.value(),
            in_slice=bool(self.where.currentData()),
            overwrite=self.overwrite.isChecked(),
        )

    def _on_menu(self) -> None:
        """Say in the menu what would be done."""
        mm = f"{self.mm.value():g} mm"
        for action, (_, text, _tooltip) in zip(self.menu.actions(), _TOOLS, strict=True):
            action.setText(text.format(mm=mm))

    def _on_chosen(self, tool: Tool) -> None:
        if self.edit.isEnabled():
            self.wanted.emit(self.order(tool))
