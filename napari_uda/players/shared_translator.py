"""SharedTranslator: SIFA's generator, its decoder on the segmentor's features, and their discriminators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch import Tensor, nn, optim

from napari_uda.core.config import Config
from napari_uda.losses.adversarial import domain_loss
from napari_uda.losses.cycle import image_distance
from napari_uda.networks.discriminator import build_discriminator
from napari_uda.networks.image_decoder import ImageDecoder, ResidualGenerator
from napari_uda.networks.segmentor import Segmentor
from napari_uda.players.fake_pool import FakePool
from napari_uda.players.slice_translator import Direction, SliceTranslator
from napari_uda.players.translator import TranslatorOptimizerConfig

if TYPE_CHECKING:
    from napari_uda.core.runtime import Runtime


class SharedTranslatorConfig(Config):
    """The generator, the decoder and their discriminators."""

    width: int = Field(default=32, ge=2, le=256)
    """Channels of generator and decoder at full resolution."""
    blocks: int = Field(default=9, ge=1, le=16)
    """Number of residual blocks of the generator from source to target."""
    decoder_blocks: int = Field(default=4, ge=1, le=16)
    """Number of residual blocks of the decoder, which translates from target to source."""
    discriminator_width: int = Field(default=64, ge=4, le=512)
    """Channels of the image discriminators' first layer."""
    loss: Literal["ls", "bce"] = "ls"
    """Adversarial loss: ls (least squares) or bce (cross-entropy)."""
    cycle_weight: float = Field(default=10.0, ge=0)
    """Weight of the cycle losses (translated there and back, a slice must come back), relative to
    the adversarial losses; 0 switches them off."""
    pool_size: int = Field(default=50, ge=0, le=1000)
    """How many earlier translated slices are kept and shown to each discriminator again; 0 shows
    fresh ones only."""
    structure_every: int = Field(default=10, ge=0)
    """Steps between two checks that anatomy stays in its place (Dice of source slices translated
    there and back); 0 never checks."""
    generator_optimizer: TranslatorOptimizerConfig = TranslatorOptimizerConfig()
    """Optimiser of the generator, and of the decoder."""
    discriminator_optimizer: TranslatorOptimizerConfig = TranslatorOptimizerConfig()
    """Optimiser of each image discriminator."""


class SharedTranslator(SliceTranslator):
    """Networks that translate between the looks, of which one direction shares the segmentor's encoder.

    G_t gives source slices the target's look; U(E(x)) gives target slices the source's. D_t tells target
    slices from translated ones. D_s answers two questions about a source slice: is it a real one, and does it
    come from a translated source slice and back (rather than from a target slice)?

    Args:
        config: architecture and weights.
        segmentor: E, which stays the method's.
    """

    def __init__(self, config: SharedTranslatorConfig, segmentor: Segmentor) -> None:
        super().__init__(config.structure_every)
        self.config = config
        self.generators = nn.ModuleDict(
            {
                "source_to_target": ResidualGenerator(config.width, config.blocks),
                "target_to_source": ImageDecoder(
                    *(segmentor.feature_channels, segmentor.feature_stride),
                    *(config.width, config.decoder_blocks),
                ),
            }
        )
        self.discriminators = nn.ModuleDict(
            {
                domain: build_discriminator("patch_in", 1, config.discriminator_width, outputs)
                for domain, outputs in (("source", 2), ("target", 1))
            }
        )
        self.pools = nn.ModuleDict(
            {domain: FakePool(config.pool_size) for domain in ("source", "target")}
        )
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.steps: Tensor
        self._encoder = (segmentor,)  # in a tuple, for its parameters are not this module's
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub lacks it

    @property
    def trained_steps(self) -> int:
        """Steps that generator and decoder have learnt for, those of earlier runs included."""
        return int(self.steps)

    @property
    def to_target(self) -> nn.Module:
        """G_t, of slices `(B, 1, H, W)`."""
        return self.generators["source_to_target"]

    @property
    def to_source(self) -> nn.Module:
        """U, of features and slices `(B, 1, H, W)`."""
        return self.generators["target_to_source"]

    def translate_slices(self, slices: Tensor, direction: Direction) -> Tensor:
        """`G_t(x)` or `U(E(x))` of slices `(B, 1, H, W)`; see `SliceTranslator`."""
        translated: Tensor
        if direction == "source_to_target":
            translated = self.to_target(slices)
        else:  # a slice by itself has no neighbours but itself
            (segmentor,) = self._encoder
            seen = slices.expand(-1, segmentor.in_channels, -1, -1)
            translated = self.to_source(segmentor(seen).features, slices)
        return translated

    def optimizers(self) -> dict[str, optim.Optimizer]:
        """The players: `generator` G_t, `decoder` U, and a discriminator for each domain."""
        settings = self.config
        return {
            "generator": settings.generator_optimizer.build(self.to_target.parameters()),
            "decoder": settings.generator_optimizer.build(self.to_source.parameters()),
            **{
                f"discriminator_{domain}": settings.discriminator_optimizer.build(d.parameters())
                for domain, d in self.discriminators.items()
            },
        }

    def cycle(self, back_s: Tensor, x_s: Tensor, f_s: Tensor, x_t: Tensor) -> dict[str, Tensor]:
        """`w (|U(E(G_t(x_s))) - x_s| + |G_t(U(E(x_t))) - x_t|)` as a term; nothing if it is off.

        Args:
            back_s: U(E(G_t(x_s))), `(B, 1, H, W)`, as all of them.
            x_s: source slices.
            f_s: U(E(x_t)).
            x_t: target slices.
        """
        if not self.config.cycle_weight:
            return {}
        distance = image_distance(back_s, x_s) + image_distance(self.to_target(f_s), x_t)
        return {"cycle": self.config.cycle_weight * distance}

    def learn_discriminator(
        self, domain: str, real: Tensor, fake: Tensor, runtime: Runtime, back: Tensor | None = None
    ) -> dict[str, Tensor]:
        """One step of D_t or D_s on slices and on fakes from the pool.

        Args:
            domain: source or target.
            real: `(B, 1, H, W)` slices of it.
            fake: those that were translated to it.
            runtime: the run's.
            back: slices translated there and back, for D_s's second question; None leaves it out.
        """
        player, pool = f"discriminator_{domain}", self.pools[domain]
        assert isinstance(pool, FakePool)
        shown = pool.query(fake, runtime.sample_generators(f"pool-{domain}", len(fake)))
        terms = {player: (self.judge(domain, real, True) + self.judge(domain, shown, False)) / 2}
        if back is not None:
            there_and_back = self.judge(domain, back, True, 1) + self.judge(domain, shown, False, 1)
            terms["discriminator_reconstruction"] = there_and_back / 2
        return runtime.minimise(terms, player)

    def judge(self, domain: str, image: Tensor, real: bool, question: int = 0) -> Tensor:
        """How badly a discriminator says that slices are real (or not); question 1 is D_s's second."""
        score = self.discriminators[domain](image)[:, question]
        return domain_loss(score, real, self.config.loss)
