"""METHODS is whole for whoever asks; methods of other packages are found, left out, or missed by name."""

from __future__ import annotations

import importlib
import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from types import ModuleType

import pytest
from tiny_cases import small_config, without_checksums

from napari_uda.core.errors import InputError
from napari_uda.methods import registry
from napari_uda.methods.registry import METHODS
from napari_uda.methods.source_only import SourceOnly
from napari_uda.run.run import Run

OWN = list(METHODS)

METHOD = """
from typing import Literal
from napari_uda.methods.base import Method, MethodConfig

class {kind}Config(MethodConfig):
    name: Literal["{name}"] = "{name}"

class {kind}(Method[{kind}Config]):
    family = "bounds"
    paper = "nobody"
    summary = "stands for a method of another package"
    needs = frozenset({{"source"}})
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages, gone from the interpreter afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if name.startswith("foreign_"):
            del sys.modules[name]


def install(site: Path, package: str, code: str, *, version: str = "1.2", point: str = "") -> None:
    """Put a package with one module there, as pip leaves it."""
    module = f"foreign_{package.replace('-', '_')}"
    (site / f"{module}.py").write_text(code)
    info = site / f"{package.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    entry = f"[napari_uda.methods]\n{package} = {module}{point}\n"
    (info / "entry_points.txt").write_text(entry)


def scanned() -> registry._Methods:
    """The registry of a process that starts now."""
    methods = registry._Methods()
    assert set(OWN) <= set(methods)
    return methods


def test_a_thread_that_asks_meanwhile_sees_every_method(monkeypatch: pytest.MonkeyPatch) -> None:
    methods = registry._Methods()
    answers: list[bool] = []
    asking = Thread(target=lambda: answers.append("target_supervised" in methods))
    load = importlib.import_module

    def load_while_another_asks(name: str) -> ModuleType:
        if asking.ident is None:
            asking.start()
            asking.join(0.5)  # it has to wait; one that does not answers within this time
        return load(name)

    monkeypatch.setattr(registry.importlib, "import_module", load_while_another_asks)
    assert "se_asa" in methods
    asking.join()
    assert answers == [True]


@pytest.mark.parametrize("point", ["", ":Foreign"])
def test_a_method_of_another_package_is_found(
    site: Path, point: str, caplog: pytest.LogCaptureFixture
) -> None:
    both = METHOD.format(kind="Foreign", name="foreign") + METHOD.format(kind="Other", name="other")
    install(site, "abroad-methods", both, point=point)
    methods = scanned()
    assert list(methods) == [*OWN, "foreign", *(["other"] if not point else [])]
    assert methods.package("foreign") == "abroad-methods 1.2"
    assert methods.package("source_only") == ""
    assert methods["foreign"].summary == "stands for a method of another package"
    assert caplog.messages == []


BROKEN = {
    "import torch.of_next_year": "ModuleNotFoundError: No module named 'torch.of_next_year'",
    "class": "SyntaxError: invalid syntax",
    "x = 1": "TypeError: foreign_broken defines no method",
    METHOD.format(kind="F", name="f").replace('paper = "nobody"', ""): "TypeError: F has no paper",
    METHOD.format(kind="F", name="f").replace("bounds", "odd"): (
        "ValueError: family 'odd' is none of bounds, output space, "
    ),
    METHOD.format(kind="F", name="f").replace('{"source"}', '{"atlas"}'): (
        "ValueError: needs holds other words than source, target, target_labels"
    ),
    METHOD.format(kind="F", name="My-Method"): (
        "ValueError: the name 'My-Method' has other characters than a to z, 0 to 9 and _"
    ),
    METHOD.format(kind="F", name="f").replace("(Method[FConfig])", "(Method)"): (
        "TypeError: F has no config_class"
    ),
}


@pytest.mark.parametrize("code", BROKEN)
def test_a_broken_package_costs_a_warning_and_no_other_method(
    site: Path, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    install(site, "broken", code)
    install(site, "sound", METHOD.format(kind="Sound", name="sound"))
    methods = scanned()
    assert list(methods) == [*OWN, "sound"]
    (message,) = caplog.messages
    assert message.startswith(
        "The methods of the package broken 1.2 are left out, because it cannot be used "
        f"({BROKEN[code]}"
    )
    assert message.endswith("); update or uninstall it.")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_the_name_of_a_known_method_is_not_given_twice(
    site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    taken = METHOD.format(kind="Mine", name="source_only")
    install(site, "a-first", taken + METHOD.format(kind="Shared", name="shared"))
    install(site, "b-second", METHOD.format(kind="Shared", name="shared"), version="3.4")
    methods = scanned()
    assert list(methods) == [*OWN, "shared"]
    assert methods["source_only"] is SourceOnly
    assert methods.package("shared") == "a-first 1.2"
    assert caplog.messages == [
        "The method source_only of the package a-first 1.2 is left out, because napari_uda itself has a "
        "method of that name already; ask the authors of a-first for another name, or uninstall it.",
        "The method shared of the package b-second 3.4 is left out, because the package a-first 1.2 has "
        "a method of that name already; ask the authors of b-second for another name, or uninstall it.",
    ]


# --- runs of methods that are not here ------------------------------------------------------------


@pytest.fixture
def foreign_run(tmp_path: Path, two_domains: tuple[Path, Path]) -> Run:
    """A run whose settings and environment name a method of the package abroad 1.2."""
    run = Run.create(tmp_path / "run", small_config("source_only", *two_domains, steps=1))
    assert stored(run)["method_package"] == ""
    text = run.config_file.read_text()
    run.config_file.write_text(text.replace("name: source_only", "name: foreign"))
    (run.path / "environment.json").write_text(
        json.dumps({**stored(run), "method_package": "abroad 1.2"})
    )
    without_checksums(run.path)
    return run


def stored(run: Run) -> dict[str, str]:
    return dict(json.loads((run.path / "environment.json").read_text()))


def refused(run: Run) -> str:
    with pytest.raises(InputError) as caught:
        Run.open(run.path)
    return str(caught.value)


def test_a_run_of_a_package_that_is_not_installed(foreign_run: Run) -> None:
    assert refused(foreign_run) == (
        f"{foreign_run.path}: the run was made by the method foreign of the package abroad 1.2, which is "
        "not installed here; install it (pip install abroad)"
    )


def test_a_run_of_a_package_in_another_version(
    foreign_run: Run, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(site, "abroad", METHOD.format(kind="Renamed", name="renamed"), version="2.0")
    monkeypatch.setattr(registry, "METHODS", scanned())
    assert refused(foreign_run).endswith(
        "of the package abroad 1.2, and the version that is installed here, 2.0, does not bring this "
        "method; install that version (pip install abroad==1.2)"
    )
    # the method is there, but one of its settings is not
    shutil.rmtree(next(site.glob("*.dist-info")))
    install(site, "abroad", METHOD.format(kind="Foreign", name="foreign"), version="2.1")
    sys.modules.pop("foreign_abroad")
    monkeypatch.setattr(registry, "METHODS", scanned())
    assert Run.open(foreign_run.path).config.method.name == "foreign"
    text = foreign_run.config_file.read_text()
    foreign_run.config_file.write_text(text.replace("  lr_power:", "  colour: red\n  lr_power:"))
    assert refused(foreign_run) == (
        f"{foreign_run.config_file}: there is no setting method.colour; "
        "it was made by abroad 1.2, and this is 2.1: use that version"
    )


def test_a_run_of_a_package_that_is_broken(
    foreign_run: Run, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(site, "abroad", "import nowhere")
    monkeypatch.setattr(registry, "METHODS", scanned())
    assert refused(foreign_run).endswith(
        "of the package abroad 1.2, which is installed here but cannot be used (ModuleNotFoundError: No "
        "module named 'nowhere'); update it or install it anew (pip install --force-reinstall abroad)"
    )


def test_a_run_that_names_no_package_lists_what_there_is(foreign_run: Run) -> None:
    (foreign_run.path / "environment.json").unlink()
    assert "unknown method 'foreign'; choose one of " in refused(foreign_run)


def test_a_method_is_had_by_its_name_without_importing_all() -> None:
    code = (
        "import sys; from napari_uda.methods.registry import METHODS; kind = METHODS['source_only']; "
        "print(kind.__name__, 'napari_uda.methods.attent' in sys.modules, METHODS['source_only'] is kind)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    assert said.split() == ["SourceOnly", "False", "True"]
