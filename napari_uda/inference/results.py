"""Files of a prediction: labels, entropy and reliability, and what they were made from and by."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_uda.core.files import atomic_file, write_together
from napari_uda.core.structure_colours import structure_colour
from napari_uda.core.version import __version__
from napari_uda.data.volume import write_volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_uda.data.volume import Volume
    from napari_uda.inference.predict import Prediction

EntropyType = Literal["uint8", "float32"]

ENTROPY_SLOPE = float(np.nextafter(np.float32(1 / 255), np.float32(0)))
"""What the bytes of an entropy map are multiplied by: 1/255 as a float32, rounded so that 255 is not above 1."""


def write_prediction(
    prediction: Prediction,
    out: Path,
    *,
    entropy: bool = True,
    entropy_dtype: EntropyType = "uint8",
) -> list[Path]:
    """Write a prediction, all files or none; see `Prediction.save`.

    Without `entropy`, an entropy map of an earlier prediction of the case is removed: it would be read as
    that of the new labels.

    Raises:
        InputError: if the folder cannot be written.
    """
    case, grid = prediction.case, prediction.volume
    # the reliability map comes last: where it is, the others are
    files: dict[str, Callable[[Path], object]] = {
        f"{case}.json": partial(_write_sidecar, prediction=prediction, out=out),
        f"{case}_labels.nii.gz": partial(write_volume, volume=grid.with_array(prediction.labels)),
    }
    if entropy:
        files[f"{case}_entropy.nii.gz"] = partial(
            _write_entropy, grid=grid, entropy=prediction.entropy, dtype=entropy_dtype
        )
    reliability = grid.with_array(prediction.reliability)
    files[f"{case}_reliability.nii.gz"] = partial(write_volume, volume=reliability)
    sidecar, *maps = write_together(out, f"the maps of {case}", files)
    if not entropy:
        (out / f"{case}_entropy.nii.gz").unlink(missing_ok=True)
    return [*maps, sidecar]


def _write_entropy(
    path: Path, grid: Volume, entropy: NDArray[np.float32], dtype: EntropyType
) -> None:
    if dtype == "float32":
        write_volume(path, grid.with_array(entropy))
        return
    steps = np.empty(entropy.shape, np.uint8)
    for plane, found in zip(entropy, steps, strict=True):  # a volume may fill half of the memory
        found[...] = np.rint(np.clip(plane, 0, 1) * 255)
    write_volume(path, grid.with_array(steps), slope=ENTROPY_SLOPE)


def _write_sidecar(path: Path, prediction: Prediction, out: Path) -> None:
    """What the maps were made from and by; nothing of it stands in their headers."""
    content = {
        "case": prediction.case,
        "program": f"napari_uda {__version__}",
        "model": _model(prediction),
        "image": _image(prediction.volume, out),
        "structures": [
            {"value": value, "name": name, "colour": structure_colour(name, value)}
            for value, name in prediction.names.items()
        ],
    }
    with atomic_file(path) as stream:
        stream.write((json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def _model(prediction: Prediction) -> dict[str, Any]:
    model = {"name": prediction.run, "weights_sha256": prediction.weights_sha256 or None}
    return model | ({"adapted_by": prediction.adapted_by} if prediction.adapted_by else {})


def _image(volume: Volume, out: Path) -> dict[str, Any]:
    """The image: its voxels, and where it lies as seen from the result."""
    source, here = (
        volume.source,
        os.path.realpath(out),
    )  # ".." leads out of the folder behind a link
    image: dict[str, Any] = {
        "path": Path(os.path.relpath(source.path, here)).as_posix() if source else None,
        "voxels_sha256": voxels_sha256(volume.array),
        "voxels": volume.array.dtype.name,
        "shape_zyx": list(volume.array.shape),
    }
    return image | ({"series": source.series} if source and source.series else {})


def voxels_sha256(array: NDArray[Any]) -> str:
    """Checksum of voxels `(Z, Y, X)` in this order (x fastest) and their own type, little-endian."""
    digest = hashlib.sha256()
    for plane in array:
        digest.update(np.ascontiguousarray(plane, plane.dtype.newbyteorder("<")).data)
    return digest.hexdigest()
