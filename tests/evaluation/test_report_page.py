"""The report page and its parts: what stands in the file, and that it needs no other."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from napari_uda.core.errors import InputError
from napari_uda.core.structure_colours import structure_colour
from napari_uda.evaluation.calibration import calibrate, calibrate_structures
from napari_uda.evaluation.charts import Curve, draw_curves, draw_reliability
from napari_uda.evaluation.report import evaluate
from napari_uda.evaluation.report_page import Result, report_page, write_report_page
from napari_uda.evaluation.scores import Scores
from napari_uda.evaluation.slice_picture import Picture, draw_slice, encode_png

NAMES = {1: "MYO", 2: "LVC <script>"}
SPACING = (4.0, 1.0, 1.0)


@pytest.fixture
def labels() -> tuple[np.ndarray, np.ndarray]:
    reference = np.zeros((5, 16, 16), np.uint8)
    reference[1:4, 3:13, 3:13] = 1
    reference[1:4, 6:10, 6:10] = 2
    return np.roll(reference, 1, axis=2), reference


@pytest.fixture
def scores(labels: tuple[np.ndarray, np.ndarray]) -> Scores:
    prediction, reference = labels
    parts = [
        evaluate(prediction, reference, spacing_mm=SPACING, names=NAMES, case="case_0"),
        evaluate(
            reference * (reference == 1), reference, spacing_mm=SPACING, names=NAMES, case="b"
        ),
    ]
    return Scores.join(parts)


class Tags(HTMLParser):
    """Checks that every tag is closed, and keeps the text of the cells."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def parse(text: str) -> Tags:
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    return tags


def test_page_holds_the_numbers_and_what_they_mean(
    scores: Scores, labels: tuple[np.ndarray, np.ndarray]
) -> None:
    prediction, reference = labels
    entropy = (prediction != reference).astype(np.float32) / 2
    calibrations = calibrate_structures(prediction, reference, entropy, SPACING, NAMES)
    picture = Picture(draw_slice(None, prediction[2], reference[2], NAMES, (1.0, 1.0)), "slice 2")
    result = Result("tiny", scores, [calibrations], [picture], {"model sha256": "0123abcd"})
    text = report_page("Scores of tiny", [result])
    rows = parse(text).rows
    myo, lvc, mean = rows[1:4]
    dice = [row["dice"] for row in scores.rows if row["name"] == "MYO"]
    named = "left ventricle myocardium (MYO)"
    assert myo[:2] == [named, f"{np.mean(dice):.3f} ± {np.std(dice, ddof=1):.3f}"]
    assert (myo[-2:], lvc[-2:], mean[0]) == (["2", "0"], ["2, 1 penalised", "1"], "mean")
    assert ["b", "LVC <script>", "missed", "0.000"] in [row[:4] for row in rows]
    band = next(row for row in rows if row[:2] == ["left ventricle myocardium", "band"])
    assert band[4] == f"{calibrations[1].band.width.ece():.3f}"
    for words in (
        "recommended: Millimetres",
        "2 cases scored with the protocol recommended: mean Dice ",
        "Missed: LVC &lt;script&gt; in b.",
        "0123abcd",
        "5 × 16 × 16 voxels of 4 × 1 × 1 mm",
        "napari_uda",
        np.__version__,
        "expected calibration error",
        "n missing",
    ):
        assert words in text
    assert "<script" not in text
    assert not re.search(r'(src|href)="(?!data:image/png;base64,)', text)  # nothing to fetch


def test_parts_without_content_are_left_out(scores: Scores) -> None:
    text = report_page("Scores", [Result("tiny", scores)])
    assert "Calibration" not in text
    assert "Worst slices" not in text
    assert (
        '<h3>tiny</h3>\n<div class="wide"><table>' not in text
    )  # one result alone needs no heading above its table


def test_several_results_stand_below_their_names(scores: Scores) -> None:
    text = report_page("Scores", [Result("a", scores), Result("b", scores)])
    assert text.count("<h3>a</h3>") == text.count("<h3>b</h3>") == 3


def test_different_protocols_are_refused(
    scores: Scores, labels: tuple[np.ndarray, np.ndarray]
) -> None:
    other = evaluate(*labels, spacing_mm=SPACING, protocol="sifa")
    with pytest.raises(InputError, match="different protocols"):
        report_page("Scores", [Result("a", scores), Result("b", other)])
    with pytest.raises(InputError, match="no scores"):
        report_page("Scores", [])


def test_page_is_written_whole(scores: Scores, tmp_path: Path) -> None:
    path = write_report_page(tmp_path / "new" / "report.html", "Scores", [Result("a", scores)])
    assert path.read_text(encoding="utf-8") == report_page("Scores", [Result("a", scores)])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write report"):
        write_report_page(tmp_path / "file" / "report.html", "Scores", [Result("a", scores)])


def test_png_is_read_by_others() -> None:
    from PIL import Image

    rgb = np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)
    read = Image.open(io.BytesIO(encode_png(rgb)))
    np.testing.assert_array_equal(np.asarray(read), rgb)


def test_slice_has_square_pixels_and_fixed_colours() -> None:
    prediction = np.zeros((8, 4), np.uint8)
    prediction[:, :2] = 1
    image = np.linspace(0, 1, 32).reshape(8, 4)
    rgb = draw_slice(image, prediction, np.zeros_like(prediction), {1: "MYO"}, (1.0, 4.0))
    assert rgb.shape == (160, 320, 3)  # 8 mm by 16 mm
    colour = np.array(list(bytes.fromhex(structure_colour("MYO", 1)[1:])))
    np.testing.assert_allclose(rgb[0, 0], np.round(0.55 * 255 * image[0, 0] + 0.45 * colour))
    assert len({*rgb[0, -1].tolist()}) == 1  # grey where there is nothing


def test_reference_is_a_white_outline() -> None:
    reference = np.zeros((32, 32), np.uint8)
    reference[8:24, 8:24] = 3
    rgb = draw_slice(None, np.zeros_like(reference), reference, {}, (1.0, 1.0))
    white = (rgb == 255).all(-1)
    assert white[80:240, 80].all()
    assert not white[100:200, 100:200].any()


def test_curve_leaves_gaps_and_bars_follow_accuracy() -> None:
    curve = Curve("MYO", "#E5383B", np.arange(5), np.array([1, 0.5, np.nan, 0.2, 0.1]))
    svg = draw_curves([curve], "slice", "Dice", 1.0).partition("<p>")[0]
    lines = ElementTree.fromstring(svg).findall("{*}polyline")
    assert [len(line.get("points", "").split()) for line in lines] == [2, 2]
    bins = calibrate(np.array([0.1, 0.9, 0.9, 0.9]), np.array([True, False, False, True]), 2).width
    figure = ElementTree.fromstring(draw_reliability(bins, "a & b"))
    bars = figure.findall(".//{*}rect")[1:]
    heights = [float(bar.get("height", "nan")) for bar in bars]
    assert heights[0] == 0
    room = 220 - 34 - 10
    assert heights[1] == pytest.approx(2 / 3 * room, abs=0.1)


def test_slices_are_counted_in_whole_numbers() -> None:
    curve = Curve("MYO", "#E5383B", np.arange(11), np.ones(11))
    svg = draw_curves([curve], "slice", "Dice", 1.0).partition("<p>")[0]
    words = [text.text for text in ElementTree.fromstring(svg).findall("{*}text")]
    assert [word for word in words if word in ("2", "2.5", "8", "7.5")] == ["2", "8"]


def test_empty_chart_can_be_drawn() -> None:
    assert "polyline" not in draw_curves([], "slice", "Dice", None)


def test_png_in_the_page_is_the_picture(scores: Scores) -> None:
    picture = Picture(np.full((2, 2, 3), 9, np.uint8), "nine")
    text = report_page("Scores", [Result("a", scores, pictures=[picture])])
    (coded,) = re.findall(r"base64,([^\"]+)", text)
    assert base64.b64decode(coded) == picture.png()
