"""What lies under the cursor: image, voxel, millimetres, intensity, structures, entropy; and lines that say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFormLayout, QLabel

from napari_uda.core.structure_colours import full_name
from napari_uda.data.slice_position import SIDES
from napari_uda.gui.kit.geometry import is_one_volume, placement, tag
from napari_uda.gui.kit.hatching import HATCHING
from napari_uda.gui.kit.layers import structure_names
from napari_uda.gui.kit.panel import Panel
from napari_uda.gui.kit.seen import title_of
from napari_uda.gui.kit.sides import file_index
from napari_uda.gui.kit.widgets import TallLabel

_DASH = "–"
_ROWS = ("Image", "Voxel (x, y, z)", "Position (mm)", "Intensity", "Structure", "Entropy")
_WRAPPED = ("Image", "Structure")
_LEAST_WIDTH = 80
_NO_STRUCTURES = ("contours", "error", HATCHING)  # drawn from other layers


@dataclass(frozen=True)
class Reading:
    """What the layers say at one point.

    Attributes:
        voxel: `(x, y, z)` index in the image's file, from 0.
        position_mm: `(right, anterior, superior)` in the scanner's space, RAS+; across a slice that of its middle.
        intensity: of the image, in its own units.
        structures: name of each visible layer of structures to the structure there.
        entropy: of the newest entropy map of the image's case; None without one.
        image: whose numbers these are.
    """

    voxel: tuple[int, int, int]
    position_mm: tuple[float, float, float]
    intensity: float
    structures: dict[str, str] = field(default_factory=dict)
    entropy: float | None = None
    image: str = ""


def read_at(viewer: ViewerModel, image: Image, position: Sequence[float]) -> Reading | None:
    """Read the layers at a position.

    Args:
        viewer: whose layers.
        image: 3-D; its file gives voxel and millimetres.
        position: in the viewer's world; the volume's axes are the last three.

    Returns:
        None outside the image.

    Raises:
        InputError: if the image is no single 3-D volume or its transform cannot be inverted.
    """
    where = np.asarray(position, float)[-3:]
    index = np.asarray(image.world_to_data(where), float)
    voxel = _voxel(index, image)
    if voxel is None:
        return None
    lies = placement(image)
    # the viewer's own point lies anywhere in the slice that it shows, whose place is that of its middle
    shown = np.isclose(where, np.asarray(viewer.dims.point, float)[-3:])
    exact = file_index(np.where(shown, voxel, index), lies.orientation, image.data.shape)
    ras = lies.affine @ np.append(exact, 1.0)
    whole = np.round(file_index(np.asarray(voxel, float), lies.orientation, image.data.shape))
    structures, entropy, case = {}, None, tag(image).get("case")
    for layer in viewer.layers:
        role = tag(layer).get("role")
        if isinstance(layer, Labels) and layer.visible and role not in _NO_STRUCTURES:
            here = _value(layer, where)
            if here is not None:
                structures[layer.name] = _name(layer, int(here))
        elif role == "entropy" and isinstance(layer, Image) and tag(layer).get("case") == case:
            here = _value(layer, where)
            entropy = entropy if here is None else here
    return Reading(
        voxel=(int(whole[0]), int(whole[1]), int(whole[2])),
        position_mm=(float(ras[0]), float(ras[1]), float(ras[2])),
        intensity=float(image.data[voxel]),
        structures=structures,
        entropy=entropy,
        image=title_of(image),
    )


def _value(layer: Layer, where: np.ndarray) -> float | None:
    """The value of a 3-D layer at a world position; None outside of it."""
    if not is_one_volume(layer):
        return None
    voxel = _voxel(np.asarray(layer.world_to_data(where), float), layer)
    return None if voxel is None else float(layer.data[voxel])


def _voxel(index: np.ndarray, layer: Layer) -> tuple[int, ...] | None:
    rounded = tuple(int(part) for part in np.round(index))
    inside = all(0 <= part < size for part, size in zip(rounded, layer.data.shape, strict=True))
    return rounded if inside else None


def _name(layer: Labels, value: int) -> str:
    name = structure_names(layer).get(value)
    return "background" if value == 0 else f"label {value}" if name is None else full_name(name)


class Readout(Panel):
    """Lines that keep their place; knows no viewer."""

    def __init__(self) -> None:
        super().__init__()
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setVerticalSpacing(2)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        self._values = {title: TallLabel() if title in _WRAPPED else QLabel() for title in _ROWS}
        for title, value in self._values.items():
            value.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            value.setMinimumWidth(_LEAST_WIDTH)
            if title == "Position (mm)":  # below its title where there is no room for it
                words = _position((-288.8, -288.8, -288.8))
                value.setMinimumWidth(value.fontMetrics().horizontalAdvance(words) + 4)
            form.addRow(title, value)
        self.show_reading(None)

    @property
    def texts(self) -> dict[str, str]:
        """Title to what is shown."""
        return {title: value.text() for title, value in self._values.items()}

    def show_reading(self, reading: Reading | None, note: str = "") -> None:
        """Show a reading, and where it was taken; or None, and the reason why there is none."""
        texts = [note or _DASH, *[_DASH] * (len(_ROWS) - 1)]
        if reading is not None:
            texts = [
                f"{reading.image} ({note})" if note else reading.image,
                ", ".join(map(str, reading.voxel)),
                _position(reading.position_mm),
                f"{reading.intensity:.5g}",
                _structures(reading.structures, reading.image),
                _DASH if reading.entropy is None else f"{reading.entropy:.3f}",
            ]
        for value, text in zip(self._values.values(), texts, strict=True):
            value.setText(text)
        for title in _WRAPPED:  # below its title where a word does not fit beside it
            self._values[title].setMinimumWidth(self._width_for(self._values[title]))

    def _width_for(self, value: QLabel) -> int:
        longest = max(map(value.fontMetrics().horizontalAdvance, value.text().split()), default=0)
        return max(_LEAST_WIDTH, min(longest + 4, self._values["Position (mm)"].minimumWidth()))


def _position(position_mm: tuple[float, float, float]) -> str:
    """Millimetres with the side of the patient instead of a sign."""
    parts = zip(position_mm, SIDES, strict=True)
    return "  ".join(
        f"{plus if value >= 0 else minus} {abs(value):.1f}" for value, (plus, minus) in parts
    )


def _structures(structures: dict[str, str], image: str) -> str:
    """One name if all layers agree, else each with its layer, without the name of the image that is read."""
    names = set(structures.values())
    if not names:
        return _DASH
    if len(names) == 1:
        return names.pop()
    whose = {layer: layer.removeprefix(f"{image} · ") for layer in structures}
    return "\n".join(f"{name} ({whose[layer]})" for layer, name in structures.items())
