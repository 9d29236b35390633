"""Pictures of single slices for reports: prediction filled, reference outlined, as PNG without a library."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_uda.core.colours import rgb as rgb_shares
from napari_uda.core.structure_colours import structure_colour
from napari_uda.evaluation.surface import border

_SHARE_OF_COLOUR = 0.45
_PLAIN_GREY = 70  # where there is no image
_WIDTH = 320

RGB = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture and the sentence below it.

    Attributes:
        rgb: `(H, W, 3)` uint8.
        caption: what it shows.
    """

    rgb: RGB
    caption: str

    def png(self) -> bytes:
        """The picture as a PNG file."""
        return encode_png(self.rgb)


def draw_slice(
    image: NDArray[np.generic] | None,
    prediction: NDArray[np.integer],
    reference: NDArray[np.integer],
    names: Mapping[int, str],
    spacing_mm: Sequence[float],
    window: tuple[float, float] = (0.0, 1.0),
    *,
    outlines: bool = False,
    width: int = _WIDTH,
) -> RGB:
    """Draw one slice with square pixels: the prediction in colours, the reference as white outlines.

    Args:
        image: `(H, W)` grey values; None draws plain grey.
        prediction: `(H, W)` labels.
        reference: `(H, W)` labels.
        names: label to name, which fixes the colours.
        spacing_mm: pixel size (rows, columns).
        window: grey values drawn black and white.
        outlines: draw the prediction as outlines as well, two pixels thick, so that the image inside is seen.
        width: of the picture in pixels.

    Returns:
        `(H', W', 3)` uint8, `width` pixels wide.
    """
    rows, columns = _square_pixels(prediction.shape, spacing_mm, width)
    ours, theirs = prediction[rows][:, columns], reference[rows][:, columns]
    if image is None:
        grey = np.full(ours.shape, float(_PLAIN_GREY))
    else:
        low, high = window
        values = np.asarray(image[rows][:, columns], np.float64)
        grey = np.clip((values - low) / max(high - low, 1e-6), 0, 1) * 255
    rgb = np.repeat(grey[..., None], 3, axis=2)
    for label in np.unique(ours[ours > 0]).tolist():
        mask = ours == label
        colour = np.rint(255 * rgb_shares(structure_colour(names.get(label, ""), label)))
        if outlines:
            rgb[_thick_border(mask)] = colour
            continue
        rgb[mask] = (1 - _SHARE_OF_COLOUR) * rgb[mask] + _SHARE_OF_COLOUR * colour
    for label in np.unique(theirs[theirs > 0]).tolist():
        rgb[border(theirs == label)] = 255
    return np.asarray(rgb.round(), np.uint8)


def as_seen(plane: NDArray[Any]) -> NDArray[Any]:
    """A slice `(..., h, w)` of a canonical (S, A, R) array seen as radiologists do: head or front up.

    Axial and coronal slices have the patient's right on the left; sagittal ones the front.
    """
    return np.ascontiguousarray(plane[..., ::-1, ::-1])


def _thick_border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The outermost two pixels of a mask."""
    outer = border(mask)
    return outer | border(mask & ~outer)


def encode_png(rgb: RGB) -> bytes:
    """A PNG file of `(H, W, 3)` uint8."""
    height, width, _ = rgb.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), rgb.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits of red, green and blue
    chunks = (
        (b"IHDR", header),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def _square_pixels(
    shape: tuple[int, ...], spacing_mm: Sequence[float], across: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which row and column every pixel of the picture shows (nearest)."""
    height, width = (size * step for size, step in zip(shape, spacing_mm, strict=True))
    pixels = across, max(1, round(across * height / width))
    columns = np.arange(pixels[0]) * shape[1] // pixels[0]
    rows = np.arange(pixels[1]) * shape[0] // pixels[1]
    return rows, columns
