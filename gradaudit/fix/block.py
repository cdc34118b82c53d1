"""Insert and delete entries of block collections, which have a line (or more) each."""

from __future__ import annotations

from gradaudit.fix.comments import BLOCK_HEADER, COMMENT, line_start, next_line
from gradaudit.fix.refusal import Refused
from gradaudit.syntax.pattern import later
from gradaudit.syntax.tree import Mapping, Node, Scalar, Sequence, Tree, content_span, last_leaf

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re

Splice = tuple[int, int, str]

_COMMENT_OR_BLANK = later(r"([ \t]*)(#[^\n]*)?(?:\n|\Z)")
_COLON = later(r"([ \t]*)[:=]([ \t]*)")


def insert(tree: Tree, parent: Mapping | Sequence, index: int, key: str, value: str) -> Splice:
    """A line after entry `index`; `key` is spelled, and empty for a list item."""
    text = tree.source.text
    head = _head(text, parent, index)
    start = line_start(text, head)
    indent = text[start:head]
    column = len(indent)
    if indent.strip(" \t"):  # after `- `, or `- - `
        indent = " " * column
    if type(parent) is Mapping:
        line = indent + key + colon(text, parent, index, key) + value
    else:
        assert type(parent) is Sequence
        gap = text[head + 1 : parent.items[index].start]
        line = indent + "-" + (gap if gap and not gap.strip(" \t") else " ") + value
    at = _past_inner_comments(text, _end(tree, parent, index), column)
    newline = newline_before(tree, at)
    if at == 0 or text[at - 1] == "\n":
        return at, at, line + newline
    return at, at, newline + line


def delete(tree: Tree, parent: Mapping | Sequence, index: int) -> Splice:
    """The lines of entry `index`. Comments on lines of their own above it stay."""
    text = tree.source.text
    what = "key" if type(parent) is Mapping else "item"
    count = len(parent.pairs) if type(parent) is Mapping else len(_items(parent))
    if count == 1:
        raise Refused(f"it is the only {what} there: without it the collection would be null")
    leaf = _leaf(parent, index)
    if _is_block(leaf) and "+" in _header(text, leaf):
        raise Refused("it ends in a `|+` text, whose blank lines belong to it")
    head = _head(text, parent, index)
    start = line_start(text, head)
    end = next_line(text, content_span(leaf, text)[1])
    if text[start:head].strip(" \t"):
        # The entry shares its line with a dash (`- key: value`): the next one moves up to it.
        if index + 1 == count:
            raise Refused(f"the {what} shares its line with what stands before it")
        following = _head(text, parent, index + 1)
        if text[end:following].strip():
            raise Refused(f"a comment stands between the {what} and the next one, which moves up")
        return head, following, ""
    if end == len(text) and not text.endswith("\n") and start > 0:
        # The file goes on having no newline at its end.
        start -= 2 if text[start - 2 : start] == "\r\n" else 1
    return start, end, ""


def _items(parent: Mapping | Sequence) -> list[Node]:
    assert type(parent) is Sequence
    return parent.items


def _head(text: str, parent: Mapping | Sequence, index: int) -> int:
    """Where an entry begins: its key, or its dash."""
    if type(parent) is Mapping:
        return parent.pairs[index][0].start
    begin = _leaf(parent, index - 1).end if index else content_span(parent, text)[0]
    before = COMMENT.sub(_blanks, text[begin : _items(parent)[index].start])
    return begin + before.rindex("-")


def _blanks(match: re.Match[str]) -> str:
    return " " * len(match.group())


def _leaf(parent: Mapping | Sequence, index: int) -> Node:
    return last_leaf(parent.pairs[index][1] if type(parent) is Mapping else _items(parent)[index])


def _is_block(node: Node) -> bool:
    return type(node) is Scalar and node.style in ("|", ">")


def _header(text: str, node: Node) -> str:
    """`|`, `>-`, `|2+`: the signs that a block scalar begins with."""
    match = BLOCK_HEADER.match(text, content_span(node, text)[0])
    return match.group() if match else ""


def _end(tree: Tree, parent: Mapping | Sequence, index: int) -> int:
    """Where the line after an entry begins. Blank lines below a block scalar count only where
    its value has them (`|+`)."""
    text = tree.source.text
    leaf = _leaf(parent, index)
    if not _is_block(leaf):
        return next_line(text, leaf.end)
    if not text.endswith("\n") and not text[leaf.end :].strip():
        raise Refused("it would follow a block of text that ends the file without a newline")
    if "+" in _header(text, leaf):
        return leaf.end
    return next_line(text, content_span(leaf, text)[1])


def _past_inner_comments(text: str, at: int, column: int) -> int:
    """Skip the comments below an entry that are indented deeper: they belong to its body."""
    end = at
    matches = _COMMENT_OR_BLANK.match
    while at < len(text):
        match = matches(text, at)
        if match is None or (match.group(2) and len(match.group(1)) <= column):
            break
        at = match.end()
        if match.group(2):
            end = at
    return end


def newline_before(tree: Tree, at: int) -> str:
    """The line ending nearest above, for files that mix them."""
    text = tree.source.text
    end = text.rfind("\n", 0, at)
    if end < 0:
        return tree.source.newline
    return "\r\n" if text[end - 1 : end] == "\r" else "\n"


def colon(text: str, parent: Mapping, index: int, key: str, sign: str = ":") -> str:
    """The colon (or `sign`) with its blanks, as in entry `index`.

    Values (or signs) that form a column go on doing so.
    """
    mine = _columns(text, parent, index)
    if mine is None:
        return ": " if sign == ":" else f" {sign} "
    column, value, before, after = mine
    nearby = [
        near
        for i in (index - 1, index + 1)
        if 0 <= i < len(parent.pairs) and (near := _columns(text, parent, i)) is not None
    ]
    if before > 1 or (before and any(near[0] == column for near in nearby)):
        return " " * max(1, column - len(key)) + sign + " " * after
    if after > 1 or any(near[1] == value and near[3] > 1 for near in nearby):
        return " " * before + sign + " " * max(1, value - len(key) - before - 1)
    return " " * before + sign + " " * after


def _columns(text: str, parent: Mapping, index: int) -> tuple[int, int, int, int] | None:
    """Where the colon and the value stand, counted from the key's first character, and how many
    blanks stand before and after the colon. None where the value is not on the key's line."""
    key, value = parent.pairs[index]
    match = _COLON.match(text, key.end, max(key.end, value.start))
    if not match or match.end() != value.start:
        return None
    if not match.group(2) and text[match.end(1)] == ":":
        return None
    if type(value) is not Scalar or value.style in ("|", ">") or value.start == value.end:
        return None
    colon = match.end(1) - key.start
    return colon, value.start - key.start, len(match.group(1)), len(match.group(2))
