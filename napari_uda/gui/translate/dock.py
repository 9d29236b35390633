"""Dock `Translate`: a run with generators, an image, a direction; what the generators make of it."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import napari.viewer
from napari.layers import Image, Layer
from napari.utils.notifications import show_info
from qtpy.QtCore import Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QFileDialog

from napari_uda.core.errors import InputError
from napari_uda.gui.kit.canvas_panels import panels_button
from napari_uda.gui.kit.dock import AROUND, CANCELLING, bind_keys
from napari_uda.gui.kit.geometry import layer_volume
from napari_uda.gui.kit.grid import Grid
from napari_uda.gui.kit.jobs import Report, background, load_torch
from napari_uda.gui.kit.layers import NOT_IMAGES
from napari_uda.gui.kit.layout import add_row, column, wrapped
from napari_uda.gui.kit.models import (
    ModelDock,
    known_translators,
    read_translator,
    remember_model,
)
from napari_uda.gui.kit.panel import Following
from napari_uda.gui.kit.widgets import button, check_box, combo_box, label
from napari_uda.gui.translate.translation_layers import (
    ComparedTranslation,
    hide_other_translations,
    show_colorbars,
    show_translation,
)

if TYPE_CHECKING:
    from napari_uda.players.slice_translator import Direction

Listed = tuple[str, Path, str]
"""Title, folder and description of a run."""

_DIRECTIONS = (
    (
        "Target to source",
        "target_to_source",
        "The image is of the target; give it the source's look",
    ),
    (
        "Source to target",
        "source_to_target",
        "The image is of the source; give it the target's look",
    ),
)
_HELP = (
    "Gives an image the look of the other domain, with a run that has generators.",
    "The translation is made back again (cycle); the difference shows what was lost or invented.",
    "Side by side shows all of it in one grid with one camera; Blink changes between both looks.",
    "Export writes every map as NIfTI on the grid of the image.",
)


@dataclass(frozen=True)
class _Result:
    compared: ComparedTranslation
    seconds: float


class TranslateDock(ModelDock):
    """Translates an image layer with a trained run, in a thread, and shows both ways.

    Attributes:
        result: the last translation, None before the first.
    """

    manual = ("Translate", _HELP)

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__(
            napari_viewer,
            wanted="Run folder of a method that translates images; other runs are left out",
            not_images=(*NOT_IMAGES, "translation"),
        )
        self.result: ComparedTranslation | None = None
        self._grid: Grid | None = None
        self._image: Image | None = None
        self._shown: list[Layer] = []
        self._listed = False
        self._seen = Following(self, self._on_seen)
        self._reading = 0  # runs that are being looked into
        self._build()
        self._lay_out()
        self.models.currentIndexChanged.connect(self._on_model_changed)
        bind_keys(self.viewer, self, (self.blink, self._on_blink))
        self._update_buttons()

    # -- construction -----------------------------------------------------------------------------

    def _build(self) -> None:
        self.directions = combo_box(
            _DIRECTIONS,
            "Which look the image has, and which one it is given",
            name="directions",
        )
        self.views = check_box(
            "Side by side",
            "Original, translated, cycle reconstruction, their difference and attention maps in a\n"
            "grid with one camera; otherwise the translated volume lies over the original",
            self._on_views_toggled,
            checked=True,
        )
        self.translate = button("Translate", slot=self._on_translate, name="translate")
        self.blink = button("Blink", slot=self._on_blink, name="blink")
        self.export = button("Export…", slot=self._on_export, name="export")
        self.change = label(
            name="change",
            tooltip="Mean absolute change from a slice to the next, in the network's units (from -1 to 1).\n"
            "Slices are translated one by one: more change than in the input is flicker.",
        )

    def _lay_out(self) -> None:
        form = self._form()
        add_row(form, "Direction", self.directions)
        self.open_bar.add(self.help)
        column(
            self.open_bar,
            form,
            wrapped((self.translate, 2), (self.cancel, 1)),
            self.bar,
            self.status,
            self.change,
            wrapped(
                self.views,
                (self.blink, 1),
                (self.export, 1),
                panels_button(self.viewer),
            ),
            ...,
            of=self,
        ).setContentsMargins(*AROUND)

    # -- runs -------------------------------------------------------------------------------------

    def add_model(self, path: Path) -> None:
        """Choose a run folder, listed or not; one without generators is refused in a sentence."""
        path = Path(path).resolve()
        index = self.models.findData(str(path))
        if index >= 0:
            self.models.setCurrentIndex(index)
            return
        self._read(
            "Read the run",
            lambda: [read_translator(path)],
            self._on_read_chosen,
        )

    def showEvent(self, event: QShowEvent) -> None:
        """List the runs that can be chosen, which also loads torch before it is needed."""
        super().showEvent(event)
        if not self._listed:
            self._listed = True
            self._read("List runs", known_translators, self._on_read)

    def _read(
        self, title: str, work: Callable[[], list[Listed]], then: Callable[[list[Listed]], None]
    ) -> None:
        self._reading += 1
        self._say("")
        background(
            self,
            title,
            work,
            then,
            failed=self._on_problem,
            ended=self._on_reading_ended,
            quiet=True,
        )

    def _on_read(self, found: list[Listed]) -> None:
        for title, path, text in found:
            if self.models.findData(str(path)) < 0:
                self.models.addItem(title, str(path))
                index = self.models.count() - 1
                self.models.setItemData(index, text, Qt.ItemDataRole.ToolTipRole)
        self._on_model_changed()

    def _on_read_chosen(self, found: list[Listed]) -> None:
        self._on_read(found)
        self.models.setCurrentIndex(self.models.findData(str(found[0][1])))

    def _on_reading_ended(self) -> None:
        self._reading -= 1
        self._update_buttons()

    def _on_model_changed(self) -> None:
        self.about.setText(self.models.currentData(Qt.ItemDataRole.ToolTipRole) or "")
        self._update_buttons()

    # -- running ----------------------------------------------------------------------------------

    def _model_obstacle(self) -> str:
        if self._job is not None:
            return CANCELLING if self._cancelling else "Translating…"
        if self._turns.is_busy:
            return "Showing the result…"
        if self.model is None:
            if self._reading:
                return "Looking for runs with generators…"
            hint = (
                "No run with generators: train a method that translates images, "
                "or choose a run with Browse…"
            )
            return self._message or hint
        return ""

    def _update_buttons(self) -> None:
        obstacle = self._obstacle()
        running = self._job is not None
        resting = not running and not self._turns.is_busy
        self.translate.setEnabled(not obstacle)
        self.translate.setToolTip(obstacle or "Give the image the look of the other domain")
        self.cancel.setEnabled(running and not self._cancelling)
        nothing = "" if self._shown else "Translate an image first."
        self.views.setEnabled(resting)
        self.blink.setEnabled(resting and not nothing)
        self.blink.setToolTip(nothing or "Change between the original and the translated volume")
        self.export.setEnabled(resting and self.result is not None)
        self.export.setToolTip(
            nothing or "Write translated, cycle, difference and attention maps as NIfTI"
        )
        self.status.setText(obstacle or self._message)
        self.bar.setVisible(running)

    def _on_translate(self) -> None:
        path, layer = self.model, self.images.layer
        if self._obstacle() or path is None or layer is None:
            return
        direction = self.directions.currentData()
        remember_model(path)
        self._seen.follow()
        self._start(
            f"Translate {layer.name}",
            lambda report, stop: _translate(path, layer, direction, report, stop),
            lambda result: self._on_succeeded(layer, result),
        )

    def _on_succeeded(self, layer: Image, result: _Result) -> None:
        self._finish("")
        self._leave_grid()
        self._in_turns(self._show(layer, result))

    def _show(self, layer: Image, result: _Result) -> Iterator[None]:
        self._image, self._shown = layer, []
        for shown in show_translation(self.viewer, result.compared, layer):
            self._shown.append(shown)
            yield
        yield from show_colorbars(self._shown)
        hide_other_translations(self.viewer, layer, self._shown)
        translated = self._shown[0]
        if translated in self.viewer.layers:
            translated.visible = True
            self.viewer.layers.selection.active = translated
        yield
        self.result = result.compared
        translation = result.compared.translation
        self._message = f"{translation.case}: translated in {result.seconds:.1f} s."
        self.change.setText(_about_change(translation.case, *translation.slice_change))
        if self.views.isChecked():
            yield from self._enter_grid()

    # -- looking ----------------------------------------------------------------------------------

    def _on_views_toggled(self, wanted: bool) -> None:
        self._leave_grid()
        if wanted:
            self._in_turns(self._enter_grid())

    def _enter_grid(self) -> Iterator[None]:
        layers = [*([self._image] if self._image is not None else []), *self._shown]
        alive = [layer for layer in layers if layer in self.viewer.layers]
        if alive:
            self._grid = Grid(self.viewer, [[layer] for layer in alive])
            yield from self._grid.enter()

    def put_back(self) -> None:
        """Leave the grid."""
        self._leave_grid()

    def _leave_grid(self) -> None:
        grid, self._grid = self._grid, None
        if grid is not None:
            grid.leave()

    def _on_blink(self) -> None:
        """Change between original and translated volume, in one view."""
        if not self.blink.isEnabled():
            return
        image, (translated, *others) = self._image, self._shown
        alive = [layer for layer in (image, translated) if layer in self.viewer.layers]
        if image is None or len(alive) < 2:
            raise InputError("The original or its translation was removed; translate again")
        if self.views.isChecked():
            self.views.setChecked(False)
        image.visible = True
        for layer in others:
            layer.visible = False
        translated.visible = not translated.visible
        self._seen.follow(image.events.visible, translated.events.visible)
        self._on_seen()

    def _on_seen(self) -> None:
        """Which of the two is seen, also when the user shows or hides one of them later."""
        image, translated = self._image, self._shown[0]
        if translated.visible:
            self._say("Seen: the translated volume.")
        else:
            self._say("Seen: the original." if image and image.visible else "")

    # -- export -----------------------------------------------------------------------------------

    def _on_export(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for the translated volumes")
        if folder:
            self.export_to(Path(folder))

    def export_to(self, folder: Path) -> None:
        """Write every map of the last translation as NIfTI on its file's grid, in a thread."""
        result = self.result
        if result is None:
            return
        self._aside(
            "Export translation",
            lambda: result.save(folder),
            lambda paths: show_info(f"{len(paths)} volumes saved in {folder}"),
        )


def _translate(
    model: Path, layer: Image, direction: "Direction", report: Report, stop: threading.Event
) -> _Result:
    """In the thread: translate and compare."""
    load_torch()
    from napari_uda.inference.translate import translate
    from napari_uda.run.run import Run

    start = time.perf_counter()
    run = Run.open(model)
    translation = translate(
        run, layer_volume(layer), direction=direction, on_progress=report, stop=stop
    )
    return _Result(ComparedTranslation.of(translation, run), time.perf_counter() - start)


def _about_change(case: str, translated: float, given: float) -> str:
    """The change from slice to slice against the input's, in a sentence."""
    if not given:
        return f"{case}, change from slice to slice: the input has none to compare with."
    return (
        f"{case}, change from slice to slice: {translated:.3f} translated, {given:.3f} input "
        f"({translated / given:.2f} times)."
    )
