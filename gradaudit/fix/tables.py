"""Insert and delete entries of TOML tables, which have a line (or more) each.

A table with a header of its own, or one spread over dotted keys, is neither inserted after nor
deleted: where its entries end is for its author to say.
"""

from __future__ import annotations

from gradaudit.fix.block import colon, newline_before
from gradaudit.fix.comments import line_start, next_line
from gradaudit.fix.refusal import Refused
from gradaudit.syntax.tree import Mapping, Node, Sequence, Tree

Splice = tuple[int, int, str]


def insert(tree: Tree, parent: Mapping | Sequence, index: int, key: str, value: str) -> Splice:
    """A line after entry `index`; `key` is spelled. A dotted key's new neighbour is dotted too."""
    text = tree.source.text
    sibling, below = _entry(tree, parent, index)
    if _in_header(text, sibling):
        raise Refused("it would stand behind a table with a header of its own")
    assert type(parent) is Mapping
    before = text[line_start(text, sibling.start) : sibling.start]
    line = before + key + colon(text, parent, index, key, "=") + value
    at = next_line(text, below.end)
    newline = newline_before(tree, at)
    if text[at - 1] == "\n":
        return at, at, line + newline
    return at, at, newline + line


def delete(tree: Tree, parent: Mapping | Sequence, index: int) -> Splice:
    """The lines of entry `index`. Comments on lines of their own above it stay."""
    text = tree.source.text
    key, value = _entry(tree, parent, index)
    if (type(value) is Mapping or type(value) is Sequence) and not value.flow:
        raise Refused("it is a table of its own, with all that is in it")
    assert type(parent) is Mapping
    if len(parent.pairs) == 1 and parent.parent is not None and text[parent.start] != "[":
        raise Refused("it is the only key there: without it the table would be gone")
    start = line_start(text, key.start)
    end = next_line(text, value.end)
    if end == len(text) and not text.endswith("\n") and start > 0:
        # The file goes on having no newline at its end.
        start -= 2 if text[start - 2 : start] == "\r\n" else 1
    return start, end, ""


def _entry(tree: Tree, parent: Mapping | Sequence, index: int) -> tuple[Node, Node]:
    """The key and the value of an entry that has lines of its own."""
    if type(parent) is not Mapping:
        raise Refused("it is one of an array of tables")
    above: Mapping | Sequence | None = parent
    while above is not None:
        if above.flow:
            raise Refused("it is written as a dotted key in an inline table")
        above = above.parent
    return parent.pairs[index]


def _in_header(text: str, key: Node) -> bool:
    return text[line_start(text, key.start) : key.start].lstrip(" \t").startswith("[")
