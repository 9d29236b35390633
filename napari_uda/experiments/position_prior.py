"""The row that sees no image: the commonest source label of each relative position.

What it reaches is owed to where organs lie in the field of view alone; a network has to beat it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from napari_uda.data.volume import Placement, write_volume
from napari_uda.experiments.fingerprints import scored_cases

_SIDE, _DEPTH = 64, 16


def predict_positions(
    source: Path, score: Path, out: Path, *, series: str = "", placement: Placement = "auto"
) -> None:
    """Write `<case>_labels.nii.gz` for every labelled case of `score`, from labels of `source` alone.

    Label maps in the canonical orientation are stretched to a common grid of 16 x 64 x 64, their one-hot
    codes summed; the sum, stretched to the volume, answers with its largest class. DICOM volumes and
    placements are chosen by `series` and `placement` as in training.
    """
    learnt, asked = (
        scored_cases(folder, series=series, placement=placement) for folder in (source, score)
    )
    labels = [case.read_labels().canonical() for case in learnt]
    values = sorted({0, *(int(value) for label in labels for value in np.unique(label.array))})
    counts = torch.zeros(len(values), _DEPTH, _SIDE, _SIDE)
    for label in labels:
        array = torch.from_numpy(label.array.copy())
        onehot = torch.stack([(array == value).float() for value in values])
        counts += F.interpolate(onehot[None], (_DEPTH, _SIDE, _SIDE), mode="trilinear")[0]
    for case in asked:
        volume = case.read_image()
        shape = volume.canonical().array.shape
        guess = F.interpolate(counts[None], shape, mode="trilinear")[0].argmax(0).numpy()
        answer = np.array(values, np.uint8)[guess]
        on_file_grid = np.ascontiguousarray(volume.orientation.invert(answer))
        write_volume(out / f"{case.name}_labels.nii.gz", volume.with_array(on_file_grid))
