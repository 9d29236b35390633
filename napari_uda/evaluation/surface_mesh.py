"""Smooth closed surfaces of structures that keep their volume, and the distance between two of them in millimetres."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Points = NDArray[np.float64]
Faces = NDArray[np.int64]

_ROUNDS = 15
_SHRINK, _GROW = (
    0.5,
    -0.53,
)  # Taubin 1995: what the first takes off smooth parts the second gives back
_MOST_VOXELS = 0.75  # no vertex leaves the voxel that it came from, so thin parts stay
_CORRECTIONS = 12
_VOLUME_TOLERANCE = 1e-3
_NEAREST = 10
_ON_EDGE = 1e-9
"""A corner of less weight than this counts for nothing."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """A closed surface of triangles.

    Attributes:
        vertices: `(n, 3)`, in voxel indices (z, y, x) of the label map; whole numbers are voxel centres.
        faces: `(m, 3)`, indices of vertices, counter-clockwise seen from outside in the patient.
        affine: `(4, 4)`, voxel index (x, y, z, 1) to RAS+ millimetres.
    """

    vertices: Points
    faces: Faces
    affine: NDArray[np.float64]

    @cached_property
    def points_mm(self) -> Points:
        """`(n, 3)`, x, y and z in RAS+ millimetres."""
        return _to_mm(self.vertices, self.affine)

    @property
    def volume_ml(self) -> float:
        """Enclosed volume in millilitres."""
        return _volume(self.points_mm, self.faces) / 1000

    @cached_property
    def normals(self) -> Points:
        """`(n, 3)`, outward unit vectors at the vertices, RAS+."""
        return _normals(self.points_mm, self.faces)

    def distances_to(self, other: Mesh) -> Points:
        """`(n,)` distance of every vertex to the other surface in mm: positive outside of it, negative inside.

        The nearest point may lie within a triangle; NaN where the other has none.
        """
        return _signed_distances(self.points_mm, other)


def surface_mesh(mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> Mesh:
    """The surface of a mask: marching cubes, smoothed, with the volume of its voxels.

    The triangles are those of scikit-image in its `lorensen` way: its default one joins four at an edge where voxels
    touch along an edge. A margin closes the surface where the mask meets the border of the volume. Smoothing works
    on voxel indices, which gives the same as in millimetres, since means of points follow every affine.

    Args:
        mask: `(Z, Y, X)`.
        affine: `(4, 4)`, voxel index (x, y, z, 1) to RAS+ millimetres, oblique and sheared ones too.

    Returns:
        The mesh; without vertices for an empty mask.
    """
    boxes = ndimage.find_objects(mask.astype(np.uint8))
    if not boxes:
        return Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64), affine)
    from skimage.measure import marching_cubes

    box = boxes[0]
    inside = np.pad(mask[box], 1).astype(np.float32)
    raw, triangles, _, _ = marching_cubes(  # type: ignore[no-untyped-call]
        inside, 0.5, method="lorensen", gradient_direction="ascent"
    )
    start = np.array([part.start for part in box]) - 1.0
    faces = triangles.astype(np.int64)
    if np.linalg.det(affine[:3, :3]) > 0:  # turned round on the way from (z, y, x) to (x, y, z)
        faces = faces[:, ::-1]
    target = float(np.count_nonzero(mask[box])) * abs(float(np.linalg.det(affine[:3, :3])))
    smooth = _smoothed(raw.astype(np.float64), faces) + start
    return Mesh(_with_volume(smooth, faces, affine, target), faces, affine)


def _to_mm(vertices: Points, affine: NDArray[np.float64]) -> Points:
    return np.asarray(vertices[:, ::-1] @ affine[:3, :3].T + affine[:3, 3])


def _volume(points: Points, faces: Faces) -> float:
    """Signed volume: positive when the faces look outward."""
    if not len(faces):
        return 0.0
    corners = points - points.mean(axis=0)
    first, second, third = (corners[faces[:, corner]] for corner in range(3))
    return float(np.einsum("ij,ij->", first, np.cross(second, third)) / 6)


def _normals(points: Points, faces: Faces) -> Points:
    first, second, third = (points[faces[:, corner]] for corner in range(3))
    across = np.cross(second - first, third - first)  # twice the area long, which is its weight
    sums = np.stack(
        [
            np.bincount(faces.ravel(), np.repeat(across[:, axis], 3), len(points))
            for axis in range(3)
        ],
        axis=1,
    )
    return _unit(np.asarray(sums, np.float64))


def _smoothed(vertices: Points, faces: Faces) -> Points:
    """Taubin's smoothing; no vertex goes further than `_MOST_VOXELS` along an axis."""
    means = _means_of_neighbours(len(vertices), faces)
    moved = vertices
    for _ in range(_ROUNDS):
        for share in (_SHRINK, _GROW):
            moved = moved + share * (means @ moved - moved)
    return np.asarray(vertices + np.clip(moved - vertices, -_MOST_VOXELS, _MOST_VOXELS))


def _means_of_neighbours(count: int, faces: Faces) -> csr_matrix:
    """A matrix whose product with values of the vertices is their mean over neighbours."""
    from scipy.sparse import coo_matrix, diags

    starts, ends = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    edges = coo_matrix((np.ones(len(starts)), (starts, ends)), (count, count)).tocsr()
    # every edge has two faces, which run along it in both directions
    return diags(1 / np.asarray(edges.sum(axis=1)).ravel()) @ edges


def _with_volume(
    vertices: Points, faces: Faces, affine: NDArray[np.float64], target: float
) -> Points:
    """Move the surface along its normals until it encloses `target` mm³: evenly, a fraction of a voxel."""
    points = _to_mm(vertices, affine)
    for _ in range(_CORRECTIONS):
        missing = target - _volume(points, faces)
        if abs(missing) <= _VOLUME_TOLERANCE * target:
            break
        first, second, third = (points[faces[:, corner]] for corner in range(3))
        area = float(np.linalg.norm(np.cross(second - first, third - first), axis=1).sum() / 2)
        points = points + missing / area * _normals(points, faces)
    enclosed = _volume(points, faces)
    if enclosed > 0:  # the rest, which is nothing in all but the smallest structures
        middle = points.mean(axis=0)
        points = middle + (points - middle) * (target / enclosed) ** (1 / 3)
    inverse = np.linalg.inv(affine)
    return np.asarray((points @ inverse[:3, :3].T + inverse[:3, 3])[:, ::-1])


def _signed_distances(points: Points, other: Mesh) -> Points:
    if not len(other.faces) or not len(points):
        return np.full(len(points), np.nan)
    targets = other.points_mm
    nearest = cKDTree(targets).query(points, k=min(_NEAREST, len(targets)))[1]
    best = np.full(len(points), np.inf)
    offsets, weights_there = np.zeros_like(points), np.zeros_like(points)
    faces_there = np.zeros(len(points), np.int64)
    order, starts = _faces_of_vertices(len(targets), other.faces)
    for candidate in nearest.reshape(len(points), -1).T:
        most = int((starts[candidate + 1] - starts[candidate]).max())
        for number in range(most):
            place = starts[candidate] + number
            some = np.flatnonzero(place < starts[candidate + 1])
            number_of_face = order[place[some]]
            face = other.faces[number_of_face]
            weights = _nearest_in_triangle(points[some], *(targets[face[:, c]] for c in range(3)))
            offset = points[some] - np.einsum("ij,ijk->ik", weights, targets[face])
            distance = np.linalg.norm(offset, axis=1)
            nearer = distance < best[some]
            chosen = some[nearer]
            best[chosen], offsets[chosen] = distance[nearer], offset[nearer]
            faces_there[chosen], weights_there[chosen] = number_of_face[nearer], weights[nearer]
    outward = _outward_at(targets, other.faces, faces_there, weights_there)
    return np.where(np.einsum("ij,ij->i", offsets, outward) < 0, -best, best)


def _outward_at(points: Points, faces: Faces, chosen: Faces, weights: Points) -> Points:
    """Vectors that tell outside from inside at places of the surface, whatever its edges look like.

    Within a triangle that is its normal, on an edge the sum of both, at a vertex the sum of all, each by its angle
    there: no other means of normals tell the side of every point (Baerentzen and Aanaes 2005).

    Args:
        points: `(n, 3)`.
        faces: `(m, 3)`.
        chosen: `(k,)`, the triangles that the places lie in.
        weights: `(k, 3)`, of their corners.
    """
    corners = points[faces]
    along = np.roll(corners, -1, axis=1) - corners  # from each corner to the next one
    normals = _unit(np.cross(along[:, 0], along[:, 1]))
    ways = _unit(along)
    cosines = -np.einsum("ijk,ijk->ij", ways, np.roll(ways, 1, axis=1))
    angles = np.arccos(np.clip(cosines, -1, 1))
    at_vertices = np.stack(
        [
            np.bincount(faces.ravel(), (angles * normals[:, [axis]]).ravel(), len(points))
            for axis in range(3)
        ],
        axis=1,
    )
    ends = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], axis=2), axis=2)
    _, edges = np.unique(ends @ [len(points), 1], return_inverse=True)
    at_edges = np.stack(
        [np.bincount(edges.ravel(), np.repeat(normals[:, axis], 3)) for axis in range(3)], axis=1
    )
    on = weights > _ON_EDGE
    edge = edges.reshape(-1, 3)[chosen, (np.argmin(weights, axis=1) + 1) % 3]
    vertex = faces[chosen, np.argmax(weights, axis=1)]
    count = on.sum(axis=1)[:, None]
    return np.where(
        count == 3, normals[chosen], np.where(count == 2, at_edges[edge], at_vertices[vertex])
    )


def _unit(vectors: Points) -> Points:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1))


def _faces_of_vertices(count: int, faces: Faces) -> tuple[Faces, Faces]:
    """Numbers of faces in order of their vertices, and where those of each vertex begin."""
    order = np.argsort(faces.ravel(), kind="stable") // 3
    starts = np.concatenate(([0], np.cumsum(np.bincount(faces.ravel(), minlength=count))))
    return order, starts


def _nearest_in_triangle(points: Points, first: Points, second: Points, third: Points) -> Points:
    """`(n, 3)` weights of the corners at the point of each triangle that is nearest to its point."""
    inside = _weights_in_plane(points, first, second, third)
    corners = (first, second, third)
    best = np.where((inside >= 0).all(axis=1), 0.0, np.inf)
    weights = np.where(np.isfinite(best)[:, None], inside, 0.0)
    for start, end in ((0, 1), (1, 2), (2, 0)):
        along = corners[end] - corners[start]
        length = np.einsum("ij,ij->i", along, along)
        share = np.einsum("ij,ij->i", points - corners[start], along) / np.where(length, length, 1)
        share = np.clip(share, 0, 1)
        nearest = corners[start] + share[:, None] * along
        distance = np.linalg.norm(points - nearest, axis=1)
        better = distance < best
        best = np.where(better, distance, best)
        here = np.zeros_like(weights)
        here[:, start], here[:, end] = 1 - share, share
        weights = np.where(better[:, None], here, weights)
    return weights


def _weights_in_plane(points: Points, first: Points, second: Points, third: Points) -> Points:
    """Barycentric coordinates of the points' feet in the planes of the triangles; -1 where there is no plane."""
    along, across, to = second - first, third - first, points - first
    aa, ab, bb = (
        np.einsum("ij,ij->i", *pair) for pair in ((along, along), (along, across), (across, across))
    )
    ta, tb = np.einsum("ij,ij->i", to, along), np.einsum("ij,ij->i", to, across)
    size = aa * bb - ab * ab
    flat = size <= 1e-12 * np.maximum(aa * bb, 1e-300)
    safe = np.where(flat, 1.0, size)
    second_share, third_share = (bb * ta - ab * tb) / safe, (aa * tb - ab * ta) / safe
    found = np.stack((1 - second_share - third_share, second_share, third_share), axis=1)
    return np.where(flat[:, None], -1.0, found)
