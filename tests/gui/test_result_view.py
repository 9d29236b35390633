"""Legend, entropy panel and what they do to the layers of a result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
from gui_cases import add_data, ball_case
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QToolButton

from napari_uda.data.provenance import ModelOrigin
from napari_uda.gui.kit import jobs
from napari_uda.gui.kit.files import layer_data
from napari_uda.gui.kit.geometry import METADATA, layer_volume, tag
from napari_uda.gui.kit.layers import find, show
from napari_uda.gui.score.added_layers import keep_original
from napari_uda.gui.segment.entropy_panel import EntropyPanel
from napari_uda.gui.segment.result_view import ResultView
from napari_uda.gui.segment.structures import Legend
from napari_uda.inference.predict import Prediction
from napari_uda.uncertainty.entropy_counts import contour_levels, count_uncertainty

WAIT_MS = 20_000
NAMES = {1: "MYO", 2: "LVC"}
VOXEL_ML = 1.5 * 1.5 * 8 / 1000


def eye(legend: Legend, value: int) -> QToolButton:
    return legend.findChild(QToolButton, f"eye_{value}")


def solo(legend: Legend, value: int) -> QToolButton:
    return legend.findChild(QToolButton, f"solo_{value}")


# --- widgets that know no viewer --------------------------------------------------------------------


def test_eyes_and_solo_say_what_is_hidden(qtbot: QtBot) -> None:
    legend = Legend()
    qtbot.addWidget(legend)
    legend.show_structures(NAMES, {1: 1.0, 2: 2.0})
    assert legend.hidden == frozenset()
    with qtbot.waitSignal(legend.hidden_changed):
        eye(legend, 1).click()
    assert legend.hidden == {1}
    solo(legend, 1).click()  # solo shows what the eye would hide
    assert legend.hidden == {2}
    solo(legend, 2).click()
    assert legend.hidden == frozenset()
    legend.show_structures(NAMES, {1: 3.0})  # the same structures: buttons stay as they are
    assert solo(legend, 1).isChecked()
    assert [legend.item(row, 1).text() for row in (0, 1)] == ["3.0", "…"]
    legend.show_structures({3: "AA"}, {3: 1.0})
    assert legend.hidden == frozenset()
    assert legend.rowCount() == 1


def test_legend_draws_in_a_narrow_dock(qtbot: QtBot) -> None:
    legend = Legend()
    qtbot.addWidget(legend)
    legend.resize(260, 120)
    legend.show_structures(NAMES, {1: 1234.5, 2: 2.0})
    legend.show()
    assert legend.cellWidget(0, 3).geometry().right() < legend.viewport().width() + 1
    eye(legend, 1).setChecked(False)
    legend.grab()  # both states of the eye are drawn


@pytest.fixture
def panel(qtbot: QtBot) -> EntropyPanel:
    widget = EntropyPanel()
    qtbot.addWidget(widget)
    return widget


def test_panel_without_entropy_offers_nothing(panel: EntropyPanel) -> None:
    assert "No result yet" in panel.kept.text()
    for widget in (panel.slider, panel.map, panel.map_above, panel.contours, panel.next):
        assert not widget.isEnabled()


def test_panel_says_what_the_threshold_keeps(panel: EntropyPanel, qtbot: QtBot) -> None:
    labels = np.array([1, 1, 1, 0]).reshape(1, 1, 4)
    entropy = np.array([0.1, 0.6, 0.7, 0.2], np.float32).reshape(1, 1, 4)
    panel.show_uncertainty(count_uncertainty(labels, entropy, NAMES, axis=0))
    assert panel.kept.text().startswith("Kept: 33.3% of the structures, 50.0% of the volume\n")
    assert "Open the reference" in panel.kept.text()
    with qtbot.waitSignal(panel.drawing_changed):
        panel.slider.setValue(65)
    assert panel.step == 65
    assert panel.value.text() == "0.65"
    assert panel.kept.text().startswith("Kept: 66.7% of the structures, 75.0% of the volume\n")
    reference = np.array([1, 0, 0, 0]).reshape(1, 1, 4)
    panel.show_uncertainty(count_uncertainty(labels, entropy, NAMES, axis=0, reference=reference))
    # below 0.65: predicted {0.1, 0.6}, true {0.1}; above: predicted {0.7}, true none; LVC nowhere
    assert "Mean Dice: 0.667 below the threshold, 0.000 above it" in panel.kept.text()
    assert "left ventricle cavity: none, none" in panel.kept.toolTip()


def test_threshold_is_dragged_in_the_histogram(panel: EntropyPanel, qtbot: QtBot) -> None:
    panel.show_uncertainty(
        count_uncertainty(np.ones((1, 2, 2), int), np.zeros((1, 2, 2)), NAMES, axis=0)
    )
    panel.resize(300, 300)
    panel.show()
    histogram = panel.histogram
    qtbot.mouseClick(
        histogram, Qt.MouseButton.LeftButton, pos=QPoint(round(0.3 * histogram.width()), 10)
    )
    assert panel.step == 30
    assert (histogram.step_at(-5), histogram.step_at(10_000)) == (1, 100)


# --- the view over layers ---------------------------------------------------------------------------


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def view(
    viewer: ViewerModel, qtbot: QtBot, notifications: Callable[[], list[str]]
) -> Iterator[ResultView]:
    widget = ResultView(viewer)
    yield widget
    settle(widget, qtbot)
    with qtbot.waitSignal(widget.destroyed):
        widget.deleteLater()
    for layer in viewer.layers:  # nothing of the view listens any more
        layer.data = np.array(layer.data)
    viewer.dims.set_current_step(0, 1)
    assert notifications() == []


@pytest.fixture
def shown(
    view: ResultView, viewer: ViewerModel, made_prediction: Prediction, qtbot: QtBot
) -> list[Image | Labels]:
    layers = show(viewer, made_prediction)
    settle(view, qtbot)
    return layers


def settle(view: ResultView, qtbot: QtBot) -> None:
    def is_resting() -> bool:
        return not (view.is_counting or jobs.running())

    qtbot.waitUntil(is_resting, timeout=WAIT_MS)


def volumes(view: ResultView) -> list[str]:
    return [view.legend.item(row, 1).text() for row in range(view.legend.rowCount())]


def seen(layer: Labels) -> list[bool]:
    """Whether the values 1 and 2 are drawn."""
    return [bool(layer.get_color(value)[3] > 0) for value in (1, 2)]


def test_a_result_that_appears_is_described(
    view: ResultView, shown: list[Image | Labels], made_prediction: Prediction
) -> None:
    counts = np.bincount(made_prediction.labels.ravel())
    assert volumes(view) == [f"{counts[value] * VOXEL_ML:.1f}" for value in NAMES]
    assert view.entropy.slider.isEnabled()
    uncertainty = view.uncertainty
    assert uncertainty is not None
    inside = made_prediction.labels > 0
    assert uncertainty.kept_of_structures(50) == (made_prediction.entropy[inside] < 0.5).mean()
    assert [layer.visible for layer in shown] == [True, True, False, False]  # nothing unasked for


def test_eye_and_solo_hide_structures_of_prediction_and_reference(
    view: ResultView, viewer: ViewerModel, shown: list[Image | Labels]
) -> None:
    _, labels = ball_case("case_0", 0)
    (reference,) = add_data(viewer, *layer_data(labels, "reference", NAMES))
    eye(view.legend, 2).click()
    assert (seen(shown[1]), seen(reference)) == ([True, False], [True, False])
    solo(view.legend, 2).click()
    assert (seen(shown[1]), seen(reference)) == ([False, True], [False, True])
    solo(view.legend, 2).click()
    eye(view.legend, 2).click()
    assert (seen(shown[1]), seen(reference)) == ([True, True], [True, True])


def test_what_is_hidden_stays_so_in_a_new_result(
    view: ResultView,
    viewer: ViewerModel,
    shown: list[Image | Labels],
    made_prediction: Prediction,
    qtbot: QtBot,
) -> None:
    eye(view.legend, 2).click()
    view.structures.outlines.click()
    view.structures.opacity.setValue(30)
    other = show(viewer, replace(made_prediction, model=ModelOrigin("other")))[1]
    settle(view, qtbot)
    assert other is not shown[1]
    assert (seen(other), other.contour, other.opacity) == ([True, False], 1, 0.3)


def test_outlines_and_opacity(view: ResultView, shown: list[Image | Labels]) -> None:
    prediction = shown[1]
    prediction.opacity = 0.9
    view.structures.outlines.click()
    assert (prediction.contour, prediction.opacity) == (1, 0.9)  # opacity was not chosen
    view.structures.opacity.setValue(20)
    assert prediction.opacity == 0.2
    view.structures.outlines.click()
    assert prediction.contour == 0


def test_entropy_map_is_shown_when_asked_for(
    view: ResultView, shown: list[Image | Labels], qtbot: QtBot
) -> None:
    entropy = shown[2]
    assert not entropy.visible
    view.entropy.map.click()
    assert entropy.visible
    assert entropy.colormap.colors[77, 3] == 1
    view.entropy.map_above.click()
    alpha = entropy.colormap.colors[:, 3]
    assert not alpha[: 256 // 2].any()
    assert alpha[256 // 2 :].all()
    view.entropy.slider.setValue(20)
    assert not entropy.colormap.colors[50, 3]
    assert entropy.colormap.colors[52, 3] > 0.8
    view.entropy.map.click()
    assert not entropy.visible


def test_showing_the_map_again_changes_nothing_else_of_it(
    view: ResultView, shown: list[Image | Labels]
) -> None:
    recoloured, turned = Mock(), Mock()
    shown[2].events.colormap.connect(recoloured)
    shown[2].events.visible.connect(turned)
    for _ in range(3):
        view.entropy.map.click()
    assert (recoloured.call_count, turned.call_count) == (0, 3)  # napari would build its bar anew
    view.entropy.map_above.click()
    assert recoloured.call_count == 1


def test_contours_follow_the_threshold_in_one_layer(
    view: ResultView, viewer: ViewerModel, shown: list[Image | Labels], qtbot: QtBot
) -> None:
    viewer.layers.selection.active = shown[1]
    view.entropy.contours.click()
    settle(view, qtbot)
    contours = find(viewer, role="contours")
    np.testing.assert_array_equal(contours.data, contour_levels(shown[2].data, 50))
    assert (contours.contour, contours.visible, contours.editable) == (1, True, False)
    np.testing.assert_array_equal(contours.scale, shown[1].scale)
    assert viewer.layers.selection.active is shown[1]
    assert "entropy 0.75" in list(contours.features["structure"])
    view.entropy.slider.setValue(80)
    settle(view, qtbot)
    assert find(viewer, role="contours") is contours
    assert not contours.data.any()  # 0.75 is the highest entropy there is
    view.entropy.contours.click()
    assert not contours.visible
    assert len(viewer.layers) == 5


def test_dice_appears_with_the_reference(
    view: ResultView, viewer: ViewerModel, shown: list[Image | Labels], qtbot: QtBot
) -> None:
    assert "Dice" in view.entropy.kept.text().splitlines()[1]
    assert "Mean Dice" not in view.entropy.kept.text()
    _, labels = ball_case("case_0", 0)
    (reference,) = add_data(viewer, *layer_data(labels, "reference", NAMES))
    settle(view, qtbot)
    # entropy is 0.75 exactly where prediction and reference differ
    assert "Mean Dice: 1.000 below the threshold, 0.000 above it" in view.entropy.kept.text()
    viewer.layers.remove(reference)
    settle(view, qtbot)
    assert "Mean Dice" not in view.entropy.kept.text()


def test_editing_counts_again(view: ResultView, shown: list[Image | Labels], qtbot: QtBot) -> None:
    prediction = shown[1]
    before = volumes(view)
    prediction.data_setitem((np.array([0]), np.array([0]), np.array([0])), 2)
    settle(view, qtbot)
    voxels = int((prediction.data == 2).sum())
    assert volumes(view) == [before[0], f"{voxels * VOXEL_ML:.1f}"]
    prediction.data = np.zeros_like(prediction.data)
    settle(view, qtbot)
    assert volumes(view) == ["0.0", "0.0"]
    assert not view.entropy.next.isEnabled()


def test_an_edited_result_goes_before_its_original(
    view: ResultView, viewer: ViewerModel, shown: list[Image | Labels], qtbot: QtBot
) -> None:
    prediction = shown[1]
    before = layer_volume(prediction).array.copy()
    prediction.data_setitem((np.array([0]), np.array([0]), np.array([0])), 2)
    original = keep_original(viewer, prediction, before)
    settle(view, qtbot)
    assert view.results.layer is prediction
    assert view.results.count() == 2
    assert volumes(view)[1] == f"{int((prediction.data == 2).sum()) * VOXEL_ML:.1f}"
    assert view.entropy.slider.isEnabled()
    eye(view.legend, 2).click()
    assert original is not None
    assert (seen(prediction), seen(original)) == ([True, False], [True, False])


def test_deleted_and_renamed_layers(
    view: ResultView, viewer: ViewerModel, shown: list[Image | Labels], qtbot: QtBot
) -> None:
    shown[1].name = "mine"
    assert view.results.currentText() == "mine"
    assert view.uncertainty is not None  # a new name is no reason to count again
    viewer.layers.remove(shown[2])
    settle(view, qtbot)
    assert not view.entropy.slider.isEnabled()
    assert volumes(view) != []
    viewer.layers.remove(shown[1])
    assert view.legend.rowCount() == 0
    view.entropy.next.setEnabled(True)
    view.entropy.next.click()
    view.structures.outlines.click()
    viewer.layers.clear()


def test_results_read_from_files_are_found(
    view: ResultView, viewer: ViewerModel, made_prediction: Prediction, qtbot: QtBot
) -> None:
    volume = made_prediction.volume
    for role, array in (
        ("prediction", made_prediction.labels),
        ("entropy", made_prediction.entropy),
    ):
        named = replace(volume, array=array, name=f"case_0_{role}".replace("prediction", "labels"))
        add_data(viewer, *layer_data(named, role, NAMES))
    settle(view, qtbot)
    assert view.entropy.slider.isEnabled()
    other = replace(volume, array=made_prediction.entropy[:-1], name="case_0_entropy")
    viewer.layers.pop()
    add_data(viewer, *layer_data(other, "entropy", {}))
    settle(view, qtbot)
    assert not view.entropy.slider.isEnabled()  # of another shape


def test_next_uncertain_slice(
    view: ResultView, viewer: ViewerModel, shown: list[Image | Labels], qtbot: QtBot
) -> None:
    uncertainty = view.uncertainty
    assert uncertainty is not None
    view.tabs.setCurrentIndex(1)
    first, second, *_ = uncertainty.ranking()
    view.entropy.next.click()
    assert viewer.dims.current_step[0] == first
    title = f"Axial slice {5 - first}, S {8 * (5 - first):.1f} mm"  # of the file, from the foot
    assert view.entropy.rank.text().startswith(f"{title}: number 1 of ")
    view.entropy.next.click()
    assert viewer.dims.current_step[0] == second
    viewer.dims.set_current_step(0, next(i for i in range(6) if i not in (first, second)))
    view.entropy.next.click()
    assert viewer.dims.current_step[0] == first


def test_double_click_goes_to_the_largest_slice(
    view: ResultView, viewer: ViewerModel, shown: list[Image | Labels], qtbot: QtBot
) -> None:
    prediction = shown[1]
    prediction.data[:, :5] = 0
    prediction.data[4, :5] = 2
    view.legend.cellDoubleClicked.emit(1, 0)
    settle(view, qtbot)
    assert viewer.dims.current_step[0] == 4


def test_keys_work_and_stand_on_the_buttons(
    make_napari_viewer: Callable[[], Viewer], made_prediction: Prediction, qtbot: QtBot
) -> None:
    viewer = make_napari_viewer()
    view = ResultView(viewer)
    prediction = show(viewer, made_prediction)[1]
    settle(view, qtbot)
    assert view.entropy.next.text().endswith("(U)")
    assert view.structures.outlines.text().endswith("(H)")
    window = viewer.window.main_menu.window()
    qtbot.keyClick(window, Qt.Key.Key_H)
    assert prediction.contour == 1
    viewer.dims.set_current_step(0, 0)
    qtbot.keyClick(window, Qt.Key.Key_U)
    assert view.uncertainty is not None
    assert viewer.dims.current_step[0] == view.uncertainty.ranking()[0]
    settle(view, qtbot)
    with qtbot.waitSignal(view.destroyed):
        view.deleteLater()
    assert not viewer.keymap


def test_result_of_another_case_is_left_alone(
    view: ResultView,
    viewer: ViewerModel,
    shown: list[Image | Labels],
    made_prediction: Prediction,
    qtbot: QtBot,
) -> None:
    volume = replace(made_prediction.volume, name="case_1")
    other = show(viewer, replace(made_prediction, volume=volume, case="case_1"))[1]
    settle(view, qtbot)
    assert view.results.layer is other  # the newest
    eye(view.legend, 1).click()
    assert (seen(other), seen(shown[1])) == ([False, True], [True, True])
    view.choose_case("case_0")
    settle(view, qtbot)
    assert view.results.layer is shown[1]
    assert tag(shown[1])["case"] == "case_0"
    assert shown[1].metadata[METADATA]["role"] == "prediction"
