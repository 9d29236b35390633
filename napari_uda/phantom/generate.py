"""From a seed to two data folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np

from napari_uda.core.errors import InputError
from napari_uda.core.files import check_new_folder, whole_folder
from napari_uda.data.folder import write_dataset_json
from napari_uda.data.volume import Volume, write_volume
from napari_uda.phantom.anatomy_abdominal import build_abdominal
from napari_uda.phantom.anatomy_cardiac import build_cardiac
from napari_uda.phantom.anatomy_labels import LabelMaps
from napari_uda.phantom.render import Modality, render
from napari_uda.phantom.scene import LABELS, Anatomy, Scene

SMALLEST, LARGEST = 64, 512

_BUILD = {"cardiac": build_cardiac, "abdominal": build_abdominal}


def write_phantom(
    out: Path,
    *,
    anatomy: Anatomy = "cardiac",
    subjects: int = 8,
    size: int = 128,
    seed: int = 0,
    from_labels: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, Path]:
    """Write `out/ct` and `out/mr`, two data folders whose subjects are different people.

    Images are int16, CT in Hounsfield units and MR in arbitrary units from 0; labels are uint8.
    Voxels are stored in the order L, P, S. The same arguments give the same files on one machine;
    subject 3 is the same whatever the number of subjects.

    Args:
        out: a new or empty folder.
        anatomy: "cardiac" (MYO, LAC, LVC, AA) or "abdominal" (liver, kidneys, spleen).
        subjects: subjects in each of the two folders.
        size: pixels of a slice, in both directions.
        seed: another seed, other subjects.
        from_labels: folder of abdominal label maps in BTCV numbering, painted instead of a made-up
            anatomy (`anatomy` is then abdominal); CT and MR take turns with the maps.
        on_progress: called with volumes done and volumes in all, after each.

    Returns:
        The two data folders, CT first.

    Raises:
        InputError: an argument or a label map that cannot be used, or `out` is not empty; nothing is
            written then.
    """
    _check(anatomy, subjects, size, seed)
    maps = LabelMaps.open(from_labels) if from_labels is not None else None
    if maps is not None:
        anatomy = "abdominal"
    out = Path(out)
    check_new_folder(out)
    with whole_folder(out) as staging:
        for number, modality in enumerate(get_args(Modality)):
            folder = staging / modality
            for subject in range(subjects):
                random = np.random.default_rng([seed, list(LABELS).index(anatomy), number, subject])
                if maps is None:
                    scene = _BUILD[anatomy](size, random)
                else:
                    scene = maps.build(2 * subject + number, size, random)
                _write_case(
                    folder, f"{modality}_{subject + 1:03d}", scene, anatomy, modality, random
                )
                if on_progress is not None:
                    on_progress(number * subjects + subject + 1, 2 * subjects)
            write_dataset_json(folder, LABELS[anatomy], modality.upper())
    return out / "ct", out / "mr"


def _check(anatomy: str, subjects: int, size: int, seed: int) -> None:
    if anatomy not in LABELS:
        raise InputError(f"anatomy {anatomy!r} is unknown; choose one of {', '.join(LABELS)}")
    if subjects < 1:
        raise InputError(f"subjects is {subjects}; ask for at least 1")
    if not SMALLEST <= size <= LARGEST:
        raise InputError(
            f"size is {size} pixels; choose {SMALLEST} to {LARGEST}, so that the structures can be "
            "seen and the volumes fit into memory"
        )
    if seed < 0:
        raise InputError(f"seed is {seed}; choose 0 or a positive whole number")


def _write_case(
    folder: Path,
    case: str,
    scene: Scene,
    anatomy: Anatomy,
    modality: Modality,
    random: np.random.Generator,
) -> None:
    image = render(scene, anatomy, modality, random)
    z, y, x = scene.spacing_mm
    affine = np.diag([-x, -y, z, 1.0])
    depth, height, width = scene.shape
    affine[:3, 3] = x * (width - 1) / 2, y * (height - 1) / 2, -z * (depth - 1) / 2
    affine = affine.astype(np.float32).astype(np.float64)
    write_volume(folder / "images" / f"{case}.nii.gz", Volume(image, affine, case))
    write_volume(folder / "labels" / f"{case}.nii.gz", Volume(scene.labels, affine, case))
