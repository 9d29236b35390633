"""mean_teacher: who follows whom, what the student sees, and which labels count."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from method_cases import CPU, Bench, bench
from tiny_cases import assert_same_tensors, changed, small_config, snapshot, without_checksums

from napari_uda.api import build_config, iterate, list_methods
from napari_uda.core.errors import InputError
from napari_uda.data.batches import Unlabelled
from napari_uda.data.case_shapes import CaseShapes
from napari_uda.data.mixing import half_of_the_structures, hidden_patches, strong_view
from napari_uda.losses.pseudo_label import soft_cross_entropy, weighted_pixel_loss
from napari_uda.networks.segmentor import SegmentorOutput
from napari_uda.players.plausibility import PlausibilityGate
from napari_uda.run import checkpoint
from napari_uda.run.run import Run
from napari_uda.training.validation import inconsistency

Domains = tuple[Path, Path]


def stand_of(domains: Domains, cache: Path, **method: Any) -> Bench:
    return bench("mean_teacher", domains, cache, method=method)


def test_the_teacher_is_no_player_and_follows_the_student(
    two_domains: Domains, tmp_path: Path
) -> None:
    stand = stand_of(two_domains, tmp_path, ema=0.6)
    assert stand.parameters_of("student") == {
        f"student.{name}" for name, _ in stand.method.student.named_parameters()
    }
    students, teachers = [], []
    for _ in range(4):
        stand.method.before_step(stand.data, stand.runtime)
        students.append(snapshot(stand.method.student))
        teachers.append(snapshot(stand.method.segmentor))
        stand.method.step(stand.data.batch(stand.runtime.step, CPU), stand.runtime)
        assert not changed(teachers[-1], stand.method.segmentor)  # a step moves the student alone
        stand.runtime.step += 1
    assert_same_tensors(teachers[0], students[0])
    for index, share in ((1, 0.5), (2, 0.6), (3, 0.6)):  # 1 - 1/2, then ema before 1 - 1/3
        for name, found in teachers[index].items():
            if found.is_floating_point():
                expected = share * teachers[index - 1][name] + (1 - share) * students[index][name]
                torch.testing.assert_close(found, expected)


def test_without_a_teacher_it_is_source_only(two_domains: Domains, tmp_path: Path) -> None:
    augmented = {"augment": {"intensity": "gin_ipa"}}
    off = bench("mean_teacher", two_domains, tmp_path, method={"pseudo_weight": 0}, **augmented)
    plain = bench("source_only", two_domains, tmp_path, **augmented)
    for _ in range(2):
        assert off.step() == plain.step()
    assert_same_tensors(snapshot(off.method.segmentor), snapshot(plain.method.segmentor))


def test_a_gate_that_nobody_passes_teaches_nothing(two_domains: Domains, tmp_path: Path) -> None:
    stand = stand_of(two_domains, tmp_path, confidence=1.0, mix="none")
    logs = stand.step()
    assert (float(logs["label_weight"]), float(logs["pseudo_label"])) == (0, 0)
    all_of_it = stand_of(two_domains, tmp_path, gate="none", mix="none")
    logs = all_of_it.step()
    assert float(logs["label_weight"]) == 1
    shares = [float(logs[f"accepted_share_{index}"]) for index in range(3)]
    assert sum(shares) == pytest.approx(1)
    assert min(shares) >= 0


def test_consistency_is_of_student_and_teacher_over_all_pixels(
    two_domains: Domains, tmp_path: Path
) -> None:
    stand = stand_of(two_domains, tmp_path, confidence=1.0)
    stand.step()
    stand.step()
    method = stand.method.eval()
    image, changed = torch.rand(2, 2, 1, 32, 32) * 2 - 1
    with torch.no_grad():
        wanted = method.segmentor(image).logits.argmax(1)
        said = method.student(changed).logits.softmax(1)
        loss = method.consistency_loss(image, changed)
    expected = -said.gather(1, wanted[:, None]).log().mean()
    torch.testing.assert_close(loss, expected)
    before = snapshot(method)
    method.train()
    first, second = (inconsistency(method, stand.data, stand.runtime) for _ in range(2))
    assert first == second > 0
    assert method.training
    assert_same_tensors(before, snapshot(method))


def test_weights_by_hand(two_domains: Domains, tmp_path: Path) -> None:
    stand = stand_of(two_domains, tmp_path, confidence=0.9)
    confidence = torch.tensor([[[0.95, 0.5], [0.9, 0.3]], [[0.1, 0.2], [0.3, 0.99]]])
    label = torch.tensor([[[0, 0], [1, 1]], [[0, 0], [1, 1]]])
    others = confidence[:, None], None, stand.runtime
    assert stand.method._weights(confidence, label, *others)[:, 0, 0].tolist() == [0.5, 0.25]
    stand = stand_of(two_domains, tmp_path, gate="per_class", gate_share=0.5)
    kept = stand.method._weights(confidence, label, *others)
    # of class 0 the two of 0.95 and 0.5, of class 1 those of 0.99 and 0.9
    assert kept.tolist() == [[[1, 1], [1, 0]], [[0, 0], [0, 1]]]


def test_reliable_labels_are_those_that_views_confirm(two_domains: Domains, tmp_path: Path) -> None:
    stand = stand_of(
        two_domains, tmp_path, gate="reliable", mix="none", reliability={"views": 1, "jitter": 0}
    )
    source, image = stand.data.batch(0, CPU).labelled(), torch.zeros(4, 1, 32, 32)
    stand.method.segmentor = calls = Votes([[1, 1, 0, 0], [1, 0, 1, 0]])  # random, then Fourier
    label = torch.ones(4, 32, 32, dtype=torch.long)
    sure = torch.ones(4, 32, 32)
    kept = stand.method._weights(sure, label, image, source, stand.runtime)
    assert kept[:, 0, 0].tolist() == [1, 0, 0, 0]
    assert not calls.answers
    calls.answers = [[1, 0, 1, 0]]  # without source slices there are no Fourier views
    kept = stand.method._weights(sure, label, image, None, stand.runtime)
    assert kept[:, 0, 0].tolist() == [1, 0, 1, 0]


class Votes(torch.nn.Module):
    """Calls each whole slice the class that was laid down for it, one list per call."""

    def __init__(self, answers: list[list[int]]) -> None:
        super().__init__()
        self.answers = answers

    def forward(self, image: torch.Tensor) -> SegmentorOutput:
        answer = torch.tensor(self.answers.pop(0))[:, None, None].expand(-1, *image.shape[2:])
        logits = torch.nn.functional.one_hot(answer, 3).movedim(-1, 1).float()
        return SegmentorOutput(logits, None, logits)


def test_the_teacher_follows_but_is_not_heard_while_the_student_is_alone(
    two_domains: Domains, tmp_path: Path
) -> None:
    alone = {"alone": 0.5, "gate": "none", "mix": "none"}
    stand = bench("mean_teacher", two_domains, tmp_path, method=alone, steps=8)
    plain = bench("source_only", two_domains, tmp_path, steps=8)
    for _ in range(4):
        logs, same = stand.step(), plain.step()
        assert "pseudo_label" not in logs
        assert float(logs["segmentation"]) == float(same["segmentation"])
    assert_same_tensors(snapshot(stand.method.student), snapshot(plain.method.segmentor))
    assert float(stand.step()["pseudo_label"]) > 0


def test_the_student_sees_structures_of_the_source_with_their_labels(
    two_domains: Domains, tmp_path: Path
) -> None:
    stand = stand_of(two_domains, tmp_path, student_intensity="none")
    batch = stand.data.batch(0, CPU)
    source, target = batch.labelled(), batch.unlabelled()
    given = torch.full_like(source.label, 7), torch.full(source.label.shape, 0.25)
    image, own, label, weight = strong_view(
        target.image, *given, source, stand.method.config, stand.runtime
    )
    assert 0 < int((~own).sum()) < own.numel()
    assert torch.equal(image[own[:, None]], target.image[own[:, None]])
    assert torch.equal(image[~own[:, None]], source.image[~own[:, None]])
    assert torch.equal(label[~own], source.label[~own])
    assert set(label[own].tolist()) == {7}
    assert set(weight[own].tolist()) == {0.25}
    assert set(weight[~own].tolist()) == {1.0}


def test_half_of_the_structures() -> None:
    label = torch.tensor([[[0, 1, 2, 3]], [[0, 0, 2, 2]], [[0, 0, 0, 0]]])
    for seed in range(5):
        chosen = half_of_the_structures(label, [np.random.default_rng(seed)] * 3)
        assert chosen.sum((1, 2)).tolist() == [2, 2, 0]
        assert not chosen[label == 0].any()


def test_hidden_patches_are_whole() -> None:
    generators = [np.random.default_rng(seed) for seed in range(20)]
    hidden = hidden_patches((32, 40), (0.5, 0.7), generators)
    patches = hidden.view(20, 8, 4, 8, 5).float().mean((2, 4))
    assert set(patches.unique().tolist()) == {0.0, 1.0}
    shares = hidden.float().mean((1, 2))
    assert 0.5 <= float(shares.min()) < 0.55
    assert 0.65 < float(shares.max()) <= 0.71


def test_losses_by_hand() -> None:
    logits = torch.tensor([[0.0, 2.0], [1.0, 0.0]]).view(1, 2, 1, 2).requires_grad_()
    p = logits.detach().softmax(1)[0, :, 0]
    weight = torch.tensor([[[0.5, 0.0]]])
    found = weighted_pixel_loss(logits, torch.tensor([[[1, 0]]]), weight)
    assert found.item() == pytest.approx(-0.5 * float(p[1, 0].log()) / 2)
    nothing = weighted_pixel_loss(logits, torch.tensor([[[1, 0]]]), 0 * weight)
    (slope,) = torch.autograd.grad(nothing, logits)
    assert (nothing.item(), float(slope.abs().max())) == (0, 0)
    entropy = -(p * p.log()).sum(0)
    same = soft_cross_entropy(logits, logits, torch.ones(1, 1, 2))
    assert same.item() == pytest.approx(float(entropy.mean()))


def test_the_anchor_is_the_network_it_starts_from(two_domains: Domains, tmp_path: Path) -> None:
    stand = stand_of(two_domains, tmp_path, anchor_weight=0.5)
    with torch.no_grad():
        stand.method.segmentor.head.bias += (
            1  # as weights of a trained run are loaded after building
        )
    begun = snapshot(stand.method.segmentor)
    for _ in range(2):
        assert stand.step()["anchor"] > 0
    assert_same_tensors(snapshot(stand.method.start), begun)
    assert changed(begun, stand.method.segmentor)


# --- without source data --------------------------------------------------------------------------

FREE = {"source_free": True, "mix": "mask", "ema": 0.98, "anchor_weight": 0.1}


@pytest.fixture
def source_run(two_domains: Domains, tmp_path: Path) -> Run:
    """A trained run on the source alone."""
    run = Run.create(tmp_path / "start", small_config("source_only", *two_domains, steps=2))
    for _ in iterate(run):
        pass
    return run


def without_source(domains: Domains, start: Run, **settings: Any) -> Any:
    data = {"source": None}
    init = {"init": str(start.path), "data": data, **settings}
    return small_config("mean_teacher", *domains, **init)


def test_needs_depend_on_the_settings(two_domains: Domains) -> None:
    (needs,) = (row["needs"] for row in list_methods() if row["name"] == "mean_teacher")
    assert needs == "source, target; with source_free: target, a trained run"
    config = build_config("mean_teacher", data={"target": str(two_domains[1])}, method=FREE)
    with pytest.raises(InputError, match="starts from a trained run"):
        list(iterate(Run.create(two_domains[0].parent / "no_start", config)))
    with pytest.raises(InputError, match="class_mix needs source slices"):
        build_config("mean_teacher", method={"source_free": True})


def test_it_learns_without_source_and_goes_on_exactly(
    two_domains: Domains, source_run: Run, tmp_path: Path
) -> None:
    method = {**FREE, "plausibility_every": 2}
    config = without_source(two_domains, source_run, method=method, steps=4)
    whole, parts = (Run.create(tmp_path / folder, config) for folder in ("whole", "parts"))
    for _ in iterate(whole):
        pass
    stop = threading.Event()
    stop.set()
    for _ in range(3):  # one step each
        for _ in iterate(Run.open(parts.path), stop=stop):
            pass
    kept = checkpoint.load_weights(parts.checkpoints / checkpoint.WEIGHTS)
    assert kept["gate.believed"].shape == (18, 3)
    begun = checkpoint.load_weights(source_run.checkpoints / checkpoint.WEIGHTS)
    for name, tensor in begun.items():
        if name.startswith("segmentor."):
            assert torch.equal(kept[name.replace("segmentor.", "start.")], tensor)
    for _ in iterate(Run.open(parts.path)):
        pass
    for file in (checkpoint.WEIGHTS, checkpoint.STATE):
        first, second = (checkpoint.load_weights(r.checkpoints / file) for r in (whole, parts))
        assert_same_tensors(first, second)
    (line,) = [line for line in whole.metrics() if line["step"] == 4]
    assert {"pseudo_label", "anchor", "label_weight"} < line.keys()
    assert "segmentation" not in line
    facts = whole.facts
    assert facts.shapes == source_run.facts.shapes
    assert facts.shapes["inner"].cases == 3


def test_a_run_without_shapes_says_so(
    two_domains: Domains, source_run: Run, tmp_path: Path
) -> None:
    stored = json.loads(source_run.facts_file.read_text())
    del stored["shapes"]
    source_run.facts_file.write_text(json.dumps(stored))
    without_checksums(source_run.path)
    method = {**FREE, "plausibility_every": 1}
    run = Run.create(tmp_path / "run", without_source(two_domains, source_run, method=method))
    with pytest.raises(InputError, match="which the run given with --init has not stored"):
        list(iterate(run))


def test_labels_of_an_implausible_structure_do_not_count(
    two_domains: Domains, tmp_path: Path
) -> None:
    stand = stand_of(two_domains, tmp_path)
    truth = torch.from_numpy(stand.data.source.labels.astype(np.int64))
    names = list(stand.data.facts.names().values())
    gate = PlausibilityGate(3)
    # what is predicted of the target: the source's labels, but of the second case's structure 1 one voxel
    given = truth.clone()
    inside = (truth[6:12] == 1).nonzero()
    given[6:12][truth[6:12] == 1] = 0
    given[6 + inside[0, 0], inside[0, 1], inside[0, 2]] = 1
    queue: list[torch.Tensor] = []

    def predict(image: torch.Tensor) -> torch.Tensor:
        if not queue:  # three views of each of three cases of six slices
            queue.extend(case for case in given.split(6) for _ in range(3))
        return torch.nn.functional.one_hot(queue.pop(0), 3).movedim(-1, 1).float()

    gate.judge(predict, stand.data, stand.runtime)
    assert gate.believed[:6].all()
    assert gate.believed[12:].all()
    assert gate.believed[6:12].tolist() == [[True, False, True]] * 6
    target = Unlabelled(torch.zeros(2, 1, 2, 2), torch.tensor([7, 13]))
    label = torch.tensor([[[0, 1], [2, 0]]]).expand(2, 2, 2)
    assert gate.weights(target, label).tolist() == [[[1, 0], [1, 1]], [[1, 1], [1, 1]]]
    few = {name: CaseShapes(cases=2, mean=(0.0,) * 6, spread=(0.0,) * 6) for name in names}
    facts = stand.data.facts.model_copy(update={"shapes": few})
    gate.judge(predict, dataclasses.replace(stand.data, facts=facts), stand.runtime)
    assert gate.believed.all()  # two cases tell nothing
