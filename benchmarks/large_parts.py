"""`viewer.py --large`: results of a volume of 512 x 512 x 300 voxels, beside napari alone.

Each of the two windows has a process of its own. They do what they are told in turns, and stand still while it is the
other one's turn.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import napari
import numpy as np
from heartbeat import Heartbeat, Row, live, live_until
from napari.layers import Layer
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtWidgets import QToolButton, QWidget
from viewer_parts import _add, _in_turns, _scroll_through, dock, prediction, sample, window

from napari_uda.data.volume import Volume
from napari_uda.gui.kit.canvas import free_in_canvas, make_current
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.segment.segmenting import Result, volumes_by_value
from napari_uda.inference.predict import Prediction

_BLOWN_UP, _FACTOR = (75, 128, 128), 4
_QUICK_FACTOR = 2
_GOAL = 1.25
_COMPUTED_MS = 50
_BLOCK = 8  # slices in a row before it is the other viewer's turn
_RESULTS = ("prediction", "entropy", "reliability")
ADDING, SIDES, LEAVING = "results are added", "side by side is entered", "side by side is left"
OURS, ALONE = "with docks", "napari alone"
_SAID = "said: "


def judged(ratio: float) -> str:
    return f"ratio {ratio:.2f}, <= {_GOAL}: {'met' if ratio <= _GOAL else 'MISSED'}"


def large(shared: Path, *, quick: bool) -> list[Row]:
    """Results are shown, side by side is entered and left, and slices are scrolled through, round by round."""
    ours, alone = (_Child(name, shared, quick=quick) for name in (OURS, ALONE))
    alone.ask("match", ours.ask("canvas"))
    steps = {ADDING: "add", SIDES: "enter", LEAVING: "leave"}
    gaps: dict[str, list[tuple[list[float], list[float]]]] = {phase: [] for phase in steps}
    for number in range(2 if quick else 5):
        for phase, what in steps.items():
            gaps[phase].append(_in_turn(ours, alone, number, "gap", what))
        for one in (ours, alone):
            one.ask("clear")
    rows = [row for phase, pairs in gaps.items() for row in _rows(f"longest gap, {phase}", pairs)]
    for one in (ours, alone):
        one.ask("add")
    for linked in (False, True):
        ours.ask("look", linked)
        pairs = [
            _in_turn(ours, alone, block, "scroll", block) for block in range(8 if quick else 26)
        ]
        rows += _rows(f"slice, linked cuts {'on' if linked else 'off'}", pairs[2:])
    rows += _acts(ours, alone, 3 if quick else 5)
    for one in (ours, alone):
        one.end()
    return rows


def _acts(ours: _Child, alone: _Child, times: int) -> list[Row]:
    """What is done with results, as in napari alone: the first time by itself, for much is made by then."""
    rows = []
    for what, act in (
        ("entropy is shown", "show_entropy"),
        ("reliability is shown", "show_reliability"),
        ("a structure is hidden or shown", "eye"),
        ("the largest slice of a structure is found", "step"),
        ("Score is pressed", "score"),
        ("a brush is taken up", "brush"),
        ("a tool edits a structure", "tool"),
        ("that is taken back", "undo"),
    ):
        pairs = []
        for number in range(1 if act == "brush" else times):
            pairs.append(_in_turn(ours, alone, number, "gap", act))
            for one in (ours, alone) if act.startswith("show_") else ():
                one.ask(act)  # and hidden
        title = f"longest gap, {what}"
        for name, some in ((f"{title} for the first time", pairs[:1]), (title, pairs[1:])):
            if some:
                rows += _rows(name, some, least_ms=_COMPUTED_MS)
    return rows


def _in_turn(
    ours: _Child, alone: _Child, number: int, what: str, how: Any
) -> tuple[list[float], list[float]]:
    """What both say to one request, asked in an order that changes from number to number."""
    said = {one: one.ask(what, how) for one in ((ours, alone) if number % 2 else (alone, ours))}
    return said[ours], said[alone]


def _rows(
    title: str, pairs: list[tuple[list[float], list[float]]], *, least_ms: float = 0
) -> list[Row]:
    """Two rows, the goal with the second one: the median of the ratios, or computed in no more than `least_ms`."""
    ratio = statistics.median(mine[0] / bare[0] for mine, bare in pairs)
    rows = []
    for index, name in ((1, ALONE), (0, OURS)):
        own = statistics.median(pair[index][1] for pair in pairs)
        verdict = judged(ratio) if index == 0 else ""
        if index == 0 and own <= least_ms:
            verdict = f"ratio {ratio:.2f}, computed <= {least_ms:g}: met"
        values = [pair[index][0] for pair in pairs]
        rows.append(Row.of(f"{title}: {name}", values, verdict, own))
    return rows


class _Child:
    """A process with one of the windows."""

    def __init__(self, name: str, shared: Path, *, quick: bool) -> None:
        home = shared / "home" / name.replace(" ", "_")
        home.mkdir(parents=True)
        self._process = subprocess.Popen(
            [sys.executable, __file__, name, *["--quick"] * quick],
            env={
                **os.environ,
                "XDG_CONFIG_HOME": str(home),
                "XDG_DATA_HOME": str(home),
                "NAPARI_CONFIG": str(home / "napari.yaml"),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if os.environ.get("VIEWER_VERBOSE") else subprocess.DEVNULL,
            text=True,
        )

    def ask(self, what: str, how: Any = None) -> Any:
        """Let it do something; what it says of that."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([what, how]) + "\n")
        self._process.stdin.flush()
        for said in self._process.stdout:
            if said.startswith(_SAID):
                return json.loads(said.removeprefix(_SAID))
        raise RuntimeError(f"the window ended at {what!r}")

    def end(self) -> None:
        """Close its window."""
        self._process.communicate()


def main() -> None:
    """In a process of its own: do what is asked line by line."""
    name, quick = sys.argv[1], "--quick" in sys.argv
    result, reference = large_result(_QUICK_FACTOR if quick else _FACTOR)
    one = (_Ours if name == OURS else _Alone)(result, reference)
    for line in sys.stdin:
        what, how = json.loads(line)
        acts: dict[str, Callable[[], Any]] = {
            "gap": lambda how=how: longest_gap(getattr(one, how)),
            "scroll": lambda how=how: scrolled(one, how),
            "canvas": lambda: one.viewer.canvas.size,
        }
        said = acts[what]() if what in acts else getattr(one, what)(*[how] * (how is not None))
        print(_SAID + json.dumps(said), flush=True)
    one.viewer.close()


def longest_gap(act: Callable[[], object]) -> list[float]:
    """The longest gap of the event loop while something is done and for a moment after it; and the computed one.

    Python's full collection of garbage, 0.2 s in either window, would fall into any of them by chance: it is done before.
    """
    gc.collect()
    beat = Heartbeat(lambda: "gaps")
    live(0.3)
    act()
    live(0.5)
    beat.stop()
    row = beat.rows()[0]
    return [row.worst, row.own]


def scrolled(one: _Ours | _Alone, block: int) -> list[float]:
    """Milliseconds per slice over some slices, and the computed ones; back and forth from block to block."""
    middle = one.viewer.layers[0].data.shape[0] // 2
    slices = [middle - _BLOCK // 2 + index for index in range(_BLOCK)]
    live(0.2)
    return list(_scroll_through(one.viewer, slices if block % 2 else slices[::-1]))


def large_result(factor: int) -> tuple[Result, Volume]:
    """A prediction and its reference; every voxel of a small volume blown up to a block of them."""
    image, labels, names = sample(_BLOWN_UP)
    small = prediction(image, labels, names)
    affine = image.affine.copy()
    affine[:3, :3] /= factor
    size = "x".join(str(side * factor) for side in _BLOWN_UP)
    volume = Volume(blown_up(image.array, factor), affine, f"case {size}")
    large: Prediction = replace(
        small,
        labels=blown_up(small.labels, factor),
        entropy=blown_up(small.entropy, factor),
        reliability=blown_up(small.reliability, factor),
        volume=volume,
        case=volume.name,
    )
    reference = Volume(blown_up(labels.array, factor), affine, volume.name)
    return Result(
        large, 1.0, large.unreliable_structures, volumes_ml=volumes_by_value(large)
    ), reference


def blown_up(array: np.ndarray, factor: int) -> np.ndarray:
    for axis in range(3):
        array = np.repeat(array, factor, axis)
    return array


class _Ours:
    """A window with the docks."""

    def __init__(self, result: Result, reference: Volume) -> None:
        self.viewer = window()
        self._result, self._reference = result, reference
        self._names = result.prediction.names
        _add(self.viewer, result.prediction.volume, "image")
        self._segment = dock(self.viewer, "Segment")
        dock(self.viewer, "Data")
        self._score = dock(self.viewer, "Score")
        self.view = dock(self.viewer, "View")
        self._rest()

    def add(self) -> None:
        """The reference, and the result as after a segmentation."""
        _add(self.viewer, self._reference, "reference", self._names)
        image = self.viewer.layers[0]
        self._segment._on_succeeded(image, self._result)
        self._rest()

    def enter(self) -> None:
        self._segment.views.setChecked(True)
        self._rest()

    def leave(self) -> None:
        self._segment.views.setChecked(False)
        self._rest()

    def clear(self) -> None:
        for layer in list(self.viewer.layers)[::-1]:
            if tag(layer).get("role") != "image":
                self.viewer.layers.remove(layer)
        self._rest()

    def look(self, linked: bool) -> None:
        self.view.linked.setChecked(linked)
        self._rest()

    def show_entropy(self) -> None:
        self._segment.results.entropy.map.toggle()
        self._rest()

    def show_reliability(self) -> None:
        _turn_eye(self.viewer, "reliability")
        self._rest()

    def eye(self) -> None:
        """Hide a structure, or show it again."""
        self._segment.results.legend.findChild(QToolButton, "eye_1").toggle()
        self._rest()

    def step(self) -> None:
        self._segment.results.structures.next.click()
        self._rest()

    def score(self) -> None:
        self._score.score.click()
        self._rest()

    def brush(self) -> None:
        layer = self._score.choices.predictions.layer
        self.viewer.layers.selection.active = layer
        layer.mode = "paint"
        self._rest()

    def tool(self) -> None:
        """Grow a structure by 2 mm."""
        self._score.tools.menu.actions()[3].trigger()
        self._rest()

    def undo(self) -> None:
        self._score.choices.predictions.layer.undo()
        self._rest()

    def _rest(self) -> None:
        live(0.1)
        docks = (self.view, self._segment, self._score)
        live_until(lambda: all(one.is_settled for one in docks))


class _Alone:
    """napari in its own colours with the same arrays, shown in the same way."""

    def __init__(self, result: Result, reference: Volume) -> None:
        self.viewer = window()
        free_in_canvas(self.viewer)  # else napari may end when it draws after layers were removed
        made = result.prediction
        self._arrays = {
            role: getattr(made, {"prediction": "labels"}.get(role, role)) for role in _RESULTS
        }
        self._reference = reference.array
        self._image = self.viewer.add_image(made.volume.array, name="image")
        self._copies: list[Layer] = []
        self._stripes: Layer | None = None
        self._spacing_mm = made.volume.spacing_mm
        self._hidden, self._value = False, 0

    def match(self, canvas: tuple[int, int]) -> None:
        """Give the canvas the size of the other one."""
        spare = QWidget()
        self.viewer.window.add_dock_widget(spare, area="right")
        spare.setMinimumWidth(1)
        live(0.5)
        for _ in range(3):  # the window shares its room by rules of its own
            height, width = self.viewer.canvas.size
            spare.setFixedWidth(max(1, spare.width() + width - canvas[1]))
            self.viewer.window.resize(1500, 950 + canvas[0] - height)
            live(0.5)
        mine = self.viewer.canvas.size
        if max(abs(one - other) for one, other in zip(mine, canvas, strict=True)) > 20:
            raise RuntimeError(f"canvas of {mine} beside one of {canvas}")

    def add(self) -> None:
        _in_turns(self._added())

    def _added(self) -> Iterator[None]:
        viewer = self.viewer
        viewer.add_labels(self._reference, name="reference").contour = 1
        yield
        viewer.add_labels(self._arrays["prediction"], name="prediction")
        yield
        viewer.add_image(self._arrays["entropy"], name="entropy", visible=False)
        yield
        viewer.add_labels(self._arrays["reliability"], name="reliability", visible=False)
        yield

    def enter(self) -> None:
        _in_turns(self._entered())

    def _entered(self) -> Iterator[None]:
        """Image and map in each of three cells."""
        layers = self.viewer.layers
        layers["reference"].visible = False
        for name in _RESULTS[1:]:
            copy = self.viewer.add_image(
                self._image.data,
                name=f"image of {name}",
                contrast_limits=self._image.contrast_limits,
            )
            self._copies.append(copy)
            yield
        order = [self._image, layers["prediction"]]
        for copy, name in zip(self._copies, _RESULTS[1:], strict=True):
            order += [copy, layers[name]]
        for index, layer in enumerate(order):
            if layers[index] is not layer:
                layers.move(layers.index(layer), index)
        yield
        grid = self.viewer.canvas.grid
        grid.stride, grid.shape = 2, (1, 3)
        grid.enabled = True
        yield
        for name in _RESULTS[1:]:
            layers[name].visible = True
            yield
        self.viewer.reset_view()

    def leave(self) -> None:
        viewer = self.viewer
        grid = viewer.canvas.grid
        grid.enabled = False
        grid.stride, grid.shape = 1, (-1, -1)
        for copy in self._copies:
            viewer.layers.remove(copy)
        self._copies = []
        for name in _RESULTS[1:]:
            viewer.layers[name].visible = False
        viewer.layers["reference"].visible = True
        make_current(viewer)
        viewer.reset_view()

    def show_entropy(self) -> None:
        """With its colour bar."""
        self.viewer.layers["entropy"].colorbar.visible = True
        _turn_eye(self.viewer, "entropy")

    def show_reliability(self) -> None:
        """With a layer above it, as for the stripes."""
        _turn_eye(self.viewer, "reliability")
        if self._stripes is None:
            nothing = np.zeros_like(self._arrays["reliability"])
            self._stripes = self.viewer.add_labels(nothing, name="stripes")
        self._stripes.visible = self.viewer.layers["reliability"].visible

    def eye(self) -> None:
        """Hide a structure, or show it again."""
        layer = self.viewer.layers["prediction"]
        self._hidden = not self._hidden
        colours = {value: layer.get_color(value) for value in range(2, 6)}
        shown = {1: "transparent" if self._hidden else "red"}
        layer.colormap = DirectLabelColormap(
            color_dict={None: "transparent", 0: "transparent", **shown, **colours}
        )

    def step(self) -> None:
        """Go to the largest slice of the next structure."""
        labels, spacing = self._arrays["prediction"], np.round(self._spacing_mm, 3)
        axis, self._value = int(np.argmax(spacing)), self._value % 5 + 1
        found = np.moveaxis(labels, axis, 0) == self._value
        index = int(np.argmax(found.sum((1, 2))))
        dims = self.viewer.dims
        if axis in dims.displayed:
            dims.order = (axis, *(other for other in range(3) if other != axis))
        dims.set_point(axis, float(index))

    def score(self) -> None:
        """Nothing: napari scores nothing."""

    def brush(self) -> None:
        layer = self.viewer.layers["prediction"]
        self.viewer.layers.selection.active = layer
        layer.mode = "paint"

    def tool(self) -> None:
        """As many voxels as of a structure grown by 2 mm; the first time, the labels as they were stay."""
        layer = self.viewer.layers["prediction"]
        if "as it was" not in self.viewer.layers:
            self.viewer.add_labels(layer.data.copy(), name="as it was", visible=False)
        where = np.nonzero(layer.data == 1)
        part = tuple(axis[:: max(1, len(axis) // 100_000)] for axis in where)
        layer.data_setitem(part, np.full(part[0].size, 2, np.uint8))

    def undo(self) -> None:
        self.viewer.layers["prediction"].undo()

    def clear(self) -> None:
        for layer in list(self.viewer.layers)[::-1]:
            if layer is not self._image:
                self.viewer.layers.remove(layer)
        self._stripes = None
        live(0.2)


def _turn_eye(viewer: napari.Viewer, word: str) -> None:
    """Show a layer with this word in its name, or hide it."""
    layer = next(one for one in viewer.layers if word in one.name and "hatching" not in one.name)
    layer.visible = not layer.visible


if __name__ == "__main__":
    main()
