"""Which steps of a record are judged, told once for screens, rules and fixes."""

from __future__ import annotations

from gradaudit.evidence.series import Warmup, find_warmup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.evidence.record import Record, Terms
    from gradaudit.evidence.series import Series


def told_warmup(record: Record) -> int | None:
    """Steps of the warm-up, as a dry run says, which makes its own schedule; None of any other
    record. It may be longer than the run."""
    lines = record.others.get("trajectory", [])
    told = lines[-1].get("warmup_steps") if lines else None
    return told if isinstance(told, int) and not isinstance(told, bool) else None


def warmup_of(record: Record, series: Series) -> Warmup:
    """The warm-up of one optimizer of a record, whose series this is: as told, else as its learning
    rates show."""
    told = told_warmup(record)
    if told is None:
        return find_warmup(series)
    left = max(told - series.steps[-1], 0) if series.steps else told
    return Warmup(sum(step <= told for step in series.steps), not left, left or None)


def settled(terms: list[Terms], warmup: int) -> list[Terms]:
    """What was measured of the terms after so many steps of warm-up."""
    return [step for step in terms if step.step > warmup]
