"""What heart and abdomen share: body wall, spine, ribs and lungs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_uda.phantom.scene import Scene
from napari_uda.phantom.shapes import (
    Field,
    Points,
    Reals,
    cut,
    filaments,
    join,
    meet,
    smooth_noise,
    superellipse,
    tube,
)

SKIN_MM = 2.0


@dataclass(frozen=True)
class Trunk:
    """Section of the body: the cavity inside the ribs or the belly muscles, and the layers round it.

    Attributes:
        half_width: of the cavity, left to right, in mm.
        half_depth: of the cavity, front to back, in mm.
        power: 2 is an ellipse, more is boxier.
        wall_mm: thickness of muscle (and ribs) at the side.
        fat_mm: thickness of the fat under the skin at the side.
    """

    half_width: float
    half_depth: float
    power: float
    wall_mm: float
    fat_mm: float


def paint_body(scene: Scene, points: Points, trunk: Trunk, random: np.random.Generator) -> Field:
    """Skin, fat, muscle and the fat that fills the cavity.

    Returns:
        Distance to the cavity, `(Z, Y, X)` in mm, negative inside.
    """
    cavity = superellipse(points, trunk.half_width, trunk.half_depth, trunk.power)
    radius = np.maximum(np.hypot(points.x, points.y), np.float32(1))
    back = np.maximum(-points.y / radius, 0)
    front = np.maximum(points.y / radius, 0)
    uneven = smooth_noise(random, scene.shape, scene.spacing_mm, 60.0)
    wall = np.float32(trunk.wall_mm) * (1 + 1.1 * back**2 + 0.12 * uneven)
    fat = np.float32(trunk.fat_mm) * np.maximum(
        1 + 0.5 * back - 0.15 * front + 0.08 * uneven[::-1], np.float32(0.25)
    )
    scene.paint("skin", cavity - wall - fat - SKIN_MM)
    scene.paint("fat", cavity - wall - fat)
    scene.paint("muscle", cavity - wall)
    for depth in (0.45, 0.75):  # fat between the muscles comes and goes
        seam = smooth_noise(random, scene.shape, scene.spacing_mm, 32.0)
        where = wall * (depth + 0.09 * uneven)
        scene.paint("fat", np.abs(cavity - where) + 0.8 - 1.8 * seam)
    scene.paint("visceral_fat", cavity)
    return cavity


def paint_spine(
    scene: Scene, points: Points, random: np.random.Generator, *, size: float = 1.0
) -> Field:
    """Vertebrae with discs, canal, cord, arches and processes, and the back muscles.

    Args:
        scene: what is painted on.
        points: the grid seen from the middle of the vertebral bodies.
        random: height of the vertebrae and where they begin.
        size: 1 is a body 36 mm wide.

    Returns:
        Distance to the vertebral bodies, in mm.
    """
    p = points.scaled(size)
    pitch = float(random.uniform(27, 33))
    height = np.mod(p.z + np.float32(random.uniform(0, pitch)), np.float32(pitch)) - pitch / 2
    waist = 1.5 * np.cos(height * np.float32(2 * np.pi / pitch))
    body = superellipse(p, 18, 14, 2.4) + waist
    behind = -23.0
    canal = superellipse(p.moved((0, behind, 0)), 10.5, 8, 2.2)
    level = np.abs(height + 3) - 8  # pedicles and processes leave the body at mid height
    arch = superellipse(p.moved((0, behind, 0)), 16, 12.5, 2.4)
    wing = meet(np.abs(p.y - behind + 3) - 4.5, np.abs(p.x) - 38, level + 3, smooth_mm=4)
    spike_y = p.y - behind + 14 + np.float32(11) - 0.35 * height
    spike = meet(np.abs(p.x) - 3.2, np.abs(spike_y) - 15, np.abs(height + 8) - 11, smooth_mm=3)
    bone = join(meet(arch, level, smooth_mm=3), wing, spike, smooth_mm=4)
    for side in (-1, 1):
        flank = superellipse(p.moved((side * 31, behind - 20, 0)), 25, 17, 2.6)
        scene.paint("muscle", flank * size)
        marbling = smooth_noise(random, scene.shape, scene.spacing_mm, (40, 9, 9))
        scene.paint("fat", meet(flank + 4, (1.9 - marbling) * 5))
    scene.paint("ligament", cut(arch, canal))
    scene.paint("cortical_bone", bone * size)
    scene.paint("marrow", (bone + 2.2) * size)
    scene.paint("csf", canal * size)
    scene.paint("cord", superellipse(p.moved((0, behind, 0)), 6, 4.5, 2))
    disc = pitch / 2 - 3.2 - np.abs(height)
    scene.paint("cortical_bone", body * size)
    scene.paint("marrow", (body + 1.6) * size)
    scene.paint("disc", meet(body + 0.8, disc) * size)
    return np.asarray(body * size, np.float32)


def paint_ribs(
    scene: Scene,
    points: Points,
    cavity: Field,
    random: np.random.Generator,
    *,
    lowest: Reals | float = -1e3,
    sternum_above: float = -1e3,
) -> None:
    """Ribs that fall from back to front in the wall of the cavity, with cartilage and sternum.

    Args:
        scene: what is painted on.
        points: the grid seen from the middle of the trunk.
        cavity: distance to the cavity, in mm.
        random: pitch and place of the ribs.
        lowest: height below which there are none, in mm.
        sternum_above: height below which there is no sternum, in mm.
    """
    pitch = float(random.uniform(23, 27))
    front = float(points.y.max())
    fall = points.z - 0.55 * points.y + np.float32(random.uniform(0, pitch))
    across = np.mod(fall, np.float32(pitch)) - pitch / 2
    shell = cavity - 5.5
    section = (np.sqrt((shell / 4.6) ** 2 + (across / 7.0) ** 2) - 1) * 4.6
    rib = meet(section, lowest - points.z, 24 - np.abs(points.x))
    anterior = points.y - 0.55 * min(front, 100.0)
    scene.paint("cortical_bone", meet(rib, anterior))
    scene.paint("marrow", meet(rib + 1.9, anterior))
    scene.paint("cartilage", meet(rib, -anterior))
    slab = meet(
        np.abs(cavity - 6.5) - 6.5, np.abs(points.x) - 18, sternum_above - points.z, smooth_mm=11
    )
    plate = meet(slab, 20 - points.y)
    scene.paint("cortical_bone", plate)
    scene.paint("marrow", plate + 1.6)


def paint_lungs(
    scene: Scene,
    points: Points,
    lungs: Field,
    hila: list[tuple[float, float, float]],
    random: np.random.Generator,
) -> None:
    """Lungs with vessels that branch from the hila and thin out.

    Args:
        scene: what is painted on.
        points: the grid.
        lungs: distance to both lungs together, in mm.
        hila: where the vessels enter, (x, y, z) in mm.
        random: course of the vessels.
    """
    scene.paint("lung", lungs)
    vessels = filaments(random, scene.shape, scene.spacing_mm, 15.0, 1.0)
    vessels = join(vessels, filaments(random, scene.shape, scene.spacing_mm, 24.0, 1.8))
    for hilum in hila:
        start = np.asarray(hilum)
        outward = np.array([np.sign(start[0]) * 0.8, 0, -0.15])
        for _ in range(8):
            way = outward + random.normal(0, (0.5, 0.9, 0.9))
            way *= random.uniform(55, 95) / np.linalg.norm(way)
            bend = start + 0.5 * way + random.normal(0, 7, 3)
            branch = tube(points, [hilum, bend, start + way], [5.5, 3.4, 1.0], steps=4)
            vessels = join(vessels, branch)
    scene.paint("lung_vessel", meet(vessels, lungs + 2))
