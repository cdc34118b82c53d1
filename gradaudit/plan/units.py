"""The training units of a file whose dialect knows its key paths."""

from __future__ import annotations

from gradaudit.plan.model import TrainingUnit
from gradaudit.plan.paths import Reader, collect
from gradaudit.plan.reading import fill_from_paths
from gradaudit.plan.values import settle
from gradaudit.syntax.tree import Mapping, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.compose.model import Composed
    from gradaudit.plan.paths import Found, Groups
    from gradaudit.syntax.tree import Node

MAX_UNITS = 200
"""Units of one file: `units: [{at: "*"}]` over a file of a thousand sections ends here."""


def units_by_paths(composed: Composed) -> list[TrainingUnit]:
    """The units that the dialect names, where their sections are; else the whole file as `main`."""
    for root in composed.roots:
        top = resolve(root)
        if type(top) is Mapping:
            break
    else:
        return []
    dialect = composed.dialect
    found = collect(composed, top, dialect["trie"])
    places = _places(composed, found)
    several = len(places) > 1
    units = []
    groups: Groups = {}
    for pattern, path, mapping, name, named in places:
        own = name or path.rpartition(".")[2]
        unit = TrainingUnit(own if several or named == "always" else "main", composed, mapping)
        _finish(unit, Reader(composed, dialect, found, path, pattern, own, groups))
        units.append(unit)
    if not units:
        unit = TrainingUnit("main", composed, top)
        _finish(unit, Reader(composed, dialect, found, "", ""))
        units.append(unit)
    return units


def _places(composed: Composed, found: Found) -> list[tuple[str, str, Mapping, str, str]]:
    """(pattern, path, section, name, when named) of each unit, in file order.

    A key that holds a value marks a unit that the dialect names: its settings stand beside it.
    """
    places = []
    for pattern, name, named, tag in composed.dialect["units"]:
        for met in found.get(pattern, []):
            if tag and not _is_tagged(met.value, tag):
                continue  # a reference to a unit is not another one
            target, _ = composed.value_of(met.value)
            if target is None:
                continue
            section = target if type(target) is Mapping else met.key.parent if name else None
            if type(section) is Mapping:
                places.append((met.key.start, (pattern, met.path, section, name, named)))
    places.sort(key=lambda place: place[0])
    return [place for _, place in places[:MAX_UNITS]]


def _is_tagged(node: Node, pattern: str) -> bool:
    if not node.tag:
        return False
    from fnmatch import fnmatchcase

    return fnmatchcase(node.tag, pattern)


def _finish(unit: TrainingUnit, reader: Reader) -> None:
    fill_from_paths(unit, reader)
    unit.computes = reader
    settle(unit)


def complete_by_paths(units: list[TrainingUnit], composed: Composed) -> None:
    """What the dialect's paths and defaults add to units that the vocabulary found.

    A path that stands inside one unit's section is of that unit; any other is of all.
    """
    dialect = composed.dialect
    for root in composed.roots:
        top = resolve(root)
        if type(top) is not Mapping:
            continue
        found = collect(composed, top, dialect["trie"])
        for unit in units:
            own = {
                pattern: [met for met in every if _concerns(met.value.start, unit, units)]
                for pattern, every in found.items()
            }
            reader = Reader(composed, dialect, {k: v for k, v in own.items() if v}, "", "")
            unit.terms_by_design = dialect["terms_apart"]
            fill_from_paths(unit, reader)
            unit.computes = reader
            settle(unit)


def _concerns(at: int, unit: TrainingUnit, units: list[TrainingUnit]) -> bool:
    """Whether a place stands in the unit, or in none."""
    if unit.mapping.start <= at < unit.mapping.end:
        return True
    return not any(other.mapping.start <= at < other.mapping.end for other in units)
