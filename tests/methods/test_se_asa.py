"""SE-ASA term by term, against the paper's text worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from method_cases import CPU, Bench, bench
from tiny_cases import changed, snapshot
from torch import Tensor

from napari_uda.data.batches import Labelled, Unlabelled
from napari_uda.data.fourier import grey_amplitude
from napari_uda.losses.entropy import logits_of_last_view
from napari_uda.methods.se_asa import SEASA
from napari_uda.networks.normalisation import batch_statistics_only
from napari_uda.uncertainty.reliability import Reliability, fourier_views, random_views, vote

Domains = tuple[Path, Path]

STILL: dict[str, Any] = {"reliability": {"jitter": 0, "blur_probability": 0, "fourier_mu": 0}}
"""Views that change nothing."""
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.fixture
def make(two_domains: Domains, tmp_path: Path):
    def build(steps_before: int = 0, **method: Any) -> tuple[Bench, SEASA]:
        stand = bench("se_asa", two_domains, tmp_path, method=method)
        for _ in range(steps_before):
            stand.step()
        assert isinstance(stand.method, SEASA)
        return stand, stand.method

    return build


def _entropy(logits: Tensor) -> np.ndarray:
    """Natural-log entropy over classes, in float64, `(B, H, W)`."""
    p = torch.softmax(logits.detach().double(), 1).numpy()
    return np.asarray(-(p * np.log(p)).sum(1))


def _vote(
    stand: Bench, method: SEASA, source: Labelled, target: Unlabelled, label: Tensor
) -> tuple[Tensor | None, Reliability]:
    """The vote of the bench's current step."""
    generators = stand.runtime.sample_generators("views", len(label))
    return method._vote(source, target, label, generators)


def _statistics(method: SEASA) -> dict[str, Tensor]:
    return {n: t for n, t in snapshot(method.segmentor).items() if n.endswith(STATISTICS)}


# --- the vote -------------------------------------------------------------------------------------


def test_views_vote_against_the_label_of_the_slice_itself(make) -> None:
    stand, method = make(2, **STILL)
    batch = stand.data.batch(0, CPU)
    source, target = batch.labelled(), batch.unlabelled()
    label = method.segmentor(target.image).logits.argmax(1)
    _, agreed = _vote(stand, method, source, target, label)
    assert agreed.reliable.all()  # views equal to the slice agree with it everywhere
    _, contradicted = _vote(stand, method, source, target, (label + 1) % 3)
    assert contradicted.unreliable.all()
    assert stand.step()["reliable_share"] == 1


def test_the_vote_by_an_independent_loop(make) -> None:
    """One forward pass per view, as the paper says it, instead of one batch per set."""
    stand, method = make(3, view_statistics="batch_only")
    method.eval()  # batch statistics would depend on how views are batched
    batch = stand.data.batch(3, CPU)
    source, target = batch.labelled(), batch.unlabelled()
    settings = method.config.reliability
    with torch.no_grad():
        label = method.segmentor(target.image).logits.argmax(1)
        logits, (reliable, unreliable) = _vote(stand, method, source, target, label)
        assert logits is None  # nothing is differentiated here
        generators = stand.runtime.sample_generators("views", 2)
        bank = grey_amplitude(source.image, 2)
        sets = [fourier_views(target.image, bank, settings, generators)]
        sets.append(random_views(target.image, settings, generators))
        agree = []
        for views in sets:
            labels = [method.segmentor(view).logits.argmax(1) for view in views.chunk(3)]
            agree.append(torch.stack(labels) == label)
        counts = [agrees.sum(0) for agrees in agree]
    expected = (counts[0] >= 2) & (counts[1] >= 2)
    assert torch.equal(reliable, expected)
    assert torch.equal(unreliable, ~expected)
    assert vote(agree[1], agree[0]).reliable.equal(expected)
    assert 0 < expected.float().mean() < 1


def test_views_change_from_step_to_step_and_are_drawn_again_on_resume(make) -> None:
    stand, method = make(2)
    batch = stand.data.batch(0, CPU)
    label = torch.zeros(2, 32, 32, dtype=torch.int64)
    drawn = []
    for step in (5, 6, 5):
        stand.runtime.step = step
        logits, _ = _vote(stand, method, batch.labelled(), batch.unlabelled(), label)
        assert logits is not None
        drawn.append(logits.detach())
    assert drawn[0].shape == (3, 2, 3, 32, 32)
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])


# --- selective entropy ----------------------------------------------------------------------------


def test_last_view_by_hand() -> None:
    # logits of view n are n + 1 for class 0 and -(n + 1) for class 1; the slice itself has 50, -50
    views = torch.stack([torch.tensor([n, -n]).view(1, 2, 1, 1) for n in (1.0, 2.0, 3.0)])
    views = views.expand(3, 1, 2, 1, 5)
    fallback = torch.tensor([50.0, -50.0]).view(1, 2, 1, 1).expand(1, 2, 1, 5)
    chosen = torch.tensor(
        [
            [True, True, True, False, False],
            [True, True, False, True, False],
            [True, False, False, False, False],
        ]
    ).view(3, 1, 1, 5)
    picked = logits_of_last_view(views, chosen, fallback)
    assert picked.shape == (1, 2, 1, 5)
    assert picked[0, 0, 0].tolist() == [3, 2, 1, 2, 50]
    assert picked[0, 1, 0].tolist() == [-3, -2, -1, -2, -50]


def test_last_view_sends_gradients_to_the_chosen_view_only() -> None:
    views = torch.zeros(3, 1, 2, 1, 2, requires_grad=True)
    fallback = torch.zeros(1, 2, 1, 2, requires_grad=True)
    chosen = torch.tensor([[True, False], [True, False], [False, False]]).view(3, 1, 1, 2)
    logits_of_last_view(views, chosen, fallback).sum().backward()
    assert views.grad is not None
    assert fallback.grad is not None
    assert views.grad[:, 0, 0, 0].tolist() == [[0, 0], [1, 0], [0, 0]]
    assert fallback.grad[0, 0, 0].tolist() == [0, 1]


def _case(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Reliability]:
    """Random logits of a slice and its three views, labels, and a vote by random views alone."""
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 6, 6, generator=draw)
    views = logits + torch.randn(3, 2, 3, 6, 6, generator=draw)
    label = logits.argmax(1)
    agrees = views.argmax(2) == label
    everywhere = torch.ones_like(agrees)
    fourier = everywhere.clone()
    fourier[:, 0, :2] = False  # these pixels are unreliable whatever the random views say
    return logits, views, label, vote(agrees, fourier)


def test_entropy_of_the_last_random_view_by_hand(make) -> None:
    _, method = make(entropy_minimisation_weight=2.0, entropy_maximisation_weight=0.5)
    logits, views, label, reliability = _case()
    terms = method._entropy_terms(logits, views, label, reliability)
    falling = rising = 0.0
    for b, r, c in np.ndindex(2, 6, 6):
        pixel = (b, r, c)
        agreeing = [n for n in range(3) if views[n, b, :, r, c].argmax() == label[pixel]]
        differing = [n for n in range(3) if n not in agreeing]
        wanted = agreeing if reliability.reliable[pixel] else differing
        chosen = views[wanted[-1]] if wanted else logits
        entropy = _entropy(chosen)[pixel]
        if reliability.reliable[pixel]:
            falling += entropy
        else:
            rising += entropy
    assert 0 < int(reliability.unreliable.sum()) < 72
    assert float(terms["entropy_reliable"]) == pytest.approx(2.0 * falling / 72, rel=1e-5)
    assert float(terms["entropy_unreliable"]) == pytest.approx(-0.5 * rising / 72, rel=1e-5)


def test_entropy_of_the_slice_itself_by_hand(make) -> None:
    _, method = make(entropy_view="original")
    logits, _, label, reliability = _case()
    terms = method._entropy_terms(logits, None, label, reliability)
    entropy = _entropy(logits)
    falling = entropy[reliability.reliable].sum() / 72
    rising = entropy[reliability.unreliable].sum() / 72
    assert float(terms["entropy_reliable"]) == pytest.approx(falling, rel=1e-5)
    assert float(terms["entropy_unreliable"]) == pytest.approx(-rising, rel=1e-5)


def test_minimising_everywhere_is_table_3s_first_row(make) -> None:
    _, method = make(
        entropy_view="original", entropy_minimisation_on="all", entropy_maximisation_weight=0
    )
    logits, _, label, reliability = _case()
    terms = method._entropy_terms(logits, None, label, reliability)
    assert terms.keys() == {"entropy_reliable"}
    assert float(terms["entropy_reliable"]) == pytest.approx(_entropy(logits).mean(), rel=1e-5)
    nowhere = Reliability(torch.zeros_like(label, dtype=torch.bool), reliability.unreliable)
    again = method._entropy_terms(logits, None, label, nowhere)
    assert torch.equal(again["entropy_reliable"], terms["entropy_reliable"])


def test_the_entropy_terms_pull_where_they_should(make) -> None:
    _, method = make(entropy_view="original")
    logits, _, label, reliability = _case()
    logits = logits.requires_grad_()
    sum(method._entropy_terms(logits, None, label, reliability).values()).backward()
    moved = logits.detach() - 0.5 * logits.grad
    change = _entropy(moved) - _entropy(logits)
    reliable = reliability.reliable.numpy()
    assert (change[reliable] <= 1e-9).all()
    assert (change[~reliable] >= -1e-9).all()
    assert np.abs(change).max() > 1e-4


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, True),
        ({"entropy_view": "original"}, False),
        ({"entropy_minimisation_weight": 0}, True),
        ({"entropy_minimisation_weight": 0, "entropy_maximisation_weight": 0}, False),
    ],
)
def test_views_are_differentiated_only_where_a_term_needs_it(make, settings, kept) -> None:
    stand, method = make(1, **settings)
    batch = stand.data.batch(1, CPU)
    label = torch.zeros(2, 32, 32, dtype=torch.int64)
    logits, _ = _vote(stand, method, batch.labelled(), batch.unlabelled(), label)
    assert (logits is not None) == kept
    if logits is not None:
        assert logits.requires_grad


def test_both_choices_of_view_agree_when_views_change_nothing(make) -> None:
    logs = [make(entropy_view=view, **STILL)[0].step() for view in ("last_random", "original")]
    assert logs[0].keys() == logs[1].keys()
    assert "entropy_reliable" in logs[0]
    for term in logs[0]:
        assert float(logs[0][term]) == pytest.approx(float(logs[1][term]), rel=1e-4), term


# --- batch normalisation --------------------------------------------------------------------------


@pytest.mark.parametrize(("statistics", "passes"), [("batch_only", 2), ("update", 4)])
def test_views_leave_the_running_statistics_alone(make, statistics: str, passes: int) -> None:
    stand, method = make(1, view_statistics=statistics)
    batch = stand.data.batch(1, CPU)
    label = torch.zeros(2, 32, 32, dtype=torch.int64)
    before = _statistics(method)
    _vote(stand, method, batch.labelled(), batch.unlabelled(), label)
    moved = {n for n, t in _statistics(method).items() if not torch.equal(t, before[n])}
    assert moved == (set() if statistics == "batch_only" else set(before))
    # over a whole step: source and target, and the two sets of views if they count
    before = _statistics(method)
    stand.step()
    counted = {n: int(t - before[n]) for n, t in _statistics(method).items() if "tracked" in n}
    assert counted
    assert set(counted.values()) == {passes}


def test_running_statistics_are_those_of_the_two_plain_passes(make) -> None:
    stand, method = make()
    expected, twin = make()
    stand.step()
    batch = expected.data.batch(0, CPU)
    # the same weights, the same two passes (refresh passes move nothing either)
    twin.segmentor(batch.labelled().image)
    twin.segmentor(batch.unlabelled().image)
    for name, tensor in _statistics(method).items():
        torch.testing.assert_close(tensor, _statistics(twin)[name])


# --- prototypes -----------------------------------------------------------------------------------


def _means_by_hand(features: Tensor, label: Tensor, mask: Tensor | None = None) -> np.ndarray:
    """Class means on the features' grid, NaN where a class is absent."""
    height, width = features.shape[-2:]
    rows = np.arange(height) * label.shape[1] // height
    columns = np.arange(width) * label.shape[2] // width
    small = label.numpy()[:, rows[:, None], columns]
    kept = np.ones_like(small, bool) if mask is None else mask.numpy()[:, rows[:, None], columns]
    pixels = features.detach().double().numpy().transpose(0, 2, 3, 1)
    means = np.full((3, features.shape[1]), np.nan)
    for value in range(3):
        chosen = (small == value) & kept
        if chosen.any():
            means[value] = pixels[chosen].mean(0)
    return means


def _parts(stand: Bench, method: SEASA, step: int = 0) -> tuple[Any, Any, Labelled, Tensor, Tensor]:
    batch = stand.data.batch(step, CPU)
    source, target = batch.labelled(), batch.unlabelled()
    source_output, target_output = (method.segmentor(d.image) for d in (source, target))
    # class 2 is reliable in the left half only
    label = torch.randint(0, 3, (2, 32, 32), generator=torch.Generator().manual_seed(step))
    mask = (label != 2) | (torch.arange(32) < 16)
    return source_output, target_output, source, label, mask


@pytest.mark.parametrize("masked", [True, False])
def test_alignment_by_hand(make, masked: bool) -> None:
    stand, method = make(prototype_momentum=0.25)
    expected: dict[str, np.ndarray] = {}
    for step in range(2):
        source_output, target_output, source, label, mask = _parts(stand, method, step)
        chosen = mask if masked else None
        distance = method._align(source_output, source.label, target_output, label, chosen)
        means = {
            "source": _means_by_hand(source_output.features, source.label),
            "target": _means_by_hand(target_output.features, label, chosen),
        }
        for domain, mean in means.items():
            old = expected.get(domain, mean)  # nothing old to average with at first
            new = np.where(np.isnan(mean), old, 0.25 * old + 0.75 * mean)
            expected[domain] = np.where(np.isnan(old), mean, new)
            stored = getattr(method, f"{domain}_prototypes").numpy()
            present = ~np.isnan(expected[domain][:, 0])
            np.testing.assert_allclose(
                stored[present], expected[domain][present], rtol=1e-4, atol=1e-6
            )
            np.testing.assert_array_equal(getattr(method, f"{domain}_seen").numpy(), present)
        squared = np.square(expected["source"] - expected["target"]).mean(1)
        assert float(distance.detach()) == pytest.approx(np.nansum(squared), rel=1e-4)
        assert distance.requires_grad


def test_masked_pixels_have_no_say(make) -> None:
    stand, method = make()
    source_output, target_output, source, label, mask = _parts(stand, method)
    features = target_output.features.detach().requires_grad_()
    output = target_output._replace(features=features)
    method._align(source_output, source.label, output, label, mask).backward()
    assert features.grad is not None
    touched = features.grad.abs().sum(1) > 0
    assert not touched[~mask[:, ::2, ::2]].any()
    assert touched.any()


def test_a_target_without_reliable_pixels_aligns_nothing(make) -> None:
    stand, method = make()
    source_output, target_output, source, label, mask = _parts(stand, method)
    nothing = torch.zeros_like(mask)
    distance = method._align(source_output, source.label, target_output, label, nothing)
    assert float(distance.detach()) == 0
    assert method.source_seen.any()
    assert not method.target_seen.any()
    assert not method.target_prototypes.any()


def test_the_mask_is_the_vote(make) -> None:
    """Table 4: off gives other prototypes, unless every pixel is reliable anyway."""
    logs = {
        (masked, still): make(
            2, prototype_mask=masked, prototype_batches=0, **(STILL if still else {})
        )[0].step()
        for masked in (True, False)
        for still in (True, False)
    }
    assert logs[True, False]["reliable_share"] < 1
    assert logs[True, False]["prototype"] != logs[False, False]["prototype"]
    assert torch.equal(logs[True, True]["prototype"], logs[False, True]["prototype"])


def test_prototypes_start_as_means_over_batches(make) -> None:
    stand, method = make(prototype_batches=3, **STILL)
    for parameter in method.segmentor.parameters():
        assert parameter.requires_grad
    before = snapshot(method)
    method.before_step(stand.data, stand.runtime)
    buffers = {f"{d}_{kind}" for d in ("source", "target") for kind in ("prototypes", "seen")}
    assert changed(before, method) <= buffers
    means: dict[str, list[np.ndarray]] = {"source": [], "target": []}
    with torch.no_grad(), batch_statistics_only(method.segmentor):
        for index in range(3):
            batch = stand.data.batch(index, CPU, stream="-prototypes")
            output = method.segmentor(batch.labelled().image)
            means["source"].append(_means_by_hand(output.features, batch.labelled().label))
            output = method.segmentor(batch.unlabelled().image)
            means["target"].append(_means_by_hand(output.features, output.logits.argmax(1)))
    for domain, found in means.items():
        present = ~np.isnan(np.array(found)[:, :, 0]).all(0)
        np.testing.assert_array_equal(getattr(method, f"{domain}_seen").numpy(), present)
        expected = np.nanmean(np.array(found)[:, present], axis=0)
        stored = getattr(method, f"{domain}_prototypes").numpy()
        np.testing.assert_allclose(stored[present], expected, rtol=1e-4, atol=1e-6)
        assert not stored[~present].any()


def test_every_batch_of_the_start_has_views_of_its_own(make, monkeypatch) -> None:
    stand, _ = make(prototype_batches=3)
    streams: list[str] = []
    sample_generators = stand.runtime.sample_generators

    def watched(stream: str, count: int) -> Any:
        streams.append(stream)
        return sample_generators(stream, count)

    monkeypatch.setattr(stand.runtime, "sample_generators", watched)
    stand.step()
    assert len(streams) == len(set(streams)) == 4


def test_classes_weigh_the_entropy_by_their_rarity(make) -> None:
    _, method = make(entropy_view="original", entropy_class_weights=True)
    logits, _, label, reliability = _case()
    counts = np.bincount(label.flatten().numpy(), minlength=3)
    weights = (1 - (counts + 1) / 72)[label.numpy()]
    weights /= weights.mean()
    entropy = _entropy(logits) * weights
    terms = method._entropy_terms(logits, None, label, reliability)
    falling = entropy[reliability.reliable].sum() / 72
    rising = entropy[reliability.unreliable].sum() / 72
    assert float(terms["entropy_reliable"]) == pytest.approx(falling, rel=1e-5)
    assert float(terms["entropy_unreliable"]) == pytest.approx(-rising, rel=1e-5)


def test_prototypes_start_once_and_only_when_needed(make) -> None:
    stand, method = make(warmup_steps=3)

    def moves_at(step: int) -> bool:
        stand.runtime.step = step
        before = snapshot(method)
        method.before_step(stand.data, stand.runtime)
        return bool(changed(before, method))

    assert [step for step in (0, 1, 2, 4, 5, 3) if moves_at(step)] == [3]
    for settings in ({"prototype_weight": 0}, {"prototype_batches": 0}):
        stand, method = make(**settings)
        assert not any(moves_at(step) for step in range(3))


# --- stages and players ---------------------------------------------------------------------------

ADVERSARIAL = {"adversarial_main", "adversarial_aux", "discriminator_main", "discriminator_aux"}
SELECTIVE = {"reliable_share", "entropy_reliable", "entropy_unreliable", "prototype"}


def test_warm_up_is_segmentation_and_adversaries_alone(make) -> None:
    stand, method = make(warmup_steps=2)
    for step in range(3):
        keys = stand.step().keys()
        assert keys == {"segmentation"} | ADVERSARIAL | (SELECTIVE if step == 2 else set())
        assert bool(method.source_seen.any()) == (step == 2)


def test_warm_up_equals_advent_with_the_same_discriminators(
    make, two_domains: Domains, tmp_path: Path
) -> None:
    """Step for step, bit for bit: one run with warm-up or two runs are the same method."""
    stand, method = make(2, warmup_steps=2)
    advent = bench(
        "advent", two_domains, tmp_path, method={"adversary": {"discriminator": "patch_bn"}}
    )
    for _ in range(2):
        advent.step()
    ours, theirs = snapshot(method), snapshot(advent.method)
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    assert stand.runtime.step == advent.runtime.step == 2


def test_views_are_not_drawn_when_no_term_needs_them(make) -> None:
    off = {"entropy_minimisation_weight": 0, "entropy_maximisation_weight": 0}
    stand, _ = make(**off, prototype_weight=0)
    assert stand.step().keys() == {"segmentation"} | ADVERSARIAL


def test_without_mask_and_entropy_the_prototypes_need_no_views(make) -> None:
    off = {"entropy_minimisation_weight": 0, "entropy_maximisation_weight": 0}
    stand, method = make(**off, prototype_mask=False, prototype_batches=2)
    passes: list[int] = []
    method.segmentor.register_forward_hook(lambda *_: passes.append(1))
    assert stand.step().keys() == {"segmentation", "prototype"} | ADVERSARIAL
    assert len(passes) == 2 * 2 + 2  # source and target: two batches of refresh and the step


def test_the_discriminators_step_leaves_the_segmentor_alone(make) -> None:
    stand, method = make(1)
    batch = stand.data.batch(1, CPU)
    outputs = [method.segmentor(d.image) for d in (batch.labelled(), batch.unlabelled())]
    before = snapshot(method)
    logs = method.adversary.learn(outputs[0], outputs[1], stand.runtime)
    moved = changed(before, method)
    assert logs.keys() == {"discriminator_main", "discriminator_aux"}
    assert moved
    assert all(name.startswith("adversary.discriminators.") for name in moved)


def test_fooling_pulls_the_segmentor_only_and_towards_source(make) -> None:
    stand, method = make(1)
    batch = stand.data.batch(1, CPU)
    output = method.segmentor(batch.unlabelled().image)
    losses = method.adversary.fooling_losses(output)
    assert losses.keys() == {"adversarial_main", "adversarial_aux"}
    parameters = {n: p.detach().clone() for n, p in method.named_parameters()}
    stand.runtime.minimise(losses, "segmentor")
    moved = {n for n, p in method.named_parameters() if not torch.equal(p, parameters[n])}
    assert moved
    assert all(name.startswith("segmentor.") for name in moved)


def test_discriminators_see_self_information_or_probabilities(make) -> None:
    seen: dict[str, Tensor] = {}
    for kind in ("self_information", "probability"):
        stand, method = make(adversary_input=kind)
        network = method.adversary.discriminators["main"]
        network.register_forward_pre_hook(
            lambda _, given, kind=kind: seen.setdefault(kind, given[0].detach())
        )
        logits = method.segmentor(stand.data.batch(0, CPU).unlabelled().image).logits.detach()
        stand.step()
    p = torch.softmax(logits, 1)
    assert torch.allclose(seen["probability"], p, atol=1e-5)
    assert torch.allclose(seen["self_information"], -p * p.log() / np.log(3), atol=1e-5)


def test_discriminators_of_the_first_stage_may_be_left(make) -> None:
    _, keeps = make()
    _, leaves = make(keep_discriminators=False)
    name = "adversary.discriminators.main.layers.0.weight"
    assert name in keeps.state_dict()
    assert keeps.loads_from_init(name)
    assert not leaves.loads_from_init(name)
    assert leaves.loads_from_init("segmentor.head.weight")


def test_views_take_amplitudes_from_the_source_of_the_batch(make) -> None:
    """Another source image changes the Fourier vote and nothing about random views."""
    stand, method = make(2, reliability={"jitter": 0, "blur_probability": 0, "fourier_mu": 1})
    batch = stand.data.batch(2, CPU)
    target = batch.unlabelled()
    method.eval()
    label = method.segmentor(target.image).logits.argmax(1)
    other = Labelled(-batch.labelled().image, batch.labelled().label)
    results = [_vote(stand, method, s, target, label) for s in (batch.labelled(), other)]
    assert results[0][0] is not None
    assert results[1][0] is not None
    assert torch.equal(results[0][0], results[1][0])
    assert not torch.equal(results[0][1].reliable, results[1][1].reliable)
