"""From a tree and a dialect to training units: where they begin and what belongs to each."""

from __future__ import annotations

from functools import lru_cache

from gradaudit.dialects import normalised
from gradaudit.plan.loss_terms import TermCandidate, find_terms, term_name
from gradaudit.plan.model import TrainingUnit
from gradaudit.plan.values import Found, fill
from gradaudit.source import Unreadable
from gradaudit.syntax.tree import Alias, Mapping, Scalar, Sequence, entries, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.dialects import Dialect
    from gradaudit.syntax.tree import Node, Tree

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
    """A mapping met on the walk: its section kind, and its entries with their normalised keys."""

    __slots__ = ("depth", "entries", "kind", "mapping", "name", "parent", "path")

    def __init__(
        self, mapping: Mapping, parent: _Place | None, name: str, kind: str, path: str
    ) -> None:
        self.mapping = mapping
        self.parent = parent
        self.name = name
        self.kind = kind
        self.path = path
        self.depth: int = parent.depth + 1 if parent else 0
        self.entries: list[Entry] = []

    def read(self) -> None:
        self.entries = [
            (key, value, merged, _normalised(key.value))
            for key, value, merged in entries(self.mapping)
        ]


class _Contents:
    """The places of a unit's root or of the document, read once for all that share them."""

    __slots__ = ("found", "keys", "places", "terms")

    def __init__(self) -> None:
        self.places: list[_Place] = []
        self.found: list[Found] = []
        self.terms: list[TermCandidate] = []
        self.keys: set[str] = set()

    def read(self, dialect: Dialect) -> None:
        if not self.keys:
            for place in self.places:
                _read_place(place, dialect, self.found, self.terms)
                self.keys.update([name for _, _, _, name in place.entries])


def build_units(tree: Tree, dialect: Dialect) -> list[TrainingUnit]:
    """The training units of a file, in file order; at least one for a mapping at the top.

    A mapping that holds a learning rate or an optimiser anchors a unit. From there the unit's
    root is found by climbing out of sections that only group settings (`optimizer:`,
    `training:`). What stands in no unit is shared by all.

    Raises:
        Unreadable: more than `MAX_UNITS`.
    """
    units: list[TrainingUnit] = []
    names: set[str] = set()
    for number, root in enumerate(tree.roots):
        top = resolve(root)
        if type(top) is Mapping:
            found = _document_units(tree, top, dialect, MAX_UNITS - len(units))
            for unit in found:
                if unit.name in names:
                    unit.name = f"{unit.name}@{number + 1}"
            names.update(unit.name for unit in found)
            units.extend(found)
    return units


def _document_units(tree: Tree, top: Mapping, dialect: Dialect, room: int) -> list[TrainingUnit]:
    places = _walk(top, dialect)
    roots = _unit_roots(places, dialect)
    if len(roots) > room:
        line, column = tree.source.position(roots[room].mapping.start)
        raise Unreadable(f"more than {MAX_UNITS} trainings in one file; split it", line, column)
    for root in roots:
        root.kind = "unit"
    owner: dict[int, _Place] = {}
    contents = {id(place): _Contents() for place in (*roots, places[0])}
    for place in places:
        own = id(place) in contents or place.parent is None
        owner[id(place)] = place if own else owner[id(place.parent)]
        contents[id(owner[id(place)])].places.append(place)
    names = [root.name for root in roots]
    twice = {name for name in names if names.count(name) > 1}
    units = []
    for root in roots:
        unit = TrainingUnit(_unit_name(root, twice), tree, root.mapping)
        scopes = []
        scope: _Place | None = root
        while scope is not None:
            if id(scope) in contents:
                scopes.append(contents[id(scope)])
            scope = scope.parent
        _fill_unit(unit, scopes, dialect)
        units.append(unit)
    return units


def _walk(top: Mapping, dialect: Dialect) -> list[_Place]:
    """Every mapping below `top` in file order, ignored sections left out."""
    sections: dict[str, str] = dialect["sections"]
    places: list[_Place] = []
    stack: list[_Place] = [_Place(top, None, "", "unit", "")]
    on_path: set[int] = set()
    read = 0
    while stack and len(places) < MAX_VISITS and read < MAX_ENTRIES:
        place = stack.pop()
        places.append(place)
        place.read()
        read += len(place.entries)
        below: list[_Place] = []
        for key, value, _, name in place.entries:
            if type(value) is Scalar:
                continue
            kind = sections.get(name, "other")
            if kind == "ignored":
                continue
            if kind == "transparent" or (kind == "other" and place.kind == "loss"):
                kind = place.kind
            path = f"{place.path}.{key.value}" if place.path else key.value
            target = resolve(value)
            if type(value) is Alias and (id(target) in on_path or len(places) > MAX_VISITS // 10):
                continue
            if type(value) is Alias:
                on_path.add(id(target))
            if type(target) is Mapping:
                below.append(_Place(target, place, name, kind, path))
            elif type(target) is Sequence and len(target.items) <= 1000:
                for index, item in enumerate(target.items):
                    item = resolve(item)
                    if type(item) is Mapping:
                        below.append(_Place(item, place, name, kind, f"{path}.{index}"))
        stack.extend(reversed(below))
    return places


def _unit_roots(places: list[_Place], dialect: Dialect) -> list[_Place]:
    """Unit roots in file order; the whole document where nothing anchors a unit."""
    keys: dict[str, str] = dialect["keys"]
    within: dict[str, dict[str, str]] = dialect["in"]
    found: dict[int, _Place] = {}
    has_rate: set[int] = set()
    for place in places:
        inner = within.get(place.kind, {})
        names = set()
        for _, value, _, name in place.entries:
            setting = inner.get(name) or keys.get(name)
            if setting in _ANCHORS and type(resolve(value)) is Scalar:
                names.add(setting)
        if not names:
            continue
        root = place
        while root.parent is not None and (
            root.kind not in ("other", "unit") or _in_list(root) or root.kind == root.parent.kind
        ):
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


def _in_list(place: _Place) -> bool:
    return type(place.mapping.parent) is Sequence


def _unit_name(root: _Place, twice: set[str]) -> str:
    """The section's key; its whole path where several units have the same."""
    if root.parent is None:
        return "main"
    return root.path if root.name in twice else root.path.rsplit(".", 1)[-1]


def _fill_unit(unit: TrainingUnit, scopes: list[_Contents], dialect: Dialect) -> None:
    """Settings of the unit's own section first; what it does not say, from what stands around."""
    for level, scope in enumerate(scopes):
        scope.read(dialect)
        unit.keys |= scope.keys
        fill(unit, scope.found, dialect, shared=level > 0)
        if not unit.loss_terms:
            unit.loss_terms = find_terms(scope.terms, unit.tree, dialect["loss_terms"])


def _read_place(
    place: _Place, dialect: Dialect, found: list[Found], terms: list[TermCandidate]
) -> None:
    keys: dict[str, str] = dialect["keys"]
    inner: dict[str, str] = dialect["in"].get(place.kind, {})
    flags: dict[str, str] = dialect["flags"]
    words = dialect["loss_terms"]
    kind = place.kind
    prefix = f"{place.path}." if place.path else ""
    for key, value, merged, name in place.entries:
        setting = None if kind == "loss_weights" else inner.get(name) or keys.get(name)
        if setting or name in flags:
            path = prefix + key.value
            found.append(Found(setting, name, key, value, path, kind, place.depth, merged))
        elif type(value) is Scalar or type(value) is Alias:
            term = term_name(name, kind, place.name, words)
            if term is not None:
                terms.append(TermCandidate(term, key, value, prefix + key.value, kind, merged))
