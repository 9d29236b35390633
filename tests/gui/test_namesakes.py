"""Two patients whose files are called alike stay two patients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dicom_files import planes, write_slices
from gui_cases import ball_case, let_events_pass
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from napari.viewer import Viewer

from napari_uda.data.volume import write_volume
from napari_uda.gui.kit.files import read_layers
from napari_uda.gui.kit.geometry import layer_volume, tag
from napari_uda.gui.kit.layer_order import add_layer
from napari_uda.gui.kit.layers import show
from napari_uda.gui.segment.result_layers import entropy_of, image_of, reference_of
from napari_uda.inference.predict import Prediction
from napari_uda.run.offers import find_offers

GRID = np.diag([-1.5, -1.5, 8.0, 1.0])
MOVED = GRID + np.array([[0, 0, 0, 40.0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


def write_patient(folder: Path, seed: int, affine: np.ndarray) -> tuple[Path, Path]:
    """An image and its labels, as `t2` in the layout of a data folder."""
    image, labels = ball_case("t2", seed, affine)
    files = folder / "images" / "t2.nii.gz", folder / "labels" / "t2.nii.gz"
    for file, volume in zip(files, (image, labels), strict=True):
        write_volume(file, volume)
    return files


def opened(viewer: ViewerModel, file: Path) -> Layer:
    return add_layer(viewer, Layer.create(*read_layers(file)))


@pytest.mark.parametrize("affine", [MOVED, GRID], ids=["another grid", "the same grid"])
def test_a_result_finds_the_image_and_maps_of_its_own_patient(
    tmp_path: Path, made_prediction: Prediction, affine: np.ndarray
) -> None:
    viewer = ViewerModel()
    found = []
    for name, seed, where in (("mueller", 0, GRID), ("schmidt", 1, affine)):
        image, labels = (
            opened(viewer, file) for file in write_patient(tmp_path / name, seed, where)
        )
        assert isinstance(image, Image)
        volume = layer_volume(image)
        prediction = replace(made_prediction, volume=volume, case=volume.name)
        layers = show(viewer, prediction, image)
        found.append((image, labels, *layers[1:3]))
    assert [image.name for image, *_ in found] == ["t2", "schmidt_t2"]
    assert found[1][1].name == "schmidt_t2 · reference"
    for image, labels, prediction, entropy in found:
        assert isinstance(prediction, Labels)
        assert image_of(viewer, prediction) is image
        assert entropy_of(viewer, prediction) is entropy
        assert reference_of(viewer, prediction) is labels


def test_folders_of_one_name_are_told_apart_by_those_above(tmp_path: Path) -> None:
    viewer = ViewerModel()
    for number, name in enumerate(("mueller", "schmidt", "weber")):
        files = write_patient(tmp_path / name / "2020", number, MOVED if number else GRID)
        opened(viewer, files[0])
    assert [tag(layer)["case"] for layer in viewer.layers] == [
        "t2",
        "2020_t2",
        "weber_2020_t2",
    ]
    again = opened(viewer, tmp_path / "schmidt" / "2020" / "labels" / "t2.nii.gz")
    assert tag(again)["case"] == "2020_t2"


def test_predictions_elsewhere_belong_to_the_image_of_their_grid(
    tmp_path: Path, made_prediction: Prediction
) -> None:
    viewer = ViewerModel()
    for name, seed, where in (("mueller", 0, GRID), ("schmidt", 1, MOVED)):
        image = opened(viewer, write_patient(tmp_path / name, seed, where)[0])
        volume = replace(layer_volume(image), name="t2")
        replace(made_prediction, volume=volume, case="t2").save(tmp_path / f"out_{name}")
    for name, case in (("schmidt", "schmidt_t2"), ("mueller", "t2")):
        layer = opened(viewer, tmp_path / f"out_{name}" / "t2_labels.nii.gz")
        assert tag(layer)["case"] == case
        assert layer.name.startswith(f"{case} · prediction")


def test_what_napari_opened_is_told_apart_too(
    make_napari_viewer: Callable[..., Viewer], tmp_path: Path
) -> None:
    viewer = make_napari_viewer()
    files = [
        write_patient(tmp_path / name, 0, where)[0]
        for name, where in (("mueller", GRID), ("schmidt", MOVED), ("weber", MOVED))
    ]
    for file in files[:2]:
        viewer.open(file, plugin="napari_uda")
    viewer.window.add_plugin_dock_widget("napari_uda", "Data")
    viewer.open(files[2], plugin="napari_uda")
    let_events_pass()
    assert [tag(layer)["case"] for layer in viewer.layers] == ["t2", "schmidt_t2", "weber_t2"]
    assert [layer.name for layer in viewer.layers] == ["t2", "schmidt_t2", "weber_t2"]


def test_series_of_one_folder_are_called_by_their_description(tmp_path: Path) -> None:
    for number, words in enumerate(("T1", "T2", "T2")):
        write_slices(
            tmp_path / f"from_{number}",
            planes(2),
            [0.0, 5],
            SeriesInstanceUID=f"1.{number + 1}",
            SeriesDescription=words,
            SeriesNumber=number + 3,
        )
    export = tmp_path / "export"
    export.mkdir()
    for file in sorted(tmp_path.glob("from_*/*")):
        file.rename(export / f"{file.parent.name}_{file.name}")
    files = sorted(export.iterdir())[::2]  # a slice of each
    names = [offer.name for file in files for offer in find_offers([file]).offers]
    assert names == ["export_T1", "export_T2_4", "export_T2_5"]
    assert [offer.name for offer in find_offers([export]).offers] == names
