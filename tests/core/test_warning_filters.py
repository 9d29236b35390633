"""Two threads that silence warnings do not undo each other."""

from __future__ import annotations

import threading
import warnings

from napari_uda.core.warning_filters import own_warning_filters


def test_two_threads_take_turns() -> None:
    inside, entered = threading.Event(), threading.Event()
    order: list[str] = []

    def other() -> None:
        inside.wait(10)
        with own_warning_filters():
            order.append("other")
            warnings.simplefilter("error")
        entered.set()

    before = list(warnings.filters)
    thread = threading.Thread(target=other)
    thread.start()
    with own_warning_filters():
        warnings.simplefilter("ignore")
        inside.set()
        assert not entered.wait(0.2)  # it waits for its turn, and so does what it would undo
        warnings.warn("not heard", stacklevel=1)  # pytest would make it an error
        order.append("first")
    thread.join(10)
    assert order == ["first", "other"]
    assert warnings.filters == before
