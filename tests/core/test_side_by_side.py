"""Pieces of work in threads."""

from __future__ import annotations

import threading

import pytest
import torch

from napari_uda.core.side_by_side import pieces_at_once, side_by_side


def test_results_come_in_the_order_of_the_items_and_two_are_worked_on_at_once() -> None:
    both = threading.Barrier(2, timeout=60)

    def work(item: int) -> int:
        both.wait()  # one thread by itself would wait in vain
        return item * 2

    assert list(side_by_side(work, [3, 1, 2, 5], 2)) == [6, 2, 4, 10]


def test_one_at_once_is_done_here_and_only_when_it_is_wanted() -> None:
    done: list[str] = []
    results = side_by_side(lambda item: done.append(threading.current_thread().name), [1, 2], 1)
    next(results)
    assert done == [threading.current_thread().name]


def test_threads_share_those_of_torch_which_has_all_of_them_again_afterwards() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        found = list(side_by_side(lambda _: torch.get_num_threads(), [1, 2, 3], 2))
        assert found == [2, 2, 2]
        assert torch.get_num_threads() == 4
        assert pieces_at_once() == 4
        torch.set_num_threads(16)
        assert pieces_at_once() == 4
    finally:
        torch.set_num_threads(before)


def test_an_error_reaches_the_caller() -> None:
    def work(item: int) -> float:
        return 1 / item

    results = side_by_side(work, [1, 0, 2], 2)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
