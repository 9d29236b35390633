"""Trials of one kind, and what came of them: a row of the table that benchmarks/hostile.py prints."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from napari_uda.core.errors import InputError


class Campaign:
    """Trials of one kind and what came of them."""

    def __init__(self, name: str) -> None:
        self.name, self.found, self.began = name, Counter[str](), time.monotonic()
        self.lost: list[str] = []

    def trial(self, what: str, work: Callable[[], str]) -> str:
        """Do one: `work` returns what came of it, `lost: ...` if something got through."""
        try:
            outcome = work()
        except InputError as error:
            one_line = "\n" not in str(error)
            outcome = "refused in a sentence" if one_line else f"lost: {error}"
        except Exception as error:  # noqa: BLE001 - any other error is a trial that was lost
            outcome = f"lost: {type(error).__name__}: {error}"
        kind = outcome.partition(":")[0]
        self.found[kind] += 1
        if kind == "lost":
            self.lost.append(f"{what}: {outcome}")
        return kind

    def row(self) -> str:
        """Its line of the table, and a line for each trial that was lost."""
        trials, lost = self.found.total(), self.found.pop("lost", 0)
        words = ", ".join(f"{count} {kind}" for kind, count in self.found.most_common())
        seconds = time.monotonic() - self.began
        lines = [f"{self.name:<16} {trials:>6} {lost:>6}   {seconds:>6.0f} s   {words}"]
        return "\n".join([*lines, *(f"    LOST {each}" for each in self.lost)])
