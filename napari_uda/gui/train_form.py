"""TrainForm: a new run, from what the user has to Start: data, method, preset, settings, run folder."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.components import ViewerModel
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QResizeEvent, QShowEvent
from qtpy.QtWidgets import (
    QBoxLayout,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QScrollArea,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_uda.gui.data_check import DataCheck
from napari_uda.gui.domain_chooser import DomainChooser, LayerDomain
from napari_uda.gui.form_rows import form_layout
from napari_uda.gui.job_dock import JobDock
from napari_uda.gui.method_picker import MethodPicker
from napari_uda.gui.models import known_models
from napari_uda.gui.preset_picker import PresetPicker, read_preset
from napari_uda.gui.run_preparation import (
    Catalogue,
    Checked,
    Prepared,
    RunPlan,
    check_domains,
    prepare,
    read_catalogue,
    read_start,
)
from napari_uda.gui.setting_fields import PathEditor
from napari_uda.gui.settings_form import SettingsForm
from napari_uda.gui.worker import Job, guarded

if TYPE_CHECKING:
    from napari_uda.data.check import DomainReport
    from napari_uda.run_config import RunConfig

_BASIC = (
    "steps",
    "batch_size",
    "data.size",
    "segmentor.name",
    "method.segmentor_optimizer.lr",
)
_BASIC_LAST = ("data.validation_fraction", "validate_every", "device", "seed")
_ELSEWHERE = ("data.source", "data.target", "init")  # chosen above the settings
_OWN_BASIC = ("_weight", "_steps")
_PREVIEWS = 100
_TWO_COLUMNS_PX = 640
_CPU_PRESET = "cpu_small"


class TrainForm(JobDock):
    """Composes a run and checks it; it trains nothing.

    Emits `started((run_dir, config))` once Start was pressed and the check found nothing that training
    would refuse: a new folder that does not hold a run yet, and settings with all paths.

    Attributes:
        methods, source, target, init, presets, run_dir: the choices, from top to bottom.
        settings: the form of the settings; None until the methods are read.
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
        self._written: set[Path] = set()  # layer folders of this form
        self.settings: SettingsForm | None = None
        self._build(viewer)
        self._connect()
        self._on_method("")

    # -- construction -----------------------------------------------------------------------------

    def _build(self, viewer: ViewerModel | None) -> None:
        self.methods = MethodPicker()
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
        self.check = _button("Check the data", "check", "")
        self.reports = DataCheck()
        self.presets = PresetPicker()
        self.load = _button("Load…", "load", "Begin with a YAML file: a recipe or a config.yaml")
        self.save = _button("Save…", "save", "Write all settings into a YAML file")
        self.reset = _button("Reset", "reset", "Return to the values of the preset")
        self.run_dir = PathEditor(folder=True)
        self.run_dir.line.setObjectName("run_dir")
        self.run_dir.setToolTip("A new folder for settings, weights, logs and predictions")
        self.start = _button("Start", "start", "")
        self._place = QVBoxLayout()  # of the settings
        self._lay_out()

    def _lay_out(self) -> None:
        start_row = QHBoxLayout()
        start_row.addWidget(self.init, 1)
        start_row.addWidget(self.runs)
        starts_from = form_layout()
        starts_from.addRow("Start from", start_row)
        files = QHBoxLayout()
        for button in (self.load, self.save, self.reset):
            files.addWidget(button)
        folder = form_layout()
        folder.addRow("Run folder", self.run_dir)
        data, settings = QVBoxLayout(), QVBoxLayout()
        data.addWidget(_heading("What do you have?"))
        data.addWidget(self.methods)
        data.addWidget(_heading("Data"))
        data.addWidget(self.source)
        data.addWidget(self.target)
        data.addLayout(starts_from)
        data.addWidget(self.check)
        data.addWidget(self.reports)
        settings.addWidget(_heading("Settings"))
        settings.addWidget(self.presets)
        settings.addLayout(files)
        settings.addLayout(self._place)
        settings.addLayout(folder)
        content = QWidget()
        self._columns = QBoxLayout(QBoxLayout.Direction.TopToBottom, content)
        for column in (data, settings):
            self._columns.addLayout(column, 1)
        data.addStretch(1)
        settings.addStretch(1)
        self.scroll = scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(content)
        buttons = QHBoxLayout()
        buttons.addWidget(self.start, 2)
        buttons.addWidget(self.cancel, 1)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll, 1)
        outer.addLayout(buttons)
        outer.addWidget(self.bar)
        outer.addWidget(self.status)
        self.setMinimumWidth(300)

    def _connect(self) -> None:
        self.methods.method_chosen.connect(self._on_method)
        self.presets.chosen.connect(self._on_preset)
        self.source.changed.connect(self._on_data)
        self.target.changed.connect(self._on_data)
        self.check.clicked.connect(self._on_check)
        self.init.edited.connect(self._on_init)
        self.runs.menu().aboutToShow.connect(self._on_runs)
        self.run_dir.edited.connect(self._on_run_dir)
        self.load.clicked.connect(self._on_load)
        self.save.clicked.connect(self._on_save)
        self.reset.clicked.connect(self._on_reset)
        self.start.clicked.connect(self._on_start)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Data beside settings where there is room, as in a bottom dock."""
        super().resizeEvent(event)
        self._columns.setDirection(
            QBoxLayout.Direction.LeftToRight
            if self.width() >= _TWO_COLUMNS_PX
            else QBoxLayout.Direction.TopToBottom
        )

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
        wanted = "" if catalogue.has_gpu else _CPU_PRESET
        self.presets.set_presets(catalogue.presets, "", wanted)
        self.methods.set_methods(catalogue.methods)

    @guarded
    def _on_unreadable(self, problem: str) -> None:
        self._reading = False
        self._message = problem
        self._update_buttons()

    # -- settings ---------------------------------------------------------------------------------

    def show_config(self, config: RunConfig) -> None:
        """Fill the form with the settings of a run, its method and its data."""
        self.methods.choose(config.method.name)
        self._begin_with(config)

    @guarded
    def _on_method(self, name: str) -> None:
        """Other settings for another method; what the user changed is kept where both have it."""
        changes = {} if self.settings is None else self.settings.changes()
        entry = self.methods.method
        needs = frozenset() if entry is None else entry.needs
        self.source.setVisible("source" in needs)
        self.target.setVisible(bool(needs))
        self.target.set_labelled("target_labels" in needs)
        if self.methods.one_scan.isChecked() and self.target.chosen() is None:
            self.target.use_layers()
        if entry is not None:
            self.presets.set_method(entry.name)
            self._show_settings(self._preset_config(), changes)
            self._suggest_run_dir()
        self._update_buttons()

    @guarded
    def _on_preset(self) -> None:
        self._show_settings(self._preset_config(), {})
        self._update_buttons()

    def _preset_config(self) -> RunConfig:
        from napari_uda.api import build_config

        entry = self.methods.method
        assert entry is not None
        return _for_watching(build_config(entry.name, recipe=self.presets.recipe))

    def _show_settings(self, config: RunConfig, changes: Mapping[str, Any]) -> None:
        """A form of these settings in the place of the one before."""
        opened = False
        if self.settings is not None:
            opened = self.settings.advanced.isChecked()
            self._place.removeWidget(self.settings)
            self.settings.hide()
            self.settings.deleteLater()
        self.settings = SettingsForm(config, basic=_basic(config), hidden=_ELSEWHERE)
        self.settings.setObjectName("settings")
        self.settings.adopt(changes)
        self.settings.advanced.setChecked(opened)
        self.settings.changed.connect(self._on_changed)
        self._place.addWidget(self.settings)

    def _begin_with(self, config: RunConfig) -> None:
        """Show settings from a file, paths included."""
        self._show_settings(_for_watching(config), {})
        for chooser, folder in (
            (self.source, config.data.source),
            (self.target, config.data.target),
        ):
            if folder is not None:
                chooser.set_folder(folder)
        self.init.set_value(config.init)
        self._update_buttons()

    @guarded
    def _on_load(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(self, "Settings", "", "YAML (*.yaml *.yml)")
        if chosen:
            self.load_settings(Path(chosen))

    def load_settings(self, file: Path) -> None:
        """Begin with a YAML file, any part of the settings tree; it is offered as a preset from now on.

        Raises:
            InputError: if it cannot be read or names what does not exist.
        """
        from napari_uda.api import build_config

        preset = read_preset(file)
        entry = self.methods.method
        method = preset.method or ("" if entry is None else entry.name)
        config = build_config(method, recipe=file)
        self.methods.choose(method)
        self.presets.add(preset)
        self._begin_with(config)

    @guarded
    def _on_save(self) -> None:
        config = self._config()
        if config is None:
            return
        name = f"{config.method.name}.yaml"
        chosen, _ = QFileDialog.getSaveFileName(self, "Settings", name, "YAML (*.yaml *.yml)")
        if chosen:
            from napari_uda.runs import dump_config, write_text

            write_text(Path(chosen), dump_config(config))
            self._message = f"Settings written to {chosen}."
            self._update_buttons()

    @guarded
    def _on_reset(self) -> None:
        if self.settings is not None:
            self.settings.reset()

    def _config(self) -> RunConfig | None:
        """The settings with the chosen folders; None as long as one does not fit."""
        config: Any = None if self.settings is None else self.settings.config()
        if config is None:
            return None
        folders = {
            name: domain if isinstance(domain, Path) else None
            for name, domain in self._domains().items()
        }
        data = config.data.model_copy(update=folders)
        changed: RunConfig = config.model_copy(update={"data": data, "init": self.init.value()})
        return changed

    @guarded
    def _on_runs(self) -> None:
        """List the known runs anew: some may have been made meanwhile."""
        menu = self.runs.menu()
        menu.clear()
        for title, path in known_models():
            action = menu.addAction(title)
            action.setToolTip(str(path))
            action.triggered.connect(partial(self._start_from, path))

    @guarded
    def _start_from(self, path: Path) -> None:
        self.init.set_value(path)
        self.init.edited.emit()

    @guarded
    def _on_init(self) -> None:
        """A run that starts from another one sees slices as that one did, with the same network."""
        self._on_changed()
        folder = self.init.value()
        if folder is None:
            return
        job = Job("Read the run", lambda report, stop: read_start(folder), self, quiet=True)
        job.succeeded.connect(lambda values: self._on_start_read(folder, values))
        job.failed.connect(lambda problem: self._on_start_unreadable(folder, problem))
        job.start()

    @guarded
    def _on_start_read(self, folder: Path, values: dict[str, Any]) -> None:
        if folder == self.init.value() and self.settings is not None:
            self.settings.adopt(values)
            self._message = f"Network and slices are those of {folder.name}."
            self._update_buttons()

    @guarded
    def _on_start_unreadable(self, folder: Path, problem: str) -> None:
        if folder == self.init.value():
            self._message = problem
            self._update_buttons()

    # -- run folder -------------------------------------------------------------------------------

    @guarded
    def _on_run_dir(self) -> None:
        self._run_dir_typed = True
        self._update_buttons()

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

    # -- start ------------------------------------------------------------------------------------

    @guarded
    def _on_data(self) -> None:
        self.reports.clear()  # they are about other data
        self._message = ""
        self._update_buttons()

    @guarded
    def _on_changed(self) -> None:
        self._message = ""
        self._update_buttons()

    def _domains(self) -> dict[str, Path | LayerDomain]:
        """The chosen data of the domains that the method trains on."""
        entry = self.methods.method
        needs = frozenset() if entry is None else entry.needs
        found: dict[str, Path | LayerDomain] = {}
        for name, chooser, wanted in (
            ("source", self.source, "source" in needs),
            ("target", self.target, bool(needs)),
        ):
            chosen = chooser.chosen()
            if wanted and chosen is not None:
                found[name] = chosen
        return found

    def _obstacle(self) -> str:
        """Why Start is not available; empty when it is."""
        if self._job is not None:
            return "Checking…"
        entry = self.methods.method
        if self._catalogue is None:
            return "" if self._message else "Reading the methods…"
        if entry is None or self.settings is None:
            return "Tick what you have, and choose a method."
        if self._data_obstacle():
            return self._data_obstacle()
        if entry.needs_init and self.init.value() is None:
            return f"{entry.name} starts from a trained run: choose its folder under Start from."
        for path, sentence in self.settings.problems().items():
            return f"{path}: {sentence}." if path else f"{sentence}."
        return self._run_dir_obstacle()

    def _data_obstacle(self) -> str:
        """What is missing in the data; source_only needs no target, but a wrong one is one."""
        entry = self.methods.method
        needs = frozenset() if entry is None else entry.needs
        if "source" in needs and self.source.obstacle():
            return self.source.obstacle()
        wanted = bool(needs & {"target", "target_labels"}) or self.target.chosen() is not None
        return self.target.obstacle() if needs and wanted else ""

    def _run_dir_obstacle(self) -> str:
        folder = self.run_dir.value()
        if folder is None:
            return "Choose a new folder for the run."
        if (folder / "config.yaml").exists():
            return f"{folder.name} holds a run already; choose another run folder."
        return ""

    def _update_buttons(self) -> None:
        obstacle = self._obstacle()
        running = self._job is not None
        valid = self.settings is not None and self.settings.config() is not None
        self.start.setEnabled(not obstacle and self._catalogue is not None)
        self.start.setToolTip(obstacle or "Check the data and start training")
        missing = self._data_obstacle()
        ready = self._catalogue is not None and bool(self._domains())
        self.check.setEnabled(ready and not missing and not running)
        self.check.setToolTip(missing or "Read all volumes and say what they are; trains nothing")
        self.cancel.setEnabled(running)
        self.cancel.setVisible(running)
        self.load.setEnabled(self._catalogue is not None and not running)
        self.save.setEnabled(valid)
        self.reset.setEnabled(self.settings is not None and bool(self.settings.changes()))
        self.bar.setVisible(running)
        self.status.setText(self._message or obstacle)

    def _labelled(self) -> str:
        """The domain whose labels the method reads, "" for none."""
        entry = self.methods.method
        if entry is None:
            return ""
        if "target_labels" in entry.needs:
            return "target"
        return "source" if "source" in entry.needs else ""

    @guarded
    def _on_check(self) -> None:
        domains, labelled = self._domains(), self._labelled()
        if self._job is not None or self._data_obstacle() or not domains:
            return
        config: Any = None if self.settings is None else self.settings.config()
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
        self.reports.show_reports(
            {name.title(): report for name, report in checked.reports.items()}
        )

    @guarded
    def _on_start(self) -> None:
        config = self._config()
        if self._obstacle() or config is None:
            return
        run_dir = Path(self.run_dir.value()).absolute()
        plan = RunPlan(
            run_dir=run_dir,
            config=config,
            domains=self._domains(),
            labelled=self._labelled(),
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
            self.scroll.ensureWidgetVisible(self.reports)
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


def _for_watching(config: RunConfig) -> RunConfig:
    """The settings with previews to look at while training, unless they ask for some themselves."""
    if config.preview_every:
        return config
    return config.model_copy(update={"preview_every": max(1, config.steps // _PREVIEWS)})


def _basic(config: RunConfig) -> list[str]:
    """Settings that stand first: those everybody asks for, and the weights and lengths of the method."""
    from napari_uda.config import Config
    from napari_uda.methods.base import MethodConfig

    own = []
    for name in type(config.method).model_fields:
        value = getattr(config.method, name)
        if name in MethodConfig.model_fields:
            continue
        if isinstance(value, Config):
            fields = type(value).model_fields
            own += [f"method.{name}.{field}" for field in fields if field.endswith("_weight")]
        elif name.endswith(_OWN_BASIC):
            own.append(f"method.{name}")
    return [*_BASIC, *own, *_BASIC_LAST]


def _heading(text: str) -> QLabel:
    label = QLabel(text)
    font = label.font()
    font.setBold(True)
    label.setFont(font)
    return label


def _button(text: str, name: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setObjectName(name)
    button.setToolTip(tip)
    return button
