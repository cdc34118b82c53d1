"""The keys that a dialect knows, and which of them a misspelt one means.

Apart from the rule that asks (GA708), which is not compiled into the wheel: every key of every file
is looked for here.
"""

from __future__ import annotations

from functools import cache, lru_cache

from gradaudit.dialects import GENERIC, load, names, normalised, per_dialect
from gradaudit.dialects.paths import last_name, steps
from gradaudit.syntax.scalars import to_number
from gradaudit.syntax.tree import Scalar, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from gradaudit.dialects import Dialect
    from gradaudit.syntax.tree import Node

_SHORTEST = 8
"""Letters of a known key: shorter ones have too many neighbours that are words of their own."""

_SHORTEST_IN_PLACE = 5
"""The same where a loader refuses what it does not know, in the section where the key belongs."""

_HALF = _SHORTEST // 2


class _Near:
    """Known words by how they begin and how they end: one wrong letter leaves a half whole."""

    __slots__ = ("begins", "ends")

    def __init__(self, words: Iterable[str]) -> None:
        self.begins: dict[str, list[str]] = {}
        self.ends: dict[str, list[str]] = {}
        for word in words:
            if len(word) >= _SHORTEST:
                self.begins.setdefault(word[:_HALF], []).append(word)
                self.ends.setdefault(word[-_HALF:], []).append(word)

    def of(self, name: str) -> str:
        """The word that a name misspells; empty where it is none."""
        word: str
        for word in (*self.begins.get(name[:_HALF], ()), *self.ends.get(name[-_HALF:], ())):
            if abs(len(word) - len(name)) < 2 and _is_misspelt(name, word):
                return word
        return ""


@cache
def _generic() -> tuple[_Near, frozenset[str]]:
    """The words that every dialect knows, and those of them that take a number."""
    kinds, keys = GENERIC["kinds"], GENERIC["keys"]
    return _Near(keys), frozenset(key for key, name in keys.items() if kinds[name] == "number")


@lru_cache(4096)
def _generic_meant(name: str) -> str:
    """Frameworks share most of their keys: each is looked for once."""
    return _generic()[0].of(name)


class Words:
    """The keys of settings that a dialect knows beside the generic ones.

    right   keys as written that misspell none; files share most of their keys.
    _short  short keys that are looked for in their own section alone, with that section.
    """

    __slots__ = ("_known", "_near_own", "_short", "right")

    def __init__(self, dialect: Dialect) -> None:
        self.right: set[str] = set()
        self._known = _of_paths(dialect)
        self._near_own = _Near(self._known)
        self._short: dict[str, set[str]] = {}
        if dialect["loader"] == "yacs":
            for spec in dialect["paths"]:
                for entry in spec["from"]:
                    *above, word = map(normalised, steps(entry["path"]))
                    if _SHORTEST_IN_PLACE <= len(word) < _SHORTEST:
                        self._short.setdefault(word, set()).add(".".join(above))

    def meant(self, key: str) -> str:
        """The known key that a key misspells; empty where it is none, which is kept."""
        word = self._near(normalised(key))
        if not word:
            self.right.add(key)
        return word

    def _near(self, name: str) -> str:
        if self._knows(name):
            return ""
        word: str
        for word in self._short:
            if abs(len(word) - len(name)) < 2 and _is_misspelt(name, word):
                return word
        if len(name) < _SHORTEST - 1:
            return ""
        bare = name.strip()
        return (
            self._near_own.of(name)
            or _generic_meant(name)
            or (bare if bare != name and self._knows(bare) else "")
        )

    def _knows(self, name: str) -> bool:
        return name in self._known or name in GENERIC["keys"]

    def belongs(self, word: str, path: tuple[str | int, ...]) -> bool:
        """Whether a key may be meant where it stands: a short one in its own section alone."""
        sections = self._short.get(word)
        return sections is None or ".".join(normalised(str(p)) for p in path[1:-1]) in sections

    def takes(self, word: str, value: Node) -> bool:
        """Whether a value is of the kind that a known key takes."""
        node = resolve(value)
        if word not in _generic()[1]:
            return True
        return type(node) is Scalar and to_number(node.value) is not None


vocabulary = per_dialect(Words)


def _of_paths(dialect: Dialect) -> set[str]:
    paths = [entry["path"] for spec in dialect["paths"] for entry in spec["from"]]
    return set(map(normalised, map(last_name, paths)))


@cache
def everywhere() -> frozenset[str]:
    """The keys that any dialect reads. Asked for only where a key looks misspelt."""
    return frozenset().union(*(_of_paths(load(name)) for name in names()))


def _is_misspelt(name: str, word: str) -> bool:
    """Whether one slip inside of a word makes `name` of `word`: no plural, no other beginning."""
    at = 0
    while at < len(name) and at < len(word) and name[at] == word[at]:
        at += 1
    mine, theirs = name[at:], word[at:]
    if at == 0 or word[at - 1 : at] == "_":
        return False  # the first letter of a word: `patch_size`
    if mine[:2] == theirs[1::-1] and len(mine) > 1 and mine[2:] == theirs[2:]:
        return True  # two exchanged
    longer, shorter = (mine, theirs) if len(mine) > len(theirs) else (theirs, mine)
    wrong = {longer[:1], shorter[:1]} if mine[1:] == theirs[1:] else {longer[:1]}
    if longer[1:] not in (shorter[1:], shorter) or not all(map(str.isalpha, wrong)):
        return False
    ends_word = longer[1:2] in ("", "_")
    return not (ends_word and wrong <= {"s", "d", "r"})  # `schedules`, `scheduler`
