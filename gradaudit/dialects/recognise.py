"""Which framework a config is for: every dialect has markers with weights, and the sum decides.

10 is certain. What was seen is kept, so that `show` can say why.
"""

from __future__ import annotations

from gradaudit.dialects.compiled.markers import MARKERS, NAMES
from gradaudit.syntax.tree import Mapping, Scalar, Sequence, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gradaudit.syntax.tree import Node, Tree

CERTAIN = 10
"""The weight from which a file is taken to be of a dialect."""

_PATHS: dict[str, Any] = MARKERS["paths"]
_DEEP: dict[str, Any] = MARKERS["deep"]
_TAGS: tuple[tuple[str, str, int], ...] = MARKERS["tags"]
_COMMENTS: tuple[tuple[str, str, int], ...] = MARKERS["comments"]
_FILES: tuple[tuple[str, str, int], ...] = MARKERS["files"]

_MOST_ITEMS = 3
"""Items of a list that are looked at: what marks a dialect is in the first."""


class Recognised:
    """The dialect, the markers that speak for it, and their weight together.

    second  the runner-up (dialect, weight), or None.
    """

    __slots__ = ("name", "reasons", "second", "weight")

    def __init__(
        self, name: str, weight: int, reasons: list[str], second: tuple[str, int] | None = None
    ) -> None:
        self.name = name
        self.weight = weight
        self.reasons = reasons
        self.second = second


def recognise(tree: Tree) -> Recognised:
    """The dialect with the greatest weight, `generic` where none is certain."""
    seen: dict[str, dict[str, int]] = {}

    def met(name: str, marker: str, weight: int) -> None:
        seen.setdefault(name, {})[marker] = weight

    text = tree.source.text
    if "!" in text or any(name in text for name in _DEEP):
        _deep_markers(tree, met)
    for root in tree.roots:
        _path_markers(root, _PATHS, met)
    for marker, name, weight in _COMMENTS:
        if marker in text:
            met(name, marker, weight)
    if _FILES:
        from fnmatch import fnmatchcase

        path = tree.source.path.replace("\\", "/")
        for pattern, name, weight in _FILES:
            if fnmatchcase(path, pattern):
                met(name, f"the file's name ({pattern})", weight)
    ranked = sorted(
        ((sum(found.values()), name) for name, found in seen.items()),
        key=lambda pair: (-pair[0], NAMES.index(pair[1])),
    )
    if not ranked or ranked[0][0] < CERTAIN:
        near = [(name, weight) for weight, name in ranked if weight > 0]
        return Recognised("generic", 0, [], near[0] if near else None)
    weight, name = ranked[0]
    reasons = [
        f"{marker} ({points:+d})"
        for marker, points in sorted(seen[name].items(), key=lambda pair: -pair[1])
    ]
    second = (ranked[1][1], ranked[1][0]) if len(ranked) > 1 and ranked[1][0] > 0 else None
    return Recognised(name, weight, reasons, second)


def _deep_markers(tree: Tree, met: Any) -> None:
    """Keys that mark a dialect wherever they stand, and tags."""
    tags: set[str] = set()
    for mapping in tree.mappings:
        if mapping.tag:
            tags.add(mapping.tag)
        for key, value in mapping.pairs:
            if value.tag:
                tags.add(value.tag)
            if type(key) is Scalar and key.value in _DEEP:
                for name, weight, allowed, marker in _DEEP[key.value]:
                    if not allowed or _says(value, allowed):
                        met(name, marker, weight)
    for tag in tags:
        for prefix, name, weight in _TAGS:
            if tag.startswith(prefix):
                met(name, prefix, weight)


def _path_markers(node: Node, level: dict[str, Any], met: Any) -> None:
    node = resolve(node)
    if type(node) is Mapping:
        any_key = level.get("*")
        for key, value in node.pairs:
            if type(key) is not Scalar:
                continue
            for below in (level.get(key.value), any_key):
                if below is not None:
                    _meet(value, below, met)
    elif type(node) is Sequence and "[]" in level:
        for item in node.items[:_MOST_ITEMS]:
            _meet(item, level["[]"], met)


def _meet(value: Node, below: dict[str, Any], met: Any) -> None:
    for name, weight, allowed, marker in below.get("", ()):
        if not allowed or _says(value, allowed):
            met(name, marker, weight)
    if type(value) is not Scalar and (len(below) > 1 or "" not in below):
        _path_markers(value, below, met)


def _says(value: Node, allowed: tuple[str, ...]) -> bool:
    """Whether a scalar has one of the values; `adam*` stands for all that begin so."""
    target = resolve(value)
    if type(target) is not Scalar:
        return False
    text = target.value.lower()
    return any(
        text.startswith(wanted[:-1]) if wanted.endswith("*") else text == wanted
        for wanted in allowed
    )
