"""Where a file's comments are. In YAML no parser tells: they are the `#` between the values."""

from __future__ import annotations

from bisect import bisect_left

from gradaudit.syntax.pattern import later
from gradaudit.syntax.tree import Alias, Scalar, Tree, content_span, walk

COMMENT = later(r"(?<!\S)#[^\r\n]*")
BLOCK_HEADER = later(r"[|>][-+0-9]*")


def comments(tree: Tree) -> list[tuple[int, int]]:
    """The span of every comment, its signs included and the line ending not, in file order."""
    if tree.format != "yaml":
        return tree.comments
    text = tree.source.text
    found: list[tuple[int, int]] = []
    matches = COMMENT.finditer

    def search(start: int, end: int) -> None:
        found.extend(match.span() for match in matches(text, start, end))

    at = 0
    for root in tree.roots:
        for node in walk(root):
            if type(node) is Scalar:
                start, end = content_span(node, text)
                search(at, start)
                header = BLOCK_HEADER.match(text, start, end) if node.style in ("|", ">") else None
                if header:
                    search(header.end(), line_end(text, header.end()))
                    end = node.end
                at = max(at, end)
            elif type(node) is Alias:
                search(at, node.start)
                at = node.end
    search(at, len(text))
    return found


def line_start(text: str, offset: int) -> int:
    return text.rfind("\n", 0, offset) + 1


def line_end(text: str, offset: int) -> int:
    """Where the line ends, before its CR or LF."""
    end = text.find("\n", offset)
    if end < 0:
        return len(text)
    return end - 1 if end > offset and text[end - 1] == "\r" else end


def next_line(text: str, offset: int) -> int:
    """Where the next line begins; the end of the text where there is none."""
    end = text.find("\n", offset)
    return len(text) if end < 0 else end + 1


def has_comment(tree: Tree, start: int, end: int) -> bool:
    """A stretch between two entries, which holds no value, has a comment."""
    if tree.format != "yaml":
        after = bisect_left(tree.comments, (start, 0))
        return after < len(tree.comments) and tree.comments[after][0] < end
    return COMMENT.search(tree.source.text, start, end) is not None
