"""Build the edits of a fix. Rules use this; `gradaudit.fix` carries the edits out."""

from __future__ import annotations

from gradaudit.findings import Edit
from gradaudit.syntax.spelling import keeps_quotes, spell
from gradaudit.syntax.tree import Mapping, Scalar, Sequence, content_span, dotted, path_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.syntax.scalars import Value
    from gradaudit.syntax.tree import Node, Tree


def replace_value(
    tree: Tree, node: Node, key: str | None, value: Value, new: str | None = None
) -> Edit:
    """Replace the scalar `node` by `value`.

    `key` is the dotted path to show, None for the node's own. `new` is the text to put where the
    spelling matters (`3e-4` where the file has `1e-4`); text that stands in quotes, and any text
    in JSON and TOML, needs none.
    """
    style = node.style if type(node) is Scalar else ""
    if new is None or keeps_quotes(value, tree.format, style):
        new = spell(value, tree.format, style)
    if key is None:
        key = dotted(path_of(node, tree))
    return Edit("replace", tree, node, key, old=_text(tree, node), new=new, value=value)


def insert_after(
    tree: Tree, sibling: Node, name: str, value: Value, new: str | None = None
) -> Edit:
    """Add an entry after `sibling`, a key of a mapping or an item of a list.

    `name` is the new key, as plain text and alone (not dotted); a list item has none (`""`).
    """
    above = dotted(path_of(sibling.parent, tree)) if sibling.parent is not None else ""
    if type(sibling.parent) is Sequence:
        name = str(1 + next(i for i, x in enumerate(sibling.parent.items) if x is sibling))
    if new is None or keeps_quotes(value, tree.format, ""):
        new = spell(value, tree.format)
    key = f"{above}.{name}" if above else name
    return Edit("insert", tree, sibling, key, new=new, value=value)


def delete_entry(tree: Tree, node: Node) -> Edit:
    """Delete an entry: `node` is its key in a mapping, or the item of a list."""
    value = node
    if type(node.parent) is Mapping:
        value = next((v for k, v in node.parent.pairs if k is node), node)
    return Edit("delete", tree, node, dotted(path_of(node, tree)), old=_text(tree, value))


def _text(tree: Tree, node: Node) -> str:
    start, end = content_span(node, tree.source.text)
    return tree.source.text[start:end]
