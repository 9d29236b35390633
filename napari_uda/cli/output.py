"""What every command has in common: `--json`, `-v` and `-q`, and where its answer goes.

The three are taken out of the words before a command sees them, so a new command has them without work.
People get an answer as text on stdout, programs as one JSON object: with `--json` whatever else a command
prints goes to stderr. A command says both at once with `answer` and `answer_each`.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

COMMON_OPTIONS = """Options of every command:
  -h, --help     explain the options; --help-all: of train every setting, too
  --json         print the answer as one JSON object on stdout, and nothing else there
  -v, --verbose  say more of what is done; twice (-vv): everything
  -q, --quiet    say nothing but the answer and errors: no progress, no notes, no warnings"""

COMMON_NAMES = ("--json", "--verbose", "--quiet")
_LEVELS = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}


@dataclass
class Manner:
    """How a command speaks.

    Attributes:
        as_json: whether the answer is one JSON object.
        loudness: -1 quiet, 0 as usual, 1 verbose, 2 everything.
        facts: what the command has answered so far.
    """

    as_json: bool = False
    loudness: int = 0
    facts: dict[str, Any] = field(default_factory=dict)


_manners = [Manner()]
"""That of the command at work last; the first is for functions that are called without one."""


def take_manner(given: Sequence[str]) -> tuple[Manner, list[str]]:
    """How to speak, and the words without what says so."""
    letters = {word: word.count("v") for word in given if re.fullmatch(r"-v+", word)}
    louder = {**letters, "--verbose": 1, "-q": -1, "--quiet": -1}
    rest = [word for word in given if word != "--json" and word not in louder]
    asked = [louder[word] for word in given if word in louder]
    loudness = -1 if -1 in asked else min(sum(asked), 2)
    return Manner("--json" in given and not asks_for_help(given), loudness), rest


def asks_for_help(given: Sequence[str]) -> bool:
    """Whether the words ask for an explanation instead of work."""
    return bool({"-h", "--help", "--help-all"} & {word.replace("_", "-") for word in given})


@contextmanager
def speaking(manner: Manner) -> Iterator[None]:
    """Speak like this; at the end the JSON object is printed, also when the command was refused."""
    _manners.append(manner)
    try:
        with _console(manner.loudness):
            if not manner.as_json:
                yield
                return
            stdout = sys.stdout
            try:
                with _stdout_to_stderr():
                    yield
            except SystemExit:  # a command that has its own exit code has answered all the same
                _print_facts(manner, stdout)
                raise
            _print_facts(manner, stdout)
    finally:
        _manners.pop()


def answer(text: str = "", /, **facts: Any) -> None:
    """Answer, at once or part by part.

    Args:
        text: for people; a line of its own, or several.
        facts: the same for programs: values of JSON, paths, numbers of numpy. NaN becomes null.
    """
    manner = _manners[-1]
    manner.facts.update(facts)
    if text and not manner.as_json and _speaks():
        beside_bar(text, sys.stdout)


def answer_each(kind: str, facts: Mapping[str, Any], text: str = "") -> None:
    """Answer about one of several things: an entry of the list `kind`.

    Args:
        kind: name of the list, such as volumes.
        facts: of this one.
        text: for people.
    """
    _manners[-1].facts.setdefault(kind, []).append(dict(facts))
    answer(text)


def text_table(columns: Sequence[str], rows: Sequence[Mapping[str, str]], shorten: str = "") -> str:
    """Rows as aligned text under a heading.

    Args:
        columns: keys of the rows, which are the heading.
        rows: what is shown.
        shorten: the last column, whose texts are cut so that a row fits into a line of the terminal; a
            file gets them whole.
    """
    widths = [max(len(c), *(len(row[c]) for row in rows)) for c in columns]
    lines = []
    for row in ({c: c for c in columns}, *rows):
        line = "  ".join(f"{row[c]:<{w}}" for c, w in zip(columns, widths, strict=True)).rstrip()
        room = shutil.get_terminal_size().columns if shorten and sys.stdout.isatty() else 0
        lines.append(f"{line[: room - 2]} …" if room and len(line) > room else line)
    return "\n".join(lines)


def in_braces(files: Sequence[Path]) -> list[str]:
    """Files in few lines, as a shell writes several: `OUT/mr_001_{labels,entropy}.nii.gz`.

    Those of one folder share a line where their names begin alike and end alike.
    """
    alike: dict[tuple[Path, str, str], list[str]] = {}
    for file in files:
        ending = "".join(file.suffixes[-2:])
        begin, _, rest = file.name.removesuffix(ending).rpartition("_")
        alike.setdefault((file.parent, begin, ending), []).append(rest)
    lines = []
    for (folder, begin, ending), rests in alike.items():
        if begin and len(rests) > 1:
            lines.append(str(folder / f"{begin}_{{{','.join(rests)}}}{ending}"))
        else:
            lines += [
                str(folder / f"{begin}{'_' if begin else ''}{rest}{ending}") for rest in rests
            ]
    return lines


def beside_bar(text: str, stream: TextIO) -> None:
    """Write lines that do not break a bar of tqdm."""
    tqdm = sys.modules.get("tqdm")  # without it there is none
    if tqdm is None:
        print(text, file=stream)
    else:
        tqdm.tqdm.write(text, file=stream)


def is_quiet() -> bool:
    """Whether nothing but answers and errors is wanted."""
    return _manners[-1].loudness < 0


def is_verbose() -> bool:
    """Whether what is logged is shown, beside the notes of the command."""
    return _manners[-1].loudness > 0


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Send what is printed to stderr, also what processes print that are started meanwhile."""
    stdout = sys.stdout
    try:
        number = stdout.fileno()
    except (OSError, ValueError):  # no file: somebody in this process reads it
        with redirect_stdout(sys.stderr):
            yield
        return
    stdout.flush()
    kept = os.dup(number)
    try:
        os.dup2(2, number)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, number)
        os.close(kept)


def _print_facts(manner: Manner, stdout: TextIO) -> None:
    if _speaks():
        text = json.dumps(_plain(manner.facts), indent=2, ensure_ascii=False, allow_nan=False)
        print(text, file=stdout)


def _speaks() -> bool:
    """Whether this process answers: under torchrun the first one speaks for all."""
    return os.environ.get("RANK", "0") == "0"


def _plain(value: Any) -> Any:
    """The value as JSON has it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(each) for each in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item") and not isinstance(value, (str, int, float)):  # a number of numpy
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@contextmanager
def _console(loudness: int) -> Iterator[None]:
    """Show what is logged on stderr, from the level that the loudness asks for."""
    root, own = logging.getLogger(), logging.getLogger("napari_uda")
    before = own.level
    if loudness > 0:
        own.setLevel(_LEVELS[loudness])
    handler = _Console()
    handler.setLevel(_LEVELS[loudness])
    shown_elsewhere = bool(root.handlers)  # by the program that called `main`
    if not shown_elsewhere:
        root.addHandler(handler)
    try:
        yield
    finally:
        own.setLevel(before)
        if not shown_elsewhere:
            root.removeHandler(handler)


class _Console(logging.Handler):
    """Writes to stderr, above a bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        try:
            text = f"{record.levelname}: {record.getMessage()}"
            if record.exc_info:
                text += "\n" + logging.Formatter().formatException(record.exc_info)
            beside_bar(text, sys.stderr)
        except OSError:  # on a full disk the exit code still says it
            pass
