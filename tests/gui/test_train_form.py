"""A new run from the form, by clicks and keys: what is offered, what is refused, what Start hands on."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from gui_cases import LABELS, ball_case, let_events_pass
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QFileDialog, QInputDialog, QWidget

from napari_uda.core.errors import Cancelled
from napari_uda.data.check import DomainReport, check_folder
from napari_uda.data.folder import DataFolder, write_dataset_json
from napari_uda.data.volume import read_labels, read_volume, write_volume
from napari_uda.gui.kit import jobs
from napari_uda.gui.kit.files import read_layers
from napari_uda.gui.kit.geometry import METADATA, displayed
from napari_uda.gui.kit.layers import labels_arguments, structure_names
from napari_uda.gui.kit.models import remember_model
from napari_uda.gui.kit.settings_form import SettingGroup
from napari_uda.gui.train import run_preparation
from napari_uda.gui.train.train_form import TrainForm
from napari_uda.run.config import RunConfig
from napari_uda.run.recipes import build_config
from napari_uda.run.roles import names_beside
from napari_uda.run.run import dump_config, write_text

WAIT_MS = 60_000


@pytest.fixture
def make_form(qtbot: QtBot) -> Callable[..., TrainForm]:
    """A form whose methods are read."""

    def make(viewer: ViewerModel | None = None) -> TrainForm:
        form = TrainForm(viewer)
        qtbot.addWidget(form)
        form.resize(300, 900)
        form.show()
        qtbot.waitUntil(lambda: form.settings.form is not None, timeout=WAIT_MS)
        return form

    return make


@pytest.fixture
def ready(make_form: Callable[..., TrainForm], data_folder: Path, tmp_path: Path) -> TrainForm:
    """A form that could be started."""
    form = make_form()
    form.methods.choose("advent")
    form.data.source.set_folder(data_folder)
    form.data.target.set_folder(data_folder)
    name_run(form, tmp_path / "run")
    assert form.status.text() == ""
    assert form.start.isEnabled()
    return form


@pytest.fixture
def on_layers(make_form: Callable[..., TrainForm], tmp_path: Path) -> TrainForm:
    """A form that could be started on the layers of a viewer: case_0 labelled, case_1 not."""
    viewer = ViewerModel()
    for index in range(2):
        image, labels = ball_case(f"case {index}", index)
        array, where = displayed(image)
        viewer.add_layer(Image(array, name=f"image {index}", **where))
        if index == 0:
            array, where = displayed(labels)
            names = {value: name for name, value in LABELS.items()}
            where["metadata"][METADATA]["names"] = names
            viewer.add_layer(Labels(array, **labels_arguments("labels 0", names), **where))
    form = make_form(viewer)
    form.methods.choose("advent")
    for chooser, index in ((form.data.source, 0), (form.data.target, 1)):
        chooser.kind.setCurrentIndex(1)
        assert chooser.images is not None
        chooser.images.choose(viewer.layers[f"image {index}"])
    name_run(form, tmp_path / "runs" / "first")
    form.viewer = viewer  # type: ignore[attr-defined]
    return form


def name_run(form: TrainForm, folder: Path) -> None:
    form.run_dir.value = folder


def settings_of(form: TrainForm) -> Any:
    assert form.settings.form is not None
    return form.settings.form


def values_of(form: TrainForm) -> RunConfig:
    config = settings_of(form).config()
    assert isinstance(config, RunConfig)
    return config


def start(form: TrainForm, qtbot: QtBot) -> tuple[Path, RunConfig]:
    with qtbot.waitSignal(form.started, timeout=WAIT_MS) as started:
        form.start.click()
    run_dir, config = started.args[0]
    return run_dir, config


def fail_to_start(form: TrainForm, qtbot: QtBot) -> str:
    begun: list[object] = []
    form.started.connect(begun.append)
    form.start.click()
    qtbot.waitUntil(lambda: form.is_settled, timeout=WAIT_MS)
    assert begun == []
    return form.status.text()


def cancel_start(
    form: TrainForm, qtbot: QtBot, reached: threading.Event, go_on: threading.Event
) -> None:
    """Start, cancel once the work has come to `reached`, and then let it go on."""
    begun: list[object] = []
    form.started.connect(begun.append)
    form.start.click()
    qtbot.waitUntil(reached.is_set, timeout=WAIT_MS)
    form.cancel.click()
    go_on.set()
    qtbot.waitUntil(lambda: form.is_settled, timeout=WAIT_MS)
    assert form.status.text().startswith("Cancelled")
    assert begun == []


# --- choices --------------------------------------------------------------------------------------


def test_start_hands_on_run_folder_and_settings(
    ready: TrainForm, qtbot: QtBot, tmp_path: Path, data_folder: Path
) -> None:
    settings_of(ready).set_values({"steps": 5})
    run_dir, config = start(ready, qtbot)
    assert run_dir == tmp_path / "run"
    assert (config.data.source, config.data.target) == (data_folder, data_folder)
    assert (config.method.name, config.steps) == ("advent", 5)
    assert not run_dir.exists()  # whoever trains makes it
    expected = build_config(
        "advent",
        recipe="cpu_small",
        steps=5,
        preview_every=8,
        data={"source": data_folder, "target": data_folder},
    )
    assert config == expected


def test_domains_that_the_method_does_not_train_on_are_not_asked_for(ready: TrainForm) -> None:
    assert not ready.data.source.isHidden()
    ready.methods.choose("target_supervised")
    assert ready.data.source.isHidden()
    assert not ready.data.target.isHidden()
    config = ready.config()
    assert config is not None
    assert config.data.source is None
    ready.methods.choose("source_only")
    assert not ready.data.source.isHidden()


def tick(form: TrainForm, path: str) -> None:
    """Open Advanced at a setting, and click its check box."""
    settings = settings_of(form)
    settings.advanced.set_open(True)
    settings.search.setText(path.replace("_", " "))
    settings.editors[f"method.{path}"].native.click()


def test_data_are_asked_for_as_the_settings_need_them(
    ready: TrainForm, tiny_run: Path, qtbot: QtBot
) -> None:
    ready.methods.choose("mean_teacher")
    assert ready.start.isEnabled()
    settings_of(ready).set_values({"method": {"mix": "mask"}})
    tick(ready, "source_free")
    assert ready.data.source.isHidden()
    assert set(ready.data.domains()) == {"target"}
    assert "starts from a trained run" in ready.status.text()
    assert not ready.start.isEnabled()
    settings_of(ready).set_values({"method": {"mix": "class_mix"}})  # which source_free refuses
    assert ready.data.source.isHidden()
    settings_of(ready).set_values({"method": {"mix": "mask"}})
    ready.data.init.value = tiny_run
    qtbot.waitUntil(lambda: "Network and slices" in ready.status.text())
    config = ready.config()
    assert config is not None
    assert (config.data.source, config.init) == (None, tiny_run)
    assert ready.start.isEnabled()
    tick(ready, "source_free")
    assert not ready.data.source.isHidden()
    assert set(ready.data.domains()) == {"source", "target"}


def test_presets_files_and_variants_change_what_is_asked_for(
    ready: TrainForm, tmp_path: Path
) -> None:
    ready.methods.choose("mean_teacher")
    second = ready.settings.presets.second
    second.setCurrentIndex(second.findText("mean_teacher_source_free"))
    assert ready.data.source.isHidden()
    second.setCurrentIndex(0)
    assert not ready.data.source.isHidden()
    ready.methods.choose("cycada")
    assert ready.start.isEnabled()
    settings_of(ready).set_values({"method": {"semantic_weight": 1.0}})
    assert "starts from a trained run" in ready.status.text()
    assert not ready.data.source.isHidden()
    file = tmp_path / "mine.yaml"
    file.write_text("method: {name: mean_teacher, source_free: true, mix: none}\n")
    ready.load_settings(file)
    assert ready.data.source.isHidden()
    # a variant keeps its settings under every preset
    ready.methods.source.click()
    ready.methods.choose("mean_teacher with source_free")
    assert ready.data.source.isHidden()
    method: Any = values_of(ready).method
    assert (method.name, method.source_free, method.mix) == ("mean_teacher", True, "mask")
    assert settings_of(ready).changes() == {}
    second = ready.settings.presets.second
    second.setCurrentIndex(second.findText("mean_teacher_mask"))
    changed: Any = values_of(ready).method
    assert (changed.source_free, changed.mask_share) == (True, (0.7, 0.7))
    ready.methods.choose("mean_teacher")
    assert not ready.data.source.isHidden()
    assert not values_of(ready).method.source_free  # type: ignore[attr-defined]


def test_source_only_starts_without_a_target(
    make_form: Callable[..., TrainForm], data_folder: Path, qtbot: QtBot, tmp_path: Path
) -> None:
    form = make_form()
    form.methods.choose("source_only")
    form.data.source.set_folder(data_folder)
    name_run(form, tmp_path / "run")
    _, config = start(form, qtbot)
    assert config.data.target is None
    form.data.target.set_folder(tmp_path / "typo")
    assert "there is no folder" in form.status.text()


def test_settings_of_both_methods_are_kept_when_the_method_changes(ready: TrainForm) -> None:
    settings_of(ready).set_values({"steps": 33, "method": {"adversary": {"main_weight": 0.5}}})
    settings_of(ready).advanced.toggleButton().click()
    ready.methods.choose("source_only")
    assert values_of(ready).method.name == "source_only"
    assert settings_of(ready).changes() == {"steps": 33}
    assert settings_of(ready).advanced.isExpanded()
    ready.methods.choose("se_asa")
    assert values_of(ready).method.name == "se_asa"
    assert values_of(ready).method.prototype_weight == 0.016  # type: ignore[attr-defined]
    assert values_of(ready).steps == 33


def test_settings_that_do_nothing_are_not_shown_and_come_back_with_a_method_that_uses_them(
    ready: TrainForm,
) -> None:
    settings_of(ready).set_values({"steps": 33, "validate_every": 5})
    ready.methods.choose("bn_adapt")
    form = settings_of(ready)
    assert not {"steps", "validate_every", "method.segmentor_optimizer.lr"} & form.editors.keys()
    form.search.setText("learning rate")
    assert not any(group.isVisibleTo(form) for group in form.findChildren(SettingGroup))
    assert values_of(ready).steps == 1
    assert values_of(ready).validate_every == 0
    ready.methods.choose("se_asa")
    assert settings_of(ready).changes() == {"steps": 33, "validate_every": 5}


def test_weights_of_the_method_are_basic(ready: TrainForm) -> None:
    ready.methods.choose("se_asa")
    basic = list(settings_of(ready).editors)
    assert basic == [
        "steps",
        "batch_size",
        "data.size",
        "segmentor.name",
        "method.segmentor_optimizer.lr",
        "method.adversary.main_weight",
        "method.adversary.aux_weight",
        "method.entropy_minimisation_weight",
        "method.entropy_maximisation_weight",
        "method.prototype_weight",
        "method.warmup_steps",
        "data.validation_fraction",
        "validate_every",
        "device",
        "seed",
    ]


def test_presets_are_those_of_the_method_and_add_up(ready: TrainForm) -> None:
    box, second = ready.settings.presets.first, ready.settings.presets.second
    titles = [box.itemText(index) for index in range(box.count())]
    assert {"advent_paper", "minent_paper", "cpu_small", "mmwhs_ct2mr"} <= set(titles)
    assert "se_asa_ct2mr" not in titles
    assert "eight minutes on two CPU cores" in ready.settings.presets.about.text()
    ready.methods.choose("se_asa")
    assert box.currentText() == "cpu_small"
    second.setCurrentIndex(second.findText("table3_entmin_all"))
    expected = build_config("se_asa", recipe="cpu_small,table3_entmin_all", preview_every=13)
    assert values_of(ready) == expected
    ready.methods.choose("advent")
    assert second.currentText() == "nothing else"
    box.setCurrentIndex(0)
    assert ready.settings.presets.about.isHidden()
    assert values_of(ready) == build_config("advent", preview_every=500)


def test_preset_replaces_what_was_changed(ready: TrainForm) -> None:
    settings_of(ready).set_values({"steps": 33})
    assert ready.settings.reset.isEnabled()
    ready.settings.presets.first.setCurrentIndex(
        ready.settings.presets.first.findText("advent_paper")
    )
    assert settings_of(ready).changes() == {}
    assert values_of(ready).steps == 50_000
    assert not ready.settings.reset.isEnabled()


def test_reset_returns_to_the_preset(ready: TrainForm) -> None:
    before = values_of(ready)
    settings_of(ready).set_values({"steps": 33})
    ready.settings.reset.click()
    assert values_of(ready) == before


def test_one_scan_is_taken_from_the_viewer(on_layers: TrainForm) -> None:
    on_layers.data.target.kind.setCurrentIndex(0)
    on_layers.methods.one_scan.click()
    assert on_layers.data.target.uses_layers
    assert on_layers.data.source.isHidden()
    chosen = on_layers.methods.method
    assert chosen is not None
    assert f"{chosen.name} starts from a trained run" in on_layers.status.text()


# --- files ----------------------------------------------------------------------------------------


def answer_file(monkeypatch: pytest.MonkeyPatch, kind: str, file: Path | str) -> None:
    monkeypatch.setattr(QFileDialog, kind, lambda *_: (str(file), ""))


def test_saved_settings_load_again(
    ready: TrainForm,
    make_form: Callable[..., TrainForm],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    data_folder: Path,
) -> None:
    settings_of(ready).set_values({"method": {"segmentor_optimizer": {"lr": 2.5e-4}}})
    file = tmp_path / "mine, really.yaml"
    answer_file(monkeypatch, "getSaveFileName", file)
    ready.settings.save.click()
    assert yaml.safe_load(file.read_text())["method"]["segmentor_optimizer"]["lr"] == 2.5e-4
    assert "Settings written" in ready.status.text()
    other = make_form()
    other.methods.choose("se_asa")
    answer_file(monkeypatch, "getOpenFileName", file)
    other.settings.load.click()
    assert other.config() == ready.config()
    assert other.settings.presets.first.currentText() == "mine, really.yaml"
    assert settings_of(other).changes() == {}
    assert other.data.target.chosen() == data_folder


def test_part_of_the_settings_loads_for_the_chosen_method(
    ready: TrainForm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "part.yaml"
    file.write_text("# A part.\nsteps: 7\nmethod: {ce_weight: 1e-3}\n")
    answer_file(monkeypatch, "getOpenFileName", file)
    ready.settings.load.click()
    assert ready.methods.method is not None
    assert ready.methods.method.name == "advent"
    assert values_of(ready) == build_config("advent", recipe=file, preview_every=1)
    assert ready.settings.presets.about.text() == "A part."


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("steps: 0\n", "steps"),
        ("method: nosuch\n", "unknown method 'nosuch'"),
        ("a: [\n", "is not valid YAML"),
        ("- 1\n", "holds no settings"),
    ],
)
def test_file_that_does_not_fit_is_said_and_changes_nothing(
    ready: TrainForm,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    notifications: Callable[[], list[str]],
    text: str,
    sentence: str,
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    before = ready.config()
    answer_file(monkeypatch, "getOpenFileName", file)
    ready.settings.load.click()
    assert sentence in notifications()[-1]
    assert ready.config() == before
    assert ready.settings.presets.first.currentText() == "cpu_small"
    answer_file(monkeypatch, "getOpenFileName", "")
    ready.settings.load.click()  # cancelled
    assert len(notifications()) == 1


def test_settings_of_a_run_fill_the_form(
    make_form: Callable[..., TrainForm], tiny_run: Path, data_folder: Path
) -> None:
    from napari_uda.run.run import Run

    config = Run.open(tiny_run).config
    form = make_form()
    form.load_settings(tiny_run / "config.yaml")
    shown = form.config()
    assert shown is not None
    assert shown.model_copy(update={"preview_every": 0}) == config
    assert form.data.source.chosen() == data_folder


# --- obstacles ------------------------------------------------------------------------------------


def test_says_what_is_missing(
    make_form: Callable[..., TrainForm], data_folder: Path, tmp_path: Path
) -> None:
    form = make_form()
    assert form.status.text() == "Source: choose a data folder."
    assert not form.start.isEnabled()
    assert not form.data.check.isEnabled()
    form.data.source.set_folder(tmp_path / "nowhere")
    assert "there is no folder" in form.status.text()
    form.data.source.set_folder(data_folder)
    assert form.status.text() == "Target: choose a data folder."
    form.data.target.set_folder(data_folder)
    assert form.data.check.isEnabled()
    settings_of(form).set_values({"data": {"neighbours": 2}})
    assert form.status.text().startswith("data.neighbours: must be odd")
    assert not form.settings.save.isEnabled()
    settings_of(form).reset()
    assert form.start.isEnabled()
    form.run_dir.line_edit.native.clear()
    assert form.status.text() == "Choose a new folder for the run."
    form.methods.source.click()
    form.methods.target.click()
    assert form.status.text() == "Tick what you have, and choose a method."
    assert form.start.toolTip() == form.status.text()


def test_folder_of_a_run_is_refused(ready: TrainForm, tiny_run: Path) -> None:
    name_run(ready, tiny_run)
    assert "holds a run already" in ready.status.text()
    assert not ready.start.isEnabled()


def test_run_folder_is_named_after_the_method_until_the_user_names_it(
    make_form: Callable[..., TrainForm], tmp_path: Path
) -> None:
    form = make_form()
    form.methods.choose("advent")
    first = form.run_dir.value
    assert first.parent == tmp_path / "runs"
    assert first.name.endswith("_advent")
    first.mkdir(parents=True)
    form.methods.choose("se_asa")
    form.methods.choose("advent")
    assert form.run_dir.value != first
    name_run(form, tmp_path / "mine")
    form.methods.choose("se_asa")
    assert form.run_dir.value == tmp_path / "mine"


def test_next_run_gets_a_folder_of_its_own_beside_the_last(
    ready: TrainForm, qtbot: QtBot, tmp_path: Path
) -> None:
    start(ready, qtbot)
    ready.hide()  # the dock shows the run
    ready.show()
    assert ready.run_dir.value.parent == tmp_path
    assert ready.run_dir.value != tmp_path / "run"
    assert ready.run_dir.value.name.endswith("_advent")
    name_run(ready, tmp_path / "mine")
    ready.hide()
    ready.show()
    assert ready.run_dir.value == tmp_path / "mine"


def test_start_from_takes_network_and_slices_of_that_run(
    ready: TrainForm, tiny_run: Path, qtbot: QtBot
) -> None:
    ready.methods.choose("sfda")
    assert "choose its folder under Start from" in ready.status.text()
    ready.data.init.value = tiny_run
    qtbot.waitUntil(lambda: "those of tiny" in ready.status.text(), timeout=WAIT_MS)
    assert settings_of(ready).changes() == {
        "data": {"size": 32},
        "segmentor": {"width": 4, "depth": 2},
    }
    _, config = start(ready, qtbot)
    assert config.init == tiny_run
    assert config.data.source is None


def test_known_runs_are_offered_to_start_from(
    ready: TrainForm, tiny_run: Path, qtbot: QtBot
) -> None:
    remember_model(tiny_run)
    menu = ready.data.runs.menu()
    for _ in range(2):  # nothing is listed twice
        menu.aboutToShow.emit()
    titles = [action.text() for action in menu.actions()]
    assert titles[0].startswith("Shipped model")
    assert titles.count(f"tiny ({tiny_run.parent.name})") == 1
    menu.actions()[titles.index(f"tiny ({tiny_run.parent.name})")].trigger()
    assert ready.data.init.value == tiny_run
    qtbot.waitUntil(lambda: "those of tiny" in ready.status.text(), timeout=WAIT_MS)


def test_start_from_a_folder_that_is_no_run_is_said(
    ready: TrainForm, tmp_path: Path, qtbot: QtBot
) -> None:
    ready.data.init.value = tmp_path
    qtbot.waitUntil(lambda: "is not a run folder" in ready.status.text(), timeout=WAIT_MS)
    assert "is not a run folder" in fail_to_start(ready, qtbot)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"data": {"size": 90}}, "choose a data.size that is a multiple of 16"),
        ({"segmentor": {"name": "vnet"}}, "unknown network 'vnet'"),
        ({"data": {"validation_fraction": 0.9}}, "leaves none of 2 patients"),
        ({"validate_every": 10}, "set data.validation_fraction above 0"),
        ({"select": "source_validation"}, "set validate_every above 0"),
    ],
)
def test_what_training_would_refuse_is_said_before(
    ready: TrainForm, qtbot: QtBot, values: dict[str, Any], sentence: str
) -> None:
    settings_of(ready).set_values(values)
    assert sentence in fail_to_start(ready, qtbot)
    settings_of(ready).reset()
    assert ready.status.text() == ""
    start(ready, qtbot)


def test_deeplab_is_checked_without_its_weights_in_memory(
    ready: TrainForm, qtbot: QtBot, tmp_path: Path
) -> None:
    settings_of(ready).set_values({"segmentor": {"name": "deeplabv2_resnet101"}})
    _, config = start(ready, qtbot)
    assert config.segmentor.name == "deeplabv2_resnet101"


# --- the check ------------------------------------------------------------------------------------


def test_check_shows_both_domains_and_starts_nothing(ready: TrainForm, qtbot: QtBot) -> None:
    begun: list[object] = []
    ready.started.connect(begun.append)
    ready.data.check.click()
    assert not ready.start.isEnabled()
    assert not ready.cancel.isHidden()
    qtbot.waitUntil(lambda: ready.is_settled, timeout=WAIT_MS)
    assert list(ready.data.reports.domains) == ["Source", "Target"]
    assert not ready.data.reports.domains["Source"].structures.isHidden()
    assert ready.data.reports.domains["Target"].structures.isHidden()  # its labels are not read
    assert ready.status.text() == "Data checked: 1 remark above."  # the same folder twice
    assert "nothing to adapt to" in ready.data.reports.domains["Target"].problems.text()
    assert begun == []
    ready.data.target.changed.emit()
    assert ready.data.reports.domains == {}


def test_structures_are_renamed_in_the_report(
    make_form: Callable[..., TrainForm],
    data_folder: Path,
    tmp_path: Path,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
    notifications: Callable[[], list[str]],
) -> None:
    folder = tmp_path / "mr"
    shutil.copytree(data_folder, folder)
    viewer = ViewerModel()
    form = make_form(viewer)
    form.methods.choose("advent")
    form.data.source.set_folder(folder)
    form.data.target.set_folder(data_folder)
    file = folder / "labels" / "case_0.nii.gz"
    layer = viewer.add_layer(Layer.create(*read_layers(file, "reference")))
    form.data.check.click()
    qtbot.waitUntil(lambda: form.is_settled, timeout=WAIT_MS)

    def rename(name: str) -> str:
        monkeypatch.setattr(QInputDialog, "getText", lambda *_, **__: (name, True))
        form.data.reports.domains["Source"].structures.linkActivated.emit("1")
        qtbot.waitUntil(lambda: form.is_settled, timeout=WAIT_MS)
        return form.data.reports.domains["Source"].structures.text()

    assert "liver, left" in rename("liver, left")
    assert "liver" in rename("liver")
    assert names_beside(file) == {1: "liver", 2: "LVC"}
    assert "left ventricle myocardium" in rename("left ventricle myocardium")
    assert structure_names(layer)[1] == "left ventricle myocardium"
    assert "LVC" in rename("LVC")  # is taken
    assert "another structure is called LVC" in notifications()[-1]
    assert names_beside(file)[1] == "left ventricle myocardium"


def test_fatal_problem_keeps_training_from_starting(
    ready: TrainForm, qtbot: QtBot, tmp_path: Path
) -> None:
    image, labels = ball_case("a", 0)
    for name in ("a", "b"):
        write_volume(tmp_path / "ct" / "images" / f"{name}.nii.gz", image)
        write_volume(tmp_path / "ct" / "labels" / f"{name}.nii.gz", labels)
    write_dataset_json(tmp_path / "ct", LABELS, "CT")
    (tmp_path / "ct" / "images" / "b.nii.gz").write_bytes(b"torn")
    ready.data.source.set_folder(tmp_path / "ct")
    message = fail_to_start(ready, qtbot)
    assert message.startswith("Not started. b.nii.gz")
    assert "✖ b.nii.gz" in ready.data.reports.domains["Source"].problems.text()
    write_volume(tmp_path / "ct" / "images" / "b.nii.gz", image)
    start(ready, qtbot)


def test_files_that_did_not_change_are_read_once(
    ready: TrainForm,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    data_folder: Path,
) -> None:
    read: list[str] = []

    def counted(path: Path, **options: Any) -> DomainReport:
        read.append(path.name)
        return check_folder(path, **options)

    monkeypatch.setattr(run_preparation, "check_folder", counted)
    shutil.copytree(data_folder, tmp_path / "ct")
    ready.data.source.set_folder(tmp_path / "ct")
    ready.data.check.click()
    qtbot.waitUntil(lambda: ready.is_settled, timeout=WAIT_MS)
    start(ready, qtbot)
    assert read == ["ct", "mr"]
    assert list(ready.data.reports.domains) == ["Source", "Target"]
    ready.methods.choose("target_supervised")  # reads labels of the target
    start(ready, qtbot)
    assert read == ["ct", "mr", "mr"]
    ready.methods.choose("advent")
    start(ready, qtbot)
    write_dataset_json(tmp_path / "ct", {"MYO": 1, "LVC": 2, "RVC": 3}, "MR")
    start(ready, qtbot)
    assert read == ["ct", "mr", "mr", *["ct", "mr"] * 2]
    assert "no case has RVC" in ready.data.reports.domains["Source"].problems.text()


def test_cancelled_check_starts_nothing(
    ready: TrainForm, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = threading.Event()

    def slow(path: Path, *, stop: threading.Event, **_: Any) -> None:
        reached.set()
        assert stop.wait(60)
        raise Cancelled

    monkeypatch.setattr(run_preparation, "check_folder", slow)
    cancel_start(ready, qtbot, reached, threading.Event())  # it hears of the stop itself
    assert ready.start.isEnabled()


def test_cancelled_while_layers_are_written_leaves_no_folder(
    on_layers: TrainForm, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def slow(path: Path, *arguments: Any) -> None:
        write_volume(path, *arguments)
        reached.set()
        assert go_on.wait(60)

    monkeypatch.setattr(run_preparation, "write_volume", slow)
    cancel_start(on_layers, qtbot, reached, go_on)
    assert list((tmp_path / "runs").glob("*")) == []


def test_what_is_begun_as_soon_as_the_start_is_ready_is_not_ended_by_it(
    ready: TrainForm, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread of the start says that it has ended a moment after it has handed on the run."""
    reached, go_on = threading.Event(), threading.Event()

    def slow(path: Path, **options: Any) -> DomainReport:
        reached.set()
        assert go_on.wait(60)
        return check_folder(path, **options)

    def check() -> None:
        monkeypatch.setattr(run_preparation, "check_folder", slow)
        ready.data.check.click()

    ready.started.connect(check)
    start(ready, qtbot)
    qtbot.waitUntil(lambda: reached.is_set() and len(jobs.running()) == 1)
    let_events_pass()
    assert (ready.start.isEnabled(), ready.cancel.isHidden()) == (False, False)
    go_on.set()
    qtbot.waitUntil(lambda: ready.is_settled)
    assert ready.status.text().startswith("Data checked")


# --- layers ---------------------------------------------------------------------------------------


def test_layers_become_data_folders_beside_the_run(
    on_layers: TrainForm, qtbot: QtBot, tmp_path: Path
) -> None:
    assert on_layers.status.text() == ""
    on_layers.data.source.modality.setCurrentText("CT")
    run_dir, config = start(on_layers, qtbot)
    data = tmp_path / "runs" / "first_data"
    assert run_dir == tmp_path / "runs" / "first"
    assert (config.data.source, config.data.target) == (data / "source", data / "target")
    source, target = DataFolder.open(data / "source"), DataFolder.open(data / "target")
    assert (source.labels, source.modality) == (LABELS, "CT")
    assert (target.labels, target.modality) == ({}, "")
    image, labels = ball_case("case 0", 0)
    (case,) = source.cases
    assert (case.name, case.label is not None) == ("case_0", True)
    assert case.label is not None
    written = read_volume(case.image)
    np.testing.assert_array_equal(written.array, image.array)
    np.testing.assert_array_equal(written.affine, image.affine)
    np.testing.assert_array_equal(read_labels(case.label).array, labels.array)
    assert [case.label for case in target.cases] == [None]
    leftovers = [path for path in tmp_path.rglob("*") if path.name.startswith(".")]
    assert leftovers == []


def test_layers_are_written_anew_only_over_what_the_form_wrote(
    on_layers: TrainForm, qtbot: QtBot, tmp_path: Path
) -> None:
    start(on_layers, qtbot)
    layer = on_layers.viewer.layers["labels 0"]  # type: ignore[attr-defined]
    layer.data = np.where(layer.data == 2, 1, layer.data)
    start(on_layers, qtbot)  # the run itself was never made
    (case,) = DataFolder.open(tmp_path / "runs" / "first_data" / "source").cases
    assert case.label is not None
    assert set(np.unique(read_labels(case.label).array)) == {0, 1}
    other = tmp_path / "runs" / "other_data"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    name_run(on_layers, tmp_path / "runs" / "other")
    assert "other_data exists already" in fail_to_start(on_layers, qtbot)
    assert (other / "thesis.txt").read_text() == "mine"


def test_layers_are_checked_before_they_are_written(
    on_layers: TrainForm, qtbot: QtBot, tmp_path: Path
) -> None:
    layer = on_layers.viewer.layers["labels 0"]  # type: ignore[attr-defined]
    layer.data = np.zeros_like(layer.data)
    message = fail_to_start(on_layers, qtbot)
    assert "background only" in message
    assert not (tmp_path / "runs" / "first_data").exists()


def test_label_values_above_255_are_refused(on_layers: TrainForm, qtbot: QtBot) -> None:
    layer = on_layers.viewer.layers["labels 0"]  # type: ignore[attr-defined]
    layer.data = np.where(layer.data == 2, 300, layer.data.astype(np.uint16))
    assert "layer 'labels 0' holds label 300" in fail_to_start(on_layers, qtbot)


def test_one_layer_for_both_domains_is_told(on_layers: TrainForm, qtbot: QtBot) -> None:
    assert on_layers.data.target.images is not None
    on_layers.data.target.images.choose(on_layers.viewer.layers["image 0"])  # type: ignore[attr-defined]
    on_layers.data.check.click()
    qtbot.waitUntil(lambda: on_layers.is_settled, timeout=WAIT_MS)
    assert "the same images" in on_layers.data.reports.domains["Target"].problems.text()


def test_deleted_and_renamed_layers(on_layers: TrainForm, qtbot: QtBot) -> None:
    viewer = on_layers.viewer  # type: ignore[attr-defined]
    viewer.layers["image 1"].name = "scan"
    assert on_layers.data.target.images is not None
    assert on_layers.data.target.images.currentText() == "scan"
    viewer.layers.remove("labels 0")
    assert on_layers.status.text() == (
        "Source: open an image layer and its labels layer, or choose a data folder."
    )
    assert not on_layers.start.isEnabled()
    viewer.layers.clear()
    on_layers.methods.choose("sfda")
    assert on_layers.status.text() == "Target: open an image layer, or choose a data folder."


def test_layers_that_are_no_volume_are_not_offered(on_layers: TrainForm) -> None:
    viewer = on_layers.viewer  # type: ignore[attr-defined]
    viewer.add_layer(Image(np.zeros((4, 4)), name="flat"))
    viewer.add_layer(Image(np.zeros((4, 4, 4, 3)), rgb=True, name="photo"))
    images = on_layers.data.source.images
    assert images is not None
    offered = [images.itemText(index) for index in range(images.count())]
    assert sorted(offered) == ["image 0", "image 1"]


# --- shape and life -------------------------------------------------------------------------------


def test_everything_fits_a_narrow_dock(on_layers: TrainForm, qtbot: QtBot) -> None:
    on_layers.methods.choose("se_asa")
    on_layers.data.check.click()
    qtbot.waitUntil(lambda: on_layers.is_settled, timeout=WAIT_MS)
    settings_of(on_layers).advanced.toggleButton().click()
    for section in settings_of(on_layers).findChildren(SettingGroup):
        section.toggleButton().click()
    on_layers.resize(300, 700)
    qtbot.waitUntil(lambda: on_layers.width() == 300)
    content = on_layers.scrolling.widget()
    assert content is not None
    room = on_layers.scrolling.viewport().width()
    qtbot.waitUntil(lambda: content.width() <= room)
    wide = [
        child.objectName() or type(child).__name__
        for child in content.findChildren(QWidget)
        if child.isVisible() and child.mapTo(content, child.rect().topRight()).x() > room
    ]
    assert wide == []
    assert on_layers.start.isVisible()


def test_data_and_settings_stay_together_while_the_form_shrinks(
    ready: TrainForm, qtbot: QtBot
) -> None:
    def gap() -> int:
        above = ready.data.mapTo(ready, ready.data.rect().bottomLeft()).y()
        return int(ready.settings.mapTo(ready, ready.settings.rect().topLeft()).y() - above)

    content, form = ready.scrolling.widget(), ready.settings.form
    assert content is not None
    assert form is not None
    let_events_pass()  # all is laid out
    before, basic_height = gap(), content.height()
    form.advanced.toggleButton().click()
    qtbot.waitUntil(lambda: content.height() > 1.2 * basic_height)
    form.search.setText("rotation")
    assert gap() == before  # at once, not only when all is laid out again


def test_settings_stand_beside_the_data_in_a_wide_dock(ready: TrainForm, qtbot: QtBot) -> None:
    def place(widget: QWidget) -> tuple[int, int]:
        content = ready.scrolling.widget()
        assert content is not None
        point = widget.mapTo(content, widget.rect().topLeft())
        return point.x(), point.y()

    assert place(ready.settings.presets)[1] > place(ready.data.check)[1]
    ready.resize(1000, 260)
    qtbot.waitUntil(lambda: place(ready.settings.presets)[0] >= 480)
    assert place(ready.settings.presets)[1] < place(ready.data.check)[1]
    ready.resize(320, 700)
    qtbot.waitUntil(lambda: place(ready.settings.presets)[0] < 100)


def test_form_that_dies_during_its_check_leaves_nothing(
    qtbot: QtBot, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = threading.Event()

    def wait(path: Path, *, stop: threading.Event, **_: Any) -> None:
        reached.set()
        assert stop.wait(60)
        raise Cancelled

    monkeypatch.setattr(run_preparation, "check_folder", wait)
    form = TrainForm()  # not of qtbot, which would close it once more
    form.show()
    qtbot.waitUntil(lambda: form.settings.form is not None, timeout=WAIT_MS)
    form.data.source.set_folder(data_folder)
    form.data.target.set_folder(data_folder)
    form.data.check.click()
    qtbot.waitUntil(reached.is_set, timeout=WAIT_MS)
    with qtbot.waitSignal(form.destroyed):
        form.deleteLater()
    qtbot.waitUntil(lambda: not jobs.running(), timeout=WAIT_MS)


def test_settings_file_of_a_finished_run_can_be_loaded(
    ready: TrainForm, tmp_path: Path, data_folder: Path
) -> None:
    config = build_config("se_asa", data={"source": data_folder}, init=tmp_path, preview_every=3)
    write_text(tmp_path / "config.yaml", dump_config(config))
    ready.load_settings(tmp_path / "config.yaml")
    assert ready.data.init.value == tmp_path
    shown = ready.config()
    assert shown is not None
    assert shown.data.source == data_folder
    assert shown.preview_every == 3


def test_time_is_estimated_before_start(ready: TrainForm, qtbot: QtBot, tmp_path: Path) -> None:
    small = {"steps": 90, "data": {"size": 32}, "segmentor": {"width": 4, "depth": 2}}
    settings_of(ready).set_values(small)
    ready.estimate.click()
    assert ready.status.text() == "Measuring a few steps…"
    assert not ready.start.isEnabled()
    qtbot.waitUntil(lambda: ready.is_settled, timeout=WAIT_MS)
    assert re.match(r"About \d.* for 90 steps \(.* s a step on ", ready.status.text())
    assert not (tmp_path / "run").exists()
    assert ready.start.isEnabled()
