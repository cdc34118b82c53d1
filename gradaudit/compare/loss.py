"""The weights of the loss: their ratio stays, a common factor may cancel."""

from __future__ import annotations

from gradaudit.compare.model import NEUTRAL, RISKIER, SAFER, UNKNOWN
from gradaudit.compare.scale import SMALL, as_large, as_small, grown, times
from gradaudit.rules.optimisers import (
    decays_in_gradient,
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


def common_factor(one: UnitChanges) -> float | None:
    """The factor by which all terms of the loss moved, where that is all that happened to them."""
    assert one.new is not None
    terms = [change for change in one.changes if change.is_term]
    factors = [change.factor for change in terms]
    weighted = [term for term in one.new.loss_terms if term.weight]
    if not factors or len(factors) != len(weighted) or None in factors:
        return None
    low, high = min(f for f in factors if f), max(f for f in factors if f)
    return high if high - low <= 0.01 * high else None


def judge_term(change: Change, one: UnitChanges, common: float | None) -> Verdict:
    unit = one.new
    assert unit is not None
    before = change.old.number if change.old is not None else None
    after = change.new.number if change.new is not None else None
    if not before and not after:
        return NEUTRAL, "it counts for nothing in both"
    if not before:
        return UNKNOWN, (
            "a term that did not count before: its share of the gradient is not in the file, only "
            "in a run"
        )
    if not after:
        return UNKNOWN, (
            "no longer a term with a weight: what it held back, or helped, is on its own"
        )
    if change.factor is None:
        return RISKIER, "the sign changed: what was made smaller is now made larger"
    if common is not None:
        return _all_terms(common, unit)
    if not (as_large(change.factor) or as_small(change.factor)):
        return NEUTRAL, SMALL
    return _share(change.factor, change.role, unit)


def _share(factor: float, role: str, unit: TrainingUnit) -> Verdict:
    """One term against the others: a ratio that no optimiser takes out."""
    name = optimizer_name(unit)
    if forgets_scale(unit):
        how = f" Under {name} a common scale of the loss cancels, the ratio of its terms does not."
    elif steps_with_gradient(unit):
        how = f" Under {name} the step grows with it." if factor > 1 else ""
    else:
        how = ""
    if factor > 1:
        pulls = f"pulls up to {times(factor)} as hard against the other terms."
        if role in ("auxiliary", "regulariser"):
            return RISKIER, f"An {role} term {pulls}{how}".replace("An regul", "A regul")
        if role == "primary":
            said = f"The other terms weigh up to {times(factor)} less beside it.{how}"
            return (RISKIER if steps_with_gradient(unit) else UNKNOWN), said
        return UNKNOWN, f"It {pulls}{how} Whether it is a goal or a help is not known here."
    less = times(1 / factor)
    if role == "primary":
        return RISKIER, f"The other terms pull up to {less} as hard beside it.{how}"
    if role == "auxiliary":
        return SAFER, f"It leaves more of the gradient to the main terms: it weighs {less} less."
    if role == "regulariser":
        return UNKNOWN, f"It holds back {less} less: what grows now shows late in a run."
    return UNKNOWN, f"It weighs {less} less beside the other terms."


def _all_terms(factor: float, unit: TrainingUnit) -> Verdict:
    moved = f"The whole loss moved {grown(factor)}"
    if forgets_scale(unit):
        because, _ = why_scale_cancels(unit)
        left = (
            ["the clip threshold"] if unit.number("clip_norm") or unit.number("clip_value") else []
        )
        left += ["eps"]
        left += ["the weight decay in the gradient"] if decays_in_gradient(unit) else []
        return NEUTRAL, (
            f"{moved}: under {optimizer_name(unit)} that cancels, because {because}; "
            f"only {' and '.join(left)} did not move with it."
        )
    if not (as_large(factor) or as_small(factor)):
        return NEUTRAL, f"{moved}: {SMALL}"
    if steps_with_gradient(unit):
        said = f"{moved}: under {optimizer_name(unit)} that is a learning rate {grown(factor)}"
        unclipped = ", where no clip acts" if unit.number("clip_norm") else ""
        return (RISKIER if factor > 1 else SAFER), f"{said}{unclipped}."
    return UNKNOWN, (
        f"{moved}: under SGD that is a learning rate {grown(factor)}, under Adam it cancels "
        f"({which_is_unknown(unit)})."
    )
