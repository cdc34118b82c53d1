"""A small curve in braille: two dots a column, four a row."""

from __future__ import annotations

ROWS = 5
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bits of the left and the right dots of a braille character, from the top."""


def plot(
    points: tuple[tuple[float, float], ...],
    first: float,
    last: float,
    top: float,
    columns: int,
    held: bool = False,
) -> list[str]:
    """A curve through (x, y) from `first` to `last`, with y from 0 to `top`, as rows of text.

    Between two points it is a straight line, or, where it is `held`, what it was at the first;
    after the last it stays. Where it jumps, the dots between are set too, so that it is one line.
    """
    high, wide = ROWS * 4, max(columns, 1) * 2
    cells = [[0] * max(columns, 1) for _ in range(ROWS)]
    before: int | None = None
    for across in range(wide):
        x = first + (last - first) * across / max(wide - 1, 1)
        share = _at(points, x, held) / top if top else 0.0
        level = round((1 - min(max(share, 0.0), 1.0)) * (high - 1))
        begin = level if before is None else before + (level > before) - (level < before)
        for down in range(min(begin, level), max(begin, level) + 1):
            cells[down // 4][across // 2] |= _DOTS[across % 2][down % 4]
        before = level
    return ["".join(chr(0x2800 + bits) if bits else " " for bits in row) for row in cells]


def _at(points: tuple[tuple[float, float], ...], x: float, held: bool) -> float:
    """The curve at x."""
    low, high = 0, len(points) - 1
    if x <= points[0][0]:
        return points[0][1]
    if x >= points[high][0]:
        return points[high][1]
    while high - low > 1:
        middle = (low + high) // 2
        if points[middle][0] <= x:
            low = middle
        else:
            high = middle
    (x0, y0), (x1, y1) = points[low], points[high]
    if held:
        return y0
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0) if x1 > x0 else y1
