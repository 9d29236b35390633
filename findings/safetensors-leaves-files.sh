#!/usr/bin/env bash
# safetensors 0.8.0: a process that is killed while it saves leaves a hidden file, which nothing ever removes.
#
# One would guess: `save_file` writes the file it was given, so a kill leaves at most a torn file of that name, and
#   saving again replaces it.
# What happens: it writes `.tmp` and six letters in the same folder and renames that at the end. Each kill leaves one
#   more such file, as large as the weights, under a name that says neither the library nor the process.
# Seen (safetensors 0.8.0, NumPy 2.4.6, Python 3.11, Linux):
#   killed: model.safetensors is there: False, hidden files: 1
#   saved again: model.safetensors is there: True, hidden files: 1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 safetensors==0.8.0
cd "$folder"
venv/bin/python - <<'PYTHON'
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

print("safetensors", version("safetensors"))
SAVE = """
import numpy, safetensors.numpy
safetensors.numpy.save_file({"weights": numpy.zeros(50_000_000, "f4")}, "out/model.safetensors")
"""
out = Path("out")
out.mkdir()


def hidden() -> list[str]:
    return [path.name for path in out.iterdir() if re.fullmatch(r"\.tmp\w{6}", path.name)]


def see(what: str) -> tuple[bool, int]:
    found = (out / "model.safetensors").exists(), len(hidden())
    print(f"{what}: model.safetensors is there: {found[0]}, hidden files: {found[1]}")
    return found


for _ in range(20):  # where a disk is faster than the kill, once more
    process = subprocess.Popen([sys.executable, "-c", SAVE])
    while process.poll() is None and not hidden():
        pass
    process.kill()
    process.wait()
    if hidden():
        break
    (out / "model.safetensors").unlink(missing_ok=True)
assert see("killed") == (False, 1), "a kill leaves something else now"
subprocess.run([sys.executable, "-c", SAVE], check=True)
assert see("saved again") == (True, 1), "what a kill left goes now"
PYTHON
