"""A line over time as a picture: SVG, written by hand, since nothing else here draws."""

from collections.abc import Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 640, 240
LEFT, BOTTOM, TOP = 48, 32, 12


class Point(NamedTuple):
    """Where the line passes."""

    x: float
    y: float


def plot(points: Sequence[Point], across: str, up: str) -> str:
    """Return the picture; both axes begin at zero, so that what looks flat is flat."""
    most_x, most_y = max(p.x for p in points), 1.25 * max(p.y for p in points)
    line = " ".join(f"{_x(p.x / most_x):.1f},{_y(p.y / most_y):.1f}" for p in points)
    ticks = [_tick(share, most_y) for share in (0.25, 0.5, 0.75, 1)]
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-size="11" fill="#555">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        *ticks,
        f'<polyline points="{line}" fill="none" stroke="#2563eb" stroke-width="1.5"/>',
        f'<text x="{LEFT}" y="{HEIGHT - 10}">0</text>',
        f'<text x="{WIDTH - 8}" y="{HEIGHT - 10}" text-anchor="end">{most_x:.0f} {across}</text>',
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 10}" text-anchor="middle">{up}</text>',
        "</svg>\n",
    ])  # fmt: skip


def _tick(share: float, most: float) -> str:
    y = _y(share)
    return (
        f'<path d="M{LEFT} {y:.1f}H{WIDTH - 8}" stroke="#e5e5e5"/>'
        f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{share * most:.0f}</text>'
    )


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - 8 - LEFT)


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)
