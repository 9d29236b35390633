"""Fixed colours of structures: the same in every layer, legend, curve and picture, in every session."""

from __future__ import annotations

_STRUCTURES = {
    # heart: as in Fig. 3 of the SE-ASA paper
    "aa": "#2F7BFF",
    "lac": "#1FB45A",
    "lvc": "#FFD43B",
    "myo": "#E5383B",
    "lv": "#FFD43B",
    "rv": "#2F7BFF",
    # abdomen
    "liver": "#D55E00",
    "right_kidney": "#56B4E9",
    "left_kidney": "#009E73",
    "spleen": "#CC79A7",
}
_ALIASES = {
    "ascending_aorta": "aa",
    "left_atrium": "lac",
    "left_atrium_blood_cavity": "lac",
    "la": "lac",
    "left_ventricle": "lvc",
    "left_ventricle_blood_cavity": "lvc",
    "right_ventricle": "rv",
    "myocardium": "myo",
    "left_ventricle_myocardium": "myo",
    "kidney_right": "right_kidney",
    "kidney_left": "left_kidney",
}
PALETTE = ("#56B4E9", "#E69F00", "#009E73", "#F0E442", "#CC79A7", "#D55E00", "#0072B2", "#999999")
"""Okabe and Ito 2008, apart for every common colour blindness, without their black."""

RELIABLE_COLOUR, UNRELIABLE_COLOUR = "#0072B2", "#E69F00"
"""Reliable and unreliable voxels; blue and orange stay apart under every colour blindness."""


def plain_name(name: str) -> str:
    """A structure's name without what programs write differently: "Left Kidney" as "left_kidney"."""
    return "_".join(name.lower().replace("-", " ").replace("_", " ").split())


def known_structure(name: str) -> str:
    """The key of a structure under which others may know it, too: aliases are resolved."""
    key = plain_name(name)
    return _ALIASES.get(key, key)


def structure_colour(name: str, value: int) -> str:
    """`#RRGGBB` of a structure: by its name when it is a known one, else by its label value."""
    known = _STRUCTURES.get(known_structure(name))
    return known or PALETTE[(value - 1) % len(PALETTE)]
