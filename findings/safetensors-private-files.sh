#!/usr/bin/env bash
# safetensors 0.8.0: saved files can be read by nobody but their owner, and are "not found" for everybody else.
#
# One would guess: a saved file gets the permissions that the umask gives to new files, as from `numpy.save`, and
#   opening a file that one may not read is a PermissionError.
# What happens: the mode is 600 whatever the umask says, so a model in a shared folder is of no use to colleagues. When
#   they open it, safetensors raises FileNotFoundError, "No such file or directory", for a file that is there.
# Seen (safetensors 0.8.0, NumPy 2.4.6, Python 3.11, Linux, umask 022):
#   numpy.save: mode 644
#   safetensors save_file: mode 600
#   without permission, Python's open: PermissionError
#   without permission, safetensors load_file: FileNotFoundError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet safetensors==0.8.0 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import os
from importlib.metadata import version
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

print("safetensors", version("safetensors"))
os.umask(0o022)
Path.cwd().chmod(0o755)
weights = np.zeros(3, np.float32)
np.save("weights.npy", weights)
save_file({"weights": weights}, "weights.safetensors")
modes = [f"{Path(name).stat().st_mode & 0o777:o}" for name in ("weights.npy", "weights.safetensors")]
print("numpy.save: mode", modes[0])
print("safetensors save_file: mode", modes[1])


def failure(call):
    try:
        call()
    except OSError as error:
        return type(error).__name__
    return "none"


path = Path("weights.safetensors").resolve()
if os.geteuid() == 0:
    os.seteuid(65534)  # root may read everything: look as somebody else
else:
    path.chmod(0)
by_open, by_load = failure(lambda: path.open("rb")), failure(lambda: load_file(path))
print("without permission, Python's open:", by_open)
print("without permission, safetensors load_file:", by_load)
assert modes == ["644", "600"], "safetensors minds the umask now"
assert by_open == "PermissionError"
assert by_load == "FileNotFoundError", "safetensors tells a forbidden file from a missing one now"
PYTHON
