"""Surfaces are closed, look outward, lie where the structure lies in millimetres and keep its volume."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

import napari_uda as uda
from napari_uda.data.volume import Volume, read_volume
from napari_uda.evaluation.surface_mesh import Mesh, surface_mesh

THICK = np.diag([0.7, 0.7, 8.0, 1.0])
REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
LABELS = (
    "btcv_label_maps/ct_anatomy_00.nii.gz",
    "btcv_label_maps/ct_anatomy_17.nii.gz",
    "chaos_t2/labels/mr_01.nii.gz",
    "mscmr/bssfp/labels/bssfp_01.nii.gz",
    "samples/example_seg.nii.gz",
    "samples/example_seg_mr.nii.gz",
)
"""Label maps of real patients: organs and hearts."""


def oblique() -> NDArray[np.float64]:
    """Left-handed, turned by 30 degrees, 1 x 1 x 3 mm."""
    turn = np.deg2rad(30)
    affine = np.eye(4)
    affine[:3, :3] = [
        [-np.cos(turn), -np.sin(turn), 0],
        [-np.sin(turn), np.cos(turn), 0],
        [0, 0, 3.0],
    ]
    affine[:3, 3] = 5, 6, 7
    return affine


def sheared() -> NDArray[np.float64]:
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[1, 2] = 0.8
    return affine


def ball(radius: float, middle: tuple[float, float, float] = (12, 12, 12)) -> NDArray[np.bool_]:
    """In isotropic voxels."""
    at = np.indices((25, 25, 25))
    return np.asarray(
        sum((axis - centre) ** 2 for axis, centre in zip(at, middle, strict=True)) <= radius**2
    )


def blob(voxels: int, seed: int) -> NDArray[np.bool_]:
    """The highest voxels of smooth noise: a few ragged parts."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random((14, 14, 14)), 1.5)
    return np.asarray(noise >= np.sort(noise.ravel())[-voxels])


def voxels_ml(mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> float:
    return float(mask.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000)


def assert_closed(mesh: Mesh) -> None:
    """Every edge has two faces, which run along it in opposite directions."""
    start, end = mesh.faces.ravel(), np.roll(mesh.faces, -1, axis=1).ravel()
    there, back = np.sort(start * len(mesh.vertices) + end), end * len(mesh.vertices) + start
    assert (np.diff(there) > 0).all()
    np.testing.assert_array_equal(there, np.sort(back))


@pytest.mark.parametrize(
    "affine", [np.eye(4), THICK, oblique(), sheared()], ids=["unit", "thick", "oblique", "sheared"]
)
@pytest.mark.parametrize("voxels", [30, 45, 300])
def test_volume_of_the_voxels_is_kept(voxels: int, affine: NDArray[np.float64]) -> None:
    for seed in range(3):
        mask = blob(voxels, seed)
        mesh = surface_mesh(mask, affine)
        assert_closed(mesh)
        assert mesh.volume_ml == pytest.approx(voxels_ml(mask, affine), rel=0.005)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the volumes in ../shared/data")
@pytest.mark.parametrize("name", LABELS)
def test_volume_of_every_real_structure_is_kept(name: str) -> None:
    labels = read_volume(REAL / name)
    counts = np.bincount(labels.array.ravel())
    values = [value for value, count in enumerate(counts) if value and count >= 30]
    assert values
    for value in values:
        mask = labels.array == value
        mesh = surface_mesh(mask, labels.affine)
        assert_closed(mesh)
        assert mesh.volume_ml == pytest.approx(voxels_ml(mask, labels.affine), rel=0.02)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.8])
def test_ragged_masks_that_touch_along_edges_and_borders_give_closed_surfaces(share: float) -> None:
    mask = np.random.default_rng(1).random((8, 9, 10)) < share
    mesh = surface_mesh(mask, THICK)
    assert_closed(mesh)
    assert mesh.volume_ml == pytest.approx(voxels_ml(mask, THICK), rel=0.01)


def test_full_volume_and_single_voxel_are_closed() -> None:
    for mask in (np.ones((3, 4, 5), bool), np.ones((1, 1, 1), bool), np.ones((1, 12, 12), bool)):
        mesh = surface_mesh(mask, np.eye(4))
        assert_closed(mesh)
        assert mesh.volume_ml == pytest.approx(voxels_ml(mask, np.eye(4)), rel=0.01)
    assert len(surface_mesh(np.zeros((3, 3, 3), bool), np.eye(4)).faces) == 0


@pytest.mark.parametrize("affine", [np.eye(4), np.diag([-1.0, -1.0, 1.0, 1.0]), oblique()])
def test_oblique_ball_lies_where_it_is_and_looks_outward(affine: NDArray[np.float64]) -> None:
    """The ball is one in millimetres, in the direction matrix of the file."""
    steps = np.linalg.norm(affine[:3, :3], axis=0)[::-1]
    at = np.indices((25, 41, 43))
    middle = np.array([12, 20, 21])
    far = np.sqrt(sum(((at[k] - middle[k]) * steps[k]) ** 2 for k in range(3)))
    mesh = surface_mesh(far <= 11, affine)
    centre = (affine @ [21, 20, 12, 1])[:3]
    away = mesh.points_mm - centre
    radii = np.linalg.norm(away, axis=1)
    assert np.abs(radii - 11).max() < 0.6 * steps.max()
    assert ((mesh.normals * away).sum(axis=1) / radii).min() > 0.5
    assert np.linalg.norm(mesh.points_mm.mean(axis=0) - centre) < 0.2


def test_smooth_ball_is_rounder_than_its_voxels() -> None:
    mesh = surface_mesh(ball(9), np.eye(4))
    radii = np.linalg.norm(mesh.points_mm - 12, axis=1)
    assert radii.std() < 0.2  # 0.26 at the middles of the voxels' faces
    assert radii.mean() == pytest.approx((ball(9).sum() * 3 / 4 / np.pi) ** (1 / 3), abs=0.05)


def test_distance_of_planes_three_millimetres_apart_is_exact() -> None:
    """Two slabs that end 3 mm apart: 3 outside, -3 the other way, seen from the middle of their sides."""
    near, far = np.zeros((2, 30, 30, 30), bool)
    near[:, :, :12], far[:, :, :15] = True, True
    meshes = [surface_mesh(mask, np.eye(4)) for mask in (near, far)]
    for one, other, expected in ((0, 1, -3.0), (1, 0, 3.0)):
        points = meshes[one].points_mm
        flat = (np.abs(points[:, 1:] - 14.5) < 7).all(axis=1) & (points[:, 0] > 8)
        distances = meshes[one].distances_to(meshes[other])[flat]
        # smoothing rounds the far corners of both alike
        np.testing.assert_allclose(distances, expected, atol=0.02)


def test_distance_of_balls_in_one_another() -> None:
    inner, outer = surface_mesh(ball(5), np.eye(4)), surface_mesh(ball(8), np.eye(4))
    mean_radii = [np.linalg.norm(mesh.points_mm - 12, axis=1).mean() for mesh in (inner, outer)]
    gap = mean_radii[1] - mean_radii[0]
    assert gap == pytest.approx(
        3, abs=0.15
    )  # balls of voxels are not quite as large as they should be
    assert inner.distances_to(outer).mean() == pytest.approx(-gap, abs=0.1)
    assert outer.distances_to(inner).mean() == pytest.approx(gap, abs=0.1)
    assert np.abs(outer.distances_to(outer)).max() < 1e-9
    assert np.isnan(inner.distances_to(surface_mesh(np.zeros((3, 3, 3), bool), np.eye(4)))).all()


def test_distance_is_that_to_the_nearest_triangle() -> None:
    """Against every triangle by brute force, with points sampled over each."""
    one, other = surface_mesh(blob(80, 3), THICK), surface_mesh(blob(60, 4), THICK)
    corners = other.points_mm[other.faces]
    weights = np.array([(a, b, 24 - a - b) for a in range(25) for b in range(25 - a)], float) / 24
    sampled = np.einsum("wc,fcx->fwx", weights, corners).reshape(-1, 3)
    from scipy.spatial import cKDTree

    truth = cKDTree(sampled).query(one.points_mm)[0]
    found = np.abs(one.distances_to(other))
    assert (found <= truth + 1e-9).mean() > 0.99  # samples lie a little further away than triangles
    np.testing.assert_allclose(found, truth, atol=0.2)


def is_inside(points: NDArray[np.float64], mesh: Mesh) -> NDArray[np.bool_]:
    """By the solid angle under which each point sees the surface, after van Oosterom and Strackee (1983)."""
    found = []
    for point in points:
        rays = mesh.points_mm[mesh.faces] - point
        lengths = np.linalg.norm(rays, axis=2)
        across = np.einsum("ij,ij->i", rays[:, 0], np.cross(rays[:, 1], rays[:, 2]))
        along = lengths.prod(axis=1)
        for one in range(3):
            pair = rays[:, one], rays[:, one - 1]
            along += np.einsum("ij,ij->i", *pair) * lengths[:, one - 2]
        found.append(np.arctan2(across, along).sum() > np.pi)
    return np.array(found)


def test_every_distance_knows_its_side() -> None:
    """Inside is negative behind sharp edges and corners, too, where a mean of normals points the wrong way."""
    rng = np.random.default_rng(18)
    noise = ndimage.gaussian_filter(rng.normal(size=(10, 24, 24)), (0.8, 2, 2))
    sharp = surface_mesh(np.pad(noise > np.quantile(noise, 0.7), 1), np.diag([1.0, 1.0, 3.0, 1.0]))
    low, high = sharp.points_mm.min(axis=0), sharp.points_mm.max(axis=0)
    points = rng.uniform(low, high, (400, 3))[:, ::-1]
    distances = Mesh(points, np.zeros((0, 3), np.int64), np.eye(4)).distances_to(sharp)
    np.testing.assert_array_equal(distances < 0, is_inside(points[:, ::-1], sharp))


def saved(folder: Path, name: str, mask: NDArray[np.generic]) -> Path:
    file = folder / f"{name}.nii.gz"
    nib.save(nib.Nifti1Image(mask.astype(np.uint8).T, oblique()), file)
    return file


def test_surfaces_of_files_are_written_in_lps_millimetres(tmp_path: Path) -> None:
    prediction, reference = ball(8).astype(np.uint8), ball(5).astype(np.uint8)
    files = [saved(tmp_path, "p", prediction), saved(tmp_path, "r", reference)]
    found = uda.surfaces(*files, names={1: "left ventricle"}, out=tmp_path / "out")
    surface = found["left ventricle"]
    assert surface.distance_mm is not None
    assert surface.distance_mm.min() > 0
    written = tmp_path / "out" / "r_left_ventricle.ply"
    header, body = written.read_bytes().split(b"end_header\n", 1)
    assert b"SPACE=LPS" in header
    assert b"property float distance_mm" in header
    rows = np.frombuffer(
        body, [("xyz", "<f4", 3), ("rgb", "u1", 3), ("mm", "<f4")], len(surface.mesh.vertices)
    )
    np.testing.assert_allclose(rows["xyz"], surface.mesh.points_mm * [-1, -1, 1], atol=1e-4)
    np.testing.assert_allclose(rows["mm"], surface.distance_mm, atol=1e-4)
    assert (tmp_path / "out").is_dir()


def test_stl_is_read_by_another_library_with_the_same_volume(tmp_path: Path) -> None:
    volume = Volume(ball(6).astype(np.uint8), oblique(), "case_0")
    surface = uda.surfaces(volume, out=tmp_path, file_format="stl")["label_1"]
    body = (tmp_path / "case_0_label_1.stl").read_bytes()
    count = int.from_bytes(body[80:84], "little")
    rows = np.frombuffer(body[84:], [("n", "<f4", 3), ("c", "<f4", (3, 3)), ("more", "<u2")])
    assert count == len(rows) == len(surface.mesh.faces)
    a, b, c = (rows["c"][:, k].astype(float) for k in range(3))
    assert np.einsum("ij,ij->", a, np.cross(b, c)) / 6000 == pytest.approx(
        surface.mesh.volume_ml, rel=1e-3
    )
    assert np.einsum("ij,ij->", rows["n"], np.cross(b - a, c - a)) > 0


def test_what_cannot_be_written_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(uda.InputError, match="choose ply or stl"):
        uda.surfaces(ball(4), spacing_mm=(1, 1, 1), file_format="obj")  # type: ignore[arg-type]
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(uda.InputError):
        uda.surfaces(ball(4), spacing_mm=(1, 1, 1), out=tmp_path / "file")
