"""What is particular to pnp_adanet: split networks, clipped critics, and whose turn it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from method_cases import CPU, Bench, bench
from tiny_cases import assert_same_tensors, changed, small_config, snapshot
from torch import nn

from napari_uda.api import iterate
from napari_uda.core.errors import InputError
from napari_uda.core.optimizer import OptimizerConfig
from napari_uda.networks.build import build_segmentor
from napari_uda.networks.critic import FEATURE_STAGES, MASK_STAGES, Critic, stacked_features
from napari_uda.networks.segmentor import SegmentorConfig, SegmentorOutput
from napari_uda.run import checkpoint
from napari_uda.run.run import Run

Domains = tuple[Path, Path]
ALTERNATING = {"joint": False, "warmup_steps": 1, "critic_steps": 2, "critic_growth": 1}


def _stand(domains: Domains, cache: Path, **method: Any) -> Bench:
    """A bench whose network is that of a short source run."""
    stand = bench("pnp_adanet", domains, cache, method=method)
    given = checkpoint.load_weights(Run.open(stand.config.init).weights_file())
    own = stand.method.state_dict()
    stand.method.load_state_dict(own | {k: v for k, v in given.items() if k in own})
    return stand


@pytest.mark.parametrize("name", ["unet", "drn"])
def test_a_network_in_two_parts_is_the_network(name: str) -> None:
    torch.manual_seed(0)
    network = build_segmentor(SegmentorConfig(name=name, width=4, depth=2), 2, 3).eval()
    image = torch.rand(2, 2, 24, 32)
    with torch.no_grad():
        whole = network(image)
        parts = network.decode(network.encode(image, network.early_layers()), image.shape[2:])
    for one, other in zip(whole, parts, strict=True):
        assert torch.equal(one, other)
    with pytest.raises(InputError, match="DeepLabV2 has no early layers"):
        build_segmentor(SegmentorConfig(name="deeplabv2_resnet101"), 1, 3).early_layers()


def test_only_the_early_layers_of_the_target_and_the_critics_move(
    two_domains: Domains, tmp_path: Path
) -> None:
    stand = _stand(two_domains, tmp_path)
    before = snapshot(stand.method)
    for _ in range(3):
        stand.step()
    moved = {name.partition(".")[0] for name in changed(before, stand.method)}
    assert moved == {"early", "discriminators", "copied"}  # statistics included
    image = torch.rand(1, 1, 32, 32)
    stand.method.eval()
    with torch.no_grad():
        source = stand.method.predict_labelled(image)
        assert torch.equal(source, stand.method.segmentor(image).logits)
        assert not torch.equal(source, stand.method.predict(image))


def test_it_begins_with_the_source_network(two_domains: Domains, tmp_path: Path) -> None:
    stand = _stand(two_domains, tmp_path)
    stand.method.before_step(stand.data, stand.runtime)
    stand.method.eval()
    image = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(stand.method.predict(image), stand.method.segmentor(image).logits)
    # and a run that goes on from one of this method keeps its own early layers
    stand.method.early[0][0].weight.data += 1
    kept = snapshot(stand.method.early)
    stand.method.before_step(stand.data, stand.runtime)
    assert_same_tensors(kept, snapshot(stand.method.early))


def test_critics_are_clipped_and_their_normalisation_is_free(
    two_domains: Domains, tmp_path: Path
) -> None:
    optimizer = {"kind": "sgd", "lr": 10.0, "momentum": 0, "weight_decay": 0}
    stand = _stand(two_domains, tmp_path, critic_optimizer=optimizer)
    for _ in range(2):
        stand.step()
        scales = []
        for layer in stand.method.discriminators.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                assert float(layer.weight.detach().abs().max()) <= 0.03
            elif isinstance(layer, nn.BatchNorm2d):
                scales.append(float((layer.weight.detach() - 1).abs().max()))
        assert max(scales) > 0.03
    assert float(stand.method.discriminators["masks"].head.weight.detach().abs().max()) > 0


def test_whose_turn_it_is(two_domains: Domains, tmp_path: Path) -> None:
    stand = _stand(two_domains, tmp_path, **ALTERNATING)
    stand.runtime.steps = 9
    stand.method.before_step(stand.data, stand.runtime)
    seen = []
    for _ in range(8):
        before = snapshot(stand.method)
        logs = stand.step()
        moved = {n.partition(".")[0] for n in changed(before, stand.method)} - {"copied"}
        seen.append((sorted(logs), moved))
    critics = (["critic_features", "critic_masks"], {"discriminators"})
    early = ["adversarial_features", "adversarial_masks"]
    assert seen[0] == (["critic_features"], {"discriminators"})  # stage 1
    assert seen[1] == seen[2] == critics
    assert seen[3][0] == early
    # statistics of the critics move with every pass, their weights do not
    assert "early" in seen[3][1]
    assert seen[4] == seen[5] == seen[6] == critics  # one more from then on
    assert seen[7][0] == early


def test_turns_of_the_paper(two_domains: Domains, tmp_path: Path) -> None:
    method = _stand(two_domains, tmp_path, joint=False).method
    assert method.config.warmup_steps == 20_000
    first = [method._turn(20_000 + step) for step in range(42)]
    assert [i for i, turn in enumerate(first) if turn == "early"] == [20, 41]
    after = 20_000 + 300 * 21
    second = [method._turn(after + step) for step in range(44)]
    assert [i for i, turn in enumerate(second) if turn == "early"] == [21, 43]
    assert method._turn(19_999) == "warmup"


def test_losses_by_hand(two_domains: Domains, tmp_path: Path) -> None:
    """With rates of 0 critics and early layers see the same networks."""
    stand = _stand(two_domains, tmp_path, dropout=0, feature_weight=0.5, mask_weight=0.25)
    stand.runtime.set_learning_rates(0.0)
    method = stand.method
    batch = stand.data.batch(0, CPU)
    method.before_step(stand.data, stand.runtime)
    method.segmentor.eval()
    method.early.eval()
    with torch.no_grad():
        score: dict[str, dict[str, float]] = {"features": {}, "masks": {}}
        for domain, image, early in (
            ("source", batch.labelled().image, method.segmentor.early_layers()),
            ("target", batch.unlabelled().image, method.early),
        ):
            levels = method.segmentor.encode(image, early)
            output = method.segmentor.decode(levels, image.shape[2:])
            stack = stacked_features(levels, output)
            score["features"][domain] = float(method.discriminators["features"](stack).mean())
            score["masks"][domain] = float(method.discriminators["masks"](output.logits).mean())
    method.segmentor.train()
    method.early.train()
    logs = stand.step()
    for name, found in score.items():
        expected = found["target"] - found["source"]
        assert float(logs[f"critic_{name}"]) == pytest.approx(expected, rel=1e-4, abs=1e-5)
        assert f"adversarial_{name}" in logs


def test_what_the_critic_of_features_sees() -> None:
    logits = torch.randn(2, 3, 8, 8, requires_grad=True)
    levels = [
        torch.randn(2, c, s, s, requires_grad=True) for c, s in ((4, 8), (9, 4), (16, 2), (4, 1))
    ]
    features = torch.randn(2, 6, 4, 4, requires_grad=True)
    stack = stacked_features(levels, SegmentorOutput(logits, None, features))
    # of the early ones 9 channels at 1/2 give 2, 16 at 1/4 give 1, and 4 at 1/8 none; 6 features give 1
    assert stack.shape == (2, 2 + 1 + 1 + 3 + 1, 8, 8)
    torch.testing.assert_close(stack[:, -1], logits.argmax(1).float())
    assert torch.equal(
        stack[:, 0, ::2, ::2], levels[1][:, 0]
    )  # a channel for each place in a square
    assert torch.equal(stack[:, 0, ::2, 1::2], levels[1][:, 1])
    (gradient,) = torch.autograd.grad(stack[:, -1].sum() + 0 * stack.sum(), logits)
    assert not gradient.any()  # classes have no gradient
    used = torch.autograd.grad(stack.sum(), [*levels, features], allow_unused=True)
    assert [g is not None for g in used] == [False, True, True, False, True]


def test_critics_of_the_papers_size() -> None:
    features = Critic(32, 64, FEATURE_STAGES)
    masks = Critic(5, 16, MASK_STAGES)
    with torch.no_grad():
        for critic, last in ((features, 512), (masks, 256)):
            assert critic.head.in_features == 4 * last
            shape = critic.layers(torch.zeros(1, critic.layers[0].in_channels if critic is masks else 32, 256, 256)).shape  # fmt: skip
            assert shape[1] == last
    assert critic.head.bias is None


def test_rmsprop_is_torchs() -> None:
    weight = nn.Parameter(torch.ones(1))
    optimizer = OptimizerConfig(
        kind="rmsprop", lr=0.1, momentum=0, beta2=0.9, weight_decay=0
    ).build([weight])
    weight.grad = torch.full((1,), 4.0)
    optimizer.step()
    # the mean square begins at 0 and takes a tenth of 16
    assert float(weight.detach()) == pytest.approx(1 - 0.1 * 4 / (1.6**0.5), rel=1e-5)


def test_what_cannot_adapt_is_refused(two_domains: Domains, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="feature_weight and mask_weight are both 0"):
        small_config("pnp_adanet", *two_domains, method={"feature_weight": 0, "mask_weight": 0})
    config = small_config("pnp_adanet", *two_domains, steps=3, method=ALTERNATING)
    with pytest.raises(InputError, match="3 steps are 1 of warmup and less than one round of 3"):
        for _ in iterate(Run.create(tmp_path / "run", config)):
            pass
