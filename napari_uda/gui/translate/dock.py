"""Dock `Translate`: a run with generators, an image, a direction; what the generators make of it."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari.viewer
from napari.layers import Image, Layer
from napari.utils.notifications import show_info
from qtpy.QtCore import Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_uda.core.errors import InputError
from napari_uda.gui.geometry import layer_volume
from napari_uda.gui.job_dock import CANCELLING
from napari_uda.gui.model_dock import NOT_IMAGES, ModelDock
from napari_uda.gui.models import (
    describe_translator,
    known_translators,
    remember_model,
    title_of,
)
from napari_uda.gui.translate.translation_layers import (
    ComparedTranslation,
    TranslationGrid,
    hide_other_translations,
    show_colorbars,
    show_translation,
)
from napari_uda.gui.worker import Job, Report, guarded, load_torch

if TYPE_CHECKING:
    from napari_uda.players.translator import Direction

BLINK_KEY = "K"
"""Free in napari's own layers and viewer."""

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


@dataclass(frozen=True)
class _Result:
    compared: ComparedTranslation
    seconds: float


class TranslateDock(ModelDock):
    """Translates an image layer with a trained run, in a thread, and shows both ways."""

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(
            napari_viewer,
            parent,
            wanted="Run folder of cyclegan or attent; runs without generators are left out",
            not_images=(*NOT_IMAGES, "translation"),
        )
        self._grid: TranslationGrid | None = None
        self._image: Image | None = None
        self._shown: list[Layer] = []
        self._result: ComparedTranslation | None = None
        self._listed = False
        self._reading = 0  # runs that are being looked into
        self._build()
        self._bind_key()
        self._update_buttons()

    # -- construction -----------------------------------------------------------------------------

    def _build(self) -> None:
        self.directions = QComboBox()
        self.directions.setObjectName("directions")
        self.directions.setToolTip("Which look the image has, and which one it is given")
        for index, (title, direction, text) in enumerate(_DIRECTIONS):
            self.directions.addItem(title, direction)
            self.directions.setItemData(index, text, Qt.ItemDataRole.ToolTipRole)
        self.views = QCheckBox("Side by side")
        self.views.setChecked(True)
        self.views.setToolTip(
            "Original, translated, cycle reconstruction, their difference and attention maps in a\n"
            "grid with one camera; otherwise the translated volume lies over the original"
        )
        self.translate = QPushButton("Translate")
        self.translate.setObjectName("translate")
        self.blink = QPushButton(f"Blink ({BLINK_KEY})")
        self.blink.setObjectName("blink")
        self.export = QPushButton("Export…")
        self.export.setObjectName("export")
        self.change = QLabel()
        self.change.setObjectName("change")
        self.change.setWordWrap(True)
        self.change.setToolTip(
            "Mean absolute change from a slice to the next, in the network's units (from -1 to 1).\n"
            "Slices are translated one by one: more change than in the input is flicker."
        )
        self._lay_out()
        self._connect()

    def _lay_out(self) -> None:
        form = self._form()
        form.addRow("Direction", self.directions)
        buttons = QHBoxLayout()
        buttons.addWidget(self.translate, 2)
        buttons.addWidget(self.cancel, 1)
        looking = QHBoxLayout()
        looking.addWidget(self.views)
        looking.addStretch(1)
        looking.addWidget(self.blink)
        looking.addWidget(self.export)
        outer = QVBoxLayout(self)
        outer.addLayout(form)
        outer.addLayout(buttons)
        outer.addWidget(self.bar)
        outer.addWidget(self.status)
        outer.addWidget(self.change)
        outer.addLayout(looking)
        outer.addStretch(1)
        self.setMinimumWidth(300)

    def _connect(self) -> None:
        self.models.currentIndexChanged.connect(self._on_model_changed)
        self.translate.clicked.connect(self._on_translate)
        self.views.toggled.connect(self._on_views_toggled)
        self.blink.clicked.connect(self._on_blink)
        self.export.clicked.connect(self._on_export)

    def _bind_key(self) -> None:
        """Blink by a key wherever the viewer has the focus; a key that the user bound is left alone."""
        viewer = self._viewer
        try:
            viewer.bind_key(BLINK_KEY, lambda _: self._on_blink())
        except ValueError:
            self.blink.setText("Blink")
        else:
            self.destroyed.connect(lambda: viewer.bind_key(BLINK_KEY, None))

    # -- runs -------------------------------------------------------------------------------------

    def add_model(self, path: Path) -> None:
        """Choose a run folder, listed or not; one without generators is refused in a sentence."""
        path = Path(path).resolve()
        index = self.models.findData(str(path))
        if index >= 0:
            self.models.setCurrentIndex(index)
            return
        job = self._start_reading("Read the run", lambda report, stop: describe_translator(path))
        job.succeeded.connect(lambda text: self._on_read([(title_of(path), path, text)], True))
        job.failed.connect(self._on_problem)
        job.start()

    def showEvent(self, event: QShowEvent | None) -> None:
        """List the runs that can be chosen, which also loads torch before it is needed."""
        super().showEvent(event)
        if not self._listed:
            self._listed = True
            job = self._start_reading("List runs", lambda report, stop: known_translators())
            job.succeeded.connect(lambda found: self._on_read(found, False))
            job.failed.connect(self._on_problem)
            job.start()

    def _start_reading(self, title: str, work: Any) -> Job:
        job = Job(title, work, self, quiet=True)
        job.ended.connect(self._on_reading_ended)
        self._reading += 1
        self._message = ""
        self._update_buttons()
        return job

    @guarded
    def _on_read(self, found: list[tuple[str, Path, str]], choose: bool) -> None:
        for title, path, text in found:
            if self.models.findData(str(path)) < 0:
                self.models.addItem(title, str(path))
                index = self.models.count() - 1
                self.models.setItemData(index, text, Qt.ItemDataRole.ToolTipRole)
        if choose:
            self.models.setCurrentIndex(self.models.findData(str(found[0][1])))
        self._on_model_changed()

    @guarded
    def _on_problem(self, problem: str) -> None:
        self._message = problem
        self._update_buttons()

    @guarded
    def _on_reading_ended(self) -> None:
        self._reading -= 1
        self._update_buttons()

    @guarded
    def _on_model_changed(self) -> None:
        self.about.setText(self.models.currentData(Qt.ItemDataRole.ToolTipRole) or "")
        self._update_buttons()

    # -- running ----------------------------------------------------------------------------------

    def _obstacle(self) -> str:
        """Why Translate is not available; empty when it is."""
        if self._job is not None:
            return CANCELLING if self._cancelling else "Translating…"
        if self._showing:
            return "Showing the result…"
        if self._model() is None:
            if self._reading:
                return "Looking for runs with generators…"
            hint = "No run with generators: train cyclegan or attent, or choose one with Browse…"
            return self._message or hint
        if self.images.layer is None:
            return "No image: open a 3-D volume, for example from File > Open Sample."
        return ""

    def _update_buttons(self) -> None:
        obstacle = self._obstacle()
        running = self._job is not None
        resting = not running and not self._showing
        self.translate.setEnabled(not obstacle)
        self.translate.setToolTip(obstacle or "Give the image the look of the other domain")
        self.cancel.setEnabled(running and not self._cancelling)
        nothing = "" if self._shown else "Translate an image first."
        self.views.setEnabled(resting)
        self.blink.setEnabled(resting and not nothing)
        self.blink.setToolTip(nothing or "Change between the original and the translated volume")
        self.export.setEnabled(resting and self._result is not None)
        self.export.setToolTip(
            nothing or "Write translated, cycle, difference and attention maps as NIfTI"
        )
        self.status.setText(obstacle or self._message)
        self.bar.setVisible(running)

    @guarded
    def _on_translate(self) -> None:
        path, layer = self._model(), self.images.layer
        if self._obstacle() or path is None or layer is None:
            return
        direction = self.directions.currentData()
        remember_model(path)
        self._start(
            f"Translate {layer.name}",
            lambda report, stop: _translate(path, layer, direction, report, stop),
            lambda result: self._on_succeeded(layer, result),
        )

    @guarded
    def _on_succeeded(self, layer: Image, result: _Result) -> None:
        self._finish("")
        self._leave_grid()
        self._in_turns(self._show(layer, result))

    def _show(self, layer: Image, result: _Result) -> Iterator[None]:
        self._image, self._shown = layer, []
        for shown in show_translation(self._viewer, result.compared, layer):
            self._shown.append(shown)
            yield
        yield from show_colorbars(self._shown)
        hide_other_translations(self._viewer, layer, self._shown)
        translated = self._shown[0]
        if translated in self._viewer.layers:
            translated.visible = True
            self._viewer.layers.selection.active = translated
        yield
        self._result = result.compared
        translation = result.compared.translation
        self._message = f"{translation.case}: translated in {result.seconds:.1f} s."
        self.change.setText(_about_change(*translation.slice_change))
        if self.views.isChecked():
            yield from self._enter_grid()

    # -- looking ----------------------------------------------------------------------------------

    @guarded
    def _on_views_toggled(self, wanted: bool) -> None:
        self._leave_grid()
        if wanted:
            self._in_turns(self._enter_grid())

    def _enter_grid(self) -> Iterator[None]:
        layers = [*([self._image] if self._image is not None else []), *self._shown]
        alive = [layer for layer in layers if layer in self._viewer.layers]
        if alive:
            self._grid = TranslationGrid(self._viewer, alive)
            yield from self._grid.enter()

    def put_back(self) -> None:
        """Leave the grid."""
        self._leave_grid()

    def _leave_grid(self) -> None:
        grid, self._grid = self._grid, None
        if grid is not None:
            grid.leave()

    @guarded
    def _on_blink(self) -> None:
        """Change between original and translated volume, in one view."""
        if not self.blink.isEnabled():
            return
        image, (translated, *others) = self._image, self._shown
        alive = [layer for layer in (image, translated) if layer in self._viewer.layers]
        if image is None or len(alive) < 2:
            raise InputError("The original or its translation was removed; translate again")
        if self.views.isChecked():
            self.views.setChecked(False)
        image.visible = True
        for layer in others:
            layer.visible = False
        translated.visible = not translated.visible
        self._message = (
            "Seen: the translated volume." if translated.visible else "Seen: the original."
        )
        self._update_buttons()

    # -- export -----------------------------------------------------------------------------------

    @guarded
    def _on_export(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for the translated volumes")
        if folder:
            self.export_to(Path(folder))

    def export_to(self, folder: Path) -> None:
        """Write every map of the last translation as NIfTI on its file's grid, in a thread."""
        result = self._result
        if result is None:
            return
        job = Job("Export translation", lambda report, stop: result.save(folder), self, quiet=True)
        job.succeeded.connect(lambda paths: show_info(f"{len(paths)} volumes saved in {folder}"))
        job.failed.connect(self._on_problem)
        job.start()


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


def _about_change(translated: float, given: float) -> str:
    """The change from slice to slice against the input's, in a sentence."""
    if not given:
        return "Change from slice to slice: the input has none to compare with."
    return (
        f"Change from slice to slice: {translated:.3f} translated, {given:.3f} input "
        f"({translated / given:.2f} times)."
    )
