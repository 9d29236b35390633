"""Draw the pictures of the documentation: real napari windows on the sample data, with the shipped model.

    tools/with-display .venv/bin/python tools/pictures.py [--only NAME ...] [--translator RUN]

Everything is done with clicks and keys as a person would. Each picture has a scene of its own, so one can be drawn anew
alone. `translate` needs a trained run with generators; without `--translator` it is left out. Settings, journals and runs
are kept in a temporary folder. `workbench.py` makes the animated picture in the same way.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hands import (
    Stuck,
    check,
    choose,
    click_row,
    key,
    layer_of,
    open_napari,
    own_settings,
    photograph,
    pick,
    place_of,
    press,
    show_tab,
    stroke,
    type_into,
    wait,
    wait_until,
)
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QPushButton,
    QScrollArea,
    QTabWidget,
    QWidget,
)
from scipy.ndimage import label as connected

from napari_uda.gui.launch import WINDOW, close_notices

SAMPLES = Path(__file__).resolve().parents[1] / "sample_data"
MODEL = SAMPLES / "model"
IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
DOCK_WIDTH = 520
TRAINING_SECONDS = (
    600.0  # the curves need some steps, and previews need a network that has learnt something
)


class Scene:
    """One napari window and the docks that are open in it.

    Attributes:
        viewer, window, canvas: of napari.
    """

    def __init__(self, size: tuple[int, int] = WINDOW) -> None:
        self.viewer, self.window, self.canvas = open_napari(size)
        wait(1.0)
        close_notices()  # napari's own, on the version of Qt

    def open(self, title: str, width: int = DOCK_WIDTH) -> Any:
        """Open a dock and give it room."""
        area, dock = self.viewer.window.add_plugin_dock_widget("napari_uda", title)
        self.window.resizeDocks([area], [width], Qt.Orientation.Horizontal)
        wait(1.0)
        return dock

    def sample(self, title: str = "MR, cardiac phantom, labelled") -> None:
        """Open a sample through the menu."""
        choose(self.viewer.window.file_menu, "Open Sample", "napari_uda", title)
        wait_until(lambda: len(self.viewer.layers) >= 1, "the sample")
        self.middle()

    def middle(self) -> None:
        """Show the slice in the middle."""
        self.viewer.dims.set_current_step(0, self.viewer.dims.nsteps[0] // 2)

    def segment(self) -> Any:
        """Segment the open sample with the shipped model."""
        dock = self.open("Segment")
        press(dock, "run")
        wait_until(lambda: layer_of(self.viewer, "reliability") is not None, "the result")
        wait(1.0)
        return dock

    def close_docks(self) -> None:
        """Make room for another dock."""
        self.viewer.window.remove_dock_widget("all")
        wait(0.5)

    def save(self, name: str) -> None:
        """Photograph the whole window."""
        wait(1.5)
        close_notices()
        wait(0.5)
        photograph(self.window, IMAGES / f"{name}.png")

    def end(self) -> None:
        """Close the window."""
        self.viewer.close()
        wait(0.5)


def part(dock: QWidget, name: str) -> Any:
    """The widget of this object name in a dock."""
    found = dock.findChild(QWidget, name)
    if found is None:
        raise Stuck(f"the dock has no part '{name}'")
    return found


def box(dock: QWidget, text: str) -> Any:
    """The check box that begins with this text."""
    for one in dock.findChildren(QAbstractButton):
        if one.isCheckable() and one.text().startswith(text):
            return one
    raise Stuck(f"the dock has no check box '{text}'")


def tab(dock: QWidget, title: str) -> None:
    """Open the tab of this title, wherever it is in the dock."""
    for tabs in dock.findChildren(QTabWidget):
        if title in (tabs.tabText(i) for i in range(tabs.count())):
            show_tab(tabs, title)
            return
    raise Stuck(f"the dock has no tab '{title}'")


def choose_method(dock: QWidget, name: str) -> None:
    """Choose a method of the Train dock."""
    methods = part(dock, "methods")
    wait_until(lambda: methods.count() > 0, "the methods")
    pick(methods, f"{name}:")


def erase(scene: Scene, prediction: Any, look: Callable[[], None] = lambda: None) -> None:
    """Erase with napari's brush what the network invented in the slice that is shown.

    Args:
        scene: the window.
        prediction: layer that is corrected; only its largest region is erased.
        look: called between the strokes.
    """
    z = scene.viewer.dims.current_step[0]
    regions, _ = connected(prediction.data[z] > 0)
    largest = 1 + int(np.argmax(np.bincount(regions.ravel())[1:]))
    ys, xs = np.nonzero(regions == largest)
    scene.viewer.layers.selection.active = prediction
    scene.canvas.setFocus()
    key(scene.canvas, "1")
    prediction.brush_size = 14
    for x in range(int(xs.min()) + 4, int(xs.max()) + 6, 10):
        places = [
            place_of(scene.viewer, scene.canvas, prediction, (z, y, x))
            for y in (ys.min(), ys.max())
        ]
        stroke(scene.canvas, *places)
        look()
        edited = (
            scene.viewer.layers.selection.active
        )  # the first stroke may make a layer of its own
        if edited is not None and edited is not prediction:
            prediction = edited
            key(scene.canvas, "1")


# -- scenes -----------------------------------------------------------------------------------------


def train(scene: Scene, folder: Path) -> None:
    """new_run.png and train.png: a form that is filled in, and the run that it starts."""
    scene.sample("CT, cardiac phantom, labelled")
    dock = scene.open("Train", 560)
    choose_method(dock, "se_asa")
    for domain, name in (("source", "ct"), ("target", "mr")):
        (folder / name).symlink_to(SAMPLES / name)
        type_into(part(dock, f"{domain}_folder"), name)
    pick(part(dock, "preset"), "cpu_small")
    type_into(part(dock, "run_dir"), "runs/ct2mr")
    for area in dock.findChildren(QScrollArea):
        area.verticalScrollBar().setValue(0)
    scene.save("new_run")
    press(dock, "start")
    previews = box(dock, "Live previews")
    wait_until(previews.isVisible, "the run to begin", 300)
    stop = dock.findChild(QPushButton, "stop")
    wait_until(stop.isEnabled, "the first steps", 300)
    check(previews)
    wait_until(lambda: layer_of(scene.viewer, "preview") is not None, "previews", 300)
    wait(TRAINING_SECONDS)
    scene.save("train")
    press(dock, "stop")
    wait_until(part(dock, "resume").isEnabled, "the run to stop", 120)


def segment(scene: Scene, folder: Path) -> None:
    """segment.png: image, entropy and reliability side by side."""
    scene.sample()
    dock = scene.segment()
    check(box(dock, "Side by side"))
    wait(2.0)
    scene.middle()
    scene.save("segment")


def uncertainty(scene: Scene, folder: Path) -> None:
    """uncertainty.png: the most uncertain slice with contours of equal entropy."""
    scene.sample("MR, cardiac phantom")
    dock = scene.segment()
    tab(dock, "Uncertainty")
    check(box(dock, "Contours"))
    press(dock, "next_uncertain")
    scene.save("uncertainty")


def score(scene: Scene, folder: Path) -> None:
    """score.png, errors.png, edited.png and cohort.png: scored, errors drawn, corrected, gathered."""
    scene.sample()
    scene.segment()
    scene.close_docks()
    dock = scene.open("Score")
    table = part(dock, "score_table")
    press(dock, "score")
    wait_until(lambda: table.rowCount() > 0, "the table")
    wait(2.0)
    click_row(table, 0)
    scene.save("score")
    check(box(dock, "Errors"))
    wait_until(lambda: layer_of(scene.viewer, "error") is not None, "the errors")
    scene.save("errors")
    check(box(dock, "Errors"), False)
    before = [table.item(row, 2).text() for row in range(table.rowCount())]
    erase(scene, layer_of(scene.viewer, "prediction"))
    wait_until(
        lambda: [table.item(row, 2).text() for row in range(table.rowCount())] != before,
        "other scores",
    )
    scene.save("edited")
    tab(dock, "Cohort")
    scene.save("cohort")


def view(scene: Scene, folder: Path) -> None:
    """view.png: the sample in three planes with one cursor."""
    scene.sample("CT, cardiac phantom, labelled")
    dock = scene.open("View")
    check(box(dock, "Linked cuts"))
    scene.save("view")


def translate(scene: Scene, run: Path) -> None:
    """translate.png: an MR in the look of CT, beside its cycle and the difference."""
    scene.sample("MR, cardiac phantom")
    dock = scene.open("Translate")
    models = part(dock, "models")
    wait_until(lambda: models.count() > 0, "a run with generators")
    press(dock, "translate")
    wait_until(lambda: layer_of(scene.viewer, "translation") is not None, "the translation")
    wait_until(part(dock, "blink").isEnabled, "the views to be arranged")
    scene.save("translate")


SCENES: dict[str, Callable[[Scene, Path], None]] = {
    "train": train,
    "segment": segment,
    "uncertainty": uncertainty,
    "score": score,
    "view": view,
    "translate": translate,
}


def main() -> int:
    """Draw each scene in a process of its own, so that none begins with what another left open."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SCENES, default=list(SCENES))
    parser.add_argument("--translator", type=Path, help="run of cyclegan or attent")
    parser.add_argument("--scene", choices=SCENES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not MODEL.is_dir():
        parser.error(f"the shipped model is missing: {MODEL}")
    if arguments.scene:
        scene = Scene()
        SCENES[arguments.scene](scene, Path.cwd())
        scene.end()
        return 0
    IMAGES.mkdir(parents=True, exist_ok=True)
    code = 0
    for name in arguments.only:
        with tempfile.TemporaryDirectory() as folder:
            if name == "translate":
                if arguments.translator is None:
                    print("translate: left out, give --translator RUN")
                    continue
                (Path(folder) / "runs").mkdir()
                (Path(folder) / "runs" / "translator").symlink_to(arguments.translator.absolute())
            command = [sys.executable, __file__, "--scene", name]
            done = subprocess.run(
                command, cwd=folder, env=own_settings(Path(folder) / "settings"), check=False
            )
            print(f"{name}: {'failed' if done.returncode else 'drawn'}", flush=True)
            code = code or done.returncode
    return code


if __name__ == "__main__":
    raise SystemExit(main())
