"""Files of results: whatever program opens the image opens them, and they say what they were made from and by."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from napari_uda.cli import main
from napari_uda.core.errors import InputError
from napari_uda.data.entropy_steps import EntropyType, in_steps
from napari_uda.data.provenance import ModelOrigin
from napari_uda.data.volume import Volume, read_volume
from napari_uda.evaluation import evaluate, evaluate_folders
from napari_uda.inference.loaded import LoadedRun
from napari_uda.inference.predict import Prediction, predict
from napari_uda.inference.results import read_origin
from napari_uda.inference.translate import Translation
from napari_uda.run.roles import role_of
from napari_uda.run.run import Run
from napari_uda.training.adapt import adapt

SHAPE = (6, 9, 8)
NAMES = {1: "MYO", 3: "left kidney"}


def image_file(path: Path) -> Path:
    """An oblique, slightly sheared image with an sform in MNI space and the scanner's qform."""
    affine = np.eye(4)
    turned = nib.eulerangles.euler2mat(0.1, 0.2, 0.3)
    affine[:3, :3] = turned @ np.diag([0.7, 0.8, 1.5])
    affine[:3, 1] += 3e-4 * affine[:3, 0]
    affine[:3, 3] = -80, -70, 30
    voxels = np.random.default_rng(3).integers(-100, 900, SHAPE[::-1]).astype(np.int16)
    image = nib.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, 4)
    image.set_qform(affine, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


@pytest.fixture
def image(tmp_path: Path) -> Volume:
    return read_volume(image_file(tmp_path / "data" / "images" / "heart.nii.gz"))


@pytest.fixture
def prediction(image: Volume) -> Prediction:
    """Labels and entropy drawn by hand: no network is needed to write files."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:4, 2:6, 2:6] = 1
    labels[2:5, 6:8, 3:7] = 3
    entropy = np.linspace(0, 1, labels.size, dtype=np.float32).reshape(SHAPE)
    reliability = np.where(entropy > 0.5, 2, 1).astype(np.uint8)
    return Prediction(
        labels, entropy, reliability, NAMES, image, "heart", ModelOrigin("ct2mr", "ab" * 32)
    )


def placed_as(file: Path, image: Path) -> None:
    """The file lies where its image does for SimpleITK and for nibabel, in both of its forms."""
    itk, expected = sitk.ReadImage(str(file)), sitk.ReadImage(str(image))
    for place in ("GetOrigin", "GetSpacing", "GetDirection", "GetSize"):
        assert getattr(itk, place)() == getattr(expected, place)(), place
    got, given = nib.load(file).header, nib.load(image).header
    for form in ("get_sform", "get_qform"):
        found, wanted = (getattr(header, form)(coded=True) for header in (got, given))
        np.testing.assert_array_equal(found[0], wanted[0])
        assert found[1] == wanted[1]


def niimath(file: Path, *operations: str) -> np.ndarray:
    """What niimath makes of a file; the test is skipped where it is not installed."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    program = shutil.which("niimath", path=places)
    if program is None:
        pytest.skip("niimath is not installed (pip install niimath)")
    out = file.parent / "niimath_out.nii.gz"
    subprocess.run([program, str(file), *operations, str(out), "-odt", "float"], check=True)
    return np.asarray(nib.load(out).dataobj)


def test_every_map_opens_where_its_image_opens(prediction: Prediction, tmp_path: Path) -> None:
    image = tmp_path / "data" / "images" / "heart.nii.gz"
    translation = Translation(
        translated=prediction.volume.array.astype(np.float32),
        cycle=prediction.entropy,
        attention={"quarter": prediction.entropy},
        direction="target_to_source",
        slice_change=(0.0, 0.0),
        volume=prediction.volume,
        case="heart",
        run="cycle",
    )
    files = [*prediction.save(tmp_path / "out")[:3], *translation.save(tmp_path / "out")]
    assert len(files) == 6
    for file in files:
        placed_as(file, image)
        array = sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
        np.testing.assert_allclose(read_volume(file).array, array, atol=1e-6)
        np.testing.assert_allclose(np.asarray(nib.load(file).dataobj).T, array, atol=1e-6)


def test_niimath_opens_every_map(prediction: Prediction, tmp_path: Path) -> None:
    labels, entropy, reliability = prediction.save(tmp_path / "out")[:3]
    np.testing.assert_array_equal(niimath(labels, "-add", "0").T, prediction.labels)
    np.testing.assert_array_equal(niimath(reliability, "-add", "0").T, prediction.reliability)
    found = niimath(entropy, "-add", "0").T
    np.testing.assert_allclose(found, prediction.entropy, atol=0.5001 / 255)
    assert found.max() <= 1


def test_what_adapt_writes_lies_on_its_image(tiny_run: Run, image: Volume, tmp_path: Path) -> None:
    (found,) = adapt(
        tiny_run, image, method="bn_adapt", device="cpu", reliability=False, max_volume_change=0
    )
    for file in found.save(tmp_path / "out"):
        if file.suffix == ".gz":
            placed_as(file, tmp_path / "data" / "images" / "heart.nii.gz")
    before, after = (
        json.loads((tmp_path / "out" / part / "heart.json").read_text())["model"]
        for part in ("before", "after")
    )
    digest = hashlib.sha256(tiny_run.weights_file().read_bytes()).hexdigest()
    model = {
        "name": "tiny",
        "weights_sha256": digest,
        "date": tiny_run.created[:10],
        "path": os.path.relpath(tiny_run.path, tmp_path / "out" / "before"),
    }
    assert before == model
    assert after == model | {"adapted_by": "bn_adapt"}


def test_entropy_is_stored_in_bytes_that_every_reader_scales(
    prediction: Prediction, tmp_path: Path
) -> None:
    file = prediction.save(tmp_path)[1]
    stored = nib.load(file).dataobj
    assert stored.dtype == np.uint8
    assert stored.slope == pytest.approx(1 / 255, rel=1e-6)
    assert stored.inter == 0
    readers = {
        "nibabel": np.asarray(nib.load(file).dataobj).T,
        "nibabel, floats": nib.load(file).get_fdata().T,
        "SimpleITK": sitk.GetArrayFromImage(sitk.ReadImage(str(file))),
        "ours": read_volume(file).array,
    }
    for reader, found in readers.items():
        assert 0 <= found.min() <= found.max() <= 1, reader
        assert found.max() > 0.999999, reader
        np.testing.assert_allclose(found, prediction.entropy, atol=0.5001 / 255, err_msg=reader)
    raw = np.asarray(nib.load(file).dataobj.get_unscaled()).T
    np.testing.assert_array_equal(raw, np.rint(prediction.entropy * 255))
    assert prediction.entropy.dtype == np.float32


def test_entropy_as_float32_is_the_old_file(prediction: Prediction, tmp_path: Path) -> None:
    file = prediction.save(tmp_path, entropy_dtype="float32")[1]
    image = nib.load(file)
    assert image.header.get_data_dtype() == np.float32
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, prediction.entropy)


def test_without_entropy_no_older_map_stays_beside_new_labels(
    prediction: Prediction, tmp_path: Path
) -> None:
    prediction.save(tmp_path)
    files = prediction.save(tmp_path, entropy=False)
    names = ["heart_labels.nii.gz", "heart_reliability.nii.gz", "heart.json"]
    assert [file.name for file in files] == names
    assert sorted(file.name for file in tmp_path.iterdir() if file.is_file()) == sorted(names)


def test_without_a_vote_no_map_calls_voxels_reliable(
    prediction: Prediction, tmp_path: Path
) -> None:
    prediction.save(tmp_path)
    files = replace(prediction, reliability=None).save(tmp_path)
    names = ["heart_labels.nii.gz", "heart_entropy.nii.gz", "heart.json"]
    assert [file.name for file in files] == names
    assert sorted(file.name for file in tmp_path.iterdir() if file.is_file()) == sorted(names)


@pytest.mark.parametrize("folder", ["images", "imagesTs"])
def test_results_are_not_put_among_images(
    prediction: Prediction, tmp_path: Path, folder: str
) -> None:
    with pytest.raises(InputError, match=f"^{folder}: is a folder of images, and results in it"):
        prediction.save(tmp_path / folder)
    assert not (tmp_path / folder).exists()


def test_scores_of_files_read_the_entropy_scaled(prediction: Prediction, tmp_path: Path) -> None:
    labels = tmp_path / "data" / "labels" / "heart.nii.gz"
    reference = prediction.volume.with_array(np.roll(prediction.labels, 1, axis=2))
    prediction.save(tmp_path / "out")
    labels.parent.mkdir()
    shutil.move(replace(prediction, labels=reference.array).save(tmp_path / "aside")[0], labels)
    of_files = evaluate_folders(tmp_path / "out", labels.parent)
    in_memory = evaluate(prediction, reference)
    for got, expected in zip(of_files.slices, in_memory.slices, strict=True):
        assert got["mean_entropy"] == pytest.approx(
            expected["mean_entropy"], abs=0.5001 / 255, nan_ok=True
        )
    means = [row["mean_entropy"] for row in of_files.slices if row["area_prediction_mm2"]]
    assert max(means) <= 1
    volume = read_volume(tmp_path / "out" / "heart_entropy.nii.gz")
    assert role_of(tmp_path / "out" / "heart_entropy.nii.gz", volume) == "entropy"


def test_the_sidecar_says_what_the_maps_were_made_from_and_by(
    prediction: Prediction, tmp_path: Path
) -> None:
    out = tmp_path / "results" / "deep"
    *_, sidecar = prediction.save(out)
    assert sidecar.name == "heart.json"
    content = json.loads(sidecar.read_text())
    assert content["model"] == {"name": "ct2mr", "weights_sha256": "ab" * 32}
    assert content["structures"] == [
        {"value": 1, "name": "MYO", "colour": "#940802"},
        {"value": 3, "name": "left kidney", "colour": "#681CB8"},
    ]
    assert content["fit"] == {"verdict": "not judged", "reasons": []}
    found = content["image"]
    assert found["path"] == "../../data/images/heart.nii.gz"
    file = out / found["path"]
    voxels = np.asarray(nib.load(file).dataobj).astype("<i2")  # Fortran order is (Z, Y, X) in C's
    assert found["voxels_sha256"] == hashlib.sha256(voxels.tobytes(order="F")).hexdigest()
    assert (found["voxels"], found["shape_zyx"]) == ("int16", list(SHAPE))
    packed = b"".join(
        np.ascontiguousarray(nib.load(out / "heart_labels.nii.gz").header.binaryblock)
    )
    assert b"ct2mr" not in packed


def test_the_path_leads_to_the_image_from_behind_a_link(
    prediction: Prediction, tmp_path: Path
) -> None:
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "far" / "away")
    *_, sidecar = prediction.save(tmp_path / "out")
    path = json.loads(sidecar.read_text())["image"]["path"]
    assert (tmp_path / "out" / path).samefile(tmp_path / "data" / "images" / "heart.nii.gz")


def test_a_prediction_names_its_image_and_weights(
    tiny_run: Run, two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    image = two_domains[1] / "images" / "target_0.nii.gz"
    found = predict(tiny_run, image, device="cpu", reliability=False)
    content = json.loads(found.save(tmp_path)[-1].read_text())
    assert (tmp_path / content["image"]["path"]).samefile(image)
    digest = hashlib.sha256(tiny_run.weights_file().read_bytes()).hexdigest()
    model = content["model"]
    assert (model["name"], model["weights_sha256"]) == ("tiny", digest)
    assert model["date"] == tiny_run.created[:10] != ""
    assert (tmp_path / model["path"]).samefile(tiny_run.path)
    origin, fit = read_origin(tmp_path, found.case)
    assert origin == found.model
    assert fit == replace(found.fit, note="")
    memory = replace(read_volume(image), source=None)
    other = predict(tiny_run, memory, device="cpu", reliability=False)
    assert json.loads(other.save(tmp_path)[-1].read_text())["image"]["path"] is None


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_command_takes_the_same_choices(
    tiny_run: Run, two_domains: tuple[Path, Path], tmp_path: Path, dtype: str
) -> None:
    image = two_domains[1] / "images" / "target_0.nii.gz"
    words = ["predict", tiny_run.path, image, "--out", tmp_path, "--no-reliability"]
    main([*map(str, words), "--entropy-dtype", dtype])
    stored = nib.load(tmp_path / "target_0_entropy.nii.gz").dataobj
    assert stored.dtype == dtype
    found = predict(tiny_run, image, device="cpu", reliability=False)
    np.testing.assert_allclose(np.asarray(stored).T, found.entropy, atol=0.5001 / 255)


def test_results_of_another_image_of_that_name_stay(
    tiny_run: Run, two_domains: tuple[Path, Path], tmp_path: Path
) -> None:
    """As a hospital sends them: one folder per patient, and the same names in each."""
    for patient in ("0", "1"):
        image = two_domains[1] / "images" / f"target_{patient}.nii.gz"
        (tmp_path / patient).mkdir()
        shutil.copy(image, tmp_path / patient / "t2.nii.gz")
    out = tmp_path / "out"
    run = LoadedRun.load(tiny_run)
    predict(run, tmp_path / "0" / "t2.nii.gz").save(out)
    before = {file: file.read_bytes() for file in out.iterdir()}
    with pytest.raises(
        InputError, match=r"t2.json: results of another image of that name, \.\./0/t2"
    ):
        predict(run, tmp_path / "1" / "t2.nii.gz").save(out)
    assert {file: file.read_bytes() for file in out.iterdir()} == before
    predict(run, tmp_path / "0" / "t2.nii.gz").save(out)  # of the same image
    (tmp_path / "0" / "t2.nii.gz").rename(tmp_path / "0" / "moved.nii.gz")
    predict(run, tmp_path / "1" / "t2.nii.gz").save(out)  # nobody can tell any more


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_entropy_held_in_steps_is_written_and_scored_as_that_in_float32(
    prediction: Prediction, tmp_path: Path, dtype: EntropyType
) -> None:
    held = replace(prediction, entropy=in_steps(prediction.entropy))
    assert held.mean_entropy == pytest.approx(prediction.mean_entropy, abs=1e-3)
    here, there = (
        one.save(tmp_path / name, entropy_dtype=dtype)[1]
        for one, name in ((held, "held"), (prediction, "whole"))
    )
    found, expected = (np.asarray(nib.load(file).dataobj, np.float32) for file in (here, there))
    np.testing.assert_allclose(found, expected, atol=0.5001 / 255)
    if dtype == "uint8":
        assert here.read_bytes() == there.read_bytes()
    reference = prediction.volume.with_array(prediction.labels)
    for got, expected in zip(
        evaluate(held, reference).slices, evaluate(prediction, reference).slices, strict=True
    ):
        assert got["mean_entropy"] == pytest.approx(
            expected["mean_entropy"], abs=0.5001 / 255, nan_ok=True
        )


def test_predict_holds_entropy_in_steps_where_it_is_told_so(
    tiny_run: Run, two_domains: tuple[Path, Path]
) -> None:
    file = two_domains[1] / "images" / "target_0.nii.gz"
    whole, steps = (
        predict(tiny_run.path, file, device="cpu", entropy_dtype=dtype)
        for dtype in ("float32", "uint8")
    )
    np.testing.assert_array_equal(steps.entropy, np.rint(whole.entropy * 255).astype(np.uint8))
