"""How operators break a file: through the edits that fixes are made of, and nothing else.

What the edit machinery refuses to do for a fix (a second key of the same name, a renamed key) is
done here with the same splices.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal

from gradaudit.dialects.paths import steps
from gradaudit.edits import delete_entry, insert_after, replace_value
from gradaudit.fix import block, flow
from gradaudit.fix.splice import Refused, Splice, splices
from gradaudit.plan.model import WRITTEN, Setting, TrainingUnit
from gradaudit.syntax.scalars import Value, to_number, yaml_float
from gradaudit.syntax.spelling import spell
from gradaudit.syntax.tree import Mapping, Node, Scalar, Sequence, Tree, content_span

from .model import Case, Make, Mutation


def written(case: Case, name: str) -> Setting | None:
    """A setting as a plain number of this very file, with its raw text as its value.

    Not what stands in a base file, in quotes or behind an alias, nor a value that the dialect
    makes of another one.
    """
    return own(case, case.unit.get(name))


def own(case: Case, setting: Setting | None) -> Setting | None:
    if setting is None or setting.origin != WRITTEN or setting.tree is not case.tree:
        return None
    node = setting.node
    if type(node) is not Scalar or node.style or setting.number is None:
        return None
    if case.tree.source.text[node.start : node.end] != setting.raw:
        return None
    return setting if to_number(setting.raw) == setting.number else None


def word(case: Case, name: str) -> Setting | None:
    """A setting whose value stands in this very file, whatever it is."""
    setting = case.unit.get(name)
    if setting is None or setting.origin != WRITTEN or setting.tree is not case.tree:
        return None
    return setting if type(setting.node) is Scalar else None


def to(
    case: Case, setting: Setting | None, value: Value, spelled: str | None = None
) -> Mutation | None:
    """Give a written setting another value."""
    if setting is None or setting.node is None or setting.tree is None:
        return None
    if type(value) is float and value.is_integer() and _is_whole(setting):
        value = int(value)
    if spelled is None and type(value) is float:
        spelled = yaml_float(value)
    edit = replace_value(setting.tree, setting.node, setting.key, value, spelled)
    try:
        return Mutation(splices(edit), [setting.node.start])
    except Refused:
        return None


def _is_whole(setting: Setting) -> bool:
    return "." not in setting.raw and "e" not in setting.raw.lower()


def together(*parts: Mutation | None) -> Mutation | None:
    """Several changes as one; None where one of them cannot be made."""
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        return None
    return Mutation(
        [splice for part in found for splice in part.splices],
        [offset for part in found for offset in part.touched],
    )


def without(case: Case, setting: Setting | None) -> Mutation | None:
    """Delete the entry of a written setting."""
    if setting is None or setting.key_node is None or setting.tree is not case.tree:
        return None
    try:
        return Mutation(
            splices(delete_entry(case.tree, setting.key_node)), [setting.key_node.start]
        )
    except Refused:
        return None


def beside(case: Case, setting: Setting | None, name: str, value: Value) -> Mutation | None:
    """A new entry after that of a written setting."""
    if setting is None or setting.key_node is None or setting.tree is not case.tree:
        return None
    try:
        edit = insert_after(case.tree, setting.key_node, name, value)
        return Mutation(splices(edit), [setting.key_node.start])
    except Refused:
        return None


def inserted(case: Case, name: str, value: Value) -> Mutation | None:
    """A new entry for a setting that the file does not have, where its dialect looks for it.

    Only where the section is there already and the path has no pattern in it.
    """
    if case.tree.roots and not case.unit.get(name):
        for spec in case.unit.composed.dialect["paths"]:
            if spec["name"] == name:
                for entry in spec["from"]:
                    made = at_path(case, steps(entry["path"]), value)
                    if made is not None:
                        return made
    return None


def at_path(case: Case, path: list[str], value: Value) -> Mutation | None:
    """A new entry at a path whose section is in the file, and whose last key is not."""
    *above, name = path
    node: Node | None = case.tree.roots[0]
    for part in above:
        node = child(node, part)
    if type(node) is not Mapping or not node.pairs or child(node, name) is not None:
        return None
    if any(sign in name for sign in "*[]?"):
        return None
    try:
        edit = insert_after(case.tree, node.pairs[-1][0], name, value)
        return Mutation(splices(edit), [node.pairs[-1][0].start])
    except Refused:
        return None


def child(node: Node | None, key: str) -> Node | None:
    if type(node) is not Mapping:
        return None
    return next((v for k, v in node.pairs if type(k) is Scalar and k.value == key), None)


def again(case: Case, setting: Setting | None, value: float) -> Mutation | None:
    """The key a second time, below the first, with another value."""
    if setting is None or setting.tree is not case.tree or type(setting.key_node) is not Scalar:
        return None
    key = setting.key_node
    parent = key.parent
    tree = case.tree
    if type(parent) is not Mapping or tree.format == "toml":
        return None
    index = next(i for i, (k, _) in enumerate(parent.pairs) if k is key)
    name = tree.source.text[key.start : key.end]
    put = flow.insert if parent.flow else _block
    try:
        made = put(tree, parent, index, name, spell(value, tree.format))
    except Refused:
        return None
    return Mutation(made, [key.start, setting.node.start if setting.node else key.start])


def _block(tree: Tree, parent: Mapping, index: int, key: str, value: str) -> list[Splice]:
    return [block.insert(tree, parent, index, key, value)]


def misspelt(case: Case, setting: Setting | None) -> Mutation | None:
    """Two neighbouring letters of the key swapped."""
    if setting is None or setting.tree is not case.tree or type(setting.key_node) is not Scalar:
        return None
    key = setting.key_node
    text = case.tree.source.text[key.start : key.end]
    name = key.value
    swapped = swap(name)
    if name not in text or swapped == name:
        return None
    at = key.start + text.index(name)
    return Mutation([(at, at + len(name), swapped)], [key.start])


def swap(name: str) -> str:
    """The last two letters that differ in the longest word, swapped: batch_size -> bathc_size."""
    longest = max(re.split("[^A-Za-z]+", name), key=len)
    end = name.index(longest) + len(longest)
    for at in range(end - 2, name.index(longest), -1):
        a, b = name[at], name[at + 1]
        if a != b:
            return name[:at] + b + a + name[at + 2 :]
    return name


def bare_exponent(value: float) -> str | None:
    """A number as `25e-5`: no dot, so that YAML 1.1 reads text. None for what has no such form."""
    parts = Decimal(repr(value)).normalize().as_tuple()
    exponent = parts.exponent
    if not isinstance(exponent, int) or exponent >= 0 or parts.sign:
        return None
    return f"{''.join(map(str, parts.digits))}e{exponent}"


def node_at(case: Case, path: str) -> Node | None:
    node: Node | None = case.tree.roots[0]
    for part in path.split("."):
        node = child(node, part)
    return node


def items(case: Case, name: str) -> list[Scalar]:
    """The items of a setting that is written as a list in this file."""
    setting = case.unit.get(name)
    if setting is None or setting.origin != WRITTEN or setting.tree not in (None, case.tree):
        return []
    node = node_at(case, setting.key)
    if type(node) is not Sequence or id(node) in case.tree.aliased:
        return []
    found = [item for item in node.items if type(item) is Scalar and not item.style]
    return found if len(found) == len(node.items) else []


def respelled(case: Case, nodes: list[Scalar], texts: list[str]) -> Mutation | None:
    """Other texts for plain items of a list."""
    spans = [content_span(node, case.tree.source.text) for node in nodes]
    made: list[Splice] = [(*span, text) for span, text in zip(spans, texts, strict=True)]
    return Mutation(made, [start for start, _, _ in made]) if made else None


# Makers that several families of operators use


def value(name: str, new: float) -> Make:
    """Another number."""

    def make(case: Case) -> Mutation | None:
        setting = written(case, name)
        if setting is None or setting.number == new:
            return None
        return to(case, setting, new)

    return make


def positive(name: str, new: float) -> Make:
    """Another number for a setting that is above 0, and so in force."""

    def make(case: Case) -> Mutation | None:
        setting = written(case, name)
        if setting is None or not setting.number or setting.number <= 0 or setting.number == new:
            return None
        return to(case, setting, new)

    return make


def times(name: str, factor: float) -> Make:
    """A number above 0, times a factor. -1 turns its sign."""

    def make(case: Case) -> Mutation | None:
        setting = written(case, name)
        if setting is None or not setting.number or setting.number <= 0:
            return None
        return to(case, setting, float(f"{setting.number * factor:.6g}"))

    return make


def negated(name: str) -> Make:
    return times(name, -1.0)


def flipped(name: str, new: bool) -> Make:
    """A switch turned to `new`, where it stands as its contrary."""

    def make(case: Case) -> Mutation | None:
        setting = word(case, name)
        if setting is None or setting.value is new or not isinstance(setting.value, bool):
            return None
        return to(case, setting, new) if setting.raw.lower() in ("true", "false") else None

    return make


def first_of(*makes: Make) -> Make:
    def make(case: Case) -> Mutation | None:
        return next((made for one in makes if (made := one(case)) is not None), None)

    return make


def where(holds: Callable[[Case], bool], make: Make) -> Make:
    return lambda case: make(case) if holds(case) else None


def unit_of(units: list[TrainingUnit], name: str) -> TrainingUnit | None:
    return next((unit for unit in units if unit.name == name), None)
