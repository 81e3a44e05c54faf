"""Where the names of points stand, so that none covers another name or a point."""

from __future__ import annotations

import math
from collections.abc import Sequence

Point = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""
_RADII = (9, 16, 26, 38, 52, 70, 90, 115, 145)
_ANGLES = tuple(math.radians(degrees) for degrees in (0, 180, 90, 270, 30, 150, 330, 210, 60, 120, 300, 240, 15, 165, 345, 195))
_COVERED, _FAR = 1e6, 1.5
"""What it costs to cover a name or a point at all, and to be a point further away; a square point of a line costs 1."""
_TOUCHES = 1e-6
MARK = 5.0
"""Half the width that a point takes."""


def spread(points: Sequence[Point], sizes: Sequence[tuple[float, float]], within: Box, lines: Sequence[Box] = ()) -> list[Box]:
    """A box of the given width and height for the name of every point: near it, within the frame, over no name and no point.

    ``lines`` are crossed rather than gone far around. Where no place is free, the one is taken that covers least. Names of
    points with near neighbours are placed first.
    """
    taken: list[Box] = [(x - MARK, y - MARK, x + MARK, y + MARK) for x, y in points]
    found: dict[int, Box] = {}
    for i in sorted(range(len(points)), key=lambda i: (_nearest(points, i), i)):
        found[i] = _place(points[i], sizes[i], taken, within, lines)
        taken.append(found[i])
    return [found[i] for i in range(len(points))]


def overlap(one: Box, other: Box) -> float:
    """The area that two boxes share."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


def _nearest(points: Sequence[Point], i: int) -> float:
    return min((math.dist(points[i], other) for k, other in enumerate(points) if k != i), default=math.inf)


def _place(point: Point, size: tuple[float, float], taken: Sequence[Box], within: Box, lines: Sequence[Box]) -> Box:
    def cost(candidate: tuple[float, Box]) -> float:
        radius, box = candidate
        covered = sum(overlap(box, other) for other in taken) + _outside(box, within)
        refused = _COVERED + covered if covered > _TOUCHES else 0.0
        return refused + sum(overlap(box, line) for line in lines) + _FAR * radius

    return min(((radius, _beside(point, size, radius, angle)) for radius in _RADII for angle in _ANGLES), key=cost)[1]


def _beside(point: Point, size: tuple[float, float], radius: float, angle: float) -> Box:
    """The box whose nearest side or corner lies so far from the point in this direction."""
    (width, height), (x, y) = size, point
    across, up = math.cos(angle), math.sin(angle)
    left = x + radius * across - width * (1 - across) / 2
    bottom = y + radius * up - height * (1 - up) / 2
    return left, bottom, left + width, bottom + height


def _outside(box: Box, within: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1]) - overlap(box, within)
