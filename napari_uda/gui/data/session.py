"""Save what stands on the screen as a session, and bring it back: the button of the Data dock, and what it does."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import AVAILABLE_COLORMAPS, DirectLabelColormap
from napari.utils.notifications import show_warning
from napari.viewer import Viewer
from qtpy.QtWidgets import QDockWidget, QFileDialog, QMenu, QMessageBox, QWidget

from napari_uda.core.colours import hexadecimal
from napari_uda.core.errors import InputError
from napari_uda.core.files import shown
from napari_uda.core.version import __version__
from napari_uda.core.words import number_of
from napari_uda.data.session import (
    Checked,
    LayerState,
    Session,
    ViewState,
    check_files,
    checksum,
    read_session,
    relative_path,
    resolved,
    size_of,
    write_session,
)
from napari_uda.data.volume import Source, Volume, read_volume, write_volume
from napari_uda.gui.data.cases import CasesPanel
from napari_uda.gui.kit.choices import choices, choose
from napari_uda.gui.kit.dock import Dock
from napari_uda.gui.kit.files import LayerData, layer_data, read_layers
from napari_uda.gui.kit.geometry import METADATA, layer_volume, tag
from napari_uda.gui.kit.grid import SideBySide, entered
from napari_uda.gui.kit.jobs import Report, Turns, background, running
from napari_uda.gui.kit.layer_order import is_meant_to_be_seen
from napari_uda.gui.kit.layers import EDITED, RESULT_ROLES, structure_names
from napari_uda.gui.kit.layout import column
from napari_uda.gui.kit.measurements import draw_measurements, measurement_states
from napari_uda.gui.kit.namesakes import tell_apart
from napari_uda.gui.kit.panel import Panel
from napari_uda.gui.kit.place import (
    DOCKS,
    NAME_END,
    bring_tab_to_front,
    in_front,
    wait_for,
    waiting,
)
from napari_uda.gui.kit.widgets import button, label
from napari_uda.inference.fit import Fit

_TOLD = ("run", "corrected", "target_supervision")
"""Entries of the tag of a result that are kept as they are."""
_NOT_KEPT = ("background", "preview", "surface")
"""Roles of layers that belong to a way of looking; they are made anew."""
_FILTER = "Sessions (*.yaml *.yml)"


@dataclass(frozen=True)
class OnScreen:
    """A layer as it stands, apart from the viewer.

    Attributes:
        state: how it looks; path and checksum are still those of nothing.
        data: its voxels, which are not copied.
        volume: the same on the grid of its file; None where it cannot be written as a volume.
        source: the file that it was read from; None for one from memory.
    """

    state: LayerState
    data: Any
    volume: Volume | None
    source: Source | None

    @property
    def in_memory(self) -> bool:
        """Whether its voxels are in no file; for a worker thread, which may read the file of labels."""
        if self.source is None:
            return True
        if self.state.kind == "image":
            return False
        if self.state.role == EDITED:
            return True
        try:
            stored, _, _ = read_layers(self.source.path, "reference", {}, self.state.placement)
        except InputError:  # contours, which are no voxels
            return True
        return not np.array_equal(stored, self.data)


def states(viewer: ViewerModel) -> tuple[list[OnScreen], Session]:
    """What is on the screen now: its layers, and everything else as a session without layers."""
    grid = entered(viewer)
    all_layers = [(layer, is_meant_to_be_seen(layer)) for layer in viewer.layers]
    layers = all_layers if grid is None else grid.without()
    found = [_on_screen(layer, seen) for layer, seen in layers if not _is_helper(layer)]
    camera, dims = viewer.scene.camera, viewer.dims
    docks = _open_docks(viewer)
    window = isinstance(viewer, Viewer)  # a bare model has none
    view = ViewState(
        ndisplay=dims.ndisplay,
        order=tuple(dims.order),
        point_mm=tuple(float(place) for place in dims.point),
        center=_three(camera.center),
        zoom=float(camera.zoom),
        angles=_three(camera.angles),
    )
    session = Session(
        program=f"napari_uda {__version__}",
        saved=datetime.now(UTC).isoformat(timespec="seconds"),
        measurements=measurement_states(viewer),
        view=view,
        docks=(*docks, *(waiting(viewer) if window else ())),
        front=in_front(viewer) if window else "",
        choices={name: kept for name, dock in docks.items() if (kept := choices(dock))},
        side_by_side=isinstance(grid, SideBySide),
        **_listed_cases(docks),
    )
    return found, session


def without_file(found: Sequence[OnScreen]) -> list[OnScreen]:
    """The layers whose voxels are in no file; for a worker thread."""
    return [one for one in found if one.in_memory]


def save(
    file: Path,
    found: Sequence[OnScreen],
    session: Session,
    memory: Sequence[OnScreen],
    beside: bool,
    report: Report | None = None,
    stop: threading.Event | None = None,
) -> Session:
    """Write a session; for a worker thread.

    Args:
        file: where to.
        found: the layers.
        session: all else.
        memory: those of `found` that are in no file.
        beside: save these into the folder `<session>_layers`; else they are left out and named.
        report: progress in layers.
        stop: when set, it is given up.

    Returns:
        What was written.

    Raises:
        InputError: a file that is gone, or a folder that cannot be written.
        Cancelled: when `stop` was set.
    """
    layers: list[LayerState] = []
    left_out: list[str] = []
    for done, one in enumerate(found):
        if report is not None:
            report(done, len(found))
        source = one.source
        if one in memory:
            if not beside or one.volume is None:
                left_out.append(one.state.name)
                continue
            source = Source(_write_beside(file, one, layers))
        assert source is not None
        try:
            facts = {"sha256": checksum(source.path, stop), "bytes": size_of(source.path)}
        except OSError as error:
            raise InputError(
                f"{shown(source.path)}: is not where it was read from; put it back, or remove its layer"
            ) from error
        path = relative_path(source.path, file.parent)
        layers.append(one.state.model_copy(update={"path": path, "series": source.series, **facts}))
    folders = {"cases": session.cases, "predictions": session.predictions}
    here = {key: relative_path(path, file.parent) if path else "" for key, path in folders.items()}
    new = {"layers": tuple(layers), "left_out": tuple(left_out), **here}
    whole = session.model_copy(update=new)
    write_session(file, whole)
    return whole


def read(
    file: Path,
    report: Report | None = None,
    stop: threading.Event | None = None,
    there: Sequence[Layer] = (),
) -> tuple[Checked, list[tuple[LayerState, LayerData | Layer]]]:
    """Read a session and its volumes, those that are as they were; for a worker thread.

    Args:
        file: the session.
        report: progress in layers.
        stop: when set, it is given up.
        there: layers that are open; of what they show already, they stand in the place of the data.

    Raises:
        InputError: it is no session, or a volume cannot be read.
        Cancelled: when `stop` was set.
    """
    checked = check_files(read_session(file), file.parent, report, stop)
    contents: list[tuple[LayerState, LayerData | Layer]] = []
    spare = list(there)
    for state, path in checked.layers:
        content = _content(state, path)
        same = next((one for one in spare if _is_shown_by(one, state, path, content)), None)
        if same is not None:
            spare.remove(same)
        contents.append((state, content if same is None else same))
    return checked, contents


def _is_shown_by(layer: Layer, state: LayerState, path: Path, content: LayerData) -> bool:
    """Whether a layer is of this file, where it says that it lies, and has its voxels."""
    own = tag(layer)
    if isinstance(layer, Labels) != (state.kind == "labels") or own.get("role") != state.role:
        return False
    try:
        source = layer_volume(layer).source
        same = source is not None and source.series == state.series and source.path.samefile(path)
    except (InputError, OSError):
        return False
    return same and np.array_equal(content[0], layer.data)


def restore(
    viewer: ViewerModel,
    folder: Path,
    checked: Checked,
    contents: Sequence[tuple[LayerState, LayerData | Layer]],
) -> Iterator[None]:
    """Bring a session back in parts of some milliseconds; what else is in the viewer is hidden.

    Layers that are open already get their place and their look, and are not added again.

    Args:
        viewer: where to.
        folder: that of the session's file.
        checked: the session.
        contents: its layers that were read, or that are open.
    """
    session = checked.session
    for name, dock in _open_docks(viewer).items():
        if name != "Train":  # its previews go on
            dock.put_back()
    grid = entered(viewer)
    if isinstance(grid, SideBySide):  # of a session before, which no dock can leave
        grid.leave()
        yield
    for layer in list(viewer.layers):
        if layer.visible and not _is_helper(layer):
            layer.visible = False
    shown_layers = []
    for state, content in contents:
        is_open = isinstance(content, Layer)
        layer = content if isinstance(content, Layer) else Layer.create(*content)
        if is_open and layer not in viewer.layers:  # the user removed it meanwhile
            continue
        _set_look(layer, state)
        if is_open:
            viewer.layers.move(viewer.layers.index(layer), len(viewer.layers))
        else:
            layer.visible = False  # not drawn before it lies where it belongs
            tell_apart(viewer.layers, layer)
            viewer.add_layer(layer)
        shown_layers.append((layer, state))
        yield
    _connect_results([layer for layer, _ in shown_layers])
    if hasattr(viewer, "window"):
        yield from _open_tabs(viewer, session)
        _list_cases(viewer, session, folder)
    for layer, state in shown_layers:
        if state.visible and layer in viewer.layers:
            layer.visible = True
            viewer.layers.selection.active = layer
            yield
    images = [layer for layer, _ in shown_layers if isinstance(layer, Image) and layer.visible]
    if images:
        draw_measurements(viewer, images[-1], session.measurements)
    for name, dock in _open_docks(viewer).items():
        choose(dock, session.choices.get(name, {}))
        yield
    if session.side_by_side:
        by_eye = sorted(shown_layers, key=lambda one: one[1].visible)
        yield from _side_by_side(viewer, [layer for layer, _ in by_eye])
    _look_there(
        viewer, session.view, surfaces=bool(session.choices.get("View", {}).get("surfaces"))
    )


class SessionMenu(Panel):
    """What was done with sessions last, in a sentence.

    Attributes:
        button: with the menu; whoever lays out the dock gives it its place.
        status: the sentence; hidden while there is none.
    """

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self._turns = Turns(self)
        self.button = button(
            "Session", "Save what is on the screen as a small file, or open one", name="session"
        )
        menu = QMenu(self.button)
        menu.addAction("Save session…", self._on_save)
        menu.addAction("Open session…", self._on_open)
        self.button.setMenu(menu)
        self.status = label(name="session_status")
        self.status.hide()
        column(self.status, of=self, margin=0)

    @property
    def is_settled(self) -> bool:
        """Whether what was asked for is done."""
        return not self._turns.is_busy and not running(self)

    def save(self, file: Path) -> None:
        """Save what is on the screen; the user is asked about layers that are in no file."""
        found, session = states(self.viewer)
        self.say(f"Saving {shown(file)}…")
        background(
            self,
            f"Look at the files of {len(found)} layers",
            lambda: without_file(found),
            lambda memory: self._on_looked(file, found, session, memory),
            failed=self.say,
        )

    def open(self, file: Path) -> None:
        """Bring a session back."""
        self.say(f"Opening {shown(file)}…")
        there = [layer for layer in self.viewer.layers if not _is_helper(layer)]
        background(
            self,
            f"Open {shown(file)}",
            lambda report, stop: read(file, report, stop, there),
            lambda found: self._on_read(file, *found),
            failed=self.say,
            cancelled=lambda: self.say("Cancelled; nothing was opened."),
        )

    def _on_save(self) -> None:
        chosen, _ = QFileDialog.getSaveFileName(self, "Save the session", self._proposed(), _FILTER)
        if chosen:
            file = Path(chosen)
            self.save(file if file.suffix else file.with_suffix(".yaml"))

    def _on_open(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(self, "Open a session", "", _FILTER)
        if chosen:
            self.open(Path(chosen))

    def _proposed(self) -> str:
        """Beside the first file on the screen, which keeps the paths short."""
        sources = (tag(layer).get("file") for layer in self.viewer.layers)
        first = next((one for one in sources if isinstance(one, Source)), None)
        return "session.yaml" if first is None else str(first.path.parent / "session.yaml")

    def _on_looked(
        self, file: Path, found: list[OnScreen], session: Session, memory: list[OnScreen]
    ) -> None:
        beside = False
        volumes = [one.state.name for one in memory if one.volume is not None]
        if volumes:
            answer = ask_where(self, volumes, layers_folder(file))
            if answer is None:
                self.say("Cancelled; nothing was saved.")
                return
            beside = answer
        background(
            self,
            f"Save {shown(file)}",
            partial(save, file, found, session, memory, beside),
            lambda saved: self._on_saved(file, saved),
            failed=self.say,
            cancelled=lambda: self.say("Cancelled; the session was not saved."),
        )

    def _on_saved(self, file: Path, saved: Session) -> None:
        count = len(saved.layers)
        kept = f"Saved {shown(file)} with {number_of(count, 'layer')}"
        out = saved.left_out
        self.say(f"{kept}; left out: {', '.join(out)}." if out else f"{kept}.")

    def _on_read(
        self, file: Path, checked: Checked, contents: list[tuple[LayerState, LayerData | Layer]]
    ) -> None:
        self.say(what_is_not_there(checked) or f"{shown(file)} is shown.")
        self._turns.take(restore(self.viewer, file.parent, checked, contents))

    def say(self, words: str) -> None:
        """Show a sentence, or none."""
        self.status.setText(words)
        self.status.setVisible(bool(words))


def what_is_not_there(checked: Checked) -> str:
    """What of a session is not shown, with the remedy; "" where all is."""
    left_out = checked.session.left_out
    without = f"It was saved without {', '.join(left_out)}." if left_out else ""
    return " ".join(filter(None, (checked.sentence(), without)))


def say_in_window(viewer: ViewerModel, sentence: str) -> None:
    """Say something of the session that was opened: in the Data dock, else as a notice of napari."""
    dock = _open_docks(viewer).get("Data")
    menu = None if dock is None else dock.findChild(SessionMenu)
    if menu is None:
        show_warning(sentence)
    else:
        menu.say(sentence)


def layers_folder(file: Path) -> Path:
    """Where layers that are in no file are saved, beside the session."""
    return file.with_name(f"{file.stem}_layers")


def ask_where(parent: QWidget, names: Sequence[str], folder: Path) -> bool | None:
    """Ask whether layers that are in memory only are saved beside the session; None cancels."""
    box = QMessageBox(parent)
    box.setWindowTitle("Save session")
    box.setText(f"In memory only: {', '.join(names)}.")
    box.setInformativeText(f"They can be saved as volumes into the folder {folder.name}.")
    beside = box.addButton("Save beside", QMessageBox.ButtonRole.AcceptRole)
    out = box.addButton("Leave out", QMessageBox.ButtonRole.DestructiveRole)
    box.addButton(QMessageBox.StandardButton.Cancel)
    box.exec()
    clicked = box.clickedButton()
    return None if clicked not in (beside, out) else clicked is beside


def _is_helper(layer: Layer) -> bool:
    own = tag(layer)
    return bool(own.get("helper")) or own.get("role") in _NOT_KEPT


def _on_screen(layer: Layer, seen: bool) -> OnScreen:
    own = tag(layer)
    model: Any = own.get("model")
    known = dict(model) if isinstance(model, dict) else {}
    fit = own.get("fit")
    common: dict[str, Any] = {
        "path": "-",
        "sha256": "0" * 64,
        "bytes": 0,
        "kind": "labels" if isinstance(layer, Labels) else "image",
        "role": str(own.get("role") or ""),
        "case": str(own.get("case") or ""),
        "model": {str(key): None if one is None else str(one) for key, one in known.items()},
        **{key: str(own.get(key) or "") for key in _TOLD},
        "fit": asdict(fit) if isinstance(fit, Fit) else None,
        "name": str(layer.name),
        "visible": seen,
        "opacity": float(layer.opacity),
    }
    if isinstance(layer, Image) and not layer.rgb and not layer.multiscale:
        low, high = (float(limit) for limit in layer.contrast_limits)
        common |= {"contrast_limits": (low, high), "gamma": float(layer.gamma)}
        common["colormap"] = str(layer.colormap.name)
    if isinstance(layer, Labels):
        common |= {"contour": int(layer.contour), **_colours(layer)}
    try:
        volume = layer_volume(layer) if isinstance(layer, Image | Labels) else None
    except InputError:  # a picture, a film, a pyramid
        volume = None
    source = None if volume is None else volume.source
    return OnScreen(LayerState(**common), layer.data, volume, source)


def _colours(layer: Labels) -> dict[str, Any]:
    """Names, colours and what is hidden of a layer of structures."""
    names, colormap = structure_names(layer), layer.colormap
    found: dict[str, Any] = {"names": names}
    if isinstance(colormap, DirectLabelColormap):
        table = {
            int(value): colour
            for value, colour in colormap.color_dict.items()
            if value is not None and value != colormap.background_value
        }
        found["hidden"] = tuple(value for value, colour in table.items() if not colour[3] > 0)
        seen = table.keys() - set(found["hidden"])
        found["colours"] = {
            value: hexadecimal(table[value]).removesuffix("FF") for value in sorted(seen)
        }
    return found


def _content(state: LayerState, path: Path) -> LayerData:
    """The file of a layer as layer data."""
    if state.kind == "labels":
        role = "reliability" if state.role == "reliability" else "prediction"
        data = read_layers(path, role, state.names or None, state.placement)
    else:
        volume = read_volume(path, series=state.series, placement=state.placement)
        data = layer_data(volume, "entropy" if state.role == "entropy" else "image", {})
    own = data[1]["metadata"][METADATA]
    own |= {"role": state.role or own["role"], "case": state.case or own["case"]}
    if state.model:
        own |= {"model": dict(state.model), "run": state.run or state.model.get("name") or ""}
    own |= {key: told for key in _TOLD[1:] if (told := getattr(state, key))}
    if state.fit is not None:
        own["fit"] = Fit(**state.fit.model_dump())
    if state.kind == "image" and state.contrast_limits is not None:
        data[1]["contrast_limits"] = state.contrast_limits
    if state.name:
        data[1]["name"] = state.name
    return data


def _set_look(layer: Layer, state: LayerState) -> None:
    layer.opacity = state.opacity
    layer.name = state.name or layer.name
    if isinstance(layer, Image):
        if state.contrast_limits is not None:
            layer.contrast_limits = state.contrast_limits
        layer.gamma = state.gamma
        if state.role != "entropy" and state.colormap in AVAILABLE_COLORMAPS:
            layer.colormap = state.colormap
    if isinstance(layer, Labels):
        layer.contour = state.contour
        if state.colours or state.hidden:
            clear: dict[int | None, str] = dict.fromkeys((None, 0, *state.hidden), "transparent")
            table = {**dict[int | None, str](state.colours.items()), **clear}
            layer.colormap = DirectLabelColormap(color_dict=table)


def _connect_results(layers: Sequence[Layer]) -> None:
    """Say of every result which of these images it was made from."""
    images = {
        tag(layer).get("case"): layer for layer in layers if tag(layer).get("role") == "image"
    }
    for layer in layers:
        own = tag(layer)
        image = images.get(own.get("case"))
        if image is not None and own.get("role") in RESULT_ROLES:
            entry = {**own, "source": str(image.unique_id)}
            layer.metadata = {**layer.metadata, METADATA: entry}


def _side_by_side(viewer: ViewerModel, layers: Sequence[Layer]) -> Iterator[None]:
    by_role = {tag(layer).get("role"): layer for layer in layers}
    results = [by_role[role] for role in RESULT_ROLES if role in by_role]
    if "image" in by_role and results:
        yield from SideBySide(viewer, by_role["image"], results).enter()


def _look_there(viewer: ViewerModel, view: ViewState, *, surfaces: bool) -> None:
    """Go where one looked; surfaces, which are still being made, turn to 3-D and to themselves."""
    dims, camera = viewer.dims, viewer.scene.camera
    if len(view.order) == dims.ndim:
        dims.order = view.order
    for axis, place in enumerate(view.point_mm[: dims.ndim]):
        dims.set_point(axis, place)
    if surfaces:
        return
    dims.ndisplay = view.ndisplay
    camera.center, camera.zoom, camera.angles = view.center, view.zoom, view.angles


def _open_tabs(viewer: Any, session: Session) -> Iterator[None]:
    """Build the docks that something is to be told, and add the tabs of the others, which nobody had looked at."""
    wanted = [name for name in DOCKS if name in (*session.docks, session.front)]
    told = {*session.choices, session.front, *(("Data",) if session.cases else ())}
    for name in sorted(wanted, key=lambda name: (name not in told, name == session.front)):
        if name in told:
            viewer.window.add_plugin_dock_widget("napari_uda", name)[0].raise_()
        else:
            wait_for(viewer, name)
            bring_tab_to_front(viewer, session.front)  # before the new one is drawn
        yield


def _open_docks(viewer: ViewerModel) -> dict[str, Dock]:
    """The docks of napari_uda that the user has not closed."""
    window: Any = getattr(viewer, "window", None)  # a bare model has none
    found: dict[str, Dock] = {}
    for name, widget in () if window is None else window.dock_widgets.items():
        title = name.removesuffix(NAME_END)
        frame: QWidget | None = widget if isinstance(widget, Dock) else None
        while frame is not None and not isinstance(frame, QDockWidget):
            frame = frame.parentWidget()
        if title in DOCKS and frame is not None and not frame.isHidden():
            found[title] = widget
    return found


def _listed_cases(docks: Mapping[str, Dock]) -> dict[str, str]:
    """The folders of the list of cases, where they are now, and the case that was chosen."""
    panel = docks["Data"].findChild(CasesPanel) if "Data" in docks else None
    if panel is None or panel.found is None:
        return {}
    other = panel.found.predictions
    return {
        "cases": str(panel.found.path.absolute()),
        "predictions": "" if other is None else str(other.absolute()),
        "case": "" if panel.current is None else panel.current.name,
    }


def _list_cases(viewer: ViewerModel, session: Session, folder: Path) -> None:
    """List the cases again, instead of those that were listed meanwhile."""
    dock = _open_docks(viewer).get("Data")
    panel = None if dock is None else dock.findChild(CasesPanel)
    if panel is not None and session.cases:
        other = resolved(session.predictions, folder) if session.predictions else None
        panel.open_folder(resolved(session.cases, folder), other, on_screen=session.case)


def _write_beside(file: Path, one: OnScreen, before: Sequence[LayerState]) -> Path:
    """Write a layer into the folder beside the session, under a name that no other one there has."""
    assert one.volume is not None
    words = "_".join(filter(None, (one.state.case, one.state.role))) or one.state.name
    stem = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in words)
    folder, taken = layers_folder(file), {Path(state.path).name for state in before}
    number, name = 1, f"{stem}.nii.gz"
    while name in taken:
        number += 1
        name = f"{stem}_{number}.nii.gz"
    volume = one.volume.in_one_place()
    if one.state.kind == "labels":
        high = int(volume.array.max(initial=0))
        volume = volume.with_array(volume.array.astype(np.min_scalar_type(high), copy=False))
    write_volume(folder / name, volume)
    return folder / name


def _three(numbers: Sequence[float]) -> tuple[float, float, float]:
    first, second, third = (float(number) for number in numbers)
    return first, second, third
