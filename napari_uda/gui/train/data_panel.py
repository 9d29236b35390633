"""DataPanel: what a run learns from: source, target, the run it starts from, and the check of all that."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QMenu, QToolButton, QWidget

from napari_uda.core.errors import refusal
from napari_uda.core.words import number_of
from napari_uda.data.folder import DataFolder
from napari_uda.gui.kit.fields import folder_edit, show_value
from napari_uda.gui.kit.fit_line import FitLine
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.jobs import background
from napari_uda.gui.kit.layer_chooser import LayerChooser
from napari_uda.gui.kit.layers import is_volume
from napari_uda.gui.kit.layout import add_row, column, form, row, show_row
from napari_uda.gui.kit.models import known_models
from napari_uda.gui.kit.panel import Panel, delay, guarded
from napari_uda.gui.kit.widgets import button, combo_box, ignore_wheel, label, named, tool_button
from napari_uda.gui.train.data_check import DataCheck
from napari_uda.gui.train.method_picker import MethodEntry
from napari_uda.gui.train.run_preparation import LayerDomain

if TYPE_CHECKING:
    from napari_uda.run.config import RunConfig

_FOLDER, _LAYERS = "data folder", "layers in the viewer"
_LOOKING_MS = 300  # after the last letter of a path
_MODALITIES = (("other", ""), ("CT", "CT"), ("MR", "MR"))


class DataPanel(Panel):
    """Asks for the data that a method needs; emits `changed()` for other data.

    Attributes:
        source, target: the domains.
        corrected: folder of corrected target cases, for methods that learn from them.
        init: folder of the run to start from.
        runs: button with the known runs.
        check: button of the check, which is made by who owns the panel.
        start_fit: whether the run to start from fits the images, which the check finds as well.
        reports: what the check found.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel | None) -> None:
        """Build.

        Args:
            viewer: whose layers can be trained on; None offers folders only.
        """
        super().__init__()
        self._method: MethodEntry | None = None
        self.source = DomainChooser("Source", viewer)
        self.target = DomainChooser("Target", viewer)
        self.corrected = folder_edit(
            "corrected_folder",
            "Data folder of target cases whose labels were corrected, for example by the button in Score.\n"
            "The supervised loss learns from them too, and they are left out of every score.",
            "none",
        )
        self.supervision = label(name="target_supervision")
        self._corrections = QWidget()
        field = form(("Corrected cases", self.corrected.native))
        column(field, self.supervision, of=self._corrections, margin=0, spacing=2)
        self.init = folder_edit("init", "Run folder whose weights the new run starts from")
        self.runs = tool_button("runs…", "Runs that were used or made here before", name="runs")
        self.runs.setStyleSheet("QToolButton::menu-indicator { image: none; }")  # it covers text
        self.runs.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self._menu = QMenu(self.runs)
        self.runs.setMenu(self._menu)
        self.check = button("Check the data", name="check")
        self.reports = DataCheck()
        starts_from = form(("Start from", row((self.init.native, 1), self.runs)))
        self.start_fit = FitLine("start_fit")
        own = (self.source, self.target, self._corrections, starts_from)
        column(*own, self.check, self.start_fit, self.reports, of=self, margin=0)
        self.source.changed.connect(self._on_changed)
        self.target.changed.connect(self._on_changed)
        self.corrected.changed.connect(self._on_corrected)
        self._menu.aboutToShow.connect(self._on_runs)

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
        corrected = self.corrected.get_value() if self._takes_corrected() else None
        return found if corrected is None else {**found, "corrected": corrected}

    def obstacle(self) -> str:
        """What is missing, "" for nothing; source_only needs no target, but a wrong one is told."""
        needs = self._needs()
        if "source" in needs and self.source.obstacle():
            return self.source.obstacle()
        wanted = bool(needs & {"target", "target_labels"}) or self.target.chosen() is not None
        missing = self.target.obstacle() if needs and wanted else ""
        corrected = self.domains().get("corrected")
        if not missing and isinstance(corrected, Path):
            return folder_obstacle("Corrected cases", corrected)
        return missing

    def start_obstacle(self) -> str:
        """What is missing besides the data of the domains."""
        method = self._method
        if method is not None and method.needs_init and self.init.get_value() is None:
            return f"{method.name} starts from a trained run: choose its folder under Start from."
        return ""

    # -- what others set --------------------------------------------------------------------------

    def set_method(self, method: MethodEntry | None, *, one_scan: bool) -> None:
        """Ask for what this method needs; one scan alone is taken from the viewer.

        Args:
            method: with its needs, which are those of its settings; None for no method.
            one_scan: whether one target scan is all there is.
        """
        if method == self._method is not None:
            return
        before = (self.labelled, list(self.domains()))
        self._method = method
        self.source.setVisible("source" in self._needs())
        self.target.setVisible(bool(self._needs()))
        self.target.set_labelled(self.labelled == "target")
        self._corrections.setVisible(self._takes_corrected())
        if one_scan and self.target.chosen() is None:
            self.target.use_layers()
        if before != (self.labelled, list(self.domains())):
            self.forget_check()

    def show_config(self, config: RunConfig) -> None:
        """Show the folders of these settings, as far as they name any."""
        folders = ((self.source, config.data.source), (self.target, config.data.target))
        for chooser, folder in folders:
            if folder is not None:
                chooser.set_folder(folder)
        show_value(self.init, config.init)
        self.set_corrected(config.data.corrected)

    def set_corrected(self, folder: Path | None) -> None:
        """Choose the folder of corrected cases, None for no such cases."""
        show_value(self.corrected, folder)
        self._on_corrected()

    def allow_check(self, allowed: bool) -> None:
        """Enable the check, if there is anything to check."""
        missing = self.obstacle()
        self.check.setEnabled(allowed and not missing and bool(self.domains()))
        self.check.setToolTip(missing or "Read all volumes and say what they are; trains nothing")

    def forget_check(self) -> None:
        """Take away what a check said: it is about other data, or another run to start from."""
        self.reports.clear()
        self.start_fit.show_fit(None)

    def _needs(self) -> frozenset[str]:
        return frozenset() if self._method is None else self._method.needs

    def _takes_corrected(self) -> bool:
        return self._method is not None and self._method.learns_from_corrected

    # -- reactions --------------------------------------------------------------------------------

    def _on_changed(self) -> None:
        self.forget_check()
        self.changed.emit()

    def _on_corrected(self) -> None:
        """Say how many cases the run will be given the labels of."""
        folder = self.corrected.get_value()
        self.supervision.setText("")
        if folder is not None and not folder_obstacle("", folder):
            background(
                self,
                "Count corrected cases",
                partial(_counted, folder),
                lambda said: self._on_counted(folder, said),
                failed=lambda said: self._on_counted(folder, said),
                quiet=True,
            )
        self._on_changed()

    def _on_counted(self, folder: Path, said: str) -> None:
        if folder == self.corrected.get_value():
            self.supervision.setText(said)

    def _on_runs(self) -> None:
        """List the known runs anew: some may have been made meanwhile."""
        self._menu.clear()
        for title, path in known_models():
            action = self._menu.addAction(title)
            action.setToolTip(str(path))
            action.triggered.connect(guarded(partial(self._choose_run, path)))

    def _choose_run(self, path: Path) -> None:
        self.init.value = path


class DomainChooser(Panel):
    """Chooses the volumes of one domain, in a data folder or open in the viewer; emits `changed()`.

    Attributes:
        kind: folder or layers.
        folder: editor of the data folder.
        images, labels: the layers; None without a viewer.
        modality: of the layers.
    """

    changed = Signal()

    def __init__(self, title: str, viewer: ViewerModel | None) -> None:
        """Build.

        Args:
            title: the domain, such as "Source".
            viewer: whose layers to offer; None offers folders only.
        """
        super().__init__()
        self._title = title
        self._labelled = True
        name = title.lower()
        self.setObjectName(f"{name}_domain")
        self.kind = ignore_wheel(
            combo_box(
                ((kind, kind) for kind in ([_FOLDER] if viewer is None else [_FOLDER, _LAYERS])),
                f"Where the volumes of the {name} are",
                self._on_kind,
                f"{name}_kind",
                least_letters=6,
            )
        )
        self.folder = folder_edit(
            f"{name}_folder",
            "Data folder: images/<case>.nii.gz, labels/<case>.nii.gz, dataset.json; or nnU-Net raw",
            "folder with images/ and labels/",
        )
        self.folder.changed.connect(self._on_changed)
        self.about = label(name=f"{name}_about")
        self.about.hide()
        self._look = delay(self, _LOOKING_MS, self._on_look)
        self.images: LayerChooser | None = None
        self.labels: LayerChooser | None = None
        self.modality = ignore_wheel(
            combo_box(
                _MODALITIES,
                "CT has fixed grey values, which auto intensities make use of",
                least_letters=6,
            )
        )
        self._layers = QWidget()
        self._layer_rows = form(of=self._layers)
        if viewer is not None:
            self._add_layer_rows(viewer)
        kind = form((title, self.kind))
        column(kind, self.folder.native, self.about, self._layers, of=self, margin=0, spacing=4)
        self._show_rows()

    def _add_layer_rows(self, viewer: ViewerModel) -> None:
        self.images = named(
            LayerChooser(viewer, _is_image, _rank("image")), "", "Image layer: one grey 3-D volume"
        )
        self.labels = named(
            LayerChooser(viewer, _is_labels, _rank("reference")),
            "",
            "Labels layer on the image's grid",
        )
        add_row(self._layer_rows, "Image", self.images)
        add_row(self._layer_rows, "Labels", self.labels)
        add_row(self._layer_rows, "Modality", self.modality)
        for box in (self.images, self.labels):
            box.currentIndexChanged.connect(self._on_changed)

    @property
    def uses_layers(self) -> bool:
        """Whether layers are chosen rather than a folder."""
        return bool(self.kind.currentData() == _LAYERS)

    def set_labelled(self, labelled: bool) -> None:
        """Whether labels are wanted of this domain."""
        self._labelled = labelled
        self._show_rows()

    def use_layers(self) -> None:
        """Choose layers of the viewer, where there is one."""
        self.kind.setCurrentIndex(self.kind.count() - 1)

    def set_folder(self, folder: Path) -> None:
        """Choose a data folder."""
        self.kind.setCurrentIndex(0)
        show_value(self.folder, folder)
        self._on_changed()

    def chosen(self) -> Path | LayerDomain | None:
        """The folder or the layers; None as long as something is missing."""
        if self.images is None or self.labels is None or not self.uses_layers:
            return self.folder.get_value()
        image, labels = self.images.layer, self.labels.layer if self._labelled else None
        if image is None or (self._labelled and labels is None):
            return None
        assert isinstance(image, Image)
        assert labels is None or isinstance(labels, Labels)
        return LayerDomain(image, labels, self.modality.currentData())

    def obstacle(self) -> str:
        """What is missing, in one sentence; "" for nothing."""
        chosen = self.chosen()
        if chosen is None and self.uses_layers:
            wanted = "an image layer and its labels layer" if self._labelled else "an image layer"
            return f"{self._title}: open {wanted}, or choose a data folder."
        if chosen is None:
            return f"{self._title}: choose a data folder."
        return folder_obstacle(self._title, chosen) if isinstance(chosen, Path) else ""

    def _show_rows(self) -> None:
        self.folder.native.setVisible(not self.uses_layers)
        self.about.setVisible(not self.uses_layers and bool(self.about.text()))
        self._layers.setVisible(self.uses_layers)
        if self.labels is not None:
            show_row(self._layer_rows, self.labels, self._labelled)

    def _on_kind(self) -> None:
        self._show_rows()
        self.changed.emit()

    def _on_changed(self) -> None:
        self._say("")  # that of another folder
        self._look.start()
        self.changed.emit()

    def _on_look(self) -> None:
        """Say below the field what is wrong with the folder, or what is in it."""
        folder = None if self.uses_layers else self.folder.get_value()
        if isinstance(folder, Path):
            background(
                self,
                "Look into the folder",
                lambda: _about_folder(folder),
                lambda said: self._on_looked(folder, said),
                failed=lambda problem: self._on_looked(folder, f"⚠ {problem}"),
                quiet=True,
            )

    def _on_looked(self, folder: Path, said: str) -> None:
        if folder == self.folder.get_value():  # not another one by now
            self._say(said)

    def _say(self, said: str) -> None:
        self.about.setText(said)
        self.about.setVisible(not self.uses_layers and bool(said))


def _about_folder(folder: Path) -> str:
    """In the thread: what a data folder holds, in one line."""
    found = DataFolder.open(folder)
    cases, labelled = len(found.cases), sum(case.label is not None for case in found.cases)
    return f"{number_of(cases, 'case')}, {labelled} with labels"


def folder_obstacle(title: str, folder: Path) -> str:
    """Why a folder cannot be used, in one sentence; "" where it can."""
    try:
        is_there = folder.is_dir()
    except OSError as error:
        return f"{title}: {refusal(error)}."
    return "" if is_there else f"{title}: there is no folder {folder}; check the path."


def _counted(folder: Path) -> str:
    """In the thread: what the run will say of the labels of the target that it was given."""
    from napari_uda.methods.base import supervision_with_corrected  # torch is slow to import

    count = sum(case.label is not None for case in DataFolder.open(folder).cases)
    if not count:
        return "No case of this folder has labels in its subfolder labels."
    return (
        f"Target supervision: {supervision_with_corrected('none', count)}. They are never scored."
    )


def _is_image(layer: Layer) -> bool:
    return is_volume(layer, ()) and tag(layer).get("role", "image") == "image"


def _is_labels(layer: Layer) -> bool:
    role = tag(layer).get("role", "reference")
    return isinstance(layer, Labels) and layer.ndim == 3 and role in ("reference", "prediction")


def _rank(role: str) -> Callable[[Layer], int]:
    return lambda layer: 1 if tag(layer).get("role") == role else 0
