"""What the names of a Python config stand for while it is being read, and what is not known."""

from __future__ import annotations

import ast
import builtins

from gradaudit.source import Unreadable
from gradaudit.syntax.limits import MAX_NODES, too_many_nodes
from gradaudit.syntax.python_spans import Spans
from gradaudit.syntax.scalars import yaml_float
from gradaudit.syntax.tree import Alias, Mapping, Node, Scalar, Sequence, entries, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeGuard

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
    sources    id -> (what is not known, the containers of this file that it may be a part of or
               hold, the names of a base file that it may be a part of).
    given      names that were assigned through `_base_`; the file's own are merged with them.
    lost       id of the keys whose entry a later assignment or `del` took out of its mapping.
    """

    __slots__ = (
        "_count", "_index", "_looks", "all_inherited", "copies", "given", "inherited", "lost",
        "pairs", "source", "sources", "spans", "spoilt", "symbols", "texts",
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
        self.sources: dict[int, tuple[Node, dict[int, Node], set[str]]] = {}
        self.given: set[str] = set()
        self.lost: dict[int, Scalar] = {}
        self._index: dict[int, tuple[Mapping, dict[str, tuple[Scalar, Node, bool]]]] = {}
        self._count = 0
        self._looks = 0

    def spend(self, place: int, looks: int = 1) -> None:
        """Count looks at a part of the file.

        Raises:
            Unreadable: more than `_MOST_LOOKS`; expressions in expressions are looked at again.
        """
        self._looks += looks
        if self._looks > _MOST_LOOKS:
            place_of = self.source.position(place)
            raise Unreadable("too complex to follow without running it", *place_of)

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
        """Delete a key of a mapping; False where it is not there, or may come from another one."""
        merges = any(
            type(k) is Scalar and k.value == "<<" and not k.style for k, _ in mapping.pairs
        )
        if merges or self.in_force(mapping).pop(name, None) is None:
            return False
        for key, _ in mapping.pairs:
            if type(key) is Scalar and key.value == name:
                self.lost[id(key)] = key
        return True

    def is_spoilt(self, node: Node) -> bool:
        return id(node) in self.spoilt

    def inherits(self, name: str) -> bool:
        """Whether a name that the file does not assign comes from a base file."""
        if name in self.pairs or name in self.symbols:
            return False
        return name in self.inherited or (self.all_inherited and not hasattr(builtins, name))

    def bind(self, name: str, start: int, end: int, value: Node) -> None:
        """Give a variable a value."""
        before = self.pairs.pop(name, None)
        if name in self.given and before is not None and type(value) in (Mapping, Alias):
            merged = self.unknown(value.start, value.end)  # with what `_base_` was given
            self.share(merged, before[1])
            self.share(merged, value)
            value = merged
        self.given.discard(name)
        self.symbols.pop(name, None)
        self.pairs[name] = (self.scalar(name, start, end), value)

    def spoil(self, node: Node, start: int, end: int, held: Node | None = None) -> None:
        """Say that what is written from `start` to `end` may change a container, whatever is in
        it, and the copies that share its parts. Scalars cannot be changed, but what is not known
        may be a part of a container, of this file or of a base.

        held: what may be put into one of them: a later change may reach it from there.
        """
        todo = [node]
        seen: set[int] = set()
        while todo:
            top = resolve(todo.pop())
            self.spend(start)
            if id(top) in seen or (type(top) is Scalar and top.tag != UNKNOWN):
                continue
            seen.add(id(top))
            if type(top) is not Scalar and id(top) not in self.spoilt:
                self.spoilt[id(top)] = (top, self.unknown(start, end))
            todo += self.copies[id(top)][1] if id(top) in self.copies else []
            if type(top) is Mapping:
                todo += [value for _, value in top.pairs]
            elif type(top) is Sequence:
                todo += top.items
            if id(top) in self.sources:
                _, shared, names = self.sources[id(top)]
                todo += shared.values()
                for name in sorted(names):
                    if name not in self.pairs:
                        self.bind(name, start, end, self.unknown(start, end))
                    todo.append(self.pairs[name][1])
            if held is not None:
                self.share(top, held)

    def unknown_of(self, expr: ast.expr | ast.stmt) -> Scalar:
        """What is not known. What it may share with containers is kept in mind."""
        node = self.unknown(*self.spans.of(expr))
        called: set[int] = set()
        for inner in ast.walk(expr):
            self.spend(node.start)
            if isinstance(inner, ast.Call):
                called.add(id(inner.func))
            elif name := name_in_base(inner):
                self._sources_of(node)[2].add(name)
            elif isinstance(inner, ast.Name) and id(inner) not in called and not is_base(inner):
                if inner.id in self.pairs:
                    self.share(node, self.pairs[inner.id][1])
                elif self.inherits(inner.id):
                    self._sources_of(node)[2].add(inner.id)
        return node

    def share(self, unknown: Node, node: Node) -> None:
        """Keep in mind that what is not known may be a part of `node`, or may hold it."""
        node = resolve(node)
        if type(node) is not Scalar:
            self._sources_of(unknown)[1][id(node)] = node
        elif id(node) in self.sources:
            _, shared, names = self._sources_of(unknown)
            shared.update(self.sources[id(node)][1])
            names.update(self.sources[id(node)][2])
            self.spend(node.start, len(shared) + len(names))

    def _sources_of(self, unknown: Node) -> tuple[Node, dict[int, Node], set[str]]:
        return self.sources.setdefault(id(unknown), (unknown, {}, set()))


def is_base(expr: ast.AST) -> TypeGuard[ast.Name]:
    """`_base_`, through which a config reaches what its base files say."""
    return isinstance(expr, ast.Name) and expr.id == "_base_"


def name_in_base(expr: ast.AST) -> str:
    """`model` of `_base_.model` and `_base_['model']`; empty for all else."""
    if isinstance(expr, ast.Attribute) and is_base(expr.value):
        return expr.attr
    if isinstance(expr, ast.Subscript) and is_base(expr.value):
        key = expr.slice.value if isinstance(expr.slice, ast.Constant) else None
        return key if isinstance(key, str) else ""
    return ""


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
