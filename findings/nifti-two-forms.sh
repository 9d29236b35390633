#!/usr/bin/env bash
# NIfTI with sform and qform: nibabel and SimpleITK mirror the same file against each other, by the value of a code.
#
# One would guess: readers agree on left and right; when a file describes its place twice and the two disagree, both
#   take the same one, or say so.
# What happens: nibabel takes the sform whenever its code is above 0. SimpleITK takes it only when its code is 1
#   (scanner), or when there is no qform; with code 2 (aligned), which nibabel itself writes for a new image, it takes
#   the qform. Neither warns. Tools that change one form and not the other make such files.
# Seen (nibabel 5.4.2, SimpleITK 2.5.7, NumPy 2.4.6, Python 3.11, Linux), sform from left to right, qform the other way:
#   sform_code 1, qform_code 1: first axis to the R by nibabel, to the R by SimpleITK
#   sform_code 2, qform_code 1: first axis to the R by nibabel, to the L by SimpleITK
#   sform_code 1, qform_code 2: first axis to the R by nibabel, to the R by SimpleITK
#   sform_code 2, qform_code 2: first axis to the R by nibabel, to the L by SimpleITK
#   sform_code 4, qform_code 1: first axis to the R by nibabel, to the L by SimpleITK
#   sform_code 2, qform_code 0: first axis to the R by nibabel, to the R by SimpleITK
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet nibabel==5.4.2 SimpleITK==2.5.7 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import nibabel
import numpy as np
import SimpleITK as sitk

print("nibabel", nibabel.__version__, "SimpleITK", sitk.Version.VersionString())
voxels = np.zeros((4, 5, 6), np.int16)
to_the_right = np.diag([2.0, 2.0, 2.0, 1.0])
to_the_left = np.diag([-2.0, 2.0, 2.0, 1.0])
to_the_left[0, 3] = 6  # so that both cover the same box


def sides(sform_code, qform_code):
    image = nibabel.Nifti1Image(voxels, to_the_right)
    image.header.set_sform(to_the_right, sform_code)
    image.header.set_qform(to_the_left, qform_code)
    image.to_filename("volume.nii")
    read = nibabel.load("volume.nii")
    assert (int(read.header["sform_code"]), int(read.header["qform_code"])) == (sform_code, qform_code)
    by_nibabel = nibabel.aff2axcodes(read.affine)[0]
    # SimpleITK's axes point to the left, to the back and up
    by_simpleitk = "R" if sitk.ReadImage("volume.nii").GetDirection()[0] < 0 else "L"
    print(
        f"sform_code {sform_code}, qform_code {qform_code}: first axis to the {by_nibabel} by nibabel,"
        f" to the {by_simpleitk} by SimpleITK"
    )
    return by_nibabel + by_simpleitk


seen = [sides(*codes) for codes in [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1), (2, 0)]]
assert seen == ["RR", "RL", "RR", "RL", "RL", "RR"], "one of the readers takes another form now"
PYTHON
