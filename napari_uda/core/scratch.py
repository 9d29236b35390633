"""Large arrays in temporary files that are mapped into memory, so that a volume may be larger than memory has room for."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)

MAPPED_FROM = 2**26
"""Bytes from which on an array is mapped."""
_HELD_AT_ONCE = 2**25
"""Bytes of planes that `each_plane` holds in memory."""


class _Scratch(mmap.mmap):
    """A file of ours: whoever maps one privately would lose what was written, if it were let go of."""


def scratch_array(shape: tuple[int, ...], dtype: np.dtype[T] | type[T]) -> NDArray[T]:
    """An array of whatever values, in memory or, if it is large, in a temporary file.

    The file has no name, so that nothing is left of it whatever happens. It has all its room from the start;
    where there is not enough, the array is in memory after all.

    Args:
        shape: of any number of axes.
        dtype: with any byte order.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < MAPPED_FROM:
        return np.empty(shape, dtype)
    try:
        with tempfile.TemporaryFile() as file:
            os.posix_fallocate(file.fileno(), 0, size)
            mapped = _Scratch(file.fileno(), size)
    except (OSError, AttributeError):  # no room, or a system without that call
        return np.empty(shape, dtype)
    return np.frombuffer(mapped, dtype).reshape(shape)


def let_go(array: NDArray[Any]) -> None:
    """Let a mapped array leave memory until it is looked at again; any other one stays as it is."""
    owner: object = array
    while isinstance(owner, (np.ndarray, memoryview)):
        owner = owner.base if isinstance(owner, np.ndarray) else owner.obj
    if isinstance(owner, _Scratch):
        owner.madvise(mmap.MADV_DONTNEED)


def each_plane(array: NDArray[T]) -> Iterator[NDArray[T]]:
    """Every plane across the first axis; those of a mapped array leave memory behind."""
    held = 0
    for plane in array:
        yield plane
        held += plane.nbytes
        if held >= _HELD_AT_ONCE:
            let_go(array)
            held = 0
    let_go(array)
