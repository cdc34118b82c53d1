"""Judge an edit without any of gradaudit's own comparing: composed by PyYAML or ruamel.yaml,
edited as nested lists, and compared whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradaudit.syntax.tree import Mapping, Node, Sequence, dotted, path_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gradaudit.findings import Edit
    from gradaudit.syntax.scalars import Value

PARSERS = ("PyYAML", "ruamel.yaml")
_TYPES = {"bool": bool, "int": int, "float": float, "str": str, "null": type(None)}

Plain = Any
"""`["scalar", tag, text]`, `["sequence", tag, [item, ...]]`, `["mapping", tag, [[key, value]]]`."""


def composed(text: str, parser: str) -> list[Plain] | None:
    """The documents as nested lists, aliases written out; None where the parser fails."""
    try:
        if parser == "PyYAML":
            import yaml

            roots = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
        else:
            from ruamel.yaml import YAML

            roots = list(YAML(typ="safe", pure=True).compose_all(text))
    except Exception:  # any failure is the same to the caller, ruamel's AssertionErrors too
        return None
    return [_plain(root) for root in roots]


def _plain(node: Any) -> Plain:
    if isinstance(node.value, str):
        return ["scalar", str(node.tag), node.value]
    if node.id == "mapping":
        return ["mapping", str(node.tag), [[_plain(k), _plain(v)] for k, v in node.value]]
    return ["sequence", str(node.tag), [_plain(item) for item in node.value]]


def edited_as_meant(before: list[Plain], after: list[Plain], edits: Iterable[Edit]) -> bool:
    """`after` is `before` with the edits made, and nothing else. `before` is used up."""
    # From the end, so that the indices of what comes earlier stay right.
    for edit in sorted(edits, key=lambda e: e.node.start, reverse=True):
        *above, last = _indices(edit)
        box: Any = before
        for index in above:
            box = _below(box, index)
        entries = box if box is before else box[2]
        if edit.op == "delete":
            del entries[last]
        elif edit.op == "insert":
            new: Plain = ["new", edit.value, ""]
            if box[0] == "mapping":
                parent = dotted(path_of(edit.node.parent, edit.tree)) if edit.node.parent else ""
                name = edit.key[len(parent) + 1 :] if parent else edit.key
                new = [["scalar", "tag:yaml.org,2002:str", name], new]
            entries.insert(last + 1, new)
        elif box is not before and box[0] == "mapping":
            entries[last][1] = ["new", edit.value, entries[last][1][1]]
        else:
            entries[last] = ["new", edit.value, entries[last][1]]
    return _equal(before, after)


def _below(box: Any, index: int) -> Any:
    if box[0] == "mapping":
        return box[2][index][1]
    return box[2][index] if box[0] == "sequence" else box[index]


def _indices(edit: Edit) -> list[int]:
    """Document, then the index of the pair or item on each level."""
    found: list[int] = []
    node: Node = edit.node
    parent = node.parent
    while parent is not None:
        if type(parent) is Mapping:
            found.append(next(i for i, pair in enumerate(parent.pairs) if node in pair))
        elif type(parent) is Sequence:
            found.append(next(i for i, item in enumerate(parent.items) if item is node))
        node, parent = parent, parent.parent
    found.append(next(i for i, root in enumerate(edit.tree.roots) if root is node))
    return found[::-1]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, list) and one and one[0] == "new":
        return other[0] == "scalar" and _reads_as(other[1], other[2], one[1], one[2])
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)


def _reads_as(tag: str, text: str, value: Value, old_tag: str) -> bool:
    kind = tag.removeprefix("tag:yaml.org,2002:")
    if kind not in _TYPES:  # a tag of the file's own, which an edit keeps
        return tag == old_tag and text == value
    if type(value) is not _TYPES[kind]:
        return False
    if value is None:
        return text in ("null", "")
    if isinstance(value, bool):
        return text == ("true" if value else "false")
    return type(value)(text.replace("_", "") if kind != "str" else text) == value
