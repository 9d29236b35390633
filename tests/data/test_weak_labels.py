from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_cases import LABELS, SPACING_MM, all_orientations, reoriented

from napari_uda.core.errors import InputError
from napari_uda.data.folder import DataFolder
from napari_uda.data.slices import SliceGrid
from napari_uda.data.volume import read_labels, read_volume, write_volume
from napari_uda.data.weak_labels import WeakLabels, make_weak_labels

Domains = tuple[Path, Path]
GRID = SliceGrid(axis=0, pixel_mm=1.5, size=40)  # the files' own grid


def test_tags_say_which_slices_contain_a_structure(two_domains: Domains) -> None:
    folder = DataFolder.open(two_domains[1])
    tags = make_weak_labels(folder, LABELS, GRID)
    assert (tags.kind, tags.structures) == ("tags", ("inner", "outer"))
    assert list(tags.cases) == ["target_0", "target_1", "target_2"]
    truth = read_labels(folder.cases[1].label).array  # type: ignore[arg-type]
    table = tags.table("target_1", ["outer", "inner"], 0, len(truth))
    np.testing.assert_array_equal(table[:, 0], (truth == 3).any((1, 2)))
    np.testing.assert_array_equal(table[:, 1], (truth == 1).any((1, 2)))


def test_areas_are_square_millimetres(two_domains: Domains) -> None:
    folder = DataFolder.open(two_domains[1])
    areas = make_weak_labels(folder, LABELS, GRID, "areas")
    truth = read_labels(folder.cases[0].label).array  # type: ignore[arg-type]
    table = areas.table("target_0", ["inner", "outer"], 0, len(truth))
    for column, value in enumerate((1, 3)):
        expected = (truth == value).sum((1, 2)) * SPACING_MM[1] * SPACING_MM[2]
        np.testing.assert_allclose(table[:, column], expected)


def test_slices_are_those_of_training_whatever_the_files_orientation(
    two_domains: Domains, tmp_path: Path
) -> None:
    case = DataFolder.open(two_domains[1]).cases[0]
    image, labels = read_volume(case.image), read_labels(case.label)  # type: ignore[arg-type]
    found = []
    for index, (order, flips) in enumerate(all_orientations()[::9]):
        folder = tmp_path / str(index)
        write_volume(folder / "images" / "a.nii.gz", reoriented(image, order, flips))
        write_volume(folder / "labels" / "a.nii.gz", reoriented(labels, order, flips))
        weak = make_weak_labels(DataFolder.open(folder), LABELS, GRID, "areas")
        found.append(weak.cases["a"])
    assert all(one == found[0] for one in found)


def test_what_is_written_is_read(two_domains: Domains, tmp_path: Path) -> None:
    tags = make_weak_labels(DataFolder.open(two_domains[1]), LABELS, GRID)
    tags.write(tmp_path / "tags.json")
    assert WeakLabels.read(tmp_path / "tags.json") == tags
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_what_does_not_fit_is_refused_in_one_sentence(tmp_path: Path) -> None:
    weak = WeakLabels(kind="tags", axis=0, structures=("a",), cases={"x": ((1,), (0,))})
    with pytest.raises(InputError, match="know a but not b"):
        weak.table("x", ["b"], 0, 2)
    with pytest.raises(InputError, match="across z, the run's are across y"):
        weak.table("x", ["a"], 1, 2)
    with pytest.raises(InputError, match="y has 2 slices, and the weak labels know none of it"):
        weak.table("y", ["a"], 0, 2)
    with pytest.raises(InputError, match="x has 3 slices, and the weak labels know 2 of it"):
        weak.table("x", ["a"], 0, 3)
    with pytest.raises(InputError, match=r"nothing\.json: cannot be read"):
        WeakLabels.read(tmp_path / "nothing.json")
    for content in (b"\xff\x00", b"[" * 50 + b"]" * 50, b"{", b'{"a": 36893488147419103232}'):
        (tmp_path / "odd.json").write_bytes(content)
        with pytest.raises(InputError, match=r"odd\.json is (no UTF-8|nested|not valid)|beyond 64"):
            WeakLabels.read(tmp_path / "odd.json")
    for content in (b"[]", b'{"kind": "tags", "axis": 0, "structures": ["a"]}'):
        (tmp_path / "odd.json").write_bytes(content)
        with pytest.raises(InputError, match=r"odd\.json: is no file of weak labels"):
            WeakLabels.read(tmp_path / "odd.json")
    uneven = '{"kind": "tags", "axis": 0, "structures": ["a"], "cases": {"x": [[1, 0]]}}'
    (tmp_path / "odd.json").write_text(uneven)
    with pytest.raises(InputError, match=r"a slice of x has the numbers \[1\.0, 0\.0\]"):
        WeakLabels.read(tmp_path / "odd.json")


def test_a_case_without_label_map_is_named(two_domains: Domains, tmp_path: Path) -> None:
    image = read_volume(DataFolder.open(two_domains[1]).cases[0].image)
    write_volume(tmp_path / "images" / "bare.nii.gz", image)
    with pytest.raises(InputError, match="bare has no label map"):
        make_weak_labels(DataFolder.open(tmp_path), LABELS, GRID)
