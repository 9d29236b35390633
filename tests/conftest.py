"""Data that several parts' tests share: two tiny domains on disk."""

from __future__ import annotations

import locale
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: tiny tensors gain nothing from more

import pytest
from tiny_cases import LABELS, blob_case, small_config

from napari_uda.api import iterate
from napari_uda.data.folder import write_dataset_json
from napari_uda.data.volume import write_volume
from napari_uda.run.run import Run


class OwnDisplay:
    """An X server for the windows of this process alone; it ends with it, however that ends."""

    def __init__(self, xvfb: str) -> None:
        readable, writable = os.pipe()
        # the shell reads what nobody writes, until this process is gone
        command = ["sh", "-c", '"$0" "$@" & read line; kill $!', xvfb]
        command += ["-displayfd", str(writable), "-screen", "0", "1600x1200x24"]
        self._server = subprocess.Popen(
            command, pass_fds=[writable], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        os.close(writable)
        with os.fdopen(readable) as said:
            number = said.readline().strip()  # written as soon as it can be connected to
        if not number:
            raise pytest.UsageError("Xvfb did not start; run the tests in one process: -n 0")
        os.environ.pop("WAYLAND_DISPLAY", None)
        os.environ.update(DISPLAY=f":{number}", QT_QPA_PLATFORM="xcb")

    def pytest_unconfigure(self) -> None:
        """End the server."""
        self._server.communicate()  # closes what the shell reads


def pytest_configure(config: pytest.Config) -> None:
    """Give each process of a parallel run a display of its own, where there is Xvfb.

    Windows of two processes on one display would take the keyboard from each other. A shell that runs the
    tests in the background has told them to ignore Ctrl-C, which tests send to themselves and to commands.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    xvfb = shutil.which("Xvfb")
    if hasattr(config, "workerinput") and sys.platform == "linux" and xvfb is not None:
        config.pluginmanager.register(OwnDisplay(xvfb), "own_display")


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep a file's tests in one process, which makes its fixtures once; the docks' tests fill the rest.

    Slow ones begin: at the end a slow one would leave the other process idle.
    """
    if config.getoption("loadgroup", None):
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    here = Path(__file__).parent
    for item in items:
        if here / "gui" not in item.path.parents:
            item.add_marker(pytest.mark.xdist_group(str(item.path.relative_to(here))))


@pytest.fixture(autouse=True)
def _same_encoding() -> Iterator[None]:
    """Keep the process's encoding: SimpleITK 2.5.7 sets the C locale when it writes DICOM with tags.

    Whatever is read afterwards without a named encoding would be read as ASCII.
    """
    before = locale.setlocale(locale.LC_CTYPE)
    yield
    locale.setlocale(locale.LC_CTYPE, before)


@pytest.fixture
def held_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Path]:
    """Let training in other processes rest before a step until a signal comes: see `held_training`.

    It is not held any more once the file that is returned is gone.
    """

    def hold(step: int) -> Path:
        file, script = tmp_path / "held", tmp_path / "python"
        file.write_text("")
        held = Path(__file__).with_name("held_training.py")
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P "{held}" "{file}" {step} "$@"\n')
        script.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(script))
        return file

    return hold


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
