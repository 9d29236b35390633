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


class NotFiniteError(InputError):
    """A result or weights that hold NaN or infinity, which never leave the program."""


class UnfitFormatError(InputError):
    """A result that its image does not allow to be written in the format that is asked for."""


class Cancelled(Exception):
    """Work stopped because its stop event was set; nothing partial was left behind."""


def reason(error: OSError) -> str:
    """What the system says about `error`, in lower case: 'no space left on device'."""
    return (error.strerror or type(error).__name__).lower()


def refusal(error: OSError) -> str:
    """One sentence about a file that the system refuses: which, why, and what helps."""
    remedy = REFUSALS.get(error.errno or 0, "check the path and its disk")
    return f"{error.filename or 'a file'} cannot be used ({reason(error)}); {remedy}"


MEMORY_RAN_OUT = "Memory ran out; close other programs, or crop the volume or switch to the CPU."
_MEMORY_WORDS = (
    "out of memory",
    "not enough memory",  # torch on Windows
    "allocate memory",  # torch on the CPU ("can't"), Linux ("cannot")
    "unable to allocate",  # numpy
    "failed to allocate",
    "could not create a primitive",  # oneDNN, below torch's convolutions on the CPU
    "bad_alloc",  # the C++ library
    "bad allocation",
    "alloc_failed",  # cuBLAS, cuDNN
    "memory allocation",
)
"""How libraries say that there is no more memory, in lower case."""


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error, of whichever library, says that there is no more memory."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in said for words in _MEMORY_WORDS)


def sentence(error: Exception) -> str:
    """One sentence for the user about any error."""
    if isinstance(error, InputError):
        return str(error)
    if ran_out_of_memory(error):
        return MEMORY_RAN_OUT
    if isinstance(error, OSError) and error.errno in REFUSALS:
        return refusal(error)
    text = " ".join(str(error).split())
    first = text.split(". ")[0][:300]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
