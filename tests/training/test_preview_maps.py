"""Maps that a method shows of its own: in the preview's file, as its reader gives them, and what they hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from method_cases import bench
from tiny_cases import small_config

from napari_uda.api import iterate
from napari_uda.losses.pseudo_label import IGNORED
from napari_uda.run.folder import PreviewRequest, SlicePlace
from napari_uda.run.reader import RunReader
from napari_uda.run.run import Run

Domains = tuple[Path, Path]
OWN = {
    "crst": "labels.pseudo-labels",
    "mpscl": "labels.nearest prototype",
    "mean_teacher": "labels.sure labels",
}


@pytest.mark.parametrize("name", OWN)
def test_maps_of_a_methods_own_are_read_as_label_values(
    name: str, two_domains: Domains, tmp_path: Path
) -> None:
    run = Run.create(tmp_path / "run", small_config(name, *two_domains, steps=2))
    places = (SlicePlace("target", "target_1", 2), SlicePlace("source", "source_0", 3))
    run.ask_for_previews(PreviewRequest(places, seconds=0))
    training = iterate(run)
    next(training)  # while it trains: a finished run of crst keeps no labels
    preview = RunReader(run.path).look().preview
    training.close()
    assert preview is not None
    found = preview.maps[OWN[name]]
    assert found.shape == (2, 32, 32)
    assert set(np.unique(found)) <= {0, 1, 3, IGNORED}  # values of the data set, not classes
    if name == "crst":
        assert (found[1] == IGNORED).all()  # the source has no pseudo-labels
        assert 0 < (found[0] != IGNORED).mean() < 1


@pytest.mark.parametrize("share", [0, 1])
def test_slices_are_shown_as_they_are_trained_on(
    share: int, two_domains: Domains, tmp_path: Path
) -> None:
    augment = {"structures": {"share": share}}
    config = small_config("adaptsegnet", *two_domains, steps=2, augment=augment)
    run = Run.create(tmp_path / "run", config)
    places = (SlicePlace("target", "target_1", 2), SlicePlace("source", "source_0", 3))
    run.ask_for_previews(PreviewRequest(places, seconds=0))
    training = iterate(run)
    next(training)
    preview = RunReader(run.path).look().preview
    training.close()
    assert preview is not None
    if not share:
        assert "grey.as trained on" not in preview.maps
        return
    shown, given = preview.maps["grey.as trained on"], preview.maps["input"]
    np.testing.assert_array_equal(shown[0], given[0])  # nothing changes a target slice here
    assert np.abs(shown[1] - given[1]).mean() > 0.01


def test_soft_labels_are_shown_by_the_most_probable_class(
    two_domains: Domains, tmp_path: Path
) -> None:
    stand = bench("crst", two_domains, tmp_path, method={"labels": {"alpha": 0.25}})
    stand.method.before_step(stand.data, stand.runtime)
    soft = stand.method.labeller.labels[4]
    image = torch.zeros(1, 1, 32, 32)
    (shown,) = stand.method.preview_maps(image, "target", 4).values()
    assert torch.equal(shown == IGNORED, soft.sum(0) == 0)
    kept = shown != IGNORED
    assert torch.equal(shown[kept].long(), soft.argmax(0)[kept])
