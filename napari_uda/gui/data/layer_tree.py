"""LayerTree: the layers on screen by case, each with an eye; napari's own list has no groups."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from napari.components import ViewerModel
from napari.layers import Labels, Layer
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QMessageBox,
    QTreeWidget,
    QTreeWidgetItem,
    QWidget,
)

from napari_uda.gui.kit.canvas import free_in_canvas, make_current
from napari_uda.gui.kit.eye_button import EyeButton
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
from napari_uda.gui.kit.panel import Following, Guarded, Panel, delay, guarded, listen
from napari_uda.gui.kit.widgets import label, named, tool_button

_SETTLING_MS = 30  # several layers of a result arrive one after the other
_BUTTON_PIXELS, _MOST_PIXELS = 24, 60
_NAME, _EYE, _REMOVE = range(3)
_OTHERS = "Other layers"
_SEEN_FIRST = ("image", "reference", "prediction", EDITED)
_EMPTY = "Nothing is on screen: open a volume, or drop a file into the window."


class LayerTree(Panel):
    """A tree: case, then its image, reference, predictions with their models, maps and helpers.

    Attributes:
        tree: the rows.
        empty: what is said when no layer is open.
    """

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
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
        self.tree.toggled.connect(self._on_toggled)
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
        group = _Row(self.tree, self.tree.invisibleRootItem(), case, "")
        group.make_bold()
        group.eye.clicked.connect(guarded(partial(self._show_case, case, group.eye)))
        group.eye.setToolTip(f"Show or hide all layers of {case}")
        remove = tool_button(
            "✕",
            f"Remove all layers of {case}",
            guarded(partial(self.remove_case, case)),
            "remove_case",
        )
        remove.setAccessibleName(f"Remove all layers of {case}")
        remove.setAutoRaise(True)
        self.tree.setItemWidget(group.item, _REMOVE, remove)
        self._cases[case] = group
        for layer in layers:
            model = model_of(layer) if "case" in tag(layer) else None  # a title says it of previews
            row = _Row(
                self.tree,
                group.item,
                _short(case, layer),
                "" if model is None else about_model(layer, model),
            )
            row.item.setToolTip(_NAME, "\n".join(filter(None, [layer.name, about_layer(layer)])))
            row.eye.setToolTip(f"Show or hide {layer.name}")
            row.eye.clicked.connect(guarded(partial(self._show, layer, row.eye)))
            self._rows[layer] = row
        group.item.setExpanded(opened)

    def _show(self, layer: Layer, eye: EyeButton) -> None:
        layer.visible = eye.isChecked()

    def _on_look(self) -> None:
        """Eyes as the layers are."""
        for layer, row in self._rows.items():
            row.eye.setChecked(layer.visible)
        for row in self._cases.values():
            children = [row.item.child(index) for index in range(row.item.childCount())]
            shown = [one for one in self._rows.values() if one.item in children]
            row.eye.setChecked(any(one.eye.isChecked() for one in shown))

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

    def _on_toggled(self) -> None:
        """The space bar is the eye of the marked row."""
        chosen = self.tree.currentItem()
        for row in (*self._cases.values(), *self._rows.values()):
            if row.item is chosen:
                row.eye.click()

    def _on_painted(self, event: Any) -> None:
        self._painted.add(event.source)

    def _show_case(self, case: str, eye: EyeButton) -> None:
        """Hide all layers of a case, or show those that were hidden so."""
        layers, wanted = self.layers_of(case), eye.isChecked()
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
    """`toggled()` says that the space bar was pressed on the marked row."""

    toggled = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setColumnCount(3)
        self.setHeaderHidden(True)
        self.setIndentation(12)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        header = self.header()
        header.setStretchLastSection(False)
        header.setMinimumSectionSize(_BUTTON_PIXELS)
        header.setSectionResizeMode(_NAME, QHeaderView.ResizeMode.Stretch)
        for number in (_EYE, _REMOVE):
            header.setSectionResizeMode(number, QHeaderView.ResizeMode.Fixed)
            header.resizeSection(number, _BUTTON_PIXELS + 4)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """The space bar shows or hides."""
        if event.key() == Qt.Key.Key_Space:
            self.toggled.emit()
        else:
            super().keyPressEvent(event)


class _Row:
    """A row of the tree: a name, in a second line what is known of it, and an eye."""

    def __init__(self, tree: QTreeWidget, above: QTreeWidgetItem, name: str, about: str) -> None:
        self.item = QTreeWidgetItem(above)
        self.item.setText(_NAME, f"{name}\n{about}" if about else name)
        self.eye = named(EyeButton(), "eye")
        self.eye.setAccessibleName(f"Show {name}")
        self.eye.setCheckable(True)
        self.eye.setAutoRaise(True)
        self.eye.setFixedWidth(_BUTTON_PIXELS)  # a fixed height would be that of the row
        self.eye.setMaximumHeight(_MOST_PIXELS)
        lines = 2 if about else 1
        height = lines * tree.fontMetrics().lineSpacing() + 6
        self.item.setSizeHint(_NAME, QSize(0, max(height, _BUTTON_PIXELS)))
        tree.setItemWidget(self.item, _EYE, self.eye)

    def make_bold(self) -> None:
        """As a title."""
        font = self.item.font(_NAME)
        font.setBold(True)
        self.item.setFont(_NAME, font)


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
