"""The syntax tree: every key and value with its exact span, style and raw text.

Spans are character offsets into `Source.text`. Values keep their text: what `1e-4` is depends on
who loads the file (`syntax.scalars`).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import chain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.source import Source


_PROPERTIES = (
    r"(?:(?:&[^\s,\[\]{}]+|!<[^>\s]*>|![^\s,\[\]{}]*)"  # an anchor or a tag
    r"(?:[ \t]*(?:[ \t]#[^\r\n]*)?(?:\r?\n)?[ \t]*))+"  # blanks, a comment, a line break
)


class Node:
    """What all nodes have. `start` and `end` span the node with its tag and anchor.

    `tag` is what a YAML file says (`!ref`, `tag:yaml.org,2002:float`). In JSON and TOML, where
    the spelling of a plain value alone decides its type, it is that type (`scalars.TYPES`).
    """

    __slots__ = ("anchor", "end", "parent", "start", "tag")

    start: int
    end: int
    tag: str | None
    anchor: str | None
    parent: Mapping | Sequence | None


class Scalar(Node):
    """`value` is the text after quotes and escapes; `style` is '' (plain), or the sign that opens
    it: `'`, `"`, `|`, `>`, and in TOML also three quotes of a kind."""

    __slots__ = ("style", "value")

    value: str
    style: str


class Mapping(Node):
    """`pairs` in file order, duplicates included. `flow`: written in braces.

    A TOML table spans from its header (or its first key) to its last entry, or to that of its
    sub-tables where they follow at once; a sub-table further below stands in `pairs` all the same.
    """

    __slots__ = ("flow", "pairs")

    pairs: list[tuple[Node, Node]]
    flow: bool


class Sequence(Node):
    __slots__ = ("flow", "items")

    items: list[Node]
    flow: bool


class Alias(Node):
    """`*name`. `target` is the anchored node, or None where the anchor stands nowhere above."""

    __slots__ = ("name", "target")

    name: str
    target: Node | None


class Tree:
    """One parsed file. `roots` has one node a document; `format` is `yaml`, `json` or `toml`."""

    __slots__ = (
        "_doubled",
        "_names",
        "_texts",
        "aliased",
        "beyond_json",
        "comments",
        "format",
        "imports",
        "mappings",
        "overridden",
        "roots",
        "source",
    )

    def __init__(
        self,
        source: Source,
        roots: list[Node],
        mappings: list[Mapping],
        aliased: set[int],
        format: str,
    ) -> None:
        self.source = source
        self.roots = roots
        self.mappings = mappings
        """Every mapping of every document, in file order."""
        self.aliased = aliased
        """`id` of every node that some alias refers to."""
        self.format = format
        self._names: set[str] | None = None
        self._texts: set[str] | None = None
        self._doubled: list[Mapping] = []
        self.overridden: set[int] = set()
        """`id` of every node whose value the command line replaced (`syntax.override`)."""
        self.comments: list[tuple[int, int]] = []
        """The span of every comment of a JSON or TOML file, its signs included and the line's end
        not. Where those of a YAML file are has to be searched: `fix.comments`."""
        self.imports: dict[int, dict[str, str]] | None = None
        """In a Python config, `id` of an item of the `_base_` list -> the names that are imported
        from it (name there -> name here); not in it where all are."""
        self.beyond_json: tuple[str, int] | None = None
        """The first thing in a JSON file that a plain `json.load` refuses, in words, and where."""

    @property
    def names(self) -> set[str]:
        """Every scalar key of the file, as written: what is not among them need not be sought."""
        if self._names is None:
            self._names = set()
            for mapping in self.mappings:
                names = {key.value for key, _ in mapping.pairs if type(key) is Scalar}
                if len(names) < len(mapping.pairs):
                    self._doubled.append(mapping)
                self._names |= names
        return self._names

    @property
    def texts(self) -> set[str]:
        """Every scalar value of a key, behind the sign of its style (`32`, `"32`): what is not
        among them need not be sought, and files have most of them in common."""
        if self._texts is None:
            self._texts = {
                value.style + value.value
                for mapping in self.mappings
                for _, value in mapping.pairs
                if type(value) is Scalar
            }
        return self._texts

    @property
    def doubled(self) -> list[Mapping]:
        """The few mappings in which a key stands twice, or is no scalar."""
        _ = self.names  # which counts them
        return self._doubled

    def forget_names(self) -> None:
        """Pairs were added or taken away."""
        self._names = None
        self._texts = None
        self._doubled = []

    @property
    def strict_json(self) -> bool:
        """A JSON file that a plain `json.load` reads: no comment, no trailing comma."""
        return self.format == "json" and self.beyond_json is None


def content_span(node: Node, text: str) -> tuple[int, int]:
    """The span of a node's own text, without its tag and anchor.

    A block scalar's trailing blank lines are left out too: they stay when its value changes.
    """
    start, end = node.start, node.end
    if node.anchor or node.tag:
        # Compiled by the first tag or anchor: most files have none, and starting counts.
        match = re.compile(_PROPERTIES).match(text, start, max(start, end))
        if match:
            start = match.end()
    if type(node) is Scalar and node.style in ("|", ">"):
        while end > start and text[end - 1] in " \t\r\n":
            end -= 1
    return start, max(start, end)


def last_leaf(node: Node) -> Node:
    """Where a block collection's text really ends: libyaml's own end mark is the next token's."""
    while True:
        if type(node) is Mapping and not node.flow and node.pairs:
            node = node.pairs[-1][1]
        elif type(node) is Sequence and not node.flow and node.items:
            node = node.items[-1]
        else:
            return node


def resolve(node: Node) -> Node:
    """The node an alias stands for; the alias itself where it is undefined or circular."""
    seen = 0
    while type(node) is Alias and node.target is not None and seen < 32:
        node = node.target
        seen += 1
    return node


def entries(mapping: Mapping) -> list[tuple[Scalar, Node, bool]]:
    """The scalar keys in force, as (key, value, comes through a merge key).

    Duplicates are all listed, in file order, so that the last one is in force; keys merged with
    `<<` come first because written ones override them, and those of the first mapping in a list
    of merges last because PyYAML lets it win. Merges are followed eight deep.
    """
    found: list[tuple[Scalar, Node, bool]] = []
    for key, value in mapping.pairs:
        if type(key) is Scalar:
            if key.value == "<<" and not key.style:
                return _with_merged(mapping)
            found.append((key, value, False))
    return found


def _with_merged(mapping: Mapping) -> list[tuple[Scalar, Node, bool]]:
    merged: list[Mapping] = []
    _merge(mapping, merged, {id(mapping)}, 0)
    return [
        (key, value, source is not mapping)
        for source in (*reversed(merged), mapping)
        for key, value in source.pairs
        if type(key) is Scalar and not (key.value == "<<" and not key.style)
    ]


def _merge(mapping: Mapping, merged: list[Mapping], seen: set[int], depth: int) -> None:
    """What is merged into `mapping`, each mapping once, the one that wins first."""
    for key, value in reversed(mapping.pairs):
        if type(key) is Scalar and key.value == "<<" and not key.style and depth < 8:
            target = resolve(value)
            for source in target.items if type(target) is Sequence else [target]:
                source = resolve(source)
                if type(source) is Mapping and id(source) not in seen:
                    seen.add(id(source))
                    merged.append(source)
                    _merge(source, merged, seen, depth + 1)


def path_of(node: Node, tree: Tree) -> tuple[str | int, ...]:
    """Document index, then keys and list indices down to `node` (a value)."""
    parts: list[str | int] = []
    child = node
    parent = node.parent
    while parent is not None:
        if type(parent) is Mapping:
            index = _index_of_entry(child, parent)
            key = parent.pairs[index][0]
            parts.append(key.value if type(key) is Scalar else index)
        elif type(parent) is Sequence:
            parts.append(index_in(parent.items, child))
        child = parent
        parent = parent.parent
    parts.append(index_in(tree.roots, child))
    return tuple(reversed(parts))


def index_in(nodes: list[Node], node: Node) -> int:
    """Where `node` itself stands in a list in file order."""
    near = bisect_right(nodes, node.start, key=_start) - 1
    if near >= 0 and nodes[near] is node:
        return near
    return next(i for i, other in enumerate(nodes) if other is node)


def _index_of_entry(node: Node, mapping: Mapping) -> int:
    """The entry whose key or value `node` is."""
    pairs = mapping.pairs
    near = bisect_right(pairs, node.start, key=_start_of_entry) - 1
    if near >= 0 and (pairs[near][0] is node or pairs[near][1] is node):
        return near
    return next(i for i, (key, value) in enumerate(pairs) if value is node or key is node)


def _start(node: Node) -> int:
    return node.start


def _start_of_entry(pair: tuple[Node, Node]) -> int:
    return pair[0].start


def dotted(path: tuple[str | int, ...]) -> str:
    """`priority_net.loss.0.ranking`: the path inside its document, as `--set` takes it."""
    return ".".join(map(str, path[1:]))


def every_key(node: Node) -> Iterator[str]:
    """The scalar keys of all mappings at and below a node, as they are written."""
    for below in walk(node):
        if type(below) is Mapping:
            for key, _ in below.pairs:
                if type(key) is Scalar:
                    yield key.value


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it, each once; aliases are yielded, not followed."""
    stack: list[Iterator[Node]] = [iter((node,))]
    while stack:
        for node in stack[-1]:
            yield node
            if type(node) is Mapping:
                stack.append(chain.from_iterable(node.pairs))
                break
            if type(node) is Sequence:
                stack.append(iter(node.items))
                break
        else:
            stack.pop()
