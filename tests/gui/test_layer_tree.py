"""The tree of what is on screen: cases, eyes, removal, and that it follows the viewer."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gui_cases import ball_case
from napari.components import ViewerModel
from napari.layers import Image, Layer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QMessageBox, QTreeWidgetItem

from napari_uda.gui.data.dock import DataDock
from napari_uda.gui.data.layer_tree import LayerTree
from napari_uda.gui.kit.files import layer_data
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.grid import SideBySide
from napari_uda.gui.kit.layer_order import add_layer
from napari_uda.gui.kit.layers import show
from napari_uda.inference.fit import Fit
from napari_uda.inference.predict import Prediction

EYE, REMOVE = 1, 2


@pytest.fixture
def viewer(made_prediction: Prediction) -> ViewerModel:
    """A segmented case, an image of another one, and a layer of somebody else."""
    made = ViewerModel()
    show(made, replace(made_prediction, fit=Fit("doubtful", ("small",))))
    add_layer(made, Layer.create(*layer_data(ball_case("case_1", 1)[0], "image", {})))
    made.add_points([[1, 2, 3]], name="mine")
    return made


@pytest.fixture
def tree(viewer: ViewerModel, qtbot: QtBot) -> LayerTree:
    made = LayerTree(viewer)
    qtbot.addWidget(made)
    made.resize(320, 400)
    made.show()
    return made


def settle(tree: LayerTree, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: tree.is_settled)


def shown(tree: LayerTree) -> dict[str, list[str]]:
    """Text of the rows, by title."""
    root = tree.tree.invisibleRootItem()
    groups = [root.child(index) for index in range(root.childCount())]
    return {one.text(0): [one.child(i).text(0) for i in range(one.childCount())] for one in groups}


def item(tree: LayerTree, *texts: str) -> QTreeWidgetItem:
    """A row by the beginnings of its text and of that above it."""
    found = tree.tree.invisibleRootItem()
    for text in texts:
        children = [found.child(index) for index in range(found.childCount())]
        (found,) = (one for one in children if one.text(0).startswith(text))
    return found


def press(tree: LayerTree, qtbot: QtBot, column: int, *texts: str) -> None:
    """Click into a column of a row."""
    index = tree.tree.indexFromItem(item(tree, *texts), column)
    place = tree.tree.visualRect(index).center()
    qtbot.mouseClick(tree.tree.viewport(), Qt.MouseButton.LeftButton, pos=place)


def is_open(tree: LayerTree, *texts: str) -> bool:
    return bool(item(tree, *texts).data(EYE, Qt.ItemDataRole.UserRole))


def test_layers_stand_under_their_case_with_their_model(tree: LayerTree) -> None:
    model = "tiny of 2026-08-21, weights abababab"
    assert shown(tree) == {
        "case_0": [
            "image",
            f"prediction (doubtful)\n{model}",
            f"entropy (doubtful)\n{model}",
            f"reliability (doubtful)\n{model}",
        ],
        "case_1": ["image"],
        "Other layers": ["mine"],
    }
    assert "small" in item(tree, "case_0", "prediction").toolTip(0)
    assert tree.empty.isHidden()


def test_an_eye_shows_and_hides_and_follows(
    tree: LayerTree, viewer: ViewerModel, qtbot: QtBot
) -> None:
    prediction = viewer.layers["case_0 · prediction · tiny"]
    press(tree, qtbot, EYE, "case_0", "prediction")
    assert not prediction.visible
    prediction.visible = True
    assert is_open(tree, "case_0", "prediction")
    assert viewer.layers.selection.active is viewer.layers["mine"]  # an eye marks no row
    assert not is_open(tree, "case_0", "entropy")


def test_the_eye_of_a_case_brings_back_what_it_hid(
    tree: LayerTree, viewer: ViewerModel, qtbot: QtBot
) -> None:
    viewer.layers["case_0 · entropy · tiny"].visible = True
    viewer.layers["case_0"].visible = False
    before = [layer.visible for layer in viewer.layers]
    press(tree, qtbot, EYE, "case_0")
    assert not any(layer.visible for layer in viewer.layers if tag(layer).get("case") == "case_0")
    assert not is_open(tree, "case_0")
    press(tree, qtbot, EYE, "case_0")
    assert [layer.visible for layer in viewer.layers] == before


def test_the_eye_of_a_hidden_case_shows_what_is_seen_first(
    tree: LayerTree, viewer: ViewerModel, qtbot: QtBot
) -> None:
    for layer in viewer.layers:
        layer.visible = False
    press(tree, qtbot, EYE, "case_0")
    assert [layer.name for layer in viewer.layers if layer.visible] == [
        "case_0",
        "case_0 · prediction · tiny",
    ]


def test_a_click_chooses_the_layer_and_the_other_way_round(
    tree: LayerTree, viewer: ViewerModel, qtbot: QtBot
) -> None:
    tree.tree.setCurrentItem(item(tree, "case_0", "entropy"))
    assert viewer.layers.selection.active is viewer.layers["case_0 · entropy · tiny"]
    viewer.layers.selection.active = viewer.layers["mine"]
    assert tree.tree.currentItem() is item(tree, "Other layers", "mine")
    tree.tree.setCurrentItem(item(tree, "case_0"))
    assert viewer.layers.selection.active is viewer.layers["mine"]  # a title is no layer


def test_the_space_bar_is_the_eye(tree: LayerTree, viewer: ViewerModel, qtbot: QtBot) -> None:
    tree.tree.setCurrentItem(item(tree, "case_0", "image"))
    qtbot.keyClick(tree.tree, Qt.Key.Key_Space)
    assert not viewer.layers["case_0"].visible
    tree.tree.setCurrentItem(item(tree, "case_1"))
    qtbot.keyClick(tree.tree, Qt.Key.Key_Delete)
    assert "case_1" not in viewer.layers


def test_it_follows_names_removals_and_new_layers(
    tree: LayerTree, viewer: ViewerModel, qtbot: QtBot
) -> None:
    item(tree, "case_1").setExpanded(False)
    viewer.layers["case_0 · prediction · tiny"].name = "my best"
    viewer.layers.remove("case_0 · reliability · tiny")
    settle(tree, qtbot)
    texts = [text.partition("\n")[0] for text in shown(tree)["case_0"]]
    assert texts == ["image", "my best (doubtful)", "entropy (doubtful)"]
    assert not item(tree, "case_1").isExpanded()
    viewer.layers.clear()
    settle(tree, qtbot)
    assert shown(tree) == {}
    assert not tree.empty.isHidden()
    assert tree.tree.isHidden()


def test_all_of_a_case_is_removed_helpers_too(
    tree: LayerTree, viewer: ViewerModel, qtbot: QtBot
) -> None:
    image = viewer.layers["case_0"]
    assert isinstance(image, Image)
    results = [layer for layer in tree.layers_of("case_0") if layer is not image]
    list(SideBySide(viewer, image, results).enter())
    settle(tree, qtbot)
    texts = shown(tree)["case_0"]
    assert [text for text in texts if text.startswith("helper: ")] == texts[-5:]
    press(tree, qtbot, REMOVE, "case_0")
    assert [layer.name for layer in viewer.layers] == ["case_1", "mine"]
    settle(tree, qtbot)
    assert list(shown(tree)) == ["case_1", "Other layers"]


def test_labels_changed_by_hand_are_asked_about(
    tree: LayerTree, viewer: ViewerModel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    answers = iter([QMessageBox.StandardButton.Cancel, QMessageBox.StandardButton.Discard])

    def question(*arguments: object) -> QMessageBox.StandardButton:
        asked.append(str(arguments[2]))
        return next(answers)

    monkeypatch.setattr(QMessageBox, "question", question)
    labels = viewer.layers["case_0 · prediction · tiny"]
    labels.paint((2, 3, 3), 1)
    press(tree, qtbot, REMOVE, "case_0")
    assert len(viewer.layers) == 6
    assert asked[0].startswith("Labels of case_0 were changed by hand: case_0 · prediction · tiny.")
    press(tree, qtbot, REMOVE, "case_0")
    assert len(viewer.layers) == 2
    settle(tree, qtbot)
    press(tree, qtbot, REMOVE, "case_1")  # nothing of it was changed
    assert len(asked) == 2


def test_live_previews_and_helpers_of_nothing_have_groups(
    viewer: ViewerModel, qtbot: QtBot
) -> None:
    for part in ("input", "prediction"):
        own = {"role": "preview", "part": part, "run": "ct2mr"}
        viewer.add_image(ball_case("a", 0)[0].array, name=part, metadata={"napari_uda": own})
    own = {"role": "cursor", "helper": True}
    viewer.add_points([[1, 2, 3]], name="helper: cursor", metadata={"napari_uda": own})
    tree = LayerTree(viewer)
    qtbot.addWidget(tree)
    groups = shown(tree)
    assert groups["Live previews of ct2mr"] == ["input", "prediction"]
    assert groups["Other layers"] == ["mine", "helper: cursor"]


def test_the_data_dock_has_it_as_a_tab(viewer: ViewerModel, qtbot: QtBot) -> None:
    dock = DataDock(viewer)
    qtbot.addWidget(dock)
    assert dock.tabs.tabText(dock.tabs.indexOf(dock.layer_tree)) == "On screen"
