"""Translator: a CycleGAN, that is two generators that learn against two discriminators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn, optim

from napari_uda.core.config import Config
from napari_uda.core.optimizer import OptimizerConfig
from napari_uda.losses.adversarial import domain_loss
from napari_uda.losses.cycle import image_distance
from napari_uda.networks.discriminator import ImageDiscriminatorName, build_discriminator
from napari_uda.networks.generator import GatedGeneratorConfig, Generator, GeneratorConfig
from napari_uda.networks.layout import lay_out
from napari_uda.players.fake_pool import FakePool
from napari_uda.players.slice_translator import Direction, SliceTranslator, middle_slice

if TYPE_CHECKING:
    from napari_uda.core.runtime import Runtime


class TranslatorOptimizerConfig(OptimizerConfig):
    """The optimiser of one player, by default CycleGAN's Adam."""

    kind: Literal["sgd", "adam", "adamw", "rmsprop"] = "adam"
    """Algorithm: sgd (with momentum), adam, adamw (adam with decoupled weight decay) or rmsprop."""
    lr: float = Field(default=2e-4, gt=0)
    """Learning rate at the first step; the 1e-3 that AttENT prints is unstable with least
    squares."""
    momentum: float = Field(default=0.5, ge=0, lt=1)
    """Momentum of sgd and rmsprop, or the first beta of adam and adamw."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay; 0 switches it off."""


class TranslatorConfig(Config):
    """The generators, their discriminators and what they learn from."""

    generator: GeneratorConfig = GeneratorConfig()
    """Architecture of the two generators."""
    discriminator: ImageDiscriminatorName = "patch_in"
    """What the image discriminators score: patch_in (every patch, CycleGAN) or patch_in_mean (the
    image as a whole, AttENT)."""
    discriminator_width: int = Field(default=64, ge=4, le=512)
    """Channels of the image discriminators' first layer."""
    loss: Literal["ls", "bce"] = "ls"
    """Adversarial loss: ls (least squares, as in both released codes) or bce (cross-entropy, the
    logarithms that AttENT prints)."""
    cycle_weight: float = Field(default=10.0, ge=0)
    """Weight of the cycle losses (translated there and back, a slice must come back), relative to
    the adversarial losses; 0 switches them off."""
    identity_weight: float = Field(default=5.0, ge=0)
    """Weight of the identity losses (a slice that has the wanted look already must stay as it is);
    0 switches them off."""
    pool_size: int = Field(default=50, ge=0, le=1000)
    """How many earlier translated slices are kept and shown to each discriminator again; 0 shows
    fresh ones only."""
    batch_size: int = Field(default=0, ge=0)
    """How many slices of each domain the generators learn from in a step (1 in the papers); 0 takes
    the whole batch."""
    structure_every: int = Field(default=10, ge=0)
    """Steps between two checks that anatomy stays in its place (Dice of source slices translated
    there and back); 0 never checks."""
    generator_optimizer: TranslatorOptimizerConfig = TranslatorOptimizerConfig()
    """Optimiser of the two generators."""
    discriminator_optimizer: TranslatorOptimizerConfig = TranslatorOptimizerConfig()
    """Optimiser of each image discriminator."""

    def check_start(self, start: TranslatorConfig) -> None:
        """Refuse the weights of a translator whose generators compute otherwise.

        Raises:
            InputError: naming the setting that differs (`GeneratorConfig.check_start`).
        """
        self.generator.check_start(start.generator)


class GatedTranslatorConfig(TranslatorConfig):
    """Settings of a translator whose generators have attention gates by default."""

    generator: GatedGeneratorConfig = GatedGeneratorConfig()
    """Architecture of the two generators."""


class Translated(NamedTuple):
    """Middle slices of a step and what the generators make of them, `(b, 1, H, W)` each."""

    source: Tensor
    target: Tensor
    fake_source: Tensor
    """G_T2S of `target`, with its graph."""
    fake_target: Tensor
    """G_S2T of `source`, with its graph."""


class Translator(SliceTranslator):
    """CycleGAN between the source's and the target's look.

    G_S2T and G_T2S translate one slice at a time, of one channel; where the segmentor sees neighbouring
    slices, each of them is translated by itself, so that a slice has one translation whoever asks.
    Slices are never flipped: left and right organs differ.

    Args:
        config: architecture, weights and optimisers.
    """

    def __init__(self, config: TranslatorConfig) -> None:
        super().__init__(config.structure_every)
        self.config = config
        self.generators = nn.ModuleDict(
            {
                direction: Generator(config.generator)
                for direction in ("source_to_target", "target_to_source")
            }
        )
        self.discriminators = nn.ModuleDict(
            {
                domain: build_discriminator(config.discriminator, 1, config.discriminator_width)
                for domain in ("source", "target")
            }
        )
        self.pools = nn.ModuleDict(
            {domain: FakePool(config.pool_size) for domain in ("source", "target")}
        )
        # as segmentors are built, so that a loaded translator computes what the trained one does
        lay_out(self)

    @property
    def trained_steps(self) -> int:
        """Steps that the generators have learnt for, those of earlier runs included."""
        return min(int(g.trained_steps) for g in self._both())

    @property
    def is_gated(self) -> bool:
        """Whether the generators have attention gates."""
        return self.config.generator.kind == "gated"

    def optimizers(self) -> dict[str, optim.Optimizer]:
        """The players: `generators` together, `discriminator_source` and `discriminator_target`."""
        settings = self.config
        return {
            "generators": settings.generator_optimizer.build(self.generators.parameters()),
            **{
                f"discriminator_{domain}": settings.discriminator_optimizer.build(d.parameters())
                for domain, d in self.discriminators.items()
            },
        }

    def translate_slices(self, slices: Tensor, direction: Direction) -> Tensor:
        """`G(x)` of slices `(B, 1, H, W)`; see `SliceTranslator`."""
        translated: Tensor = self.generators[direction](slices)
        return translated

    def with_attention(
        self, image: Tensor, direction: Direction
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Translated slices and the maps of the gates on the way (`Generator.with_attention`).

        Args:
            image: `(B, 1, H, W)` float in [-1, 1].
            direction: target_to_source or source_to_target.
        """
        to_target, to_source = self._both()
        generator = to_source if direction == "target_to_source" else to_target
        return generator.with_attention(image)

    def learn(self, source: Tensor, target: Tensor, runtime: Runtime) -> dict[str, Tensor]:
        """One step of the generators, then one of each discriminator (Zhu et al., ICCV 2017).

        Args:
            source: `(B, K, H, W)`, float in [-1, 1].
            target: the same for the target.
            runtime: the run's.

        Returns:
            Weighted terms, detached: translation, cycle, identity, and a loss per discriminator.
        """
        terms, translated = self.generator_terms(source, target)
        # only the generators get gradients, although these scores come from the discriminators
        logs = runtime.minimise(terms, "generators")
        return logs | self.learn_discriminators(translated, runtime)

    def generator_terms(
        self, source: Tensor, target: Tensor
    ) -> tuple[dict[str, Tensor], Translated]:
        """What the generators learn from, for their own step.

        With x_s and x_t the middle slices of the first `batch_size` samples and L the adversarial loss,
        `L(D_T(G_S2T x_s), real) + L(D_S(G_T2S x_t), real)`
        `+ w_cycle (|G_T2S G_S2T x_s - x_s| + |G_S2T G_T2S x_t - x_t|)`
        `+ w_identity (|G_S2T x_t - x_t| + |G_T2S x_s - x_s|)`, AttENT Eqs. (2) to (4), whose text
        omits the identity losses that its figure and code have.

        Args:
            source: `(B, K, H, W)`, float in [-1, 1].
            target: the same for the target.

        Returns:
            Weighted terms with their graphs (translation, cycle, identity), and the slices with their fakes.
        """
        config = self.config
        x_s, x_t = self._middle(source), self._middle(target)  # (b, 1, H, W) each
        to_target, to_source = self._both()
        # the cycle losses go through both generators, so the fakes keep their graphs
        fake_target, fake_source = to_target(x_s), to_source(x_t)
        terms = {
            "translation": self._judge("target", fake_target, True)
            + self._judge("source", fake_source, True)
        }
        if config.cycle_weight:
            there_and_back = image_distance(to_source(fake_target), x_s)
            back_and_there = image_distance(to_target(fake_source), x_t)
            terms["cycle"] = config.cycle_weight * (there_and_back + back_and_there)
        if config.identity_weight:
            terms["identity"] = config.identity_weight * (
                image_distance(to_target(x_t), x_t) + image_distance(to_source(x_s), x_s)
            )
        return terms, Translated(x_s, x_t, fake_source, fake_target)

    def learn_discriminators(self, translated: Translated, runtime: Runtime) -> dict[str, Tensor]:
        """One step of each discriminator, once the generators have had theirs.

        `(L(D(x), real) + L(D(fake from the pool), fake)) / 2` each. They see the fakes of before the
        generators' step, without their graphs, mixed with fakes of earlier steps.

        Args:
            translated: of `generator_terms`.
            runtime: the run's.

        Returns:
            A loss per discriminator, detached.
        """
        logs: dict[str, Tensor] = {}
        for generator in self._both():
            generator.trained_steps += 1
        for domain, real, fake in (
            ("source", translated.source, translated.fake_source),
            ("target", translated.target, translated.fake_target),
        ):
            draws = runtime.sample_generators(f"pool-{domain}", len(fake))
            pool = self.pools[domain]
            assert isinstance(pool, FakePool)
            shown = pool.query(fake, draws)
            telling = (self._judge(domain, real, True) + self._judge(domain, shown, False)) / 2
            player = f"discriminator_{domain}"
            logs |= runtime.minimise({player: telling}, player)
        return logs

    def translate_with_graph(self, image: Tensor, fake: Tensor, direction: Direction) -> Tensor:
        """All slices translated, those that the generators learn from with the graph of their fakes.

        A loss on them reaches the generator by the middle slices of the first samples, which are not translated
        again.

        Args:
            image: `(B, K, H, W)`, float in [-1, 1].
            fake: `(b, 1, H, W)`, of `generator_terms` on the same samples, b at most B.
            direction: of the fakes.

        Returns:
            `(B, K, H, W)` in [-1, 1].
        """
        slices = image.flatten(0, 1)[:, None]  # (B K, 1, H, W)
        known = torch.zeros(image.shape[:2], dtype=torch.bool, device=image.device)
        known[: len(fake), image.shape[1] // 2] = True
        known = known.flatten()
        translated = fake.new_empty(slices.shape)
        translated[known] = fake
        if len(fake) < len(slices):
            with torch.no_grad():
                translated[~known] = self.translate_slices(slices[~known], direction)
        return translated.view(image.shape)

    def _both(self) -> tuple[Generator, Generator]:
        to_target = self.generators["source_to_target"]
        to_source = self.generators["target_to_source"]
        assert isinstance(to_target, Generator)
        assert isinstance(to_source, Generator)
        return to_target, to_source

    def _middle(self, image: Tensor) -> Tensor:
        return middle_slice(image[: self.config.batch_size or None])

    def _judge(self, domain: str, image: Tensor, real: bool) -> Tensor:
        return domain_loss(self.discriminators[domain](image), real, self.config.loss)
