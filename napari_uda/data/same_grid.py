"""Whether two volumes lie on one grid, and in which order: the one answer that every door asks for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from napari_uda.core.errors import InputError
from napari_uda.data.grid import corners_mm
from napari_uda.data.volume import Orientation, Volume, describe_grid_difference

__all__ = ["on_grid_of"]

TOLERANCE = 0.01
"""How far two grids may be apart at most, in the smallest voxel side."""
ROUNDING_MM = 1e-3
"""What rounding in headers explains: below it nothing is said."""

_logger = logging.getLogger(__name__)


def on_grid_of(
    volume: Volume, grid: Volume, warn: Callable[[str], object] = _logger.warning
) -> Volume:
    """A volume on the grid of another one, when both have the same voxels in space.

    Axes that are stored in another order or the other way (RAS against LPS) are put in order, which is
    exact. Places that differ by no more than 1 % of the smallest voxel side are taken as one.

    Args:
        volume: such as a label map.
        grid: such as its image.
        warn: is told when the two are apart by more than rounding.

    Returns:
        `volume` with its array in the order of `grid` (a view) and the affine of `grid`.

    Raises:
        InputError: different grids, with the difference in numbers.
    """
    turned = _in_order(volume, grid)
    limit = TOLERANCE * min(*volume.spacing_mm, *grid.spacing_mm)
    difference = describe_grid_difference(grid, turned, tolerance_mm=limit, stored=volume)
    if difference:
        raise InputError(difference)
    offsets = corners_mm(grid.affine, grid.array.shape) - corners_mm(
        turned.affine, turned.array.shape
    )
    apart = float(np.linalg.norm(offsets, axis=1).max())
    if apart > min(ROUNDING_MM, limit):
        side = min(grid.spacing_mm)
        warn(
            f"{grid.name or 'the first volume'} and {volume.name or 'the second volume'} lie up to {apart:.3g} mm "
            f"apart, {apart / side:.1%} of a voxel; they are taken to lie on one grid"
        )
    return replace(turned, affine=grid.affine)


def _in_order(volume: Volume, grid: Volume) -> Volume:
    """The volume with the axes of the grid where they are the same ones, else as it is."""
    moves = np.linalg.solve(grid.affine, volume.affine)[:3, :3]
    signs = np.rint(moves)
    is_order = (np.abs(signs).sum(0) == 1).all() and (np.abs(signs).sum(1) == 1).all()
    if not is_order or (signs == np.eye(3)).all():
        return volume
    # row and column k of the matrix belong to x, y, z; array axes are z, y, x
    places = [2 - int(np.abs(signs[2 - axis]).argmax()) for axis in range(3)]
    flips = [bool(signs[2 - axis].sum() < 0) for axis in range(3)]
    order = Orientation((places[0], places[1], places[2]), (flips[0], flips[1], flips[2]))
    turned = volume.turned(order)
    return turned if turned.array.shape == grid.array.shape else volume
