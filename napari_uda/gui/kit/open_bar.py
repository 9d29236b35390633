"""OpenBar: the row at the top of every dock that opens a user's own files, and takes what is dropped there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari.components import ViewerModel
from napari.layers import Layer
from napari.viewer import Viewer
from qtpy.QtCore import QEvent, QObject, Signal
from qtpy.QtGui import QDragEnterEvent, QDropEvent, QHideEvent, QResizeEvent
from qtpy.QtWidgets import (
    QFileDialog,
    QMenu,
    QProgressBar,
    QSizePolicy,
    QWidget,
)

from napari_uda.core.files import (
    DICOM_SUFFIXES,
    ITK_SUFFIXES,
    NIBABEL_SUFFIXES,
    NIFTI_SUFFIXES,
    SEG_NRRD_SUFFIX,
    is_file,
    shown,
)
from napari_uda.data.session import is_session
from napari_uda.gui.kit import preferences
from napari_uda.gui.kit.arrivals import Arrivals
from napari_uda.gui.kit.drops import accept_on_canvas, paths_of, take_drop
from napari_uda.gui.kit.layout import column, row, wrapped
from napari_uda.gui.kit.opening import Opening, open_paths
from napari_uda.gui.kit.panel import Following, Panel, listen
from napari_uda.gui.kit.reader_question import ReaderQuestion
from napari_uda.gui.kit.widgets import button, label
from napari_uda.inference.cases import holds_predictions
from napari_uda.run.folder import RunFolder

_NIFTI = (*NIFTI_SUFFIXES, ".nii.zst")
_FORMATS = {
    "All volumes and segmentations": (
        *_NIFTI,
        *NIBABEL_SUFFIXES[1:],
        ".img",
        *ITK_SUFFIXES,
        *DICOM_SUFFIXES,
    ),
    "NIfTI": _NIFTI,
    "NIfTI and Analyze pairs": (".hdr", ".img"),
    "FreeSurfer": (".mgz", ".mgh"),
    "NRRD": (".nrrd", ".nhdr"),
    "MetaImage": (".mha", ".mhd"),
    "Segmentations of 3D Slicer": (SEG_NRRD_SUFFIX,),
    "DICOM, also SEG and RTSTRUCT": DICOM_SUFFIXES,
}
FILTERS = ";;".join(
    [
        *(
            f"{name} ({' '.join('*' + suffix for suffix in suffixes)})"
            for name, suffixes in _FORMATS.items()
        ),
        "All files (*)",
    ]
)
"""Name filters of the file dialog: every format that is read; DICOM files often have no suffix."""
CANCELLING = "Cancelling…"
_TEXTS = (
    ("Open volume…", "Open DICOM…", "Open case folder…"),
    ("Open volume…", "DICOM…", "Case folder…"),
    ("Volume…", "DICOM…", "Case…"),
    ("Volume", "DICOM", "Case"),
)
"""What the buttons say where there is room, less of it, little, and hardly any."""
_BUTTON_ROOM = 14  # pixels beside the text of a button
_SPACING = 4


class OpenBar(Panel):
    """Opens volumes in a thread and shows them.

    Attributes:
        opening: what is being opened, None while nothing is.
        status: what was opened last, or why nothing was.

    Signals: `opened(layers)` when all layers of one go are there; `data_folder_found(path, case)` when a data folder
    was opened here or in another dock of the window, of which only the first case is shown, or "" where none is yet;
    `session_found(path)`.
    """

    opened = Signal(list)
    data_folder_found = Signal(object, str)
    session_found = Signal(object)

    def __init__(self, viewer: ViewerModel, dock: QWidget) -> None:
        super().__init__(dock)
        self.viewer = viewer
        self.opening: Opening | None = None
        self._waiting: list[Sequence[Path]] = []
        self._shown: list[Layer] = []
        self.volume = button(
            _TEXTS[0][0],
            "NIfTI, NRRD, MetaImage, FreeSurfer, DICOM files and segmentations.\n"
            "Files and folders can also be dropped here, or on the image.",
            self._on_volume,
            "open_volume",
        )
        self.dicom = button(
            _TEXTS[0][1],
            "A folder with a DICOM series, or with folders of several ones",
            self._on_dicom,
            "open_dicom",
        )
        self.case_folder = button(
            _TEXTS[0][2],
            "The images, structures and results of a case that lie in one folder,\n"
            "or a data folder (images and labels), of which the first case is shown",
            self._on_case_folder,
            "open_case_folder",
        )
        self.recent = button("Recent", "What was opened last", name="open_recent")
        self.recent_menu = QMenu(self)
        self.recent_menu.aboutToShow.connect(self._on_recent_menu)
        self.recent.setMenu(self.recent_menu)
        self._buttons = (self.volume, self.dicom, self.case_folder)
        self._added: list[QWidget] = []
        for pressed, text in zip(self._buttons, _TEXTS[0], strict=True):
            pressed.setAccessibleName(text)
        self.bar = QProgressBar()
        self.bar.setObjectName("open_progress")
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(6)
        self.cancel = button(
            "Cancel", "Stop; what is not shown yet is not opened", self._on_cancel, "open_cancel"
        )
        self.status = label(name="open_status")
        self.question = ReaderQuestion()
        self._lay_out()
        dock.setAcceptDrops(True)
        dock.installEventFilter(self)
        self._eyes = Following(self, self._on_unseen)
        listen(self, self._on_unseen, viewer.layers.events.removed)
        accept_on_canvas(viewer)
        Arrivals(viewer, self).arrived.connect(self._on_arrived)

    def _lay_out(self) -> None:
        self._working = QWidget()
        row((self.bar, 1), self.cancel, of=self._working, margin=0)
        for pressed in self._buttons:  # else long words, once shown, would keep the dock wide
            pressed.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._put(_TEXTS[-1])
        self._row = wrapped(*((one, 1) for one in (*self._buttons, self.recent)), spacing=_SPACING)
        column(
            self._row,
            self._working,
            self.status,
            self.question,
            of=self,
            margin=0,
            spacing=_SPACING,
        )
        self._working.hide()
        self.status.hide()
        self.question.hide()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Short words where there is no room for all in one line."""
        super().resizeEvent(event)
        others = (self.recent, *self._added)
        room = event.size().width() - sum(one.sizeHint().width() + _SPACING for one in others)
        room -= _SPACING * (len(self._buttons) - 1)
        fitting = (texts for texts in _TEXTS if sum(self._widths(texts)) <= room)
        self._put(next(fitting, _TEXTS[-1]))

    def add(self, *buttons: QWidget) -> None:
        """Put more buttons of the dock at the end of the row, such as its help."""
        self._added += buttons
        for one in buttons:
            self._row.add(one)

    def _put(self, texts: Sequence[str]) -> None:
        for pressed, text, width in zip(self._buttons, texts, self._widths(texts), strict=True):
            pressed.setMinimumWidth(width)
            pressed.setText(text)

    def _widths(self, texts: Sequence[str]) -> list[int]:
        metrics = self.volume.fontMetrics()
        return [metrics.horizontalAdvance(text) + _BUTTON_ROOM for text in texts]

    # -- what is opened ---------------------------------------------------------------------------

    def open(self, paths: Sequence[Path]) -> None:
        """Open files and folders, one after the other; see `kit.opening.open_paths`.

        What comes while something is being opened is opened after it.
        """
        if self.opening is not None:
            self._waiting.append(paths)
            self.say(self._goes_on())
            return
        if len(paths) == 1 and self._hand_over(paths[0]):
            preferences.remember_file(paths[0])
            return
        self.opening = opening = open_paths(self, self.viewer, paths)
        opening.progressed.connect(self._on_progress)
        opening.opened.connect(lambda layers: self._on_opened(paths, layers))
        opening.data_folder_found.connect(self._on_data_folder)
        opening.ended.connect(self._on_ended)
        self.bar.setRange(0, 0)
        self.cancel.setEnabled(True)
        self.cancel.setText("Cancel")
        self._working.show()
        self.say(self._goes_on())
        for pressed in (*self._buttons, self.recent):
            pressed.setEnabled(False)

    def _on_volume(self) -> None:
        chosen, _ = QFileDialog.getOpenFileNames(
            self, "Open volumes", preferences.last_folder(), FILTERS
        )
        if chosen:
            self.open([Path(one) for one in chosen])

    def _on_dicom(self) -> None:
        self._choose_folder("Folder of a DICOM series or study")

    def _on_case_folder(self) -> None:
        self._choose_folder("Folder of a case, or data folder")

    def _choose_folder(self, title: str) -> None:
        chosen = QFileDialog.getExistingDirectory(self, title, preferences.last_folder())
        if chosen:
            self.open([Path(chosen)])

    def _on_recent_menu(self) -> None:
        self.recent_menu.clear()
        for path in preferences.recent_files():
            action = self.recent_menu.addAction(f"{path.name}  ({path.parent})")
            action.triggered.connect(lambda _=False, path=path: self.open([path]))
        if self.recent_menu.isEmpty():
            self.recent_menu.addAction("Nothing was opened yet").setEnabled(False)

    # -- what goes on -----------------------------------------------------------------------------

    def _goes_on(self) -> str:
        """What is being opened, and what follows."""
        title = "" if self.opening is None else self.opening.title
        then = ", ".join(shown(path) for paths in self._waiting for path in paths)
        return f"{title}, then {then}…" if then else f"{title}…"

    def _on_progress(self, done: int, total: int) -> None:
        self.bar.setRange(0, 1000 if total else 0)  # bytes do not fit into Qt's whole numbers
        self.bar.setValue(1000 * done // max(1, total))

    def _on_cancel(self) -> None:
        if self.opening is not None:
            self._waiting.clear()
            self.cancel.setEnabled(False)
            self.cancel.setText(CANCELLING)
            self.opening.cancel()

    def _on_opened(self, paths: Sequence[Path], layers: list[Layer]) -> None:
        self._tell_of(layers)
        for path in reversed(paths):
            preferences.remember_file(path)
        self.question.offer(paths)
        self.opened.emit(layers)

    def _hand_over(self, path: Path) -> bool:
        """Let the Data dock open what only that can show: a session, a run, predictions of several cases."""
        found_session = is_session(path)
        if not found_session and not _is_list(path):
            return False
        if isinstance(self.viewer, Viewer):
            self.viewer.window.add_plugin_dock_widget("napari_uda", "Data")
        for bar in self.window().findChildren(OpenBar):
            if found_session:
                bar.session_found.emit(path)
            else:
                bar.data_folder_found.emit(path, "")
        self.say(f"{shown(path)} is opened in the Data dock.")
        return True

    def _on_data_folder(self, folder: Path, case: str) -> None:
        for bar in self.window().findChildren(OpenBar):
            bar.data_folder_found.emit(folder, case)

    def _on_arrived(self, layers: list[Layer], sentence: str) -> None:
        self._tell_of(layers)
        self.say(sentence)

    def _tell_of(self, layers: list[Layer]) -> None:
        """What is said is of these layers."""
        self._shown = layers
        self._eyes.follow(*(layer.events.visible for layer in layers))

    def _on_unseen(self) -> None:
        """What was said of layers that are gone or hidden takes room from what is looked at."""
        seen = (layer for layer in self._shown if layer in self.viewer.layers and layer.visible)
        if self._shown and self.opening is None and next(seen, None) is None:
            self._tell_of([])
            self.say("")

    def hideEvent(self, event: QHideEvent) -> None:
        """Who goes to another dock has read what was opened."""
        super().hideEvent(event)
        if self._shown and self.opening is None and not event.spontaneous():
            self._tell_of([])
            self.say("")

    def _on_ended(self, sentence: str) -> None:
        self.opening = None
        self._working.hide()
        self.say(sentence)
        for pressed in (*self._buttons, self.recent):
            pressed.setEnabled(True)
        waiting, self._waiting = self._waiting, []
        if sentence:  # else napari is closing
            for paths in waiting:
                self.open(paths)

    def say(self, sentence: str) -> None:
        """Show a sentence below the buttons, or none."""
        self.status.setText(sentence)
        self.status.setVisible(bool(sentence))

    # -- drops ------------------------------------------------------------------------------------

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Take files and folders that are dropped on the dock."""
        if isinstance(event, QDragEnterEvent) and paths_of(event.mimeData()):
            event.acceptProposedAction()
            return True
        if isinstance(event, QDropEvent) and event.type() == QEvent.Type.Drop:
            paths = paths_of(event.mimeData())
            if paths:
                take_drop(event)
                self._on_dropped(paths)
            return bool(paths)
        return False

    def _on_dropped(self, paths: list[Path]) -> None:
        self.open(paths)


def _is_list(path: Path) -> bool:
    """Whether a folder is a run, or holds the predictions of several cases."""
    if is_file(RunFolder(path).config_file):
        return True
    return path.is_dir() and len(list(path.glob("*_labels.*"))) > 1 and holds_predictions(path)
