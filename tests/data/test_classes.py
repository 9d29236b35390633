"""The likeliest class, as torch finds it."""

import numpy as np
import pytest
import torch

from napari_uda.data.classes import first_highest, likeliest


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_likeliest_class_is_that_of_argmax(
    dtype: torch.dtype, layout: torch.memory_format
) -> None:
    scores = torch.randn((2, 7, 9, 11), generator=torch.Generator().manual_seed(0))
    scores = scores.to(dtype).contiguous(memory_format=layout)
    found = likeliest(scores)
    assert found.shape == (2, 9, 11)
    torch.testing.assert_close(found.long(), scores.argmax(1))


def test_of_several_highest_the_first_is_taken() -> None:
    values = np.array([[1, 0, 2, 5], [1, 3, 2, 5], [1, 3, 4, 5]], np.float32)  # (C, N)
    assert first_highest(values).tolist() == [0, 1, 2, 0]
    assert likeliest(torch.from_numpy(values).view(1, 3, 2, 2)).tolist() == [[[0, 1], [2, 0]]]
