"""Judge an edit without any of gradaudit's own comparing: composed by PyYAML or ruamel.yaml, `json`
or `tomllib`, edited as nested lists, and compared whole."""

from __future__ import annotations

import json
import re
import tomllib
from typing import TYPE_CHECKING, Any

from gradaudit.syntax.scalars import TIME, read_scalar
from gradaudit.syntax.tree import Mapping, Node, Scalar, Sequence, dotted, path_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gradaudit.findings import Edit
    from gradaudit.syntax.scalars import Value
    from gradaudit.syntax.tree import Tree

PARSERS = {"yaml": ("PyYAML", "ruamel.yaml"), "json": ("json",), "toml": ("tomllib",)}
"""Those that can judge a tree, by its format."""

_TYPES = {"bool": bool, "int": int, "float": float, "str": str, "null": type(None)}

Plain = Any
"""`["scalar", tag, text]`, `["sequence", tag, [item, ...]]`, `["mapping", tag, [[key, value]]]`."""


def composed(text: str, parser: str) -> list[Plain] | None:
    """The documents as nested lists, aliases written out; None where the parser fails."""
    try:
        if parser == "PyYAML":
            import yaml

            roots = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
        elif parser == "json":
            return [_read(json.loads(strict(text), object_pairs_hook=_Pairs))]
        elif parser == "tomllib":
            return [_read(tomllib.loads(text))]
        else:
            from ruamel.yaml import YAML

            roots = list(YAML(typ="safe", pure=True).compose_all(text))
    except Exception:  # any failure is the same to the caller, ruamel's AssertionErrors too
        return None
    return [_plain(root) for root in roots]


def strict(text: str) -> str:
    """JSON without comments and trailing commas."""
    quoted = r'("(?:\\.|[^"\\])*")'
    text = re.sub(quoted + r"|//[^\r\n]*|/\*.*?\*/", lambda m: m[1] or " ", text, flags=re.S)
    return re.sub(quoted + r"|,(?=\s*[}\]])", lambda m: m[1] or " ", text)


class _Pairs(list[Any]):
    """An object of JSON, duplicates included."""


def _read(value: Any) -> Plain:
    """What `json` or `tomllib` gives, as nested lists."""
    if isinstance(value, _Pairs | dict):
        pairs = value.items() if isinstance(value, dict) else value
        return ["mapping", "", [[_read(k), _read(v)] for k, v in pairs]]
    if isinstance(value, list):
        return ["sequence", "", [_read(item) for item in value]]
    kind = "null" if value is None else type(value).__name__
    text = str(value).lower() if value is None or isinstance(value, bool) else str(value)
    return ["scalar", f"tag:yaml.org,2002:{kind}", "null" if value is None else text]


def standard(tree: Tree) -> list[Plain]:
    """Our own tree in the same form, each value read anew from its span by the judge."""
    return [_own(root, tree) for root in tree.roots]


def _own(node: Node, tree: Tree) -> Plain:
    if type(node) is Mapping:
        pairs = [[_read(key.value), _own(value, tree)] for key, value in node.pairs
                 if type(key) is Scalar]  # fmt: skip
        assert len(pairs) == len(node.pairs)
        return ["mapping", "", pairs]
    if type(node) is Sequence:
        return ["sequence", "", [_own(item, tree) for item in node.items]]
    assert type(node) is Scalar
    raw = tree.source.text[node.start : node.end]
    judge = json.loads(raw) if tree.format == "json" else tomllib.loads(f"x = {raw}")["x"]
    ours = read_scalar(node)
    assert type(ours) is type(judge) or node.tag == TIME, raw
    assert ours == judge or node.tag == TIME or (ours != ours and judge != judge), raw
    return _read(judge)


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
