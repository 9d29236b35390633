"""The canvas says what every colour on it stands for, and says no more than that."""

from __future__ import annotations

import numpy as np
from gui_cases import add_data
from napari.components import ViewerModel
from napari.layers import Labels, Layer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QObject

from napari_uda.core.structure_colours import structure_colour
from napari_uda.data.volume import Volume
from napari_uda.gui.kit.canvas_legend import CanvasLegend, legend_lines
from napari_uda.gui.kit.canvas_words import CanvasWords, Line, canvas_words
from napari_uda.gui.kit.colormaps import structure_colormap
from napari_uda.gui.kit.files import layer_data
from napari_uda.gui.kit.geometry import METADATA
from napari_uda.gui.segment.result_layers import put_contours

WAIT_MS = 60_000
NAMES = {1: "MYO", 2: "LAC"}


def add(viewer: ViewerModel, role: str) -> Layer:
    array = np.zeros((4, 6, 6), np.float32 if role == "entropy" else np.uint8)
    array[1, 2, 2] = 1
    (layer,) = add_data(viewer, *layer_data(Volume(array, np.eye(4), "case_0"), role, NAMES))
    return layer


def texts(words: CanvasWords) -> list[str]:
    return words.texts.get("legend", "").splitlines()


_HOW_DRAWN = ["area: prediction", "outline: reference"]


def test_structures_have_full_names_and_their_colours() -> None:
    viewer = ViewerModel()
    prediction = add(viewer, "prediction")
    lines = list(legend_lines(viewer.layers))
    assert [line.text for line in lines] == ["■ left ventricle myocardium", "■ left atrium cavity"]
    assert [line.colour for line in lines] == [structure_colour(name, 9) for name in NAMES.values()]
    prediction.colormap = structure_colormap(NAMES, [1])
    assert [line.text for line in legend_lines(viewer.layers)] == ["■ left atrium cavity"]
    reference = add(viewer, "reference")
    reference.contour = 1
    found = [line.text for line in legend_lines(viewer.layers)]
    assert found == ["■ left atrium cavity", "□ left ventricle myocardium", *_HOW_DRAWN]
    prediction.colormap = structure_colormap(NAMES)
    found = [line.text for line in legend_lines(viewer.layers)]
    both = ["■ left ventricle myocardium", "■ left atrium cavity"]
    assert found == [*both, *_HOW_DRAWN]  # each once
    # words have no colour of their own: white ones were not seen on the canvas of the light theme
    assert [line.colour for line in legend_lines(viewer.layers)][-2:] == [None, None]
    reference.visible = prediction.visible = False
    assert list(legend_lines(viewer.layers)) == []


def test_maps_are_explained() -> None:
    viewer = ViewerModel()
    add(viewer, "reliability").visible = True
    add(viewer, "entropy").visible = True
    assert [line.text for line in legend_lines(viewer.layers)] == [
        "■ reliable",
        "■ unreliable",
        "entropy: 0 sure to 1 undecided",
    ]


def test_two_outlines_of_one_colour_are_told_apart() -> None:
    viewer = ViewerModel()
    for role, opacity in (("reference", 1.0), ("prediction", 0.5)):
        layer = add(viewer, role)
        layer.contour, layer.opacity = 1, opacity
    found = [line.text for line in legend_lines(viewer.layers)]
    assert found[2:] == ["outline: reference", "fainter outline: prediction"]
    layer.opacity = 1.0
    assert [line.text for line in legend_lines(viewer.layers)][2:] == [
        "outline: reference and prediction"
    ]


def test_contours_of_entropy_are_explained() -> None:
    viewer = ViewerModel()
    prediction = add(viewer, "prediction")
    contours = put_contours(viewer, prediction, np.zeros(prediction.data.shape, np.uint8), 50)
    found = list(legend_lines(viewer.layers))[2:]
    assert found[0] == Line("□ entropy 0.50", _colour_of(contours, 1))
    assert len(found) == len(contours.metadata[METADATA]["names"])


def _colour_of(layer: Labels, value: int) -> str:
    return "#" + "".join(f"{round(255 * part):02X}" for part in layer.get_color(value)[:3])


def test_canvas_follows_the_layers_and_is_left_clean(qtbot: QtBot) -> None:
    viewer, owner = ViewerModel(), QObject()
    words = canvas_words(viewer)
    legend = CanvasLegend(viewer, words, owner)
    legend.want(True)
    prediction = add(viewer, "prediction")

    def settle() -> None:
        qtbot.waitUntil(lambda: legend.is_settled, timeout=WAIT_MS)

    settle()
    assert texts(words) == ["■ left ventricle myocardium", "■ left atrium cavity"]
    prediction.colormap = structure_colormap(NAMES, [2])
    settle()
    assert texts(words) == ["■ left ventricle myocardium"]
    prediction.visible = False
    settle()
    assert texts(words) == []
    prediction.visible = True
    legend.want(False)
    settle()
    assert texts(words) == []
    with qtbot.waitSignal(owner.destroyed):
        owner.deleteLater()
    assert words.texts == {}
    viewer.layers.clear()
