"""Smooth implicit shapes: signed distances in millimetres (negative inside), tubes and noise fields.

Everything is evaluated on the voxel grid itself, vectorised, in float32. Patient coordinates are
RAS+: x grows to the patient's right, y to the front, z to the head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

Field = NDArray[np.float32]
"""Values on the grid, `(Z, Y, X)` float32."""

Reals = NDArray[np.floating]
"""Values on the grid as an argument: numpy's stubs widen sums of float32 and Python numbers."""

FAR_MM = 1e3
"""Distance given to voxels outside the box in which a tube was evaluated."""

_SPLINE_VARIANCE = 151 / 315  # mean of the sum of squared cubic B-spline weights


@dataclass(frozen=True, eq=False)
class Points:
    """Where every voxel lies, in millimetres, in a frame of the patient or of one organ."""

    x: Field
    y: Field
    z: Field

    @classmethod
    def grid(cls, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Points:
        """Centred grid in file order L, P, S: columns run to the left, rows to the back.

        Args:
            shape: `(Z, Y, X)`.
            spacing_mm: `(z, y, x)`.
        """
        axes = [
            (np.arange(n, dtype=np.float32) - np.float32((n - 1) / 2)) * np.float32(s)
            for n, s in zip(shape, spacing_mm, strict=True)
        ]
        z, y, x = np.meshgrid(axes[0], -axes[1], -axes[2], indexing="ij")
        return cls(x, y, z)

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(Z, Y, X)`."""
        depth, height, width = self.x.shape
        return depth, height, width

    def moved(self, centre: Sequence[float | Field]) -> Points:
        """The same voxels seen from `centre` (x, y, z), each a number or a field."""
        x, y, z = (np.asarray(c, np.float32) for c in centre)
        return Points(self.x - x, self.y - y, self.z - z)

    def turned(self, axes: NDArray[np.float64]) -> Points:
        """Coordinates along the rows of `axes`, a (3, 3) orthonormal matrix."""
        x, y, z = (
            np.float32(r[0]) * self.x + np.float32(r[1]) * self.y + np.float32(r[2]) * self.z
            for r in axes
        )
        return Points(x, y, z)

    def scaled(self, factor: float) -> Points:
        """Coordinates divided by `factor`: shapes drawn in them grow by it."""
        f = np.float32(1 / factor)
        return Points(self.x * f, self.y * f, self.z * f)

    @cached_property
    def _bounds(self) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        others = ((1, 2), (0, 2), (0, 1))
        fields = (self.z, self.y, self.x)
        return [(f.min(axis=o), f.max(axis=o)) for f, o in zip(fields, others, strict=True)]

    def window(self, low: Sequence[float], high: Sequence[float]) -> tuple[slice, slice, slice]:
        """Index box holding every voxel between the corners `low` and `high` (z, y, x), in mm."""
        found = []
        for (least, most), lo, hi in zip(self._bounds, low, high, strict=True):
            hit = np.flatnonzero((most >= lo) & (least <= hi))
            found.append(slice(int(hit[0]), int(hit[-1]) + 1) if hit.size else slice(0, 0))
        return found[0], found[1], found[2]


def ellipsoid(points: Points, centre: Sequence[float], radii: Sequence[float]) -> Field:
    """Distance to an ellipsoid, exact to first order at its surface."""
    p = points.moved(centre)
    a, b, c = (np.float32(1 / r) for r in radii)
    x, y, z = p.x * a, p.y * b, p.z * c
    level = np.sqrt(x * x + y * y + z * z)
    x, y, z = x * a, y * b, z * c
    slope = np.sqrt(x * x + y * y + z * z)
    inside = np.float32(-min(radii))
    return np.where(
        slope > 1e-6, level * (level - 1) / np.maximum(slope, np.float32(1e-6)), inside
    ).astype(np.float32)


def superellipse(points: Points, half_width: float, half_depth: float, power: float) -> Field:
    """Distance to an upright cylinder whose section is `|x/a|^n + |y/b|^n = 1`, along the ray."""
    n = np.float32(power)
    level = (np.abs(points.x) / np.float32(half_width)) ** n
    level += (np.abs(points.y) / np.float32(half_depth)) ** n
    level = np.maximum(level ** np.float32(1 / power), np.float32(1e-3))
    radius = np.hypot(points.x, points.y)
    return np.where(
        radius > 1e-3, radius * (1 - 1 / level), np.float32(-min(half_width, half_depth))
    ).astype(np.float32)


def tube(
    points: Points,
    path: Sequence[Sequence[float] | NDArray[np.float64]],
    radii: float | Sequence[float],
    *,
    steps: int = 5,
) -> Field:
    """Distance to a tube along the cubic spline through `path`.

    Args:
        points: the grid.
        path: two or more (x, y, z) in mm.
        radii: one radius, or one for each point of `path`, in mm.
        steps: straight pieces per stretch of the path.
    """
    knots = np.asarray(path, np.float64)
    wide = np.broadcast_to(np.asarray(radii, np.float64), len(knots))
    if len(knots) > 2:
        length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))]
        at = np.interp(
            np.linspace(0, len(knots) - 1, (len(knots) - 1) * steps + 1),
            np.arange(len(knots)),
            length,
        )
        knots, wide = CubicSpline(length, knots)(at), np.interp(at, length, wide)
    distance = np.full(points.shape, FAR_MM, np.float32)
    margin = float(wide.max()) + 12
    box = points.window((knots.min(0) - margin)[::-1], (knots.max(0) + margin)[::-1])
    x, y, z = points.x[box], points.y[box], points.z[box]
    nearest = distance[box]
    for start, end, r0, r1 in zip(knots[:-1], knots[1:], wide[:-1], wide[1:], strict=True):
        d = (end - start).astype(np.float32)
        dx, dy, dz = x - np.float32(start[0]), y - np.float32(start[1]), z - np.float32(start[2])
        t = (dx * d[0] + dy * d[1] + dz * d[2]) / max(np.float32(d @ d), np.float32(1e-6))
        t = np.clip(t, 0, 1)
        dx -= t * d[0]
        dy -= t * d[1]
        dz -= t * d[2]
        gap = np.sqrt(dx * dx + dy * dy + dz * dz)
        gap -= np.float32(r0) + t * np.float32(r1 - r0)
        np.minimum(nearest, gap, out=nearest)
    return distance


def join(first: Reals, *others: Reals, smooth_mm: float = 0.0) -> Field:
    """Union; with `smooth_mm` the crease between the parts is filled over about that width."""
    result = first
    for other in others:
        least = np.minimum(result, other)
        if smooth_mm:
            k = np.float32(smooth_mm)
            crease = np.maximum(k - np.abs(result - other), 0) / k
            least = least - crease * crease * (k / 4)
        result = least
    return np.asarray(result, np.float32)


def meet(first: Reals, *others: Reals, smooth_mm: float = 0.0) -> Field:
    """Intersection, its edge rounded over `smooth_mm`."""
    return -join(-first, *(-o for o in others), smooth_mm=smooth_mm)


def cut(shape: Reals, *holes: Reals, smooth_mm: float = 0.0) -> Field:
    """`shape` without `holes`, the rims rounded over `smooth_mm`."""
    return meet(shape, *(-h for h in holes), smooth_mm=smooth_mm)


def coverage(distance: Reals, width_mm: float) -> Field:
    """Share of a voxel that a shape fills, in [0, 1]: a ramp `width_mm` wide over its surface."""
    share = np.clip(np.float32(0.5) - distance * np.float32(1 / width_mm), 0, 1)
    return np.asarray(share, np.float32)


def smooth_noise(
    random: np.random.Generator,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    wavelength_mm: float | tuple[float, float, float],
) -> Field:
    """Random field of unit variance whose lattice of independent values is `wavelength_mm` wide.

    A tensor product of cubic B-splines: twice differentiable, so it also serves as a deformation.

    Args:
        random: source of the lattice.
        shape: `(Z, Y, X)`.
        spacing_mm: `(z, y, x)`.
        wavelength_mm: one width, or one for each of `(z, y, x)`.
    """
    widths = np.broadcast_to(np.asarray(wavelength_mm, np.float64), 3)
    bases = [
        _spline_basis(n, s / w, float(random.random()))
        for n, s, w in zip(shape, spacing_mm, widths, strict=True)
    ]
    lattice = random.standard_normal(tuple(b.shape[1] for b in bases))
    field = np.tensordot(bases[0], lattice, axes=(1, 0))  # (Z, ky, kx)
    field = np.einsum("zkl,yk->zyl", field, bases[1], optimize=True)
    field = np.einsum("zyl,xl->zyx", field, bases[2], optimize=True)
    return np.asarray(field / _SPLINE_VARIANCE**1.5, np.float32)


def deformed(
    points: Points,
    random: np.random.Generator,
    spacing_mm: tuple[float, float, float],
    amplitude_mm: float,
    wavelength_mm: float,
) -> Points:
    """`points` shifted by a smooth random displacement of standard deviation `amplitude_mm`."""
    amplitude = np.float32(amplitude_mm)
    x, y, z = (
        p + amplitude * smooth_noise(random, points.shape, spacing_mm, wavelength_mm)
        for p in (points.x, points.y, points.z)
    )
    return Points(x, y, z)


def filaments(
    random: np.random.Generator,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    wavelength_mm: float,
    radius_mm: float,
) -> Field:
    """Distance to a random tangle of thin vessels: where two smooth fields are zero together."""
    a = smooth_noise(random, shape, spacing_mm, wavelength_mm)
    b = smooth_noise(random, shape, spacing_mm, wavelength_mm)
    steepness = np.float32(1.1 / wavelength_mm)  # mean slope of `smooth_noise`, per mm
    return np.asarray(np.hypot(a, b) / steepness - np.float32(radius_mm), np.float32)


def _spline_basis(samples: int, step: float, offset: float) -> NDArray[np.float64]:
    """Cubic B-spline weights `(samples, knots)` at positions `offset + i * step`."""
    at = offset + np.arange(samples) * step
    knots = int(at[-1]) + 4
    apart = np.abs(at[:, None] - (np.arange(knots)[None, :] - 1))
    near = 2 / 3 - apart**2 + apart**3 / 2
    far = np.maximum(2 - apart, 0) ** 3 / 6
    return np.asarray(np.where(apart < 1, near, far))
