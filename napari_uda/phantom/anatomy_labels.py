"""A trunk painted round given label maps: real outlines of organs, made-up everything else."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

from napari_uda.core.errors import InputError
from napari_uda.core.files import VOLUME_SUFFIXES, volume_suffix
from napari_uda.data.volume import Volume, read_labels
from napari_uda.phantom.anatomy_abdominal import SPINE_Y, paint_bowel
from napari_uda.phantom.scene import LABELS, Scene
from napari_uda.phantom.shapes import (
    Field,
    Points,
    ellipsoid,
    filaments,
    meet,
    smooth_noise,
    superellipse,
    tube,
)
from napari_uda.phantom.trunk import Trunk, paint_body, paint_lungs, paint_ribs, paint_spine

_LOG = logging.getLogger(__name__)

SLICE_MM = 5.5
MARGIN_MM = 5.0  # between the outermost organ and the wall of the cavity
LARGEST_LABEL = 13

_TARGETS = {6: "liver", 2: "right_kidney", 3: "left_kidney", 1: "spleen"}
_TISSUES = {
    11: "pancreas",
    12: "adrenal",
    13: "adrenal",
    5: "oesophagus",
    10: "portal_vein",
    9: "blood_cava",
    8: "blood_aorta",
}
_VALUE = LABELS["abdominal"]


@dataclass(frozen=True)
class LabelMaps:
    """Abdominal label maps in BTCV numbering.

    1 spleen, 2 right kidney, 3 left kidney, 4 gallbladder, 5 oesophagus, 6 liver, 7 stomach, 8 aorta,
    9 inferior vena cava, 10 portal and splenic vein, 11 pancreas, 12 and 13 adrenal glands.
    """

    files: tuple[Path, ...]

    @classmethod
    def open(cls, folder: Path) -> LabelMaps:
        """All label maps of a folder, by name.

        Raises:
            InputError: no such folder, or no label maps in it.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise InputError(f"{folder}: there is no such folder; give one that holds label maps")
        files = sorted(
            file
            for file in folder.iterdir()
            if volume_suffix(file) and not file.name.startswith(".")
        )
        if not files:
            raise InputError(
                f"{folder}: holds no label maps; put files ending in {', '.join(VOLUME_SUFFIXES)} there"
            )
        return cls(tuple(files))

    def build(self, number: int, size: int, random: np.random.Generator) -> Scene:
        """Scene of map `number` (they repeat when there are too few), `size` pixels in plane.

        Each draw also bends, scales and shifts the map, so that a repeated one is another subject.

        Raises:
            InputError: the map lacks liver, kidneys or spleen, or holds values above 13.
        """
        file = self.files[number % len(self.files)]
        volume = read_labels(file).canonical()
        _check(file, volume)
        volume = _upright(file, volume)
        frame = _Frame.fit(volume, random)
        spacing, shape = frame.grid(size, random)
        scene = Scene(shape, spacing)
        points = Points.grid(shape, spacing).moved(tuple(-m for m in frame.middle))
        bend = [2.5 * smooth_noise(random, shape, spacing, 80.0) for _ in range(3)]
        source = Points(points.x + bend[0], points.y + bend[1], points.z + bend[2])
        shares = _resample(volume, source, frame.origin)
        _paint(scene, points, frame, shares, random)
        return scene


def _check(file: Path, volume: Volume) -> None:
    counts = np.bincount(volume.array.ravel(), minlength=LARGEST_LABEL + 1)
    if counts[LARGEST_LABEL + 1 :].any():
        raise InputError(
            f"{file.name}: label {int(np.flatnonzero(counts)[-1])} is above {LARGEST_LABEL}; "
            "renumber the map as BTCV does"
        )
    missing = [name for value, name in _TARGETS.items() if not counts[value]]
    if missing:
        raise InputError(
            f"{file.name}: has no {', '.join(missing)}; use maps that show all four organs"
        )


def _upright(file: Path, volume: Volume) -> Volume:
    """The map turned so that the liver lies right of the spleen and above and before the kidneys.

    Public copies of these maps exist whose header has an axis the wrong way round.
    """
    array = volume.array
    middle = {v: np.argwhere(array == v).mean(axis=0) for v in _TARGETS}
    kidneys = (middle[2] + middle[3]) / 2
    apart = (*(middle[6] - kidneys)[:2], (middle[6] - middle[1])[2])
    wrong = tuple(axis for axis, mm in enumerate(apart) if mm < 0)
    if not wrong:
        return volume
    _LOG.info(
        "%s: its header contradicts where its organs lie, so the axes %s (S, A, R) were turned",
        file.name,
        wrong,
    )
    return volume.with_array(np.flip(array, wrong))


@dataclass(frozen=True, eq=False)
class _Frame:
    """Where the trunk of one map lies, in mm of the file's world, and how large it is.

    Attributes:
        origin: midline, front to back middle of the cavity and kidneys' height, (x, y, z).
        middle: middle of the rendered box, seen from `origin`.
        height_mm: of the rendered box.
        trunk: body wall.
        spine: (x, y) of the vertebrae, polynomial coefficients over z, seen from `origin`.
        dome: height of the topmost organ, seen from `origin`.
    """

    origin: NDArray[np.float64]
    middle: tuple[float, float, float]
    height_mm: float
    trunk: Trunk
    spine: tuple[NDArray[np.float64], NDArray[np.float64]]
    dome: float

    @classmethod
    def fit(cls, volume: Volume, random: np.random.Generator) -> _Frame:
        """Guess the body from the extent of the organs and the course of the aorta."""
        world = volume.affine
        k, j, i = np.nonzero(volume.array[:, ::2, ::2])
        at = np.c_[2 * i, 2 * j, k] @ world[:3, :3].T + world[:3, 3]
        value = volume.array[k, 2 * j, 2 * i]
        organs = at[np.isin(value, list(_TARGETS))]
        kidneys = [at[value == v].mean(0) for v in (2, 3)]
        origin = (kidneys[0] + kidneys[1]) / 2
        low, high = np.percentile(organs, [0.2, 99.8], axis=0)
        wide = max(high[0] - origin[0], origin[0] - low[0])
        front, back = float(np.percentile(at[:, 1], 99.8)), float(low[1])
        deep = max((front - back) / 2, 0.62 * wide)
        origin[1] = (front + back) / 2
        trunk = Trunk(
            half_width=float(wide) + MARGIN_MM,
            half_depth=float(deep) + MARGIN_MM,
            power=2.5,
            wall_mm=float(random.uniform(11, 15)),
            fat_mm=float(random.uniform(8, 26)),
        )
        bottom, top = low[2] - 12 - origin[2], high[2] + 12 - origin[2]
        aorta = at[value == 8] - origin
        if len(aorta) > 50:
            spine = [
                np.polyfit(aorta[:, 2], aorta[:, a], 1) + np.array([0, s])
                for a, s in ((0, 14), (1, -31))  # vertebrae lie right of the aorta and behind it
            ]
        else:
            spine = [np.zeros(2), np.array([0, kidneys[0][1] - origin[1] + 4])]
        middle = (0.0, -4.0, (bottom + top) / 2)
        return cls(origin, middle, top - bottom, trunk, (spine[0], spine[1]), high[2] - origin[2])

    def grid(
        self, size: int, random: np.random.Generator
    ) -> tuple[tuple[float, float, float], tuple[int, int, int]]:
        """Spacing `(z, y, x)` in mm and shape `(Z, Y, X)` of the rendered box."""
        outer = self.trunk.half_width + self.trunk.wall_mm + self.trunk.fat_mm
        pixel = float(np.float32(2.14 * outer * random.uniform(1, 1.05) / size))
        thick = float(np.float32(SLICE_MM * random.uniform(0.95, 1.05)))
        return (thick, pixel, pixel), (max(round(self.height_mm / thick), 4), size, size)


def _resample(volume: Volume, points: Points, origin: NDArray[np.float64]) -> dict[int, Field]:
    """Share of every voxel that each label fills: the map read at eight places inside the voxel."""
    to_index = np.linalg.inv(volume.affine)
    steps = [
        (np.abs(np.diff(f, axis=a)).mean() if f.shape[a] > 1 else 0.0) / 4
        for f, a in ((points.x, 2), (points.y, 1), (points.z, 0))
    ]
    shares = {int(v): np.zeros(points.shape, np.float32) for v in np.unique(volume.array) if v}
    corners = [(a, b, c) for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]
    limits = volume.array.shape[::-1]
    for corner in corners:
        x, y, z = (
            f + np.float32(o + c * s)
            for f, o, c, s in zip(
                (points.x, points.y, points.z), origin, corner, steps, strict=True
            )
        )
        index = []
        inside = np.ones(points.shape, bool)
        for row, limit in zip(to_index[:3].astype(np.float32), limits, strict=True):
            at = np.rint(row[0] * x + row[1] * y + row[2] * z + row[3]).astype(np.int32)
            inside &= (at >= 0) & (at < limit)
            index.append(np.clip(at, 0, limit - 1))
        found = np.where(inside, volume.array[index[2], index[1], index[0]], 0)
        for value, share in shares.items():
            share += np.float32(1 / len(corners)) * (found == value)
    return shares


def _paint(
    scene: Scene, p: Points, frame: _Frame, shares: dict[int, Field], random: np.random.Generator
) -> None:
    """Guessed trunk first, the given organs over it."""
    cavity = paint_body(scene, p, frame.trunk, random)
    margin = -28 + 0.6 * np.maximum(p.y, 0)
    paint_ribs(scene, p, cavity, random, lowest=margin, sternum_above=frame.dome - 40)
    bend = [np.float32(c[0]) * p.z + np.float32(c[1]) for c in frame.spine]
    spine = p.moved((bend[0], bend[1], 0))
    chest = _paint_chest(scene, p, frame, cavity, shares, random)
    paint_bowel(scene, spine.moved((0, -SPINE_Y, 0)), meet(cavity + 1, -chest), random)
    for side in (-1, 1):
        path = [(side * 26, 4, 0), (side * 36, 4, -40), (side * 44, 8, -120)]
        scene.paint("muscle", tube(spine, path, [7, 19, 24]))
    paint_spine(scene, spine, random, size=1.12)
    for value, tissue in _TISSUES.items():
        if value in shares:
            scene.cover(tissue, shares[value])
    if 7 in shares:
        _paint_stomach(scene, p, shares[7], random)
    if 4 in shares:
        scene.cover("gallbladder", shares[4])
    for value in (1, 6):
        scene.cover(_TARGETS[value], shares[value], _VALUE[_TARGETS[value]])
    twigs = filaments(random, scene.shape, scene.spacing_mm, 24.0, 2.0)
    veins = meet(twigs, 4 - _depth(shares[6], scene.spacing_mm))
    scene.paint("hepatic_vein", veins)
    scene.labels[shares[6] > 0.5] = _VALUE["liver"]
    for value in (2, 3):
        label = _VALUE[_TARGETS[value]]
        scene.cover("kidney_cortex", shares[value], label)
        columns = smooth_noise(random, scene.shape, scene.spacing_mm, 13.0)
        depth = _depth(shares[value], scene.spacing_mm)
        pyramids = meet(6.5 - depth, 1 - 6 * columns)
        scene.paint("kidney_medulla", pyramids)
        scene.labels[shares[value] > 0.5] = label


def _depth(share: Field, spacing_mm: tuple[float, float, float]) -> Field:
    """Distance to the surface of an organ, in mm, 0 outside it."""
    depth = np.empty(share.shape, np.float64)
    distance_transform_edt(share > 0.5, sampling=spacing_mm, distances=depth)
    return depth.astype(np.float32)


def _paint_chest(
    scene: Scene,
    p: Points,
    frame: _Frame,
    cavity: Field,
    shares: dict[int, Field],
    random: np.random.Generator,
) -> Field:
    """Lung bases and heart above a diaphragm laid over the tops of liver, spleen and stomach.

    Returns:
        Distance to the room above the diaphragm, in mm.
    """
    organs = sum((shares[v] for v in (1, 6, 7) if v in shares), np.zeros(scene.shape, np.float32))
    under = organs > 0.5
    known = under.any(axis=0).astype(np.float32)
    top = np.max(np.where(under, p.z, np.float32(-1e3)), axis=0) * known
    wide = 18.0 / scene.spacing_mm[1]
    weight = gaussian_filter(known, wide) + np.float32(1e-3)
    floor = gaussian_filter(top, wide) / weight + np.float32(1e-3 * frame.dome) / weight
    chest = np.asarray(np.maximum(floor, np.float32(frame.dome - 95)) + 3 - p.z, np.float32)
    paint_lungs(
        scene,
        p,
        meet(cavity + 0.6, chest),
        [(50, -10, frame.dome + 40), (-54, -10, frame.dome + 40)],
        random,
    )
    heart = ellipsoid(p, (-28, 26, frame.dome + 16), (60, 46, 34))
    scene.paint("muscle", meet(heart, chest))
    scene.paint("blood_aorta", meet(ellipsoid(p, (-34, 26, frame.dome + 22), (34, 28, 30)), chest))
    at_spine = [float(np.polyval(c, frame.dome)) for c in frame.spine]
    column = superellipse(p.moved((at_spine[0] - 6, at_spine[1] + 16, 0)), 27, 30, 2.2)
    scene.paint("visceral_fat", meet(column, cavity))
    return chest


def _paint_stomach(scene: Scene, p: Points, share: Field, random: np.random.Generator) -> None:
    """Wall, fluid and a bubble of gas in front."""
    scene.cover("stomach_wall", share)
    depth = _depth(share, scene.spacing_mm)
    scene.paint("bowel_fluid", 4 - depth)
    if (depth > 4).any():
        level = np.float32(np.quantile(p.y[depth > 4], random.uniform(0.5, 0.9)))
        scene.paint("air", meet(4.5 - depth, level - p.y))
