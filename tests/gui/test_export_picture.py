"""Export picture…: what is on the screen as a picture for a paper."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari import Viewer
from napari.components import ViewerModel
from napari.layers import Image, Labels
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_uda.core.errors import InputError
from napari_uda.core.structure_colours import structure_colour
from napari_uda.evaluation.figures import CurvePlot, PanelGrid, Series, TableText
from napari_uda.gui.kit.canvas_panels import canvas_panels
from napari_uda.gui.kit.colormaps import structure_colormap
from napari_uda.gui.kit.export_picture import PictureDialog, picture_button
from napari_uda.gui.kit.geometry import METADATA
from napari_uda.gui.score.score_tables import ScoreTable
from napari_uda.run.history import Curve

WAIT_MS = 60_000
MYO_RGB = list(bytes.fromhex(structure_colour("MYO", 1)[1:]))
CURVE = CurvePlot([Series("MYO", "#E5383B", np.arange(3), np.ones(3))], "slice", "Dice", 1.0)


def drawn(viewer: ViewerModel) -> PanelGrid:
    made = canvas_panels(viewer)
    assert made is not None
    return made()


def scene() -> ViewerModel:
    """An image of voxels 2 x 1 x 1 with a structure in slice 1, and an entropy map."""
    viewer = ViewerModel()
    image = np.zeros((3, 4, 6), np.int16)
    image[1] = np.arange(24).reshape(4, 6)
    labels = (image > 20).astype(np.uint8)
    own = {METADATA: {"role": "prediction", "names": {1: "MYO", 2: "LVC"}}}
    viewer.add_layer(Image(image, name="mr", scale=(2, 1, 1), contrast_limits=(0, 23)))
    viewer.add_layer(
        Labels(labels, name="found", scale=(2, 1, 1), opacity=1, metadata=own,
               colormap=structure_colormap({1: "MYO", 2: "LVC"}))
    )  # fmt: skip
    viewer.dims.set_point(0, 2)
    return viewer


def test_one_panel_is_the_slice_on_the_canvas_with_its_legend() -> None:
    viewer = scene()
    grid = drawn(viewer)
    (panel,) = grid.panels
    assert (panel.title, panel.rgb.shape, panel.aspect) == ("found", (4, 6, 3), 1.0)
    grey = np.arange(24).reshape(4, 6) / 23 * 255
    np.testing.assert_allclose(panel.rgb[:3], np.repeat(grey[:3, :, None], 3, -1), atol=1)
    assert panel.rgb[3, 5].tolist() == MYO_RGB
    assert list(grid.legend) == ["left ventricle myocardium"]  # of what is seen alone
    viewer.dims.set_point(0, 0)
    assert dict(drawn(viewer).legend) == {}


def test_other_cuts_have_their_pixels_and_hidden_layers_are_left_out() -> None:
    viewer = scene()
    viewer.dims.order = (1, 0, 2)
    viewer.dims.set_point(1, 3)
    (panel,) = drawn(viewer).panels
    assert (panel.rgb.shape, panel.aspect) == ((3, 6, 3), 2.0)
    assert panel.rgb[1, 5].tolist() == MYO_RGB
    viewer.layers["found"].visible = False
    assert drawn(viewer).panels[0].title == "mr"
    viewer.layers["mr"].visible = False
    assert canvas_panels(viewer) is None
    viewer.dims.ndisplay = 3
    with pytest.raises(InputError, match="switch the canvas to 2D"):
        canvas_panels(viewer)


def test_cells_of_the_grid_are_panels_with_a_colour_bar() -> None:
    viewer = scene()
    entropy = np.full((3, 4, 6), 0.5, np.float32)
    viewer.add_layer(
        Image(entropy, name="entropy", scale=(2, 1, 1), colormap="inferno", contrast_limits=(0, 1))
    )
    viewer.canvas.grid.enabled = True
    viewer.canvas.grid.shape = (1, 3)
    grid = drawn(viewer)
    assert [panel.title for panel in grid.panels] == ["mr", "found", "entropy"]
    (bar,) = grid.bars
    assert (bar.label, bar.low, bar.high) == ("entropy", 0.0, 1.0)
    viewer.layers["found"].contour = 1
    outline = drawn(viewer).panels[1].rgb
    assert outline[3, 4].any()  # beside another value
    assert not outline[0].any()


def test_a_layer_that_lies_elsewhere_is_drawn_where_it_lies() -> None:
    viewer = scene()
    moved = Labels(np.ones((3, 2, 2), np.uint8), name="moved", scale=(2, 1, 1), translate=(0, 1, 4))
    viewer.layers["found"].visible = False
    viewer.add_layer(moved)
    rgb = drawn(viewer).panels[0].rgb.astype(int)
    coloured = np.ptp(rgb, axis=-1) > 0
    assert np.argwhere(coloured).tolist() == [[1, 4], [1, 5], [2, 4], [2, 5]]


def test_button_asks_for_a_size_and_writes_in_a_thread(
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_napari_viewer: Callable[[], Viewer],
) -> None:
    make_napari_viewer()
    owner = QWidget()
    qtbot.addWidget(owner)
    made = picture_button(lambda: CURVE, "this curve", "slices")
    made.setParent(owner)

    def answer(dialog: PictureDialog) -> int:
        dialog.kinds.setCurrentIndex(dialog.kinds.findData("svg"))
        dialog.width_box.setValue(85)
        return 1

    def ask(*given: Any) -> tuple[str, str]:
        assert given[2] == "slices.svg"
        return str(tmp_path / "mine"), ""

    monkeypatch.setattr(PictureDialog, "exec", answer)
    monkeypatch.setattr(QFileDialog, "getSaveFileName", ask)
    made.click()
    qtbot.waitUntil((tmp_path / "mine.svg").exists, timeout=WAIT_MS)
    assert f'width="{85 / 25.4 * 72:.6f}pt"' in (tmp_path / "mine.svg").read_text()


def test_nothing_to_draw_is_said(
    qtbot: QtBot, make_napari_viewer: Callable[[], Viewer], notifications: Callable[[], list[str]]
) -> None:
    make_napari_viewer()
    made = picture_button(lambda: None, "this curve", "slices")
    qtbot.addWidget(made)
    made.click()
    assert notifications() == [
        "There is nothing to export yet: this curve will be drawn when there is data."
    ]


def test_tables_offer_text_and_need_no_size_for_it(qtbot: QtBot) -> None:
    owner = QWidget()
    qtbot.addWidget(owner)
    dialog = PictureDialog(owner, table=True)
    dialog.kinds.setCurrentIndex(dialog.kinds.findData("tex"))
    assert (dialog.kind, dialog.width_box.isEnabled()) == ("tex", False)
    assert PictureDialog(owner, table=False).kinds.findData("tex") == -1


def test_score_table_as_text_marks_the_means(qtbot: QtBot) -> None:
    import napari_uda as uda

    cube = np.zeros((2, 6, 6), np.uint8)
    cube[:, 1:3, 1:3] = 1
    table = ScoreTable()
    qtbot.addWidget(table)
    assert table.picture() is None
    scores = uda.evaluate(
        cube, np.where(cube, cube, 2).astype(np.uint8), spacing_mm=(1, 1, 1), names={1: "a", 2: "b"}
    )
    table.show_scores([("mine", scores)])
    found = table.picture()
    assert isinstance(found, TableText)
    assert [row[:4] for row in found.rows] == [
        ["a", "both", "1.000", "0.00"],
        ["b", "missed", "0.000", "missed"],
        ["mean", "n 2, 1 penalised", "0.500", found.rows[2][3]],
    ]
    assert found.strong == {2}
    tip = table.item(1, 3).toolTip()
    assert tip.startswith("No distance can be measured: missed.")
    for column in range(table.columnCount()):  # State is never cut off, nor is anything else
        texts = (table.item(row, column).text() for row in range(table.rowCount()))
        widest = max(table.fontMetrics().horizontalAdvance(text) for text in texts)
        assert table.columnWidth(column) > widest


def test_loss_curves_are_drawn_as_they_are_shown(qtbot: QtBot) -> None:
    from napari_uda.gui.train.loss_curves import LossCurves

    curves = LossCurves()
    qtbot.addWidget(curves)
    assert curves.picture() is None
    steps = np.arange(4)
    curves.show_curves(
        [
            Curve("a", "supervised", steps, np.array([4.0, 2, 2, 2]), "#E5383B"),
            Curve("b", "Dice", steps, np.full(4, 0.5), "#1FB45A", share=True),
            Curve("c", "hidden", steps, np.ones(4), "#2F7BFF"),
        ]
    )
    curves.smoothing.setValue(2)
    curves.log.setChecked(True)
    curves.legend.item(2).setCheckState(type(curves.legend.item(2).checkState())(0))
    losses, shares = curves.picture() or []
    assert [one.name for one in losses.series] == ["supervised"]
    assert losses.series[0].y.tolist() == [4, 3, 2, 2]
    assert (losses.log, shares.log, shares.top) == (True, False, 1.0)
