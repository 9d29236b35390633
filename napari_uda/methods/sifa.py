"""SIFA: image and feature alignment on one encoder (Chen et al., AAAI 2019 and TMI 2020).

Section and equation numbers are those of the TMI paper (v2); SI-Dn are the decisions taken where papers and
released code differ. The released code has no licence, so that nothing of it may be reused; none is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, optim

from napari_uda.core.optimizer import OptimizerConfig
from napari_uda.core.runtime import Runtime
from napari_uda.data.batches import Batch
from napari_uda.methods.base import Method, MethodConfig
from napari_uda.networks.discriminator import DiscriminatorName
from napari_uda.networks.dropout import dropping, set_dropout
from napari_uda.networks.normalisation import batch_statistics_only
from napari_uda.networks.segmentor import Segmentor, SegmentorOutput
from napari_uda.players.output_adversary import AdversaryConfig, OutputAdversary
from napari_uda.players.shared_translator import SharedTranslator, SharedTranslatorConfig
from napari_uda.players.slice_translator import middle_slice


class SIFAAdversaryConfig(AdversaryConfig):
    """The discriminators of predictions, which see logits, and their weights."""

    main_weight: float = Field(default=0.1, ge=0)
    """Weight of the adversarial loss on predictions of the main head; 0 switches it off."""
    aux_weight: float = Field(default=0.01, ge=0)
    """Weight of the adversarial loss on predictions of the auxiliary head; 0 switches it off."""
    discriminator: DiscriminatorName = "patch_in"
    """Architecture of the discriminators: fc (fully convolutional), patch_bn (PatchGAN with batch
    normalisation) or patch_in (PatchGAN with instance normalisation)."""
    loss: Literal["bce", "ls"] = "ls"
    """Adversarial loss: bce (binary cross-entropy) or ls (least squares)."""


class SIFAConfig(MethodConfig):
    """Settings of both versions of SIFA."""

    segmentor_optimizer: OptimizerConfig = OptimizerConfig(
        kind="adam", lr=2e-4, momentum=0.9, weight_decay=1e-4
    )
    """Optimiser of the segmentation network; its weight decay is the papers' L2 loss (SI-D1)."""
    lr_power: float = Field(default=0.0, ge=0)
    """Learning rates fall as (1 - step/steps) to this power; 0, as in the released code of v2, keeps
    them constant."""
    translator: SharedTranslatorConfig = SharedTranslatorConfig()
    """The generator from source to target, the decoder on the encoder's features, and the image
    discriminators."""
    decoder_weight: float = Field(default=0.1, ge=0)
    """Weight with which the encoder learns from the decoder's losses; 0 keeps them from it."""
    reconstruction_weight: float = Field(default=0.1, ge=0)
    """Weight of the loss by which decoded target slices pass for source slices that were translated
    there and back; 0 switches it off."""
    adversary: SIFAAdversaryConfig = SIFAAdversaryConfig()
    """The discriminators of predictions, which see logits, and their weights."""
    adversary_optimizer: OptimizerConfig = OptimizerConfig(
        kind="adam", lr=2e-4, momentum=0.5, weight_decay=0
    )
    """Optimiser of each discriminator of predictions."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of values that are dropped behind every convolution of encoder, decoder and heads, as
    far as the network has such layers (drn)."""
    ramp_epoch_steps: int = Field(default=0, ge=0)
    """Steps of an epoch; before the fifth the adversary's weights are 0, from the seventh on they are
    whole. 0 gives them their whole weight at once."""


class SIFAv2Config(SIFAConfig):
    """Settings of sifa_v2."""

    name: Literal["sifa_v2"] = "sifa_v2"
    """Name of the method."""


class SIFAv1AdversaryConfig(SIFAAdversaryConfig):
    """The discriminator of predictions of the one head that v1 has."""

    aux_weight: float = Field(default=0.0, ge=0)
    """Weight of the adversarial loss on predictions of the auxiliary head; 0 switches it off."""


class SIFAv1Config(SIFAConfig):
    """Settings of sifa_v1."""

    name: Literal["sifa_v1"] = "sifa_v1"
    """Name of the method."""
    segmentor_optimizer: OptimizerConfig = OptimizerConfig(
        kind="adam", lr=1e-3, momentum=0.9, weight_decay=1e-4
    )
    """Optimiser of the segmentation network; its weight decay is the papers' L2 loss (SI-D1)."""
    aux_weight: float = Field(default=0.0, ge=0)
    """Weight of the auxiliary head's supervised loss, the main head's being 1; 0 switches it
    off."""
    adversary: SIFAv1AdversaryConfig = SIFAv1AdversaryConfig()
    """The discriminators of predictions, which see logits, and their weights."""
    dropout: float = Field(default=0.25, ge=0, lt=1)
    """Share of values that are dropped behind every convolution of encoder, decoder and heads, as
    far as the network has such layers (drn)."""
    ramp_epoch_steps: int = Field(default=1200, ge=0)
    """Steps of an epoch; before the fifth the adversary's weights are 0, from the seventh on they are
    whole. 0 gives them their whole weight at once."""


class SIFAv2(Method[SIFAConfig]):
    """Source slices take the target's look, and an encoder learns to segment them and to decode target slices.

    With E the encoder, C and C_ll its heads, U the decoder, G_t the generator, f_t = G_t(x_s) and
    f_s = U(E(x_t)): seven steps, each on passes with the weights that the steps before have left. Batch
    statistics are remembered in the step of E alone (SI-D2). The encoder is any network of the package, and
    the decoder sits on its `features` (SI-D3); the supervised loss is that of all methods here (SI-D4).
    """

    family = "translation"
    paper = "Chen et al., TMI 2020"
    summary = "shares one encoder for translation and segmentation"
    needs = frozenset({"source", "target"})
    learns_from_corrected = True
    translates: ClassVar[bool] = True
    config_class: ClassVar[type[MethodConfig]] = SIFAv2Config

    translator: SharedTranslator

    def __init__(self, config: SIFAConfig, segmentor: Segmentor, num_classes: int) -> None:
        super().__init__(config, segmentor, num_classes)
        self.translator = SharedTranslator(config.translator, segmentor)
        self.adversary = OutputAdversary(config.adversary, num_classes, "logits")
        set_dropout(config.dropout, segmentor, self.translator.to_source)

    def optimizers(self) -> Mapping[str, optim.Optimizer]:
        return {
            "segmentor": self.build_segmentor_optimizer(),
            **self.translator.optimizers(),
            **self.adversary.optimizers(self.config.adversary_optimizer),
        }

    def step(self, batch: Batch, runtime: Runtime) -> dict[str, Tensor]:
        config, t = self.config, self.translator
        source, target = batch.labelled(), batch.unlabelled()
        x_s, x_t = middle_slice(source.image), middle_slice(target.image)  # (B, 1, H, W) each
        # all of it with the networks as they stand before this step
        logs = t.structure_check(
            self.segmentor, self.predict_labelled, source.image, source.label, runtime
        )

        # 1. G_t: f_t passes for a target slice, and slices come back (Eqs. 1 and 3).
        with batch_statistics_only(self.segmentor):
            f_t = t.translate(source.image, "source_to_target")
            back_s = self._decode(self._encode(f_t, "1s", runtime), f_t, "1s", runtime)
            with torch.no_grad():
                seen_t = self._encode(target.image, "1t", runtime)
                f_s = self._decode(seen_t, target.image, "1t", runtime)
        terms = {"translation_target": t.judge("target", middle_slice(f_t), True)}
        terms |= t.cycle(back_s, x_s, f_s, x_t)
        logs |= runtime.minimise(terms, "generator")

        # 2. D_t: target slices against f_t of earlier steps.
        with torch.no_grad():
            f_t = t.translate(source.image, "source_to_target")
        logs |= t.learn_discriminator("target", x_t, middle_slice(f_t), runtime)

        # 3. E, C and C_ll: labels on f_t, the decoder's losses, and predictions and decoded slices of x_t that
        # pass for those of f_t (Eqs. 4 to 8).
        seen_s, seen_t = self._encode(f_t, "3s", runtime), self._encode(target.image, "3t", runtime)
        terms = {"segmentation": self.supervised_loss(seen_s, source.label)}
        terms |= self.corrected_terms(batch)
        shared: dict[str, Tensor] = {}
        if config.decoder_weight or config.reconstruction_weight:
            f_s = self._decode(seen_t, target.image, "3t", runtime)
        if config.decoder_weight:
            back_s = self._decode(seen_s, f_t, "3s", runtime)
            shared = {"translation": t.judge("source", f_s, True)}
            shared |= t.cycle(back_s, x_s, f_s, x_t)
            shared = {f"shared_{n}": config.decoder_weight * v for n, v in shared.items()}
        if config.reconstruction_weight:
            fooled = t.judge("source", f_s, True, question=1)
            terms["reconstruction"] = config.reconstruction_weight * fooled
        if ramp := self._ramp(runtime.step):
            fooling = self.adversary.fooling_losses(seen_t)
            terms |= {name: ramp * term for name, term in fooling.items()}
        found = runtime.minimise({**terms, **shared}, "segmentor")
        found.pop("shared_cycle", None)  # what `cycle` says already
        logs |= found

        # 4. U: f_s passes for a source slice, and slices come back (Eqs. 2 and 3).
        with torch.no_grad(), batch_statistics_only(self.segmentor):
            seen_s = self._encode(f_t, "4s", runtime)
            seen_t = self._encode(target.image, "4t", runtime)
        back_s = self._decode(seen_s, f_t, "4s", runtime)
        f_s = self._decode(seen_t, target.image, "4t", runtime)
        terms = {"translation_source": t.judge("source", f_s, True)}
        terms = t.cycle(back_s, x_s, f_s, x_t) | terms
        logs |= runtime.minimise(terms, "decoder") | logs  # `cycle` as it was in step 1

        # 5. D_s: source slices against f_s of earlier steps, and x_s there and back against the same.
        with torch.no_grad():
            back_s = self._decode(seen_s, f_t, "5s", runtime)
            f_s = self._decode(seen_t, target.image, "5t", runtime)
        back = back_s if config.reconstruction_weight else None
        logs |= t.learn_discriminator("source", x_s, f_s, runtime, back)

        # 6 and 7. D_p and D_p_ll: predictions of f_t against those of x_t.
        logs |= self.adversary.learn(seen_s, seen_t, runtime)
        t.steps += 1
        return logs

    def _encode(self, image: Tensor, stream: str, runtime: Runtime) -> SegmentorOutput:
        with dropping(runtime.sample_generators(f"encode-{stream}", len(image)), self.segmentor):
            output: SegmentorOutput = self.segmentor(image)
        return output

    def _decode(
        self, seen: SegmentorOutput, image: Tensor, stream: str, runtime: Runtime
    ) -> Tensor:
        """The middle slices in the source's look, `(B, 1, H, W)`."""
        decoder = self.translator.to_source
        with dropping(runtime.sample_generators(f"decode-{stream}", len(image)), decoder):
            decoded: Tensor = decoder(seen.features, middle_slice(image))
        return decoded

    def _ramp(self, step: int) -> float:
        """Share of the weights of D_p and D_p_ll: 0, in epochs 5 and 6 a third and two thirds, then 1."""
        epoch_steps = self.config.ramp_epoch_steps
        return min(max(0, step // epoch_steps - 4), 3) / 3 if epoch_steps else 1.0

    def preview_maps(
        self, image: Tensor, domain: Literal["source", "target"], index: int
    ) -> dict[str, Tensor]:
        seen = self.translator.translate(image, "source_to_target") if domain == "source" else image
        maps = super().preview_maps(image, domain, index)
        return maps | self.adversary.preview_maps(self.segmentor(seen))

    def predict_labelled(self, image: Tensor) -> Tensor:
        """Logits of source slices, which the segmentor sees in the target's look, as in training."""
        return super().predict(self.translator.translate(image, "source_to_target"))


class SIFAv1(SIFAv2):
    """SIFA as first published: one head, dropout, and a discriminator of predictions that comes in slowly.

    Six steps, for there is no D_p_ll. The rate of the segmentor does not fall in stairs, and the slice is not
    given three times as three channels (SI-D5).
    """

    paper = "Chen et al., AAAI 2019"
    summary = "the first form of sifa_v2: one head, dropout"
    config_class: ClassVar[type[MethodConfig]] = SIFAv1Config
