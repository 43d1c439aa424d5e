"""A tree map: areas as large as what they stand for, laid out as near to squares as can be.

Source of the layout: Bruls, Huizing, van Wijk, "Squarified Treemaps" (2000).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass
class Area:
    """Something with a size; with parts, whose sum may be less."""

    name: str
    size: int
    parts: list[Area] = field(default_factory=list)


@dataclass
class TreeMap:
    """A picture of areas; sizes are in the unit."""

    title: str
    subtitle: str
    unit: str
    areas: list[Area]


class Box(NamedTuple):
    """Where an area lies."""

    area: Area
    left: float
    top: float
    width: float
    height: float


def lay_out(areas: Sequence[Area], left: float, top: float, width: float, height: float) -> Iterator[Box]:
    """A box for each area of some size, the largest first; together they fill the given one."""
    rest = sorted((one for one in areas if one.size > 0), key=lambda one: -one.size)
    total = sum(one.size for one in rest)
    while rest and width > 0 and height > 0:
        scale = width * height / total
        side = min(width, height)
        count = _row(rest, side, scale)
        row = rest[:count]
        size = sum(one.size for one in row)
        depth = size * scale / side
        at = 0.0
        for one in row:
            length = one.size * scale / depth
            if width >= height:
                yield Box(one, left, top + at, depth, length)
            else:
                yield Box(one, left + at, top, length, depth)
            at += length
        if width >= height:
            left, width = left + depth, width - depth
        else:
            top, height = top + depth, height - depth
        rest, total = rest[count:], total - size


def _row(areas: Sequence[Area], side: float, scale: float) -> int:
    """How many of the next areas make a row along a side whose worst box is the nearest to a square."""
    best, size = float("inf"), 0
    for count, one in enumerate(areas, 1):
        size += one.size
        depth = size * scale / side
        worst = 0.0
        for box in (areas[0], one):
            length = box.size * scale / depth
            worst = max(worst, depth / length, length / depth)
        if worst > best:
            return count - 1
        best = worst
    return len(areas)
