#!/usr/bin/env bash
# VTK 9.7.2: a turned volume loses its direction on the way to a surface, or gets the transposed one.
#
# One would guess: a file says how it lies in space, the reader keeps it, and a surface of it lies there.
# What happens: vtkMetaImageReader gives the transpose of the direction in a .mha, so that a quarter turn goes the other
#   way; the image of vtkNrrdReader has none, and that of vtkNIFTIImageReader neither (it has the forms apart). Where an image has a direction, vtkFlyingEdges3D heeds it, and
#   vtkContourFilter, which picks the algorithm for one, does not. No warning is given.
# Seen (VTK 9.7.2, SimpleITK 2.5.7, NumPy 2.4.6, Python 3.11, Linux); how far the surface's middle lies from the voxels':
#   read from d.mha: 28 mm, by flying edges; 0 mm with the direction transposed
#   read from d.nrrd: 20 mm
#   read from d.nii.gz: 51 mm
#   direction set by hand: flying edges 0 mm, contour filter 20 mm
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet vtk==9.7.2 SimpleITK==2.5.7 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import numpy as np
import SimpleITK as sitk
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

QUARTER = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
mask = np.zeros((12, 14, 16), np.uint8)  # z, y, x
mask[2:6, 3:7, 8:14] = 1
image = sitk.GetImageFromArray(mask)
image.SetSpacing((1, 2, 3))
image.SetOrigin((10, 20, 30))
image.SetDirection(QUARTER.ravel().tolist())
middle = np.argwhere(mask).mean(axis=0)[::-1]
right = np.array(image.TransformContinuousIndexToPhysicalPoint(middle.tolist()))


def surface(data, kind):
    """Middle of the surface's box."""
    filter_ = kind()
    filter_.SetInputData(data)
    filter_.SetValue(0, 0.5)
    filter_.Update()
    points = vtk_to_numpy(filter_.GetOutput().GetPoints().GetData())
    return (points.min(axis=0) + points.max(axis=0)) / 2


def matrix(rows):
    made = vtk.vtkMatrix3x3()
    made.DeepCopy(np.ravel(rows).tolist())
    return made


def off(place, wanted):
    return round(float(np.linalg.norm(place - wanted)))


seen = {}
for name, reader in (
    ("d.mha", vtk.vtkMetaImageReader()),
    ("d.nrrd", vtk.vtkNrrdReader()),
    ("d.nii.gz", vtk.vtkNIFTIImageReader()),
):
    sitk.WriteImage(image, name)
    reader.SetFileName(name)
    reader.Update()
    data = reader.GetOutput()
    # NIfTI has x and y the other way round, RAS instead of LPS
    wanted = right * (-1, -1, 1) if name.endswith(".nii.gz") else right
    seen[name] = off(surface(data, vtk.vtkFlyingEdges3D), wanted)
    more = ""
    if name == "d.mha":
        data.SetDirectionMatrix(matrix(QUARTER))
        seen["transposed"] = off(surface(data, vtk.vtkFlyingEdges3D), wanted)
        more = f", by flying edges; {seen['transposed']} mm with the direction transposed"
    print(f"read from {name}: {seen[name]} mm{more}")

data = vtk.vtkImageData()
data.SetDimensions(mask.shape[::-1])
data.SetSpacing(1, 2, 3)
data.SetOrigin(10, 20, 30)
data.SetDirectionMatrix(matrix(QUARTER))
data.GetPointData().SetScalars(numpy_to_vtk(mask.ravel(), deep=True))
edges, contour = (off(surface(data, kind), right) for kind in (vtk.vtkFlyingEdges3D, vtk.vtkContourFilter))
print(f"direction set by hand: flying edges {edges} mm, contour filter {contour} mm")

lost = min(seen["d.mha"], seen["d.nrrd"], seen["d.nii.gz"], contour) > 5
raise SystemExit(0 if lost and seen["transposed"] == edges == 0 else 1)
PYTHON
