"""Public data sets become data folders with the right values, places, names and splits, or nothing at all."""

from __future__ import annotations

import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from tiny_releases import (
    OBLIQUE,
    codes,
    example,
    grey,
    record,
    sifa_example,
    slow_crc32c,
    write_dicom_slice,
    write_nii,
    write_png,
)

from napari_uda.cli import main
from napari_uda.convert import LAYOUTS, convert, layout
from napari_uda.convert import layout as layout_module
from napari_uda.convert.layout import CaseSplit, Domain
from napari_uda.convert.tfrecord import crc32c, read_example, record_places
from napari_uda.core.errors import Cancelled, InputError
from napari_uda.data.folder import DataFolder
from napari_uda.data.volume import read_labels, read_volume

SHAPE = (4, 5, 6)
HEART = [205, 420, 421, 500, 550, 600, 820, 850]


def tree(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def refused(folder: Path, pattern: str, name: str, source: Path, **options: object) -> None:
    """Conversion fails with one sentence and leaves nothing behind, not even the folder above OUT."""
    before = tree(folder)
    with pytest.raises(InputError, match=pattern) as caught:
        convert(name, source, folder / "new" / "out", **options)
    assert "\n" not in str(caught.value)
    assert tree(folder) == before


def write_mmwhs(source: Path, *cases: str) -> None:
    for index, case in enumerate(cases):
        modality = case[:2]
        write_nii(source / f"{modality}_train" / f"{case}_image.nii.gz", grey(SHAPE, index))
        write_nii(source / f"{modality}_train" / f"{case}_label.nii.gz", codes(SHAPE, HEART))


# --- layouts ----------------------------------------------------------------------------------------


def test_every_layout_has_a_module_and_every_file_can_be_read() -> None:
    assert set(LAYOUTS) == {"btcv", "chaos", "ivdm3seg", "mmwhs", "saml", "sifa"}
    folder = Path(str(layout_module.__globals__["__file__"])).parent
    for name in LAYOUTS:
        assert (folder / f"{name}.py").is_file()
        assert layout(name).domains
    with pytest.raises(InputError, match="unknown layout 'acdc'; choose one of btcv, chaos"):
        layout("acdc")


def test_published_splits() -> None:
    tests = {
        (name, domain): set(facts.split.test)
        for name in LAYOUTS
        for domain, facts in LAYOUTS[name].domains.items()
        if facts.split and not facts.split.given
    }
    assert tests["mmwhs", "ct"] == {"1003", "1008", "1014", "1019"}
    assert tests["mmwhs", "mr"] == {"1007", "1009", "1018", "1019"}
    assert tests["chaos", "mr"] == {"1", "13", "32", "38"}
    assert tests["btcv", "ct"] == {"0001", "0009", "0030", "0032", "0033", "0039"}
    assert tests["saml", "runmc"] == {"02", "05", "07", "08", "12", "15", "17", "20", "22", "26"}
    assert tests["ivdm3seg", "water"] == tests["ivdm3seg", "inphase"]
    counts = {
        key: (len(LAYOUTS[key[0]].domains[key[1]].split.train), len(test))  # type: ignore[union-attr]
        for key, test in tests.items()
    }
    assert counts["mmwhs", "ct"] == counts["mmwhs", "mr"] == counts["chaos", "mr"] == (16, 4)
    assert counts["btcv", "ct"] == (24, 6)
    assert counts["saml", "runmc"] == (20, 10)
    assert counts["ivdm3seg", "water"] == (13, 3)


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_no_case_in_two_splits(name: str) -> None:
    for domain in LAYOUTS[name].domains.values():
        if domain.split:
            keys = [*domain.split.train, *domain.split.test, *domain.split.left_out]
            assert len(set(keys)) == len(keys)


def test_a_split_that_leaks_is_refused() -> None:
    with pytest.raises(ValidationError, match="case b is in the split twice"):
        CaseSplit(source="x", train=("a", "b"), test=("b",))


@pytest.mark.parametrize(
    "structures",
    [
        {"a": {"value": 1, "codes": [[10, 20]]}, "b": {"value": 2, "codes": [20]}},
        {"a": {"value": 1, "codes": [5]}, "b": {"value": 2, "codes": [0]}},
        {"a": {"value": 1, "codes": [5]}, "b": {"value": 1, "codes": [6]}},
        {"a": {"value": 1, "codes": [[20, 10]]}},
    ],
)
def test_codes_that_mean_two_things_are_refused(structures: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"two things|same value"):
        Domain.model_validate({"modality": "CT", "structures": structures})


def test_codes_become_values() -> None:
    domain = Domain.model_validate(
        {
            "modality": "MR",
            "structures": {
                "a": {"value": 3, "codes": [[55, 57]]},
                "b": {"value": 1, "codes": [100, 300]},
            },
            "background": [0, 7],
        }
    )
    array = np.array([0, 7, 55, 57, 100, 300])
    for dtype in ("int16", "uint16", "int64", "float32"):
        labels = domain.to_labels(array.astype(dtype), "x")
        assert labels.dtype == np.uint8
        assert labels.tolist() == [0, 0, 3, 3, 1, 1]
    for wrong in (54, 58, 301, -1, 40000, 55.5):
        with pytest.raises(
            InputError, match=rf"^x: 2 voxels hold no label code .* first of them {wrong:g} \("
        ):
            domain.to_labels(np.array([0, wrong, wrong]), "x")
    big = np.zeros(2**20 + 3, np.int16)  # more than one chunk
    big[2**20 + 1] = 56
    assert np.flatnonzero(domain.to_labels(big, "x")).tolist() == [2**20 + 1]
    big[5], big[-1] = 8, 9
    with pytest.raises(InputError, match=r"^x: 2 voxels hold .* them 8 \(known"):
        domain.to_labels(big, "x")
    with pytest.raises(InputError, match=r"known: 0, 7, 55 to 57, 100, 300"):
        domain.to_labels(np.array([1]), "x")


# --- NIfTI releases ---------------------------------------------------------------------------------


def test_mmwhs(tmp_path: Path) -> None:
    source, out = tmp_path / "MMWHS", tmp_path / "out"
    write_mmwhs(source, "ct_train_1002", "ct_train_1003", "mr_train_1001")
    write_nii(source / "ct_test" / "ct_test_2001_image.nii.gz", grey(SHAPE))
    (source / "ct_train" / "._ct_train_1002_image.nii.gz").write_bytes(b"x")
    seen: list[tuple[int, int]] = []
    folders = convert("mmwhs", source, out, on_progress=lambda *step: seen.append(step))
    assert folders == [out / "ct", out / "mr"]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    ct = DataFolder.open(out / "ct")
    assert [case.name for case in ct.cases] == ["mmwhs_ct_1002", "mmwhs_ct_1003"]
    assert ct.labels == {"MYO": 1, "LAC": 2, "LVC": 3, "AA": 4}
    assert (ct.modality, DataFolder.open(out / "mr").modality) == ("CT", "MR")
    image, labels = read_volume(ct.cases[1].image), read_labels(ct.cases[1].label or "")
    np.testing.assert_array_equal(image.array, grey(SHAPE, 1))
    assert image.array.dtype == np.int16
    np.testing.assert_array_equal(image.affine, OBLIQUE)
    np.testing.assert_array_equal(labels.affine, OBLIQUE)
    expected = codes(SHAPE, [1, 2, 2, 3, 0, 0, 4, 0])
    np.testing.assert_array_equal(labels.array, expected)


def test_split_separates_the_papers_cases(tmp_path: Path) -> None:
    source, out = tmp_path / "MMWHS", tmp_path / "out"
    write_mmwhs(source, "mr_train_1001", "mr_train_1009", "mr_train_1002", "mr_train_1018")
    folders = convert("mmwhs", source, out, split=True)
    assert folders == [out / "mr" / "test", out / "mr" / "train"]
    names = {f.name: {case.name for case in DataFolder.open(f).cases} for f in folders}
    assert names["train"] == {"mmwhs_mr_1001", "mmwhs_mr_1002"}
    assert names["test"] == {"mmwhs_mr_1009", "mmwhs_mr_1018"}


def test_split_needs_both_parts_and_known_cases(tmp_path: Path) -> None:
    source = tmp_path / "MMWHS"
    write_mmwhs(source, "mr_train_1001")
    pattern = (
        r"^none of the test cases of mr \(1007, 1009, 1018, 1019\) was found in SOURCE; add them"
    )
    refused(tmp_path, pattern, "mmwhs", source, split=True)
    write_mmwhs(source, "mr_train_1042")
    pattern = r"^case mmwhs_mr_1042 is in neither part of the known split"
    refused(tmp_path, pattern, "mmwhs", source, split=True)


def test_missing_label_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "MMWHS"
    write_mmwhs(source, "ct_train_1001", "ct_train_1002")
    (source / "ct_train" / "ct_train_1002_label.nii.gz").unlink()
    pattern = r"^ct_train_1002_image.nii.gz: its label map ct_train_1002_label.nii.gz is missing"
    refused(tmp_path, pattern, "mmwhs", source)


def test_a_case_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "MMWHS"
    write_mmwhs(source, "ct_train_1001")
    write_mmwhs(source / "copy", "ct_train_1001")
    refused(tmp_path, r"^ct_train_1001_image.nii.gz: was found twice, in ", "mmwhs", source)


def test_unknown_code_after_good_cases_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "MMWHS"
    write_mmwhs(source, "ct_train_1001", "ct_train_1002")
    write_nii(source / "ct_train" / "ct_train_1002_label.nii.gz", codes(SHAPE, [205, 77]))
    pattern = r"^ct_train_1002_label.nii.gz: 2 voxels hold no label code of .*, the first of them 77 .known: 0, 205, 420, 421"
    refused(tmp_path, pattern, "mmwhs", source)


def test_other_label_geometry_is_refused_unless_it_is_to_be_ignored(tmp_path: Path) -> None:
    source = tmp_path / "MMWHS"
    write_mmwhs(source, "ct_train_1001")
    label = source / "ct_train" / "ct_train_1001_label.nii.gz"
    write_nii(label, codes(SHAPE, HEART), np.diag([1.0, 1, 1, 1]))
    refused(tmp_path, r"lie on different grids.*or pass --ignore-label-geometry", "mmwhs", source)
    convert("mmwhs", source, tmp_path / "out", ignore_label_geometry=True)
    made = tmp_path / "out" / "ct" / "labels" / "mmwhs_ct_1001.nii.gz"
    np.testing.assert_array_equal(read_labels(made).affine, OBLIQUE)
    write_nii(label, codes((4, 5, 7), HEART))
    pattern = r"different grids: shape \(z, y, x\) \(4, 5, 6\) against \(4, 5, 7\); resample one onto the grid of the other$"
    refused(tmp_path, pattern, "mmwhs", source, ignore_label_geometry=True)


def test_truncated_volume_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "MMWHS"
    write_mmwhs(source, "ct_train_1001")
    image = source / "ct_train" / "ct_train_1001_image.nii.gz"
    image.write_bytes(image.read_bytes()[:-40])
    refused(tmp_path, r"^ct_train_1001_image.nii.gz: ", "mmwhs", source)


def test_btcv_and_its_left_and_right(tmp_path: Path) -> None:
    source, out = tmp_path / "RawData", tmp_path / "out"
    for number in ("0001", "0021"):
        write_nii(source / "Training" / "img" / f"img{number}.nii.gz", grey(SHAPE), OBLIQUE)
        array = codes(SHAPE, list(range(1, 14)), "uint8")
        array[2, 2, 0], array[2, 2, -1] = 2, 3  # OBLIQUE: columns run to the patient's left
        write_nii(source / "Training" / "label" / f"label{number}.nii.gz", array, OBLIQUE)
    write_nii(source / "Testing" / "img" / "img0061.nii.gz", grey(SHAPE))
    folders = convert("btcv", source, out, split=True)
    assert folders == [out / "ct" / "test", out / "ct" / "train"]
    folder = DataFolder.open(folders[0])
    assert [case.name for case in folder.cases] == ["btcv_ct_0001"]
    assert folder.labels == {"liver": 1, "right_kidney": 2, "left_kidney": 3, "spleen": 4}
    labels = read_labels(folder.cases[0].label or "")
    expected = codes(SHAPE, [4, 2, 3, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0])
    expected[2, 2, 0], expected[2, 2, -1] = 2, 3
    np.testing.assert_array_equal(labels.array, expected)
    canonical = labels.canonical().array[2, -3]  # (S, A, R): indices grow to the right
    assert (canonical[-1], canonical[0]) == (2, 3)


def test_ivdm3seg_keeps_a_subject_on_one_side(tmp_path: Path) -> None:
    source, out = tmp_path / "IVDM3Seg", tmp_path / "out"
    for number in ("01", "02"):
        for kind in ("wat", "inn", "opp", "fat"):
            write_nii(source / number / f"{number}_{kind}.nii", grey(SHAPE, len(kind)))
        write_nii(source / number / f"{number}_Labels.nii", codes(SHAPE, [1], "uint8"))
    write_nii(source / "dataset" / "01_wat.nii", grey(SHAPE))  # the copies of the release
    write_nii(source / "label" / "01_Labels.nii", codes(SHAPE, [1], "uint8"))
    folders = convert("ivdm3seg", source, out, split=True, domains=("water", "inphase"))
    cases = {
        folder.relative_to(out).as_posix(): [case.name for case in DataFolder.open(folder).cases]
        for folder in folders
    }
    assert cases == {
        "inphase/test": ["subject_01"],
        "inphase/train": ["subject_02"],
        "water/test": ["subject_01"],
        "water/train": ["subject_02"],
    }
    labels = read_labels(out / "water" / "test" / "labels" / "subject_01.nii.gz")
    np.testing.assert_array_equal(labels.array, codes(SHAPE, [1]))
    assert DataFolder.open(out / "water" / "test").labels == {"disc": 1}


def test_saml_joins_zones_and_leaves_sites_without_a_split_whole(tmp_path: Path) -> None:
    source, out = tmp_path / "SAML", tmp_path / "out"
    for site, numbers, ending in (
        ("RUNMC", ("00", "02"), "_segmentation"),
        ("BMC", ("00",), "_Segmentation"),
    ):
        for number in numbers:
            write_nii(source / site / f"Case{number}.nii.gz", grey(SHAPE, int(number)))
            write_nii(source / site / f"Case{number}{ending}.nii.gz", codes(SHAPE, [1, 2]))
    folders = convert("saml", source, out, split=True)
    assert folders == [out / "bmc", out / "runmc" / "test", out / "runmc" / "train"]
    assert [case.name for case in DataFolder.open(out / "runmc" / "test").cases] == ["runmc_case02"]
    labels = read_labels(out / "bmc" / "labels" / "bmc_case00.nii.gz")
    np.testing.assert_array_equal(labels.array, codes(SHAPE, [1, 1]))
    refused(
        tmp_path,
        "^no split into training and test cases is known for bmc; ",
        "saml",
        source,
        split=True,
        domains=("bmc",),
    )
    (source / "BMC" / "Case00_Segmentation.nii.gz").unlink()
    refused(tmp_path, r"^Case00.nii.gz: its label map .* of site BMC is missing", "saml", source)


# --- CHAOS ------------------------------------------------------------------------------------------


def write_chaos_mr(patient: Path, offset: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three slices, each with a series of its own as in the release; what must come out."""
    image, grey_levels = grey((3, 5, 6), 3) + 1000, np.zeros((3, 5, 6), np.uint8)
    grey_levels[0, 1, 1], grey_levels[1, 2, 4] = 126, 189  # low columns: the patient's right
    grey_levels[2, 0, 0:3], grey_levels[2, 4, 5] = (56, 63, 70), 252
    for z in range(3):
        name = f"IMG-0004-{z + 1:05d}"
        write_dicom_slice(
            patient / "DICOM_anon" / f"{name}.dcm", image[z], 10.0 + 4 * z, f"1.2.3.{z + 1}"
        )
        write_png(patient / "Ground" / f"{name}.png", grey_levels[z])
    labels = np.zeros((3, 5, 6), np.uint8)
    labels[0, 1, 1], labels[1, 2, 4], labels[2, 0, 0:3], labels[2, 4, 5] = 2, 3, 1, 4
    return image, labels


def test_chaos_mr(tmp_path: Path) -> None:
    source, out = tmp_path / "CHAOS", tmp_path / "out"
    image, labels = write_chaos_mr(source / "Train_Sets" / "MR" / "1" / "T2SPIR")
    write_chaos_mr(source / "Train_Sets" / "MR" / "2" / "T2SPIR")
    other = source / "Train_Sets" / "MR" / "1" / "T1DUAL"
    write_png(other / "Ground" / "IMG-0004-00001.png", np.zeros((5, 6), np.uint8))
    unlabelled = source / "Test_Sets" / "MR" / "4" / "T2SPIR" / "DICOM_anon"
    write_dicom_slice(unlabelled / "IMG-0001-00001.dcm", image[0], 0.0, "1.2.9")
    folders = convert("chaos", source, out, split=True)
    assert folders == [out / "mr" / "test", out / "mr" / "train"]
    case = DataFolder.open(out / "mr" / "test").cases[0]
    assert case.name == "chaos_mr_01"
    read, made = read_volume(case.image), read_labels(case.label or "")
    np.testing.assert_array_equal(read.array, image)
    np.testing.assert_array_equal(made.array, labels)
    expected = [[-0.75, 0, 0, 7], [0, -1.5, 0, 9], [0, 0, 4, 10], [0, 0, 0, 1]]
    np.testing.assert_allclose(read.affine, expected, atol=1e-6)
    np.testing.assert_array_equal(read.affine, made.affine)
    right, left = (np.argwhere(made.canonical().array == value)[0, 2] for value in (2, 3))
    assert right > left  # canonical columns grow to the patient's right


def test_chaos_ct_from_head_to_feet(tmp_path: Path) -> None:
    """File n and PNG n belong together although file 1 is the highest slice."""
    patient, out = tmp_path / "CT" / "5", tmp_path / "out"
    image, liver = grey((3, 5, 6), 9), np.zeros((3, 5, 6), np.uint8)
    liver[0, 1, 1], liver[1, 2, 2:4], liver[2, 3, 3:6] = 255, 255, 255
    for n in range(3):
        write_dicom_slice(
            patient / "DICOM_anon" / f"i000{n},0000b.dcm", image[n], 90.0 - 2 * n, f"1.2.4.{n + 1}"
        )
        write_png(patient / "Ground" / f"liver_GT_00{n}.png", liver[n])
    convert("chaos", tmp_path / "CT", out)
    read = read_volume(out / "ct" / "images" / "chaos_ct_05.nii.gz")
    labels = read_labels(out / "ct" / "labels" / "chaos_ct_05.nii.gz")
    np.testing.assert_array_equal(read.array, image[::-1])
    np.testing.assert_array_equal(labels.array, liver[::-1] // 255)
    assert read.affine[2, 3] == 86.0
    assert DataFolder.open(out / "ct").labels == {"liver": 1}


def test_chaos_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "CHAOS"
    patient = source / "MR" / "1" / "T2SPIR"
    write_chaos_mr(patient)
    ground = patient / "Ground"
    plane = np.zeros((5, 6), np.uint8)
    plane[0, 0] = 120
    write_png(ground / "IMG-0004-00002.png", plane)
    convert("chaos", source, tmp_path / "ranges")  # 120 lies within the right kidney's range
    plane[0, 0] = 100
    write_png(ground / "IMG-0004-00002.png", plane)
    pattern = (
        r"^MR/1/Ground: 1 voxels hold no label code .* them 100 .known: 0, 55 to 70, 110 to 135"
    )
    refused(tmp_path, pattern, "chaos", source)
    write_png(ground / "IMG-0004-00002.png", np.zeros((5, 7), np.uint8))
    pattern = r"^MR/1: IMG-0004-00002.png has 7 x 5 pixels and its DICOM slice 6 x 5"
    refused(tmp_path, pattern, "chaos", source)
    (ground / "IMG-0004-00002.png").rename(ground / "IMG-0004-00009.png")
    refused(tmp_path, r"^MR/1: img-0004-00009.png has no DICOM slice", "chaos", source)
    (ground / "IMG-0004-00009.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (ground / "IMG-0004-00009.png").rename(ground / "IMG-0004-00002.png")
    refused(tmp_path, r"^IMG-0004-00002.png: is damaged or no PNG", "chaos", source)
    (ground / "IMG-0004-00002.png").unlink()
    refused(tmp_path, r"^MR/1: has 3 DICOM slices and 2 PNG label slices", "chaos", source)


# --- SIFA -------------------------------------------------------------------------------------------


def write_sifa(source: Path) -> tuple[np.ndarray, np.ndarray]:
    """A record per part and a test volume of CT; the three slices and labels of the records."""
    rng = np.random.default_rng(5)
    image = rng.normal(size=(8, 9, 3)).astype(np.float32)
    labels = rng.integers(0, 5, (8, 9, 3)).astype(np.float32)
    data = record(sifa_example(image, labels))
    for part in ("train", "val"):
        (source / f"ct_{part}_tfs").mkdir(parents=True)
        (source / f"ct_{part}_tfs" / f"ct_{part}_slice7.tfrecords").write_bytes(data)
    volume = rng.normal(size=(8, 9, 4)).astype(np.float32)
    target = rng.integers(0, 5, (8, 9, 4)).astype(np.float32)
    (source / "test_ct&mr").mkdir()
    np.savez(source / "test_ct&mr" / "ct_1003.npz", volume, target)
    return image, labels


def test_sifa(tmp_path: Path) -> None:
    source, out = tmp_path / "release", tmp_path / "out"
    image, labels = write_sifa(source)
    folders = convert("sifa", source, out)  # its parts are never joined
    assert folders == [out / "ct" / "test", out / "ct" / "train"]
    case = DataFolder.open(out / "ct" / "train").cases[0]
    assert case.name == "ct_train_slice7"
    read, made = read_volume(case.image), read_labels(case.label or "")
    assert read.array.dtype == np.float32
    np.testing.assert_array_equal(read.array, image[None, :, :, 1])
    np.testing.assert_array_equal(made.array, labels[None, :, :, 1])
    assert read.spacing_mm == (2.0, 1.0, 1.0)
    canonical = read.canonical().array  # (S, A, R): rows from feet to head, columns to the right
    np.testing.assert_array_equal(canonical[:, 0], image[::-1, ::-1, 1])
    stored = np.load(source / "test_ct&mr" / "ct_1003.npz")
    volume = read_volume(out / "ct" / "test" / "images" / "ct_1003.nii.gz").array
    target = read_labels(out / "ct" / "test" / "labels" / "ct_1003.nii.gz").array
    assert volume.shape == (4, 8, 9)
    for z, y, x in ((0, 0, 0), (3, 2, 5), (1, 7, 8)):
        assert volume[z, y, x] == stored["arr_0"][7 - y, 8 - x, z]
        assert target[z, y, x] == stored["arr_1"][7 - y, 8 - x, z]


def test_sifa_records_of_one_file_and_labels_of_the_middle_slice_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    images = rng.normal(size=(2, 8, 8, 3)).astype(np.float32)
    labels = rng.integers(0, 5, (2, 8, 8)).astype(np.float32)
    records = [record(sifa_example(i, label)) for i, label in zip(images, labels, strict=True)]
    source = tmp_path / "mr_train"
    source.mkdir()
    (source / "part.tfrecords").write_bytes(b"".join(records))
    convert("sifa", source, tmp_path / "out")
    cases = DataFolder.open(tmp_path / "out" / "mr" / "train").cases
    assert [case.name for case in cases] == ["part_0", "part_1"]
    for case, image, label in zip(cases, images, labels, strict=True):
        np.testing.assert_array_equal(read_volume(case.image).array[0], image[:, :, 1])
        np.testing.assert_array_equal(read_labels(case.label or "").array[0], label)


def test_sifa_value_5_is_background_as_its_authors_have_it(tmp_path: Path) -> None:
    labels = np.zeros((8, 8, 3), np.float32)
    labels[2:4], labels[4:6] = 4, 5
    image = np.zeros((8, 8, 3), np.float32)
    source = tmp_path / "ct_train"
    source.mkdir()
    (source / "slice1.tfrecords").write_bytes(record(sifa_example(image, labels)))
    convert("sifa", source, tmp_path / "out")
    case = DataFolder.open(tmp_path / "out" / "ct" / "train").cases[0]
    made = read_labels(case.label or "").array[0]
    np.testing.assert_array_equal(made, np.where(labels[..., 1] == 4, 4, 0))


def test_sifa_damaged_records_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "release"
    image, labels = write_sifa(source)
    file = source / "ct_train_tfs" / "ct_train_slice7.tfrecords"
    whole = file.read_bytes()
    for size in (5, 100, len(whole) - 2):
        file.write_bytes(whole[:size])
        pattern = rf"^ct_train_slice7.tfrecords: is truncated, record 0 ends after byte {size}"
        refused(tmp_path, pattern, "sifa", source)
    file.write_bytes(b"")
    refused(tmp_path, r"slice7.tfrecords: is empty \(0 bytes\)", "sifa", source)
    file.write_bytes(b"\x01" + whole[1:])
    refused(tmp_path, "slice7.tfrecords: the checksum of record 0 is wrong", "sifa", source)
    file.write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
    refused(tmp_path, "slice7.tfrecords: the checksum of its data is wrong", "sifa", source)
    file.write_bytes(record(b"\x0a\x7fabc"))
    refused(tmp_path, r"is no tf.train.Example \(a field of 127 bytes goes on", "sifa", source)
    file.write_bytes(record(b"\x0b\x01"))
    refused(tmp_path, r"is no tf.train.Example \(wire type 3", "sifa", source)
    file.write_bytes(record(example({"image": b"png"})))
    refused(tmp_path, r"its dsize_dim0 is None, which is no size of a slice", "sifa", source)
    file.write_bytes(record(sifa_example(image, labels[:4])))
    refused(tmp_path, r"its label_vol has 432 bytes, not the 864 of 8 x 9 x 3", "sifa", source)
    file.write_bytes(record(sifa_example(image * np.nan, labels)))
    refused(tmp_path, r"has voxels that are NaN or infinite", "sifa", source)
    file.write_bytes(record(sifa_example(image, labels + 3)))
    refused(
        tmp_path,
        r"slice7.tfrecords: .* voxels hold no label code .* them [567] .known",
        "sifa",
        source,
    )


def test_sifa_hostile_npz_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "ct"
    source.mkdir()
    file = source / "test.npz"
    good = np.zeros((3, 4, 5), np.float32)
    objects = np.empty((3, 4, 5), object)
    np.savez(file, good, objects)
    refused(tmp_path, r"^test.npz: its array arr_1 holds pickled Python objects", "sifa", source)
    np.savez(file, image=good, label=good)
    refused(tmp_path, r"^test.npz: has no array arr_0", "sifa", source)
    np.savez(file, good[0], good[0])
    refused(tmp_path, r"^test.npz, array arr_0: is 2-D", "sifa", source)
    np.savez(file, good, good.astype("U1"))
    refused(tmp_path, r"^test.npz: its array arr_1 is of type <U1", "sifa", source)
    np.savez(file, np.array([np.inf, -np.inf, 0], "f4").reshape(1, 1, 3), good)
    refused(tmp_path, r"^test.npz: has voxels that are NaN or infinite", "sifa", source)
    np.savez(file, good, good[:2])
    refused(tmp_path, r"different grids: shape", "sifa", source)
    np.savez(file, good, good)
    whole = file.read_bytes()
    file.write_bytes(whole[:-30])
    refused(tmp_path, r"^test.npz: is damaged or is no .npz file", "sifa", source)
    file.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])  # zip checks each member
    refused(tmp_path, r"^test.npz: is damaged or is no .npz file", "sifa", source)
    with zipfile.ZipFile(file, "w") as archive:
        header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2000, 2000, 100), }\n"
        archive.writestr("arr_0.npy", b"\x93NUMPY\x01\x00" + bytes([len(header), 0]) + header)
    refused(tmp_path, r"arr_0 declares 1600000000 bytes and holds 0", "sifa", source)


def test_sifa_needs_modality_and_a_part_that_is_used(tmp_path: Path) -> None:
    image = np.zeros((8, 8, 3), np.float32)
    source = tmp_path / "download"
    source.mkdir()
    (source / "slice.tfrecords").write_bytes(record(sifa_example(image, image)))
    refused(
        tmp_path, r"^slice.tfrecords: neither its name nor that of its folder says", "sifa", source
    )
    (source / "slice.tfrecords").rename(source / "mr_val_slice.tfrecords")
    refused(tmp_path, "holds only cases that neither training nor testing uses", "sifa", source)


def test_crc32c_against_the_definition() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C
    data = np.random.default_rng(0).integers(0, 256, 70001).astype(np.uint8).tobytes()
    for length in (0, 1, 3, 4, 5, 63, 64, 127, 128, 129, 1000, 65536, 70001):
        assert crc32c(data[:length]) == slow_crc32c(data[:length]), length
    assert crc32c(bytes(40)) == slow_crc32c(bytes(40))


def test_example_with_packed_single_and_negative_numbers(tmp_path: Path) -> None:
    minus = b"\xff" * 9 + b"\x01"
    single = b"\x08\x05\x08" + minus  # 5 and -1, one by one
    packed = b"\x0a\x0c\x05\x01" + minus  # the same as one field, with a 1 between
    entries = b""
    for key, values in ((b"a", single), (b"b", packed)):
        feature = b"\x1a" + bytes([len(values)]) + values
        entry = b"\x0a\x01" + key + b"\x12" + bytes([len(feature)]) + feature
        entries += b"\x0a" + bytes([len(entry)]) + entry
    entries += b"\x1d" + bytes(4) + b"\x19" + bytes(8)  # fields of fixed size are passed over
    file = tmp_path / "a.tfrecords"
    file.write_bytes(record(b"\x0a" + bytes([len(entries)]) + entries))
    (place,) = record_places(file)
    assert read_example(file, place) == {"a": (5, -1), "b": (5, 1, -1)}


# --- the folder OUT ---------------------------------------------------------------------------------


def test_out_must_be_new_or_empty(tmp_path: Path) -> None:
    source, out = tmp_path / "MMWHS", tmp_path / "out"
    write_mmwhs(source, "ct_train_1001")
    out.mkdir()
    convert("mmwhs", source, out)
    before = tree(tmp_path)
    with pytest.raises(InputError, match=r"^out: is not empty; give a new or empty folder"):
        convert("mmwhs", source, out)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"^file: is a file; give a new or empty folder"):
        convert("mmwhs", source, tmp_path / "file")
    with pytest.raises(InputError, match=r"^cannot write out to .*not a directory"):
        convert("mmwhs", source, tmp_path / "file" / "out")
    assert tree(tmp_path) == before | {tmp_path / "file"}


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in LAYOUTS:
        refused(tmp_path, r"^empty: holds nothing of this layout", name, tmp_path / "empty")
    refused(tmp_path, r"^gone: there is no such folder", "mmwhs", tmp_path / "gone")
    refused(tmp_path, r"^unknown layout 'x'", "x", tmp_path / "empty")
    pattern = r"^mmwhs has no domain 'pet'; choose one of ct, mr"
    refused(tmp_path, pattern, "mmwhs", tmp_path / "empty", domains=("pet",))
    write_mmwhs(tmp_path / "MMWHS", "ct_train_1001")
    pattern = r"^MMWHS: holds no case of mr"
    refused(tmp_path, pattern, "mmwhs", tmp_path / "MMWHS", domains=("mr",))


def test_stopping_leaves_nothing(tmp_path: Path) -> None:
    write_mmwhs(tmp_path / "MMWHS", "ct_train_1001", "ct_train_1002")
    before, stop = tree(tmp_path), threading.Event()
    with pytest.raises(Cancelled):
        convert(
            "mmwhs",
            tmp_path / "MMWHS",
            tmp_path / "out",
            on_progress=lambda done, total: stop.set(),
            stop=stop,
        )
    assert tree(tmp_path) == before


def test_help_and_documentation_name_every_layout(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["convert", "--help"])
    said = capsys.readouterr().out
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    for name in LAYOUTS:
        assert name in said
        assert f"`napari-uda convert {name} " in page


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "MMWHS", tmp_path / "out"
    write_mmwhs(source, "ct_train_1001", "ct_train_1003", "mr_train_1001")
    main(["convert", "mmwhs", str(source), str(out), "--split", "--domain", "ct"])
    assert capsys.readouterr().out.splitlines() == [f"{out}/ct/test", f"{out}/ct/train"]
    with pytest.raises(SystemExit) as end:
        main(["convert", "mmwhs", str(source), str(out)])
    assert end.value.code == 2
    assert capsys.readouterr().err == "napari-uda: out: is not empty; give a new or empty folder\n"
