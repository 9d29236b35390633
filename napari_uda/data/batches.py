"""TrainingData: the two domains of a run as slices, and the batches that a step draws from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from napari_uda.core import distributed
from napari_uda.core.config import Config
from napari_uda.core.seeds import batch_indices, generator
from napari_uda.data.appearance import IntensityAugmentation, augment_intensity
from napari_uda.data.facts import DataFacts
from napari_uda.data.folder import Case
from napari_uda.data.slices import SliceStore
from napari_uda.data.spatial import SpatialConfig, move, random_affine_matrices
from napari_uda.data.structure_appearance import StructureAppearanceConfig, augment_structures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    ChooseSlices: TypeAlias = Callable[
        [Literal["source", "target"], NDArray[np.int64], list[np.random.Generator]],
        NDArray[np.int64],
    ]
    """See `methods.base.Method.choose_slices`."""


class AugmentConfig(Config):
    """Random changes of the training slices."""

    intensity: IntensityAugmentation = "none"
    """Random change of grey values in labelled slices: none, gamma (with contrast and brightness),
    bezier (a random grey-value curve), gin (random convolutions) or gin_ipa (two results of gin,
    blended from place to place)."""
    structures: StructureAppearanceConfig = StructureAppearanceConfig()
    """Random brightness, contrast and patches of each labelled structure, on top of the change of the whole slice."""
    spatial: SpatialConfig = SpatialConfig(rotation_deg=0, scale=0, shear=0, shift=0)
    """Random rotation, scaling, shear and shift of source and target slices."""

    @property
    def changes_grey_values(self) -> bool:
        """Whether labelled slices look other than they are, and not only turned or moved."""
        return self.intensity != "none" or self.structures.is_on


@dataclass(frozen=True)
class Labelled:
    """Slices with labels: `image` (B, K, H, W) float32 in [-1, 1], `label` (B, H, W) int64.

    `unchanged` are the same slices before their grey values were changed at random; None where they were not.
    """

    image: Tensor
    label: Tensor
    unchanged: Tensor | None = None

    @property
    def plain(self) -> Tensor:
        """The slices as the scanner made them, moved as `image` and `label` are: what a translator learns from."""
        return self.image if self.unchanged is None else self.unchanged


@dataclass(frozen=True)
class Unlabelled:
    """Slices of the target domain: `image` (B, K, H, W) float32 in [-1, 1]. There is no label field.

    `index` (B,) int64 says which of the target slices they are, for what a method keeps per slice, and
    `matrices` (B, 2, 3) how they were moved (`data.spatial.move`); None where they were not.
    """

    image: Tensor
    index: Tensor | None = None
    matrices: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """What one step sees; a domain that the method does not need is None.

    `source` is the labelled domain: the source, or the target for `target_supervised`. `corrected` are
    target slices whose labels somebody corrected (`data.corrected`), for `Method.corrected_terms` alone.
    """

    source: Labelled | None = None
    target: Unlabelled | None = None
    corrected: Labelled | None = None

    def labelled(self) -> Labelled:
        """The labelled slices, for methods whose `needs` promise them."""
        if self.source is None:
            raise ValueError("this batch has no labelled slices")
        return self.source

    def unlabelled(self) -> Unlabelled:
        """The target slices, for methods whose `needs` promise them."""
        if self.target is None:
            raise ValueError("this batch has no target slices")
        return self.target


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Slices of a run and the batches drawn from them.

    Attributes:
        facts: what was measured.
        source: labelled slices, or None.
        target: slices without labels, or None.
        corrected: slices of corrected target cases with their labels, or None.
        held_out: labelled cases kept out of training (paths), for watching.
        seed: of the run.
        batch_size: slices per domain, step and process.
        augment: random changes of the slices.
    """

    facts: DataFacts
    source: SliceStore | None
    target: SliceStore | None
    held_out: tuple[Case, ...] = ()
    seed: int = 0
    batch_size: int = 4
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    corrected: SliceStore | None = None

    def batch(
        self,
        step: int,
        device: torch.device,
        stream: str = "",
        choose: ChooseSlices | None = None,
    ) -> Batch:
        """This rank's part of the batch of one step, augmented, on the device.

        Args:
            step: training step.
            device: where to put it.
            stream: another name draws another, independent sequence of batches.
            choose: may take other slices of source and target than those whose turn it is.
        """
        source = target = corrected = None
        if self.source is not None:
            source = self._labelled(self.source, f"source{stream}", step, device, choose)
        if self.corrected is not None:
            corrected = self._labelled(self.corrected, f"corrected{stream}", step, device)
        if self.target is not None:
            indices, generators = self._draw(self.target, f"target{stream}", step, choose)
            image = self.target.image(indices).to(device, non_blocking=True)
            matrices = self._matrices(generators)
            if matrices is not None:
                image, _ = move(image, None, matrices)
            target = Unlabelled(image, torch.from_numpy(indices).to(device), matrices)
        return Batch(source, target, corrected)

    def _labelled(
        self,
        store: SliceStore,
        stream: str,
        step: int,
        device: torch.device,
        choose: ChooseSlices | None = None,
    ) -> Labelled:
        """Slices of a labelled domain, moved and augmented."""
        indices, generators = self._draw(store, stream, step, choose)
        structures = self._generators(f"structures-{stream}", step)
        return self._changed(store, indices, generators, structures, device)

    def _changed(
        self,
        store: SliceStore,
        indices: NDArray[np.int64],
        generators: list[np.random.Generator],
        structures: list[np.random.Generator],
        device: torch.device,
    ) -> Labelled:
        """Labelled slices as a step sees them.

        Looks of structures have numbers of their own, so that what else is drawn stays the same without them.
        """
        image = store.image(indices).to(device, non_blocking=True)
        label = store.label(indices).to(device, non_blocking=True)
        matrices = self._matrices(generators)
        if matrices is not None:
            image, moved = move(image, label, matrices)
            assert moved is not None
            label = moved
        seen = augment_intensity(image, self.augment.intensity, generators)
        classes = self.facts.num_classes
        seen = augment_structures(seen, label, self.augment.structures, classes, structures)
        return Labelled(seen, label, image if self.augment.changes_grey_values else None)

    def example(self, domain: Literal["source", "target"], row: int, step: int) -> Tensor:
        """A slice moved and augmented as training does it, with other random numbers: something to look at.

        Args:
            domain: the labelled one or the target.
            row: of the slice among those of its domain.
            step: another step, another look.

        Returns:
            `(1, K, size, size)` on the CPU.
        """
        one = np.array([row])
        generators, structures = (
            [generator(self.seed, f"{name}-example", step, row)]
            for name in ("augment", "structures")
        )
        if domain == "source":
            assert self.source is not None
            return self._changed(
                self.source, one, generators, structures, torch.device("cpu")
            ).image
        assert self.target is not None
        image, matrices = self.target.image(one), self._matrices(generators)
        return image if matrices is None else move(image, None, matrices)[0]

    def source_slices(self, count: int) -> Tensor:
        """Some un-augmented labelled-domain slices, `(count, K, size, size)`, on the CPU."""
        if self.source is None:
            raise ValueError("this run has no labelled domain")
        indices = generator(self.seed, "bank").integers(len(self.source), size=count)
        return self.source.image(indices)

    def whole_target(self, slices_at_once: int, device: torch.device) -> Iterator[Tensor]:
        """All target slices once, as they are, in parts that each look like the whole.

        Args:
            slices_at_once: the most that a part holds, all processes together.
            device: where to put them.

        Yields:
            This process's share of each part, `(B, K, H, W)`.
        """
        if self.target is None:
            raise ValueError("this run has no target slices")
        for part in self.target.parts(slices_at_once):
            own = part[distributed.rank() :: distributed.world_size()]
            yield self.target.image(own).to(device)

    def _draw(
        self, store: SliceStore, stream: str, step: int, choose: ChooseSlices | None
    ) -> tuple[NDArray[np.int64], list[np.random.Generator]]:
        """This rank's slices of the batch, and a random generator for each of them."""
        size, first = self.batch_size, distributed.rank() * self.batch_size
        whole = batch_indices(self.seed, stream, step, len(store), size * distributed.world_size())
        own = whole[first : first + size]
        if choose is not None:
            # with numbers of their own, so that a slice that is chosen is changed as another would be
            own = choose(
                "source" if store is self.source else "target",
                own,
                self._generators(f"choose-{stream}", step),
            )
        return own, self._generators(f"augment-{stream}", step)

    def _generators(self, stream: str, step: int) -> list[np.random.Generator]:
        """Random numbers for each of this rank's places in the batch of a step."""
        first = distributed.rank() * self.batch_size
        places = range(first, first + self.batch_size)
        return [generator(self.seed, stream, step, place) for place in places]

    def _matrices(self, generators: list[np.random.Generator]) -> Tensor | None:
        """How slices are moved, `(B, 2, 3)`; None where they are not."""
        spatial = self.augment.spatial
        return random_affine_matrices(spatial, generators) if spatial.is_on else None
