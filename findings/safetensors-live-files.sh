#!/usr/bin/env bash
# safetensors 0.8.0 with torch: a tensor that was loaded changes when its file is written over afterwards.
#
# One would guess: `load_file` and `get_tensor` give tensors in memory, as `numpy.load` and `torch.load` do.
# What happens: with torch they give the mapped file itself. Writing new content into the same file, as `cp` and
#   `rsync --inplace` do, changes the weights of a model in use, also after a checksum over them was found right. With
#   numpy the same call gives a copy. `tensor.clone()` puts it right; so does replacing the file by a rename.
# Seen (safetensors 0.8.0, torch 2.13.0, NumPy 2.4.6, Python 3.11, Linux):
#   torch load_file: 0.0, after the file was written over: 1.0
#   torch safe_open: 0.0, after the file was written over: 1.0
#   numpy load_file: 0.0, after the file was written over: 0.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
    torch==2.13.0 numpy==2.4.6 safetensors==0.8.0
cd "$folder"
venv/bin/python - <<'PYTHON'
import shutil
from importlib.metadata import version

import safetensors.numpy
import safetensors.torch
import torch
from safetensors import safe_open

print("safetensors", version("safetensors"), "torch", torch.__version__)
safetensors.torch.save_file({"weights": torch.zeros(100_000)}, "model.safetensors")
safetensors.torch.save_file({"weights": torch.ones(100_000)}, "other.safetensors")
by_load = safetensors.torch.load_file("model.safetensors")["weights"]
with safe_open("model.safetensors", "pt") as file:
    by_open = file.get_tensor("weights")
by_numpy = safetensors.numpy.load_file("model.safetensors")["weights"]
loaded = {"torch load_file": by_load, "torch safe_open": by_open, "numpy load_file": by_numpy}
before = {name: float(values[0]) for name, values in loaded.items()}
with open("other.safetensors", "rb") as source, open("model.safetensors", "r+b") as target:
    shutil.copyfileobj(source, target)  # the same file, as `cp` writes it
after = {name: float(values[0]) for name, values in loaded.items()}
for name in loaded:
    print(f"{name}: {before[name]}, after the file was written over: {after[name]}")
assert list(before.values()) == [0.0, 0.0, 0.0]
assert list(after.values()) == [1.0, 1.0, 0.0], "torch gets a copy now, or numpy none"
PYTHON
