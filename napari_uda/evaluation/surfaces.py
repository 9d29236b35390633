"""Surfaces of a segmentation by structure, with the distance to those of a reference; their STL and PLY files."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_uda.core.errors import InputError
from napari_uda.core.files import atomic_file, cannot_write
from napari_uda.core.structure_colours import structure_colour
from napari_uda.data.grid import LPS_TO_RAS
from napari_uda.evaluation.inputs import Scorable, label_map
from napari_uda.evaluation.matching import read_matched_pair
from napari_uda.evaluation.surface_mesh import Mesh, surface_mesh

MeshFormat = Literal["ply", "stl"]
FORMATS: tuple[MeshFormat, ...] = ("ply", "stl")


@dataclass(frozen=True, eq=False)
class Surface:
    """The surface of one structure.

    Attributes:
        value: its label value.
        name: its name.
        mesh: the surface; `mesh.points_mm` are RAS+ millimetres.
        distance_mm: `(n,)` at the vertices: distance to the reference's surface, positive outside of it and
            negative inside; None without a reference, NaN where it lacks the structure.
    """

    value: int
    name: str
    mesh: Mesh
    distance_mm: NDArray[np.float64] | None = None

    @property
    def colour(self) -> str:
        """`#RRGGBB`, that of every layer and picture."""
        return structure_colour(self.name, self.value)


def surfaces(
    prediction: Scorable,
    reference: Scorable | None = None,
    *,
    spacing_mm: Sequence[float] | None = None,
    names: Mapping[int, str] | None = None,
    out: str | os.PathLike[str] | None = None,
    file_format: MeshFormat = "ply",
) -> dict[str, Surface]:
    """Smooth closed surfaces of all structures, each with the volume of its voxels.

    Args:
        prediction: as for `evaluate`.
        reference: as for `evaluate`; given, every surface gets its distance to that of the reference.
        spacing_mm: voxel size (z, y, x); needed for arrays, which carry none.
        names: label to structure name; default as for `evaluate`.
        out: a folder, made when missing, that gets a file for each structure, in LPS+ millimetres; the
            distances are the property `distance_mm` of the vertices of a PLY file.
        file_format: `ply` or `stl`.

    Returns:
        Name to surface; structures without voxels are left out.

    Raises:
        InputError: as `evaluate`, an unknown format, or files that cannot be written.
    """
    if file_format not in FORMATS:
        raise InputError(f"{file_format!r} is no format of surfaces; choose {' or '.join(FORMATS)}")
    pair = read_matched_pair(
        prediction,
        prediction if reference is None else reference,
        spacing_mm=spacing_mm,
        names=names,
    )
    affine = pair.affine
    if affine is None:
        affine = np.diag([*pair.spacing_mm[::-1], 1.0])
    ours = label_map(pair.prediction, "prediction")
    theirs = None if reference is None else label_map(pair.reference, "reference")
    found = {}
    for value in (int(one) for one in np.unique(ours) if one):
        name = pair.names.get(value, f"label_{value}")
        mesh = surface_mesh(ours == value, affine)
        distance = None
        if theirs is not None:
            distance = mesh.distances_to(surface_mesh(theirs == value, affine))
        found[name] = Surface(value, name, mesh, distance)
    if out is not None:
        for surface in found.values():
            write_surface(surface_path(Path(out), pair.case, surface.name, file_format), surface)
    return found


def write_surface(path: Path, surface: Surface) -> None:
    """Write a surface in LPS+ millimetres, the coordinates of DICOM, ITK and 3D Slicer; binary, whole or not at all.

    Args:
        path: ends in `.ply` (with colour and distance) or `.stl` (triangles alone).
        surface: what is written.

    Raises:
        InputError: another ending, or the file cannot be written.
    """
    write = {".ply": _ply, ".stl": _stl}.get(path.suffix.lower())
    if write is None:
        raise InputError(f"{path.name}: surfaces are written as .ply or .stl; choose one of them")
    content = write(surface)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            file.write(content)
    except OSError as error:
        raise InputError(cannot_write("the surface", path.parent, error)) from error


def surface_path(folder: Path, case: str, structure: str, file_format: MeshFormat) -> Path:
    """Where the surface of a structure is written: `<case>_<structure>.ply`."""
    words = re.sub(r"[^\w-]+", "_", structure).strip("_") or "structure"
    return folder / f"{f'{case}_' if case else ''}{words}.{file_format}"


def _lps(surface: Surface) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Points and faces; left and back turn both round, so that faces look outward as before."""
    points = (surface.mesh.points_mm * LPS_TO_RAS).astype("<f4")
    return points, surface.mesh.faces.astype("<i4")


def _ply(surface: Surface) -> bytes:
    points, faces = _lps(surface)
    columns = [
        ("x", "<f4"),
        ("y", "<f4"),
        ("z", "<f4"),
        ("red", "u1"),
        ("green", "u1"),
        ("blue", "u1"),
    ]
    if surface.distance_mm is not None:
        columns.append(("distance_mm", "<f4"))
    rows = np.zeros(len(points), columns)
    for axis, name in enumerate("xyz"):
        rows[name] = points[:, axis]
    for name, shade in zip(
        ("red", "green", "blue"), bytes.fromhex(surface.colour[1:]), strict=True
    ):
        rows[name] = shade
    if surface.distance_mm is not None:
        rows["distance_mm"] = surface.distance_mm
    triangles = np.zeros(len(faces), [("count", "u1"), ("corners", "<i4", 3)])
    triangles["count"], triangles["corners"] = 3, faces
    kinds = {"<f4": "float", "u1": "uchar"}
    header = [
        "ply",
        "format binary_little_endian 1.0",
        "comment SPACE=LPS",
        f"comment {surface.name.encode('ascii', 'replace').decode()}, millimetres",
        f"element vertex {len(points)}",
        *(f"property {kinds[kind]} {name}" for name, kind in columns),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        "end_header",
    ]
    return ("\n".join(header) + "\n").encode() + rows.tobytes() + triangles.tobytes()


def _stl(surface: Surface) -> bytes:
    points, faces = _lps(surface)
    rows = np.zeros(len(faces), [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("more", "<u2")])
    corners = points[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(across, axis=1, keepdims=True)
    rows["normal"], rows["corners"] = across / np.where(length > 0, length, 1), corners
    return b"SPACE=LPS".ljust(80) + len(faces).to_bytes(4, "little") + rows.tobytes()
