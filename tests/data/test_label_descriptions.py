"""Label descriptions of ITK-SNAP and colour tables of 3D Slicer and FreeSurfer name and colour label maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from segmentation_files import write_seg_nrrd

from napari_uda.core.errors import InputError
from napari_uda.data.label_descriptions import read_descriptions
from napari_uda.data.segmentation import found_structures, read_segmentation
from napari_uda.data.segments import Segment
from napari_uda.data.volume import Volume, write_volume

ITK_SNAP = """################################################
# ITK-SnAP Label Description File
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
################################################
    0     0    0    0        0  0  0    "Clear Label"
    1   221  130  101        1  1  1    "Liver"
    2     0  151  206      0.5  1  0    "Left kidney, lower (part)"
   99     1    2    3        1  1  1    "not there"
"""
SLICER = """# Color table file labels.ctbl
# 4 values
0 background 0 0 0 0
1 Liver 221 130 101 255
2 Left_kidney 0 151 206 255
3 (none) 0 0 0 0
"""
FREESURFER = """#No. Label Name:                            R   G   B   A

0   Unknown                                 0   0   0   0
17  Left-Hippocampus                        220 216 20  0
1035  ctx-lh-insula                         255 192 32  0
"""


def label_map(path: Path, values: tuple[int, ...] = (0, 1, 2), dtype: str = "u1") -> Path:
    import nibabel as nib

    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.array(values, dtype).reshape(-1, 1, 1), np.eye(4)), path)
    return path


def test_every_format_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text(ITK_SNAP)
    assert read_descriptions(file)[:2] == [
        Segment(1, "Liver", "#DD8265"),
        Segment(2, "Left kidney, lower (part)", "#0097CE"),
    ]
    file.write_text("\ufeff" + SLICER.replace("\n", "\r\n"), encoding="utf-8")
    assert read_descriptions(file) == [
        Segment(1, "Liver", "#DD8265"),
        Segment(2, "Left_kidney", "#0097CE"),
    ]
    file.write_text(FREESURFER)
    assert [(one.value, one.name) for one in read_descriptions(file)] == [
        (17, "Left-Hippocampus"),
        (1035, "ctx-lh-insula"),
    ]
    for other in ("", "# nothing", "patient 3 was moved", "1 2 3", "1 a 1 2 3 4\nand more"):
        file.write_text(other)
        assert read_descriptions(file) == []
    file.write_bytes(b"\xff\xfe\x00")
    assert read_descriptions(file) == []
    assert read_descriptions(tmp_path / "none.txt") == []


@pytest.mark.parametrize("where", ["labels/p1.label", "labels/names.txt", "labels.ctbl"])
def test_they_name_and_colour_the_label_maps_beside(tmp_path: Path, where: str) -> None:
    file = label_map(tmp_path / "labels" / "p1.nii.gz")
    label_map(tmp_path / "labels" / "p2.nii.gz")
    (tmp_path / "labels" / "readme.txt").write_text("not a description")
    (tmp_path / where).write_text(ITK_SNAP)
    found = read_segmentation(file)
    assert found.names == {1: "Liver", 2: "Left kidney, lower (part)"}
    assert found.colours == {1: "#DD8265", 2: "#0097CE"}
    given = read_segmentation(file, names={"liver": 1, "other": 2})
    assert given.names == {1: "liver", 2: "other"}
    assert given.colours == {1: "#DD8265"}
    other = read_segmentation(tmp_path / "labels" / "p2.nii.gz").names
    assert bool(other) == (where != "labels/p1.label")


def test_two_that_differ_are_named(tmp_path: Path) -> None:
    file = label_map(tmp_path / "labels" / "p1.nii.gz")
    (tmp_path / "labels" / "a.label").write_text(ITK_SNAP)
    (tmp_path / "labels" / "b.ctbl").write_text(SLICER)
    with pytest.raises(InputError, match=r"labels: a\.label, b\.ctbl describe labels differently"):
        read_segmentation(file)
    assert read_segmentation(file, names={"Liver": 1}).names == {1: "Liver"}


def test_label_maps_that_number_apart_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    files = [label_map(folder / f"p{number}.nii.gz") for number in (1, 2)]
    (folder / "p1.ctbl").write_text("1 Liver 1 2 3 255\n2 Spleen 4 5 6 255\n")
    (folder / "p2.ctbl").write_text("1 spleen 4 5 6 255\n2 liver 1 2 3 255\n")
    for renumber in (True, False):
        with pytest.raises(InputError, match=r"beside them number their structures .*\(Liver am"):
            found_structures(files, renumber=renumber)
    (folder / "p2.ctbl").write_text("1 Kidney 4 5 6 255\n")
    with pytest.raises(
        InputError, match=r"differently \(Liver among them\).*the same value in all"
    ):
        found_structures(files, renumber=True)


def test_segments_take_the_numbers_of_label_maps(tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    files = [label_map(folder / "p1.nii.gz"), folder / "p2.seg.nrrd"]
    (folder / "p1.ctbl").write_text("1 Liver 1 2 3 255\n2 Spleen 4 5 6 255\n")
    segments = [
        {"Name": name, "LabelValue": str(value)}
        for value, name in enumerate(("Heart", "Spleen", "Liver"), start=1)
    ]
    write_seg_nrrd(files[1], np.array([[[1, 2, 3]]], np.uint8), segments)
    names = found_structures(files, renumber=True)
    assert names == {"Liver": 1, "Spleen": 2, "Heart": 3}
    found = [read_segmentation(file, names=names).labels for file in files]
    assert [one.array.ravel().tolist() for one in found] == [[0, 1, 2], [3, 2, 1]]


def test_values_of_any_size(tmp_path: Path) -> None:
    file = label_map(tmp_path / "labels" / "p1.nii.gz", (0, 17, 1035), "i2")
    (tmp_path / "lut.txt").write_text(FREESURFER)
    found = read_segmentation(file)
    assert found.labels.array.ravel().tolist() == [0, 17, 1]
    assert found.names == {17: "Left-Hippocampus", 1: "ctx-lh-insula"}
    assert found_structures([file], renumber=False) == {
        "Left-Hippocampus": 17,
        "ctx-lh-insula": 1035,
    }


def test_a_volume_without_any_has_no_names(tmp_path: Path) -> None:
    write_volume(tmp_path / "p1.nii", Volume(np.ones((1, 2, 3), np.uint8), np.eye(4)))
    found = read_segmentation(tmp_path / "p1.nii")
    assert (found.names, found.colours) == ({}, {})
