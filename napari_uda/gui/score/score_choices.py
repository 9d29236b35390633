"""What is scored: predictions, reference, entropy map, and the protocol with its definition in words."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from qtpy.QtCore import Signal
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QMenu, QPlainTextEdit, QToolButton

from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.hatching import NOT_STRUCTURES
from napari_uda.gui.kit.layer_chooser import LayerChooser
from napari_uda.gui.kit.layer_order import about_layer, mark_of
from napari_uda.gui.kit.layers import EDITED, find
from napari_uda.gui.kit.layout import column, form, row, wrapped
from napari_uda.gui.kit.panel import Panel, guarded
from napari_uda.gui.kit.widgets import combo_box, named, tool_button
from napari_uda.gui.score.structure_matches import StructureMatches

_DEFINITION_PIXELS = 110  # it scrolls, so that a small screen shows the scores as well
_OF_CASE = 10  # more than any rank


class ScoreChoices(Panel):
    """Emits `layers_changed()` and `protocol_changed()`; what is chosen is read when scoring starts."""

    layers_changed = Signal()
    protocol_changed = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self._compared: list[Layer] = []
        self.predictions = named(
            LayerChooser(viewer, _is_structures, _rank("prediction")),
            "predictions",
            "Labels layer to score",
        )
        self.references = named(
            LayerChooser(viewer, _is_structures, self._rank_reference),
            "references",
            "Labels layer that counts as true",
        )
        self.entropies = named(
            LayerChooser(viewer, _is_entropy, self._rank_entropy, optional=True),
            "entropies",
            "Entropy map: mean entropy per slice, calibration",
        )
        self.compare = tool_button(
            "Compare  ",  # room for the arrow
            "Score other predictions against the same reference as well",
            name="compare",
        )
        self.menu = QMenu(self)
        self.menu.setToolTipsVisible(True)
        self.compare.setMenu(self.menu)
        self.compare.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.protocols = combo_box(_protocols(), slot=self._on_protocol, name="protocols")
        self.about = tool_button(
            "?", "Say in words how this protocol scores", name="about_protocol"
        )
        self.about.setCheckable(True)
        self.definition = named(QPlainTextEdit(), "definition")
        self.definition.setReadOnly(True)
        self.definition.setFixedHeight(_DEFINITION_PIXELS)
        self.definition.hide()
        fields = form(
            ("Prediction", wrapped((self.predictions, 1), self.compare)),
            ("Reference", self.references),
            ("Entropy", self.entropies),
            ("Protocol", row((self.protocols, 1), self.about)),
        )
        self.matches = StructureMatches()
        column(fields, self.definition, of=self, margin=0)
        self._describe()
        self.menu.aboutToShow.connect(self._on_menu)
        self.about.toggled.connect(self.definition.setVisible)
        for chooser in (self.predictions, self.references, self.entropies):
            chooser.currentIndexChanged.connect(self._on_layers)
        self.predictions.currentIndexChanged.connect(self._on_prediction)
        self._on_prediction()

    @property
    def protocol(self) -> str:
        """Name of the protocol."""
        return str(self.protocols.currentData())

    def compared(self) -> list[Labels]:
        """The other predictions, as far as they are still there."""
        own = (self.predictions.layer, self.references.layer)
        return [
            layer
            for layer in self._compared
            if layer in self._viewer.layers and all(layer is not one for one in own)
        ]

    def set_compared(self, layer: Labels, wanted: bool) -> None:
        """Score this layer as well, or not any more."""
        self._compared = [one for one in self._compared if one is not layer]
        if wanted:
            self._compared.append(layer)
        self._on_layers()

    def entropy_of(self, layer: Labels) -> Image | None:
        """The entropy map that was predicted together with a layer."""
        own = tag(layer)
        if not own.get("run"):
            return None
        keys = ("case", "run", "source") if own.get("source") else ("case", "run")
        found = find(self._viewer, role="entropy", **{key: own.get(key) for key in keys})
        return found if isinstance(found, Image) else None

    def obstacle(self) -> str:
        """Why nothing can be scored; empty when it can."""
        only_reference = (
            self.references.count() == 1 and tag(self.references.layer).get("role") == "reference"
        )
        if self.predictions.layer is None or only_reference:
            return "No prediction: segment an image, or open a labels file."
        if (
            self.references.layer is not None
            and self.references.layer is not self.predictions.layer
        ):
            return ""
        if self.references.count() > 1:
            return "Prediction and reference are one and the same layer: choose another one for one of them."
        return "No reference: open the labels that the prediction is compared with."

    def _describe(self) -> None:
        from napari_uda.evaluation.protocols import PROTOCOLS

        chosen = PROTOCOLS[self.protocol]
        self.protocols.setToolTip(chosen.purpose)
        self.definition.setPlainText(chosen.describe())

    def _on_menu(self) -> None:
        """List the layers that could be compared."""
        self.menu.clear()
        own = (self.predictions.layer, self.references.layer)
        others = [
            layer
            for layer in self._viewer.layers
            if _is_structures(layer) and all(layer is not one for one in own)
        ]
        for layer in others:
            action = QAction(layer.name + mark_of(layer), self.menu)
            action.setToolTip(about_layer(layer))
            action.setCheckable(True)
            action.setChecked(any(layer is one for one in self._compared))
            action.toggled.connect(guarded(partial(self.set_compared, layer)))
            self.menu.addAction(action)
        if not others:
            action = QAction("No other labels layer is open", self.menu)
            action.setEnabled(False)
            self.menu.addAction(action)

    def _on_prediction(self) -> None:
        """Choose reference and entropy map of the prediction, not those of another one."""
        self.references.refresh()
        self.entropies.refresh()

    def _rank_reference(self, layer: Layer) -> int:
        """Those of the prediction's case before all others."""
        own, rank = self.predictions.layer, int(_rank("reference")(layer))
        case = None if own is None or layer is own else tag(own).get("case")
        of_case = case is not None and tag(layer).get("case") == case
        return rank + _OF_CASE if rank and of_case else rank

    def _rank_entropy(self, layer: Layer) -> int:
        own = self.predictions.layer
        return 1 if own is not None and layer is self.entropy_of(own) else 0

    def _on_layers(self) -> None:
        self.matches.set_layers(self.predictions.layer, self.references.layer)
        count = len(self.compared())
        self.compare.setText(f"Compare ({count})  " if count else "Compare  ")
        self.layers_changed.emit()

    def _on_protocol(self) -> None:
        self._describe()
        self.protocol_changed.emit()


def _protocols() -> list[tuple[str, str, str]]:
    from napari_uda.evaluation.protocols import PROTOCOLS

    return [(name, name, protocol.purpose) for name, protocol in PROTOCOLS.items()]


def _is_structures(layer: Layer) -> bool:
    return (
        isinstance(layer, Labels)
        and layer.ndim == 3
        and tag(layer).get("role") not in NOT_STRUCTURES
        and np.issubdtype(layer.data.dtype, np.integer)
    )


def _is_entropy(layer: Layer) -> bool:
    return isinstance(layer, Image) and tag(layer).get("role") == "entropy"


def _rank(role: str) -> Any:
    """Layers of the role first, edited ones before the others; then those of unknown role."""
    ranks = {role: 2, None: 1, "": 1}
    if role == "prediction":
        ranks[EDITED] = 3
    return lambda layer: ranks.get(tag(layer).get("role"), 0)
