#!/usr/bin/env bash
# SimpleITK 2.5.7: writing a DICOM slice with tags leaves the whole process in the C locale.
#
# One would guess: writing an image file changes nothing but that file.
# What happens: after ImageFileWriter.Execute on a DICOM file whose tags are kept, LC_CTYPE is "C". Python opens text
#   files by that locale where no encoding is named, so the next `Path.read_text()` of a UTF-8 file raises
#   UnicodeDecodeError, far away from the image that was written.
# Seen (SimpleITK 2.5.7, NumPy 2.4.6, Python 3.11, Linux, LANG=C.UTF-8):
#   before: LC_CTYPE C.UTF-8, text files are read as UTF-8
#   after:  LC_CTYPE C, text files are read as ANSI_X3.4-1968
#   reading a UTF-8 file without a named encoding: UnicodeDecodeError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet SimpleITK==2.5.7 numpy==2.4.6
cd "$folder"
LC_ALL=C.UTF-8 venv/bin/python - <<'PYTHON'
import locale
from pathlib import Path

import numpy as np
import SimpleITK as sitk

Path("name.txt").write_text("Müller", encoding="utf-8")


def state(when):
    kind, encoding = locale.setlocale(locale.LC_CTYPE), locale.getencoding()
    print(f"{when}: LC_CTYPE {kind}, text files are read as {encoding}")
    return kind, encoding


print("SimpleITK", sitk.Version.VersionString())
before = state("before")
assert Path("name.txt").read_text() == "Müller"

image = sitk.GetImageFromArray(np.zeros((1, 4, 6), np.int16))
tags = {
    "0008|0060": "MR",
    "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
    "0008|0018": "1.2.3.4.1",
    "0020|000d": "1.2.3",
    "0020|000e": "1.2.3.4",
    "0020|0032": "-7\\-9\\0",
    "0020|0037": "1\\0\\0\\0\\1\\0",
    "0028|0030": "1.5\\0.75",
}
for tag, value in tags.items():
    image.SetMetaData(tag, value)
writer = sitk.ImageFileWriter()
writer.KeepOriginalImageUIDOn()
writer.SetFileName("slice.dcm")
writer.Execute(image)

after = state("after")
try:
    Path("name.txt").read_text()
    reading = "fine"
except UnicodeDecodeError as error:
    reading = type(error).__name__
print("reading a UTF-8 file without a named encoding:", reading)
assert before[0] == "C.UTF-8"
assert after[0] == "C", "SimpleITK leaves the locale alone now"
assert reading == "UnicodeDecodeError"
PYTHON
