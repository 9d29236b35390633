"""Pictures for papers: text stays text, sizes are those asked for, and tables are read back by others."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from napari_uda.core.errors import InputError
from napari_uda.evaluation.figures import (
    BarPlot,
    ColourBar,
    CurvePlot,
    Panel,
    PanelGrid,
    Series,
    TableText,
    on_paper,
    write_figure,
)

STEPS = np.arange(6)
CURVES = CurvePlot(
    [
        Series("MYO $x_1$", "#E5383B", STEPS, np.array([0, 1, np.nan, 0.2, 0.1, 0.3])),
        Series("左心室", "#FFD43B", STEPS, np.full(6, 0.5), dashed=True),
    ],
    "slice",
    "Dice",
    1.0,
)
TABLE = TableText(
    ["Structure", "ASSD\nmm"],
    [["a_b & 50 %", "1.20 ± 0.30"], ["mean", "–"]],
    frozenset({1}),
)


def words(path: Path) -> str:
    return " ".join(ElementTree.parse(path).getroot().itertext())


def test_text_of_a_drawing_stays_text(tmp_path: Path) -> None:
    said = words(write_figure(tmp_path / "c.svg", CURVES))
    for word in ("MYO $x_1$", "左心室", "slice", "Dice"):
        assert word in said
    several = [CurvePlot(CURVES.series, "step", "loss", log=True), CURVES]
    said = words(write_figure(tmp_path / "two.svg", several))
    assert said.count("左心室") == 1  # a curve of both plots is named once
    assert "mathdefault" not in said
    said = words(write_figure(tmp_path / "t.svg", TABLE))
    for word in ("a_b & 50 %", "1.20 ± 0.30", "mean"):
        assert word in said


@pytest.mark.parametrize(("width", "height"), [(85, 40), (120, 60)])
def test_size_is_the_one_asked_for(width: float, height: float, tmp_path: Path) -> None:
    from PIL import Image

    path = write_figure(tmp_path / "c.png", CURVES, width_mm=width, height_mm=height)
    picture = Image.open(path)
    assert picture.size == pytest.approx((width / 25.4 * 300, height / 25.4 * 300), abs=1)
    assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_table_is_read_back_and_set(tmp_path: Path) -> None:
    text = write_figure(tmp_path / "t.csv", TABLE).read_text(encoding="utf-8")
    assert list(csv.reader(io.StringIO(text))) == [
        ["Structure", "ASSD mm"], ["a_b & 50 %", "1.20 ± 0.30"], ["mean", "–"],
    ]  # fmt: skip
    latex = write_figure(tmp_path / "t.tex", TABLE).read_text(encoding="utf-8")
    assert r"a\_b \& 50 \% & 1.20 $\pm$ 0.30 \\" in latex
    assert r"\textbf{mean} & \textbf{--} \\" in latex


def test_panels_bars_and_diagonals_are_drawn(tmp_path: Path) -> None:
    from PIL import Image

    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    shades = np.linspace(0, 1, 16)[:, None] * np.ones(3)
    grid = PanelGrid(
        [Panel("one", red), Panel("two", red, 2.0)],
        {"MYO": "#E5383B"},
        [ColourBar("entropy", shades, 0, 1)],
    )
    named = {f"left ventricle cavity {number}": "#E5383B" for number in range(8)}
    long = [Panel("patient 1 · prediction · the model of spring", red)] * 3
    many = write_figure(tmp_path / "m.png", PanelGrid(long, named))
    paper = np.asarray(Image.open(many).convert("RGB"))
    assert (paper[:, :4] == 255).all()  # no name and no title is cut off
    assert (paper[:, -4:] == 255).all()
    said = words(write_figure(tmp_path / "p.svg", grid))
    for word in ("one", "two", "MYO", "entropy"):
        assert word in said
    drawn = np.asarray(Image.open(write_figure(tmp_path / "p.png", grid)).convert("RGB"))
    assert (drawn == (255, 0, 0)).all(-1).mean() > 0.1
    bars = BarPlot(
        np.linspace(0, 1, 4), np.array([0.1, np.nan, 0.9]), ["#56B4E9"], "confidence", "right",
        1.0, diagonal=True, note="ECE 0.1",
    )  # fmt: skip
    assert "ECE 0.1" in words(write_figure(tmp_path / "b.svg", bars))


@pytest.mark.parametrize(
    ("width_mm", "height_mm", "across", "side_mm"),
    [(120, 80, 3, 30), (60, 160, 1, 40), (160, 60, 3, 40)],
)
def test_panels_are_as_large_as_the_picture_allows(
    tmp_path: Path, width_mm: int, height_mm: int, across: int, side_mm: int
) -> None:
    from PIL import Image

    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    grid = PanelGrid(
        [Panel(title, red) for title in ("one", "two", "entropy")],
        {"MYO": "#000000"},
        [ColourBar("entropy", np.linspace(0, 1, 16)[:, None] * np.ones(3), 0, 1)],
    )
    file = write_figure(tmp_path / "p.png", grid, width_mm=width_mm, height_mm=height_mm)
    is_red = (np.asarray(Image.open(file).convert("RGB")) == (255, 0, 0)).all(-1)
    wide, high = is_red.sum(1).max() / across, is_red.sum(0).max() / (3 // across)
    assert wide == pytest.approx(
        high, abs=2
    )  # with the bar beside it, a panel is as large as others
    assert wide >= side_mm * is_red.shape[1] / width_mm
    assert words(write_figure(tmp_path / "p.svg", grid)).count("entropy") == 1  # of panel and bar


def test_what_cannot_be_drawn_is_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, drawing, sizes, said in (
        ("c.bmp", CURVES, {}, r"c\.bmp: is no kind of picture; give a name that ends with"),
        ("c.csv", CURVES, {}, r"ends with \.svg, \.png or \.pdf"),
        ("t.doc", TABLE, {}, r"\.csv or \.tex"),
        ("c.png", CURVES, {"width_mm": 0.0}, "0 x 80 mm cannot be drawn; give sides of 20 to 1000"),
        ("c.png", CURVES, {"height_mm": float("nan")}, "cannot be drawn"),
    ):
        with pytest.raises(InputError, match=said):
            write_figure(tmp_path / name, drawing, **sizes)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r"need matplotlib; install napari_uda\[tables\]"):
        write_figure(tmp_path / "c.png", CURVES)
    assert list(tmp_path.iterdir()) == []
    write_figure(tmp_path / "t.csv", TABLE)  # text needs no library


def test_colours_are_seen_on_white() -> None:
    assert on_paper("#E5383B") == "#E5383B"
    assert on_paper("#FFFFFF") != "#FFFFFF"
