"""Which training of one file is which of the other, and which findings are the same."""

from __future__ import annotations

from gradaudit.findings import SEVERITIES
from gradaudit.plan.model import DEFAULT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.findings import Finding
    from gradaudit.plan.model import TrainingUnit

    Same = tuple[str, str, str]

ALIKE = 0.5
"""Share of the written settings that must agree for a training to be taken for a renamed one."""


def pair_units(
    old: list[TrainingUnit], new: list[TrainingUnit]
) -> list[tuple[TrainingUnit | None, TrainingUnit | None]]:
    """The trainings of both files: by name, then those that are most alike, in the new order.

    One training in each file is the same one, whatever it is called.
    """
    partner = {unit.name: unit for unit in old}
    found = {id(unit): partner.pop(unit.name) for unit in new if unit.name in partner}
    left_old = [unit for unit in old if unit.name in partner]
    left_new = [unit for unit in new if id(unit) not in found]
    if len(old) == len(new) == 1 and left_old:
        found[id(new[0])] = old[0]
        left_old = []
    else:
        for score, at_old, at_new in sorted(
            (
                (_likeness(a, b), i, j)
                for i, a in enumerate(left_old)
                for j, b in enumerate(left_new)
            ),
            key=lambda scored: -scored[0],
        ):
            before, after = left_old[at_old], left_new[at_new]
            taken = any(before is other for other in found.values())
            if score > ALIKE and not taken and id(after) not in found:
                found[id(after)] = before
        left_old = [u for u in left_old if not any(u is other for other in found.values())]
    pairs: list[tuple[TrainingUnit | None, TrainingUnit | None]] = [
        (found.get(id(unit)), unit) for unit in new
    ]
    return pairs + [(unit, None) for unit in left_old]


def _likeness(old: TrainingUnit, new: TrainingUnit) -> float:
    """The share of what both write that has the same value in both."""
    before, after = _said(old), _said(new)
    names = before.keys() | after.keys()
    same = sum(before.get(name) == after.get(name) for name in names)
    return same / len(names) if names else 0.0


def _said(unit: TrainingUnit) -> dict[str, object]:
    said: dict[str, object] = {
        name: setting.value
        for name, setting in unit.settings.items()
        if setting.origin != DEFAULT and setting.place is not None
        and unit.mapping.start <= setting.place.start < unit.mapping.end
    }  # fmt: skip
    return said | {f"loss term {term.name}": term.weight for term in unit.loss_terms}


def split_findings(
    old: list[Finding], new: list[Finding], names: dict[str, str]
) -> tuple[list[Finding], list[Finding], list[Finding]]:
    """Findings of the new file that the old one did not have, those that are gone, and the rest.

    The same is what has the same rule, training and key (the same words but for numbers where it
    has no key), so that lines may move. What has become more severe is new. `names` gives the old
    name of each training that is called otherwise now.
    """
    before: dict[Same, list[Finding]] = {}
    for finding in old:
        before.setdefault(_same(finding, {}), []).append(finding)
    brought: list[Finding] = []
    kept: list[Finding] = []
    # What says the very same takes its like first.
    for exact in (True, False):
        for finding in new if exact else list(brought):
            like = before.get(_same(finding, names), [])
            match = [
                other for other in like
                if _severity(finding) <= _severity(other)
                and (not exact or finding.message == other.message)
            ]  # fmt: skip
            if match:
                like.remove(match[0])
                kept.append(finding)
                if not exact:
                    brought.remove(finding)
            elif exact:
                brought.append(finding)
    gone = [finding for finding in old if any(finding is one for one in _left(before))]
    return brought, gone, kept


def _left(before: dict[Same, list[Finding]]) -> list[Finding]:
    return [finding for like in before.values() for finding in like]


def _severity(finding: Finding) -> int:
    return SEVERITIES.index(finding.severity)


def _same(finding: Finding, names: dict[str, str]) -> Same:
    unit = finding.unit or ""
    was = names.get(unit, unit)
    if finding.key is None:
        about = "".join(char for char in finding.message if not char.isdigit())
    else:
        about = ".".join(was if part == unit else part for part in finding.key.split("."))
    return finding.rule.code, was, about
