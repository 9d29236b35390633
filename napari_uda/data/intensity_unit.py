"""What the numbers of an image are: Hounsfield units where its source says CT, else plain grey values."""

from __future__ import annotations

from functools import lru_cache

from napari_uda.core.errors import InputError
from napari_uda.data.folder import modality_beside
from napari_uda.data.volume import Source, Volume

HOUNSFIELD, GREY = "HU", "grey value"


def intensity_unit(volume: Volume) -> str:
    """HU or grey value; values alone never decide it.

    A DICOM series says its modality, and a data folder that of its images in `dataset.json`; a lone file of
    another kind says nothing.
    """
    return unit_of(volume.source)


@lru_cache(maxsize=64)
def unit_of(source: Source | None) -> str:
    """`intensity_unit` of what a volume was read from; the headers of a series are read once."""
    if source is None:
        return GREY
    try:
        modality = _dicom_modality(source) if source.is_dicom else modality_beside(source.path)
    except (InputError, OSError):  # moved or changed since
        return GREY
    return HOUNSFIELD if modality.strip().upper() == "CT" else GREY


def _dicom_modality(source: Source) -> str:
    from napari_uda.data.dicom import find_stack

    return find_stack(source.path, source.series).frames[0].header.modality
