"""The rate and the batch, which must be judged together: how long a step is, and how noisy."""

from __future__ import annotations

from gradaudit.compare.model import LARGE, NEUTRAL, RISKIER, SAFER, UNKNOWN
from gradaudit.plan.model import LEARNING_RATE_FREE
from gradaudit.rules import load
from gradaudit.rules.optimisers import steps_with_gradient
from gradaudit.rules.text import number, optimizer_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.compare.model import Change, UnitChanges
    from gradaudit.plan.model import TrainingUnit

    Verdict = tuple[str, str]

SMALL = f"less than {number(LARGE)} x: one step of a search"

_SLACK = 1 + 1e-9
_ABOUT = 1.05
"""How far from a scaling rule a rate may be and still follow it."""


def as_large(factor: float) -> bool:
    return factor * _SLACK >= LARGE


def as_small(factor: float) -> bool:
    return factor <= _SLACK / LARGE


def _short(factor: float) -> str:
    """Two digits, three where the first is 1."""
    return number(float(f"{factor:.3g}" if factor < 2 or factor >= 100 else f"{factor:.2g}"))


def times(factor: float) -> str:
    """`3.3 times`."""
    return f"{_short(factor)} times"


def grown(factor: float) -> str:
    """`3.3 x`, and for what became less `/ 3.3`."""
    return f"{_short(factor)} x" if factor >= 1 else f"/ {_short(1 / factor)}"


def judge_rate(change: Change, one: UnitChanges) -> Verdict:
    unit = one.new
    assert unit is not None
    assert one.old is not None
    name = optimizer_name(unit)
    if one.old.optimizer and unit.optimizer and _family(one.old) != _family(unit):
        before = optimizer_name(one.old)
        return UNKNOWN, f"A rate of {before} and one of {name} cannot be compared."
    factor = change.factor
    if factor is None:
        return UNKNOWN, ""
    if as_small(factor):
        return SAFER, f"Every step is {times(1 / factor)} shorter: steadier, and slower."
    if not as_large(factor):
        return NEUTRAL, SMALL
    batch = samples_factor(one) or 1
    if batch > 1 and steps_with_gradient(unit) and factor <= batch * _ABOUT:
        return NEUTRAL, (
            f"The batch grew {grown(batch)} too: linear scaling (Goyal et al. 2017), with a "
            "warm-up."
        )
    if batch > 1 and unit.is_adaptive and factor <= batch * _ABOUT:
        if factor <= batch**0.5 * _ABOUT:
            return NEUTRAL, (
                f"The batch grew {grown(batch)} too: the square-root rule of Adam (Malladi et "
                "al. 2022)."
            )
        return UNKNOWN, (
            f"The batch grew {grown(batch)} too. By linear scaling that fits; by the "
            f"square-root rule of Adam (Malladi et al. 2022) {grown(batch**0.5)} would."
        )
    if unit.optimizer in LEARNING_RATE_FREE:
        return RISKIER, f"{name} finds the rate itself; this multiplies what it finds."
    if steps_with_gradient(unit):
        clip = unit.number("clip_norm")
        bound = " A clipped step too: the clip bounds the gradient, not the rate." if clip else ""
        return RISKIER, f"Every step is {times(factor)} as long.{bound}"
    if unit.optimizer is None:
        return RISKIER, f"Every step is {times(factor)} as long, whatever the optimiser."
    if unit.is_adaptive or unit.optimizer in ("lion", "signsgd", "signum", "tiger"):
        return RISKIER, (
            f"Under {name} the length of a step is set by the rate, not by the gradient: each is "
            f"{times(factor)} as long, and no clip takes that back."
        )
    return RISKIER, f"Every step is {times(factor)} as long."


def _family(unit: TrainingUnit) -> str | None:
    """The optimiser, without how it decays: at the same rate Adam and AdamW step alike."""
    family = unit.optimizer
    return {"adamw": "adam", "nadamw": "nadam"}.get(family, family) if family else None


def samples_factor(one: UnitChanges) -> float | None:
    """New / old samples of one optimiser step; what both files leave out is taken as the same."""
    old, new = one.old, one.new
    assert old is not None
    assert new is not None
    both = old.number("global_batch"), new.number("global_batch")
    if both[0] and both[1]:
        alike = _unit_of(old, "global_batch") == _unit_of(new, "global_batch")
        return both[1] / both[0] if alike else None
    if not old.number("micro_batch") or not new.number("micro_batch"):
        return None
    if _unit_of(old, "micro_batch") != _unit_of(new, "micro_batch"):
        return None
    factor = 1.0
    for name in ("micro_batch", "accumulation", "world_size"):
        before, after = old.number(name), new.number(name)
        if (before is None) is not (after is None):
            if name == "world_size":
                return None
            before, after = before or 1, after or 1
        if before and after:
            factor *= after / before
    return factor


def _unit_of(unit: TrainingUnit, name: str) -> str:
    """Batches are counted in samples, or in tokens."""
    setting = unit.get(name)
    return setting.unit if setting is not None else ""


def judge_batch(change: Change, one: UnitChanges) -> Verdict:
    old, new = one.old, one.new
    assert old is not None
    assert new is not None
    seen, before = new.norm_batch, old.norm_batch
    least = load()["GA301"].limits["info"]
    by_batch = new.norm in ("batch", "sync_batch") and change.name in ("micro_batch", "world_size")
    if by_batch and seen is not None and before is not None and seen < before and seen < least:
        return RISKIER, (
            f"BatchNorm takes its statistics from {seen} samples now, from {before} before; "
            "accumulation does not help it."
        )
    factor = samples_factor(one)
    samples = _unit_of(new, "micro_batch") or _unit_of(new, "global_batch") or "samples"
    if factor is None:
        return UNKNOWN, "how many samples a step sees in all is not in both files"
    if abs(factor - 1) < 0.01:
        return NEUTRAL, (
            f"A step sees as many {samples} as before; only BatchNorm and losses that compare "
            "samples see the micro-batch."
        )
    if as_small(factor):
        rate = _rate_factor(one)
        if rate is not None and rate <= factor**0.5 * _ABOUT:
            return NEUTRAL, f"A step sees {times(1 / factor)} fewer {samples}, at a lower rate."
        at = ""
        if rate is not None:
            at = ", at a higher rate" if rate > _ABOUT else ", at the same rate"
            if rate < 1 / _ABOUT:
                at = f", at a rate {grown(rate)} only"
        return RISKIER, (
            f"A step sees {times(1 / factor)} fewer {samples}{at}: its gradient is noisier."
        )
    if as_large(factor):
        return SAFER, (
            f"A step sees {times(factor)} as many {samples}: less noise, and fewer steps an epoch; "
            "what is counted in steps lasts longer."
        )
    return NEUTRAL, f"{grown(factor)} {samples} a step: less than {number(LARGE)} x"


def _rate_factor(one: UnitChanges) -> float | None:
    assert one.old is not None
    assert one.new is not None
    before, after = one.old.number("learning_rate"), one.new.number("learning_rate")
    return after / before if before and after else None
