"""Lets root meet locked folders as everybody else does."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_VERSION = 0x20080522  # of the two calls of Linux, with 64 capabilities
_MAY_OPEN_EVERYTHING = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


@contextmanager
def as_ordinary_user() -> Iterator[None]:
    """Take from this thread, and those it starts, root's right to open every file."""
    if sys.platform != "linux" or os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION, 0)
    rights = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then those above 32
    assert libc.capget(header, rights) == 0
    before = rights[0]
    rights[0] = before & ~_MAY_OPEN_EVERYTHING
    assert libc.capset(header, rights) == 0
    try:
        yield
    finally:
        rights[0] = before
        libc.capset(header, rights)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let nobody read, write or enter a file or folder."""
    mode = path.stat().st_mode
    path.chmod(0)
    try:
        with as_ordinary_user():
            yield
    finally:
        path.chmod(mode)
