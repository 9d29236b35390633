"""Numbers of things and lists of names, as sentences say them."""

from __future__ import annotations

from collections.abc import Iterable


def number_of(number: int, thing: str) -> str:
    """`1 case`, `2 cases`; `thing` is the singular of a word that takes an s."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def short_list(
    names: Iterable[object], most: int = 12, *, between: str = ", ", last: str = " and "
) -> str:
    """Names with commas between; of more than `most` the first ones, and how many others there are."""
    every = [str(name) for name in names]
    more = len(every) - most
    return between.join(every[:most]) + (f"{last}{more} more" if more > 0 else "")
