"""Label values above 255: listed, and read as small numbers where they are named."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_uda.core.errors import InputError
from napari_uda.data.segmentation import read_segmentation
from napari_uda.data.segments import small_values
from napari_uda.data.volume import read_labels

VALUES = [0, 17, 205, 420, 500, 600, 1035, 2035, 65000, 70000, 99999, 100000, 123456]


def save(path: Path, values: list[int], dtype: str = "i4") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.array(values, dtype).reshape(-1, 1, 1)
    nib.save(nib.Nifti1Image(array, np.eye(4), dtype=array.dtype), path)
    return path


@pytest.mark.parametrize("dtype", ["i4", "u4", "i8", "f4", "f8"])
def test_they_are_listed(tmp_path: Path, dtype: str) -> None:
    with pytest.raises(InputError) as caught:
        read_labels(save(tmp_path / "a.nii", VALUES, dtype))
    assert str(caught.value).startswith(
        "a.nii: holds label values above 255 (420, 500, 600, 1035, 2035, 65000, 70000, 99999 and 2 more); name those"
    )


@pytest.mark.parametrize("dtype", ["i4", "f4"])
def test_named_ones_become_small(
    tmp_path: Path, dtype: str, caplog: pytest.LogCaptureFixture
) -> None:
    names = {"LV": 500, "MYO": 205, "RV": 600, "huge": 100000, "background": 0}
    assert small_values(names) == {"LV": 1, "RV": 2, "huge": 3, "MYO": 205}
    found = read_segmentation(save(tmp_path / "a.nii", VALUES, dtype), names=names)
    assert found.labels.array.dtype == np.uint8
    assert found.labels.array.ravel().tolist() == [0, 0, 205, 0, 1, 2, 0, 0, 0, 0, 0, 3, 0]
    assert found.names == {1: "LV", 2: "RV", 3: "huge", 205: "MYO"}
    assert (
        "label values 17, 420, 1035, 2035, 65000, 70000, 99999, 123456 have no name" in caplog.text
    )


def test_small_numbers_do_not_meet_stored_ones(tmp_path: Path) -> None:
    names = {"a": 1, "b": 2, "c": 1000, "d": 4}
    assert small_values(names) == {"a": 1, "b": 2, "c": 3, "d": 4}
    file = save(tmp_path / "a.nii", [1, 2, 3, 4, 1000])
    assert read_labels(file, names=names).array.ravel().tolist() == [1, 2, 0, 4, 3]
    written = save(tmp_path / "p.nii", [1, 2, 3, 4, 0])
    kept = read_segmentation(written, names=names, numbered=True)
    assert kept.labels.array.ravel().tolist() == [1, 2, 3, 4, 0]
    with pytest.raises(InputError, match="256 structures are named, and 255 fit"):
        small_values({str(value): value for value in range(1, 257)})


def test_other_faults_are_still_told(tmp_path: Path) -> None:
    names = {"a": 1000}
    for values, said in (([0.5, 1000], "0.5 is not a whole"), ([-1, 1000], "-1 is outside")):
        with pytest.raises(InputError, match=said):
            read_labels(save(tmp_path / "a.nii", values, "f4"), names=names)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"above 255 \(1000\)"):
        read_labels(save(tmp_path / "a.nii", [0, 1000]), names={"a": 1})
