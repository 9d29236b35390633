"""Editing: which layers are followed while they are painted, what is kept of them, saved and restored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari.components import ViewerModel
from napari.layers import Labels
from napari.utils.notifications import show_info
from qtpy.QtCore import QObject, Signal

from napari_uda.gui.kit.files import write_layer
from napari_uda.gui.kit.jobs import Job
from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.score.edit_journal import Leftover
from napari_uda.gui.score.edit_layers import keep_original, restored
from napari_uda.gui.score.edit_session import EditSession


class Editing(QObject):
    """Follows the layers of one viewer.

    Signals: `changed(layer, box)` when the touched slices of a layer are scored again;
    `settled(layer)` when its volume is; `replaced(layer)` when it got other data; `split(layer)` when
    it became an edited layer; `restored(layer)`; `failed(sentence)`.
    """

    changed = Signal(object, object)
    settled = Signal(object)
    replaced = Signal(object)
    split = Signal(object)
    restored = Signal(object)
    failed = Signal(str)

    def __init__(self, viewer: ViewerModel, owner: QObject) -> None:
        """Follow nothing yet.

        Args:
            viewer: whose layers.
            owner: the dock; it calls `close` when it is destroyed.
        """
        super().__init__()
        self._viewer, self._owner = viewer, owner
        self._sessions: dict[Labels, EditSession] = {}
        viewer.layers.events.removed.connect(self._on_removed)

    def follow(self, layer: Labels) -> EditSession:
        """The session of a layer; begun when there is none."""
        return self._sessions.get(layer) or self._begin(EditSession(layer, self._owner))

    def is_edited(self, layer: Labels | None) -> bool:
        """Whether a layer has edits that were not saved."""
        session = self._sessions.get(layer) if layer is not None else None
        return session is not None and session.is_edited

    @property
    def is_busy(self) -> bool:
        """Whether a thread is at work."""
        return any(session.is_busy for session in self._sessions.values())

    def save(self, layer: Labels, path: Path) -> None:
        """Write a layer onto its file's grid, in a thread; its journal goes when that is done."""
        session = self.follow(layer)

        def work() -> str:
            (written,) = write_layer(path, layer)
            session.saved()
            return written

        job = Job("Save edits", lambda report, stop: work(), self._owner, can_cancel=False)
        job.succeeded.connect(lambda written: show_info(f"Edits saved in {written}"))
        job.succeeded.connect(lambda written: self.settled.emit(layer))
        job.failed.connect(self.failed)
        job.start()

    def restore(self, leftover: Leftover) -> None:
        """Open the labels of a journal, as they were and as edited, and go on with it."""

        def work() -> tuple[Any, ...]:
            before, edited = leftover.read()
            return before, edited, leftover.adopt(), edited.array.copy()

        job = Job("Restore edits", lambda report, stop: work(), self._owner, can_cancel=False)
        job.succeeded.connect(lambda result: self._on_read(leftover, result))
        job.failed.connect(self.failed)
        job.start()

    def close(self) -> None:
        """Stop following; unsaved edits stay on disk."""
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()

    def _begin(self, session: EditSession) -> EditSession:
        layer = session.layer
        session.began.connect(lambda before: self._on_began(layer, before))
        session.changed.connect(lambda box: self.changed.emit(layer, box))
        session.settled.connect(lambda: self.settled.emit(layer))
        session.replaced.connect(lambda: self.replaced.emit(layer))
        session.failed.connect(self.failed)
        self._sessions[layer] = session
        return session

    @guarded
    def _on_began(self, layer: Labels, before: object) -> None:
        if layer in self._viewer.layers:
            keep_original(self._viewer, layer, before)  # type: ignore[arg-type]
            self.split.emit(layer)

    @guarded
    def _on_read(self, leftover: Leftover, result: tuple[Any, ...]) -> None:
        before, edited, journal, known = result
        original, changed = restored(before, edited, leftover.about)
        self._viewer.add_layer(original)
        self._begin(EditSession(changed, self._owner, (journal, known)))
        self._viewer.add_layer(changed)  # whoever follows it from now on finds this session
        self.restored.emit(changed)

    @guarded
    def _on_removed(self) -> None:
        for layer in [layer for layer in self._sessions if layer not in self._viewer.layers]:
            self._sessions.pop(layer).close()
