"""ResultView: one result among the layers, looked at: its structures, its uncertainty, its uncertain slices."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import napari.viewer
import numpy as np
from napari.layers import Image, Labels, Layer
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QFormLayout, QTabWidget, QVBoxLayout, QWidget

from napari_uda.gui.kit.dock import bind_keys
from napari_uda.gui.kit.geometry import layer_volume, tag
from napari_uda.gui.kit.jobs import Job
from napari_uda.gui.kit.layer_chooser import LayerChooser
from napari_uda.gui.kit.layers import structure_names
from napari_uda.gui.kit.layout import Scrolling
from napari_uda.gui.kit.navigation import current_slice, go_to_slice
from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.segment.entropy_panel import UNCERTAIN_KEY, EntropyPanel
from napari_uda.gui.segment.result_layers import (
    coarsest_axis,
    entropy_of,
    hide_contours,
    hide_structures,
    is_prediction,
    outline,
    prediction_rank,
    put_contours,
    reference_of,
    show_entropy,
    structure_layers,
)
from napari_uda.gui.segment.structure_panel import OUTLINE_KEY, StructurePanel
from napari_uda.gui.segment.uncertainty import STEPS, Uncertainty, contour_levels, count_uncertainty

if TYPE_CHECKING:
    from numpy.typing import NDArray

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


class ResultView(QWidget):
    """Legend and uncertainty of a prediction layer that the user chooses; the newest one until then.

    Voxels are counted in a thread, again whenever one of the layers changes.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = napari_viewer
        self._layers: _Layers | None = None
        self._watched: list[Layer] = []
        self._before_ml: dict[str, dict[int, float]] = {}
        self._uncertainty: Uncertainty | None = None
        self._visited: int | None = None  # slice that the key went to last
        self._counting: Job | None = None
        self._drawing: Job | None = None
        self._build()
        self._connect()
        self._on_layers_changed()

    def _build(self) -> None:
        self.results = LayerChooser(self._viewer, is_prediction, prediction_rank)
        self.results.setObjectName("results")
        self.results.setToolTip("Prediction that the legend and the uncertainty below belong to")
        self.structures = StructurePanel()
        self.entropy = EntropyPanel()
        self.tabs = QTabWidget()
        self.tabs.setObjectName("result_tabs")
        self.tabs.addTab(self.structures, "Structures")
        self.tabs.addTab(Scrolling(self.entropy), "Uncertainty")
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Result", self.results)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addWidget(self.tabs, 1)
        self._settle, self._redraw = QTimer(self), QTimer(self)
        for timer in (self._settle, self._redraw):
            timer.setSingleShot(True)
            timer.setInterval(_SETTLING_MS)

    def _connect(self) -> None:
        self.results.currentIndexChanged.connect(self._on_layers_changed)
        self._settle.timeout.connect(self._count)
        self._redraw.timeout.connect(self._draw_contours)
        self.structures.look_changed.connect(self._on_look_changed)
        self.structures.legend.structure_chosen.connect(self._on_structure_chosen)
        self.entropy.drawing_changed.connect(self._on_drawing_changed)
        self.entropy.next_requested.connect(self._on_next)
        self.tabs.currentChanged.connect(self._mark_slice)
        moved, mark = self._viewer.dims.events.current_step, self._mark_slice
        moved.connect(mark)
        self.destroyed.connect(lambda: moved.disconnect(mark))
        watched, edited = self._watched, self._on_edited
        self.destroyed.connect(lambda: _leave(watched, edited))
        bind_keys(
            self._viewer,
            self,
            {
                UNCERTAIN_KEY: (self.entropy.next, self._on_next),
                OUTLINE_KEY: (self.structures.outlines, self.structures.outlines.toggle),
            },
        )

    # -- what is shown ----------------------------------------------------------------------------

    @property
    def legend(self) -> Any:
        """The legend."""
        return self.structures.legend

    @property
    def is_counting(self) -> bool:
        """Whether numbers are still to come."""
        to_come = self._settle.isActive() or self._redraw.isActive()
        return to_come or self._counting is not None or self._drawing is not None

    @property
    def uncertainty(self) -> Uncertainty | None:
        """The counted voxels of the result; None without an entropy map, and until they are counted."""
        return self._uncertainty

    def show_result(
        self,
        layer: Labels,
        names: Mapping[int, str],
        volumes_ml: Mapping[int, float],
        before_ml: Mapping[int, float] | None = None,
    ) -> None:
        """Choose a result that has just been made and show what is known of it at once.

        Args:
            layer: the prediction.
            names: label value to structure name.
            volumes_ml: label value to millilitres.
            before_ml: volumes before a change, shown in front of the ones after it.
        """
        self._before_ml.pop(str(layer.unique_id), None)
        if before_ml is not None:
            self._before_ml[str(layer.unique_id)] = dict(before_ml)
        self.results.choose(layer)
        self.legend.show_structures(names, volumes_ml, before_ml)
        self._apply_look()
        self._settle.start()

    def choose_case(self, case: str) -> None:
        """Choose the newest result of a case."""
        for index in range(self.results.count()):
            layer = self.results.itemData(index)
            if tag(layer).get("case") == case:
                self.results.choose(layer)
                return

    @guarded
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
        self._layers = found
        self._watch([layer for layer in found or () if layer is not None])
        self._uncertainty, self._visited = None, None
        self.entropy.show_uncertainty(None)
        if prediction is None:
            self.legend.show_structures({}, {})
        else:
            self._settle.start()

    def _prediction(self) -> Labels | None:
        layer = self.results.layer
        return layer if isinstance(layer, Labels) else None

    def _entropy_layer(self) -> Image | None:
        return self._layers.entropy if self._layers is not None else None

    def _watch(self, layers: list[Layer]) -> None:
        """Count again when one of the layers is edited or gets other values."""
        _leave(self._watched, self._on_edited)
        self._watched += layers
        for layer in layers:
            for event in _edits(layer):
                event.connect(self._on_edited)

    @guarded
    def _on_edited(self) -> None:
        self._settle.start()

    @guarded
    def _count(self) -> None:
        if self._counting is not None:  # its result would be of the past
            self._settle.start()
            return
        layers = self._layers
        if layers is None:
            return
        job = Job("Count voxels", lambda report, stop: _count(layers, stop), self, quiet=True)
        job.succeeded.connect(lambda counted: self._on_counted(layers, counted))
        job.ended.connect(self._on_counting_ended)
        self._counting = job
        job.start()

    @guarded
    def _on_counting_ended(self) -> None:
        self._counting = None

    @guarded
    def _on_counted(self, layers: _Layers, counted: _Counted) -> None:
        if layers != self._layers:
            return
        before = self._before_ml.get(str(layers.prediction.unique_id))
        self.legend.show_structures(counted.names, counted.volumes_ml, before)
        self._uncertainty = counted.uncertainty
        self.entropy.show_uncertainty(counted.uncertainty)
        self._mark_slice()
        self._apply_look()
        self._on_drawing_changed()

    # -- how it is drawn --------------------------------------------------------------------------

    @guarded
    def _on_look_changed(self) -> None:
        self._apply_look()

    def _apply_look(self) -> None:
        """Eyes, outlines and opacity, on all layers of structures of the case."""
        prediction = self._prediction()
        if prediction is None:
            return
        opacity = self.structures.chosen_opacity
        for layer in structure_layers(self._viewer, str(tag(prediction).get("case", ""))):
            hide_structures(layer, self.legend.hidden)
            if is_prediction(layer):
                outline(layer, self.structures.outlines.isChecked())
            if opacity is not None and layer.opacity != opacity:
                layer.opacity = opacity

    @guarded
    def _on_drawing_changed(self) -> None:
        entropy = self._entropy_layer()
        if entropy is None or self._uncertainty is None:
            hide_contours(self._viewer)
            return
        panel = self.entropy
        least = panel.step / STEPS if panel.map_above.isChecked() else 0.0
        show_entropy(entropy, panel.map.isChecked(), least)
        if panel.contours.isChecked():
            self._redraw.start()
        else:
            hide_contours(self._viewer)

    @guarded
    def _draw_contours(self) -> None:
        prediction, entropy = self._prediction(), self._entropy_layer()
        if prediction is None or entropy is None:
            return
        if self._drawing is not None:
            self._redraw.start()
            return
        step, values = self.entropy.step, np.asarray(entropy.data)
        job = Job("Contours", lambda report, stop: contour_levels(values, step), self, quiet=True)
        job.succeeded.connect(lambda reached: self._on_contours(prediction, reached, step))
        job.ended.connect(self._on_drawing_ended)
        self._drawing = job
        job.start()

    @guarded
    def _on_drawing_ended(self) -> None:
        self._drawing = None

    @guarded
    def _on_contours(self, prediction: Labels, reached: "NDArray[np.uint8]", step: int) -> None:
        wanted = self.entropy.contours.isChecked() and prediction is self._prediction()
        if not wanted or prediction not in self._viewer.layers:
            return
        active = self._viewer.layers.selection.active
        put_contours(self._viewer, prediction, reached, step)
        hide_contours(self._viewer, but=prediction)
        if active is not None and active in self._viewer.layers:  # a new layer takes the selection
            self._viewer.layers.selection.active = active

    # -- going to slices --------------------------------------------------------------------------

    @guarded
    def _on_next(self) -> None:
        prediction, uncertainty = self._prediction(), self._uncertainty
        if prediction is None or uncertainty is None:
            return
        here = current_slice(self._viewer, prediction, uncertainty.axis)
        # whoever scrolled away in between starts again at the most uncertain slice
        index = uncertainty.after(here if here == self._visited else None)
        if index is not None:
            go_to_slice(self._viewer, prediction, uncertainty.axis, index)
            self._visited = index
            self._mark_slice()

    @guarded
    def _on_structure_chosen(self, value: int) -> None:
        """Go to the slice with the largest area of a structure."""
        prediction = self._prediction()
        if prediction is None:
            return
        axis = coarsest_axis(prediction)
        others = tuple(other for other in range(3) if other != axis)
        areas = np.count_nonzero(np.asarray(prediction.data) == value, axis=others)
        if areas.any():
            go_to_slice(self._viewer, prediction, axis, int(areas.argmax()))

    @guarded
    def _mark_slice(self) -> None:
        prediction, uncertainty = self._prediction(), self._uncertainty
        if self.tabs.currentIndex() != _UNCERTAINTY:
            return
        if prediction is None or uncertainty is None or prediction not in self._viewer.layers:
            self.entropy.show_slice(None)
        else:
            self.entropy.show_slice(current_slice(self._viewer, prediction, uncertainty.axis))


def _edits(layer: Layer) -> list[Any]:
    """The events that say that a layer has other values."""
    events = [layer.events.data]
    return [*events, layer.events.labels_update] if isinstance(layer, Labels) else events


def _leave(watched: list[Layer], callback: Callable[..., None]) -> None:
    """Listen to these layers no more."""
    while watched:
        for event in _edits(watched.pop()):
            event.disconnect(callback)


def _count(layers: _Layers, stop: threading.Event) -> _Counted:
    """In the thread: volumes, and voxels by entropy."""
    prediction, entropy, reference = layers
    names = structure_names(prediction)
    labels = np.asarray(prediction.data)
    voxel_ml = float(np.prod(layer_volume(prediction).spacing_mm)) / 1000
    counts = np.bincount(labels.ravel(), minlength=max([*names, 0]) + 1)
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
