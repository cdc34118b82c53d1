"""Places in Python source: `ast` counts columns in UTF-8 bytes, spans here are in characters."""

from __future__ import annotations

import re
from bisect import bisect_right

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast

    from gradaudit.source import Source

_BREAK = re.compile(r"\r\n|\r|\n")


class Spans:
    """Turns the places of `ast` into character offsets of one text."""

    __slots__ = ("_ascii", "_starts", "_wide", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._ascii = text.isascii()
        # Python ends a line at a lone CR too, which `Source` does not.
        self._starts = [0, *(match.end() for match in _BREAK.finditer(text))]
        self._wide: dict[int, tuple[list[int], list[int]]] = {}

    def of(self, node: ast.expr | ast.stmt | ast.keyword) -> tuple[int, int]:
        """Where a node begins and ends."""
        start = self.offset(node.lineno, node.col_offset)
        if node.end_lineno is None or node.end_col_offset is None:
            return start, start
        return start, self.offset(node.end_lineno, node.end_col_offset)

    def offset(self, line: int, column: int) -> int:
        """The offset of a byte column (from 0) of a line (from 1)."""
        start = self._starts[line - 1]
        if self._ascii:
            return start + column
        wide = self._wide.get(line)
        if wide is None:
            wide = self._wide[line] = self._count(line)
        ends, extra = wide
        before = bisect_right(ends, column)
        return start + column - (extra[before - 1] if before else 0)

    def _count(self, line: int) -> tuple[list[int], list[int]]:
        """For each character of several bytes, the byte where it ends and by how many bytes more
        than characters the line has up to there: one pass, however many nodes the line has."""
        start = self._starts[line - 1]
        end = self._starts[line] if line < len(self._starts) else len(self.text)
        ends, extra = [], []
        at = surplus = 0
        for char in self.text[start:end]:
            code = ord(char)
            size = 1 if code < 0x80 else 2 if code < 0x800 else 3 if code < 0x10000 else 4
            at += size
            if size > 1:
                surplus += size - 1
                ends.append(at)
                extra.append(surplus)
        return ends, extra

    def name_at(self, start: int) -> int:
        """Where the name that begins at `start` ends. `ast` normalises names, so that their
        length there may be another."""
        end = start
        while end < len(self.text) and _is_of_name(self.text[end]):
            end += 1
        return end

    def name_before(self, end: int) -> int:
        """Where the name that ends at `end` begins."""
        start = end
        while start > 0 and _is_of_name(self.text[start - 1]):
            start -= 1
        return start


def _is_of_name(char: str) -> bool:
    return ("a" + char).isidentifier()


def comment_spans(source: Source) -> list[tuple[int, int]]:
    """The span of every comment, in file order. Strings may hold a `#`, so only Python's own
    tokens tell; where they end early, so does the list."""
    import io
    import tokenize

    found = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
            if token.type == tokenize.COMMENT:
                start = source.offset(token.start[0], token.start[1] + 1)
                found.append((start, start + len(token.string)))
    except (tokenize.TokenError, SyntaxError):
        pass
    return found
