"""Label values: which numbers of a file are whole, whatever type and scaling it stores them with."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_uda.core.errors import InputError
from napari_uda.core.words import short_list

_logger = logging.getLogger(__name__)

LARGEST = 255
"""Largest label value."""
_ROUNDING = 1e-3
"""How far a label may be off a whole number in any file: what a float or a header's slope bends it by."""
_MOST_LISTED = 8
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
    raise _no_label(array, name, value_step, wrong)


def _no_label(array: NDArray[np.generic], name: str, value_step: float, wrong: float) -> InputError:
    """Why a value is no label; one outside the range is told first."""
    low = float(array.min())
    if low < -_ROUNDING or wrong > LARGEST + _ROUNDING:
        return InputError(
            f"{name}: label {low if low < -_ROUNDING else wrong:g} is outside 0 to {LARGEST}; remap the labels to small "
            "numbers"
        )
    if value_step:
        return InputError(
            f"{name}: label {wrong:g} is not a whole number, because its header scales what is stored by "
            f"{value_step:g}; set the slope (scl_slope) to 1 if the stored numbers are the labels, or save the "
            "labels again as whole numbers"
        )
    return InputError(
        f"{name}: label {wrong:g} is not a whole number; give a label map, resampled with nearest neighbour"
    )


def small_labels(
    array: NDArray[np.generic],
    name: str,
    value_step: float,
    stored: Mapping[str, int],
    small: Mapping[str, int],
    *,
    numbered: bool = False,
) -> NDArray[np.uint8]:
    """The labels of a file as uint8, named values above 255 as small ones.

    Args:
        array: what the file holds.
        name: the file, for messages.
        value_step: as for `to_whole`.
        stored: structure name to value as files hold it.
        small: structure name to value 1 to 255.
        numbered: values up to 255 are small ones already.

    Raises:
        InputError: as `check_labels`; values above 255 are listed, unless others are named.
    """
    high = float(array.max()) if array.size else 0.0
    maps = any(value > LARGEST for value in stored.values())
    if high < LARGEST + 0.5 and (not maps or numbered):
        return check_labels(array, name, value_step)
    whole, wrong = to_whole(array, value_step)
    if wrong is not None or array.min() < -_ROUNDING:
        raise _no_label(array, name, value_step, wrong or 0.0)
    values, places = np.unique(whole, return_inverse=True)
    becomes = {stored[title]: small[title] for title in small}
    large = [int(value) for value in values if value > LARGEST and int(value) not in becomes]
    if large and not maps:
        raise InputError(
            f"{name}: holds label values above {LARGEST} ({_listed(large)}); name those that you need in the labels of "
            f'dataset.json, such as {{"labels": {{"liver": {large[0]}}}}}, and they become small numbers when read'
        )
    unnamed = [int(value) for value in values if value and int(value) not in becomes]
    if unnamed:
        _logger.warning(
            "%s: label values %s have no name and are taken for background", name, _listed(unnamed)
        )
    table = np.array([becomes.get(int(value), 0) for value in values], np.uint8)
    return table[places].reshape(array.shape)


def _listed(values: Sequence[int]) -> str:
    return short_list(values, _MOST_LISTED)
