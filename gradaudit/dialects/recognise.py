"""Which framework a config is for: every dialect has markers with weights, and the sum decides.

10 is certain. What was seen is kept, so that `show` can say why.
"""

from __future__ import annotations

from functools import cache

from gradaudit.dialects import PLUGGED
from gradaudit.dialects.compiled.markers import MARKERS
from gradaudit.syntax.tree import Alias, Mapping, Scalar, Sequence, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gradaudit.syntax.tree import Node, Tree

CERTAIN = 10
"""The weight from which a file is taken to be of a dialect."""

_PATHS: dict[str, str] = MARKERS["paths"]
_DEEP: dict[str, str] = MARKERS["deep"]
_BELOW: dict[str, str] = MARKERS["below"]
_TAGS: tuple[tuple[str, str, int], ...] = MARKERS["tags"]
_COMMENTS: tuple[tuple[str, str, int], ...] = MARKERS["comments"]
_FILES: tuple[tuple[str, str, int], ...] = MARKERS["files"]

_MOST_ITEMS = 3
"""Items of a list that are looked at: what marks a dialect is in the first."""


class Recognised:
    """The dialect, the markers that speak for it, and their weight together.

    markers  what speaks for it (or against it) -> its weight.
    second   the runner-up (dialect, weight), or None.
    """

    __slots__ = ("markers", "name", "second", "weight")

    def __init__(
        self, name: str, weight: int, markers: dict[str, int],
        second: tuple[str, int] | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.weight = weight
        self.markers = markers
        self.second = second

    @property
    def reasons(self) -> list[str]:
        """Each marker with its weight, the heaviest first."""
        ranked = sorted(self.markers.items(), key=lambda pair: -pair[1])
        return [f"{marker} ({weight:+d})" if weight else marker for marker, weight in ranked]


def add_markers(more: dict[str, Any]) -> None:
    """Look for the markers of more dialects, those of a plugin, from now on."""
    global _TAGS, _COMMENTS, _FILES
    for table, name in ((_PATHS, "paths"), (_DEEP, "deep"), (_BELOW, "below")):
        for path, said in more[name].items():
            before = table.get(path, "")
            both = ";".join(filter(None, (before.lstrip(">"), said.lstrip(">"))))
            table[path] = (">" if ">" in (before[:1], said[:1]) else "") + both
    _TAGS += more["tags"]
    _COMMENTS += more["comments"]
    _FILES += more["files"]


def recognise(tree: Tree, plugins: tuple[str, ...] = ()) -> Recognised:
    """The dialect with the greatest weight, `generic` where none is certain. Of the dialects that
    plugins brought, those of `plugins` alone are candidates."""
    seen: dict[str, dict[str, int]] = {}

    def met(name: str, marker: str, weight: int) -> None:
        seen.setdefault(name, {})[marker] = weight

    text = tree.source.text
    _deep_markers(tree, met)
    for root in tree.roots:
        _path_markers(root, "", met)
        _markers_below(root, met)
    for marker, name, weight in _COMMENTS:
        if marker in text:
            met(name, marker, weight)
    path = tree.source.path.replace("\\", "/")
    for pattern, name, weight in _FILES:
        if _fits(path, pattern):
            met(name, f"the file's name ({pattern})", weight)
    if PLUGGED:
        seen = {name: found for name, found in seen.items() if takes_part(name, plugins)}
    # The heaviest first, of two the first by name; what nothing speaks for is no candidate.
    ranked = sorted([(-sum(found.values()), name) for name, found in seen.items()])
    heavy = [(name, -weight) for weight, name in ranked[:2] if weight < 0]
    if not heavy or heavy[0][1] < CERTAIN:
        return Recognised("generic", 0, {}, heavy[0] if heavy else None)
    name, weight = heavy[0]
    return Recognised(name, weight, seen[name], heavy[1] if len(heavy) > 1 else None)


def takes_part(name: str, plugins: tuple[str, ...]) -> bool:
    """Whether a dialect is one of ours, or of one of these plugins."""
    return name not in PLUGGED or PLUGGED[name] in plugins


def _fits(path: str, pattern: str) -> bool:
    """Whether a path is one of a pattern's. Nearly all patterns are an end (`*.py`)."""
    end = pattern[1:]
    if pattern[0] == "*" and "*" not in end and "?" not in end and "[" not in end:
        return path.endswith(end)
    from fnmatch import fnmatchcase

    return fnmatchcase(path, pattern)


def _deep_markers(tree: Tree, met: Any) -> None:
    """Keys that mark a dialect wherever they stand, and tags."""
    deep = _DEEP
    for mapping in tree.mappings if not tree.names.isdisjoint(deep) else ():
        for key, value in mapping.pairs:
            if type(key) is Scalar and key.value in deep:
                _meet(deep[key.value], f"**.{key.value}", value, met)
    if "!" not in tree.source.text:
        return
    tags = {value.tag for mapping in tree.mappings for _, value in mapping.pairs}
    tags.update([mapping.tag for mapping in tree.mappings])
    for tag in tags:
        if not tag:
            continue
        for prefix, name, weight in _TAGS:
            if tag.startswith(prefix):
                met(name, prefix, weight)


def _markers_below(root: Node, met: Any) -> None:
    """Keys that mark a dialect in any section at the top (`*.n_timesteps`)."""
    top = resolve(root)
    if type(top) is not Mapping:
        return
    below = _BELOW
    for _, section in top.pairs:
        if type(section) is Alias:
            section = resolve(section)
        if type(section) is Mapping:
            for key, value in section.pairs:
                if type(key) is Scalar and key.value in below:
                    _meet(below[key.value], f"*.{key.value}", value, met)


def _path_markers(node: Node, path: str, met: Any) -> None:
    """The markers at and below a section; `path` is its own."""
    if type(node) is Alias:
        node = resolve(node)
    get = _PATHS.get
    if type(node) is Mapping:
        start = f"{path}." if path else ""
        stars = f"{start}*" if f"{start}*" in _PATHS else ""
        for key, value in node.pairs:
            if type(key) is Scalar:
                at = start + key.value
                markers = get(at)
                if markers is not None:
                    if markers[0] == ">":
                        markers = markers[1:]
                        if type(value) is not Scalar:
                            _path_markers(value, at, met)
                    if markers:
                        _meet(markers, at, value, met)
                if stars and type(value) is not Scalar:
                    _path_markers(value, stars, met)
    elif type(node) is Sequence:
        at = f"{path}[]"
        markers = get(at, "")
        for item in node.items[:_MOST_ITEMS] if markers else ():
            if markers[0] == ">" and type(item) is not Scalar:
                _path_markers(item, at, met)
            if own := markers.lstrip(">"):
                _meet(own, at, item, met)


def _meet(markers: str, path: str, value: Node, met: Any) -> None:
    """What a key speaks for."""
    for name, weight, said, values in _read(markers):
        if not values or _says(value, values):
            met(name, path + said, weight)


@cache
def _read(markers: str) -> list[tuple[str, int, str, list[str]]]:
    """`detectron2 8;slowfast 2=adamw|sgd` as (dialect, weight, `=adamw|sgd`, its values)."""
    found = []
    for marker in markers.split(";"):
        name, _, rest = marker.partition(" ")
        weight, equals, values = rest.partition("=")
        allowed = values.lower().split("|") if equals else []
        found.append((name, int(weight), equals + values, allowed))
    return found


def _says(value: Node, allowed: list[str]) -> bool:
    """Whether a scalar has one of the values; `adam*` stands for all that begin so."""
    target = resolve(value)
    if type(target) is not Scalar:
        return False
    text = target.value.lower()
    return any(
        text.startswith(wanted[:-1]) if wanted.endswith("*") else text == wanted
        for wanted in allowed
    )
