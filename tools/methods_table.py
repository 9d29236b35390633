"""What comes from the code: tables of README.md and of the documentation, and what the commands answer at once.

That is the pages of `train METHOD --help` and the rows of `napari-uda methods`.

`python tools/methods_table.py` exits 1 when a page differs, with `--write` it rewrites the pages.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from napari_uda.cli.train_help import PAGES as PAGES_OF_HELP
from napari_uda.cli.train_help import basic_help
from napari_uda.evaluation.protocols import PROTOCOLS
from napari_uda.methods.base import Method
from napari_uda.methods.listing import FILE as LISTING
from napari_uda.methods.listing import kept_listing
from napari_uda.methods.registry import METHODS
from napari_uda.run.recipes import build_config

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "napari_uda" / "recipes"
NEEDS = {"source": "source with labels", "target": "target", "target_labels": "target labels"}
FAMILIES = ("bounds", "output space", "self-training", "translation", "source-free")


def methods() -> str:
    """The methods in Markdown, by family and then by name."""
    rows = ["| method | family | what it does | trains on | paper |", "|---|---|---|---|---|"]

    def order(name: str) -> tuple[int, str]:
        family = METHODS[name].family
        return (FAMILIES.index(family) if family in FAMILIES else len(FAMILIES), name)

    own = [name for name in METHODS if not METHODS.package(name)]
    for name in sorted(own, key=order):
        method = METHODS[name]
        needs = _needs(method, {})
        for variant, settings in method.variants.items():
            others = _needs(method, settings)
            if others != _needs(method, {}):
                needs += f"; with `{variant}`: {others}"
        rows.append(f"| `{name}` | {method.family} | {method.summary} | {needs} | {method.paper} |")
    return "\n".join(rows)


def _needs(method: type[Method[Any]], settings: Mapping[str, Any]) -> str:
    """What a method trains on with some settings."""
    config = method.config_class.model_validate(settings)
    found = [text for need, text in NEEDS.items() if need in method.needs_with(config)]
    return ", ".join(["a trained run"] * method.needs_start_with(config) + found)


def recipes() -> str:
    """The shipped recipes with the method that each is for and the comment that it begins with."""
    rows = ["| recipe | method | what it is |", "|---|---|---|"]
    for file in sorted(RECIPES.glob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        method = (yaml.safe_load(text).get("method") or {}).get("name")
        said = " ".join(re.match(r"(?:#.*\n)*", text)[0].replace("#", "").split())  # type: ignore[index] # it may be empty
        said = said.replace("|", "\\|")
        rows.append(f"| `{file.stem}` | {f'`{method}`' if method else 'any'} | {said} |")
    return "\n".join(rows)


def protocols() -> str:
    """The named protocols, what they are for, and the columns that their papers print."""
    rows = ["| protocol | what it is for | scores | headline |", "|---|---|---|---|"]
    for name, rules in PROTOCOLS.items():
        headline = ", ".join(f"`{column}`" for column in rules.headline)
        scope = "whole volumes" if rules.scope == "volume" else "slice by slice"
        rows.append(f"| `{name}` | {rules.purpose} | {scope} | {headline} |")
    return "\n".join(rows)


TABLES: dict[str, Callable[[], str]] = {
    "methods": methods,
    "recipes": recipes,
    "protocols": protocols,
}
PAGES = {
    "README.md": ("methods",),
    "docs/methods.md": ("methods", "recipes"),
    "docs/scores.md": ("protocols",),
}


def kept_answers() -> dict[Path, str]:
    """The list of methods, and the page of `napari-uda train METHOD --help` of each: of the methods of this package."""
    own = [name for name in METHODS if not METHODS.package(name)]
    pages = {PAGES_OF_HELP / f"{name}.txt": basic_help(build_config(name)) + "\n" for name in own}
    return {LISTING: kept_listing(), **pages}


def with_table(text: str, name: str) -> str:
    """A page's text with the present table between its two marks.

    Raises:
        ValueError: if the page lacks the marks.
    """
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    before, found, rest = text.partition(start)
    _, mark, after = rest.partition(end)
    if not found or not mark:
        raise ValueError(f"the marks {start} and {end} are missing; put them back")
    return f"{before}{start}\n{TABLES[name]()}\n{end}{after}"


def _kept_answers_differ(*, write: bool) -> int:
    """1 if a kept answer is out of date, missing or left over and is not written anew."""
    wanted = kept_answers()
    files = [file for file in (LISTING, *PAGES_OF_HELP.glob("*.txt")) if file.exists()]
    kept = {file: file.read_bytes().decode("utf-8") for file in files}
    differing = sorted(file for file in {*kept, *wanted} if kept.get(file) != wanted.get(file))
    if not write:
        for file in differing:
            print(f"{file.relative_to(ROOT)}: it is out of date; run make readme")
        return bool(differing)
    PAGES_OF_HELP.mkdir(exist_ok=True)
    for file in differing:
        if file in wanted:
            file.write_bytes(wanted[file].encode("utf-8"))
        else:
            file.unlink()
    return 0


def main() -> int:
    """Compare, or write when asked to."""
    outdated = _kept_answers_differ(write="--write" in sys.argv[1:])
    for page, names in PAGES.items():
        file = ROOT / page
        old = new = file.read_text(encoding="utf-8")
        for name in names:
            new = with_table(new, name)
        if old == new:
            continue
        if "--write" in sys.argv[1:]:
            file.write_text(new, encoding="utf-8")
        else:
            outdated = 1
            print(f"{page}: a table is out of date; run make readme")
    return outdated


if __name__ == "__main__":
    raise SystemExit(main())
