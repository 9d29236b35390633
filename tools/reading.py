"""A reader's morning with files of their own: open, look, segment, compare, measure, correct, keep, hand on.

    tools/with-display .venv/bin/python tools/reading.py --out FOLDER [--data FOLDER] [--size 1280x720] [--theme dark]

Everything is done with clicks and keys on the real windows; only the answers of file dialogs are given by the
script. `--data` holds a NIfTI volume, a folder `dicom` with one series or several, and a data folder `cases` with
at least two labelled cases, of which a copy is used; what it lacks, or all without it, is made from the sample data.
FOLDER, new or empty, takes a numbered screenshot of every step, and settings of its own. The table tells how long
each step took and the longest time that the window did not react. Ends with 1 and one sentence when something is not
as a user may expect.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from hands import (
    Stuck,
    answering,
    check,
    choose,
    click,
    click_row,
    drop,
    key,
    layer_of,
    layers_of,
    naming,
    opening_menu,
    own_settings,
    pick,
    place_of,
    press,
    scroll_to,
    show_tab,
    stroke,
    type_into,
    wait,
    wait_until,
)
from napari.settings import get_settings
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtGui import QKeySequence
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QApplication,
    QComboBox,
    QDialog,
    QLabel,
    QLineEdit,
    QListWidget,
    QPushButton,
    QTableWidget,
)
from scipy.spatial.transform import Rotation
from tour import Tour, set_field, state_of

from napari_uda.core.files import case_name
from napari_uda.data.volume import read_volume
from napari_uda.gui.data.dock import DataDock
from napari_uda.gui.kit.files import MODEL, SAMPLES
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.launch import close_notices
from napari_uda.gui.score.dock import ScoreDock
from napari_uda.gui.segment.dock import SegmentDock
from napari_uda.gui.train.dock import TrainDock
from napari_uda.gui.translate.dock import TranslateDock
from napari_uda.gui.view.dock import ViewDock

BEGINS = Qt.MatchFlag.MatchStartsWith


def main() -> int:
    """Start napari in a process of its own, with settings of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="new or empty folder")
    parser.add_argument("--data", type=Path, help="folder with a volume, `dicom` and `cases`")
    parser.add_argument("--size", default="1280x720", help="of the window, in pixels")
    parser.add_argument("--theme", default="dark", choices=("dark", "light"))
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    out = given.out.absolute()
    if given.inside:
        return _morning(given, out)
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        print(f"{out} is not empty; name a new folder", file=sys.stderr)
        return 2
    command = [sys.executable, str(Path(__file__).absolute()), *sys.argv[1:], "--inside"]
    command += ["--out", str(out)] + (["--data", str(given.data.absolute())] if given.data else [])
    environment = own_settings(out / "settings")
    return subprocess.run(command, cwd=out, env=environment, check=False).returncode


def _morning(given: argparse.Namespace, out: Path) -> int:
    width, height = map(int, given.size.split("x"))
    files = _files(given.data, out / "files")
    get_settings().appearance.theme = given.theme
    tour = Tour(out, 0, (width, height))
    try:
        wait(2.0)
        close_notices()
        open_files(tour, files)
        look_at_cases(tour)
        segment(tour)
        several(tour, files)
        score(tour)
        names(tour, files)
        measure_and_surfaces(tour)
        correct(tour)
        check_and_estimate(tour)
        train_on(tour)
        keep(tour)
        models(tour)
        translate(tour)
        turned(tour, files)
        large_in_3d(tour, files)
        keys(tour)
        letters(tour)
    except Stuck as problem:
        with suppress(Exception):
            tour.look("failed")
        print(f"step {tour.number}, {tour.title}: {problem}", file=sys.stderr)
        return 1
    finally:
        tour.end()
    return 0


# -- files ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Files:
    """What a reader brings.

    Attributes:
        volume: one file.
        turned: the same patient on a tilted grid.
        large: noise that takes a while to read.
        dicom: a tree of series.
        cases: a data folder.
        others: the first case of it, with other names for its structures and one structure more.
    """

    volume: Path
    turned: Path
    large: Path
    dicom: Path
    cases: Path
    others: Path


def _files(data: Path | None, folder: Path) -> Files:
    """What the reader has, and what is made where something is missing."""
    given = sorted(data.glob("*.nii*")) if data else []
    volume = given[0] if given else next((SAMPLES / "ct" / "images").glob("*.nii.gz"))
    cases = data / "cases" if data and (data / "cases").is_dir() else SAMPLES / "mr"
    cases = Path(shutil.copytree(cases, folder / cases.name))  # structures are renamed in it
    dicom = data / "dicom" if data else folder / "study"
    if not dicom.is_dir():
        dicom = folder / "study"
        for number, modality in enumerate(("CT", "MR"), start=1):
            source = next((SAMPLES / modality.lower() / "images").glob("*.nii.gz"))
            _write_series(dicom / f"series_{number}", source, modality, number)
    turned = folder / f"turned_{volume.name}"
    turned.parent.mkdir(parents=True, exist_ok=True)
    _write_turned(turned, volume)
    large = folder / "large.nii.gz"
    noise = np.random.default_rng(0).integers(0, 4000, (400, 400, 160), np.int16)
    nib.save(nib.Nifti1Image(noise, np.eye(4)), large)
    others = folder / "others"
    _write_others(others, cases)
    return Files(volume, turned, large, dicom, cases, others)


def _write_turned(file: Path, volume: Path) -> None:
    """The volume again, tilted by 15 degrees about its middle."""
    image = nib.load(volume)
    middle = nib.affines.apply_affine(image.affine, (np.array(image.shape[:3]) - 1) / 2)
    tilt = nib.affines.from_matvec(Rotation.from_euler("x", 15, degrees=True).as_matrix())
    tilt[:3, 3] = middle - tilt[:3, :3] @ middle
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), tilt @ image.affine), file)


def _write_others(folder: Path, cases: Path) -> None:
    """A data folder whose structures have other names than the model's, and one that no model knows."""
    image = sorted((cases / "images").glob("*.nii*"))[0]
    source = nib.load(cases / "labels" / image.name)
    labels = np.asarray(source.dataobj).astype(np.uint8)
    values = [int(value) for value in np.unique(labels) if value]
    labels[2:5, 2:8, 2:8] = 9
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    shutil.copy(image, folder / "images" / f"second_reader{''.join(image.suffixes)}")
    nib.save(nib.Nifti1Image(labels, source.affine), folder / "labels" / "second_reader.nii.gz")
    numbers = {f"Structure {number}": value for number, value in enumerate(values, start=1)}
    (folder / "dataset.json").write_text(json.dumps({"labels": {**numbers, "Lesion": 9}}))


def _write_series(folder: Path, source: Path, modality: str, number: int) -> None:
    """A volume as a DICOM series, one file a slice, written with pydicom alone."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

    volume = read_volume(source).canonical()
    flipped = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine  # RAS+ to DICOM's LPS+
    spacing = np.linalg.norm(flipped[:3, :3], axis=0)
    along = flipped[:3, :3] / spacing
    kind = CTImageStorage if modality == "CT" else MRImageStorage
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    folder.mkdir(parents=True)
    for index, plane in enumerate(volume.array):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        item = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        item.SOPClassUID, item.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
        item.StudyInstanceUID, item.SeriesInstanceUID, item.FrameOfReferenceUID = (
            study,
            series,
            frame,
        )
        item.PatientID = item.PatientName = "phantom"
        item.Modality, item.SeriesNumber, item.InstanceNumber = modality, number, index + 1
        item.SeriesDescription, item.SeriesDate = f"{modality} of the heart", "20260301"
        item.ImagePositionPatient = [float(v) for v in (flipped @ [0, 0, index, 1])[:3]]
        item.ImageOrientationPatient = [float(v) for v in (*along[:, 0], *along[:, 1])]
        item.PixelSpacing = [float(spacing[1]), float(spacing[0])]
        item.SliceThickness = float(spacing[2])
        item.Rows, item.Columns = plane.shape
        item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
        item.BitsAllocated = item.BitsStored = 16
        item.HighBit, item.PixelRepresentation = 15, 1
        item.RescaleSlope, item.RescaleIntercept = 1, 0
        item.PixelData = np.ascontiguousarray(plane, "<i2").tobytes()
        item.save_as(folder / f"slice_{index:03}.dcm", enforce_file_format=True)


# -- what a reader does ---------------------------------------------------------------------------


def open_files(tour: Tour, files: Files) -> None:
    """The workbench; a volume, File > Open, a DICOM series of several, a case folder, a drop; the readout."""
    viewer = tour.viewer
    with tour.step("File > Open before anything else"):
        with (
            naming(getOpenFileNames=([str(files.volume)], "")),
            answering("OK", mark="napari_uda", look=tour.look) as clicked,
        ):
            _file_open(viewer)
            wait_until(lambda: layers_of(viewer, "image"), "the volume of File > Open")
        tour.expect(clicked, "napari did not ask which reader is meant")
        _expect_good_sight(tour, layer_of(viewer, "image"))
    viewer.layers.clear()
    with tour.step("Plugins > napari_uda > Workbench"):
        choose(viewer.window.plugins_menu, "napari_uda", "Workbench")
        wait_until(lambda: dock_seen(tour, DataDock), "the dock Data in front")
        data = tour.window.findChildren(DataDock)[0]
    with tour.step("Open volume"):
        with naming(getOpenFileNames=([str(files.volume)], "")):
            press(data, "open_volume")
            wait_until(lambda: layers_of(viewer, "image"), "the image")
        _expect_good_sight(tour, layer_of(viewer, "image"))
        share = tour.canvas.width() / tour.window.width()
        tour.expect(share > 0.5, f"the canvas has {share:.0%} of the window's width")
    with tour.step("open NIfTI with napari_uda from now on, then File > Open"):
        tour.expect(
            data.open_bar.question.isVisible(), "nobody asked how to open NIfTI from now on"
        )
        click(next(one for one in data.open_bar.question.findChildren(QPushButton)))
        first = sorted((files.cases / "images").glob("*.nii*"))[0]
        with naming(getOpenFileNames=([str(first)], "")):
            _file_open(viewer)
            wait_until(lambda: len(layers_of(viewer, "image")) == 2, "the volume of File > Open")
        wait(0.5)
        _expect_good_sight(tour, layers_of(viewer, "image")[-1])
        seen = [layer.name for layer in layers_of(viewer, "image") if layer.visible]
        tour.expect(len(seen) == 1, f"one upon the other lie {seen}")
    with tour.step("Open DICOM: a list of series"):
        several = len([one for one in files.dicom.iterdir() if one.is_dir()]) > 1
        with (
            naming(getExistingDirectory=str(files.dicom)),
            answering("Open", look=tour.look) as clicked,
        ):
            press(data, "open_dicom")
            wait_until(lambda: len(layers_of(viewer, "image")) == 3, "the series")
        tour.expect(clicked or not several, "nobody asked which of the series is meant")
        tour.expect(layers_of(viewer, "image")[-1].visible, "what was opened last is not seen")
    view = tour.open("View", ViewDock)
    with tour.step("the readout follows the image on top"):
        wait_until(lambda: view.is_settled, "the View dock")
        stroke(tour.canvas, tour.canvas.rect().center())
        wait(0.5)
        texts = view.readout.texts
        tour.expect(texts["Intensity"] != "–", f"the readout is empty: {texts}")
    with tour.step("linked cuts; nothing visible is said in a sentence"):
        check(view.linked)
        wait_until(lambda: view.is_settled, "the cuts")
        wait(0.5)
        tour.look("linked cuts")
        seen = [layer for layer in viewer.layers if layer.visible]
        for layer in seen:
            layer.visible = False
        wait_until(lambda: view.is_settled, "the words")
        wait(0.5)
        tour.look("every image hidden")
        for layer in seen:
            layer.visible = True
        check(view.linked, False)
    with tour.step("drop a volume on the image"):
        drop(tour.canvas.parentWidget(), sorted((files.cases / "images").glob("*.nii*"))[1])
        wait_until(lambda: len(layers_of(viewer, "image")) == 4, "the dropped volume")
    data = tour.open("Data", DataDock)
    with tour.step("Cancel while a volume is read"):
        with naming(getOpenFileNames=([str(files.large)], "")):
            press(data, "open_volume")
            press(data, "open_cancel")
            wait_until(lambda: data.open_bar.opening is None, "the end of reading")
        said = data.open_bar.status.text()
        tour.expect(said.startswith("Cancelled"), f"it says {said!r}")
        tour.expect(len(layers_of(viewer, "image")) == 4, "what was cancelled is shown")
    with tour.step("Recent"), opening_menu(data.open_bar.recent, files.volume.name, tour.look):
        wait_until(lambda: layers_of(viewer, "image")[0].visible, "the volume again")
        tour.expect(len(layers_of(viewer, "image")) == 4, "it is there twice")
    with tour.step("Open case folder"), naming(getExistingDirectory=str(files.cases)):
        press(data, "open_case_folder")
        wait_until(lambda: layers_of(viewer, "reference"), "the labels of the case")
        wait_until(lambda: data.is_settled and data.cases.current, "the first case")


def _file_open(viewer: Any) -> None:
    """The entry of napari's own menu, inside the event loop, where a user's click arrives."""
    QTimer.singleShot(0, lambda: choose(viewer.window.file_menu, "Open File(s)..."))


def _expect_good_sight(tour: Tour, image: Any) -> None:
    """A window that shows tissue, and the middle slice."""
    low, high = image.contrast_limits
    tour.expect(high - low < float(np.ptp(image.data)), "the window is as wide as all values")
    middle = image.data.shape[0] // 2
    here = round(float(image.world_to_data(tour.viewer.dims.point)[0]))
    tour.expect(abs(here - middle) <= 1, f"slice {here} is shown, not the middle {middle}")


def look_at_cases(tour: Tour) -> None:
    """Next and previous case by key; a filter; what is on the screen as a tree."""
    viewer, data = tour.viewer, tour.open("Data", DataDock)
    cases = data.cases
    first = cases.current.name
    with tour.step("the next case by key"):
        tour.canvas.setFocus()
        QTest.keyClick(tour.canvas, Qt.Key.Key_PageDown)
        wait_until(lambda: cases.is_settled and cases.current.name != first, "the next case")
        shown = [layer for layer in layers_of(viewer, "image") if layer.visible]
        tour.expect(len(shown) == 1, f"{len(shown)} images lie upon each other")
    with tour.step("the case before by key"):
        QTest.keyClick(tour.canvas, Qt.Key.Key_PageUp)
        wait_until(lambda: cases.is_settled and cases.current.name == first, "the case before")
    with tour.step("filter the cases"):
        line = data.findChild(QLineEdit, "cases_filter")
        type_into(line, first)
        wait_until(lambda: cases.table.rowCount() == 1, "one case in the list")
        tour.look("filtered")
        line.clear()
    with tour.step("what is on the screen, by case"):
        show_tab(data.tabs, "On screen")


def segment(tour: Tour) -> None:
    """The shipped model on the case; the verdict, legend, keys, maps side by side, and adaptation."""
    viewer, dock = tour.viewer, tour.open("Segment", SegmentDock)
    wait_until(lambda: dock.model is not None, "the models")
    with tour.step("segment the case"):
        press(dock, "run")
        wait_until(lambda: layers_of(viewer, "prediction") and dock.is_settled, "the result")
        tour.expect(dock.results.fit.isVisible(), "it is not said whether the model fits")
        seen = {tag(layer)["case"] for layer in viewer.layers if layer.visible}
        tour.expect(len(seen) == 1, f"one upon the other lie {seen}")
    with tour.step("structures by key, and as outlines"):
        tour.canvas.setFocus()
        key(tour.canvas, ".")
        key(tour.canvas, "h")
        wait_until(lambda: dock.is_settled, "the outlines")
        tour.look("outlines")
        key(tour.canvas, "h")
    with tour.step("uncertainty of the result"):
        show_tab(dock.results.tabs, "Uncertainty")
        wait_until(lambda: dock.is_settled, "the counts")
        check(dock.results.entropy.contours)
        tour.canvas.setFocus()
        key(tour.canvas, "u")
        wait_until(lambda: dock.is_settled, "the contours")
        wait(0.5)
        tour.look("contours of entropy")
        check(dock.results.entropy.contours, False)
    with tour.step("side by side"):
        check(dock.views)
        wait_until(lambda: viewer.canvas.grid.enabled, "the grid")
        wait_until(lambda: dock.is_settled, "the panels")
        wait(1.0)
        tour.look("side by side, the panels")
        check(dock.views, False)
        wait_until(lambda: not viewer.canvas.grid.enabled, "one canvas again")
        show_tab(dock.results.tabs, "Structures")
    with tour.step("adapt to this volume"):
        wait_until(lambda: dock.way.count() > 0, "the methods")
        pick(dock.way, "bn_adapt")
        count = len(layers_of(viewer, "prediction"))
        press(dock, "adapt")
        wait_until(lambda: not dock.is_settled, "the adaptation to begin")
        wait_until(lambda: dock.is_settled, "the adaptation", 300)
        done = len(layers_of(viewer, "prediction")) > count
        tour.expect(done or "kept" in dock.status.text(), f"it says {dock.status.text()!r}")
    data = tour.open("Data", DataDock)
    with tour.step("results with their models, by case"):
        show_tab(data.tabs, "On screen")


def several(tour: Tour, files: Files) -> None:
    """All cases of the folder, scored in the shell: the worst first; a report on paper; a run and a folder shown."""
    dock, out = tour.open("Segment", SegmentDock), tour.out / "predictions"
    with tour.step("segment the whole folder"):
        show_tab(dock.results.tabs, "Several")
        check(dock.reliability, False)
        out.mkdir()
        with naming(getExistingDirectory=[str(files.cases / "images"), str(out)]):
            press(dock, "batch_folder")
            wait_until(lambda: not dock.is_settled, "the batch to begin")
            wait_until(lambda: dock.is_settled, "the folder", 300)
        tour.expect((out / "summary.csv").is_file(), f"it says {dock.status.text()!r}")
    labels = files.cases / "labels"
    _shell(tour, "evaluate", out, labels, "--out", out)
    data = tour.open("Data", DataDock)
    with tour.step("the worst case first"):
        show_tab(data.tabs, "Cases")
        with naming(getExistingDirectory=str(out)):
            press(data, "cases_predictions")
            wait_until(lambda: data.cases.is_settled and data.cases.found.is_scored, "the scores")
        wait_until(lambda: layers_of(tour.viewer, "prediction"), "the prediction")
    with tour.step("in the shell: report, show FOLDER, show RUN"):
        _shell(tour, "report", out, labels, "--out", tour.out / "report.pdf")
        _shell(tour, "show", files.cases, out, "--screenshot", tour.file("show folder"))
        _shell(tour, "show", MODEL, "--screenshot", tour.file("show run"))


def _shell(tour: Tour, *words: object) -> None:
    """A command of napari_uda, as typed in a terminal."""
    command = [sys.executable, "-m", "napari_uda", *map(str, words)]
    with tour.heart.paused():
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    tour.expect(not done.returncode, f"napari-uda {words[0]} ends with {done.stderr[-400:]!r}")


def score(tour: Tour) -> None:
    """Scores beside the labels, slice by slice, errors, a structure renamed; the report; a figure."""
    dock = tour.open("Score", ScoreDock)
    with tour.step("score against the labels"):
        press(dock, "score")
        wait_until(lambda: bool(dock.results) and dock.is_settled, "the scores", 180)
        click_row(dock.table, 0)
    with tour.step("errors, the largest first"):
        check(dock.slices.errors)
        tour.canvas.setFocus()
        key(tour.canvas, "d")
        wait_until(lambda: layer_of(tour.viewer, "error") is not None, "the errors")
        wait_until(lambda: dock.is_settled, "the error")
        wait(0.5)
        tour.look("errors")
        check(dock.slices.errors, False)
    with tour.step("rename a structure"):
        with answering("OK", text="Heart muscle", look=tour.look) as clicked:
            click_row(dock.table, 0)
            QTest.keyClick(dock.table, Qt.Key.Key_F2)
        tour.expect(clicked, "nobody asked for the name")
        wait_until(lambda: dock.is_settled, "the names")
    with tour.step("calibration"):
        show_tab(dock.tabs, "Calibration")
        wait_until(lambda: dock.calibration is not None and dock.is_settled, "the calibration", 60)
        tour.look("calibrated")
        show_tab(dock.tabs, "Cohort")
        tour.look("cohort")
        show_tab(dock.tabs, "Case")
    with tour.step("a picture for a paper"):
        figure = tour.out / "scores.svg"
        with naming(getSaveFileName=(str(figure), "")), answering("Save", look=tour.look):
            press(dock, "export_picture")
            wait_until(figure.is_file, "the figure", 60)
    with tour.step("export with a report"):
        out = tour.out / "exported"
        out.mkdir()
        with naming(getExistingDirectory=str(out)):
            press(dock, "export")
            wait_until(lambda: (out / "report.html").is_file(), "the report", 120)


def names(tour: Tour, files: Files) -> None:
    """Labels of a second reader, with other names and a lesion that the model does not know."""
    viewer, dock = tour.viewer, tour.open("Score", ScoreDock)
    with tour.step("a second reader, with other names"):
        with naming(getExistingDirectory=str(files.others)):
            press(dock, "open_case_folder")
            wait_until(lambda: len(layers_of(viewer, "reference")) == 2, "the other labels")
            wait_until(lambda: dock.open_bar.opening is None, "the end of opening")
        segmenting = tour.open("Segment", SegmentDock)
        press(segmenting, "run")
        wait_until(lambda: not segmenting.is_settled, "the segmentation to begin")
        wait_until(lambda: segmenting.is_settled, "the segmentation")
        tour.open("Score", ScoreDock)
        pick(dock.choices.predictions, "second_reader · prediction")
        pick(dock.choices.references, "second_reader · reference")
        tour.expect(dock.choices.matches.isVisible(), "the tab Names is not in front")
    with tour.step("say which structure is which"):
        box = dock.choices.matches.findChild(QComboBox, "match_9")
        first = next(one for one in dock.choices.matches.findChildren(QComboBox) if one is not box)
        right = first.currentText()
        pick(first, first.itemText(first.currentIndex() % (first.count() - 1) + 1))
        tour.look("another one")
        pick(first, right)
    with tour.step("a structure that was missed"):
        press(dock, "score")
        wait_until(lambda: dock.is_settled, "the scores", 60)
        dock.table.scrollToBottom()


def measure_and_surfaces(tour: Tour) -> None:
    """A ruler, a region, structures in numbers, and surfaces with their distance to the reference."""
    viewer, data = tour.viewer, tour.open("Data", DataDock)
    show_tab(data.tabs, "Cases")
    click_row(data.cases.table, 0)
    wait(0.5)
    wait_until(lambda: data.cases.is_settled, "the first case again")
    dock = tour.open("View", ViewDock)
    dock.measuring.set_open(True)
    wait(0.5)
    image = next(layer for layer in layers_of(viewer, "image") if layer.visible)
    slices, rows, columns = image.data.shape
    viewer.dims.set_point(0, float(image.data_to_world((slices // 2, 0, 0))[0]))
    for name, down in (("ruler", 0), ("ellipse", rows // 8)):
        with tour.step(f"measure: {name}"):
            press(dock, f"measure_{name}")
            places = [
                place_of(
                    viewer,
                    tour.canvas,
                    image,
                    (slices // 2, rows // 2 + side * down, columns // 2 + side * columns // 8),
                )
                for side in (-1, 1)
            ]
            for stretch in [places] if down else [[place] for place in places]:
                stroke(tour.canvas, *stretch)
                wait(0.3)
            wait_until(lambda: dock.is_settled, "the numbers")
            if dock.measure.tools[name].isChecked():
                press(dock, f"measure_{name}")
    with tour.step("measure: structures"):
        press(dock, "measure_structures")
        wait_until(lambda: dock.is_settled, "the measures", 120)
        wait(0.3)
        scroll_to(dock.measure.structures)
    with tour.step("surfaces in 3-D with the distance to the reference"):
        dock.measuring.set_open(False)
        press(dock, "surfaces")
        wait_until(lambda: viewer.dims.ndisplay == 3 and dock.is_settled, "the surfaces", 180)
        tour.look("in colours")
        check(dock.surfaces.distance)
        wait_until(lambda: dock.is_settled, "the distances", 180)
        wait(0.5)
        tour.look("distances")
        press(dock, "surfaces")
        wait_until(lambda: viewer.dims.ndisplay == 2, "slices again")


def correct(tour: Tour) -> None:
    """Grow a structure, undo, fill between slices; then train on with what was corrected."""
    dock = tour.open("Score", ScoreDock)
    press(dock, "score")
    wait_until(lambda: dock.is_settled, "the scores")
    dock.tools_fold.set_open(True)
    wait_until(lambda: dock.is_settled, "the dock")
    with tour.step("grow a structure by 6 mm"):
        voxels = np.bincount(dock.choices.predictions.layer.data.ravel())
        largest = dock.tools.structures.findData(1 + int(np.argmax(voxels[1:])))
        pick(dock.tools.structures, dock.tools.structures.itemText(largest))
        dock.tools.mm.setFocus()
        dock.tools.mm.selectAll()
        QTest.keyClicks(dock.tools.mm, "6")
        _tool(dock, "grow")
        tour.expect("grown" in dock.status.text(), f"it says {dock.status.text()!r}")
    with tour.step("undo it"):
        tour.canvas.setFocus()
        QTest.keyClick(tour.canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
        wait_until(lambda: dock.is_settled, "the score as before", 120)
    with tour.step("fill between slices, where there are gaps, or keep the largest part"):
        found = dock.choices.predictions.layer.data == dock.tools.structures.currentData()
        slices = np.flatnonzero(found.any(axis=(1, 2)))
        _tool(dock, "fill" if (np.diff(slices) > 1).any() else "largest")
    with tour.step("correct and continue"):
        _tool(dock, "smooth")
        folder = tour.out / "corrected"
        with naming(getExistingDirectory=str(folder)):
            press(dock, "correct_and_continue")
            wait_until(lambda: dock_seen(tour, TrainDock), "Train in front", 60)
        tour.expect((folder / "labels").is_dir(), f"it says {dock.status.text()!r}")


def _tool(dock: Any, name: str) -> None:
    """Choose an entry of the menu of edit tools."""
    before = dock.status.text()
    dock.tools.menu.aboutToShow.emit()
    action = next(one for one in dock.tools.menu.actions() if one.objectName() == f"edit_{name}")
    action.trigger()
    wait_until(lambda: dock.is_settled and dock.status.text() != before, "the edit", 120)


def dock_seen(tour: Tour, kind: type[Any]) -> bool:
    """Whether a dock of this kind is in front."""
    return any(not one.visibleRegion().isEmpty() for one in tour.window.findChildren(kind))


def check_and_estimate(tour: Tour) -> None:
    """The methods, the recommended one first; a wrong folder; what is wrong with the data; how long it takes."""
    form = tour.open("Train", TrainDock).form
    with tour.step("methods by family, the recommended one first"):
        wait_until(lambda: form.methods.method is not None and form.is_settled, "the methods")
        form.scrolling.ensureWidgetVisible(form.methods.methods)
        form.methods.methods.showPopup()
        wait(0.5)
        tour.look("list of methods")
        form.methods.methods.hidePopup()
    with tour.step("a data folder that is not there"):
        type_into(form.data.source.folder.line_edit.native, str(SAMPLES / "no_such_folder"))
        wait_until(lambda: not form.start.isEnabled(), "Start to be off")
    with tour.step("check the data"):
        type_into(form.data.source.folder.line_edit.native, str(SAMPLES / "ct"))
        type_into(form.data.target.folder.line_edit.native, str(SAMPLES / "mr"))
        press(form, "check")
        wait_until(lambda: not form.is_settled, "the check to begin")
        wait_until(lambda: form.is_settled, "the check of the data", 120)
        form.scrolling.ensureWidgetVisible(form.data.reports)
    with tour.step("how long would it take"):
        press(form, "estimate")
        wait_until(lambda: not form.is_settled, "the estimate to begin")
        wait_until(lambda: form.is_settled, "the estimate", 180)
        tour.expect(" s a step" in form.status.text(), f"it says {form.status.text()!r}")


def train_on(tour: Tour) -> None:
    """A few steps with the corrected case, which is never scored from then on."""
    viewer, dock = tour.viewer, tour.open("Train", TrainDock)
    form = dock.form
    with tour.step("train on with the corrected case"):
        tour.expect(form.data.init.value, "no run to start from is chosen")
        set_field(form, "steps", "4")
        press(form, "start")
        wait_until(lambda: dock.watch.path is not None, "the run")
        run = dock.watch.path
        wait_until(lambda: state_of(run) in ("finished", "failed"), "the end of training", 300)
        tour.expect(state_of(run) == "finished", f"the run is {state_of(run)}")
        wait_until(dock.watch.more.isEnabled, "the dock to say that it finished")
        facts = json.loads((run / "data.json").read_text())
        told, cases = facts["target_supervision"], facts["corrected_contents"]
        tour.expect(told == "corrected (1 case)" and len(cases) == 1, f"data.json says {told!r}")
    segmenting = tour.open("Segment", SegmentDock)
    with tour.step("the run that has learnt from it segments it"):
        wait_until(lambda: segmenting.models.findText(run.name, BEGINS) >= 0, "it among the models")
        pick(segmenting.models, run.name)
        wait_until(lambda: segmenting.model == run and segmenting.is_settled, "the run")
        press(segmenting, "run")
        wait_until(lambda: not segmenting.is_settled, "the segmentation to begin")
        wait_until(lambda: segmenting.is_settled, "the segmentation", 180)
    scoring = tour.open("Score", ScoreDock)
    with tour.step("what was learnt from is not scored"):
        own = [one for one in layers_of(viewer, "prediction") if tag(one)["run"] == run.name]
        pick(scoring.choices.predictions, own[-1].name)
        press(scoring, "score")
        wait_until(lambda: "left out of the scores" in scoring.status.text(), "a word on it", 60)
        notification_manager.records.clear()  # napari tells it as an error


def keep(tour: Tour) -> None:
    """Save the session, and see it in another window."""
    data = tour.open("Data", DataDock)
    file = tour.out / "session.yaml"
    with tour.step("save the session"), answering("Save beside", look=tour.look):
        data.session.save(file)
        wait_until(file.is_file, "the session", 60)
        wait_until(lambda: data.is_settled, "the dock")
    with tour.step("the session in another window"):
        _shell(tour, "show", file, "--screenshot", tour.file("another window"))


def models(tour: Tour) -> None:
    """What each model is; one handed on as a file, and taken in again."""
    data = tour.open("Data", DataDock)
    panel, packed = data.models, tour.out / "handed_on.zip"
    with tour.step("models with their cards"):
        show_tab(data.tabs, "Models")
        wait_until(lambda: panel.model == MODEL and panel.is_settled, "the cards")
    with (
        tour.step("export a model, import it"),
        naming(getSaveFileName=(str(packed), ""), getOpenFileName=(str(packed), "")),
    ):
        press(data, "export_model")
        wait_until(lambda: packed.is_file() and panel.is_settled, "the file", 60)
        press(data, "import_model")
        wait_until(lambda: panel.model not in (None, MODEL) and panel.is_settled, "it", 60)


def translate(tour: Tour) -> None:
    """The shipped translator, side by side."""
    viewer, dock = tour.viewer, tour.open("Translate", TranslateDock)
    with tour.step("translate with the shipped run"):
        wait_until(lambda: dock.model is not None and dock.is_settled, "the shipped run")
        pick(dock.directions, "Target to source")
        press(dock, "translate")
        wait_until(lambda: dock.result is not None and dock.is_settled, "the translation", 180)
        wait(1.0)
        tour.expect(viewer.canvas.grid.enabled, "the translation is not shown side by side")
        tour.look("translated")
        check(dock.views, False)
        wait_until(lambda: not viewer.canvas.grid.enabled, "one canvas again")


def turned(tour: Tour, files: Files) -> None:
    """A tilted volume beside a straight one of the same patient."""
    viewer, dock = tour.viewer, tour.open("View", ViewDock)
    with tour.step("a tilted volume beside a straight one"):
        for layer in list(viewer.layers):
            layer.visible = False
        with naming(getOpenFileNames=([str(files.volume), str(files.turned)], "")):
            press(dock, "open_volume")
            wait_until(lambda: len(_named(viewer, files)) == 2, "both volumes")
            wait_until(lambda: dock.open_bar.opening is None, "the end of opening")
        for layer in layers_of(viewer, "image"):
            layer.visible = layer in _named(viewer, files)
        wait_until(lambda: dock.turned.isVisible(), "a word about the tilt")
    with tour.step("resampled for display"):
        press(dock, "resample")
        wait_until(lambda: layers_of(viewer, "display") and dock.is_settled, "the copy")


def _named(viewer: Any, files: Files) -> list[Any]:
    """The images of the straight and the tilted volume."""
    cases = {case_name(file) for file in (files.volume, files.turned)}
    return [layer for layer in layers_of(viewer, "image") if tag(layer)["case"] in cases]


def large_in_3d(tour: Tour, files: Files) -> None:
    """The button of napari for 3-D, on a volume that would freeze the window."""
    viewer, dock = tour.viewer, tour.open("View", ViewDock)
    with tour.step("a large volume"):
        with naming(getOpenFileNames=([str(files.large)], "")):
            press(dock, "open_volume")
            name = case_name(files.large)
            wait_until(
                lambda: any(tag(one)["case"] == name for one in layers_of(viewer, "image")), "it"
            )
            wait_until(lambda: dock.open_bar.opening is None, "the end of opening")
        (image,) = (one for one in layers_of(viewer, "image") if tag(one)["case"] == name)
    buttons = tour.window.findChildren(QPushButton)
    turn = next(one for one in buttons if one.property("mode") == "ndisplay_button")
    with tour.step("napari's button for 3-D: a coarser copy"):
        click(turn)
        wait_until(lambda: layers_of(viewer, "coarse"), "the coarser copy", 60)
        (copy,) = layers_of(viewer, "coarse")
        tour.expect(copy.visible and not image.visible, "the whole volume is drawn")
        tour.expect(copy.data.size <= 2e6, f"the copy has {copy.data.size} voxels")
        ends = [[0, 0, 0], np.array(image.data.shape) - 1]
        middle = np.mean([image.data_to_world(end) for end in ends], axis=0)
        away = np.abs(copy.world_to_data(middle) - (np.array(copy.data.shape) - 1) / 2)
        tour.expect((away <= 1).all(), f"the copy lies {away} of its voxels beside the volume")
        said = notification_manager.records[-1].message
        tour.expect("million voxels" in said, f"napari says {said!r}")
    with tour.step("turn it, and back to slices"):
        centre = tour.canvas.rect().center()
        before = viewer.camera.angles
        stroke(tour.canvas, centre, centre + QPoint(150, 60))
        tour.expect(viewer.camera.angles != before, "dragging does not turn the volume")
        tour.look("turned")
        click(turn)
        tour.expect(image.visible, "the volume did not come back")
        tour.expect(not layers_of(viewer, "coarse"), "the copy is still there")
    viewer.layers.remove(image)
    _named(viewer, files)[0].visible = True
    click(next(one for one in buttons if one.property("mode") == "home"))


def keys(tour: Tour) -> None:
    """The help of a dock, and its keys in napari's own list."""
    dock = tour.open("View", ViewDock)
    with tour.step("help of the dock"):
        press(dock, "help")
        page = dock.findChild(QDialog, "help_page")
        page.move(tour.window.pos())
        wait(0.5)
        tour.look("help")
        press(page, "close_help")
    with tour.step("keys in napari's own list"):
        choose(tour.viewer.window.file_menu, "Preferences")
        preferences = next(
            one
            for one in QApplication.topLevelWidgets()
            if type(one).__name__ == "PreferencesDialog"
        )
        preferences.move(tour.window.pos())
        pages = next(one for one in preferences.findChildren(QListWidget) if one.count() > 3)
        pages.setCurrentItem(pages.findItems("Shortcuts", Qt.MatchFlag.MatchExactly)[0])
        wait(0.5)
        tables = preferences.findChildren(QTableWidget)
        ours = [one.findItems("(napari_uda)", Qt.MatchFlag.MatchContains) for one in tables]
        tour.expect(any(ours), "napari's list of shortcuts has none of the docks'")
        for table, found in zip(tables, ours, strict=True):
            if found:
                table.scrollToItem(found[0])
        wait(0.5)
        tour.look("shortcuts")
        preferences.reject()


def letters(tour: Tour) -> None:
    """Alt and the underlined letter: a box, a field, and that nobody shares a letter."""
    dock = tour.open("View", ViewDock)
    tour.window.activateWindow()
    wait_until(tour.window.isActiveWindow, "the window to be active")
    with tour.step("Alt and the letter of a box"):
        _expect_letters(tour, dock)
        before = dock.linked.isChecked()
        for wanted in (not before, before):
            _with_alt(tour, dock.linked.shortcut())
            wait_until(lambda wanted=wanted: dock.linked.isChecked() == wanted, "the box", 10)
            wait_until(lambda: dock.is_settled, "the cuts")
            tour.look(f"linked cuts {'on' if wanted else 'off'}")
    dock = tour.open("Segment", SegmentDock)
    with tour.step("Alt and the letter of a field"):
        wait_until(lambda: any(_titles(dock).values()), "a title with a letter", 10)
        _expect_letters(tour, dock)
        title, letter = next((one, letter) for one, letter in _titles(dock).items() if letter)
        _with_alt(tour, QKeySequence(letter))
        field, at = title.buddy(), tour.window.focusWidget()
        reached = at is not None and (at is field or field.isAncestorOf(at))
        tour.expect(reached, f"the letter of {title.text()!r} leads to {at}")


def _titles(dock: Any) -> dict[Any, str]:
    """Titles of fields, and Alt with the letter of each, "" for none."""
    found = [one for one in dock.findChildren(QLabel) if one.buddy() is not None]
    return {one: QKeySequence.mnemonic(QLabel.text(one)).toString() for one in found}


def _expect_letters(tour: Tour, dock: Any) -> None:
    """Most of what is seen has a letter, and none has that of another one."""
    buttons = [one.shortcut().toString() for one in dock.findChildren(QAbstractButton)]
    given = [one for one in (*buttons, *_titles(dock).values()) if one]
    tour.expect(len(set(given)) == len(given) > 8, f"the letters are {sorted(given)}")


def _with_alt(tour: Tour, letter: QKeySequence) -> None:
    """Type Alt and a letter."""
    sign = letter.toString().removeprefix("Alt+")
    QTest.keyClick(tour.window, getattr(Qt.Key, f"Key_{sign}"), Qt.KeyboardModifier.AltModifier)


if __name__ == "__main__":
    sys.exit(main())
