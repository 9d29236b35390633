"""Draw the pictures of README.md: real windows on the sample data with the shipped model.

    tools/with-display .venv/bin/python tools/pictures.py

It does what a person would: opens the sample, presses Run in the Segment dock, scores in the Score dock.
"""

from __future__ import annotations

from pathlib import Path

import napari
from hands import check, click_row, layer_of, press, wait, wait_until

from napari_uda.gui.launch import WINDOW, close_notices

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"


def main() -> None:
    """Write segment.png and score.png."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    viewer = napari.Viewer(title="napari_uda")
    viewer.window.resize(*WINDOW)
    viewer.open_sample("napari_uda", "mr_labelled")
    segment_dock, segment = viewer.window.add_plugin_dock_widget("napari_uda", "Segment")
    press(segment, "run")
    wait_until(lambda: layer_of(viewer, "reliability") is not None, "the result")
    wait(1.0)
    check(segment.views)
    wait(2.0)
    viewer.dims.set_current_step(0, viewer.dims.nsteps[0] // 2)
    picture(viewer, "segment.png")
    check(segment.views, False)
    viewer.window.remove_dock_widget(segment_dock)
    _, score = viewer.window.add_plugin_dock_widget("napari_uda", "Score")
    press(score, "score")
    wait_until(lambda: score.table.rowCount() > 0, "the table")
    wait(2.0)
    click_row(score.table, 0)
    picture(viewer, "score.png")
    viewer.close()


def picture(viewer: napari.Viewer, name: str) -> None:
    """Save the whole window."""
    wait(1.0)
    close_notices()
    viewer.screenshot(str(IMAGES / name), canvas_only=False, flash=False)


if __name__ == "__main__":
    main()
