"""`.seg.nrrd`: segmentations of 3D Slicer, whose header names, colours and numbers the segments."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_uda.core.colours import hexadecimal
from napari_uda.core.errors import InputError
from napari_uda.core.files import shown
from napari_uda.data.itk import read_itk_layers
from napari_uda.data.segments import Segment, chosen_values
from napari_uda.data.volume import Volume
from napari_uda.data.whole_voxels import Canvas, place_of

_MOST_BYTES = 2**23
_MOST_LAYERS = 1000
_KEY = re.compile(r"Segment(?P<index>\d{1,5})_(?P<key>Name|Color|LabelValue|Layer|ID)")


def read_seg_nrrd(
    file: Path,
    grid: Volume | None,
    names: Mapping[str, int],
    warn: Callable[[str], object],
) -> tuple[Volume, dict[int, Segment]]:
    """Read a segmentation; what was cropped away is put back on the image's grid.

    Args:
        file: a NRRD with keys of segments.
        grid: the image's grid that it is put on; without one, it lies on its own, which may be cropped.
        names: as for `chosen_values`.
        warn: is told what is left out, or off the grid by more than rounding.

    Returns:
        The label map, uint8; and for each of its values the segment.

    Raises:
        InputError: damaged, another grid, segments that overlap or are not there.
        OSError: it cannot be read.
    """
    name = shown(file)
    layers, affine = read_itk_layers(file)
    if layers.dtype.kind not in "iu":
        raise InputError(
            f"{name}: its voxels are {layers.dtype}, and segments are whole numbers; export it again"
        )
    described = segments_of(file, len(layers))
    known = {(layer, segment.value) for layer, segment in described}
    for layer, array in enumerate(layers):
        described += [
            (layer, Segment(int(value), ""))
            for value in np.unique(array)
            if value and (layer, int(value)) not in known
        ]
    segments = [segment for _, segment in described]
    on = grid or Volume(np.broadcast_to(np.uint8(0), layers.shape[1:]), affine, name)
    taken = chosen_values(segments, names, name, warn)
    kept = {value: segments[index] for index, value in taken.items()}
    named = {value: segment.name or f"value {segment.value}" for value, segment in kept.items()}
    canvas = Canvas(on, name, named)
    place = place_of(affine, layers.shape[1:], on, name, warn)
    for index, value in taken.items():
        layer, segment = described[index]
        canvas.draw(value, place.order.apply(layers[layer] == segment.value), place.start)
    return Volume(canvas.labels(), on.affine), kept


def is_seg_nrrd(file: Path) -> bool:
    """Whether a NRRD's header speaks of segments."""
    return bool(_fields(file))


def segments_of(file: Path, layers: int = 1) -> list[tuple[int, Segment]]:
    """Layer and segment of each that the header describes, in its order."""
    found = []
    for index, fields in sorted(_fields(file).items()):
        if "LabelValue" in fields:
            value, layer = _number(fields["LabelValue"], 0), _number(fields.get("Layer"), 0)
        else:  # versions before 4.11 gave every segment a layer of its own
            value, layer = (1, index) if layers > 1 else (index + 1, 0)
        if value and 0 <= layer < layers:
            found.append(
                (layer, Segment(value, fields.get("Name", ""), _colour(fields.get("Color"))))
            )
    return found


def declared_segments(file: Path) -> list[Segment]:
    """The segments by which values tell them apart in a label map, as `read_seg_nrrd` gives them."""
    found = [segment for _, segment in segments_of(file, _MOST_LAYERS)]
    values = {segment.value for segment in found}
    if len(values) == len(found):
        return found
    return [replace(segment, value=number) for number, segment in enumerate(found, start=1)]


def _fields(file: Path) -> dict[int, dict[str, str]]:
    """What the header says about each segment by its number."""
    found: dict[int, dict[str, str]] = {}
    for line in _header_lines(file):
        key, mark, value = line.partition(b":=")
        match = _KEY.fullmatch(key.decode("ascii", "replace").strip()) if mark else None
        if match:
            text = _unescaped(value.decode("utf-8", "replace").strip())
            text = "".join(letter if letter.isprintable() else " " for letter in text)
            found.setdefault(int(match["index"]), {})[match["key"]] = text
    return found


def _unescaped(text: str) -> str:
    """A value of NRRD, in which a backslash stands for itself when it is doubled, and begins a line before n."""
    return re.sub(r"\\([\\n])", lambda match: "\\" if match[1] == "\\" else " ", text)


def _header_lines(file: Path) -> Iterator[bytes]:
    """The lines of a NRRD's header, which an empty line ends; none of another file."""
    with file.open("rb") as stream:
        if stream.read(4) != b"NRRD":
            return
        left = _MOST_BYTES
        while left > 0 and (line := stream.readline(left)).strip():
            yield line
            left -= len(line)


def _number(text: str | None, default: int) -> int:
    try:
        return int(text) if text else default
    except ValueError:
        return default


def _colour(text: str | None) -> str:
    """`#RRGGBB` of three shares from 0 to 1."""
    try:
        shares = [min(1.0, max(0.0, float(part))) for part in (text or "").split()]
    except ValueError:
        return ""
    if len(shares) != 3 or any(share != share for share in shares):
        return ""
    return hexadecimal(shares)
