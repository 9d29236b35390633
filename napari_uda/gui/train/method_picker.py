"""Which method: asks what data there is, and offers only methods that can train on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QGridLayout,
    QLabel,
    QListView,
    QListWidget,
    QListWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_uda.gui.kit.panel import guarded

_NAME = Qt.ItemDataRole.UserRole
_HEIGHT_PX = 190
_LABELS_TIP = "Only for {}; no other method reads them"


@dataclass(frozen=True)
class MethodEntry:
    """What the picker says of a method; the fields are those of `methods.base.Method`."""

    name: str
    family: str
    paper: str
    summary: str
    needs: frozenset[str]
    needs_init: bool


def read_methods() -> list[MethodEntry]:
    """Every method there is, those that learn first. Loads torch: for a worker thread."""
    from napari_uda.methods.registry import METHODS

    learning_first = sorted(METHODS.items(), key=lambda item: not item[1].learns)
    return [
        MethodEntry(
            name, kind.family, kind.paper, kind.summary, frozenset(kind.needs), kind.needs_init
        )
        for name, kind in learning_first
    ]


class MethodPicker(QWidget):
    """Four answers and the methods they leave, by family; emits `method_chosen(str)`, "" for none.

    Attributes:
        source: whether there are labelled source images.
        target: whether there are target images.
        target_labels: whether the target images have labels, for the upper bound.
        one_scan: whether one target scan is all there is, besides a trained run.
        list: the methods.
    """

    method_chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._methods: Sequence[MethodEntry] = ()
        self._chosen = ""
        self.source = _question(
            "source", "Source images with labels", "Volumes of the kind that the labels belong to"
        )
        self.target = _question(
            "target", "Target images", "Volumes of the kind that is to be segmented, without labels"
        )
        self.target_labels = _question(
            "target_labels",
            "Labels of the target too",
            _LABELS_TIP.format("the upper bound"),
        )
        self.one_scan = _question(
            "one_scan",
            "One scan only",
            "One target volume and a trained run: methods that need no source data.\n"
            "The Segment dock's 'Adapt to this volume' does the same in one click.",
        )
        self.list = QListWidget()
        self.list.setObjectName("methods")
        self.list.setWordWrap(True)
        self.list.setTextElideMode(Qt.TextElideMode.ElideNone)
        self.list.setResizeMode(QListView.ResizeMode.Adjust)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.list.setFixedHeight(_HEIGHT_PX)
        self.list.setToolTip("Methods that can train on these data")
        self.none = QLabel("No method can train on this; tick what you have.")
        self.none.setWordWrap(True)
        self.source.setChecked(True)
        self.target.setChecked(True)
        answers = QGridLayout()
        answers.setContentsMargins(0, 0, 0, 0)
        for row, box in enumerate((self.source, self.target, self.target_labels, self.one_scan)):
            answers.addWidget(box, row, 0)
            box.toggled.connect(self._on_answered)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(answers)
        layout.addWidget(self.none)
        layout.addWidget(self.list)
        self.list.currentItemChanged.connect(self._on_chosen)
        self._offer()

    @property
    def method(self) -> MethodEntry | None:
        """The chosen method."""
        return next((one for one in self._methods if one.name == self._chosen), None)

    def set_methods(self, methods: Sequence[MethodEntry]) -> None:
        """Offer these; the first choice is the first that adapts."""
        self._methods = methods
        readers = [one.name for one in methods if "target_labels" in one.needs]
        self.target_labels.setToolTip(_LABELS_TIP.format(" and ".join(readers)))
        self._offer()

    def choose(self, name: str) -> None:
        """Choose a method, ticking what it needs.

        Raises:
            KeyError: if there is no such method.
        """
        entry = next((one for one in self._methods if one.name == name), None)
        if entry is None:
            raise KeyError(name)
        if not entry.needs <= self.available():
            self.one_scan.setChecked(False)
            self.source.setChecked(self.source.isChecked() or "source" in entry.needs)
            self.target.setChecked(True)
            wants_labels = "target_labels" in entry.needs
            self.target_labels.setChecked(self.target_labels.isChecked() or wants_labels)
        for row in range(self.list.count()):
            if self.list.item(row).data(_NAME) == name:
                self.list.setCurrentRow(row)

    def available(self) -> frozenset[str]:
        """The answers in the words of a method's `needs`."""
        if self.one_scan.isChecked():
            return frozenset({"target"})
        found = {"source"} if self.source.isChecked() else set()
        if self.target.isChecked():
            found |= {"target"} | ({"target_labels"} if self.target_labels.isChecked() else set())
        return frozenset(found)

    @guarded
    def _on_answered(self) -> None:
        alone = self.one_scan.isChecked()
        for box in (self.source, self.target):
            box.setEnabled(not alone)
        self.target_labels.setEnabled(not alone and self.target.isChecked())
        self._offer()

    def _offer(self) -> None:
        """List what can train on the data; a choice that still can is kept."""
        fitting = [one for one in self._methods if one.needs <= self.available()]
        adapting = [one for one in fitting if one.family != "bounds"]
        kept = next((one for one in fitting if one.name == self._chosen), None)
        first = kept or next(iter([*adapting, *fitting]), None)
        families = dict.fromkeys(one.family for one in [*adapting, *fitting])
        self.list.blockSignals(True)
        self.list.clear()
        for family in families:
            header = QListWidgetItem(family)
            header.setFlags(Qt.ItemFlag.NoItemFlags)
            font = header.font()
            font.setBold(True)
            header.setFont(font)
            self.list.addItem(header)
            for one in fitting:
                if one.family == family:
                    self._add(one, chosen=one is first)
        self.list.blockSignals(False)
        self.list.setVisible(bool(fitting))
        self.none.setVisible(not fitting and bool(self._methods))
        item = self.list.currentItem()
        if item is not None:
            self.list.scrollToItem(item, QAbstractItemView.ScrollHint.PositionAtCenter)
        self._set(first.name if first else "")

    def _add(self, one: MethodEntry, *, chosen: bool) -> None:
        start = " Starts from a trained run." if one.needs_init else ""
        item = QListWidgetItem(f"{one.name}\n{one.summary}. {one.paper}.{start}")
        item.setData(_NAME, one.name)
        item.setToolTip(f"{one.summary} ({one.paper})")
        self.list.addItem(item)
        if chosen:
            self.list.setCurrentItem(item)

    @guarded
    def _on_chosen(self, item: QListWidgetItem | None) -> None:
        # nothing is scrolled here: Qt would mark what comes to lie under the mouse instead
        if item is not None:
            self._set(item.data(_NAME) or "")

    def _set(self, name: str) -> None:
        if name != self._chosen:
            self._chosen = name
            self.method_chosen.emit(name)


def _question(name: str, text: str, tip: str) -> QCheckBox:
    box = QCheckBox(text)
    box.setObjectName(f"have_{name}")
    box.setToolTip(tip)
    return box
