"""What rules on records share: where they point, and how they say what was measured."""

from __future__ import annotations

from gradaudit.findings import HIGH, INFO, LOW, Finding
from gradaudit.plan.model import MEASURED, SGD_LIKE
from gradaudit.rules.repair import place_of, start_of
from gradaudit.rules.text import number, percent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradaudit.findings import Fix, Related
    from gradaudit.plan.measured import Measured
    from gradaudit.plan.model import Setting

RECORD_PAGE = "docs/measured.md"
ELSEWHERE = (
    "The run takes this value from somewhere else: the command line, a default in the code, "
    "another file."
)

STEPS_APART = (
    "the intervals are wider than those of as many independent steps, as far as neighbouring steps "
    "are alike"
)
"""Said wherever an interval is."""


def steps_by_gradient(measured: Measured) -> bool:
    """Whether the step is as long as the gradient: SGD, but not LARS, which normalises it."""
    return measured.family in SGD_LIKE and measured.family != "lars"


def written(measured: Measured, name: str) -> Setting | None:
    """A setting of the file that may be held against this optimizer; None where it is unknown or
    was itself taken from the record."""
    if not measured.comparable:
        return None
    setting = measured.unit.settings.get(name)
    return None if setting is None or setting.origin == MEASURED else setting


def report(
    measured: Measured,
    names: Sequence[str],
    message: str,
    *,
    severity: str,
    confidence: str = HIGH,
    label: str = "",
    why: Sequence[str] = (),
    evidence: Sequence[str] = (),
    next: str = "",
    fix: Fix | None = None,
    no_fix: str = "",
    related: Sequence[Related] = (),
    cause: str = "",
    at: Setting | None = None,
) -> Finding:
    """A finding at the first of these settings that the file holds, else at its optimiser, else
    where the unit begins; there, too, where the file's settings are another optimizer's.

    `at` is a setting that goes before them: the weight of a loss term.
    """
    placed = _placed(measured, names, at)
    anchor = placed or _placed(measured, ["optimizer"], None)
    return Finding(
        start_of(measured.unit) if anchor is None else place_of(anchor, measured.unit),
        f"{measured.name}{message}",
        severity=severity,
        confidence=confidence,
        key=anchor.key if anchor is not None else None,
        label=label if placed is not None else "",
        related=related,
        why=why,
        evidence=[f"{source(measured)}: {text}" for text in evidence[:1]] + list(evidence[1:]),
        next=next,
        fix=fix,
        no_fix=no_fix,
        cause=cause,
    )


def _placed(measured: Measured, names: Sequence[str], at: Setting | None) -> Setting | None:
    """The first setting that stands in the file, of those that are this optimizer's."""
    unit = measured.unit
    found = [unit.settings[name] for name in names if name in unit.settings]
    found = found if measured.comparable else []
    return next((s for s in (at, *found) if s is not None and s.place is not None), None)


RECORD_AGAIN = "Record again with the file as it is now."


def differs(
    measured: Measured,
    setting: Setting,
    message: str,
    *,
    severity: str,
    confidence: str = HIGH,
    label: str,
    why: str,
    evidence: str,
    next: str,
) -> Finding:
    """The file and the run say different things. A file that was changed since is no fault."""
    notes = [evidence]
    if measured.older:
        severity, confidence = INFO, LOW
        notes.append(f"{changed_since(measured)}: it may differ on purpose")
        next = RECORD_AGAIN
    return report(
        measured, [setting.name], message, severity=severity, confidence=confidence, label=label,
        why=[why], evidence=notes, next=next, at=setting,
    )  # fmt: skip


def changed_since(measured: Measured) -> str:
    """That the file was changed after the record was made, and how that is known."""
    return f"the file {measured.changed} ({measured.older})"


def source(measured: Measured) -> str:
    """`measured (.gradaudit/probe/X)`; what stands behind a number."""
    kind = "dry run" if measured.record.source == "dryrun" else "recorded run"
    return f"{kind} {measured.record.directory}"


def said(setting: Setting) -> str:
    """A setting as its user knows it: the key and the text in the file."""
    if setting.raw and setting.key:
        return f"`{setting.last_key}: {setting.raw}`"
    value = setting.number
    shown = number(value) if value is not None else str(setting.value)
    return f"{setting.name} {shown} ({setting.note or setting.origin})"


def share_text(low: float, high: float) -> str:
    """`95 % interval 44 % to 63 %`."""
    return f"95 % interval {percent(low)} to {percent(high)}"


def some(names: Sequence[str], most: int = 3) -> str:
    """The first names in backticks, and how many more."""
    shown = ", ".join(f"`{name}`" for name in names[:most])
    more = len(names) - most
    return f"{shown} and {more} more" if more > 0 else shown
