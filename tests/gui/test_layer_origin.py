"""Layers say which model made them, a case's layers stand together, and helper layers are known as such."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gui_cases import add_data, ball_case
from napari.components import ViewerModel
from napari.layers import Image, Layer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt

from napari_uda.data.provenance import ModelOrigin
from napari_uda.data.volume import Volume, write_volume
from napari_uda.gui.kit.files import layer_data, read_layers
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.grid import SideBySide
from napari_uda.gui.kit.layer_chooser import LayerChooser
from napari_uda.gui.kit.layer_order import about_layer, add_layer, is_helper, model_of
from napari_uda.gui.kit.layers import result_tag, show
from napari_uda.gui.score.added_layers import show_errors
from napari_uda.inference.fit import Fit
from napari_uda.inference.predict import Prediction
from napari_uda.inference.results import read_origin
from napari_uda.inference.translate import Translation

MODEL = ModelOrigin("tiny", "ab" * 32, "2026-08-21")
DOUBTFUL = Fit("doubtful", ("structures of unusual size: LVC 3 mL (training 9 to 12 mL)",))


def names(viewer: ViewerModel) -> list[str]:
    return [layer.name for layer in viewer.layers]


def opened(viewer: ViewerModel, volume: Volume, role: str = "image") -> Layer:
    return add_layer(viewer, Layer.create(*layer_data(volume, role, {1: "MYO", 2: "LVC"})))


def second_case() -> tuple[Volume, Volume]:
    return ball_case("case_1", 1)


def test_the_layers_of_a_case_stand_together_in_one_order(made_prediction: Prediction) -> None:
    viewer = ViewerModel()
    first, reference = ball_case("case_0", 0)
    opened(viewer, first)
    opened(viewer, second_case()[0])
    prediction = show(viewer, made_prediction)[1]
    opened(viewer, reference, "reference")
    other = replace(made_prediction, model=ModelOrigin("other"))
    show(viewer, other)
    show_errors(viewer, prediction, np.zeros_like(prediction.data))
    assert names(viewer) == [
        "case_0",
        "case_0 · reference",
        *(f"case_0 · {role} · tiny" for role in ("prediction", "entropy", "reliability")),
        *(f"case_0 · {role} · other" for role in ("prediction", "entropy", "reliability")),
        "case_0 · errors",
        "case_1",
    ]
    image, case_1 = viewer.layers["case_0"], viewer.layers["case_1"]
    assert image.visible
    assert not case_1.visible  # it would cover the result that was just made


def test_a_result_of_a_foreign_layer_stands_beside_it_also_when_it_is_renamed(
    made_prediction: Prediction,
) -> None:
    viewer = ViewerModel()
    foreign = viewer.add_image(made_prediction.volume.array, name="scan")
    viewer.add_image(made_prediction.volume.array, name="another")
    result = replace(made_prediction, case="scan")
    show(viewer, result, foreign)
    foreign.name = "mine"
    show(viewer, replace(result, model=ModelOrigin("other")), foreign)
    assert names(viewer)[0] == "mine"
    assert names(viewer)[-1] == "another"


def test_a_layer_says_which_model_made_it_and_whether_it_fits(
    made_prediction: Prediction,
) -> None:
    layers = show(ViewerModel(), replace(made_prediction, fit=DOUBTFUL))
    for layer in layers[1:]:
        own = tag(layer)
        assert own["model"] == {
            "name": "tiny",
            "hash": "ab" * 32,
            "date": "2026-08-21",
            "path": "",
            "adapted_by": "",
            "no_change_by": "",
        }
        assert own["fit"] == DOUBTFUL
        assert model_of(layer) == MODEL
        first, second = about_layer(layer).splitlines()
        assert first == "tiny of 2026-08-21, weights abababab"
        assert second == str(DOUBTFUL)
    assert about_layer(layers[0]) == ""


def test_an_adapted_model_says_by_what() -> None:
    adapted = replace(MODEL, adapted_by="tent")
    assert str(adapted) == "tiny adapted by tent of 2026-08-21, weights abababab"
    assert str(ModelOrigin("plain")) == "plain"


def test_a_result_from_files_knows_its_model_and_verdict(
    made_prediction: Prediction, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "tiny"
    model = replace(MODEL, path=str(run))
    out = tmp_path / "out"
    replace(made_prediction, model=model, fit=DOUBTFUL).save(out)
    for role, ending in (("prediction", "labels"), ("entropy", "entropy"), ("reliability",) * 2):
        data = read_layers(out / f"case_0_{ending}.nii.gz")
        layer = Layer.create(*data)
        assert layer.name == f"case_0 · {role} · tiny"
        assert (model_of(layer), tag(layer)["fit"]) == (model, DOUBTFUL)
        assert tag(layer)["case"] == "case_0"
    (out / "case_0.json").unlink()
    layer = Layer.create(*read_layers(out / "case_0_labels.nii.gz"))
    assert (layer.name, model_of(layer)) == ("case_0 · prediction", None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"model": 3}',
        '{"model": {"name": ""}}',
        '{"model": {"weights_sha256": "a"}}',
    ],
)
def test_a_sidecar_that_says_no_model_is_passed_over(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    assert read_origin(tmp_path, "a") == (None, None)


def test_a_sidecar_with_odd_entries_gives_what_is_sound(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(
        '{"model": {"name": "m", "path": 3, "date": null}, "fit": {"verdict": "splendid"}}'
    )
    assert read_origin(tmp_path, "a") == (ModelOrigin("m"), None)


def test_choosers_mark_doubtful_results_and_leave_helpers_out(
    made_prediction: Prediction, qtbot: QtBot
) -> None:
    viewer = ViewerModel()
    image, *results = show(viewer, replace(made_prediction, fit=DOUBTFUL))
    chooser = LayerChooser(viewer, lambda layer: isinstance(layer, Layer), lambda layer: 0)
    qtbot.addWidget(chooser)
    assert isinstance(image, Image)
    grid = SideBySide(viewer, image, results)
    list(grid.enter())
    shown = [chooser.itemText(index) for index in range(chooser.count())]
    assert len(viewer.layers) == 9
    assert sum(is_helper(layer) for layer in viewer.layers) == 5  # two images, three for stripes
    assert len(shown) == 4
    index = chooser.findText("case_0 · prediction · tiny (doubtful)")
    tip = chooser.itemData(index, Qt.ItemDataRole.ToolTipRole)
    assert tip.startswith("tiny of 2026-08-21")


def test_helpers_are_locked_and_go_with_their_image(made_prediction: Prediction) -> None:
    viewer = ViewerModel()
    image, *results = show(viewer, made_prediction)
    assert isinstance(image, Image)
    list(SideBySide(viewer, image, results).enter())
    helpers = [layer for layer in viewer.layers if is_helper(layer)]
    assert {one.name.partition(": ")[0] for one in helpers} == {"helper"}
    viewer.layers.selection = set(helpers)
    viewer.layers.remove_selected()  # what napari's button does
    assert all(one in viewer.layers for one in helpers)
    viewer.layers.remove(image)
    assert not any(one in viewer.layers for one in helpers)
    assert set(results) == set(viewer.layers)


def test_an_image_that_is_opened_alone_is_named_by_its_case(tmp_path: Path) -> None:
    image, labels = second_case()
    (tmp_path / "labels").mkdir()
    write_volume(tmp_path / "labels" / "case_1.nii.gz", labels)
    viewer = ViewerModel()
    opened(viewer, image)
    add_data(viewer, *read_layers(tmp_path / "labels" / "case_1.nii.gz"))
    assert names(viewer) == ["case_1", "case_1 · reference"]


def test_a_translation_says_which_model_made_it(made_prediction: Prediction) -> None:
    volume = made_prediction.volume
    image = Image(volume.array, metadata={"napari_uda": {"case": "case_0"}})
    grey = volume.array.astype(np.float32)
    made = Translation(
        *("target_to_source", grey, grey, {}, volume, "case_0", "tiny", (0.1, 0.1)), model=MODEL
    )
    own = result_tag(image, made, "translation")
    assert ModelOrigin.read(own["model"]) == MODEL
    assert "model" not in result_tag(image, replace(made, model=None), "translation")
