"""DICOM SEG written by highdicom, read onto the image's grid; highdicom is also the other reader."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.sequence import Sequence as Items
from segmentation_files import write_image, write_seg

from napari_uda.core.errors import InputError
from napari_uda.data.segmentation import read_segmentation
from napari_uda.data.volume import Volume, read_labels, read_volume

NAMES = {1: "Liver", 2: "Left kidney"}
COLOURS = {1: (221, 130, 101), 2: (0, 151, 206)}
LABELS = np.zeros((5, 4, 6), np.uint8)
LABELS[1, 1:3, 2:5] = 1  # slices 0 and 4 stay empty, and slice 2, too
LABELS[3, 0, 0] = 1
LABELS[3, 2:, 4:] = 2


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    return write_image(tmp_path / "ct")


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP", "FRACTIONAL"])
def test_every_type_comes_onto_the_image(tmp_path: Path, ct: Path, kind: str) -> None:
    stored = LABELS
    if kind == "FRACTIONAL":
        stored = np.stack([(LABELS == 1) * 0.7, (LABELS == 2) * 0.5, (LABELS == 0) * 0.49], -1)
        stored[..., 0][LABELS == 2] = 0.4
    names = NAMES | ({3: "rest"} if kind == "FRACTIONAL" else {})
    colours = COLOURS | {3: (1, 2, 3)}
    options = {"max_fractional_value": 200} if kind == "FRACTIONAL" else {}
    file = write_seg(tmp_path / "seg.dcm", ct, stored, names, kind, colours, **options)
    image = read_volume(ct)
    found = read_segmentation(file, grid=image)
    assert (found.labels.array == LABELS).all()
    assert found.labels.array.dtype == np.uint8
    assert (found.labels.affine == image.affine).all()
    assert {value: found.names[value] for value in NAMES} == NAMES
    assert {value: found.colours[value] for value in NAMES} == {1: "#DD8265", 2: "#0097CE"}
    assert found.labels.name == "seg"


def test_frames_stand_in_any_order_and_empty_ones_are_missing(tmp_path: Path, ct: Path) -> None:
    file = write_seg(tmp_path / "seg.dcm", ct, LABELS, NAMES)
    dataset = dcmread(file)
    assert dataset.NumberOfFrames == 3  # of 10: five slices, two segments
    size = LABELS[0].size  # 24 pixels, three bytes
    frames = [dataset.PixelData[3 * n : 3 * n + 3] for n in range(3)]
    groups = list(dataset.PerFrameFunctionalGroupsSequence)
    for order in ((2, 0, 1), (2, 1, 0)):
        dataset.PixelData = b"".join(frames[n] for n in order) + b"\0"
        dataset.PerFrameFunctionalGroupsSequence = Items([groups[n] for n in order])
        dataset.save_as(file)
        assert (read_labels(file, grid=read_volume(ct)).array == LABELS).all()
    assert size == 24


def test_agrees_with_highdicom(tmp_path: Path, ct: Path) -> None:
    file = write_seg(tmp_path / "seg.dcm", ct, LABELS, NAMES)
    other = hd.seg.segread(file).get_volume(combine_segments=True)
    own = read_labels(file)
    place = other.affine * np.array([[-1, -1, 1, 1]]).T  # LPS, and array axes before x, y, z
    theirs = Volume(other.array, place[:, [2, 1, 0, 3]]).canonical()
    ours = own.canonical()
    assert (ours.array == theirs.array).all()
    assert np.allclose(ours.affine, theirs.affine)
    assert ours.array.shape == (3, 4, 6)  # slices 1 to 3 of the image


def test_bits_of_frames_that_end_inside_a_byte(tmp_path: Path) -> None:
    from dicom_files import write_slices
    from segmentation_files import PATIENT

    labels = np.random.default_rng(3).integers(0, 2, (3, 3, 5)).astype(np.uint8)
    ct = write_slices(tmp_path / "ct", labels.astype(np.int16), [0.0, 2.0, 4.0], **PATIENT)
    file = write_seg(tmp_path / "seg.dcm", ct, labels, {1: "Liver"})
    assert (read_labels(file, grid=read_volume(ct)).array == labels).all()


def test_compressed_frames(tmp_path: Path, ct: Path) -> None:
    from pydicom.uid import JPEGLSLossless, RLELossless

    for syntax in (RLELossless, JPEGLSLossless):
        file = write_seg(
            tmp_path / f"{syntax}.dcm", ct, LABELS, NAMES, "LABELMAP", transfer_syntax_uid=syntax
        )
        assert (read_labels(file, grid=read_volume(ct)).array == LABELS).all()


def test_the_image_may_be_stored_otherwise(tmp_path: Path, ct: Path) -> None:
    file = write_seg(tmp_path / "seg.dcm", ct, LABELS, NAMES)
    image = read_volume(ct)
    body = Volume(LABELS, image.affine)
    for turned in (body.canonical(), body.turned(body.canonical().orientation)):
        assert (read_labels(file, grid=turned).array == turned.array).all()
    crop = Volume(image.array[1:, :, 1:], image.affine @ _shift(1, 0, 1))
    with pytest.raises(InputError, match="Liver reaches beyond the image, 1 of its voxels lie"):
        read_labels(file, grid=crop)


def _shift(x: int, y: int, z: int) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, 3] = x, y, z
    return affine


def test_other_grids_are_refused(tmp_path: Path, ct: Path) -> None:
    file = write_seg(tmp_path / "seg.dcm", ct, LABELS, NAMES)
    image = read_volume(ct)
    half = image.affine @ _shift(0, 0, 0)
    half[:3, 3] += (0, 0, 1.5)
    with pytest.raises(InputError, match=r"seg.dcm does not lie on the voxels .* off by 1\.5 mm"):
        read_labels(file, grid=Volume(image.array, half))
    thin = image.affine @ np.diag([1, 1, 1 / 3, 1])
    with pytest.raises(InputError, match=r"slices are 3 mm apart and those of the image 1 mm"):
        read_labels(file, grid=Volume(np.zeros((13, 4, 6)), thin))
    wide = image.affine @ np.diag([2, 1, 1, 1])
    with pytest.raises(InputError, match=r"voxels are \(3, 1\.5, 0\.75\) mm .* \(3, 1\.5, 1\.5\)"):
        read_labels(file, grid=Volume(image.array, wide))
    other = Volume(image.array, image.affine, "other", frame_of_reference="1.2.77")
    with pytest.raises(InputError, match="another frame of reference than other"):
        read_labels(file, grid=other)
    turn = np.deg2rad(35)
    cosine, sine = np.cos(turn), np.sin(turn)
    turned = np.array([[1, 0, 0, 0], [0, cosine, -sine, 0], [0, sine, cosine, 0], [0, 0, 0, 1]])
    with pytest.raises(InputError, match=r"axes \(LPS\) are turned against those of the image"):
        read_labels(file, grid=Volume(image.array, turned @ image.affine))
    near = image.affine.copy()
    near[0, 3] += 0.005
    assert (read_labels(file, grid=Volume(image.array, near)).array == LABELS).all()


def test_coordinates_that_are_made_up_do_not_matter_on_the_image_itself(
    tmp_path: Path, ct: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write_seg(tmp_path / "seg.dcm", ct, LABELS, NAMES)
    dataset = dcmread(file)
    dataset.FrameOfReferenceUID = "1.2.77"
    dataset.save_as(file)
    image = read_volume(ct)
    read = read_labels(file, grid=image)
    assert (read.array == LABELS).all()
    assert read.frame_of_reference == image.frame_of_reference
    assert "seg.dcm: states another frame of reference than ct (0020,0052), but" in caplog.text
    with pytest.raises(InputError, match=r"another frame of reference than ct.*examination"):
        read_labels(file, grid=replace(image, source=None))
    dataset.ReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.3.2"
    dataset.save_as(file)
    with pytest.raises(InputError, match=r"another frame of reference than ct.*examination"):
        read_labels(file, grid=image)


def test_names_choose_and_number(
    tmp_path: Path, ct: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write_seg(tmp_path / "seg.dcm", ct, LABELS, NAMES)
    image = read_volume(ct)
    found = read_segmentation(file, grid=image, names={"left_kidney": 1, "spleen": 3})
    assert (found.labels.array == (LABELS == 2)).all()
    assert found.names == {1: "left_kidney"}
    assert "Liver left out, since only left_kidney, spleen are named" in caplog.text
    large = read_labels(file, grid=image, names={"liver": 1000, "left kidney": 2})
    assert (large.array == LABELS).all()
    with pytest.raises(InputError, match=r"\(Liver, Left kidney\) have none of the names Milz"):
        read_labels(file, grid=image, names={"Milz": 1})


def test_values_count_where_names_are_numbers(
    tmp_path: Path, ct: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write_seg(tmp_path / "seg.dcm", ct, LABELS, {1: "Segment 1", 2: "Segment_2"})
    found = read_segmentation(file, grid=read_volume(ct), names={"liver": 2})
    assert (found.labels.array == (LABELS == 2) * 2).all()
    assert found.names == {2: "liver"}
    assert "matched by their values" in caplog.text


def test_overlap_is_explained_and_can_be_avoided(tmp_path: Path, ct: Path) -> None:
    masks = np.stack([LABELS == 1, LABELS > 0], -1).astype(np.uint8)
    file = write_seg(tmp_path / "seg.dcm", ct, masks, {1: "Liver", 2: "Body"})
    with pytest.raises(InputError) as caught:
        read_labels(file, grid=read_volume(ct))
    assert str(caught.value).startswith(
        "seg.dcm: Liver and Body overlap in 7 voxels, and a label map holds one structure per voxel; name only"
    )
    masks = np.stack([LABELS == 1, LABELS > 0, LABELS == 1], -1).astype(np.uint8)
    three = write_seg(tmp_path / "three.dcm", ct, masks, {1: "Liver", 2: "Body", 3: "Trunk"})
    with pytest.raises(InputError, match=r"in \d+ voxels \(and so does another pair\), and"):
        read_labels(three, grid=read_volume(ct))
    only = read_labels(file, grid=read_volume(ct), names={"liver": 1})
    assert (only.array == (LABELS == 1)).all()


def test_fractions_share_a_border(tmp_path: Path, ct: Path) -> None:
    parts = np.zeros((5, 4, 6, 2))
    parts[2, 1, 1] = 0.5, 0.5
    parts[2, 1, 2] = 0.4, 0.6
    parts[2, 1, 3] = 0.45, 0.45
    options = {"max_fractional_value": 100}
    file = write_seg(tmp_path / "seg.dcm", ct, parts, NAMES, "FRACTIONAL", **options)
    found = read_labels(file, grid=read_volume(ct)).array
    assert found[2, 1, 1:4].tolist() == [1, 2, 0]
    assert np.count_nonzero(found) == 2
    parts[2, 1, 1] = 0.6, 0.6
    file = write_seg(tmp_path / "seg.dcm", ct, parts, NAMES, "FRACTIONAL", **options)
    with pytest.raises(InputError, match="Liver and Left kidney overlap in 1 voxels"):
        read_labels(file, grid=read_volume(ct))


def test_damage_is_one_sentence(tmp_path: Path, ct: Path) -> None:
    file = write_seg(tmp_path / "seg.dcm", ct, LABELS, NAMES)
    whole = file.read_bytes()
    image = read_volume(ct)
    dataset = dcmread(file)
    dataset.PixelData = dataset.PixelData[:4]
    dataset.save_as(file)
    with pytest.raises(InputError, match=r"^seg\.dcm: its frames cannot be decoded"):
        read_labels(file, grid=image)
    del dataset.SegmentSequence
    dataset.save_as(file)
    with pytest.raises(InputError, match=r"^seg\.dcm: is a damaged DICOM SEG"):
        read_labels(file, grid=image)
    random = np.random.default_rng(0)
    logging.disable(logging.WARNING)
    try:
        for _ in range(40):
            content = bytearray(whole)
            for place in random.integers(132, len(content), 3):
                content[place] = random.integers(256)
            file.write_bytes(content)
            with suppress(InputError):
                read_labels(file, grid=image)
    finally:
        logging.disable(logging.NOTSET)


def test_an_image_reader_still_refuses_it(tmp_path: Path, ct: Path) -> None:
    file = write_seg(tmp_path / "seg.dcm", ct, LABELS, NAMES)
    with pytest.raises(InputError, match="segmentation"):
        read_volume(file)
