"""What changed between two configs: settings and loss terms in force, whatever their keys."""

from __future__ import annotations

from gradaudit.compare.model import (
    ADDED,
    CHANGED,
    NO_LONGER_WRITTEN,
    NOW_WRITTEN,
    REMOVED,
    Change,
    Comparison,
    UnitChanges,
    in_force,
    is_unknown,
)
from gradaudit.compare.pairs import pair_units, split_findings
from gradaudit.compare.verdicts import judge
from gradaudit.plan.model import DEFAULT, INHERITED, WRITTEN, Setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.audit import FileResult
    from gradaudit.plan.model import LossTerm, TrainingUnit

_SAME = 1e-9
_HIDDEN = frozenset(("beta1", "beta2", "clip_kind", "loss_balancing"))


def compare(old: FileResult, new: FileResult) -> Comparison:
    """What changed from one audited file to the other. Both must have been parsed."""
    found = Comparison(old, new)
    names: dict[str, str] = {}
    for before, after in pair_units(old.units, new.units):
        one = UnitChanges(before, after)
        if before is not None and after is not None:
            names[after.name] = before.name
            one.changes = _settings(before, after) + _terms(before, after)
            judge(one)
            if one.changes or before.name != after.name:
                found.units.append(one)
        elif _says_anything(before or after):
            found.units.append(one)
    found.brought, found.gone, found.kept = split_findings(old.findings, new.findings, names)
    return found


def _says_anything(unit: TrainingUnit | None) -> bool:
    return unit is not None and any(s.origin != DEFAULT for s in unit.settings.values())


def _settings(old: TrainingUnit, new: TrainingUnit) -> list[Change]:
    before, after = _every(old), _every(new)
    found = []
    for at in [*after, *(at for at in before if at not in after)]:
        change = _change(at[0], before.get(at), after.get(at))
        if change is not None:
            change.key = at[1] if at[1] else ""
            found.append(change)
    return found


def _every(unit: TrainingUnit) -> dict[tuple[str, str, int], Setting]:
    """(name, key inside the training where it is a further occurrence, how many before it)."""
    found: dict[tuple[str, str, int], Setting] = {}
    for name, setting in unit.settings.items():
        if _is_compared(name):
            found[name, "", 0] = setting
    for name, others in unit.others.items():
        for other in others if _is_compared(name) else ():
            key = ".".join(part for part in other.key.split(".") if part != unit.name)
            count = 0
            while (name, key, count) in found:
                count += 1
            found[name, key, count] = other
    for name, reason in unit.unknown.items():
        if _is_compared(name) and name in unit.unknown_nodes and (name, "", 0) not in found:
            found[name, "", 0] = _not_known(unit, name, reason)
    return found


def _is_compared(name: str) -> bool:
    return not name.startswith("_") and name not in _HIDDEN


def _not_known(unit: TrainingUnit, name: str, reason: str) -> Setting:
    """What stands in the file for a value that only the run will know."""
    node = unit.unknown_nodes[name]
    tree = unit.composed.tree_of(node)
    return Setting(
        name, None, raw=tree.source.text[node.start : node.end], node=node, tree=tree,
        origin=WRITTEN if tree is unit.composed.tree else INHERITED, note=f"not known: {reason}",
    )  # fmt: skip


def _change(name: str, old: Setting | None, new: Setting | None, role: str = "") -> Change | None:
    """The change, or None where there is none that anybody made."""
    if old is None or new is None:
        one = old or new
        if one is None or one.origin == DEFAULT:
            return None  # it belongs to what changed beside it: the framework, the optimiser
        return Change(name, old, new, REMOVED if new is None else ADDED, role)
    if _equal(old, new):
        if (old.origin == DEFAULT) == (new.origin == DEFAULT):
            return None
        kind = NOW_WRITTEN if old.origin == DEFAULT else NO_LONGER_WRITTEN
        return Change(name, old, new, kind, role)
    return Change(name, old, new, CHANGED, role)


def _equal(old: Setting, new: Setting) -> bool:
    """Whether two values do the same, however they are spelt: 1e-4 and 0.0001, `inf` and off."""
    if is_unknown(old) or is_unknown(new):
        return is_unknown(old) and is_unknown(new) and old.raw == new.raw
    if old.unit != new.unit:
        return False
    return _same(in_force(old), in_force(new))


def _same(old: object, new: object) -> bool:
    if isinstance(old, tuple) and isinstance(new, tuple):
        return len(old) == len(new) and all(map(_same, old, new))
    if isinstance(old, bool) or isinstance(new, bool):
        return old is new
    if isinstance(old, (int, float)) and isinstance(new, (int, float)):
        return old == new or abs(old - new) <= _SAME * max(abs(old), abs(new)) or old != old != new
    if isinstance(old, str) and isinstance(new, str):
        return old.lower() == new.lower()
    return old == new


def _terms(old: TrainingUnit, new: TrainingUnit) -> list[Change]:
    before, after = _by_name(old), _by_name(new)
    found = []
    for at in [*after, *(at for at in before if at not in after)]:
        was, now = before.get(at), after.get(at)
        term = now or was
        assert term is not None
        change = _change(
            term.name, was.setting if was else None, now.setting if now else None, term.role
        )
        if change is not None:
            found.append(change)
    return found


def _by_name(unit: TrainingUnit) -> dict[tuple[str, int], LossTerm]:
    found: dict[tuple[str, int], LossTerm] = {}
    for term in unit.loss_terms:
        count = 0
        while (term.name, count) in found:
            count += 1
        found[term.name, count] = term
    return found
