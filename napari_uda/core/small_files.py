"""Small files of settings and facts: one loader for YAML and one for JSON, both with bounds.

They come from anyone: a run folder that was handed on, a recipe from a mail. So a file is read only if it
is a plain file of at most a megabyte, and what it says stays within bounds that no honest file comes near.
Whatever is wrong ends in one sentence with the file's name.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import yaml

from napari_uda.core.errors import InputError, refusal

MOST_BYTES = 1_000_000
"""Size of the largest file of settings or facts."""
MOST_LINE_BYTES = 100_000
"""Length of the longest line of a log of JSON lines."""
MOST_DEPTH = 30
"""How deep lists and groups may lie in each other."""
MOST_VALUES = 100_000
"""How many values, lists and groups a YAML file may hold."""
_LARGEST = 2**63
_CONSTRUCTOR_ERRORS = (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError)
"""What PyYAML raises for values such as `2024-99-99` or `!!int x`; it has no class of its own for them."""


def open_plain(file: str | os.PathLike[str], mode: str = "rb", *, follow: bool = True) -> IO[bytes]:
    """Open a plain file; never wait for a pipe, never wake a device.

    Args:
        file: the file.
        mode: rb, ab to write at its end, or wb to write it anew.
        follow: whether a link may stand for the file.

    Raises:
        OSError: if it cannot be opened.
        InputError: if it is a pipe, a socket, a device or, without `follow`, a link.
    """
    path = Path(file)
    try:
        _check_plain(path, path.stat() if follow else path.lstat())
    except FileNotFoundError:
        if mode == "rb":
            raise
    flags = os.O_RDONLY if mode == "rb" else os.O_WRONLY | os.O_CREAT
    flags |= os.O_APPEND if mode == "ab" else 0
    # between the look and the opening another file may have come: that one is looked at, too
    flags |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    if not follow:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags, 0o666)
    try:
        _check_plain(path, os.fstat(descriptor))
        if mode == "wb":
            os.ftruncate(descriptor, 0)
        return os.fdopen(descriptor, mode)
    except BaseException:
        os.close(descriptor)
        raise


def _check_plain(path: Path, found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise InputError(f"{path} is a folder, not a file; remove it")
    if stat.S_ISLNK(found.st_mode):
        raise InputError(f"{path} is a link; put the file itself in its place")
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{path} is no plain file but a pipe or a device; remove it")


def read_small(file: str | os.PathLike[str], *, most_bytes: int = MOST_BYTES) -> str:
    """The text of a small file, UTF-8 with or without a byte order mark.

    Raises:
        FileNotFoundError: if there is none.
        InputError: if it cannot be read, is no plain file, is too large or is no UTF-8 text.
    """
    try:
        with open_plain(file) as stream:
            content = stream.read(most_bytes + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(refusal(error)) from error
    if len(content) > most_bytes:
        raise InputError(
            f"{file} is larger than {most_bytes / 1e6:g} MB, so it is no file of this kind; restore it"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file} is no UTF-8 text (byte {error.start + 1}); save it as UTF-8"
        ) from error


def read_yaml(file: str | os.PathLike[str]) -> Any:
    """Plain values of a YAML file: no tags of objects, no aliases.

    Raises:
        InputError: if there is none, it cannot be read or goes beyond the bounds.
    """
    return parse_yaml(_text(file), str(file))


def read_json(
    file: str | os.PathLike[str], *, most_bytes: int = MOST_BYTES, no_name_twice: bool = False
) -> Any:
    """Plain values of a JSON file.

    Args:
        file: the file.
        most_bytes: size of the largest one that is read.
        no_name_twice: whether a name that a group has twice is refused; else its last value counts.

    Raises:
        InputError: if there is none, it cannot be read or goes beyond the bounds.
    """
    return parse_json(_text(file, most_bytes), str(file), no_name_twice=no_name_twice)


def read_object(file: Path) -> dict[str, Any] | None:
    """The JSON object in a small file; None when there is none or it is damaged."""
    try:
        value = read_json(file)
    except InputError:
        return None
    return value if isinstance(value, dict) else None


def dump_yaml(values: Any) -> str:
    """Plain values as YAML that `read_yaml` takes: what is there twice is written twice, in its order."""
    text: str = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def parse_yaml(text: str, where: str) -> Any:
    """Plain values of YAML text; `where` is what a message calls it.

    Raises:
        InputError: if it is no YAML or goes beyond the bounds.
    """
    try:
        value = yaml.load(text, _Loader)
    except (yaml.YAMLError, RecursionError, *_CONSTRUCTOR_ERRORS) as error:
        raise InputError(f"{where} is not valid YAML ({_yaml_problem(error)}); mend it") from error
    _check_bounds(value, where)
    return value


def parse_json(text: str, where: str, *, no_name_twice: bool = False) -> Any:
    """Plain values of JSON text; `where` is what a message calls it, `no_name_twice` as for `read_json`.

    Raises:
        InputError: if it is no JSON or goes beyond the bounds.
    """
    try:
        value = json.loads(text, object_pairs_hook=_once if no_name_twice else None)
    except RecursionError as error:
        raise InputError(f"{where} is not valid JSON (nested too deeply); mend it") from error
    except ValueError as error:
        raise InputError(f"{where} is not valid JSON ({error}); mend it") from error
    _check_bounds(value, where)
    return value


def parse_object(text: str) -> dict[str, Any] | None:
    """The JSON object that a text is; None when it is none."""
    try:
        value = parse_json(text, "the line")
    except InputError:
        return None
    return value if isinstance(value, dict) else None


def json_lines(stream: IO[bytes]) -> Iterator[dict[str, Any] | None]:
    """The object of each whole line, None for one that is damaged; a last line without an end is left out.

    A line that is longer than any honest one is damaged, and never in memory as a whole.
    """
    too_long = False
    while part := stream.readline(MOST_LINE_BYTES):
        whole = part.endswith(b"\n")
        if whole:
            yield None if too_long else parse_object(part.decode("utf-8", errors="replace"))
        too_long = not whole


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases, which make much of little, and with bounds."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._values = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(
                None, None, "aliases (*name) are not read here: write the value itself", mark
            )
        self._depth += 1
        self._values += 1
        if self._depth > MOST_DEPTH:
            raise yaml.composer.ComposerError(None, None, "nested too deeply", mark)
        if self._values > MOST_VALUES:
            raise yaml.composer.ComposerError(None, None, "too many values", mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper without aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"key {name[:40]!r} is there twice")
        found[name] = value
    return found


def _text(file: str | os.PathLike[str], most_bytes: int = MOST_BYTES) -> str:
    try:
        return read_small(file, most_bytes=most_bytes)
    except FileNotFoundError as error:
        raise InputError(refusal(error)) from error


def _check_bounds(value: Any, where: str) -> None:
    """Refuse what no honest file holds: the depth, the size of whole numbers, keys that are no text."""
    waiting = [(value, 1)]
    while waiting:
        one, depth = waiting.pop()
        if depth > MOST_DEPTH:
            raise InputError(f"{where} is nested too deeply; mend it")
        if isinstance(one, int) and not -_LARGEST <= one < _LARGEST:
            raise InputError(f"{where} holds a whole number beyond 64 bits; mend it")
        if isinstance(one, dict):
            strange = next((key for key in one if not isinstance(key, str)), None)
            if any(not isinstance(key, str) for key in one):
                raise InputError(
                    f"{where} has the name {str(strange)[:40]!r}, which is no text; put it into quotes"
                )
            waiting += [(part, depth + 1) for part in one.values()]
        elif isinstance(one, list | tuple | set):
            waiting += [(part, depth + 1) for part in one]


def _yaml_problem(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, yaml.YAMLError):
        return " ".join(str(error).split())
    return "a value does not fit its kind, such as a date that does not exist"


def file_sha256(file: Path) -> str:
    """Checksum of a file, as `sha256sum` gives it.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        with open_plain(file) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
    except OSError as error:
        raise InputError(refusal(error)) from error
