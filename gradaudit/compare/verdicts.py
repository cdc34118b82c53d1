"""What a change does to the training: riskier, safer, neutral or unknown, and why.

`riskier` speaks of gradients and steps that grow, spike or lose their meaning, not of the result:
a safer training may be a slower one. What depends on the data or the model is `unknown`.
"""

from __future__ import annotations

from gradaudit.compare.clip import judge_clip
from gradaudit.compare.decay import judge_decay
from gradaudit.compare.loss import common_factor, judge_term
from gradaudit.compare.model import (
    LARGE,
    NEUTRAL,
    NO_LONGER_WRITTEN,
    NOW_WRITTEN,
    RISKIER,
    SAFER,
    UNKNOWN,
    is_unknown,
)
from gradaudit.compare.scale import SMALL, as_large, as_small, judge_batch, judge_rate, times
from gradaudit.rules.optimisers import steps_with_gradient
from gradaudit.rules.text import number, optimizer_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from gradaudit.compare.model import Change, UnitChanges

    Verdict = tuple[str, str]

_COUNTED = frozenset((
    "learning_rate", "base_learning_rate", "weight_decay", "clip_norm", "clip_value", "clip_agc",
    "micro_batch", "accumulation", "global_batch", "world_size", "momentum", "warmup_steps",
    "warmup_epochs", "warmup_ratio", "warmup_tokens",
))  # fmt: skip
"""Settings of which a large change counts among several at once, beside the weights of the loss."""


_WORDS = ("", "", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def judge(one: UnitChanges) -> None:
    """Give each change of a training its verdict, and say where several hide each other."""
    assert one.old is not None
    assert one.new is not None
    common = common_factor(one)
    for change in one.changes:
        change.verdict, change.reason = _verdict(change, one, common)
        change.large = _is_large(change)
    _count_once(one)
    large = [change for change in one.changes if change.large]
    if len(large) > 1:
        many = _WORDS[len(large)] if len(large) < len(_WORDS) else str(len(large))
        switched = any(change.factor is None for change in large)
        what = "large changes" if switched else f"changes of {number(LARGE)} x or more"
        which = "neither" if len(large) == 2 else "none"
        others = "other" if len(large) == 2 else "others"
        one.several = (
            f"{many} {what} at once: {which} can be told from the {others}; try them one at a time"
        )


def _verdict(change: Change, one: UnitChanges, common: float | None) -> Verdict:
    if change.kind in (NOW_WRITTEN, NO_LONGER_WRITTEN):
        return NEUTRAL, "the value is the framework's default: nothing changes"
    for setting in (change.old, change.new):
        if setting is not None and is_unknown(setting):
            return UNKNOWN, f"the value is {setting.note}"
    if change.is_term:
        return judge_term(change, one, common)
    judged = _BY_NAME.get(change.name)
    if judged is not None:
        return judged(change, one)
    if change.name in _NEUTRAL:
        return NEUTRAL, _NEUTRAL[change.name]
    return UNKNOWN, _UNKNOWN.get(change.name, "")


def _is_large(change: Change) -> bool:
    if change.computed or not (change.is_term or change.name in _COUNTED):
        return False
    if change.kind in (NOW_WRITTEN, NO_LONGER_WRITTEN):
        return False
    if change.factor is not None:
        return as_large(change.factor) or as_small(change.factor)
    return change.verdict in (RISKIER, SAFER)  # switched on or off, or in terms of its own


def _count_once(one: UnitChanges) -> None:
    """One cause is one change: what is said in two settings, or moves together by design."""
    by_name = {change.name: change for change in one.changes if not change.is_term}
    for name, other in (
        ("base_learning_rate", "learning_rate"), ("global_batch", "micro_batch"),
        ("accumulation", "micro_batch"), ("world_size", "micro_batch"),
    ):  # fmt: skip
        if name in by_name and other in by_name and by_name[other].large:
            by_name[name].large = False
    warmups = [c for c in one.changes if c.name.startswith("warmup_") and c.large]
    for change in warmups[1:]:
        change.large = False
    terms = [change for change in one.changes if change.is_term and change.large]
    if terms and common_factor(one) is not None:
        for change in terms[1:]:
            change.large = False


def _momentum(change: Change, one: UnitChanges) -> Verdict:
    before = change.old.number if change.old is not None else None
    after = change.new.number if change.new is not None else None
    if before is None or after is None or not (0 <= before < 1 and 0 <= after < 1):
        return UNKNOWN, ""
    factor = (1 - before) / (1 - after)
    said = (
        f"A lasting gradient adds up to 1 / (1 - momentum) = {number(1 / (1 - after))} times its "
        f"step, before {number(1 / (1 - before))} times"
    )
    if as_large(factor):
        return RISKIER, f"{said}: like a learning rate {times(factor)} as high."
    if as_small(factor):
        return SAFER, f"{said}."
    return NEUTRAL, f"{said}."


def _betas(change: Change, one: UnitChanges) -> Verdict:
    old, new = change.old, change.new
    before, after = (s.value if s is not None else None for s in (old, new))
    if not isinstance(before, tuple) or not isinstance(after, tuple):
        return UNKNOWN, ""
    said = []
    for name, was, now in (
        ("the average of gradients", before[0], after[0]),
        ("the average of their squares", before[1], after[1]),
    ):
        if was != now and 0 <= was < 1 and 0 <= now < 1:
            said.append(f"{name} reaches back {_memory(now)}, before {_memory(was)}")
    text = "; ".join(said)
    return UNKNOWN, f"{text[:1].upper()}{text[1:]}." if text else ""


def _memory(beta: float) -> str:
    steps = number(round(1 / (1 - beta), 1))
    return f"{steps} step" + ("s" if steps != "1" else "")


def _warmup(change: Change, one: UnitChanges) -> Verdict:
    assert one.old is not None
    assert one.new is not None
    before, after = one.old.warmup, one.new.warmup
    if before is None and after is None:
        return NEUTRAL, "there is none in both"
    if before is None:
        return SAFER, "The rate rises slowly now: no full step on a fresh model."
    adam = (
        " Adam's running size then rests on few gradients (Liu et al. 2020)."
        if one.new.is_adaptive
        else ""
    )
    if after is None:
        unless = "" if change.new is not None else ", unless the scheduler has a warm-up of its own"
        return RISKIER, f"The first steps are taken at the full rate{unless}.{adam}"
    steps = one.new.number("steps_per_epoch")
    if (after.share_of(one.new.length, steps) or 0) >= 1:
        return RISKIER, f"A warm-up of {after} is all of the training: no step has the full rate."
    if before.unit == after.unit:
        factor = after.value / before.value
    else:
        shares = (
            before.share_of(one.old.length, one.old.number("steps_per_epoch")),
            after.share_of(one.new.length, steps),
        )
        if not shares[0] or not shares[1]:
            return UNKNOWN, f"{after} now, {before} before: the file does not say how these compare"
        factor = shares[1] / shares[0]
    if as_small(factor):
        return RISKIER, f"The full rate is reached {times(1 / factor)} as soon.{adam}"
    if as_large(factor):
        return SAFER, f"The full rate is reached {times(factor)} as late."
    return NEUTRAL, SMALL


_FP16 = ("fp16", "fp16-mixed")


def _precision(change: Change, one: UnitChanges) -> Verdict:
    before, after = (s.value if s is not None else None for s in (change.old, change.new))
    if not isinstance(after, str) or not isinstance(before, str):
        if after in _FP16:
            return RISKIER, _FP16_SAID
        return UNKNOWN, ""
    if after in _FP16 and before not in _FP16:
        return RISKIER, _FP16_SAID
    if after == "fp16":
        return RISKIER, (
            "The weights are in fp16: an update below 1/2048 of a weight may be rounded away."
        )
    if after == "bf16" and before != "bf16":
        return RISKIER, (
            "The weights are in bf16: an update below 1/256 of a weight may be rounded away."
        )
    if before in _FP16:
        return SAFER, "Out of fp16: no gradient overflows at 65,504, and no loss scale is needed."
    if before == "bf16":
        return SAFER, "Small updates of the weights are no longer rounded away."
    return NEUTRAL, "No range is lost; products are rounded more coarsely, or more finely."


_FP16_SAID = (
    "The range of fp16 ends at 65,504, and gradients below 6e-8 become 0: it needs loss scaling, "
    "and clipping after the gradients are unscaled."
)


def _optimizer(change: Change, one: UnitChanges) -> Verdict:
    assert one.old is not None
    assert one.new is not None
    before, after = optimizer_name(one.old), optimizer_name(one.new)
    rates = {c.name for c in one.changes} & {"learning_rate", "base_learning_rate"}
    kept = "" if rates else ", and the rate stayed"
    if one.old.optimizer is None or one.new.optimizer is None:
        return UNKNOWN, "a rate of one optimiser does not carry over to another"
    if {one.old.optimizer, one.new.optimizer} == {"adam", "adamw"}:
        if not one.new.number("weight_decay"):
            return NEUTRAL, "they differ in weight decay only, and there is none"
        return UNKNOWN, (
            "The same steps, but for the weight decay: Adam's is divided by the gradient's size, "
            "AdamW's is not, so that its value does not carry over."
        )
    if not rates and steps_with_gradient(one.old) and one.new.is_adaptive:
        return RISKIER, (
            f"A rate of {before} does not carry over to {after}{kept}: every weight moves by about "
            "the rate at each step, however small its gradient."
        )
    if not rates and one.old.is_adaptive and one.new.optimizer == "lion":
        return RISKIER, (
            f"A rate of {before} does not carry over to Lion{kept}: it takes one that is 3 to 10 "
            "times lower, with a decay as much higher (Chen et al. 2023)."
        )
    return UNKNOWN, f"A rate of {before} does not carry over to {after}{kept}."


_NEUTRAL = {
    "seed": "differences that are smaller than those between seeds say nothing now",
    "gradient_checkpointing": "the same gradients, for less memory and more time",
    "epochs": "the length: a schedule that ends with the training is stretched with it",
    "total_steps": "the length: a schedule that ends with the training is stretched with it",
    "total_tokens": "the length: a schedule that ends with the training is stretched with it",
    "early_stop_patience": "it decides when the run ends, not how it goes",
    "min_learning_rate": "the floor of the rate: it acts at the end of the schedule",
    "warmup_start_factor": "where the warm-up begins",
    "ema_decay": "an average of the weights: it does not act back on the training",
}
"""What changes no gradient and no step by itself, or only at one end of the schedule."""

_UNKNOWN = {
    "scheduler": "the rate takes another course between the warm-up and the end",
    "norm": "another normalisation scales gradients otherwise: the model decides how",
    "eps": "a floor under the gradient's running size: it acts where gradients are about as small",
    "dropout": "more or less noise in the activations: what that does is not in the file",
    "label_smoothing": "softer or harder targets: what that does is not in the file",
    "loss_scale": "too high a scale overflows in fp16, too low a one drops small gradients",
}
"""What a change of it means, where what it does depends on the data or the model."""

_BY_NAME: dict[str, Callable[[Change, UnitChanges], Verdict]] = {
    "learning_rate": judge_rate, "base_learning_rate": judge_rate,
    "micro_batch": judge_batch, "accumulation": judge_batch, "world_size": judge_batch,
    "global_batch": judge_batch,
    "clip_norm": judge_clip, "clip_value": judge_clip, "clip_agc": judge_clip,
    "weight_decay": judge_decay, "momentum": _momentum, "betas": _betas,
    "warmup_steps": _warmup, "warmup_epochs": _warmup, "warmup_ratio": _warmup,
    "precision": _precision, "optimizer": _optimizer,
}  # fmt: skip
