#!/usr/bin/env bash
# One turned bit in a compressed volume: nibabel and SimpleITK give other voxels and no error, by format.
#
# One would guess: gzip and zlib data ends in a checksum, so a damaged `.nii.gz`, `.mgz`, `.mha` or `.nrrd` is refused.
# What happens: nibabel reads as many bytes as the header asks for and stops before the checksum; of the damaged files
#   those are refused whose data cannot be unpacked at all, the others are read. SimpleITK refuses every damaged `.nii.gz`;
#   of `.mha` it refuses none, since MetaIO prints "Uncompress failed" and goes on with what it has, and of `.nrrd`
#   it lets through what can be unpacked. `gzip -t` finds each of the damaged `.nii.gz` and `.mgz` files.
# Seen (nibabel 5.4.2, SimpleITK 2.5.7, NumPy 2.4.6, Python 3.11, Linux), of 78 places in a volume of 20 x 20 x 20 voxels:
#   .nii.gz by nibabel: 68 read with other voxels, 10 refused
#   .nii.gz by SimpleITK: 0 read with other voxels, 78 refused
#   .mgz by nibabel: 70 read with other voxels, 8 refused
#   .mha by SimpleITK: 78 read with other voxels, 0 refused
#   .nrrd by SimpleITK: 10 read with other voxels, 68 refused
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet nibabel==5.4.2 SimpleITK==2.5.7 numpy==2.4.6
cd "$folder"
venv/bin/python - 2>/dev/null <<'PYTHON'
import zlib
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

print("nibabel", nibabel.__version__, "SimpleITK", sitk.Version.VersionString())
sitk.ProcessObject.SetGlobalWarningDisplay(False)
voxels = np.random.default_rng(0).integers(0, 400, (20, 20, 20)).astype(np.int16)
nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), "whole.nii.gz")
nibabel.save(nibabel.MGHImage(voxels, np.eye(4, dtype=np.float32)), "whole.mgz")
for ending in (".mha", ".nrrd"):
    sitk.WriteImage(sitk.GetImageFromArray(voxels), f"whole{ending}", useCompression=True)


def by_nibabel(name):
    return np.asarray(nibabel.load(name).dataobj)


def by_SimpleITK(name):
    return sitk.GetArrayFromImage(sitk.ReadImage(name))


def count(ending, read):
    """Files with one turned bit each that are read with other voxels, and those that are refused."""
    content = Path(f"whole{ending}").read_bytes()
    expected = read(f"whole{ending}")
    other = refused = 0
    places = np.linspace(len(content) // 3, len(content) - 16, 78).astype(int)
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1
        Path(f"damaged{ending}").write_bytes(damaged)
        if ending in (".nii.gz", ".mgz"):
            try:
                zlib.decompress(damaged, wbits=31)
                raise SystemExit("the checksum does not know of the damage")
            except zlib.error:
                pass
        try:
            other += not np.array_equal(read(f"damaged{ending}"), expected)
        except Exception:
            refused += 1
    print(f"{ending} by {read.__name__[3:]}: {other} read with other voxels, {refused} refused")
    return other, refused


assert count(".nii.gz", by_nibabel)[0] > 50, "nibabel verifies the checksum now"
assert count(".nii.gz", by_SimpleITK) == (0, 78)
assert count(".mgz", by_nibabel)[0] > 50, "nibabel verifies the checksum now"
assert count(".mha", by_SimpleITK) == (78, 0), "MetaIO refuses damaged data now"
assert count(".nrrd", by_SimpleITK)[0] > 0, "the checksum of NRRD is verified now"
PYTHON
