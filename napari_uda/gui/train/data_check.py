"""DataCheck: shows what the check found in each domain, and what is wrong with which file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from html import escape

import numpy as np
from qtpy.QtCore import QEvent, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QMouseEvent, QPainter, QPaintEvent, QPalette
from qtpy.QtWidgets import QLabel, QSizePolicy, QToolTip, QWidget

from napari_uda.core.structure_colours import both_names, structure_colour
from napari_uda.core.words import number_of
from napari_uda.data.check import DomainReport, Problem, sizes_text
from napari_uda.gui.kit.fields import number_text
from napari_uda.gui.kit.layout import Part, column, row
from napari_uda.gui.kit.panel import Panel
from napari_uda.gui.kit.renaming import ask_name
from napari_uda.gui.kit.widgets import label

_MOST_PROBLEMS = 12
_HEIGHT_PX = 48
_PENCIL = (
    "#909090"  # seen on dark and on light themes, which a report does not know yet when it is made
)


class DataCheck(Panel):
    """One block per domain: cases, geometry, intensities, labels, problems.

    Emits `renamed(title, value, name)` when the user gave a structure of a domain another name.
    """

    renamed = Signal(str, int, str)

    def __init__(self) -> None:
        super().__init__()
        self.domains: dict[str, DomainView] = {}
        self._blocks = column(of=self, margin=0)
        self.setVisible(False)

    def show_reports(self, reports: Mapping[str, DomainReport]) -> None:
        """Show these, by title of the domain, in the place of those before."""
        self.clear()
        for title, report in reports.items():
            self.domains[title] = view = DomainView(title, report)
            view.renamed.connect(partial(self.renamed.emit, title))
            self._blocks.addWidget(self.domains[title])
        self.setVisible(bool(reports))

    def clear(self) -> None:
        """Show nothing."""
        for view in self.domains.values():
            self._blocks.removeWidget(view)
            view.hide()
            view.deleteLater()
        self.domains = {}
        self.setVisible(False)


class DomainView(Panel):
    """The report of one domain, its texts selectable.

    Emits `renamed(value, name)` when the user gave a structure another name, behind the pencil of its row.

    Attributes:
        facts: cases, geometry and modality.
        histogram: grey values of all cases.
        structures: names, values, voxels and cases of the labels.
        problems: what is wrong.
    """

    renamed = Signal(int, str)

    def __init__(self, title: str, report: DomainReport) -> None:
        super().__init__()
        self.setObjectName(f"check_{title.lower()}")
        self.facts = _text("facts", f"<b>{escape(title)}</b> {_facts(report)}")
        self.histogram = Histogram(report.histogram, report.edges)
        self._names = {one.value: one.name for one in report.structures}
        self.structures = _text("structures", _structures(report))
        flags, links = self.structures.textInteractionFlags(), Qt.TextInteractionFlag
        flags |= links.LinksAccessibleByMouse | links.LinksAccessibleByKeyboard
        self.structures.setTextInteractionFlags(flags)
        self.structures.setToolTip("✎ renames a structure, on the screen and in its file")
        self.structures.linkActivated.connect(self._on_rename)
        self.structures.setVisible(bool(report.structures))
        self.problems = _text("problems", _problems(report.problems))
        self.problems.setVisible(bool(report.problems))
        grey_values: list[Part] = []
        if report.histogram.size:
            low, high = (number_text(float(f"{edge:.4g}")) for edge in report.edges[[0, -1]])
            ends = row(
                label(low, wrap=False),
                ...,
                label("intensity", wrap=False),
                ...,
                label(high, wrap=False),
            )
            grey_values = [self.histogram, ends]
        column(self.facts, *grey_values, self.structures, self.problems, of=self, spacing=2)
        self.layout().setContentsMargins(0, 0, 0, 4)

    def _on_rename(self, link: str) -> None:
        value = int(link)
        name = ask_name(self, self._names[value], value)
        if name:
            self.renamed.emit(value, name)


class Histogram(QWidget):
    """Bars of a histogram, their heights the square roots of the counts: air would dwarf the rest."""

    def __init__(self, counts: np.ndarray, edges: np.ndarray) -> None:
        """Draw.

        Args:
            counts: voxels per bin, `(N,)`.
            edges: grey values between the bins, `(N + 1,)`.
        """
        super().__init__()
        self._counts, self._edges = counts, edges
        self.setObjectName("histogram")
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        """Low and as wide as there is room."""
        return QSize(120, _HEIGHT_PX)

    def heights(self) -> np.ndarray:
        """Height of each bar in pixels, `(N,)`."""
        roots = np.sqrt(self._counts)
        return np.asarray(roots / max(roots.max(initial=0), 1) * self.height())

    def text_at(self, x: float) -> str:
        """The bin under a position in pixels: its grey values and its share of the voxels."""
        index = int(np.clip(x * self._counts.size / max(self.width(), 1), 0, self._counts.size - 1))
        share = self._counts[index] / max(int(self._counts.sum()), 1)
        low, high = self._edges[index], self._edges[index + 1]
        return f"intensity {low:.4g} to {high:.4g}: {share:.1%} of the voxels"

    def paintEvent(self, event: QPaintEvent) -> None:
        """Bars in the colour of selections, which both themes show well."""
        painter = QPainter(self)
        colour = self.palette().color(QPalette.ColorRole.Highlight)
        width = self.width() / max(self._counts.size, 1)
        for index, height in enumerate(self.heights()):
            bar = QRectF(index * width, self.height() - height, max(width - 0.5, 1.0), height)
            painter.fillRect(bar, colour)
        painter.end()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Say what the bar under the cursor stands for."""
        if self._counts.size:
            place = event.pos()
            QToolTip.showText(self.mapToGlobal(place), self.text_at(place.x()), self)

    def leaveEvent(self, event: QEvent) -> None:
        """Say nothing any more."""
        QToolTip.hideText()


def _text(name: str, html: str) -> QLabel:
    made = label(html, name)
    made.setTextFormat(Qt.TextFormat.RichText)
    made.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return made


def _facts(report: DomainReport) -> str:
    """Cases, modality and geometry, one line each."""
    if not report.case_count:
        return escape(report.name)
    cases = number_of(report.case_count, "case")
    parts = [report.name, cases, f"{report.label_count} with labels", report.modality]
    lines = [" · ".join(part for part in parts if part)]
    if report.cases:
        found = report.orientations()
        ways = [way if len(found) == 1 else f"{way} ({n})" for way, n in found.items()]
        lines.append(f"orientation {', '.join(ways)}")
        lines.append(f"spacing {_range([case.spacing_mm for case in report.cases])} mm")
        lines.append(f"size {_range([case.shape for case in report.cases])} voxels (z, y, x)")
    return "<br>".join(escape(line) for line in lines)


def _range(sizes: Sequence[Sequence[float]]) -> str:
    """Three sizes, or the smallest and largest of each where they differ: `5–8 x 2 x 2`."""
    table = np.asarray(sizes, float)
    parts = []
    for low, high in zip(table.min(axis=0), table.max(axis=0), strict=True):
        ends = dict.fromkeys((sizes_text([low]), sizes_text([high])))
        parts.append("–".join(ends))
    return " x ".join(parts)


def _structures(report: DomainReport) -> str:
    pencil = f"style='text-decoration: none; color: {_PENCIL}'"
    lines = []
    for one in report.structures:
        numbers = (
            f"label {one.value}",
            f"{one.voxels:,} voxels".replace(",", " "),
            number_of(one.cases, "case"),
        )
        told = ", ".join(number.replace(" ", "&nbsp;") for number in numbers)
        named = _named(one.name, one.value)
        lines.append(f"<a href='{one.value}' {pencil}>✎</a> {named}: {told}")
    return "<br>".join(lines)


def _named(name: str, value: int) -> str:
    """A structure by its colour and its full name, and the name in the files where that is another."""
    if not name:
        return "(no name)"
    colour = structure_colour(name, value)
    return f"<span style='color: {colour}'>■</span> {escape(both_names(name))}"


def _problems(problems: Sequence[Problem]) -> str:
    lines = [
        f"{'✖' if one.fatal else '⚠'} {escape(one.sentence)}" for one in problems[:_MOST_PROBLEMS]
    ]
    if len(problems) > _MOST_PROBLEMS:
        lines.append(f"and {len(problems) - _MOST_PROBLEMS} more")
    return "<br>".join(lines)
