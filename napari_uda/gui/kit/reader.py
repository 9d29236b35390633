"""What napari's own File > Open and `viewer.open` read: they wait for layers, and the window stays alive meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar, cast

from napari.utils.notifications import show_warning
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QDialog, QFileDialog, QMainWindow, QProgressBar, QWidget

from napari_uda.core.errors import Cancelled, InputError
from napari_uda.core.files import shown
from napari_uda.core.progress import Listener, told
from napari_uda.core.words import short_list
from napari_uda.data.nifti import TwoPlacements
from napari_uda.data.volume import Placement
from napari_uda.gui.kit.files import LayerData, shown_data
from napari_uda.gui.kit.layout import column, row
from napari_uda.gui.kit.panel import Guarded
from napari_uda.gui.kit.placement_question import ask_placement, window_in_use
from napari_uda.gui.kit.series_choice import choose_offers
from napari_uda.gui.kit.widgets import button, label
from napari_uda.run.offers import NoImageError, Offer, Offers, find_offers, read_offer

T = TypeVar("T")
_NOTHING = cast("list[LayerData]", [(None,)])  # what npe2 takes for "read, and no layer came of it"
_SECONDS_AT_ONCE = 0.2  # what is read as fast shows no dialog
_POLL_MS = 50
_PIXELS = 320
_MOST_LISTED = 5


def read(paths: Sequence[Path]) -> list[LayerData]:
    """Read files and folders as `run.offers` understands them.

    In a window the user is asked what only they know, and can cancel; a script is told instead.

    Args:
        paths: files and folders.

    Raises:
        InputError: nothing can be read, or a script would have to be asked.
    """
    window = window_in_use()
    try:
        offers = _found(paths, window)
        return _read(offers, window)
    except Cancelled:
        return _NOTHING


def _found(paths: Sequence[Path], window: QMainWindow | None) -> list[Offer]:
    try:
        found = _waited(window, paths, lambda: find_offers(paths))
    except NoImageError as problem:
        if window is None:
            raise
        folder = QFileDialog.getExistingDirectory(
            window, f"Folder of the images that {shown(problem.file)} was drawn on"
        )
        if not folder:
            raise
        found = _waited(window, paths, lambda: find_offers(paths, [Path(folder)]))
    if found.problems and window is None:
        raise InputError(found.problems[0])
    for sentence in found.problems:
        show_warning(sentence)
    if not found.is_choice:
        return list(found.offers)
    if window is None:
        raise InputError(_listed(paths, found))
    chosen = choose_offers(found.offers, window)
    if not chosen:
        raise Cancelled
    return chosen


def _read(offers: Sequence[Offer], window: QMainWindow | None) -> list[LayerData]:
    def read_all(placement: Placement = "auto") -> list[LayerData]:
        return [shown_data(one) for offer in offers for one in read_offer(offer, placement)]

    paths = [offer.parts[0].path for offer in offers]
    try:
        return _waited(window, paths, read_all)
    except TwoPlacements as problem:
        chosen = ask_placement(problem, window) if window is not None else None
        if chosen is None:
            raise
        return _waited(window, paths, lambda: read_all(chosen))


def _listed(paths: Sequence[Path], found: Offers) -> str:
    """What a script has to choose from."""
    named = [
        f"{offer.name} ({offer.description})" if offer.description != offer.name else offer.name
        for offer in found.offers
    ]
    listed = short_list(named, _MOST_LISTED)
    return (
        f"{shown(paths[0])}: holds {len(named)} volumes: {listed}; give one of the files or folders, or open it in the "
        "window, which lets you choose"
    )


def _waited(window: QMainWindow | None, paths: Sequence[Path], work: Callable[[], T]) -> T:
    """Do something that takes a while; in a window aside, with a dialog that shows how far it is.

    Raises:
        Cancelled: by the user. The thread ends at its next word, and nobody waits for it.
    """
    if window is None:
        return work()
    stop = threading.Event()
    reached = [0, 0]

    def listen(done: int, total: int) -> None:
        reached[:] = done, total
        if stop.is_set():
            raise Cancelled

    pool = ThreadPoolExecutor(1)
    try:
        future = pool.submit(_listened, listen, work)
        with suppress(TimeoutError):
            return future.result(_SECONDS_AT_ONCE)
        waiting = Waiting(f"Open {shown(paths[0])}…", future.done, reached, window)
        waiting.exec()
        waiting.deleteLater()
        if not future.done():
            stop.set()
            raise Cancelled
        return future.result()
    finally:
        pool.shutdown(wait=False)


def _listened(listener: Listener, work: Callable[[], T]) -> T:
    """In the thread."""
    with told(listener):
        return work()


class Waiting(Guarded, QDialog):
    """Shows how far a thread is, until it is done or the user cancels.

    Qt's own dialog of this kind lets events in whenever it moves, and so calls what moves it again.
    """

    def __init__(
        self, title: str, is_done: Callable[[], bool], reached: Sequence[int], parent: QWidget
    ) -> None:
        super().__init__(parent)
        self._is_done, self._reached = is_done, reached
        self.setWindowTitle(title)
        self.setWindowModality(Qt.WindowModality.WindowModal)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setMinimumWidth(_PIXELS)
        self.cancel = button("Cancel", "Stop; nothing is opened", self.reject, "waiting_cancel")
        column(label(title), self.bar, row(..., self.cancel), of=self)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._on_time)
        self._timer.start(_POLL_MS)
        self.finished.connect(self._timer.stop)

    def _on_time(self) -> None:
        done, total = self._reached
        self.bar.setRange(0, 1000 if total else 0)  # bytes do not fit into Qt's whole numbers
        self.bar.setValue(1000 * done // max(1, total))
        if self._is_done():
            self.accept()
