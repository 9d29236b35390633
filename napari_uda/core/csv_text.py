"""Tables as CSV whose text no spreadsheet program takes for a formula.

A program that opens a table computes what begins with one of `= + - @`, a tab or a carriage return. Names of
cases and structures come from other people's files, so such a text gets an apostrophe in front, which
`read_csv` takes off again. Numbers are written as they are: a negative one is no text.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence

_FORMULA = re.compile(
    r"'*[=+\-@\t\r]"
)  # apostrophes before it are doubled, or reading would lose one


def text_cell(text: str) -> str:
    """A text as it stands in a table."""
    return f"'{text}" if _FORMULA.match(text) else text


def plain_text(cell: str) -> str:
    """The text that `text_cell` made a cell of."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as CSV; numbers are written so that they read back exactly, undefined ones as empty cells.

    Args:
        columns: its first line.
        rows: the others: texts and numbers.
    """
    return "".join(f"{_line(row)}\n" for row in (columns, *rows))


def read_csv(text: str) -> list[dict[str, str]]:
    """The lines of a table by column, texts as they were; cells beyond its columns are left out.

    Raises:
        csv.Error: if it is none.
    """
    lines = csv.reader(io.StringIO(text, newline=""))
    columns = [plain_text(cell) for cell in next(lines, [])]
    return [dict(zip(columns, map(plain_text, line), strict=False)) for line in lines if line]


def _line(row: Sequence[object]) -> str:
    stream = io.StringIO()
    # with this end, for the csv module quotes a carriage return in a text only where lines end with one
    csv.writer(stream, lineterminator="\r\n").writerow([_cell(value) for value in row])
    return stream.getvalue().removesuffix("\r\n")


def _cell(value: object) -> object:
    if isinstance(value, str):
        return text_cell(value)
    return "" if isinstance(value, float) and not math.isfinite(value) else value
