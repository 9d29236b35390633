"""Files and samples become layers of the right kind, with names and fixed colours."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gui_cases import LABELS, add_data
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.viewer import Viewer
from segmentation_files import write_image, write_seg, write_seg_nrrd

import napari_uda as uda
from napari_uda.core.errors import InputError
from napari_uda.core.structure_colours import structure_colour
from napari_uda.data.volume import Volume, read_volume, write_volume
from napari_uda.gui.kit import files
from napari_uda.gui.kit.files import get_reader, read_layers
from napari_uda.gui.kit.geometry import METADATA
from napari_uda.gui.kit.layers import structure_names
from napari_uda.inference.predict import Prediction


def test_reference_of_a_data_folder_knows_its_structures(data_folder: Path) -> None:
    data, arguments, kind = read_layers(data_folder / "labels" / "case_0.nii.gz")
    layer = Labels(data, **arguments)
    assert kind == "labels"
    assert data.dtype == np.uint8
    assert layer.metadata[METADATA]["role"] == "reference"
    assert structure_names(layer) == {value: name for name, value in LABELS.items()}
    np.testing.assert_allclose(
        layer.get_color(1), _rgba(structure_colour("MYO", 1)), atol=1e-2
    )  # MYO is red
    np.testing.assert_allclose(layer.colormap.map(0), (0, 0, 0, 0))


def test_saved_prediction_comes_back_as_three_kinds_of_layers(
    made_prediction: Prediction, tmp_path: Path
) -> None:
    found = {}
    for path in made_prediction.save(tmp_path / "predictions")[:3]:
        _, arguments, kind = read_layers(path)
        found[arguments["metadata"][METADATA]["role"]] = (kind, arguments)
    assert {role: kind for role, (kind, _) in found.items()} == {
        "prediction": "labels",
        "entropy": "image",
        "reliability": "labels",
    }
    cases = {arguments["metadata"][METADATA]["case"] for _, arguments in found.values()}
    assert cases == {"case_0"}
    assert found["entropy"][1]["contrast_limits"] == (0.0, 1.0)
    assert found["reliability"][1]["features"]["structure"] == [
        "background",
        "reliable",
        "unreliable",
    ]


def test_prediction_in_a_run_folder_takes_the_names_of_the_run(
    tiny_run: Path, data_folder: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")  # others need it without predictions
    prediction = uda.predict(run, data_folder / "images" / "case_0.nii.gz")
    labels = prediction.save(run / "predictions")[0]
    own = read_layers(labels)[1]["metadata"][METADATA]
    assert own["names"] == {value: name for name, value in LABELS.items()}


@pytest.mark.parametrize(
    ("values", "kind"), [((0, 1, 4), "labels"), ((-3, 0, 4), "image"), ((0.5, 0, 1), "image")]
)
def test_unnamed_file_is_judged_by_its_values(
    values: tuple[float, ...], kind: str, tmp_path: Path
) -> None:
    array = np.resize(np.array(values, np.float32), (8, 8, 8)).copy()
    array[0, 0, 0], array[4, 4, 4], array[0, 4, 4] = values
    write_volume(tmp_path / "scan.nii", Volume(array, np.eye(4)))
    assert read_layers(tmp_path / "scan.nii")[2] == kind


def test_labels_that_are_no_whole_numbers_are_refused_in_one_sentence(tmp_path: Path) -> None:
    write_volume(tmp_path / "a_labels.nii", Volume(np.full((2, 2, 2), 0.5, np.float32), np.eye(4)))
    with pytest.raises(InputError, match="whole numbers"):
        read_layers(tmp_path / "a_labels.nii")


def test_folder_is_taken_only_when_it_holds_dicom(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    assert get_reader(str(tmp_path / "series")) is None
    (tmp_path / "series" / "1.dcm").write_bytes(bytes(128) + b"DICM")
    assert get_reader(str(tmp_path / "series")) is not None
    assert get_reader([str(tmp_path / "a.nii"), str(tmp_path / "b.csv")]) is None


def test_segmentations_open_as_labels_with_their_names(tmp_path: Path) -> None:
    labels = np.zeros((5, 4, 6), np.uint8)
    labels[1:4, 1, 2] = 2
    image = write_image(tmp_path / "ct")
    write_volume(tmp_path / "p1.nii.gz", read_volume(image).with_array(labels))
    (tmp_path / "p1.label").write_text('2 1 2 3 1 1 1 "Left kidney"')
    seg = write_seg(tmp_path / "seg.dcm", image, labels, {1: "Liver", 2: "Left kidney"})
    segments = [{"Name": "Left kidney", "LabelValue": "2"}]
    nrrd = write_seg_nrrd(tmp_path / "a.seg.nrrd", labels, segments)
    for file in (seg, nrrd, tmp_path / "p1.nii.gz"):
        assert get_reader(str(file)) is not None
        data, arguments, kind = read_layers(file)
        assert kind == "labels"
        assert arguments["metadata"][METADATA]["role"] == "reference"
        assert structure_names(Labels(data, **arguments))[2] == "Left kidney"
        assert np.count_nonzero(data == 2) == 3
    reader = get_reader(str(next(image.iterdir())))  # one slice stands for its series
    assert reader is not None
    assert [data.shape for data, *_ in reader(str(next(image.iterdir())))] == [(5, 4, 6)]


def test_samples_open_as_image_and_labels(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (files.SAMPLES / "mr" / "images").is_dir():
        monkeypatch.setattr(files, "SAMPLES", data_folder.parent)
    viewer = ViewerModel()
    for data in files.mr_labelled():
        add_data(viewer, *data)
    image, reference = viewer.layers
    assert (type(image), type(reference)) == (Image, Labels)
    assert image.data.shape == reference.data.shape
    np.testing.assert_array_equal(image.scale, reference.scale)
    assert len(files.mr()) == 1


def test_layers_are_saved_through_the_viewer(
    make_napari_viewer: Callable[[], Viewer], data_folder: Path, tmp_path: Path
) -> None:
    """File > Save Selected Layers finds our writers by the ending of the name."""
    viewer = make_napari_viewer()
    for folder in ("images", "labels"):
        source = data_folder / folder / "case_0.nii.gz"
        viewer.open(str(source), plugin="napari_uda")
        viewer.layers.selection = {viewer.layers[-1]}
        target = tmp_path / f"{folder}.nii.gz"
        assert viewer.layers.save(str(target), selected=True) == [str(target)]
        np.testing.assert_array_equal(read_volume(target).array, read_volume(source).array)
        np.testing.assert_array_equal(read_volume(target).affine, read_volume(source).affine)


def _rgba(colour: str) -> tuple[float, ...]:
    return (*(int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)), 1.0)
