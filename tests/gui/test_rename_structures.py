"""A structure renamed in the legend has its new name in all layers of the case and in the files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gui_cases import add_data
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QInputDialog

from napari_uda.core.structure_colours import structure_colour
from napari_uda.data.rename_structure import rename_structure
from napari_uda.data.volume import Volume, read_volume, write_volume
from napari_uda.gui.kit import jobs
from napari_uda.gui.kit.files import layer_data
from napari_uda.gui.kit.layers import structure_names
from napari_uda.gui.score.structure_matches import StructureMatches
from napari_uda.gui.segment.result_view import ResultView
from napari_uda.run.roles import names_beside

WAIT_MS = 60_000
NAMES = {1: "MYO", 2: "thing"}


def test_new_name_is_shown_coloured_and_written(
    make_napari_viewer: Callable[[], Viewer],
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    notifications: Callable[[], list[str]],
) -> None:
    viewer = make_napari_viewer()
    volume = Volume(np.ones((4, 6, 6), np.uint8), np.eye(4), "case_0")
    layers = [
        layer
        for role in ("reference", "prediction")
        for layer in add_data(viewer, *layer_data(volume, role, NAMES))
    ]
    file = tmp_path / "case_0_labels.nii.gz"
    write_volume(file, volume)
    rename_structure(file, 1, NAMES)  # as one opens it that has names
    layers += viewer.open(str(file), plugin="napari_uda")
    read = tmp_path / "read" / "case_0_labels.nii.gz"
    write_volume(read, volume)
    layers += add_data(viewer, *layer_data(read_volume(read), "prediction", NAMES))
    matches = StructureMatches()
    qtbot.addWidget(matches)
    matches.set_layers(layers[-1], layers[0])
    view = ResultView(viewer)
    qtbot.addWidget(view)
    qtbot.waitUntil(lambda: not view.is_counting, timeout=WAIT_MS)
    monkeypatch.setattr(QInputDialog, "getText", lambda *_, **__: ("spleen", True))
    view.legend.customContextMenuRequested.emit(
        view.legend.visualItemRect(view.legend.item(1, 0)).center()
    )
    qtbot.waitUntil(lambda: not view.is_counting and not jobs.running(), timeout=WAIT_MS)
    for layer in layers:
        assert structure_names(layer) == {1: "MYO", 2: "spleen"}
        assert list(layer.features["structure"]) == ["background", "MYO", "spleen"]
        rgb = [int(structure_colour("spleen", 2)[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        np.testing.assert_allclose(layer.get_color(2)[:3], rgb, atol=0.01)
    assert view.legend.item(1, 0).text() == "spleen"
    assert matches.table.item(1, 0).text() == "spleen"  # Score follows
    view.legend.renamed.emit(1, "spleen")  # taken
    assert "another structure" in notifications()[-1]
    assert structure_names(layers[0])[1] == "MYO"
    assert names_beside(file) == {1: "MYO", 2: "spleen"}
    assert names_beside(read) == {1: "MYO", 2: "spleen"}  # whichever reader gave the layer
