"""`train METHOD --help`: the options that most runs need, on one page; `--help-all` shows every setting.

The pages of the shipped methods lie in `help_pages`, where `make readme` writes them, so that they are shown
at once: making one imports torch. Those of other methods are made when they are asked for.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from napari_uda.run.config import RunConfig

OWN_OPTIONS = {
    "--run-dir RUN": "New folder for the run; must be given.",
    "--recipe NAME|FILE[,...]": "Presets to start from; see napari-uda recipes.",
    "--series TEXT": "Which DICOM volumes, where a patient has several.",
    "--placement sform|qform": "Which placement in NIfTI files is trusted.",
    "--strict": "Refuses data in which anything is odd.",
}
"""Options of `train` that are no settings, or short names of settings."""
RESUME_OPTIONS = ("--resume", "--force", "--skip-step")

PAGES = Path(__file__).with_name("help_pages")
_WIDTH = 80
_INDENT = 30
_SHORT_INDENT = 6


def kept_page(method: str) -> str:
    """The page of a shipped method with its own defaults; "" where none is kept."""
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", method):
        return ""
    page = PAGES / f"{method.replace('-', '_')}.txt"
    return page.read_text(encoding="utf-8").rstrip("\n") if page.is_file() else ""


def basic_help(config: RunConfig) -> str:
    """The page for one method.

    Args:
        config: its values are shown as the defaults.
    """
    from napari_uda.core.setting_paths import leaves
    from napari_uda.methods.registry import METHODS
    from napari_uda.run.basic_settings import basic_settings

    kind = METHODS[config.method.name]
    summary = kind.summary[:1].upper() + kind.summary[1:].rstrip(".")
    found = {path: (field, value) for path, field, value in leaves(config)}
    needs = kind.needs_with(config.method)
    data = ["data.source"] if "source" in needs else []
    data += ["data.target"] if {"target", "target_labels"} & set(needs) else []
    corrected = ["data.corrected"] if kind.learns_from_corrected else []
    start = ["init"] if kind.needs_start_with(config.method) else []
    basic = [path for path in basic_settings(config) if path in found]
    others = len(found) - len({*basic, *data, *corrected, "init"})
    must = " ".join(f"{_option(path)} {_word(path, found[path][0])}" for path in (*data, *start))
    lines = [
        f"usage: napari-uda train {config.method.name} {must} --run-dir RUN [options]",
        "       napari-uda train --resume RUN [--skip-step] [--force]",
        "",
        *textwrap.wrap(f"{summary} ({kind.paper}).", _WIDTH),
        "",
    ]
    for path in (*data, *corrected):
        lines += _entry(f"{_option(path)} DIR", _about(found[path][0], ""))
    for option, about in OWN_OPTIONS.items():
        lines += _entry(option, about)
    for path in ("init", *basic):
        field, value = found[path]
        about = _about(field, "" if value is None else _shown(value))
        lines += _entry(f"{_option(path)} {_word(path, field)}", about)
    lines += [
        "",
        f"{others} more settings: napari-uda train {config.method.name} --help-all",
        "--json, -v and -q, which every command has: napari-uda --help",
    ]
    return "\n".join(lines)


def _entry(option: str, about: str) -> Iterator[str]:
    """An option and what it does, side by side where there is room."""
    head = f"  {option}"
    if len(head) < _INDENT - 1:
        first, *more = textwrap.wrap(about, _WIDTH - _INDENT)
        yield head.ljust(_INDENT) + first
        yield from (" " * _INDENT + line for line in more)
    else:  # a long name leaves no room, and its text has the whole next line
        yield head
        yield from (
            " " * _SHORT_INDENT + line for line in textwrap.wrap(about, _WIDTH - _SHORT_INDENT)
        )


def _option(path: str) -> str:
    return f"--{path.replace('_', '-')}"


def _about(field: FieldInfo, default: str) -> str:
    text = (field.description or "").rstrip(".")
    return f"{text} [{default}]." if default else f"{text}."


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _word(path: str, field: FieldInfo) -> str:
    """What stands for the value of an option."""
    kind = field.annotation
    kinds = get_args(kind) or (kind,)
    if path == "init":
        return "RUN"
    if Path in kinds:
        return "DIR" if path.startswith("data.") else "PATH"
    if get_origin(kind) is Literal:
        return "|".join(map(str, get_args(kind)))
    return {int: "N", float: "NUMBER", bool: "True|False"}.get(kinds[0], "NAME")
