"""Arrays in `.npz` files that may come from anywhere: checked before they are read, never unpickled."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from napari_uda.core.errors import InputError, reason
from napari_uda.core.files import shown
from napari_uda.data.grid import three_sides


def read_npz_volume(path: Path, key: str) -> NDArray[np.generic]:
    """One 3-D array of an `.npz` file.

    Args:
        path: the file.
        key: name of the array.

    Returns:
        The array as stored, whole or floating numbers.

    Raises:
        InputError: no such array, pickled objects, more than three axes, a size that the file does not hold.
    """
    name = shown(path)
    try:
        with zipfile.ZipFile(path) as archive:
            if f"{key}.npy" not in archive.namelist():
                raise InputError(
                    f"{name}: has no array {key}; give the file as released (arr_0 image, arr_1 label)"
                )
            member = archive.getinfo(f"{key}.npy")
            with archive.open(member) as stream:
                if npy.read_magic(stream) == (1, 0):
                    shape, _, dtype = npy.read_array_header_1_0(stream)
                else:
                    shape, _, dtype = npy.read_array_header_2_0(stream)
                _check(shape, dtype, member.file_size - stream.tell(), name, key)
            with archive.open(member) as stream:
                array: NDArray[np.generic] = npy.read_array(stream, allow_pickle=False)
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({reason(error)}); check the file") from error
    except InputError:
        raise
    except (ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{name}: is damaged or is no .npz file of plain arrays; copy it again from the release"
        ) from error
    return array


def _check(
    shape: tuple[int, ...], dtype: np.dtype[np.generic], stored: int, name: str, key: str
) -> None:
    if dtype.hasobject:
        raise InputError(
            f"{name}: its array {key} holds pickled Python objects, which can run code when read; "
            "save it as an array of numbers"
        )
    if dtype.kind not in "iuf":
        raise InputError(f"{name}: its array {key} is of type {dtype}; save it as numbers")
    x, y, z = three_sides(shape[::-1], dtype.itemsize, f"{name}, array {key}")
    if x * y * z * dtype.itemsize != stored:
        raise InputError(
            f"{name}: its array {key} declares {x * y * z * dtype.itemsize} bytes and holds {stored}; copy it again"
        )
