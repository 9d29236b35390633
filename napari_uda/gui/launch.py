"""Open napari from the shell: volumes, predictions or a run, arranged to be looked at.

A folder of cases opens as a list in the Data dock, with its first case shown; volumes get the window usual for
what they seem to be, and the View dock stands beside them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from napari_uda.core.errors import InputError

try:
    import napari
except ImportError as error:
    raise InputError("napari is not installed; pip install 'napari_uda[all]' brings it") from error

from napari.layers import Layer
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication

from napari_uda.core.files import is_file, is_folder, shown
from napari_uda.data.folder import find_volumes
from napari_uda.data.session import is_session
from napari_uda.data.volume import Placement
from napari_uda.gui.data import session
from napari_uda.gui.data.session_menu import say_in_window, what_is_not_there
from napari_uda.gui.kit.dock import Dock
from napari_uda.gui.kit.files import read_layers
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.grid import SideBySide
from napari_uda.gui.kit.layers import RESULT_ROLES
from napari_uda.gui.kit.namesakes import tell_apart
from napari_uda.gui.kit.opening import CHECKING, opening_order
from napari_uda.inference.cases import CaseList, holds_predictions, list_cases
from napari_uda.run.folder import RunFolder
from napari_uda.run.packed import is_packed

logger = logging.getLogger(__name__)

_BUSY_SECONDS = 0.05
_SETTLING_SECONDS, _MOST_SETTLING_SECONDS = 2.0, 60.0
WINDOW = (1500, 900)
"""Size of the window, and of its picture, in pixels."""


def open_viewer(
    paths: Iterable[Path], *, screenshot: Path | None = None, placement: Placement = "auto"
) -> None:
    """Show everything `paths` name in one napari window; returns when the window is closed.

    Args:
        paths: volumes, folders of cases (data folders, predictions, runs, trees of patients), a data folder
            and the predictions for it, or a session.
        screenshot: save a picture of the window there instead of waiting for the user.
        placement: which of sform and qform is trusted where a NIfTI file has both.

    Raises:
        InputError: if nothing can be read.
    """
    given = list(paths)
    if len(given) == 1 and is_session(given[0]):
        _open_session(given[0], screenshot)
        return
    packed = next((path for path in given if is_packed(path)), None)
    if packed is not None:
        raise InputError(
            f"{shown(packed)}: is a packed run, which holds no images and no predictions; segment images with it "
            f"(`napari-uda predict {packed} IMAGE --out FOLDER`) and show that folder"
        )
    found = case_list(given, placement)
    contents = []
    if found is None:
        contents = [read_layers(file, placement=placement) for file in volume_files(given)]
    viewer = napari.Viewer(title="napari_uda")
    viewer.window.resize(*WINDOW)
    _, view = viewer.window.add_plugin_dock_widget("napari_uda", "View")
    docks = [view]
    if found is not None:
        docks.append(viewer.window.add_plugin_dock_widget("napari_uda", "Data")[1])
    QApplication.processEvents()  # the canvas gets its size, which the camera is fitted to
    if found is None:
        fill_viewer(viewer, contents)
    else:
        docks[-1].cases.open_list(found)
    view.linked.setChecked(not viewer.canvas.grid.enabled)
    if screenshot is None:
        _run()
        return
    _take_picture(viewer, docks, screenshot)


def _open_session(file: Path, screenshot: Path | None) -> None:
    """Show what a session holds, as far as its files are as they were.

    Raises:
        InputError: it is no session, or nothing of it is left.
    """
    checked, contents = session.read(file)
    if checked.session.layers and not contents:
        raise InputError(checked.sentence())
    words = what_is_not_there(checked)
    if words:
        logger.warning("%s", words)
    viewer = napari.Viewer(title="napari_uda")
    viewer.window.resize(*WINDOW)
    QApplication.processEvents()
    for _ in session.restore(viewer, file.parent, checked, contents):
        QApplication.processEvents()  # a dock has its place among the tabs once it is shown
    if words:
        say_in_window(viewer, words)
    if screenshot is None:
        _run()
        return
    widgets = viewer.window.dock_widgets.values()
    _take_picture(viewer, [one for one in widgets if isinstance(one, Dock)], screenshot)


def _take_picture(viewer: Any, docks: Sequence[Dock], file: Path) -> None:
    """Save a picture of the window once everything in it has come to rest, and close it."""
    start = rest = time.monotonic()
    while (now := time.monotonic()) < min(rest + _SETTLING_SECONDS, start + _MOST_SETTLING_SECONDS):
        QApplication.processEvents()
        busy = time.monotonic() > now + _BUSY_SECONDS  # a first picture may take seconds
        if busy or not all(dock.is_settled for dock in docks):
            rest = time.monotonic()
        time.sleep(0.01)
    close_notices()
    file.parent.mkdir(parents=True, exist_ok=True)
    viewer.screenshot(str(file), canvas_only=False, flash=False)
    viewer.close()
    _let_windows_go()


def _run() -> None:
    """Wait for the user to close napari."""
    napari.run()
    _let_windows_go()


def _let_windows_go() -> None:
    """Let Qt delete what was closed, which it leaves for later; at the end of the process PyQt5 may crash over it."""
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def close_notices() -> None:
    """Close napari's notices, which would cover a picture of the window."""
    for widget in QApplication.allWidgets():
        if type(widget).__name__ == "NapariQtNotification":
            widget.close()


def fill_viewer(viewer: Any, contents: list[tuple[Any, dict[str, Any], str]]) -> None:
    """Add layer data to a viewer; the first case is seen, a whole result of it side by side."""
    added = [Layer.create(*content) for content in contents]
    added.sort(key=opening_order)
    for layer in added:
        tell_apart(viewer.layers, layer)
        viewer.add_layer(layer)
    first = _case(added[0])
    for layer in added:
        layer.visible = _case(layer) == first and tag(layer).get("role") not in CHECKING
    shown = {tag(layer).get("role"): layer for layer in reversed(added) if _case(layer) == first}
    results = [shown[role] for role in RESULT_ROLES if role in shown]
    if "image" in shown and len(results) == len(RESULT_ROLES):
        shown["entropy"].colorbar.visible = True
        for _ in SideBySide(viewer, shown["image"], results).enter():
            pass
        middle = shown["image"].data.shape[0] // 2
        viewer.dims.set_current_step(0, middle)


def _case(layer: Any) -> str:
    own = tag(layer)
    name = str(own.get("case") or layer.name)
    for ending in ("_labels", "_entropy", "_reliability"):
        name = name.removesuffix(ending)
    return name


def case_list(paths: Sequence[Path], placement: Placement = "auto") -> CaseList | None:
    """The cases of a folder, and of a folder of predictions given after it; None for anything else.

    A folder with one volume and nothing that belongs to it is shown as that volume.

    Raises:
        InputError: as `list_cases`.
    """
    if not paths or not is_folder(paths[0]):
        return None
    if len(paths) == 1:
        found = list_cases(paths[0], placement=placement)
        first = found.first
        if len(found.cases) == 1 and first.prediction is None and first.labels is None:
            return None
    elif len(paths) == 2 and (is_run(paths[1]) or holds_predictions(paths[1])):
        found = list_cases(paths[0], predictions=paths[1], placement=placement)
    else:
        return None
    _say_what_is_not_there(found)
    return found


def _say_what_is_not_there(found: CaseList) -> None:
    first = found.first
    if is_run(found.path) and first.prediction is None:
        logger.warning(
            "%s has no predictions, so the cases of its data are shown; write some with "
            "napari-uda predict %s IMAGE --out %s",
            shown(found.path),
            found.path,
            RunFolder(found.path).predictions,
        )
    lost = [case for case in found.cases if case.missing and case.image is None]
    if lost:
        logger.warning(
            "the image of %s is not at %s any more%s; name its folder before the predictions",
            lost[0].name,
            lost[0].missing,
            f" (nor are those of {len(lost) - 1} more)" if len(lost) > 1 else "",
        )


def is_run(path: Path) -> bool:
    """Whether a folder is a run."""
    return is_file(RunFolder(path).config_file)


def volume_files(paths: Iterable[Path]) -> list[Path]:
    """Volume files of all paths; a run gives its first prediction with the image, or else a case of its data.

    Raises:
        InputError: there is nothing to show.
    """
    files: list[Path] = []
    for path in paths:
        if not is_run(path):
            files += find_volumes([path])
            continue
        case = list_cases(path).first
        files += case.images[0].files_to_show() if case.images else []
        files += [] if case.prediction is None else [case.prediction, *case.maps.values()]
    return files
