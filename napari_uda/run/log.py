"""What goes into the log of a run while it trains: milestones too, which the terminal is spared."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_PACKAGE = "napari_uda"
_lock = threading.Lock()
_open: list[logging.Handler] = []
_before: list[tuple[int, bool, logging.Handler]] = []


@contextmanager
def kept_log(handler: logging.Handler) -> Iterator[None]:
    """Give a handler all that the package says from INFO on; whoever listens already hears what it did.

    The level of the package decides what is said at all, so it is lowered meanwhile, and what is handed on
    to the handlers of the program is held to the level of before. Without any, warnings go to stderr, as
    they do when nothing is set up.
    """
    logger = logging.getLogger(_PACKAGE)
    with _lock:
        if not _open:
            _begin(logger)
        _open.append(handler)
        logger.addHandler(handler)
    try:
        yield
    finally:
        with _lock:
            _open.remove(handler)
            logger.removeHandler(handler)
            if not _open:
                _end(logger)


def _begin(logger: logging.Logger) -> None:
    onward = _Onward(logger.getEffectiveLevel())
    _before.append((logger.level, logger.propagate, onward))
    if logger.propagate:
        logger.addHandler(onward)
    logger.propagate = False
    logger.setLevel(min(logging.INFO, logger.getEffectiveLevel()))


def _end(logger: logging.Logger) -> None:
    level, propagate, onward = _before.pop()
    logger.removeHandler(onward)
    logger.propagate = propagate
    logger.setLevel(level)


class _Onward(logging.Handler):
    """Hands on to the handlers of the program."""

    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger().handle(record)
