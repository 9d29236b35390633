"""The Translate dock, driven by clicks and a key, with the real engine and tiny runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gui_cases import ball_case, oblique, press_key, progress_bars
from napari.components import ViewerModel
from napari.layers import Image
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt

import napari_uda as uda
from napari_uda.core.errors import Cancelled
from napari_uda.data.volume import read_volume, write_volume
from napari_uda.gui.kit import jobs
from napari_uda.gui.kit.files import TRANSLATOR
from napari_uda.gui.kit.geometry import METADATA, layer_volume
from napari_uda.gui.kit.keys import keys_of
from napari_uda.gui.kit.models import remember_model
from napari_uda.gui.translate.dock import TranslateDock
from napari_uda.gui.translate.translation_layers import (
    ComparedTranslation,
    show_colorbars,
    show_translation,
)
from napari_uda.inference import translate as translate_module
from napari_uda.inference.translate import Translation
from napari_uda.methods.registry import translating_methods
from napari_uda.run.run import Run

WAIT_MS = 60_000
GATES = ["attention_quarter", "attention_half", "attention_full"]
PARTS = ["translated", "cycle", "difference"]
GEOMETRY = ("scale", "translate", "rotate", "shear", "units", "axis_labels")


def train(folder: Path, run_dir: Path, kind: str) -> Path:
    generator = {"kind": kind, "width": 4, "blocks": 1}
    run = uda.train(
        "cyclegan",
        source=folder,
        target=folder,
        run_dir=run_dir,
        steps=2,
        batch_size=2,
        data={"size": 32},
        segmentor={"name": "unet", "width": 4, "depth": 2},
        method={"translator": {"generator": generator, "discriminator_width": 4}},
    )
    return run.path


@pytest.fixture(scope="session")
def plain_run(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps of cyclegan with generators without gates."""
    return train(data_folder, tmp_path_factory.mktemp("runs") / "plain", "plain")


@pytest.fixture(scope="session")
def gated_run(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with attention gates."""
    return train(data_folder, tmp_path_factory.mktemp("runs") / "gated", "gated")


@pytest.fixture
def dock(make_napari_viewer: Callable[[], Viewer], qtbot: QtBot) -> Iterator[TranslateDock]:
    viewer = make_napari_viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari_uda", "Translate")
    yield widget
    qtbot.waitUntil(lambda: widget.is_settled, timeout=WAIT_MS)


@pytest.fixture
def ready(dock: TranslateDock, gated_run: Path, data_folder: Path, qtbot: QtBot) -> TranslateDock:
    """A dock with run and image chosen."""
    dock.viewer.open(str(data_folder / "images" / "case_0.nii.gz"), plugin="napari_uda")
    dock.add_model(gated_run)
    qtbot.waitUntil(lambda: dock.is_settled, timeout=WAIT_MS)
    assert dock.about.text().startswith("cyclegan · MR → MR · 2 steps")
    return dock


def run(dock: TranslateDock, qtbot: QtBot) -> None:
    dock.translate.click()
    assert not dock.translate.isEnabled()
    assert dock.cancel.isEnabled()
    assert dock.status.text() == "Translating…"
    qtbot.waitUntil(lambda: dock.is_settled, timeout=WAIT_MS)


def parts(dock: TranslateDock) -> list[str]:
    tags = [layer.metadata[METADATA] for layer in dock.viewer.layers]
    return [own["part"] if own["role"] == "translation" else own["role"] for own in tags]


def visible(dock: TranslateDock) -> list[str]:
    shown = zip(parts(dock), dock.viewer.layers, strict=True)
    return [part for part, layer in shown if layer.visible]


# --- choosing ---------------------------------------------------------------------------------------


def test_says_what_is_missing(
    dock: TranslateDock, gated_run: Path, data_folder: Path, qtbot: QtBot
) -> None:
    assert "No run with generators" in dock.status.text()
    assert not dock.translate.isEnabled()
    dock.add_model(gated_run)
    assert dock.status.text() == "Looking for runs with generators…"
    qtbot.waitUntil(lambda: dock.is_settled, timeout=WAIT_MS)
    assert "No image" in dock.status.text()
    assert "No image" in dock.translate.toolTip()
    assert not dock.translate.isEnabled()
    dock.viewer.open(str(data_folder / "images" / "case_0.nii.gz"), plugin="napari_uda")
    assert dock.status.text() == ""
    assert dock.translate.isEnabled()
    for button in (dock.blink, dock.export):
        assert not button.isEnabled()
        assert button.toolTip() == "Translate an image first."


def test_a_run_without_generators_is_refused(
    dock: TranslateDock, tiny_run: Path, tmp_path: Path, gated_run: Path, qtbot: QtBot
) -> None:
    dock.add_model(tiny_run)
    qtbot.waitUntil(lambda: dock.is_settled, timeout=WAIT_MS)
    assert dock.status.text() == (
        f"{tiny_run} was trained with source_only, which has no generators; "
        f"choose a run of {translating_methods()}"
    )
    assert (dock.models.count(), dock.translate.isEnabled()) == (0, False)
    dock.add_model(tmp_path)
    qtbot.waitUntil(lambda: dock.is_settled, timeout=WAIT_MS)
    assert "is not a run folder" in dock.status.text()
    dock.add_model(gated_run)
    qtbot.waitUntil(lambda: dock.is_settled, timeout=WAIT_MS)
    dock.viewer.add_image(np.zeros((2, 8, 8)))
    dock.add_model(tiny_run)  # the earlier choice stays, and the sentence is seen
    qtbot.waitUntil(lambda: dock.is_settled, timeout=WAIT_MS)
    assert "which has no generators" in dock.status.text()
    assert (dock.model, dock.translate.isEnabled()) == (gated_run, True)


def test_only_runs_with_generators_are_listed(
    make_napari_viewer: Callable[..., Viewer],
    qtbot: QtBot,
    tiny_run: Path,
    plain_run: Path,
    gated_run: Path,
) -> None:
    for path in (plain_run, tiny_run, gated_run):
        remember_model(path)
    viewer = make_napari_viewer(show=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari_uda", "Translate")
    qtbot.waitUntil(lambda: dock.models.count() > 0 and dock.is_settled, timeout=WAIT_MS)
    listed = [Path(dock.models.itemData(index)) for index in range(dock.models.count())]
    assert listed == [TRANSLATOR, gated_run, plain_run]
    dock.models.setCurrentIndex(2)
    assert dock.model == plain_run
    assert dock.about.text().startswith("cyclegan")


def test_results_are_no_images_to_translate(ready: TranslateDock, qtbot: QtBot) -> None:
    run(ready, qtbot)
    assert [ready.images.itemText(i) for i in range(ready.images.count())] == ["case_0"]


# --- translating ------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["target_to_source", "source_to_target"])
def test_layers_are_what_translate_returns(
    direction: str, ready: TranslateDock, qtbot: QtBot, gated_run: Path, data_folder: Path
) -> None:
    ready.directions.setCurrentIndex(ready.directions.findData(direction))
    run(ready, qtbot)
    image = data_folder / "images" / "case_0.nii.gz"
    expected = uda.translate(gated_run, image, direction=direction)
    assert parts(ready) == ["image", *PARTS, *GATES]
    arrays = [expected.translated, expected.cycle, None, *expected.attention.values()]
    assert [layer.name for layer in ready.viewer.layers] == [
        "case_0",
        f"case_0 → {direction.rpartition('_')[2]}",
        "case_0 · cycle",
        "case_0 · |original − cycle|",
        *(f"case_0 · attention {size}" for size in ("¼", "½", "full")),
    ]
    original, *layers = ready.viewer.layers
    for layer, array in zip(layers, arrays, strict=True):
        own = layer.metadata[METADATA]
        assert (own["role"], own["direction"]) == ("translation", direction)
        assert (own["case"], own["run"]) == ("case_0", "gated")
        if array is not None:  # the file's z runs from foot to head
            np.testing.assert_allclose(layer.data, array[::-1], rtol=1e-4, atol=1e-3)
    start = direction.split("_")[0]
    intensity = getattr(Run.open(gated_run).facts, f"{start}_intensity")
    low, high = intensity.raw_bounds(read_volume(image).canonical().array)
    difference = np.abs(np.clip(original.data, low, high) - layers[1].data)
    np.testing.assert_allclose(layers[2].data, difference, rtol=1e-4, atol=1e-3)
    assert ready.status.text().startswith("case_0: translated in ")
    translated, given = expected.slice_change
    assert ready.change.text() == (
        f"case_0, change from slice to slice: {translated:.3f} translated, {given:.3f} input "
        f"({translated / given:.2f} times)."
    )
    qtbot.waitUntil(lambda: not progress_bars())


def test_generators_without_gates_give_three_layers(
    ready: TranslateDock, plain_run: Path, qtbot: QtBot
) -> None:
    ready.add_model(plain_run)
    qtbot.waitUntil(lambda: ready.is_settled, timeout=WAIT_MS)
    run(ready, qtbot)
    assert parts(ready) == ["image", *PARTS]


def test_second_time_updates_in_place_other_direction_adds(
    ready: TranslateDock, qtbot: QtBot
) -> None:
    ready.views.setChecked(False)
    run(ready, qtbot)
    before = list(ready.viewer.layers)
    before[1].name = "mine"
    run(ready, qtbot)
    assert list(ready.viewer.layers) == before
    ready.directions.setCurrentIndex(1)
    run(ready, qtbot)
    assert parts(ready) == ["image", *PARTS, *GATES, *PARTS, *GATES]
    # the translation of before would cover the original
    assert [layer.visible for layer in ready.viewer.layers] == [
        *(True, *[False] * 6),
        *(True, *[False] * 5),
    ]


def test_source_removed_while_running(
    ready: TranslateDock, qtbot: QtBot, notifications: Callable[[], list[str]]
) -> None:
    ready.translate.click()
    ready.viewer.layers.clear()
    qtbot.waitUntil(lambda: ready.is_settled, timeout=WAIT_MS)
    assert parts(ready) == [*PARTS, *GATES]
    assert ready.viewer.canvas.grid.enabled
    ready.blink.click()
    assert notifications() == ["The original or its translation was removed; translate again"]


def test_cancel_button_stops_and_changes_nothing(
    ready: TranslateDock, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(translate_module, "translate", endless)
    ready.translate.click()
    qtbot.waitUntil(lambda: ready.status.text().startswith("Slice"), timeout=WAIT_MS)
    ready.cancel.click()
    qtbot.waitUntil(lambda: ready.is_settled, timeout=WAIT_MS)
    assert parts(ready) == ["image"]
    assert "Cancelled" in ready.status.text()
    assert ready.translate.isEnabled()
    qtbot.waitUntil(lambda: not progress_bars())


def test_error_of_torch_reaches_the_user(
    ready: TranslateDock,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
    notifications: Callable[[], list[str]],
) -> None:
    def fail(*arguments: Any, **settings: Any) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(translate_module, "translate", fail)
    run(ready, qtbot)
    assert notifications() == ["RuntimeError: CUDA error: device-side assert triggered"]
    assert ready.status.text() == notifications()[0]
    assert ready.translate.isEnabled()


def endless(
    *arguments: Any,
    on_progress: Callable[[int, int], None],
    stop: threading.Event,
    **settings: Any,
) -> None:
    """Stands in for a long translation: ends only when it is told to, as `translate` does."""
    done = 0
    while not stop.wait(0.02):
        done += 1
        on_progress(min(done, 9), 10)
    raise Cancelled


def testviewer_closed_while_running(
    make_napari_viewer: Callable[[], Viewer],
    qtbot: QtBot,
    plain_run: Path,
    data_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(translate_module, "translate", endless)
    viewer = make_napari_viewer()
    _, dock = viewer.window.add_plugin_dock_widget("napari_uda", "Translate")
    dock.add_model(plain_run)
    viewer.open(str(data_folder / "images" / "case_0.nii.gz"), plugin="napari_uda")
    qtbot.waitUntil(lambda: dock.is_settled, timeout=WAIT_MS)
    dock.translate.click()
    qtbot.waitUntil(lambda: dock.status.text().startswith("Slice"), timeout=WAIT_MS)
    viewer.close()
    qtbot.waitUntil(lambda: not jobs.running(), timeout=WAIT_MS)


def test_key_is_free_again_without_the_dock(
    make_napari_viewer: Callable[[], Viewer], qtbot: QtBot
) -> None:
    viewer = make_napari_viewer()
    dock = TranslateDock(viewer)
    assert keys_of(dock) == [("K", "Blink")]
    with qtbot.waitSignal(dock.destroyed):
        dock.deleteLater()
    press_key(viewer, "K")  # and nothing happens
    assert not viewer.keymap


def test_main_thread_is_not_kept(ready: TranslateDock, qtbot: QtBot) -> None:
    """Of the dock's own slots none works for long: the largest part is left to the thread."""
    compare, threads, go_on = ComparedTranslation.of, [], threading.Event()

    def watched(*arguments: Any) -> ComparedTranslation:
        threads.append(threading.get_ident())
        assert go_on.wait(60)
        return compare(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ComparedTranslation, "of", watched)
        ready.translate.click()
        go_on.set()
        qtbot.waitUntil(lambda: ready.is_settled, timeout=WAIT_MS)
    assert threads
    assert threading.get_ident() not in threads


# --- looking ----------------------------------------------------------------------------------------


def test_side_by_side_and_back(ready: TranslateDock, qtbot: QtBot) -> None:
    run(ready, qtbot)
    grid = ready.viewer.canvas.grid
    assert (grid.enabled, grid.stride) == (True, 1)
    rows, columns = grid.shape  # as the canvas allows: none of them is empty
    assert 0 <= rows * columns - len(parts(ready)) < min(rows, columns)
    assert visible(ready) == parts(ready)
    assert all(layer.name_overlay.visible for layer in ready.viewer.layers)
    ready.views.setChecked(False)
    assert not grid.enabled
    assert visible(ready) == ["image", "translated"]
    assert not any(layer.name_overlay.visible for layer in ready.viewer.layers)
    ready.viewer.layers.remove(ready.viewer.layers[-1])
    ready.views.setChecked(True)
    qtbot.waitUntil(lambda: ready.is_settled, timeout=WAIT_MS)
    assert len(visible(ready)) == 6
    run(ready, qtbot)  # the removed one is back, in the grid too
    assert parts(ready) == ["image", *PARTS, *GATES]
    assert visible(ready) == parts(ready)
    ready.views.setChecked(False)


def test_key_blinks_between_original_and_translation(ready: TranslateDock, qtbot: QtBot) -> None:
    assert ready.blink.text() == "Blink (K)"
    run(ready, qtbot)
    seen = []
    for _ in range(3):
        qtbot.keyClick(ready.window(), Qt.Key.Key_K)
        seen.append((visible(ready), ready.status.text()))
    original = (["image"], "Seen: the original.")
    translated = (["image", "translated"], "Seen: the translated volume.")
    assert seen == [original, translated, original]
    assert not ready.views.isChecked()
    ready.blink.click()
    assert visible(ready) == ["image", "translated"]


def test_a_key_of_the_user_is_left_alone(make_napari_viewer: Callable[[], Viewer]) -> None:
    viewer = make_napari_viewer()
    pressed: list[Any] = []
    viewer.bind_key("K", pressed.append)
    dock = TranslateDock(viewer)
    assert dock.blink.text() == "Blink"
    (bound,) = viewer.keymap.values()
    assert bound == pressed.append
    dock.deleteLater()


# --- layers and files -------------------------------------------------------------------------------


def made(image: Image) -> ComparedTranslation:
    """A translation without a network."""
    volume = layer_volume(image)
    grey = volume.array.astype(np.float32)
    translation = Translation(
        direction="target_to_source",
        translated=200 - grey,
        cycle=grey + 3,
        attention={"attention_full": grey / grey.max()},
        volume=volume,
        case=volume.name,
        run="made",
        slice_change=(0.2, 0.1),
    )
    return ComparedTranslation(translation, np.full_like(grey, 3), (0.0, 200.0), (-50.0, 50.0))


def test_layers_lie_where_their_source_lies() -> None:
    image, _ = ball_case("case", 0)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[0.96, -0.28], [0.28, 0.96]]
    source = Image(
        image.array,
        scale=(4, 2, 1),
        translate=(5, 6, 7),
        affine=turn,
        units=("mm",) * 3,
        axis_labels=("z", "y", "x"),
        contrast_limits=(10, 90),
    )
    viewer = ViewerModel()
    viewer.add_layer(source)
    layers = list(show_translation(viewer, made(source), source))
    for _ in show_colorbars(layers):
        pass
    for layer in layers:
        for name in GEOMETRY:
            np.testing.assert_array_equal(getattr(layer, name), getattr(source, name))
        np.testing.assert_array_equal(layer.affine.affine_matrix, turn)
    translated, cycle, difference, attention = layers
    assert [layer.visible for layer in layers] == [True, False, False, False]
    assert tuple(translated.contrast_limits) == (-50, 50)
    assert tuple(difference.contrast_limits) == (0, 100)
    assert tuple(attention.contrast_limits) == (0, 1)
    assert [layer.colorbar.visible for layer in layers] == [False, False, True, True]
    np.testing.assert_array_equal(translated.data, 200 - image.array.astype(np.float32))
    source.contrast_limits = (20, 70)  # original and reconstruction are compared by eye
    assert tuple(cycle.contrast_limits) == (20, 70)


def test_what_lies_outside_of_the_range_is_no_difference(plain_run: Path) -> None:
    image, _ = ball_case("case", 0)
    image.array[0, 0, 0] = 30_000
    result = uda.translate(plain_run, image)
    compared = ComparedTranslation.of(result, Run.open(plain_run))
    high = compared.limits[1]
    assert high < 1000
    assert compared.difference[0, 0, 0] == pytest.approx(high - result.cycle[0, 0, 0], abs=1e-3)
    facts = Run.open(plain_run).facts
    assert compared.other_limits == facts.source_range


def test_export_writes_every_map_on_the_files_grid(
    dock: TranslateDock, gated_run: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    image, _ = ball_case("patient", 3, oblique(np.diag([-1.5, -1.5, 8.0, 1.0])))
    write_volume(tmp_path / "patient.nii.gz", image)
    dock.viewer.open(str(tmp_path / "patient.nii.gz"), plugin="napari_uda")
    dock.add_model(gated_run)
    qtbot.waitUntil(lambda: dock.is_settled, timeout=WAIT_MS)
    run(dock, qtbot)
    out = tmp_path / "out"
    dock.export_to(out)
    names = {f"patient_{part}.nii.gz": part for part in (*PARTS, *GATES)}
    qtbot.waitUntil(
        lambda: out.is_dir() and {path.name for path in out.iterdir()} == set(names),
        timeout=WAIT_MS,
    )
    for name, part in names.items():
        back = read_volume(out / name)
        np.testing.assert_array_equal(back.affine, image.affine)
        np.testing.assert_array_equal(back.array, dock.result.parts()[part])


def test_folder_that_cannot_be_written_is_named(
    ready: TranslateDock, tmp_path: Path, qtbot: QtBot
) -> None:
    run(ready, qtbot)
    (tmp_path / "file").write_text("")
    ready.export_to(tmp_path / "file" / "out")
    qtbot.waitUntil(lambda: "file" in ready.status.text(), timeout=WAIT_MS)
    assert not (tmp_path / "file").is_dir()
