"""The upper abdomen: liver, kidneys and spleen among everything a reader expects round them.

Millimetres, RAS+, origin on the midline at the height of the renal veins.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from napari_uda.phantom.scene import LABELS, Scene
from napari_uda.phantom.shapes import (
    Field,
    Points,
    cut,
    deformed,
    ellipsoid,
    filaments,
    join,
    meet,
    smooth_noise,
    superellipse,
    tube,
)
from napari_uda.phantom.trunk import Trunk, paint_body, paint_lungs, paint_ribs, paint_spine

FIELD_OF_VIEW_MM = 370.0
SLICES = 32
SLICE_MM = 6.2
MIDDLE_MM = 16.0  # height of the middle slice
SPINE_Y = -44.0

_VALUE = LABELS["abdominal"]


def build_abdominal(size: int, random: np.random.Generator) -> Scene:
    """One subject, the whole trunk from the liver dome to below the kidneys, `size` pixels in plane."""
    trunk = Trunk(
        half_width=float(random.uniform(124, 142)),
        half_depth=float(random.uniform(86, 98)),
        power=2.35,
        wall_mm=float(random.uniform(11, 15)),
        fat_mm=float(random.uniform(6, 26)),
    )
    outer = trunk.half_width + trunk.wall_mm + trunk.fat_mm
    pixel = np.float32(max(2.12 * outer, 0.86 * FIELD_OF_VIEW_MM) * random.uniform(1, 1.14) / size)
    thick = np.float32(SLICE_MM * random.uniform(0.95, 1.05))
    spacing = (float(thick), float(pixel), float(pixel))
    scene = Scene((SLICES, size, size), spacing)
    place = [float(random.normal(0, s)) for s in (9, 7, 8)]
    points = Points.grid(scene.shape, spacing).moved((place[0], place[1] - 8, place[2] - MIDDLE_MM))
    points = deformed(points, random, spacing, 3.5, 85.0)
    organs = deformed(points, random, spacing, 2.5, 50.0)
    cavity = paint_body(scene, points.moved((0, 4, 0)), trunk, random)
    abdomen = _paint_frame(scene, points, cavity, random)
    paint_bowel(scene, organs, abdomen, random)
    _paint_vessels(scene, organs, random)
    _paint_upper_organs(scene, organs, abdomen, random)
    _paint_kidneys(scene, organs, random)
    return scene


def _about(random: np.random.Generator, spread: float) -> Callable[[float], float]:
    """Draws round a mean, with `spread` as relative standard deviation, within two of them."""

    def draw(mean: float) -> float:
        return mean * float(np.clip(random.normal(1, spread), 1 - 2 * spread, 1 + 2 * spread))

    return draw


def _paint_frame(scene: Scene, p: Points, cavity: Field, random: np.random.Generator) -> Field:
    """Ribs, lung bases, heart, spine, psoas and diaphragm.

    Returns:
        Distance to the room below the diaphragm, in mm.
    """
    breath = float(random.uniform(-8, 10))
    paint_ribs(
        scene,
        p.moved((0, 4, 0)),
        cavity,
        random,
        lowest=-28 + 0.6 * np.maximum(p.y, 0),
        sternum_above=62.0,
    )
    right = ellipsoid(p, (68, 6, 10 + breath), (82, 92, 96))
    left = ellipsoid(p, (-68, -2, 6 + breath), (78, 88, 92))
    abdomen = meet(cavity + 1, join(right, left, p.z - 20, smooth_mm=24))
    heart = ellipsoid(p, (-28, 34, 128 + breath), (62, 46, 34))
    lungs = meet(cavity + 0.6, -(abdomen - 3), -(heart - 4))
    column = superellipse(p.moved((-6, SPINE_Y + 16, 0)), 26, 30, 2.2)
    lungs = meet(lungs, -column, 20 - p.z)
    paint_lungs(scene, p, lungs, [(50, -20, 150), (-54, -22, 150)], random)
    scene.paint("muscle", meet(cavity, np.abs(abdomen - 1.2) - 1.6, 20 - p.z))
    scene.paint("muscle", meet(heart, -abdomen))
    scene.paint("blood_aorta", meet(ellipsoid(p, (-36, 32, 134 + breath), (34, 26, 30)), -abdomen))
    for side in (-1, 1):
        crus = tube(p, [(side * 13, SPINE_Y + 16, 80), (side * 15, SPINE_Y + 12, 0)], [6, 4])
        psoas = tube(
            p,
            [
                (side * 24, SPINE_Y - 2, 6),
                (side * 36, SPINE_Y + 2, -40),
                (side * 44, SPINE_Y + 8, -120),
            ],
            [7, 19, 24],
        )
        scene.paint("muscle", join(crus, psoas))
        scene.paint(
            "muscle",
            tube(p, [(side * 62, SPINE_Y - 26, 0), (side * 66, SPINE_Y - 22, -110)], [5, 13]),
        )
    paint_spine(scene, p.moved((0, SPINE_Y, 0)), random, size=1.12)
    return abdomen


def paint_bowel(scene: Scene, p: Points, abdomen: Field, random: np.random.Generator) -> None:
    """Colon with gas and stool, loops of small bowel in the middle, duodenum.

    Args:
        scene: what is painted on.
        p: the grid in this module's frame.
        abdomen: distance to the room below the diaphragm, in mm.
        random: course and content of the loops.
    """
    room = abdomen + 3
    for _ in range(9):
        centre = np.array(
            [random.uniform(-75, 70), random.uniform(5, 62), random.uniform(-100, -28)]
        )
        turns = [centre + random.normal(0, (24, 16, 16)) for _ in range(4)]
        loop = meet(tube(p, turns, random.uniform(10, 14)), room, smooth_mm=3)
        gas = random.uniform(0, 1) < 0.25
        _paint_gut(scene, p, loop, 2.6, "bowel_fluid", turns[1][1] + 4 if gas else None)
    sway = random.normal(0, 6, 5)
    colon = {
        "right": [(92, -8, -110), (96 + sway[0], -6, -60), (88, 16, -28), (70, 34, -34)],
        "cross": [(70, 34, -34), (30, 66 + sway[1], -48), (-30, 66, -40 + sway[2]), (-84, 26, 26)],
        "left": [(-84, 26, 26), (-104 + sway[3], -16, 0), (-98, -26, -50), (-92, -20, -110)],
    }
    for part, path in colon.items():
        bulge = 3.0 * smooth_noise(random, scene.shape, scene.spacing_mm, 26.0)
        lumen = meet(tube(p, path, random.uniform(15, 20)) - bulge, room, smooth_mm=4)
        level = path[1][1] + random.uniform(-4, 10)
        _paint_gut(scene, p, lumen, 2.6, "stool", level if part != "left" else None)
    duodenum = tube(p, [(34, 44, 26), (48, 26, 8), (44, 8, -22), (8, 2, -32), (-18, 10, -24)], 11.5)
    _paint_gut(scene, p, duodenum, 2.8, "bowel_fluid", None)


def _paint_gut(
    scene: Scene, p: Points, outer: Field, wall_mm: float, content: str, gas_above: float | None
) -> None:
    """A hollow organ: wall, content and, in front of `gas_above` (y in mm), gas."""
    scene.paint("visceral_fat", outer - 1.2)
    scene.paint("bowel_wall", outer)
    scene.paint(content, outer + wall_mm)
    if gas_above is not None:
        scene.paint("air", meet(outer + wall_mm, np.float32(gas_above) - p.y))


def _paint_vessels(scene: Scene, p: Points, random: np.random.Generator) -> None:
    """Aorta and inferior vena cava with their main branches, portal and splenic vein, pancreas."""
    front = SPINE_Y + 17
    wide = float(random.uniform(9, 11.5))
    aorta = tube(
        p,
        [
            (-14, front - 4, 150),
            (-10, front + 10, 60),
            (-4, front + 12, -20),
            (-2, front + 11, -120),
        ],
        wide,
    )
    sma = tube(p, [(-5, front + 20, 16), (-4, front + 38, 6), (-2, front + 40, -60)], 4.2)
    coeliac = tube(p, [(-7, front + 18, 30), (-6, front + 36, 36), (24, front + 44, 40)], 4)
    renal = tube(p, [(-46, -40, 2), (-20, front + 6, 0), (-4, front + 10, -1)], 3.2)
    cava = tube(
        p,
        [
            (19, -12, 125),
            (21, -16, 70),
            (22, front + 10, 20),
            (17, front + 10, -60),
            (14, front + 8, -120),
        ],
        [13, 12, 11.5, 11, 11],
    )
    vein_left = tube(
        p, [(-44, -38, -2), (-20, front + 20, -4), (4, front + 24, -3), (20, front + 12, -2)], 4.6
    )
    vein_right = tube(p, [(44, -40, -8), (22, front + 10, -4)], 4.6)
    splenic = tube(p, [(-84, -32, 40), (-50, -10, 36), (-20, 14, 24), (12, 20, 18)], 4.6)
    portal = tube(p, [(6, 18, -40), (12, 20, 18), (28, 16, 34), (46, 14, 46)], [5, 6.5, 7, 6])
    girth = 2.2 * smooth_noise(random, scene.shape, scene.spacing_mm, 14.0)
    body = tube(
        p,
        [(34, 16, -12), (28, 26, 8), (2, 34, 18), (-34, 14, 30), (-78, -24, 42)],
        [15, 13, 10, 11, 9],
    )
    scene.paint("pancreas", body - girth)
    for side in (-1, 1):
        x = 30 if side > 0 else -34
        limb = tube(p, [(x, -24, 34), (x + side * 3, -34, 28), (x + side * 9, -46, 22)], 3.2)
        limb = join(limb, tube(p, [(x, -24, 34), (x - side * 4, -42, 22)], 2.6))
        scene.paint("adrenal", limb)
    scene.paint("vessel_wall", join(aorta, sma, coeliac) - 1.3)
    scene.paint("blood_aorta", join(aorta, sma, coeliac, renal))
    scene.paint("blood_cava", join(cava, vein_left, vein_right))
    scene.paint("portal_vein", join(splenic, portal))


def _paint_upper_organs(
    scene: Scene, p: Points, abdomen: Field, random: np.random.Generator
) -> None:
    """Oesophagus, stomach, spleen, liver with vessels, gallbladder."""
    draw = _about(random, 0.07)
    room = abdomen + 2
    gullet = tube(p, [(-10, SPINE_Y + 38, 150), (-14, SPINE_Y + 42, 84), (-34, -2, 74)], 7)
    scene.paint("oesophagus", gullet)
    spleen = _spleen(p, random)
    full = draw(1.0)
    stomach = tube(
        p,
        [(-58, -26, 80), (-62, 6, 66), (-60, 38, 30), (-24, 54, 8), (14, 48, 16), (34, 44, 26)],
        [34 * full, 36 * full, 29 * full, 23, 17, 11],
    )
    stomach = meet(stomach, room, -(spleen - 2), smooth_mm=6)
    folds = 1.2 * smooth_noise(random, scene.shape, scene.spacing_mm, 12.0)
    scene.paint("stomach_wall", stomach)
    scene.paint("bowel_fluid", stomach + 4.5 + folds)
    level = float(random.uniform(16, 34))
    scene.paint("air", meet(stomach + 5 + folds, level - p.y))
    scene.paint("spleen", meet(spleen, room, smooth_mm=4), _VALUE["spleen"])
    _paint_liver(scene, p, room, random)


def _spleen(p: Points, random: np.random.Generator) -> Field:
    draw = _about(random, 0.09)
    tilt = np.deg2rad(random.normal(38, 8))
    rows = np.array([[np.cos(tilt), np.sin(tilt), 0], [-np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]])
    middle = (-98 + random.normal(0, 3), -34 + random.normal(0, 4), 52 + random.normal(0, 7))
    q = p.moved(middle).turned(rows)
    body = ellipsoid(q, (0, 0, 0), (draw(28.5), draw(48), draw(56)))
    hollow = ellipsoid(q, (38, 8, -4), (28, 40, 60))
    return cut(body, hollow, smooth_mm=10)


def _paint_liver(scene: Scene, p: Points, room: Field, random: np.random.Generator) -> None:
    draw = _about(random, 0.06)
    tip = float(random.normal(0, 9))
    right = ellipsoid(p, (80, -2, 36 + tip / 2), (draw(66), draw(84), draw(80) - tip / 2))
    dome = ellipsoid(p, (66, 8, 62), (draw(78), draw(92), 60))
    reach = float(random.uniform(58, 92))
    left = tube(
        p, [(50, 34, 62), (5, 46, 62), (-reach * 0.5, 42, 68), (-reach, 36, 74)], [40, 30, 22, 9]
    )
    caudate = ellipsoid(p, (18, 2, 52), (20, 17, 24))
    liver = join(join(right, dome, smooth_mm=12), left, caudate, smooth_mm=16)
    bladder = tube(p, [(46, 34, 22), (52, 52, 4), (54, 62, -8)], [6, draw(13), draw(14)])
    below = ellipsoid(p, (40, 40, -10), (50, 44, 44))  # room of gallbladder, colon and duodenum
    kidney = ellipsoid(p, (58, -50, -14), (36, 34, 58))
    hilum = tube(p, [(10, 24, 16), (30, 18, 34), (40, 16, 42)], [10, 8, 4])
    notch = tube(p, [(8, 60, 20), (6, 48, 46)], [9, 3])
    behind = superellipse(p.moved((0, SPINE_Y, 0)), 30, 32, 2.2)
    liver = cut(meet(liver, room, smooth_mm=4), below, kidney, hilum, notch, behind, smooth_mm=6)
    scene.paint("liver", liver, _VALUE["liver"])
    inside = liver + 3
    hepatic = join(
        *(
            tube(p, path, [7, 5.5, 3.5, 1.5])
            for path in (
                [(21, -12, 84), (44, -14, 74), (80, -14, 52), (108, -20, 26)],
                [(20, -8, 84), (36, 14, 76), (56, 34, 58), (66, 48, 40)],
                [(18, -6, 84), (4, 18, 76), (-14, 36, 68), (-38, 44, 64)],
            )
        )
    )
    cava = tube(p, [(19, -12, 125), (21, -16, 70), (22, -17, 20)], 11.5)
    portal = join(
        tube(p, [(40, 14, 42), (62, 8, 44), (92, 2, 30), (112, -4, 4)], [6.5, 5.5, 4, 1.5]),
        tube(p, [(62, 8, 44), (84, 24, 58), (100, 30, 72)], [5, 3.5, 1.5]),
        tube(p, [(40, 14, 42), (22, 24, 52), (2, 38, 56), (-18, 44, 58)], [6, 5, 4, 2]),
    )
    twigs = filaments(random, scene.shape, scene.spacing_mm, 24.0, 1.6)
    # readers outline the liver with the vessels in it
    scene.paint("hepatic_vein", meet(join(hepatic, twigs), inside), _VALUE["liver"])
    scene.paint("portal_vein", meet(portal, inside), _VALUE["liver"])
    scene.paint("blood_cava", cava)
    scene.paint("bowel_wall", bladder)
    scene.paint("gallbladder", bladder + 1.6)


def _paint_kidneys(scene: Scene, p: Points, random: np.random.Generator) -> None:
    """Both kidneys in their fat, with pyramids, sinus and pelvis."""
    for side, name in ((1, "right_kidney"), (-1, "left_kidney")):
        draw = _about(random, 0.07)
        height = (-12 if side > 0 else 4) + float(random.normal(0, 7))
        middle = (side * (58 + random.normal(0, 3)), -46 + random.normal(0, 3), height)
        lean = np.deg2rad(random.normal(14, 4)) * side  # the upper pole lies nearer to the spine
        turn = np.deg2rad(random.normal(32, 6)) * side  # the hilum looks forward and inward
        about_z = np.array(
            [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
        )
        about_y = np.array(
            [[np.cos(lean), 0, np.sin(lean)], [0, 1, 0], [-np.sin(lean), 0, np.cos(lean)]]
        )
        q = p.moved(middle).turned(about_z @ about_y)
        inward = -side
        body = ellipsoid(q, (0, 0, 0), (draw(27.5), draw(26), draw(54)))
        notch = ellipsoid(q, (inward * 30, 0, 0), (17, 11, 17))
        kidney = cut(body, notch, smooth_mm=9)
        sinus = join(
            ellipsoid(q, (inward * 11, 0, 0), (12, 8, 29)),
            tube(q, [(inward * 12, 0, 0), (inward * 30, 0, -2)], 8),
            smooth_mm=8,
        )
        scene.paint("visceral_fat", body - 7)
        scene.paint("muscle", np.abs(body - 8) - 0.3)
        scene.paint("visceral_fat", body - 6.5)
        scene.paint("kidney_cortex", kidney, _VALUE[name])
        columns = smooth_noise(random, scene.shape, scene.spacing_mm, 13.0)
        scene.paint("kidney_medulla", meet(kidney + 7, 0.1 * (40 - 60 * columns) - 3), _VALUE[name])
        scene.paint("kidney_sinus", sinus)
        pelvis = tube(
            q, [(inward * 8, 0, 9), (inward * 14, 0, 0), (inward * 28, 0, -8)], [2.5, 5, 4]
        )
        calyces = tube(q, [(inward * 8, 0, -20), (inward * 12, 0, 0), (inward * 8, 0, 20)], 2.6)
        scene.paint("urine", join(pelvis, calyces))
