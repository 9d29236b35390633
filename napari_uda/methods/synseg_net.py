"""SynSeg-Net: the segmentor and the generators learn together, end to end (Huo et al. 2018).

SY-Dn are the decisions taken where paper and released code differ. The released code has licences of
CycleGAN's kind (BSD); none of it is used here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field
from torch import Tensor, optim

from napari_uda.core.runtime import Runtime
from napari_uda.data.batches import Batch
from napari_uda.losses.reach import scaled_gradient
from napari_uda.methods.base import Method, TranslatingConfig
from napari_uda.networks.segmentor import Segmentor
from napari_uda.players.translator import Translator, TranslatorConfig


class SynSegTranslatorConfig(TranslatorConfig):
    """The generators of SynSeg-Net, which have no identity losses."""

    identity_weight: float = Field(default=0.0, ge=0)
    """Weight of the identity losses (a slice that has the wanted look already must stay as it is);
    0, as in the paper, switches them off."""


class SynSegNetConfig(TranslatingConfig):
    """Settings of synseg_net."""

    name: Literal["synseg_net"] = "synseg_net"
    """Name of the method."""
    translator: SynSegTranslatorConfig = SynSegTranslatorConfig()
    """The generators, their discriminators and what they learn from."""
    segmentation_weight: float = Field(default=1.0, ge=0)
    """Weight of the supervised loss for the generator from source to target, whose slices the
    segmentor learns from; 0 keeps it from the generators, as in cyclegan."""


class SynSegNet(Method[SynSegNetConfig]):
    """A segmentor learns on translated source slices, and its loss shapes their translation.

    One step of generators and segmentor together, then one of each image discriminator. The supervised
    loss reaches the segmentor and the generator from source to target, and no other network. The
    segmentor is any of the package and not the paper's ResNet, whose released form ends in a tanh (SY-D1);
    its classes are weighed by their sizes in the batch and not by fixed numbers (SY-D2); the weight is that
    of the generator alone (SY-D3).
    """

    family = "translation"
    paper = "Huo et al., TMI 2019"
    summary = (
        "cyclegan whose translation also learns from the segmentation of translated source slices"
    )
    needs = frozenset({"source", "target"})
    learns_from_corrected = True

    translator: Translator

    def __init__(self, config: SynSegNetConfig, segmentor: Segmentor, num_classes: int) -> None:
        super().__init__(config, segmentor, num_classes)
        self.translator = Translator(config.translator)

    def optimizers(self) -> Mapping[str, optim.Optimizer]:
        return {"segmentor": self.build_segmentor_optimizer(), **self.translator.optimizers()}

    def step(self, batch: Batch, runtime: Runtime) -> dict[str, Tensor]:
        source, target = batch.labelled(), batch.unlabelled()
        weight = self.config.segmentation_weight
        # all of it with the generators as they stand before this step
        logs = self.translator.structure_check(
            self.segmentor, self.predict_labelled, source.image, source.label, runtime
        )
        translation, translated = self.translator.generator_terms(source.image, target.image)

        # S(G_st(x_s)) against y_s: the weight scales what goes on to G_st, not what S learns.
        fake = scaled_gradient(translated.fake_target, weight)
        seen = self.translator.translate_with_graph(source.image, fake, "source_to_target")
        segmentation = self.supervised_loss(self.segmentor(seen), source.label)
        supervised = {"segmentation": segmentation, **self.corrected_terms(batch)}

        if weight:
            logs |= runtime.minimise({**translation, **supervised}, "generators", "segmentor")
            logs["segmentation_of_generators"] = weight * segmentation.detach()
        else:
            logs |= runtime.minimise(supervised, "segmentor")
            logs |= runtime.minimise(translation, "generators")
        return logs | self.translator.learn_discriminators(translated, runtime)

    def predict_labelled(self, image: Tensor) -> Tensor:
        """Logits of source slices, which the segmentor sees in the target's look, as in training."""
        return super().predict(self.translator.translate(image, "source_to_target"))
