"""The tab Cases: a list, one case at a time, nothing of the others left behind."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gui_cases import LABELS, ball_case, press_key
from napari.components import ViewerModel
from napari.layers import Labels
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLineEdit

from napari_uda.data.folder import write_dataset_json
from napari_uda.data.volume import read_volume, write_volume
from napari_uda.gui.data.cases import CasesPanel
from napari_uda.gui.kit import files
from napari_uda.gui.kit.geometry import METADATA, layer_volume, tag
from napari_uda.gui.kit.layers import EDITED
from napari_uda.inference.predict import Prediction

COUNT = 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four cases, the last without labels, each somewhere else in space."""
    data = tmp_path / "mr"
    for index in range(COUNT):
        affine = np.diag([-1.5, -1.5, 8.0, 1.0])
        affine[2, 3] = 1000.0 * index
        image, labels = ball_case(f"case_{index}", index, affine)
        write_volume(data / "images" / f"case_{index}.nii.gz", image)
        if index < COUNT - 1:
            write_volume(data / "labels" / f"case_{index}.nii.gz", labels)
    write_dataset_json(data, LABELS, "MR")
    return data


@pytest.fixture
def predictions(folder: Path, tmp_path: Path, made_prediction: Prediction) -> Path:
    """Predictions of two of them, scored: the second is the worst."""
    out = tmp_path / "out"
    for index in (0, 1):
        volume = read_volume(folder / "images" / f"case_{index}.nii.gz")
        replace(made_prediction, volume=volume, case=volume.name).save(out)
    (out / "scores.csv").write_text("case,name,dice\ncase_0,MYO,0.9\ncase_1,MYO,0.5\n")
    return out


@pytest.fixture
def panel(qtbot: QtBot) -> Iterator[CasesPanel]:
    """A panel at a viewer without a window."""
    made = CasesPanel(ViewerModel())
    qtbot.addWidget(made)
    made.resize(300, 600)
    made.show()
    yield made
    qtbot.waitUntil(lambda: made.is_settled)


@pytest.fixture
def settled(panel: CasesPanel, qtbot: QtBot) -> Callable[[], None]:
    """Wait until what was asked for is shown."""
    return lambda: qtbot.waitUntil(lambda: panel.is_settled)


def on_screen(viewer: ViewerModel) -> list[tuple[str, str]]:
    """Case and role of what is seen."""
    tags = [tag(layer) for layer in viewer.layers if layer.visible]
    return [(own["case"], own["role"]) for own in tags]


def cell(panel: CasesPanel, place: int, column: int) -> str:
    """What a cell of the table says."""
    item = panel.table.item(place, column)
    assert item is not None
    return item.text()


def test_a_folder_lists_its_cases_and_shows_the_first_alone(
    panel: CasesPanel, folder: Path, settled: Callable[[], None]
) -> None:
    assert not panel.table.isVisibleTo(panel)
    assert "Choose a folder" in panel.about.text()
    panel.open_folder(folder)
    settled()
    assert [cell(panel, place, 0) for place in range(COUNT)] == [f"case_{i}" for i in range(COUNT)]
    assert [cell(panel, place, 2) for place in range(COUNT)] == ["✓", "✓", "✓", "–"]
    assert panel.about.text() == "mr: 4 cases, 3 with labels"
    assert on_screen(panel.viewer) == [("case_0", "image"), ("case_0", "reference")]
    image, labels = panel.viewer.layers
    assert panel.status.text() == ""
    np.testing.assert_array_equal(
        layer_volume(image).array, read_volume(folder / "images" / "case_0.nii.gz").array
    )
    assert tag(labels)["names"] == {1: "MYO", 2: "LVC"}


def test_next_and_previous_go_through_the_list_and_the_view_goes_with_them(
    panel: CasesPanel, folder: Path, settled: Callable[[], None], qtbot: QtBot
) -> None:
    panel.open_folder(folder)
    settled()
    viewer = panel.viewer
    assert not panel.previous.isEnabled()
    for index in (1, 2, 3):
        qtbot.mouseClick(panel.next, Qt.MouseButton.LeftButton)
        settled()
        assert {case for case, _ in on_screen(viewer)} == {f"case_{index}"}
        assert {tag(layer)["case"] for layer in viewer.layers} == {f"case_{index}"}
        image = viewer.layers[0]
        at = image.world_to_data(viewer.dims.point)
        assert all(0 <= place < size for place, size in zip(at, image.data.shape, strict=True))
    assert not panel.next.isEnabled()
    qtbot.keyClick(panel.table, Qt.Key.Key_PageUp)
    settled()
    assert panel.current is not None
    assert panel.current.name == "case_2"
    press_key(viewer, "PageDown")
    settled()
    assert panel.current.name == "case_3"


def test_the_layers_of_many_cases_do_not_pile_up(
    panel: CasesPanel, folder: Path, settled: Callable[[], None]
) -> None:
    panel.open_folder(folder)
    settled()
    arrays = []
    gc.disable()  # nothing but the panel lets go of them
    try:
        for turn in range(2 * COUNT):
            arrays += [weakref.ref(layer.data) for layer in panel.viewer.layers]
            panel.choose(f"case_{(turn + 1) % COUNT}")
            settled()
            assert len(panel.viewer.layers) <= 2
        shown = {id(layer.data) for layer in panel.viewer.layers}
        alive = {id(ref()) for ref in arrays if ref() is not None}
    finally:
        gc.enable()
    assert not alive - shown


def test_keys_that_repeat_read_only_the_last_case(
    panel: CasesPanel,
    folder: Path,
    settled: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    panel.open_folder(folder)
    settled()
    from napari_uda.gui.data import cases

    read: list[str] = []
    reader = cases.read_case
    monkeypatch.setattr(cases, "read_case", lambda case: (read.append(case.name), reader(case))[1])
    for _ in range(COUNT - 1):
        panel.next.click()
    settled()
    assert read == ["case_3"]
    assert on_screen(panel.viewer) == [("case_3", "image")]


def test_scored_cases_begin_with_the_worst(
    panel: CasesPanel, folder: Path, predictions: Path, settled: Callable[[], None]
) -> None:
    panel.open_folder(folder, predictions)
    settled()
    order = [cell(panel, place, 0) for place in range(COUNT)]
    assert order == ["case_1", "case_0", "case_2", "case_3"]
    assert [cell(panel, place, 4) for place in range(COUNT)] == ["0.500", "0.900", "–", "–"]
    assert panel.about.text() == "mr: 4 cases, 3 with labels, 2 predicted, mean Dice 0.700"
    viewer = panel.viewer
    roles = [("case_1", role) for role in ("image", "reference", "prediction")]
    assert on_screen(viewer) == roles
    assert [tag(layer)["role"] for layer in viewer.layers[3:]] == ["entropy", "reliability"]
    assert viewer.layers.selection.active is viewer.layers[2]
    assert viewer.layers[1].contour == 1
    headers = panel.table.horizontalHeader()
    headers.sectionClicked.emit(4)
    assert [cell(panel, place, 0) for place in range(2)] == ["case_0", "case_1"]
    headers.sectionClicked.emit(2)
    assert cell(panel, 0, 0) == "case_3"  # the one without labels


def test_the_filter_keeps_the_shown_case(
    panel: CasesPanel, folder: Path, settled: Callable[[], None], qtbot: QtBot
) -> None:
    panel.open_folder(folder)
    settled()
    field = panel.findChild(QLineEdit, "cases_filter")
    assert field is not None
    qtbot.keyClicks(field, "SE 2")
    assert panel.table.rowCount() == 1
    assert cell(panel, 0, 0) == "case_2"
    assert panel.about.text().endswith(", 1 listed")
    assert on_screen(panel.viewer)[0][0] == "case_0"
    panel.next.click()
    settled()
    assert on_screen(panel.viewer)[0][0] == "case_2"
    field.clear()
    assert panel.table.currentRow() == 2


def test_what_was_changed_by_hand_is_kept(
    panel: CasesPanel, folder: Path, settled: Callable[[], None]
) -> None:
    panel.open_folder(folder)
    settled()
    viewer = panel.viewer
    image, labels = viewer.layers
    labels.data_setitem((np.array([0]), np.array([1]), np.array([2])), 2)
    other = Labels(labels.data.copy(), name="mine", metadata={METADATA: {"case": "case_0"}})
    other.metadata[METADATA] |= {"role": "prediction", "source": str(image.unique_id)}
    viewer.add_layer(other)
    panel.next.click()
    settled()
    assert {image, labels, other} <= set(viewer.layers)
    assert {case for case, _ in on_screen(viewer)} == {"case_1"}
    panel.previous.click()
    settled()
    assert list(viewer.layers) == [image, labels, other]
    assert all(layer.visible for layer in viewer.layers)
    assert labels.data[0, 1, 2] == 2
    own: dict[str, Any] = tag(labels)
    labels.metadata = {METADATA: {**own, "role": EDITED}}
    other.visible = False  # as the original of edited labels is
    panel.next.click()
    settled()
    assert labels in viewer.layers
    panel.previous.click()
    settled()
    assert on_screen(viewer) == [("case_0", "image"), ("case_0", EDITED)]


def test_of_several_results_the_one_that_was_seen_comes_back(
    panel: CasesPanel, folder: Path, settled: Callable[[], None]
) -> None:
    panel.open_folder(folder)
    settled()
    viewer = panel.viewer
    image, labels = viewer.layers

    def result(name: str, visible: bool) -> Labels:
        own = {"case": "case_0", "role": "prediction", "source": str(image.unique_id), "run": name}
        return viewer.add_labels(
            labels.data.copy(), name=name, visible=visible, metadata={METADATA: own}
        )

    result("before adaptation", visible=False)
    after = result("adapted", visible=True)
    for button in (panel.next, panel.previous):
        button.click()
        settled()
    (again,) = (layer for layer in viewer.layers if tag(layer)["role"] == "reference")
    assert again.contour == 1  # else it covers the result
    assert [layer.name for layer in viewer.layers if layer.visible] == [
        "case_0",
        "case_0 · reference",
        "adapted",
    ]
    panel.next.click()
    settled()
    newest = result("another model", visible=False)  # was still being made when the case was left
    panel.previous.click()
    settled()
    assert newest.visible
    assert not after.visible
    for layer in viewer.layers:
        layer.visible = layer is newest or layer is image
    panel.next.click()
    settled()
    image.visible = newest.visible = True  # brought to the front by another dock
    for layer in viewer.layers:
        layer.visible = tag(layer)["case"] == "case_0" and layer is not after
    panel.previous.click()
    settled()
    assert not after.visible


def test_a_prediction_from_a_layer_names_the_file_of_the_layer(
    folder: Path, tmp_path: Path, made_prediction: Prediction
) -> None:
    from napari.layers import Layer

    file = folder / "images" / "case_0.nii.gz"
    layer = Layer.create(*files.read_layers(file))
    volume = layer_volume(layer)
    assert volume.source is not None
    assert volume.source.path == file
    replace(made_prediction, volume=volume).save(tmp_path / "made")
    text = (tmp_path / "made" / "case_0.json").read_text()
    assert '"path": "../mr/images/case_0.nii.gz"' in text
    assert str(tmp_path) not in text
    layer.translate = (1, 2, 3)
    assert layer_volume(layer).source is None


def test_what_is_open_already_is_taken_and_nothing_is_covered(
    panel: CasesPanel,
    folder: Path,
    predictions: Path,
    tmp_path: Path,
    settled: Callable[[], None],
) -> None:
    viewer = panel.viewer
    link = tmp_path / "shortcut"
    link.symlink_to(tmp_path)
    drawn = viewer._add_layer_from_data(
        *files.read_layers(link / "out" / "case_1_labels.nii.gz", "prediction")
    )[0]
    panel.open_folder(folder, predictions)  # the worst is case_1
    settled()
    shown = [("case_1", role) for role in ("image", "reference", "prediction")]
    assert on_screen(viewer) == shown
    assert drawn in viewer.layers
    panel.open_folder(predictions)  # names the images by paths of its own
    settled()
    assert on_screen(viewer) == shown
    roles = [tag(layer)["role"] for layer in viewer.layers]
    assert roles == ["image", "reference", "prediction", "entropy", "reliability"]
    assert viewer.layers[1].name == "case_1 · reference"
    found = panel.found
    assert found is not None
    assert not any(".." in str(case.image) for case in found.cases)


def test_a_click_comes_back_to_the_case_from_something_else(
    panel: CasesPanel, folder: Path, settled: Callable[[], None], qtbot: QtBot
) -> None:
    panel.open_folder(folder)
    settled()
    viewer = panel.viewer
    for layer in viewer.layers:
        layer.visible = False  # as when another patient is opened
    assert not panel.status.text()
    item = panel.table.item(0, 0)
    assert item is not None
    place = panel.table.visualItemRect(item).center()
    qtbot.mouseClick(panel.table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    settled()
    assert on_screen(viewer) == [("case_0", "image"), ("case_0", "reference")]
    assert len(viewer.layers) == 2


def test_what_cannot_be_read_is_said_and_the_case_before_stays(
    panel: CasesPanel, folder: Path, settled: Callable[[], None], tmp_path: Path
) -> None:
    panel.open_folder(folder)
    settled()
    (folder / "images" / "case_1.nii.gz").write_bytes(b"none")
    panel.next.click()
    settled()
    assert panel.status.text().startswith("case_1")
    assert panel.status.text().endswith("The case before is still shown.")
    assert on_screen(panel.viewer)[0] == ("case_0", "image")
    panel.open_folder(tmp_path / "none")
    settled()
    assert "there is no such file or folder" in panel.status.text()
    assert panel.table.rowCount() == COUNT


def test_a_prediction_without_its_image_says_which_is_missing(
    panel: CasesPanel, folder: Path, predictions: Path, settled: Callable[[], None]
) -> None:
    (folder / "images" / "case_1.nii.gz").unlink()
    panel.open_folder(predictions)
    settled()
    assert cell(panel, 0, 1) == "missing"
    assert "its image ../mr/images/case_1.nii.gz is missing" in panel.status.text()
    assert on_screen(panel.viewer) == [("case_1", "prediction")]


def test_it_fits_300_pixels(
    panel: CasesPanel, folder: Path, predictions: Path, settled: Callable[[], None]
) -> None:
    panel.open_folder(folder, predictions)
    settled()
    assert panel.width() == 300
    assert panel.minimumSizeHint().width() <= 300
    assert panel.table.horizontalScrollBar().maximum() == 0
    assert panel.table.columnWidth(0) >= 60
