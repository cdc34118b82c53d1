"""Files that a config is built on (`_BASE_: ...`), and files whose content stands for their name.

Bases are put together with their own bases first, once in a run and dialect; then each is merged
under the mapping that names it.
"""

from __future__ import annotations

from gradaudit.compose.chain import Bounded, Chain, Cycle, Part
from gradaudit.compose.merge import Merger, empty_like, in_force, renamed, set_at
from gradaudit.compose.opener import SUFFIXES, NotOpened
from gradaudit.syntax.tree import Mapping, Scalar, Sequence, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gradaudit.compose.model import Composed, Path
    from gradaudit.compose.opener import Opener
    from gradaudit.syntax.tree import Node, Tree

    Named = list[tuple[Scalar, str]]

_MOST_NAMES = 100

_UNKNOWN, _READ_BASE = "!python", "!read_base"
"""What the Python reader calls what only running the file would tell, and a list of imports. Not
imported from there: that costs the import of `ast`."""


def compose_tree(tree: Tree, chain: Chain) -> Part:
    """A file with what it is built on. The chain ends with the file."""
    part = Part(tree)
    rules: dict[str, Any] = chain.dialect["compose"]
    for entry in rules.get("bases", ()):
        _each_document(part, entry, chain, _add_bases)
    for entry in rules.get("links", ()):
        _each_document(part, entry, chain, _add_link)
    return part


def _each_document(part: Part, entry: dict[str, Any], chain: Chain, apply: Any) -> None:
    keys = tuple(entry["key"].split("."))
    for number, root in enumerate(part.roots):
        path = walk_down(root, keys[:-1])
        if path is None:
            continue
        holder = resolve(path[-1][1]) if path else resolve(root)
        if type(holder) is Mapping:
            made = apply(part, holder, keys, entry, chain)
            if made is not holder:
                part.roots[number] = set_at(path, made)


def walk_down(root: Node, keys: Path) -> list[tuple[Mapping, Node]] | None:
    """The (mapping, value) pairs from the root to the last key; None where one is not there."""
    path: list[tuple[Mapping, Node]] = []
    node = root
    for key in keys:
        mapping = resolve(node)
        value = last_value(mapping, key)
        if value is None:
            return None
        assert type(mapping) is Mapping
        path.append((mapping, value))
        node = value
    return path


def last_value(node: Node, key: str) -> Node | None:
    """The value in force of a key of a mapping."""
    found = None
    if type(node) is Mapping:
        for name, value in in_force(node):
            if type(name) is Scalar and name.value == key:
                found = value
    return found


def _add_bases(
    part: Part, holder: Mapping, keys: Path, entry: dict[str, Any], chain: Chain
) -> Node:
    """Merge the files that a mapping names under it (`order: after`: over it)."""
    value = last_value(holder, keys[-1])
    rules = chain.dialect["compose"]
    assigns = value is not None and resolve(value).tag == _READ_BASE
    merger = Merger(rules.get("lists") == "append", rules.get("delete_key", ""), assigns)
    bases: Node | None = None
    named = named_in(value)
    if len(named) > _MOST_NAMES and not chain.said:
        node, written = named[_MOST_NAMES]
        bound = Bounded(f"more than {_MOST_NAMES} files in one list")
        _bound(part, node, written, bound, chain)
    for node, written in named[:_MOST_NAMES]:
        found = read_part(part, node, written, entry, chain)
        if found is None or found.root is None:
            continue
        part.add(found, keys[:-1])
        root = found.root
        if assigns:
            root = imported(part.trees[0][0], node, root)
        bases = root if bases is None else merger.merge(bases, root)
    if bases is None or type(resolve(bases)) is not Mapping:
        return holder
    part.under[id(part.trees[0][0])] = bases
    if entry.get("order") != "after":
        return merger.merge(bases, holder)
    made = merger.merge(holder, bases)
    if made is not bases:
        made.start, made.end = holder.start, holder.end
    return made


def imported(tree: Tree, node: Node, root: Node) -> Node:
    """Of a base that is imported, the names that are; under those that they are imported as."""
    from gradaudit.syntax.python_reader import imported_names

    names = imported_names(tree, node)
    if names is None or type(root) is not Mapping:
        return root
    made = empty_like(root)
    for key, value in in_force(root):
        here = names.get(key.value) if type(key) is Scalar else None
        if here is not None:
            made.pairs.append((renamed(key, here), value))
    return made


def _add_link(part: Part, holder: Mapping, keys: Path, entry: dict[str, Any], chain: Chain) -> Node:
    """Put the content of a file in the place of its name."""
    value = last_value(holder, keys[-1])
    target = resolve(value) if value is not None else None
    if value is None or type(target) is not Scalar:
        return holder
    if not target.value.lower().endswith(SUFFIXES):
        return holder  # `deepspeed: zero2` names a preset, not a file
    found = read_part(part, target, target.value, entry, chain)
    if found is None or found.root is None:
        return holder
    part.add(found, keys)
    return set_at([(holder, value)], found.root)


def named_in(value: Node | None) -> Named:
    """The files that a value names: a text, or a list of texts. Empty ones stand for none.

    One more than are read, where there are more.
    """
    target = resolve(value) if value is not None else None
    items = target.items if type(target) is Sequence else [target] if target is not None else []
    found = []
    for item in items[: _MOST_NAMES + 1]:
        node = resolve(item)
        if type(node) is Scalar and node.value and not _is_null(node):
            found.append((node, node.value))
    return found


def _is_null(node: Scalar) -> bool:
    return not node.style and node.value.lower() in ("null", "~", "none", "false")


def read_part(
    part: Part, node: Node, written: str, entry: dict[str, Any], chain: Chain
) -> Part | None:
    """The file that `node` names with what it is built on; else `part` says why it is missing."""
    tree = part.trees[0][0]
    if "guess" in entry and _is_no_file(written):
        return None
    try:
        if node.tag == _UNKNOWN:
            raise NotOpened("only running the file would tell which it is", "info")
        if chain.opener is None:
            raise NotOpened("the text has no place on a disk to look from", "info")
        search = entry.get("relative_to", "file") == "search"
        return part_of(chain.opener.find(written, tree.source.path, search), chain, chain.opener)
    except Cycle as cycle:
        part.complete = False
        part.miss(tree, node, written, cycle, "cycle")
    except Bounded as bound:
        _bound(part, node, written, bound, chain)
    except NotOpened as why:
        if "guess" not in entry:
            part.miss(tree, node, written, why)
        elif entry["guess"] == "sure":
            part.miss(tree, node, written, NotOpened(why.reason, "info"))
    return None


def _is_no_file(written: str) -> bool:
    """Whether a text names no one config file, where who reads it is not known: `include: src`."""
    return "*" in written or not written.lower().endswith((".yaml", ".yml", ".json"))


def _bound(part: Part, node: Node, written: str, bound: Bounded, chain: Chain) -> None:
    """Say that a bound is reached: once a config, however much is beyond it."""
    part.complete = False
    if bound.reason not in chain.said:
        chain.said.add(bound.reason)
        part.miss(part.trees[0][0], node, written, bound)


def part_of(path: str, chain: Chain, opener: Opener) -> Part:
    """A file with what it is built on, kept for the next one that is built on it.

    Raises:
        NotOpened: it cannot be read or parsed, is above itself, or is one too many.
    """
    real = chain.enter(path)
    try:
        key = (real, id(chain.dialect))
        known = opener.parts.get(key)
        if known is not None:
            part: Part = known[1]
            below = part.trees[1:]
            chain.spend(sum(opener.size(tree.source.path) for tree, _ in below))
            chain.left -= min(len(below), chain.left)
            return part
        part = compose_tree(opener.open(path), chain)
        if part.complete:
            # With the dialect, so that no other can get its id.
            opener.parts[key] = (chain.dialect, part)
        return part
    finally:
        chain.leave()


def add_bases(composed: Composed, opener: Opener | None) -> None:
    """Put a file together with everything that its dialect says it is built on."""
    tree = composed.tree
    if not _asks_for_files(tree, composed.dialect["compose"]):
        return
    chain = Chain(composed.dialect, opener, tree.source.path)
    part = compose_tree(tree, chain)
    if composed.dialect["compose"].get("hydra"):
        from gradaudit.compose.hydra import add_defaults

        add_defaults(part, opener, composed.dialect["compose"]["hydra"] is True)
    if len(part.trees) > 1:
        composed.roots = part.roots
        composed.parents = part.parents
        for other, mount in part.trees:
            composed.add(other, mount)
    composed.missing = part.missing
    composed.under = part.under


def _asks_for_files(tree: Tree, rules: dict[str, Any]) -> bool:
    """Whether any key at the top could lead to a file: most configs have none, and need no more
    work."""
    tops = {entry["key"].partition(".")[0] for kind in _NAMING for entry in rules.get(kind, ())}
    if rules.get("hydra"):
        tops.add("defaults")
    tops.add("<<")  # what is merged there may have one
    for root in tree.roots:
        if type(root) is Mapping:
            for key, _ in root.pairs:
                if type(key) is Scalar and key.value in tops:
                    return True
    return False


_NAMING = ("bases", "links")
