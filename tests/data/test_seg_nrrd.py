"""`.seg.nrrd` as 3D Slicer writes it: names, colours, values, cropped extents and layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from segmentation_files import write_seg_nrrd

from napari_uda.core.errors import InputError
from napari_uda.core.files import case_name
from napari_uda.data.folder import find_cases
from napari_uda.data.segmentation import read_segmentation
from napari_uda.data.volume import Volume, as_volume, read_labels

SEGMENTS = [
    {"ID": "Segment_1", "Name": "Liver", "Color": "0.866667 0.509804 0.396078", "LabelValue": "3",
     "Layer": "0", "Extent": "0 5 0 3 0 2"},
    {"ID": "Segment_2", "Name": "Left kidney", "Color": "0 0.592157 0.807843", "LabelValue": "5",
     "Layer": "0", "Extent": "0 5 0 3 0 2"},
]  # fmt: skip
CROPPED = np.zeros((3, 4, 6), np.uint8)
CROPPED[0, 1, 1], CROPPED[2, 3, 4:] = 3, 5
AFFINE = np.diag([-0.75, -1.5, 3.0, 1.0])  # LPS as Slicer writes it
IMAGE = Volume(np.zeros((8, 9, 10), np.int16), AFFINE, "p1")
START = (2, 4, 1)  # z, y, x


def write(path: Path, layers: np.ndarray = CROPPED, segments: object = SEGMENTS) -> Path:
    z, y, x = START
    origin = (0.75 * x, 1.5 * y, 3.0 * z)
    return write_seg_nrrd(path, layers, segments, origin, (0.75, 1.5, 3.0))  # type: ignore[arg-type]


def whole() -> np.ndarray:
    expected = np.zeros(IMAGE.array.shape, np.uint8)
    expected[2:5, 4:8, 1:7] = CROPPED
    return expected


def test_a_cropped_segmentation_is_put_back(tmp_path: Path) -> None:
    file = write(tmp_path / "p1.seg.nrrd")
    found = read_segmentation(file, grid=IMAGE)
    assert (found.labels.array == whole()).all()
    assert found.names == {3: "Liver", 5: "Left kidney"}
    assert found.colours == {3: "#DD8265", 5: "#0097CE"}
    assert found.labels.name == "p1" == case_name(file)
    turned = IMAGE.canonical()
    body = Volume(whole(), AFFINE).canonical()
    assert (read_labels(file, grid=turned).array == body.array).all()
    assert (read_labels(file).array == CROPPED).all()


def test_names_choose(tmp_path: Path) -> None:
    file = write(tmp_path / "p1.seg.nrrd")
    found = read_segmentation(file, grid=IMAGE, names={"left kidney": 1})
    assert (found.labels.array == (whole() == 5)).all()
    assert (found.names, found.colours) == ({1: "left kidney"}, {1: "#0097CE"})


def test_a_file_with_segments_may_be_named_nrrd(tmp_path: Path) -> None:
    file = write(tmp_path / "p1.nrrd")
    assert (read_labels(file, grid=IMAGE).array == whole()).all()
    plain = write(tmp_path / "p2.nrrd", segments=[])
    assert read_labels(plain, grid=IMAGE).array.shape == CROPPED.shape


@pytest.mark.parametrize("old", [False, True])
def test_layers(tmp_path: Path, old: bool) -> None:
    """Slicer puts segments that overlap into layers of their own; before 4.11 it put every one there."""
    layers = np.stack([CROPPED == 3, CROPPED == 5]).astype(np.uint8)
    keys = {"Name"} if old else {"Name", "LabelValue", "Layer"}
    segments = [
        {key: value for key, value in {**one, "LabelValue": "1", "Layer": str(n)}.items() if key in keys}
        for n, one in enumerate(SEGMENTS)
    ]  # fmt: skip
    found = read_segmentation(write(tmp_path / "p1.seg.nrrd", layers, segments), grid=IMAGE)
    assert (found.labels.array == (whole() == 3) + 2 * (whole() == 5)).all()
    assert found.names == {1: "Liver", 2: "Left kidney"}
    layers[1] |= layers[0]
    file = write(tmp_path / "p1.seg.nrrd", layers, segments)
    with pytest.raises(InputError, match="Liver and Left kidney overlap in 1 voxels, and a label"):
        read_labels(file, grid=IMAGE)
    assert (read_labels(file, grid=IMAGE, names={"Liver": 1}).array == (whole() == 3)).all()


def test_what_does_not_fit_is_one_sentence(tmp_path: Path) -> None:
    file = write(tmp_path / "p1.seg.nrrd")
    small = Volume(IMAGE.array[:4], AFFINE)
    with pytest.raises(InputError, match="Left kidney reaches beyond the image, 2 of its voxels"):
        read_labels(file, grid=small)
    off = AFFINE.copy()
    off[0, 3] = 0.3
    with pytest.raises(InputError, match=r"off by 0\.3 mm, 40% of a voxel"):
        read_labels(file, grid=Volume(IMAGE.array, off, "p1"))
    sitk.WriteImage(sitk.GetImageFromArray(CROPPED.astype(np.float32)), str(file))
    with pytest.raises(InputError, match="segments are whole numbers"):
        read_labels(file, grid=IMAGE)
    file.write_bytes(write(tmp_path / "p2.seg.nrrd").read_bytes()[:-20])
    with pytest.raises(InputError, match=r"^p1\.seg\.nrrd: is damaged"):
        read_labels(file, grid=IMAGE)


def test_values_that_the_header_does_not_describe(tmp_path: Path) -> None:
    file = write(tmp_path / "p1.seg.nrrd", segments=SEGMENTS[:1])
    found = read_segmentation(file, grid=IMAGE)
    assert found.names == {3: "Liver", 5: "label_5"}
    assert (found.labels.array == whole()).all()


def test_layers_as_a_list_axis(tmp_path: Path) -> None:
    """Slicer's own header, where SimpleITK's calls the axis a vector; and fields that hold nothing."""
    layers = np.stack([CROPPED == 3, CROPPED == 5]).astype(np.uint8)
    header = (
        "NRRD0004\ntype: unsigned char\ndimension: 4\nspace: left-posterior-superior\nsizes: 2 6 4 3\n"
        "space directions: none (0.75,0,0) (0,1.5,0) (0,0,3)\nkinds: list domain domain domain\n"
        "encoding: raw\nspace origin: (0.75,6,6)\n"
        "Segment0_Name:=Liver\nSegment0_LabelValue:=1\nSegment0_Layer:=0\nSegment0_Tags:=a|b:c^d|\n"
        "Segment1_Name:=Milz äöü\nSegment1_LabelValue:=1\nSegment1_Layer:=1\nSegment1_Color:=x\n"
        "Segmentation_ConversionParameters:=\n\n"
    )
    file = tmp_path / "p1.seg.nrrd"
    file.write_bytes(header.encode() + np.moveaxis(layers, 0, -1).tobytes())
    found = read_segmentation(file, grid=IMAGE)
    assert (found.labels.array == (whole() == 3) + 2 * (whole() == 5)).all()
    assert (found.names, found.colours) == ({1: "Liver", 2: "Milz äöü"}, {})


def test_it_is_no_image(tmp_path: Path) -> None:
    file = write_seg_nrrd(tmp_path / "a.seg.nrrd", np.ones((2, 3, 4), np.uint8), [])
    for read in (as_volume, lambda path: find_cases([path])[0].cases[0].read_image()):
        with pytest.raises(InputError, match=r"a.seg.nrrd: is a segmentation \(of 3D Slicer\)"):
            read(file)


def test_names_with_a_backslash_come_back(tmp_path: Path) -> None:
    segments = [{"Name": "a\\b\nc", "LabelValue": "1"}]
    file = write_seg_nrrd(tmp_path / "a.seg.nrrd", np.ones((2, 3, 4), np.uint8), segments)
    assert read_segmentation(file).names == {1: "a\\b c"}
