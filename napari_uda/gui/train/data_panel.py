"""DataPanel: what a run learns from: source, target, the run it starts from, and the check of all that."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari.components import ViewerModel
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QMenu, QPushButton, QToolButton, QVBoxLayout, QWidget

from napari_uda.gui.kit.layout import form
from napari_uda.gui.kit.models import known_models
from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.train.data_check import DataCheck
from napari_uda.gui.train.domain_chooser import DomainChooser, LayerDomain
from napari_uda.gui.train.method_picker import MethodEntry
from napari_uda.gui.train.setting_fields import PathEditor

if TYPE_CHECKING:
    from napari_uda.run.config import RunConfig


class DataPanel(QWidget):
    """Asks for the data that a method needs.

    Emits `changed()` for other data, `init_chosen()` for another run to start from, and
    `check_requested()`.

    Attributes:
        source, target: the domains.
        init: folder of the run to start from.
        runs: button with the known runs.
        check: button of the check.
        reports: what the check found.
    """

    changed = Signal()
    init_chosen = Signal()
    check_requested = Signal()

    def __init__(self, viewer: ViewerModel | None, parent: QWidget | None = None) -> None:
        """Build.

        Args:
            viewer: whose layers can be trained on; None offers folders only.
            parent: owner.
        """
        super().__init__(parent)
        self._method: MethodEntry | None = None
        self.source = DomainChooser("Source", viewer)
        self.target = DomainChooser("Target", viewer)
        self.init = PathEditor(folder=True)
        self.init.line.setObjectName("init")
        self.init.setToolTip("Run folder whose weights the new run starts from")
        self.runs = QToolButton()
        self.runs.setObjectName("runs")
        self.runs.setText("runs…")
        self.runs.setStyleSheet("QToolButton::menu-indicator { image: none; }")  # it covers text
        self.runs.setToolTip("Runs that were used or made here before")
        self.runs.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.runs.setMenu(QMenu(self.runs))
        self.check = QPushButton("Check the data")
        self.check.setObjectName("check")
        self.reports = DataCheck()
        self._lay_out()
        self.source.changed.connect(self._on_changed)
        self.target.changed.connect(self._on_changed)
        self.init.edited.connect(self._on_init)
        self.runs.menu().aboutToShow.connect(self._on_runs)
        self.check.clicked.connect(self._on_check)

    def _lay_out(self) -> None:
        start_row = QHBoxLayout()
        start_row.addWidget(self.init, 1)
        start_row.addWidget(self.runs)
        starts_from = form()
        starts_from.addRow("Start from", start_row)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.source)
        layout.addWidget(self.target)
        layout.addLayout(starts_from)
        layout.addWidget(self.check)
        layout.addWidget(self.reports)

    # -- what is chosen ---------------------------------------------------------------------------

    @property
    def labelled(self) -> str:
        """The domain whose labels the method reads, "" for none."""
        if "target_labels" in self._needs():
            return "target"
        return "source" if "source" in self._needs() else ""

    def domains(self) -> dict[str, Path | LayerDomain]:
        """The chosen data of the domains that the method reads."""
        found: dict[str, Path | LayerDomain] = {}
        for name, chooser, wanted in (
            ("source", self.source, "source" in self._needs()),
            ("target", self.target, bool(self._needs())),
        ):
            chosen = chooser.chosen()
            if wanted and chosen is not None:
                found[name] = chosen
        return found

    def obstacle(self) -> str:
        """What is missing, "" for nothing; source_only needs no target, but a wrong one is told."""
        needs = self._needs()
        if "source" in needs and self.source.obstacle():
            return self.source.obstacle()
        wanted = bool(needs & {"target", "target_labels"}) or self.target.chosen() is not None
        return self.target.obstacle() if needs and wanted else ""

    def start_obstacle(self) -> str:
        """What is missing besides the data of the domains."""
        method = self._method
        if method is not None and method.needs_init and self.init.value() is None:
            return f"{method.name} starts from a trained run: choose its folder under Start from."
        return ""

    # -- what others set --------------------------------------------------------------------------

    def set_method(self, method: MethodEntry | None, *, one_scan: bool) -> None:
        """Ask for what this method needs; one scan alone is taken from the viewer."""
        before = (self.labelled, list(self.domains()))
        self._method = method
        self.source.setVisible("source" in self._needs())
        self.target.setVisible(bool(self._needs()))
        self.target.set_labelled(self.labelled == "target")
        if one_scan and self.target.chosen() is None:
            self.target.use_layers()
        if before != (self.labelled, list(self.domains())):
            self.reports.clear()

    def show_config(self, config: RunConfig) -> None:
        """Show the folders of these settings, as far as they name any."""
        folders = ((self.source, config.data.source), (self.target, config.data.target))
        for chooser, folder in folders:
            if folder is not None:
                chooser.set_folder(folder)
        self.init.set_value(config.init)

    def allow_check(self, allowed: bool) -> None:
        """Enable the check, if there is anything to check."""
        missing = self.obstacle()
        self.check.setEnabled(allowed and not missing and bool(self.domains()))
        self.check.setToolTip(missing or "Read all volumes and say what they are; trains nothing")

    def _needs(self) -> frozenset[str]:
        return frozenset() if self._method is None else self._method.needs

    # -- reactions --------------------------------------------------------------------------------

    @guarded
    def _on_changed(self) -> None:
        self.reports.clear()  # they are about other data
        self.changed.emit()

    @guarded
    def _on_init(self) -> None:
        self.init_chosen.emit()

    @guarded
    def _on_check(self) -> None:
        self.check_requested.emit()

    @guarded
    def _on_runs(self) -> None:
        """List the known runs anew: some may have been made meanwhile."""
        menu = self.runs.menu()
        menu.clear()
        for title, path in known_models():
            action = menu.addAction(title)
            action.setToolTip(str(path))
            action.triggered.connect(partial(self._on_run, path))

    @guarded
    def _on_run(self, path: Path) -> None:
        self.init.set_value(path)
        self.init_chosen.emit()
