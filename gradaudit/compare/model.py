"""What a comparison says: changes with their verdicts, by training, and findings."""

from __future__ import annotations

from gradaudit.plan.model import COMPUTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.audit import FileResult
    from gradaudit.findings import Finding
    from gradaudit.plan.model import Setting, TrainingUnit

ADDED, REMOVED, CHANGED = "added", "removed", "changed"
NOW_WRITTEN, NO_LONGER_WRITTEN = "now_written", "no_longer_written"

RISKIER, SAFER, NEUTRAL, UNKNOWN = "riskier", "safer", "neutral", "unknown"

LARGE = 3.0
"""The factor from which a change is judged: rates, weights and decays are commonly searched in
steps of about 3 (1e-4, 3e-4, 1e-3), so that less is one step of a search."""

_NO_RATIO = frozenset(("seed", "momentum", "ema_decay"))
"""Numbers of which new / old says nothing."""


class Change:
    """One setting, or the weight of one loss term, that is not what it was.

    name     the setting's, or that of the loss term; key: of a further occurrence, where there
             are several (else empty).
    old, new what was and what is in force; None where the file says nothing.
    kind     added, removed, changed; `now_written` and `no_longer_written` where the value is the
             framework's default, and stays what it was.
    factor   new / old, where both are numbers of one sign other than 0, and that says something.
    verdict  riskier, safer, neutral or unknown, with the reason. large: it counts among several.
    computed it follows from another change.
    """

    __slots__ = (
        "computed", "factor", "key", "kind", "large", "name", "new", "old", "reason", "role",
        "verdict",
    )  # fmt: skip

    def __init__(
        self, name: str, old: Setting | None, new: Setting | None, kind: str, role: str = ""
    ) -> None:
        self.name = name
        self.old = old
        self.new = new
        self.kind = kind
        self.role = role
        self.key = ""
        self.factor = None if name in _NO_RATIO and not role else _factor(old, new)
        self.verdict = NEUTRAL
        self.reason = ""
        self.large = False
        self.computed = all(one is None or one.origin == COMPUTED for one in (old, new))

    @property
    def is_term(self) -> bool:
        return bool(self.role)


class UnitChanges:
    """One training: `old` or `new` is None where the other file does not have it.

    several  what the large changes together make impossible; empty where there is at most one.
    """

    __slots__ = ("changes", "new", "old", "several")

    def __init__(self, old: TrainingUnit | None, new: TrainingUnit | None) -> None:
        self.old = old
        self.new = new
        self.changes: list[Change] = []
        self.several = ""

    @property
    def name(self) -> str:
        unit = self.new or self.old
        assert unit is not None
        return unit.name


class Comparison:
    """Two audited files held against each other.

    units     those with a change, and those that only one file has, in the new file's order.
    findings  that the new file brought, that are gone, and that both have.
    """

    def __init__(self, old: FileResult, new: FileResult) -> None:
        self.old = old
        self.new = new
        self.units: list[UnitChanges] = []
        self.brought: list[Finding] = []
        self.gone: list[Finding] = []
        self.kept: list[Finding] = []


def is_unknown(setting: Setting) -> bool:
    return setting.value is None and setting.note.startswith("not known: ")


def in_force(setting: Setting) -> object:
    """A value as it acts: an infinite clip is none."""
    value = setting.value
    if setting.name.startswith("clip") and isinstance(value, float) and value == float("inf"):
        return None
    return value


def _factor(old: Setting | None, new: Setting | None) -> float | None:
    before = old.number if old is not None else None
    after = new.number if new is not None else None
    if not before or not after or (before > 0) is not (after > 0):
        return None
    return after / before
