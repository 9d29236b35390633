"""What the check shows of a domain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtGui import QTextDocument
from qtpy.QtWidgets import QLabel

from napari_uda.data.check import CaseReport, DomainReport, Problem, Structure, check_folder
from napari_uda.gui.train.data_check import DataCheck, Histogram


def plain(label: QLabel) -> str:
    document = QTextDocument()
    document.setHtml(label.text())
    return document.toPlainText().replace("\xa0", " ")


@pytest.fixture
def check(qtbot: QtBot) -> DataCheck:
    widget = DataCheck()
    qtbot.addWidget(widget)
    widget.resize(280, 400)
    return widget


def case(name: str, spacing: tuple[float, float, float], orientation: str) -> CaseReport:
    return CaseReport(name, (20, 64, 64), spacing, orientation, (0.0, 1.0))


def test_folder_is_described_in_words(check: DataCheck, data_folder: Path) -> None:
    check.show_reports({"Source": check_folder(data_folder, labelled=True)})
    view = check.domains["Source"]
    assert plain(view.facts).splitlines() == [
        "Source mr · 2 cases · 2 with labels · MR",
        "orientation LPS",
        "spacing 8 x 1.5 x 1.5 mm",
        "size 6 x 32 x 40 voxels (z, y, x)",
    ]
    table = plain(view.structures).split()
    assert table[:8] == ["✎", "■", "left", "ventricle", "myocardium", "(MYO):", "label", "1,"]
    assert "(LVC):" in table
    assert not view.problems.isVisibleTo(check)


def test_differing_cases_are_ranges(check: DataCheck) -> None:
    cases = (case("a", (5.0, 1.0, 1.0), "LPS"), case("b", (8.0, 1.0, 1.0), "RAS"))
    check.show_reports({"Target": DomainReport("mr", case_count=2, cases=cases)})
    text = plain(check.domains["Target"].facts)
    assert "orientation LPS (1), RAS (1)" in text
    assert "spacing 5–8 x 1 x 1 mm" in text


def test_problems_are_listed_and_not_without_end(check: DataCheck) -> None:
    problems = (Problem("a", "a: <broken> & torn", fatal=True), *(Problem("", "odd"),) * 20)
    check.show_reports({"Source": DomainReport("ct", problems=problems)})
    lines = plain(check.domains["Source"].problems).splitlines()
    assert lines[0] == "✖ a: <broken> & torn"
    assert lines[1] == "⚠ odd"
    assert lines[-1] == "and 9 more"
    assert len(lines) == 13


def test_unnamed_structure_and_thousands(check: DataCheck) -> None:
    structures = (Structure("", 7, 1_234_567, 1),)
    check.show_reports({"Source": DomainReport("ct", case_count=1, structures=structures)})
    words = plain(check.domains["Source"].structures).split()
    assert words == ["✎", "(no", "name):", "label", "7,", "1", "234", "567", "voxels,", "1", "case"]


def test_new_reports_replace_the_old(check: DataCheck) -> None:
    check.show_reports({"Source": DomainReport("ct"), "Target": DomainReport("mr")})
    check.show_reports({"Target": DomainReport("other")})
    assert list(check.domains) == ["Target"]
    assert check.layout().count() == 1
    check.clear()
    assert check.isHidden()
    assert check.layout().count() == 0


def test_bars_are_drawn_where_the_counts_are(qtbot: QtBot) -> None:
    widget = Histogram(np.array([0, 4, 16]), np.array([0.0, 1.0, 2.0, 3.0]))
    qtbot.addWidget(widget)
    widget.resize(90, 40)
    np.testing.assert_allclose(widget.heights(), [0, 20, 40])
    picture = widget.grab().toImage()
    empty = picture.pixelColor(15, 38)
    assert picture.pixelColor(45, 38) != empty
    assert picture.pixelColor(45, 10) == empty
    assert picture.pixelColor(75, 10) == picture.pixelColor(45, 38)
    assert widget.text_at(75) == "intensity 2 to 3: 80.0% of the voxels"
    assert widget.text_at(-5) == "intensity 0 to 1: 0.0% of the voxels"
    assert widget.text_at(500) == "intensity 2 to 3: 80.0% of the voxels"


def test_no_bars_without_voxels(qtbot: QtBot) -> None:
    widget = Histogram(np.zeros(0), np.zeros(0))
    qtbot.addWidget(widget)
    widget.grab()
    assert widget.heights().size == 0
