"""Insert and delete entries of flow collections: `{a: 1, b: 2}`, `[1, 2]`, all of JSON, and the
arrays and inline tables of TOML."""

from __future__ import annotations

from gradaudit.fix.comments import has_comment, line_start
from gradaudit.fix.refusal import Refused, check_brackets
from gradaudit.syntax.pattern import later
from gradaudit.syntax.tree import Mapping, Node, Scalar, Sequence, Tree, content_span

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re

Splice = tuple[int, int, str]

_LINE_REST = later(r"[ \t]*(,?)[ \t]*(#[^\r\n]*)?(\r?\n)")
_JSON_LINE_REST = later(
    r"[ \t]*(,?)[ \t]*((?:/\*(?:[^*\r\n]|\*(?!/))*\*/[ \t]*)*(?://[^\r\n]*)?)(\r?\n)"
)
_COMMA = later(r"\s*,")
_COMMA_ALONE = later(r"[ \t]*,[ \t]*")
_COLON = later(r"[ \t]*[:=][ \t]*\Z")
_NO_VALUE = later(r"\s*:[ \t]?")


def insert(
    tree: Tree, parent: Mapping | Sequence, index: int, key: str, value: str
) -> list[Splice]:
    """An entry after entry `index`, on a line of its own where that one has one."""
    text = tree.source.text
    opening = _opening(tree, parent)
    start, end = _span(text, parent, index)
    last = index + 1 == _count(parent)
    entry = key + _colon(tree, parent, index) + value if type(parent) is Mapping else value
    rest = _rest(tree, end)
    if _begins_line(text, opening, start) and (rest or last):
        indent = text[line_start(text, start) : start]
        alone = all(
            _begins_line(text, opening, _span(text, parent, i)[0]) for i in range(1, _count(parent))
        )
        if rest is not None and (alone or rest.group(2)):
            after, newline = rest.end(), rest.group(3)
            if rest.group(1):
                return [(after, after, f"{indent}{entry},{newline}")]
            return [(end, end, ","), (after, after, f"{indent}{entry}{newline}")]
        if alone and not has_comment(tree, end, parent.end):
            return [(end, end, f",{tree.source.newline}{indent}{entry}")]
    if not last:
        following = _span(text, parent, index + 1)[0]
        comma = _COMMA_ALONE.fullmatch(text, end, following)
        if comma is not None:
            return [(following, following, entry + comma.group())]
        if has_comment(tree, end, following):
            # The comment is the sibling's: the new entry goes behind it.
            return [(following, following, f"{entry}, ")]
        return [(end, end, f", {entry}")]
    if has_comment(tree, end, parent.end):
        raise Refused("a comment stands between the last entry and the closing bracket")
    return [(end, end, _last_comma(tree, parent) + entry)]


def delete(tree: Tree, parent: Mapping | Sequence, index: int) -> list[Splice]:
    """Entry `index` with its comma; with its whole lines where nothing else is on them."""
    text = tree.source.text
    opening = _opening(tree, parent)
    start, end = _span(text, parent, index)
    last = index + 1 == _count(parent)
    if last and index == 0:
        if has_comment(tree, opening + 1, start) or has_comment(tree, end, parent.end):
            raise Refused("a comment stands beside the only entry")
        return [(opening + 1, parent.end - 1, "")]
    before = _span(text, parent, index - 1)[1] if index else 0
    rest = _rest(tree, end)
    if _begins_line(text, opening, start) and rest is not None and (rest.group(1) or last):
        lines = (line_start(text, start), rest.end(), "")
        comma = _COMMA.match(text, before) if last and not rest.group(1) else None
        if comma is None and last and not rest.group(1):
            raise Refused("a comment stands between the entries")
        return [lines] if comma is None else [(comma.end() - 1, comma.end(), ""), lines]
    following = parent.end if last else _span(text, parent, index + 1)[0]
    if index and (last or "\n" in text[end:following]):
        # To the end of the entry, so that what follows stays on its own line.
        if has_comment(tree, before, start) or has_comment(tree, end, following):
            raise Refused("a comment stands between the entries")
        return [(before, end, "")]
    if has_comment(tree, end, following):
        raise Refused("a comment stands between the entries")
    return [(start, following, "")]


def _opening(tree: Tree, parent: Mapping | Sequence) -> int:
    opening = content_span(parent, tree.source.text)[0]
    check_brackets(tree.source.text, parent, opening)
    return opening


def _count(parent: Mapping | Sequence) -> int:
    if type(parent) is Mapping:
        return len(parent.pairs)
    assert type(parent) is Sequence
    return len(parent.items)


def _span(text: str, parent: Mapping | Sequence, index: int) -> tuple[int, int]:
    if type(parent) is Mapping:
        key, value = parent.pairs[index]
        return key.start, _pair_end(text, key, value)
    assert type(parent) is Sequence
    item = parent.items[index]
    return item.start, _node_end(text, item)


def _node_end(text: str, node: Node) -> int:
    if type(node) is Mapping and node.pairs and text[content_span(node, text)[0]] != "{":
        return _pair_end(text, *node.pairs[-1])  # `[k: v]`: the mark of its end is the next token
    return node.end


def _pair_end(text: str, key: Node, value: Node) -> int:
    if type(value) is Scalar and value.start == value.end:
        # libyaml puts an absent value where the next token begins. A blank after the colon is
        # part of the entry: `{a:, b: 1}` cannot be read.
        colon = _NO_VALUE.match(text, key.end, value.end)
        return colon.end() if colon else key.end
    return _node_end(text, value)


def _begins_line(text: str, opening: int, start: int) -> bool:
    """The entry is the first thing on its line, and the collection was opened above it."""
    begin = line_start(text, start)
    return begin > opening and not text[begin:start].strip(" \t")


def _rest(tree: Tree, end: int) -> re.Match[str] | None:
    """What stands behind an entry, where the line ends with it: a comma, a comment."""
    pattern = _JSON_LINE_REST if tree.format == "json" else _LINE_REST
    return pattern.match(tree.source.text, end)


def _last_comma(tree: Tree, parent: Mapping | Sequence) -> str:
    """A comma with its blanks, as before the last entry; after the only one, as after a colon."""
    text = tree.source.text
    last = _count(parent) - 1
    if last == 0:
        return "," if _colon(tree, parent, 0) in (":", "=") else ", "
    before, start = _span(text, parent, last - 1)[1], _span(text, parent, last)[0]
    comma = _COMMA_ALONE.fullmatch(text, before, start)
    return comma.group() if comma is not None else ", "


def _colon(tree: Tree, parent: Mapping | Sequence, index: int) -> str:
    """The colon (in TOML the `=`) with its blanks, as in entry `index`."""
    if type(parent) is not Mapping:
        return ""
    text = tree.source.text
    key, value = parent.pairs[index]
    if key.end < value.start and value.start < value.end:
        colon = text[key.end : value.start]
        if _COLON.match(colon):
            return colon
    return " = " if tree.format == "toml" else ": "
