"""What is particular to cycada: its stages, the gate, and two steps of the segmentor."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from method_cases import CPU, Bench, bench
from tiny_cases import assert_same_tensors, changed, metric_lines, small_config, snapshot

from napari_uda.api import iterate
from napari_uda.core.errors import InputError
from napari_uda.networks.discriminator import PixelDiscriminator
from napari_uda.networks.dropout import Dropout, dropping
from napari_uda.run import checkpoint
from napari_uda.run.run import Run

Domains = tuple[Path, Path]
STAGED = {"joint": False, "translation_steps": 1, "supervised_steps": 1, "gate_accuracy": 0.6}


def _stand(domains: Domains, cache: Path, **method: Any) -> Bench:
    settings = {**STAGED, "translator": {"structure_every": 0}, **method}
    return bench("cycada", domains, cache, method=settings)


def _steps(stand: Bench) -> list[tuple[str, ...]]:
    """Players of every later call of `minimise`, in order."""
    calls: list[tuple[str, ...]] = []
    minimise = stand.runtime.minimise

    def counted(terms: dict[str, torch.Tensor], *players: str) -> dict[str, torch.Tensor]:
        calls.append((*players, *terms))
        return minimise(terms, *players)

    stand.runtime.minimise = counted  # type: ignore[method-assign]
    return calls


def test_the_pixel_discriminator_and_its_two_way_loss() -> None:
    torch.manual_seed(0)
    network = PixelDiscriminator(3, 8)
    maps = torch.randn(2, 3, 5, 4)
    score = network(maps)
    two = network.layers(maps)
    labels = torch.ones(2, 5, 4, dtype=torch.int64)
    expected = F.cross_entropy(two, labels)
    found = F.binary_cross_entropy_with_logits(score, torch.ones_like(score))
    torch.testing.assert_close(found, expected)
    shapes = [tuple(p.shape[:2]) for n, p in network.named_parameters() if n.endswith("weight")]
    assert shapes == [(8, 3), (4, 8), (2, 4)]


def test_dropout_depends_on_the_sample_alone() -> None:
    features = torch.ones(4, 3, 8, 8)
    for channels in (False, True):
        layer = Dropout(0.25, channels=channels)
        assert torch.equal(layer(features), features)  # nobody gave it generators
        with dropping([np.random.default_rng(i) for i in range(4)], layer):
            whole = layer(features)
        with dropping([np.random.default_rng(i) for i in (2, 3)], layer):
            half = layer(features[2:])
        assert torch.equal(whole[2:], half)
        torch.testing.assert_close(whole.unique(), torch.tensor([0, 4 / 3]))
        per_channel = whole.flatten(2)
        alike = bool((per_channel == per_channel[..., :1]).all())
        assert alike == channels
        layer.eval()
        with dropping([np.random.default_rng(0)], layer):
            assert torch.equal(layer(features), features)


def test_one_stage_after_the_other(two_domains: Domains, tmp_path: Path) -> None:
    stand = _stand(two_domains, tmp_path)
    calls = _steps(stand)
    stand.step()  # stage 1: the generators learn, and the segmentor follows them
    assert [c[0] for c in calls] == [
        *("generators", "discriminator_source", "discriminator_target", "segmentor")
    ]
    calls.clear()
    stand.step()  # stage 2
    assert calls == [("segmentor", "segmentation")]
    calls.clear()
    stand.method.adversary.accuracies.fill_(1.0)
    stand.step()  # stage 3
    assert calls == [
        ("discriminator_score", "discriminator_score"),
        ("segmentor", "adversarial"),
        ("segmentor", "segmentation"),
    ]


def test_a_closed_gate_leaves_the_segmentor_alone(two_domains: Domains, tmp_path: Path) -> None:
    stand = _stand(two_domains, tmp_path, translation_steps=1, supervised_steps=0)
    stand.step()
    stand.method.adversary.accuracies.fill_(0.5)
    before = snapshot(stand.method)
    logs = stand.step()
    moved = changed(before, stand.method)
    assert {name.partition(".")[0] for name in moved} == {"adversary"}
    assert logs.keys() == {"discriminator_score", "discriminator_accuracy"}
    assert stand.method.adversary.accuracies[-1] == logs["discriminator_accuracy"]


def test_the_gate_opens_above_the_mean_of_the_window(two_domains: Domains, tmp_path: Path) -> None:
    method = _stand(two_domains, tmp_path, gate_window=4).method.adversary
    assert method.accuracies.tolist() == [-1] * 4
    for window, is_open in (
        ([-1, -1, -1, 0.7], True),  # of what there is
        ([-1, -1, 0.4, 0.7], False),
        ([0.9, 0.9, 0.4, 0.1], False),
        ([0.9, 0.9, 0.4, 0.4], True),
    ):
        method.accuracies = torch.tensor(window)
        assert method.is_open(0.6) == is_open


def test_one_step_on_the_sum_if_asked(two_domains: Domains, tmp_path: Path) -> None:
    stand = _stand(
        two_domains, tmp_path, supervised_steps=0, separate_updates=False, gate_accuracy=0
    )
    stand.step()
    calls = _steps(stand)
    stand.step()
    assert calls[1:] == [("segmentor", "adversarial", "segmentation")]


def test_without_alignment_it_is_cyclegan(two_domains: Domains, tmp_path: Path) -> None:
    both = {"translator": {"structure_every": 0}}
    other = bench("cyclegan", two_domains, tmp_path, method=both)
    stand = _stand(two_domains, tmp_path, adversarial_weight=0, translation_steps=2)
    for _ in range(2):
        assert stand.step() == other.step()
    names = other.method.state_dict().keys()
    assert_same_tensors(
        {k: v for k, v in snapshot(stand.method).items() if k in names}, snapshot(other.method)
    )


def test_semantic_consistency_by_hand(two_domains: Domains, tmp_path: Path) -> None:
    stand = _stand(two_domains, tmp_path, semantic_weight=2.0, translation_steps=9)
    method = stand.method
    method.before_step(stand.data, stand.runtime)
    start = {f"start.{k}": v for k, v in snapshot(method.segmentor).items()}
    assert_same_tensors(
        start, {k: v for k, v in snapshot(method).items() if k.startswith("start.")}
    )
    batch = stand.data.batch(0, CPU)
    x_s, x_t = batch.labelled().image, batch.unlabelled().image
    method.start.eval()
    with torch.no_grad():
        expected = torch.zeros(())
        for image, direction in ((x_s, "source_to_target"), (x_t, "target_to_source")):
            wanted = method.start(image).logits.argmax(1)
            fake = method.translator.translate(image, direction)
            expected += 2 * F.cross_entropy(method.start(fake).logits, wanted)
    method.start.train()
    logs = stand.step()
    torch.testing.assert_close(logs["semantic"], expected)
    stand.step()
    kept = {k: v for k, v in snapshot(method).items() if k.startswith("start.")}
    assert_same_tensors(start, kept)  # frozen, its statistics too


def test_what_cannot_become_a_model_is_refused(two_domains: Domains, tmp_path: Path) -> None:
    def train(**method: Any) -> None:
        config = small_config("cycada", *two_domains, steps=2, method={**STAGED, **method})
        for _ in iterate(Run.create(tmp_path / str(len(list(tmp_path.iterdir()))), config)):
            pass

    with pytest.raises(InputError, match="translation_steps is 0 and no trained generators"):
        train(translation_steps=0)
    with pytest.raises(InputError, match="are 2 of 2 steps and leave none"):
        train()
    config = small_config("cycada", *two_domains, method={"semantic_weight": 1})
    with pytest.raises(InputError, match="cycada starts from a trained run"):
        for _ in iterate(Run.create(tmp_path / "alone", config.model_copy(update={"init": None}))):
            pass


@pytest.mark.slow
def test_the_window_survives_a_stop_in_stage_3(two_domains: Domains, tmp_path: Path) -> None:
    settings = {"steps": 5, "method": {**STAGED, "gate_accuracy": 0.5}}
    runs = []
    for stopped_after in (0, 4):
        run = Run.create(
            tmp_path / str(stopped_after), small_config("cycada", *two_domains, **settings)
        )
        stop = threading.Event()
        for progress in iterate(run, stop=stop):
            if progress.step == stopped_after - 1:
                stop.set()
        for _ in iterate(Run.open(run.path)):
            pass
        runs.append(run)
    whole, parts = (checkpoint.load_weights(r.checkpoints / checkpoint.WEIGHTS) for r in runs)
    assert_same_tensors(whole, parts)
    assert int((whole["adversary.accuracies"] >= 0).sum()) == 3
    assert metric_lines(runs[0]) == metric_lines(runs[1])
