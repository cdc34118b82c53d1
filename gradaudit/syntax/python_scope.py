"""What the names of a Python config stand for while it is being read, and what is not known."""

from __future__ import annotations

import ast

from gradaudit.source import Unreadable
from gradaudit.syntax.limits import MAX_NODES, too_many_nodes
from gradaudit.syntax.python_spans import Spans
from gradaudit.syntax.scalars import yaml_float
from gradaudit.syntax.tree import Mapping, Node, Scalar, Sequence, entries, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.source import Source

UNKNOWN = "!python"
"""The tag of a value that only running the file would tell."""

UPDATE = "!update"
"""The tag of a mapping whose keys are put into one of a base file, which keeps its others."""

MOST_BITS = 800
"""Of a number: 240 digits, below what `syntax.scalars` reads."""

_MOST_LOOKS = 2_000_000
"""At parts of expressions: about two seconds."""

Part = tuple[str | int, int, int]
"""One step of `model['backbone'].depth`, the variable included: the key, and where it stands."""


class Scope:
    """What the module's names stand for, up to the statement that is being read.

    pairs      name -> (key node, value node), in the order of the last assignment.
    symbols    name -> dotted name, of what was imported or is a class or function of the file.
    inherited  names that a base file gives, from explicit imports. all_inherited: any may be.
    spoilt     id -> (a container that was changed in a way that is not followed, what to put in
               its place).
    copies     id -> (a mapping, the mappings that begin as a copy of it).
    texts      id of the scalars that stand for a class or function, not for text.
    sources    id -> (a scalar that is not known, the containers that it may be a part of).
    lost       id of the keys whose entry a later assignment or `del` took out of its mapping.
    """

    __slots__ = (
        "_count", "_index", "_looks", "all_inherited", "copies", "inherited", "lost", "pairs",
        "source", "sources", "spans", "spoilt", "symbols", "texts",
    )  # fmt: skip

    def __init__(self, source: Source) -> None:
        self.source = source
        self.spans = Spans(source.text)
        self.pairs: dict[str, tuple[Scalar, Node]] = {}
        self.symbols: dict[str, str] = {}
        self.inherited: set[str] = set()
        self.all_inherited = False
        self.spoilt: dict[int, tuple[Node, Scalar]] = {}
        self.copies: dict[int, tuple[Mapping, list[Mapping]]] = {}
        self.texts: dict[int, Scalar] = {}
        self.sources: dict[int, tuple[Scalar, list[Node]]] = {}
        self.lost: dict[int, Scalar] = {}
        self._index: dict[int, tuple[Mapping, dict[str, tuple[Scalar, Node, bool]]]] = {}
        self._count = 0
        self._looks = 0

    def spend(self, node: ast.AST) -> None:
        """Count one more look at a part of the file.

        Raises:
            Unreadable: more than `_MOST_LOOKS`; expressions in expressions are looked at again.
        """
        self._looks += 1
        if self._looks > _MOST_LOOKS:
            place = (getattr(node, "lineno", 1), 1)
            raise Unreadable("too complex to follow without running it", *place)

    def new(self, node: Node, start: int, end: int, tag: str | None = None) -> None:
        """Fill in what all nodes have; the parent follows when the tree is settled.

        Raises:
            Unreadable: more than `MAX_NODES`.
        """
        self._count += 1
        if self._count > MAX_NODES:
            raise Unreadable(too_many_nodes(), *self.source.position(start))
        node.start, node.end = start, end
        node.tag = tag
        node.anchor = None
        node.parent = None

    def scalar(
        self, value: str, start: int, end: int, style: str = "", tag: str | None = None
    ) -> Scalar:
        node = Scalar()
        node.value = value
        node.style = style
        self.new(node, start, end, tag)
        return node

    def unknown(self, start: int, end: int) -> Scalar:
        return self.scalar(self.spans.text[start:end], start, end, tag=UNKNOWN)

    def constant(self, value: object, start: int, end: int) -> Scalar | None:
        """A scalar that reads back as `value`; None for what no config format can say."""
        text = spelt(value)
        style = "'" if isinstance(value, str) else ""
        return None if text is None else self.scalar(text, start, end, style)

    def mapping(self, start: int, end: int, tag: str | None = None) -> Mapping:
        node = Mapping()
        node.pairs = []
        node.flow = True
        self.new(node, start, end, tag)
        return node

    def sequence(self, start: int, end: int, tag: str | None = None) -> Sequence:
        node = Sequence()
        node.items = []
        node.flow = True
        self.new(node, start, end, tag)
        return node

    def find(self, parts: list[Part]) -> Node | None:
        """What a path of this file stands for; None where that is not known."""
        name = parts[0][0]
        if name not in self.pairs:
            return None
        node = resolve(self.pairs[str(name)][1])
        for key, _, _ in parts[1:]:
            below = None if self.is_spoilt(node) else self.child(node, key)
            if below is None:
                return None
            node = resolve(below)
        return None if self.is_spoilt(node) else node

    def in_force(self, mapping: Mapping) -> dict[str, tuple[Scalar, Node, bool]]:
        """What `entries` says of a mapping, by key; kept up to date by `put` and `take_out`."""
        known = self._index.get(id(mapping))
        if known is None:
            found = {e[0].value: e for e in entries(mapping) if id(e[0]) not in self.lost}
            known = self._index[id(mapping)] = (mapping, found)
        return known[1]

    def child(self, node: Node, key: str | int) -> Node | None:
        """The value of a key, or the item of a list."""
        if type(node) is Mapping:
            found = self.in_force(node).get(str(key))
            return found[1] if found else None
        if type(node) is Sequence and isinstance(key, int):
            if -len(node.items) <= key < len(node.items):
                return node.items[key]
        return None

    def put(self, mapping: Mapping, key: Scalar, value: Node) -> None:
        """Give a key of a mapping a value, in place of the one that it has."""
        known = self.in_force(mapping)
        before = known.pop(key.value, None)
        if before is not None and not before[2]:
            self.lost[id(before[0])] = before[0]
        mapping.pairs.append((key, value))
        known[key.value] = (key, value, False)

    def take_out(self, mapping: Mapping, name: str) -> bool:
        """Delete a key of a mapping; False where it is not there, or comes from another one."""
        before = self.in_force(mapping).get(name)
        if before is None or before[2]:
            return False
        del self.in_force(mapping)[name]
        for key, _ in mapping.pairs:
            if type(key) is Scalar and key.value == name:
                self.lost[id(key)] = key
        return True

    def is_spoilt(self, node: Node) -> bool:
        return id(node) in self.spoilt

    def spoil(self, node: Node, start: int, end: int) -> None:
        """Say that what is written from `start` to `end` may change a container, whatever is in
        it, and the copies that share its parts. Scalars cannot be changed, but what is not known
        may be a part of a container."""
        todo = [resolve(node)]
        while todo:
            top = resolve(todo.pop())
            if type(top) is Scalar:
                todo += self.sources.pop(id(top), (top, []))[1]
            elif id(top) not in self.spoilt:
                self.spoilt[id(top)] = (top, self.unknown(start, end))
                todo += self.copies[id(top)][1] if id(top) in self.copies else []
                if type(top) is Mapping:
                    todo += [value for _, value in top.pairs]
                elif type(top) is Sequence:
                    todo += top.items

    def containers_in(self, expr: ast.AST) -> list[Node]:
        """The containers of this file that an expression names, and what is not known."""
        found = []
        for inner in ast.walk(expr):
            self.spend(inner)
            if isinstance(inner, ast.Name) and inner.id in self.pairs:
                node = resolve(self.pairs[inner.id][1])
                if type(node) is not Scalar or node.tag == UNKNOWN:
                    found.append(node)
        return found

    def unknown_of(self, expr: ast.expr) -> Scalar:
        """An expression that is not known. What it may share with containers is kept in mind."""
        node = self.unknown(*self.spans.of(expr))
        for container in self.containers_in(expr):
            self.share(node, container)
        return node

    def share(self, unknown: Scalar, node: Node) -> None:
        """Keep in mind that what is not known may be a part of a container."""
        self.sources.setdefault(id(unknown), (unknown, []))[1].append(resolve(node))


def spelt(value: object) -> str | None:
    """The text of a scalar that reads back as `value` under every loader; None for what no config
    format can say. Text is itself."""
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) or (isinstance(value, int) and value.bit_length() <= MOST_BITS):
        return yaml_float(value)
    return None
