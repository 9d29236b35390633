"""The report of a folder: one sentence and a picture first, the same content as a page and as PDF, scores or not."""

from __future__ import annotations

import json
import re
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

import napari_uda as uda
from napari_uda.data.volume import Volume, read_volume, write_volume
from napari_uda.evaluation.calibration import Bins, calibrate_structures
from napari_uda.evaluation.case_pictures import SeenCase, typical_cases
from napari_uda.evaluation.report import evaluate_folders
from napari_uda.evaluation.report_content import (
    Block,
    CaseFacts,
    Curve,
    Curves,
    Diagram,
    Heading,
    Result,
    opening_sentence,
)
from napari_uda.evaluation.report_page import report_page
from napari_uda.evaluation.report_pdf import write_pdf

AFFINE = np.diag([-1.0, 1.0, 4.0, 1.0])
REASON = "the voxels are 9 mm thick, those of training 5 to 6 mm"


def written(folder: Path, name: str, array: np.ndarray) -> Path:
    write_volume(folder / f"{name}.nii.gz", Volume(array, AFFINE, name))
    return folder / f"{name}.nii.gz"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two cases with images, labels, predictions of a run and what `predict` writes beside them."""
    (tmp_path / "data").mkdir()
    names = {"labels": {"background": 0, "heart": 1, "liver": 2}}
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(names))
    run = tmp_path / "my_run"
    (run / "predictions").mkdir(parents=True)
    (run / "config.yaml").write_text("seed: 7\n")
    for index, case in enumerate(("case_a", "case_b")):
        reference = np.zeros((5, 16, 16), np.uint8)
        reference[1:4, 3:8, 3:8] = 1
        reference[1:4, 9:14, 9:14] = 2
        predicted = np.roll(reference, 1, axis=2)
        if index:
            predicted[predicted == 2] = 0
        written(tmp_path / "data" / "labels", case, reference)
        written(tmp_path / "data" / "images", case, np.arange(1280).reshape(5, 16, 16).astype("i2"))
        written(run / "predictions", f"{case}_labels", predicted)
        about = {
            "program": "napari_uda 0.1.0",
            "model": {"name": "my_run", "weights_sha256": "78f3e367"},
            "image": {"path": f"../../data/images/{case}.nii.gz", "voxels_sha256": "36f052c6"},
            "fit": {"verdict": "doubtful" if index else "fits", "reasons": [REASON] * index},
            "structures": [{"value": 1, "name": "heart"}, {"value": 2, "name": "liver"}],
        }
        (run / "predictions" / f"{case}.json").write_text(json.dumps(about))
    return tmp_path


def make(data: Path, name: str, *, labels: bool = True) -> Path:
    return uda.report(
        data / "my_run" / "predictions",
        data / "data" / "labels" if labels else None,
        out=data / name,
        reader="Dr. Müller & Co",
    )


def words_of_pdf(path: Path) -> str:
    """Text of a PDF of matplotlib, as far as its letters are Latin."""
    text = ""
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", path.read_bytes(), re.DOTALL):
        try:
            content = zlib.decompress(stream)
        except zlib.error:
            continue
        for line in re.findall(rb"\[(.*?)\]\s*TJ|(\(.*?[^\\]\)) Tj", content, re.DOTALL):
            parts = re.findall(rb"\(((?:\\.|[^\\)])*)\)", line[0] or line[1], re.DOTALL)
            text += b"".join(parts).replace(b"\\(", b"(").replace(b"\\)", b")").decode("latin-1")
            text += "\n"
    return text.replace("\0", "")  # of letters in two bytes


def test_page_begins_with_a_sentence_and_a_picture(data: Path) -> None:
    text = make(data, "r.html").read_text(encoding="utf-8")
    scores = evaluate_folders(data / "my_run" / "predictions", data / "data" / "labels")
    mean = scores.means("dice")["mean"]
    places = [
        text.index(part)
        for part in (
            f"2 cases scored with the protocol recommended: mean Dice {mean:.3f} ± ",
            "Missed: liver in case_b. The model is doubtful for case_b.",
            "read by Dr. Müller &amp; Co",
            "<img",
            "worst case case_b, mean Dice 0.400, axial slice 2, S 8.0 mm",
            "<h2>Structures</h2>",
            f'<p class="verdict doubtful">case_b: doubtful: {REASON}</p>',
            "<h2>Origin</h2>",
            "<details>",
        )
    ]
    assert places == sorted(places)
    for words in ("SHA-256 78f3e367", "SHA-256 36f052c6", "../../data/images/case_a.nii.gz"):
        assert words in text
    assert "<dt>seed of the training</dt><dd>7</dd>" in text
    assert text.count("SHA-256 78f3e367") == 1  # what all cases share is said once
    assert "<script" not in text
    assert not re.search(r'(src|href)="(?!data:image/png;base64,)', text)


def test_no_title_of_a_chart_stands_on_the_page_before_it(tmp_path: Path) -> None:
    curve = Curve("heart", "#FF0000", np.arange(3.0), np.ones(3))
    chart = Curves([curve], "number of slice", "Dice", 1.0)
    bins = Bins(np.linspace(0, 1, 4), np.full(3, 2), np.full(3, 0.5), np.full(3, 0.5))
    blocks: list[Block] = [Heading("Slices", 2)]
    for number in range(7):
        blocks += [Heading(f"Case {number}", 3), chart]
    blocks += [Heading("Calibration", 2), *(Diagram(bins, f"bars of {name}") for name in "abc")]
    words = words_of_pdf(write_pdf(tmp_path / "r.pdf", "Report", blocks))
    *pages, rest = words.split("Report · page ")
    assert rest.strip() == "3"
    titles = [[page.count(word) for word in ("Case", "number of slice")] for page in pages]
    assert titles == [[3, 3], [3, 3], [1, 1]]
    assert [page.count("bars of") for page in pages] == [0, 0, 3]  # side by side
    assert "Calibration" in pages[-1]


def test_pdf_has_the_same_words_as_text(data: Path) -> None:
    page = make(data, "r.html").read_text(encoding="utf-8")
    pdf = make(data, "r.pdf")
    assert pdf.read_bytes().startswith(b"%PDF")
    words = words_of_pdf(pdf)
    for part in (
        "Report of my_run",
        "2 cases scored with the protocol recommended",
        "Missed: liver in case_b.",
        "Dr. Müller & Co",
        "2, 1 penalised",
        f"case_b: doubtful: {REASON}",
        "SHA-256 78f3e367",
        "nitions and versions",  # before it stands one sign for f and i
    ):
        assert part in words
        assert part.replace("&", "&amp;") in page
    cells = re.findall(r"<td[^>]*>([^<]+)</td>", page)
    assert len(cells) > 40
    assert {cell for cell in cells if cell not in words and cell != "–"} == set()


def test_calibration_is_that_of_the_cases_with_an_entropy_map(data: Path) -> None:
    """The same table as of a single case; of several, means over them and diagrams of all voxels."""
    assert "Calibration" not in make(data, "plain.html").read_text()
    known = []
    for seed, case in enumerate(("case_a", "case_b")):
        predictions = data / "my_run" / "predictions"
        random = np.random.default_rng(seed).random((5, 16, 16)).astype(np.float32)
        written(predictions, f"{case}_entropy", random)
        read = [
            read_volume(path).array
            for path in (
                predictions / f"{case}_labels.nii.gz",
                data / "data" / "labels" / f"{case}.nii.gz",
                predictions / f"{case}_entropy.nii.gz",
            )
        ]
        names = {1: "heart", 2: "liver"}
        known.append(calibrate_structures(*read, (4.0, 1.0, 1.0), names))
        page = make(data, f"{case}.html").read_text()
        table = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in page.split("<tr")]
        (cells,) = [row[2:] for row in table if row[:2] == ["heart", "band"]]
        bands = [calibrated[1].band for calibrated in known]
        assert [one.name for one in known[0]] == ["all", "heart", "liver"]
        assert cells[:2] == [
            str(sum(one.voxels for one in bands)),
            str(sum(one.errors for one in bands)),
        ]
        assert cells[2] == f"{np.mean([one.width.ece() for one in bands]):.3f}"
        assert cells[6] == f"{np.mean([one.auroc for one in bands]):.3f}"
        assert ("means of 2 cases" in page) == (case == "case_b")
    written(data / "my_run" / "predictions", "case_a_entropy", np.full((5, 16, 16), 9, np.float32))
    assert "means of 2 cases" not in make(data, "wrong.html").read_text()


def test_without_labels_there_are_volumes_and_verdicts_but_no_scores(data: Path) -> None:
    entropy = np.full((5, 16, 16), 0.25, np.float32)
    written(data / "my_run" / "predictions", "case_a_entropy", entropy)
    text = make(data, "u.html", labels=False).read_text(encoding="utf-8")
    assert (
        "2 cases without reference labels: volumes, entropy and the verdict on the model, but no scores."
        " The model is doubtful for case_b." in text
    )
    rows = re.findall(r"<tr>(.*?)</tr>", text)
    cells = [re.findall(r">([^<]*)</t[dh]>", row) for row in rows]
    volume = f"{5 * 5 * 3 * 4 / 1000:.1f}"
    assert cells == [
        ["Case", "heart mL", "liver mL", "Mean entropy", "Model"],
        ["case_a", volume, volume, "0.250", "fits"],
        ["case_b", volume, "0.0", "–", "doubtful"],
    ]
    assert "Dice" not in text


def test_one_file_is_reported_alone(data: Path) -> None:
    prediction = data / "my_run" / "predictions" / "case_a_labels.nii.gz"
    reference = data / "data" / "labels" / "case_a.nii.gz"
    text = uda.report(prediction, reference, out=data / "a.html").read_text(encoding="utf-8")
    assert "Report of case_a" in text
    assert "case_b" not in text
    text = uda.report(prediction, out=data / "u.html").read_text(encoding="utf-8")
    assert "1 case without reference labels" in text


def test_image_that_is_gone_is_said_and_the_report_is_made(data: Path) -> None:
    for file in (data / "data" / "images").iterdir():
        file.unlink()
    text = make(data, "r.html").read_text(encoding="utf-8")
    assert "(from the folder of the prediction, where it is not found)" in text
    assert "<img" in text


def test_predictions_of_others_are_reported_without_a_model(data: Path) -> None:
    for file in (data / "my_run" / "predictions").glob("*.json"):
        file.unlink()
    text = make(data, "r.html").read_text(encoding="utf-8")
    assert "not known: no file with the case&#x27;s name and .json lies beside it" in text
    assert "Does the model fit" not in text


def test_wrong_requests_are_refused_before_any_work(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(uda.InputError, match=r"r\.docx: a report is a page or a PDF; give a name"):
        make(data, "r.docx")
    (data / "empty").mkdir()
    with pytest.raises(uda.InputError, match="holds no predictions"):
        uda.report(data / "empty", out=data / "r.html")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(uda.InputError, match=r"needs matplotlib; install napari_uda\[tables\], or"):
        make(data, "r.pdf")
    assert not (data / "r.pdf").exists()


@pytest.mark.parametrize("flip", [1, -1])
def test_opening_picture_is_drawn_as_radiologists_see(flip: int) -> None:
    """The patient's right is on the left and the front is up, however the file stores its axes."""
    affine = np.diag([2.0 * flip, 2.0 * flip, 5.0 * flip, 1.0])
    labels = np.zeros((3, 12, 12), np.uint8)
    corner = (slice(None), slice(8, 11), slice(8, 11))  # right front head for flip 1
    labels[corner if flip > 0 else (slice(None), slice(1, 4), slice(1, 4))] = 1
    seen = SeenCase("a", labels, None, affine, {1: "liver"})
    picture = seen.middle_picture("a")
    height, width, _ = picture.rgb.shape
    coloured = np.argwhere(np.ptp(picture.rgb.astype(int), axis=-1) > 0)
    assert (coloured.max(axis=0) < [height / 2, width / 2]).all()
    assert picture.caption == (
        f"a, axial slice 1, {'S' if flip > 0 else 'I'} 5.0 mm; outlines of the prediction"
    )
    assert list(seen.legend()) == ["liver"]


@pytest.mark.parametrize(
    ("marked", "expected", "middle"),
    [((), None, 3), ((0, 1), None, 1), ((0, 1), (4, 5, 6), 4), ((), (0,), 0)],
)
def test_the_middle_picture_is_of_the_middle_slice_with_structures(
    marked: tuple[int, ...], expected: tuple[int, ...] | None, middle: int
) -> None:
    labels = np.zeros((7, 6, 6), np.uint8)
    labels[list(marked), 2:4, 2:4] = 1
    reference = None if expected is None else np.zeros_like(labels)
    if reference is not None and expected is not None:
        reference[list(expected), 2:4, 2:4] = 1
    caption = SeenCase("a", labels, reference, AFFINE, {1: "liver"}).middle_picture("a").caption
    assert caption.startswith(f"a, axial slice {middle}, S {4 * middle:.1f} mm; ")


def test_median_and_worst_case_open_a_report() -> None:
    means = {"a": 0.9, "b": 0.2, "c": 0.5}
    assert [case for case, _ in typical_cases(means)] == ["c", "b"]
    assert typical_cases({"a": 0.9}) == [("a", "a")]
    assert typical_cases({}) == []


def test_one_case_is_summed_up_over_its_structures() -> None:
    reference = np.zeros((2, 8, 8), np.uint8)
    reference[:, 1:4, 1:4], reference[:, 5:7, 5:7] = 1, 2
    found = np.where(reference == 2, 0, reference)
    found[0, 7, 0] = 3
    scores = uda.evaluate(
        *(found, reference), spacing_mm=(1, 1, 1), names={1: "heart", 2: "liver", 3: "spleen"}
    )
    facts = CaseFacts("mr", "does not fit", ("it is a CT",))
    sentence = opening_sentence(Result("m", scores, cases=[facts]))
    assert sentence == (
        "1 case scored with the protocol recommended: mean Dice 0.333, from 0.000 (liver) to 1.000 (heart)."
        " Missed: liver. Not in the reference: spleen. The model does not fit mr."
    )
    assert '<p class="verdict misfit">does not fit: it is a CT</p>' in report_page(
        "t", [Result("m", scores, cases=[facts])]
    )
