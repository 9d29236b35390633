"""Independent pieces of work side by side in threads, which share torch's own threads among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST = 4
"""Pieces at once; each of them needs memory of its own."""


def pieces_at_once() -> int:
    """How many pieces of work are to be done at once: torch's threads, at most 4.

    Several small convolutions side by side take less time than one after another by as many threads, which wait for
    each other after each.
    """
    return min(torch.get_num_threads(), _MOST)


def side_by_side(
    work: Callable[[Item], Result], items: Iterable[Item], at_once: int
) -> Iterator[Result]:
    """Do the work for each item, several at once, and give the results in the order of the items.

    Args:
        work: for one item; it must not mind the thread that it runs in, and several of it at a time.
        items: what is to be done.
        at_once: how many threads; with 1 all is done in the caller's own, each item when its result is wanted.

    Raises:
        Exception: what `work` raised; items that were not begun are left.
    """
    if at_once == 1:
        yield from map(work, items)
        return
    threads = torch.get_num_threads()
    share = max(1, threads // at_once)
    pool = ThreadPoolExecutor(at_once, "side by side", torch.set_num_threads, (share,))
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # the number of a thread is that of later ones, too
