"""evaluate, evaluate_slice, the summary and the files."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from napari_uda.core.errors import InputError
from napari_uda.data.volume import Volume
from napari_uda.evaluation import Scores, evaluate, evaluate_slice

SPACING = (2.0, 0.5, 1.0)
SCORES = (
    "case,label,name,state,dice,assd_mm,masd_mm,hd95_mm,nsd,assd_voxel,masd_voxel,hd95_voxel,"
    "volume_prediction_ml,volume_reference_ml"
)
SLICES = (
    "case,axis,slice,position_mm,label,name,dice,assd_mm,area_prediction_mm2,area_reference_mm2,"
    "mean_entropy,slice_name"
)


@dataclass(frozen=True, eq=False)
class Segmented:
    """A prediction as inference returns it."""

    labels: np.ndarray
    entropy: np.ndarray
    names: dict[int, str]
    volume: Volume
    case: str = "mr_07"


def volume(array, spacing=SPACING, origin=(3.0, -4.0, 10.0), name="mr_07_labels"):
    affine = np.diag([*spacing[::-1], 1.0])
    affine[:3, 3] = origin
    return Volume(array, affine, name)


@pytest.fixture
def labels():
    rng = np.random.default_rng(11)
    reference = np.zeros((7, 20, 16), np.uint8)
    reference[1:6, 3:12, 2:13] = 1
    reference[2:5, 12:18, 4:12] = 2
    prediction = np.roll(reference, 1, axis=2)
    prediction[rng.random(prediction.shape) < 0.02] = 2
    return prediction, reference


def test_two_cubes_by_hand():
    """One voxel shift along z at 3 mm.

    A is z 0-1, B is z 1-2, both 4 x 4 in plane and one voxel thick borders everywhere: 32 border voxels
    each. Forward: the 16 of z 1 lie on B (0), the 16 of z 0 are 3 mm off; back likewise: mean 1.5.
    """
    prediction, reference = np.zeros((2, 4, 6, 6), np.uint8)
    prediction[0:2, 1:5, 1:5] = 1
    reference[1:3, 1:5, 1:5] = 1
    (row,) = evaluate(prediction, reference, spacing_mm=(3, 1, 1), case="a").rows
    assert row == {
        "case": "a",
        "label": 1,
        "name": "label_1",
        "state": "both",
        "dice": 0.5,
        "assd_mm": 1.5,
        "masd_mm": 1.5,
        "hd95_mm": 3.0,
        "nsd": 0.5,
        "assd_voxel": 0.5,
        "masd_voxel": 0.5,
        "hd95_voxel": 1.0,
        "volume_prediction_ml": 0.096,
        "volume_reference_ml": 0.096,
    }


def test_slices_by_hand():
    prediction, reference = np.zeros((2, 3, 4, 5), np.uint8)
    prediction[1, 1, 1] = 1
    reference[1, 1, 1:3] = 1
    reference[2, 0, 0] = 1
    entropy = np.zeros(prediction.shape, np.float32)
    entropy[1, 1, 1:3] = 0.25, 0.75
    scores = evaluate(
        prediction, reference, spacing_mm=SPACING, names={1: "MYO"}, axes="z", entropy=entropy
    )
    one, two, three = scores.slices
    assert one["dice"] != one["dice"]
    assert one["assd_mm"] != one["assd_mm"]
    assert one["mean_entropy"] != one["mean_entropy"]
    assert (one["area_prediction_mm2"], one["area_reference_mm2"], one["position_mm"]) == (0, 0, 0)
    assert two == {
        "case": "",
        "axis": "z",
        "slice": 1,
        "position_mm": 2.0,
        "label": 1,
        "name": "MYO",
        "dice": pytest.approx(2 / 3),
        "assd_mm": pytest.approx(1 / 3),
        "area_prediction_mm2": 0.5,
        "area_reference_mm2": 1.0,
        "mean_entropy": 0.5,
        "slice_name": "slice 1 along z, 2.0 mm",
    }
    assert three["dice"] == 0
    assert three["assd_mm"] != three["assd_mm"]
    assert three["mean_entropy"] == 0


@pytest.mark.parametrize(
    ("spacing", "axis"), [((2, 1, 1), "z"), ((1, 3, 2), "y"), ((1, 1, 5), "x"), ((1, 1, 1), "z")]
)
def test_slices_run_along_the_coarsest_axis(labels, spacing, axis):
    scores = evaluate(*labels, spacing_mm=spacing)
    assert {row["axis"] for row in scores.slices} == {axis}
    assert len(scores.slices) == 2 * labels[0].shape["zyx".index(axis)]


@pytest.mark.parametrize("axis", "zyx")
def test_evaluate_slice_equals_the_row_of_evaluate(labels, axis):
    rng = np.random.default_rng(0)
    entropy = rng.random(labels[0].shape).astype(np.float32)
    options = {"spacing_mm": SPACING, "names": {1: "a", 2: "b", 3: "c"}, "entropy": entropy}
    scores = evaluate(*labels, axes="zyx", case="q", **options)
    for index in range(labels[0].shape["zyx".index(axis)]):
        expected = [r for r in scores.slices if (r["axis"], r["slice"]) == (axis, index)]
        found = evaluate_slice(*labels, axis, index, case="q", **options)
        assert len(found) == 3
        for one, other in zip(found, expected, strict=True):
            assert one == pytest.approx(other, nan_ok=True)


def test_evaluate_slice_refuses_a_slice_that_is_not_there(labels):
    with pytest.raises(InputError, match="slice 7 along z does not exist; choose 0 to 6"):
        evaluate_slice(*labels, "z", 7, spacing_mm=SPACING)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32])
def test_any_dtype(labels, dtype):
    expected = evaluate(*labels, spacing_mm=SPACING)
    found = evaluate(*(array.astype(dtype) for array in labels), spacing_mm=SPACING)
    assert found.rows == expected.rows


def test_views_score_like_copies(labels):
    """Canonical volumes are transposed and flipped views."""
    views = [array.transpose(2, 1, 0)[::-1, :, ::-1] for array in labels]
    spacing = SPACING[::-1]
    expected = evaluate(*(np.ascontiguousarray(view) for view in views), spacing_mm=spacing)
    assert evaluate(*views, spacing_mm=spacing).rows == expected.rows


def test_masks(labels):
    (row,) = evaluate(labels[0] > 0, labels[1] > 0, spacing_mm=SPACING).rows
    overlap = 2 * ((labels[0] > 0) & (labels[1] > 0)).sum()
    assert row["dice"] == pytest.approx(overlap / ((labels[0] > 0).sum() + (labels[1] > 0).sum()))


@pytest.mark.parametrize("value", [-1, 256, 1.5, np.nan, np.inf])
def test_values_that_are_no_labels(labels, value):
    prediction = labels[0].astype(np.float64)
    prediction[0, 0, 0] = value
    with pytest.raises(InputError, match=f"prediction: value {value} is not a label"):
        evaluate(prediction, labels[1], spacing_mm=SPACING)


def test_prediction_volume_and_array_agree(labels):
    prediction, reference = labels
    entropy = np.full(prediction.shape, 0.5, np.float32)
    names = {0: "background", 1: "MYO", 2: "LAC"}
    grid = volume(np.zeros(prediction.shape, np.int16))
    segmented = Segmented(prediction, entropy, names, grid)
    scores = evaluate(segmented, volume(reference))
    assert {(row["case"], row["name"]) for row in scores.rows} == {
        ("mr_07", "MYO"),
        ("mr_07", "LAC"),
    }
    assert {row["mean_entropy"] for row in scores.slices if row["area_reference_mm2"]} == {0.5}
    for other in (
        evaluate(prediction, volume(reference), names=names),
        evaluate(volume(prediction), reference, names=names),
        evaluate(segmented, reference),
    ):
        assert other.rows == scores.rows
    bare = evaluate(prediction, reference, spacing_mm=SPACING, names=names, case="mr_07")
    assert bare.rows == scores.rows


def test_position_is_the_coordinate_in_patient_space(labels):
    """Slices of a volume stored head first: index 0 lies at z = 10, index 6 at z = -2."""
    affine = np.diag([1.0, 0.5, -2.0, 1.0])
    affine[:3, 3] = (3.0, -4.0, 10.0)
    pair = (Volume(array, affine, "a") for array in labels)
    rows = evaluate(*pair, axes="zx").slices
    positions = [r["position_mm"] for r in rows if (r["axis"], r["label"]) == ("z", 1)]
    assert positions == pytest.approx([10, 8, 6, 4, 2, 0, -2])
    positions = [r["position_mm"] for r in rows if (r["axis"], r["label"]) == ("x", 1)]
    assert positions == pytest.approx(3.0 + np.arange(16))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"spacing": (2.0, 0.5, 1.01)}, "1.01"),
        ({"origin": (3.0, -4.0, 10.5)}, "10.5"),
        ({"origin": (3.0, -4.0, 10.006)}, "10.006"),
    ],
)
def test_other_geometry_is_refused_with_the_numbers(labels, change, words):
    with pytest.raises(InputError, match=words.replace(".", r"\.")):
        evaluate(volume(labels[0]), volume(labels[1], **change))


def test_direction_is_checked(labels):
    flipped = np.diag([-1.0, 0.5, 2.0, 1.0])
    with pytest.raises(InputError, match="LAS"):
        evaluate(Volume(labels[0], flipped), volume(labels[1]))


def test_tiny_differences_are_no_mismatch(labels):
    scores = evaluate(volume(labels[0]), volume(labels[1], origin=(3.0, -4.0, 10.0005)))
    assert len(scores.rows) == 2


@pytest.mark.parametrize("wrap", [volume, np.asarray], ids=["volume", "array"])
def test_other_shape_is_refused(labels, wrap):
    with pytest.raises(InputError, match=r"\(7, 20, 16\).*\(7, 20, 15\)"):
        evaluate(volume(labels[0]), wrap(labels[1][..., :-1]))


def test_spacing_must_be_known_and_agree(labels):
    with pytest.raises(InputError, match="arrays carry no voxel size; give spacing_mm"):
        evaluate(*labels)
    with pytest.raises(InputError, match="contradicts"):
        evaluate(volume(labels[0]), labels[1], spacing_mm=(1, 1, 1))
    for wrong in ((1, 1), (1, 0, 1), (1, 1, np.nan)):
        with pytest.raises(InputError, match="is not a voxel size"):
            evaluate(*labels, spacing_mm=wrong)


def test_other_bad_input(labels):
    with pytest.raises(InputError, match="choose among z, y, x"):
        evaluate(*labels, spacing_mm=SPACING, axes=("z", "q"))
    with pytest.raises(InputError, match="entropy map has shape"):
        evaluate(*labels, spacing_mm=SPACING, entropy=np.zeros((7, 20, 15), np.float32))
    with pytest.raises(InputError, match="is not a volume"):
        evaluate(labels[0][0], labels[1][0], spacing_mm=SPACING)


def test_structures_are_the_union_of_names_and_labels(labels):
    prediction, reference = (array.copy() for array in labels)
    prediction[0, 0, 0] = 9
    reference[6, 19, 15] = 5
    scores = evaluate(prediction, reference, spacing_mm=SPACING, names={0: "bg", 1: "MYO", 7: "AA"})
    found = {row["label"]: (row["name"], row["state"]) for row in scores.rows}
    assert found == {
        1: ("MYO", "both"),
        2: ("label_2", "both"),
        5: ("label_5", "missed"),
        7: ("AA", "absent"),
        9: ("label_9", "invented"),
    }


def test_nothing_to_score():
    empty = np.zeros((2, 3, 4), np.uint8)
    scores = evaluate(empty, empty, spacing_mm=SPACING)
    assert (scores.rows, scores.slices) == ([], [])
    (overall,) = scores.summary()
    assert overall["dice"]["n"] == 0


def dice_scores(values, ddof_protocol):
    """Cases of one structure with the Dice 2 k / (4 + k) for k of 4 voxels found."""
    parts = []
    for number, found in enumerate(values):
        reference, prediction = np.zeros((2, 1, 1, 8), np.uint8)
        reference[0, 0, :4] = 1
        prediction[0, 0, :found] = 1
        parts.append(
            evaluate(
                prediction,
                reference,
                spacing_mm=SPACING,
                case=f"case_{number}",
                protocol=ddof_protocol,
            )
        )
    return Scores.join(parts)


@pytest.mark.parametrize(("protocol", "ddof"), [("recommended", 1), ("sifa", 0)])
def test_summary(protocol, ddof):
    scores = dice_scores([4, 2, 1, 0], protocol)
    dices = np.array([1, 4 / 6, 2 / 5, 0])
    structure, overall = scores.summary()
    for statistic in (structure["dice"], overall["dice"]):
        assert statistic["mean"] == pytest.approx(dices.mean())
        assert statistic["sd"] == pytest.approx(dices.std(ddof=ddof))
        assert (statistic["n"], statistic["n_missing"]) == (4, 1)
    assert (structure["n_cases"], structure["n_missing"], structure["n_absent"]) == (4, 1, 0)
    assert (overall["label"], overall["name"]) == (None, "mean")
    table = scores.table().splitlines()
    assert table[0].split()[:2] == ["structure", "dice"]
    assert table[-1].startswith("mean ")
    assert f"{dices.mean():.3f} ± {dices.std(ddof=ddof):.3f}" in table[1]


def test_mean_row_is_the_mean_of_the_structures():
    reference = np.zeros((2, 4, 4), np.uint8)
    reference[0], reference[1] = 1, 2
    prediction = np.where(reference == 2, 0, reference)
    scores = evaluate(prediction, reference, spacing_mm=SPACING)
    assert [entry["dice"]["mean"] for entry in scores.summary()] == [1, 0, 0.5]


def test_files(labels, tmp_path):
    names = {1: "MYO", 2: "LAC", 3: "AA"}
    scores = evaluate(*labels, spacing_mm=SPACING, names=names, case="mr, 07", axes="zy")
    paths = scores.write(tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["scores.csv", "slices.csv", "scores.json"]
    for path, header, rows in zip(
        paths, (SCORES, SLICES), (scores.rows, scores.slices), strict=False
    ):
        assert path.read_text().splitlines()[0] == header
        with path.open(newline="") as stream:
            read = list(csv.DictReader(stream))
        assert len(read) == len(rows)
        for cells, row in zip(read, rows, strict=True):
            assert list(cells) == list(row)
            for column, value in row.items():
                expected = "" if value != value else str(value)
                assert cells[column] == expected
                if isinstance(value, float) and value == value:
                    assert float(cells[column]) == value
    document = json.loads(paths[2].read_text())
    assert document["protocol"] == "recommended"
    assert document["ddof"] == 1
    (case,) = document["cases"]
    assert case.pop("prediction_sha256") == ""  # arrays were scored, no file
    assert case == {
        "case": "mr, 07",
        "shape": [7, 20, 16],
        "spacing_mm": [2.0, 0.5, 1.0],
        "axes": ["z", "y"],
    }
    assert document["rows"][0]["assd_mm"] == scores.rows[0]["assd_mm"]
    assert document["rows"][2]["assd_mm"] is None
    assert document["summary"][0]["dice"]["mean"] == scores.rows[0]["dice"]
    assert "diagonal" in document["empty_policy"]
    assert document["settings"]["nsd_tolerance_mm"] == 2
    assert set(SCORES.split(",")[4:]) <= set(document["definitions"])
    assert document["version"]
    assert not document["customised"]
    assert sorted(path.name for path in paths[0].parent.iterdir()) == sorted(
        path.name for path in paths
    )


def test_a_failed_write_keeps_the_old_file(labels, tmp_path, monkeypatch):
    scores = evaluate(*labels, spacing_mm=SPACING)
    scores.write(tmp_path)
    before = (tmp_path / "scores.csv").read_bytes()

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="no space left on device"):
        scores.write(tmp_path)
    assert (tmp_path / "scores.csv").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 3


def test_importing_the_package_is_light():
    code = (
        "import sys, napari_uda.evaluation as m; "
        "print(sorted({'torch', 'scipy', 'numpy', 'nibabel', 'pydantic'} & set(sys.modules))); "
        "m.evaluate; print(sorted({'torch', 'nibabel', 'SimpleITK'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=True,
    )
    assert run.stdout.split("\n")[:2] == ["[]", "[]"]
