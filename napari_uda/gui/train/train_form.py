"""TrainForm: a new run, from what the user has to Start: method, data, settings, run folder."""

from __future__ import annotations

import datetime
import os
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.components import ViewerModel
from qtpy.QtCore import Signal
from qtpy.QtGui import QResizeEvent, QShowEvent
from qtpy.QtWidgets import QBoxLayout, QFileDialog, QWidget

from napari_uda.core.errors import InputError
from napari_uda.core.files import is_file
from napari_uda.core.words import number_of
from napari_uda.data.findings import renamed_report
from napari_uda.data.rename_structure import check_name, rename_in_folder
from napari_uda.data.volume import Placement
from napari_uda.gui.kit.dock import CANCELLING, JobDock
from napari_uda.gui.kit.fields import folder_edit, show_value
from napari_uda.gui.kit.jobs import Report, background
from napari_uda.gui.kit.layers import structure_names
from napari_uda.gui.kit.layout import Scrolling, column, form, wrapped
from napari_uda.gui.kit.renaming import rename_in_layers, show_new_name
from napari_uda.gui.kit.widgets import button, label
from napari_uda.gui.train.data_panel import DataPanel
from napari_uda.gui.train.method_picker import MethodPicker
from napari_uda.gui.train.run_preparation import (
    Catalogue,
    Checked,
    LayerDomain,
    Prepared,
    RunPlan,
    StartFit,
    check_domains,
    estimate_time,
    judge_start,
    prepare,
    read_catalogue,
)
from napari_uda.gui.train.settings_panel import SettingsPanel, read_preset
from napari_uda.run.continuation import settings_of_start
from napari_uda.run.folder import RunFolder

if TYPE_CHECKING:
    from napari_uda.data.check import DomainReport
    from napari_uda.run.config import RunConfig

_TWO_COLUMNS_PX = 640
_CPU_PRESET = "cpu_small"
_CHECKING = "Checking…"
_FILES = "YAML (*.yaml *.yml)"


class TrainForm(JobDock):
    """Composes a run and checks it; it trains nothing.

    Emits `started((run_dir, config))` once Start was pressed and the check found nothing that training
    would refuse: a new folder that does not hold a run yet, and settings with all paths.

    Attributes:
        methods, data, settings, run_dir: the choices, from top to bottom.
        start: the button.
    """

    started = Signal(object)

    def __init__(self, viewer: ViewerModel | None = None) -> None:
        """Build; methods are read when the form is first shown.

        Args:
            viewer: whose layers can be trained on; None offers folders only.
        """
        super().__init__()
        self._part = "Case"
        self._catalogue: Catalogue | None = None
        self._reading = False
        self._run_dir_typed = False
        self._checked: Checked | None = None
        self._doing = ""  # what the job is doing
        self._started: Path | None = None  # run folder handed on last
        self._written: set[Path] = set()  # runs whose layers this form wrote
        self._wanted: tuple[Path | None, Path] | None = None  # to go on from, once methods are read
        self.methods = MethodPicker()
        self._viewer = viewer
        self.data = DataPanel(viewer)
        self.settings = SettingsPanel()
        self.run_dir = folder_edit(
            "run_dir", "A new folder for settings, weights, logs and predictions"
        )
        self.start = button("Start", slot=self._on_start, name="start")
        self.estimate = button("How long?", slot=self._on_estimate, name="estimate")
        self._lay_out()
        self._connect()
        self._on_method()

    # -- construction -----------------------------------------------------------------------------

    def _lay_out(self) -> None:
        data = column(
            label("<b>What do you have?</b>", wrap=False),
            self.methods,
            label("<b>Data</b>", wrap=False),
            self.data,
            ...,
        )
        folder = form(("Run folder", self.run_dir.native))
        settings = column(label("<b>Settings</b>", wrap=False), self.settings, folder, ...)
        content = QWidget()
        self._columns = QBoxLayout(QBoxLayout.Direction.TopToBottom, content)
        self._columns.setContentsMargins(2, 2, 2, 2)
        self._columns.addLayout(data, 1)
        self._columns.addLayout(settings, 1)
        self.scrolling = Scrolling(content)
        buttons = wrapped((self.start, 2), (self.estimate, 1), (self.cancel, 1))
        column((self.scrolling, 1), buttons, self.bar, self.status, of=self, margin=0)

    def _connect(self) -> None:
        self.methods.method_chosen.connect(self._on_method)
        self.data.changed.connect(self._on_changed)
        self.data.init.changed.connect(self._on_init)
        self.data.check.clicked.connect(self._on_check)
        self.data.reports.renamed.connect(self._on_renamed)
        self.settings.changed.connect(self._on_settings)
        self.settings.load.clicked.connect(self._on_load)
        self.settings.save.clicked.connect(self._on_save)
        self.run_dir.changed.connect(self._on_run_dir)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Data beside settings where there is room, as in a bottom dock."""
        super().resizeEvent(event)
        wide = self.width() >= _TWO_COLUMNS_PX
        self._columns.setDirection(
            QBoxLayout.Direction.LeftToRight if wide else QBoxLayout.Direction.TopToBottom
        )
        # stacked, the data take no more height than they need
        self._columns.setStretch(0, int(wide))

    def showEvent(self, event: QShowEvent) -> None:
        """Read methods and presets, which also loads torch before it is needed."""
        super().showEvent(event)
        if self._started is not None and self._started == self.run_dir.get_value():
            self._run_dir_typed = False  # that run has its folder; the next one needs another
            self._suggest_run_dir()
            self._update_buttons()
        if self._catalogue is None and not self._reading:
            self._reading = True
            background(
                self,
                "Read the methods",
                read_catalogue,
                self._on_catalogue,
                failed=self._on_unreadable,
                quiet=True,
            )

    def _on_catalogue(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self.settings.set_presets(catalogue.presets, "" if catalogue.has_gpu else _CPU_PRESET)
        self.methods.set_methods(catalogue.methods)
        wanted, self._wanted = self._wanted, None
        if wanted is not None:
            self.go_on_with_corrected(*wanted)

    def _on_unreadable(self, problem: str) -> None:
        self._reading = False
        self._say(problem)

    # -- method, settings, run to start from ------------------------------------------------------

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

    def go_on_with_corrected(self, run: Path | None, corrected: Path) -> None:
        """Begin with the settings of a run, to start from its weights and learn from corrected cases too.

        Args:
            run: its folder; None where nobody knows it: then it is to be chosen.
            corrected: data folder of the cases.
        """
        if self._catalogue is None:
            self._wanted = run, corrected
            return
        if run is None:
            self.data.set_corrected(corrected)
            self._say("Choose the run that the cases were predicted by under Start from.")
            return
        background(
            self,
            "Read the run",
            lambda: _settings_to_go_on(run),
            lambda config: self._on_goes_on(run, corrected, config),
            failed=self._finish,
            quiet=True,
        )

    def _on_goes_on(self, run: Path, corrected: Path, config: RunConfig) -> None:
        entries = self._catalogue.methods if self._catalogue is not None else []
        able = {entry.name for entry in entries if entry.learns_from_corrected}
        if config.method.name in able:
            self.methods.choose(config.method.name)
            preset = replace(
                read_preset(RunFolder(run).config_file), title=f"settings of {run.name}"
            )
            self.settings.begin_with(config, preset)
            self.data.show_config(config)
            said = f"Goes on from {run.name} and learns from the corrected cases too: check the settings, then Start."
        else:
            self.data.init.value = run
            said = f"{config.method.name} learns from no labels: choose a method that does to go on from {run.name}."
        self.data.set_corrected(corrected)
        self._say(said)

    def _on_method(self) -> None:
        entry = self.methods.method
        if entry is not None:
            self.settings.set_method(entry.name, entry.settings)
            self._suggest_run_dir()
        self._ask_for_data()
        self._update_buttons()

    def _on_settings(self) -> None:
        self._ask_for_data()
        self._on_changed()

    def _ask_for_data(self) -> None:
        """Ask for what the method needs with its settings; as long as one does not fit, for what it did."""
        entry, config = self.methods.method, self.settings.config()
        if entry is not None and config is not None:
            entry = entry.needing_with(config.method)
        if entry is None or config is not None:
            self.data.set_method(entry, one_scan=self.methods.one_scan.isChecked())

    def _on_load(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(self, "Settings", "", _FILES)
        if chosen:
            self.load_settings(Path(chosen))

    def _on_save(self) -> None:
        from napari_uda.run.run import dump_config, write_text

        config = self.config()
        if config is None:
            return
        name = f"{config.method.name}.yaml"
        chosen, _ = QFileDialog.getSaveFileName(self, "Settings", name, _FILES)
        if chosen:
            write_text(Path(chosen), dump_config(config))
            self._say(f"Settings written to {chosen}.")

    def config(self) -> RunConfig | None:
        """The settings with the chosen folders; None as long as one does not fit."""
        config = self.settings.config()
        if config is None:
            return None
        folders = {
            name: domain if isinstance(domain, Path) else None
            for name, domain in self.data.domains().items()
        }
        data = config.data.model_copy(update={"corrected": None, **folders})
        return config.model_copy(update={"data": data, "init": self.data.init.get_value()})

    def _on_init(self) -> None:
        """A run that starts from another one sees slices as that one did, with the same network."""
        self._on_changed()
        self.data.start_fit.show_fit(None)  # it was of another run
        folder = self.data.init.get_value()
        if folder is None:
            return
        background(
            self,
            "Read the run",
            lambda: settings_of_start(folder),
            lambda values: self._on_start_read(folder, values),
            failed=lambda problem: self._on_start_unreadable(folder, problem),
            quiet=True,
        )

    def _on_start_read(self, folder: Path, values: dict[str, Any]) -> None:
        if folder == self.data.init.get_value() and self.settings.form is not None:
            self.settings.form.adopt(values)
            self._say(f"Network and slices are those of {folder.name}.")

    def _on_start_unreadable(self, folder: Path, problem: str) -> None:
        if folder == self.data.init.get_value():
            self._say(problem)

    def _on_changed(self) -> None:
        self._say("")

    # -- run folder -------------------------------------------------------------------------------

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
        show_value(self.run_dir, folder)

    def _run_dir_obstacle(self) -> str:
        folder = self.run_dir.get_value()
        if folder is None:
            return "Choose a new folder for the run."
        if is_file(RunFolder(folder).config_file):
            return f"{folder.name} holds a run already; choose another run folder."
        return ""

    # -- check and start --------------------------------------------------------------------------

    def _obstacle(self) -> str:
        """Why Start is not available; empty when it is."""
        if self._job is not None:
            return CANCELLING if self._cancelling else self._doing
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
        self.estimate.setEnabled(idle and not obstacle)
        self.estimate.setToolTip(
            obstacle or "Do a few steps on made-up slices, and tell how long all of them would take"
        )
        self.cancel.setEnabled(running and not self._cancelling)
        self.cancel.setVisible(running)
        self.bar.setVisible(running)
        self.status.setText(self._message or obstacle)

    def _on_check(self) -> None:
        domains, labelled = self.data.domains(), self.data.labelled
        if self._job is not None or self.data.obstacle() or not domains:
            return
        config = self.settings.config()
        names = {} if config is None else config.data.labels
        series = "" if config is None else config.data.series
        placement: Placement = "auto" if config is None else config.data.placement
        self._doing = _CHECKING
        init, judged = self.data.init.get_value(), domains.get("target") or domains.get("source")

        def work(report: Report, stop: threading.Event) -> tuple[Checked, StartFit | None]:
            checked = check_domains(
                *(domains, labelled, names, report, stop), series=series, placement=placement
            )
            if init is None or judged is None or checked.is_fatal:
                return checked, None
            return checked, judge_start(init, judged, stop, series, placement)

        self._start("Check the data", work, lambda found: self._on_checked(*found))

    def _on_checked(self, checked: Checked, start: StartFit | None) -> None:
        self._show_reports(checked)
        if start is not None:
            self.data.start_fit.show_fit(start.fit, start.words)
        self._finish(_verdict(checked.reports))

    def _show_reports(self, checked: Checked) -> None:
        self._checked = checked
        self.data.reports.show_reports(
            {name.title(): report for name, report in checked.reports.items()}
        )

    def _on_renamed(self, title: str, value: int, name: str) -> None:
        """Rename a structure of a domain: in its folder or in its layer, then in the report."""
        checked, domain = self._checked, self.data.domains().get(title.lower())
        if checked is None or domain is None:
            return
        report = checked.reports[title.lower()]
        config = self.config()
        if isinstance(domain, LayerDomain):
            if domain.labels is not None:
                old = structure_names(domain.labels).get(value, "")
                rename_in_layers(self, [domain.labels], value, old, name)
                self._show_renamed(checked, title, value, name)
            return
        if config is not None and config.data.labels:
            raise InputError(
                "The names are given in the settings, under data.labels; change them there"
            )
        names = {number: known for known, number in report.names.items()}
        names |= {one.value: one.name or f"label_{one.value}" for one in report.structures}
        names[value], modality = name, report.modality
        check_name(value, names)
        background(
            self,
            f"Rename in {domain.name}",
            lambda: rename_in_folder(domain, value, names, modality),
            lambda _: self._on_renamed_in(domain, checked, title, value, name),
            quiet=True,
        )

    def _on_renamed_in(
        self, folder: Path, checked: Checked, title: str, value: int, name: str
    ) -> None:
        if self._viewer is not None:
            show_new_name(self._viewer.layers, folder, value, name)
        self._show_renamed(checked, title, value, name)

    def _show_renamed(self, checked: Checked, title: str, value: int, name: str) -> None:
        """The check need not be done again: nothing else has changed."""
        if checked is not self._checked:
            return
        key = title.lower()
        report = renamed_report(checked.reports[key], value, name)
        self._show_reports(replace(checked, reports={**checked.reports, key: report}))

    def _on_start(self) -> None:
        config, run_dir = self.config(), self.run_dir.get_value()
        if self._obstacle() or config is None or run_dir is None:
            return
        run_dir = run_dir.absolute()
        plan = RunPlan(
            run_dir=run_dir,
            config=config,
            domains=self.data.domains(),
            labelled=self.data.labelled,
            may_replace=run_dir in self._written,
        )
        known = self._checked
        self._doing = _CHECKING
        self._start(
            "Check the data",
            lambda report, stop: prepare(plan, report, stop, known),
            lambda prepared: self._on_prepared(plan, prepared),
        )

    def _on_estimate(self) -> None:
        config = self.config()
        if self._obstacle() or config is None:
            return
        domains, labelled = self.data.domains(), self.data.labelled
        self._doing = "Measuring a few steps…"
        self._start(
            "Estimate the time",
            lambda report, stop: estimate_time(config, domains, labelled, stop),
            self._finish,
        )

    def _on_prepared(self, plan: RunPlan, prepared: Prepared) -> None:
        self._show_reports(prepared.checked)
        if prepared.config is None:
            self._finish(f"Not started. {_verdict(prepared.checked.reports)}")
            self.scrolling.ensureWidgetVisible(self.data.reports)
            return
        if any(isinstance(domain, LayerDomain) for domain in plan.domains.values()):
            self._written.add(plan.run_dir)
        self._started = plan.run_dir
        self._finish("")
        self.started.emit((plan.run_dir, prepared.config))


def _settings_to_go_on(run: Path) -> RunConfig:
    """In the thread: settings of as many steps again from the weights of a run."""
    from napari_uda.run.continuation import more_steps
    from napari_uda.run.run import Run

    opened = Run.open(run)
    return more_steps(opened, opened.config.steps)


def _verdict(reports: Mapping[str, DomainReport]) -> str:
    """One sentence on all reports; the first fatal problem is told, the others stand above."""
    found = [problem for report in reports.values() for problem in report.problems]
    fatal = [problem.sentence for problem in found if problem.fatal]
    if fatal:
        more = f" ({len(fatal) - 1} more above)" if len(fatal) > 1 else ""
        return f"{fatal[0]}{more}"
    if found:
        return f"Data checked: {number_of(len(found), 'remark')} above."
    return "Data checked: nothing is wrong."
