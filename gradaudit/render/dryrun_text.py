"""Prose and measured numbers of the screen of `dryrun`."""

from __future__ import annotations

from gradaudit.render.layout import PROSE, clean, piece, wrap
from gradaudit.rules.text import number as exact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.render.layout import Line


def number(value: float) -> str:
    """Three significant digits: more is not known of what was measured."""
    if value - value != 0:
        return str(value)
    return exact(float(f"{value:.3g}"))


def prose(text: str, width: int, first: str = "  ", style: str = "") -> list[Line]:
    """Lines of at most `width` columns, the first behind `first`, the rest indented as far."""
    rows = wrap(clean(text), min(width, PROSE), first, " " * len(first))
    return [[piece(row, style)] for row in rows]
