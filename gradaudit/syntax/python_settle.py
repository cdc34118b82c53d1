"""From what the statements have built to a tree: every node in one place, with its parent."""

from __future__ import annotations

from gradaudit.source import Unreadable
from gradaudit.syntax.limits import MAX_DEPTH, nested_too_deep
from gradaudit.syntax.tree import Alias, Mapping, Node, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.syntax.python_scope import Scope

_Box = Mapping | Sequence


def settle(root: Mapping, scope: Scope) -> tuple[list[Mapping], set[int]]:
    """Make a tree of what hangs below `root`: (its mappings in file order, what aliases refer to).

    Entries that were replaced go. A value that only aliases still refer to, because its variable
    was assigned again, moves to where the first of them stands. What was changed in a way that is
    not followed gives way to what is unknown.

    Raises:
        Unreadable: nested deeper than `MAX_DEPTH`.
    """
    here: set[int] = {id(root)}
    mappings: list[Mapping] = [root]
    aliases: list[tuple[Alias, _Box, int, int]] = []
    stack: list[tuple[_Box, int]] = [(root, 1)]

    def place(node: Node, box: _Box, index: int, depth: int) -> Node:
        """The node that stands in `box`; containers are gone through later."""
        if id(node) in scope.spoilt:
            node = _copied_unknown(node, scope)
        if id(node) in here:  # it was moved to an alias before: now this is the alias
            node = _alias_to(node, scope)
        node.parent = box
        if type(node) is Alias:
            aliases.append((node, box, index, depth))
            return node
        here.add(id(node))
        if type(node) is Mapping or type(node) is Sequence:
            if depth >= MAX_DEPTH:
                raise Unreadable(nested_too_deep(), *scope.source.position(node.start))
            if type(node) is Mapping:
                mappings.append(node)
            stack.append((node, depth + 1))
        return node

    aliased: set[int] = set()
    done = 0
    while True:
        while stack:
            box, depth = stack.pop()
            if type(box) is Mapping:
                box.pairs = [pair for pair in box.pairs if id(pair[0]) not in scope.lost]
                for index, (key, value) in enumerate(box.pairs):
                    key.parent = box
                    box.pairs[index] = (key, place(value, box, index, depth))
            elif type(box) is Sequence:
                box.items = [place(item, box, index, depth) for index, item in enumerate(box.items)]
        if done == len(aliases):
            break
        alias, box, index, depth = aliases[done]
        done += 1
        target = alias.target
        assert target is not None
        if id(target) in here:
            aliased.add(id(target))
            continue
        if id(target) in scope.spoilt:
            target = scope.unknown(alias.start, alias.end)
        _set(box, index, place(target, box, index, depth))
    mappings.sort(key=lambda mapping: mapping.start)
    return mappings, aliased


def _set(box: _Box, index: int, node: Node) -> None:
    if type(box) is Mapping:
        box.pairs[index] = (box.pairs[index][0], node)
    elif type(box) is Sequence:
        box.items[index] = node


def _copied_unknown(node: Node, scope: Scope) -> Node:
    place = scope.spoilt[id(node)][1]
    return scope.unknown(place.start, place.end)


def _alias_to(node: Node, scope: Scope) -> Alias:
    alias = Alias()
    scope.new(alias, node.start, node.end)
    alias.name = scope.spans.text[node.start : node.end]
    alias.target = node
    return alias
