"""`napari-uda show`: what is opened for a run."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import napari
import nibabel as nib
import numpy as np
import pytest
from gui_cases import LABELS, ball_case
from napari.components import ViewerModel
from tiny_cases import stored_run

import napari_uda as uda
from napari_uda.core.errors import InputError
from napari_uda.data.folder import write_dataset_json
from napari_uda.data.volume import read_volume, write_volume
from napari_uda.gui import launch
from napari_uda.gui.data.case_layers import CaseLayers, read_case, read_maps
from napari_uda.gui.kit.files import read_layers
from napari_uda.gui.kit.geometry import tag
from napari_uda.gui.launch import case_list, fill_viewer, open_viewer, volume_files
from napari_uda.inference.predict import Prediction


def shown(*paths: Path) -> list[tuple[str, str, bool]]:
    """Name, role and visibility of the layers that are seen first."""
    viewer, found = ViewerModel(), case_list(paths)
    if found is None:
        fill_viewer(viewer, [read_layers(file) for file in volume_files(paths)])
    else:
        layers = CaseLayers(viewer)
        for _ in (*layers.swap(read_case(found.first)), *layers.add(read_maps(found.first))):
            pass
    return [(layer.name, tag(layer)["role"], layer.visible) for layer in viewer.layers]


def test_a_run_without_predictions_shows_what_it_learned_from(
    tiny_run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        layers = shown(tiny_run)
    assert layers == [("case_0", "image", True), ("case_0 · reference", "reference", True)]
    assert "tiny has no predictions, so the cases of its data are shown" in caplog.text
    assert f"napari-uda predict {tiny_run} IMAGE" in caplog.text


def test_a_run_of_version_0_1_shows_its_data_and_its_predictions(tmp_path: Path) -> None:
    run = stored_run("se_asa", tmp_path / "stored")
    names = [name for name, *_ in shown(run.path)]
    assert {"target_0", "target_0 · reference"} <= set(names)
    image = tmp_path / "stored" / "target" / "images" / "target_0.nii.gz"
    uda.predict(run, image).save(run.predictions)
    roles = {role for _, role, _ in shown(run.path)}
    assert {"image", "prediction", "entropy", "reliability"} <= roles


def test_without_its_data_it_says_what_to_do(tmp_path: Path) -> None:
    data = tmp_path / "mr"
    image, labels = ball_case("case_0", 0)
    write_volume(data / "images" / "case_0.nii.gz", image)
    write_volume(data / "labels" / "case_0.nii.gz", labels)
    write_dataset_json(data, LABELS, "MR")
    small = {"batch_size": 2, "data": {"size": 32}, "segmentor": {"width": 4, "depth": 2}}
    run = uda.train("source_only", source=data, run_dir=tmp_path / "run", steps=1, **small)
    assert len(shown(run.path)) == 2
    shutil.rmtree(data)
    with pytest.raises(InputError, match=r"the run has no predictions, and its data are not where"):
        case_list([run.path])


def test_a_folder_shows_its_first_case_alone(data_folder: Path) -> None:
    seen = [("case_0", "image", True), ("case_0 · reference", "reference", True)]
    assert shown(data_folder) == seen
    alone = data_folder / "images" / "case_1.nii.gz"
    assert shown(alone) == [("case_1", "image", True)]
    assert case_list([alone]) is None
    assert case_list([data_folder, alone]) is None


def test_predictions_show_their_image_or_say_which_is_missing(
    made_prediction: Prediction, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = tmp_path / "mr" / "case_0.nii.gz"
    write_volume(image, made_prediction.volume)
    prediction = replace(made_prediction, volume=read_volume(image))
    prediction.save(tmp_path / "out")
    roles = [("image", True), ("prediction", True), ("entropy", False), ("reliability", False)]
    assert [(role, visible) for _, role, visible in shown(tmp_path / "out")] == roles
    assert not caplog.text
    image.rename(tmp_path / "case_0.nii.gz.bak")
    assert [(role, visible) for _, role, visible in shown(tmp_path / "out")] == roles[1:]
    assert "the image of case_0 is not at ../mr/case_0.nii.gz any more" in caplog.text
    image.parent.rmdir()
    (tmp_path / "found").mkdir()
    (tmp_path / "case_0.nii.gz.bak").rename(tmp_path / "found" / "case_0.nii.gz")
    both = shown(tmp_path / "found", tmp_path / "out")
    assert [(role, visible) for _, role, visible in both] == roles


def test_a_whole_result_fits_its_cells(
    make_napari_viewer: Callable[..., napari.Viewer],
    made_prediction: Prediction,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    viewer, seen = make_napari_viewer(show=True), []

    def close(_: napari.Viewer) -> None:
        _, columns = viewer.canvas.grid.actual_shape(viewer.layers)
        seen.append((columns, viewer.canvas.size[1] / columns, viewer.scene.camera.zoom))

    write_volume(tmp_path / "case_0.nii.gz", made_prediction.volume)
    made_prediction.save(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(napari, "Viewer", lambda **_: viewer)
        patched.setattr(type(viewer), "close", close)
        open_viewer(sorted(tmp_path.iterdir()), screenshot=tmp_path / "picture.png")
    ((columns, cell_pixels, zoom),) = seen
    width_mm = made_prediction.labels.shape[2] * made_prediction.volume.spacing_mm[2]
    assert columns == 2  # two above one
    assert 0.5 * cell_pixels < width_mm * zoom <= cell_pixels


def test_without_napari_it_says_how_to_get_it(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['napari'] = None; sys.argv[1:] = ['show', '.']\n"
        "from napari_uda.cli import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode != 0
    assert done.stderr == (
        "napari-uda: napari is not installed; pip install 'napari_uda[all]' brings it\n"
    )


def test_the_user_says_which_placement_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanner, mni = np.diag([1.0, 1, 2, 1]), np.diag([1.0, 1, 2, 1])
    mni[2, 3] = 12
    image = nib.Nifti1Image(np.zeros((5, 4, 3), np.int16), mni)
    image.set_sform(mni, 4)
    image.set_qform(scanner, 1)
    nib.save(image, tmp_path / "a.nii")
    heights: list[float] = []

    class Stopped(Exception):
        """The window is not needed."""

    def keep(**_: object) -> None:
        raise Stopped

    read = launch.read_layers

    def note(path: Path, **options: Any) -> Any:
        found = read(path, **options)
        heights.append(found[1]["metadata"]["napari_uda"]["affine"][2, 3])
        return found

    monkeypatch.setattr(napari, "Viewer", keep)
    monkeypatch.setattr(launch, "read_layers", note)
    with pytest.raises(InputError, match="its sform and qform disagree by 12 mm"):
        open_viewer([tmp_path / "a.nii"])
    for placement in ("sform", "qform"):
        with pytest.raises(Stopped):
            open_viewer([tmp_path / "a.nii"], placement=placement)
    assert heights == [12, 0]
