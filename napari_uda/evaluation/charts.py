"""Charts for reports as SVG text: curves over slices, and reliability diagrams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from napari_uda.evaluation.calibration import Bins

Floats = NDArray[np.float64]

_WIDTH, _HEIGHT, _SIDE = 560, 220, 220
_LEFT, _BOTTOM, _MARGIN = 44, 34, 10
_BACKGROUND, _INK, _GRID = "#262930", "#F0F1F2", "#50555F"  # dark: every structure's colour is seen
_BAR, _IDEAL = "#56B4E9", "#E69F00"


@dataclass(frozen=True, eq=False)
class Curve:
    """One curve: values over slice numbers, NaN where there is none."""

    name: str
    colour: str
    x: NDArray[np.integer]
    y: Floats


def draw_curves(curves: Sequence[Curve], x_label: str, y_label: str, top: float | None) -> str:
    """Curves with a legend below.

    Args:
        curves: at least one point in all of them together, else the chart is empty.
        x_label: of the slice numbers.
        y_label: of the values, with its unit.
        top: upper end of the value axis; None fits the values.
    """
    values = np.concatenate([curve.y for curve in curves] or [np.zeros(0)])
    numbers = np.concatenate([curve.x for curve in curves] or [np.arange(2)])
    high = top or float(np.nanmax(values[np.isfinite(values)], initial=0.0)) or 1.0
    box = _Box(float(numbers.min()), float(max(numbers.max(), numbers.min() + 1)), high, _WIDTH)
    parts = [*box.axes(x_label, y_label)]
    for curve in curves:
        for x, y in _pieces(curve):
            points = " ".join(f"{box.x(a):.1f},{box.y(b):.1f}" for a, b in zip(x, y, strict=True))
            parts.append(
                f'<polyline points="{points}" fill="none" stroke="{curve.colour}" stroke-width="2"/>'
            )
            parts += [
                f'<circle cx="{box.x(a):.1f}" cy="{box.y(b):.1f}" r="2" fill="{curve.colour}"/>'
                for a, b in zip(x, y, strict=True)
            ]
    legend = "".join(
        f'<span class="key"><i style="background:{curve.colour}"></i>{escape(curve.name)}</span>'
        for curve in curves
    )
    return f"{_svg(_WIDTH, parts, y_label)}<p>{legend}</p>"


def draw_reliability(bins: Bins, title: str) -> str:
    """A reliability diagram: accuracy over confidence, the diagonal for a calibrated prediction."""
    box = _Box(0.0, 1.0, 1.0, _SIDE + _LEFT)
    parts = [*box.axes("confidence", "accuracy")]
    for low, high, accuracy in zip(bins.edges, bins.edges[1:], bins.accuracy, strict=False):
        if np.isfinite(accuracy):
            left, right, upper = box.x(low), box.x(high), box.y(accuracy)
            parts.append(
                f'<rect x="{left:.1f}" y="{upper:.1f}" width="{max(1.0, right - left - 1):.1f}" '
                f'height="{box.y(0) - upper:.1f}" fill="{_BAR}"/>'
            )
    parts.append(
        f'<line x1="{box.x(0):.1f}" y1="{box.y(0):.1f}" x2="{box.x(1):.1f}" y2="{box.y(1):.1f}" '
        f'stroke="{_IDEAL}" stroke-width="1.5" stroke-dasharray="5 4"/>'
    )
    return f"<figure>{_svg(_SIDE + _LEFT, parts, title)}<figcaption>{escape(title)}</figcaption></figure>"


@dataclass(frozen=True)
class _Box:
    """Maps values to pixels."""

    first: float
    last: float
    high: float
    width: int

    def x(self, value: float) -> float:
        room = self.width - _LEFT - _MARGIN
        return _LEFT + (float(value) - self.first) / (self.last - self.first) * room

    def y(self, value: float) -> float:
        room = _HEIGHT - _BOTTOM - _MARGIN
        return _MARGIN + (1 - min(float(value), self.high) / self.high) * room

    def axes(self, x_label: str, y_label: str) -> list[str]:
        parts = []
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            height, value = self.y(self.high * share), self.high * share
            parts.append(
                f'<line x1="{_LEFT}" y1="{height:.1f}" x2="{self.width - _MARGIN}" '
                f'y2="{height:.1f}" stroke="{_GRID}" stroke-width="0.5"/>'
            )
            parts.append(_text(_LEFT - 5, height + 4, f"{value:.3g}", "end"))
            number = self.first + (self.last - self.first) * share
            if self.last - self.first >= 4:
                number = round(number)  # slices are counted
            parts.append(_text(self.x(number), _HEIGHT - _BOTTOM + 15, f"{number:.3g}", "middle"))
        parts.append(_text((self.width + _LEFT) / 2, _HEIGHT - 4, x_label, "middle"))
        middle = (_HEIGHT - _BOTTOM) / 2
        parts.append(
            f'<text x="11" y="{middle}" transform="rotate(-90 11 {middle})" '
            f'text-anchor="middle" fill="{_INK}">{escape(y_label)}</text>'
        )
        return parts


def _pieces(curve: Curve) -> list[tuple[NDArray[np.integer], Floats]]:
    """The stretches of a curve without gaps."""
    known = np.flatnonzero(np.isfinite(curve.y))
    breaks = np.flatnonzero(np.diff(known) > 1) + 1
    return [(curve.x[part], curve.y[part]) for part in np.split(known, breaks) if part.size]


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{_INK}">{escape(words)}</text>'
    )


def _svg(width: int, parts: Sequence[str], title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}" width="{width}" '
        f'height="{_HEIGHT}" role="img" aria-label="{escape(title)}" font-size="11" '
        f'font-family="sans-serif"><rect width="{width}" height="{_HEIGHT}" rx="4" fill="{_BACKGROUND}"/>'
        f"{''.join(parts)}</svg>"
    )
