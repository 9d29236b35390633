#!/usr/bin/env bash
# torch 2.13.0 on a CPU: the gradient of the weights of a strided bfloat16 convolution is garbage on tiny maps.
#
# One would guess: a tap of the kernel that lies in the padding at every place has gradient 0, whatever the number format.
# What happens: on a map smaller than the stride, such as 3 x 3 pixels and stride 4, columns of such taps come back with
#   whatever the memory held before, NaN or 1e34 or by chance 0, without a warning. In float32, and from 4 x 4 pixels on,
#   they are 0. Under autocast this is the gradient of an ordinary float32 layer.
# Seen (torch 2.13.0, CPU with avx512_bf16, Python 3.11, Linux); a processor without bfloat16 may take another way:
#   wrong taps of a 5 x 5 kernel by rows, float32, 3 x 3 pixels: 0 0 0 0 0
#   wrong taps of a 5 x 5 kernel by rows, bfloat16, 4 x 4 pixels: 0 0 0 0 0
#   wrong taps of a 5 x 5 kernel by rows, bfloat16, 3 x 3 pixels: 0 0 1 1 1
#   wrong taps of a 5 x 5 kernel by rows, bfloat16, 2 x 2 pixels: 0 0 3 3 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch==2.13.0 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import torch

print("torch", torch.__version__)


def wrong_taps(size: int, kind: torch.dtype) -> list[int]:
    """How many taps of each row have a gradient that is not that of float32, within rounding."""
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(32, 64, 5, stride=4, padding=2, bias=False).to(kind)
    right = torch.nn.Conv2d(32, 64, 5, stride=4, padding=2, bias=False)
    right.weight.data.copy_(layer.weight.data)
    image = torch.randn(4, 32, size, size).to(kind)
    right(image.float()).sum().backward()
    total = layer(image).float().sum()
    used_before = [torch.full((64 * 32 * 25 * n // 2,), float("nan")) for n in (1, 1, 2, 2, 4)]
    del used_before  # the memory that the gradient will be written to
    total.backward()
    near = (layer.weight.grad.float() - right.weight.grad).abs() < 1
    return [int(row.sum()) for row in ~near.all(0).all(0)]


seen = {}
for size, kind in ((3, torch.float32), (4, torch.bfloat16), (3, torch.bfloat16), (2, torch.bfloat16)):
    seen[size, kind] = taps = wrong_taps(size, kind)
    what = f"{str(kind).removeprefix('torch.')}, {size} x {size} pixels"
    print(f"wrong taps of a 5 x 5 kernel by rows, {what}:", *taps)
assert seen[3, torch.float32] == seen[4, torch.bfloat16] == [0] * 5
assert sum(seen[3, torch.bfloat16]) and sum(seen[2, torch.bfloat16]), "right now, or another processor"
PYTHON
