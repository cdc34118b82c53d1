"""A clip that moved, came or went: what that does depends on who takes the step."""

from __future__ import annotations

from gradaudit.compare.model import NEUTRAL, RISKIER, SAFER, UNKNOWN
from gradaudit.compare.scale import SMALL, as_large, as_small, times
from gradaudit.rules.optimisers import (
    forgets_scale,
    steps_with_gradient,
    which_is_unknown,
    why_scale_cancels,
)
from gradaudit.rules.text import optimizer_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.compare.model import Change, UnitChanges
    from gradaudit.plan.model import TrainingUnit

    Verdict = tuple[str, str]


def judge_clip(change: Change, one: UnitChanges) -> Verdict:
    unit = one.new
    assert unit is not None
    before = change.old.number if change.old is not None else None
    after = change.new.number if change.new is not None else None
    if (before is not None and before <= 0) or (after is not None and after <= 0):
        return UNKNOWN, "not above 0: frameworks differ in what that does"
    if before is None and after is None:
        return NEUTRAL, "it never acts, in both"
    if before is None:
        unless = "" if change.old is not None else ", unless the program did so by itself before"
        return SAFER, _held_back(unit, f"Spikes are held back now{unless}")
    if after is None:
        gone = "No longer clipped" if change.new is not None else (
            "No longer said, so not clipped, unless the program does so by itself"
        )  # fmt: skip
        return _clip_loosened(unit, gone, None)
    assert change.factor is not None
    if as_large(change.factor):
        return _clip_loosened(unit, "The threshold is higher", change.factor)
    if as_small(change.factor):
        less = times(1 / change.factor)
        if steps_with_gradient(unit):
            return SAFER, (
                f"Under {optimizer_name(unit)} a clipped step is {less} shorter: steadier, and "
                "slower where most steps are clipped."
            )
        return SAFER, _held_back(unit, "Spikes are held back more")
    return NEUTRAL, SMALL


def _held_back(unit: TrainingUnit, said: str) -> str:
    if forgets_scale(unit):
        because, memory = why_scale_cancels(unit)
        if not memory:
            return f"{said}; but under {optimizer_name(unit)} it cancels: {because}."
        return (
            f"{said}. Under {optimizer_name(unit)} {because}: rare ones weigh less in {memory}, "
            "and where every step is clipped the threshold hardly matters."
        )
    return f"{said}."


def _clip_loosened(unit: TrainingUnit, said: str, factor: float | None) -> Verdict:
    name = optimizer_name(unit)
    more = f"up to {times(factor)} as" if factor is not None else "as"
    if forgets_scale(unit):
        because, memory = why_scale_cancels(unit)
        if not memory:
            return NEUTRAL, f"{said}; under {name} that cancels: {because}."
        much = f"up to {times(factor)} as much" if factor is not None else "in full"
        return RISKIER, (
            f"{said}: under {name} a factor that is the same at every step cancels, because "
            f"{because}; but a rare spike counts {much} in {memory}."
        )
    if steps_with_gradient(unit):
        long = f"{more} long" if factor is not None else "as long as its gradient"
        return RISKIER, f"{said}: under {name} the step of a spike is {long}."
    return RISKIER, (
        f"{said}: a spike counts for more. Under SGD its step grows, under Adam it weighs more in "
        f"the running averages ({which_is_unknown(unit)})."
    )
