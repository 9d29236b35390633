"""The two exceptions every part of the package shares, and what to say of all others."""

from __future__ import annotations

import errno

_OPEN_UP = "ask its owner for access, or choose another folder"
_FREE_SPACE = "free space there and do it again"
_RECONNECT = "check its disk or network drive"
REFUSALS = {
    errno.EACCES: _OPEN_UP,
    errno.EPERM: _OPEN_UP,
    errno.EROFS: _OPEN_UP,
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: _FREE_SPACE,
    errno.EFBIG: _FREE_SPACE,
    errno.EIO: _RECONNECT,
    errno.ENOTCONN: _RECONNECT,
    errno.ESTALE: _RECONNECT,
}
"""Errors of the operating system that are no fault of this package, and what helps."""


class InputError(ValueError):
    """Input that cannot be used: one sentence naming the thing, the value and the remedy."""


class Cancelled(Exception):
    """Work stopped because its stop event was set; nothing partial was left behind."""


def reason(error: OSError) -> str:
    """What the system says about `error`, in lower case: 'no space left on device'."""
    return (error.strerror or type(error).__name__).lower()


def refusal(error: OSError) -> str:
    """One sentence about a file that the system refuses: which, why, and what helps."""
    remedy = REFUSALS.get(error.errno or 0, "check the path and its disk")
    return f"{error.filename or 'a file'} cannot be used ({reason(error)}); {remedy}"


def sentence(error: Exception) -> str:
    """One sentence for the user about any error."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError) and error.errno in REFUSALS:
        return refusal(error)
    text = " ".join(str(error).split())
    if type(error).__name__ == "OutOfMemoryError" or "out of memory" in text.lower():
        return "Memory ran out; close other programs, or crop the volume or switch to the CPU."
    first = text.split(". ")[0][:300]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
