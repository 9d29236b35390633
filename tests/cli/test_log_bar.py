"""Progress: a line per tenth in a log, a bar in a terminal, nothing when quiet is wanted."""

from __future__ import annotations

import io
import re
import sys

import pytest

from napari_uda.cli.log_bar import LogBar
from napari_uda.cli.output import Manner, speaking
from napari_uda.cli.terminal import counted, counted_in_parts, note, progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class FullDisk(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def without_time(text: str) -> list[str]:
    assert "\r" not in text
    return [re.sub(r", \d+:\d\d:\d\d$", "", line) for line in text.splitlines()]


def test_a_line_for_each_tenth() -> None:
    log = io.StringIO()
    with LogBar(desc="train", unit="step", total=50, file=log) as bar:
        for _ in range(50):
            bar.update()
    lines = without_time(log.getvalue())
    assert lines[0] == "train: 10 %, step 5/50"
    assert lines[-1] == "train: 100 %, step 50/50"
    assert len(lines) == 10


def test_few_things_are_few_lines_and_jumps_are_one() -> None:
    log = io.StringIO()
    bar = LogBar(desc="cells", unit="cell", total=2, file=log)
    bar.update()
    bar.set_postfix(loss="0.5")
    bar.update()
    assert without_time(log.getvalue()) == [
        "cells: 50 %, cell 1/2",
        "cells: 100 %, cell 2/2, loss 0.5",
    ]
    resumed = io.StringIO()
    bar = LogBar(total=100, file=resumed)
    bar.update(47)  # a run that goes on
    assert len(without_time(resumed.getvalue())) == 1


def test_tenths_of_fractions_are_not_lost() -> None:
    log = io.StringIO()
    bar = LogBar(desc="x", total=1, file=log)
    for _ in range(10):
        bar.update(0.1)  # 0.9999999999999999 in the end
    assert len(log.getvalue().splitlines()) == 10


def test_nothing_is_written_while_nobody_knows_how_much_there_is_or_inside_another_bar() -> None:
    log = io.StringIO()
    LogBar(file=log).update(3)
    LogBar(total=1, file=log, leave=False).update()
    LogBar(total=1, file=log, disable=True).update()
    assert log.getvalue() == ""


def test_a_full_disk_does_not_end_the_work() -> None:
    bar = LogBar([1, 2], file=FullDisk())
    assert list(bar) == [1, 2]
    assert bar.n == 2


def test_slices_of_several_volumes(capsys: pytest.CaptureFixture[str]) -> None:
    with counted_in_parts("predict") as report:
        for volume in range(2):
            for done in (10, 20, 30, 40):
                report(volume, 2, done, 40)
    lines = without_time(capsys.readouterr().err)
    assert lines[0] == "predict: volume 1/2, slice 10/40: 12 %"
    assert lines[-1] == "predict: volume 2/2, slice 40/40: 100 %"
    with counted_in_parts("predict") as report:
        report(0, 1, 5, 5)
    assert without_time(capsys.readouterr().err) == ["predict: slice 5/5: 100 %"]


def test_a_terminal_sees_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr("napari_uda.cli.terminal._FROM_THE_FIRST_STEP", 0)  # it is over too soon
    with counted_in_parts("predict") as report:
        report(0, 3, 4, 8)
        report(2, 3, 8, 8)
    assert "predict: volume 3/3, slice 8/8: 100%|" in screen.getvalue()
    assert isinstance(progress_bar("volume", file=io.StringIO()), LogBar)


def test_quiet_shows_neither_bars_nor_notes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        note("3 volumes")
        with counted("volume", "phantom") as report:
            report(1, 1)

    with speaking(Manner(loudness=-1)):
        work()
    assert capsys.readouterr().err == ""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with speaking(Manner(loudness=-1)):
        work()
    assert screen.getvalue() == ""
