"""Edits turned into characters: what is cut where, and what is put there instead.

Nothing outside the returned spans changes. An edit that cannot be made without touching anything
else raises `Refused`; `fix.verify` checks the result whatever is said here.
"""

from __future__ import annotations

from gradaudit.fix import block, flow, tables
from gradaudit.fix.comments import BLOCK_HEADER, line_end
from gradaudit.fix.refusal import (
    Refused,
    check_encoding,
    check_format,
    check_lines,
    check_not_merged,
    check_shared,
    check_simple_key,
    check_single,
    check_spellable,
    check_tag,
    check_unused_below,
)
from gradaudit.syntax.spelling import keeps_quotes, spell, spell_key
from gradaudit.syntax.tree import (
    Alias,
    Mapping,
    Node,
    Scalar,
    Sequence,
    content_span,
    dotted,
    path_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence as Seq

    from gradaudit.findings import Edit

__all__ = ["Refused", "Splice", "apply", "entry_of", "inserted_name", "splices", "splices_together"]

Splice = tuple[int, int, str]
"""Start and end as character offsets into `source.text`, and the text that goes there."""


def splices(edit: Edit) -> list[Splice]:
    """The splices of one edit, in file order.

    Raises:
        Refused: the edit cannot be made safely.
    """
    check_format(edit.tree)
    check_encoding(edit.tree)
    if edit.op == "replace":
        return _replace(edit)
    parent, index = entry_of(edit)
    check_shared(edit.tree, parent)
    check_lines(edit.tree)
    check_simple_key(edit.tree.source.text, parent, index)
    if edit.op == "insert":
        return _insert(edit, parent, index)
    if edit.op == "delete":
        return _delete(edit, parent, index)
    raise ValueError(f"unknown edit {edit.op!r}")


def splices_together(edits: Seq[Edit]) -> list[tuple[Edit, list[Splice]]]:
    """The splices of the edits of one fix. Entries that go in after the same one stand in the
    edits' order: the first of these edits has the splices of all, the others have none.

    Raises:
        Refused: one of the edits cannot be made safely.
    """
    found: list[tuple[Edit, list[Splice]]] = []
    for edit in edits:
        mine = splices(edit)
        for number, (earlier, theirs) in enumerate(found):
            if edit.op == earlier.op == "insert" and edit.node is earlier.node and theirs:
                found[number] = (earlier, _joined(theirs, mine))
                mine = []
                break
        found.append((edit, mine))
    return found


def _joined(first: list[Splice], second: list[Splice]) -> list[Splice]:
    """Two inserts at one place; each is an entry, with a comma before it where it needs one."""
    at, end, line = first[-1]
    if len(second) > 1:  # the comma goes behind the line above, which is now the first one's
        bare = line.rstrip("\r\n")
        line = bare + second[0][2] + line[len(bare) :]
    return [*first[:-1], (at, end, line + second[-1][2])]


def apply(text: str, changes: Seq[Splice]) -> str:
    """Make all changes at once.

    Raises:
        Refused: two of them overlap, or touch where something is put in, so that the result
            would depend on their order.
    """
    ordered = sorted(changes)
    parts: list[str] = []
    at = 0
    for number, (start, end, new) in enumerate(ordered):
        if number:
            before = ordered[number - 1]
            touching = start == before[1] and (start == end or before[0] == before[1])
            if start < before[1] or touching:
                raise Refused("two edits change the same place")
        parts += (text[at:start], new)
        at = end
    parts.append(text[at:])
    return "".join(parts)


def entry_of(edit: Edit) -> tuple[Mapping | Sequence, int]:
    """The collection that an insert or delete changes, and the index of its node's entry.

    Raises:
        Refused: the node is neither a key of a mapping nor an item of a list.
    """
    parent = edit.node.parent
    if type(parent) is Mapping:
        for index, (key, _) in enumerate(parent.pairs):
            if key is edit.node:
                return parent, index
    elif type(parent) is Sequence:
        for index, item in enumerate(parent.items):
            if item is edit.node:
                return parent, index
    raise Refused("it is neither a key nor an item of a list")


def inserted_name(edit: Edit, parent: Node) -> str:
    """The key that an insert adds: what its dotted path has beyond the mapping's own."""
    above = dotted(path_of(parent, edit.tree))
    prefix = f"{above}." if above else ""
    if not edit.key.startswith(prefix) or edit.key == prefix:
        raise Refused(f"`{edit.key}` does not belong beside line {edit.line}")
    return edit.key[len(prefix) :]


def _spelled(edit: Edit, style: str = "") -> str:
    """The text to put. What was in quotes stays in them."""
    format = edit.tree.format
    check_spellable(edit.value, format)
    if edit.new is not None and not keeps_quotes(edit.value, format, style):
        return edit.new
    return spell(edit.value, format, style)


def _replace(edit: Edit) -> list[Splice]:
    tree, node = edit.tree, edit.node
    text = tree.source.text
    if type(node) is Alias:
        place = f" on line {tree.source.position(node.target.start)[0]}" if node.target else ""
        raise Refused(f"the value is the alias `*{node.name}`: it is written at its anchor{place}")
    if type(node) is not Scalar:
        raise Refused("it is not a single value")
    if type(node.parent) is Mapping and any(key is node for key, _ in node.parent.pairs):
        raise Refused("it is a key, and keys are not renamed")
    check_tag(tree, node, edit.value)
    check_shared(tree, node)
    check_single(tree, node)
    start, end = content_span(node, text)
    new = _spelled(edit, node.style)
    if start == end:
        return [_fill(edit, node, start, new)]
    header = BLOCK_HEADER.match(text, start, end) if node.style in ("|", ">") else None
    if header is not None:
        first_line = line_end(text, header.end())
        body = [(first_line, end, "")] if first_line < end else []
        return [(start, header.end(), new), *body]
    return [(start, end, new)]


def _fill(edit: Edit, node: Scalar, at: int, new: str) -> Splice:
    """Put a value where there is none: `key:`, `- `, `{key: , other}`, `{key}`."""
    text = edit.tree.source.text
    parent = node.parent
    if type(parent) is Mapping:
        index = next(i for i, (_, value) in enumerate(parent.pairs) if value is node)
        check_simple_key(text, parent, index)
        if ":" not in text[parent.pairs[index][0].end : at]:
            at = parent.pairs[index][0].end
            return at, at, f": {new}"
    if text[at - 1 : at] not in (" ", "\t", "\n", ""):
        new = " " + new
    if text[at : at + 1] not in ("", "\r", "\n", " ", "\t", ",", "}", "]"):
        new += " "
    return at, at, new


def _insert(edit: Edit, parent: Mapping | Sequence, index: int) -> list[Splice]:
    tree = edit.tree
    key = ""
    if type(parent) is Mapping:
        check_single(tree, parent)
        name = inserted_name(edit, parent)
        for sibling, _ in parent.pairs:
            if type(sibling) is Scalar and sibling.value == name:
                line = tree.source.position(sibling.start)[0]
                raise Refused(f"the key `{name}` is there already (line {line})")
        style = edit.node.style if type(edit.node) is Scalar else ""
        key = spell_key(name, tree.format, style)
    else:
        check_single(tree, edit.node)
    if parent.flow:
        return flow.insert(tree, parent, index, key, _spelled(edit))
    if tree.format == "toml":
        return [tables.insert(tree, parent, index, key, _spelled(edit))]
    return [block.insert(tree, parent, index, key, _spelled(edit))]


def _delete(edit: Edit, parent: Mapping | Sequence, index: int) -> list[Splice]:
    tree = edit.tree
    nodes: list[Node] = [edit.node]
    if _loses(parent, index):
        # PyYAML keeps the last of two equal keys: deleting an earlier one changes nothing that is
        # loaded, and is how a duplicate is mended.
        check_single(tree, parent)
    else:
        check_single(tree, edit.node)
    if type(parent) is Mapping:
        check_not_merged(parent, edit.node)
        nodes = list(parent.pairs[index])
    check_unused_below(tree, nodes)
    if parent.flow:
        return flow.delete(tree, parent, index)
    if tree.format == "toml":
        return [tables.delete(tree, parent, index)]
    return [block.delete(tree, parent, index)]


def _loses(parent: Mapping | Sequence, index: int) -> bool:
    """Whether an equal key stands later in the mapping."""
    if type(parent) is not Mapping:
        return False
    key = parent.pairs[index][0]
    return type(key) is Scalar and any(
        type(later) is Scalar and later.value == key.value for later, _ in parent.pairs[index + 1 :]
    )
