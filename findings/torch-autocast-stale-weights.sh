#!/usr/bin/env bash
# torch 2.13.0: after an optimiser step, the next forward in the same autocast region still uses the old weights.
#
# One would guess: a forward uses the weights that the optimiser has just written, with autocast or without.
# What happens: autocast keeps the bfloat16 copy of each weight that it made at the first forward until its region is
#   left. The weights have changed, the copy has not, and the second forward gives the output of the first, bit for
#   bit, without a warning. `torch.clear_autocast_cache()` after the step puts it right.
# Seen (torch 2.13.0, CPU, Python 3.11, Linux):
#   weight after the step: -2.0
#   output before the step: 4.0
#   output after the step, same region: 4.0
#   output after the step, cache cleared: -8.0
#   output after the step, without autocast: -8.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch==2.13.0 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import torch

print("torch", torch.__version__)
layer = torch.nn.Linear(4, 1, bias=False)
torch.nn.init.ones_(layer.weight)
optimizer = torch.optim.SGD(layer.parameters(), lr=3.0)
image = torch.ones(1, 4)

with torch.autocast("cpu", torch.bfloat16):
    before = layer(image)
    before.sum().backward()
    optimizer.step()
    stale = layer(image).item()
    torch.clear_autocast_cache()
    fresh = layer(image).item()
plain = layer(image).item()

print("weight after the step:", layer.weight[0, 0].item())
print("output before the step:", before.item())
print("output after the step, same region:", stale)
print("output after the step, cache cleared:", fresh)
print("output after the step, without autocast:", plain)
assert layer.weight[0, 0].item() == -2
assert before.item() == 4
assert stale == 4, "the second forward sees the new weights now"
assert fresh == plain == -8
PYTHON
