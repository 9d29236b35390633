"""The method table of README.md, made from the classes in napari_uda/methods.

`python tools/methods_table.py` exits 1 when the README differs, with `--write` it rewrites the README.
"""

from __future__ import annotations

import sys
from pathlib import Path

from napari_uda.methods.registry import METHODS

README = Path(__file__).parents[1] / "README.md"
START, END = "<!-- methods:start -->", "<!-- methods:end -->"
NEEDS = {"source": "source with labels", "target": "target", "target_labels": "target labels"}
FAMILIES = ("bounds", "output space", "self-training", "translation", "source-free")


def table() -> str:
    """The table in Markdown, by family and then by name."""
    rows = ["| method | family | what it does | trains on | paper |", "|---|---|---|---|---|"]

    def order(name: str) -> tuple[int, str]:
        family = METHODS[name].family
        return (FAMILIES.index(family) if family in FAMILIES else len(FAMILIES), name)

    for name in sorted(METHODS, key=order):
        method = METHODS[name]
        needs = ", ".join(text for need, text in NEEDS.items() if need in method.needs)
        if method.needs_init:
            needs = f"a trained run, {needs}"
        rows.append(f"| `{name}` | {method.family} | {method.summary} | {needs} | {method.paper} |")
    return "\n".join(rows)


def with_table(readme: str) -> str:
    """The README's text with the present table between its two marks."""
    before, _, rest = readme.partition(START)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"{README.name} lacks the marks {START} and {END}; put them back")
    return f"{before}{START}\n{table()}\n{END}{after}"


def main() -> int:
    """Compare, or write when asked to."""
    old = README.read_text(encoding="utf-8")
    new = with_table(old)
    if "--write" in sys.argv[1:]:
        README.write_text(new, encoding="utf-8")
        return 0
    if old != new:
        print("README.md: the method table is out of date; run make readme")
    return int(old != new)


if __name__ == "__main__":
    raise SystemExit(main())
