"""Surfaces of a segmentation in the 3-D view: in the colours and with the eyes of its legend, or by their distance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Layer, Surface
from napari.utils.colormaps import Colormap
from numpy.typing import NDArray
from qtpy.QtWidgets import QFileDialog

from napari_uda.core.structure_colours import full_name
from napari_uda.core.words import number_of
from napari_uda.evaluation.surface_mesh import Mesh, surface_mesh
from napari_uda.gui.kit.canvas_words import Line, canvas_words
from napari_uda.gui.kit.colormaps import unnamed
from napari_uda.gui.kit.geometry import (
    METADATA,
    copied_geometry,
    is_one_volume,
    layer_volume,
    placement,
    tag,
)
from napari_uda.gui.kit.jobs import Report, Turns, background, running
from napari_uda.gui.kit.layer_order import bring_back, layer_name, stand_in
from napari_uda.gui.kit.layers import PREDICTED, STRUCTURES, structure_names
from napari_uda.gui.kit.layout import column, wrapped
from napari_uda.gui.kit.panel import Following, Panel, listen
from napari_uda.gui.kit.widgets import TallLabel, button, check_box, named

if TYPE_CHECKING:
    import threading

    from napari.components import ViewerModel

ROLE = "surface"
_DISTANCE, _CORNER = "distance", "bottom_right"
_COLOURS = Colormap(
    ["#2166AC", "#67A9CF", "#F7F7F7", "#EF8A62", "#B2182B"],
    name="distance",
    display_name="distance",
)
"""Blue inside of the reference, white on it, red outside: apart for every colour blindness."""
_ROUND_MM = (1.0, 2.0, 5.0, 10.0)
"""Ranges of the colours: a centimetre is as far off as any distance that is told apart by eye."""


@dataclass(frozen=True, eq=False)
class Part:
    """One structure's surface, ready to be shown.

    Attributes:
        value: its label value.
        name: its name.
        mesh: on the grid of the file.
        vertices: `(n, 3)`, indices (Z, Y, X) of the layer.
        faces: `(m, 3)`.
        distance_mm: `(n,)`, signed, to the reference; None without one.
    """

    value: int
    name: str
    mesh: Mesh
    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    distance_mm: NDArray[np.float64] | None


@dataclass(frozen=True, eq=False)
class _Before:
    """What the canvas showed before the surfaces: layers, the chosen one, the slice, and the camera."""

    ndisplay: int
    visible: list[Layer]
    active: Layer | None
    point: tuple[float, ...]
    camera: dict[str, Any]

    @classmethod
    def of(cls, viewer: ViewerModel) -> _Before:
        camera = viewer.scene.camera
        return cls(
            viewer.dims.ndisplay,
            [one for one in viewer.layers if one.visible],
            viewer.layers.selection.active,
            tuple(viewer.dims.point),
            {name: getattr(camera, name) for name in ("center", "zoom", "angles")},
        )

    def bring_back(self, viewer: ViewerModel) -> None:
        """Show it again, as far as the layers are still there."""
        viewer.dims.ndisplay = self.ndisplay
        for layer in self.visible:
            if layer in viewer.layers:
                bring_back(layer)
        if self.active in viewer.layers:
            viewer.layers.selection.active = self.active
        if len(self.point) == viewer.dims.ndim:  # napari moves it with the surfaces' range
            viewer.dims.set_point(range(viewer.dims.ndim), self.point)
            viewer.scene.camera.update(self.camera)


class SurfacePanel(Panel):
    """Switches between the layers and the surfaces of the segmentation that is seen; what was hidden comes back.

    Attributes:
        parts: the surfaces that are shown; none while the panel is off.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self.parts: list[Part] = []
        self._source: Labels | None = None
        self._before: _Before | None = None
        self._turns = Turns(self)
        self.show_surfaces = button("3-D surfaces", slot=self._on_wanted, name="surfaces")
        self.show_surfaces.setCheckable(True)
        self.distance = check_box(
            "Distance to reference",
            "Paint the distance to the reference's surface, in mm: red lies outside of it, blue inside",
            self._on_coloured,
            "surface_distance",
        )
        self.save = button(
            "Save surfaces…",
            "Write the surfaces as PLY files in millimetres (LPS), with their colours and distances",
            self._on_save,
            "save_surfaces",
        )
        self.status = named(TallLabel(), "surface_status")
        column(
            wrapped((self.show_surfaces, 1), self.distance, self.save),
            self.status,
            of=self,
            margin=0,
        )
        self._eyes = Following(self, self._on_eyes)
        self._edits = Following(self, self._on_edited)
        layers = viewer.layers.events
        listen(self, self._on_layers, layers.inserted, layers.removed)
        words = self.words = canvas_words(viewer)
        self.destroyed.connect(lambda: words.write(_DISTANCE, (), _CORNER))
        self._update()

    @property
    def is_settled(self) -> bool:
        """Whether nothing is being made."""
        return not self._turns.is_busy and not running(self)

    def put_back(self) -> None:
        """Leave the surfaces."""
        self.show_surfaces.setChecked(False)
        self._on_wanted()

    def _on_layers(self) -> None:
        if self._source is not None and self._source not in self._viewer.layers:
            self.put_back()
        self._update()

    def _update(self) -> None:
        on, ready = self.show_surfaces.isChecked(), bool(self.parts)
        found = on or _shown_labels(self._viewer) is not None
        self.show_surfaces.setEnabled(found)
        self.show_surfaces.setToolTip(
            "Show every structure as a smooth closed surface in 3-D, in the colours of the legend"
            if found
            else "No structures: segment an image, or open a segmentation"
        )
        distances = any(part.distance_mm is not None for part in self.parts)
        self.distance.setEnabled(distances)
        self.save.setEnabled(ready)
        for widget, about in ((self.save, ready), (self.status, bool(self.status.text()))):
            widget.setVisible(about)

    # -- making -----------------------------------------------------------------------------------

    def _on_wanted(self) -> None:
        if self.show_surfaces.isChecked():
            self._make()
        else:
            self._leave()
        self._update()

    def _make(self) -> None:
        source = _shown_labels(self._viewer)
        if source is None or self._source is not None:
            return
        reference = _reference_of(self._viewer, source)
        self._source, name = source, str(source.name)
        self._say("Making surfaces…")
        background(
            self,
            f"Surfaces of {name}",
            lambda report, stop: make_parts(source, reference, report, stop),
            lambda parts: self._on_made(source, reference, parts),
            failed=self._on_failed,
            cancelled=lambda: self._on_failed("Cancelled; nothing was changed."),
        )

    def _on_failed(self, sentence: str) -> None:
        self.put_back()
        self._say(sentence)

    def _on_made(self, source: Labels, reference: Labels | None, parts: list[Part]) -> None:
        if self._source != source or source not in self._viewer.layers:
            return
        if not parts:
            self._on_failed(
                f"{source.name} has no voxels of any structure; there is no surface to show."
            )
            return
        self.parts = parts
        self._before = _Before.of(self._viewer)
        for layer in self._before.visible:
            stand_in(layer)
        self._eyes.follow(source.events.colormap)
        edited = [one for one in (source, reference) if one is not None]
        self._edits.follow(
            *(event for one in edited for event in (one.events.data, one.events.labels_update))
        )
        self._turns.take(self._add(source))

    def _add(self, source: Labels) -> Iterator[None]:
        if self._viewer.dims.ndisplay != 3:
            self._viewer.dims.ndisplay = 3
        yield
        for part in self.parts:
            self._viewer.add_layer(surface_layer(source, part))
            yield
        # from the front and a little from above, head up; axes run to the feet, the back and the left
        self._viewer.scene.camera.set_view_direction(
            view_direction=(0.3, 1.0, 0.3), up_direction=(-1.0, 0.0, 0.0)
        )
        # what is high from there has to fit; hidden patients may lie far off
        self._viewer.reset_view(layers=_surfaces(self._viewer), reset_camera_angle=False)
        self._on_coloured()
        self._say(_sentence(self.parts))

    def _leave(self) -> None:
        self._turns.drop()
        self._eyes.follow()
        self._edits.follow()
        before, self._before, self._source, self.parts = self._before, None, None, []
        self.words.write(_DISTANCE, (), _CORNER)
        for layer in _surfaces(self._viewer):
            self._viewer.layers.remove(layer)
        if before is not None:
            before.bring_back(self._viewer)
        self._say("")

    def _on_edited(self) -> None:
        self._say(
            "The labels were changed since these surfaces were made; press 3-D surfaces twice to make them anew."
        )

    def _say(self, sentence: str) -> None:
        self.status.setText(sentence)
        self._update()

    # -- looks ------------------------------------------------------------------------------------

    def _on_eyes(self) -> None:
        """The legend hides a structure by a transparent colour in its layer."""
        source = self._source
        if source is None:
            return
        for layer in _surfaces(self._viewer):
            colour = source.get_color(tag(layer)["value"])
            seen = colour is not None and colour[3] > 0
            if layer.visible != seen:
                layer.visible = seen
            if seen and layer.colormap.name != _COLOURS.name:
                layer.colormap = _plain(colour)

    @property
    def _by_distance(self) -> bool:
        return self.distance.isChecked() and self.distance.isEnabled()

    def _on_coloured(self) -> None:
        if self._source is None:
            return
        by_distance = self._by_distance
        known = [part.distance_mm for part in self.parts if part.distance_mm is not None]
        most = _range_mm(known) if by_distance else 0.0
        parts = {part.value: part for part in self.parts}
        bar = False
        for layer in _surfaces(self._viewer):
            part = parts[tag(layer)["value"]]
            painted = by_distance and _is_measured(part)
            values = part.distance_mm if painted else np.ones(len(part.vertices))
            layer.data = (part.vertices, part.faces, values)
            if painted:
                layer.colormap, layer.contrast_limits = _COLOURS, (-most, most)
            else:
                layer.colormap = _plain(self._source.get_color(part.value))
                layer.contrast_limits = (0, 1)
            if layer.colorbar.visible != (painted and not bar):
                layer.colorbar.visible = painted and not bar
            bar = bar or painted
        about = ["Distance to the reference (mm)", "red: outside of it, blue: inside"]
        lines = [Line(one) for one in (*about, *_beyond(known, most))] if bar else []
        self.words.write(_DISTANCE, lines, _CORNER)

    def _on_save(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for the surfaces")
        if folder and self._source is not None:
            self.save_into(Path(folder))

    def save_into(self, folder: Path) -> None:
        """Write the shown surfaces into a folder, a PLY file for each."""
        from napari_uda.evaluation.surfaces import Surface as Written
        from napari_uda.evaluation.surfaces import surface_path, write_surface

        case = str(tag(self._source).get("case", "")) if self._source is not None else ""
        parts = list(self.parts)

        def write() -> int:
            for part in parts:
                written = Written(part.value, part.name, part.mesh, part.distance_mm)
                write_surface(surface_path(folder, case, part.name, "ply"), written)
            return len(parts)

        background(
            self,
            "Save surfaces",
            write,
            lambda count: self._say(f"{count} surfaces are in {folder}."),
            failed=self._say,
            can_cancel=False,
        )


def make_parts(
    source: Labels, reference: Labels | None, report: Report, stop: threading.Event
) -> list[Part]:
    """The surfaces of all structures of a layer; for a worker thread.

    Args:
        source: the segmentation.
        reference: of the same shape; None for none.
        report: told how many structures are done.
        stop: ends it early.

    Raises:
        InputError: a layer that is no volume.
    """
    volume, lies = layer_volume(source), placement(source)
    theirs = None if reference is None else layer_volume(reference).array
    values = [int(value) for value in np.unique(volume.array) if value]
    names = {**unnamed(values), **structure_names(source)}
    parts = []
    for number, value in enumerate(values):
        if stop.is_set():
            break
        mesh = surface_mesh(volume.array == value, volume.affine)
        distance = None
        if theirs is not None:
            distance = mesh.distances_to(surface_mesh(theirs == value, volume.affine))
        shape = source.data.shape
        vertices = np.empty_like(mesh.vertices)
        for axis in range(3):
            along = mesh.vertices[:, lies.orientation.permutation[axis]]
            vertices[:, axis] = shape[axis] - 1 - along if lies.orientation.flips[axis] else along
        parts.append(
            Part(value, names[value], mesh, vertices, _outward(vertices, mesh.faces), distance)
        )
        report(number + 1, len(values))
    return parts


def surface_layer(source: Labels, part: Part) -> Surface:
    """A surface exactly where the voxels of its layer are drawn.

    Args:
        source: the segmentation.
        part: its structure.
    """
    own = {key: value for key, value in tag(source).items() if key in ("case", "run", "model")}
    layer = Surface(
        (part.vertices, part.faces, np.ones(len(part.vertices))),
        name=layer_name(str(own.get("case") or source.name), full_name(part.name), "surface"),
        colormap=_plain(source.get_color(part.value)),
        contrast_limits=(0, 1),
        shading="smooth",
        visible=bool(source.get_color(part.value)[3] > 0),
        metadata={
            METADATA: {
                **own,
                "role": ROLE,
                "value": part.value,
                "structure": part.name,
                "of": str(source.unique_id),
            }
        },
        **copied_geometry(source),
    )
    layer.editable = False
    return layer


def _outward(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """Faces that look outward where the layer is drawn, which may be the mirror image of the patient."""
    corners = vertices[faces] - vertices.mean(axis=0)
    volume = np.einsum("ij,ij->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    return faces if volume > 0 else faces[:, ::-1]


def _plain(colour: Any) -> Colormap:
    """One colour for all values, opaque."""
    rgb = np.append(np.asarray(colour, float)[:3], 1.0)
    return Colormap([rgb, rgb], name="structure", display_name="structure")


def _range_mm(distances: list[NDArray[np.float64]]) -> float:
    """The colours' range, a round number for the ticks of the bar; beyond it colours stay the same.

    It holds 95 % of all distances unless these go beyond a centimetre, so that what is far off does not whiten
    the rest.
    """
    finite = _sizes(distances)
    most = float(np.percentile(finite, 95)) if finite.size else 0.0
    return next((one for one in _ROUND_MM if one >= most), _ROUND_MM[-1])


def _beyond(distances: list[NDArray[np.float64]], most: float) -> list[str]:
    """What the last colours stand for, where anything lies beyond the range."""
    finite = _sizes(distances)
    share = 100 * float((finite > most).mean()) if finite.size else 0.0
    if not share:
        return []
    part = "less than 1 %" if share < 1 else f"{share:.0f} %"
    return [f"darkest: beyond {most:g} mm ({part} of the points, at most {finite.max():.1f} mm)"]


def _sizes(distances: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    sizes = np.abs(np.concatenate(distances))
    return sizes[np.isfinite(sizes)]


def _sentence(parts: list[Part]) -> str:
    known = any(part.distance_mm is not None for part in parts)
    finite = [
        part.distance_mm for part in parts if part.distance_mm is not None and _is_measured(part)
    ]
    count = number_of(len(parts), "surface")
    if not known:
        return f"{count}."
    lacking = [full_name(part.name) for part in parts if not _is_measured(part)]
    without = f" Not in the reference, so without a distance: {', '.join(lacking)}."
    ending = without if lacking else ""
    if not finite:
        return f"{count}.{ending}"
    distances = np.abs(np.concatenate(finite))
    return (
        f"{count}; {distances.mean():.1f} mm from the reference on average, at most "
        f"{distances.max():.1f} mm.{ending}"
    )


def _is_measured(part: Part) -> bool:
    """Whether its distance to the reference is known: a structure that the reference lacks has none."""
    return part.distance_mm is not None and bool(np.isfinite(part.distance_mm).all())


def _shown_labels(viewer: ViewerModel) -> Labels | None:
    """The topmost visible segmentation; a prediction before a reference."""
    found = [
        layer
        for layer in reversed(viewer.layers)
        if isinstance(layer, Labels)
        and is_one_volume(layer)
        and tag(layer).get("role", "reference") in STRUCTURES
    ]
    found.sort(key=lambda layer: (not layer.visible, tag(layer).get("role") not in PREDICTED))
    return found[0] if found else None


def _reference_of(viewer: ViewerModel, source: Labels) -> Labels | None:
    own = tag(source)
    if own.get("role") not in PREDICTED:
        return None
    for layer in reversed(viewer.layers):
        other = tag(layer)
        same = (other.get("role"), other.get("case")) == ("reference", own.get("case"))
        if isinstance(layer, Labels) and same and layer.data.shape == source.data.shape:
            return layer
    return None


def _surfaces(viewer: ViewerModel) -> list[Surface]:
    return [
        layer
        for layer in viewer.layers
        if isinstance(layer, Surface) and tag(layer).get("role") == ROLE
    ]
