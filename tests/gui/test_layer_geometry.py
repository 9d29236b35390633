"""What is drawn where, and that every way back to the file is exact."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from gui_cases import oblique
from napari.layers import Image, Labels

from napari_uda.core.errors import InputError
from napari_uda.data.volume import Volume, read_volume, write_volume
from napari_uda.gui.kit.files import read_layers, write_image, write_labels
from napari_uda.gui.kit.geometry import displayed, layer_volume, placement

ORIENTATIONS = [
    (order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)
]


def signed_affine(order: tuple[int, ...], signs: tuple[int, ...]) -> np.ndarray:
    """Affine whose voxel axis `k` runs along world axis `order[k]`, with sign and own spacing."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, (world, sign) in enumerate(zip(order, signs, strict=True)):
        affine[world, column] = sign * (1.25, 0.75, 3.0)[column]
    affine[:3, 3] = (-31.5, 12.25, 80.0)
    return affine


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_screen_shows_front_up_and_patients_right_on_the_left(
    order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    """A marker at the head, front and right of the patient is drawn first on every axis."""
    affine = oblique(signed_affine(order, signs))
    array = np.zeros((4, 5, 6), np.uint8)
    turned = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    # along each voxel axis the end that lies to the right, front and head
    end = [int(np.sign(turned[np.abs(turned[:, axis]).argmax(), axis])) > 0 for axis in range(3)]
    marker = tuple(size * choice for size, choice in zip((5, 4, 3), end, strict=True))
    array[marker[::-1]] = 1
    shown, arguments = displayed(Volume(array, affine))
    assert shown[0, 0, 0] == 1
    assert shown.base is not None  # a view: nothing is resampled or copied
    assert (np.asarray(arguments["scale"]) > 0).all()


def test_world_of_the_viewer_is_millimetres_towards_foot_back_and_left() -> None:
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[:3, 3] = (10, 20, 30)
    array = np.zeros((4, 5, 6), np.uint8)
    shown, arguments = displayed(Volume(array, affine))
    layer = Labels(shown, **arguments)
    # voxel x=5, y=4, z=3 is at R 20, A 32, S 42 mm and is drawn first
    np.testing.assert_allclose(layer.data_to_world((0, 0, 0)), (-42, -32, -20))
    assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
    assert layer.axis_labels == ("z", "y", "x")


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS[::5])
def test_reader_to_writer_is_exact(
    order: tuple[int, ...], signs: tuple[int, ...], tmp_path: Path
) -> None:
    affine = oblique(signed_affine(order, signs))
    rng = np.random.default_rng(0)
    image = Volume(rng.integers(-900, 3000, (4, 5, 6), dtype=np.int16), affine, "scan")
    labels = image.with_array(rng.integers(0, 5, (4, 5, 6), dtype=np.uint8))
    write_volume(tmp_path / "images" / "scan.nii.gz", image)
    write_volume(tmp_path / "labels" / "scan.nii.gz", labels)
    for folder, kind, write, original in (
        ("images", Image, write_image, image),
        ("labels", Labels, write_labels, labels),
    ):
        source = tmp_path / folder / "scan.nii.gz"
        data, arguments, type_ = read_layers(source)
        layer = kind(data, **arguments)
        assert type(layer).__name__.lower() == type_
        (path,) = write(str(tmp_path / f"out_{folder}.nii.gz"), *layer.as_layer_data_tuple()[:2])
        again = read_volume(path)
        np.testing.assert_array_equal(again.array, original.array)
        assert again.array.dtype == original.array.dtype
        np.testing.assert_array_equal(again.affine, read_volume(source).affine)


def test_a_written_layer_keeps_both_placements_of_its_file(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((6, 5, 4), np.int16), np.diag([1, 1, 2, 1]))
    image.set_sform(image.affine, 4)
    moved = image.affine.copy()
    moved[:3, 3] = 0, 0, 0.25
    image.set_qform(moved, 1)
    nib.save(image, tmp_path / "in.nii")
    data, arguments, _ = read_layers(tmp_path / "in.nii", "image")
    (path,) = write_image(str(tmp_path / "out.nii"), data, arguments)
    written = nib.load(path).header
    assert (int(written["sform_code"]), int(written["qform_code"])) == (4, 1)
    np.testing.assert_array_equal(written.get_qform(), moved)
    arguments["translate"] = np.add(arguments["translate"], (0, 0, 5))  # in the viewer
    (path,) = write_image(str(tmp_path / "out.nii"), data, arguments)
    moved_there = nib.load(path)
    np.testing.assert_allclose(moved_there.affine[:3, 3], (-5, 0, 0))
    np.testing.assert_allclose(moved_there.get_qform(), moved_there.affine)


def test_written_file_says_nothing_about_the_patient(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((6, 5, 4), np.int16), np.diag([1, 1, 2, 1]))
    image.header["descrip"] = b"DOE JOHN 1950"
    image.header["aux_file"] = b"secret"
    image.header["intent_name"] = b"secret"
    nib.save(image, tmp_path / "in.nii")
    data, arguments, _ = read_layers(tmp_path / "in.nii", "image")
    (path,) = write_image(str(tmp_path / "out"), data, arguments)
    assert path.endswith("out.nii.gz")
    header = nib.load(path).header
    assert [bytes(header[key]).strip(b"\0") for key in ("descrip", "aux_file", "intent_name")] == [
        b"",
        b"",
        b"",
    ]
    assert not header.extensions


def test_layer_of_others_is_its_own_grid() -> None:
    layer = Image(
        np.zeros((4, 5, 6)), scale=(0.003, 0.001, 0.002), translate=(0.01, 0, 0), units=("m",) * 3
    )
    volume = layer_volume(layer)
    np.testing.assert_allclose(volume.spacing_mm, (3, 1, 2))
    # first row of the screen is the front, first column the patient's right, first slice the head
    np.testing.assert_allclose(volume.affine @ (0, 0, 0, 1), (0, 0, -10, 1))
    np.testing.assert_allclose(volume.affine @ (1, 1, 1, 1), (-2, -1, -13, 1))
    assert volume.array.shape == (4, 5, 6)


def test_scale_and_affine_of_a_layer_are_both_used() -> None:
    affine = np.diag([1.0, 2.0, 2.0, 1.0])
    layer = Image(np.zeros((4, 5, 6)), scale=(3, 1, 1), affine=affine)
    np.testing.assert_allclose(layer_volume(layer).spacing_mm, (3, 2, 2))


def test_layer_moved_in_the_viewer_is_saved_where_it_is() -> None:
    affine = signed_affine((0, 1, 2), (-1, -1, 1))
    array, arguments = displayed(Volume(np.zeros((4, 5, 6)), affine))
    layer = Image(array, **arguments)
    np.testing.assert_array_equal(layer_volume(layer).affine, affine)
    layer.translate = np.add(layer.translate, (5.0, 0.0, -2.0))
    moved = affine.copy()
    moved[:3, 3] += (2.0, 0.0, -5.0)  # RAS+: two to the right, five towards the foot
    np.testing.assert_allclose(layer_volume(layer).affine, moved, atol=1e-9)


def test_cropped_copy_of_a_layer_does_not_claim_the_files_grid() -> None:
    array, arguments = displayed(Volume(np.zeros((4, 5, 6)), np.diag([-1.0, -1.0, 3.0, 1.0])))
    layer = Image(array[1:], **arguments)
    np.testing.assert_allclose(layer_volume(layer).spacing_mm, (3, 1, 1))
    assert layer_volume(layer).array.shape == (3, 5, 6)


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS[::7])
def test_slice_numbers_of_file_and_layer_name_the_same_voxels(
    order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    volume = Volume(np.arange(120).reshape(4, 5, 6), signed_affine(order, signs))
    array, arguments = displayed(volume)
    lies = placement(Image(array, **arguments))
    for axis in range(3):
        for index in (0, 1):
            layer_axis, layer_index = lies.to_layer_slice(axis, index, array.shape)
            on_file = set(volume.array.take(index, axis).ravel())
            assert set(array.take(layer_index, layer_axis).ravel()) == on_file


@pytest.mark.parametrize(
    ("data", "words"),
    [(np.zeros((3, 4, 5, 6)), "4 axes"), (np.zeros((5, 6)), "2 axes")],
)
def test_layer_that_is_no_volume_is_refused(data: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        layer_volume(Image(data))
