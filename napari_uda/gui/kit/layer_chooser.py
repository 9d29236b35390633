"""Combo boxes that follow the layer list."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox

from napari_uda.gui.kit.layer_order import about_layer, is_helper, mark_of
from napari_uda.gui.kit.panel import Following, delay, listen
from napari_uda.gui.kit.widgets import make_narrow


class LayerChooser(QComboBox):
    """Chooses one layer of the viewer; follows additions, removals and new names.

    A choice made by the user is kept as long as its layer lives. Until then the best layer is chosen: the one
    with the highest `rank`, of equals one that is seen, of these the newest. One that is hidden gives way to one
    that is seen.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        accepts: Callable[[Layer], bool],
        rank: Callable[[Layer], int],
        *,
        optional: bool = False,
    ) -> None:
        """Build.

        Args:
            viewer: whose layers to list.
            accepts: which layers.
            rank: how well a layer fits.
            optional: whether "none" can be chosen.
        """
        super().__init__()
        self._viewer, self._accepts, self._rank = viewer, accepts, rank
        self._optional = optional
        self._chosen_by_user = False
        make_narrow(self)
        self.activated.connect(self._on_activated)
        self._eyes = Following(self, self._on_eye)
        self._look = delay(self, 0, self._on_look)  # another case is shown eye by eye
        events = viewer.layers.events
        listen(
            self, self.refresh, events.inserted, events.removed, events.reordered, events.renamed
        )
        self.refresh()

    @property
    def layer(self) -> Layer | None:
        """The chosen layer."""
        layer: Layer | None = self.currentData()
        return layer

    def choose(self, layer: Layer) -> None:
        """Choose a layer as a user would; napari's proxies of layers are taken too."""
        index = self._index_of(getattr(layer, "__wrapped__", layer))
        if index >= 0:
            self._chosen_by_user = True
            self.setCurrentIndex(index)
            self.activated.emit(index)

    def release(self) -> None:
        """Forget what the user chose, and choose the best layer."""
        self._chosen_by_user = False
        self.refresh()

    def _on_activated(self) -> None:
        self._chosen_by_user = True

    def _on_eye(self) -> None:
        self._look.start()

    def _on_look(self) -> None:
        """What the user sees is meant, as long as they say nothing else."""
        layer = self.layer
        if self._chosen_by_user or layer is None or layer.visible:
            return
        best = self._best([self.itemData(i) for i in range(self.count())])
        if best is not None and best.visible and self._rank(best) >= self._rank(layer):
            self.refresh()

    def _best(self, layers: Sequence[Layer | None]) -> Layer | None:
        """Of layers from the newest to the oldest; max keeps the first of equals."""
        found = (one for one in layers if one is not None)
        return max(found, key=lambda one: (self._rank(one), one.visible), default=None)

    def _index_of(self, layer: Layer | None) -> int:
        return next((i for i in range(self.count()) if self.itemData(i) is layer), -1)

    def refresh(self) -> None:
        """List the layers anew, without a signal unless the choice changes."""
        before, was_none = self.layer, self.currentIndex() >= 0 and self.currentData() is None
        layers = [
            layer for layer in self._viewer.layers if not is_helper(layer) and self._accepts(layer)
        ]
        self._eyes.follow(*(layer.events.visible for layer in layers))
        self.blockSignals(True)
        self.clear()
        if self._optional:
            self.addItem("none", None)
        for layer in reversed(layers):
            self.addItem(layer.name + mark_of(layer), layer)
            self.setItemData(self.count() - 1, about_layer(layer), Qt.ItemDataRole.ToolTipRole)
        kept = self._index_of(before) if before is not None or was_none else -1
        if not self._chosen_by_user or kept < 0:
            self._chosen_by_user = False
            best = self._best(layers[::-1])
            kept = self._index_of(best) if best is not None else self.count() - 1
        self.setCurrentIndex(kept)
        self.blockSignals(False)
        self.currentIndexChanged.emit(self.currentIndex())
