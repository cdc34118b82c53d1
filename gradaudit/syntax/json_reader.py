"""The JSON reader: one regular expression, no recursion, about as fast as the YAML reader.

Beside what Python's `json` reads (`NaN` and `Infinity` included) it takes `//` and `/* */`
comments and a comma before a closing bracket, as editors and many launchers do, and says so in
`Tree.beyond_json`.
"""

from __future__ import annotations

import re

from gradaudit.source import Source, Unreadable
from gradaudit.syntax.limits import MAX_DEPTH, MAX_NODES, nested_too_deep, too_many_nodes
from gradaudit.syntax.scalars import BOOL, FLOAT, INT, NULL
from gradaudit.syntax.tree import Mapping, Node, Scalar, Sequence, Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

_TOKEN = re.compile(
    r"[ \t\r\n]*+(?:"
    r'("[^"\\\x00-\x1f]*+")'
    r'|(")'  # begins a string with escapes, or one that is faulty
    r"|(-?(?:0|[1-9][0-9]*+)(?![\w.+-]))"
    r"|(-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?(?![\w.+-])"
    r"|NaN\b|-?Infinity\b)"
    r"|((?:true|false)\b)"
    r"|(null\b)"
    r"|(,)"
    r"|(:)"
    r"|([{\[])"
    r"|([}\]])"
    r"|(//[^\r\n]*+|/\*(?:[^*]|\*(?!/))*+\*/)"
    r"|(\Z))"
)
_STRING, _QUOTE, _INT, _FLOAT, _BOOL, _NULL, _COMMA, _COLON, _OPEN, _CLOSE, _COMMENT = range(1, 12)
_TAGS = ("", "", "", INT, FLOAT, BOOL, NULL)

# What may come next.
_VALUE_OR_CLOSE, _VALUE, _KEY_OR_CLOSE, _COLON_NEXT, _COMMA_OR_CLOSE, _NOTHING = range(6)
_WANTED = ("value", "value", "key", "colon", "comma", "end")

HALF_A_PAIR = "half of a surrogate pair is no character; write both halves, as `\\ud83d\\ude00`"
_HALF = re.compile(f"[{chr(0xD800)}-{chr(0xDFFF)}]")


def parse_json(source: Source) -> Tree:
    """Parse JSON text; see `syntax.parse` for what is raised."""
    roots: list[Node] = []
    mappings: list[Mapping] = []
    tree = Tree(source, roots, mappings, set(), "json")
    _read(tree, roots, mappings)
    return tree


def _read(tree: Tree, roots: list[Node], mappings: list[Mapping]) -> None:  # noqa: C901
    # One loop, because a call for each token would take a third more time.
    source = tree.source
    text = source.text
    match_at = _TOKEN.match
    stack: list[tuple[Mapping | Sequence, list[Node]]] = []
    children: list[Node] = roots
    parent: Mapping | Sequence | None = None
    in_mapping = False
    state = _VALUE
    at = 0
    count = 0
    comma = 0  # where the last comma stands, for one before a closing bracket
    while True:
        match = match_at(text, at)
        if match is None:
            _fail(tree, at, state, parent)
        kind = match.lastindex
        start = at
        at = match.end()
        assert kind is not None
        if kind <= _NULL:
            start = match.start(kind)
            node = Scalar()
            if kind <= _QUOTE:
                if kind == _STRING:
                    node.value = text[start + 1 : at - 1]
                else:
                    node.value, at = _unescaped(tree, start, state, parent)
                node.style = '"'
                node.tag = None
            else:
                node.value = text[start:at]
                node.style = ""
                node.tag = _TAGS[kind]
            if state <= _VALUE:
                state = _COMMA_OR_CLOSE if stack else _NOTHING
            elif state == _KEY_OR_CLOSE and kind <= _QUOTE:
                state = _COLON_NEXT
            else:
                _fail(tree, start, state, parent)
            node.anchor = None
            node.start = start
            node.end = at
            node.parent = parent
            children.append(node)
            count += 1
            # The sign after it, where it follows at once: half of all tokens need no match.
            sign = text[at : at + 1]
            if sign == ":" and state == _COLON_NEXT:
                at += 1
                state = _VALUE
            elif sign == "," and state == _COMMA_OR_CLOSE and count <= MAX_NODES:
                at += 1
                state = _KEY_OR_CLOSE if in_mapping else _VALUE_OR_CLOSE
                comma = at
        elif kind == _COMMA:
            if state != _COMMA_OR_CLOSE:
                _fail(tree, start, state, parent)
            if count > MAX_NODES:
                raise Unreadable(too_many_nodes(), *source.position(start))
            state = _KEY_OR_CLOSE if in_mapping else _VALUE_OR_CLOSE
            comma = at
        elif kind == _COLON:
            if state != _COLON_NEXT:
                _fail(tree, start, state, parent)
            state = _VALUE
        elif kind == _OPEN:
            if state > _VALUE:
                _fail(tree, start, state, parent)
            if len(stack) >= MAX_DEPTH:
                raise Unreadable(nested_too_deep(), *source.position(at - 1))
            in_mapping = text[at - 1] == "{"
            box: Mapping | Sequence
            if in_mapping:
                box = Mapping()
                mappings.append(box)
                state = _KEY_OR_CLOSE
            else:
                box = Sequence()
                state = _VALUE_OR_CLOSE
            comma = 0
            box.tag = box.anchor = None
            box.start = at - 1
            box.flow = True
            box.parent = parent
            children.append(box)
            parent = box
            children = []
            stack.append((box, children))
            count += 1
        elif kind == _CLOSE:
            if (
                state not in (_COMMA_OR_CLOSE, _KEY_OR_CLOSE if in_mapping else _VALUE_OR_CLOSE)
                or not stack
                or in_mapping is not (text[at - 1] == "}")
            ):
                _fail(tree, start, state, parent)
            if state != _COMMA_OR_CLOSE and comma and tree.beyond_json is None:
                tree.beyond_json = ("a comma before a closing bracket", comma - 1)
            box, children = stack.pop()
            box.end = at
            if type(box) is Mapping:
                box.pairs = list(zip(children[::2], children[1::2], strict=True))
            else:
                assert type(box) is Sequence
                box.items = children
            parent, children = stack[-1] if stack else (None, roots)
            in_mapping = type(parent) is Mapping
            state = _COMMA_OR_CLOSE if stack else _NOTHING
        elif kind == _COMMENT:
            start = match.start(_COMMENT)
            tree.comments.append((start, at))
            if tree.beyond_json is None:
                tree.beyond_json = ("a comment", start)
        else:
            if state != _NOTHING:
                _fail(tree, at, state, parent)
            return


def _unescaped(
    tree: Tree, start: int, state: int, parent: Mapping | Sequence | None
) -> tuple[str, int]:
    """The string that begins at `start`, and where it ends."""
    import json.decoder  # only a string with escapes is worth the import

    scan: Callable[[str, int], tuple[str, int]] = json.decoder.scanstring  # type: ignore[attr-defined]
    try:
        value, end = scan(tree.source.text, start + 1)
    except ValueError:
        _fail(tree, start, state, parent)
    if _HALF.search(value):
        # `json` lets it pass; it can be neither printed nor written.
        raise _unreadable(tree, start, HALF_A_PAIR)
    return value, end


def _unreadable(tree: Tree, at: int, problem: str) -> Unreadable:
    return Unreadable(f"not valid JSON: {problem}", *tree.source.position(at))


def _fail(tree: Tree, at: int, state: int, parent: Mapping | Sequence | None) -> NoReturn:
    """Say what is wrong at the token at or after `at`."""
    from gradaudit.syntax.json_errors import explain

    text = tree.source.text
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    at, problem = explain(tree.source, at, _WANTED[state], parent)
    raise _unreadable(tree, at, problem)
