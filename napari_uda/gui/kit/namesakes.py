"""Cases of one name: the files of two patients are often called alike, such as `t2.nii.gz` in a folder for each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path

import numpy as np
from napari.layers import Layer

from napari_uda.gui.kit.geometry import METADATA, in_different_frames, tag

_INSIDE = re.compile("(images|labels)(Tr|Ts)?|predictions")
"""Folders inside that of a case, or of all cases."""
_SAME_MM = 1e-3


def tell_apart(layers: Iterable[Layer], new: Layer) -> None:
    """Put names of folders before the case of a new layer if another patient's case on screen is called the same.

    Images, structures and maps find each other by the name of their case, so that no two patients may share one. What is
    opened of that patient later gets the same name.

    Args:
        layers: those on screen; `new` may be among them.
        new: only a layer that was read from a file is ever renamed.
    """
    own = tag(new)
    if not own.get("case") or own.get("file") is None or own.get("source") or own.get("helper"):
        return
    cases: dict[str, list[Layer]] = {}
    for layer in layers:
        if layer is not new and tag(layer).get("case"):
            cases.setdefault(tag(layer)["case"], []).append(layer)
    before = own["case"]
    if before not in cases:
        return
    place = _place(new)
    known = [name for name, found in cases.items() if any(_called(one) == before for one in found)]
    ours = [name for name in known if any(_place(one) == place for one in cases[name])]
    like = [name for name in known if _lies_alike(cases[name], new)]
    fit = (
        name
        for name in ours + like
        if not any(in_different_frames(one, new) for one in cases[name])
    )
    free = (name for name in _names(before, place) if name not in cases)
    case = next(fit, None) or next(free)
    if case != before:
        new.metadata = {**new.metadata, METADATA: {**own, "case": case, "called": before}}
        if new.name.startswith(before):
            rest = new.name.removeprefix(before)
            new.name = case + re.sub(
                r" \[\d+\]$", "", rest
            )  # napari's number of a name that is taken


def _names(case: str, place: Path | None) -> Iterator[str]:
    """The case alone, then with ever more of its folders before it, then with numbers."""
    yield case
    parts = () if place is None else place.parts[1:]
    for first in reversed(range(len(parts))):
        yield "_".join([*parts[first:], case])
    yield from (f"{case} ({number})" for number in count(2))


def _called(layer: Layer) -> str:
    """The case as the file calls it."""
    own = tag(layer)
    return str(own.get("called") or own["case"])


def _place(layer: Layer) -> Path | None:
    """The folder that holds all of a patient, or of a data set, as far as the path tells."""
    source = tag(layer).get("file")
    if source is None:
        return None
    folder = Path(source.path).parent
    while _INSIDE.fullmatch(folder.name):
        folder = folder.parent
    return folder


def _lies_alike(case: Sequence[Layer], new: Layer) -> bool:
    """Whether a layer lies on the grid of a case; a second image of one grid may be of another patient."""
    own, tags = tag(new), [tag(layer) for layer in case]
    if own.get("role") == "image" and any(other.get("role") == "image" for other in tags):
        return False
    alike = (other for other in tags if "affine" in other and other.get("shape") == own["shape"])
    return any(np.allclose(one["affine"], own["affine"], rtol=0, atol=_SAME_MM) for one in alike)
