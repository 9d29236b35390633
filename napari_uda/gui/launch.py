"""Open napari from the shell: volumes, predictions or a run, arranged to be looked at.

Images get the window usual for what they seem to be, and the View dock stands beside them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_uda.core.errors import InputError

try:
    import napari
except ImportError as error:
    raise InputError("napari is not installed; pip install 'napari_uda[all]' brings it") from error

from napari.layers import Layer
from qtpy.QtWidgets import QApplication

from napari_uda.core.files import is_file, is_folder
from napari_uda.data.folder import DataFolder, find_volumes
from napari_uda.data.volume import Placement, case_name
from napari_uda.gui.kit.files import read_layers
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.grid import SideBySide
from napari_uda.gui.kit.layers import RESULT_ROLES

if TYPE_CHECKING:
    from napari_uda.run.run import Run

logger = logging.getLogger(__name__)

_ORDER = {"image": 0, "prediction": 1, "reference": 2, "entropy": 3, "reliability": 4}
_CHECKING = ("entropy", "reliability")  # for checking, not the first thing to see
_SETTLING_SECONDS, _MOST_SETTLING_SECONDS = 2.0, 60.0
WINDOW = (1500, 900)
"""Size of the window, and of its picture, in pixels."""


def open_viewer(
    paths: Iterable[Path], *, screenshot: Path | None = None, placement: Placement = "auto"
) -> None:
    """Show everything `paths` name in one napari window; returns when the window is closed.

    Args:
        paths: volumes, folders of volumes, data folders or run folders.
        screenshot: save a picture of the window there instead of waiting for the user.
        placement: which of sform and qform is trusted where a NIfTI file has both.

    Raises:
        InputError: if nothing can be read.
    """
    files = volume_files(paths)
    contents = [read_layers(file, placement=placement) for file in files]
    viewer = napari.Viewer(title="napari_uda")
    viewer.window.resize(*WINDOW)
    _, view = viewer.window.add_plugin_dock_widget("napari_uda", "View")
    QApplication.processEvents()  # the canvas gets its size, which the camera is fitted to
    fill_viewer(viewer, contents)
    view.linked.setChecked(not viewer.canvas.grid.enabled)
    if screenshot is None:
        napari.run()
        return
    start = time.monotonic()
    while time.monotonic() < start + (
        _SETTLING_SECONDS if view.is_settled else _MOST_SETTLING_SECONDS
    ):
        QApplication.processEvents()
        time.sleep(0.01)
    close_notices()
    screenshot.parent.mkdir(parents=True, exist_ok=True)
    viewer.screenshot(str(screenshot), canvas_only=False, flash=False)
    viewer.close()


def close_notices() -> None:
    """Close napari's notices, which would cover a picture of the window."""
    for widget in QApplication.allWidgets():
        if type(widget).__name__ == "NapariQtNotification":
            widget.close()


def fill_viewer(viewer: Any, contents: list[tuple[Any, dict[str, Any], str]]) -> None:
    """Add layer data to a viewer; the first case is seen, a whole result of it side by side."""
    added = [Layer.create(*content) for content in contents]
    added.sort(key=lambda layer: _ORDER.get(tag(layer).get("role", ""), 0))
    for layer in added:
        viewer.add_layer(layer)
    first = _case(added[0])
    for layer in added:
        layer.visible = _case(layer) == first and tag(layer).get("role") not in _CHECKING
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


def volume_files(paths: Iterable[Path]) -> list[Path]:
    """Volume files of all paths; a run gives its predictions and their images, or else what it learned from."""
    from napari_uda.run.folder import RunFolder
    from napari_uda.run.run import Run

    files: list[Path] = []
    for path in paths:
        if not is_file(RunFolder(path).config_file):
            files += find_volumes([path])
            continue
        run = Run.open(path)
        predictions = find_volumes([run.predictions]) if run.predictions.is_dir() else []
        if not predictions:
            command = f"napari-uda predict {path} IMAGE --out {run.predictions}"
            inputs = _first_cases(run)
            if not inputs:
                raise InputError(f"{path.name} has no predictions; write some with {command}")
            logger.warning(
                "%s has no predictions, so the first case of its data is shown; write some with %s",
                path.name,
                command,
            )
            files += inputs
            continue
        files += _images_of(run.config.data.target or run.config.data.source, predictions)
        files += predictions
    return files


def _first_cases(run: Run) -> list[Path]:
    """Image and labels of the first case of the target, then of the source, as far as they are there."""
    found: list[Path] = []
    for folder in (run.config.data.target, run.config.data.source):
        with suppress(InputError):
            if folder is not None:
                case = DataFolder.open(folder).cases[0]
                found += case.files_to_show()
    return list(dict.fromkeys(found))


def _images_of(folder: Path | None, predictions: list[Path]) -> list[Path]:
    """Images of the run's own data folder whose case has a prediction."""
    if folder is None or not is_folder(folder):
        return []
    names = {case_name(file).rpartition("_")[0] for file in predictions}
    return [case.image for case in DataFolder.open(folder).cases if case.name in names]
