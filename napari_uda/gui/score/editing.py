"""Editing: which layers are followed while they are painted, and what an earlier session left unsaved."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QFrame

from napari_uda.core.words import number_of
from napari_uda.data.edit_journal import About, EditJournal, Leftover
from napari_uda.gui.kit.jobs import background
from napari_uda.gui.kit.layer_order import add_layer
from napari_uda.gui.kit.layout import column, row
from napari_uda.gui.kit.panel import Guarded, listen
from napari_uda.gui.kit.widgets import button, label
from napari_uda.gui.score.added_layers import keep_original, restored_layers
from napari_uda.gui.score.edit_session import EditSession


class Editing(Guarded, QObject):
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
            owner: the dock; nothing is followed any more once it is destroyed.
        """
        super().__init__()
        self.owner = owner
        self._viewer = viewer
        self._sessions: dict[Labels, EditSession] = {}
        listen(owner, self._on_removed, viewer.layers.events.removed)
        owner.destroyed.connect(lambda: self.close())

    def follow(self, layer: Labels) -> EditSession:
        """The session of a layer; begun when there is none."""
        if layer not in self._sessions:
            self._sessions[layer] = EditSession(layer, self)
        return self._sessions[layer]

    def is_edited(self, layer: Labels | None) -> bool:
        """Whether a layer has edits that were not saved."""
        session = self._sessions.get(layer) if layer is not None else None
        return session is not None and session.is_edited

    @property
    def is_busy(self) -> bool:
        """Whether something is still to be done for an edit."""
        return any(session.is_busy for session in self._sessions.values())

    def save(self, layer: Labels, path: Path) -> None:
        """Write a layer onto its file's grid, in a thread; its journal goes when that is done."""
        self.follow(layer).save(path)

    def restore(self, leftover: Leftover) -> None:
        """Open the labels of a journal, as they were and as edited, and go on with it."""

        def work() -> tuple[Any, ...]:
            before, edited = leftover.read()
            return before, edited, leftover.adopt(), edited.array.copy()

        background(
            self.owner,
            "Restore edits",
            work,
            lambda read: self._on_read(leftover.about, *read),
            failed=self.failed.emit,
            can_cancel=False,
        )

    def keep(self, layer: Labels, before: NDArray[np.uint8]) -> None:
        """Let the labels as they were stay beside the edited ones."""
        if layer in self._viewer.layers:
            keep_original(self._viewer, layer, before)
            self.split.emit(layer)

    def close(self) -> None:
        """Stop following; unsaved edits stay on disk."""
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()

    def _on_read(
        self, about: About, before: Any, edited: Any, journal: EditJournal, known: Any
    ) -> None:
        original, changed = restored_layers(before, edited, about)
        add_layer(self._viewer, original)
        self._sessions[changed] = EditSession(changed, self, (journal, known))
        add_layer(self._viewer, changed)  # whoever follows it from now on finds this session
        self.restored.emit(changed)

    def _on_removed(self) -> None:
        for layer in [layer for layer in self._sessions if layer not in self._viewer.layers]:
            self._sessions.pop(layer).close()


class EditBanner(Guarded, QFrame):
    """Offers edits of an earlier session that were never saved, one after the other: Restore or Discard."""

    def __init__(self, restore: Callable[[Leftover], None]) -> None:
        """Show nothing yet.

        Args:
            restore: opens the edits that are wanted.
        """
        super().__init__()
        self._restore = restore
        self._waiting: list[Leftover] = []
        self.setObjectName("edit_banner")
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.text = label()
        tip = "Open the labels as they were and as they were edited"
        self.restore = button("Restore", tip, self._on_restore, "restore")
        self.discard = button("Discard", "Delete these edits for good", self._on_discard, "discard")
        column(self.text, row(self.restore, self.discard, ...), of=self)
        self.hide()

    def offer(self, leftovers: list[Leftover]) -> None:
        """Show the first of these, the others after it; nothing when there is none."""
        self._waiting = list(leftovers)
        self._show_next()

    def _show_next(self) -> None:
        self.setVisible(bool(self._waiting))
        if self._waiting:
            self.text.setText(_sentence(self._waiting[0], len(self._waiting) - 1))

    def _on_restore(self) -> None:
        leftover = self._waiting.pop(0)
        self._show_next()
        self._restore(leftover)

    def _on_discard(self) -> None:
        leftover = self._waiting.pop(0)
        self._show_next()
        leftover.discard()


def _sentence(leftover: Leftover, more: int) -> str:
    about = leftover.about
    try:
        begun = f" of {datetime.fromisoformat(about.begun):%d %B %Y, %H:%M}"
    except ValueError:
        begun = ""
    strokes = number_of(leftover.strokes, "stroke")
    rest = f" {more} more after this." if more else ""
    return f"Unsaved edits{begun}: '{about.name}', {strokes}.{rest}"
