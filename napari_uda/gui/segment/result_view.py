"""ResultView: one result among the layers, looked at: its structures, its uncertainty, its uncertain slices."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from napari.utils.notifications import show_error
from numpy.typing import NDArray
from qtpy.QtWidgets import QTabWidget

from napari_uda.data.plane import count_values
from napari_uda.gui.kit.fit_line import FitLine
from napari_uda.gui.kit.geometry import layer_volume, tag
from napari_uda.gui.kit.jobs import Job, background, running
from napari_uda.gui.kit.keys import bind_keys
from napari_uda.gui.kit.layer_chooser import LayerChooser
from napari_uda.gui.kit.layer_order import about_layer
from napari_uda.gui.kit.layers import structure_layers, structure_names
from napari_uda.gui.kit.layout import Scrolling, column, form
from napari_uda.gui.kit.navigation import current_slice, go_to_slice, slice_title
from napari_uda.gui.kit.panel import Following, Panel, delay, listen
from napari_uda.gui.kit.renaming import rename_in_layers
from napari_uda.gui.kit.widgets import compact, label, named
from napari_uda.gui.segment.entropy_panel import (
    COUNTING,
    NO_MAP,
    NO_RESULT,
    EntropyPanel,
)
from napari_uda.gui.segment.result_layers import (
    coarsest_axis,
    entropy_of,
    hidden_structures,
    hide_contours,
    image_of,
    is_prediction,
    prediction_rank,
    put_contours,
    reference_of,
    reliability_of,
    show_entropy,
    show_structures,
)
from napari_uda.gui.segment.structures import StructurePanel
from napari_uda.inference.fit import Fit
from napari_uda.uncertainty.entropy_counts import (
    STEPS,
    Uncertainty,
    contour_levels,
    count_uncertainty,
)

_RESULTS = "Prediction that the legend and the uncertainty below belong to"
_UNCERTAINTY = 1  # its tab
_SETTLING_MS = 150  # several layers of a result arrive one after the other


class _Layers(NamedTuple):
    """The layers of one result."""

    prediction: Labels
    entropy: Image | None
    reference: Labels | None


@dataclass(frozen=True, eq=False)
class _Counted:
    """What is known of a result once its voxels are counted."""

    names: dict[int, str]
    volumes_ml: dict[int, float]
    uncertainty: Uncertainty | None


class ResultView(Panel):
    """Legend and uncertainty of a prediction layer that the user chooses; the newest one until then.

    Voxels are counted in a thread, again whenever one of the layers changes.

    Attributes:
        results: the choice of the prediction.
        uncertainty: its counted voxels; None without an entropy map, and until they are counted.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self.uncertainty: Uncertainty | None = None
        self._layers: _Layers | None = None
        self._warnings: dict[str, str] = {}  # by layer
        self._before_ml: dict[str, dict[int, float]] = {}
        self._visited: int | None = None  # slice that the key went to last
        self._counting: Job | None = None
        self._drawing: Job | None = None
        self._settle = delay(self, _SETTLING_MS, self._on_settled)
        self._redraw = delay(self, _SETTLING_MS, self._on_redraw)
        self._edits = Following(self, self._on_edited)
        self._build()
        self._connect()
        self._on_layers_changed()

    def _build(self) -> None:
        self.results = named(
            LayerChooser(self._viewer, is_prediction, prediction_rank),
            "results",
            _RESULTS,
        )
        self.structures = StructurePanel()
        self.legend = self.structures.legend
        self.entropy = EntropyPanel()
        self.tabs = compact(named(QTabWidget(), "result_tabs"), 1)
        self.tabs.addTab(self.structures, "Structures")
        self.tabs.addTab(Scrolling(self.entropy), "Uncertainty")
        self.fit = FitLine()
        self.warning = label(name="result_warning")
        result = form(("Result", self.results))
        column(result, self.fit, self.warning, (self.tabs, 1), of=self, margin=0)

    def _connect(self) -> None:
        self.results.currentIndexChanged.connect(self._on_layers_changed)
        self.structures.look_changed.connect(self._on_look_changed)
        self.legend.structure_chosen.connect(self._on_structure_chosen)
        self.legend.renamed.connect(self._on_renamed)
        self.entropy.drawing_changed.connect(self._on_drawing_changed)
        self.entropy.next.clicked.connect(self._on_next)
        self.tabs.currentChanged.connect(self._on_slice_changed)
        listen(self, self._on_slice_changed, self._viewer.dims.events.current_step)
        bind_keys(
            self._viewer,
            self,
            (self.entropy.next, self._on_next),
            (self.structures.outlines, self.structures.outlines.toggle),
            (self.structures.previous, self.structures.previous.click),
            (self.structures.next, self.structures.next.click),
        )

    # -- what is shown ----------------------------------------------------------------------------

    @property
    def is_counting(self) -> bool:
        """Whether numbers are still to come."""
        return self._settle.isActive() or self._redraw.isActive() or bool(running(self))

    def show_result(
        self,
        layer: Labels,
        names: Mapping[int, str],
        volumes_ml: Mapping[int, float],
        before_ml: Mapping[int, float] | None = None,
        warning: str = "",
    ) -> None:
        """Choose a result that has just been made and show what is known of it at once.

        Args:
            layer: the prediction.
            names: label value to structure name.
            volumes_ml: label value to millilitres.
            before_ml: volumes before a change, shown in front of the ones after it.
            warning: what is to be looked at in this result; it stays with it.
        """
        self._warnings[str(layer.unique_id)] = warning
        self._before_ml.pop(str(layer.unique_id), None)
        if before_ml is not None:
            self._before_ml[str(layer.unique_id)] = dict(before_ml)
        self.results.choose(layer)
        self._show_fit()  # the same layer may have been made anew
        self.legend.show_structures(names, volumes_ml, before_ml)
        self._on_look_changed()
        self._settle.start()

    def layers_of_result(self) -> list[Layer]:
        """The image of the chosen result, its prediction and its maps; none without its image."""
        prediction = self._prediction()
        image = None if prediction is None else image_of(self._viewer, prediction)
        if prediction is None or image is None:
            return []
        maps = (entropy_of(self._viewer, prediction), reliability_of(self._viewer, prediction))
        return [image, prediction, *(layer for layer in maps if layer is not None)]

    def choose_case(self, case: str) -> None:
        """Choose the newest result of a case."""
        for index in range(self.results.count()):
            layer = self.results.itemData(index)
            if tag(layer).get("case") == case:
                self.results.choose(layer)
                return

    def _on_layers_changed(self) -> None:
        """Find the layers of the chosen result; count only if they are others than before."""
        prediction = self._prediction()
        found = None
        if prediction is not None:
            found = _Layers(
                prediction,
                entropy_of(self._viewer, prediction),
                reference_of(self._viewer, prediction),
            )
        if found == self._layers:  # layers are equal only to themselves
            return
        another = self._layers is None or found is None or found[0] is not self._layers[0]
        self._layers = found
        self._show_fit()
        layers = [layer for layer in found or () if layer is not None]
        self._edits.follow(*(event for layer in layers for event in _edits(layer)))
        self.uncertainty, self._visited = None, None
        self.entropy.show_uncertainty(None, NO_RESULT if found is None else COUNTING)
        if prediction is None:
            self.legend.show_structures({}, {})
            return
        if another:  # the volumes are of the one before
            self.legend.show_structures(structure_names(prediction), {})
            self.structures.show_look(prediction.contour > 0, hidden_structures(prediction))
        self._settle.start()

    def _show_fit(self) -> None:
        """The verdict of the chosen result, and its model under the mouse."""
        prediction = self._prediction()
        fit = None if prediction is None else tag(prediction).get("fit")
        self.fit.show_fit(fit if isinstance(fit, Fit) else None)
        warning = "" if prediction is None else self._warnings.get(str(prediction.unique_id), "")
        self.warning.setText(f"⚠ {warning}" if warning else "")
        self.warning.setVisible(bool(warning))
        about = "" if prediction is None else about_layer(prediction)
        self.results.setToolTip("\n".join(filter(None, [about, _RESULTS])))

    def _prediction(self) -> Labels | None:
        layer = self.results.layer
        return layer if isinstance(layer, Labels) else None

    def _on_edited(self) -> None:
        self._settle.start()

    def _on_settled(self) -> None:
        """Count, one time after the other: an earlier one that ended last would win."""
        layers = self._layers
        if self._counting is not None and self._counting.is_running:
            self._settle.start()
        elif layers is not None:
            self._counting = background(
                self,
                "Count voxels",
                lambda report, stop: _count(layers, stop),
                lambda counted: self._on_counted(layers, counted),
                failed=lambda problem: self._on_uncountable(layers, problem),
                quiet=True,
            )

    def _on_counted(self, layers: _Layers, counted: _Counted) -> None:
        if layers != self._layers:
            return
        before = self._before_ml.get(str(layers.prediction.unique_id))
        self.legend.show_structures(counted.names, counted.volumes_ml, before)
        self.uncertainty = counted.uncertainty
        self.entropy.show_uncertainty(counted.uncertainty, NO_MAP)
        self._on_slice_changed()
        self._on_look_changed()
        self._on_drawing_changed()

    def _on_uncountable(self, layers: _Layers, problem: str) -> None:
        if layers == self._layers:
            self.entropy.show_uncertainty(None, problem)

    # -- how it is drawn --------------------------------------------------------------------------

    def _on_look_changed(self) -> None:
        """Eyes, outlines and opacity, on all layers of structures of the case."""
        prediction = self._prediction()
        if prediction is None:
            return
        opacity = self.structures.chosen_opacity
        for layer in structure_layers(self._viewer, str(tag(prediction).get("case", ""))):
            outlined = self.structures.outlines.isChecked() if is_prediction(layer) else None
            show_structures(layer, self.legend.hidden, outlined, opacity)

    def _on_drawing_changed(self) -> None:
        layers, panel = self._layers, self.entropy
        entropy = None if layers is None or self.uncertainty is None else layers.entropy
        if entropy is not None:
            least = panel.step / STEPS if panel.map_above.isChecked() else 0.0
            show_entropy(entropy, panel.map.isChecked(), least)
        if entropy is not None and panel.contours.isChecked():
            self._redraw.start()
        else:
            hide_contours(self._viewer)

    def _on_redraw(self) -> None:
        if self._layers is None or self._layers.entropy is None:
            return
        if self._drawing is not None and self._drawing.is_running:
            self._redraw.start()
            return
        prediction, step = self._layers.prediction, self.entropy.step
        values = np.asarray(self._layers.entropy.data)
        self._drawing = background(
            self,
            "Draw contours",
            lambda: contour_levels(values, step),
            lambda reached: self._on_contours(prediction, reached, step),
            quiet=True,
        )

    def _on_contours(self, prediction: Labels, reached: NDArray[np.uint8], step: int) -> None:
        wanted = self.entropy.contours.isChecked() and prediction is self._prediction()
        if not wanted or prediction not in self._viewer.layers:
            return
        active = self._viewer.layers.selection.active
        put_contours(self._viewer, prediction, reached, step)
        hide_contours(self._viewer, but=prediction)
        if active is not None and active in self._viewer.layers:  # a new layer takes the selection
            self._viewer.layers.selection.active = active

    def _on_renamed(self, value: int, name: str) -> None:
        """Rename in all layers of the case that call the structure the same, and where their names are stored."""
        prediction = self._prediction()
        if prediction is None:
            return
        layers = structure_layers(self._viewer, str(tag(prediction).get("case", "")))
        old = structure_names(prediction).get(value, "")
        rename_in_layers(self, [prediction, *layers], value, old, name)

    # -- going to slices --------------------------------------------------------------------------

    def _on_next(self) -> None:
        prediction, uncertainty = self._prediction(), self.uncertainty
        if prediction is None or uncertainty is None:
            return
        here = current_slice(self._viewer, prediction, uncertainty.axis)
        # whoever scrolled away in between starts again at the most uncertain slice
        index = uncertainty.after(here if here == self._visited else None)
        if index is not None:
            go_to_slice(self._viewer, prediction, uncertainty.axis, index)
            self._visited = index
            self._on_slice_changed()

    def _on_structure_chosen(self, value: int) -> None:
        """Go to the slice with the largest area of a structure."""
        prediction = self._prediction()
        if prediction is None:
            return
        axis = coarsest_axis(prediction)

        def then(index: int | None) -> None:
            if index is not None and prediction in self._viewer.layers:
                go_to_slice(self._viewer, prediction, axis, index)

        background(
            self,
            "Find the largest slice",
            lambda: _largest_slice(prediction, value, axis),
            then,
            failed=show_error,
            quiet=True,
        )

    def _on_slice_changed(self) -> None:
        prediction, uncertainty = self._prediction(), self.uncertainty
        if self.tabs.currentIndex() != _UNCERTAINTY:
            return
        if prediction is None or uncertainty is None or prediction not in self._viewer.layers:
            self.entropy.show_slice(None)
            return
        index = current_slice(self._viewer, prediction, uncertainty.axis)
        title = "" if index is None else slice_title(prediction, uncertainty.axis, index)
        self.entropy.show_slice(index, title)


def _edits(layer: Layer) -> list[Any]:
    """The events that say that a layer has other values or names."""
    events = [layer.events.data]
    own = (layer.events.labels_update, layer.events.features) if isinstance(layer, Labels) else ()
    return [*events, *own]


def _largest_slice(layer: Labels, value: int, axis: int) -> int | None:
    """In the thread: the slice with the most pixels of a structure; None where it is nowhere."""
    slices = np.moveaxis(np.asarray(layer.data), axis, 0)
    areas = [np.count_nonzero(plane == value) for plane in slices]  # one plane in memory at a time
    return int(np.argmax(areas)) if any(areas) else None


def _count(layers: _Layers, stop: threading.Event) -> _Counted:
    """In the thread: volumes, and voxels by entropy."""
    prediction, entropy, reference = layers
    names = structure_names(prediction)
    labels = np.asarray(prediction.data)
    voxel_ml = layer_volume(prediction).lattice.voxel_ml
    counts = count_values(labels, max([*names, 0]) + 1)
    volumes = {value: float(counts[value]) * voxel_ml for value in names}
    uncertainty = None
    if entropy is not None:
        uncertainty = count_uncertainty(
            labels,
            np.asarray(entropy.data),
            names,
            axis=coarsest_axis(prediction),
            reference=None if reference is None else np.asarray(reference.data),
            stop=stop,
        )
    return _Counted(names, volumes, uncertainty)
