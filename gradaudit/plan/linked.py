"""A config and another file of its run, each as a plan of its own.

The plan of the whole takes what one of the two says where the other is silent. To see where they
disagree, each is read alone, by its own dialect and with its own defaults.
"""

from __future__ import annotations

from gradaudit.compose.bases import walk_down
from gradaudit.compose.merge import empty_like, in_force
from gradaudit.compose.model import Composed
from gradaudit.dialects import load
from gradaudit.findings import Place
from gradaudit.plan.build import build_units
from gradaudit.plan.model import DEFAULT
from gradaudit.syntax.tree import Mapping, Scalar, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from gradaudit.plan.model import Setting, TrainingUnit


class Pair:
    """Two plans of one run: what a rule of scope `run` is called with.

    own     the plan of the config that is judged. other: that of a file that the run reads too.
    kind    `linked`: the config names the other file, or carries it as a section, at `named`;
            `launcher`: it was named on the command line beside the config, and launches it;
            `saved`: that of the run which the config resumes (`plan.saved`).
    key     the key that names it; empty for a launcher.
    inline  it stands in the config itself.
    """

    __slots__ = ("inline", "key", "kind", "named", "other", "own")

    def __init__(
        self, own: TrainingUnit, other: TrainingUnit, kind: str, key: str = "",
        named: Place | None = None, inline: bool = False,
    ) -> None:  # fmt: skip
        self.own = own
        self.other = other
        self.kind = kind
        self.key = key
        self.named = named
        self.inline = inline

    def unlike(self, name: str) -> tuple[Setting, Setting] | None:
        """A setting that both files write, with unlike values: the config's and the other's."""
        mine, theirs = self.own.get(name), self.other.get(name)
        if mine is None or theirs is None or mine.value == theirs.value:
            return None
        if DEFAULT in (mine.origin, theirs.origin) or mine.place is None or theirs.place is None:
            return None
        return mine, theirs


def linked_pairs(composed: Composed) -> Iterator[Pair]:
    """A config and each file that it links and that a dialect of its own reads."""
    for link in composed.dialect["compose"]["links"]:
        if "dialect" in link and "." not in link["key"]:
            for root in composed.roots:
                yield from _pairs_of(composed, resolve(root), link)


def _pairs_of(composed: Composed, top: object, link: dict[str, Any]) -> Iterator[Pair]:
    name = link["key"]
    path = walk_down(top, (name,)) if type(top) is Mapping else None
    section = resolve(path[0][1]) if path else None
    if type(top) is not Mapping or type(section) is not Mapping or not section.pairs:
        return  # a file that was not read, or a preset
    rest = empty_like(top)
    named = None
    for key, value in in_force(top):
        if type(key) is Scalar and key.value == name:
            named = Place(composed.tree_of(key).source, key.start, key.end)
        else:
            rest.pairs.append((key, value))
    own = build_units(_part(composed, rest, composed.dialect))
    other = build_units(_part(composed, section, load(link["dialect"])))
    if own and other:
        inline = composed.tree_of(section) is composed.tree
        yield Pair(own[0], other[0], "linked", name, named, inline)


def _part(composed: Composed, root: Mapping, dialect: dict[str, Any]) -> Composed:
    part = Composed(composed.tree, dialect)
    part.roots = [root]
    part.missing = composed.missing
    for tree in composed.trees[1:]:
        part.add(tree, composed.mounts.get(id(tree), ()))
    return part
