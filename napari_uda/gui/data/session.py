"""What stands on the screen as a session: looked at, saved, read, and brought back."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer
from napari.viewer import Viewer
from qtpy.QtWidgets import QDockWidget, QWidget

from napari_uda.core.errors import InputError
from napari_uda.core.files import shown
from napari_uda.core.version import __version__
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
from napari_uda.data.volume import Source, write_volume
from napari_uda.gui.data.cases import CasesPanel
from napari_uda.gui.data.session_layers import (
    OnScreen,
    is_helper,
    is_shown_by,
    on_screen,
    read_content,
    set_look,
)
from napari_uda.gui.kit.choices import choices, choose
from napari_uda.gui.kit.dock import Dock
from napari_uda.gui.kit.files import LayerData
from napari_uda.gui.kit.geometry import METADATA, tag
from napari_uda.gui.kit.grid import SideBySide, entered
from napari_uda.gui.kit.jobs import Report
from napari_uda.gui.kit.layer_order import is_meant_to_be_seen
from napari_uda.gui.kit.layers import RESULT_ROLES
from napari_uda.gui.kit.measurements import draw_measurements, measurement_states
from napari_uda.gui.kit.namesakes import tell_apart
from napari_uda.gui.kit.place import (
    DOCKS,
    NAME_END,
    bring_tab_to_front,
    in_front,
    wait_for,
    waiting,
)


def states(viewer: ViewerModel) -> tuple[list[OnScreen], Session]:
    """What is on the screen now: its layers, and everything else as a session without layers."""
    grid = entered(viewer)
    all_layers = [(layer, is_meant_to_be_seen(layer)) for layer in viewer.layers]
    layers = all_layers if grid is None else grid.without()
    found = [on_screen(layer, seen) for layer, seen in layers if not is_helper(layer)]
    camera, dims = viewer.scene.camera, viewer.dims
    docks = open_docks(viewer)
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
        content = read_content(state, path)
        same = next((one for one in spare if is_shown_by(one, state, path, content)), None)
        if same is not None:
            spare.remove(same)
        contents.append((state, content if same is None else same))
    return checked, contents


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
    for name, dock in open_docks(viewer).items():
        if name != "Train":  # its previews go on
            dock.put_back()
    grid = entered(viewer)
    if isinstance(grid, SideBySide):  # of a session before, which no dock can leave
        grid.leave()
        yield
    for layer in list(viewer.layers):
        if layer.visible and not is_helper(layer):
            layer.visible = False
    shown_layers = []
    for state, content in contents:
        layer = _put_on_top(viewer, state, content)
        if layer is not None:
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
    for name, dock in open_docks(viewer).items():
        choose(dock, session.choices.get(name, {}))
        yield
    if session.side_by_side:
        by_eye = sorted(shown_layers, key=lambda one: one[1].visible)
        yield from _side_by_side(viewer, [layer for layer, _ in by_eye])
    _look_there(
        viewer, session.view, surfaces=bool(session.choices.get("View", {}).get("surfaces"))
    )


def _put_on_top(viewer: ViewerModel, state: LayerState, content: LayerData | Layer) -> Layer | None:
    """Add a layer, or move it where it is open already; None where the user removed it meanwhile."""
    if isinstance(content, Layer):
        if content not in viewer.layers:
            return None
        set_look(content, state)
        viewer.layers.move(viewer.layers.index(content), len(viewer.layers))
        return content
    layer = Layer.create(*content)
    set_look(layer, state)
    layer.visible = False  # not drawn before it lies where it belongs
    tell_apart(viewer.layers, layer)
    viewer.add_layer(layer)
    return layer


def layers_folder(file: Path) -> Path:
    """Where layers that are in no file are saved, beside the session."""
    return file.with_name(f"{file.stem}_layers")


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


def open_docks(viewer: ViewerModel) -> dict[str, Dock]:
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
    dock = open_docks(viewer).get("Data")
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
