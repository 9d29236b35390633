"""Data that several parts' tests share: two tiny domains on disk."""

from __future__ import annotations

import locale
import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: tiny tensors gain nothing from more

import pytest
from tiny_cases import LABELS, blob_case, small_config

from napari_uda.api import iterate
from napari_uda.data.folder import write_dataset_json
from napari_uda.data.volume import write_volume
from napari_uda.run.run import Run


@pytest.fixture(autouse=True)
def _same_encoding() -> Iterator[None]:
    """Keep the process's encoding: SimpleITK 2.5.7 sets the C locale when it writes DICOM with tags.

    Whatever is read afterwards without a named encoding would be read as ASCII.
    """
    before = locale.setlocale(locale.LC_CTYPE)
    yield
    locale.setlocale(locale.LC_CTYPE, before)


@pytest.fixture(scope="session")
def two_domains(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A source and a target data folder, three labelled cases each, in the contract's layout."""
    root = tmp_path_factory.mktemp("domains")
    folders = []
    for domain, modality, bright in (("source", "CT", True), ("target", "MR", False)):
        folder = root / domain
        for index in range(3):
            name = f"{domain}_{index}"
            image, labels = blob_case(name, 10 * index + bright, bright=bright)
            write_volume(folder / "images" / f"{name}.nii.gz", image)
            write_volume(folder / "labels" / f"{name}.nii.gz", labels)
        write_dataset_json(folder, LABELS, modality)
        folders.append(folder)
    return folders[0], folders[1]


@pytest.fixture(scope="session")
def tiny_run(two_domains: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished se_asa run of a few steps. Tests must leave its folder as it is."""
    config = small_config("se_asa", *two_domains, steps=4)
    run = Run.create(tmp_path_factory.mktemp("runs") / "tiny", config)
    for _ in iterate(run):
        pass
    return run
