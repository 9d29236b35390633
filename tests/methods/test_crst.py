"""crst and ebm: labels of a round, what a round changes, and what the settings switch off."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from method_cases import CPU, Bench, bench
from tiny_cases import assert_same_tensors, changed, snapshot

from napari_uda.api import build_config, iterate
from napari_uda.core.errors import InputError
from napari_uda.data.spatial import move, move_nearest
from napari_uda.losses.pseudo_label import IGNORED
from napari_uda.methods.crst import EBM
from napari_uda.run import checkpoint
from napari_uda.run.run import Run

Domains = tuple[Path, Path]
ROTATED = {"spatial": {"rotation_deg": 20.0}}


def stand_of(domains: Domains, cache: Path, name: str = "crst", **settings: Any) -> Bench:
    return bench(name, domains, cache, **settings)


def test_labels_are_made_at_the_start_of_each_round_alone(
    two_domains: Domains, tmp_path: Path
) -> None:
    stand = stand_of(two_domains, tmp_path, steps=7)
    rounds, momenta = [], []
    for _ in range(6):
        before = stand.method.labeller.labels
        stand.method.before_step(stand.data, stand.runtime)
        momenta.append(len(stand.runtime._optimizers["segmentor"].state))
        rounds.append(
            (int(stand.method.labeller.round), stand.method.labeller.labels is not before)
        )
        stand.step()
    # three rounds of seven steps; the optimiser begins anew in each of them
    new = [True, False, False, True, False, True]
    assert rounds == list(zip([0, 0, 0, 1, 1, 2], new, strict=True))
    assert [count == 0 for count in momenta] == new
    stand.step()
    assert not stand.method.labeller.labels.numel()  # a finished run holds no labels of the target


def test_labels_move_with_their_slices(two_domains: Domains, tmp_path: Path) -> None:
    stand = stand_of(two_domains, tmp_path, augment=ROTATED)
    stand.method.before_step(stand.data, stand.runtime)
    batch = stand.data.batch(0, CPU).unlabelled()
    assert batch.matrices is not None
    stored = stand.method.labeller.labels[batch.index]
    image = stand.data.target.image(batch.index.numpy())
    moved, label = move(image, stored.long(), batch.matrices)
    torch.testing.assert_close(moved, batch.image)
    assert label is not None
    found = stand.method.labeller.of(batch)
    assert torch.equal(found.sum(1) == 0, label == IGNORED)
    assert torch.equal(found.argmax(1)[label != IGNORED], label[label != IGNORED])
    assert torch.equal(move_nearest(stored[:, None], batch.matrices)[:, 0].long(), label)


@pytest.mark.parametrize("alpha", [0.0, 0.25])
def test_a_stop_in_the_middle_of_a_round_changes_nothing(
    alpha: float, two_domains: Domains, tmp_path: Path
) -> None:
    method = {"labels": {"rounds": 2, "alpha": alpha, "rare_share": 0.5}, "source_share": 0.5}
    config = stand_of(two_domains, tmp_path, steps=6, augment=ROTATED, method=method).config
    whole, parts = (Run.create(tmp_path / folder, config) for folder in ("whole", "parts"))
    for _ in iterate(whole):
        pass
    stop = threading.Event()
    stop.set()
    for _ in range(5):  # one step each
        for _ in iterate(Run.open(parts.path), stop=stop):
            pass
    kept = checkpoint.load_weights(parts.checkpoints / checkpoint.WEIGHTS)
    assert kept["labeller.labels"].dim() == (4 if alpha else 3)
    for _ in iterate(Run.open(parts.path)):
        pass
    for file in (checkpoint.WEIGHTS, checkpoint.STATE):
        first, second = (checkpoint.load_weights(r.checkpoints / file) for r in (whole, parts))
        assert_same_tensors(first, second)


def test_a_round_labels_the_surest_share_of_each_class(
    two_domains: Domains, tmp_path: Path
) -> None:
    stand = stand_of(two_domains, tmp_path, method={"labels": {"first_share": 0.3}})
    stand.method.before_step(stand.data, stand.runtime)
    labeller = stand.method.labeller
    with torch.no_grad():
        image = stand.data.target.image(np.arange(len(stand.data.target)))
        probability = stand.method.eval().predict(image).softmax(1)
    confidence, predicted = (v.flatten()[::4] for v in probability.max(1))
    for index in predicted.unique():
        found = confidence[predicted == index]
        kept = (found >= labeller.thresholds[index]).float().mean()
        assert abs(float(kept) - 0.3) <= 1 / len(found) + 1e-6
    ratio, label = (probability / labeller.thresholds.view(-1, 1, 1)).max(1)
    assert torch.equal(labeller.labels == IGNORED, ratio < 1)
    assert torch.equal(labeller.labels[ratio >= 1].long(), label[ratio >= 1])


def test_slices_with_rare_classes_come_more_often(two_domains: Domains, tmp_path: Path) -> None:
    labels = {"rare_share": 0.0, "rare_chance": 1.0}
    stand = stand_of(two_domains, tmp_path, batch_size=6, method={"labels": labels})
    stand.method.before_step(stand.data, stand.runtime)
    labeller = stand.method.labeller
    plain = stand.data.batch(0, CPU)
    chosen = stand.data.batch(0, CPU, choose=stand.method.choose_slices)
    assert torch.equal(plain.unlabelled().index, chosen.unlabelled().index)  # nothing is rare
    labeller.rare_slices[:] = False
    labeller.rare_slices[[2, 5]] = True
    chosen = stand.data.batch(0, CPU, choose=stand.method.choose_slices)
    assert set(chosen.unlabelled().index.tolist()) == {2, 5}
    assert torch.equal(plain.labelled().image, chosen.labelled().image)


def test_a_share_of_the_source_is_drawn_anew_in_each_round(
    two_domains: Domains, tmp_path: Path
) -> None:
    stand = stand_of(two_domains, tmp_path, steps=30, method={"source_share": 0.2})
    seen: dict[int, set[int]] = {0: set(), 1: set(), 2: set()}
    for step in range(30):
        stand.runtime.step = step
        stand.method._source_slices = stand.method._of_round(18, stand.runtime)
        chosen = stand.method.choose_slices("source", np.arange(18), [])
        seen[step // 10] |= set(chosen.tolist())
    assert [len(slices) for slices in seen.values()] == [4, 4, 4]
    assert seen[0] != seen[1]


def test_without_labels_it_is_source_only(two_domains: Domains, tmp_path: Path) -> None:
    off = {"pseudo_weight": 0, "kl_weight": 0, "batch_norm": "adapt"}
    stand = stand_of(two_domains, tmp_path, method=off)
    plain = stand_of(two_domains, tmp_path, "source_only", init=stand.config.init)
    plain.method.segmentor.load_state_dict(stand.method.segmentor.state_dict())
    for _ in range(2):
        assert stand.step().keys() == plain.step().keys() == {"segmentation"}
    assert_same_tensors(snapshot(stand.method.segmentor), snapshot(plain.method.segmentor))


def test_without_energy_ebm_is_crst(two_domains: Domains, tmp_path: Path) -> None:
    crst = stand_of(two_domains, tmp_path)
    ebm = stand_of(two_domains, tmp_path, "ebm", method={"energy_weight": 0})
    for _ in range(2):
        assert ebm.step() == crst.step()
    assert_same_tensors(snapshot(ebm.method.segmentor), snapshot(crst.method.segmentor))
    assert not changed(snapshot(crst.method.labeller), ebm.method.labeller)


def test_the_reference_of_the_energy_follows_the_source(
    two_domains: Domains, tmp_path: Path
) -> None:
    stand = stand_of(two_domains, tmp_path, "ebm")
    first = stand.step()["energy_source"]
    assert stand.method.source_energy == first
    second = stand.step()["energy_source"]
    expected = 0.99 * first + 0.01 * second
    assert float(stand.method.source_energy) == pytest.approx(float(expected), rel=1e-6)


def test_raw_energy_is_guarded(two_domains: Domains, tmp_path: Path) -> None:
    raw = {"energy_form": "raw", "segmentor_optimizer": {"weight_decay": 0}}
    with pytest.raises(InputError, match="raw needs a weight_decay"):
        build_config("ebm", method=raw)
    stand = stand_of(two_domains, tmp_path, "ebm", method={"energy_form": "raw"})
    assert isinstance(stand.method, EBM)
    logs = stand.step()
    assert logs["energy"] == pytest.approx(0.05 * float(logs["energy_target"]))
    with torch.no_grad():
        stand.method.segmentor.head.bias += 60
    with pytest.raises(InputError, match=r"mean logit of the target is [56].*centred_hinge"):
        stand.step()


def test_batch_normalisation_keeps_its_statistics(two_domains: Domains, tmp_path: Path) -> None:
    stand = stand_of(two_domains, tmp_path)
    before = snapshot(stand.method)
    stand.step()
    assert not [name for name in changed(before, stand.method) if "running_" in name]
