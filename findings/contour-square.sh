#!/usr/bin/env bash
# Contours as pixels: a square of 10 mm on pixels of 1 mm has 100, 110, 121 or 90 of them.
#
# One would guess: what fills polygons gives 100 pixels for 100 mm2, or at least libraries agree on the border.
# What happens: where the corners lie on centres of pixels, scikit-image takes every border (121), and matplotlib some of
#   them by the direction in which the contour is walked (110 or 90). With corners between the centres both give 100.
#   OpenCV's fillPoly, which rt-utils reads and writes RTSTRUCT with, takes whole numbers as corners and every border:
#   121 in both cases. So a structure is a pixel wider or not by the program that reads it.
# Seen (scikit-image 0.26.0, matplotlib 3.11.2, OpenCV 5.0.0, NumPy 2.4.6, Python 3.11, Linux), pixels:
#   corners on centres: scikit-image 121, matplotlib 110 and 90 backwards, OpenCV 121
#   corners 0.3 beside them: scikit-image 100, matplotlib 100 and 100 backwards, OpenCV 121
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet scikit-image==0.26.0 matplotlib==3.11.2 opencv-python-headless==5.0.0.93 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import cv2
import matplotlib
import numpy as np
import skimage
from matplotlib.path import Path
from skimage.draw import polygon2mask

print("scikit-image", skimage.__version__, "matplotlib", matplotlib.__version__, "OpenCV", cv2.__version__)
rows, columns = np.mgrid[:20, :20]
centres = np.stack([columns.ravel(), rows.ravel()], axis=1)
seen = []
for name, start in (("corners on centres", 2.0), ("corners 0.3 beside them", 2.3)):
    low, high = start, start + 10
    corners = np.array([[low, low], [high, low], [high, high], [low, high]])
    by_skimage = int(polygon2mask((20, 20), corners[:, ::-1]).sum())
    forwards = int(Path(corners).contains_points(centres).sum())
    backwards = int(Path(corners[::-1]).contains_points(centres).sum())
    drawn = np.zeros((20, 20), np.uint8)
    cv2.fillPoly(drawn, [np.around(corners).astype(np.int32)], 1)
    seen.append([by_skimage, forwards, backwards, int(drawn.sum())])
    print(
        f"{name}: scikit-image {by_skimage}, matplotlib {forwards} and {backwards} backwards, OpenCV {drawn.sum()}"
    )
assert seen == [[121, 110, 90, 121], [100, 100, 100, 121]], "a library fills otherwise now"
PYTHON
