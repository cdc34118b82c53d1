"""GA2: how the rate rises and falls, beside the peak rate and the length of its warm-up."""

from __future__ import annotations

from gradaudit.findings import (
    ERROR,
    HIGH,
    INFO,
    MEDIUM,
    WARNING,
    Finding,
    Related,
)  # fmt: skip
from gradaudit.plan.model import Duration
from gradaudit.rules import rule
from gradaudit.rules.lengths import TIMES_EPOCHS, call_unit, in_lengths, scheduler_name
from gradaudit.rules.optimisers import rate_is_factor
from gradaudit.rules.repair import place_of
from gradaudit.rules.text import listed, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import TrainingUnit
    from gradaudit.rules import Limits

PLATEAU = (
    "https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.ReduceLROnPlateau.html"
)


@rule(
    "GA207",
    "min-learning-rate-above-peak",
    scope="unit",
    needs=("learning_rate", "min_learning_rate"),
    severities=(ERROR, WARNING),
    confidence=HIGH,
    references=(
        "https://arxiv.org/abs/1608.03983 (Loshchilov & Hutter 2017, SGDR: eta_min)",
        (
            "https://github.com/NVIDIA/Megatron-LM (megatron/core/optimizer_param_scheduler.py "
            "refuses a min_lr above max_lr)"
        ),
        (
            'https://github.com/NVIDIA/NeMo/blob/main/nemo/core/optim/lr_scheduler.py ("an initial '
            'learning rate that was lower than the minimum learning rate": refused)'
        ),
        PLATEAU,
    ),
)
def min_learning_rate_above_peak(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The lowest learning rate of the schedule is above the peak.

    Why:
        A decay from the peak to a higher rate is growth: the training ends at its highest rate,
        under every optimiser, and what a decay gains at the end is lost. `ReduceLROnPlateau` with
        such a lower bound never lowers the rate. It happens when the peak is lowered for a
        fine-tuning and the lower bound is forgotten.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-5
        min_lr: 1.0e-4

    Good:
        optimizer: adamw
        learning_rate: 1.0e-5
        min_lr: 1.0e-6

    Tell:
        Plot the logged learning rate: it rises to the last step.

    Symptoms:
        loss rises, from the start or after falling
        worse than the published result

    Fix:
        None: which of the two numbers is wrong is not known.

    False positives:
        A cyclic schedule whose lower rate is named first, or a range test that rises on purpose.
        A rate that a scheduler multiplies (Noam) is not compared, nor is a constant schedule, which
        has no lower end. Equal rates are a constant rate and not reported. Where several rates are
        written (parameter groups), the highest is compared, and it is a warning; so it is for a
        `base_lr`, which some code multiplies by the batch.
    """
    low, peak = unit.settings["min_learning_rate"], unit.settings["learning_rate"]
    rates = [s.number for s in unit.every("learning_rate") if s.number is not None]
    if low.number is None or not rates or peak.number is None or peak.number <= 0:
        return
    highest, name = max(rates), scheduler_name(unit)
    if low.number <= highest or rate_is_factor(unit) or "constant" in name or "cycl" in name:
        return
    several = highest > min(rates) or peak.last_key.lower().startswith("base")
    is_plateau = "plateau" in name
    yield Finding(
        place_of(low, unit),
        f"the lowest rate, {number(low.number)}, is above the peak, {number(highest)}: the rate "
        + ("is never lowered" if is_plateau else "rises where it should fall"),
        severity=WARNING if several or is_plateau else ERROR,
        confidence=MEDIUM if several else HIGH,
        key=low.key,
        label="above the peak",
        related=[Related(place_of(peak, unit), f"peak rate {number(peak.number)}")],
        why=[
            "The plateau scheduler lowers a rate no further than this, so it never acts."
            if is_plateau
            else "The training ends at its highest rate, and what a decay gains is lost; some "
            "trainers (Megatron's, NeMo's) refuse it."
        ],
        next="Check the exponents; a tenth of the peak, or 0, is usual for the lowest rate.",
        no_fix="which of the two numbers is wrong is not known",
    )


@rule(
    "GA214",
    "milestones-never-reached",
    scope="unit",
    needs=("milestones", ("total_steps", "epochs")),
    severities=(WARNING, INFO),
    confidence=HIGH,
    references=(
        "https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.MultiStepLR.html",
        (
            "https://github.com/facebookresearch/detectron2/blob/main/detectron2/solver/build.py "
            '("SOLVER.STEPS contains values larger than SOLVER.MAX_ITER. These values will be '
            'ignored.")'
        ),
    ),
)
def milestones_never_reached(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """Milestones at which the rate should drop lie after the end of the training.

    Why:
        A step schedule drops the rate at its milestones and nowhere else. One that lies at or
        after the end never acts: the training ends at a higher rate than planned. That happens
        when a training is shortened and its milestones are forgotten.

    Bad:
        optimizer: sgd
        learning_rate: 0.1
        epochs: 90
        scheduler:
          type: MultiStepLR
          milestones: [150, 250]

    Good:
        optimizer: sgd
        learning_rate: 0.1
        epochs: 90
        scheduler:
          type: MultiStepLR
          milestones: [30, 60]

    Tell:
        Plot the logged learning rate and count its drops.

    Symptoms:
        worse than the published result

    Fix:
        None: where they belong depends on the training. A common choice is two thirds and eight
        ninths of it.

    False positives:
        A single milestone at or after the end is how recipes write a constant rate (Real-ESRGAN,
        RT-DETR), and a last one exactly at the end only marks it: neither is reported. Where some
        milestones are reached it is an info: a base file may serve trainings of several lengths.
        Milestones whose unit no key says are judged only where they cannot count anything else.
    """
    setting = unit.settings["milestones"]
    values, name = setting.value, scheduler_name(unit)
    if not isinstance(values, tuple) or len(values) < 2 or (name and "step" not in name):
        return
    measure = setting.unit or call_unit(unit)
    guessed = not measure
    if guessed:
        epochs = unit.number("epochs")
        if not epochs or max(values) > TIMES_EPOCHS * epochs:
            return
        measure = "epochs"
    for value in values:
        if value <= 0:
            return
    missed = []
    for value in values:
        compared = in_lengths(unit, Duration(value, measure, setting))
        if compared is not None and compared[0] >= 1:
            missed.append((value, *compared[:2]))
    none_acts = len(missed) == len(values)
    if not none_acts:  # one at the very end marks it
        missed = [entry for entry in missed if entry[1] > 1]
    if not missed:
        return
    beyond, length = [value for value, _, _ in missed], missed[-1][2]
    which = "no milestone is" if none_acts else f"{listed([number(v) for v in beyond])} "
    if not none_acts:
        which += "is never" if len(beyond) == 1 else "are never"
    yield Finding(
        place_of(setting, unit),
        f"{which} reached: the training ends after {length}",
        severity=WARNING if none_acts else INFO,
        confidence=MEDIUM if guessed else HIGH,
        key=setting.key,
        label=f"in {measure}",
        related=[Related(place_of(length.setting, unit), f"training ends after {length}")],
        why=[
            "The rate never drops: the training ends at its peak rate."
            if none_acts
            else "The training ends at a higher rate than the milestones plan."
        ],
        next="Move the milestones inside the training, or lengthen it.",
        no_fix="where the milestones belong depends on the training",
    )


@rule(
    "GA216",
    "plateau-outlasts-early-stop",
    scope="unit",
    needs=("plateau_patience", "early_stop_patience"),
    severities=(WARNING,),
    confidence=MEDIUM,
    references=(
        f"{PLATEAU} (the rate drops after more than `patience` epochs without improvement)",
        (
            "https://lightning.ai/docs/pytorch/stable/api/"
            "lightning.pytorch.callbacks.EarlyStopping.html (stops after `patience` checks without "
            "improvement)"
        ),
    ),
)
def plateau_outlasts_early_stop(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """Early stopping ends the training before the plateau scheduler lowers the rate.

    Why:
        Both wait for the same thing, a number of checks without improvement. `ReduceLROnPlateau`
        acts when there are more than its `patience`. Where early stopping waits no longer than
        that, the training ends just when the rate would drop, and a lower rate is not tried.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        scheduler:
          type: ReduceLROnPlateau
          patience: 10
        early_stopping:
          patience: 10

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        scheduler:
          type: ReduceLROnPlateau
          patience: 3
        early_stopping:
          patience: 10

    Tell:
        Look for a drop of the logged learning rate before the run stops.

    Symptoms:
        worse than the published result

    Fix:
        None: how long each should wait depends on how noisy the metric is. Two or three times the
        plateau's patience is usual for early stopping.

    False positives:
        The two watch different metrics, or count different things: early stopping counts
        validations, which may be rarer than the scheduler's calls. What counts as an improvement
        may differ too: torch's scheduler asks for 0.01 % by default, early stopping for any.
    """
    plateau, stop = unit.settings["plateau_patience"], unit.settings["early_stop_patience"]
    name = scheduler_name(unit)
    if plateau.number is None or not stop.number or (name and "plateau" not in name):
        return
    if stop.number <= 0 or plateau.number < stop.number:
        return
    yield Finding(
        place_of(plateau, unit),
        f"the rate drops after more than {number(plateau.number)} checks without improvement, "
        f"the training stops after {number(stop.number)}: it stops first",
        severity=WARNING,
        confidence=MEDIUM,
        key=plateau.key,
        label=f"waits for {number(plateau.number)}",
        related=[Related(place_of(stop, unit), f"stops after {number(stop.number)}")],
        why=["Where both watch one metric, the training ends just before a lower rate is tried."],
        next="Let the scheduler wait for a half or a third of what early stopping waits for.",
        no_fix="how long each should wait depends on how noisy the metric is",
    )


@rule(
    "GA217",
    "few-steps",
    scope="unit",
    needs=(("total_steps", "epochs"), ("total_steps", "steps_per_epoch")),
    severities=(INFO,),
    confidence=MEDIUM,
    limits={"steps": 100, "debug_steps": 20},
    profile="strict",
    references=(
        (
            "https://arxiv.org/abs/1412.6980 (Kingma & Ba 2015: the second moment averages over "
            "about 1 / (1 - beta2) steps, 1,000 by default)"
        ),
    ),
)
def few_steps(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The whole training has fewer than a hundred optimiser steps.

    Why:
        A warm-up, an average of the weights and Adam's second moment need time, in steps: with a
        beta2 of 0.999 the latter averages over a thousand. In a few dozen steps they hardly begin,
        and each weight moves by at most about learning rate x steps under Adam. Large batches and
        long accumulation make few steps of many epochs.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        epochs: 3
        steps_per_epoch: 20

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        epochs: 3
        steps_per_epoch: 2000

    Tell:
        Look at the step counter of the last log line, and at whether the loss still falls.

    Symptoms:
        worse than the published result

    Fix:
        None: a smaller global batch or more epochs give more steps; which is right is not known.

    Limits:
        steps: a training of fewer optimiser steps is reported.
        debug-steps: a training of at most so many steps is taken for a smoke test.

    False positives:
        Short fine-tunings and few-shot trainings on purpose, and smoke tests: so it runs in the
        strict profile only.
    """
    steps, per_epoch = unit.number("total_steps"), unit.number("steps_per_epoch")
    epochs = unit.number("epochs")
    by_epochs = epochs * per_epoch if epochs and per_epoch else None
    if steps and steps > 0 and by_epochs and unit.settings["epochs"].gives_way:
        by_epochs = None
    ends = [end for end in (steps, by_epochs) if end and end > 0]
    if not ends or not limits["debug_steps"] < min(ends) < limits["steps"]:
        return
    total = min(ends)
    where = unit.settings["total_steps" if total == steps else "epochs"]
    if where.place is None:
        return
    yield Finding(
        place_of(where, unit),
        f"the whole training has {number(total)} optimiser steps",
        severity=INFO,
        confidence=MEDIUM,
        key=where.key,
        label="the whole length",
        why=["A warm-up and the optimiser's running means hardly begin to act in so few steps."],
        next="Lower the global batch or train for more epochs, unless this is a short test.",
        no_fix="which of batch and epochs to change is not known",
    )
