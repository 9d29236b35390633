"""The form of settings: nothing is lost or rounded, and what does not fit is said beside its field."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from gui_cases import let_events_pass
from magicgui.widgets import CheckBox, ComboBox, TupleEdit
from pydantic import Field
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import (
    QApplication,
    QFileDialog,
    QFormLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QWidget,
)

from napari_uda.core.config import Config
from napari_uda.gui.kit.fields import (
    IntegerEdit,
    MappingEdit,
    NumberEdit,
    PathEdit,
    TextEdit,
    YamlEdit,
    number_text,
)
from napari_uda.gui.kit.settings_form import WARNING, SettingGroup, SettingsForm
from napari_uda.methods.registry import METHODS
from napari_uda.run.config import RunConfig
from napari_uda.run.recipes import build_config, list_recipes, read_recipe


class Inner(Config):
    """A nested config."""

    rate: float = Field(default=2.5e-4, gt=0, le=1)
    """How fast it learns."""
    kind: Literal[1, 2] = 2
    """One or two."""


class Every(Config):
    """One field of every kind."""

    count: int = Field(default=3, ge=1)
    """How many."""
    width_mm: float = 10.0
    """How wide."""
    on: bool = True
    """Whether."""
    name: str = "unet"
    """What."""
    weights: Path | None = None
    """File with weights."""
    folder: Path | None = None
    """Data folder."""
    limit: float | None = None
    """Empty for none."""
    note: str | None = None
    """Empty for none."""
    window: tuple[float, float] = (-1.5, 2.0)
    """From, to."""
    sizes: dict[str, float] = Field(default_factory=dict)
    """By name."""
    order: tuple[str, ...] = ("a", "b")
    """Any length."""
    inner: Inner = Inner()
    """Nested."""


CHANGED = Every(
    count=7,
    width_mm=2e-5,
    on=False,
    name="monai:AttentionUnet",
    weights=Path("w: 1.pth"),
    folder=Path("/tmp"),
    limit=1e-9,
    note="ja: nein, {x}",
    window=(0.0, 1e12),
    sizes={"LV: cavity, left": 1.0, "ja": 2.5e-4, "1": 0.1, "no": 1e300},
    order=("yes", "1e3", "x, y"),
    inner=Inner(rate=1 / 3, kind=1),
)


def opened(qtbot: QtBot, config: Config, **options: Any) -> SettingsForm:
    """A form with every editor built."""
    form = SettingsForm(config, **options)
    qtbot.addWidget(form)
    form.advanced.set_open(True)
    for section in form.findChildren(SettingGroup):
        section.set_open(True)
    form.show()
    return form


def native(form: SettingsForm, path: str) -> Any:
    """The widget of Qt that edits a setting."""
    return form.findChild(QWidget, path)


def line(form: SettingsForm, path: str) -> QLineEdit:
    widget = native(form, path)
    return widget if isinstance(widget, QLineEdit) else widget.findChild(QLineEdit)


def label(form: SettingsForm, path: str) -> QLabel:
    """The name in front of an editor."""
    return next(one for one in form.findChildren(QLabel) if one.buddy() is native(form, path))


def sentence_of(form: SettingsForm, path: str) -> str:
    """What is said below an editor."""
    said = form.findChild(QLabel, f"problem_{path}")
    return "" if said is None else said.text().removeprefix(WARNING)


def group(form: SettingsForm, name: str) -> SettingGroup:
    return form.findChild(SettingGroup, f"group_{name}")


def leaves(config: Config, prefix: str = "") -> dict[str, Any]:
    """Every setting of a config by its dotted path."""
    found: dict[str, Any] = {}
    for name in type(config).model_fields:
        value = getattr(config, name)
        nested = isinstance(value, Config)
        found |= leaves(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return found


def type_into(qtbot: QtBot, form: SettingsForm, path: str, text: str) -> None:
    line(form, path).selectAll()
    qtbot.keyClick(line(form, path), Qt.Key.Key_Delete)
    qtbot.keyClicks(line(form, path), text)


def shown_values(form: SettingsForm) -> dict[str, Any]:
    """What stands in the editors."""
    return {path: one.value for path, one in form.editors.items()}


def test_every_kind_of_field_gets_its_editor(qtbot: QtBot) -> None:
    form = opened(qtbot, Every())
    kinds = {path: type(one) for path, one in form.editors.items()}
    assert kinds == {
        "count": IntegerEdit,
        "width_mm": NumberEdit,
        "on": CheckBox,
        "name": TextEdit,
        "weights": PathEdit,
        "folder": PathEdit,
        "limit": NumberEdit,
        "note": TextEdit,
        "window": TupleEdit,
        "sizes": MappingEdit,
        "order": YamlEdit,
        "inner.rate": NumberEdit,
        "inner.kind": ComboBox,
    }
    assert [native(form, path).objectName() for path in form.editors] == list(form.editors)
    assert browse(form, "folder").toolTip() == "Browse for a folder"
    assert browse(form, "weights").toolTip() == "Browse for a file"


def browse(form: SettingsForm, path: str) -> QPushButton:
    return native(form, path).findChild(QPushButton)


def test_values_of_every_kind_survive_the_editors(qtbot: QtBot) -> None:
    form = opened(qtbot, Every())
    form.set_values(CHANGED)
    assert form.config() == CHANGED
    assert set(form.problems()) == {"weights"}  # there is no such file
    assert Every.model_validate(form.values()) == CHANGED
    texts = _nested(shown_values(form))
    assert Every.model_validate(texts) == CHANGED
    form.reset()
    assert form.config() == Every()
    assert Every.model_validate(_nested(shown_values(form))) == Every()


def _nested(values: dict[str, Any]) -> dict[str, Any]:
    inner = {path[6:]: value for path, value in values.items() if path.startswith("inner.")}
    return {path: value for path, value in values.items() if "." not in path} | {"inner": inner}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_survives_the_form(qtbot: QtBot, name: str) -> None:
    config = METHODS[name].config_class()
    form = opened(qtbot, config)
    assert form.config() == config
    assert shown_values(form) == {k: v for k, v in leaves(config).items() if k != "name"}
    assert type(config).model_validate(form.values()) == config


RECIPES = [
    pytest.param(method, name, id=f"{name}-{method}")
    for name, file in list_recipes().items()
    for method in ([read_recipe(file).method] if read_recipe(file).method else list(METHODS))
]


@pytest.mark.parametrize(("method", "name"), RECIPES)
def test_every_recipe_survives_the_form(qtbot: QtBot, method: str, name: str) -> None:
    """From the defaults of the method to the recipe and back, through the texts on screen."""
    plain, config = build_config(method), build_config(method, recipe=name)
    form = opened(qtbot, plain)
    form.set_values(config)
    assert form.config() == config
    wanted = {path: value for path, value in leaves(config).items() if path != "method.name"}
    assert shown_values(form) == wanted
    form.reset()
    assert form.config() == plain


def test_number_stays_as_it_was_typed(qtbot: QtBot) -> None:
    form = opened(qtbot, Every())
    assert line(form, "inner.rate").text() == "2.5e-4"
    type_into(qtbot, form, "inner.rate", "0.00050")
    assert form.values()["inner"]["rate"] == 5e-4
    form.set_values({"inner": {"rate": 5e-4}})
    assert line(form, "inner.rate").text() == "0.00050"
    form.set_values({"inner": {"rate": 0.25}})
    assert line(form, "inner.rate").text() == "0.25"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (10.0, "10"),
        (0, "0"),
        (0.0, "0"),
        (0.003, "0.003"),
        (2.5e-4, "2.5e-4"),
        (1e-10, "1e-10"),
        (-3e-5, "-3e-5"),
        (1e8, "1e8"),
        (50_000, "50000"),
        (1 / 3, repr(1 / 3)),
    ],
)
def test_numbers_are_short_and_exact(value: float, text: str) -> None:
    assert number_text(value) == text
    assert float(text) == value


@pytest.mark.parametrize(
    ("path", "text", "sentence"),
    [
        ("steps", "0", "must be at least 1"),
        ("steps", "2.5", "must be a whole number"),
        ("steps", "", "must be a whole number"),
        ("clip_norm", "0,5", "must be a number, such as 0.5"),
        ("clip_norm", "nan", "must be a finite number"),
        ("data.size", "2048", "must be at most 1024"),
        ("data.neighbours", "2", "must be odd, so that the segmented slice is the middle one"),
        ("data.validation_fraction", "1", "must be below 1"),
        ("data.labels", "MYO", "must be a whole number"),
        ("data.labels", "{", None),
        ("data.labels", "MYO: [", "must be names and values, such as MYO: 1, LVC: 2"),
        ("method.segmentor_optimizer.lr", "0", "must be above 0"),
        ("method.adversary.width", "x", "must be a whole number"),
        ("segmentor.weights", "/no/such.pth", "there is no such file or folder; check the path"),
    ],
)
def test_what_does_not_fit_is_said_beside_the_field(
    qtbot: QtBot, path: str, text: str, sentence: str | None
) -> None:
    form = opened(qtbot, build_config("advent"))
    type_into(qtbot, form, path, text)
    assert sentence_of(form, path) == (sentence or "")
    assert form.problems() == ({path: sentence} if sentence else {})
    assert not any(sentence_of(form, other) for other in form.editors if other != path)
    assert group(form, path.rpartition(".")[0]).text().startswith("⚠") == bool(sentence)
    form.reset()
    assert form.problems() == {}
    assert sentence_of(form, path) == ""
    assert form.config() == build_config("advent")


def test_what_holds_between_fields_is_said_at_their_group(qtbot: QtBot) -> None:
    form = opened(qtbot, build_config("source_only"))
    type_into(qtbot, form, "method.ce_weight", "0")
    assert form.problems() == {}
    type_into(qtbot, form, "method.dice_weight", "0")
    assert form.config() is None
    ((path, sentence),) = form.problems().items()
    assert path == "method"
    assert sentence.startswith("ce_weight and dice_weight are both 0")
    assert sentence in group(form, "method").findChild(QLabel, "problem_group").text()


def test_changes_name_what_differs_from_the_preset(qtbot: QtBot) -> None:
    form = opened(qtbot, build_config("se_asa", recipe="cpu_small"))
    assert form.changes() == {}
    with qtbot.waitSignal(form.changed):
        type_into(qtbot, form, "method.prototype_weight", "0.5")
    native(form, "deterministic").click()
    assert form.changes() == {"method": {"prototype_weight": 0.5}, "deterministic": True}
    weight = label(form, "method.prototype_weight")
    assert weight.font().bold()
    assert "the preset has 0.016" in weight.toolTip()
    form.reset()
    assert form.changes() == {}
    assert not weight.font().bold()


def test_values_of_another_method_are_taken_over_where_both_have_them(qtbot: QtBot) -> None:
    form = opened(qtbot, build_config("source_only"))
    form.adopt(
        {
            "steps": 12,
            "clip_norm": "much",
            "method": {"ce_weight": 0.5, "translator": {"cycle_weight": 3.0}},
        }
    )
    assert form.changes() == {"steps": 12, "method": {"ce_weight": 0.5}}
    assert form.config() is not None


def test_values_are_taken_over_beside_one_that_does_not_fit(qtbot: QtBot) -> None:
    form = opened(qtbot, build_config("source_only"))
    type_into(qtbot, form, "steps", "many")
    form.adopt({"data": {"size": 64, "neighbours": 2}})
    assert form.changes() == {"steps": "many", "data": {"size": 64}}
    form.adopt({"steps": 9, "method": {"ce_weight": 0.0, "dice_weight": 0.0}})
    assert form.changes() == {"steps": "many", "data": {"size": 64}}


def test_basic_settings_stand_first_and_the_others_wait_closed(qtbot: QtBot) -> None:
    form = SettingsForm(
        build_config("advent"), basic=("steps", "data.size", "no.such"), hidden=("data.source",)
    )
    qtbot.addWidget(form)
    form.show()
    assert list(form.editors) == ["steps", "data.size"]
    assert label(form, "data.size").text() == "size of a slice (pixels)"
    # all but those two, the hidden one and the method's name
    assert form.advanced.text() == f"Advanced ({len(leaves(build_config('advent'))) - 4})"
    assert not form.search.isVisible()
    form.advanced.toggleButton().click()
    assert form.search.isVisible()
    assert "data.source" not in [p for s in form.findChildren(SettingGroup) for p in s.paths]
    form.set_values({"data": {"source": Path("ct")}})
    assert form.config().data.source == Path("ct")  # type: ignore[union-attr]


def test_search_shows_matching_settings_alone(qtbot: QtBot) -> None:
    form = SettingsForm(build_config("advent"))
    qtbot.addWidget(form)
    form.show()
    form.advanced.toggleButton().click()
    qtbot.keyClicks(form.search, "blur")
    visible = [path for path in form.editors if native(form, path).isVisible()]
    assert visible == ["method.reliability.blur_probability", "method.reliability.blur_sigma"]
    form.search.clear()
    assert not any(native(form, path).isVisible() for path in form.editors)
    assert all(section.isVisible() for section in form.findChildren(SettingGroup))
    reliability = group(form, "method.reliability")
    reliability.toggleButton().click()
    assert all(native(form, path).isVisible() for path in reliability.paths)


def test_search_makes_editors_of_what_it_finds_group_by_group(qtbot: QtBot) -> None:
    form = SettingsForm(build_config("se_asa"), basic=("steps",))
    qtbot.addWidget(form)
    form.show()
    form.advanced.toggleButton().click()
    groups = form.findChildren(SettingGroup)
    found = [path for one in groups for path in one.paths if "size" in path]
    assert len({path.rpartition(".")[0] for path in found}) >= 3
    form.search.setText("size")
    assert len(form.editors) < 1 + len(found)  # one group in each turn of the event loop
    qtbot.waitUntil(lambda: len(form.editors) == 1 + len(found))
    assert list(form.editors) == ["steps", *found]
    assert all(native(form, path).isVisible() for path in found)
    form.search.setText("method")
    form.search.clear()  # at once: nothing of it opens any more
    let_events_pass()
    assert not any(one.isExpanded() for one in groups)


def test_rows_that_were_found_stay_in_their_place_among_all(qtbot: QtBot) -> None:
    form = SettingsForm(build_config("se_asa"))
    qtbot.addWidget(form)
    form.show()
    form.advanced.toggleButton().click()
    form.search.setText("blur")
    type_into(qtbot, form, "method.reliability.blur_probability", "2")
    form.search.clear()
    reliability = group(form, "method.reliability")
    assert [path for path in form.editors if path in reliability.paths] == [
        "method.reliability.blur_probability",
        "method.reliability.blur_sigma",
    ]
    reliability.set_open(True)
    rows = reliability.rows
    shown = [rows.itemAt(row, QFormLayout.ItemRole.FieldRole) for row in range(rows.rowCount())]
    wanted = list(reliability.paths)
    place = wanted.index("method.reliability.blur_probability") + 1
    wanted.insert(place, "problem_method.reliability.blur_probability")
    assert [one.widget().objectName() for one in shown] == wanted
    assert native(form, "method.reliability.views").isVisible()


def test_tooltip_tells_meaning_bounds_and_option(qtbot: QtBot) -> None:
    form = opened(qtbot, build_config("advent"))
    tip = label(form, "data.validation_fraction").toolTip()
    assert "Share of the labelled patients that are kept out of training" in tip
    assert "at least 0" in tip
    assert "below 1" in tip
    assert "--data.validation-fraction" in tip
    assert label(form, "data.pixel_mm").text() == "pixel (mm)"


def test_wheel_over_a_choice_scrolls_and_does_not_choose(qtbot: QtBot) -> None:
    form = opened(qtbot, build_config("advent"))
    box = native(form, "data.axis")
    event = QWheelEvent(
        QPointF(3, 3),
        QPointF(3, 3),
        QPoint(0, -120),
        QPoint(0, -120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(box, event)
    assert box.currentText() == "auto"
    qtbot.keyClick(box, Qt.Key.Key_Down)
    assert form.changes() == {"data": {"axis": "z"}}


def test_browsed_path_counts_as_typed(
    qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = opened(qtbot, Every())
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_, **__: str(tmp_path))
    browse(form, "folder").click()
    assert form.changes() == {"folder": tmp_path}
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_, **__: "")
    browse(form, "folder").click()  # cancelled
    assert form.changes() == {"folder": tmp_path}


def test_unknown_setting_is_refused(qtbot: QtBot) -> None:
    form = opened(qtbot, Every())
    with pytest.raises(KeyError, match=r"inner\.no"):
        form.set_values({"count": 5, "inner": {"no": 1}})
    assert form.changes() == {}


def test_config_written_by_the_form_reads_back(qtbot: QtBot, tmp_path: Path) -> None:
    form = opened(qtbot, build_config("sfda", recipe="cpu_small"))
    type_into(qtbot, form, "method.ratio_floor", "2.5e-4")
    config = form.config()
    assert isinstance(config, RunConfig)
    from napari_uda.run.run import dump_config

    read = RunConfig.model_validate(yaml.safe_load(dump_config(config)))
    assert read == config
    assert read.method.ratio_floor == 2.5e-4  # type: ignore[attr-defined]


def test_long_names_stand_above_their_fields_in_a_narrow_dock(qtbot: QtBot) -> None:
    form = opened(qtbot, build_config("se_asa"))
    form.resize(260, 900)
    qtbot.waitUntil(lambda: form.width() == 260)
    assert form.minimumSizeHint().width() <= 300
    layout = group(form, "method").rows
    assert layout.rowWrapPolicy() == QFormLayout.RowWrapPolicy.WrapLongRows
    field = native(form, "method.entropy_maximisation_weight")
    assert layout.labelForField(field) is label(form, "method.entropy_maximisation_weight")
    assert field.width() >= 84
