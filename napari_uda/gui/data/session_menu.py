"""The button with which a session is saved and opened, and the sentence about what was done last."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from napari.components import ViewerModel
from napari.layers import Layer
from napari.utils.notifications import show_warning
from qtpy.QtWidgets import QFileDialog, QMenu, QMessageBox, QWidget

from napari_uda.core.files import shown
from napari_uda.core.words import number_of
from napari_uda.data.session import Checked, LayerState, Session
from napari_uda.data.volume import Source
from napari_uda.gui.data.session import (
    layers_folder,
    open_docks,
    read,
    restore,
    save,
    states,
    without_file,
)
from napari_uda.gui.data.session_layers import OnScreen, is_helper
from napari_uda.gui.kit.files import LayerData
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.jobs import Turns, background, running
from napari_uda.gui.kit.layout import column
from napari_uda.gui.kit.panel import Panel
from napari_uda.gui.kit.widgets import button, label

_FILTER = "Sessions (*.yaml *.yml)"


class SessionMenu(Panel):
    """What was done with sessions last, in a sentence.

    Attributes:
        button: with the menu; whoever lays out the dock gives it its place.
        status: the sentence; hidden while there is none.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self.viewer = viewer
        self._turns = Turns(self)
        self.button = button(
            "Session", "Save what is on the screen as a small file, or open one", name="session"
        )
        menu = QMenu(self.button)
        menu.addAction("Save session…", self._on_save)
        menu.addAction("Open session…", self._on_open)
        self.button.setMenu(menu)
        self.status = label(name="session_status")
        self.status.hide()
        column(self.status, of=self, margin=0)

    @property
    def is_settled(self) -> bool:
        """Whether what was asked for is done."""
        return not self._turns.is_busy and not running(self)

    def save(self, file: Path) -> None:
        """Save what is on the screen; the user is asked about layers that are in no file."""
        found, session = states(self.viewer)
        self.say(f"Saving {shown(file)}…")
        background(
            self,
            f"Look at the files of {len(found)} layers",
            lambda: without_file(found),
            lambda memory: self._on_looked(file, found, session, memory),
            failed=self.say,
        )

    def open(self, file: Path) -> None:
        """Bring a session back."""
        self.say(f"Opening {shown(file)}…")
        there = [layer for layer in self.viewer.layers if not is_helper(layer)]
        background(
            self,
            f"Open {shown(file)}",
            lambda report, stop: read(file, report, stop, there),
            lambda found: self._on_read(file, *found),
            failed=self.say,
            cancelled=lambda: self.say("Cancelled; nothing was opened."),
        )

    def _on_save(self) -> None:
        chosen, _ = QFileDialog.getSaveFileName(self, "Save the session", self._proposed(), _FILTER)
        if chosen:
            file = Path(chosen)
            self.save(file if file.suffix else file.with_suffix(".yaml"))

    def _on_open(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(self, "Open a session", "", _FILTER)
        if chosen:
            self.open(Path(chosen))

    def _proposed(self) -> str:
        """Beside the first file on the screen, which keeps the paths short."""
        sources = (tag(layer).get("file") for layer in self.viewer.layers)
        first = next((one for one in sources if isinstance(one, Source)), None)
        return "session.yaml" if first is None else str(first.path.parent / "session.yaml")

    def _on_looked(
        self, file: Path, found: list[OnScreen], session: Session, memory: list[OnScreen]
    ) -> None:
        beside = False
        volumes = [one.state.name for one in memory if one.volume is not None]
        if volumes:
            answer = ask_where(self, volumes, layers_folder(file))
            if answer is None:
                self.say("Cancelled; nothing was saved.")
                return
            beside = answer
        background(
            self,
            f"Save {shown(file)}",
            partial(save, file, found, session, memory, beside),
            lambda saved: self._on_saved(file, saved),
            failed=self.say,
            cancelled=lambda: self.say("Cancelled; the session was not saved."),
        )

    def _on_saved(self, file: Path, saved: Session) -> None:
        count = len(saved.layers)
        kept = f"Saved {shown(file)} with {number_of(count, 'layer')}"
        out = saved.left_out
        self.say(f"{kept}; left out: {', '.join(out)}." if out else f"{kept}.")

    def _on_read(
        self, file: Path, checked: Checked, contents: list[tuple[LayerState, LayerData | Layer]]
    ) -> None:
        self.say(what_is_not_there(checked) or f"{shown(file)} is shown.")
        self._turns.take(restore(self.viewer, file.parent, checked, contents))

    def say(self, words: str) -> None:
        """Show a sentence, or none."""
        self.status.setText(words)
        self.status.setVisible(bool(words))


def what_is_not_there(checked: Checked) -> str:
    """What of a session is not shown, with the remedy; "" where all is."""
    left_out = checked.session.left_out
    without = f"It was saved without {', '.join(left_out)}." if left_out else ""
    return " ".join(filter(None, (checked.sentence(), without)))


def say_in_window(viewer: ViewerModel, sentence: str) -> None:
    """Say something of the session that was opened: in the Data dock, else as a notice of napari."""
    dock = open_docks(viewer).get("Data")
    menu = None if dock is None else dock.findChild(SessionMenu)
    if menu is None:
        show_warning(sentence)
    else:
        menu.say(sentence)


def ask_where(parent: QWidget, names: Sequence[str], folder: Path) -> bool | None:
    """Ask whether layers that are in memory only are saved beside the session; None cancels."""
    box = QMessageBox(parent)
    box.setWindowTitle("Save session")
    box.setText(f"In memory only: {', '.join(names)}.")
    box.setInformativeText(f"They can be saved as volumes into the folder {folder.name}.")
    beside = box.addButton("Save beside", QMessageBox.ButtonRole.AcceptRole)
    out = box.addButton("Leave out", QMessageBox.ButtonRole.DestructiveRole)
    box.addButton(QMessageBox.StandardButton.Cancel)
    box.exec()
    clicked = box.clickedButton()
    return None if clicked not in (beside, out) else clicked is beside
