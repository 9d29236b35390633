"""EditSession: follows the edits of one labels layer, keeps what it was, journals and scores every stroke.

Nothing depends on how napari stores its history: a private copy of the labels is compared with the layer,
so brush, fill, polygon, undo and scripts are all followed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import Future, wait
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.notifications import show_info
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer

from napari_uda.core.errors import Cancelled, InputError
from napari_uda.data.edit_journal import About, EditJournal
from napari_uda.gui.kit.files import write_layer
from napari_uda.gui.kit.geometry import layer_volume, placement, tag
from napari_uda.gui.kit.jobs import Job, background
from napari_uda.gui.kit.layers import EDITED, structure_names
from napari_uda.gui.kit.panel import Guarded
from napari_uda.gui.score.hand_painted import HandPainted

if TYPE_CHECKING:
    from napari_uda.data.label_edits import LabelEdit
    from napari_uda.evaluation.evaluation import Evaluation
    from napari_uda.evaluation.overlap import Box
    from napari_uda.gui.score.editing import Editing

_EDITING_MODES = ("paint", "erase", "fill", "polygon")
_QUIET_MS = 150  # a layer is redrawn at every step of a slider; an undo is looked for when it rests
_LONGEST_WAIT_S = (
    10.0  # for the thread when the layer or the dock goes: a hanging disk must not hang napari
)
_AXES = (0, 1, 2)


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


@dataclass(frozen=True, eq=False)
class _Task:
    """Something for the thread, and what the main thread does with the result."""

    work: Callable[[], Any]
    then: Callable[..., object] | None = None
    title: str = "Follow edits"
    quiet: bool = True


class EditSession(Guarded, QObject):
    """Watches a layer from when its brush is taken up, and tells `Editing`.

    A single thread works for it, on one thing at a time, so that the copy, the journal and the scores need
    no locks. What waits stands in queues, the most urgent first: the slice under the brush, what was asked
    for, the disk, the slices of the other axes, and the structures in 3-D.
    """

    def __init__(
        self,
        layer: Labels,
        editing: Editing,
        restored: tuple[EditJournal, NDArray[np.uint8]] | None = None,
    ) -> None:
        """Watch.

        Args:
            layer: 3-D labels.
            editing: whom to tell; it calls `close`.
            restored: of edits that were restored into the layer, the journal to go on with, and a copy
                of its labels on the grid of their file.
        """
        super().__init__()
        self._layer, self._editing = layer, editing
        # used by the thread; by the main thread only while that rests
        self._journal: EditJournal | None = None
        self._known: NDArray[np.uint8] | None = None
        if restored is not None:
            self._journal, self._known = restored
        self._edited = self._can_undo = restored is not None
        self._evaluation: Evaluation | None = None
        # the queues
        self._touched = False  # the layer is to be compared with the copy
        self._asked: deque[_Task] = deque()
        self._unkept: deque[Stroke] = deque()  # not on the disk yet
        self._stale: list[tuple[Stroke, Collection[int]]] = []  # their slices along these axes
        self._structures: set[int] = set()

        self._job: Job | None = None
        self._turn: Future[None] = Future()  # of the job: it has begun, or is done
        self._prepared = self._edited  # restored labels have an array and a journal of their own
        self._untouched: Any = None  # the array that the layer had, until it is prepared
        self._spare: NDArray[Any] | None = None  # memory for it
        self._ready: Future[None] = Future()  # that it is prepared
        if self._prepared:
            self._ready.set_result(None)
        self.by_hand = HandPainted(layer)
        self._promise: Future[NDArray[np.uint8]] | None = None
        self._missed: list[Stroke] | None = None  # by the scoring that has begun with `copy`
        self._before: NDArray[np.uint8] | None = None  # unedited labels that nobody was told of yet
        self._ignored = False  # an array that this session gives to the layer
        self._warned = False
        self._refused = False  # by the disk, the last time
        self._closed = False
        self._soon = self._make_timer(0)
        self._later = self._make_timer(_QUIET_MS)
        self._connections: tuple[tuple[Any, Any], ...] = (
            (layer.events.mode, self._on_mode),
            (layer.events.paint, self._on_painted),
            (layer.events.data, self._on_data),
            (layer.events.set_data, self._on_redrawn),
        )
        for event, slot in self._connections:
            event.connect(slot)
        self._on_mode()
        self._ask_for_memory()

    @property
    def is_edited(self) -> bool:
        """Whether there are edits that were not saved."""
        return self._edited

    @property
    def is_busy(self) -> bool:
        """Whether something is still to be done."""
        waits = self._soon.isActive() or self._later.isActive() or self._before is not None
        return waits or self._job is not None

    def copy(self) -> Future[NDArray[np.uint8]]:
        """Promise the labels as they are now, on the grid of their file; they follow later edits."""
        self._promise = promise = Future[NDArray[np.uint8]]()

        def work() -> tuple[Stroke | None, Evaluation | None]:
            try:
                known, found = self._copied(), self._look()
            except InputError as error:  # to be said by whoever asked
                promise.set_exception(error)
                return None, None
            promise.set_result(known)
            return found

        def then(found: tuple[Stroke | None, Evaluation | None]) -> None:
            self._on_looked(found)
            self._missed = []

        self._ask(_Task(work, then))
        return promise

    def score_along(self, evaluation: Evaluation) -> None:
        """Bring scores of the last `copy` up to date at every edit, also those since it was made."""
        missed, self._missed = self._missed or [], None
        self._structures = set()
        self._stale = [(stroke, _AXES) for stroke in missed]
        known = self._known
        self._evaluation = evaluation
        if known is None or not np.may_share_memory(known, evaluation.prediction):
            self._evaluation = None
            self._editing.replaced.emit(self._layer)
        self._next()

    def take_up(self) -> Future[None]:
        """Promise that the layer may be edited: what it was is kept, and its journal is begun."""
        if not self._prepared:
            self._prepared, self._ready = True, Future()
            self._give_own_array()
            self._ask(_Task(self._prepare, self._on_prepared))
        return self._ready

    def _give_own_array(self) -> None:
        """Before the first stroke: whoever predicted the labels keeps theirs, and the thread reads them undisturbed."""
        self._untouched = untouched = self._layer.data
        if not self._layer.multiscale:
            own, self._spare = self._spare, None
            if own is None or (own.shape, own.dtype) != (untouched.shape, untouched.dtype):
                own = np.array(untouched)
            else:
                np.copyto(own, untouched)
            self._ignored = True
            self._layer.data = own
            self._ignored = False

    def _ask_for_memory(self) -> None:
        """For the first stroke: to get it takes the main thread many times as long as to fill it."""
        array = self._layer.data
        if self._prepared or self._layer.multiscale:
            return

        def work() -> NDArray[Any]:
            return np.full(
                array.shape, 1, array.dtype
            )  # zeros would not be there before they are written

        def then(memory: NDArray[Any]) -> None:
            self._spare = None if self._prepared else memory

        self._ask(_Task(work, then))

    def apply(self, edit: LabelEdit) -> None:
        """Take over what a tool has made, as one stroke: one undo, one entry of the journal, one scoring.

        Raises:
            InputError: if the labels were painted since the tool looked at them.
        """
        if not np.array_equal(self._layer.data[edit.where], edit.before):
            raise InputError(
                "The labels were painted meanwhile, so nothing was done; use the tool again"
            )
        # napari 0.9 paints into the picture of hidden labels as well, which may be of another cut; labels and history
        # are written before that, and the picture is made anew when they are shown
        hidden = nullcontext() if self._layer.visible else suppress(IndexError)
        with self.by_hand.by_tool(), hidden:
            self._layer.data_setitem(edit.where, edit.values)

    def save(self, path: Path) -> None:
        """Write the layer; the journal is not needed any more after that."""

        def work() -> tuple[Any, str]:
            found = self._look()
            (written,) = write_layer(path, self._layer)
            self._unkept.clear()
            journal, self._journal = self._journal, None
            if journal is not None:
                journal.discard()
            self._edited = False
            return found, written

        def then(result: tuple[Any, str]) -> None:
            self._on_looked(result[0])
            show_info(f"Edits saved in {result[1]}")
            self._editing.settled.emit(self._layer)

        self._ask(_Task(work, then, "Save edits", quiet=False))

    def close(self) -> None:
        """Stop watching; a journal with edits stays on disk and is offered again."""
        self._closed = True
        for event, slot in self._connections:
            event.disconnect(slot)
        with suppress(RuntimeError):  # at the end of the process Qt deletes timers first
            self._soon.stop()
            self._later.stop()
        # a thread begins a moment after it was asked to; one that has begun is waited for
        if self._turn.cancel() or not wait([self._turn], _LONGEST_WAIT_S).not_done:
            with suppress(InputError):
                if self._untouched is not None:
                    self._prepare()
                if self._prepared:
                    self._look()
            self._end_journal()
        if self._promise is not None:
            self._promise.cancel()
        self._ready.cancel()

    def _make_timer(self, milliseconds: int) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(milliseconds)
        timer.timeout.connect(self._on_touched)
        return timer

    # -- what happens to the layer ----------------------------------------------------------------

    def _on_mode(self) -> None:
        """The brush was taken up: keep what the layer is, and make its journal, before it is needed."""
        if str(self._layer.mode) in _EDITING_MODES:
            self.take_up()

    def _on_painted(self, event: Any) -> None:
        """At once, before napari draws it; and again, since it speaks of what scripts paint before it writes that."""
        self.by_hand.note(event)
        self._on_touched()
        self._soon.start()

    def _on_touched(self) -> None:
        if (
            self._prepared or self._known is not None
        ):  # else no brush was taken up, and nothing scored
            self._touched = True
            self._next()

    def _on_redrawn(self) -> None:
        if self._can_undo and self._known is not None:
            self._later.start()

    def _on_data(self) -> None:
        if self._ignored:
            return
        same = self._known is not None and self._known.size == self._layer.data.size
        if same and tag(self._layer).get("role") == EDITED:
            self._on_touched()
            return
        self._known = self._evaluation = self._missed = None
        self._touched, self._prepared, self._can_undo = False, False, False
        self._stale, self._structures = [], set()
        self.by_hand.forget()
        self._ask(_Task(self._end_journal))  # of labels that are gone
        self._editing.replaced.emit(self._layer)
        self._on_mode()
        self._ask_for_memory()

    # -- the queues -------------------------------------------------------------------------------

    def _ask(self, task: _Task) -> None:
        self._asked.append(task)
        self._next()

    def _next(self) -> None:
        """Give the thread what is most urgent, when it has nothing to do."""
        task = None if self._job is not None or self._closed else self._most_urgent()
        if task is None:
            return
        self._turn = turn = Future[None]()

        def work() -> Any:
            if not turn.set_running_or_notify_cancel():
                raise Cancelled
            try:
                return task.work()
            finally:
                turn.set_result(None)

        self._job = background(
            self._editing.owner,
            task.title,
            work,
            task.then,
            failed=self._editing.failed.emit,
            ended=self._on_ended,
            quiet=task.quiet,
            can_cancel=False,
        )

    def _most_urgent(self) -> _Task | None:
        if self._touched:
            self._touched = False
            return _Task(self._look, self._on_looked)
        if self._asked:
            return self._asked.popleft()
        if self._unkept and not self._refused:
            return _Task(self._write_journal, self._on_written)
        if self._evaluation is not None and (self._stale or self._structures):
            stale, self._stale = self._stale, []
            self._structures.update(*(stroke.labels for stroke, _ in stale))
            work = partial(self._score_volume, self._evaluation, stale, self._structures)
            return _Task(work, self._on_scored)
        return None

    def _on_ended(self) -> None:
        self._job = None
        self._next()

    # -- in the thread ----------------------------------------------------------------------------

    def _prepare(self) -> str:
        """The copy and the journal, of the labels before any stroke; returns what the disk says."""
        try:
            known = self._copied()
        except InputError as error:  # to be said by whoever waits for it
            self._ready.set_exception(error)
            raise
        finally:
            self._untouched = None
        try:
            self._begin_journal(known)
        except InputError as error:
            return str(error)
        return ""

    def _copied(self) -> NDArray[np.uint8]:
        from napari_uda.evaluation.inputs import label_map

        if self._known is None:
            volume, untouched = layer_volume(self._layer), self._untouched
            array = volume.array
            if untouched is not None:
                array = placement(self._layer).to_file(np.asarray(untouched))
            self._known = label_map(array, self._layer.name).astype(np.uint8, order="C")
        return self._known

    def _look(self) -> tuple[Stroke | None, Evaluation | None]:
        """What was painted since the last look, and the evaluation in which its slice is scored."""
        stroke, evaluation = self._follow(), self._evaluation
        if stroke is not None:
            self._unkept.append(stroke)
            if evaluation is not None:
                evaluation.rescore_slices(stroke.box, stroke.labels, [stroke.flat_axis])
        return stroke, evaluation

    def _follow(self) -> Stroke | None:
        """Bring the copy up to date; None when nothing changed."""
        from napari_uda.evaluation.evaluation import changed_box
        from napari_uda.evaluation.inputs import label_map

        known = self._known
        array = layer_volume(self._layer).array
        if known is None or known.shape != array.shape:
            return None
        where = _differing(array, known)
        if not where[0].size:
            return None
        values = label_map(array[where], self._layer.name)
        before = None if self._edited else known.copy()
        labels = frozenset(np.union1d(known[where], values).tolist()) - {0}
        known[where] = values
        self._edited = self._can_undo = True
        voxels = np.ravel_multi_index(where, known.shape)
        return Stroke(changed_box(where), labels, voxels, values, before)

    def _score_volume(
        self,
        evaluation: Evaluation,
        stale: Collection[tuple[Stroke, Collection[int]]],
        structures: set[int],
    ) -> None:
        """The slices of the other axes, and structures in 3-D until the brush touches the layer again."""
        for stroke, axes in stale:
            evaluation.rescore_slices(stroke.box, stroke.labels, axes)
        while structures and not self._touched:
            evaluation.rescore_volume([structures.pop()])

    def _write_journal(self) -> str:
        """Bring the journal up to date; returns what the disk says when it takes no more.

        Strokes that it did not take wait for the next one: later strokes alone would not be the edit.
        """
        try:
            while self._unkept:
                stroke = self._unkept[0]
                if stroke.before is not None:
                    self._begin_journal(stroke.before)
                if self._journal is not None:
                    self._journal.append(stroke.voxels, stroke.values)
                self._unkept.popleft()
        except InputError as error:
            return str(error)
        return ""

    def _begin_journal(self, labels: NDArray[np.uint8]) -> None:
        if self._journal is not None:
            return
        own = tag(self._layer)
        volume = layer_volume(self._layer).with_array(labels)
        about = About(
            case=str(own.get("case") or self._layer.name),
            run=str(own.get("run") or ""),
            name=self._layer.name,
            names=structure_names(self._layer),
        )
        self._journal = EditJournal.begin(volume, about)

    def _end_journal(self) -> None:
        self._write_journal()
        self._unkept.clear()
        journal, self._journal = self._journal, None
        edited, self._edited = self._edited, False
        if journal is not None and edited:
            journal.close()
        elif journal is not None:
            journal.discard()

    # -- back in the main thread ------------------------------------------------------------------

    def _on_prepared(self, problem: str) -> None:
        self._warn(problem)
        if not self._ready.done():
            self._ready.set_result(None)
        self._on_touched()  # by strokes that did not wait

    def _on_looked(self, found: tuple[Stroke | None, Evaluation | None]) -> None:
        stroke, scored_in = found
        if stroke is None or self._known is None:
            return
        self._refused = False
        if self._missed is not None:
            self._missed.append(stroke)
        if self._evaluation is not None:
            scored = [stroke.flat_axis] if scored_in is self._evaluation else []
            self._stale.append((stroke, [axis for axis in _AXES if axis not in scored]))
        self._editing.changed.emit(self._layer, stroke.box)
        if stroke.before is not None:
            # a layer for them takes napari a tenth of a second: the scores are drawn before that
            self._before = stroke.before
            QTimer.singleShot(0, self._on_begun)

    def _on_begun(self) -> None:
        before, self._before = self._before, None
        if before is not None and not self._closed:
            self._editing.keep(self._layer, before)

    def _on_written(self, problem: str) -> None:
        self._refused = bool(problem)
        self._warn(problem)

    def _on_scored(self) -> None:
        if not self._stale and not self._structures:
            self._editing.settled.emit(self._layer)

    def _warn(self, problem: str) -> None:
        """Once: the second refusal of a full disk says nothing new, and the user goes on painting."""
        if problem and not self._warned:
            self._warned = True
            self._editing.failed.emit(f"Edits are not being kept on disk: {problem}")


def _differing(array: NDArray[Any], known: NDArray[np.uint8]) -> tuple[NDArray[np.intp], ...]:
    """Indices (z, y, x) of the voxels that differ, slice by slice: most slices are equal, and quickly so."""
    slices = [z for z in range(len(known)) if not np.array_equal(array[z], known[z])]
    parts = [np.nonzero(array[z] != known[z]) for z in slices]
    if not parts:
        return (np.zeros(0, np.intp),) * 3
    depth = np.concatenate([np.full(y.size, z) for z, (y, _) in zip(slices, parts, strict=True)])
    return depth, np.concatenate([y for y, _ in parts]), np.concatenate([x for _, x in parts])
