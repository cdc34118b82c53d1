"""Where a dialect's key paths lead in a file, and under which conditions they count."""

from __future__ import annotations

from functools import lru_cache

from gradaudit.dialects.paths import steps
from gradaudit.plan.values import reads_yaml11
from gradaudit.syntax.tree import Alias, Mapping, Scalar, Sequence, entries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gradaudit.compose.model import Composed
    from gradaudit.dialects import Dialect
    from gradaudit.syntax.tree import Node

MAX_VISITS = 20_000
"""Nodes met on the walk before it stops: an alias bomb under a wildcard ends here."""

FILE = "<file>"
"""Stands in a condition for the name of the file, without its directory and suffix."""

SECTION = "a section"
"""What flags and conditions call a mapping or a list."""


class Met:
    """A value met at one of the dialect's paths. `path` is where it stands, indices as numbers."""

    __slots__ = ("key", "path", "value")

    def __init__(self, path: str, key: Node, value: Node) -> None:
        self.path = path
        self.key = key
        self.value = value


_MANY = 16
"""Values at one path of the units of a file from which they are sorted by unit once."""

Found = dict[str, list[Met]]
"""Pattern -> what stands there, in file order."""

Groups = dict[tuple[str, str, int], dict[str, list[Met]]]
"""(pattern of units, path in one, depth of the unit) -> path of a unit -> what stands there."""


def collect(composed: Composed, root: Node, trie: dict[str, Any]) -> Found:
    """Walk down only where the dialect looks."""
    found: Found = {}
    visits = 0
    # One character is found ten times as fast as two.
    merges = any("<" in (text := t.source.text) and "<<" in text for t in composed.trees)

    def walk(node: Node, level: dict[str, Any], path: str) -> None:
        if type(node) is Mapping:
            get = level.get
            any_key = get("*")
            pairs = [(k, v) for k, v, _ in entries(node)] if merges else node.pairs
            for key, value in pairs:
                if type(key) is not Scalar:
                    continue
                name = key.value
                below = get(name)
                if below is None and "-" in name:
                    below = get(name.replace("-", "_"))
                if below is not None:
                    meet(below, key, value, f"{path}.{name}" if path else name)
                # A star stands for sections as they are: a reference to one is not followed.
                if any_key is not None and (type(value) is not Scalar or "" in any_key):
                    meet(any_key, key, value, f"{path}.{name}" if path else name, True)
        elif type(node) is Sequence:
            every = level.get("[]")
            for index, item in enumerate(node.items):
                at = f"{path}.{index}"
                below = level.get(f"[{index}]")
                if every is not None:
                    meet(every, item, item, at)
                if below is not None:
                    meet(below, item, item, at)

    def meet(below: dict[str, Any], key: Node, value: Node, path: str, star: bool = False) -> None:
        nonlocal visits
        visits += 1
        if visits > MAX_VISITS:
            return
        pattern = below.get("")
        if pattern is not None:
            found.setdefault(pattern, []).append(Met(path, key, value))
        if len(below) > (pattern is not None) and not (star and type(value) is Scalar):
            target = value
            if type(value) is not Mapping and type(value) is not Sequence:
                reached, _ = composed.value_of(value)
                if reached is None or type(reached) is Scalar or type(reached) is Alias:
                    return
                target = reached
            walk(target, below, path)

    walk(root, trie, "")
    return found


class Reader:
    """What is needed to read the settings of one unit: the file, the dialect, what was found.

    prefix, pattern  where the unit's own paths (`@.`) begin, in this file and in the dialect.
    unit             the unit as the dialect names it; what is `in_unit` another is not its.
    groups           what stands at a path of many units, by unit; shared by their readers.
    said             id of a value -> its text as conditions compare it.
    alone            nothing was composed. yaml11: whether `1e-4` is text in the file.
    """

    __slots__ = (
        "alone", "composed", "dialect", "found", "groups", "pattern", "prefix", "said", "unit",
        "yaml11",
    )  # fmt: skip

    def __init__(
        self, composed: Composed, dialect: Dialect, found: Found, prefix: str, pattern: str,
        unit: str = "", groups: Groups | None = None,
    ) -> None:  # fmt: skip
        self.composed = composed
        self.dialect = dialect
        self.found = found
        self.prefix = prefix
        self.pattern = pattern
        self.unit = unit
        self.groups: Groups = {} if groups is None else groups
        tree = composed.tree
        self.said: dict[int, str] = {}
        self.alone = len(composed.trees) == 1
        self.yaml11 = reads_yaml11(dialect, tree.format)

    def applies(self, entry: dict[str, Any], beside: Met | None = None) -> bool:
        """Whether what the dialect says is for this unit and its conditions are met.

        `beside` is what was met at the entry's path: a condition on the same item of a list, or
        on the same key under `*`, looks there alone.
        """
        own = entry.get("in_unit", self.unit)
        if own == "*":
            own = beside.path.rpartition(".")[2] if beside else ""
        if own != self.unit:
            return False
        path = entry["path"] if beside else ""
        if "when" in entry and not self.holds(entry["when"], path, beside):
            return False
        return "unless" not in entry or not self.holds(entry["unless"], path, beside)

    def at(self, path: str) -> list[Met]:
        """What stands at a path of the dialect."""
        if path[:1] != "@":
            return self.found.get(path, [])
        if not self.pattern:
            return []
        if path == "@":
            return [met for met in self.found.get(self.pattern, []) if met.path == self.prefix]
        every = self.found.get(f"{self.pattern}.{path[2:]}")
        if every is None:
            return []
        start = self.prefix + "."
        if len(every) < _MANY:
            return [met for met in every if met.path.startswith(start)]
        # Hundreds of units side by side: what is below one stands together, in file order.
        depth = self.prefix.count(".") + 1
        groups = self.groups.get((self.pattern, path, depth))
        if groups is None:
            groups = self.groups[self.pattern, path, depth] = {}
            for met in every:
                own = ".".join(met.path.split(".")[:depth])
                groups.setdefault(own, []).append(met)
        return [met for met in groups.get(self.prefix, ()) if met.path.startswith(start)]

    def holds(
        self, when: tuple[tuple[str, tuple[str, ...]], ...], of: str = "", beside: Met | None = None
    ) -> bool:
        """Whether every condition is met: the last text at its path is one of those allowed."""
        for path, allowed in when:
            if path == FILE:
                if _stem(self.composed.tree.source.path) not in allowed:
                    return False
                continue
            met = self.at(path) if path[0] == "@" else self.found.get(path)
            if met and beside is not None and (depth := _shared(of, path)):
                start = ".".join(beside.path.split(".")[:depth]) + "."
                met = [one for one in met if one.path.startswith(start)]
            text = "absent"
            if met:
                value = met[-1].value
                known = self.said.get(id(value))
                if known is None:
                    known = self.said[id(value)] = _said(self.composed, value)
                text = known
            if text not in allowed and not (met and "present" in allowed):
                return False
        return True


@lru_cache(64)
def _stem(path: str) -> str:
    """`hyperparams/PPO.yml` -> `ppo`."""
    name = path.replace("\\", "/").rpartition("/")[2].lower()
    return name.rpartition(".")[0] or name


@lru_cache(1024)
def _shared(first: str, second: str) -> int:
    """How many steps two patterns share up to the last that stands for several; 0 for none."""
    depth = 0
    for at, (one, other) in enumerate(zip(steps(first), steps(second), strict=False), 1):
        if one != other:
            break
        if one in ("*", "[]"):
            depth = at
    return depth


def _said(composed: Composed, value: Node) -> str:
    """A value as conditions compare it: `compile` spells theirs the same way."""
    target, _ = composed.value_of(value)
    if target is None:
        return "unknown"
    if type(target) is not Scalar:
        return target.tag.lower() if target.tag else SECTION
    return spelled(target.value, target.style)


@lru_cache(4096)
def spelled(text: str, style: str = "") -> str:
    """Text as dialect tables have it: lower case, numbers in one spelling, YAML's other words."""
    lowered = text.strip().lower()
    if not style:
        if lowered in ("", "~", "none"):
            return "null"
        if lowered in ("yes", "on"):
            return "true"
        if lowered in ("no", "off"):
            return "false"
    if lowered[:1] in "0123456789+-." and len(lowered) < 40:
        try:
            return f"{float(lowered.replace('_', '')):g}"
        except ValueError:
            return lowered
    return lowered
