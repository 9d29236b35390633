"""Layers deleted, renamed, moved, copied and painted in random order while docks show results and jobs run."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gui_cases import LABELS, ball_case, let_events_pass
from napari.layers import Labels, Layer
from napari.utils.notifications import notification_manager
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot

from napari_uda.gui.kit import jobs
from napari_uda.gui.kit.files import layer_data
from napari_uda.gui.kit.layers import show
from napari_uda.inference.predict import Prediction

WAIT_MS = 60_000
ACTIONS = 100
NAMES = {value: name for name, value in LABELS.items()}


def act(viewer: Viewer, docks: dict[str, Any], chance: random.Random) -> None:
    """One random action of a user."""
    layers = list(viewer.layers)
    layer = chance.choice(layers)
    action = chance.choice(
        ["remove", "rename", "move", "copy", "paint", "select", "scroll", "press", "press", "press"]
    )
    if action == "remove":
        viewer.layers.remove(layer)
    elif action == "rename":
        layer.name = chance.choice(["mine", "case_0", "…"])
    elif action == "move":
        viewer.layers.move(chance.randrange(len(layers)), chance.randrange(len(layers) + 1))
    elif action == "copy" and len(layers) < 14:
        data, state, kind = layer.as_layer_data_tuple()
        viewer.add_layer(Layer.create(data.copy(), state, kind))
    elif action == "paint" and isinstance(layer, Labels) and layer.editable:
        layer.mode = "paint"
        layer.paint([chance.randrange(size) for size in layer.data.shape], chance.randrange(3))
        layer.mode = "pan_zoom"
    elif action == "select":
        viewer.layers.selection.active = layer
    elif action == "scroll":
        viewer.dims.set_current_step(0, chance.randrange(6))
    elif action == "press":
        button = chance.choice(buttons(docks))
        if button.isEnabled():
            button.click()


def buttons(docks: dict[str, Any]) -> list[Any]:
    segment, score, view = docks["Segment"], docks["Score"], docks["View"]
    entropy = segment.results.entropy
    return [
        *(
            segment.run,
            segment.cancel,
            segment.views,
            segment.batch.layers,
            segment.results.structures.outlines,
        ),
        *(entropy.map, entropy.contours, entropy.next, score.score, score.cancel),
        *(
            score.slices.worst,
            score.slices.disagreement,
            score.slices.errors,
            view.linked,
            view.neurological,
        ),
    ]


@pytest.mark.parametrize("seed", [1])
def test_no_order_of_actions_raises(
    seed: int,
    make_napari_viewer: Callable[[], Viewer],
    qtbot: QtBot,
    tiny_run: Path,
    made_prediction: Prediction,
    caplog: pytest.LogCaptureFixture,
) -> None:
    chance = random.Random(seed)
    viewer = make_napari_viewer()
    docks = {
        name: viewer.window.add_plugin_dock_widget("napari_uda", name)[1]
        for name in ("Segment", "Score", "View")
    }
    docks["Segment"].add_model(tiny_run)
    for _ in range(ACTIONS):
        if len(viewer.layers) < 3:
            show(viewer, made_prediction)
            viewer.add_layer(
                Layer.create(*layer_data(ball_case("case_0", 0)[1], "reference", NAMES))
            )
        act(viewer, docks, chance)
        let_events_pass(chance.choice([1, 1, 5]))
    qtbot.waitUntil(lambda: all(dock.is_settled for dock in docks.values()), timeout=WAIT_MS)
    qtbot.waitUntil(lambda: not jobs.running(), timeout=WAIT_MS)
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []
    raised = [record for record in notification_manager.records if hasattr(record, "exception")]
    assert raised == []
