"""What the documentation promises exists: pages, anchors, pictures, commands, options, settings, recipes, modules."""

from __future__ import annotations

import ast
import importlib.util
import io
import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from napari_uda.cli import main
from napari_uda.evaluation.protocols import PROTOCOLS
from napari_uda.methods.registry import METHODS
from napari_uda.run.config import RunConfig

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "napari_uda"
FILES = sorted(DOCS.rglob("*.md"))
WITH_README = [ROOT / "README.md", *FILES]
GENERATED = {"changelog.md", "contributing.md"}  # by tools/site_pages.py, and all of reference/


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_of(page: Path) -> str:
    return re.sub(r"<!--.*?-->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def tool(name: str) -> ModuleType:
    """A script of tools/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- the site -------------------------------------------------------------------------------------


def leaves(entries: list[Any]) -> Iterator[str]:
    for entry in entries:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            if isinstance(value, list):
                yield from leaves(value)
            else:
                yield value


def test_navigation_has_every_page_once() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    listed = list(leaves(nav))
    written = {str(page.relative_to(DOCS)) for page in FILES}
    assert sorted(listed) == sorted(written | GENERATED)


@pytest.mark.parametrize("page", FILES, ids=page_name)
def test_links_and_anchors_exist(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)]+)\)", text_of(page)):
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        file = (page.parent / target).resolve() if target else page
        made_by_the_hook = (
            target.removeprefix("../").startswith("reference/") or target in GENERATED
        )
        missing = not file.exists() and not made_by_the_hook
        page_with_anchors = anchor and file.exists() and file.suffix == ".md"
        if missing or (page_with_anchors and anchor not in anchors(file)):
            broken.append(link)
    assert broken == []


def anchors(page: Path) -> set[str]:
    """What links can name in a page: explicit ids, else headings in small letters with hyphens."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", text_of(page), flags=re.MULTILINE):
        explicit = re.search(r"\{ #([\w-]+) \}", heading)
        slug = re.sub(r"[^\w\s-]", "", heading).strip().lower()
        found.add(explicit[1] if explicit else re.sub(r"[\s]+", "-", slug))
    return found


def test_pictures_exist_and_none_is_left_over() -> None:
    shown = {
        (page.parent / link).resolve()
        for page in WITH_README
        for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text_of(page))
        if "://" not in link
    }
    assert [str(file) for file in shown if not file.exists()] == []
    kept = {file for file in (DOCS / "images").iterdir() if file.name != "favicon.svg"}
    assert sorted(kept - shown) == []


def test_pictures_have_words_for_those_who_cannot_see_them() -> None:
    words = [
        (page_name(page), alt)
        for page in WITH_README
        for alt in re.findall(r"!\[([^\]]*)\]", text_of(page))
    ]
    assert [place for place, alt in words if len(alt) < 10] == []


def test_the_animated_picture_is_small() -> None:
    assert (DOCS / "images" / "workbench.gif").stat().st_size < 1_500_000


def test_the_picture_of_the_floors_is_up_to_date() -> None:
    plan = tool("floor_plan")
    assert plan.PICTURE.read_text(encoding="utf-8") == plan.drawing()


def test_the_picture_has_every_room_of_the_package() -> None:
    plan = tool("floor_plan")
    rooms = [room for floor in plan.floors() for room in floor]
    folders = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    modules = {file.stem for file in PACKAGE.glob("[!_]*.py")}
    assert sorted(rooms) == sorted(plan.ROOMS) == sorted(folders | modules)
    described = text_of(DOCS / "architecture.md")
    assert [room for room in rooms if f"`{room}`" not in described] == []


def test_the_table_of_methods_says_how_long_they_are() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (\d+) \| (.*) \|$", text_of(DOCS / "architecture.md"), re.MULTILINE
    )
    said = {name: (int(lines), re.findall(r"[\w/]+", modules)) for name, lines, modules in rows}
    found = tool("house").method_files(PACKAGE)
    assert said == {
        n: (count, [m.replace(".", "/") for m in ms]) for n, (count, ms) in found.items()
    }
    over = sum(lines > 150 for lines, _ in said.values())
    assert {4: "four"}[over] + " are above it" in text_of(DOCS / "architecture.md")


# -- what a browser would load ----------------------------------------------------------------------

HTML = """
<link rel="stylesheet" href="assets/main.css"><link href=https://fonts.example/css rel=stylesheet>
<link rel="canonical" href="https://site.example/"> <a href="https://napari.org">napari</a>
<script src="//cdn.example/x.js"></script><img alt="x" src="https://img.example/a.png">
<style>@import "https://styles.example/a.css"; p { background: url(https://b.example/b.png) }</style>
"""


def test_what_a_site_fetches_from_elsewhere_is_found() -> None:
    pytest.importorskip("mkdocs", reason="make docs needs the extra docs")
    found = tool("site_pages").fetched_from_elsewhere(HTML)
    assert sorted(found) == [
        "//cdn.example/x.js",
        "https://b.example/b.png",
        "https://fonts.example/css",
        "https://img.example/a.png",
        "https://styles.example/a.css",
    ]


# -- names in the text ------------------------------------------------------------------------------


def test_modules_exist() -> None:
    named = {
        (page_name(page), name)
        for page in (*WITH_README, ROOT / "CONTRIBUTING.md")
        for name in re.findall(r"`(napari_uda(?:[./][a-z_0-9]+)+)`", text_of(page))
    }
    assert len(named) > 20

    def exists(name: str) -> bool:
        path = ROOT / (name if "/" in name else name.replace(".", "/"))
        return path.exists() or path.with_suffix(".py").exists()

    named.discard(("CONTRIBUTING.md", "napari_uda/methods/my_method.py"))  # which the reader makes
    assert sorted(place for place in named if not exists(place[1])) == []


def test_recipes_exist() -> None:
    known = {file.stem for file in (PACKAGE / "recipes").glob("*.yaml")}
    named = {
        (page_name(page), name)
        for page in WITH_README
        for group in re.findall(r"--recipe ([a-z0-9_,]+)", text_of(page))
        for name in group.strip(",").split(",")
    }
    assert named
    assert sorted(place for place in named if place[1] not in known) == []


def test_specs_exist() -> None:
    text = "".join(map(text_of, WITH_README))
    named = set(re.findall(r"\bbenchmarks/specs/(\w+\.yaml)\b", text))
    known = {file.name for file in (ROOT / "benchmarks" / "specs").glob("*.yaml")}
    assert {"mscmr.yaml", "phantom_cardiac.yaml"} <= named
    assert named - known == set()


def test_protocols_exist() -> None:
    text = "".join(map(text_of, WITH_README))
    named = set(re.findall(r"--protocol ([a-z_]+)", text))
    assert {"se_asa", "sfda", "attent_slice"} <= named
    assert named - set(PROTOCOLS) == set()


def setting_exists(path: str) -> bool:
    """Whether any method has the setting `method.a.b`, or the run `a.b`."""
    first, *rest = path.split(".")
    if first == "method":
        return any(has_field(method.config_class, rest) for method in METHODS.values())
    return has_field(RunConfig, [first, *rest])


def has_field(model: type[BaseModel], path: list[str]) -> bool:
    if not path:
        return True
    field = model.model_fields.get(path[0])
    if field is None:
        return False
    inner = field.annotation
    if len(path) == 1:
        return True
    return isinstance(inner, type) and issubclass(inner, BaseModel) and has_field(inner, path[1:])


def test_settings_exist() -> None:
    text = "".join(map(text_of, WITH_README))
    named = set(re.findall(r"`((?:method|data|augment|segmentor)\.[a-z_.0-9]+[a-z0-9])", text))
    named = named - {"data.json"} | {"select"}
    assert {"method.prototype_mask", "method.translator.generator.gate_norm"} <= named
    assert not setting_exists("method.planted")
    assert not setting_exists("method.translator.planted")
    assert sorted(name for name in named if not setting_exists(name)) == []


# -- commands ---------------------------------------------------------------------------------------


def command_lines() -> Iterator[tuple[str, list[str]]]:
    """Every `napari-uda ...` that stands in a block of code or between backticks."""
    for page in WITH_README:
        text = text_of(page)
        blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
        lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
        lines += re.findall(r"`(napari-uda [^`]+)`", text)
        for line in lines:
            words = shlex.split(line.partition(" #")[0].replace("|", " ").strip("$ "))
            if words[:1] == ["torchrun"]:
                words = ["napari-uda", *words[words.index("napari_uda") + 1 :]]
            if words[:1] == ["napari-uda"] and len(words) > 1:
                yield page_name(page), [word.strip("[]") for word in words[1:]]


@cache
def options_of(*command: str) -> str:
    said = io.StringIO()
    with redirect_stdout(said), pytest.raises(SystemExit) as end:
        main([*command, "--help-all"])
    assert not end.value.code, command
    return said.getvalue()


def test_commands_and_options_exist() -> None:
    seen, wrong = set(), []
    for page, words in command_lines():
        if words[0].startswith("-"):  # --version, --completion SHELL
            continue
        seen.add(words[0])
        method = [word for word in words[1:2] if words[0] == "train" and word in METHODS]
        if words[0] == "train" and not method:
            method = ["sfda" if "sfda" in words else "se_asa"]
        known = options_of(words[0], *method) + (
            "--resume --recipe --run-dir --skip-step --force --strict" if method else ""
        )
        for word in words[1:]:
            option = word.partition("=")[0]
            if option.startswith("--") and not re.search(rf"{re.escape(option)}(?![\w.-])", known):
                wrong.append(f"{page}: {' '.join(words)}: {option}")
    everything = {
        "adapt", "benchmark", "check", "clean", "convert", "demo", "evaluate", "methods", "pack", "phantom", "predict", "recipes",
        "show", "tags", "train", "translate", "unpack",
    }  # fmt: skip
    assert everything <= seen
    assert wrong == []


def test_python_examples_are_python_and_import_what_is_there() -> None:
    pages = [*WITH_README, *ROOT.glob("*.md"), *ROOT.glob("*/README.md")]
    blocks = [
        ast.parse(block)
        for page in sorted(set(pages))
        for block in re.findall(r"^```python\n(.*?)^```", text_of(page), flags=re.M | re.S)
    ]
    assert len(blocks) >= 4
    imports = [
        node
        for block in blocks
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("napari_uda")
    ]
    assert imports
    for node in imports:
        exec(compile(ast.Module([node], []), "<documentation>", "exec"), {})
