"""Colours of structures stay apart for every kind of colour vision, and from those of errors and reliability.

CIEDE2000 follows Sharma, Wu and Dalal 2005, whose pairs it is checked with; what eyes without one kind of cones see
follows Machado, Oliveira and Fernandes 2009 (severity 1.0).
"""

from __future__ import annotations

import re
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import napari_uda
from napari_uda.core import structure_colours as colours
from napari_uda.core.structure_colours import (
    both_names,
    full_name,
    known_structure,
    structure_colour,
)

LEAST = 20.0
VISIONS = {
    "normal": np.eye(3),
    "protan": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deutan": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritan": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])

HEART = ("MYO", "LAC", "LVC", "AA", "RV")
"""All of MM-WHS as the papers use it, and the right ventricle of MS-CMRSeg: whichever of them a data set has."""
ABDOMEN = ("liver", "right_kidney", "left_kidney", "spleen")
"""Those of CHAOS and of the papers that go from CT to MR; kidneys do not touch, but are easily taken for each other."""
TOUCHING = {
    "heart": {  # the 7 of MM-WHS
        "MYO": "LAC LVC AA RV RA",
        "LAC": "LVC AA RA PA RV",
        "LVC": "AA RV RA",
        "AA": "RV RA PA",
        "RV": "RA PA",
        "RA": "PA",
    },
    # the 13 of BTCV, whose label maps were looked at; within 2 voxels in some people, and, which was not
    # seen there, the right adrenal gland beside the portal vein
    "abdomen": {
        "liver": "stomach esophagus inferior_vena_cava portal_vein_and_splenic_vein gallbladder"
        " right_kidney right_adrenal_gland pancreas spleen",
        "stomach": "esophagus spleen pancreas portal_vein_and_splenic_vein gallbladder aorta"
        " left_adrenal_gland left_kidney",
        "spleen": "left_kidney portal_vein_and_splenic_vein pancreas left_adrenal_gland",
        "aorta": "esophagus inferior_vena_cava pancreas",
        "inferior_vena_cava": "esophagus right_adrenal_gland right_kidney pancreas gallbladder"
        " portal_vein_and_splenic_vein",
        "portal_vein_and_splenic_vein": "pancreas gallbladder left_adrenal_gland left_kidney"
        " right_adrenal_gland",
        "pancreas": "left_kidney left_adrenal_gland gallbladder",
        "right_kidney": "right_adrenal_gland",
        "left_kidney": "left_adrenal_gland",
    },
}
TOUCHING["amos"] = (
    {  # with the neighbours that anatomy gives a duodenum; FLARE has all but the last two
        one: others.replace("portal_vein_and_splenic_vein", "")
        for one, others in TOUCHING["abdomen"].items()
        if one != "portal_vein_and_splenic_vein"
    }
    | {
        "duodenum": "liver gallbladder stomach pancreas right_kidney inferior_vena_cava aorta",
        "bladder": "prostate/uterus",
    }
)
TOUCHING["totalsegmentator"] = {  # which has them all, as far as colours are known
    one: " ".join(TOUCHING[anatomy].get(one, "") for anatomy in ("abdomen", "amos"))
    for one in TOUCHING["abdomen"] | TOUCHING["amos"]
} | {
    "portal_vein_and_splenic_vein": f"{TOUCHING['abdomen']['portal_vein_and_splenic_vein']} duodenum"
}
SIGNALS = {
    "reliable": colours.RELIABLE_COLOUR,
    "unreliable": colours.UNRELIABLE_COLOUR,
    "false positive": colours.FALSE_POSITIVE_COLOUR,
    "false negative": colours.FALSE_NEGATIVE_COLOUR,
    "other structure": colours.OTHER_STRUCTURE_COLOUR,
}


@cache
def seen(colour: str, vision: str) -> NDArray[np.float64]:
    """CIELAB (D65) of `#RRGGBB` as an eye sees it."""
    rgb = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    share = XYZ @ np.clip(VISIONS[vision] @ linear, 0, 1) / XYZ.sum(axis=1)
    x, y, z = np.where(share > (6 / 29) ** 3, np.cbrt(share), share / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def ciede2000(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    lightness, reds, yellows = np.stack((one, other), axis=1)
    mean_chroma = np.hypot(reds, yellows).mean()
    reds = reds * (1 + 0.5 * (1 - np.sqrt(mean_chroma**7 / (mean_chroma**7 + 25.0**7))))
    chroma = np.hypot(reds, yellows)
    hue = np.degrees(np.arctan2(yellows, reds)) % 360
    turn = 0.0 if chroma.prod() == 0 else (hue[1] - hue[0] + 180) % 360 - 180
    if turn == -180 and hue[1] > hue[0]:
        turn = 180.0
    across = 2 * np.sqrt(chroma.prod()) * np.sin(np.radians(turn) / 2)
    if chroma.prod() == 0:
        middle = hue.sum()
    elif abs(hue[0] - hue[1]) <= 180:
        middle = hue.mean()
    else:
        middle = (hue.sum() + (360 if hue.sum() < 360 else -360)) / 2
    angle = np.radians(middle)
    weight = (
        1
        - 0.17 * np.cos(angle - np.radians(30))
        + 0.24 * np.cos(2 * angle)
        + 0.32 * np.cos(3 * angle + np.radians(6))
        - 0.20 * np.cos(4 * angle - np.radians(63))
    )
    off = (lightness.mean() - 50) ** 2
    of_lightness = 1 + 0.015 * off / np.sqrt(20 + off)
    of_chroma, of_hue = 1 + 0.045 * chroma.mean(), 1 + 0.015 * chroma.mean() * weight
    power = chroma.mean() ** 7
    twist = -np.sin(2 * np.radians(30 * np.exp(-(((middle - 275) / 25) ** 2))))
    twist *= 2 * np.sqrt(power / (power + 25.0**7))
    parts = (
        (lightness[1] - lightness[0]) / of_lightness,
        (chroma[1] - chroma[0]) / of_chroma,
        across / of_hue,
    )
    return float(np.sqrt(sum(part**2 for part in parts) + twist * parts[1] * parts[2]))


@cache
def apart(one: str, other: str) -> float:
    """The least distance over all kinds of eyes."""
    return min(ciede2000(seen(one, vision), seen(other, vision)) for vision in VISIONS)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [  # Sharma 2005, table 1
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0000),
        ((50, 0, 0), (50, -1, 2), 2.3669),
        ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
        ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((50, 2.5, 0), (58, 24, 15), 19.4535),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((63.0109, -31.0961, -5.8663), (62.8187, -29.7946, -4.0864), 1.2630),
        ((35.0831, -44.1164, 3.7933), (35.0232, -40.0716, 1.5901), 1.8645),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
        ((90.8027, -2.0831, 1.4410), (91.1528, -1.6435, 0.0447), 1.4441),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_distance_is_that_of_the_published_pairs(
    one: tuple[float, ...], other: tuple[float, ...], expected: float
) -> None:
    pair = np.array(one, float), np.array(other, float)
    assert ciede2000(*pair) == pytest.approx(expected, abs=1e-4)
    assert ciede2000(*pair[::-1]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("anatomy", [HEART, ABDOMEN], ids=["heart", "abdomen"])
def test_all_structures_of_an_anatomy_are_apart_for_everyone(anatomy: tuple[str, ...]) -> None:
    for one, other in combinations(anatomy, 2):
        assert apart(structure_colour(one, 1), structure_colour(other, 1)) >= LEAST, (one, other)


@pytest.mark.parametrize(
    ("anatomy", "count"), [("heart", 7), ("abdomen", 13), ("amos", 15), ("totalsegmentator", 16)]
)
def test_structures_that_touch_are_apart_for_everyone(anatomy: str, count: int) -> None:
    """And any two of the anatomy, touching or not, by half of that."""
    touching = {
        frozenset((one, other))
        for one, others in TOUCHING[anatomy].items()
        for other in others.split()
    }
    names = sorted(set().union(*touching))
    assert len(names) == count
    for pair in combinations(names, 2):
        least = LEAST if frozenset(pair) in touching else LEAST / 2
        assert apart(*(structure_colour(name, 1) for name in pair)) >= least, pair


def test_structures_are_apart_from_errors_and_reliability() -> None:
    for colour in {*colours.STRUCTURES.values(), *colours.BY_VALUE}:
        for signal, other in SIGNALS.items():
            assert apart(colour, other) >= LEAST, (colour, signal)


def test_errors_are_apart_and_so_is_reliability() -> None:
    kinds = list(SIGNALS.values())
    assert apart(*kinds[:2]) >= LEAST
    for one, other in combinations(kinds[2:], 2):
        assert apart(one, other) >= LEAST, (one, other)


def test_unknown_structures_are_apart_as_far_as_eyes_allow() -> None:
    """All pairs of five, and the neighbours of thirteen; all others by half of that."""
    several = [structure_colour("tumour", value) for value in range(1, 14)]
    assert several == list(colours.BY_VALUE)
    neighbours = set(zip(several, several[1:] + several[:1], strict=True))
    for one, other in combinations(several, 2):
        near = {one, other} <= set(several[:5]) or {(one, other), (other, one)} & neighbours
        assert apart(one, other) >= (LEAST if near else LEAST / 2), (one, other)


def test_colours_of_structures_are_seen_on_a_black_image() -> None:
    for colour in {*colours.STRUCTURES.values(), *colours.BY_VALUE}:
        assert seen(colour, "normal")[0] >= 23, colour


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("Gall bladder", "gallbladder"),  # AMOS
        ("postcava", "inferior_vena_cava"),  # AMOS, TotalSegmentator
        ("adrenal_gland_left", "left adrenal gland"),  # TotalSegmentator, AMOS
        ("oesophagus", "esophagus"),
        ("urinary_bladder", "Bladder"),  # TotalSegmentator, AMOS
        ("prostate/uterus", "prostate"),  # AMOS, TotalSegmentator
        ("RAG", "Right adrenal gland"),  # FLARE, AMOS
        ("portal_vein_and_splenic_vein", "portal vein"),
        ("heart_atrium_left", "LA"),  # TotalSegmentator, MM-WHS
        ("right atrium blood cavity", "RA"),
        ("myocardium", "MYO"),
    ],
)
def test_data_sets_call_one_structure_differently(name: str, other: str) -> None:
    assert known_structure(name) == known_structure(other)
    assert structure_colour(name, 1) == structure_colour(other, 2) not in colours.BY_VALUE[5:]


def test_abbreviations_have_full_names_and_the_colours_of_those() -> None:
    assert full_name("LAC") == "left atrium cavity"
    assert full_name("myo") == "left ventricle myocardium"
    assert full_name("right_kidney") == "right kidney"
    assert full_name("Tumour core") == "Tumour core"
    assert both_names("LAC") == "left atrium cavity (LAC)"
    assert both_names("right_kidney") == "right kidney"
    for name in (*HEART, *ABDOMEN, "LV"):
        whole = full_name(name)
        assert full_name(whole) == whole
        assert structure_colour(whole, 9) == structure_colour(name, 8)
    assert known_structure("left atrium cavity") == "lac"


def test_every_short_name_of_presets_and_phantoms_has_a_full_one() -> None:
    from napari_uda.phantom.scene import LABELS

    package = Path(napari_uda.__file__).parent
    texts = [path.read_text(encoding="utf-8") for path in (package / "convert").glob("*.yaml")]
    short = {name for text in texts for name in re.findall(r"\b([A-Z]{2,3}): \{value", text)}
    short |= {name for names in LABELS.values() for name in names if name.isupper()}
    assert {"MYO", "LAC", "LVC", "AA"} <= short
    assert [name for name in short if full_name(name) == name] == []
