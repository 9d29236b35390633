"""Pictures show the slice, the labels and the p-values that they should, in fixed colours."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmark_cases import ADVERSARY, run_tiny, tiny_spec
from matplotlib.image import imread
from tiny_cases import blob_case, reoriented

from napari_uda.core.errors import InputError
from napari_uda.core.structure_colours import RELIABLE_COLOUR, UNRELIABLE_COLOUR, structure_colour
from napari_uda.data.folder import Case
from napari_uda.data.volume import Volume, read_labels, write_volume
from napari_uda.experiments import picture_parts, pictures, vote_picture
from napari_uda.experiments.plan import plan
from napari_uda.experiments.results import DataResults, collect
from napari_uda.experiments.spec import Pictures
from napari_uda.experiments.statistics import Comparison, Test
from napari_uda.experiments.store import Store
from napari_uda.experiments.vote_picture import voting_run
from napari_uda.run.run import Run

Domains = tuple[Path, Path]
ROWS = [
    {"name": "source_only", "method": "source_only"},
    {"name": "advent", "method": "advent", "settings": ADVERSARY, "seeds": [0]},
]


@pytest.fixture(scope="module")
def found(two_domains: Domains, tmp_path_factory: pytest.TempPathFactory) -> DataResults:
    """A finished benchmark that voted on reliability."""
    folder = tmp_path_factory.mktemp("pictures")
    spec = tiny_spec(
        two_domains, folder, rows=ROWS, seeds=[0, 1], steps=1, reliability=True, position_prior=True
    )
    assert run_tiny(spec, folder / "out").failed == {}
    (results,) = collect(spec, plan(spec, folder / "out"), Store(folder / "out"))
    return results


@pytest.mark.slow
def test_every_picture_is_drawn(found: DataResults, tmp_path: Path) -> None:
    files = pictures.draw_all([found], Pictures(count=2), tmp_path, chosen=False)
    assert [file.name for file in files] == [
        "bars_CT_to_MR_dice.png",
        "bars_CT_to_MR_assd_mm.png",
        "cases_CT_to_MR.png",
        "views_CT_to_MR.png",
        "doubt_CT_to_MR_target_0.png",
        "doubt_CT_to_MR_target_1.png",
    ]
    for file in files:
        image = imread(file)
        assert min(image.shape[:2]) > 200
        assert image[..., :3].std() > 0.05  # something is drawn


def test_colours_of_structures_are_on_the_picture(found: DataResults, tmp_path: Path) -> None:
    image = imread(pictures.draw_grid(found, Pictures(count=1), tmp_path / "grid.png"))[..., :3]
    for name, value in (("inner", 1), ("outer", 3)):
        text = structure_colour(name, value)
        colour = [int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        legend = (abs(image - colour) < 0.01).all(axis=-1)
        assert legend.sum() > 50


def test_chosen_rows_and_cases(found: DataResults) -> None:
    wanted = Pictures(cases=("target_2",), rows=("advent", "source_only"))
    assert [name for name, _ in pictures.drawn_rows(found, wanted)] == ["advent", "source_only"]
    assert [case.name for case in pictures.drawn_cases(found, wanted)] == ["target_2"]
    of_another_data_set = Pictures(cases=("nobody",), count=1)
    assert [case.name for case in pictures.drawn_cases(found, of_another_data_set)] == ["target_0"]


def test_views_are_asked_of_a_row_that_voted(
    two_domains: Domains, tiny_run: Run, tmp_path: Path, found: DataResults
) -> None:
    """tiny_run is se_asa, which votes while it trains; without it the last row with weights is asked."""
    assert (
        pictures.draw_views(replace(found, rows=found.rows[:1]), Pictures(), tmp_path / "no")
        is None
    )
    assert not (tmp_path / "no").exists()
    name, run = voting_run(found, Pictures())
    assert (name, run.config.method.name) == ("advent", "advent")
    voted = replace(found.row("advent"), name="se_asa", predictions={0: tiny_run.predictions})
    with_vote = replace(found, rows=[*found.rows[:2], voted, found.rows[2]])
    assert voting_run(with_vote, Pictures())[0] == "se_asa"
    first = Pictures(rows=("source_only",))
    assert voting_run(with_vote, first)[0] == "source_only"


def test_views_use_the_weights_that_are_there(
    found: DataResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two lines a case, seven tiles wide for three views of each kind; the masks have both colours."""
    asked = []
    ask = vote_picture.slice_views
    monkeypatch.setattr(
        vote_picture, "slice_views", lambda *given: asked.append(ask(*given)) or asked[-1]
    )
    file = pictures.draw_views(found, Pictures(count=2), tmp_path / "views.png")
    image = imread(file)[..., :3]
    assert len(asked) == 2
    width, height = (side / 150 for side in image.shape[1::-1])
    assert (width, height) == pytest.approx((7 * 1.7, 4 * 1.95 + 0.7), abs=0.05)
    for colour in (RELIABLE_COLOUR, UNRELIABLE_COLOUR):
        rgb = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        assert (abs(image - rgb) < 0.01).all(axis=-1).sum() > 50  # the legend at least
    (row,) = [row for row in found.rows if row.name == "advent"]
    saved = read_labels(row.predictions[0] / "target_0_reliability.nii.gz").canonical().array
    index = picture_parts.choose_slice(pictures.drawn_cases(found, Pictures())[0], 0).index
    assert np.array_equal(asked[0].reliable, saved[index] == 1)


def test_overlay_by_hand() -> None:
    labels = np.array([[0, 1], [3, 9]], np.uint8)
    shown = picture_parts.overlay(labels, {1: "#FF0000", 3: "#0000FF"})
    assert shown[0, 0, 3] == shown[1, 1, 3] == 0  # background and a value without a colour
    assert shown[0, 1].tolist() == pytest.approx([1, 0, 0, 0.55])
    assert shown[1, 0].tolist() == pytest.approx([0, 0, 1, 0.55])


def test_slice_is_the_fullest_and_seen_as_radiologists_do(tmp_path: Path) -> None:
    """A mark at the patient's right front comes out at the upper left, however the file is stored."""
    image, label = blob_case("c", 0, bright=True)
    array = np.zeros_like(label.array)
    array[2, 20:30, 20:30] = 1
    array[4, -4:, -3:] = 3  # +y is the front, +x the right, in RAS+
    array[4, 15:35, 15:35] = 1
    label = Volume(array, label.affine, "c")
    cuts = []
    for order, flips in (((0, 1, 2), (False, False, False)), ((2, 0, 1), (True, False, True))):
        files = []
        for name, volume in (("image", image), ("label", label)):
            files.append(tmp_path / f"{name}_{order[0]}.nii.gz")
            write_volume(files[-1], reoriented(volume, order, flips))
        cuts.append(picture_parts.choose_slice(Case("c", *files)))
    for cut in cuts:
        assert cut.index == 4
        assert cut.reference.shape == (40, 40)
        assert (cut.reference[:4, :3] == 3).all()
        assert (cut.reference == 3).sum() == 12
        assert cut.aspect == pytest.approx(1)
    assert np.array_equal(cuts[0].image, cuts[1].image)


def comparison(first: str, second: str, p: float | None) -> Comparison:
    return Comparison(first, second, Test(6, None, p, "" if p else "all equal"), Test(2), p)


def test_brackets_do_not_overlap(found: DataResults) -> None:
    names = ["a", "b", "c", "d"]
    tests = [
        comparison("a", "d", 0.5), comparison("a", "b", 0.01), comparison("c", "d", None),
        comparison("b", "d", 0.00001),
    ]  # fmt: skip
    marked = replace(found, comparisons={"dice": tests})
    placed = pictures.brackets(marked, "dice", names, True)
    assert {(b.first, b.second): (b.text, b.level) for b in placed} == {
        (0, 1): ("p = 0.0100", 0),
        (2, 3): ("all equal", 0),
        (1, 3): ("p < 0.0001", 1),
        (0, 3): ("p = 0.5000", 2),
    }
    neighbours = pictures.brackets(marked, "dice", names, False)
    assert [(b.first, b.second) for b in neighbours] == [(0, 1), (2, 3)]


def test_missing_matplotlib_is_said_before_training(
    two_domains: Domains, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    spec = tiny_spec(two_domains, tmp_path)
    with pytest.raises(InputError, match=r"matplotlib.*napari_uda\[tables\].*--no-pictures"):
        run_tiny(spec, tmp_path / "out", with_pictures=True)
    assert not (tmp_path / "out").exists()
