"""A reader's morning with files of their own: open, look, segment, compare, measure, correct, keep, hand on.

    tools/with-display .venv/bin/python tools/reading.py --out FOLDER [--volume FILE] [--dicom FOLDER] [--cases FOLDER]
        [--size 1280x720] [--theme dark]

Everything is done with clicks and keys on the real windows; only the answers of file dialogs are given by the
script. Files that are not named are made from the sample data: a volume, a tree of DICOM folders with two series,
a data folder. FOLDER, new or empty, takes a numbered screenshot of every step, and settings of its own. The table
tells how long each step took and the longest time that the window did not react. Ends with 1 and one sentence when
something is not as a user may expect.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import numpy as np
from hands import (
    Stuck,
    answering,
    check,
    choose,
    click,
    click_row,
    dock_of,
    layer_of,
    layers_of,
    own_settings,
    pick,
    place_of,
    press,
    show_tab,
    stroke,
    wait,
    wait_until,
)
from napari.settings import get_settings
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog, QLineEdit, QPushButton
from tour import Tour

from napari_uda.data.volume import read_volume
from napari_uda.gui.data.dock import DataDock
from napari_uda.gui.kit.files import MODEL, SAMPLES
from napari_uda.gui.launch import close_notices
from napari_uda.gui.score.dock import ScoreDock
from napari_uda.gui.segment.dock import SegmentDock
from napari_uda.gui.train.dock import TrainDock
from napari_uda.gui.translate.dock import TranslateDock
from napari_uda.gui.view.dock import ViewDock


def main() -> int:
    """Start napari in a process of its own, with settings of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="new or empty folder")
    parser.add_argument("--volume", type=Path, help="one volume file")
    parser.add_argument("--dicom", type=Path, help="folder with several DICOM series")
    parser.add_argument("--cases", type=Path, help="data folder with at least two labelled cases")
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
    command = [sys.executable, __file__, *sys.argv[1:], "--inside"]
    return subprocess.run(command, env=own_settings(out / "settings"), check=False).returncode


def _morning(given: argparse.Namespace, out: Path) -> int:
    width, height = map(int, given.size.split("x"))
    files = _files(given, out / "files")
    get_settings().appearance.theme = given.theme
    tour = Tour(out, 0, (width, height))
    try:
        wait(2.0)
        close_notices()
        open_files(tour, *files)
        look_at_cases(tour, files[2])
        segment(tour)
        score(tour)
        measure_and_surfaces(tour)
        correct(tour)
        keep(tour)
        models_and_methods(tour)
        translate(tour)
    except Stuck as problem:
        with suppress(Exception):
            tour.look("failed")
        print(f"step {tour.number}, {tour.title}: {problem}", file=sys.stderr)
        return 1
    finally:
        tour.end()
    return 0


# -- files ----------------------------------------------------------------------------------------


def _files(given: argparse.Namespace, folder: Path) -> tuple[Path, Path, Path]:
    """The volume, the DICOM folder and the data folder; what is not named is made."""
    cases = given.cases
    if cases is None:
        cases = folder / "mr"
        shutil.copytree(SAMPLES / "mr", cases)
    volume = given.volume or next((SAMPLES / "ct" / "images").glob("*.nii.gz"))
    dicom = given.dicom
    if dicom is None:
        dicom = folder / "study"
        for number, modality in enumerate(("CT", "MR"), start=1):
            source = next((SAMPLES / modality.lower() / "images").glob("*.nii.gz"))
            _write_series(dicom / f"series_{number}", source, modality, number)
    return volume.absolute(), dicom.absolute(), cases.absolute()


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


def open_files(tour: Tour, volume: Path, dicom: Path, cases: Path) -> None:
    """The workbench; a volume, a DICOM series of several, a case folder; napari's own File > Open."""
    viewer = tour.viewer
    with tour.step("Plugins > napari_uda > Workbench"):
        choose(viewer.window.plugins_menu, "napari_uda", "Workbench")
        wait_until(lambda: tour.window.findChildren(DataDock), "the docks")
        data = tour.window.findChildren(DataDock)[0]
        wait_until(lambda: not data.visibleRegion().isEmpty(), "the dock Data in front")
    with tour.step("Open volume"):
        with patch.object(QFileDialog, "getOpenFileNames", lambda *_, **__: ([str(volume)], "")):
            press(data, "open_volume")
            wait_until(lambda: layers_of(viewer, "image"), "the image")
        image = layer_of(viewer, "image")
        low, high = image.contrast_limits
        tour.expect(high - low < float(np.ptp(image.data)), "the window is as wide as all values")
        middle = image.data.shape[0] // 2
        here = round(float(image.world_to_data(viewer.dims.point)[0]))
        tour.expect(abs(here - middle) <= 1, f"slice {here} is shown, not the middle {middle}")
    with tour.step("open NIfTI with napari_uda from now on"):
        bar = data.open_bar
        if bar.question.isVisible():
            click(next(one for one in bar.question.findChildren(QPushButton)))
    with tour.step("Open DICOM: a list of series"):
        with (
            patch.object(QFileDialog, "getExistingDirectory", lambda *_, **__: str(dicom)),
            answering("Open", look=tour.look) as clicked,
        ):
            press(data, "open_dicom")
            wait_until(lambda: len(layers_of(viewer, "image")) == 2, "the series")
        tour.expect(clicked == ["Open"], "nobody asked which of the series is meant")
        tour.expect(layers_of(viewer, "image")[-1].visible, "what was opened last is not seen")
    with tour.step("the readout follows the image on top"):
        view = tour.open("View", ViewDock)
        wait_until(lambda: view.is_settled, "the View dock")
        stroke(tour.canvas, tour.canvas.rect().center())
        wait(0.5)
        texts = view.readout.texts
        tour.expect(texts["Intensity"] != "–", f"the readout is empty: {texts}")


def look_at_cases(tour: Tour, cases: Path) -> None:
    """A data folder as a list; next and previous by key; a filter; what is on the screen as a tree."""
    viewer, data = tour.viewer, tour.open("Data", DataDock)
    with tour.step("a folder of cases"):
        show_tab(data.tabs, "Cases")
        with patch.object(QFileDialog, "getExistingDirectory", lambda *_, **__: str(cases)):
            press(data, "cases_folder")
            wait_until(lambda: data.cases.is_settled and data.cases.current, "the first case")
        first = data.cases.current.name
    with tour.step("the next case by key"):
        QTest.keyClick(tour.canvas, Qt.Key.Key_PageDown)
        wait_until(
            lambda: data.cases.is_settled and data.cases.current.name != first, "the next case"
        )
        shown = [layer for layer in layers_of(viewer, "image") if layer.visible]
        tour.expect(len(shown) == 1, f"{len(shown)} images lie upon each other")
    with tour.step("filter the cases"):
        line = data.findChild(QLineEdit, "cases_filter")
        line.setText(data.cases.current.name)
        wait_until(lambda: data.cases.table.rowCount() == 1, "one case in the list")
        line.clear()
    with tour.step("what is on the screen, by case"):
        show_tab(data.tabs, "On screen")


def segment(tour: Tour) -> None:
    """The shipped model on the case; the verdict, the legend, the three maps side by side."""
    dock = tour.open("Segment", SegmentDock)
    wait_until(lambda: dock.model is not None, "the models")
    with tour.step("segment the case"):
        press(dock, "run")
        wait_until(lambda: layers_of(tour.viewer, "prediction") and dock.is_settled, "the result")
    with tour.step("uncertainty of the result"):
        show_tab(dock.results.tabs, "Uncertainty")
        wait_until(lambda: dock.is_settled, "the counts")
    with tour.step("side by side"):
        check(dock.views)
        wait_until(lambda: tour.viewer.canvas.grid.enabled, "the grid")
        wait_until(lambda: dock.is_settled, "the panels")
        tour.look("side by side, the panels")
        check(dock.views, False)
        wait_until(lambda: not tour.viewer.canvas.grid.enabled, "one canvas again")
        show_tab(dock.results.tabs, "Structures")


def score(tour: Tour) -> None:
    """Scores beside the labels, slice by slice, and the report."""
    dock = tour.open("Score", ScoreDock)
    with tour.step("score against the labels"):
        press(dock, "score")
        wait_until(lambda: bool(dock.results) and dock.is_settled, "the scores", 180)
        click_row(dock.table, 0)
    with tour.step("export with a report"):
        out = tour.out / "exported"
        out.mkdir()
        with patch.object(QFileDialog, "getExistingDirectory", lambda *_, **__: str(out)):
            press(dock, "export")
            wait_until(lambda: (out / "report.html").is_file(), "the report", 120)


def measure_and_surfaces(tour: Tour) -> None:
    """A ruler, structures in numbers, and surfaces with their distance to the reference."""
    viewer, dock = tour.viewer, tour.open("View", ViewDock)
    with tour.step("measure structures"):
        dock.measuring.set_open(True)
        wait(0.5)
        press(dock, "measure_structures")
        wait_until(lambda: dock.is_settled, "the measures", 120)
    with tour.step("a ruler"):
        image = next(layer for layer in layers_of(viewer, "image") if layer.visible)
        slice_ = round(float(image.world_to_data(viewer.dims.point)[0]))
        rows, columns = image.data.shape[1:]
        press(dock, "measure_ruler")
        for column in (columns // 3, 2 * columns // 3):
            stroke(tour.canvas, place_of(viewer, tour.canvas, image, (slice_, rows // 2, column)))
            wait(0.3)
        wait_until(lambda: dock.is_settled, "the length")
        press(dock, "measure_ruler")
    with tour.step("surfaces in 3-D with the distance to the reference"):
        dock.measuring.set_open(False)
        press(dock, "surfaces")
        wait_until(lambda: viewer.dims.ndisplay == 3 and dock.is_settled, "the surfaces", 180)
        if dock.surfaces.distance.isEnabled():
            check(dock.surfaces.distance)
            wait_until(lambda: dock.is_settled, "the distances", 180)
        tour.look("surfaces")
        press(dock, "surfaces")
        wait_until(lambda: viewer.dims.ndisplay == 2, "slices again")


def correct(tour: Tour) -> None:
    """Grow a structure by a millimetre, see the score change, and undo."""
    dock = tour.open("Score", ScoreDock)
    with tour.step("grow a structure"):
        dock.tools_fold.set_open(True)
        wait_until(lambda: dock.is_settled, "the dock")
        before = dock.status.text()
        action = next(one for one in dock.tools.menu.actions() if one.objectName() == "edit_grow")
        action.trigger()
        wait_until(lambda: dock.is_settled and dock.status.text() != before, "the edit", 120)
    with tour.step("undo it"):
        QTest.keyClick(tour.canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
        wait_until(lambda: dock.is_settled, "the score as before", 120)


def keep(tour: Tour) -> None:
    """Save the session."""
    data = tour.open("Data", DataDock)
    with tour.step("save the session"):
        file = tour.out / "session.yaml"
        with answering("Save beside", look=tour.look):
            data.session.save(file)
            wait_until(file.is_file, "the session", 60)


def models_and_methods(tour: Tour) -> None:
    """What each model is, and which method is recommended."""
    data = dock_of(tour.window, DataDock)  # in front; its entry would switch it off
    with tour.step("models with their cards"):
        show_tab(data.tabs, "Models")
        wait_until(lambda: data.models.model == MODEL and data.models.is_settled, "the cards")
    train = tour.open("Train", TrainDock)
    with tour.step("methods, the recommended one first"):
        wait_until(lambda: train.form.methods.method is not None, "the methods")


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


if __name__ == "__main__":
    sys.exit(main())
