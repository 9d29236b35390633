"""Make docs/images/workbench.gif: napari at work, from a sample to a correction that is scored again.

The pictures of the tutorial that tells the same are taken on the way.

    tools/with-display .venv/bin/python tools/workbench.py

The real window is photographed while it is used with clicks and keys.
"""

from __future__ import annotations

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
    place_of,
    press,
    show_tab,
    stroke,
    wait,
    wait_until,
)
from pictures import IMAGES
from PIL import Image, ImageDraw, ImageFont
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QTabWidget, QWidget
from scipy.ndimage import label as connected

from napari_uda.gui.launch import close_notices

GIF = IMAGES / "workbench.gif"
SIZE, DOCK = (1360, 800), 430
WIDTH, CAPTION, COLOURS = 940, 34, 128
MOST_BYTES = 1_500_000


class Scene:
    """One napari window and the docks that are open in it.

    Attributes:
        viewer, window, canvas: of napari.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.viewer, self.window, self.canvas = open_napari(size)
        wait(1.0)
        close_notices()  # napari's own, on the version of Qt

    def open(self, title: str, width: int = DOCK) -> Any:
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


class Film:
    """Photographs of a window with a caption each, and how long each is shown."""

    def __init__(self, scene: Scene, folder: Path) -> None:
        self.scene, self.folder = scene, folder
        self.frames: list[Image.Image] = []
        self.durations: list[int] = []
        self.caption = ""

    def shoot(self, seconds: float) -> None:
        """Photograph the window, to be shown this long."""
        file = self.folder / f"{len(self.frames)}.png"
        photograph(self.scene.window, file)
        with Image.open(file) as shot:
            height = round(shot.height * WIDTH / shot.width)
            picture = shot.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
        frame = Image.new("RGB", (WIDTH, height + CAPTION), "#1a237e")
        frame.paste(picture, (0, CAPTION))
        font = ImageFont.load_default(size=18)
        ImageDraw.Draw(frame).text((14, 6), self.caption, fill="white", font=font)
        self.frames.append(frame)
        self.durations.append(round(1000 * seconds))

    def keep(self, name: str) -> None:
        """A picture of the documentation."""
        photograph(self.scene.window, IMAGES / f"{name}.png")

    def save(self, file: Path) -> None:
        """Write the film with one palette, so that what does not change costs nothing."""
        palette = _palette(self.frames)
        still = Image.Dither.NONE
        reduced = [frame.quantize(palette=palette, dither=still) for frame in self.frames]
        reduced[0].save(
            file, save_all=True, append_images=reduced[1:], duration=self.durations, loop=0, optimize=True
        )  # fmt: skip


def _palette(frames: list[Image.Image]) -> Image.Image:
    """Colours of all frames, half of them for what is colourful, which is little of a dark window."""
    pixels = np.concatenate([np.asarray(frame).reshape(-1, 3)[::7] for frame in frames])
    colourful = pixels[np.ptp(pixels.astype(int), axis=1) > 70]
    parts = [
        Image.fromarray(part[None]).quantize(COLOURS // 2, method=Image.Quantize.MEDIANCUT)
        for part in (pixels, colourful)
    ]
    palette = Image.new("P", (1, 1))
    palette.putpalette(
        b"".join(bytes(part.getpalette() or [])[: 3 * COLOURS // 2] for part in parts)
    )
    return palette


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


def play(film: Film) -> None:
    """The scenes, in the order in which a person meets them."""
    scene = film.scene
    film.caption = "1. Open a volume"
    wait(5.0)  # napari announces the version of Qt
    close_notices()
    film.shoot(0.7)
    scene.sample()
    layer_of(scene.viewer, "reference").visible = False
    wait(1.0)
    film.shoot(1.6)
    film.caption = "2. Segment it with a network that was adapted to MR"
    segment = scene.open("Segment", DOCK)
    film.shoot(1.2)
    press(segment, "run")
    wait_until(lambda: layer_of(scene.viewer, "reliability") is not None, "the result")
    wait(2.0)
    scene.middle()
    wait(1.0)
    film.shoot(2.0)
    film.caption = (
        "3. See where it is unsure: contours of equal entropy, the least certain slices first"
    )
    tab(segment, "Uncertainty")
    check(box(segment, "Contours"))
    wait(1.5)
    film.shoot(1.8)
    for name in ("uncertainty", ""):
        press(segment, "next_uncertain")
        wait(1.0)
        film.shoot(1.2)
        if name:
            film.keep(name)
    check(box(segment, "Contours"), False)
    film.caption = "4. Score it against a reference, per structure and slice"
    scene.close_docks()
    score = scene.open("Score", DOCK)
    press(score, "score")
    table = part(score, "score_table")
    wait_until(lambda: table.rowCount() > 0, "the table")
    wait(1.5)
    film.shoot(2.0)
    click_row(table, 0)
    wait(1.0)
    film.shoot(1.6)
    film.caption = "5. Errors: false positives in pink, false negatives under stripes"
    check(box(score, "Errors"))
    wait_until(lambda: layer_of(scene.viewer, "error") is not None, "the errors")
    wait(1.5)
    film.shoot(1.8)
    film.keep("errors")
    check(box(score, "Errors"), False)
    film.caption = "6. Correct it with the brush, and the scores follow"
    before = [table.item(row, 2).text() for row in range(table.rowCount())]
    wait(0.5)
    film.shoot(0.8)
    erase(scene, layer_of(scene.viewer, "prediction"), lambda: film.shoot(0.5))
    wait_until(
        lambda: [table.item(row, 2).text() for row in range(table.rowCount())] != before,
        "other scores",
    )
    wait(1.5)
    film.shoot(3.0)
    film.keep("edited")
    print(part(score, "status").text())
    tab(score, "Cohort")
    wait(1.0)
    film.keep("cohort")


def main() -> int:
    """Play in a process with settings of its own, and write the film."""
    if "--play" in sys.argv:
        scene = Scene(SIZE)
        film = Film(scene, Path.cwd())
        play(film)
        film.save(GIF)
        scene.end()
        return 0
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--play"]
        home = own_settings(Path(folder) / "settings")
        code = subprocess.run(command, cwd=folder, env=home, check=False).returncode
    size = GIF.stat().st_size if not code else 0
    print(f"{GIF.name}: {size / 1e6:.2f} MB" if size else "failed")
    return code or int(size > MOST_BYTES)


if __name__ == "__main__":
    raise SystemExit(main())
