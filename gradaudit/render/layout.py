"""Styled pieces of text: one layout serves a terminal with colours and a plain pipe alike."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    Piece = tuple[str, str, str]
    Line = list[Piece]

NARROWEST = 60
PROSE = 100
"""Widest prose, in columns: longer lines are hard to read however wide the terminal is."""


def piece(text: str, style: str = "", link: str = "") -> Piece:
    """A stretch of text in one style, perhaps a link."""
    return (text, style, link)


def plain(line: Line) -> str:
    """The text of a line. A line of one piece is kept whole: in a diff a blank counts."""
    text = "".join(text for text, _, _ in line)
    return text.rstrip() if len(line) > 1 else text


def display_width(text: str) -> int:
    """Columns that a terminal gives to `text`: wide East Asian characters take two."""
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width

    return sum(
        0
        if category(char) in ("Mn", "Me", "Cf")
        else 2
        if east_asian_width(char) in ("W", "F")
        else 1
        for char in text
    )


def printable(char: str) -> str:
    """A character as it may go to a terminal: a tab as blanks, a control as a visible mark.

    A config is untrusted: an escape sequence or a direction override in it must not act.
    """
    if char == "\t":
        return "    "
    if char.isprintable():
        return char
    return "\N{REPLACEMENT CHARACTER}"


def clean(text: str) -> str:
    return text if text.isprintable() else "".join(map(printable, text))


def wrap(text: str, width: int, first: str = "", rest: str | None = None) -> list[str]:
    """`text` in lines of at most `width` columns; `first` and `rest` are put before them.

    A word that is wider than a line stands alone and is not cut: it may be a path to copy.
    """
    rest = " " * len(first) if rest is None else rest
    lines: list[str] = []
    current = first
    empty = True
    for word in text.split():
        if not empty and display_width(current) + 1 + display_width(word) > width:
            lines.append(current)
            current, empty = rest, True
        current += word if empty else " " + word
        empty = False
    lines.append(current)
    return lines


def fit(text: str, room: int) -> str:
    """`text` in at most `room` columns, cut with an ellipsis."""
    if display_width(text) <= room:
        return text.rstrip()
    while text and display_width(text) > room - 1:
        text = text[: max(len(text) - max(display_width(text) - room + 1, 1), 0)]
    return text + "…"
