"""The YAML reader. In the compiled wheel libyaml's events come as flat lists (`flat_events`) and
are made a tree here: in half the time that PyYAML's event objects take, and `yaml` is not imported.
Where something is wrong with a text PyYAML reads it again (`yaml_events`) and says what.
"""

from __future__ import annotations

from gradaudit.syntax.limits import MAX_DEPTH, MAX_NODES
from gradaudit.syntax.tree import Alias, Mapping, Node, Scalar, Sequence, Tree

try:
    from gradaudit.syntax.flat_events import flat_events as flat_events
except ImportError:  # not compiled, or without libyaml's header
    flat_events = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.source import Source

_STYLES = {ord(style): style for style in "'\"|>"}


def parse_yaml(source: Source) -> Tree:
    """Parse YAML text; see `syntax.parse` for what is raised."""
    if flat_events is not None:
        tree = _parse_flat(source)
        if tree is not None:
            return tree
    from gradaudit.syntax.yaml_events import parse_events

    return parse_events(source)


def _parse_flat(source: Source) -> Tree | None:
    """The tree of a text, or None where something is wrong with it."""
    try:
        # Every node has an event, every collection one more.
        flat = flat_events(source.text, 2 * MAX_NODES, MAX_DEPTH)
    except UnicodeEncodeError:
        return None
    if flat is None:
        return None
    kinds, marks, words, properties = flat
    roots: list[Node] = []
    mappings: list[Mapping] = []
    aliased: set[int] = set()
    anchors: dict[str, Node] = {}
    stack: list[tuple[Mapping | Sequence, list[Node]]] = []
    children: list[Node] = roots
    parent: Mapping | Sequence | None = None
    count = mark = word = 0
    tag: str | None = None
    anchor: str | None = None
    for number in range(len(kinds)):
        kind = kinds[number]
        if properties:
            anchor, tag = properties.get(number, (None, None))
        opens_mapping = kind == ord("m") or kind == ord("{")
        if kind == ord("-") or kind in _STYLES:
            node = Scalar()
            node.value = words[word]
            node.style = "" if kind == ord("-") else _STYLES[kind]
            node.tag = tag
            node.start = marks[mark]
            node.end = marks[mark + 1]
            node.parent = parent
            node.anchor = anchor
            if anchor:
                anchors[anchor] = node
            children.append(node)
            word += 1
            mark += 2
        elif opens_mapping or kind == ord("s") or kind == ord("["):
            box: Mapping | Sequence
            if opens_mapping:
                box = Mapping()
                mappings.append(box)
            else:
                box = Sequence()
            box.tag = tag
            box.start = box.end = marks[mark]
            box.flow = kind == ord("{") or kind == ord("[")
            box.parent = parent
            box.anchor = anchor
            if anchor:
                anchors[anchor] = box
            children.append(box)
            parent = box
            children = []
            stack.append((box, children))
            mark += 1
        elif kind == ord("*"):
            alias = Alias()
            alias.name = words[word]
            alias.tag = None
            alias.anchor = None
            alias.start = marks[mark]
            alias.end = marks[mark + 1]
            alias.parent = parent
            alias.target = anchors.get(alias.name)
            if alias.target is None:
                return None
            aliased.add(id(alias.target))
            children.append(alias)
            word += 1
            mark += 2
        else:
            box, children = stack.pop()
            count += len(children)
            if type(box) is Mapping:
                in_turn = iter(children)  # a key, its value, a key, ...
                box.pairs = list(zip(in_turn, in_turn, strict=True))
            else:
                assert type(box) is Sequence
                box.items = children
            # libyaml's own end of a block is the next token's start: where its last node ends is.
            box.end = marks[mark] if box.flow else children[-1].end
            if stack:
                parent, children = stack[-1]
            else:
                parent, children = None, roots
            mark += 1
    if count + len(roots) > MAX_NODES:
        return None
    return Tree(source, roots, mappings, aliased, "yaml")
