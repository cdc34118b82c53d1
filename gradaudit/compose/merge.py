"""Deep merge of trees that are shared and must not change.

What is merged gets new `Mapping`s (without parent); their keys and leaves, and every mapping that
only one side has, are the nodes of the files themselves.
"""

from __future__ import annotations

from gradaudit.syntax.tree import Alias, Mapping, Scalar, Sequence, entries, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.syntax.tree import Node

_DEEPEST = 250
"""Levels of mappings that are merged; below, the leaf's win. A file alone may have 200."""

_MOST = 20_000
"""Mappings that one merge may make: aliases on both sides could ask for all pairs of them."""

_MOST_ITEMS = 10_000


_UPDATE = "!update"
"""What the Python reader calls a mapping that a statement like `cfg.update(...)` makes: it has no
type of its own."""


class Merger:
    """The rules of one merge.

    append  lists grow instead of being replaced. delete_key: a mapping in which it is true
            replaces the base's. assigns: a value at the top replaces the base's, as an assignment
            does, unless it is an update.
    """

    __slots__ = ("append", "assigns", "delete_key", "made")

    def __init__(self, append: bool = False, delete_key: str = "", assigns: bool = False) -> None:
        self.append = append
        self.delete_key = delete_key
        self.assigns = assigns
        self.made: dict[tuple[int, int], tuple[Mapping, Node, Node]] = {}
        """(id of base, id of leaf) -> what they make together; and both, to keep them alive."""

    def merge(self, base: Node, leaf: Node, depth: int = 0) -> Node:
        """`leaf` over `base`. Both are left as they are."""
        under, over = resolve(base), resolve(leaf)
        if depth == 1 and self.assigns and over.tag != _UPDATE:
            return leaf
        if type(over) is Mapping and type(under) is Mapping:
            if self.delete_key and self._deletes(over):
                return leaf
            return self._merge_mappings(under, over, depth)
        if self.append and type(over) is Sequence and type(under) is Sequence:
            if len(under.items) + len(over.items) <= _MOST_ITEMS:
                both = Sequence()
                _like(over, both)
                both.items = [*under.items, *over.items]
                both.flow = over.flow
                return both
        return leaf

    def _merge_mappings(self, under: Mapping, over: Mapping, depth: int) -> Mapping:
        known = self.made.get((id(under), id(over)))
        if known is not None:  # also what is just being made: an alias may lead back to it
            return known[0]
        if under is over or depth > _DEEPEST or len(self.made) > _MOST:
            return over
        merged = empty_like(over)
        if over.tag == _UPDATE:
            merged.tag = under.tag
        self.made[(id(under), id(over))] = (merged, under, over)
        own: dict[str, list[tuple[Node, Node]]] = {}
        for pair in in_force(over):
            own.setdefault(_name(pair[0]), []).append(pair)
        pairs: list[tuple[Node, Node]] = []
        below = in_force(under)
        names = [_name(key) for key, _ in below]
        last = dict(zip(names, below, strict=True))
        known_below = set(last)
        for name, pair in zip(names, below, strict=True):
            written = own.get(name)
            if written is None:
                pairs.append(pair)
            elif name in last:  # else an earlier one of the same name was already met
                # The leaf's duplicates stay visible; the last is in force.
                pairs.extend(written[:-1])
                key, value = written[-1]
                pairs.append((key, self.merge(last.pop(name)[1], value, depth + 1)))
        for name, written in own.items():
            if name not in known_below:
                pairs.extend(written)
        merged.pairs = pairs
        return merged

    def _deletes(self, mapping: Mapping) -> bool:
        for key, value in mapping.pairs:
            if type(key) is Scalar and key.value == self.delete_key:
                value = resolve(value)
                return type(value) is Scalar and value.value.lower() == "true"
        return False


def in_force(mapping: Mapping) -> list[tuple[Node, Node]]:
    """The pairs of a mapping, what is merged with `<<` among them where nothing overrides it."""
    for key, _ in mapping.pairs:
        if type(key) is Scalar and key.value == "<<" and not key.style:
            break
    else:
        return mapping.pairs
    found = entries(mapping)
    written = {key.value for key, _, merged in found if not merged}
    strongest = {key.value: id(key) for key, _, merged in found if merged}
    return [
        (key, value)
        for key, value, merged in found
        if not merged or (key.value not in written and strongest[key.value] == id(key))
    ]


def empty_like(mapping: Mapping) -> Mapping:
    """A mapping of its own that stands where `mapping` does, without its pairs."""
    made = Mapping()
    _like(mapping, made)
    made.flow = mapping.flow
    made.pairs = []
    return made


def _like(node: Node, made: Node) -> None:
    made.start = node.start
    made.end = node.end
    made.tag = node.tag
    made.anchor = None
    made.parent = None


def at(root: Node, path: tuple[str, ...]) -> Node:
    """`root` as the content of the package `a.b`: in mappings that no file has."""
    for name in reversed(path):
        outer = empty_like(root) if type(root) is Mapping else _bare(root)
        key = Scalar()
        key.value = name
        key.style = ""
        _like(root, key)
        key.end = key.start
        key.tag = None
        outer.tag = None
        outer.pairs = [(key, root)]
        root = outer
    return root


def _bare(node: Node) -> Mapping:
    made = Mapping()
    _like(node, made)
    made.flow = False
    made.pairs = []
    return made


def without(mapping: Mapping, name: str) -> Mapping:
    """A mapping less one of its keys; itself where it has none such."""
    if all(type(key) is not Scalar or key.value != name for key, _ in mapping.pairs):
        return mapping
    made = empty_like(mapping)
    made.pairs = [
        pair for pair in mapping.pairs if type(pair[0]) is not Scalar or pair[0].value != name
    ]
    return made


def set_at(path: list[tuple[Mapping, Node]], by: Node) -> Node:
    """The first mapping of a path of (mapping, its value) with another node at the path's end."""
    for mapping, value in reversed(path):
        made = empty_like(mapping)
        made.pairs = [(key, by if old is value else old) for key, old in in_force(mapping)]
        by = made
    return by


def renamed(key: Node, name: str) -> Node:
    """A key that is called otherwise where it is imported; itself where it is not."""
    if type(key) is not Scalar or key.value == name:
        return key
    made = Scalar()
    _like(key, made)
    made.value = name
    made.style = key.style
    made.parent = key.parent
    return made


def _name(key: Node) -> str:
    """What a key is compared by. Keys that are no scalars are never the same."""
    if type(key) is Scalar:
        return key.value
    if type(key) is Alias:
        target = resolve(key)
        if type(target) is Scalar:
            return target.value
    return f"\0{id(key)}"
