"""Which dialect a file is of: by its own markers, else by what it is built on."""

from __future__ import annotations

from gradaudit.compose.opener import NotOpened
from gradaudit.dialects import load
from gradaudit.dialects.compiled.markers import BASE_KEYS
from gradaudit.dialects.recognise import CERTAIN, Recognised, recognise, takes_part
from gradaudit.source import Source
from gradaudit.syntax.tree import Mapping, Scalar, Sequence, Tree, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.compose.opener import Opener
    from gradaudit.dialects import Dialect
    from gradaudit.syntax.tree import Node

_MAX_DEPTH = 5
"""Bases of bases that are looked at for a marker; real chains show one sooner."""


def identify(
    tree: Tree,
    opener: Opener | None,
    chosen: str | None = None,
    run: str = "",
    plugins: tuple[str, ...] = (),
) -> tuple[Dialect, Recognised]:
    """The dialect of a file, and why. `chosen` is what the settings say, `run` the dialect of the
    files that it is read with. Dialects of `plugins` take part."""
    if chosen is not None:
        return load(chosen), Recognised(chosen, CERTAIN, {"the settings name it": 0})
    found = recognise(tree, plugins)
    if run and found.name != run:
        return load(run), Recognised(run, CERTAIN, {"read with the other files of the run": 0})
    if not found.weight and opener is not None:
        found = _by_base(tree, opener, plugins) or _by_defaults(tree, opener, plugins) or found
    return load(found.name), found


def _by_base(
    tree: Tree, opener: Opener, plugins: tuple[str, ...], depth: int = 0
) -> Recognised | None:
    """What a leaf of three lines is says its base."""
    for key, dialects in BASE_KEYS.items():
        written = _first(tree, key)
        if written is None:
            continue
        for name in dialects:
            if not takes_part(name, plugins):
                continue
            bases = load(name)["compose"]["bases"]
            search = next(base for base in bases if base["key"] == key)["relative_to"] == "search"
            try:
                path = opener.find(written, tree.source.path, search)
                base = opener.open(path)
            except NotOpened:
                continue
            found = recognise(base, plugins)
            if not found.weight and depth < _MAX_DEPTH:
                found = _by_base(base, opener, plugins, depth + 1) or found
            if found.name == name:
                return Recognised(name, CERTAIN, {f"built on {path}, which is of it": 0})
            if not found.weight:
                both = recognise(_together(tree, base), plugins)
                if both.name == name:
                    both.markers[f"together with {path}"] = 0
                    return both
    return None


def _together(leaf: Tree, base: Tree) -> Tree:
    """A leaf with its base, for the markers of both to add up, each once."""
    source = Source(leaf.source.path, f"{leaf.source.text}\n{base.source.text}")
    mappings = leaf.mappings + base.mappings
    return Tree(source, leaf.roots + base.roots, mappings, set(), leaf.format)


def _by_defaults(
    tree: Tree, opener: Opener, plugins: tuple[str, ...], depth: int = 0
) -> Recognised | None:
    """A hydra config whose defaults list begins with another (`- train`) is of its dialect."""
    if "defaults" not in tree.source.text:
        return None
    from gradaudit.compose.hydra import Library

    library = Library(tree, opener)
    for item in library.items:
        if item.is_group or item.is_self or not isinstance(item.value, str):
            continue
        item.put_into(library.group, "")
        try:
            base = library.load(item.config_path)
        except NotOpened:
            continue
        if base is None or base is tree:
            continue
        found = recognise(base, plugins)
        if not found.weight and depth < _MAX_DEPTH:
            found = _by_defaults(base, opener, plugins, depth + 1) or found
        if found.weight and load(found.name)["compose"].get("hydra"):
            reason = f"built on {base.source.path}, which is of it"
            return Recognised(found.name, CERTAIN, {reason: 0})
    return None


def _first(tree: Tree, key: str) -> str | None:
    """The text at a dotted key, or the first of a list there."""
    node: Node | None = resolve(tree.roots[0]) if tree.roots else None
    for part in key.split("."):
        if type(node) is not Mapping:
            return None
        node = next(
            (resolve(v) for k, v in node.pairs if type(k) is Scalar and k.value == part), None
        )
    if type(node) is Sequence and node.items:
        node = resolve(node.items[0])
    return node.value if type(node) is Scalar else None
