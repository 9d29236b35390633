"""LivePreviews: the switch, the slices and the layers of the previews of a run in training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from napari.components import ViewerModel
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QCheckBox, QLabel, QVBoxLayout, QWidget

from napari_uda.gui.kit.jobs import Job, take_steps
from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.train.run_reader import Preview, RunUpdate
from napari_uda.gui.train.slice_choice import SliceChoice
from napari_uda.gui.train.training_layers import PreviewLayers
from napari_uda.run.folder import PreviewRequest, RunFolder
from napari_uda.run.status import RunState

_SECONDS = 2.0


class LivePreviews(QWidget):
    """Asks the trainer of the watched run for previews and shows them in the viewer.

    Attributes:
        wanted: whether previews are asked for and shown.
        slices: which ones.
        problem: why there are none.
    """

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._layers = PreviewLayers(viewer)
        self._path: Path | None = None
        self._asked = False
        self._newest: Preview | None = None
        self._steps: Iterator[None] | None = None
        self._drawn: Preview | None = None
        self.wanted = QCheckBox("Live previews in the viewer")
        self.wanted.setObjectName("live_previews")
        self.wanted.setToolTip(
            "Input, translation, prediction, entropy, reliable pixels and views of the chosen slices.\n"
            "They cost the run a tenth of its time at most and do not change its weights."
        )
        self.slices = SliceChoice()
        self.problem = QLabel()
        self.problem.setWordWrap(True)
        self.problem.setVisible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.wanted)
        layout.addWidget(self.slices)
        layout.addWidget(self.problem)
        self.slices.setVisible(False)
        self.wanted.toggled.connect(self._on_wanted)
        self.slices.changed.connect(self._on_slices_changed)
        self.slices.slice_chosen.connect(self._on_slice_chosen)

    @property
    def is_settled(self) -> bool:
        """Whether no layers are on their way."""
        return self._steps is None

    def watch(self, path: Path | None) -> None:
        """Turn to another run, or to none."""
        if path == self._path:
            return
        self.leave()
        self._hide()
        self._path, self._asked, self._newest = path, False, None
        self.slices.clear()

    def take(self, update: RunUpdate) -> None:
        """What a look at the run found."""
        if update.path != self._path:
            return
        self.slices.set_choices(update.slices)
        if update.preview is not None:
            self._newest = update.preview
            self.slices.set_places(update.preview.places)
        running = update.status.state is RunState.RUNNING
        if self.wanted.isChecked():
            if running and not self._asked:
                self._ask()
            self._draw()

    def end(self) -> None:
        """Leave, and remove the layers at once: no turn of the event loop will come for them."""
        self.leave()
        self._steps = None
        for _ in self._layers.hide():
            pass

    def leave(self) -> None:
        """Nobody looks any more: let the trainer save the time."""
        if self._path is not None and self._asked:
            self._asked = False
            RunFolder(self._path).refuse_previews()

    def _ask(self) -> None:
        path, places = self._path, self.slices.places
        if path is None:
            return
        self._asked = True
        request = PreviewRequest(places, _SECONDS)
        job = Job(
            "Ask for previews",
            lambda report, stop: RunFolder(path).ask_for_previews(request),
            self,
            quiet=True,
        )
        job.failed.connect(self._on_problem)
        job.succeeded.connect(lambda _: self._on_problem(""))
        job.start()

    @guarded
    def _on_problem(self, text: str) -> None:
        self.problem.setText(text)
        self.problem.setVisible(bool(text))

    @guarded
    def _on_wanted(self, wanted: bool) -> None:
        self.slices.setVisible(wanted)
        if not wanted:
            self.leave()
            self._hide()
        else:
            self._draw()

    @guarded
    def _on_slices_changed(self) -> None:
        self._ask()

    @guarded
    def _on_slice_chosen(self, index: int) -> None:
        self._layers.go_to(index)

    # -- layers -----------------------------------------------------------------------------------

    def _hide(self) -> None:
        """Remove the layers, also those that are on their way."""
        idle, self._drawn = self._steps is None, None
        self._steps = self._layers.hide()
        if idle:
            QTimer.singleShot(0, self._continue)

    def _draw(self) -> None:
        """Show the newest preview, a few layers per turn of the event loop; the one on its way first."""
        if self._steps is not None or self._newest is None or self._newest is self._drawn:
            return
        assert self._path is not None
        self._drawn = self._newest
        self._steps = self._layers.show(self._newest, self._path.name)
        QTimer.singleShot(0, self._continue)

    @guarded
    def _continue(self) -> None:
        if self._steps is None:
            return
        try:
            more = take_steps(self._steps)
        except Exception:
            self._steps = None
            raise
        if more:
            QTimer.singleShot(0, self._continue)
            return
        self._steps = None
        if self.wanted.isChecked():
            self._draw()
