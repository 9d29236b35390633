"""A benchmark reads files with two placements as its runs do, in every part of it."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from benchmark_cases import merge, run_tiny, tiny_content, write_spec
from tiny_cases import two_placements

from napari_uda.data.volume import read_volume
from napari_uda.experiments.picture_parts import choose_slice, drawn_cases
from napari_uda.experiments.plan import plan
from napari_uda.experiments.results import collect
from napari_uda.experiments.spec import Pictures, read_spec
from napari_uda.experiments.store import Store


def test_pictures_and_the_position_prior_read_as_the_runs_do(
    two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    source, target = (
        two_placements(folder, tmp_path / name)
        for folder, name in zip(two_domains, ("source", "target"), strict=True)
    )
    content = tiny_content((source, target), rows=[{"name": "a", "method": "source_only"}], steps=1)
    content |= {"position_prior": True}
    content["settings"] = merge(content["settings"], {"data": {"placement": "qform"}})
    spec = read_spec(write_spec(tmp_path / "spec.yaml", content))
    out = tmp_path / "out"
    assert not run_tiny(spec, out).failed
    (found,) = collect(spec, plan(spec, out), Store(out))
    drawn = drawn_cases(found, Pictures())
    assert {case.placement for case in drawn} == {"qform"}
    cut = choose_slice(drawn[0])
    labels = cut.take(found.rows[1].predictions[0] / "target_0_labels.nii.gz", labels=True)
    assert labels.shape == cut.image.shape
    priors = (tmp_path / "out").glob("runs/position_prior_*/target_0_labels.nii.gz")
    (prior,) = priors
    moved = nib.load(target / "images" / "target_0.nii.gz").get_qform()[:3, 3]
    np.testing.assert_allclose(
        read_volume(prior, placement="qform").affine[:3, 3], moved, atol=1e-4
    )
