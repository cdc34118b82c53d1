"""GA2: how long the schedule runs, against how long the training does."""

from __future__ import annotations

from math import cos, pi

from gradaudit.edits import replace_value
from gradaudit.findings import (
    HIGH,
    MEDIUM,
    RECOMMENDED,
    WARNING,
    Finding,
    Fix,
    Related,
)  # fmt: skip
from gradaudit.plan.model import WRITTEN
from gradaudit.rules import rule
from gradaudit.rules.lengths import horizon_of, in_lengths, is_endless, miscounted, scheduler_name
from gradaudit.rules.repair import change, place_of
from gradaudit.rules.text import number, percent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import Duration, Setting, TrainingUnit
    from gradaudit.rules import Limits

COSINE = (
    "https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.CosineAnnealingLR.html"
)
LIGHTNING = (
    "https://lightning.ai/docs/pytorch/stable/common/lightning_module.html#configure-optimizers "
    "(`interval`: the scheduler is called after each epoch, or after each step)"
)


@rule(
    "GA211",
    "schedule-ends-early",
    scope="unit",
    needs=(("decay_steps", "decay_epochs", "decay_calls"), ("total_steps", "epochs")),
    severities=(WARNING,),
    confidence=HIGH,
    limits={"share": 0.95, "end_rate": 0.05},
    references=(
        f"{COSINE} (the formula is periodic: after T_max the rate rises again)",
        "https://github.com/pytorch/pytorch/blob/main/torch/optim/lr_scheduler.py",
        (
            "https://github.com/NVIDIA/Megatron-LM (megatron/core/optimizer_param_scheduler.py: "
            "after lr_decay_steps the rate stays at min_lr)"
        ),
    ),
)
def schedule_ends_early(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The schedule is over before the training: the rate climbs back, or the rest is wasted.

    Why:
        torch's `CosineAnnealingLR` does not stop at `T_max`: its formula is periodic, and after
        `T_max` the rate climbs back as it fell. At twice `T_max` the training ends at the peak
        rate, with none of what the decay had gained. Trainers that hold the rate where the
        schedule left it train the rest at that rate: where it is 0, no weight changes any more.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        epochs: 100
        scheduler:
          type: CosineAnnealingLR
          T_max: 50

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        epochs: 100
        scheduler:
          type: CosineAnnealingLR
          T_max: 100

    Tell:
        Plot the logged learning rate: it turns round, or lies at 0, long before the last step.

    Symptoms:
        loss rises, from the start or after falling
        worse than the published result
        slow or wasted training

    Fix:
        Recommended: as long as the training. None where a warm-up may come before the cosine.

    Limits:
        share: a schedule below this share of the training is looked at.
        end-rate: a cosine that ends the training below this share of the peak is not reported.

    False positives:
        A training that is stopped by hand or by early stopping when the rate is lowest, and
        cyclic schedules on purpose: an odd multiple of `T_max` ends at the lowest rate and is not
        reported. Not reported either: a schedule that ends at a rate above 0 and stays there, as
        GPT-3's; warm restarts; warm-up, stable, decay. A `T_max` whose unit no key says is judged
        only where steps or epochs alone make sense of it.
    """
    horizon = horizon_of(unit)
    if horizon is None or is_endless(unit) or miscounted(unit):
        return
    decay, sure = horizon
    compared = in_lengths(unit, decay)
    if compared is None or not compared[2] or compared[0] >= limits["share"]:
        return
    share, length, _ = compared
    if _is_periodic(unit, decay):
        end = _end_of_cosine(unit, decay, length, share)
        if end is None or end <= limits["end_rate"]:
            return
        what = f"climbs back: the training ends at {_of_peak(unit, end)}"
        why = "The cosine is periodic: after `T_max` the rate rises as it fell, and undoes what "
        why += "the decay gained."
    else:
        low = unit.get("min_learning_rate")
        if low is None or low.number != 0:
            return
        what = f"stays at 0: the last {percent(1 - share)} of the training changes no weight"
        why = (
            "At a rate of 0 neither the gradient nor weight decay moves a weight under any of the "
        )
        why += "usual optimisers: these steps are paid for and learn nothing."
    warms_up = _is_periodic(unit, decay) and unit.warmup is not None
    lasts = number(decay.value) if decay.unit == length.unit else str(decay)
    yield Finding(
        place_of(decay.setting, unit),
        f"the schedule ends after {lasts} of {length}, then {what}",
        severity=WARNING,
        confidence=sure,
        key=decay.setting.key,
        label=f"ends after {decay}",
        related=[Related(place_of(length.setting, unit), f"training ends after {length}")],
        why=[why],
        next="Let the schedule run as long as the training.",
        fix=None if warms_up else _as_long(decay, length, share),
        no_fix="it depends on whether the warm-up comes before the cosine" if warms_up else "",
    )


def _is_periodic(unit: TrainingUnit, decay: Duration) -> bool:
    """torch's `CosineAnnealingLR`, which alone calls its length `T_max`."""
    name = scheduler_name(unit)
    return decay.setting.last_key.lower() == "t_max" and (not name or "cosine" in name)


def _end_of_cosine(
    unit: TrainingUnit, decay: Duration, length: Duration, share: float
) -> float | None:
    """Where between 0 (lowest) and 1 (peak) the cosine is at the end of the training; the lower of
    the two where it may begin after the warm-up; None where that is not known."""
    ends = [_cosine(1 / share)]
    warmup = unit.warmup
    if warmup is not None:
        part = warmup.share_of(length, unit.number("steps_per_epoch"))
        if part is None:
            return None
        ends.append(_cosine(max(0.0, 1 - part) / share))
    return min(ends)


def _cosine(done: float) -> float:
    return (1 + cos(pi * done)) / 2


def _of_peak(unit: TrainingUnit, end: float) -> str:
    peak = unit.number("learning_rate")
    low = unit.number("min_learning_rate") or 0.0
    if not peak or peak <= low:
        return f"{percent(end)} of the peak rate"
    rate = low + (peak - low) * end
    return f"{number(rate)}, {percent(rate / peak)} of the peak rate"


def _as_long(decay: Duration, length: Duration, share: float) -> Fix | None:
    """The schedule made as long as the training, in its own unit."""
    edit = change(decay.setting, round(decay.value / share))
    if edit is None:
        return None
    return Fix(
        RECOMMENDED,
        f"set `{decay.setting.last_key}` from {decay.setting.raw} to {edit.new}",
        [edit],
        ["the rate is another one at nearly every step"],
    )


@rule(
    "GA212",
    "schedule-outlasts-training",
    scope="unit",
    needs=(("decay_steps", "decay_epochs", "decay_calls"), ("total_steps", "epochs")),
    severities=(WARNING,),
    confidence=MEDIUM,
    limits={"share": 1.25, "debug_steps": 1000},
    references=(
        (
            "https://arxiv.org/abs/2203.15556 (Hoffmann et al. 2022, appendix B: a cosine planned "
            "for over 25 % more steps than are trained ends at a clearly higher loss)"
        ),
        COSINE,
    ),
)
def schedule_outlasts_training(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The schedule is planned for far more than the training: the rate never gets down.

    Why:
        The last part of the decay brings a large share of what a training gains, under every
        optimiser. A run that stops on the way down keeps the noise of a high rate: a cosine
        planned for more than 1.25 times the steps that are trained ends at a clearly higher loss
        (Hoffmann et al. 2022).

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        max_steps: 10000
        lr_decay_iters: 40000

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        max_steps: 10000
        lr_decay_iters: 10000

    Tell:
        Plot the logged learning rate: at the last step it is still far above its lowest value.

    Symptoms:
        worse than the published result

    Fix:
        Recommended: as long as the training.

    Limits:
        share: a schedule above this multiple of the training is reported.
        debug-steps: a training of at most so many steps is taken for a test or a benchmark.

    False positives:
        The first part of a longer training, a run that is to be continued, an ablation that stops
        early on purpose. Tests and benchmarks are not reported, nor schedules without an end.
    """
    horizon = horizon_of(unit)
    if horizon is None or is_endless(unit) or miscounted(unit):
        return
    decay, _ = horizon
    compared = in_lengths(unit, decay)
    if compared is None or compared[0] <= limits["share"]:
        return
    share, length, _ = compared
    if length.unit == "steps" and length.value <= limits["debug_steps"]:
        return
    name, done = scheduler_name(unit), 1 / share
    if decay.setting.last_key == "end":  # it may begin anywhere
        end = f"its last {percent(1 - done)} never happens"
    elif "cosine" in name or _is_periodic(unit, decay):
        end = f"it ends at {_of_peak(unit, _cosine(done))}"
    elif "linear" in name:
        end = f"it ends at {_of_peak(unit, 1 - done)}"
    else:
        end = f"its last {percent(1 - done)} never happens"
    yield Finding(
        place_of(decay.setting, unit),
        f"the schedule runs for {decay}, the training for {length}: {end}",
        severity=WARNING,
        confidence=MEDIUM,
        key=decay.setting.key,
        label=f"runs for {decay}",
        related=[Related(place_of(length.setting, unit), f"training ends after {length}")],
        why=["The last part of the decay, which brings a training's last gains, never happens."],
        next="Let the schedule run as long as the training; leave it where this run is the first "
        "part of a longer one.",
        fix=_as_long(decay, length, share),
    )


@rule(
    "GA213",
    "schedule-unit-mismatch",
    scope="unit",
    needs=("decay_calls", "scheduler_interval", ("total_steps", "epochs")),
    severities=(WARNING,),
    confidence=MEDIUM,
    references=(LIGHTNING, COSINE),
)
def schedule_unit_mismatch(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The schedule's length is the training's in epochs, but it is called every step, or reverse.

    Why:
        A scheduler counts its own calls. Called after every step, a `T_max` of 100 is over after
        100 steps, and the cosine swings up and down all through the run. Called after every
        epoch, a `T_max` of 50,000 leaves the rate at its peak.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        epochs: 100
        scheduler:
          type: CosineAnnealingLR
          T_max: 100
          interval: step

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        epochs: 100
        scheduler:
          type: CosineAnnealingLR
          T_max: 100
          interval: epoch

    Tell:
        Plot the logged learning rate over the first epoch: it swings, or does not move.

    Symptoms:
        loss rises, from the start or after falling
        worse than the published result
        slow or wasted training

    Fix:
        Recommended: the other interval, where it is written as `step` or `epoch`. With the number
        counted in the other unit the rate would take the same course. None elsewhere.

    False positives:
        Epochs of one step, as in full-batch training (not reported where the file says so).
    """
    wrong = miscounted(unit)
    if wrong is None:
        return
    interval, length = wrong
    calls = unit.settings["decay_calls"]
    each = interval[:-1]
    effect = (
        f"the schedule is over after {number(length.value)} steps"
        if interval == "steps"
        else "the rate hardly moves"
    )
    called = unit.settings["scheduler_interval"]
    fix = _called_every(called, length.unit.removesuffix("s"))
    yield Finding(
        place_of(calls, unit),
        f"`{calls.last_key}: {calls.raw}` is the training in {length.unit}, but the scheduler is "
        f"called after every {each}: {effect}",
        severity=WARNING,
        confidence=HIGH if called.origin == WRITTEN else MEDIUM,
        key=calls.key,
        label=f"counted in {interval}",
        related=[
            Related(place_of(setting, unit), said)
            for setting, said in (
                (called, f"called after every {each}"),
                (length.setting, f"training ends after {length}"),
            )
            if setting.place is not None
        ],
        why=["A scheduler counts its own calls, whatever they follow."],
        next=f"Give the length in {interval}, or have the scheduler called after every "
        f"{length.unit[:-1]}.",
        fix=fix,
        no_fix="" if fix else "the file does not write how often the scheduler is called",
    )


def _called_every(called: Setting, unit: str) -> Fix | None:
    """The scheduler called after every `step` or `epoch`, where the file says the other one."""
    if called.origin != WRITTEN or called.tree is None or called.node is None:
        return None
    if called.raw.strip("\"'") not in ("step", "epoch"):
        return None
    edit = replace_value(called.tree, called.node, called.key, unit)
    return Fix(RECOMMENDED, f"set `{called.last_key}` to {unit}", [edit])
