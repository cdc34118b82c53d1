"""Loss weights from measured gradient norms: what `fix --record` writes."""

from __future__ import annotations

from gradaudit.evidence.terms import CAP, SPIKE, balance, norms_with, percentiles
from gradaudit.findings import RECOMMENDED, Fix
from gradaudit.rules.repair import change
from gradaudit.rules.text import listed, number, percent, times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.evidence.record import Terms
    from gradaudit.evidence.terms import Advice, Balance
    from gradaudit.findings import Edit
    from gradaudit.plan.measured import Measured
    from gradaudit.plan.model import Setting
    from gradaudit.plan.terms import TermShare

SAME = 1e-6
"""Relative difference within which a weight of the file is the one that was measured with."""


def weights_fix(measured: Measured, shares: list[TermShare]) -> tuple[Fix | None, str]:
    """Lower each auxiliary weight to what its measured gradient recommends (`evidence.terms`).

    A weight is set, not scaled: one that the file has changed since the record was made is left
    alone, so that the same record is never applied twice. Returns the fix, or why there is none.
    """
    steps = measured.settled_terms
    by_name = {share.name: share for share in shares}
    found = balance(steps, {share.name: share.role for share in shares})
    if found.why_not:
        more = f"; {found.missing} more are needed" if found.missing else ""
        return None, f"{found.why_not}{more}"
    edits: list[Edit] = []
    keys: list[str] = []
    done: list[Advice] = []
    why = _Why()
    for advice in found.to_apply:
        share = by_name[advice.name]
        if share.setting is None or share.written is None:
            why.by_hand.append(
                f"`{advice.name}` has no key here: in the code, {number(advice.weight)} to "
                f"{number(advice.new)}"
            )
            continue
        if abs(share.written - advice.weight) > SAME * abs(advice.weight):
            if not measured.older:
                why.unlike.append(unlike_text(share))
            elif abs(share.written - advice.new) <= SAME * abs(advice.new):
                why.mended = True
            else:
                why.changed = True
            continue
        edit = change(share.setting, advice.new)
        if edit is None:
            why.by_hand.append(
                f"{not_plain(share.setting)}: by hand, {number(advice.weight)} to "
                f"{number(advice.new)}"
            )
            continue
        edits.append(edit)
        keys.append(f"`{share.setting.last_key}`")
        done.append(advice)
    if not edits:
        return None, why.text(found)
    notes = _notes(steps, found, done) + why.unlike + why.by_hand
    notes += [f"`{name}` stays: {reason}" for name, reason in found.held_back]
    notes.append("primary weights stay; it changes the objective: compare the task's own metric")
    return Fix(RECOMMENDED, f"lower {listed(keys)} by the measured norms", edits, notes), ""


def spiking(measured: Measured, shares: list[TermShare]) -> dict[str, float]:
    """The terms that are to come down because their steps are spikes -> how many times the norm of
    the usual step theirs is; without those whose weight in the file makes them spikes no more."""
    found = balance(measured.settled_terms, {share.name: share.role for share in shares})
    rms = {share.name: share.rms for share in shares}
    if not found.usual:
        return {}
    ratios = {a.name: rms[a.name] / found.usual for a in found.to_apply if a.spikes}
    return {name: ratio for name, ratio in ratios.items() if ratio >= SPIKE}


class _Why:
    """What keeps the file from being edited.

    unlike   weights that the file has and the run had not. by_hand: those that no key holds, or
             none as a plain number.
    changed  whether the file has had another weight since; mended: the recommended one.
    """

    def __init__(self) -> None:
        self.unlike: list[str] = []
        self.by_hand: list[str] = []
        self.changed = False
        self.mended = False

    def text(self, found: Balance) -> str:
        if self.unlike:
            return f"{listed(self.unlike)}: find out which is meant, then measure again"
        if self.changed:
            return "the weights were changed since they were measured: measure again"
        if self.by_hand:
            return f"{'; '.join(self.by_hand)}; then measure again"
        if self.mended:
            return "this record has nothing more to lower: measure again with the new weights"
        stay = [f"`{name}`: {reason}" for name, reason in found.held_back]
        stay += [
            f"`{term.name}`: it acted at {term.active} of {term.steps} steps only"
            for term in found.rare
        ]
        return "no weight can be lowered by the measured norms" + (
            f": {'; '.join(stay)}" if stay else ", the auxiliary terms do not lead"
        )


def unlike_text(share: TermShare) -> str:
    """That a weight is not the file's, where the file is the one that was measured."""
    assert share.setting is not None
    return (
        f"the run's weight of `{share.name}` is {number(share.used or 0.0)}, "
        f"`{share.setting.last_key}` is {number(share.written or 0.0)}"
    )


def not_plain(setting: Setting) -> str:
    """That a weight cannot be edited where it stands: `${w}`, an alias, an override."""
    return f"`{setting.last_key}` does not stand in this file as a plain number"


def _notes(steps: list[Terms], found: Balance, done: list[Advice]) -> list[str]:
    assert found.reference is not None
    notes = [
        f"norms where active, {len(steps)} steps after the warm-up: `{found.reference.name}` "
        f"{short(found.reference.rms)}; factors with their 95 % intervals: "
        + listed([f"{a.name} x {short(a.wanted)} {_spread(a)}" for a in done])
    ]
    off = [f"`{advice.name}`" for advice in done if advice.is_off]
    if off:
        notes.append(
            f"{listed(off)}: no more than x {CAP:g} in one round, though the norm asks for more; "
            "at such a weight the penalty is effectively off"
        )
    before = norms_with(steps, {})
    after = norms_with(steps, {a.name: a.new / a.weight for a in done})
    if before and after and percentiles(after)[1] > 0:
        high, low = percentiles(before)[1], percentiles(after)[1]
        what = "95th percentile"
        if high < 1.5 * low:  # of what acts at one step in a hundred a percentile says nothing
            what, high, low = "largest", max(before), max(after)
        notes.append(
            f"on the measured steps the {what} of the norm would be {short(low)} instead of "
            f"{short(high)}, {times(high / low)} lower"
        )
    return notes


def _spread(advice: Advice) -> str:
    if advice.few == 1:
        return "(seen at one step)"
    span = f"{short(advice.low)} to {short(advice.high)}"
    return f"({span} at its {advice.few} steps)" if advice.few else f"({span})"


def short(value: float) -> str:
    """Three significant digits: more is not known of a measured norm."""
    return number(float(f"{value:.3g}"))


def shares_text(shares: list[TermShare], count: int) -> str:
    """`mse 11 %, calibration 89 % of the gradient (mean norm over 40 steps)`."""
    ordered = sorted(shares, key=lambda share: -share.share)
    named = ", ".join(f"{share.name} {percent(share.share)}" for share in ordered[:8])
    return f"{named} of the summed norms, mean over {count} steps"
