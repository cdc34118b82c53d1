"""The short way from a value that stands as it is to its setting.

Most values are plain numbers, names and switches: read here they take half the time of `reading`,
which gives the same for them (a test compares the two).
"""

from __future__ import annotations

from gradaudit.plan.model import Setting
from gradaudit.plan.values import optimizer_family
from gradaudit.syntax.scalars import TYPES, read_scalar
from gradaudit.syntax.tree import Scalar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.plan.paths import Met, Reader


def bare_value(name: str, kind: str, met: Met, reader: Reader, off: bool) -> Setting | None:
    """The setting of a plain value in a file of its own, or None where there is more to it.

    `off` says that some numbers up to 0 mean off: those are left to the long way.
    """
    node = met.value
    if type(node) is not Scalar or node.style not in ("", "'", '"'):
        return None
    if node.tag is not None and node.tag not in TYPES:
        return None
    tree = reader.composed.tree
    if tree.overridden or (not reader.alone and reader.composed.tree_of(node) is not tree):
        return None
    value = read_scalar(node, reader.yaml11)
    found = type(value)
    if kind == "number":
        if found is not int and found is not float:
            return None
        if value and not 1e-60 <= abs(value) <= 1e60:  # type: ignore[arg-type]
            return None
        if off and value <= 0:  # type: ignore[operator]
            return None
    elif kind == "flag":
        if found is not bool:
            return None
    else:
        if found is not str or "${" in node.value or node.value.lower() in ("???", "auto", ""):
            return None
        if kind == "optimizer":
            value = optimizer_family(node.value)
    return Setting(
        name, value, raw=tree.source.text[node.start : node.end], key=met.path, node=node,
        key_node=met.key, tree=tree,
    )  # fmt: skip
