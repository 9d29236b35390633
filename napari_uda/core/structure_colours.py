"""Names and colours of structures: the same in every layer, legend, curve and picture, in every session.

Colours of one anatomy, of errors and of reliability are at least 20 apart (CIEDE2000) for everyone: for normal eyes and
for those that lack the red, green or blue kind of cones (tests/core/test_structure_colours.py computes it). Such eyes
see little more than lightness and blue against yellow, where hardly more than five structures fit beside the colours
of errors and reliability.
"""

from __future__ import annotations

_RED, _GREEN, _YELLOW, _BLUE, _VIOLET = "#AC000C", "#03695E", "#FFD42D", "#7375FF", "#5C38A4"

_STRUCTURES = {
    # heart: hues as in Fig. 3 of the SE-ASA paper
    "aa": _BLUE,
    "lac": _GREEN,
    "lvc": _YELLOW,
    "myo": _RED,
    "lv": _YELLOW,
    "rv": _VIOLET,
    # abdomen
    "liver": _RED,
    "right_kidney": _BLUE,
    "left_kidney": _GREEN,
    "spleen": _YELLOW,
}
_FULL_NAMES = {
    "aa": "ascending aorta",
    "la": "left atrium",
    "lac": "left atrium cavity",
    "lv": "left ventricle",
    "lvc": "left ventricle cavity",
    "myo": "left ventricle myocardium",
    "pa": "pulmonary artery",
    "ra": "right atrium",
    "rv": "right ventricle",
}
"""What abbreviations in files stand for; files keep the abbreviations, which are the papers' names."""
_ALIASES = {
    "ascending_aorta": "aa",
    "left_atrium": "lac",
    "left_atrium_cavity": "lac",
    "left_atrium_blood_cavity": "lac",
    "la": "lac",
    "left_ventricle": "lvc",
    "left_ventricle_cavity": "lvc",
    "left_ventricle_blood_cavity": "lvc",
    "right_ventricle": "rv",
    "myocardium": "myo",
    "left_ventricle_myocardium": "myo",
    "kidney_right": "right_kidney",
    "kidney_left": "left_kidney",
}
BY_VALUE = (
    _RED,
    _GREEN,
    _YELLOW,
    _BLUE,
    _VIOLET,
    "#274947",
    "#A312F5",
    "#424469",
    "#7B462F",
    "#3036D5",
)
"""Colours of structures that are not known by name, by their label value: all pairs of the first five are 20 apart, and
so are neighbours among the ten, the last and the first included."""
PALETTE = ("#56B4E9", "#E69F00", "#009E73", "#F0E442", "#CC79A7", "#D55E00", "#0072B2", "#999999")
"""Colours of curves that are no structures: Okabe and Ito 2008, without their black."""

RELIABLE_COLOUR, UNRELIABLE_COLOUR = "#4ED3E3", "#C67B06"
"""Reliable and unreliable voxels."""
FALSE_POSITIVE_COLOUR, FALSE_NEGATIVE_COLOUR = "#F6779C", "#76CFFF"
OTHER_STRUCTURE_COLOUR = "#FFFFFF"
"""Errors: a structure where there is none, none where there is one, and one in the place of another."""


def plain_name(name: str) -> str:
    """A structure's name without what programs write differently: "Left Kidney" as "left_kidney"."""
    return "_".join(name.lower().replace("-", " ").replace("_", " ").split())


def known_structure(name: str) -> str:
    """The key of a structure under which others may know it, too: aliases are resolved."""
    key = plain_name(name)
    return _ALIASES.get(key, key)


def full_name(name: str) -> str:
    """A structure's name in words: "left atrium cavity" for LAC, "left kidney" for left_kidney.

    Names that are no known abbreviation only lose their underscores.
    """
    return _FULL_NAMES.get(plain_name(name), name.replace("_", " "))


def structure_colour(name: str, value: int) -> str:
    """`#RRGGBB` of a structure: by its name when it is a known one, else by its label value."""
    known = _STRUCTURES.get(known_structure(name))
    return known or BY_VALUE[(value - 1) % len(BY_VALUE)]
