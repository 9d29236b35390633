"""LayerTree: the layers on screen by case, each with an eye; napari's own list has no groups."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from napari.components import ViewerModel
from napari.layers import Labels, Layer
from qtpy.QtCore import QModelIndex, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QKeyEvent, QMouseEvent, QPainter, QPalette
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QMessageBox,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTreeWidget,
    QTreeWidgetItem,
)

from napari_uda.gui.kit.canvas import free_in_canvas, make_current
from napari_uda.gui.kit.eye_button import draw_eye
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.layer_order import (
    ORDER,
    about_layer,
    about_model,
    case_of,
    is_helper,
    mark_of,
    model_of,
    place_of,
)
from napari_uda.gui.kit.layers import EDITED
from napari_uda.gui.kit.layout import column
from napari_uda.gui.kit.panel import Following, Guarded, Panel, delay, listen
from napari_uda.gui.kit.widgets import label, named

_SETTLING_MS = 30  # several layers of a result arrive one after the other
_COLUMN_PIXELS, _ROW_PIXELS = 28, 24
_NAME, _EYE, _REMOVE = range(3)
_OPENED = Qt.ItemDataRole.UserRole  # of the column of eyes
_OTHERS = "Other layers"
_SEEN_FIRST = ("image", "reference", "prediction", EDITED)
_EMPTY = "Nothing is on screen: open a volume, or drop a file into the window."


class LayerTree(Panel):
    """A tree: case, then its image, reference, predictions with their models, maps and helpers.

    Attributes:
        tree: the rows.
        empty: what is said when no layer is open.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        free_in_canvas(viewer)
        self._rows: dict[Layer, _Row] = {}
        self._cases: dict[str, _Row] = {}
        self._hidden: dict[str, list[Layer]] = {}  # what the eye of a case hid
        self._painted: set[Layer] = set()
        self._filling = False
        self._settle = delay(self, _SETTLING_MS, self._on_layers)
        self._looks = Following(self, self._on_look)
        self._names = Following(self, self._on_changed)
        self._paints = Following(self, self._on_painted)
        self.tree = named(_Tree(), "layer_tree", "Layers by case; a click chooses a layer")
        self.tree.setAccessibleName("Layers by case")
        self.tree.currentItemChanged.connect(self._on_current)
        self.tree.eye_pressed.connect(self._on_eye)
        self.tree.remove_pressed.connect(self._on_remove)
        self.empty = label(_EMPTY, "nothing_on_screen")
        column(self.empty, (self.tree, 1), of=self).setContentsMargins(0, 4, 0, 0)
        layers = viewer.layers.events
        listen(self, self._on_changed, layers.inserted, layers.removed, layers.reordered)
        listen(self, self._on_active, viewer.layers.selection.events.active)
        self._on_layers()

    @property
    def is_settled(self) -> bool:
        """Whether the tree shows the layers as they are."""
        return not self._settle.isActive()

    def layers_of(self, case: str) -> list[Layer]:
        """The layers of a group, in the order of the tree."""
        return self._groups().get(case, [])

    # -- what is shown ----------------------------------------------------------------------------

    def _groups(self) -> dict[str, list[Layer]]:
        """Layers by case, from the back to the front, helpers last."""
        layers, groups = list(self._viewer.layers), dict[str, list[Layer]]()
        keys = [_group_of(layers, layer) for layer in layers]
        for layer, key in zip(layers, keys, strict=True):
            alone = "case" not in tag(layer) and keys.count(key) == 1 and not key.startswith("Live")
            groups.setdefault(_OTHERS if alone or not key else key, []).append(layer)
        if _OTHERS in groups:
            groups[_OTHERS] = groups.pop(_OTHERS)
        return {key: sorted(found, key=_rank) for key, found in groups.items()}

    def _on_changed(self) -> None:
        self._settle.start()

    def _on_layers(self) -> None:
        """Make the rows anew; what was folded stays folded."""
        layers = list(self._viewer.layers)
        self._painted &= set(layers)
        self._looks.follow(*(layer.events.visible for layer in layers))
        self._names.follow(
            *(event for one in layers for event in (one.events.name, one.events.metadata))
        )
        self._paints.follow(*(one.events.paint for one in layers if isinstance(one, Labels)))
        folded = {case for case, row in self._cases.items() if not row.item.isExpanded()}
        self._filling = True
        self.tree.clear()
        self._rows, self._cases = {}, {}
        for case, found in self._groups().items():
            self._add_case(case, found, opened=case not in folded)
        self._filling = False
        self.empty.setVisible(not layers)
        self.tree.setVisible(bool(layers))
        self._on_look()
        self._on_active()

    def _add_case(self, case: str, layers: Iterable[Layer], *, opened: bool) -> None:
        group = self._cases[case] = _Row(self.tree.invisibleRootItem(), case, "")
        font = group.item.font(_NAME)
        font.setBold(True)
        group.item.setFont(_NAME, font)
        group.item.setText(_REMOVE, "✕")
        group.item.setTextAlignment(_REMOVE, Qt.AlignmentFlag.AlignCenter)
        group.item.setToolTip(_EYE, f"Show or hide all layers of {case}")
        group.item.setToolTip(_REMOVE, f"Remove all layers of {case} (Delete)")
        remove = Qt.ItemDataRole.AccessibleTextRole
        group.item.setData(_REMOVE, remove, f"Remove all layers of {case}")
        for layer in layers:
            model = model_of(layer) if "case" in tag(layer) else None  # a title says it of previews
            about = "" if model is None else about_model(layer, model)
            row = self._rows[layer] = _Row(group.item, _short(case, layer), about)
            row.item.setToolTip(_NAME, "\n".join(filter(None, [layer.name, about_layer(layer)])))
            row.item.setToolTip(_EYE, f"Show or hide {layer.name} (space bar)")
        group.item.setExpanded(opened)

    def _on_look(self) -> None:
        """Eyes as the layers are."""
        for layer, row in self._rows.items():
            row.open(layer.visible)
        for row in self._cases.values():
            children = [row.item.child(index) for index in range(row.item.childCount())]
            row.open(any(bool(child.data(_EYE, _OPENED)) for child in children))

    # -- what the user does -----------------------------------------------------------------------

    def _on_current(self) -> None:
        if self._filling:
            return
        chosen = self.tree.currentItem()
        for layer, row in self._rows.items():
            if row.item is chosen and layer in self._viewer.layers:
                self._viewer.layers.selection.active = layer

    def _on_active(self) -> None:
        row = self._rows.get(self._viewer.layers.selection.active)
        if row is not None and self.tree.currentItem() is not row.item:
            self._filling = True
            self.tree.setCurrentItem(row.item)
            self._filling = False

    def _on_eye(self, item: QTreeWidgetItem) -> None:
        for layer, row in self._rows.items():
            if row.item is item:
                layer.visible = not layer.visible
                return
        for case, row in self._cases.items():
            if row.item is item:
                self._show_case(case, not row.opened)
                return

    def _on_remove(self, item: QTreeWidgetItem) -> None:
        for case, row in self._cases.items():
            if row.item is item:
                self.remove_case(case)
                return

    def _on_painted(self, event: Any) -> None:
        self._painted.add(event.source)

    def _show_case(self, case: str, wanted: bool) -> None:
        """Hide all layers of a case, or show those that were hidden so."""
        layers = self.layers_of(case)
        if not wanted:
            self._hidden[case] = [layer for layer in layers if layer.visible]
        before = (
            [layer for layer in self._hidden.pop(case, []) if layer in layers] if wanted else []
        )
        first = [layer for layer in layers if tag(layer).get("role", "image") in _SEEN_FIRST]
        for layer in layers:
            layer.visible = wanted and layer in (before or first or layers)
        self._on_look()

    def remove_case(self, case: str) -> None:
        """Remove all layers of a case; the user is asked when labels among them were changed by hand."""
        layers = self.layers_of(case)
        edited = [
            one.name for one in layers if one in self._painted or tag(one).get("role") == EDITED
        ]
        if edited and not self._agreed(case, edited):
            return
        self._hidden.pop(case, None)
        with self._viewer.layers.batched_update():
            for layer in layers:
                if layer in self._viewer.layers:  # a helper goes with its image
                    self._viewer.layers.remove(layer)
            make_current(self._viewer)

    def _agreed(self, case: str, edited: list[str]) -> bool:
        buttons = QMessageBox.StandardButton
        text = (
            f"Labels of {case} were changed by hand: {', '.join(edited)}.\n\n"
            "napari cannot bring removed layers back. Save the labels first if they are to be kept."
        )
        answer = QMessageBox.question(
            self, f"Remove {case}", text, buttons.Discard | buttons.Cancel, buttons.Cancel
        )
        return bool(answer == buttons.Discard)


class _Tree(Guarded, QTreeWidget):
    """Rows with a painted eye: a button in each would take napari's style sheet 10 ms.

    `eye_pressed(item)` and `remove_pressed(item)` are also sent by the space bar and the delete key for the
    marked row. A press beside the name does not mark the row.
    """

    eye_pressed = Signal(object)
    remove_pressed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.setColumnCount(3)
        self.setHeaderHidden(True)
        self.setIndentation(12)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setItemDelegateForColumn(_EYE, _Eyes(self))
        header = self.header()
        header.setStretchLastSection(False)
        header.setMinimumSectionSize(_COLUMN_PIXELS)
        header.setSectionResizeMode(_NAME, QHeaderView.ResizeMode.Stretch)
        for number in (_EYE, _REMOVE):
            header.setSectionResizeMode(number, QHeaderView.ResizeMode.Fixed)
            header.resizeSection(number, _COLUMN_PIXELS)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """The eye and the cross are pressed without marking the row."""
        item, column = self.itemAt(event.pos()), self.columnAt(event.pos().x())
        if item is None or column == _NAME:
            super().mousePressEvent(event)
        elif event.button() == Qt.MouseButton.LeftButton:
            self._press(item, column)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """The space bar shows or hides, the delete key removes a case."""
        item, key = self.currentItem(), event.key()
        if item is not None and key == Qt.Key.Key_Space:
            self._press(item, _EYE)
        elif item is not None and key == Qt.Key.Key_Delete:
            self._press(item, _REMOVE)
        else:
            super().keyPressEvent(event)

    def _press(self, item: QTreeWidgetItem, column: int) -> None:
        (self.eye_pressed if column == _EYE else self.remove_pressed).emit(item)


class _Eyes(QStyledItemDelegate):
    """Paints the eye of a row."""

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """The row's background, and the eye."""
        super().paint(painter, option, index)
        painter.save()
        middle = QRectF(option.rect).center()
        colour = option.palette.color(QPalette.ColorRole.WindowText)
        draw_eye(painter, middle, colour, opened=bool(index.data(_OPENED)))
        painter.restore()

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:
        """Room for the eye in rows of one line."""
        return QSize(_COLUMN_PIXELS, _ROW_PIXELS)


class _Row:
    """A row of the tree: a name, in a second line what is known of it, and an eye."""

    def __init__(self, above: QTreeWidgetItem, name: str, about: str) -> None:
        self.item = QTreeWidgetItem(above)
        self.item.setText(_NAME, f"{name}\n{about}" if about else name)
        self.name = name

    @property
    def opened(self) -> bool:
        """Whether the eye is open."""
        return bool(self.item.data(_EYE, _OPENED))

    def open(self, opened: bool) -> None:
        """Open or close the eye."""
        if opened != self.item.data(_EYE, _OPENED):
            said = f"{self.name}: {'shown' if opened else 'hidden'}"
            self.item.setData(_EYE, _OPENED, opened)
            self.item.setData(_EYE, Qt.ItemDataRole.AccessibleTextRole, said)


def _group_of(layers: list[Layer], layer: Layer) -> str:
    """The case of a layer, or what the layers of a run in training have in common; "" for neither."""
    own = tag(layer)
    if "case" not in own and own.get("run"):
        return f"Live previews of {own['run']}"
    return "" if is_helper(layer) and "case" not in own else case_of(layers, layer)


def _rank(layer: Layer) -> tuple[bool, int]:
    """Image, translations and references first; results stay as they lie, helpers come last."""
    return is_helper(layer), min(place_of(layer), ORDER.index("prediction"))


def _short(case: str, layer: Layer) -> str:
    """The name of a layer without its case, which stands above it, and without its model, which stands below."""
    name, model = layer.name, tag(layer).get("run")
    name = name.removeprefix(f"{case} · ")
    if model and model_of(layer) is not None:
        name = name.removesuffix(f" · {model}")
    return ("image" if name == case else name) + mark_of(layer)
