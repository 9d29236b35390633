"""Images that are read while the ones before them are worked on."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from napari_uda.cli.volumes import read_ahead
from napari_uda.core.errors import InputError
from napari_uda.data.patients import Case


class Slow(Case):
    """A case that says when it is read."""

    begun: list[str] = []
    second = threading.Event()

    def read_image(self):
        self.begun.append(self.name)
        if self.name == "b":
            self.second.set()
            raise InputError("b is bad")
        return self.name


def test_the_next_image_is_read_before_it_is_asked_for_and_a_bad_one_takes_no_other_along() -> None:
    next_image = read_ahead([Slow(name, Path(name)) for name in "abc"])
    assert next_image() == "a"
    assert Slow.second.wait(30)  # nobody has asked for it
    with pytest.raises(InputError, match="b is bad"):
        next_image()
    assert next_image() == "c"
    assert Slow.begun == ["a", "b", "c"]
