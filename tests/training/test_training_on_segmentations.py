"""Training reads labels of every kind: by name, with label values of any size, on the image's grid."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from segmentation_files import write_seg_nrrd
from tiny_cases import blob_case, small_config

from napari_uda.data.volume import write_volume
from napari_uda.methods.registry import METHODS
from napari_uda.training.load import load_training_data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two cases, labelled 1 and 3 for inner and outer."""
    root = tmp_path / "data"
    for number in range(2):
        image, labels = blob_case(f"p{number}", number, bright=True)
        write_volume(root / "images" / f"p{number}.nii.gz", image)
        write_volume(root / "labels" / f"p{number}.nii.gz", labels)
    return root


def loaded(folder: Path, cache: Path, **data: object) -> tuple[dict[str, int], np.ndarray]:
    config = small_config("source_only", folder, folder, data={"validation_fraction": 0.0, **data})
    found = load_training_data(config, METHODS["source_only"], cache=cache)
    assert found.source is not None
    assert found.source.labels is not None
    return found.facts.labels, np.array(found.source.labels)


def test_large_values_and_names_give_the_same_slices(folder: Path, tmp_path: Path) -> None:
    labels, expected = loaded(folder, tmp_path / "cache")
    assert labels == {"label_1": 1, "label_3": 3}
    names = {"inner": 1000, "outer": 2000}
    for number in range(2):
        file = folder / "labels" / f"p{number}.nii.gz"
        image = nib.load(file)
        array = np.asarray(image.dataobj)
        large = np.select([array == 1, array == 3], [1000, 2000], 0).astype(np.int16)
        nib.save(nib.Nifti1Image(large, image.affine), file)
    given, slices = loaded(folder, tmp_path / "cache", labels=names)
    assert given == {"inner": 1, "outer": 2}
    assert (slices == expected).all()
    (folder / "dataset.json").write_text(json.dumps({"labels": {"background": 0, **names}}))
    given, slices = loaded(folder, tmp_path / "cache")
    assert given == {"inner": 1, "outer": 2}
    assert (slices == expected).all()


def test_segments_that_files_number_differently(folder: Path, tmp_path: Path) -> None:
    _, expected = loaded(folder, tmp_path / "cache")
    for number, values in enumerate(((7, 9), (2, 1))):
        image, labels = blob_case(f"p{number}", number, bright=True)
        (folder / "labels" / f"p{number}.nii.gz").unlink()
        array = np.select([labels.array == 1, labels.array == 3], values, 0).astype(np.uint8)
        segments = [
            {"Name": "inner", "LabelValue": str(values[0])},
            {"Name": "Outer", "LabelValue": str(values[1])},
        ]
        y, x = 4, 5  # cropped: no structure reaches there
        lps = image.affine @ np.array([x, y, 0, 1]) * (-1, -1, 1, 1)
        file = folder / "labels" / f"p{number}.seg.nrrd"
        write_seg_nrrd(file, array[:, y:, x:], segments, lps[:3], image.spacing_mm[::-1])
        header = file.read_bytes()
        assert (image.affine[:3, :3] > -1e-9).all()
        file.write_bytes(header.replace(b"(1.5,0,0) (0,1.5,0)", b"(-1.5,0,0) (0,-1.5,0)"))
    given, slices = loaded(folder, tmp_path / "cache")
    assert given == {"inner": 1, "Outer": 2}
    assert (slices == expected).all()
