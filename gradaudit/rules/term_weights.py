"""Loss weights from measured gradient norms: what `fix --record` writes."""

from __future__ import annotations

from gradaudit.findings import RECOMMENDED, Fix
from gradaudit.rules.repair import change
from gradaudit.rules.text import listed, number, percent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.findings import Edit
    from gradaudit.plan.measured import Measured
    from gradaudit.plan.terms import TermShare

PRIMARY = 0.6
"""What the terms of the task should have of the gradient at least."""

RAREST = 0.01
"""A term that is active at fewer steps is left alone: its norm is not known."""

LEAST = 0.01
"""Smallest factor of one round: a penalty that would need less is as good as off, and is to be
measured again before that is said."""


def weights_fix(measured: Measured, shares: list[TermShare]) -> tuple[Fix | None, str]:
    """Lower each auxiliary weight so that its gradient has the share that is meant for it.

    w' = w * (p / p1) * (r1 / r): r is the root mean square norm over the steps at which the term is
    active, p the share meant for each auxiliary term, and index 1 the primary term with the
    largest norm (GradNorm's aim in one round; Chen et al. 2018). Weights are never raised, and
    primary ones never touched. Returns the fix, or why there is none.
    """
    primary = [share for share in shares if not share.is_auxiliary and share.rms > 0]
    auxiliary = [share for share in shares if share.is_auxiliary and share.active > RAREST]
    if not primary or not auxiliary:
        return None, "no primary term has a gradient: there is nothing to balance against"
    summed = sum(share.rms for share in primary)
    each = summed * (1 - PRIMARY) / PRIMARY / len(auxiliary)
    edits: list[Edit] = []
    lowered: list[str] = []
    changes: list[str] = []
    for share in auxiliary:
        setting = share.setting
        if setting is None or share.weight is None or share.rms <= each:
            continue
        factor = max(each / share.rms, LEAST)
        new = float(f"{share.weight * factor:.2g}")
        edit = change(setting, new)
        if edit is not None and new < share.weight:
            edits.append(edit)
            lowered.append(f"`{setting.last_key}`")
            changes.append(f"{share.name} {number(share.rms)} to {number(share.rms * factor)}")
    if not edits:
        return None, "the weights do not stand in this file as plain numbers that can be lowered"
    notes = [
        (
            f"root mean square norms where active: {listed(changes)}; the primary terms' sum is "
            f"{number(summed)}, {percent(PRIMARY)} of the whole is meant for them"
        ),
        f"measured at {len(measured.terms)} steps; measure again afterwards: one round may not do",
        "changes the objective: compare the task's own metric before and after",
    ]
    if any(share.rms * LEAST > each for share in auxiliary):
        notes.insert(1, "no weight is lowered by more than 100 times in one round")
    return Fix(RECOMMENDED, f"lower {listed(lowered)} by the measured norms", edits, notes), ""
