"""A tree as plain Python data: for gradaudit's own files, and for tests."""

from __future__ import annotations

from gradaudit.syntax.scalars import Value, read_scalar
from gradaudit.syntax.tree import Mapping, Node, Scalar, Sequence, entries, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    Data = Value | list["Data"] | dict[str, "Data"]


def plain(node: Node, yaml11: bool = True) -> Data:
    """Keys become text. Only for trees that gradaudit trusts: aliases are followed unbounded."""
    node = resolve(node)
    if type(node) is Scalar:
        return read_scalar(node, yaml11)
    if type(node) is Mapping:
        return {key.value: plain(value, yaml11) for key, value, _ in entries(node)}
    assert type(node) is Sequence
    return [plain(item, yaml11) for item in node.items]
