"""The report as a PDF of A4 pages, with the content of the page and text that can be selected; no browser, no Qt."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from functools import cache
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_uda.core.files import atomic_file
from napari_uda.evaluation.figures import (
    BarPlot,
    CurvePlot,
    Series,
    draw_bars,
    draw_curve_plot,
    drawing_style,
    on_paper,
)
from napari_uda.evaluation.report_content import (
    Block,
    Curves,
    Diagram,
    Fold,
    Heading,
    Legend,
    Paragraph,
    Pictures,
    Table,
    Terms,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_pdf import PdfPages

_WIDTH, _HEIGHT, _MARGIN = 595.0, 842.0, 45.0  # A4 in points
_ROOM = _WIDTH - 2 * _MARGIN
_LEADING = 1.4
_HEADINGS = {1: 15.0, 2: 11.5, 3: 9.5}
_TEXT, _SMALL, _CELL = 9.0, 7.5, 7.5
_INK, _GREY, _LINE = "#1A1A1A", "#5A5A5A", "#BBBBBB"
_VERDICTS = {
    "fits": "#2E9E5B",
    "doubtful": "#E69F00",
    "does not fit": "#D62839",
    "not judged": "#888888",
}
_CHART_HEIGHT = 130.0
_CURVES_HEIGHT = _CHART_HEIGHT + 34 + 2 * _SMALL  # with numbers below, and names
_BARS_SIDE, _BARS_IN_A_ROW, _TITLE_LINES = 125.0, 3, 2
_BARS_HEIGHT = _SMALL * _LEADING * _TITLE_LINES + _BARS_SIDE + 38
_PICTURE_WIDTH, _LARGE_WIDTH = 155.0, 240.0
_GAP = 10.0
_KEY = 6.0


def write_pdf(path: Path, title: str, blocks: Sequence[Block]) -> Path:
    """Write the blocks of a report; the file appears whole or not at all.

    Raises:
        InputError: if the folder cannot be written.
    """
    from matplotlib.backends.backend_pdf import PdfPages

    out = BytesIO()
    about = {"Title": title, "Creator": "napari_uda", "CreationDate": datetime.datetime.now()}
    with drawing_style(), PdfPages(out, metadata=about) as pages:
        paper = _Paper(pages, title)
        paper.add(blocks)
        paper.end()
    with atomic_file(path) as stream:
        stream.write(out.getvalue())
    return path


class _Paper:
    """Fills pages from top to bottom; lengths are points, `y` is measured from the top."""

    def __init__(self, pages: PdfPages, title: str) -> None:
        self._pages = pages
        self._title = title
        self._number = 0
        self._figure: Any = None
        self._y = 0.0
        self._begin()

    def add(self, blocks: Sequence[Block]) -> None:
        """Blocks one below the other, a heading never without what it stands over, diagrams side by side."""
        for kind, found in groupby(enumerate(blocks), lambda one: type(one[1])):
            places, some = zip(*found, strict=True)
            if kind is Diagram:
                self._diagrams(some)
                continue
            for place, block in zip(places, some, strict=True):
                if isinstance(block, Heading):
                    self._need(_least(blocks[place:]))
                self._add(block)

    def _add(self, block: Block) -> None:
        if isinstance(block, Heading):
            self._heading(block)
        elif isinstance(block, Paragraph):
            self._paragraph(block)
        elif isinstance(block, Table):
            self._table(block)
        elif isinstance(block, Curves):
            self._curves(block)
        elif isinstance(block, Pictures):
            self._pictures(block)
        elif isinstance(block, Legend):
            self._legend(list(block.entries.items()))
        elif isinstance(block, Terms):
            self._terms(block)
        elif isinstance(block, Fold):
            self.add([Heading(block.title, 2), *block.blocks])

    def end(self) -> None:
        """Write the last page."""
        foot = f"{self._title} · page {self._number}"
        self._write(_MARGIN, _HEIGHT - _MARGIN / 2, foot, _SMALL, colour=_GREY)
        self._pages.savefig(self._figure)

    def _begin(self) -> None:
        from matplotlib.figure import Figure

        self._figure = Figure(figsize=(_WIDTH / 72, _HEIGHT / 72))
        self._number += 1
        self._y = _MARGIN

    def _need(self, height: float) -> None:
        """Turn the page unless there is room for something so high."""
        if self._y + height > _HEIGHT - _MARGIN and self._y > _MARGIN:
            self.end()
            self._begin()

    def _write(
        self, x: float, y: float, text: str, size: float, *, bold: bool = False,
        colour: str = _INK, right: bool = False,
    ) -> None:  # fmt: skip
        """One line; `y` is its middle."""
        self._figure.text(
            x / _WIDTH,
            1 - y / _HEIGHT,
            text,
            fontsize=size,
            fontweight="bold" if bold else "normal",
            color=colour,
            ha="right" if right else "left",
            va="center_baseline",
        )

    def _lines(
        self, text: str, size: float, *, left: float = 0.0, bold: bool = False, colour: str = _INK
    ) -> None:
        """Lines of text across the page from `left` on."""
        for line in _wrapped(text, _ROOM - left, size, bold=bold):
            self._need(size * _LEADING)
            middle = self._y + size * _LEADING / 2
            self._write(_MARGIN + left, middle, line, size, bold=bold, colour=colour)
            self._y += size * _LEADING

    def _rule(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        from matplotlib.patches import Rectangle

        place = (x / _WIDTH, 1 - (y + height) / _HEIGHT)
        self._figure.add_artist(
            Rectangle(place, width / _WIDTH, height / _HEIGHT, color=colour, linewidth=0)
        )

    def _axes(self, x: float, y: float, width: float, height: float) -> Axes:
        box = (x / _WIDTH, 1 - (y + height) / _HEIGHT, width / _WIDTH, height / _HEIGHT)
        axes: Axes = self._figure.add_axes(box)
        return axes

    def _heading(self, block: Heading) -> None:
        size = _HEADINGS[block.level]
        if self._y > _MARGIN:
            self._y += size * (1.0 if block.level < 3 else 0.5)
        self._lines(block.text, size, bold=True)
        self._y += size * 0.3

    def _paragraph(self, block: Paragraph) -> None:
        if block.kind in _VERDICTS:
            height = _SMALL * _LEADING * len(_wrapped(block.text, _ROOM - 10, _TEXT))
            self._need(min(height, _HEIGHT / 2))
            top, page = self._y, self._number
            self._lines(block.text, _TEXT, left=10)
            if page == self._number:
                self._rule(_MARGIN, top, 3, self._y - top, _VERDICTS[block.kind])
        elif block.kind == "small":
            self._lines(block.text, _SMALL, colour=_GREY)
        else:
            self._lines(block.text, _TEXT + (1.5 if block.kind == "opening" else 0))
        self._y += 5

    def _table(self, block: Table) -> None:
        rows = [block.head, *block.rows]
        widths = [
            max(_text_width(row[column], _CELL, bold=True) for row in rows) + 8
            for column in range(len(block.head))
        ]
        size = _CELL * min(1.0, _ROOM / sum(widths))
        widths = [width * size / _CELL for width in widths]
        step = size * 1.6
        self._need(step * min(3, len(rows)))
        self._row(block.head, widths, size, block.words, bold=True)
        for index, row in enumerate(block.rows):
            if self._y + step > _HEIGHT - _MARGIN:
                self._need(step)
                self._row(block.head, widths, size, block.words, bold=True)
            self._row(row, widths, size, block.words, bold=index in block.strong)
        self._y += 6

    def _row(
        self, cells: Sequence[str], widths: Sequence[float], size: float, words: int, *, bold: bool
    ) -> None:
        step, x = size * 1.6, _MARGIN
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            right = place >= words
            at = x + width - 4 if right else x
            self._write(at, self._y + step / 2, cell, size, bold=bold, right=right)
            x += width
        self._y += step
        self._rule(_MARGIN, self._y, sum(widths), 0.4, _LINE)

    def _curves(self, block: Curves) -> None:
        self._need(_CURVES_HEIGHT)
        axes = self._axes(_MARGIN + 30, self._y + 4, _ROOM - 120, _CHART_HEIGHT)
        series = [Series(one.name, one.colour, one.x, one.y, points=True) for one in block.curves]
        draw_curve_plot(axes, CurvePlot(series, block.x_label, block.y_label, block.top))
        _shrink(axes)
        self._y += _CHART_HEIGHT + 34
        self._legend([(one.name, on_paper(one.colour)) for one in block.curves])

    def _diagrams(self, blocks: Sequence[Diagram]) -> None:
        for first in range(0, len(blocks), _BARS_IN_A_ROW):
            self._need(_BARS_HEIGHT)
            for place, block in enumerate(blocks[first : first + _BARS_IN_A_ROW]):
                left = _MARGIN + place * _ROOM / _BARS_IN_A_ROW
                title = _wrapped(block.title, _ROOM / _BARS_IN_A_ROW - _GAP, _SMALL)
                for index, line in enumerate(title[:_TITLE_LINES]):
                    middle = self._y + _SMALL * _LEADING * (index + 0.5)
                    self._write(left, middle, line, _SMALL, colour=_GREY)
                top = self._y + _SMALL * _LEADING * _TITLE_LINES + 4
                axes = self._axes(left + 30, top, _BARS_SIDE, _BARS_SIDE)
                bins = block.bins
                colours = ["#56B4E9"]
                plot = BarPlot(
                    bins.edges, bins.accuracy, colours, "confidence", "accuracy", 1.0, True
                )
                draw_bars(axes, plot)
                _shrink(axes)
            self._y += _BARS_HEIGHT

    def _pictures(self, block: Pictures) -> None:
        width = _LARGE_WIDTH if block.large else _PICTURE_WIDTH
        in_a_row = max(1, int((_ROOM + _GAP) // (width + _GAP)))
        for first in range(0, len(block.pictures), in_a_row):
            shown = block.pictures[first : first + in_a_row]
            tall = max(width * one.rgb.shape[0] / one.rgb.shape[1] for one in shown)
            tall = min(tall, _HEIGHT / 2)
            captions = [
                _wrapped(
                    f"{block.prefix}: {one.caption}" if block.prefix else one.caption, width, _SMALL
                )
                for one in shown
            ]
            below = _SMALL * _LEADING * max(len(lines) for lines in captions)
            self._need(tall + below + _GAP)
            for place, (one, lines) in enumerate(zip(shown, captions, strict=True)):
                x = _MARGIN + place * (width + _GAP)
                axes = self._axes(x, self._y, width, tall)
                axes.imshow(one.rgb, interpolation="nearest")
                axes.set_axis_off()
                axes.set_anchor("NW")
                for index, line in enumerate(lines):
                    middle = self._y + tall + 3 + _SMALL * _LEADING * (index + 0.5)
                    self._write(x, middle, line, _SMALL, colour=_GREY)
            self._y += tall + below + _GAP

    def _legend(self, entries: Sequence[tuple[str, str]]) -> None:
        x = _MARGIN
        self._need(_SMALL * 2)
        for name, colour in entries:
            width = _KEY + 4 + _text_width(name, _SMALL) + 12
            if x + width > _MARGIN + _ROOM and x > _MARGIN:
                x = _MARGIN
                self._y += _SMALL * 1.6
                self._need(_SMALL * 2)
            self._rule(x, self._y + _SMALL * 0.8 - _KEY / 2, _KEY, _KEY, colour)
            self._write(x + _KEY + 4, self._y + _SMALL * 0.8, name, _SMALL)
            x += width
        self._y += _SMALL * 2

    def _terms(self, block: Terms) -> None:
        for name, text in block.entries.items():
            self._need(_SMALL * _LEADING * 2)
            self._lines(name, _SMALL, bold=True)
            self._lines(text, _SMALL, left=10)


def _least(blocks: Sequence[Block]) -> float:
    """Points that the first block needs on its page; for a heading with what it stands over."""
    if not blocks:
        return 0.0
    block = blocks[0]
    if isinstance(block, Heading):
        return _HEADINGS[block.level] * 2.7 + _least(blocks[1:])
    if isinstance(block, Curves):
        return _CURVES_HEIGHT
    if isinstance(block, Diagram):
        return _BARS_HEIGHT
    if isinstance(block, Pictures):
        width = _LARGE_WIDTH if block.large else _PICTURE_WIDTH
        tallest = max((one.rgb.shape[0] / one.rgb.shape[1] for one in block.pictures), default=0.0)
        return min(width * tallest, _HEIGHT / 2) + 5 * _SMALL * _LEADING
    return 5 * _TEXT * _LEADING


def _shrink(axes: Axes) -> None:
    axes.tick_params(labelsize=_SMALL - 0.5, width=0.5)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_fontsize(_SMALL)


def _wrapped(text: str, width: float, size: float, *, bold: bool = False) -> list[str]:
    """Lines no wider than `width` points, broken at spaces, and inside of words that are wider alone."""
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if _text_width(longer, size, bold=bold) <= width:
            line = longer
            continue
        if line:
            lines.append(line)
        while _text_width(word, size, bold=bold) > width and len(word) > 1:
            fits = [
                count
                for count in range(1, len(word))
                if _text_width(word[:count], size, bold=bold) <= width
            ]
            cut = max(fits, default=1)
            lines.append(word[:cut])
            word = word[cut:]
        line = word
    return [*lines, line]


def _text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Points that a line of text takes."""
    return sum(_letter_width(letter, bold) for letter in text) * size


@cache
def _letter_width(letter: str, bold: bool) -> float:
    """Of the font's size; kerning is left out, which makes lines a little shorter than they could be."""
    from matplotlib.font_manager import FontProperties, get_font
    from matplotlib.font_manager import fontManager as fonts
    from matplotlib.ft2font import LoadFlags

    weight = "bold" if bold else "normal"
    font = get_font(fonts.findfont(FontProperties(family="DejaVu Sans", weight=weight)))
    font.set_size(100, 72)
    if not font.get_char_index(ord(letter)):
        return 1.0  # of another font, such as a sign of Chinese, which is as wide as high
    glyph = font.load_char(ord(letter), flags=LoadFlags.NO_HINTING)
    return float(np.float64(glyph.linearHoriAdvance) / 65536 / 100)
