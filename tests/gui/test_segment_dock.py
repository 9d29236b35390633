"""The Segment dock, driven by clicks, with the real engine and a tiny run."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gui_cases import let_events_pass, progress_bars
from napari.layers import Labels
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QLineEdit
from tiny_cases import without_checksums

import napari_uda as uda
from napari_uda.core.errors import Cancelled
from napari_uda.core.structure_colours import structure_colour
from napari_uda.data.volume_change import change_text
from napari_uda.gui.kit import jobs
from napari_uda.gui.kit.geometry import METADATA
from napari_uda.gui.kit.layers import RESULT_ROLES
from napari_uda.gui.kit.models import recent_models
from napari_uda.gui.kit.settings_form import WARNING, SettingGroup, SettingsForm
from napari_uda.gui.segment import dock as dock_module
from napari_uda.gui.segment.dock import SegmentDock
from napari_uda.gui.segment.segmenting import Model
from napari_uda.inference import backend as backend_module
from napari_uda.inference import predict as predict_module
from napari_uda.methods.registry import METHODS, source_free_methods
from napari_uda.training import adapt as adapt_module
from napari_uda.training.adapt_config import AdaptConfig, build_adapt_config

WAIT_MS = 60_000
BEFORE = "tiny before adaptation"


@pytest.fixture
def dock(make_napari_viewer: Callable[[], Viewer], qtbot: QtBot) -> Iterator[SegmentDock]:
    viewer = make_napari_viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari_uda", "Segment")
    yield widget
    qtbot.waitUntil(lambda: is_resting(widget), timeout=WAIT_MS)


@pytest.fixture
def ready(dock: SegmentDock, tiny_run: Path, data_folder: Path, qtbot: QtBot) -> SegmentDock:
    """A dock with model and image chosen, the model's description read."""
    dock.viewer.open(str(data_folder / "images" / "case_0.nii.gz"), plugin="napari_uda")
    dock.add_model(tiny_run)
    qtbot.waitUntil(lambda: "source_only" in dock.about.text(), timeout=WAIT_MS)
    return dock


def without_sizes(run: Path, copy: Path) -> Path:
    """A copy of a run as early versions left it, which stored no sizes of structures."""
    shutil.copytree(run, copy)
    stored = json.loads((copy / "data.json").read_text())
    (copy / "data.json").write_text(json.dumps(stored | {"sizes": {}}))
    without_checksums(copy)
    return copy


def is_resting(dock: SegmentDock) -> bool:
    """Whether nothing runs, is being shown or is being counted, and every thread has ended."""
    return dock.is_settled and not jobs.running()


def run(dock: SegmentDock, qtbot: QtBot) -> None:
    dock.run.click()
    assert not dock.run.isEnabled()
    assert dock.cancel.isEnabled()
    qtbot.waitUntil(lambda: is_resting(dock), timeout=WAIT_MS)


def roles(dock: SegmentDock) -> list[str]:
    return [layer.metadata[METADATA]["role"] for layer in dock.viewer.layers]


def test_run_trained_meanwhile_is_offered_when_the_dock_is_seen_again(
    make_napari_viewer: Callable[[], Viewer], tiny_run: Path, qtbot: QtBot, tmp_path: Path
) -> None:
    widget = SegmentDock(make_napari_viewer())
    qtbot.addWidget(widget)
    widget.show()
    chosen, before = widget.models.currentText(), widget.models.count()
    shutil.copytree(tiny_run, tmp_path / "runs" / "trained")
    widget.hide()
    widget.show()
    assert widget.models.count() == before + 1
    assert widget.models.itemText(before) == "trained (runs)"
    assert widget.models.currentText() == chosen
    qtbot.waitUntil(lambda: is_resting(widget), timeout=WAIT_MS)


def test_result_of_another_model_hides_the_one_before(
    ready: SegmentDock, tiny_run: Path, qtbot: QtBot, tmp_path: Path
) -> None:
    ready.reliability.setChecked(False)
    run(ready, qtbot)
    (first,) = (
        one for one in ready.viewer.layers if one.metadata[METADATA]["role"] == "prediction"
    )
    edited = Labels(first.data, metadata={METADATA: {**first.metadata[METADATA], "role": "edited"}})
    ready.viewer.add_layer(edited)
    source = str(ready.viewer.layers[0].unique_id)
    own = {"role": "translation", "part": "translated", "source": source}
    translated = ready.viewer.add_image(np.zeros(first.data.shape), metadata={METADATA: own})
    shutil.copytree(tiny_run, tmp_path / "other")
    ready.add_model(tmp_path / "other")
    qtbot.waitUntil(lambda: is_resting(ready) and ready.run.isEnabled(), timeout=WAIT_MS)
    run(ready, qtbot)
    roles = [
        (layer.metadata[METADATA]["role"], layer.visible)
        for layer in ready.viewer.layers
        if layer.metadata[METADATA]["role"] in ("prediction", "edited")
    ]
    assert sorted(roles) == [("edited", False), ("prediction", False), ("prediction", True)]
    assert not translated.visible  # the result lies on the image that was segmented


def test_says_what_is_missing(
    dock: SegmentDock, tiny_run: Path, data_folder: Path, qtbot: QtBot
) -> None:
    while dock.models.count():
        dock.models.removeItem(0)
    let_events_pass()
    assert not dock.run.isEnabled()
    assert "No model" in dock.status.text()
    dock.add_model(tiny_run)
    assert not dock.run.isEnabled()
    assert "No image" in dock.status.text()
    assert "No image" in dock.run.toolTip()
    dock.viewer.open(str(data_folder / "images" / "case_0.nii.gz"), plugin="napari_uda")
    assert dock.run.isEnabled()
    assert dock.status.text() == ""
    qtbot.waitUntil(lambda: "MYO" in dock.about.text(), timeout=WAIT_MS)
    assert "left ventricle myocardium (MYO)" in dock.about.toolTip().splitlines()


def test_folder_that_is_no_run_is_named(
    dock: SegmentDock, tmp_path: Path, data_folder: Path, qtbot: QtBot
) -> None:
    dock.viewer.open(str(data_folder / "images" / "case_0.nii.gz"), plugin="napari_uda")
    dock.add_model(tmp_path)
    qtbot.waitUntil(lambda: "is not a run folder" in dock.status.text(), timeout=WAIT_MS)
    assert not dock.run.isEnabled()


def test_run_gives_the_layers_of_predict(
    ready: SegmentDock, qtbot: QtBot, tiny_run: Path, data_folder: Path
) -> None:
    run(ready, qtbot)
    assert roles(ready) == ["image", "prediction", "entropy", "reliability"]
    expected = uda.predict(tiny_run, data_folder / "images" / "case_0.nii.gz")
    _, prediction, entropy, reliability = ready.viewer.layers
    # the file's x and y run to the left and back already, its z from foot to head
    np.testing.assert_array_equal(prediction.data, expected.labels[::-1])
    np.testing.assert_array_equal(reliability.data, expected.reliability[::-1])
    np.testing.assert_allclose(entropy.data, expected.entropy[::-1], atol=1e-6)
    qtbot.waitUntil(lambda: not progress_bars())
    assert ready.status.text().startswith("case_0: segmented in ")
    assert recent_models() == [tiny_run]


def test_what_computes_is_chosen_under_how_to_segment(
    ready: SegmentDock,
    qtbot: QtBot,
    tiny_run: Path,
    data_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert ready.backend.currentText() == "auto"
    assert not ready.how_to_segment.isExpanded()
    ready.backend.setCurrentText("torch")
    run(ready, qtbot)
    image = data_folder / "images" / "case_0.nii.gz"
    expected = uda.predict(tiny_run, image, backend="torch")
    np.testing.assert_array_equal(ready.viewer.layers[2].data, expected.entropy[::-1])
    monkeypatch.setattr(backend_module, "_is_installed", lambda: False)
    ready.backend.setCurrentText("OpenVINO")
    for button in (ready.run, ready.batch.layers):
        button.click()
        qtbot.waitUntil(lambda: not jobs.running(), timeout=WAIT_MS)
        assert ready.status.text().startswith("OpenVINO is not installed; install it with pip")


def test_legend_names_structures_with_their_volume(
    ready: SegmentDock, qtbot: QtBot, data_folder: Path
) -> None:
    run(ready, qtbot)
    labels = ready.viewer.layers[1].data
    legend = ready.legend
    rows = [[legend.item(row, column).text() for column in (0, 1)] for row in range(2)]
    voxel_ml = 1.5 * 1.5 * 8 / 1000
    assert rows == [
        [name, f"{(labels == value).sum() * voxel_ml:.1f}"]
        for value, name in ((1, "left ventricle myocardium"), (2, "left ventricle cavity"))
    ]
    colour = legend.item(0, 0).icon().pixmap(14, 14).toImage().pixelColor(7, 7).name()
    assert colour.upper() == structure_colour("MYO", 1)


def test_second_run_updates_renamed_layers_in_place(ready: SegmentDock, qtbot: QtBot) -> None:
    run(ready, qtbot)
    before = list(ready.viewer.layers)
    before[1].name = "mine"
    before[0].visible = False
    run(ready, qtbot)
    assert list(ready.viewer.layers) == before
    assert before[0].visible  # a result lies on its own image


def test_without_reliability_no_such_layer(ready: SegmentDock, qtbot: QtBot) -> None:
    ready.reliability.setChecked(False)
    run(ready, qtbot)
    assert roles(ready) == ["image", "prediction", "entropy"]


def test_source_removed_while_running(ready: SegmentDock, qtbot: QtBot) -> None:
    ready.run.click()
    ready.viewer.layers.clear()
    qtbot.waitUntil(lambda: ready.is_settled, timeout=WAIT_MS)
    assert roles(ready) == ["prediction", "entropy", "reliability"]
    assert ready.viewer.layers[0].scale[0] == 8


def test_cancel_button_stops_and_changes_nothing(
    ready: SegmentDock, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict_module, "predict", endless)
    ready.run.click()
    qtbot.waitUntil(lambda: ready.status.text().startswith("Slice"), timeout=WAIT_MS)
    ready.cancel.click()
    ready.viewer.layers[0].name = "renamed"  # the buttons are looked at again
    assert (ready.cancel.isEnabled(), ready.status.text()) == (False, "Cancelling…")
    qtbot.waitUntil(lambda: is_resting(ready), timeout=WAIT_MS)
    assert roles(ready) == ["image"]
    assert "Cancelled" in ready.status.text()
    assert ready.run.isEnabled()
    qtbot.waitUntil(lambda: not progress_bars())


def test_error_of_torch_reaches_the_user(
    ready: SegmentDock,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
    notifications: Callable[[], list[str]],
) -> None:
    def fail(*arguments: Any, **settings: Any) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(predict_module, "predict", fail)
    run(ready, qtbot)
    assert notifications() == ["RuntimeError: CUDA error: device-side assert triggered"]
    assert ready.status.text() == notifications()[0]
    assert ready.run.isEnabled()
    qtbot.waitUntil(lambda: not progress_bars())


def test_viewer_closed_while_running(
    make_napari_viewer: Callable[[], Viewer],
    qtbot: QtBot,
    tiny_run: Path,
    data_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(predict_module, "predict", endless)
    viewer = make_napari_viewer()
    _, dock = viewer.window.add_plugin_dock_widget("napari_uda", "Segment")
    dock.add_model(tiny_run)
    viewer.open(str(data_folder / "images" / "case_0.nii.gz"), plugin="napari_uda")
    qtbot.waitUntil(lambda: "source_only" in dock.about.text(), timeout=WAIT_MS)
    dock.run.click()
    qtbot.waitUntil(lambda: dock.status.text().startswith("Slice"), timeout=WAIT_MS)
    viewer.close()
    qtbot.waitUntil(lambda: not jobs.running(), timeout=WAIT_MS)


def test_side_by_side_box(ready: SegmentDock, qtbot: QtBot) -> None:
    assert not ready.views.isEnabled()
    run(ready, qtbot)
    ready.views.setChecked(True)
    qtbot.waitUntil(ready.views.isEnabled)
    assert ready.viewer.canvas.grid.enabled
    assert len(ready.viewer.layers) == 9
    run(ready, qtbot)  # a new run goes back to one view first
    assert not ready.views.isChecked()
    assert len(ready.viewer.layers) == 4


def test_side_by_side_left_on_the_way_in_stays_left(ready: SegmentDock, qtbot: QtBot) -> None:
    run(ready, qtbot)
    layers = list(ready.viewer.layers)
    ready.views.setChecked(True)
    ready.views.setChecked(False)
    qtbot.waitUntil(lambda: is_resting(ready))
    let_events_pass()
    assert not ready.viewer.canvas.grid.enabled
    assert list(ready.viewer.layers) == layers


def test_image_chooser_follows_the_layer_list(ready: SegmentDock) -> None:
    viewer, images = ready.viewer.__wrapped__, ready.images
    (opened,) = viewer.layers
    viewer.add_image(np.zeros((8, 8)), name="flat")
    viewer.add_labels(np.zeros((2, 8, 8), int))
    for part in ("difference", "attention"):
        tagged = {METADATA: {"role": "translation", "part": part}}
        viewer.add_image(np.zeros((2, 8, 8)), name=part, metadata=tagged)
    assert images.count() == 1
    assert images.currentText() == "case_0"
    plain = viewer.add_image(np.zeros((2, 8, 8)), name="plain")
    assert images.layer is opened  # an image read by us fits better
    images.choose(plain)
    plain.name = "renamed"
    assert (images.layer, images.currentText()) == (plain, "renamed")
    viewer.layers.remove(plain)
    assert images.layer is opened


def test_dock_opens_while_its_model_is_still_being_read(
    make_napari_viewer: Callable[[], Viewer],
    tiny_run: Path,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_on, read = threading.Event(), dock_module.read_model

    def slow(path: Path) -> Model:
        assert go_on.wait(60)
        return read(path)

    monkeypatch.setattr(dock_module, "read_model", slow)
    viewer = make_napari_viewer()
    dock = SegmentDock(viewer)
    viewer.window.add_dock_widget(dock, name="Segment")
    dock.add_model(tiny_run)
    assert dock.about.text() == "Reading the model…"
    go_on.set()
    qtbot.waitUntil(lambda: "source_only" in dock.about.text(), timeout=WAIT_MS)
    qtbot.waitUntil(lambda: is_resting(dock), timeout=WAIT_MS)


def endless(
    *arguments: Any,
    on_progress: Callable[[int, int], None],
    stop: threading.Event,
    **settings: Any,
) -> None:
    """Stands in for a long segmentation: ends only when it is told to, as `predict` does."""
    done = 0
    while not stop.wait(0.02):
        done += 1
        on_progress(min(done, 9), 10)
    raise Cancelled


# --- adapt to this volume ---------------------------------------------------------------------------


def adapt(dock: SegmentDock, qtbot: QtBot) -> None:
    dock.adapt.click()
    assert not dock.adapt.isEnabled()
    assert not dock.run.isEnabled()
    assert not dock.way.isEnabled()
    assert dock.cancel.isEnabled()
    assert dock.status.text() == "Adapting…"
    qtbot.waitUntil(lambda: dock.is_settled, timeout=WAIT_MS)


@pytest.fixture
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in source_free_methods():
        fewer = {**METHODS[name].for_a_volume, "steps": 2}
        monkeypatch.setattr(METHODS[name], "for_a_volume", fewer)
    # two steps need not make it surer
    monkeypatch.setattr(adapt_module, "why_no_change", lambda *_, **__: "")


def test_every_source_free_method_is_offered_the_usual_one_first(ready: SegmentDock) -> None:
    names = [ready.way.itemData(index) for index in range(ready.way.count())]
    assert names[0] == AdaptConfig().method.name
    assert sorted(names) == sorted(source_free_methods())
    for index, name in enumerate(names):
        tip = ready.way.itemData(index, Qt.ItemDataRole.ToolTipRole)
        assert tip == METHODS[name].summary


@pytest.mark.usefixtures("_few_steps")
@pytest.mark.parametrize("way", source_free_methods())
def test_adapt_gives_layers_before_and_after(
    way: str, ready: SegmentDock, qtbot: QtBot, tiny_run: Path, data_folder: Path
) -> None:
    image = data_folder / "images" / "case_0.nii.gz"
    ready.way.setCurrentIndex(ready.way.findData(way))
    form_of(ready).set_values({"reliability": True})
    adapt(ready, qtbot)
    (expected,) = uda.adapt(tiny_run, image, method=way, reliability=True)
    assert not expected.reverted
    names = [layer.name for layer in ready.viewer.layers]
    assert names == [
        "case_0",
        *(f"case_0 · {role} · {BEFORE}" for role in RESULT_ROLES),
        *(f"case_0 · {role} · tiny adapted by {way}" for role in RESULT_ROLES),
    ]
    layers = dict(zip(names, ready.viewer.layers, strict=True))
    by = ((BEFORE, expected.before), (f"tiny adapted by {way}", expected.after))
    for run, prediction in by:
        shown = layers[f"case_0 · prediction · {run}"].data
        np.testing.assert_array_equal(shown, prediction.labels[::-1])
        shown = layers[f"case_0 · entropy · {run}"].data
        np.testing.assert_allclose(shown, prediction.entropy[::-1], atol=1e-5)
        shown = layers[f"case_0 · reliability · {run}"].data
        np.testing.assert_array_equal(shown, prediction.reliability[::-1])
    assert not layers[f"case_0 · prediction · {BEFORE}"].visible
    assert layers[f"case_0 · prediction · tiny adapted by {way}"].visible
    assert (
        ready.viewer.layers.selection.active
        == layers[f"case_0 · prediction · tiny adapted by {way}"]
    )
    change = f"entropy {expected.entropy_before:.3f} → {expected.entropy_after:.3f}"
    assert ready.status.text().startswith("case_0: adapted in ")
    assert change in ready.status.text()
    was, now = expected.volumes_ml["MYO"]
    shown = ready.legend.item(0, 1).text()
    assert shown == f"{now:.1f} ({change_text(was, now)})"
    qtbot.waitUntil(lambda: not progress_bars())
    adapt(ready, qtbot)  # the second time the same layers are updated
    assert [layer.name for layer in ready.viewer.layers] == names


@pytest.mark.usefixtures("_few_steps")
def test_run_and_adapt_do_not_share_layers(ready: SegmentDock, qtbot: QtBot) -> None:
    ready.reliability.setChecked(False)
    run(ready, qtbot)
    adapt(ready, qtbot)
    assert len(ready.viewer.layers) == 1 + 2 + 4
    run(ready, qtbot)
    assert len(ready.viewer.layers) == 1 + 2 + 4
    assert ready.viewer.layers.selection.active.name == "case_0 · prediction · tiny"
    assert ready.legend.item(0, 1).text().replace(".", "").isdigit()  # one volume again


@pytest.mark.usefixtures("_few_steps")
def test_an_adaptation_that_is_given_up_says_so(
    ready: SegmentDock, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "MYO went from 1.0 to 9.0 mL, more than 4 times"
    adapting = adapt_module.adapt

    def given_up(*arguments: Any, **settings: Any) -> list[Any]:
        (one,) = adapting(*arguments, **settings)
        return [replace(one, after=one.before, reverted=True, reason=reason)]

    monkeypatch.setattr(adapt_module, "adapt", given_up)
    adapt(ready, qtbot)
    assert roles(ready) == ["image", "prediction", "entropy"]
    assert f"no change: the unadapted result is kept, because {reason}" in ready.status.text()
    assert "(" not in ready.legend.item(0, 1).text()
    names = [layer.name for layer in ready.viewer.layers]
    assert names == ["case_0", "case_0 · prediction · tiny", "case_0 · entropy · tiny"]
    assert ready.viewer.layers["case_0 · prediction · tiny"].visible


@pytest.mark.usefixtures("_few_steps")
def test_before_and_after_side_by_side(ready: SegmentDock, qtbot: QtBot) -> None:
    adapt(ready, qtbot)
    ready.views.setChecked(True)
    qtbot.waitUntil(ready.views.isEnabled)
    assert ready.viewer.canvas.grid.enabled
    assert len(ready.viewer.layers) == 5 + 3  # a copy of the image under each further view
    assert ready.viewer.layers[f"case_0 · prediction · {BEFORE}"].visible
    ready.views.setChecked(False)
    assert not ready.viewer.layers[f"case_0 · prediction · {BEFORE}"].visible


def test_cancel_stops_an_adaptation_and_changes_nothing(
    ready: SegmentDock, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapt_module, "adapt", endless)
    ready.adapt.click()
    qtbot.waitUntil(lambda: ready.status.text().startswith("Adapting: part"), timeout=WAIT_MS)
    ready.cancel.click()
    qtbot.waitUntil(lambda: is_resting(ready), timeout=WAIT_MS)
    assert roles(ready) == ["image"]
    assert "Cancelled" in ready.status.text()
    assert ready.adapt.isEnabled()
    qtbot.waitUntil(lambda: not progress_bars())


def test_a_run_that_cannot_be_adapted_is_said(
    ready: SegmentDock,
    qtbot: QtBot,
    tiny_run: Path,
    tmp_path: Path,
    notifications: Callable[[], list[str]],
) -> None:
    ready.add_model(without_sizes(tiny_run, tmp_path / "old"))
    qtbot.waitUntil(lambda: "source_only" in ready.about.text(), timeout=WAIT_MS)
    adapt(ready, qtbot)
    assert "does not hold the sizes of its structures" in ready.status.text()
    assert notifications() == [ready.status.text()]


def test_adapt_says_what_is_missing(dock: SegmentDock, tiny_run: Path, qtbot: QtBot) -> None:
    dock.add_model(tiny_run)
    assert not dock.adapt.isEnabled()
    assert "No image" in dock.adapt.toolTip()
    qtbot.waitUntil(lambda: "source_only" in dock.about.text(), timeout=WAIT_MS)


# --- how to adapt -----------------------------------------------------------------------------------


def form_of(dock: SegmentDock) -> SettingsForm:
    assert dock.how.form is not None
    return dock.how.form


def type_into(dock: SegmentDock, qtbot: QtBot, path: str, text: str) -> None:
    line = form_of(dock).findChild(QLineEdit, path)
    line.selectAll()
    qtbot.keyClicks(line, text)


@pytest.mark.parametrize("way", source_free_methods())
def test_the_form_has_the_settings_of_the_method_for_a_volume(way: str, ready: SegmentDock) -> None:
    assert ready.how.isHidden()
    ready.way.setCurrentIndex(ready.way.findData(way))
    config, kind = ready.how.config(), METHODS[way]
    own = build_adapt_config(way)
    assert config == own.model_copy(update={"steps": own.training_steps})
    assert config.steps == (kind.for_a_volume.get("steps", 50) if kind.learns else 0)
    first = {
        "sfda": ["sizes_ml", *(f"method.{name}_weight" for name in ("entropy", "prior", "anchor"))],
        "mean_teacher": [f"method.{name}_weight" for name in ("pseudo", "anchor")],
        "tent": [],
        "bn_adapt": [],
    }[way]
    learns = (["steps"], ["method.segmentor_optimizer.lr"]) if kind.learns else ([], [])
    shown = [*learns[0], "max_volume_change", *first, *learns[1], "reliability"]
    assert list(form_of(ready).editors) == shown
    others = {path for one in form_of(ready).findChildren(SettingGroup) for path in one.paths}
    assert "device" in others
    assert ("method.source_slices" in others) == (way in ("bn_adapt", "sfda"))
    assert not others & {"together", "method.ce_weight", "method.reliability.views"}


def test_the_form_is_closed_at_first_and_opens_in_its_place(
    ready: SegmentDock, qtbot: QtBot
) -> None:
    ready.window().show()
    steps = form_of(ready).findChild(QLineEdit, "steps")
    assert not steps.isVisible()
    ready.how_to_adapt.toggleButton().click()
    qtbot.waitUntil(steps.isVisible)
    assert steps.text() == str(AdaptConfig().training_steps)


def test_the_settings_of_the_form_arrive_in_the_adaptation(
    ready: SegmentDock, qtbot: QtBot, tiny_run: Path, data_folder: Path
) -> None:
    image = data_folder / "images" / "case_0.nii.gz"
    ready.way.setCurrentIndex(ready.way.findData("tent"))
    type_into(ready, qtbot, "steps", "1")
    type_into(ready, qtbot, "max_volume_change", "0")
    type_into(ready, qtbot, "method.segmentor_optimizer.lr", "0.02")
    adapt(ready, qtbot)
    assert roles(ready) == ["image", *2 * ("prediction", "entropy")]
    settings = {"segmentor_optimizer": {"lr": 0.02}}

    def entropy_after(**options: Any) -> Any:
        (one,) = uda.adapt(tiny_run, image, method="tent", max_volume_change=0, **options)
        return one.after.entropy[::-1]

    shown = ready.viewer.layers["case_0 · entropy · tiny adapted by tent"].data
    np.testing.assert_allclose(shown, entropy_after(steps=1, settings=settings), atol=1e-5)
    assert np.abs(shown - entropy_after(steps=1)).max() > 1e-3
    assert np.abs(shown - entropy_after(steps=2, settings=settings)).max() > 1e-3


def test_the_sizes_of_the_form_serve_a_run_without_stored_ones(
    ready: SegmentDock, qtbot: QtBot, tiny_run: Path, tmp_path: Path
) -> None:
    ready.add_model(without_sizes(tiny_run, tmp_path / "old"))
    qtbot.waitUntil(lambda: is_resting(ready) and ready.adapt.isEnabled(), timeout=WAIT_MS)
    type_into(ready, qtbot, "steps", "1")
    type_into(ready, qtbot, "sizes_ml", "MYO: 2, LVC: 3")
    type_into(ready, qtbot, "max_volume_change", "0")
    adapt(ready, qtbot)
    assert ready.status.text().startswith("case_0: adapted in ")


@pytest.mark.parametrize(
    ("path", "text", "sentence"),
    [
        ("steps", "-1", "steps: must be at least 0."),
        ("steps", "many", "steps: must be a whole number."),
        (
            "max_volume_change",
            "0.5",
            "max_volume_change: must be a factor above 1, or 0 to keep every result.",
        ),
        ("method.prior_weight", "-1", "method.prior_weight: must be at least 0."),
        (
            "sizes_ml",
            "MYO",
            "sizes_ml: must be a number, such as 0.5.",
        ),
    ],
)
def test_a_setting_that_does_not_fit_disables_adapt_and_says_why(
    ready: SegmentDock, qtbot: QtBot, path: str, text: str, sentence: str
) -> None:
    assert ready.adapt.isEnabled()
    type_into(ready, qtbot, path, text)
    assert not ready.adapt.isEnabled()
    assert ready.adapt.toolTip() == sentence
    assert ready.run.isEnabled()
    assert ready.way.isEnabled()
    said = form_of(ready).findChild(QLabel, f"problem_{path}")
    assert said.text().removeprefix(WARNING) == sentence.partition(": ")[2].removesuffix(".")
    form_of(ready).reset()
    assert ready.adapt.isEnabled()


def test_another_method_keeps_what_was_changed_where_it_has_it(ready: SegmentDock) -> None:
    form_of(ready).set_values(
        {
            "steps": 7,
            "max_volume_change": 2.0,
            "sizes_ml": {"MYO": 1.0},
            "method": {"prior_weight": 0.5, "segmentor_optimizer": {"lr": 0.01}},
        }
    )
    form_of(ready).advanced.set_open(True)
    ready.way.setCurrentIndex(ready.way.findData("tent"))
    assert form_of(ready).changes() == {
        "steps": 7,
        "max_volume_change": 2.0,
        "method": {"segmentor_optimizer": {"lr": 0.01}},
    }
    assert form_of(ready).advanced.isExpanded()
    assert ready.adapt.isEnabled()
    ready.way.setCurrentIndex(ready.way.findData("bn_adapt"))
    assert "steps" not in form_of(ready).editors  # but not forgotten
    ready.way.setCurrentIndex(ready.way.findData("sfda"))
    assert ready.how.config() == build_adapt_config(
        "sfda",
        steps=7,
        max_volume_change=2.0,
        sizes_ml={"MYO": 1.0},  # what tent has no use for comes back
        settings={"prior_weight": 0.5, "segmentor_optimizer": {"lr": 0.01}},
    )
