"""EditSession: follows the edits of one labels layer, keeps what it was, journals and scores every stroke.

Nothing depends on how napari stores its history: a private copy of the labels is compared with the layer,
so brush, fill, polygon, undo and scripts are all followed. Three threads share the work: one compares and scores
the touched slice at once; behind it one scores the other axes and the volume, and one writes the journal, however
slow the disk is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_uda.core.errors import InputError
from napari_uda.gui.kit.geometry import layer_volume, placement, tag
from napari_uda.gui.kit.jobs import Job
from napari_uda.gui.kit.layers import EDITED, structure_names
from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.score.edit_journal import About, EditJournal

if TYPE_CHECKING:
    from napari_uda.evaluation.overlap import Box
    from napari_uda.gui.score.scoring import LayerScores

_EDITING_MODES = ("paint", "erase", "fill", "polygon")
_QUIET_MS = 150  # a layer is redrawn at every step of a slider; an undo is looked for when it rests


@dataclass(frozen=True, eq=False)
class Stroke:
    """What an edit changed, on the grid of the file.

    Attributes:
        box: of the changed voxels.
        labels: those they had or have.
        voxels: indices into the raveled volume.
        values: their labels from now on.
        before: labels of the whole volume before the first edit; None for later ones.
    """

    box: Box
    labels: frozenset[int]
    voxels: NDArray[np.integer]
    values: NDArray[np.uint8]
    before: NDArray[np.uint8] | None

    @property
    def flat_axis(self) -> int:
        """The axis across which the box is thinnest: a brush paints one slice across it."""
        return int(np.argmin([side.stop - side.start for side in self.box]))


class EditSession(QObject):
    """Watches a layer from when its brush is taken up.

    Signals: `changed(box)` when the touched slice is scored; `began(before)` once, with the unedited
    `(Z, Y, X)` labels on the file's grid, right after the first change; `settled()` when all is scored;
    `replaced()` when the layer got other data that is no edit; `failed(sentence)`.
    """

    began = Signal(object)
    changed = Signal(object)
    settled = Signal()
    replaced = Signal()
    failed = Signal(str)
    _found = Signal(object)

    def __init__(
        self,
        layer: Labels,
        owner: QObject,
        restored: tuple[EditJournal, NDArray[np.uint8]] | None = None,
    ) -> None:
        """Watch.

        Args:
            layer: 3-D labels.
            owner: the dock; it calls `close` when it is destroyed.
            restored: of edits that were restored into the layer, the journal to go on with, and a copy
                of its labels on the grid of their file.
        """
        super().__init__()
        self.layer = layer
        self._owner = owner
        self._journal: EditJournal | None = None
        self._known: NDArray[np.uint8] | None = None
        if restored is not None:
            self._journal, self._known = restored
        self._scores: LayerScores | None = None
        self._lock = threading.Lock()  # the copy has one user at a time
        self._disk = threading.Lock()  # and so has the journal
        self._pending: list[Stroke] = []  # not on the disk yet
        self._slices_job: Job | None = None
        self._volume_job: Job | None = None
        self._disk_job: Job | None = None
        self._again = False
        self._ignored = False  # an array that this session gives to the layer
        self._stale: list[Stroke] = []  # what they touched is scored in their flat slices only
        self._before: NDArray[np.uint8] | None = None  # unedited labels that nobody was told of yet
        self._edited = restored is not None
        self._prepared = self._edited  # restored labels have an array and a journal of their own
        self._warned = False
        self._refused = False  # by the disk, the last time
        self._soon = self._make_timer(0, self._on_touched)
        self._later = self._make_timer(_QUIET_MS, self._on_touched)
        self._begin = self._make_timer(0, self._on_begun)
        events = layer.events
        self._connections: tuple[tuple[Any, Any], ...] = (
            (events.mode, self._on_mode),
            (events.paint, self._on_painted),
            (events.data, self._on_data),
            (events.set_data, self._on_redrawn),
        )
        for event, slot in self._connections:
            event.connect(slot)
        self._found.connect(self._on_stroke)
        self._on_mode()

    @property
    def is_edited(self) -> bool:
        """Whether there are edits that were not saved."""
        return self._edited

    @property
    def is_busy(self) -> bool:
        """Whether a thread is at work or about to be."""
        at_work = (self._slices_job, self._volume_job, self._disk_job) != (None, None, None)
        timers = (self._soon, self._later, self._begin)
        return at_work or any(timer.isActive() for timer in timers)

    def score_along(self, scores: LayerScores | None) -> None:
        """Bring these scores, made of `labels()`, up to date at every edit; None stops it."""
        self._scores = scores
        self._stale.clear()

    def labels(self) -> NDArray[np.uint8]:
        """The private copy, as the layer is now; for a worker thread."""
        with self._lock:
            self._copy()
            stroke = self._follow()
            assert self._known is not None
            known = self._known
        self._found.emit(stroke)
        return known

    def saved(self) -> None:
        """The edits are in a file of the user's, the journal is not needed any more; for a thread."""
        with self._disk:
            self._pending.clear()
            journal, self._journal = self._journal, None
            if journal is not None:
                journal.discard()
        self._edited = False

    def close(self) -> None:
        """Stop watching; a journal with edits stays on disk and is offered again."""
        for event, slot in self._connections:
            event.disconnect(slot)
        self._connections = ()
        with suppress(RuntimeError):  # at the end of the process Qt deletes timers first
            for timer in (self._soon, self._later, self._begin):
                timer.stop()
        self._write_journal()
        with self._disk:
            journal, self._journal = self._journal, None
            if journal is not None and self._edited:
                journal.close()
            elif journal is not None:
                journal.discard()

    def _make_timer(self, milliseconds: int, slot: Callable[..., None]) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(milliseconds)
        timer.timeout.connect(slot)
        return timer

    # -- what happens to the layer ----------------------------------------------------------------

    @guarded
    def _on_mode(self) -> None:
        """The brush was taken up: keep what the layer is, and make its journal, before it is needed."""
        taken_up = str(self.layer.mode) in _EDITING_MODES
        if taken_up and not self._prepared and self._slices_job is None:
            self._prepared = True
            self._start(self._prepare, self._on_prepared)

    @guarded
    def _on_painted(self) -> None:
        """At once, before napari draws it; and again, since it speaks of what scripts paint before it writes that."""
        self._on_touched()
        self._soon.start()

    @guarded
    def _on_touched(self) -> None:
        if self._slices_job is not None:
            self._again = True
        elif self._known is not None:  # else it was not scored, and no brush was taken up
            self._start(self._take_stroke, self._on_stroke)

    @guarded
    def _on_redrawn(self) -> None:
        if self._edited and self._known is not None:
            self._later.start()

    @guarded
    def _on_data(self) -> None:
        if self._ignored:
            return
        same = self._known is not None and self._known.size == self.layer.data.size
        if same and tag(self.layer).get("role") == EDITED:
            self._on_touched()
        else:
            with self._lock:
                self._known = None
            self._scores = None
            self.replaced.emit()

    # -- in threads -------------------------------------------------------------------------------

    def _start(self, work: Callable[[], Any], on_success: Callable[[Any], None]) -> None:
        self._again = False
        job = Job("Follow edits", lambda report, stop: work(), self._owner, quiet=True)
        job.succeeded.connect(on_success)
        job.failed.connect(self.failed)
        job.ended.connect(self._on_stroke_ended)
        self._slices_job = job
        job.start()

    def _prepare(self) -> NDArray[np.uint8]:
        """The copy and the journal; returns an array for the layer alone."""
        with self._lock:
            self._copy()
            assert self._known is not None
            known = self._known.copy()
        with self._disk:
            try:
                self._begin_journal(known)
            except InputError as error:
                self._warn(f"edits are not being kept on disk: {error}")
        return placement(self.layer).to_layer(known)

    def _copy(self) -> None:
        from napari_uda.evaluation.inputs import label_map

        if self._known is None:
            array = layer_volume(self.layer).array
            self._known = label_map(array, self.layer.name).astype(np.uint8, order="C")

    def _take_stroke(self) -> Stroke | None:
        with self._lock:
            stroke = self._follow()
        if stroke is not None and self._scores is not None:
            evaluation = self._scores.evaluation
            evaluation.rescore_slices(stroke.box, stroke.labels, [stroke.flat_axis])
        return stroke

    def _follow(self) -> Stroke | None:
        """Bring the copy up to date; None when nothing changed."""
        from napari_uda.evaluation.evaluation import changed_box
        from napari_uda.evaluation.inputs import label_map

        known = self._known
        array = layer_volume(self.layer).array
        if known is None or known.shape != array.shape:
            return None
        where = _differing(array, known)
        if not where[0].size:
            return None
        values = label_map(array[where], self.layer.name)
        before = None if self._edited else known.copy()
        labels = frozenset(np.union1d(known[where], values).tolist()) - {0}
        known[where] = values
        self._edited = True
        voxels = np.ravel_multi_index(where, known.shape)
        return Stroke(changed_box(where), labels, voxels, values, before)

    def _write_journal(self) -> None:
        """Bring the journal up to date; a disk that refuses does not stop the user from painting.

        Strokes that it did not take wait for the next one: later strokes alone would not be the edit.
        """
        with self._disk:
            self._refused = False
            try:
                while self._pending:
                    stroke = self._pending[0]
                    if stroke.before is not None:
                        self._begin_journal(stroke.before)
                    if self._journal is not None:
                        self._journal.append(stroke.voxels, stroke.values)
                    del self._pending[0]
            except InputError as error:
                self._refused = True
                self._warn(f"edits are not being kept on disk: {error}")

    def _begin_journal(self, labels: NDArray[np.uint8]) -> None:
        if self._journal is not None:
            return
        own = tag(self.layer)
        volume = layer_volume(self.layer).with_array(labels)
        about = About(
            case=str(own.get("case") or self.layer.name),
            run=str(own.get("run") or ""),
            name=self.layer.name,
            names=structure_names(self.layer),
        )
        self._journal = EditJournal.begin(volume, about)

    def _warn(self, sentence: str) -> None:
        """Once: the second refusal of a full disk says nothing new. Signals cross threads safely."""
        if not self._warned:
            self._warned = True
            self.failed.emit(sentence)

    # -- back in the main thread ------------------------------------------------------------------

    @guarded
    def _on_prepared(self, own: NDArray[np.uint8]) -> None:
        """The brush gets an array of its own: whoever predicted the labels keeps theirs as they are."""
        untouched = not self._again and np.array_equal(own, self.layer.data)
        if untouched and self._connections:
            self._ignored = True
            self.layer.data = own
            self._ignored = False

    @guarded
    def _on_stroke(self, stroke: Stroke | None) -> None:
        if stroke is None:
            return
        self._pending.append(stroke)
        self.changed.emit(stroke.box)
        if stroke.before is not None:
            # a layer for them takes napari a tenth of a second: the scores are drawn before that
            self._before = stroke.before
            self._begin.start()
        self._keep()
        if self._scores is not None:
            self._stale.append(stroke)
            self._score_volume()

    @guarded
    def _on_begun(self) -> None:
        before, self._before = self._before, None
        self.began.emit(before)

    @guarded
    def _on_stroke_ended(self) -> None:
        self._slices_job = None
        if self._again and self._connections:
            self._start(self._take_stroke, self._on_stroke)

    def _keep(self) -> None:
        """Write the journal behind the scores."""
        if self._disk_job is not None or not self._pending:
            return
        job = Job("Keep edits", lambda report, stop: self._write_journal(), self._owner, quiet=True)
        job.failed.connect(self.failed)
        job.ended.connect(self._on_kept)
        self._disk_job = job
        job.start()

    @guarded
    def _on_kept(self) -> None:
        self._disk_job = None
        if not self._refused:
            self._keep()

    def _score_volume(self) -> None:
        scores, strokes = self._scores, list(self._stale)
        if scores is None or not strokes or self._volume_job is not None:
            return
        self._stale.clear()

        def work() -> None:
            for stroke in strokes:
                scores.evaluation.rescore_slices(stroke.box, stroke.labels)
            scores.evaluation.rescore_volume(set().union(*(stroke.labels for stroke in strokes)))

        title = "Score the edited volume"
        job = Job(title, lambda report, stop: work(), self._owner, quiet=True)
        job.succeeded.connect(self.settled)
        job.failed.connect(self.failed)
        job.ended.connect(self._on_volume_ended)
        self._volume_job = job
        job.start()

    @guarded
    def _on_volume_ended(self) -> None:
        self._volume_job = None
        self._score_volume()


def _differing(array: NDArray[Any], known: NDArray[np.uint8]) -> tuple[NDArray[np.intp], ...]:
    """Indices (z, y, x) of the voxels that differ, slice by slice: most slices are equal, and quickly so."""
    slices = [z for z in range(len(known)) if not np.array_equal(array[z], known[z])]
    parts = [np.nonzero(array[z] != known[z]) for z in slices]
    if not parts:
        return (np.zeros(0, np.intp),) * 3
    depth = np.concatenate([np.full(y.size, z) for z, (y, _) in zip(slices, parts, strict=True)])
    return depth, np.concatenate([y for y, _ in parts]), np.concatenate([x for _, x in parts])
