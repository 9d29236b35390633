"""The heart in its thorax: MYO, LAC, LVC and AA, and everything a reader expects round them.

Millimetres, RAS+, origin on the midline at the height of the mitral valve. Sizes follow the normal
adult in diastole; every subject draws its own sizes, turns, phase and deformation.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from napari_uda.phantom.scene import LABELS, Scene
from napari_uda.phantom.shapes import (
    Field,
    Points,
    cut,
    deformed,
    ellipsoid,
    join,
    meet,
    smooth_noise,
    superellipse,
    tube,
)
from napari_uda.phantom.trunk import Trunk, paint_body, paint_lungs, paint_ribs, paint_spine

FIELD_OF_VIEW_MM = 230.0
SLICES = 28
SLICE_MM = 4.5
HEART_CENTRE_MM = (-24.0, 4.0, 4.0)

_VALUE = LABELS["cardiac"]


def build_cardiac(size: int, random: np.random.Generator) -> Scene:
    """One subject, a crop round the heart, `size` pixels in plane."""
    pixel = np.float32(FIELD_OF_VIEW_MM * random.uniform(0.94, 1.08) / size)
    slices = SLICES if size >= 112 else round(SLICES * max(size, 64) / 112)
    thick = np.float32(SLICE_MM * SLICES / slices * random.uniform(0.95, 1.05))
    spacing = (float(thick), float(pixel), float(pixel))
    scene = Scene((slices, size, size), spacing)
    offset = [
        -c + float(random.normal(0, s)) for c, s in zip(HEART_CENTRE_MM, (7, 7, 4), strict=True)
    ]
    points = Points.grid(scene.shape, spacing).moved(offset)
    points = deformed(points, random, spacing, 3.0, 75.0)
    chest = points.scaled(float(random.uniform(0.94, 1.06)))
    back = float(random.uniform(-80, -75))
    heart = _heart_frame(points, random)
    chambers = _Chambers(heart, spacing, random)
    cavity = _paint_thorax(scene, chest, back, chambers, random)
    _paint_mediastinum(scene, chest, back, chambers)
    _paint_heart(scene, chambers, cavity, random)
    return scene


def _heart_frame(points: Points, random: np.random.Generator) -> Points:
    """The grid seen from the heart of this subject: its own size, place and turn."""
    turn = _rotation(random.normal(0, 6, 3))
    centre = HEART_CENTRE_MM
    seen = points.moved(centre).turned(turn).scaled(float(random.uniform(0.9, 1.08)))
    return seen.moved([-c for c in centre])


def _rotation(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    a, b, c = np.deg2rad(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    product: NDArray[np.float64] = about_z @ about_y @ about_x
    return product


def _frame(axis: tuple[float, float, float]) -> NDArray[np.float64]:
    """Orthonormal rows whose first is `axis` normalised, the third as upright as possible."""
    first = np.asarray(axis) / np.linalg.norm(axis)
    third = np.array([0, 0, 1]) - first[2] * first
    third /= np.linalg.norm(third)
    return np.stack([first, np.cross(third, first), third])


class _Chambers:
    """Distances to the chambers and great vessels of one heart, in mm."""

    def __init__(
        self, p: Points, spacing_mm: tuple[float, float, float], random: np.random.Generator
    ) -> None:
        def about(mean: float, spread: float = 0.08) -> float:
            return mean * float(np.clip(random.normal(1, spread), 1 - 2 * spread, 1 + 2 * spread))

        radius, wall = about(24.5), about(10, 0.12)
        self.ventricle, self.muscle, base = _left_ventricle(p, radius, wall, about(52))
        self.atrium, self.veins = _left_atrium(p, about(1, 0.09))
        self.aorta, self.descending = _aorta(p, about(15.5), about(11.5))
        outflow = tube(p, [(-28, -4, -4), (-18, 2, 6), (-9, 6, 14)], about(11))
        self.ventricle = join(self.ventricle, meet(outflow, 4 - base), smooth_mm=4)
        self.right, self.right_wall, self.cava, self.pulmonary = _right_heart(p, about)
        self.groove = [
            tube(p, [(-16, 17, 20), (-34, 42, 8), (-60, 54, -14), (-82, 50, -38)], 1.9),
            tube(p, [(2, 22, 15), (24, 36, 4), (27, 34, -22), (8, 14, -44), (-20, 6, -48)], 1.9),
            tube(p, [(-20, 14, 18), (-46, -8, 14), (-58, -34, 0), (-52, -40, -18)], 1.7),
            tube(p, [(-60, -30, 4), (-38, -42, -14), (-8, -34, -18), (14, -14, -16)], 2.8),
        ]
        whole = join(self.muscle, self.right_wall, self.atrium, smooth_mm=22)
        envelope = join(whole, self.pulmonary - 2, self.aorta - 2, smooth_mm=16)
        fat = smooth_noise(random, p.shape, spacing_mm, 42.0)
        self.sac = envelope - np.clip(4.2 + 3.2 * fat, 0.8, 11)


def _left_ventricle(
    p: Points, radius: float, wall: float, length: float
) -> tuple[Field, Field, Field]:
    """Blood, muscle with blood, and height over the mitral plane (positive on the atrial side)."""
    q = p.moved((-45, 2, -14)).turned(_frame((-0.68, 0.56, -0.47)))
    base = np.float32(-27) - q.x
    inner = ellipsoid(q, (0, 0, 0), (length, radius, radius * 1.03))
    outer = ellipsoid(q, (0, 0, 0), (length + wall * 0.8, radius + wall, radius * 1.03 + wall))
    blood = meet(inner, base, smooth_mm=3)
    for y, z in ((0.55, 0.6), (0.6, -0.55)):  # papillary muscles
        blood = cut(
            blood, tube(q, [(4, y * radius, z * radius), (28, y * radius, z * radius)], 4.2)
        )
    return blood, meet(outer, base - 0.6, smooth_mm=5), base


def _left_atrium(p: Points, size: float) -> tuple[Field, Field]:
    """Body with appendage and the four pulmonary veins up to where they leave it; the veins."""
    body = ellipsoid(p, (-8, -34, 11), (32 * size, 20 * size, 26 * size))
    appendage = tube(p, [(-30, -24, 16), (-44, -14, 21), (-50, -2, 20)], [9, 9, 6])
    neck = tube(p, [(-12, -28, 6), (-27, -16, -2)], 19 * size)
    paths = [
        [(12, -34, 18), (32, -32, 24), (62, -24, 40)],
        [(12, -42, 4), (32, -49, 0), (62, -60, -14)],
        [(-26, -34, 20), (-44, -36, 26), (-72, -28, 42)],
        [(-26, -42, 6), (-44, -50, 2), (-74, -62, -14)],
    ]
    veins = join(*(tube(p, path, [8.5, 7, 4.5]) for path in paths))
    whole = join(body, appendage, neck, smooth_mm=8)
    stumps = meet(veins, ellipsoid(p, (-8, -36, 11), (44, 30, 34)))
    return join(whole, stumps, smooth_mm=6), veins


def _aorta(p: Points, radius: float, low_radius: float) -> tuple[Field, Field]:
    """Ascending aorta with its root; arch and descending aorta."""
    path = [(-10, 5, 13), (-2, 10, 26), (9, 14, 44), (9, 10, 64), (2, -2, 82)]
    widths = [radius, radius * 1.1, radius, radius, radius]
    ascending = tube(p, path, widths)
    arch = tube(p, [(2, -2, 82), (-8, -24, 92), (-22, -48, 84)], [radius, radius * 0.9, low_radius])
    low = [(-22, -48, 84), (-30, -58, 58), (-30, -60, 20), (-26, -59, -40), (-18, -58, -100)]
    return ascending, join(arch, tube(p, low, low_radius))


def _right_heart(p: Points, about: Callable[[float], float]) -> tuple[Field, Field, Field, Field]:
    """Blood of the right chambers, the same with its thin wall, the great veins, pulmonary artery."""
    q = p.moved((-24, 33, -21)).turned(_frame((-0.78, 0.36, -0.32)))
    ventricle = ellipsoid(q, (0, 0, 0), (about(49), about(25), about(30)))
    inlet = tube(p, [(18, 12, -14), (-8, 28, -18)], 17)
    infundibulum = tube(p, [(-14, 46, -8), (-22, 42, 12), (-28, 32, 28)], [19, 15, 12.5])
    ventricle = join(ventricle, inlet, infundibulum, smooth_mm=10)
    atrium = ellipsoid(p, (34, 2, -8), (about(23), about(26), about(29)))
    auricle = tube(p, [(32, 14, 8), (20, 30, 16)], [12, 8])
    atrium = join(atrium, auricle, smooth_mm=8)
    cava = join(
        tube(p, [(30, -4, 10), (30, -6, 40), (32, -2, 90)], 9.5),
        tube(p, [(32, -8, -24), (30, -16, -50), (26, -22, -110)], [13, 12, 12]),
    )
    trunk = tube(p, [(-28, 32, 28), (-31, 20, 42), (-26, 2, 54)], [13, 13.5, 12.5])
    branches = [
        tube(p, [(-26, 2, 54), (0, -18, 48), (28, -24, 44), (60, -28, 36)], [12, 10, 10, 6]),
        tube(p, [(-26, 2, 54), (-42, -24, 56), (-62, -44, 44)], [12, 10, 7]),
    ]
    blood = join(ventricle, atrium)
    return blood, join(ventricle - 3.2, atrium - 2), cava, join(trunk, *branches)


def _paint_thorax(
    scene: Scene, p: Points, back: float, heart: _Chambers, random: np.random.Generator
) -> Field:
    """Chest wall, lungs, mediastinal fat, diaphragm with liver, stomach and spleen."""
    trunk = Trunk(
        half_width=float(random.uniform(122, 138)),
        half_depth=float(random.uniform(79, 86)),
        power=2.25,
        wall_mm=float(random.uniform(13, 18)),
        fat_mm=float(random.uniform(7, 24)),
    )
    middle = p.moved((0, back + 62, 0))
    cavity = paint_body(scene, middle, trunk, random)
    paint_ribs(scene, middle, cavity, random, sternum_above=-70.0)
    column = superellipse(p.moved((-8, back + 22, 0)), 21, 30, 2.3)
    narrow = superellipse(p.moved((-4, back + 100, 0)), 4, 90, 2)
    vessels = join(heart.cava - 3, heart.descending - 3)
    mediastinum = join(heart.sac - 1, narrow, smooth_mm=26)
    mediastinum = join(mediastinum, column, vessels, smooth_mm=12)
    lungs = meet(
        cavity + 0.6, -mediastinum, -(superellipse(p.moved((0, back - 6, 0)), 26, 26, 2.2))
    )
    paint_lungs(scene, p, lungs, [(46, -26, 32), (-52, -32, 38)], random)
    breath = float(random.uniform(-8, 8))
    right = ellipsoid(p, (64, 4, -108 + breath), (84, 84, 76))
    left = ellipsoid(p, (-74, -14, -116 + breath), (66, 74, 68))
    dome = meet(join(right, left, smooth_mm=20), cavity)
    scene.paint("muscle", dome - 2)
    scene.paint("visceral_fat", dome + 0.5)
    scene.paint("spleen", meet(ellipsoid(p, (-104, -48, -128 + breath), (34, 36, 58)), dome + 3))
    stomach = meet(ellipsoid(p, (-72, -2, -126 + breath), (48, 48, 58)), dome + 4)
    scene.paint("stomach_wall", stomach)
    scene.paint("bowel_fluid", stomach + 4)
    scene.paint("air", meet(stomach + 4.5, 18 - p.y))
    lobe = ellipsoid(p, (-4, 30, -116 + breath), (66, 46, 56))
    liver = meet(join(right, meet(lobe, dome), smooth_mm=12), cavity)
    scene.paint("liver", liver)
    for branch in ([(26, -20, -70), (60, 0, -78), (96, 20, -92)], [(26, -20, -70), (44, 36, -80)]):
        scene.paint("hepatic_vein", meet(tube(p, branch, [6, 4, 2][: len(branch)]), liver + 2))
    paint_spine(scene, p.moved((0, back, 0)), random)
    return cavity


def _paint_mediastinum(scene: Scene, p: Points, back: float, heart: _Chambers) -> None:
    """Pericardial fat, oesophagus, airways and nodes."""
    scene.paint("pericardium", heart.sac)
    scene.paint("visceral_fat", heart.sac + 1.3)
    gullet = tube(p, [(-4, back + 21, 90), (-6, back + 20, 20), (-14, back + 24, -80)], 6.5)
    scene.paint("oesophagus", gullet)
    scene.paint("air", meet(gullet + 4.4, 20 - np.abs(p.z - 30)))
    airways = join(
        tube(p, [(4, -30, 110), (3, -34, 72), (2, -36, 62)], 8.5),
        tube(p, [(2, -36, 62), (24, -38, 48), (48, -38, 36)], [8, 7, 5]),
        tube(p, [(2, -36, 62), (-24, -40, 46), (-50, -42, 34)], [8, 6.5, 5]),
    )
    scene.paint("airway_wall", airways - 1.8)
    scene.paint("air", airways)


def _paint_heart(
    scene: Scene, heart: _Chambers, cavity: Field, random: np.random.Generator
) -> None:
    """Vessels, right heart, left heart: later paint lies over earlier."""
    inside = cavity + 3
    scene.paint("lung_vessel", meet(heart.veins, inside))
    scene.paint("vessel_wall", heart.descending - 1.5)
    scene.paint("blood_aorta", heart.descending)
    scene.paint("vessel_wall", heart.cava - 1.2)
    scene.paint("blood_cava", heart.cava)
    scene.paint("vessel_wall", heart.pulmonary - 1.3)
    scene.paint("blood_pulmonary", heart.pulmonary)
    scene.paint("muscle_right", heart.right_wall)
    scene.paint("blood_right", heart.right)
    sponge = smooth_noise(random, scene.shape, scene.spacing_mm, 9.0)
    scene.paint(
        "muscle_right", meet(heart.right, np.float32(1.4) - sponge, 4.5 - np.abs(heart.right + 5))
    )
    scene.paint("vessel_wall", heart.atrium - 1.8)
    scene.paint("blood_left", heart.atrium, _VALUE["LAC"])
    scene.paint("vessel_wall", heart.aorta - 1.6)
    scene.paint("myocardium", heart.muscle, _VALUE["MYO"])
    scene.paint("blood_left", heart.ventricle, _VALUE["LVC"])
    scene.paint("blood_aorta", heart.aorta, _VALUE["AA"])
    for vessel in heart.groove:
        clear = cut(vessel, heart.muscle, heart.right_wall, heart.atrium)
        scene.paint("blood_aorta", clear)
