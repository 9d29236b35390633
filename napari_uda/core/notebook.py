"""What notebooks show: results as small tables, and a bar while a function works.

Nothing of IPython is imported; it is there, or it is not.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape

_CELL = "padding:.15em .8em;text-align:right;border:0;border-bottom:1px solid rgba(128,128,128,.4)"
_FIRST = _CELL.replace("right", "left")
_QUIET = "opacity:.75"
"""Colours are those around it, light or dark."""


def html_table(
    title: str,
    facts: Sequence[str] = (),
    columns: Sequence[str] = (),
    rows: Sequence[Sequence[str]] = (),
) -> str:
    """A small table for `_repr_html_`; every text is escaped.

    Args:
        title: what it is.
        facts: sentences below the title.
        columns: headings.
        rows: cells as text; the first of each row is its name.
    """
    parts = [f"<div><b>{escape(title)}</b>"]
    parts += [f'<div style="{_QUIET}">{escape(fact)}</div>' for fact in facts]
    if rows:
        parts.append('<table style="border-collapse:collapse;background:none;margin:.3em 0">')
        lines = [("th", columns), *(("td", row) for row in rows)]
        for tag, cells in lines:
            styled = zip([_FIRST, *[_CELL] * len(cells)], cells, strict=False)
            row = "".join(
                f'<{tag} style="{style}">{escape(cell)}</{tag}>' for style, cell in styled
            )
            parts.append(f'<tr style="background:none">{row}</tr>')
        parts.append("</table>")
    return "".join([*parts, "</div>"])


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this, and in the thread that a cell runs in."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    here = threading.current_thread() is threading.main_thread()
    return here and shell is not None and "IPKernelApp" in shell.config


@contextmanager
def shown_progress(
    title: str, unit: str, on_progress: Callable[[int, int], None] | None, *, stays: bool = False
) -> Iterator[Callable[[int, int], None] | None]:
    """Whom to tell of progress: the caller's own function or, in a notebook, a bar below the cell.

    Args:
        title: what is done.
        unit: what is counted.
        on_progress: the caller's; it gets what is done and what there is to do.
        stays: whether the bar is still there at the end.

    Yields:
        None in a script that asked for nothing.
    """
    if on_progress is not None or not in_notebook():
        yield on_progress
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without ipywidgets the bar is text, which will do
        from tqdm.auto import tqdm
    with tqdm(desc=title, unit=unit, leave=stays) as bar:

        def report(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield report
