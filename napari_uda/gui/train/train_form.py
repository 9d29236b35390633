"""TrainForm: a new run, from what the user has to Start: method, data, settings, run folder."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.components import ViewerModel
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QResizeEvent, QShowEvent
from qtpy.QtWidgets import (
    QBoxLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_uda.core.files import is_file
from napari_uda.gui.kit.dock import CANCELLING, JobDock
from napari_uda.gui.kit.jobs import Job
from napari_uda.gui.kit.layout import form
from napari_uda.gui.kit.panel import guarded
from napari_uda.gui.train.data_panel import DataPanel
from napari_uda.gui.train.domain_chooser import LayerDomain
from napari_uda.gui.train.method_picker import MethodPicker
from napari_uda.gui.train.preset_picker import read_preset
from napari_uda.gui.train.run_preparation import (
    Catalogue,
    Checked,
    Prepared,
    RunPlan,
    check_domains,
    prepare,
    read_catalogue,
    read_start,
)
from napari_uda.gui.train.setting_fields import PathEditor
from napari_uda.gui.train.settings_panel import SettingsPanel
from napari_uda.run.folder import RunFolder

if TYPE_CHECKING:
    from napari_uda.data.check import DomainReport
    from napari_uda.run.config import RunConfig

_TWO_COLUMNS_PX = 640
_CPU_PRESET = "cpu_small"


class TrainForm(JobDock):
    """Composes a run and checks it; it trains nothing.

    Emits `started((run_dir, config))` once Start was pressed and the check found nothing that training
    would refuse: a new folder that does not hold a run yet, and settings with all paths.

    Attributes:
        methods, data, settings, run_dir: the choices, from top to bottom.
        start: the button.
    """

    started = Signal(object)

    def __init__(self, viewer: ViewerModel | None = None, parent: QWidget | None = None) -> None:
        """Build; methods are read when the form is first shown.

        Args:
            viewer: whose layers can be trained on; None offers folders only.
            parent: owner.
        """
        super().__init__(parent)
        self._part = "Case"
        self._catalogue: Catalogue | None = None
        self._reading = False
        self._run_dir_typed = False
        self._checked: Checked | None = None
        self._started: Path | None = None  # run folder handed on last
        self._written: set[Path] = set()  # runs whose layers this form wrote
        self.methods = MethodPicker()
        self.data = DataPanel(viewer)
        self.settings = SettingsPanel()
        self.run_dir = PathEditor(folder=True)
        self.run_dir.line.setObjectName("run_dir")
        self.run_dir.setToolTip("A new folder for settings, weights, logs and predictions")
        self.start = QPushButton("Start")
        self.start.setObjectName("start")
        self._lay_out()
        self._connect()
        self._on_method()

    # -- construction -----------------------------------------------------------------------------

    def _lay_out(self) -> None:
        folder = form()
        folder.addRow("Run folder", self.run_dir)
        left, right = QVBoxLayout(), QVBoxLayout()
        left.addWidget(_heading("What do you have?"))
        left.addWidget(self.methods)
        left.addWidget(_heading("Data"))
        left.addWidget(self.data)
        right.addWidget(_heading("Settings"))
        right.addWidget(self.settings)
        right.addLayout(folder)
        content = QWidget()
        self._columns = QBoxLayout(QBoxLayout.Direction.TopToBottom, content)
        for column in (left, right):
            column.addStretch(1)
            self._columns.addLayout(column, 1)
        self.scroll = QScrollArea()
        self.scroll.setWidgetResizable(True)
        self.scroll.setFrameShape(QFrame.Shape.NoFrame)
        self.scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.scroll.setWidget(content)
        buttons = QHBoxLayout()
        buttons.addWidget(self.start, 2)
        buttons.addWidget(self.cancel, 1)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self.scroll, 1)
        outer.addLayout(buttons)
        outer.addWidget(self.bar)
        outer.addWidget(self.status)
        self.setMinimumWidth(300)

    def _connect(self) -> None:
        self.methods.method_chosen.connect(self._on_method)
        self.data.changed.connect(self._on_changed)
        self.data.init_chosen.connect(self._on_init)
        self.data.check_requested.connect(self._on_check)
        self.settings.changed.connect(self._on_changed)
        self.settings.load_requested.connect(self._on_load)
        self.settings.save_requested.connect(self._on_save)
        self.run_dir.edited.connect(self._on_run_dir)
        self.start.clicked.connect(self._on_start)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Data beside settings where there is room, as in a bottom dock."""
        super().resizeEvent(event)
        wide = self.width() >= _TWO_COLUMNS_PX
        self._columns.setDirection(
            QBoxLayout.Direction.LeftToRight if wide else QBoxLayout.Direction.TopToBottom
        )
        # stacked, the data take no more height than they need
        self._columns.setStretch(0, int(wide))

    def showEvent(self, event: QShowEvent | None) -> None:
        """Read methods and presets, which also loads torch before it is needed."""
        super().showEvent(event)
        if self._started is not None and self._started == self.run_dir.value():
            self._run_dir_typed = False  # that run has its folder; the next one needs another
            self._suggest_run_dir()
            self._update_buttons()
        if self._catalogue is None and not self._reading:
            self._reading = True
            job = Job("Read the methods", lambda report, stop: read_catalogue(), self, quiet=True)
            job.succeeded.connect(self._on_catalogue)
            job.failed.connect(self._on_unreadable)
            job.start()

    @guarded
    def _on_catalogue(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self.settings.set_presets(catalogue.presets, "" if catalogue.has_gpu else _CPU_PRESET)
        self.methods.set_methods(catalogue.methods)

    @guarded
    def _on_unreadable(self, problem: str) -> None:
        self._reading = False
        self._message = problem
        self._update_buttons()

    # -- method, settings, run to start from ------------------------------------------------------

    def show_config(self, config: RunConfig) -> None:
        """Fill the form with the settings of a run, its method and its data."""
        self.methods.choose(config.method.name)
        self.settings.begin_with(config)
        self.data.show_config(config)
        self._update_buttons()

    def load_settings(self, file: Path) -> None:
        """Begin with a YAML file, any part of the settings tree; it is offered as a preset from now on.

        Raises:
            InputError: if it cannot be read or names what does not exist.
        """
        from napari_uda.run.recipes import build_config

        preset = read_preset(file)
        entry = self.methods.method
        method = preset.method or ("" if entry is None else entry.name)
        config = build_config(method, recipe=file)
        self.methods.choose(method)
        self.settings.begin_with(config, preset)
        self.data.show_config(config)
        self._update_buttons()

    @guarded
    def _on_method(self) -> None:
        entry = self.methods.method
        self.data.set_method(entry, one_scan=self.methods.one_scan.isChecked())
        if entry is not None:
            self.settings.set_method(entry.name)
            self._suggest_run_dir()
        self._update_buttons()

    @guarded
    def _on_load(self, file: Path) -> None:
        self.load_settings(file)

    @guarded
    def _on_save(self, file: Path) -> None:
        from napari_uda.run.run import dump_config, write_text

        config = self.config()
        if config is not None:
            write_text(file, dump_config(config))
            self._message = f"Settings written to {file}."
            self._update_buttons()

    def config(self) -> RunConfig | None:
        """The settings with the chosen folders; None as long as one does not fit."""
        config = self.settings.config()
        if config is None:
            return None
        folders = {
            name: domain if isinstance(domain, Path) else None
            for name, domain in self.data.domains().items()
        }
        data = config.data.model_copy(update=folders)
        return config.model_copy(update={"data": data, "init": self.data.init.value()})

    @guarded
    def _on_init(self) -> None:
        """A run that starts from another one sees slices as that one did, with the same network."""
        self._on_changed()
        folder = self.data.init.value()
        if folder is None:
            return
        job = Job("Read the run", lambda report, stop: read_start(folder), self, quiet=True)
        job.succeeded.connect(lambda values: self._on_start_read(folder, values))
        job.failed.connect(lambda problem: self._on_start_unreadable(folder, problem))
        job.start()

    @guarded
    def _on_start_read(self, folder: Path, values: dict[str, Any]) -> None:
        if folder == self.data.init.value() and self.settings.form is not None:
            self.settings.form.adopt(values)
            self._message = f"Network and slices are those of {folder.name}."
            self._update_buttons()

    @guarded
    def _on_start_unreadable(self, folder: Path, problem: str) -> None:
        if folder == self.data.init.value():
            self._message = problem
            self._update_buttons()

    @guarded
    def _on_changed(self) -> None:
        self._message = ""
        self._update_buttons()

    # -- run folder -------------------------------------------------------------------------------

    @guarded
    def _on_run_dir(self) -> None:
        self._run_dir_typed = True
        self._on_changed()

    def _suggest_run_dir(self) -> None:
        """A new folder named after day and method, unless the user gave one."""
        entry = self.methods.method
        if self._run_dir_typed or entry is None:
            return
        if self._started is not None:
            parent = self._started.parent
        else:
            parent = (Path.cwd() if os.access(Path.cwd(), os.W_OK) else Path.home()) / "runs"
        name = f"{datetime.datetime.now():%Y-%m-%d_%H%M}_{entry.name}"
        folder, number = parent / name, 2
        while folder.exists() or folder == self._started:
            folder, number = parent / f"{name}_{number}", number + 1
        self.run_dir.set_value(folder)

    def _run_dir_obstacle(self) -> str:
        folder = self.run_dir.value()
        if folder is None:
            return "Choose a new folder for the run."
        if is_file(RunFolder(folder).config_file):
            return f"{folder.name} holds a run already; choose another run folder."
        return ""

    # -- check and start --------------------------------------------------------------------------

    def _obstacle(self) -> str:
        """Why Start is not available; empty when it is."""
        if self._job is not None:
            return CANCELLING if self._cancelling else "Checking…"
        if self._catalogue is None:
            return "" if self._message else "Reading the methods…"
        if self.methods.method is None:
            return "Tick what you have, and choose a method."
        return (
            self.data.obstacle()
            or self.data.start_obstacle()
            or self.settings.obstacle()
            or self._run_dir_obstacle()
        )

    def _update_buttons(self) -> None:
        obstacle = self._obstacle()
        running = self._job is not None
        idle = self._catalogue is not None and not running
        self.start.setEnabled(idle and not obstacle)
        self.start.setToolTip(obstacle or "Check the data and start training")
        self.data.allow_check(idle)
        self.settings.allow(loading=idle)
        self.cancel.setEnabled(running and not self._cancelling)
        self.cancel.setVisible(running)
        self.bar.setVisible(running)
        self.status.setText(self._message or obstacle)

    @guarded
    def _on_check(self) -> None:
        domains, labelled = self.data.domains(), self.data.labelled
        if self._job is not None or self.data.obstacle() or not domains:
            return
        config = self.settings.config()
        names = {} if config is None else config.data.labels
        self._start(
            "Check the data",
            lambda report, stop: check_domains(domains, labelled, names, report, stop),
            self._on_checked,
        )

    @guarded
    def _on_checked(self, checked: Checked) -> None:
        self._show_reports(checked)
        self._finish(_verdict(checked.reports))

    def _show_reports(self, checked: Checked) -> None:
        self._checked = checked
        self.data.reports.show_reports(
            {name.title(): report for name, report in checked.reports.items()}
        )

    @guarded
    def _on_start(self) -> None:
        config = self.config()
        if self._obstacle() or config is None:
            return
        run_dir = Path(self.run_dir.value()).absolute()
        plan = RunPlan(
            run_dir=run_dir,
            config=config,
            domains=self.data.domains(),
            labelled=self.data.labelled,
            may_replace=run_dir in self._written,
        )
        known = self._checked
        self._start(
            "Check the data",
            lambda report, stop: prepare(plan, report, stop, known),
            lambda prepared: self._on_prepared(plan, prepared),
        )

    @guarded
    def _on_prepared(self, plan: RunPlan, prepared: Prepared) -> None:
        self._show_reports(prepared.checked)
        if prepared.config is None:
            self._finish(f"Not started. {_verdict(prepared.checked.reports)}")
            self.scroll.ensureWidgetVisible(self.data.reports)
            return
        if any(isinstance(domain, LayerDomain) for domain in plan.domains.values()):
            self._written.add(plan.run_dir)
        self._started = plan.run_dir
        self._finish("")
        self.started.emit((plan.run_dir, prepared.config))


def _verdict(reports: Mapping[str, DomainReport]) -> str:
    """One sentence on all reports; the first fatal problem is told, the others stand above."""
    found = [problem for report in reports.values() for problem in report.problems]
    fatal = [problem.sentence for problem in found if problem.fatal]
    if fatal:
        more = f" ({len(fatal) - 1} more above)" if len(fatal) > 1 else ""
        return f"{fatal[0]}{more}"
    if found:
        return f"Data checked: {len(found)} remark{'s' * (len(found) > 1)} above."
    return "Data checked: nothing is wrong."


def _heading(text: str) -> QLabel:
    label = QLabel(text)
    font = label.font()
    font.setBold(True)
    label.setFont(font)
    return label
