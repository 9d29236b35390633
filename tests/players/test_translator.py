from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from method_cases import CPU, Bench, bench
from tiny_cases import changed, snapshot
from torch import Tensor, nn

from napari_uda.networks.segmentor import Segmentor, SegmentorOutput
from napari_uda.players.translator import (
    GatedTranslatorConfig,
    Translator,
    TranslatorConfig,
)

Domains = tuple[Path, Path]
TINY: dict[str, Any] = {"generator": {"width": 4, "blocks": 1}, "discriminator_width": 4}


def _translator(**settings: Any) -> Translator:
    torch.manual_seed(0)
    return Translator(TranslatorConfig.model_validate({**TINY, **settings}))


@pytest.fixture
def stand(two_domains: Domains, tmp_path: Path) -> Bench:
    return bench("cyclegan", two_domains, tmp_path)


def test_the_papers_weights_and_gates() -> None:
    config = TranslatorConfig()
    assert (config.cycle_weight, config.identity_weight, config.pool_size) == (10, 5, 50)
    assert config.loss == "ls"
    for optimizer in (config.generator_optimizer, config.discriminator_optimizer):
        assert (optimizer.kind, optimizer.lr) == ("adam", 2e-4)
        assert (optimizer.momentum, optimizer.beta2) == (0.5, 0.999)
    # a part of the settings leaves the kind of generator as it is
    assert GatedTranslatorConfig(generator={"width": 8}).generator.kind == "gated"
    assert TranslatorConfig(generator={"width": 8}).generator.kind == "plain"
    slower = TranslatorConfig(generator_optimizer={"lr": 1e-5}).generator_optimizer
    assert (slower.kind, slower.lr, slower.momentum) == ("adam", 1e-5, 0.5)


def test_losses_by_hand(stand: Bench) -> None:
    translator = stand.method.translator
    batch = stand.data.batch(0, CPU)
    x_s, x_t = batch.source.image, batch.target.image
    to_target = translator.generators["source_to_target"]
    to_source = translator.generators["target_to_source"]
    judge = translator.discriminators
    with torch.no_grad():
        fake_t, fake_s = to_target(x_s), to_source(x_t)
        expected = {
            "translation": (judge["target"](fake_t) - 1).square().mean()
            + (judge["source"](fake_s) - 1).square().mean(),
            "cycle": 10
            * ((to_source(fake_t) - x_s).abs().mean() + (to_target(fake_s) - x_t).abs().mean()),
            "identity": 5
            * ((to_target(x_t) - x_t).abs().mean() + (to_source(x_s) - x_s).abs().mean()),
        }
        for domain, real, fake in (("source", x_s, fake_s), ("target", x_t, fake_t)):
            telling = (judge[domain](real) - 1).square().mean() + judge[domain](
                fake
            ).square().mean()
            expected[f"discriminator_{domain}"] = telling / 2
    logs = translator.learn(x_s, x_t, stand.runtime)
    assert logs.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(logs[name], value)
    assert translator.trained_steps == 1


def test_discriminators_see_the_pool(stand: Bench) -> None:
    translator = stand.method.translator
    batch = stand.data.batch(0, CPU)
    for step in range(5):
        stand.runtime.step = step
        translator.learn(batch.source.image, batch.target.image, stand.runtime)
    pool = translator.pools["target"].images
    assert pool.shape == (3, 1, 32, 32)
    telling: dict[str, Tensor] = {}
    for name, filling in (("kept", pool.clone()), ("other", torch.ones_like(pool))):
        state = snapshot(translator)
        translator.pools["target"].images = filling
        # one of the two fakes of this step is answered from the pool
        logs = translator.learn(batch.source.image, batch.target.image, stand.runtime)
        telling[name] = logs["discriminator_target"]
        translator.load_state_dict(state)
    assert telling["kept"] != telling["other"]


def test_the_generators_learn_from_the_first_slices_alone() -> None:
    one, two = _translator(batch_size=1), _translator(batch_size=1)
    images = torch.rand(3, 1, 32, 32)
    assert torch.equal(one._middle(images), images[:1])
    assert torch.equal(_translator()._middle(images), images)
    stack = torch.rand(3, 5, 32, 32)
    assert torch.equal(two._middle(stack), stack[:1, 2:3])


def test_neighbouring_slices_are_translated_one_by_one() -> None:
    translator = _translator().eval()
    stack = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        translated = translator.translate(stack, "source_to_target")
        assert translated.shape == stack.shape
        for channel in range(3):
            alone = translator.translate(stack[:, channel : channel + 1], "source_to_target")
            torch.testing.assert_close(translated[:, channel : channel + 1], alone)
        other = translator.translate(stack, "target_to_source")
    assert not torch.allclose(other, translated)


class Reader(Segmentor):
    """Reads the class off the grey value, after a batch normalisation that must stay as it is."""

    def __init__(self) -> None:
        super().__init__(1, 3, 1, 1)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, image: Tensor) -> SegmentorOutput:
        self.norm(image)
        levels = torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1)
        return SegmentorOutput(-((image - levels) ** 2), None, image)


class Moved(nn.Module):
    """A generator that shifts what it is given."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.pixels = pixels

    def forward(self, image: Tensor) -> Tensor:
        return image.roll(self.pixels, -1)


@pytest.mark.parametrize(("there", "back", "dice"), [(0, 0, 1.0), (3, -3, 1.0), (1, 1, 0.5)])
def test_the_structure_check_sees_anatomy_that_moves(
    there: int, back: int, dice: float, stand: Bench
) -> None:
    """A move that is taken back on the way home stays unseen: the check is of the whole cycle."""
    translator = _translator(structure_every=1)
    translator.generators["source_to_target"] = Moved(there)
    translator.generators["target_to_source"] = Moved(back)
    label = torch.zeros(1, 8, 16, dtype=torch.int64)
    label[..., 4:8] = 2
    segmentor = Reader().train()
    before = snapshot(segmentor)
    image = label[:, None].float() - 1
    logs = translator.structure_check(
        segmentor, lambda seen: segmentor(seen).logits, image, label, stand.runtime
    )
    assert logs["structure_dice"].item() == pytest.approx(dice)
    assert not changed(before, segmentor)
    assert segmentor.training
    assert segmentor.norm.track_running_stats


def test_structure_checks_are_due_at_their_steps(stand: Bench) -> None:
    image, label = torch.rand(1, 1, 16, 16), torch.zeros(1, 16, 16, dtype=torch.int64)
    due = {}
    for every in (0, 1, 3):
        translator, due[every] = _translator(structure_every=every), []
        for stand.runtime.step in range(6):
            reader = Reader()
            if translator.structure_check(
                reader, lambda seen, r=reader: r(seen).logits, image, label, stand.runtime
            ):
                due[every].append(stand.runtime.step + 1)
    assert due == {0: [], 1: [1, 2, 3, 4, 5, 6], 3: [3, 6]}
