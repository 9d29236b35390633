"""Pictures for papers: curves, bars, tables and panels as SVG, PNG or PDF of a chosen size, drawn without a display.

matplotlib (extra `tables`) is imported where something is drawn, and not before.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_uda.core.colours import readable
from napari_uda.core.csv_text import csv_text
from napari_uda.core.errors import InputError
from napari_uda.core.files import atomic_file, shown
from napari_uda.core.latex import escape_latex

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOTS_PER_INCH = 300
MM_PER_INCH = 25.4
SIZES_MM = (20.0, 1000.0)
"""Least and largest side of a picture."""
_POINTS = 8
_INK, _FAINT = "#1A1A1A", "#D0D0D0"
_LEAST_CONTRAST = 1.6
_MOST_LEGEND_COLUMNS = 5
_BAR_SHARE = 0.15
"""Of the width of a picture, at most: a colour bar beside the panels, with its numbers and name."""
_BAR_PLACE = (
    1.03,
    0.0,
    0.05,
    1.0,
)  # beside its panel: left, bottom, width, height in sides of that
_FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Microsoft YaHei", "PingFang SC")


@dataclass(frozen=True, eq=False)
class Series:
    """One curve; NaN leaves a gap."""

    name: str
    colour: str
    x: NDArray[Any]
    y: NDArray[Any]
    dashed: bool = False
    points: bool = False


@dataclass(frozen=True, eq=False)
class CurvePlot:
    """Curves over one axis, with a legend below.

    Attributes:
        series: the curves.
        x_label: what they run over, with its unit.
        y_label: of the values, with its unit.
        top: upper end of the axis of values, whose lower one is 0 then; None fits them.
        log: whether that axis is logarithmic; what is not positive is left out.
    """

    series: Sequence[Series]
    x_label: str
    y_label: str
    top: float | None = None
    log: bool = False


@dataclass(frozen=True, eq=False)
class BarPlot:
    """Bars between edges.

    Attributes:
        edges: `(N + 1,)`.
        heights: `(N,)`, NaN where there is no bar.
        colours: one, or one per bar.
        x_label: of the edges.
        y_label: of the heights.
        top: upper end of the axis of heights; None fits them.
        diagonal: whether the line of equal values is drawn, as in a reliability diagram.
        note: numbers that belong below it.
    """

    edges: NDArray[Any]
    heights: NDArray[Any]
    colours: Sequence[str]
    x_label: str
    y_label: str
    top: float | None = None
    diagonal: bool = False
    note: str = ""


@dataclass(frozen=True)
class TableText:
    """A table of texts; rows whose index is in `strong` are bold."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    strong: frozenset[int] = frozenset()


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture of a grid.

    Attributes:
        title: above it.
        rgb: `(H, W, 3)` uint8.
        aspect: height over width of a pixel.
    """

    title: str
    rgb: NDArray[np.uint8]
    aspect: float = 1.0


@dataclass(frozen=True, eq=False)
class ColourBar:
    """A scale of colours `(N, 3 or 4)` in [0, 1] from `low` to `high`."""

    label: str
    colours: NDArray[Any]
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class PanelGrid:
    """Panels in the rows that make them largest, and their legend below.

    Attributes:
        panels: row by row.
        legend: names and colours.
        bars: scales of colours, each beside the panel that is called like it, or beside all.
    """

    panels: Sequence[Panel]
    legend: Mapping[str, str] = field(default_factory=dict)
    bars: Sequence[ColourBar] = ()


Drawing: TypeAlias = CurvePlot | BarPlot | TableText | PanelGrid | Sequence[CurvePlot]
"""What can be drawn; several plots of curves share the axis that they run over, one below the other."""


def check_matplotlib(otherwise: str) -> None:
    """Refuse before any work.

    Args:
        otherwise: the sentence that says what to do without it.

    Raises:
        InputError: without matplotlib.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise InputError(otherwise) from error


def write_figure(
    path: str | Path, drawing: Drawing, *, width_mm: float = 120.0, height_mm: float = 80.0
) -> Path:
    """Write a picture by the ending of its name; it appears whole or not at all.

    Args:
        path: `.svg` (text stays text), `.png` (300 dots per inch) or `.pdf`; for a table also `.csv` or `.tex`.
        drawing: what to draw.
        width_mm: width in millimetres.
        height_mm: height in millimetres; a table takes less where it needs less.

    Raises:
        InputError: for another ending, a size that cannot be printed, without matplotlib, or if the folder
            cannot be written.
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    table = isinstance(drawing, TableText)
    kinds = ("svg", "png", "pdf", "csv", "tex") if table else ("svg", "png", "pdf")
    if kind not in kinds:
        listed = ", ".join(f".{one}" for one in kinds[:-1])
        raise InputError(
            f"{shown(path)}: is no kind of picture; give a name that ends with {listed} or .{kinds[-1]}"
        )
    low, high = SIZES_MM
    if not all(low <= side <= high for side in (width_mm, height_mm)):
        raise InputError(
            f"a picture of {width_mm:g} x {height_mm:g} mm cannot be drawn; give sides of {low:g} to {high:g} mm"
        )
    if isinstance(drawing, TableText) and kind in ("csv", "tex"):
        content = (_csv(drawing) if kind == "csv" else _latex(drawing)).encode()
    else:
        check_matplotlib("pictures need matplotlib; install napari_uda[tables]")
        content = _drawn(drawing, kind, width_mm, height_mm)
    with atomic_file(path) as stream:
        stream.write(content)
    return path


def _drawn(drawing: Drawing, kind: str, width_mm: float, height_mm: float) -> bytes:
    from matplotlib.figure import Figure

    with drawing_style():
        figure = Figure(
            figsize=(width_mm / MM_PER_INCH, height_mm / MM_PER_INCH),
            dpi=DOTS_PER_INCH,
            layout="constrained",
        )
        _draw(figure, drawing)
        out = BytesIO()
        metadata = {"png": {"Software": "napari_uda"}, "pdf": {"Creator": "napari_uda"}}
        about: dict[str, Any] = metadata.get(kind, {"Creator": "napari_uda"})
        figure.savefig(out, format=kind, dpi=DOTS_PER_INCH, metadata=about)
    return out.getvalue()


@contextmanager
def drawing_style() -> Iterator[None]:
    """Settings of matplotlib for pictures of ours: text stays text, letters of most scripts, thin lines."""
    import matplotlib as mpl
    from matplotlib import font_manager

    known = set(font_manager.get_font_names())
    style: dict[str, Any] = {
        "svg.fonttype": "none",
        "pdf.fonttype": 42,
        "font.family": [name for name in _FONTS if name in known] or ["sans-serif"],
        "font.size": _POINTS,
        "text.parse_math": False,
        "text.usetex": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": _INK,
        "axes.linewidth": 0.6,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "grid.color": _FAINT,
        "grid.linewidth": 0.4,
        "figure.facecolor": "white",
        "savefig.facecolor": "white",
        "text.color": _INK,
    }
    with mpl.rc_context(style), warnings.catch_warnings():
        # a letter that no font here has is a box in PNG, and stays itself in SVG
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def _draw(figure: Figure, drawing: Drawing) -> None:
    if isinstance(drawing, TableText):
        _draw_table(figure, drawing)
    elif isinstance(drawing, PanelGrid):
        _draw_panels(figure, drawing)
    elif isinstance(drawing, BarPlot):
        draw_bars(figure.subplots(), drawing)
    else:
        plots = [drawing] if isinstance(drawing, CurvePlot) else list(drawing)
        axes = np.atleast_1d(np.asarray(figure.subplots(len(plots), sharex=True), object))
        for index, (one, plot) in enumerate(zip(axes, plots, strict=True)):
            last = index == len(plots) - 1
            draw_curve_plot(one, plot if last else replace(plot, x_label=""))
        _name_curves(figure, [one for plot in plots for one in plot.series])


def draw_curve_plot(axes: Axes, plot: CurvePlot) -> None:
    """Draw curves into axes of matplotlib, without a legend."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    for one in plot.series:
        values = np.asarray(one.y, float)
        if plot.log:
            values = np.where(values > 0, values, np.nan)
        single = one.points or np.count_nonzero(np.isfinite(values)) == 1
        axes.plot(
            one.x,
            values,
            color=on_paper(one.colour),
            label=one.name,
            linewidth=1.0,
            linestyle="--" if one.dashed else "-",
            marker="o" if single else "",
            markersize=2,
        )
    if plot.log:
        axes.set_yscale("log", nonpositive="mask")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    if plot.top is not None:
        axes.set_ylim(0, plot.top * 1.04)
    if all(np.issubdtype(np.asarray(one.x).dtype, np.integer) for one in plot.series):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel=plot.x_label, ylabel=plot.y_label)


def _name_curves(figure: Figure, series: Sequence[Series]) -> None:
    if not series:
        return
    from matplotlib.lines import Line2D

    named = {
        (one.name, one.colour, one.dashed): Line2D(
            [], [], color=on_paper(one.colour), linestyle="--" if one.dashed else "-"
        )
        for one in series
    }
    figure.legend(
        list(named.values()),
        [name for name, *_ in named],
        loc="outside lower center",
        ncols=_legend_columns(figure, [name for name, *_ in named]),
        frameon=False,
    )


def _legend_columns(figure: Figure, names: Sequence[str]) -> int:
    """How many columns of these names fit into the width of a figure."""
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties

    points = float(FontProperties(size=rcParams["legend.fontsize"]).get_size_in_points())
    texts = [_text_width(name, points) for name in names]
    beside = sum(rcParams[f"legend.{one}"] for one in ("handlelength", "handletextpad"))
    gap = rcParams["legend.columnspacing"] * points
    widest = max(texts, default=0.0) + beside * points + gap
    room = 72 * figure.get_figwidth() - 2 * points + gap
    return max(1, min(len(names), _MOST_LEGEND_COLUMNS, int(room // widest)))


def _text_width(text: str, points: float) -> float:
    """Width of a text in points, in the font of the pictures."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    return float(TextPath((0, 0), text, prop=FontProperties(size=points)).get_extents().width)


def _in_lines(title: str, room: float) -> str:
    """A title broken between its words so that each line fits into `room` points, as far as words do."""
    lines = [""]
    for word in title.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _text_width(longer, _POINTS) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def draw_bars(axes: Axes, plot: BarPlot) -> None:
    """Draw bars into axes of matplotlib."""
    heights = np.nan_to_num(np.asarray(plot.heights, float))
    colours = [on_paper(colour) for colour in plot.colours]
    axes.bar(
        plot.edges[:-1],
        heights,
        width=np.diff(plot.edges),
        align="edge",
        color=colours if len(colours) > 1 else colours[0],
        edgecolor="white",
        linewidth=0.3,
    )
    axes.set_xlim(float(plot.edges[0]), float(plot.edges[-1]))
    if plot.top is not None:
        axes.set_ylim(0, plot.top)
    if plot.diagonal:
        ends = [float(plot.edges[0]), float(plot.edges[-1])]
        axes.plot(ends, ends, color=_INK, linestyle="--", linewidth=0.8)
    axes.set(xlabel=plot.x_label, ylabel=plot.y_label)
    if plot.note:
        axes.set_title(plot.note, fontsize=_POINTS - 1)


def _draw_table(figure: Figure, table: TableText) -> None:
    """Lines above and below the head and at the end, as papers have them; shrunk until it fits."""
    widths = [
        max(len(_longest(row[column])) for row in (table.head, *table.rows))
        for column in range(len(table.head))
    ]
    lines = 1 + len(table.rows) + max(text.count("\n") for text in table.head)
    width, height = figure.get_size_inches() * 72  # points
    margin = 6.0
    room = sum(widths) + 2.2 * len(widths)
    points = min(
        _POINTS, (width - 2 * margin) / (0.6 * room), (height - 2 * margin) / (1.7 * lines)
    )
    step, letter = 1.7 * points, 0.6 * points
    height = min(height, lines * step + 2 * margin)  # no empty paper below it
    figure.set_size_inches(width / 72, height / 72)
    left = margin
    ends = []
    for count in widths:
        ends.append((left, left + count * letter))
        left += (count + 2.2) * letter
    right = ends[-1][1]
    top = height - margin

    def line(y: float, thick: float) -> None:
        from matplotlib.lines import Line2D

        figure.add_artist(
            Line2D([margin / width, right / width], [y / height] * 2, color=_INK, linewidth=thick)
        )

    def write(texts: Sequence[str], y: float, *, bold: bool) -> None:
        for place, text in enumerate(texts):
            x = ends[place][0] if place == 0 else ends[place][1]
            figure.text(
                x / width,
                y / height,
                text,
                ha="left" if place == 0 else "right",
                va="center",
                fontsize=points,
                fontweight="bold" if bold else "normal",
            )

    head = step * (1 + max(text.count("\n") for text in table.head))
    line(top, 0.9)
    write(table.head, top - head / 2, bold=False)
    line(top - head, 0.5)
    for index, row in enumerate(table.rows):
        write(row, top - head - step * (index + 0.5), bold=index in table.strong)
    line(top - head - step * len(table.rows), 0.9)


def _longest(text: str) -> str:
    return max(text.split("\n"), key=len)


def _draw_panels(figure: Figure, grid: PanelGrid) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize
    from matplotlib.patches import Patch

    columns, room = _arrangement(figure, grid)
    rows = math.ceil(len(grid.panels) / columns)
    axes = np.atleast_1d(np.asarray(figure.subplots(rows, columns), object)).ravel()
    for one in axes:
        one.set_axis_off()
    for one, panel in zip(axes, grid.panels, strict=False):
        one.imshow(panel.rgb, aspect=panel.aspect, interpolation="nearest")
        one.set_title(_in_lines(panel.title, room - _POINTS), fontsize=_POINTS)
    places = {panel.title: one for one, panel in zip(axes, grid.panels, strict=False)}
    for bar in grid.bars:
        scale = ScalarMappable(Normalize(bar.low, bar.high), ListedColormap(bar.colours))
        if bar.label in places:
            drawn = figure.colorbar(scale, cax=places[bar.label].inset_axes(_BAR_PLACE))
        else:
            drawn = figure.colorbar(scale, ax=list(axes), shrink=0.8, aspect=30)
            drawn.set_label(bar.label)
        drawn.outline.set_visible(False)
    if grid.legend:
        handles = [Patch(color=colour, label=name) for name, colour in grid.legend.items()]
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=_legend_columns(figure, list(grid.legend)),
            frameon=False,
        )


def _arrangement(figure: Figure, grid: PanelGrid) -> tuple[int, float]:
    """How many panels in a row make them largest, and the room of one from left to right, in points."""
    count, names = len(grid.panels), list(grid.legend)
    shapes = [(panel.rgb.shape[0] * panel.aspect, panel.rgb.shape[1]) for panel in grid.panels]
    tallest = max(height / width for height, width in shapes)
    lines = math.ceil(len(names) / _legend_columns(figure, names)) if names else 0
    high = 72 * figure.get_figheight() - 2 * _POINTS * lines
    wide = 72 * figure.get_figwidth() * (1 - _BAR_SHARE * len(grid.bars))

    def side(columns: int) -> float:
        below = high / math.ceil(count / columns) - 2 * _POINTS
        return float(min(wide / columns, below / tallest))

    columns = max(range(1, count + 1), key=side)
    return columns, wide / columns


def on_paper(colour: str) -> str:
    """A colour `#RRGGBB`, darkened until it is seen on white."""
    return readable(colour, "#FFFFFF", _LEAST_CONTRAST, mixtures=20)


def _csv(table: TableText) -> str:
    return csv_text([_flat(text) for text in table.head], table.rows)


def _flat(text: str) -> str:
    return " ".join(text.split("\n"))


def _latex(table: TableText) -> str:
    """A tabular with the rules of booktabs."""

    def row(texts: Sequence[str], *, bold: bool = False) -> str:
        cells = [escape_latex(_flat(text)) for text in texts]
        if bold:
            cells = [rf"\textbf{{{cell}}}" if cell else "" for cell in cells]
        return " & ".join(cells) + r" \\"

    body = [row(one, bold=index in table.strong) for index, one in enumerate(table.rows)]
    lines = [
        r"% needs \usepackage{booktabs}",
        rf"\begin{{tabular}}{{l{'r' * (len(table.head) - 1)}}}",
        r"\toprule",
        row(table.head),
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"
