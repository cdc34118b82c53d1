"""Why an edit cannot be made safely. Each check raises `Refused` with words for the user."""

from __future__ import annotations

from math import isfinite

from gradaudit.syntax.pattern import later
from gradaudit.syntax.tree import Alias, Mapping, Node, Scalar, Sequence, Tree, entries, walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from gradaudit.syntax.scalars import Value

_ODD_BREAK = later("\r(?!\n)|[\x85\u2028\u2029]")
_ODD_SIGNS = ("\r", "\x85", "\u2028", "\u2029")


class Refused(Exception):
    """`reason` finishes the sentence "not fixed: ..."."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def is_merge(key: Node) -> bool:
    return type(key) is Scalar and key.value == "<<" and not key.style


def check_encoding(tree: Tree) -> None:
    encoding = tree.source.encoding
    if encoding != "utf-8":
        raise Refused(f"the file is {encoding.upper()}, and only UTF-8 is written: convert it")


def check_format(tree: Tree) -> None:
    if tree.format == "python":
        raise Refused("Python configs are checked, not edited")


def check_lines(tree: Tree) -> None:
    """Lines can be added and taken only where all parsers see the same lines."""
    if tree.format != "yaml":
        return  # JSON and TOML know no line break but LF and CRLF (and in JSON CR, which is blank)
    text = tree.source.text
    odd = _ODD_BREAK.search(text) if any(sign in text for sign in _ODD_SIGNS) else None
    if odd:
        line = tree.source.position(odd.start())[0]
        code = ord(odd.group())
        raise Refused(f"line {line} has a line break (U+{code:04X}) that parsers disagree about")


def check_tag(tree: Tree, node: Scalar, value: Value) -> None:
    """A tag that is written must fit the new value. One of the file's own fits any text."""
    if node.tag is None or tree.format != "yaml":
        return
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    fits = type(value).__name__.replace("NoneType", "null")
    if kind != fits and (kind != node.tag or not isinstance(value, str)):
        tag = node.tag if kind == node.tag else f"!!{kind}"
        raise Refused(f"the tag `{tag}` says what the value is, and the new one does not fit")


def check_spellable(value: Value, format: str) -> None:
    """The format must have a spelling for the value."""
    if format == "toml" and value is None:
        raise Refused("TOML has no null; a key that is to have no value is left out")
    if format == "json" and isinstance(value, float) and not isfinite(value):
        raise Refused(
            f"JSON has no word for it: what stands for it does not read back as {value!r}"
        )


def check_shared(tree: Tree, node: Node) -> None:
    """Neither `node` nor anything around it may be used a second time, through an alias."""
    above: Node | None = node
    while above is not None:
        if id(above) in tree.aliased:
            raise Refused(f"the value is shared: {_use(tree, above)} refers to it")
        above = above.parent


def check_unused_below(tree: Tree, nodes: Iterable[Node]) -> None:
    """No anchor at or below `nodes`, which are to be deleted, may be in use."""
    for top in nodes:
        for node in walk(top):
            if id(node) in tree.aliased:
                raise Refused(f"`&{node.anchor}` in it is still needed: {_use(tree, node)}")


def _use(tree: Tree, target: Node) -> str:
    for root in tree.roots:
        for node in walk(root):
            if type(node) is Alias and node.target is target:
                return f"`*{node.name}` on line {tree.source.position(node.start)[0]}"
    return "an alias"


def check_single(tree: Tree, node: Node) -> None:
    """No key on the way from the root to `node` may be written twice in its mapping."""
    child: Node = node
    parent = node.parent
    while parent is not None:
        if type(parent) is Mapping:
            key = next(k for k, v in parent.pairs if k is child or v is child)
            if type(key) is Scalar:
                same = [k for k, _ in parent.pairs if type(k) is Scalar and k.value == key.value]
                if len(same) > 1:
                    lines = " and ".join(str(tree.source.position(k.start)[0]) for k in same)
                    raise Refused(f"the key `{key.value}` is written twice (lines {lines})")
        child, parent = parent, parent.parent


def check_not_merged(parent: Mapping, key: Node) -> None:
    """Deleting a key must not bring one of a merge key's into force."""
    if is_merge(key):
        raise Refused("it is a merge key (`<<`): all that it brings in would go")
    name = key.value if type(key) is Scalar else None
    if any(merged and k.value == name for k, _, merged in entries(parent)):
        raise Refused(f"a merge key (`<<`) brings in another `{name}`, which would come into force")


def check_simple_key(text: str, parent: Mapping | Sequence, index: int) -> None:
    """The entry may not be written as `? key`."""
    if type(parent) is Mapping:
        start = parent.pairs[index][0].start
        before = text[text.rfind("\n", 0, start) + 1 : start].rstrip(" \t")
        if before.endswith("?") and before[-2:-1] in ("", " ", "\t", "{", "[", ","):
            raise Refused("the key is written in the long form (`? key`)")


def check_brackets(text: str, parent: Mapping | Sequence, opening: int) -> None:
    """A flow mapping must have its own braces: `[k: v]` holds one that has none."""
    if type(parent) is Mapping and text[opening : opening + 1] != "{":
        raise Refused("the key stands in a list without braces of its own (`[key: value]`)")
