"""From a tree and a dialect to training units: where they begin and what belongs to each."""

from __future__ import annotations

from functools import lru_cache

from gradaudit.dialects import normalised, with_words
from gradaudit.plan.loss_terms import TermCandidate, find_terms, is_plain_term, term_name, title
from gradaudit.plan.model import TrainingUnit
from gradaudit.plan.units import complete_by_paths, units_by_paths
from gradaudit.plan.values import Found, drop_misread, fill
from gradaudit.source import Unreadable
from gradaudit.syntax.scalars import read_scalar
from gradaudit.syntax.tree import Alias, Mapping, Scalar, Sequence, entries, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gradaudit.compose.model import Composed
    from gradaudit.dialects import Dialect
    from gradaudit.plan.model import LossTerm
    from gradaudit.syntax.tree import Node

    Entry = tuple[Scalar, Node, bool, str]

MAX_VISITS = 50_000
"""Mappings visited through aliases before reading stops: an alias bomb ends here."""

MAX_ENTRIES = 500_000
"""Keys read through merges before reading stops: one large mapping merged into many ends here."""

MAX_UNITS = 500
"""Training units of one file: each takes a copy of what all share. Real configs have a few."""


_normalised = lru_cache(4096)(normalised)
"""The same few keys stand in every file."""

_ANCHORS = frozenset(("learning_rate", "optimizer"))


class _Place:
    """A mapping met on the walk: its section kind, and its entries with their normalised keys.

    key     its key as written; with its index where it is an item of a list (`items`).
    off     how it is switched off; empty where it is not.
    """

    __slots__ = (
        "depth", "entries", "items", "key", "kind", "mapping", "name", "off", "parent", "path",
    )  # fmt: skip

    def __init__(
        self, mapping: Mapping, parent: _Place | None, name: str, kind: str, path: str,
        key: str = "", items: Sequence | None = None,
    ) -> None:  # fmt: skip
        self.mapping = mapping
        self.parent = parent
        self.name = name
        self.kind = kind
        self.path = path
        self.key = key
        self.items = items
        self.off: str = parent.off if parent and parent.kind == kind else ""
        self.depth: int = parent.depth + 1 if parent else 0
        self.entries: list[Entry] = []

    def read(self) -> None:
        found: list[Entry] = []
        for key, value in self.mapping.pairs:
            if type(key) is Scalar:
                if key.value == "<<":  # perhaps a merge: rare, and not so simple
                    found = [(k, v, m, _normalised(k.value)) for k, v, m in entries(self.mapping)]
                    break
                found.append((key, value, False, _normalised(key.value)))
        self.entries = found

    def read_switch(self, keys: tuple[str, ...]) -> None:
        """Of two equal switches the last is in force."""
        for key, value, _, name in self.entries:
            target = resolve(value) if name in keys else None
            if type(target) is Scalar:
                off = read_scalar(target) is False
                self.off = f"{key.value}: {target.value}" if off else ""


class _Contents:
    """The places of a unit's root or of the document, read once for all that share them."""

    __slots__ = ("found", "in_loss", "keys", "places", "terms")

    def __init__(self) -> None:
        self.places: list[_Place] = []
        self.found: list[Found] = []
        self.terms: list[TermCandidate] = []
        self.keys: set[str] = set()
        self.in_loss: list[LossTerm] | None = None

    def read(self, dialect: Dialect) -> None:
        if not self.keys:
            for place in self.places:
                _read_place(place, dialect, self.found, self.terms)
                self.keys.update([name for _, _, _, name in place.entries])

    def loss_terms(self, composed: Composed, dialect: Dialect) -> list[LossTerm]:
        """A list of its own for each unit; what is in it is the same."""
        if self.in_loss is None:
            self.in_loss = find_terms(self.terms, composed, dialect["loss_terms"])
        return list(self.in_loss)


def build_units(composed: Composed) -> list[TrainingUnit]:
    """The training units of a file, in file order; at least one for a mapping at the top.

    By the key paths of its dialect, by the vocabulary of key names, or by both.

    Raises:
        Unreadable: more than `MAX_UNITS`.
    """
    dialect = composed.dialect
    if not dialect["vocabulary"]:
        return units_by_paths(composed)
    units = _units_by_words(composed, with_words(dialect))
    if dialect["paths"]:
        complete_by_paths(units, composed)
    return units


def _units_by_words(composed: Composed, dialect: Dialect) -> list[TrainingUnit]:
    """What the names of keys say, wherever they stand.

    A mapping that holds a learning rate or an optimiser anchors a unit. From there the unit's
    root is found by climbing out of sections that only group settings (`optimizer:`,
    `training:`). What stands in no unit is shared by all.

    Raises:
        Unreadable: more than `MAX_UNITS`.
    """
    units: list[TrainingUnit] = []
    names: set[str] = set()
    for number, root in enumerate(composed.roots):
        top = resolve(root)
        if type(top) is Mapping:
            found = _document_units(composed, top, dialect, MAX_UNITS - len(units))
            for unit in found:
                if unit.name in names:
                    unit.name = f"{unit.name}@{number + 1}"
            names.update(unit.name for unit in found)
            units.extend(found)
    return units


def _document_units(
    composed: Composed, top: Mapping, dialect: Dialect, room: int
) -> list[TrainingUnit]:
    places = _walk(top, composed, dialect)
    roots = _unit_roots(places, dialect)
    if len(roots) > room:
        line, column = composed.tree.source.position(roots[room].mapping.start)
        raise Unreadable(f"more than {MAX_UNITS} trainings in one file; split it", line, column)
    for root in roots:
        if root.kind not in ("optimizer", "own_optimizer"):  # an item of `optimizers: [...]`
            root.kind = "unit"
    owner: dict[int, _Place] = {}
    contents = {id(place): _Contents() for place in (*roots, places[0])}
    for place in places:
        own = id(place) in contents or place.parent is None
        owner[id(place)] = place if own else owner[id(place.parent)]
        contents[id(owner[id(place)])].places.append(place)
    names = [_unit_name(root) for root in roots]
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    units = []
    for root, name in zip(roots, names, strict=True):
        unit = TrainingUnit(
            root.path if counts[name] > 1 and root.path else name, composed, root.mapping
        )
        scopes = []
        scope: _Place | None = root
        while scope is not None:
            if id(scope) in contents:
                scopes.append(contents[id(scope)])
            scope = scope.parent
        _fill_unit(unit, scopes, dialect)
        units.append(unit)
    return units


def _walk(top: Mapping, composed: Composed, dialect: Dialect) -> list[_Place]:
    """Every mapping below `top` in file order, ignored sections left out."""
    sections: dict[str, str] = dialect["sections"]
    switch: dict[str, tuple[str, ...]] = dialect["switch"]
    words = dialect["loss_terms"]
    own: dict[str, tuple[str, ...]] = dialect["own_optimizer"]
    places: list[_Place] = []
    stack: list[_Place] = [_Place(top, None, "", "unit", "")]
    on_path: set[int] = set()
    read = 0
    while stack and len(places) < MAX_VISITS and read < MAX_ENTRIES:
        place = stack.pop()
        places.append(place)
        place.read()
        if place.kind in switch["sections"]:
            place.read_switch(switch["keys"])
        read += len(place.entries)
        below: list[_Place] = []
        for key, value, _, name in place.entries:
            if type(value) is Scalar and not value.value.startswith("${"):
                continue
            kind = sections.get(name, "other")
            if kind == "ignored":
                continue
            if kind == "transparent":
                kind = place.kind
            elif kind == "other" and place.kind in ("loss", "loss_weights"):
                kind = _kind_in_loss(name, place, sections, words)
            elif kind == "other" and "opt" in name and _is_own_optimizer(name, own):
                kind = "own_optimizer"
            path = f"{place.path}.{key.value}" if place.path else key.value
            target = resolve(value) if type(value) is not Scalar else composed.value_of(value)[0]
            if type(value) is Alias or type(value) is Scalar:
                if target is None or id(target) in on_path or len(places) > MAX_VISITS // 10:
                    continue
                on_path.add(id(target))
            if type(target) is Mapping:
                below.append(_Place(target, place, name, kind, path, key.value))
            elif type(target) is Sequence and len(target.items) <= 1000:
                for index, item in enumerate(target.items):
                    item = resolve(item)
                    if type(item) is Mapping:
                        at = f".{index}"
                        below.append(
                            _Place(item, place, name, kind, path + at, key.value + at, target)
                        )
        stack.extend(reversed(below))
    return places


def _is_own_optimizer(name: str, own: dict[str, tuple[str, ...]]) -> bool:
    """`optim_g`, `critic_optimizer`: the optimiser of one network among several."""
    parts = name.split("_")
    return any(part in own["words"] for part in parts) and any(part in own["of"] for part in parts)


def _kind_in_loss(name: str, place: _Place, sections: dict[str, str], words: dict[str, Any]) -> str:
    """`loss: {weights: {...}}` holds weights, `loss: {mask: {...}}` a term."""
    if name in words["never"]:
        return "other"
    if name in words["weights"] and sections.get(place.name) in ("loss", "transparent"):
        return "loss_weights"
    return "loss"


def _unit_roots(places: list[_Place], dialect: Dialect) -> list[_Place]:
    """Unit roots in file order; the whole document where nothing anchors a unit."""
    keys: dict[str, str] = dialect["keys"]
    within: dict[str, dict[str, str]] = dialect["in"]
    found: dict[int, _Place] = {}
    has_rate: set[int] = set()
    anchors: list[tuple[_Place, set[str]]] = []
    for place in places:
        inner = within.get(place.kind, {})
        names = set()
        for _, value, _, name in place.entries:
            setting = inner.get(name) or keys.get(name)
            if setting in _ANCHORS and type(resolve(value)) is Scalar:
                names.add(setting)
        if names:
            anchors.append((place, names))
    alone = _items_alone(anchors, dialect)
    said = {id(place): names for place, names in anchors}
    for place, names in anchors:
        root = place
        while root.parent is not None and id(root) not in alone:
            if not _only_groups(root, dialect) and not _is_parameter_group(root, said):
                break
            root = root.parent
        found[id(root)] = root
        if "learning_rate" in names:
            has_rate.add(id(root))
    # A top that only names an optimiser for its sections is what they share, not a unit.
    above: set[int] = set()
    for root in found.values():
        outer = root.parent if id(root) in has_rate else None
        while outer is not None and id(outer) not in above:
            above.add(id(outer))
            outer = outer.parent
    roots = [root for key, root in found.items() if key in has_rate or key not in above]
    roots.sort(key=lambda place: place.mapping.start)
    return roots or [places[0]]


def _only_groups(place: _Place, dialect: Dialect) -> bool:
    """Whether what a section says belongs to the section around it."""
    return (
        place.kind not in ("other", "unit", "own_optimizer")
        or place.items is not None
        or dialect["sections"].get(place.name) == "transparent"
    )


def _is_parameter_group(place: _Place, said: dict[int, set[str]]) -> bool:
    """`encoder: {lr: 1.0e-5}` in a section with a rate: other parameters, the same training."""
    own = said.get(id(place), set())
    around = said.get(id(place.parent), set())
    return own == {"learning_rate"} and "learning_rate" in around


def _items_alone(anchors: list[tuple[_Place, set[str]]], dialect: Dialect) -> set[int]:
    """The items of lists of trainings: of two or more, each has an optimiser of its own.

    Parameter groups have none.
    """
    sections: dict[str, str] = dialect["sections"]
    lists: dict[int, dict[int, _Place]] = {}
    for place, names in anchors:
        item: _Place | None = place if "optimizer" in names else None
        while item is not None and item.parent is not None and _only_groups(item, dialect):
            if item.items is not None:
                if sections.get(item.name) != "transparent":
                    lists.setdefault(id(item.items), {})[id(item)] = item
                break
            item = item.parent
    return {
        key
        for items in lists.values()
        if len(items) > 1
        for key, item in items.items()
        if item.items is not None and len(items) >= len(item.items.items)
    }


def _unit_name(root: _Place) -> str:
    """The section's key, or what the item of a list calls itself."""
    if root.parent is None:
        return "main"
    if root.items is not None and root.kind != "optimizer":  # there `name` is the optimiser's
        for _, value, _, name in root.entries:
            target = resolve(value) if name == "name" else None
            if type(target) is Scalar and target.value:
                return target.value
    return root.key or '""'


def _fill_unit(unit: TrainingUnit, scopes: list[_Contents], dialect: Dialect) -> None:
    """Settings of the unit's own section first; what it does not say, from what stands around."""
    keys: set[str] = set()
    for level, scope in enumerate(scopes):
        scope.read(dialect)
        keys |= scope.keys
        fill(unit, scope.found, dialect, shared=level > 0)
        if not unit.loss_terms:
            unit.loss_terms = scope.loss_terms(unit.composed, dialect)
    unit.keys = keys
    drop_misread(unit, dialect["not_with"])


def _read_place(
    place: _Place, dialect: Dialect, found: list[Found], terms: list[TermCandidate]
) -> None:
    keys: dict[str, str] = dialect["keys"]
    inner: dict[str, str] = dialect["in"].get(place.kind, {})
    flags: dict[str, str] = dialect["flags"]
    words = dialect["loss_terms"]
    kind = place.kind
    owner = place.name
    group = place.path or "."
    if place.items is not None and kind in ("loss", "loss_weights"):
        owner = title({name: value for _, value, _, name in place.entries}, words) or owner
        if len(place.entries) == 1:
            group = place.path.rpartition(".")[0]
    prefix = f"{place.path}." if place.path else ""
    for key, value, merged, name in place.entries:
        setting = None if kind == "loss_weights" else inner.get(name, keys.get(name))
        if setting or name in flags:
            path = prefix + key.value
            found.append(
                Found(setting, name, key, value, path, kind, place.depth, merged, place.off)
            )
        elif type(value) is Scalar or type(value) is Alias:
            term = term_name(name, kind, owner, words)
            if term is not None:
                terms.append(TermCandidate(term, key, value, prefix + key.value, kind, merged))
            elif kind == "loss" and is_plain_term(name, words):
                path = prefix + key.value
                terms.append(TermCandidate(name, key, value, path, kind, merged, group))
