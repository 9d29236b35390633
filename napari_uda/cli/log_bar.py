"""LogBar: progress in a log, where no terminal redraws a line: one line per tenth of the work."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Self, TextIO


class LogBar:
    """Takes the place of tqdm where the output is a file; has the part of its interface that we use.

    Attributes:
        n: how much is done.
        total: how much there is to do; None while nobody knows, and then nothing is written.
        desc: what is being done.
    """

    def __init__(
        self,
        iterable: Iterable[Any] | None = None,
        *,
        desc: str | None = None,
        unit: str = "",
        total: float | None = None,
        file: TextIO | Any = None,
        disable: bool = False,
        leave: bool = True,
        **_: Any,
    ) -> None:
        """Prepare; nothing is written before something is done.

        Args:
            iterable: what is gone through, if the bar is used in a `for`.
            desc: what is being done.
            unit: what is counted.
            total: how many.
            file: stderr when left out.
            disable: write nothing.
            leave: whether the bar belongs to the whole; one inside another bar writes nothing.
        """
        self._iterable = iterable
        with suppress(TypeError):
            total = len(iterable) if total is None and iterable is not None else total  # type: ignore[arg-type]
        self.n: float = 0
        self.total, self.desc = total, desc or ""
        self._unit, self._file, self._silent = unit, file, disable or not leave
        self._postfix = ""
        self._tenths = 0
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def __iter__(self) -> Iterator[Any]:
        for each in self._iterable or ():
            yield each
            self.update(1)

    def update(self, n: float = 1) -> None:
        """So much more is done; a line is written when that completes a tenth of the whole."""
        self.n += n
        if not self.total or self._silent:
            return
        tenths = int(10 * self.n / self.total + 1e-9)  # 0.1 + 0.2 is a little more than 0.3
        if tenths > self._tenths:
            self._tenths = tenths
            with suppress(OSError):  # a full disk is no reason to end the work
                print(self._line(), file=self._file or sys.stderr, flush=True)

    def set_description(self, desc: str | None = None, refresh: bool = True) -> None:
        """Say what is being done."""
        self.desc = desc or ""

    set_description_str = set_description
    """The same; tqdm adds a colon in one of the two."""

    def set_postfix(self, refresh: bool = True, **values: object) -> None:
        """Say something about the state: `loss="0.5"`."""
        self._postfix = "".join(f", {name} {value}" for name, value in values.items())

    def refresh(self) -> None:
        """Nothing: a line that was written stays as it is."""

    def reset(self, total: float | None = None) -> None:
        """Begin anew."""
        self.n, self.total, self._tenths = 0, total, 0

    def _line(self) -> str:
        assert self.total
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        hours, minutes = divmod(minutes, 60)
        whole = self.n == int(self.n)
        counted = f", {self._unit} {int(self.n)}/{int(self.total)}" if self._unit and whole else ""
        share = f"{100 * self.n / self.total:.0f} %"
        return f"{self.desc or 'done'}: {share}{counted}{self._postfix}, {hours}:{minutes:02}:{seconds:02}"
