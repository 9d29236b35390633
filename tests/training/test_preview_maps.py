"""Maps that a method shows of its own: in the preview's file, as its reader gives them, and what they hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
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
    "sifa_v2": "grey.there and back",
    "cycada": "grey.source-like",
}


@pytest.mark.parametrize("name", OWN)
def test_maps_of_a_methods_own_are_read_as_they_are_named(
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
    if OWN[name].startswith("grey."):
        assert found.dtype == np.float32
        assert -1 <= found.min() < found.max() <= 1
    else:  # values of the data set, not classes
        assert set(np.unique(found)) <= {0, 1, 3, IGNORED}
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


@pytest.mark.parametrize("name", ["cyclegan", "sifa_v1"])
def test_slices_there_and_back_are_those_of_both_generators(
    name: str, two_domains: Domains, tmp_path: Path
) -> None:
    stand = bench(name, two_domains, tmp_path, data={"neighbours": 3})
    method, store = stand.method.eval(), stand.data.source
    image = store.image(np.array([3]))
    there, back = method.translator.generators.values()
    assert [*method.translator.generators] == ["source_to_target", "target_to_source"]
    with torch.no_grad():
        middle = there(image[:, 1:2])
        if name == "cyclegan":
            expected = back(middle)
            other = there(back(image[:, 1:2]))
        else:
            expected = back(method.segmentor(middle.expand(-1, 3, -1, -1)).features, middle)
            seen = image[:, 1:2].expand(-1, 3, -1, -1)
            other = there(back(method.segmentor(seen).features, image[:, 1:2]))
        of_source = method.preview_maps(image, "source", 3)["grey.there and back"]
        of_target = method.preview_maps(image, "target", 3)["grey.there and back"]
    torch.testing.assert_close(of_source, expected[0, 0])
    torch.testing.assert_close(of_target, other[0, 0])


def test_cosines_of_prototypes_are_a_matrix_of_blocks(two_domains: Domains, tmp_path: Path) -> None:
    method = bench("mpscl", two_domains, tmp_path).method.eval()
    method.prototypes.zero_()
    method.prototypes[0, 0] = 2
    method.prototypes[1, :2] = 1  # 45 degrees to the first; the third class has not been met
    method.known[:2] = True
    with torch.no_grad():
        found = method.preview_maps(torch.rand(1, 1, 32, 32), "target", 0)
    shown = found["grey.cosines of prototypes"].flip(0, 1)  # as on the screen
    half = 0.5**0.5
    wanted = torch.tensor([[1, half, -1], [half, 1, -1], [-1, -1, -1]])
    for row in range(3):
        for column in range(3):
            at = (row * 32 + 16) // 3, (column * 32 + 16) // 3
            assert float(shown[at]) == pytest.approx(float(wanted[row, column]), abs=1e-6)
    assert found["labels.nearest prototype"].shape == shown.shape == (32, 32)


@pytest.mark.parametrize("name", ["cycada", "sifa_v2", "mpscl"])
def test_discriminators_show_which_pixels_they_take_for_the_source(
    name: str, two_domains: Domains, tmp_path: Path
) -> None:
    method = bench(name, two_domains, tmp_path).method.eval()
    image = torch.rand(1, 1, 32, 32) * 2 - 1
    (network, *_) = method.adversary.discriminators.values()
    scores = []
    network.register_forward_hook(lambda module, inputs, output: scores.append(output))
    with torch.no_grad():
        shown = method.preview_maps(image, "target", 0)["grey.source-like"]
        method.preview_maps(image, "source", 0)
    of_target, of_source = (F.interpolate(score, size=(32, 32))[0, 0] for score in scores)
    ls = name == "sifa_v2"
    wanted = 2 * of_target.clamp(0, 1) - 1 if ls else (of_target / 2).tanh()
    torch.testing.assert_close(shown, wanted)
    # a method that learns from translated slices judges them, too
    assert torch.equal(of_source, of_target) == (name == "mpscl")
