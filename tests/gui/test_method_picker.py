"""The question what there is, and the methods that the answers leave."""

from __future__ import annotations

from typing import Any

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor

from napari_uda.experiments.recommendation import measured
from napari_uda.gui.train.method_picker import MethodPicker, read_methods
from napari_uda.methods.base import Method
from napari_uda.methods.registry import METHODS


@pytest.fixture
def picker(qtbot: QtBot) -> MethodPicker:
    widget = MethodPicker()
    qtbot.addWidget(widget)
    widget.set_methods(read_methods())
    widget.show()
    return widget


def texts(picker: MethodPicker) -> list[str]:
    return [picker.methods.itemText(index) for index in range(picker.methods.count())]


def offered(picker: MethodPicker) -> list[str]:
    names = [picker.methods.itemData(index) for index in range(picker.methods.count())]
    return sorted(name for name in names if name)


def can_be_chosen(picker: MethodPicker, index: int) -> bool:
    model = picker.methods.model()
    return bool(model.flags(model.index(index, 0)) & Qt.ItemFlag.ItemIsEnabled)


def headers(picker: MethodPicker) -> list[str]:
    return [text for index, text in enumerate(texts(picker)) if not can_be_chosen(picker, index)]


def click(picker: MethodPicker, name: str, qtbot: QtBot) -> None:
    """Choose in the list that a click on the arrow opens."""
    view = picker.methods.view()
    with qtbot.waitExposed(view.window(), timeout=60_000):
        picker.methods.showPopup()
    index = picker.methods.model().index(picker.methods.findData(name), 0)

    def is_chosen() -> bool:
        if not view.isVisible():
            if picker.methods.currentData() == name:
                return True
            picker.methods.showPopup()  # the display may close a list that nothing was chosen from
        else:  # a list that has only just come up may not take the first click
            view.scrollTo(index)  # each time: such a list also scrolls by itself
            place = view.visualRect(index).center()
            qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=place)
        return False

    qtbot.waitUntil(is_chosen)


def needing(*needs: str) -> list[str]:
    """Titles of the methods and variants that can train on these data."""

    def can(kind: type[Method[Any]], settings: Any) -> bool:
        return kind.needs_with(kind.config_class.model_validate(settings)) <= set(needs)

    plain = [name for name, kind in METHODS.items() if kind.needs <= set(needs)]
    variants = [
        f"{name} with {variant}"
        for name, kind in METHODS.items()
        for variant, settings in kind.variants.items()
        if can(kind, settings)
    ]
    return sorted(plain + variants)


def best(names: list[str]) -> str:
    """The one that the shipped table measured as best."""
    return max((name for name in names if name in measured()), key=lambda name: measured()[name])


def test_the_recommended_method_is_chosen_and_marked(picker: MethodPicker) -> None:
    adapting = [n for n in offered(picker) if n in METHODS and METHODS[n].family != "bounds"]
    assert picker.method is not None
    assert picker.method.name == best(adapting)
    marked = [text for text in texts(picker) if ": recommended · " in text]
    assert marked == [f"{best(adapting)}: recommended · {METHODS[best(adapting)].summary}"]


@pytest.mark.parametrize(("ground", "words"), [("#c4c2c2", "#262930"), ("#3d414a", "#f0f1f2")])
def test_families_are_drawn_as_dark_or_light_as_methods_are(
    picker: MethodPicker, qtbot: QtBot, ground: str, words: str
) -> None:
    """In the colours of a light and of a dark theme: Qt greys what cannot be chosen."""
    picker.setStyleSheet(f"QListView {{ background-color: {ground}; color: {words}; }}")
    view = picker.methods.view()
    with qtbot.waitExposed(view.window(), timeout=60_000):
        picker.methods.showPopup()
    drawn = view.viewport().grab().toImage()
    title = view.visualRect(picker.methods.model().index(0, 0))
    assert not can_be_chosen(picker, 0)
    values = [
        drawn.pixelColor(x, y).lightness()
        for x in range(title.left(), title.left() + title.width() // 4)
        for y in range(title.top(), title.bottom() + 1)
    ]
    picker.methods.hidePopup()
    wanted = QColor(words).lightness()
    assert min(abs(value - wanted) for value in values) <= 10


def test_before_the_methods_are_read_nothing_is_offered(qtbot: QtBot) -> None:
    widget = MethodPicker()
    qtbot.addWidget(widget)
    widget.show()
    assert widget.method is None
    assert not widget.none.isVisible()


def test_answers_leave_methods_whose_needs_are_met(picker: MethodPicker, qtbot: QtBot) -> None:
    assert offered(picker) == needing("source", "target")
    assert "target_supervised" not in offered(picker)
    picker.target_labels.click()
    assert offered(picker) == needing("source", "target", "target_labels")
    assert set(offered(picker)) > set(METHODS)
    picker.source.click()
    assert offered(picker) == needing("target", "target_labels")
    assert "target_supervised" in offered(picker)
    picker.target.click()
    assert offered(picker) == []
    assert picker.none.isVisible()
    assert picker.method is None
    assert not picker.target_labels.isEnabled()
    picker.source.click()
    assert offered(picker) == ["source_only"]


def test_the_methods_that_read_labels_of_the_target_are_named(picker: MethodPicker) -> None:
    names = " and ".join(name for name, kind in METHODS.items() if "target_labels" in kind.needs)
    tip = f"Only for {names}; no other method reads them"
    assert picker.target_labels.toolTip() == tip
    assert "target_supervised" in tip


def test_one_scan_leaves_what_needs_no_source(picker: MethodPicker) -> None:
    assert picker.method is not None
    first = picker.method.name
    picker.one_scan.click()
    assert offered(picker) == needing("target")
    assert picker.method.name == best(needing("target"))
    assert picker.method.needs_init
    assert not picker.source.isEnabled()
    picker.one_scan.click()
    assert picker.source.isEnabled()
    assert offered(picker) == needing("source", "target")
    assert picker.method.name == first  # what is recommended for all that there is


def test_families_head_their_methods_and_bounds_come_last(picker: MethodPicker) -> None:
    families = {kind.family for name, kind in METHODS.items() if name in offered(picker)}
    assert set(headers(picker)) == families
    assert len(headers(picker)) == len(families)
    assert headers(picker)[-1] == "bounds"


def test_each_method_tells_its_idea_and_paper(picker: MethodPicker) -> None:
    kind = METHODS["advent"]
    assert f"advent: {kind.summary}" in texts(picker)
    picker.choose("advent")
    dice = f"mean dice {measured()['advent']:.0f} % on the phantom of the heart, ct to mr."
    assert picker.about.text().lower() == f"{kind.summary}. {kind.paper}. {dice}".lower()
    assert picker.methods.currentText() == f"advent: {kind.summary}"
    assert picker.methods.lineEdit().cursorPosition() == 0  # the name is what is seen of it
    picker.choose("sfda")
    assert "It starts from a trained run." in picker.about.text()
    tips = [
        picker.methods.itemData(index, Qt.ItemDataRole.ToolTipRole)
        for index in range(picker.methods.count())
    ]
    assert picker.about.text() in tips


def test_choice_is_told_once_and_kept_while_it_fits(picker: MethodPicker, qtbot: QtBot) -> None:
    chosen: list[str] = []
    picker.method_chosen.connect(chosen.append)
    click(picker, "advent", qtbot)
    assert picker.method is not None
    assert picker.method.name == "advent"
    picker.target_labels.click()
    assert chosen == ["advent"]
    picker.source.click()
    assert picker.method.name == best(needing("target"))
    assert chosen == ["advent", best(needing("target"))]


def test_the_recommended_method_follows_the_answers_until_one_is_chosen(
    picker: MethodPicker, qtbot: QtBot
) -> None:
    assert picker.method is not None
    first = picker.method.title
    for wanted in (first, "advent"):
        if wanted != first:
            click(picker, wanted, qtbot)
        picker.one_scan.click()
        assert picker.method.title == best(needing("target"))
        picker.one_scan.click()
        assert picker.method.title == wanted


def test_variant_is_offered_for_the_data_that_it_needs(picker: MethodPicker) -> None:
    picker.one_scan.click()
    assert "mean_teacher" not in offered(picker)
    picker.choose("mean_teacher with source_free")
    assert picker.one_scan.isChecked()  # it is all that the variant needs
    variant = picker.method
    assert variant is not None
    assert (variant.name, variant.needs, variant.needs_init) == ("mean_teacher", {"target"}, True)
    assert variant.settings == METHODS["mean_teacher"].variants["source_free"]
    assert "It starts from a trained run." in picker.about.text()
    picker.choose("mean_teacher")
    assert picker.method is not None
    assert (picker.method.needs, picker.method.needs_init) == ({"source", "target"}, False)


def test_header_cannot_be_chosen(picker: MethodPicker, qtbot: QtBot) -> None:
    before, line = picker.method, picker.methods.lineEdit()
    picker.methods.showPopup()
    view = picker.methods.view()
    place = view.visualRect(picker.methods.model().index(0, 0)).center()
    qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert picker.method == before
    picker.methods.hidePopup()
    line.selectAll()
    qtbot.keyClicks(line, headers(picker)[-1])
    qtbot.keyClick(line, Qt.Key.Key_Return)
    assert picker.method == before
    assert before is not None
    assert line.text().startswith(f"{before.name}: ")


def test_method_is_found_by_typing_a_part_of_its_idea(picker: MethodPicker, qtbot: QtBot) -> None:
    line = picker.methods.lineEdit()
    line.selectAll()
    qtbot.keyClicks(line, "lowers entropy where")
    popup = picker.methods.completer().popup()
    assert popup.isVisible()
    assert popup.model().rowCount() == 1
    qtbot.keyClick(popup, Qt.Key.Key_Return)
    assert picker.method is not None
    assert picker.method.name == "se_asa"
    assert line.text() == picker.methods.itemText(picker.methods.findData("se_asa"))
    line.selectAll()
    qtbot.keyClicks(line, "no such method")
    qtbot.keyClick(line, Qt.Key.Key_Return)
    assert picker.method.name == "se_asa"
    assert line.text().startswith("se_asa: ")


def test_choosing_by_name_ticks_what_it_needs(picker: MethodPicker) -> None:
    picker.one_scan.click()
    picker.choose("target_supervised")
    assert picker.method is not None
    assert picker.method.name == "target_supervised"
    assert picker.target_labels.isChecked()
    assert not picker.one_scan.isChecked()
    with pytest.raises(KeyError):
        picker.choose("no_such")


def test_last_method_of_the_list_can_be_clicked(picker: MethodPicker, qtbot: QtBot) -> None:
    picker.resize(300, 300)
    last = picker.methods.itemData(picker.methods.count() - 1)
    click(picker, last, qtbot)
    assert picker.method is not None
    assert picker.method.name == last
    assert picker.methods.currentData() == last
