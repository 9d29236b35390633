"""The parts of `viewer.py`: what is done in the window while its gaps and times are measured."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import napari
import numpy as np
from heartbeat import Heartbeat, Row, live, live_until
from napari.layers import Labels
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QWidget
from scipy import ndimage

from napari_uda.data.folder import DataFolder
from napari_uda.data.provenance import ModelOrigin
from napari_uda.data.volume import Volume, read_labels, read_volume
from napari_uda.gui.kit.files import SAMPLES, layer_data
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.layers import show
from napari_uda.inference.predict import Prediction
from napari_uda.run.folder import RunFolder
from napari_uda.run.status import RunState, run_status

WINDOW = (1500, 950)
TYPICAL, LARGE, SMALL = (96, 256, 256), (150, 512, 512), (48, 160, 160)
"""Z, Y, X of volumes."""
_LINES = 20_000
_SCALARS = 6
_BLOCK = 8  # slices in a row before it is the other viewer's turn


def measure(part: str, shared: Path, *, quick: bool) -> list[Row]:
    """Run one part.

    Args:
        part: its name.
        shared: folder for what a later part needs of it.
        quick: smaller volumes, shorter phases.
    """
    from large_parts import large

    parts: dict[str, Callable[[Path, bool], list[Row]]] = {
        "train": train,
        "train_bare": lambda folder, quick: add_bare(folder / "train.npz", "previews"),
        "segment": segment,
        "segment_bare": lambda folder, quick: add_bare(folder / "segment.npz", "result"),
        "scroll": scroll,
        "edit": edit,
        "attach": attach,
        "large": lambda folder, quick: large(folder, quick=quick),
    }
    return parts[part](shared, quick)


# -- what is looked at ----------------------------------------------------------------------------


def sample(shape: tuple[int, ...]) -> tuple[Volume, Volume, dict[int, str]]:
    """A volume of the sample data and its labels, resampled to a shape, and the structures."""
    folder = DataFolder.open(SAMPLES / "mr")
    case = folder.cases[0]
    assert case.label is not None
    image, labels = read_volume(case.image), read_labels(case.label)
    factors = np.divide(shape, image.array.shape)
    affine = image.affine.copy()
    affine[:3, :3] /= factors[::-1]
    grey = ndimage.zoom(image.array.astype(np.float32), factors, order=1)
    grey += np.random.default_rng(0).normal(0, 5, grey.shape)
    structures = ndimage.zoom(labels.array, factors, order=0)
    half = structures[:, :, : shape[2] // 2]
    half[half == 1] = 5  # a fifth structure
    names = {value: name for name, value in folder.labels.items()} | {5: "half of MYO"}
    return (
        Volume(grey.astype(np.int16), affine, "case"),
        Volume(structures, affine, "case"),
        names,
    )


def prediction(image: Volume, labels: Volume, names: dict[int, str]) -> Prediction:
    """The labels three voxels off, uncertain at their borders."""
    predicted = np.roll(labels.array, 3, axis=2)
    wrong = (predicted != labels.array).astype(np.float32)
    entropy = np.clip(ndimage.uniform_filter(wrong, 5), 0, 1)
    reliability = np.where(entropy > 0.5, 2, 1).astype(np.uint8)
    return Prediction(predicted, entropy, reliability, names, image, "case", ModelOrigin("run"))


def window(shape: tuple[int, int] = WINDOW) -> napari.Viewer:
    """A viewer that has been drawn."""
    viewer = napari.Viewer()
    viewer.window.resize(*shape)
    live(1.0)
    return viewer


def dock(viewer: napari.Viewer, name: str) -> Any:
    """Open a dock as the menu does."""
    _, widget = viewer.window.add_plugin_dock_widget("napari_uda", name)
    return widget


def count_of(role: str, viewer: napari.Viewer) -> int:
    return sum(tag(layer).get("role") == role for layer in viewer.layers)


# -- training -------------------------------------------------------------------------------------


def train(shared: Path, quick: bool) -> list[Row]:
    """A training of SE-ASA on the sample data, watched."""
    from napari_uda.run.recipes import build_config

    seconds = 6.0 if quick else 10.0
    config = build_config(
        "se_asa",
        recipe="cpu_small",
        data={"source": SAMPLES / "ct", "target": SAMPLES / "mr"},
        steps=100_000,
        method={"warmup_steps": 0, "prototype_batches": 1},
    )
    viewer = window()
    widget = dock(viewer, "Train")
    live(2.0)
    phase = "window idle, Train dock open"
    beat = Heartbeat(lambda: phase)
    live(seconds / 2)
    path = shared / "run"
    phase = "training process starts"
    widget.form.started.emit((path, config))
    live_until(lambda: widget.watch.history.step > 1)
    phase = ""
    widget.watch.leave()
    widget.previews.watch(None)
    live(1.0)
    phase = "training unwatched: the price of the cores"
    live(seconds)
    phase = ""
    widget.attach(path)
    live_until(lambda: widget.watch.history.step > 1)
    live(1.0)
    phase = "training watched: curves"
    live(seconds)
    phase = "first previews: layers are added"
    widget.previews.wanted.click()
    live_until(lambda: count_of("preview", viewer) > 0 and widget.previews.is_settled)
    live(0.5)
    phase = "training watched: curves and live previews"
    live(2 * seconds)
    np.savez(
        shared / "train.npz",
        **{layer.name: layer.data for layer in viewer.layers if layer.visible},
    )
    beat.stop()
    RunFolder(path).ask_to_stop("discard")
    live_until(lambda: run_status(RunFolder(path)).state is not RunState.RUNNING)
    viewer.close()
    return beat.rows(
        steady=("training watched: curves", "training watched: curves and live previews")
    )


def add_bare(arrays: Path, what: str) -> list[Row]:
    """The same arrays in napari alone, one layer per turn of the event loop."""
    with np.load(arrays) as found:
        contents = {name: found[name] for name in found}
    viewer = window()
    shown = _added(viewer, contents)
    phase = f"napari alone: the same layers of {what} are added"
    beat = Heartbeat(lambda: phase)
    _in_turns(shown)
    live(0.5)
    beat.stop()
    viewer.close()
    return beat.rows()


def _added(viewer: napari.Viewer, contents: dict[str, np.ndarray]) -> Iterator[None]:
    for name, array in contents.items():
        if array.dtype == np.uint8:
            viewer.add_labels(array, name=name)
        else:
            viewer.add_image(array, name=name)
        yield
    if "input" in contents:  # previews lie in a grid
        viewer.canvas.grid.enabled = True
        yield


def _in_turns(steps: Iterator[None]) -> None:
    """One step per turn of the event loop."""
    ended: list[bool] = []

    def proceed() -> None:
        try:
            next(steps)
        except StopIteration:
            ended.append(True)
        else:
            QTimer.singleShot(0, proceed)

    QTimer.singleShot(0, proceed)
    live_until(lambda: bool(ended))


# -- segmenting -----------------------------------------------------------------------------------


def segment(shared: Path, quick: bool) -> list[Row]:
    """The shipped model on a volume of usual size."""
    image, _, _ = sample(SMALL if quick else TYPICAL)
    viewer = window()
    _add(viewer, image, "image")
    widget = dock(viewer, "Segment")
    live_until(widget.run.isEnabled)
    live_until(lambda: "Reading" not in widget.about.text())
    live(1.0)
    started: list[str] = []

    def phase() -> str:
        if not started:
            return "window idle, Segment dock open"
        return f"{started[0]}: segmenting" if widget.bar.isVisible() else f"{started[0]}: showing"

    beat = Heartbeat(phase)
    live(2.0)
    for title in ("first volume", "again"):
        started[:] = [title]
        widget.run.click()
        live_until(lambda: widget.run.isEnabled() and not widget.results.is_counting, seconds=600.0)
        live(0.5)
    beat.stop()
    results = [layer for layer in viewer.layers if tag(layer).get("role") != "image"]
    np.savez(shared / "segment.npz", **{layer.name: layer.data for layer in results})
    viewer.close()
    return beat.rows(steady=("first volume: segmenting", "again: segmenting"))


# -- scrolling ------------------------------------------------------------------------------------


def scroll(shared: Path, quick: bool) -> list[Row]:
    """Image, prediction, reference, entropy and its contours, with our docks and without."""
    rows = []
    for shape in (SMALL, TYPICAL) if quick else (TYPICAL, LARGE):
        rows += _scroll(shape, blocks=6 if quick else 30)
    return rows


def _scroll(shape: tuple[int, int, int], blocks: int) -> list[Row]:
    image, labels, names = sample(shape)
    ours, contents = _with_docks(image, labels, names)
    alone = _alone(contents, ours.canvas.size)
    middle = shape[0] // 2
    slices = [middle - _BLOCK // 2 + index for index in range(_BLOCK)]
    times: dict[str, list[float]] = {"ours": [], "alone": []}
    computed: dict[str, list[float]] = {"ours": [], "alone": []}
    for block in range(blocks + 2):
        for name, viewer in (("ours", ours), ("alone", alone)):
            spent, own = _scroll_through(viewer, slices if block % 2 else slices[::-1])
            times[name] += [spent] if block >= 2 else []
            computed[name] += [own] if block >= 2 else []
    pairs = zip(times["ours"], times["alone"], strict=True)
    ratio = statistics.median(mine / bare for mine, bare in pairs)
    own_of = {name: statistics.median(values) for name, values in computed.items()}
    title = " x ".join(map(str, shape))
    verdict = f"ratio {ratio:.2f}, <= 1.25: {'met' if ratio <= 1.25 else 'MISSED'}"
    ours.close()
    alone.close()
    return [
        Row.of(f"slice, {title}: napari alone", times["alone"], own=own_of["alone"]),
        Row.of(f"slice, {title}: all docks open", times["ours"], verdict, own_of["ours"]),
    ]


def _scroll_through(viewer: napari.Viewer, slices: list[int]) -> tuple[float, float]:
    """Milliseconds per slice, drawn: passed, and computed by the thread of the window."""
    QApplication.processEvents()
    began, computed = time.perf_counter(), time.thread_time()
    for index in slices:
        viewer.dims.set_current_step(0, index)
        QApplication.processEvents()  # slices
        QApplication.processEvents()  # draws what that asked for
    passed, own = time.perf_counter() - began, time.thread_time() - computed
    return passed / len(slices) * 1e3, own / len(slices) * 1e3


def _with_docks(
    image: Volume, labels: Volume, names: dict[int, str]
) -> tuple[napari.Viewer, dict[str, Any]]:
    """The four docks as they are used, and the arrays of the layers."""
    viewer = window()
    _add(viewer, image, "image")
    _add(viewer, labels, "reference", names)  # an outline as soon as there is a prediction
    show(viewer, prediction(image, labels, names))
    segmenting, scoring = dock(viewer, "Segment"), dock(viewer, "Score")
    dock(viewer, "Train")
    looking = dock(viewer, "View")
    live_until(lambda: looking.is_settled and not segmenting.results.is_counting)
    live_until(scoring.score.isEnabled)
    scoring.score.click()
    live_until(lambda: scoring.table.rowCount() > 0 and scoring.score.isEnabled())
    panel = segmenting.results.entropy
    segmenting.results.tabs.setCurrentIndex(1)
    panel.map.setChecked(True)
    panel.contours.setChecked(True)
    live_until(lambda: count_of("contours", viewer) > 0 and not segmenting.results.is_counting)
    live(1.0)
    shown = [layer for layer in viewer.layers if layer.visible]
    return viewer, {
        layer.name: (layer.data, getattr(layer, "contour", None), layer.scale) for layer in shown
    }


def _alone(contents: dict[str, Any], canvas: tuple[int, int]) -> napari.Viewer:
    """The same arrays in napari's own colours, in a canvas of the same size."""
    viewer = window()
    for name, (array, contour, scale) in contents.items():
        if contour is None:
            viewer.add_image(array, name=name, scale=scale)
        else:
            viewer.add_labels(array, name=name, scale=scale).contour = contour
    spare = QWidget()
    viewer.window.add_dock_widget(spare, area="right")
    spare.setMinimumWidth(1)
    live(0.5)
    for _ in range(3):  # the window shares its room by rules of its own
        height, width = viewer.canvas.size
        spare.setFixedWidth(max(1, spare.width() + width - canvas[1]))
        viewer.window.resize(WINDOW[0], WINDOW[1] + canvas[0] - height)
        live(0.5)
    if max(abs(mine - other) for mine, other in zip(viewer.canvas.size, canvas, strict=True)) > 20:
        raise RuntimeError(f"canvas of {viewer.canvas.size} beside one of {canvas}")
    return viewer


def _add(
    viewer: napari.Viewer, volume: Volume, role: str, names: dict[int, str] | None = None
) -> None:
    array, arguments, kind = layer_data(volume, role, names or {})
    add = viewer.add_labels if kind == "labels" else viewer.add_image
    add(array, **arguments)


# -- editing --------------------------------------------------------------------------------------


def edit(shared: Path, quick: bool) -> list[Row]:
    """Strokes of a brush over several slices of a scored prediction."""
    image, labels, names = sample(SMALL if quick else TYPICAL)
    viewer = window()
    show(viewer, prediction(image, labels, names))
    _add(viewer, labels, "reference", names)
    widget = dock(viewer, "Score")
    live_until(widget.score.isEnabled)
    widget.score.click()
    live_until(lambda: widget.table.rowCount() > 0 and widget.score.isEnabled())
    layer = widget.choices.predictions.layer
    viewer.layers.selection.active = layer
    layer.mode, layer.brush_size = "paint", 12
    editing = widget.editing
    live_until(lambda: not editing.is_busy)
    live(1.0)
    said: dict[str, float] = {}
    editing.changed.connect(lambda *_: said.setdefault("slice", time.perf_counter()))
    editing.settled.connect(lambda *_: said.setdefault("volume", time.perf_counter()))
    phase = ""
    beat = Heartbeat(lambda: phase)
    slices, volumes = [], []
    for number in range(6 if quick else 16):
        phase = "first stroke" if not number else "later strokes"
        _stroke(viewer, layer, number)
        said.clear()
        began = time.perf_counter()
        live_until(lambda: "volume" in said and not editing.is_busy)
        slices.append((said["slice"] - began) * 1e3)
        volumes.append((said["volume"] - began) * 1e3)
        phase = ""
        live(0.3)
    beat.stop()
    viewer.close()
    return [
        _once("first stroke until its slice is scored", slices[:1], 100),
        _once("later strokes until their slice is scored", slices[1:], 100),
        _once("first stroke until the volume is scored", volumes[:1], 1000),
        _once("later strokes until the volume is scored", volumes[1:], 1000),
        *(Row(**{**vars(row), "what": f"gaps, {row.what}"}) for row in beat.rows()),
    ]


def _stroke(viewer: napari.Viewer, layer: Labels, number: int) -> None:
    """A drag of the brush through a structure on a slice of its own, drawn when the button is let go."""
    depth, height, width = layer.data.shape
    index = depth // 2 + number - 8
    viewer.dims.set_current_step(0, index)
    value = 1 + number % 4
    with layer.block_history():
        for step in range(20):
            layer.paint((index, height // 2 + step, width // 2 + step), value)


def _once(what: str, values: list[float], goal: float) -> Row:
    """Reactions, of which the median is to be within the goal."""
    met = statistics.median(values) <= goal
    return Row.of(what, values, f"median <= {goal:.0f}: {'met' if met else 'MISSED'}")


# -- attaching ------------------------------------------------------------------------------------


def attach(shared: Path, quick: bool) -> list[Row]:
    """A run with a long history, which still grows."""
    folder = RunFolder(shared / "long")
    folder.path.mkdir()
    folder.config_file.write_text("method: {name: se_asa}\nsteps: 30000\n")
    folder.events_file.write_text('{"event": "started"}\n')
    _append(folder, 1, _LINES)
    viewer = window()
    widget = dock(viewer, "Train")
    live(2.0)
    phase = "attaching to 20 000 lines"
    beat = Heartbeat(lambda: phase)
    began = time.perf_counter()
    widget.attach(folder.path)
    live_until(lambda: widget.watch.history.step == _LINES and widget.watch.curves is not None)
    taken = (time.perf_counter() - began) * 1e3
    phase = "20 000 lines grow"
    for second in range(6):
        _append(folder, _LINES + 1 + second, _LINES + 1 + second)
        live(1.0)
    beat.stop()
    viewer.close()
    return [Row.of("attach until all curves are drawn", [taken]), *beat.rows()]


def _append(folder: RunFolder, first: int, last: int) -> None:
    random = np.random.default_rng(first)
    values = random.random((last - first + 1, _SCALARS))
    with folder.metrics_file.open("a") as file:
        for step, row in zip(range(first, last + 1), values, strict=True):
            scalars = {f"loss_{index}": float(value) for index, value in enumerate(row)}
            file.write(json.dumps({"step": step, "seconds": step / 2, **scalars}) + "\n")
