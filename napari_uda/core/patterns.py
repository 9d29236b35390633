"""Regular expressions from settings: searched in a process of their own, which has a time limit.

A pattern with repeats inside of repeats may take longer than anybody lives, and nothing inside Python ends a
search that has begun. Patterns come from run folders and recipes of other people.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence

from napari_uda.core.errors import InputError

SECONDS = 5.0
"""Longest time for the search in all texts together."""
MOST_LETTERS = 500
"""Length of the longest pattern."""
_START_SECONDS = 60.0  # for Python to start where nothing else limits it, on a busy machine
_SEARCH = """
import json, re, sys
pattern, texts, seconds = json.load(sys.stdin)
try:
    import signal
    signal.setitimer(signal.ITIMER_REAL, seconds)
except (ImportError, AttributeError):
    pass
found = [re.search(pattern, text) for text in texts]
print(json.dumps([m and [m.group(0), *m.groups()] for m in found]))
"""


def check_pattern(pattern: str) -> None:
    """Refuse what is no regular expression.

    Raises:
        ValueError: saying why.
    """
    if len(pattern) > MOST_LETTERS:
        raise ValueError(f"must have at most {MOST_LETTERS} letters")
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"is no regular expression ({error})") from error


def search_all(
    pattern: str, texts: Sequence[str], *, seconds: float | None = None
) -> list[list[str | None] | None]:
    """The first match of a pattern in each text: the whole of it and its groups; None without one.

    Args:
        pattern: a regular expression.
        texts: where to search.
        seconds: the time limit; None takes `SECONDS`.

    Raises:
        InputError: if the search takes longer, or the pattern is none.
    """
    seconds = SECONDS if seconds is None else seconds
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _SEARCH],
            input=json.dumps([pattern, list(texts), seconds]),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=seconds + _START_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(_too_long(pattern, seconds)) from error
    if done.returncode < 0:  # by the alarm
        raise InputError(_too_long(pattern, seconds))
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it ended without saying why"]
        raise InputError(f"pattern {pattern!r} cannot be searched ({lines[-1]}); correct it")
    found: list[list[str | None] | None] = json.loads(done.stdout)
    return found


def _too_long(pattern: str, seconds: float) -> str:
    return (
        f"the search for pattern {pattern!r} takes longer than {seconds:g} seconds; write it without "
        "repeats inside of repeats"
    )
