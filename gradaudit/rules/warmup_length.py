"""GA2: how long the warm-up is, and from where it starts."""

from __future__ import annotations

from gradaudit.findings import (
    ERROR,
    HIGH,
    INFO,
    MEDIUM,
    RECOMMENDED,
    SPECULATIVE,
    WARNING,
    Finding,
    Fix,
    Related,
)  # fmt: skip
from gradaudit.plan.model import Duration
from gradaudit.plan.schedule import rate_at
from gradaudit.rules import rule
from gradaudit.rules.repair import change, place_of
from gradaudit.rules.text import number, percent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import TrainingUnit
    from gradaudit.rules import Limits

PLAYBOOK = (
    "https://github.com/google-research/tuning_playbook (try warm-ups of up to a tenth of the "
    "training; one above 5 % may need a longer training)"
)

LONG = 0.34
"""A warm-up above this share of the training is a warning."""


def _shortened(
    unit: TrainingUnit, warmup: Duration, length: Duration, warning: float
) -> Fix | None:
    """A warm-up of a tenth of the training, in its own unit."""
    per_epoch = unit.number("steps_per_epoch")
    if warmup.unit == "ratio":
        edit = change(warmup.setting, 0.1)
    else:
        total = length.value
        if warmup.unit != length.unit:
            if not per_epoch:
                return None
            total *= per_epoch if warmup.unit == "steps" else 1 / per_epoch
        edit = change(warmup.setting, max(1, round(total / 10)))
    if edit is None:
        return None
    notes = ["a tenth of the training, the tuning playbook's upper bound"]
    share = Duration(float(str(edit.value)), warmup.unit, warmup.setting).share_of(
        length, per_epoch
    )
    if share is not None and share > 0.1 + 1e-9:
        notes = [
            f"the shortest whole number: {percent(share)} of the training"
            if edit.value == 1
            else f"a tenth of the training, rounded: {percent(share)}"
        ]
        if share > warning:
            notes.append("GA204 still warns of it: so short a training has room for no warm-up")
    return Fix(
        RECOMMENDED,
        f"shorten `{warmup.setting.last_key}` from {warmup.setting.raw} to {edit.new}",
        [edit],
        notes,
    )


@rule(
    "GA203",
    "warmup-exceeds-training",
    scope="unit",
    needs=(("warmup_steps", "warmup_epochs", "warmup_ratio"),),
    severities=(ERROR, WARNING),
    confidence=HIGH,
    limits={"share": 1.0, "debug_steps": 100},
    references=(PLAYBOOK,),
)
def warmup_exceeds_training(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The warm-up is as long as the training or longer: the peak rate is never reached.

    Why:
        Whatever the optimiser, the run ends while the rate still rises; the learning rate in the
        file is never used, and any decay after the warm-up never happens.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        warmup_steps: 2000
        max_steps: 1000

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        warmup_steps: 100
        max_steps: 1000

    Tell:
        Plot the logged learning rate: it rises to the last step.

    Symptoms:
        worse than the published result
        slow or wasted training

    Fix:
        Recommended: a tenth of the training.

    Limits:
        share: warm-up as a share of the training from which it is reported.
        debug-steps: a training of at most so many steps is taken for a smoke test: a warning.

    False positives:
        A smoke test of a few steps (100 or fewer: a warning). A constant schedule that ignores
        its warm-up keys. Not reported: a warm-up beside a longer length of its scheduler's own,
        which may count in other units than the trainer.
    """
    warmup, length = unit.warmup, unit.length
    share = warmup.share_of(length, unit.number("steps_per_epoch")) if warmup else None
    if warmup is None or share is None or share < limits["share"]:
        return
    if warmup.unit == "ratio" and share > 1:  # value-out-of-domain has it
        return
    if _scheduler_has_own_length(unit, warmup):
        return
    related = []
    if length is not None and warmup.unit != "ratio":
        related.append(Related(place_of(length.setting, unit), f"training ends after {length}"))
    short = length is not None and length.unit == "steps" and length.value <= limits["debug_steps"]
    yield Finding(
        place_of(warmup.setting, unit),
        f"warm-up lasts {warmup}{f', the training {length}' if length else ''}: the peak rate is "
        + ("reached only at its end" if share == 1 else "never reached"),
        severity=WARNING if short else ERROR,
        confidence=HIGH,
        key=warmup.setting.key,
        label=f"warm-up of {warmup}",
        related=related,
        why=["The run ends while the rate still rises; any decay after it never happens."],
        next="Shorten the warm-up, or check which of the two numbers is in the wrong unit.",
        fix=_shortened(unit, warmup, length, LONG) if length else None,
    )


def _scheduler_has_own_length(unit: TrainingUnit, warmup: Duration) -> bool:
    """A greater length beside the warm-up that is not the training's.

    The scheduler's `max_epochs: 100000` beside its `warmup_epochs: 10000`, with a trainer of 100
    epochs: it is stepped by the batch, whatever its keys are called.
    """
    section = warmup.setting.key.rpartition(".")[0]
    return any(
        other.key.rpartition(".")[0] == section and (other.number or 0) > warmup.value
        for name in ("epochs", "total_steps")
        for other in unit.others.get(name, ())
    )


def _is_one_cycle(unit: TrainingUnit) -> bool:
    """A rise that is half of the schedule, and no warm-up (Smith & Topin 2017)."""
    scheduler = unit.get("scheduler")
    name = str(scheduler.value).lower() if scheduler else ""
    return "onecycle" in name.replace("_", "") or "1cycle" in name


@rule(
    "GA204",
    "warmup-too-long",
    scope="unit",
    needs=(("warmup_steps", "warmup_epochs", "warmup_ratio"),),
    severities=(WARNING, INFO),
    confidence=MEDIUM,
    limits={"warning": LONG, "info": 0.1},
    references=(
        PLAYBOOK,
        "https://arxiv.org/abs/1708.07120 (Smith & Topin 2017: one-cycle schedules)",
    ),
)
def warmup_too_long(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The warm-up takes more than a third of the training.

    Why:
        It is there to get past the unstable start: Adam's early second moments, large gradients
        of post-norm transformers. The tuning playbook tries no warm-up longer than a tenth of the
        training, and above 5 % would lengthen the training instead. The steps under a low rate
        are paid for and learn little; a training that needs more may have too high a peak rate.
        Published recipes that work go up to a third (70 of 300 epochs for video transformers, 8,000
        of 25,000 steps for a speech fine-tuning): only above that it is a warning.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        warmup_epochs: 40
        epochs: 100

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        warmup_epochs: 10
        epochs: 100

    Tell:
        Halve the warm-up: if the first steps at the peak are stable, it was too long.

    Symptoms:
        slow or wasted training

    Fix:
        Speculative: a tenth of the training.

    Limits:
        warning: above this share of the training it is a warning.
        info: above this share it is an info, without a fix.

    False positives:
        Short fine-tunings; warm-up-stable-decay schedules; a run that continues an earlier one.
        One-cycle schedules rise for 30 to 45 % of the run by design, and are not reported.
    """
    if _is_one_cycle(unit):
        return
    warmup, length = unit.warmup, unit.length
    share = warmup.share_of(length, unit.number("steps_per_epoch")) if warmup else None
    if warmup is None or share is None or not limits["info"] < share < 1:
        return
    fix = None
    if length and share > limits["warning"]:
        fix = _shortened(unit, warmup, length, limits["warning"])
    if fix is not None:
        fix.applicability = SPECULATIVE
    related = []
    if length is not None and warmup.unit != "ratio":
        related.append(Related(place_of(length.setting, unit), f"of {length}"))
    yield Finding(
        place_of(warmup.setting, unit),
        f"warm-up takes {percent(share)} of the training",
        severity=WARNING if share > limits["warning"] else INFO,
        confidence=MEDIUM,
        key=warmup.setting.key,
        label=f"warm-up of {warmup}",
        related=related,
        why=[
            (
                "The steps under a low rate are paid for and learn little. What is still unstable "
                "after a tenth of the training may be the peak rate itself."
            )
        ],
        next="Try a tenth of the training.",
        fix=fix,
    )


@rule(
    "GA205",
    "warmup-start-factor",
    scope="unit",
    needs=("warmup_start_factor",),
    severities=(ERROR, INFO),
    confidence=HIGH,
    limits={"info": 0.5},
    references=(
        "https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.LinearLR.html",
    ),
)
def warmup_start_factor(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The factor that the warm-up starts from is no start: above 1, negative, or hardly below 1.

    Why:
        The rate begins at factor x learning rate. Above 1 the training starts at its highest rate,
        below 0 it climbs the loss; torch's `LinearLR` refuses both. From 0.5 on there is hardly
        any warm-up.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        warmup_epochs: 5
        warmup_start_factor: 2.0

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        warmup_epochs: 5
        warmup_start_factor: 0.02

    Tell:
        Print the learning rate of the first step.

    Symptoms:
        loss is nan
        loss spikes
        training ends with an error, or never starts

    Fix:
        None: 2.0 may be 0.02, 0.2 or 2 %.

    Limits:
        info: from this factor on (below 1) there is hardly a warm-up.

    False positives:
        Some frameworks call the number that they divide by a factor; there, 10 is right.
    """
    setting = unit.settings["warmup_start_factor"]
    factor = setting.number
    if factor is None or 0 <= factor < limits["info"] or factor == 1:
        return
    wrong = factor < 0 or factor > 1
    rate = unit.number("learning_rate")
    starts = f": the first step uses {number(rate * factor)}" if rate else ""
    yield Finding(
        place_of(setting, unit),
        f"warm-up starts from {number(factor)} x the peak rate{starts}",
        severity=ERROR if wrong else INFO,
        confidence=HIGH,
        key=setting.key,
        label="outside 0 to 1" if wrong else "hardly a warm-up",
        why=[
            "torch's LinearLR refuses a start factor outside (0, 1]."
            if wrong
            else "The first steps, which the warm-up is there for, run at half the peak or more."
        ],
        next="0.001 to 0.1 is usual.",
        no_fix="which factor was meant is not known" if wrong else "",
    )


@rule(
    "GA206",
    "observed-inside-warmup",
    scope="unit",
    needs=(
        "observed",
        "learning_rate",
        ("warmup_steps", "warmup_epochs", "warmup_ratio"),
    ),
    severities=(INFO,),
    confidence=HIGH,
    references=(
        "https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.LinearLR.html",
        PLAYBOOK,
    ),
)
def observed_inside_warmup(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The observed gradient norm is from the warm-up, when the rate was below its peak.

    Why:
        Norms are often largest in the first steps and fall by themselves, and the rate in force
        was not the one in the file. A norm from the warm-up is no ground for a lower peak rate,
        nor for a clip threshold.

    Bad:
        optimizer: adamw
        learning_rate: 8.0e-5
        epochs: 80
        warmup_epochs: 6
        warmup_start_factor: 0.02

    Options:
        --observed-grad-norm 28.9 --observed-epoch 3

    Good:
        optimizer: adamw
        learning_rate: 8.0e-5
        epochs: 80
        warmup_epochs: 2
        warmup_start_factor: 0.02

    Tell:
        Log the learning rate beside the gradient norm, and look at both after the warm-up.

    Symptoms:
        gradient norm spikes

    Fix:
        None: nothing is wrong in the file.

    False positives:
        The warm-up is taken as linear, but for DeepSpeed's (logarithmic by default) and OpenPCDet's
        one-cycle (half a wave). Epochs and steps are counted from 1.
    """
    observed = unit.observed
    warmup = unit.warmup
    if observed is None or warmup is None or not unit.observed_here:
        return
    rate = rate_at(unit, observed.epoch, observed.step)
    if rate is None or not rate.inside_warmup:
        return
    evidence = []
    if unit.number("warmup_start_factor") is None and rate.shape == "linear":
        evidence.append("taken from 0: the file names no start factor")
    if rate.high > rate.low:
        value = f"{number(rate.low)} if it steps per epoch, up to {number(rate.high)} if per batch"
    else:
        value = number(rate.low)
    peak = unit.settings["learning_rate"]
    yield Finding(
        place_of(warmup.setting, unit),
        f"observed{observed.when}, inside the warm-up of {warmup}: the learning rate was {value}",
        severity=INFO,
        confidence=HIGH,
        key=warmup.setting.key,
        label=f"{rate.shape} to the peak over {warmup}",
        related=[Related(place_of(peak, unit), f"peak rate {number(rate.peak)}")],
        why=[
            (
                "Norms are often largest in the first steps and fall by themselves: one from the "
                "warm-up is no ground for a lower rate or another threshold."
            )
        ],
        evidence=evidence,
        next="Observe the norm again after the warm-up.",
    )
