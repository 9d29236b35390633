"""File > Open Sample > napari_uda: the volumes that ship with the package."""

from __future__ import annotations

from pathlib import Path

from napari_uda.data.folder import DataFolder
from napari_uda.gui.reader import LayerData, read_layers

SAMPLES = Path(__file__).resolve().parent.parent / "sample_data"
"""Folder of the shipped volumes and the shipped model."""
MODEL = SAMPLES / "model"


def ct_labelled() -> list[LayerData]:
    """The first CT with its labels."""
    return _case("ct", labelled=True)


def mr() -> list[LayerData]:
    """The first MR, as a new patient comes: without labels."""
    return _case("mr", labelled=False)


def mr_labelled() -> list[LayerData]:
    """The first MR with the labels that a prediction can be scored against."""
    return _case("mr", labelled=True)


def _case(modality: str, *, labelled: bool) -> list[LayerData]:
    folder = DataFolder.open(SAMPLES / modality)
    case = folder.cases[0]
    names = {value: name for name, value in folder.labels.items()}
    found = [read_layers(case.image, "image")]
    if labelled and case.label is not None:
        found.append(read_layers(case.label, "reference", names))
    return found
