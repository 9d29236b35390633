"""CycleGAN as adaptation of images (Zhu et al. 2017): a segmentor learns in one of the two looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, optim

from napari_uda.core.runtime import Runtime
from napari_uda.data.batches import Batch
from napari_uda.methods.base import Method, TranslatingConfig
from napari_uda.networks.segmentor import Segmentor
from napari_uda.players.translator import Translator


class CycleGANConfig(TranslatingConfig):
    """Settings of cyclegan."""

    name: Literal["cyclegan"] = "cyclegan"
    """Name of the method."""
    segment: Literal["translated_source", "translated_target", "real_and_translated_source"] = (
        "translated_source"
    )
    """What the segmentation network learns from: translated_source (source slices with the target's
    look; target slices are segmented as they are), translated_target (source slices as they are;
    target slices are given the source's look first, AttENT's rows CycleGAN and pixel space) or
    real_and_translated_source (both looks of each source slice, the real one with the random changes of
    augment; target slices are segmented as they are) (CG-D1)."""


class CycleGAN(Method[CycleGANConfig]):
    """Two generators translate between the domains while a segmentor learns in one of the two looks.

    The segmentor's loss does not reach the generators. In the papers it is trained after them; here
    both learn in the same steps, so that one run predicts by itself, and the segmentor follows the
    generators as they settle.
    """

    family = "translation"
    paper = "Zhu et al., ICCV 2017"
    summary = "translates images, to train on source in target style or to predict on target in source style"
    needs = frozenset({"source", "target"})
    learns_from_corrected = True
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "both_looks": {"segment": "real_and_translated_source"}
    }

    translator: Translator

    def __init__(self, config: CycleGANConfig, segmentor: Segmentor, num_classes: int) -> None:
        super().__init__(config, segmentor, num_classes)
        self.translator = Translator(config.translator)

    def optimizers(self) -> Mapping[str, optim.Optimizer]:
        return {
            "segmentor": self.build_segmentor_optimizer(),
            **self.translator.optimizers(),
        }

    def step(self, batch: Batch, runtime: Runtime) -> dict[str, Tensor]:
        source, target = batch.labelled(), batch.unlabelled()
        # a translator of two looks learns from what scanners made, not from random changes of it
        both = self.config.segment == "real_and_translated_source"
        given = source.plain if both else source.image
        # all of it with the generators as they stand before this step
        logs = self.translator.structure_check(
            self.segmentor, self.predict_labelled, given, source.label, runtime
        )
        translation, translated = self.translator.generator_terms(given, target.image)
        seen, label = source.image, source.label
        if self.config.segment != "translated_target":
            fake = translated.fake_target.detach()
            seen = self.translator.translate_with_graph(given, fake, "source_to_target")
        if both:
            seen, label = torch.cat([source.image, seen]), torch.cat([label, label])

        segmentation = self.supervised_loss(self.segmentor(seen), label)
        terms = {"segmentation": segmentation, **self.corrected_terms(batch)}
        logs |= runtime.minimise(terms, "segmentor")
        logs |= runtime.minimise(translation, "generators")
        return logs | self.translator.learn_discriminators(translated, runtime)

    def predict(self, image: Tensor) -> Tensor:
        """Logits of the main head; with `translated_target`, of slices given the source's look first."""
        return super().predict(self.of_target(image))

    def of_target(self, image: Tensor) -> Tensor:
        if self.config.segment == "translated_target":
            image = self.translator.translate(image, "target_to_source")
        return image

    def predict_labelled(self, image: Tensor) -> Tensor:
        """Logits of source slices, which the segmentor sees as it does in training."""
        if self.config.segment == "translated_source":
            image = self.translator.translate(image, "source_to_target")
        return super().predict(image)
