"""Arguments that several commands take, as types, and options that are taken out before the others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from napari_uda.core.errors import InputError

RunFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
Folder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
SpecFile = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SPEC.yaml")]
Paths = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PATH...")]

Placement = Literal["auto", "sform", "qform"]
"""Which of sform and qform is trusted where a NIfTI file has both."""


def take_flag(given: list[str], flag: str) -> tuple[bool, list[str]]:
    """Whether `flag` is given, and the arguments without it."""
    rest = [argument for argument in given if argument.replace("_", "-") != flag]
    return len(rest) < len(given), rest


def take_option(given: list[str], option: str) -> tuple[str | None, list[str]]:
    """Value of `option VALUE` or `option=VALUE`, and the arguments without it."""
    rest: list[str] = []
    value: str | None = None
    arguments = iter(given)
    for argument in arguments:
        flag, equals, inline = argument.partition("=")
        if flag.replace("_", "-") != option:
            rest.append(argument)
        elif equals:
            value = inline
        else:
            value = next(arguments, None)
            if value is None:
                raise InputError(f"{option} needs a value")
    return value, rest
