"""Panels side by side are as large as the canvas allows, each with its title and its own colour bar."""

from __future__ import annotations

import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_uda.gui.kit import grid
from napari_uda.gui.kit.canvas_words import CanvasWords
from napari_uda.gui.kit.grid import SideBySide, best_shape
from napari_uda.gui.kit.layers import show
from napari_uda.inference.predict import Prediction


@pytest.mark.parametrize(
    ("count", "canvas", "sides", "shape"),
    [
        (3, (640, 706), (100, 100), (2, 2)),  # 320 pixels a panel; in a row they would have 235
        (3, (400, 1300), (100, 100), (1, 3)),
        (3, (1300, 400), (100, 100), (3, 1)),
        (4, (640, 706), (100, 100), (2, 2)),
        (8, (600, 800), (100, 125), (3, 3)),
        (6, (665, 606), (100, 100), (3, 3)),  # no smaller than in two rows, with room for a legend
        (6, (950, 1100), (100, 100), (3, 3)),
        (6, (600, 900), (100, 100), (2, 3)),
        (3, (640, 706), (40, 400), (4, 1)),  # wide, flat slices lie below each other
        (1, (10, 10), (1, 1), (1, 1)),
    ],
)
def test_the_arrangement_fills_the_canvas(
    count: int, canvas: tuple[int, int], sides: tuple[float, float], shape: tuple[int, int]
) -> None:
    assert best_shape(count, canvas, sides) == shape


@pytest.mark.parametrize("count", range(1, 10))
def test_no_other_arrangement_shows_much_more(count: int) -> None:
    canvas, sides = (643, 926), (300.0, 240.0)

    def scale(rows: int, columns: int) -> float:
        return min(canvas[0] / rows / sides[0], canvas[1] / columns / sides[1])

    rows, columns = best_shape(count, canvas, sides)
    assert rows * columns >= count
    others = [
        scale(r, c) for r in range(1, count + 1) for c in range(1, count + 1) if r * c >= count
    ]
    least = 0.85 if rows * columns > count else 1.0  # there is room for a legend instead
    assert scale(rows, columns) >= least * max(others)


def test_panels_have_titles_and_a_small_bar_until_they_are_left(
    made_prediction: Prediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = ViewerModel()
    image, *results = show(viewer, made_prediction)
    assert isinstance(image, Image)
    entropy = results[1]
    entropy.visible = True  # its bar comes with it
    words = CanvasWords(viewer)
    monkeypatch.setattr(grid, "canvas_words", lambda _: words)
    viewer.canvas.size = (640, 706)
    far = viewer.add_image(image.data, translate=(0, 2000, 0), visible=False)  # another patient
    viewer.layers.move(viewer.layers.index(far), 0)
    viewer.reset_view(layers=[image])
    zoom = viewer.scene.camera.zoom
    views = SideBySide(viewer, image, results)
    for _ in views.enter():
        pass
    assert tuple(viewer.canvas.grid.shape) == (2, 2)
    assert [layer.name_overlay.visible for layer in results] == [True] * 3
    assert not image.name_overlay.visible
    assert words.bars == (entropy,)  # small and in its own cell, instead of napari's
    assert not entropy.colorbar.visible
    views.leave()
    assert not any(layer.name_overlay.visible for layer in results)
    assert entropy.colorbar.visible
    assert words.bars == ()
    assert viewer.scene.camera.zoom == pytest.approx(zoom)
