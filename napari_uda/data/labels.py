"""Label values: which numbers of a file are whole, whatever type and scaling it stores them with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_uda.core.errors import InputError

LARGEST = 255
"""Largest label value."""
_ROUNDING = 1e-3
"""How far a label may be off a whole number in any file: what a float or a header's slope bends it by."""
_FLOAT32 = 2.0**-22  # of a value; slopes and scaled values are float32
_ROUNDING_OF_COARSE_STEPS = 1e-2  # a slope of 1.00002 bends 255 by 0.005


def to_whole(
    array: NDArray[np.generic], value_step: float = 0.0
) -> tuple[NDArray[np.generic], float | None]:
    """Round what a header's scaling or a float has bent.

    Where whole numbers were squeezed into a few stored ones (0 to 4 as 0 to 255 times 4 / 255), each lies
    within half a step of the scaling from where it was; what lies farther off is not one.

    Args:
        array: any shape, integers or finite floats.
        value_step: distance of neighbouring values of the file (the slope of its header), 0 when the header
            scales nothing.

    Returns:
        The values rounded, integers as they are; and the first value that is no whole number, None without.
    """
    if array.dtype.kind != "f":
        return array, None
    whole = np.rint(array)
    with np.errstate(invalid="ignore"):
        allowed = _tolerance(value_step) + _FLOAT32 * np.abs(whole)
        wrong = ~((np.abs(whole - array) <= allowed) & np.isfinite(array))
    return whole, float(array[wrong].flat[0]) if wrong.any() else None


def _tolerance(value_step: float) -> float:
    step = abs(value_step)
    if step >= 1:
        return _ROUNDING_OF_COARSE_STEPS
    return max(_ROUNDING, step / 2)


def to_labels(
    array: NDArray[np.generic], value_step: float = 0.0
) -> tuple[NDArray[np.uint8], float | None]:
    """Label values as uint8, without a copy when they are bool or uint8.

    Args:
        array: any shape, any numeric dtype.
        value_step: as for `to_whole`.

    Returns:
        The labels; and the first value that is none, None when all are.
    """
    if array.dtype in (np.uint8, np.bool_):
        return array.view(np.uint8), None
    labels, wrong = np.empty(array.shape, np.uint8), None
    planes = ((array, labels),) if array.ndim < 2 else zip(array, labels, strict=True)
    for given, found in planes:  # slice by slice: a volume may fill half of the memory
        whole, none = to_whole(given, value_step)
        with np.errstate(invalid="ignore"):
            found[...] = whole.astype(np.uint8)
        outside = found != whole
        if wrong is None:
            wrong = float(given[outside].flat[0]) if outside.any() else none
    return labels, wrong


def check_labels(
    array: NDArray[np.generic], name: str, value_step: float = 0.0
) -> NDArray[np.uint8]:
    """The labels of a file as uint8.

    Args:
        array: what the file holds.
        name: the file, for messages.
        value_step: as for `to_whole`.

    Raises:
        InputError: a value that is no whole number from 0 to 255, with the reason.
    """
    labels, wrong = to_labels(array, value_step)
    if wrong is None:
        return labels
    low, high = array.min(), array.max()
    if low < -_ROUNDING or high > LARGEST + _ROUNDING:
        raise InputError(
            f"{name}: label {low if low < 0 else high:g} is outside 0 to {LARGEST}; remap the labels to small numbers"
        )
    if value_step:
        raise InputError(
            f"{name}: label {wrong:g} is not a whole number, because its header scales what is stored by "
            f"{value_step:g}; set the slope (scl_slope) to 1 if the stored numbers are the labels, or save the "
            "labels again as whole numbers"
        )
    raise InputError(
        f"{name}: label {wrong:g} is not a whole number; give a label map, resampled with nearest neighbour"
    )
