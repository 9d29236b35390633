"""METHODS is whole for whoever asks, also for a thread that asks while another one looks through the folder."""

from __future__ import annotations

import importlib
from threading import Thread
from types import ModuleType

import pytest

from napari_uda.methods import registry


def test_a_thread_that_asks_meanwhile_sees_every_method(monkeypatch: pytest.MonkeyPatch) -> None:
    methods = registry._Methods()
    answers: list[bool] = []
    asking = Thread(target=lambda: answers.append("target_supervised" in methods))
    load = importlib.import_module

    def load_while_another_asks(name: str) -> ModuleType:
        if asking.ident is None:
            asking.start()
            asking.join(0.5)  # it has to wait; one that does not answers within this time
        return load(name)

    monkeypatch.setattr(registry.importlib, "import_module", load_while_another_asks)
    assert "se_asa" in methods
    asking.join()
    assert answers == [True]
