"""From a tree and a dialect to training units: where they begin and what belongs to each."""

from __future__ import annotations

from gradaudit.dialects import normalised
from gradaudit.plan.loss_terms import TermCandidate, find_terms
from gradaudit.plan.model import TrainingUnit
from gradaudit.plan.values import Found, fill
from gradaudit.syntax.tree import Alias, Mapping, Scalar, Sequence, entries, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.dialects import Dialect
    from gradaudit.syntax.tree import Tree

MAX_VISITS = 50_000
"""Mappings visited through aliases and merges before reading stops: an alias bomb ends here."""


class _Place:
    """A mapping met on the walk: its section kind, and the unit root it will belong to."""

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
        self.entries = entries(mapping)


def build_units(tree: Tree, dialect: Dialect) -> list[TrainingUnit]:
    """The training units of a file, in file order; at least one for a mapping at the top.

    A mapping that holds a learning rate or an optimiser anchors a unit. From there the unit's
    root is found by climbing out of sections that only group settings (`optimizer:`,
    `training:`). What stands in no unit is shared by all.
    """
    units: list[TrainingUnit] = []
    for number, root in enumerate(tree.roots):
        top = resolve(root)
        if type(top) is Mapping:
            found = _document_units(tree, top, dialect)
            for unit in found:
                if number and any(unit.name == other.name for other in units):
                    unit.name = f"{unit.name}@{number + 1}"
            units.extend(found)
    return units


def _document_units(tree: Tree, top: Mapping, dialect: Dialect) -> list[TrainingUnit]:
    places = _walk(top, dialect)
    roots = _unit_roots(places, dialect)
    for root in roots:
        root.kind = "unit"
    owner: dict[int, _Place] = {}
    contents: dict[int, list[_Place]] = {id(place): [] for place in (*roots, places[0])}
    for place in places:
        if any(place is root for root in roots) or place.parent is None:
            owner[id(place)] = place
        else:
            owner[id(place)] = owner[id(place.parent)]
        contents[id(owner[id(place)])].append(place)
    units = []
    for root in roots:
        unit = TrainingUnit(_unit_name(root, roots), tree, root.mapping)
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
    while stack and len(places) < MAX_VISITS:
        place = stack.pop()
        places.append(place)
        below: list[_Place] = []
        for key, value, _ in place.entries:
            name = normalised(key.value)
            kind = sections.get(name, "other")
            if kind == "ignored":
                continue
            if kind == "transparent":
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
    roots: list[_Place] = []
    has_rate: set[int] = set()
    for place in places:
        inner = within.get(place.kind, {})
        names = set()
        for key, value, _ in place.entries:
            if type(resolve(value)) is Scalar:
                name = normalised(key.value)
                names.add(inner.get(name) or keys.get(name))
        if not names & {"learning_rate", "optimizer"}:
            continue
        root = place
        while root.parent is not None and (
            root.kind not in ("other", "unit") or _in_list(root) or root.kind == root.parent.kind
        ):
            root = root.parent
        if not any(root is other for other in roots):
            roots.append(root)
        if "learning_rate" in names:
            has_rate.add(id(root))
    if len(roots) > 1:
        # A top that only names an optimiser for its sections is what they share, not a unit.
        roots = [r for r in roots if id(r) in has_rate or not _has_root_below(r, roots, has_rate)]
    roots.sort(key=lambda place: place.mapping.start)
    return roots or [places[0]]


def _in_list(place: _Place) -> bool:
    return type(place.mapping.parent) is Sequence


def _has_root_below(place: _Place, roots: list[_Place], has_rate: set[int]) -> bool:
    for other in roots:
        above = other.parent
        while above is not None and id(other) in has_rate:
            if above is place:
                return True
            above = above.parent
    return False


def _unit_name(root: _Place, roots: list[_Place]) -> str:
    if root.parent is None:
        return "main"
    same = [other for other in roots if other.name == root.name]
    return root.path if len(same) > 1 else root.path.rsplit(".", 1)[-1]


def _fill_unit(unit: TrainingUnit, scopes: list[list[_Place]], dialect: Dialect) -> None:
    """Settings of the unit's own section first; what it does not say, from what stands around."""
    for level, places in enumerate(scopes):
        found: list[Found] = []
        terms: list[TermCandidate] = []
        for place in places:
            _read_place(place, dialect, found, terms)
            unit.keys.update(normalised(key.value) for key, _, _ in place.entries)
        fill(unit, found, dialect, shared=level > 0)
        if not unit.loss_terms:
            unit.loss_terms = find_terms(terms, unit.tree, dialect["loss_terms"])


def _read_place(
    place: _Place, dialect: Dialect, found: list[Found], terms: list[TermCandidate]
) -> None:
    keys: dict[str, str] = dialect["keys"]
    inner: dict[str, str] = dialect["in"].get(place.kind, {})
    flags: dict[str, str] = dialect["flags"]
    in_loss = place.kind in ("loss", "loss_weights")
    for key, value, merged in place.entries:
        name = normalised(key.value)
        path = f"{place.path}.{key.value}" if place.path else key.value
        setting = inner.get(name) or keys.get(name)
        if in_loss and place.kind == "loss_weights":
            setting = None
        if setting or name in flags:
            found.append(Found(setting, name, key, value, path, place.kind, place.depth, merged))
        else:
            terms.append(TermCandidate(name, place.name, key, value, path, place.kind, merged))
