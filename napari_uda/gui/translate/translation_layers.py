"""What a translation adds to the viewer: the other look, the way back, and where the two ways differ.

The layers carry the role `translation`, and tell themselves apart by `part` (translated, cycle,
difference, or the name of an attention map) and `direction`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.experimental import link_layers
from napari.layers import Image, Layer

from napari_uda.data.volume import write_maps
from napari_uda.gui.kit.geometry import METADATA, copied_geometry, placement, tag
from napari_uda.gui.kit.layer_order import layer_name
from napari_uda.gui.kit.layers import find, image_arguments, put, result_tag

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_uda.inference.translate import Translation
    from napari_uda.run.run import Run

_KEYS = ("role", "part", "direction", "source", "run")
_SHORT = {"quarter": "¼", "half": "½"}  # a cell of the grid has room for few letters


@dataclass(frozen=True, eq=False)
class ComparedTranslation:
    """A translation with what is needed to look at it.

    Attributes:
        translation: what `napari_uda.translate` returned.
        difference: `(Z, Y, X)` float32, absolute difference of the original and the cycle
            reconstruction in raw intensities. The original is clipped to `limits` first, as the
            generators saw it, so that what lies outside of the run's range is no difference.
        limits: raw intensities of the input between which the generators saw it.
        other_limits: the same of a typical volume of the other domain.
    """

    translation: Translation
    difference: NDArray[np.float32]
    limits: tuple[float, float]
    other_limits: tuple[float, float]

    @classmethod
    def of(cls, translation: Translation, run: Run) -> ComparedTranslation:
        """Compare the original with its reconstruction; for a worker thread.

        Args:
            translation: made by `run`.
            run: knows the range of intensities of both domains.
        """
        start, end = translation.direction.split("_to_")
        volume = translation.volume
        intensity = getattr(run.facts, f"{start}_intensity")
        low, high = intensity.raw_bounds(volume.canonical().array)
        difference = np.clip(volume.array, low, high).astype(np.float32)
        difference -= translation.cycle
        np.abs(difference, out=difference)
        other = getattr(run.facts, f"{end}_range")
        return cls(translation, difference, (low, high), (float(other[0]), float(other[1])))

    def parts(self) -> dict[str, NDArray[np.float32]]:
        """The maps by their part, each on the file's grid."""
        translation = self.translation
        return {
            "translated": translation.translated,
            "cycle": translation.cycle,
            "difference": self.difference,
            **translation.attention,
        }

    def save(self, out: Path) -> list[Path]:
        """Write `<case>_<part>.nii.gz` of every part on the file's grid: all of them or none.

        Raises:
            InputError: if the folder cannot be written; no half file is left.
        """
        translation = self.translation
        return write_maps(out, translation.case, translation.volume, self.parts())


def show_translation(
    viewer: ViewerModel, result: ComparedTranslation, image: Image
) -> Iterator[Layer]:
    """Make one layer after the other, so that a dock can let the viewer draw in between.

    All start hidden but the translated volume, which lies over the original. Layers of an earlier
    translation of the same layer by the same run in the same direction are updated in place.

    Args:
        viewer: the viewer.
        result: what to show.
        image: the layer that was translated.
    """
    lies = placement(image)
    for part, array in result.parts().items():
        yield _put_part(viewer, result, image, part, lies.to_layer(array))


def show_colorbars(layers: Sequence[Layer]) -> Iterator[None]:
    """Give the layers whose values mean something a colour bar, one after the other."""
    for layer in layers:
        if tag(layer).get("part") not in ("translated", "cycle") and not layer.colorbar.visible:
            bar = layer.colorbar  # small enough not to cover a cell of the grid
            bar.size, bar.tick_length, bar.font_size, bar.position = (10, 70), 3, 7, "bottom_right"
            bar.visible = True
            yield


def hide_other_translations(viewer: ViewerModel, image: Image, shown: Sequence[Layer]) -> None:
    """Hide translations of the same layer that are not `shown`: they would cover the original."""
    for layer in viewer.layers:
        own = tag(layer)
        other = (own.get("role"), own.get("source")) == ("translation", str(image.unique_id))
        if other and layer not in shown and layer.visible:
            layer.visible = False


def _put_part(
    viewer: ViewerModel,
    result: ComparedTranslation,
    image: Image,
    part: str,
    data: NDArray[np.float32],
) -> Layer:
    translation = result.translation
    own = result_tag(image, translation, "translation")
    own |= {"part": part, "direction": translation.direction}
    known = find(viewer, **{key: own[key] for key in _KEYS})
    layer = put(
        viewer,
        Image(
            data,
            **_look(result, image, part),
            **copied_geometry(image),
            metadata={METADATA: own},
            visible=part == "translated",
        ),
        _KEYS,
    )
    if layer is not known and part == "cycle":  # to be compared, both need one contrast
        link_layers([image, layer], ("contrast_limits", "gamma", "colormap"))
    return layer


def _look(result: ComparedTranslation, image: Image, part: str) -> dict[str, Any]:
    """Name, colours and limits of a part; limits that are fixed here need no look at the values."""
    case, low, high = result.translation.case, *result.limits
    if part == "translated":
        name = f"{case} → {result.translation.direction.rpartition('_')[2]}"
        return image_arguments(name) | {"contrast_limits": result.other_limits}
    if part == "cycle":
        same = {key: getattr(image, key) for key in ("contrast_limits", "gamma", "colormap")}
        return image_arguments(layer_name(case, "cycle")) | same
    if part == "difference":
        colours = {"colormap": "magma", "contrast_limits": (0.0, (high - low) / 2)}
        return image_arguments(layer_name(case, "|original − cycle|")) | colours
    colours = {"colormap": "viridis", "contrast_limits": (0.0, 1.0)}
    words = [_SHORT.get(word, word) for word in part.split("_")]
    return image_arguments(layer_name(case, " ".join(words))) | colours
