"""Checksums of what volumes say, whatever files they lie in: moved, renamed or compressed anew, they stay."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari_uda.data.volume import Volume

_LETTERS = 16
_DECIMALS = 4  # of the affine in millimetres: what float32 in a header keeps


def content_digest(volume: Volume) -> str:
    """Hash of the voxels of a volume, their type and their places, 16 hexadecimal letters.

    On two cores that have instructions for it, SHA-256 takes a tenth of the time that decompressing takes.
    """
    array = volume.array
    affine = np.round(volume.affine, _DECIMALS) + 0.0  # no -0
    digest = hashlib.sha256(f"{array.dtype.str[1:]} {array.shape} {affine.tolist()}".encode())
    for plane in array:  # a mapped volume may be larger than memory
        whole = np.ascontiguousarray(plane)
        digest.update(whole.astype(whole.dtype.newbyteorder("<"), copy=False).data)
    return digest.hexdigest()[:_LETTERS]
