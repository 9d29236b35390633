"""mpscl: where its prototypes come from, who moves them, and what is left without contrasts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from method_cases import CPU, bench
from tiny_cases import LABELS, assert_same_tensors, snapshot

from napari_uda.losses.prototype import resize_nearest

Domains = tuple[Path, Path]


def test_first_prototypes_are_means_over_the_whole_source(
    two_domains: Domains, tmp_path: Path
) -> None:
    stand = bench("mpscl", two_domains, tmp_path)
    stand.method.before_step(stand.data, stand.runtime)
    store = stand.data.source
    everything = np.arange(len(store))
    with torch.no_grad():
        found = stand.method.eval().segmentor(store.image(everything)).features
    label = resize_nearest(store.label(everything), (16, 16))
    for index in range(len(LABELS) + 1):
        mean = found.movedim(1, -1)[label == index].mean(0)
        torch.testing.assert_close(stand.method.prototypes[index], mean, rtol=1e-4, atol=1e-5)
    assert stand.method.known.all()


def test_prototypes_follow_the_batch_of_the_source(two_domains: Domains, tmp_path: Path) -> None:
    stand = bench("mpscl", two_domains, tmp_path)
    stand.method.before_step(stand.data, stand.runtime)
    old = stand.method.prototypes.clone()
    label = torch.zeros(1, 2, 2, dtype=torch.long)
    label[0, 0, 0] = 2  # class 1 is absent
    maps = torch.rand(1, old.shape[1], 2, 2, requires_grad=True)
    stand.method._move_prototypes(maps, label)
    new = stand.method.prototypes
    assert torch.equal(new[1], old[1])
    torch.testing.assert_close(new[2], 0.2 * old[2] + 0.8 * maps[0, :, 0, 0])
    rest = (maps[0, :, 0, 1] + maps[0, :, 1, 0] + maps[0, :, 1, 1]) / 3
    torch.testing.assert_close(new[0], 0.2 * old[0] + 0.8 * rest)
    assert not new.requires_grad


@pytest.mark.parametrize(
    "off", [{"source_contrast_weight": 0, "target_contrast_weight": 0}, {"warmup_steps": 9}]
)
def test_without_contrasts_it_is_advent(
    off: dict[str, int], two_domains: Domains, tmp_path: Path
) -> None:
    adversary = {"adversary": {"discriminator": "patch_bn", "width": 4}}
    stand = bench("mpscl", two_domains, tmp_path, method={**adversary, **off})
    advent = bench("advent", two_domains, tmp_path, method=adversary)
    for _ in range(2):
        assert stand.step() == advent.step()
    own, other = snapshot(stand.method), snapshot(advent.method)
    assert_same_tensors({name: own[name] for name in other}, other)
    assert not own["prototypes"].any()


def test_a_gap_that_nobody_reaches_teaches_nothing_of_the_target(
    two_domains: Domains, tmp_path: Path
) -> None:
    stand = bench("mpscl", two_domains, tmp_path, method={"gap": 2})
    logs = stand.step()
    assert logs["contrast_target"] == 0
    assert {float(logs[f"accepted_share_{index}"]) for index in range(3)} == {0}
    batch = stand.data.batch(0, CPU)
    accepting = bench("mpscl", two_domains, tmp_path, method={"gap": 0})
    accepting.method.before_step(accepting.data, accepting.runtime)
    logs = accepting.method.step(batch, accepting.runtime)
    assert logs["contrast_target"] > 0
    total = sum(float(logs[f"accepted_share_{index}"]) for index in range(3))
    assert total == pytest.approx(1, abs=0.01)  # but for ties
