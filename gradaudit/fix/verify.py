"""The last guard before a fix counts: the result is read again, by two parsers, and compared.

Nothing here trusts `fix.splice`. What the file must look like afterwards is worked out from the
tree and the edits alone, path by path.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from gradaudit.findings import Edit
from gradaudit.fix.comments import comments, line_end
from gradaudit.fix.splice import Refused, entry_of, inserted_name
from gradaudit.source import Source, Unreadable
from gradaudit.syntax import parse
from gradaudit.syntax.scalars import Value, read_scalar
from gradaudit.syntax.second_opinion import (
    MAX_CHARACTERS,
    PARSERS,
    NoOpinion,
    Part,
    Path,
    View,
    flatten,
    in_words_of,
    labels,
    nodes,
    seen,
)
from gradaudit.syntax.tree import Mapping, Node, Scalar, Sequence, Tree, dotted, last_leaf

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from collections.abc import Sequence as Seq

_TAGS = {bool: "bool", int: "int", float: "float", str: "str", type(None): "null"}


class _Slot(NamedTuple):
    """One node of the result: its path, its path before, and the edit that makes it new.

    `old` is None for what an edit inserts.
    """

    new: Path
    old: Path | None
    edit: Edit | None


def verify(tree: Tree, new_text: str, edits: Seq[Edit]) -> None:
    """Make sure that `new_text` is `tree`'s file after `edits`, and nothing else.

    Raises:
        Refused: the result does not parse; a path that no edit names has another value, tag or
            anchor, to our own reader or to the second parser; an edited one does not read as the
            edit says; a comment is lost or new; or the file is beyond what can be verified.
    """
    source = tree.source
    if max(len(source.text), len(new_text)) > MAX_CHARACTERS:
        raise Refused(f"a file of more than {MAX_CHARACTERS // 1024} K characters is not verified")
    try:
        result = parse(Source(source.path, new_text, source.encoding, source.bom))
    except Unreadable as error:
        raise Refused(f"the result could not be read: {error.message}") from None
    if tree.strict_json and not result.strict_json:
        raise Refused("a plain `json.load` would no longer read the file")
    expected = list(_expected(tree, edits))
    before, after = nodes(tree), nodes(result)
    own_before = {path: seen(node) for path, node in before.items()}
    _compare(expected, own_before, {path: seen(node) for path, node in after.items()})
    both = [_read_back(slot, after[slot.new], tree) for slot in expected if slot.edit is not None]
    _compare_second(tree, expected, own_before, before, new_text, all(both))
    _compare_comments(tree, result, edits)


def _expected(tree: Tree, edits: Iterable[Edit]) -> Iterator[_Slot]:
    """The nodes that the result must have, in file order."""
    replaced: dict[int, Edit] = {}
    inserted: dict[int, list[Edit]] = {}
    deleted: set[int] = set()
    for edit in edits:
        if edit.op == "replace":
            replaced[id(edit.node)] = edit
        elif edit.op == "delete":
            deleted.add(id(edit.node))
        else:
            inserted.setdefault(id(edit.node), []).append(edit)

    def below(node: Node, old: Path, new: Path) -> Iterator[_Slot]:
        yield _Slot(new, old, replaced.get(id(node)))
        if type(node) is Mapping:
            yield from pairs(node, old, new)
        elif type(node) is Sequence:
            index = 0
            for number, item in enumerate(node.items):
                if id(item) not in deleted:
                    yield from below(item, (*old, number), (*new, index))
                    index += 1
                for edit in inserted.get(id(item), ()):
                    yield _Slot((*new, index), None, edit)
                    index += 1

    def pairs(node: Mapping, old: Path, new: Path) -> Iterator[_Slot]:
        names: list[str | None] = []
        entries: list[tuple[int, Node, Node] | Edit] = []
        there = {key.value for key, _ in node.pairs if type(key) is Scalar}
        for number, (key, value) in enumerate(node.pairs):
            if id(key) not in deleted:
                names.append(key.value if type(key) is Scalar else None)
                entries.append((number, key, value))
            for edit in inserted.get(id(key), ()):
                name = inserted_name(edit, node)
                if name in there:
                    raise Refused(f"the key `{name}` would be there twice")
                there.add(name)
                names.append(name)
                entries.append(edit)
        old_parts = labels(k.value if type(k) is Scalar else None for k, _ in node.pairs)
        for index, (entry, part) in enumerate(zip(entries, labels(names), strict=True)):
            key_path: Path = (*new, ("key", "", index))
            if isinstance(entry, Edit):
                yield _Slot(key_path, None, None)
                yield _Slot((*new, part), None, entry)
            else:
                number, key, value = entry
                yield from below(key, (*old, ("key", "", number)), key_path)
                yield from below(value, (*old, old_parts[number]), (*new, part))

    for index, root in enumerate(tree.roots):
        yield from below(root, (index,), (index,))


def _compare(expected: list[_Slot], before: View, after: View) -> None:
    """Nodes that no edit names are as they were, in the same order, and there are no others."""
    for slot, path in zip(expected, after, strict=False):
        if slot.new != path:
            raise Refused(f"it would change {_shown(slot.new, path)} as well")
    if len(expected) != len(after):
        raise Refused("it would add or take away more than the edit says")
    for slot in expected:
        found = after[slot.new]
        if slot.edit is None and slot.old is not None:
            if before[slot.old] != found:
                raise Refused(f"it would change {_shown(slot.new)} as well")
            continue
        anchor = before[slot.old].anchor if slot.old is not None else ""
        if found.kind != "scalar" or found.anchor != anchor:
            raise Refused(f"{_shown(slot.new)} would not be a single value afterwards")


def _read_back(slot: _Slot, node: Node, tree: Tree) -> bool:
    """An edited value reads as the edit says. True if it does so under YAML 1.1 and 1.2 alike.

    One of the two is enough where they differed before already, as on `1e-4`: that is the file's
    own style, and the loader that the file is written for understands it.
    """
    edit = slot.edit
    assert edit is not None
    assert type(node) is Scalar
    if tree.format == "yaml" and (node.tag or "") != (
        (edit.node.tag or "") if slot.old is not None else ""
    ):
        raise Refused(f"the tag of `{edit.key}` would change")
    new_11 = _same(read_scalar(node, yaml11=True), edit.value)
    new_12 = _same(read_scalar(node, yaml11=False), edit.value)
    differed = False
    if slot.old is not None and type(edit.node) is Scalar:
        old = edit.node
        differed = not _same(read_scalar(old, yaml11=True), read_scalar(old, yaml11=False))
    if not (new_11 and new_12) and not (differed and (new_11 or new_12)):
        raise Refused(f"`{node.value}` does not read back as {edit.value!r} for every loader")
    return new_11 and new_12


def _same(one: Value, other: Value) -> bool:
    return type(one) is type(other) and (one == other or (one != one and other != other))


def _compare_second(
    tree: Tree,
    expected: list[_Slot],
    own: View,
    before_nodes: dict[Path, Node],
    new_text: str,
    typed: bool,
) -> None:
    """The same comparison through the eyes of a parser that is not ours: the first of those for
    the format that can read the file as it stands. `typed`: it must also see the edited values'
    types."""
    parser, before = _second(tree)
    own = in_words_of(parser, tree, own, before_nodes)
    if [(path, s.kind, s.value, s.anchor) for path, s in before.items()] != [
        (path, s.kind, s.value, s.anchor) for path, s in own.items()
    ]:
        raise Refused(f"{parser} reads other values in this file than {_OURS[tree.format]} does")
    try:
        after = flatten(new_text, parser)
    except NoOpinion as error:
        raise Refused(f"the result could not be verified: {error}") from None
    _compare(expected, before, after)
    for slot in expected:
        if slot.edit is None or not typed:
            continue
        if slot.old is None or not slot.edit.node.tag or tree.format != "yaml":
            if after[slot.new].tag != f"tag:yaml.org,2002:{_TAGS[type(slot.edit.value)]}":
                raise Refused(f"{parser} reads {_shown(slot.new)} as another type")


_OURS = {
    "yaml": "PyYAML's C parser",
    "json": "gradaudit's own reader",
    "toml": "gradaudit's own reader",
}


def _second(tree: Tree) -> tuple[str, View]:
    """The second parser, and what it reads in the file as it stands."""
    problem = ""
    for parser in PARSERS[tree.format]:
        try:
            return parser, flatten(tree.source.text, parser)
        except NoOpinion as error:
            problem = str(error)
    raise Refused(f"the result could not be verified: {problem}")


def _compare_comments(tree: Tree, result: Tree, edits: Iterable[Edit]) -> None:
    """Every comment is there afterwards, but those that stand within or beside a deleted entry."""
    text = tree.source.text
    gone = [_extent(edit, text) for edit in edits if edit.op == "delete"]
    spans = comments(tree)
    kept = Counter(
        text[start:end]
        for start, end in spans
        if not any(first <= start < last for first, last in gone)
    )
    found = Counter(result.source.text[start:end] for start, end in comments(result))
    every = Counter(text[start:end] for start, end in spans)
    if not kept <= found:
        lost = next(iter(kept - found))
        raise Refused(f"the comment `{lost[:40]}` would be lost")
    if not found <= every:
        raise Refused("text of the file would become a comment")


def _extent(edit: Edit, text: str) -> tuple[int, int]:
    """From a deleted entry's first character to the end of its last line."""
    parent, index = entry_of(edit)
    value = parent.pairs[index][1] if type(parent) is Mapping else edit.node
    return edit.node.start, line_end(text, max(edit.node.end, last_leaf(value).end))


def _shown(*paths: Path) -> str:
    """The first path that leads to a value, dotted and in quotes."""
    for path in paths:
        if not any(isinstance(part, tuple) and part[0] == "key" for part in path):
            shown = dotted(tuple(_plain(part) for part in path))
            return f"`{shown}`" if shown else "the whole file"
    return "a key"


def _plain(part: Part) -> str | int:
    if isinstance(part, tuple):
        return part[1] or part[2]
    return part
