"""A weight decay that moved: how far the weights are held back, and what a step is beside them.

Two sources stand behind the verdicts. Where updates and decay balance, a step turns the weights
behind a normalisation by an angle that goes with the root of rate x decay, under SGD, AdamW and
Lion alike, times a factor of the momentum or beta1 (Kosson et al. 2023,
https://arxiv.org/abs/2305.17212): more decay is a higher rate in the long run.
Without decay, language models in bf16 have diverged suddenly (Andriushchenko et al. 2023,
https://arxiv.org/abs/2310.04415). L2 in the gradient of Adam has no one balance for all weights.
"""

from __future__ import annotations

from gradaudit.compare.model import NEUTRAL, RISKIER, SAFER, UNKNOWN
from gradaudit.compare.scale import SMALL, as_large, as_small, grown, times
from gradaudit.rules import load
from gradaudit.rules.shrinking import COUPLED_ADAM, SHRINKS_BY_RATE, shrinking_of
from gradaudit.rules.text import number, optimizer_name, percent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.compare.model import Change, UnitChanges
    from gradaudit.plan.model import TrainingUnit
    from gradaudit.rules.shrinking import Shrinking

    Verdict = tuple[str, str]

HARDLY = 0.1
"""Where decay takes less than this off the weights over the whole run, it hardly acts."""


def judge_decay(change: Change, one: UnitChanges) -> Verdict:
    assert one.old is not None
    assert one.new is not None
    if change.new is None or change.old is None:
        return UNKNOWN, _not_said(change, one.new)
    before, after = change.old.number or 0, change.new.number or 0
    factor = change.factor
    if factor is not None and not (as_large(factor) or as_small(factor)):
        return NEUTRAL, SMALL
    kind = _kind(one.new)
    if _kind(one.old) != kind:
        return UNKNOWN, (
            f"A decay under {optimizer_name(one.old)} and one under {optimizer_name(one.new)} "
            "cannot be compared: what it does to a weight is not the same."
        )
    if kind == "by rate":
        return _by_rate(one.old, one.new, before, after, factor)
    if kind == "in Adam's gradient":
        return _in_gradient(one.new, before, after)
    if not after:
        return UNKNOWN, "Nothing holds the weights back now; how far they grow shows late in a run."
    return UNKNOWN, f"{_pulled(factor)}; whether that helps is not in the file."


def _not_said(change: Change, unit: TrainingUnit) -> str:
    own = " (0.01 in torch's AdamW)" if unit.optimizer == "adamw" else ""
    when = "now: the optimiser's own default holds" if change.new is None else (
        "before: the optimiser's own default held"
    )  # fmt: skip
    return f"The file says none {when}{own}."


def _kind(unit: TrainingUnit) -> str:
    """How decay reaches the weights; further occurrences of one setting are not told apart."""
    if unit.optimizer in SHRINKS_BY_RATE or unit.optimizer == "sgd":
        return "by rate"
    return "in Adam's gradient" if unit.optimizer in COUPLED_ADAM else ""


def _pulled(factor: float | None) -> str:
    if factor is None:
        return "The weights are pulled to zero now"
    moved = times(factor if factor > 1 else 1 / factor)
    return f"The weights are pulled to zero {moved} more {'strongly' if factor > 1 else 'weakly'}"


def _by_rate(
    old: TrainingUnit, new: TrainingUnit, before: float, after: float, factor: float | None
) -> Verdict:
    """Each step takes a share off every weight: rate x decay, but for what momentum adds."""
    was, now = shrinking_of(old, before), shrinking_of(new, after)
    if was is not None and now is not None:
        steps = _steps(old), _steps(new)
        if steps[0] and steps[1] and max(was.share * steps[0], now.share * steps[1]) < HARDLY:
            return NEUTRAL, (
                f"In {number(steps[1])} steps it takes less than {percent(HARDLY)} off the "
                "weights, before and now: it hardly acts in so short a run."
            )
        if factor is not None:
            factor = now.share / was.share
            if not (as_large(factor) or as_small(factor)):
                same = abs(factor - 1) < 0.01
                moved = "as much" if same else f"{grown(factor)}"
                rest = " as before" if same else f", {SMALL}"
                return NEUTRAL, (
                    f"With the rate and the momentum, a step takes {moved} off a weight{rest}."
                )
    if after and (factor is None or factor > 1):
        turns = ""
        if factor is not None and _averages_alike(old, new):
            turns = times(factor**0.5)
        return _stronger(new, now, factor, turns)
    return _weaker(new, was, now, factor)


def _averages_alike(old: TrainingUnit, new: TrainingUnit) -> bool:
    """Whether the gradients are averaged as before: else the angle has another factor too."""
    return all(
        (one.value if (one := old.get(name)) is not None else None)
        == (two.value if (two := new.get(name)) is not None else None)
        for name in ("momentum", "betas", "beta1")
    )


def _steps(unit: TrainingUnit) -> float | None:
    """The length of the training in optimiser steps."""
    length = unit.length
    if length is None or length.unit == "steps":
        return length.value if length is not None else None
    each = unit.number("steps_per_epoch")
    return length.value * each if length.unit == "epochs" and each else None


def _time(shrinking: Shrinking | None) -> str:
    """How long decay needs to balance the updates, which is how far back the weights remember."""
    if shrinking is None:
        return ""
    return f" (about {number(round(1 / shrinking.share))} steps at the peak rate)"


LONGEST = 1_000_000
"""Optimiser steps that few trainings exceed: those of BERT's pretraining (Devlin et al. 2019)."""


def _stronger(
    unit: TrainingUnit, now: Shrinking | None, factor: float | None, turns: str
) -> Verdict:
    """`turns`: how much farther a step turns the weights; empty where it cannot be said."""
    steps = _steps(unit)
    if factor is None:
        return UNKNOWN, (
            f"{_pulled(None)}, and forget what is older than they need for that{_time(now)}; "
            "whether it helps is not in the file."
        )
    if now is not None and steps is not None and steps < 1 / now.share:
        return UNKNOWN, (
            f"{_pulled(factor)}, but the run ends before that balances the updates{_time(now)}; "
            "whether it helps is not in the file."
        )
    if now is not None and steps is None and 1 / now.share > LONGEST:
        after = f"about {number(round(1 / now.share))} steps at the peak rate"
        return UNKNOWN, (
            f"{_pulled(factor)}, but that balances the updates only after {after}, longer than "
            "nearly all trainings: in a shorter one little changes."
        )
    return RISKIER, (
        f"{_pulled(factor)}. In a run that lasts until that balances the updates{_time(now)}, "
        f"weights behind a normalisation are smaller and a step turns them "
        f"{f'{turns} as far' if turns else 'farther'}: like a higher rate (Kosson et al. 2023)."
    )


def _weaker(
    unit: TrainingUnit, was: Shrinking | None, now: Shrinking | None, factor: float | None
) -> Verdict:
    """Larger weights, which is steadier behind a normalisation and not elsewhere."""
    if factor is None:
        said = f"Nothing holds the weights back now, which it did before{_time(was)}"
    else:
        said = f"{_pulled(factor)}, and grow for longer{_time(now)}"
    precision = unit.get("precision")
    in_bf16 = precision is not None and str(precision.value).startswith("bf16")
    diverged = (
        "Without decay, language models in bf16 have diverged suddenly (Andriushchenko et al. 2023)"
    )
    if in_bf16 and was is not None and _steps(unit):
        return RISKIER, f"{said}. {diverged}."
    if unit.norm == "none":
        return RISKIER, (
            f"{said}. No normalisation takes that out: outputs and gradients grow with the weights."
        )
    return UNKNOWN, (
        f"{said}. Behind a normalisation a step then turns them less far, like a lower rate; "
        "elsewhere outputs and gradients grow with them, and overfitting shows late."
        f"{f' {diverged}.' if in_bf16 else ''}"
    )


def _in_gradient(unit: TrainingUnit, before: float, after: float) -> Verdict:
    name = optimizer_name(unit)
    strong = load()["GA605"].limits["from"]
    how = (
        f"Under {name} it is L2 in the gradient, divided by the gradient's running size: weights "
        "with small gradients go to zero at up to the full rate"
    )
    if after > before:
        if after >= strong:
            return RISKIER, f"{how}, more of them now. The logged norm does not show it."
        return UNKNOWN, f"{how}; how many have such gradients is not in the file."
    if before >= strong:
        return SAFER, f"{how}, fewer of them now."
    return UNKNOWN, f"{how}; how many had such gradients is not in the file."
