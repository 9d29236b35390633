"""The manifest is valid, one file, and everything it names exists."""

from __future__ import annotations

from pathlib import Path

import pytest
from npe2 import PluginManager, PluginManifest

import napari_uda

ROOT = Path(__file__).parents[2]
PACKAGE = Path(napari_uda.__file__).parent


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_file(PACKAGE / "napari.yaml")


def test_manifest_of_the_package_is_the_one_at_the_root(manifest: PluginManifest) -> None:
    assert (PACKAGE / "napari.yaml").read_bytes() == (ROOT / "napari.yaml").read_bytes()
    assert (PACKAGE / "napari.yaml").readlink() == Path("../napari.yaml")
    assert (PACKAGE / "sample_data").readlink() == Path("../sample_data")
    assert (manifest.name, manifest.display_name) == ("napari_uda", "napari_uda")
    assert {"Segmentation", "Measurement"} <= set(manifest.categories)


def test_every_python_name_imports(manifest: PluginManifest) -> None:
    manifest.validate_imports()


def test_docks_and_samples_are_offered(manifest: PluginManifest) -> None:
    contributions = manifest.contributions
    docks = [widget.display_name for widget in contributions.widgets]
    assert docks == ["Workbench", "Data", "Train", "Segment", "Translate", "Score", "View"]
    # beside File > Open Folder, which asks for a reader
    (entry,) = contributions.menus["napari/file/io_utilities"]
    assert entry.command == "napari_uda.open_dicom"
    assert [sample.display_name for sample in contributions.sample_data] == [
        "CT, cardiac phantom, labelled",
        "MR, cardiac phantom",
        "MR, cardiac phantom, labelled",
    ]


@pytest.mark.parametrize(
    ("path", "taken"),
    [
        ("a.nii", True),
        ("a.nii.gz", True),
        ("a.b.NII.GZ", True),
        ("a.nrrd", True),
        ("a.mha", True),
        ("a.gz", False),
        ("a.csv.gz", False),
        ("a.tif", False),
    ],
)
def test_reader_takes_volumes_and_leaves_other_files(
    manifest: PluginManifest, path: str, taken: bool
) -> None:
    manager = PluginManager()
    manager.register(manifest)
    assert bool(list(manager.iter_compatible_readers([path]))) == taken


def test_writers_are_found_for_single_layers(manifest: PluginManifest) -> None:
    manager = PluginManager()
    manager.register(manifest)
    for kind in ("image", "labels"):
        writers = list(manager.iter_compatible_writers([kind]))
        assert [writer.command for writer in writers] == [f"napari_uda.write_{kind}"]
    assert not list(manager.iter_compatible_writers(["points"]))
