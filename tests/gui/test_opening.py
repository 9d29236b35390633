"""Opening a user's files: what was opened is what is seen, in a usable window; another patient is hidden."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from dicom_files import planes, write_slices
from gui_cases import ball_case, let_events_pass
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QDialogButtonBox, QFileDialog, QWidget
from segmentation_files import write_image, write_rtstruct

from napari_uda.core.progress import tell
from napari_uda.data.volume import Volume, write_volume
from napari_uda.gui.kit import opening as opening_module
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.kit.opening import Opening, open_paths
from napari_uda.gui.kit.series_choice import SeriesDialog
from napari_uda.gui.segment.result_layers import show_structures
from napari_uda.run.offers import Offer, Part

SQUARE = [(-6.5, -8.0, 3.0), (-3.5, -8.0, 3.0), (-3.5, -5.0, 3.0), (-6.5, -5.0, 3.0)]


class Bench:
    """A viewer's model, and a widget that opens files in it."""

    def __init__(self, qtbot: QtBot) -> None:
        self.viewer, self.owner, self._qtbot = ViewerModel(), QWidget(), qtbot
        self.viewer.canvas.size = (600, 800)
        self.problems: list[str] = []
        qtbot.addWidget(self.owner)

    def open(self, *paths: Path, wait: bool = True) -> tuple[list[Layer], list[str]]:
        """New layers, and the sentence at the end."""
        layers: list[Layer] = []
        opening = open_paths(self.owner, self.viewer, paths)
        opening.opened.connect(layers.extend)
        return layers, self.follow(opening) if wait else []

    def follow(self, opening: Opening) -> list[str]:
        said: list[str] = []
        opening.failed.connect(self.problems.append)
        opening.ended.connect(said.append)
        self._qtbot.waitUntil(lambda: bool(said))
        return said


@pytest.fixture
def bench(qtbot: QtBot) -> Bench:
    return Bench(qtbot)


def write_ball(path: Path, affine: np.ndarray | None = None) -> Path:
    write_volume(path, ball_case("", 0, affine)[0])
    return path


def seen(viewer: ViewerModel) -> list[str]:
    return [layer.name for layer in viewer.layers if layer.visible]


def test_the_view_goes_to_what_was_opened(bench: Bench, tmp_path: Path) -> None:
    write_ball(tmp_path / "a.nii.gz")
    moved = np.diag([-1.5, -1.5, 8.0, 1.0])
    moved[:3, 3] = 400, -300, 900
    (first,), said = bench.open(tmp_path / "a.nii.gz")
    low, high = np.percentile(first.data, (1, 99))
    window = f"W {high - low:.0f}  L {(low + high) / 2:.0f}"
    assert said == [f"a: 6 x 32 x 40 voxels of 8 x 1.5 x 1.5 mm, {window}."]
    zoom, centre = bench.viewer.scene.camera.zoom, bench.viewer.scene.camera.center
    (second,), said = bench.open(write_ball(tmp_path / "b.nii.gz", moved))
    assert [round(at) for at in second.world_to_data(bench.viewer.dims.point)] == [3, 16, 20]
    assert bench.viewer.scene.camera.zoom == pytest.approx(zoom)
    assert bench.viewer.scene.camera.center != centre
    assert seen(bench.viewer) == ["b"]
    assert bench.viewer.layers.selection.active is second
    assert said[0].endswith("a is hidden: another patient or place; the eye of a layer shows it.")
    assert first in bench.viewer.layers


def test_windows_of_dicom_ct_and_others(bench: Bench, tmp_path: Path) -> None:
    dicom = write_slices(
        tmp_path / "ct", planes(3), [0.0, 5, 10], WindowWidth=[350, 80], WindowCenter=[50, 40]
    )
    values = np.linspace(-1000, 3000, 6 * 8 * 10).reshape(6, 8, 10).astype(np.int16)
    write_volume(tmp_path / "hu.nii", Volume(values, np.eye(4)))
    write_volume(tmp_path / "mr.nii", Volume(np.abs(values), np.eye(4)))
    limits, ranges = {}, {}
    for path in (dicom, tmp_path / "hu.nii", tmp_path / "mr.nii"):
        (layer,), _ = bench.open(path)
        limits[path.name] = tuple(layer.contrast_limits)
        ranges[path.name] = tuple(layer.contrast_limits_range)
        assert not layer.auto_contrast
    assert limits["ct"] == (-125, 225)
    assert limits["hu.nii"] == (-160, 240)  # soft tissue
    low, high = np.percentile(np.abs(values), (1, 99))
    assert limits["mr.nii"] == pytest.approx((low, high))
    # the ends of napari's slider are those of the values
    assert ranges["hu.nii"] == (-1000, 3000)
    assert ranges["ct"] == (-125, 225)  # a window wider than the values


def test_series_of_one_frame_of_reference_stay_visible(bench: Bench, tmp_path: Path) -> None:
    frame = {"FrameOfReferenceUID": "1.2.9"}
    t1 = write_slices(tmp_path / "t1", planes(3), [0.0, 5, 10], SeriesInstanceUID="1.1", **frame)
    t2 = write_slices(tmp_path / "t2", planes(2), [0.0, 9], SeriesInstanceUID="1.2", **frame)
    other = write_slices(
        tmp_path / "ct", planes(2), [0.0, 9], SeriesInstanceUID="1.3", FrameOfReferenceUID="1.2.8"
    )
    bench.open(t1)
    bench.open(t2)
    assert seen(bench.viewer) == ["t1", "t2"]
    bench.open(other)
    assert seen(bench.viewer) == ["ct"]


def test_structures_come_onto_their_image_and_leave_the_slice(bench: Bench, tmp_path: Path) -> None:
    image, labels = ball_case("", 0)
    write_volume(tmp_path / "a" / "scan.nii.gz", image)
    write_volume(tmp_path / "b" / "drawn_seg.nii.gz", labels)
    bench.open(tmp_path / "a" / "scan.nii.gz")
    bench.viewer.dims.set_current_step(0, 1)
    bench.open(tmp_path / "b" / "drawn_seg.nii.gz")
    assert seen(bench.viewer) == ["scan", "drawn · reference"]
    assert bench.viewer.dims.current_step[0] == 1


def test_several_files_at_once_show_the_first_patient(bench: Bench, tmp_path: Path) -> None:
    paths = [write_ball(tmp_path / f"{name}.nii.gz") for name in "abc"]
    layers, said = bench.open(*paths)
    assert [layer.name for layer in layers] == ["a", "b", "c"]
    assert seen(bench.viewer) == ["a"]
    assert ", and 2 more layers." in said[0]


def test_an_image_that_is_open_is_gone_to(bench: Bench, tmp_path: Path) -> None:
    path = write_ball(tmp_path / "a.nii.gz")
    (first,), _ = bench.open(path)
    bench.open(write_ball(tmp_path / "b.nii.gz"))
    (again,), _ = bench.open(path)
    assert again is first
    assert len(bench.viewer.layers) == 2
    assert seen(bench.viewer) == ["a"]
    image, _ = ball_case("", 5)
    write_volume(path, image)  # exported anew
    (new,), _ = bench.open(path)
    assert new is not first


def test_a_data_folder_shows_its_first_case(bench: Bench, data_folder: Path) -> None:
    found: list[tuple[Path, str]] = []
    opening = open_paths(bench.owner, bench.viewer, [data_folder])
    opening.data_folder_found.connect(lambda *about: found.append(about))
    (said,) = bench.follow(opening)
    assert found == [(data_folder, "case_0")]
    assert said.endswith(
        f"It is the first case of {data_folder.name}; the tab Cases of the Data dock lists all."
    )
    assert seen(bench.viewer) == ["case_0", "case_0 · reference"]


def test_contours_open_with_their_image_and_colours(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = write_image(tmp_path / "archive" / "study" / "CT")
    drawn = write_rtstruct(tmp_path / "inbox" / "mail" / "rs.dcm", [("X", [SQUARE])], [(255, 0, 9)])
    asked: list[str] = []

    def choose(parent: QWidget, title: str) -> str:
        asked.append(title)
        return str(tmp_path / "archive")

    monkeypatch.setattr(QFileDialog, "getExistingDirectory", choose)
    layers, _ = bench.open(drawn)
    assert asked == ["Folder of the images that rs.dcm was drawn on"]
    assert [type(layer) for layer in layers] == [Image, Labels]
    np.testing.assert_allclose(layers[1].get_color(1), (1, 0, 9 / 255, 1), atol=1e-2)
    show_structures(layers[1], (), outlined=None, opacity=None)  # as the legend of a result does
    np.testing.assert_allclose(layers[1].get_color(1), (1, 0, 9 / 255, 1), atol=1e-2)
    bench.open(image)
    assert len(bench.viewer.layers) == 2  # the same series
    bench.open(drawn)  # whose image is open now
    assert len(asked) == 1
    bench.viewer.layers.clear()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: "")
    _, said = bench.open(drawn)
    assert said[0].startswith("rs.dcm: holds contours (RTSTRUCT), and the image series")
    assert bench.problems == said


def test_the_user_chooses_among_series(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, count in ((1, 2), (2, 4)):
        name = {"SeriesInstanceUID": f"1.{number}", "SeriesDescription": f"S{number}"}
        heights = [3.0 * height for height in range(count)]
        write_slices(tmp_path, planes(count), heights, SeriesNumber=number, **name)

    def agree(dialog: SeriesDialog) -> bool:
        rows = [
            [dialog.table.item(row, column).text() for column in range(5)]
            for row in range(dialog.table.rowCount())
        ]
        assert rows == [["S1", "CT", "2", "4 x 6", ""], ["S2", "CT", "4", "4 x 6", ""]]
        assert [offer.description for offer in dialog.chosen] == ["S2"]  # the larger one
        dialog.table.selectRow(0)
        return True

    monkeypatch.setattr(SeriesDialog, "exec", agree)
    (layer,), _ = bench.open(tmp_path)
    assert layer.data.shape == (2, 4, 6)
    monkeypatch.setattr(SeriesDialog, "exec", lambda _: False)
    layers, said = bench.open(tmp_path)
    assert (layers, said) == ([], ["Cancelled; nothing was opened."])


def test_series_are_chosen_with_the_mouse(qtbot: QtBot) -> None:
    offers = [Offer(name, (Part(Path(name)),), name) for name in "abc"]
    dialog = SeriesDialog(offers)
    qtbot.addWidget(dialog)
    open_button = dialog.buttons.button(QDialogButtonBox.StandardButton.Open)
    dialog.table.clearSelection()
    assert not open_button.isEnabled()
    dialog.table.cellDoubleClicked.emit(1, 0)
    assert dialog.result() == 1
    assert dialog.chosen == [offers[1]]


def test_a_long_description_of_a_series_is_shown_in_full(qtbot: QtBot) -> None:
    said = (
        "T1 VIBE DIXON TRA BH 3 MM POST CONTRAST 20 MIN HEPATOBILIARY PHASE"  # 64 letters at most
    )
    offer = Offer("patient", (Part(Path("a")),), said, "MR", "88", "512 x 512", "2026-03-01")
    names = [replace(offer, name=f"patient_{said.replace(' ', '_')}_{one}") for one in (1, 2)]
    dialog = SeriesDialog(names)
    qtbot.addWidget(dialog)
    dialog.show()
    for place in range(dialog.table.columnCount()):
        assert dialog.table.columnWidth(place) >= dialog.table.sizeHintForColumn(place)
    assert not dialog.table.horizontalScrollBar().isVisible()
    assert dialog.table.item(0, 0).toolTip() == said


def test_cancel_leaves_nothing(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(*_: Any) -> None:
        while True:
            tell(1, 100)
            stopped.wait(0.01)

    stopped = threading.Event()
    write_ball(tmp_path / "a.nii.gz")
    monkeypatch.setattr(opening_module, "read_offer", endless)
    opening = open_paths(bench.owner, bench.viewer, [tmp_path / "a.nii.gz"])
    reached: list[tuple[int, int]] = []
    opening.progressed.connect(lambda done, total: reached.append((done, total)))
    opening.progressed.connect(lambda *_: opening.cancel())
    assert bench.follow(opening) == ["Cancelled; nothing was opened."]
    assert (1, 100) in reached
    assert not bench.viewer.layers
    assert bench.problems == []


def test_images_and_labels_of_two_folders_at_once_show_the_first_case(
    bench: Bench, data_folder: Path
) -> None:
    files = [
        *sorted((data_folder / "images").iterdir()),
        *sorted((data_folder / "labels").iterdir()),
    ]
    bench.open(*files)
    seen = [layer for layer in bench.viewer.layers if layer.visible]
    assert [(tag(layer)["case"], tag(layer)["role"]) for layer in seen] == [
        ("case_0", "image"),
        ("case_0", "reference"),
    ]


def three_files(folder: Path) -> list[Path]:
    files = []
    for number in range(3):
        image = replace(ball_case("case", number)[0], name=f"case_{number}")
        files.append(folder / f"case_{number}.nii.gz")
        write_volume(files[-1], image)
    return files


def test_cancelled_while_layers_are_added(bench: Bench, tmp_path: Path) -> None:
    opening = open_paths(bench.owner, bench.viewer, three_files(tmp_path))
    bench.viewer.layers.events.inserted.connect(lambda _: opening.cancel())
    (said,) = bench.follow(opening)
    assert [layer.name for layer in bench.viewer.layers] == ["case_0"]
    assert said.startswith("Cancelled; the rest was not opened. case_0: ")


def test_layers_may_be_removed_while_others_are_added(bench: Bench, tmp_path: Path) -> None:
    opening = open_paths(bench.owner, bench.viewer, three_files(tmp_path))

    def on_inserted(event: Any) -> None:
        if event.value.name == "case_1":
            QTimer.singleShot(0, lambda: bench.viewer.layers.remove("case_0"))

    bench.viewer.layers.events.inserted.connect(on_inserted)
    (said,) = bench.follow(opening)
    assert [layer.name for layer in bench.viewer.layers] == ["case_1", "case_2"]
    assert said.startswith("case_1: ")
    assert bench.problems == []


def test_cancelled_before_it_began(bench: Bench, tmp_path: Path) -> None:
    opening = open_paths(bench.owner, bench.viewer, [tmp_path / "gone.nii"])
    opening.cancel()
    assert bench.follow(opening) == ["Cancelled; nothing was opened."]


def test_the_placement_is_asked_for(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mni = np.diag([1.0, 1, 2, 1])
    mni[2, 3] = 12
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(5, 4, 3), mni)
    image.set_sform(mni, 4)
    image.set_qform(np.diag([1.0, 1, 2, 1]), 1)
    nib.save(image, tmp_path / "a.nii")
    answers: list[str | None] = ["qform", None]
    monkeypatch.setattr(opening_module, "ask_placement", lambda *_: answers.pop(0))
    (layer,), _ = bench.open(tmp_path / "a.nii")
    assert tag(layer)["affine"][2, 3] == 0
    layers, said = bench.open(tmp_path / "a.nii")
    assert not layers
    assert "its sform and qform disagree" in said[0]


def test_one_sentence_when_nothing_can_be_read(
    bench: Bench, tmp_path: Path, notifications: Callable[[], list[str]]
) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"no volume")
    notifications()
    layers, said = bench.open(tmp_path / "a.nii.gz")
    assert not layers
    assert notifications() == said
    assert said == bench.problems
    assert said[0].startswith("a.nii.gz: is not gzip-compressed although its name ends in .gz")


def test_an_image_opened_after_its_structures_does_not_cover_them(
    bench: Bench, tmp_path: Path
) -> None:
    image, labels = ball_case("", 0)
    for name, volume in (("p1", image), ("p1_labels", labels)):
        write_volume(tmp_path / f"{name}.nii.gz", volume)
    bench.open(tmp_path / "p1_labels.nii.gz")
    bench.open(tmp_path / "p1.nii.gz")
    drawn = [type(layer) for layer in bench.viewer.layers if layer.visible]
    assert drawn == [Image, Labels]


def test_layers_of_others_are_left_alone(bench: Bench, tmp_path: Path) -> None:
    points = bench.viewer.add_points([[0, 0, 0]])
    flat = bench.viewer.add_image(np.zeros((4, 4)))
    bench.open(write_ball(tmp_path / "a.nii.gz"))
    assert points.visible
    assert flat.visible


def test_nothing_is_opened_for_a_dock_that_is_gone(
    bench: Bench, tmp_path: Path, qtbot: QtBot
) -> None:
    owner = QWidget()
    open_paths(owner, bench.viewer, [write_ball(tmp_path / "a.nii.gz")])
    with qtbot.waitSignal(owner.destroyed):
        owner.deleteLater()
    let_events_pass()
    assert not bench.viewer.layers


def test_a_prediction_is_seen_beside_its_reference(bench: Bench, tmp_path: Path) -> None:
    labels = ball_case("", 0)[1]
    write_volume(tmp_path / "labels" / "a.nii.gz", labels)
    write_volume(tmp_path / "predictions" / "a_labels.nii.gz", labels)
    (reference,), _ = bench.open(tmp_path / "labels" / "a.nii.gz")
    assert reference.contour == 0
    (prediction,), _ = bench.open(tmp_path / "predictions" / "a_labels.nii.gz")
    assert (prediction.contour, reference.contour, reference.opacity) == (0, 1, 1.0)


def test_of_several_files_those_that_can_be_read_are_opened(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "report.nii.gz").write_text("Dear colleague")
    (tmp_path / "letter.txt").write_text("Dear colleague")
    paths = [tmp_path / "report.nii.gz", write_ball(tmp_path / "a.nii.gz"), tmp_path / "letter.txt"]
    layers, said = bench.open(*paths)
    assert [layer.name for layer in layers] == ["a"]
    assert bench.problems == []
    assert said[0].startswith("a: 6 x 32 x 40 voxels of 8 x 1.5 x 1.5 mm")
    assert "Not opened: letter.txt: holds no DICOM image" in said[0]
    assert "; report.nii.gz: is not gzip-compressed" in said[0]
    _, said = bench.open(paths[0], paths[2])
    assert said[0].startswith("report.nii.gz: is not gzip-compressed")
    assert bench.problems == said
