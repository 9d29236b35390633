"""A first user's day in napari: sample data, training, closing, reopening, results, corrections, export.

    tools/with-display .venv/bin/python tools/tour.py --out FOLDER [--train-seconds 60]

Everything is done with clicks and keys on the real windows; only the answers of file dialogs are given by the
script. FOLDER, new or empty, takes a numbered screenshot of every step, the runs and the exported files; settings
are kept there too, so that those of this machine stay as they are. Two napari are started, one after the other,
each in a process of its own. For each step the table tells how long it took and the longest time that the window
did not react. Ends with 1 and one sentence when something is not as a user may expect.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from hands import (
    Heartbeat,
    Stuck,
    answering,
    check,
    choose,
    click,
    click_row,
    dock_of,
    key,
    layer_of,
    layers_of,
    naming,
    open_napari,
    own_settings,
    photograph,
    pick,
    place_of,
    press,
    show_tab,
    stroke,
    type_into,
    wait,
    wait_until,
)
from napari.utils.notifications import NotificationSeverity, notification_manager
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QLineEdit, QWidget

from napari_uda.gui.kit.files import SAMPLES
from napari_uda.gui.kit.navigation import current_slice
from napari_uda.gui.launch import WINDOW, close_notices
from napari_uda.gui.score.dock import ScoreDock
from napari_uda.gui.segment.dock import SegmentDock
from napari_uda.gui.train.dock import TrainDock
from napari_uda.gui.translate.dock import TranslateDock
from napari_uda.run.folder import RunFolder
from napari_uda.run.status import RunState, run_status

_FIRST_OF_SECOND = 20  # number of the first picture of the second session
_ROW = "{:>2}  {:<58} {:>7}  {:>11}"


def main() -> int:
    """Start one napari after the other; what is left training in the end is stopped."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="new or empty folder")
    parser.add_argument("--train-seconds", type=float, default=60.0, help="length of the training")
    parser.add_argument("--session", choices=("first", "second"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    out = arguments.out.absolute()
    if arguments.session:
        return _session(arguments.session, out, arguments.train_seconds)
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        print(f"{out} is not empty; name a new folder", file=sys.stderr)
        return 2
    print(_ROW.format("", "step", "seconds", "longest gap"), flush=True)
    code = 0
    for session in ("first", "second"):
        command = [sys.executable, __file__, "--out", str(out), "--session", session]
        command += ["--train-seconds", str(arguments.train_seconds)]
        code = (
            code
            or subprocess.run(
                command, cwd=out, env=own_settings(out / "settings"), check=False
            ).returncode
        )
    _stop_everything(out / "runs")
    return 1 if code else 0


def _stop_everything(runs: Path) -> None:

    for config in runs.glob("*/config.yaml"):
        folder = RunFolder(config.parent)
        if run_status(folder).state is RunState.RUNNING:
            folder.ask_to_stop("save")


def _session(name: str, out: Path, train_seconds: float) -> int:

    tour = Tour(out, 0 if name == "first" else _FIRST_OF_SECOND)
    try:
        if name == "first":
            first_session(tour, train_seconds)
        else:
            second_session(tour)
    except Stuck as problem:
        with suppress(Exception):
            tour.look("failed")
        print(f"step {tour.number}, {tour.title}: {problem}", file=sys.stderr)
        return 1
    finally:
        tour.end()
    return 0


class Tour:
    """One napari and what the tour does in it.

    Attributes:
        viewer, window, canvas: of napari.
        number, title: the step.
    """

    def __init__(self, out: Path, number: int, size: tuple[int, int] = WINDOW) -> None:

        self.out, self.number, self.title = out, number, ""
        self._broken: list[str] = []
        sys.excepthook = self._on_error
        self.viewer, self.window, self.canvas = open_napari(size)
        self.heart = Heartbeat()

    def _on_error(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        self._broken.append(f"{kind.__name__}: {error}")
        sys.__excepthook__(kind, error, trace)

    @contextmanager
    def step(self, title: str, picture: str = "") -> Iterator[None]:
        """One step of the tour: its time, its longest gap, and a picture at its end."""
        self.number, self.title = self.number + 1, title
        close_notices()  # they stay where no window is active, as without a window manager
        self.heart.begin()
        start = time.monotonic()
        yield
        wait(0.5)
        seconds, gap = time.monotonic() - start, self.heart.longest_ms
        self.look(picture or title)
        print(_ROW.format(self.number, title, f"{seconds:.1f}", f"{gap:.0f} ms"), flush=True)
        if self._broken:
            raise Stuck(f"an error nobody caught: {self._broken[0]}")
        self._expect_no_errors()

    def look(self, name: str) -> None:
        """A screenshot, numbered by the step; none once the window has been closed."""
        if not self.is_open:
            return
        wait(0.2)  # until it is drawn
        with self.heart.paused():
            photograph(self.window, self.file(name))

    def file(self, name: str) -> Path:
        """The picture of this name, numbered by the step."""
        words = "_".join("".join(c if c.isalnum() else " " for c in name.lower()).split())
        return self.out / f"{self.number:02}_{words}.png"

    def open(self, title: str, kind: type[Any]) -> Any:
        """Bring a dock to the front from the menu Plugins, whose entry would switch off one that is there."""
        if all(one.visibleRegion().isEmpty() for one in self.window.findChildren(kind)):
            choose(self.viewer.window.plugins_menu, "napari_uda", title)
        wait_until(lambda: self.window.findChildren(kind), f"the dock {title}")
        dock = dock_of(self.window, kind)
        wait_until(
            lambda: dock.isVisible() and not dock.visibleRegion().isEmpty(), f"the dock {title}"
        )
        return dock

    def expect(self, fact: Any, sentence: str) -> None:
        """Stop the tour where something is not as expected."""
        if not fact:
            raise Stuck(sentence)

    def _expect_no_errors(self) -> None:

        bad = [
            record.message
            for record in notification_manager.records
            if record.severity >= NotificationSeverity.ERROR
        ]
        self.expect(not bad, f"napari showed an error: {bad[:1]}")

    def close(self, *answers: str, look: bool = False) -> list[str]:
        """Close the window from the menu File, and answer what is asked."""

        def on_dialog(title: str) -> None:
            if look:
                self.look(title)

        menu, window = self.viewer.window.file_menu, self.window
        QApplication.setActiveWindow(window)  # as a window manager does, which Xvfb has none of
        with answering(*answers, look=on_dialog) as clicked:
            # inside the event loop, where a user's click arrives
            QTimer.singleShot(0, lambda: choose(menu, "Close Window"))
            wait_until(lambda: not self.is_open, "the window to close")
        return clicked

    @property
    def is_open(self) -> bool:
        """Whether the window is there; Qt deletes it soon after it was closed."""
        try:
            return self.window.isVisible()
        except RuntimeError:
            return False

    def end(self) -> None:
        """Close what is still open, without questions."""
        with suppress(RuntimeError):
            self.viewer.close()
        QApplication.processEvents()


# -- first session --------------------------------------------------------------------------------


def first_session(tour: Tour, train_seconds: float) -> None:
    """Sample data, a training that is watched, stopped, resumed, and left to itself when napari closes."""
    viewer, expect = tour.viewer, tour.expect
    wait(2.0)
    close_notices()  # napari's own, on the version of Qt
    with tour.step("File > Open Sample: CT with labels"):
        choose(
            viewer.window.file_menu, "Open Sample", "napari_uda", "CT, cardiac phantom, labelled"
        )
        wait_until(lambda: len(viewer.layers) == 2, "two layers")
        expect(layer_of(viewer, "image") is not None, "the sample has no image layer")
        expect(layer_of(viewer, "reference") is not None, "the sample has no labels layer")
    with tour.step("Plugins > napari_uda > Train"):
        dock = tour.open("Train", TrainDock)
        form = dock.form
        wait_until(lambda: form.methods.method is not None, "the methods")
        expect(form.methods.methods.count() > 8, "the form lists too few methods")
    with tour.step("method, data folders, preset"):
        _choose_method(form, "se_asa")
        type_into(form.data.source.folder.line_edit.native, str(SAMPLES / "ct"))
        type_into(form.data.target.folder.line_edit.native, str(SAMPLES / "mr"))
        pick(form.settings.presets.first, "cpu_small")
        expect(form.start.isEnabled(), f"Start is not available: {form.status.text()}")
    with tour.step("settings: a wrong number, then fewer warm-up steps"):
        set_field(form, "batch_size", "0")
        expect(not form.start.isEnabled(), "a batch of no slices can be started")
        expect("batch_size" in form.status.text(), f"the form says '{form.status.text()}'")
        tour.look("a wrong number")
        set_field(form, "batch_size", "8")
        click(form.settings.form.advanced.toggleButton())
        type_into(form.settings.form.search, "rotation")
        set_field(form, "augment.spatial.rotation_deg", "10")
        set_field(form, "method.warmup_steps", "60")
        expect(form.start.isEnabled(), f"Start is not available: {form.status.text()}")
    with tour.step("Check the data"):
        press(form, "check")
        wait_until(lambda: "checked" in form.status.text().lower(), "the check of the data")
        form.scrolling.ensureWidgetVisible(form.data.reports)
        expect("nothing is wrong" in form.status.text(), f"the check says: {form.status.text()}")
    with tour.step("Start"):
        press(form, "start")
        wait_until(lambda: dock.watch.history.step >= 3, "the first steps", 180)
        path = dock.watch.path
    with tour.step("live previews"):
        check(dock.previews.wanted)
        wait_until(lambda: len(layers_of(viewer, "preview")) >= 5, "layers of the previews", 120)
        shown = {
            layer.metadata["napari_uda"]["part"]: layer for layer in layers_of(viewer, "preview")
        }
        expect(
            {"input", "prediction", "entropy", "reliability"} <= set(shown), f"only {list(shown)}"
        )
        before = shown["entropy"].data.copy()
        wait_until(lambda: (shown["entropy"].data != before).any(), "another preview", 120)
    with tour.step("a slice of the source in the previews too"):
        slices = dock.previews.slices
        pick(slices.cases, "source · ct_002")
        click(slices.add)
        wait_until(lambda: slices.chosen.count() == 2, "a second slice in the list")
        wait_until(lambda: shown["input"].data.shape[0] == 2, "its preview", 120)
        click_row(slices.chosen, 1)
        wait_until(
            lambda: current_slice(viewer, shown["input"], 0) == 1, "the second slice in the viewer"
        )
        click_row(slices.chosen, 0)
    with tour.step(f"{train_seconds:.0f} s of training, watched"):
        end = time.monotonic() + train_seconds
        step = dock.watch.history.step
        while time.monotonic() < end:
            wait(1.0)
        expect(dock.watch.history.step > step, "no step was done while it was watched")
        expect(dock.watch.curves.is_drawn, "no curves are drawn")
        expect(layers_of(viewer, "preview")[0] in viewer.layers, "the previews are gone")
    with tour.step("Stop (saves)"):
        press(dock, "stop")
        wait_until(lambda: state_of(path) == "stopped", "the run to stop", 120)
        wait_until(lambda: dock.watch.resume.isEnabled(), "the dock to say that it stopped")
        expect(any((path / "checkpoints").iterdir()), "no checkpoint was written")
        stopped_at = dock.watch.history.step
    with tour.step("Resume"):
        press(dock, "resume")
        wait_until(lambda: dock.watch.history.step > stopped_at, "a step after resuming", 180)
    with tour.step("close napari while it trains: let it go on"):
        clicked = tour.close("Close", "Let it go on", look=True)
        expect("Let it go on" in clicked, "nobody asked what becomes of the training")
        expect(not tour.is_open, "the window is still open")
        expect(
            state_of(path) == "running", f"the run is {state_of(path)} after the window was closed"
        )


def _choose_method(form: Any, name: str) -> None:

    pick(form.methods.methods, f"{name}:")
    if form.methods.method.name != name:
        raise Stuck(f"the arrow keys did not choose {name}")


def set_field(form: Any, setting: str, text: str) -> None:
    """Type into the editor of a setting."""
    editor = form.settings.form.findChild(QWidget, setting)
    if editor is None:
        raise Stuck(f"the form shows no setting {setting}")
    type_into(editor if isinstance(editor, QLineEdit) else editor.findChild(QLineEdit), text)


def state_of(path: Path) -> str:
    """What has become of a run."""
    return str(run_status(RunFolder(path)).state.value)


# -- second session -------------------------------------------------------------------------------


def second_session(tour: Tour) -> None:
    """Back to the run, then results: segment, adapt, translate, score, correct, export."""
    wait(2.0)
    close_notices()
    train = _attach(tour)
    _train_translator(tour, train)
    _segment(tour)
    _translate(tour)
    _score(tour)
    with tour.step("close napari"):
        tour.close("Close")
        tour.expect(not tour.window.isVisible(), "the window is still open")


def _attach(tour: Tour) -> Any:

    viewer, expect = tour.viewer, tour.expect
    with tour.step("napari again: MR with labels"):
        choose(
            viewer.window.file_menu, "Open Sample", "napari_uda", "MR, cardiac phantom, labelled"
        )
        wait_until(lambda: len(viewer.layers) == 2, "two layers")
    with tour.step("Runs: the training of before is listed"):
        dock = tour.open("Train", TrainDock)
        show_tab(dock.tabs, "Runs")
        wait_until(lambda: len(dock.runs.runs) == 1, "one run in the list")
        wait_until(lambda: dock.runs.table.item(0, 1).text() == "running", "the run to be running")
    with tour.step("attach to it"):
        click_row(dock.runs.table, 0)
        press(dock.runs, "watch_run")
        wait_until(lambda: dock.watch.history.step > 0, "its steps")
        path, history = dock.watch.path, dock.watch.history
        expect(history.series(history.names()[0])[0][0] <= 20, "the curves begin too late")
        step = dock.watch.history.step
        wait_until(lambda: dock.watch.history.step > step, "another step of it", 120)
    with tour.step("Stop it from the new napari, Resume, Stop"):
        press(dock, "stop")
        wait_until(lambda: state_of(path) == "stopped", "the run to stop", 120)
        wait_until(dock.watch.resume.isEnabled, "the dock to say that it stopped")
        step = dock.watch.history.step
        press(dock, "resume")
        wait_until(lambda: dock.watch.history.step > step, "a step after resuming", 180)
        press(dock, "stop")
        wait_until(lambda: state_of(path) == "stopped", "the run to stop again", 120)
        wait_until(dock.watch.resume.isEnabled, "the dock to say that it stopped")
    return dock


def _train_translator(tour: Tour, dock: Any) -> None:

    form = dock.form
    with tour.step("a small cyclegan through the same form"):
        show_tab(dock.tabs, "New run")
        wait_until(lambda: form.methods.method is not None, "the methods")
        _choose_method(form, "cyclegan")
        type_into(form.data.source.folder.line_edit.native, str(SAMPLES / "ct"))
        type_into(form.data.target.folder.line_edit.native, str(SAMPLES / "mr"))
        set_field(form, "steps", "15")
        press(form, "start")
        wait_until(lambda: dock.watch.path is not None and "cyclegan" in dock.watch.path.name, "it")
        path = dock.watch.path
        wait_until(lambda: state_of(path) == "finished", "cyclegan to finish", 300)
        wait_until(dock.watch.more.isEnabled, "the dock to say that it finished")


def _segment(tour: Tour) -> None:

    viewer, expect = tour.viewer, tour.expect
    with tour.step("Segment with the run just trained"):
        dock = tour.open("Segment", SegmentDock)
        trained = next(
            (
                dock.models.itemText(i)
                for i in range(dock.models.count())
                if "se_asa" in dock.models.itemText(i)
            ),
            "",
        )
        expect(trained, "the run just trained is not offered as a model")
        pick(dock.models, trained)
        _wait_for_result(tour, dock, "run")
        for role in ("prediction", "entropy", "reliability"):
            expect(layer_of(viewer, role) is not None, f"there is no layer of the role {role}")
    with tour.step("Segment with the shipped model"):
        pick(dock.models, "Shipped model")
        _wait_for_result(tour, dock, "run")
        expect(len(layers_of(viewer, "prediction")) == 2, "each model should have a prediction")
        expect(dock.legend.rowCount() >= 4, "the legend lists no structures")
        viewer.dims.set_current_step(0, viewer.dims.nsteps[0] // 2)
    with tour.step("Side by side"):
        check(dock.views)
        wait_until(dock.views.isEnabled, "the views to be arranged")
        expect(viewer.canvas.grid.enabled, "the views do not stand side by side")
    with tour.step("Uncertainty: contours, next uncertain slice"):
        check(dock.views, False)
        show_tab(dock.results.tabs, "Uncertainty")
        check(dock.results.entropy.contours)
        before = viewer.dims.current_step[0]
        press(dock, "next_uncertain")
        wait_until(lambda: viewer.dims.current_step[0] != before, "another slice")
    with tour.step("Adapt to this volume"):
        _wait_for_result(tour, dock, "adapt", 300)
        names = [layer.name for layer in layers_of(viewer, "prediction")]
        expect(
            any("adapted by" in name for name in names) or "kept" in dock.status.text(), f"{names}"
        )


def _wait_for_result(tour: Tour, dock: Any, button: str, seconds: float = 180.0) -> None:

    press(dock, button)
    wait_until(lambda: dock.cancel.isEnabled(), "the job to begin")
    wait_until(lambda: not dock.cancel.isEnabled() and dock.run.isEnabled(), "the result", seconds)


def _translate(tour: Tour) -> None:

    viewer, expect = tour.viewer, tour.expect
    with tour.step("Translate"):
        dock = tour.open("Translate", TranslateDock)
        wait_until(lambda: dock.models.count() > 0, "a run with generators")
        pick(dock.images, "mr_001")
        press(dock, "translate")
        wait_until(lambda: dock.blink.isEnabled(), "the translation", 180)
        expect(
            len(layers_of(viewer, "translation")) >= 3,
            "translation, cycle or difference is missing",
        )
        expect("times" in dock.change.text(), f"the dock says '{dock.change.text()}'")
    with tour.step("blink by key"):
        key(tour.canvas, "k")
        wait_until(
            lambda: "original" in dock.status.text() or "translated" in dock.status.text(), "K"
        )
        expect(not viewer.canvas.grid.enabled, "blinking needs one view")
    folder = tour.out / "translated"
    with tour.step("Export the translation"), naming(getExistingDirectory=str(folder)):
        press(dock, "export")
        wait_until(lambda: len(list(folder.glob("*.nii.gz"))) >= 3, "files", 60)


def _score(tour: Tour) -> None:

    viewer, expect, out = tour.viewer, tour.expect, tour.out
    for layer in layers_of(viewer, "translation"):
        layer.visible = False
    with tour.step("Score"):
        dock = tour.open("Score", ScoreDock)
        press(dock, "score")
        wait_until(lambda: dock.table.rowCount() > 0, "the table")
        expect(dock.table.rowCount() >= 5, "the table has too few rows")
        expect(0 < float(dock.table.item(0, 2).text()) <= 1, "Dice is no number")
    with tour.step("click a row: its worst slice, with errors"):
        click_row(dock.table, 0)
        check(dock.slices.errors)
        wait_until(
            lambda: layer_of(viewer, "error") is not None or dock.slices.errors.isChecked(),
            "errors",
        )
        wait(1.0)
    with tour.step("Calibration"):
        show_tab(dock.tabs, "Calibration")
        wait_until(lambda: dock.calibration is not None, "the calibration")
    with tour.step("edit with napari's brush: scored again"):
        show_tab(dock.tabs, "Case")
        check(dock.slices.errors, False)
        prediction = dock.choices.predictions.layer
        viewer.layers.selection.active = prediction
        cells = [dock.table.item(row, 2).text() for row in range(dock.table.rowCount())]
        original = prediction.data.copy()
        z = viewer.dims.current_step[0]
        label = int(dock.table.item(0, 0).data(0x0100))
        ys, xs = np.nonzero(prediction.data[z] == label)
        if not len(ys):
            z = int(np.argmax((prediction.data == label).sum(axis=(1, 2))))
            viewer.dims.set_current_step(0, z)
            ys, xs = np.nonzero(prediction.data[z] == label)
        start = (z, ys[0], xs[0])
        tour.canvas.setFocus()
        key(tour.canvas, "5")
        stroke(tour.canvas, place_of(viewer, tour.canvas, prediction, start))
        expect(prediction.selected_label == label, f"napari picked {prediction.selected_label}")
        key(tour.canvas, "2")
        places = [
            place_of(viewer, tour.canvas, prediction, (z, ys[0] + d, xs[0] - d))
            for d in (0, -12, 8)
        ]
        stroke(tour.canvas, *places)
        expect((prediction.data != original).any(), "the brush painted nothing")
        wait_until(
            lambda: [dock.table.item(r, 2).text() for r in range(dock.table.rowCount())] != cells,
            "other scores",
            30,
        )
        wait_until(lambda: "edited" in dock.status.text(), "the dock to say so")
        kept = [
            one for one in layers_of(viewer, "prediction") if np.array_equal(one.data, original)
        ]
        expect(kept, "the prediction as it was is gone")
    with tour.step("Export: CSV, JSON, HTML"):
        with naming(getExistingDirectory=str(out / "scores")):
            press(dock, "export")
            wait_until(lambda: (out / "scores" / "report.html").is_file(), "report.html", 120)
        rows = list(csv.DictReader((out / "scores" / "scores.csv").open()))
        expect(rows and {"dice", "assd_mm"} <= set(rows[0]), "scores.csv lacks columns")
        json.loads((out / "scores" / "scores.json").read_text())
        page = (out / "scores" / "report.html").read_text()
        expect("changed by hand" in page, "the report does not say that the prediction was edited")
    file = out / "edited_labels.nii.gz"
    with tour.step("Save the edits"), naming(getSaveFileName=(str(file), "")):
        press(dock, "save_edits")
        wait_until(file.is_file, "the edited labels", 60)


if __name__ == "__main__":
    sys.exit(main())
