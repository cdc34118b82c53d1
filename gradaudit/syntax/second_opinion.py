"""What parsers other than our own read in a text, for comparing before and after an edit.

For YAML two, both pure Python with scanners of their own: ruamel.yaml (YAML 1.2) and PyYAML (YAML
1.1); for JSON and TOML those of the standard library. The YAML ones are asked for events, not for
composed nodes: aliases stay aliases (nothing expands), anchors are seen (PyYAML's nodes forget
them), and nothing recurses.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from gradaudit.syntax.limits import MAX_DEPTH
from gradaudit.syntax.tree import Alias, Mapping, Node, Scalar, Sequence, Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

RUAMEL, PYYAML, JSON, TOMLLIB = "ruamel.yaml", "PyYAML", "json", "tomllib"
PARSERS = {"yaml": (RUAMEL, PYYAML), "json": (JSON,), "toml": (TOMLLIB,)}
"""By `Tree.format`, the preferred one first."""

MAX_CHARACTERS = 128 * 1024
"""Longer texts are not verified, so not fixed; the largest of 5,822 real configs has 36 KB. These
scanners take 0.05 to 1.5 seconds for 100,000 characters (one long text; dense JSON), growing no
faster than the length, so scalars need no bound of their own: one of a million characters takes
half a second. Nesting is bounded by `MAX_DEPTH`."""

Part = str | int | tuple[str, str, int]
Path = tuple[Part, ...]
"""Document index, then keys and list indices. The n-th repetition of a key in its mapping is
`("again", key, n)`, a value whose key is not a scalar `("value", "", index)`, and the key itself,
which is a node too, `("key", "", index)`."""


class Seen(NamedTuple):
    """A node as some parser reads it: plain data that can be compared.

    kind   `scalar`, `mapping`, `sequence` or `alias`.
    value  a scalar's text, an alias's name.
    tag    as resolved by that parser; for our own tree as written, or `"` for text in quotes.
    """

    kind: str
    value: str
    tag: str
    anchor: str


View = dict[Path, Seen]
"""In file order."""


class NoOpinion(Exception):
    """The parser cannot read the text, or the text is beyond what it may be asked to read."""


def labels(keys: Iterable[str | None]) -> list[Part]:
    """The path part of each value of a mapping, from its keys (None: not a scalar)."""
    seen_keys: dict[str, int] = {}
    return [_label(key, index, seen_keys) for index, key in enumerate(keys)]


def _label(key: str | None, index: int, seen_keys: dict[str, int]) -> Part:
    if key is None:
        return ("value", "", index)
    before = seen_keys.get(key, 0)
    seen_keys[key] = before + 1
    return ("again", key, before) if before else key


def nodes(tree: Tree) -> dict[Path, Node]:
    """Every node of our own tree by its path, in file order."""
    found: dict[Path, Node] = {}
    stack: list[tuple[Path, Node]] = [((index,), root) for index, root in enumerate(tree.roots)]
    stack.reverse()
    while stack:
        path, node = stack.pop()
        found[path] = node
        below: list[tuple[Path, Node]] = []
        if type(node) is Mapping:
            parts = labels(k.value if type(k) is Scalar else None for k, _ in node.pairs)
            for index, (key, value) in enumerate(node.pairs):
                below.append(((*path, ("key", "", index)), key))
                below.append(((*path, parts[index]), value))
        elif type(node) is Sequence:
            below = [((*path, index), item) for index, item in enumerate(node.items)]
        stack.extend(reversed(below))
    return found


def in_words_of(parser: str, tree: Tree, own: View, before: dict[Path, Node]) -> View:
    """Our own view of a tree's nodes, scalars as `parser` shows them."""
    if parser != TOMLLIB:
        return own
    from gradaudit.syntax.stdlib_opinion import toml_value

    text = tree.source.text
    return {
        path: shown._replace(value=toml_value(text[before[path].start : before[path].end]))
        if shown.kind == "scalar" and not _is_key(path)
        else shown
        for path, shown in own.items()
    }


def _is_key(path: Path) -> bool:
    return isinstance(path[-1], tuple) and path[-1][0] == "key"


def seen(node: Node) -> Seen:
    """A node of our own tree."""
    if type(node) is Alias:
        return Seen("alias", node.name, "", "")
    tag, anchor = node.tag or "", node.anchor or ""
    if type(node) is Scalar:
        return Seen("scalar", node.value, tag or ('"' if node.style else ""), anchor)
    return Seen("mapping" if type(node) is Mapping else "sequence", "", tag, anchor)


@lru_cache(maxsize=4)
def flatten(text: str, parser: str) -> View:
    """What `parser` (one of `PARSERS`) reads in `text`. The result is shared: do not change it.

    Raises:
        NoOpinion: it fails, or the text is too long or too deep.
    """
    if len(text) > MAX_CHARACTERS:
        raise NoOpinion(f"it has more than {MAX_CHARACTERS // 1024} K characters")
    try:
        return _build(_events(text, parser))
    except NoOpinion:
        raise
    except Exception as error:  # whatever it chokes on, AssertionError and ValueError included
        problem = str(getattr(error, "problem", None) or error).split("\n")[0]
        raise NoOpinion(f"{parser} cannot read it: {problem}") from None


def _events(text: str, parser: str) -> Iterator[_Event]:
    if parser == RUAMEL:
        return _ruamel(text)
    if parser == PYYAML:
        return _pyyaml(text)
    from gradaudit.syntax.stdlib_opinion import json_events, toml_events

    return json_events(text) if parser == JSON else toml_events(text)


_Event = tuple[str, str, str, str]
"""`Seen`'s fields; the kind is also `end` (of a collection) and `other`."""


def _ruamel(text: str) -> Iterator[_Event]:
    from ruamel.yaml import YAML
    from ruamel.yaml.nodes import ScalarNode

    yaml = YAML(typ="safe", pure=True)
    for event in yaml.parse(text):
        yield _event(event, partial(yaml.resolver.resolve, ScalarNode))


def _pyyaml(text: str) -> Iterator[_Event]:
    import yaml

    loader: Any = yaml.SafeLoader(text)
    try:
        while loader.check_event():
            yield _event(loader.get_event(), partial(loader.resolve, yaml.ScalarNode))
    finally:
        loader.dispose()


def _event(event: Any, resolve: Callable[[str, tuple[bool, bool]], object]) -> _Event:
    """An event of either library; both name their classes and fields alike."""
    name = type(event).__name__
    anchor = getattr(event, "anchor", None) or ""
    tag = str(getattr(event, "tag", None) or "")
    if name == "ScalarEvent":
        if not tag:
            tag = str(resolve(event.value, event.implicit))
        return "scalar", event.value, tag, anchor
    if name == "AliasEvent":
        return "alias", anchor, "", ""
    if name == "MappingStartEvent":
        return "mapping", "", tag, anchor
    if name == "SequenceStartEvent":
        return "sequence", "", tag, anchor
    if name in ("MappingEndEvent", "SequenceEndEvent"):
        return "end", "", "", ""
    return "other", "", "", ""


class _Open:
    """A collection that is being read: its path and what it has so far."""

    __slots__ = ("keys", "mapping", "part", "path", "size")

    def __init__(self, path: Path, mapping: bool) -> None:
        self.path = path
        self.mapping = mapping
        self.size = 0
        self.keys: dict[str, int] = {}
        self.part: Part | None = None

    def next_path(self, kind: str, value: str) -> Path:
        """The path of the next node in it. A mapping's nodes are its keys and values in turn."""
        if not self.mapping:
            self.size += 1
            return (*self.path, self.size - 1)
        if self.part is not None:
            part, self.part = self.part, None
            return (*self.path, part)
        index, self.size = self.size, self.size + 1
        self.part = _label(value if kind == "scalar" else None, index, self.keys)
        return (*self.path, ("key", "", index))


def _build(events: Iterator[_Event]) -> View:
    view: View = {}
    stack = [_Open((), mapping=False)]
    for kind, value, tag, anchor in events:
        if kind == "end":
            stack.pop()
        elif kind != "other":
            path = stack[-1].next_path(kind, value)
            view[path] = Seen(kind, value, tag, anchor)
            if kind in ("mapping", "sequence"):
                if len(stack) > MAX_DEPTH:
                    raise NoOpinion(f"it is nested deeper than {MAX_DEPTH} levels")
                stack.append(_Open(path, mapping=kind == "mapping"))
    return view
