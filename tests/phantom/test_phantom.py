"""The phantom: same bytes from the same seed, plausible organs on the right side, clear refusals."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from napari_uda.core.errors import InputError
from napari_uda.data.folder import DataFolder
from napari_uda.data.volume import Volume, read_labels, read_volume, write_volume
from napari_uda.phantom import write_phantom

pytestmark = pytest.mark.slow  # volumes of the usual size are drawn

VOLUMES_ML = {  # adults; the atrium and ventricle are filled, the aorta is cut off by the volume
    "cardiac": {"MYO": (60, 220), "LAC": (35, 150), "LVC": (45, 220), "AA": (15, 120)},
    "abdominal": {
        "liver": (850, 2300),
        "right_kidney": (70, 260),
        "left_kidney": (70, 260),
        "spleen": (80, 420),
    },
}


@pytest.fixture(scope="module", params=["cardiac", "abdominal"])
def phantom(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("phantom") / request.param
    seen: list[tuple[int, int]] = []
    folders = write_phantom(
        out,
        anatomy=request.param,
        subjects=3,
        size=80,
        seed=1,
        on_progress=lambda *n: seen.append(n),
    )
    assert seen == [(n, 6) for n in range(1, 7)]
    return request.param, folders


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in sorted(folder.rglob("*"))
        if f.is_file()
    }


def _millilitres(labels: Volume, value: int) -> float:
    return float((labels.array == value).sum() * abs(np.linalg.det(labels.affine[:3, :3])) / 1000)


def _centroid_mm(labels: Volume, value: int) -> np.ndarray:
    index = np.argwhere(labels.array == value).mean(axis=0)[::-1]
    return labels.affine[:3, :3] @ index + labels.affine[:3, 3]


def test_data_folders_follow_the_contract(phantom) -> None:
    anatomy, folders = phantom
    for folder, modality in zip(folders, ("CT", "MR"), strict=True):
        data = DataFolder.open(folder)
        assert data.modality == modality
        assert list(data.labels) == list(VOLUMES_ML[anatomy])
        assert [c.name for c in data.cases] == [f"{modality.lower()}_00{n}" for n in (1, 2, 3)]
        for case in data.cases:
            image, labels = read_volume(case.image), read_labels(case.label)
            assert image.array.dtype == np.int16
            assert labels.array.dtype == np.uint8
            assert image.array.shape == labels.array.shape
            assert image.array.shape[1:] == (80, 80)
            np.testing.assert_array_equal(image.affine, labels.affine)
            z, y, x = image.spacing_mm
            assert z > y == x


def test_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_phantom(tmp_path / name, subjects=1, size=64, seed=7)
    assert _digests(tmp_path / "one") == _digests(tmp_path / "two")
    write_phantom(tmp_path / "other", subjects=1, size=64, seed=8)
    assert (
        _digests(tmp_path / "one")["ct/images/ct_001.nii.gz"]
        != (_digests(tmp_path / "other")["ct/images/ct_001.nii.gz"])
    )


def test_a_subject_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    write_phantom(tmp_path / "few", subjects=1, size=64)
    write_phantom(tmp_path / "more", subjects=2, size=64)
    few, more = _digests(tmp_path / "few"), _digests(tmp_path / "more")
    assert few.items() <= more.items()


def test_every_structure_has_an_adult_volume(phantom) -> None:
    anatomy, folders = phantom
    for folder in folders:
        data = DataFolder.open(folder)
        for case in data.cases:
            labels = read_labels(case.label)
            assert set(np.unique(labels.array)) == {0, *data.labels.values()}
            for name, value in data.labels.items():
                low, high = VOLUMES_ML[anatomy][name]
                assert low < _millilitres(labels, value) < high, (case.name, name)


def test_right_is_right(phantom) -> None:
    anatomy, folders = phantom
    for folder in folders:
        data = DataFolder.open(folder)
        for case in data.cases:
            labels = read_labels(case.label)
            at = {name: _centroid_mm(labels, value) for name, value in data.labels.items()}
            if anatomy == "abdominal":
                assert at["liver"][0] > at["spleen"][0] + 100
                assert at["right_kidney"][0] > at["left_kidney"][0] + 80
                assert at["liver"][1] > at["right_kidney"][1] + 20  # in front of it
                assert at["liver"][2] > at["right_kidney"][2] + 10  # and higher
            else:
                assert at["LVC"][0] < at["LAC"][0] - 10  # the apex points left,
                assert at["LVC"][1] > at["LAC"][1] + 10  # forward
                assert at["LVC"][2] < at["LAC"][2]  # and down
                assert at["AA"][2] > at["LVC"][2] + 20


def test_ct_is_in_hounsfield_units(phantom) -> None:
    anatomy, (folder, _) = phantom
    data = DataFolder.open(folder)
    for case in data.cases:
        image, labels = read_volume(case.image).array, read_labels(case.label).array
        median = {n: np.median(image[labels == v]) for n, v in data.labels.items()}
        if anatomy == "cardiac":
            assert 270 < median["LVC"] < 500
            assert 270 < median["AA"] < 500
            assert 70 < median["MYO"] < 160
        else:
            assert 80 < median["liver"] < 140
            assert 90 < median["spleen"] < 150
            assert 140 < median["right_kidney"] < 230
        assert image.min() >= -1024
        assert abs(np.median(image[:, :3, :3]) + 1000) < 30  # air beside the body
        fat = np.histogram(image[(image > -200) & (image < 0)], bins=40, range=(-200, 0))
        assert -125 < fat[1][np.argmax(fat[0])] < -75
        bone = (
            450 if anatomy == "cardiac" else 300
        )  # above contrast, after partial volume at 80 pixels
        assert (image > bone).mean() > 5e-4


def test_mr_is_not_negative_and_shows_another_contrast(phantom) -> None:
    anatomy, (_, folder) = phantom
    data = DataFolder.open(folder)
    for case in data.cases:
        image, labels = read_volume(case.image).array, read_labels(case.label).array
        median = {n: np.median(image[labels == v]) for n, v in data.labels.items()}
        assert image.min() >= 0
        assert np.median(image[:, :3, :3]) > 0  # Rician noise has no zero mean
        if anatomy == "cardiac":
            assert median["LVC"] > 1.7 * median["MYO"]
        else:
            assert median["spleen"] > 1.2 * median["liver"]
            assert median["right_kidney"] > 1.2 * median["liver"]


def test_ct_and_mr_show_different_people(phantom) -> None:
    _, folders = phantom
    ct, mr = (DataFolder.open(f) for f in folders)
    seen = [read_labels(c.label) for c in (*ct.cases, *mr.cases)]
    sizes = [tuple(round(_millilitres(v, k), 2) for k in (1, 2, 3, 4)) for v in seen]
    assert len(set(sizes)) == 6
    assert len({v.spacing_mm for v in seen}) == 6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"anatomy": "brain"}, "anatomy 'brain' is unknown; choose one of cardiac, abdominal"),
        ({"subjects": 0}, "subjects is 0; ask for at least 1"),
        ({"size": 32}, "size is 32 pixels; choose 64 to 512"),
        ({"size": 5000}, "size is 5000 pixels; choose 64 to 512"),
        ({"seed": -1}, "seed is -1; choose 0"),
        ({"from_labels": Path("nowhere")}, "nowhere: there is no such folder"),
    ],
)
def test_bad_arguments_are_refused(
    tmp_path: Path, arguments: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        write_phantom(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty; give a new or empty folder"):
        write_phantom(tmp_path)
    with pytest.raises(InputError, match=r"note\.txt: is a file"):
        write_phantom(tmp_path / "note.txt")
    assert [f.name for f in tmp_path.iterdir()] == ["note.txt"]


def _made_up_map(folder: Path, *, spleen: int = 1, upside_down: bool = False) -> None:
    """Boxes where the organs are, on a 4 mm grid in the order L, P, S."""
    array = np.zeros((50, 70, 90), np.uint8)
    z, y, x = np.meshgrid(*(np.arange(n) for n in array.shape), indexing="ij")

    def box(value: int, at: tuple[int, int, int], half: tuple[int, int, int]) -> None:
        inside = np.ones(array.shape, bool)
        for axis, middle, wide in zip((z, y, x), at, half, strict=True):
            inside &= np.abs(axis - middle) <= wide
        array[inside] = value

    box(6, (30, 30, 24), (12, 14, 12))  # small x is the patient's right
    box(spleen, (32, 44, 68), (8, 8, 5))
    box(2, (14, 48, 32), (10, 5, 5))
    box(3, (16, 48, 58), (10, 5, 5))
    box(8, (25, 44, 46), (25, 2, 2))
    box(7, (30, 26, 56), (6, 6, 7))
    affine = np.diag([-4.0, -4.0, 4.0, 1.0])
    if upside_down:
        array = array[:, ::-1]
    folder.mkdir(exist_ok=True)
    write_volume(folder / "map.nii.gz", Volume(np.ascontiguousarray(array), affine))


@pytest.mark.parametrize("upside_down", [False, True], ids=["right", "header_axis_reversed"])
def test_from_labels_paints_given_organs(tmp_path: Path, upside_down: bool) -> None:
    _made_up_map(tmp_path / "maps", upside_down=upside_down)
    folders = write_phantom(tmp_path / "out", subjects=1, size=96, from_labels=tmp_path / "maps")
    given_ml = {"liver": 25 * 29 * 25, "right_kidney": 21 * 121, "left_kidney": 21 * 121}
    for folder in folders:
        data = DataFolder.open(folder)
        assert list(data.labels) == list(VOLUMES_ML["abdominal"])
        labels, image = read_labels(data.cases[0].label), read_volume(data.cases[0].image)
        assert image.array.shape[1:] == (96, 96)
        for name, voxels in given_ml.items():
            measured = _millilitres(labels, data.labels[name])
            assert measured == pytest.approx(voxels * 0.064, rel=0.3), name
        at = {name: _centroid_mm(labels, value) for name, value in data.labels.items()}
        assert at["liver"][0] > at["spleen"][0]
        assert at["liver"][1] > at["right_kidney"][1]
        assert at["liver"][2] > at["right_kidney"][2]
    ct = read_volume(folders[0] / "images" / "ct_001.nii.gz").array
    liver = read_labels(folders[0] / "labels" / "ct_001.nii.gz").array == 1
    assert 80 < np.median(ct[liver]) < 140


def test_label_maps_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no label maps"):
        write_phantom(tmp_path / "a", from_labels=tmp_path / "empty")
    _made_up_map(tmp_path / "maps", spleen=40)
    with pytest.raises(InputError, match=r"map\.nii\.gz: label 40 is above 13"):
        write_phantom(tmp_path / "b", from_labels=tmp_path / "maps")
    _made_up_map(tmp_path / "maps", spleen=11)
    with pytest.raises(InputError, match=r"map\.nii\.gz: has no spleen"):
        write_phantom(tmp_path / "c", from_labels=tmp_path / "maps")


def test_dataset_json_names_the_background_too(phantom) -> None:
    anatomy, (folder, _) = phantom
    content = json.loads((folder / "dataset.json").read_text())
    assert content["labels"] == {"background": 0} | {
        name: n for n, name in enumerate(VOLUMES_ML[anatomy], start=1)
    }


def test_the_shipped_sample_data_can_be_drawn_again(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "sample_data"
    write_phantom(tmp_path / "out", anatomy="cardiac", subjects=1, size=96, seed=1)
    for modality in ("ct", "mr"):
        for part in ("images", "labels"):
            name = f"{modality}/{part}/{modality}_001.nii.gz"
            ours, theirs = read_volume(tmp_path / "out" / name), read_volume(shipped / name)
            np.testing.assert_array_equal(ours.affine, theirs.affine)
            apart = np.abs(ours.array.astype(int) - theirs.array.astype(int))
            assert (apart > 1).mean() < 1e-3  # other processors round sines and roots differently


def test_a_map_that_cannot_be_painted_leaves_nothing_behind(tmp_path: Path) -> None:
    _made_up_map(tmp_path / "maps")
    _made_up_map(tmp_path / "bad", spleen=9)
    (tmp_path / "bad" / "map.nii.gz").rename(tmp_path / "maps" / "later.nii.gz")
    with pytest.raises(InputError, match=r"later\.nii\.gz: has no spleen"):
        write_phantom(tmp_path / "out", subjects=1, size=64, from_labels=tmp_path / "maps")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad", "maps"]
