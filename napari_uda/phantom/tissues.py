"""How bright every tissue is: Hounsfield units for CT, per mille of the brightest for MR."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_uda.phantom.scene import Anatomy


@dataclass(frozen=True)
class Look:
    """Signal of a tissue.

    Attributes:
        value: mean, in HU or per mille.
        spread: standard deviation between subjects.
        texture: standard deviation inside the tissue.
    """

    value: float
    spread: float = 0.0
    texture: float = 0.0


_CT = {
    "air": Look(-1000),
    "skin": Look(25, 8),
    "fat": Look(-102, 5, 7),
    "visceral_fat": Look(-96, 6, 8),
    "muscle": Look(58, 5, 7),
    "ligament": Look(70, 5, 6),
    "lung": Look(-845, 20, 22),
    "lung_vessel": Look(120, 60, 20),
    "airway_wall": Look(20, 10),
    "cortical_bone": Look(720, 80, 50),
    "marrow": Look(175, 35, 45),
    "cartilage": Look(105, 15, 12),
    "disc": Look(85, 8, 6),
    "csf": Look(12, 3, 3),
    "cord": Look(38, 3, 3),
    "liver": Look(108, 9, 5),
    "hepatic_vein": Look(165, 12, 4),
    "spleen": Look(122, 9, 5),
    "stomach_wall": Look(75, 8, 6),
    "bowel_wall": Look(80, 10, 8),
    "bowel_fluid": Look(22, 10, 6),
    "stool": Look(30, 15, 60),
    "oesophagus": Look(48, 5, 5),
    "vessel_wall": Look(70, 5, 5),
    "pericardium": Look(35, 6, 4),
    "gallbladder": Look(8, 4, 3),
    "pancreas": Look(95, 8, 14),
    "adrenal": Look(75, 6, 5),
    "kidney_cortex": Look(195, 14, 8),
    "kidney_medulla": Look(178, 16, 8),
    "kidney_sinus": Look(-55, 15, 15),
    "urine": Look(12, 5, 4),
    "blood_aorta": Look(158, 10, 4),
    "blood_cava": Look(150, 12, 8),
    "portal_vein": Look(172, 12, 4),
}

_CT_CARDIAC = {
    "blood_left": Look(385, 45, 7),
    "blood_aorta": Look(395, 45, 6),
    "blood_right": Look(240, 85, 25),
    "blood_cava": Look(270, 120, 50),
    "blood_pulmonary": Look(270, 90, 12),
    "lung_vessel": Look(200, 60, 20),
    "myocardium": Look(108, 12, 8),
    "muscle_right": Look(100, 12, 8),
    "liver": Look(72, 9, 5),
    "hepatic_vein": Look(80, 12, 4),
    "spleen": Look(95, 15, 14),
}

_BSSFP = {
    "air": Look(0),
    "skin": Look(380, 40, 20),
    "fat": Look(800, 70, 35),
    "visceral_fat": Look(660, 90, 45),
    "muscle": Look(190, 20, 18),
    "ligament": Look(120, 20, 10),
    "lung": Look(55, 12, 18),
    "lung_vessel": Look(400, 80, 40),
    "airway_wall": Look(150, 30),
    "cortical_bone": Look(60, 15, 8),
    "marrow": Look(420, 70, 50),
    "cartilage": Look(210, 30, 15),
    "disc": Look(330, 60, 30),
    "csf": Look(960, 40, 25),
    "cord": Look(430, 30, 15),
    "liver": Look(330, 45, 20),
    "hepatic_vein": Look(560, 60, 15),
    "spleen": Look(480, 60, 22),
    "stomach_wall": Look(260, 30, 20),
    "bowel_fluid": Look(650, 200, 60),
    "oesophagus": Look(250, 30, 20),
    "vessel_wall": Look(170, 20, 15),
    "pericardium": Look(110, 20, 10),
    "blood_left": Look(760, 55, 45),
    "blood_aorta": Look(690, 80, 60),
    "blood_right": Look(720, 60, 50),
    "blood_cava": Look(660, 90, 60),
    "blood_pulmonary": Look(600, 100, 70),
    "myocardium": Look(255, 28, 22),
    "muscle_right": Look(250, 28, 22),
}

_T2_SPIR = {
    "air": Look(0),
    "skin": Look(190, 30, 15),
    "fat": Look(70, 15, 12),
    "visceral_fat": Look(80, 18, 18),
    "muscle": Look(150, 18, 15),
    "ligament": Look(60, 12, 8),
    "lung": Look(35, 8, 12),
    "lung_vessel": Look(110, 30, 20),
    "cortical_bone": Look(40, 10, 8),
    "marrow": Look(190, 45, 25),
    "cartilage": Look(130, 25, 15),
    "disc": Look(330, 100, 30),
    "csf": Look(960, 40, 30),
    "cord": Look(380, 30, 15),
    "liver": Look(335, 40, 22),
    "hepatic_vein": Look(560, 90, 30),
    "spleen": Look(690, 60, 28),
    "stomach_wall": Look(300, 40, 30),
    "bowel_wall": Look(330, 50, 30),
    "bowel_fluid": Look(820, 130, 80),
    "stool": Look(260, 90, 110),
    "oesophagus": Look(250, 30, 20),
    "vessel_wall": Look(150, 20, 12),
    "gallbladder": Look(980, 40, 20),
    "pancreas": Look(420, 50, 50),
    "adrenal": Look(260, 30, 20),
    "kidney_cortex": Look(690, 60, 30),
    "kidney_medulla": Look(820, 60, 35),
    "kidney_sinus": Look(170, 40, 40),
    "urine": Look(980, 30, 20),
    "blood_aorta": Look(80, 30, 25),
    "blood_cava": Look(150, 70, 30),
    "portal_vein": Look(520, 110, 40),
}


def looks(anatomy: Anatomy, modality: str, random: np.random.Generator) -> dict[str, Look]:
    """Tissue table of one subject: means drawn round the table's, within two standard deviations."""
    if modality == "ct":
        table = {**_CT, **_CT_CARDIAC} if anatomy == "cardiac" else _CT
    else:
        table = _BSSFP if anatomy == "cardiac" else _T2_SPIR
    shift = np.clip(random.standard_normal(len(table)), -2, 2)
    return {
        tissue: Look(look.value + look.spread * float(s), look.spread, look.texture)
        for (tissue, look), s in zip(table.items(), shift, strict=True)
    }
