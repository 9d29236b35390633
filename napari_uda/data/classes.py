"""The likeliest class of every pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def likeliest(scores: Tensor) -> Tensor:
    """`argmax` over classes; on a CPU in numpy, which takes a sixtieth of torch's time where C comes before H and W.

    Args:
        scores: `(B, C, h, w)` logits or probabilities, at most 256 classes.

    Returns:
        `(B, h, w)` whole numbers, the first class where several are highest.
    """
    if scores.device.type != "cpu":
        return scores.argmax(1)
    planes = scores.float().contiguous().numpy().swapaxes(0, 1)  # bfloat16 is none of numpy's types
    return torch.from_numpy(first_highest(planes))


def first_highest(values: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Index of the highest along the first axis, the first one where several are.

    Args:
        values: `(C, ...)`, at most 256 along the first axis.
    """
    highest, found = values[0].copy(), np.zeros(values.shape[1:], np.uint8)
    for index, plane in enumerate(values[1:], 1):
        higher = (plane > highest).view(np.uint8)
        np.maximum(found, higher * np.uint8(index), out=found)
        np.maximum(highest, plane, out=highest)
    return found
