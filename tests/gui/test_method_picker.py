"""The question what there is, and the methods that the answers leave."""

from __future__ import annotations

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, Qt

from napari_uda.gui.train.method_picker import MethodPicker, read_methods
from napari_uda.methods.registry import METHODS, source_free_methods


@pytest.fixture
def picker(qtbot: QtBot) -> MethodPicker:
    widget = MethodPicker()
    qtbot.addWidget(widget)
    widget.set_methods(read_methods())
    widget.show()
    return widget


def offered(picker: MethodPicker) -> list[str]:
    names = [
        picker.list.item(row).data(Qt.ItemDataRole.UserRole) for row in range(picker.list.count())
    ]
    return sorted(name for name in names if name)


def headers(picker: MethodPicker) -> list[str]:
    items = [picker.list.item(row) for row in range(picker.list.count())]
    return [item.text() for item in items if item.flags() == Qt.ItemFlag.NoItemFlags]


def needing(*needs: str) -> list[str]:
    return sorted(name for name, kind in METHODS.items() if kind.needs <= set(needs))


def test_before_the_methods_are_read_nothing_is_offered(qtbot: QtBot) -> None:
    widget = MethodPicker()
    qtbot.addWidget(widget)
    widget.show()
    assert widget.method is None
    assert not widget.none.isVisible()


def test_answers_leave_methods_whose_needs_are_met(picker: MethodPicker, qtbot: QtBot) -> None:
    assert offered(picker) == needing("source", "target")
    assert "target_supervised" not in offered(picker)
    qtbot.mouseClick(picker.target_labels, Qt.MouseButton.LeftButton)
    assert offered(picker) == sorted(METHODS)
    picker.source.click()
    assert offered(picker) == needing("target", "target_labels")
    assert offered(picker) == sorted([*source_free_methods(), "target_supervised"])
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
    picker.one_scan.click()
    assert offered(picker) == sorted(source_free_methods())
    assert picker.method is not None
    assert picker.method.name == "sfda"  # the first that learns
    assert picker.method.needs_init
    assert not picker.source.isEnabled()
    picker.one_scan.click()
    assert picker.source.isEnabled()
    assert offered(picker) == needing("source", "target")
    assert picker.method.name == "sfda"  # still fits


def test_families_head_their_methods_and_bounds_come_last(picker: MethodPicker) -> None:
    families = {kind.family for name, kind in METHODS.items() if name in offered(picker)}
    assert set(headers(picker)) == families
    assert len(headers(picker)) == len(families)
    assert headers(picker)[-1] == "bounds"


def test_each_method_tells_its_idea_and_paper(picker: MethodPicker) -> None:
    texts = [picker.list.item(row).text() for row in range(picker.list.count())]
    kind = METHODS["se_asa"]
    assert f"se_asa\n{kind.summary}. {kind.paper}." in texts
    assert any(text.startswith("sfda\n") and "trained run" in text for text in texts)


def test_choice_is_told_once_and_kept_while_it_fits(picker: MethodPicker, qtbot: QtBot) -> None:
    chosen: list[str] = []
    picker.method_chosen.connect(chosen.append)
    row = next(
        r for r in range(picker.list.count()) if picker.list.item(r).text().startswith("se_asa")
    )
    picker.list.scrollToItem(picker.list.item(row))
    place = picker.list.visualItemRect(picker.list.item(row)).center()
    qtbot.mouseClick(picker.list.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert picker.method is not None
    assert picker.method.name == "se_asa"
    picker.target_labels.click()
    assert chosen == ["se_asa"]
    picker.source.click()
    assert picker.method.name == "sfda"
    assert chosen == ["se_asa", "sfda"]


def test_header_cannot_be_chosen(picker: MethodPicker, qtbot: QtBot) -> None:
    before = picker.method
    place = picker.list.visualItemRect(picker.list.item(0)).center()
    qtbot.mouseClick(picker.list.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert picker.method == before


def test_choosing_by_name_ticks_what_it_needs(picker: MethodPicker) -> None:
    picker.one_scan.click()
    picker.choose("target_supervised")
    assert picker.method is not None
    assert picker.method.name == "target_supervised"
    assert picker.target_labels.isChecked()
    assert not picker.one_scan.isChecked()
    with pytest.raises(KeyError):
        picker.choose("no_such")


def test_clicked_method_is_the_marked_one_also_at_the_edge_of_the_list(
    picker: MethodPicker, qtbot: QtBot
) -> None:
    view = picker.list.viewport()
    picker.resize(300, 300)
    last = picker.list.itemAt(view.rect().bottomLeft() + QPoint(20, -4))
    assert last is not None
    assert picker.list.visualItemRect(last).bottom() > view.rect().bottom()
    qtbot.mouseClick(
        view, Qt.MouseButton.LeftButton, pos=QPoint(20, picker.list.visualItemRect(last).top() + 4)
    )
    assert picker.list.selectedItems() == [last]
    assert picker.method is not None
    assert picker.method.name == last.data(Qt.ItemDataRole.UserRole)
