"""Puts the tables of finished and unfinished benchmarks into docs/paper-tables.md.

`python tools/paper_tables.py RESULTS ...` takes folders that `napari-uda benchmark --out` wrote. Of data sets on which nothing was run
yet, the rows with published numbers are shown.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "paper-tables.md"
BEGIN, END = "<!-- tables -->\n", "<!-- end of tables -->\n"


def tables(folder: Path) -> list[str]:
    """Tables of scores and of cost, those without any row left out."""
    parts = [
        part
        for name in ("table.md", "cost.md")
        for part in re.split(r"^(?=## )", (folder / name).read_text(encoding="utf-8"), flags=re.M)
    ]
    return [_shown(part) for part in parts if re.search(r"^\| .*\d\.\d", part, re.M)]


def _shown(table: str) -> str:
    lines = table.strip().splitlines()
    rows = [line for line in lines if line.startswith("| ") and line != lines[4]]
    if all("| not run |" in row for row in rows):
        lines = [line for line in lines if "| not run |" not in line or re.search(r"\d\.\d", line)]
    return "\n".join(["#" + lines[0], *lines[1:]]) + "\n"


def filled(page: str, folders: list[Path]) -> str:
    """The page with the tables of these folders between its marks."""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    found = [table for folder in folders for table in tables(folder)]
    return "".join((before, BEGIN, "\n", "\n".join(found), "\n", END, after))


if __name__ == "__main__":
    text = filled(PAGE.read_text(encoding="utf-8"), [Path(name) for name in sys.argv[1:]])
    PAGE.write_text(text, encoding="utf-8")
