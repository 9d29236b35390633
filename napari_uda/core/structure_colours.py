"""Names and colours of structures: the same in every layer, legend, curve and picture, in every session.

Structures that touch in the body are at least 20 apart (CIEDE2000) for everyone: for normal eyes and for those that
lack the red, green or blue kind of cones; any two of one data set are at least 10 apart, and all are 20 apart from errors
and reliability (tests/core/test_structure_colours.py computes it for MM-WHS, BTCV, AMOS, FLARE, and TotalSegmentator's
organs of the abdomen together). So many of these touch that the colours of the abdomen had to be found by simulated
annealing: change none of them alone. Eyes without a kind of cones see little more than lightness and blue
against yellow: a search found no more than 6 colours that are all 20 apart and as far from errors and reliability,
9 at 15, and 15 at 10. Light colours are those of errors and reliability, the others those of structures.
"""

from __future__ import annotations

_HEART = {
    "myo": "#940802",
    "lac": "#4B8D8D",
    "lvc": "#DA5800",
    "aa": "#9166FF",
    "rv": "#5D3291",
    "ra": "#3C4B4B",
    "pa": "#896945",
    "lv": "#DA5800",
}
_ABDOMEN = {
    "spleen": "#333946",
    "right_kidney": "#A06E4E",
    "left_kidney": "#681CB8",
    "gallbladder": "#591B6B",
    "esophagus": "#407B6B",
    "liver": "#820D00",
    "stomach": "#9866F3",
    "aorta": "#A83C16",
    "ivc": "#882EF1",
    "portal_vein": "#958719",
    "pancreas": "#71898C",
    "right_adrenal_gland": "#576070",
    "left_adrenal_gland": "#784C3A",
    "duodenum": "#504F4F",
    "bladder": "#6C5D97",
    "prostate": "#622423",
}
STRUCTURES = _HEART | _ABDOMEN
_FULL_NAMES = {
    "aa": "ascending aorta",
    "ivc": "inferior vena cava",
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
    alias: key
    for key, aliases in {
        "aa": "ascending_aorta",
        "lac": "la left_atrium left_atrium_cavity left_atrium_blood_cavity heart_atrium_left",
        "lvc": "left_ventricle left_ventricle_cavity left_ventricle_blood_cavity heart_ventricle_left",
        "rv": "right_ventricle right_ventricle_cavity right_ventricle_blood_cavity heart_ventricle_right",
        "ra": "right_atrium right_atrium_cavity right_atrium_blood_cavity heart_atrium_right",
        "pa": "pulmonary_artery",
        "myo": "myocardium left_ventricle_myocardium heart_myocardium",
        "duodenum": "duo",
        "bladder": "urinary_bladder",
        "prostate": "prostate/uterus prostate_uterus prostate_or_uterus",
        "right_kidney": "kidney_right rkid",
        "left_kidney": "kidney_left lkid",
        "gallbladder": "gall_bladder gall",
        "esophagus": "oesophagus eso",
        "stomach": "sto",
        "ivc": "inferior_vena_cava postcava vena_cava",
        "portal_vein": "portal_and_splenic_vein portal_and_splenic_veins portal_vein_and_splenic_vein veins",
        "right_adrenal_gland": "adrenal_gland_right right_adrenal rad rag",
        "left_adrenal_gland": "adrenal_gland_left left_adrenal lad lag",
    }.items()
    for alias in aliases.split()
}
"""What BTCV, AMOS, FLARE, TotalSegmentator and MM-WHS call them."""
BY_VALUE = (
    *list(_HEART.values())[:5],
    "#00693C",
    "#874B78",
    "#C3003C",
    "#0000E1",
    "#B45A78",
    "#3C5AD2",
    "#78004B",
    "#7878B4",
)
"""Colours of structures that are not known by name, by their label value: all pairs of the first five are 20 apart, and
so are neighbours in the list, the last and the first included; all others are 10 apart."""
PALETTE = ("#56B4E9", "#E69F00", "#009E73", "#F0E442", "#CC79A7", "#D55E00", "#0072B2", "#999999")
"""Colours of curves that are no structures: Okabe and Ito 2008, without their black."""

RELIABLE_COLOUR, UNRELIABLE_COLOUR = "#4ED3E3", "#FFD200"
"""Reliable and unreliable voxels."""
FALSE_POSITIVE_COLOUR, FALSE_NEGATIVE_COLOUR = "#FFA596", "#76CFFF"
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


def both_names(name: str) -> str:
    """The full name, and behind it an abbreviation that files have instead: "left atrium cavity (LAC)"."""
    whole = full_name(name)
    return whole if plain_name(whole) == plain_name(name) else f"{whole} ({name})"


def structure_colour(name: str, value: int) -> str:
    """`#RRGGBB` of a structure: by its name when it is a known one, else by its label value."""
    known = STRUCTURES.get(known_structure(name))
    return known or BY_VALUE[(value - 1) % len(BY_VALUE)]
