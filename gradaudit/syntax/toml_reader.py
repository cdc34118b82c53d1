"""The TOML reader: the tree with its spans. `tomllib` has the last word on what is valid; it is not
asked about text so plain that nothing in it can be wrong (`_is_plainly_valid`).

Tables are mappings that are not `flow`, arrays of tables sequences that are not; inline tables and
arrays are `flow`. A table that a header or a dotted key makes on its way has the first mention of
its name as its key.
"""

from __future__ import annotations

import re

from gradaudit.source import Source, Unreadable
from gradaudit.syntax.limits import MAX_DEPTH, MAX_NODES, nested_too_deep, too_many_nodes
from gradaudit.syntax.scalars import BOOL, FLOAT, INT
from gradaudit.syntax.toml_values import Unclear, read_key_at, read_scalar_at, scalar
from gradaudit.syntax.tree import Mapping, Node, Scalar, Sequence, Tree

_BLANK = re.compile(r"(?:[ \t\n]++|\r\n)*+")
_COMMENT = re.compile(r"#[^\r\n]*+")
_EQUALS = re.compile(r"[ \t]*+=[ \t]*+")
_LINE_REST = re.compile(r"[ \t]*+(#[^\r\n]*+)?(?:\r?\n|\Z)")
_PLACE = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)

_SCALAR = (
    r"(?:true|false|[-+]?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?"
    r"|\"[^\"\\\x00-\x08\x0a-\x1f\x7f]*+\"|'[^'\x00-\x08\x0a-\x1f\x7f]*+')"
)
_NAME = r"[A-Za-z0-9_-]++"
_SIMPLE = re.compile(
    rf"""(?:
      (?: \[ {_NAME} (?:\.{_NAME})*+ \]
        | {_NAME} [ ]*+ = [ ]*+
          (?: {_SCALAR} | \[ [ ]*+ (?:{_SCALAR} (?:,[ ]*+{_SCALAR})*+)? [ ]*+ \] )
      )?+
      [ \t]*+ (?:\#[^\x00-\x08\x0a-\x1f\x7f]*+)?+ (?:\r?\n|\Z)
    )*+\Z""",
    re.VERBOSE,
)
"""Text in which no line alone can be wrong: tables, and keys with values of the plainest kinds."""

_ENTRY = re.compile(
    rf"({_NAME})[ \t]*+=[ \t]*+"
    r"(?:\"([^\"\\\r\n]*+)\"|(true|false)|([-+]?[0-9]{1,18}(\.[0-9]+)?+))"
    r"[ \t]*+(\#[^\r\n]*+)?+(?:\r?\n|\Z)",
)
"""One line with a key and a plain value, as most are. Groups: key, text, switch, number, its
fraction, comment."""

_LONG = 4000
"""Digits from which `tomllib` refuses an integer, without a place."""


class _Reading:
    """What is known on the way through a file.

    names  `id` of each mapping that may grow -> its values by key.
    table  what the last header opened, `depth` levels down. `open` is it and what is above it,
           and `inner` the mappings of the last dotted key: their spans grow with the next entry.
    """

    __slots__ = ("count", "depth", "inner", "long_at", "names", "open", "table", "text", "tree")

    def __init__(self, tree: Tree, root: Mapping) -> None:
        self.tree = tree
        self.text = tree.source.text
        self.names: dict[int, dict[str, Node]] = {id(root): {}}
        self.table = root
        self.open: list[Node] = [root]
        self.inner: list[Node] = []
        self.depth = 1
        self.count = 0
        self.long_at: int | None = None


def parse_toml(source: Source) -> Tree:
    """Parse TOML text; see `syntax.parse` for what is raised."""
    root = Mapping()
    root.tag = root.anchor = root.parent = None
    root.flow = False
    root.pairs = []
    root.start = root.end = 0
    tree = Tree(source, [root], [root], set(), "toml")
    reading = _Reading(tree, root)
    try:
        _read(reading)
    except Unclear as unclear:
        _judge(reading)
        raise Unreadable(
            "not valid TOML: it cannot be read from here on", *source.position(unclear.at)
        ) from None
    if not _is_plainly_valid(source.text):
        _judge(reading)
    if root.pairs:
        root.start = root.pairs[0][0].start
    return tree


def _is_plainly_valid(text: str) -> bool:
    """Whether a text that `_read` took is valid without asking `tomllib`, which reads it all again.

    `_read` refuses a key that stands twice; a table that is opened twice it takes.
    """
    if not _SIMPLE.match(text):
        return False
    headers = [line.split("#")[0].rstrip() for line in text.split("\n") if line[:1] == "["]
    return len(headers) == len(set(headers))


def _judge(reading: _Reading) -> None:
    """Raise what `tomllib` has to say against the text."""
    import tomllib

    source = reading.tree.source
    try:
        tomllib.loads(source.text)
    except RecursionError:
        raise Unreadable(nested_too_deep()) from None
    except ValueError as error:  # TOMLDecodeError is one
        match = _PLACE.fullmatch(str(error))
        if match is None:
            place = source.position(reading.long_at or 0)
            problem = "an integer of more digits than anyone reads" if reading.long_at else error
            raise Unreadable(f"not valid TOML: {problem}", *place) from None
        if match.group(2):
            line, column = int(match.group(2)), int(match.group(3))
        else:
            line, column = source.position(len(source.text))
        problem = match.group(1)
        problem = problem[0].lower() + problem[1:] + _hint(source, line, column)
        raise Unreadable(f"not valid TOML: {problem}", line, column) from None


def _hint(source: Source, line: int, column: int) -> str:
    text = source.line(line)
    if "{{" in text or "{%" in text:
        return "; the line looks like a template: check the file that it renders to"
    rest = text[column - 1 :]
    word = re.match(r"[A-Za-z_][\w./-]*", rest)
    if rest.startswith(":"):
        return "; TOML has `=` between a key and its value"
    if word is None or "=" in rest:
        return ""
    if word.group() in ("None", "null", "nil", "~"):
        return "; TOML has no null: leave the key out"
    if word.group() in ("True", "False"):
        return f"; write `{word.group().lower()}`"
    shown = word.group()
    return f'; text stands in quotes: `"{shown}"`' if len(shown) <= 40 else ""


def _read(reading: _Reading) -> None:
    text = reading.text
    at = 0
    while True:
        at = _skip(reading, at)
        if at >= len(text):
            return
        if text[at] == "[":
            at = _header(reading, at)
        elif entry := _ENTRY.match(text, at):
            at = _plain_entry(reading, entry)
            continue
        else:
            parts = read_key_at(text, at)
            made = _descend(reading, reading.table, parts, reading.depth)
            above = [node for node, new in made if new or _among(node, reading.inner)]
            parent = made[-1][0] if made else reading.table
            assert type(parent) is Mapping
            at = _entry(reading, parent, parts[-1], reading.depth + len(parts))
            for node in (*reading.open, *above):
                node.end = at
            reading.inner = above
        match = _LINE_REST.match(text, at)
        if match is None:
            raise Unclear(at)
        if match.group(1):
            reading.tree.comments.append(match.span(1))
        at = match.end()


def _plain_entry(reading: _Reading, entry: re.Match[str]) -> int:
    """A whole line as `_ENTRY` has it: the short way, with the same nodes. Returns its end."""
    name, string, switch, number, fraction, comment = entry.groups()
    key = scalar(name, "", *entry.span(1))
    if string is not None:
        at, end = entry.span(2)
        value = scalar(string, '"', at - 1, end + 1)
    else:
        value = scalar(switch or number, "", *entry.span(3 if switch else 4))
        value.tag = BOOL if switch else FLOAT if fraction else INT
    _put(reading, reading.table, key, value)
    for node in reading.open:
        node.end = value.end
    reading.inner = []
    if comment is not None:
        reading.tree.comments.append(entry.span(6))
    return entry.end()


def _skip(reading: _Reading, at: int) -> int:
    """Past blanks, line breaks and comments."""
    text = reading.text
    while True:
        match = _BLANK.match(text, at)
        assert match is not None
        at = match.end()
        comment = _COMMENT.match(text, at)
        if comment is None:
            return at
        reading.tree.comments.append(comment.span())
        at = comment.end()


def _among(node: Node, nodes: list[Node]) -> bool:
    return any(other is node for other in nodes)


def _count(reading: _Reading, more: int, at: int) -> None:
    reading.count += more
    if reading.count > MAX_NODES:
        raise Unreadable(too_many_nodes(), *reading.tree.source.position(at))


def _check_depth(reading: _Reading, depth: int, at: int) -> None:
    if depth > MAX_DEPTH:
        raise Unreadable(nested_too_deep(), *reading.tree.source.position(at))


def _mapping(reading: _Reading, parent: Mapping | Sequence, start: int, flow: bool) -> Mapping:
    box = Mapping()
    box.tag = box.anchor = None
    box.parent = parent
    box.flow = flow
    box.pairs = []
    box.start = box.end = start
    reading.names[id(box)] = {}
    reading.tree.mappings.append(box)
    return box


def _sequence(parent: Mapping | Sequence, start: int, flow: bool) -> Sequence:
    box = Sequence()
    box.tag = box.anchor = None
    box.parent = parent
    box.flow = flow
    box.items = []
    box.start = box.end = start
    return box


def _put(reading: _Reading, parent: Mapping, key: Scalar, value: Node) -> None:
    names = reading.names[id(parent)]
    if key.value in names:
        raise Unclear(key.start)
    names[key.value] = value
    key.parent = value.parent = parent
    parent.pairs.append((key, value))
    _count(reading, 2, key.start)


def _descend(
    reading: _Reading, top: Mapping, parts: list[Scalar], depth: int, start: int | None = None
) -> list[tuple[Node, bool]]:
    """The nodes from `top` (not included) along all but the last of `parts`, and which are new.

    `start` is where new mappings begin: a header's bracket; without it the part behind the dot.
    """
    found: list[tuple[Node, bool]] = []
    parent = top
    _check_depth(reading, depth + len(parts) - 1, parts[0].start)
    _count(reading, len(parts) - 1, parts[0].start)
    for number, key in enumerate(parts[:-1]):
        node = reading.names[id(parent)].get(key.value)
        new = node is None
        if node is None:
            begin = parts[number + 1].start if start is None else start
            node = _mapping(reading, parent, begin, flow=False)
            _put(reading, parent, key, node)
        found.append((node, new))
        if type(node) is Sequence and not node.flow and node.items:
            node = node.items[-1]
            found.append((node, False))
        if type(node) is not Mapping or node.flow:
            raise Unclear(key.start)
        parent = node
    return found


def _header(reading: _Reading, at: int) -> int:
    """`[a.b]` or `[[a.b]]`: opens a table. Returns where the header ends."""
    text = reading.text
    double = text.startswith("[[", at)
    begin = at + 1 + double
    while text[begin : begin + 1] in (" ", "\t"):
        begin += 1
    parts = read_key_at(text, begin)
    end = parts[-1].end
    while text[end : end + 1] in (" ", "\t"):
        end += 1
    if not text.startswith("]]" if double else "]", end):
        raise Unclear(end)
    end += 1 + double
    root = reading.tree.roots[0]
    assert type(root) is Mapping
    made = _descend(reading, root, parts, 2, at)
    parent = made[-1][0] if made else root
    assert type(parent) is Mapping
    key = parts[-1]
    node = reading.names[id(parent)].get(key.value)
    fresh: list[Node] = [node for node, new in made if new]
    if double:
        if node is None:
            node = _sequence(parent, at, flow=False)
            _put(reading, parent, key, node)
            fresh.append(node)
        if type(node) is not Sequence or node.flow:
            raise Unclear(at)
        table = _mapping(reading, node, at, flow=False)
        node.items.append(table)
        _count(reading, 1, at)
        chain = [node, table]
        fresh.append(table)
    else:
        if node is None:
            node = _mapping(reading, parent, at, flow=False)
            _put(reading, parent, key, node)
            fresh.append(node)
        elif not _among(node, reading.open):
            node.start = at  # its sub-tables stand further up, apart from it
            fresh.append(node)
        if type(node) is not Mapping or node.flow:
            raise Unclear(at)
        table = node
        chain = [node]
    chain = [root, *(node for node, _ in made), *chain]
    reading.open = [node for node in chain if _among(node, reading.open) or _among(node, fresh)]
    reading.table = table
    reading.depth = len(chain)
    reading.inner = []
    for node in reading.open:
        node.end = end
    return end


def _entry(reading: _Reading, parent: Mapping, key: Scalar, depth: int) -> int:
    """`= value` behind a key that has been read. Returns where the value ends."""
    equals = _EQUALS.match(reading.text, key.end)
    if equals is None:
        raise Unclear(key.end)
    value, end = _value(reading, equals.end(), depth, parent)
    _put(reading, parent, key, value)
    return end


class _Frame:
    """An array or inline table that is open; for a table also where its next value goes."""

    __slots__ = ("above", "box", "key", "target")

    def __init__(self, box: Mapping | Sequence) -> None:
        self.box = box
        self.target: Mapping | None = None
        self.key: Scalar | None = None
        self.above: list[tuple[Node, bool]] = []


def _value(reading: _Reading, at: int, depth: int, parent: Mapping | Sequence) -> tuple[Node, int]:
    """The value at `at` with all that is in it, and where it ends."""
    text = reading.text
    stack: list[_Frame] = []
    while True:
        opening = text[at : at + 1]
        node: Node
        if opening == "[" or opening == "{":
            _check_depth(reading, depth + len(stack), at)
            box = (
                _mapping(reading, parent, at, flow=True)
                if opening == "{"
                else _sequence(parent, at, flow=True)
            )
            stack.append(_Frame(box))
            at = _skip(reading, at + 1)
            if not text.startswith("}" if opening == "{" else "]", at):
                at = _next_key(reading, stack[-1], at, depth + len(stack) - 1)
                parent = stack[-1].target or box
                continue
            stack.pop()
            at += 1
            box.end = at
            node = box
        else:
            node = plain = read_scalar_at(text, at)
            at = plain.end
            if not plain.style and at - plain.start > _LONG:
                reading.long_at = plain.start
        while stack:
            frame = stack[-1]
            _attach(reading, frame, node)
            at = _skip(reading, at)
            closing = "}" if type(frame.box) is Mapping else "]"
            if text.startswith(",", at):
                at = _skip(reading, at + 1)
                if not text.startswith(closing, at):
                    at = _next_key(reading, frame, at, depth + len(stack) - 1)
                    parent = frame.target or frame.box
                    break
            elif not text.startswith(closing, at):
                raise Unclear(at)
            at += 1
            node = frame.box
            node.end = at
            stack.pop()
        else:
            return node, at


def _next_key(reading: _Reading, frame: _Frame, at: int, depth: int) -> int:
    """In an inline table, past the key at `at` and its sign; in an array there is none."""
    if type(frame.box) is not Mapping:
        return at
    parts = read_key_at(reading.text, at)
    frame.above = _descend(reading, frame.box, parts, depth)
    target = frame.above[-1][0] if frame.above else frame.box
    assert type(target) is Mapping
    frame.target = target
    frame.key = parts[-1]
    equals = _EQUALS.match(reading.text, parts[-1].end)
    if equals is None:
        raise Unclear(parts[-1].end)
    return equals.end()


def _attach(reading: _Reading, frame: _Frame, node: Node) -> None:
    if type(frame.box) is Sequence:
        node.parent = frame.box
        frame.box.items.append(node)
        _count(reading, 1, node.start)
        return
    assert frame.target is not None
    assert frame.key is not None
    _put(reading, frame.target, frame.key, node)
    for above, _ in frame.above:
        above.end = node.end
