"""GA6: averages of the weights, dropout, early stopping."""

from __future__ import annotations

from gradaudit.findings import (
    INFO,
    LOW,
    MEDIUM,
    RECOMMENDED,
    SPECULATIVE,
    WARNING,
    Finding,
    Fix,
    Related,
)  # fmt: skip
from gradaudit.plan.model import DEFAULT
from gradaudit.rules import rule
from gradaudit.rules.repair import change, place_of
from gradaudit.rules.text import number, percent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import TrainingUnit
    from gradaudit.rules import Limits


def _steps_of(unit: TrainingUnit) -> float | None:
    """The optimiser steps of the whole training, where they are known."""
    steps = unit.number("total_steps")
    if steps and steps > 0:
        return steps
    epochs, each = unit.number("epochs"), unit.number("steps_per_epoch")
    return epochs * each if epochs and each and epochs > 0 and each > 0 else None


@rule(
    "GA620",
    "ema-outlasts-training",
    scope="unit",
    needs=("ema_decay", ("total_steps", "epochs")),
    severities=(WARNING, INFO),
    confidence=MEDIUM,
    limits={"first_share": 0.135},
    references=(
        (
            "https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage (a decay "
            "that grows with the number of updates makes averages move faster at first)"
        ),
        "https://arxiv.org/abs/2312.02696 (Karras et al. 2024: averages as a share of the run)",
    ),
)
def ema_outlasts_training(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The average of the weights remembers for longer than the training lasts.

    Why:
        An average with decay d looks back about 1 / (1 - d) steps, and after T steps the weights
        from before the training still make up d^T of it. Where that is a large share, the averaged
        model is a blend of the last weights and of the first ones, which for a training from
        scratch are noise, and it scores far below the trained one.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        max_steps: 5000
        ema_decay: 0.9999

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        max_steps: 5000
        ema_decay: 0.998

    Tell:
        Evaluate the averaged and the last weights: the averaged ones are far behind at the end.

    Symptoms:
        worse than the published result
        validation far worse than training
        best checkpoint is not the best

    Fix:
        Recommended where the framework is known to have no ramp of the decay and the training
        is not known to begin with trained weights, speculative elsewhere: a decay that looks back a
        tenth of the training, 1 - 10 / steps, of which less than a ten-thousandth is the first
        weights. The networks of Karras et al. 2024 are averages over 7.5 to 13 % of their run.

    Limits:
        first-share: what the first weights may make up of the average at the end. e^-2 is a
            training of twice the average's memory.

    False positives:
        Averages with a warm-up or ramp of their decay (timm's, YOLO's, diffusers', CompVis') are
        not reported where the framework or a key says so; in a loop of one's own check it. In a
        fine-tuning the first weights are a trained model: the average then keeps much of it, which
        is an info.
    """
    decay = unit.settings["ema_decay"]
    value, steps = decay.number, _steps_of(unit)
    if value is None or not 0 < value < 1 or steps is None:
        return
    warmup = unit.get("ema_warmup")
    if "ema_warmup" in unit.unknown or (warmup is not None and warmup.value not in (False, 0)):
        return
    first = value**steps
    if first <= limits["first_share"]:
        return
    new = float(f"{1 - 10 / steps:.6g}") if steps > 100 else None
    edit = change(decay, new) if new is not None else None
    length, pretrained = unit.length, unit.get("pretrained")
    tuned = pretrained is not None and pretrained.value is True
    yield Finding(
        place_of(decay, unit),
        f"after {number(steps)} steps the averaged weights are still {percent(first)} those from "
        "before the training",
        severity=INFO if tuned else WARNING,
        confidence=MEDIUM if warmup is not None else LOW,
        key=decay.key,
        label=f"looks back about {number(round(1 / (1 - value)))} steps",
        related=[Related(place_of(length.setting, unit), "the training ends here")]
        if length is not None
        else (),
        why=[
            "An average with this decay forgets slowly: much of what is learnt is not in it yet."
            if tuned
            else "An average with this decay forgets too slowly for so short a training; from "
            "scratch, the first weights are noise."
        ],
        next="Check whether the loop ramps the decay up; if so, ignore this.",
        fix=Fix(
            RECOMMENDED if warmup is not None and not tuned else SPECULATIVE,
            f"set `{decay.last_key}` to {edit.new}",
            [edit],
            ["looks back a tenth of the training"],
        )
        if edit
        else None,
    )


@rule(
    "GA621",
    "dropout-out-of-range",
    scope="unit",
    needs=("dropout",),
    severities=(WARNING, INFO),
    confidence=MEDIUM,
    limits={"high": 0.7, "keeps": 0.9},
    references=(
        "https://jmlr.org/papers/v15/srivastava14a.html (Srivastava et al. 2014: 0.2 to 0.5)",
        (
            "https://www.tensorflow.org/api_docs/python/tf/compat/v1/nn/dropout (keep_prob: the "
            "share that is kept)"
        ),
    ),
)
def dropout_out_of_range(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """So much is dropped that little of the signal passes.

    Why:
        A dropout of p scales what it keeps by 1 / (1 - p), so that the variance that it adds grows
        with p / (1 - p): 1 at 0.5, 9 at 0.9. A value of 0.9 is often the share to keep, as
        TensorFlow 1 and older code count it.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        dropout: 0.9

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        dropout: 0.1

    Tell:
        The training loss stays far above the loss of the same batches in evaluation mode.

    Symptoms:
        loss is flat
        worse than the published result

    Fix:
        None: whether the share to drop or to keep was meant is not known.

    Limits:
        high: above this it is an info.
        keeps: from this on it is a warning, because the share to keep was probably meant.

    False positives:
        Input dropout of language models (0.65) and graph networks (0.6) are below the limit. Last
        layers on few samples stand 0.8. Frameworks that count the share to keep.
    """
    for dropout in unit.every("dropout"):
        value = dropout.number
        if value is None or not limits["high"] < value < 1 or "keep" in dropout.last_key.lower():
            continue
        swapped = value >= limits["keeps"]
        yield Finding(
            place_of(dropout, unit),
            f"dropout {number(value)} drops {percent(value)} of what passes"
            + (": is it the share to keep?" if swapped else ""),
            severity=WARNING if swapped else INFO,
            confidence=MEDIUM,
            key=dropout.key,
            label=f"keeps {percent(1 - value)}",
            why=[
                f"What is kept is scaled by {number(1 / (1 - value))}: much noise, little signal."
            ],
            next="Usual is 0.1 to 0.5.",
            no_fix="whether the share to drop or to keep was meant is not known",
        )


@rule(
    "GA622",
    "early-stop-never-or-too-soon",
    scope="unit",
    needs=("early_stop_patience", ("total_steps", "epochs")),
    severities=(INFO,),
    confidence=LOW,
    profile="strict",
    references=(
        "https://link.springer.com/chapter/10.1007/3-540-49430-8_3 (Prechelt 1998)",
        (
            "https://lightning.ai/docs/pytorch/stable/api/lightning.pytorch.callbacks."
            "EarlyStopping.html (patience counts validations)"
        ),
    ),
)
def early_stop_never_or_too_soon(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """Early stopping waits for longer than the training lasts, or may end it in its warm-up.

    Why:
        Patience counts evaluations without a gain. More of them than the training has can never be
        waited for: early stopping does nothing. Fewer than the warm-up has may stop the run before
        the learning rate is at its peak.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        epochs: 10
        early_stopping_patience: 20

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        epochs: 10
        early_stopping_patience: 3

    Tell:
        The log says at each evaluation how long early stopping has waited.

    Symptoms:
        slow or wasted training
        best checkpoint is not the best

    Fix:
        None: how long to wait depends on how much the metric varies.

    False positives:
        One evaluation an epoch is assumed where no key sets another interval: a trainer that
        evaluates more often by itself may stop after all. A patience of more than the training is
        also how early stopping is turned off; it runs in the strict profile for that reason.
        Ultralytics writes its default of 100 into every run's file.
    """
    patience = unit.settings["early_stop_patience"]
    waits = patience.number
    if waits is None or waits <= 0 or patience.origin == DEFAULT:
        return
    every, strategy = unit.number("eval_steps"), unit.get("eval_strategy")
    in_steps = every is not None and every >= 1 and (strategy is None or strategy.value == "steps")
    by_epoch = strategy is not None and strategy.value == "epoch"
    if not in_steps and not by_epoch and not _OFTENER.isdisjoint(unit.keys):
        return
    span = waits * every if in_steps and every else waits
    word = "steps" if in_steps else "epochs"
    length = unit.get("total_steps" if in_steps else "epochs")
    warmup = unit.get("warmup_steps" if in_steps else "warmup_epochs")
    if length is not None and length.number and 0 < length.number <= span:
        yield Finding(
            place_of(patience, unit),
            f"early stopping waits {_counted(span, word)}, the training has "
            f"{number(length.number)}: it never stops",
            severity=INFO,
            confidence=MEDIUM if in_steps else LOW,
            key=patience.key,
            label="never reached",
            related=[Related(place_of(length, unit), "the training ends here")],
            why=["It does nothing but look safe."],
            next="Lower the patience, or take early stopping out.",
            no_fix="how long to wait depends on how much the metric varies",
        )
    elif warmup is not None and warmup.number and warmup.number > span:
        yield Finding(
            place_of(patience, unit),
            f"early stopping waits {_counted(span, word)}, the warm-up lasts "
            f"{number(warmup.number)}: it may end the run before the peak rate",
            severity=INFO,
            confidence=LOW,
            key=patience.key,
            label="shorter than the warm-up",
            related=[Related(place_of(warmup, unit), "the warm-up")],
            why=["A metric that stalls while the rate is still low ends the run."],
            next="Wait for longer than the warm-up.",
            no_fix="how long to wait depends on how much the metric varies",
        )


_OFTENER = frozenset((
    "eval_steps", "evals_per_epoch", "val_check_interval", "eval_interval", "eval_every",
    "eval_freq", "val_interval", "validate_interval_updates",
))  # fmt: skip
"""Keys by which a trainer may evaluate more often than once an epoch, where its dialect does not
say what they mean."""


def _counted(value: float, word: str) -> str:
    return f"{number(value)} {word if value != 1 else word.removesuffix('s')}"
