"""What is particular to sifa_v2 and sifa_v1: seven steps, who moves in each, and what they see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from method_cases import CPU, Bench, bench
from tiny_cases import changed, snapshot
from torch import Tensor, nn

from napari_uda.methods.registry import method_class
from napari_uda.networks.build import build_segmentor
from napari_uda.networks.dropout import Dropout
from napari_uda.networks.image_decoder import ImageDecoder, ResidualGenerator
from napari_uda.networks.normalisation import batch_norms
from napari_uda.networks.segmentor import SegmentorConfig

Domains = tuple[Path, Path]
UNCHECKED = {"translator": {"structure_every": 0}}
SEVEN = (
    ("generator", "translator.generators.source_to_target."),
    ("discriminator_target", "translator.discriminators.target."),
    ("segmentor", "segmentor."),
    ("decoder", "translator.generators.target_to_source."),
    ("discriminator_source", "translator.discriminators.source."),
    ("discriminator_main", "adversary.discriminators.main."),
    ("discriminator_aux", "adversary.discriminators.aux."),
)


def _stand(domains: Domains, cache: Path, name: str = "sifa_v2", **method: Any) -> Bench:
    return bench(name, domains, cache, method={**UNCHECKED, **method})


Step = tuple[tuple[str, ...], dict[str, Tensor], set[str]]


def _recorded(stand: Bench) -> list[Step]:
    """Of every step of a player: its name, the terms, and the names of the parameters that move."""
    steps: list[Step] = []
    minimise = stand.runtime.minimise

    def recorded(terms: dict[str, Tensor], *players: str) -> dict[str, Tensor]:
        before = snapshot(stand.method)
        logs = minimise(terms, *players)
        steps.append((players, dict(logs), changed(before, stand.method)))
        return logs

    stand.runtime.minimise = recorded  # type: ignore[method-assign]
    return steps


@pytest.mark.parametrize(("name", "count"), [("sifa_v2", 7), ("sifa_v1", 6)])
def test_who_moves_in_each_step(
    name: str, count: int, two_domains: Domains, tmp_path: Path
) -> None:
    stand = _stand(two_domains, tmp_path, name)
    steps = _recorded(stand)
    stand.step()
    assert [players for players, _, _ in steps] == [(player,) for player, _ in SEVEN[:count]]
    parameters = {n for n, _ in stand.method.named_parameters()}
    for (player, prefix), (_, _, moved) in zip(SEVEN, steps, strict=False):
        mine = stand.parameters_of(player)
        assert mine == {n for n in parameters if n.startswith(prefix)}
        if (name, player) == ("sifa_v1", "segmentor"):  # its second head learns nothing
            mine = {n for n in mine if not n.startswith("segmentor.aux_head.")}
        assert moved == mine  # all of it, and nothing else


def test_losses_of_each_step_by_hand(two_domains: Domains, tmp_path: Path) -> None:
    """With rates of 0 all seven steps see the same networks."""
    stand = _stand(two_domains, tmp_path)
    steps = _recorded(stand)
    stand.runtime.set_learning_rates(0.0)
    batch = stand.data.batch(0, CPU)
    x_s, y_s, x_t = batch.labelled().image, batch.labelled().label, batch.unlabelled().image
    m, t = stand.method, stand.method.translator
    logs = stand.step()
    square = lambda value, wanted: (value - wanted).square().mean()  # noqa: E731
    with torch.no_grad():
        f_t = t.to_target(x_s)
        seen_s, seen_t = m.segmentor(f_t), m.segmentor(x_t)
        f_s, back_s = t.to_source(seen_t.features, x_t), t.to_source(seen_s.features, f_t)
        d_s, d_t = t.discriminators["source"], t.discriminators["target"]
        d_p, d_p_ll = m.adversary.discriminators["main"], m.adversary.discriminators["aux"]
        cycle = 10 * ((back_s - x_s).abs().mean() + (t.to_target(f_s) - x_t).abs().mean())
        expected: list[dict[str, Tensor]] = [
            {"translation_target": square(d_t(f_t), 1), "cycle": cycle},
            {"discriminator_target": (square(d_t(x_t), 1) + square(d_t(f_t), 0)) / 2},
            {
                "segmentation": m.supervised_loss(seen_s, y_s),
                "reconstruction": 0.1 * square(d_s(f_s)[:, 1], 1),
                "adversarial_main": 0.1 * square(d_p(seen_t.logits), 1),
                "adversarial_aux": 0.01 * square(d_p_ll(seen_t.aux_logits), 1),
                "shared_translation": 0.1 * square(d_s(f_s)[:, 0], 1),
                "shared_cycle": 0.1 * cycle,
            },
            {"cycle": cycle, "translation_source": square(d_s(f_s)[:, 0], 1)},
            {
                "discriminator_source": (square(d_s(x_s)[:, 0], 1) + square(d_s(f_s)[:, 0], 0)) / 2,
                "discriminator_reconstruction": (
                    square(d_s(back_s)[:, 1], 1) + square(d_s(f_s)[:, 1], 0)
                )
                / 2,
            },
            # predictions of f_t are the real ones, those of x_t the fakes
            {
                "discriminator_main": (
                    square(d_p(seen_s.logits), 1) + square(d_p(seen_t.logits), 0)
                )
                / 2
            },
            {
                "discriminator_aux": (
                    square(d_p_ll(seen_s.aux_logits), 1) + square(d_p_ll(seen_t.aux_logits), 0)
                )
                / 2
            },
        ]
    for (_, found, _), wanted in zip(steps, expected, strict=True):
        assert found.keys() == wanted.keys()
        for term, value in wanted.items():
            torch.testing.assert_close(found[term], value, msg=term)
    assert logs.keys() == {n for one in expected for n in one} - {"shared_cycle"}


def test_later_steps_see_what_earlier_ones_have_changed(
    two_domains: Domains, tmp_path: Path
) -> None:
    stand = _stand(two_domains, tmp_path)
    with torch.no_grad():
        before = stand.method.translator.to_target(stand.data.batch(0, CPU).labelled().image)
    seen: list[Tensor] = []
    stand.method.segmentor.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    stand.step()
    with torch.no_grad():
        after = stand.method.translator.to_target(stand.data.batch(0, CPU).labelled().image)
    first, _, third, *_ = seen
    torch.testing.assert_close(first.detach(), before)
    torch.testing.assert_close(third, after)
    assert first.requires_grad
    assert not third.requires_grad  # no gradient of the segmentation reaches G_t
    assert not torch.allclose(before, after)


def test_statistics_move_in_the_step_of_the_encoder_alone(
    two_domains: Domains, tmp_path: Path
) -> None:
    stand = bench("sifa_v2", two_domains, tmp_path)  # with a check of structures, too
    stand.step()
    counts = {int(layer.num_batches_tracked) for layer in batch_norms(stand.method.segmentor)}
    assert counts == {2}  # f_t and x_t


def test_weights_of_zero_leave_the_encoder_to_its_labels(
    two_domains: Domains, tmp_path: Path
) -> None:
    """Then its first step is that of source_only on translated slices, bit for bit."""
    off = {"decoder_weight": 0, "reconstruction_weight": 0}
    nobody = {"adversary": {"main_weight": 0, "aux_weight": 0}}
    stand = _stand(two_domains, tmp_path, **off, **nobody, segmentor_optimizer={"kind": "sgd"})
    steps = _recorded(stand)
    before = snapshot(stand.method.segmentor)
    batch = stand.data.batch(0, CPU)
    logs = stand.step()
    assert [players for players, _, _ in steps] == [(p,) for p, _ in SEVEN[:5]]
    assert "discriminator_reconstruction" not in logs
    alone = _stand(two_domains, tmp_path, **off, **nobody, segmentor_optimizer={"kind": "sgd"})
    with torch.no_grad():
        f_t = stand.method.translator.to_target(batch.labelled().image)
    loss = alone.method.supervised_loss(alone.method.segmentor(f_t), batch.labelled().label)
    alone.runtime.minimise({"segmentation": loss}, "segmentor")
    for name, parameter in alone.method.segmentor.named_parameters():
        assert torch.equal(parameter, stand.method.segmentor.get_parameter(name)), name
        assert not torch.equal(parameter, before[name]), name


def test_the_l2_loss_covers_scale_and_shift(two_domains: Domains, tmp_path: Path) -> None:
    """1e-4 / 2 of the sum of all squares, normalisation included, is Adam's weight decay of 1e-4."""
    method = _stand(two_domains, tmp_path).method
    own = method_class("sifa_v2").config_class().segmentor_optimizer  # type: ignore[call-arg]
    assert (own.kind, own.lr, own.momentum, own.weight_decay) == ("adam", 2e-4, 0.9, 1e-4)
    groups = method.optimizers()["segmentor"].param_groups
    covered = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    assert covered == {id(p) for p in method.segmentor.parameters()}


def test_the_ramp_of_v1(two_domains: Domains, tmp_path: Path) -> None:
    method = _stand(two_domains, tmp_path, "sifa_v1", ramp_epoch_steps=10).method
    weights = [0.1 * method._ramp(10 * epoch) for epoch in range(9)]
    assert weights == pytest.approx([0, 0, 0, 0, 0, 1 / 30, 2 / 30, 0.1, 0.1])
    assert method._ramp(59) == pytest.approx(1 / 3)
    stand = _stand(two_domains, tmp_path, "sifa_v1", ramp_epoch_steps=10)
    assert "adversarial_main" not in stand.step()  # before epoch 5 it is not computed
    own = method_class("sifa_v1").config_class()  # type: ignore[call-arg]
    assert (own.aux_weight, own.adversary.aux_weight, own.dropout) == (0, 0, 0.25)
    assert own.ramp_epoch_steps == 9600 // 8


def test_dropout_reaches_every_convolution_of_the_encoder(
    two_domains: Domains, tmp_path: Path
) -> None:
    small = {"segmentor": {"name": "drn", "width": 4}}
    off = {"decoder_weight": 0, "reconstruction_weight": 0}
    stand = bench("sifa_v1", two_domains, tmp_path, method={**UNCHECKED, **off}, **small)
    t = stand.method.translator
    for network, dropping in (
        (stand.method.segmentor, True), (t.to_source, True), (t.to_target, False),
    ):  # fmt: skip
        layers = [x for x in network.modules() if isinstance(x, Dropout)]
        convolutions = [
            x for x in network.modules() if isinstance(x, nn.Conv2d | nn.ConvTranspose2d)
        ]
        final = 0 if network is stand.method.segmentor else 1  # the one that makes the image
        assert len(layers) == len(convolutions) - final
        assert {layer.probability for layer in layers} == {0.25 if dropping else 0.0}
    first = stand.step()
    again = bench("sifa_v1", two_domains, tmp_path, method={**UNCHECKED, **off}, **small)
    assert again.step() == first  # what is dropped depends on the seed and the step alone
    method = {**UNCHECKED, **off, "dropout": 0}
    without = bench("sifa_v1", two_domains, tmp_path, method=method, **small)
    assert without.step()["segmentation"] != first["segmentation"]


def test_the_dilated_residual_network() -> None:
    network = build_segmentor(SegmentorConfig(name="drn"), 1, 5)
    weights = sum(p.numel() for n, p in network.named_parameters() if p.ndim == 4)
    assert weights == pytest.approx(27.5e6, rel=0.01)  # as the published network
    assert network.feature_channels == 512
    small = build_segmentor(SegmentorConfig(name="drn", width=2), 3, 4).eval()
    with torch.no_grad():
        output = small(torch.rand(2, 3, 32, 48))
    assert output.logits.shape == output.aux_logits.shape == (2, 4, 32, 48)
    assert output.features.shape == (2, 64, 4, 6)
    with pytest.raises(ValueError, match="multiples of 8"):
        small(torch.rand(1, 3, 20, 32))
    largest = max(
        float(p.detach().abs().max()) for n, p in network.named_parameters() if p.ndim == 4
    )
    assert largest <= 0.02  # N(0, 0.01), cut at two standard deviations


def test_generator_and_decoder_start_near_the_slice_and_take_any_size() -> None:
    torch.manual_seed(0)
    generator = ResidualGenerator(4, 2)
    image = torch.rand(2, 1, 21, 34) * 2 - 1
    with torch.no_grad():
        assert (generator(image) - torch.tanh(image)).abs().mean() < 0.1
        for stride, kept in ((1, 0), (2, 1), (4, 2), (8, 3), (16, 4)):
            decoder = ImageDecoder(6, stride, 4, 1)
            size = [-(-s // stride) for s in image.shape[2:]]
            decoded = decoder(torch.rand(2, 6, *size), image)
            assert decoded.shape == image.shape
            doublings = [m for m in decoder.modules() if isinstance(m, nn.ConvTranspose2d)]
            assert [m.out_channels for m in doublings] == [8, 8, 4, 4][:kept]


def test_it_translates_both_ways(two_domains: Domains, tmp_path: Path) -> None:
    stand = bench("sifa_v2", two_domains, tmp_path, data={"neighbours": 3})
    stand.step()
    method = stand.method.eval()
    t = method.translator
    stack = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        there = t.translate(stack, "source_to_target")
        torch.testing.assert_close(there[:, :1], t.to_target(stack[:, :1]))
        back = t.translate(stack, "target_to_source")
        alone = stack[:, 2:]
        features = method.segmentor(alone.expand(-1, 3, -1, -1)).features
        torch.testing.assert_close(back[:, 2:], t.to_source(features, alone))
    assert t.trained_steps == 1
    assert not t.is_gated
    assert not [name for name, _ in t.named_parameters() if "encoder" in name]
