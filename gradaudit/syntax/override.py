"""`--set key=value`: a value that the launcher gives in place of the file's."""

from __future__ import annotations

from gradaudit.syntax.scalars import FLOAT, INT, to_number
from gradaudit.syntax.tree import Mapping, Node, Scalar, Sequence, Tree, entries, resolve


class Misspelt(Exception):
    """A key that is not there, beside one that is all but the same: `meant`."""

    def __init__(self, meant: str) -> None:
        super().__init__(meant)
        self.meant = meant


def override(tree: Tree, key: str, text: str) -> Scalar | None:
    """Give the value at a dotted key another text; add the key where its section exists.

    Returns the changed node, or None where the file has no such section. The node keeps the span
    of what it replaces, so that a finding still points at the line; it must not be edited.

    Raises:
        Misspelt: a new key, but for a letter or two the same as one that is there.
    """
    for root in tree.roots:
        node: Node = resolve(root)
        parts = key.split(".")
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            if type(node) is Mapping:
                found = [(k, v) for k, v, _ in entries(node) if k.value == part]
                if last:
                    if not found:
                        _refuse_misspelt(node, part)
                    return _set(tree, node, part, found[-1][1] if found else None, text)
                if not found:
                    break
                node = resolve(found[-1][1])
            elif type(node) is Sequence and part.isdecimal() and int(part) < len(node.items):
                node = resolve(node.items[int(part)])
                if last:
                    return _retext(tree, node, text) if type(node) is Scalar else None
            else:
                break
    return None


def open_sections(tree: Tree, key: str, whole: Node) -> bool:
    """Give the file the sections around a dotted key that only its base files have.

    `whole` is the root of all files together. Returns whether it has these sections.
    """
    *above, last = key.split(".")
    wanted: Node = resolve(whole)
    for part in above:
        if type(wanted) is not Mapping:
            return False
        found = [v for k, v, _ in entries(wanted) if k.value == part]
        if not found:
            return False
        wanted = resolve(found[-1])
    if type(wanted) is not Mapping or not tree.roots:
        return False
    if last not in [k.value for k, _, _ in entries(wanted)]:
        _refuse_misspelt(wanted, last)
    node = resolve(tree.roots[0])
    for part in above:
        if type(node) is not Mapping:
            return False
        present = [v for k, v, _ in entries(node) if k.value == part]
        node = resolve(present[-1]) if present else _new_section(node, part)
    return type(node) is Mapping


def _new_section(mapping: Mapping, key: str) -> Mapping:
    first = mapping.pairs[0][0] if mapping.pairs else mapping
    new_key, new = Scalar(), Mapping()
    new_key.value = key
    new_key.style = ""
    new.pairs = []
    new.flow = False
    for node in (new_key, new):
        node.tag = None
        node.anchor = None
        node.start, node.end = first.start, first.end
        node.parent = mapping
    mapping.pairs = [*mapping.pairs, (new_key, new)]
    return new


def _refuse_misspelt(mapping: Mapping, key: str) -> None:
    from difflib import get_close_matches

    close = get_close_matches(key, [k.value for k, _, _ in entries(mapping)], 1, 0.85)
    if close:
        raise Misspelt(close[0])


def _retext(tree: Tree, node: Scalar, text: str) -> Scalar:
    node.value = text
    node.style = ""
    node.tag = _tag(tree, text)
    return node


def _tag(tree: Tree, text: str) -> str | None:
    """In JSON and TOML a number is one however it is spelt, as if it stood in the file."""
    number = to_number(text) if tree.format != "yaml" else None
    return None if number is None else INT if isinstance(number, int) else FLOAT


def _set(tree: Tree, mapping: Mapping, key: str, value: Node | None, text: str) -> Scalar:
    if type(value) is Scalar:
        return _retext(tree, value, text)
    first = mapping.pairs[0][0] if mapping.pairs else mapping
    new_key, new = Scalar(), Scalar()
    for node, content in ((new_key, key), (new, text)):
        node.value = content
        node.style = ""
        node.tag = None
        node.anchor = None
        node.start, node.end = first.start, first.end
        node.parent = mapping
    new.tag = _tag(tree, text)
    mapping.pairs = [pair for pair in mapping.pairs if pair[1] is not value] + [(new_key, new)]
    return new
