"""GA6: what Adam makes of a gradient: its two moments, and eps."""

from __future__ import annotations

from gradaudit.findings import HIGH, INFO, LOW, MEDIUM, WARNING, Finding, Related
from gradaudit.rules import rule
from gradaudit.rules.optimisers import PER_WEIGHT
from gradaudit.rules.repair import place_of
from gradaudit.rules.text import number, optimizer_name, percent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import Setting, TrainingUnit
    from gradaudit.rules import Limits

ADAM = "https://arxiv.org/abs/1412.6980 (Kingma & Ba 2015: betas 0.9 and 0.999, eps 1e-8)"

_TWO_MOMENTS = (PER_WEIGHT - {"adabelief"}) | {"galore_adamw", "lamb"}
"""A running mean over the root of a running mean of squares. Not NovoGrad (second beta 0.25 to
0.5, a norm per layer), Lion (both are of the mean), Adan (three), Adamax (a maximum), AdaBelief
(squares of what the mean does not foresee), Apollo (the moments only scale the gradient) or
Schedule-Free (the first interpolates weights)."""

_FORGETS = _TWO_MOMENTS - {"amsgrad"}
"""Those whose denominator falls again; AMSGrad's is the largest that it has been."""

_ROUNDS_TO_ZERO = 2.0**-25
"""Half of fp16's smallest number above 0: from here down a number becomes 0."""

_COMPUTES_IN_FP32 = ("fused", "8bit", "4bit", "bnb", "paged", "apex", "xla", "npu")
"""In an optimiser's name: an implementation that computes each step in fp32 whatever it stores."""


def _betas(unit: TrainingUnit) -> tuple[float, float, Setting] | None:
    setting = unit.get("betas")
    if setting is None or not isinstance(setting.value, tuple):
        return None
    first, second = setting.value
    return first, second, setting


@rule(
    "GA601",
    "betas-out-of-order",
    scope="unit",
    needs=("betas", "optimizer"),
    severities=(WARNING, INFO),
    confidence=HIGH,
    references=(
        ADAM,
        "https://arxiv.org/abs/1904.09237 (Reddi et al. 2018: beta1 / root of beta2 below 1)",
        "https://arxiv.org/abs/2010.05646 (Kong et al. 2020, HiFi-GAN: 0.8 and 0.99)",
        "docs/measurements.md",
    ),
)
def betas_out_of_order(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """Adam's second beta is below the first.

    Why:
        A step of Adam is a running mean of gradients over the root of a running mean of their
        squares. Where a weight's gradient falls silent, the first shrinks by beta1 a step, the
        second by the root of beta2: if beta1 is above that root, the step grows while there is no
        gradient at all, until eps stops it. With (0.999, 0.9) it doubles every 13 steps
        (measurements#what-optimisers-make-of-odd-numbers). Most often the two numbers are swapped.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        betas: [0.999, 0.9]

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        betas: [0.9, 0.999]

    Tell:
        Log the largest update of an embedding or another sparse layer: it grows between its
        gradients.

    Symptoms:
        loss spikes
        loss rises, from the start or after falling

    Fix:
        None: whether they are swapped or one is mistyped is not known.

    False positives:
        Equal betas, and beta1 of 0 or 0.5 as GANs use, are in order. A beta2 below beta1, but above
        its square, cannot run away: an info. NovoGrad's second beta is 0.25 to 0.5 as published,
        those of Lion, Adan and Schedule-Free mean other things, and the steps of AMSGrad, AdaBelief
        and Apollo do not grow without a gradient: none of them is judged.
    """
    pair = _betas(unit)
    if pair is None or unit.optimizer not in _FORGETS:
        return
    first, second, setting = pair
    if not (0 <= first < 1 and 0 <= second < 1) or second >= first:  # value-out-of-domain
        return
    runs_away = first * first > second
    yield Finding(
        place_of(setting, unit),
        f"betas {number(first)} and {number(second)}: the second is below the first",
        severity=WARNING if runs_away else INFO,
        confidence=HIGH if runs_away else MEDIUM,
        key=setting.key,
        label="usual: 0.9 and 0.95 to 0.999",
        why=[
            f"Where a gradient falls silent, the step grows by {percent(first / second**0.5 - 1)} "
            "at each step, up to what eps allows."
            if runs_away and second > 0
            else "The squares are averaged over fewer steps than the gradients, so that a spike is "
            "forgotten in the denominator while it is still in the numerator."
        ],
        next=f"Swap them, if [{number(second)}, {number(first)}] was meant.",
        no_fix="whether they are swapped or one is mistyped is not known",
    )


@rule(
    "GA602",
    "second-moment-outlasts-training",
    scope="unit",
    needs=("optimizer", "betas", ("total_steps", "epochs")),
    severities=(INFO,),
    confidence=LOW,
    limits={"share": 0.5, "debug_steps": 100},
    references=(
        ADAM,
        (
            "https://github.com/karpathy/nanoGPT/blob/master/config/train_shakespeare_char.py "
            "(5,000 steps with a beta2 of 0.99, where train.py has 0.95)"
        ),
    ),
    profile="strict",
)
def second_moment_outlasts_training(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """Adam's running mean of squares never forgets the first steps of so short a training.

    Why:
        The mean of squares covers about 1 / (1 - beta2) steps. Bias correction mends its start,
        not its memory: large gradients of the first steps stay in the denominator and shorten the
        steps until the end.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        betas: [0.9, 0.999]
        max_steps: 1500

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        betas: [0.9, 0.95]
        max_steps: 1500

    Tell:
        Compare the mean of the second moments at a third of the training with that at its end: a
        slow fall is memory of the first steps.

    Symptoms:
        slow or wasted training

    Fix:
        None: 0.95 to 0.99 are worth a try, no more.

    Limits:
        share: the memory, over the number of steps, from which it is reported.
        debug-steps: a training of at most so many steps is taken for a test.

    False positives:
        Many: most short fine-tunings train well with 0.999. It runs in the strict profile only.
        Tests of a few steps are not reported (see few-steps).
    """
    pair = _betas(unit)
    if pair is None or unit.optimizer not in _FORGETS or not 0 <= pair[1] < 1:
        return
    second, setting = pair[1], pair[2]
    length = unit.length
    per_epoch = unit.number("steps_per_epoch")
    if length is None or (length.unit == "epochs" and not per_epoch):
        return
    steps = length.value * ((per_epoch or 1) if length.unit == "epochs" else 1)
    memory = 1 / (1 - second)
    if steps <= limits["debug_steps"] or memory <= limits["share"] * steps:
        return
    where = setting if setting.place is not None else length.setting
    yield Finding(
        place_of(where, unit),
        f"beta2 {number(second)} averages over about {number(round(memory))} steps, the training "
        f"has {number(steps)}",
        severity=INFO,
        confidence=LOW,
        key=where.key,
        label=f"{number(round(memory))} steps of memory"
        if where is setting
        else f"training ends after {length}",
        related=[Related(place_of(length.setting, unit), f"training ends after {length}")]
        if where is setting
        else [],
        why=["What the first steps put into the denominator shortens the steps until the end."],
        next="Where the first gradients are much larger than later ones, try a beta2 of 0.95.",
        no_fix="most short trainings do well with it",
    )


@rule(
    "GA603",
    "eps-too-large",
    scope="unit",
    needs=("eps", "optimizer"),
    severities=(INFO,),
    confidence=MEDIUM,
    limits={"largest": 1e-3},
    references=(
        ADAM,
        (
            "https://arxiv.org/abs/1910.05446 (Choi et al. 2019: Adam becomes SGD with momentum as "
            "eps grows, and eps belongs into the tuning)"
        ),
        (
            "https://www.tensorflow.org/api_docs/python/tf/keras/optimizers/Adam (1.0 or 0.1 for "
            "Inception on ImageNet)"
        ),
    ),
)
def eps_too_large(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """Adam's eps is so large that it decides the step.

    Why:
        A step is learning rate x mean gradient / (root mean square + eps), for each weight. Where
        a weight's gradients are below eps, Adam becomes SGD with momentum at a rate of learning
        rate / eps: steps shrink with the gradient, layers with small gradients stand still, and
        loss scale and clipping matter as under SGD. In a model with a million weights and a
        gradient norm of 1, a weight's gradient is about 1e-3.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        adam_epsilon: 0.01

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        adam_epsilon: 1.0e-8

    Tell:
        Compare eps with the root of the optimiser's `exp_avg_sq`: is it larger for most weights?

    Symptoms:
        loss is flat
        slow or wasted training

    Fix:
        None: with another eps the learning rate would need to change too.

    Limits:
        largest: above this eps it is reported.

    False positives:
        Deliberate choices: 0.1 to 1.0 with a high rate for Inception, 1e-3 in federated learning
        (not reported). RMSprop, Adagrad, Adafactor and AdaBelief have an eps of another kind, LAMB
        sets the length of each layer's step anew: they are not judged, nor are reinforcement
        learning's 1e-5 to 3e-4.
    """
    eps = unit.settings["eps"]
    value = eps.number
    if value is None or value <= limits["largest"] or unit.optimizer not in _TWO_MOMENTS - {"lamb"}:
        return
    rate = unit.number("learning_rate")
    name = optimizer_name(unit)
    as_sgd = f", of {number(rate / value)} here ({number(rate)} / {number(value)})" if rate else ""
    yield Finding(
        place_of(eps, unit),
        f"eps {number(value)} decides {name}'s steps wherever gradients are smaller",
        severity=INFO,
        confidence=MEDIUM,
        key=eps.key,
        label="usual: 1e-8",
        why=[
            (
                f"For a weight whose gradients are below eps {name} is SGD with momentum, at a "
                f"rate of learning rate / eps{as_sgd}."
            )
        ],
        next="Unless it was tuned, take 1e-8 and tune the learning rate again.",
        no_fix="with another eps the learning rate would need to change too",
    )


@rule(
    "GA604",
    "eps-vanishes-in-fp16",
    scope="unit",
    needs=("precision", "eps", "optimizer"),
    severities=(WARNING,),
    confidence=MEDIUM,
    references=(
        "https://docs.pytorch.org/docs/stable/amp.html (mixed precision keeps weights in fp32)",
        "https://arxiv.org/abs/1710.03740 (Micikevicius et al. 2018: why a copy in fp32 is kept)",
        "docs/measurements.md",
    ),
)
def eps_vanishes_in_fp16(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """In pure fp16 Adam's eps is rounded to zero, and weights become NaN.

    Why:
        Where the weights are fp16, torch's Adam keeps its moments in fp16 too. Numbers below 3e-8
        become 0 there: an eps of 1e-8 and, at a beta2 of 0.999, what a gradient below 0.005 adds to
        the mean of squares. The denominator is 0, and the step infinite or NaN: measured, for every
        weight after the first step (measurements#what-optimisers-make-of-odd-numbers). Mixed
        precision has weights and moments in fp32 and no such trouble.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        adam_epsilon: 1.0e-8
        precision: 16-true

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        adam_epsilon: 1.0e-8
        precision: bf16-mixed

    Tell:
        After the first step, count the weights that are not finite.

    Symptoms:
        loss is nan
        works in fp32, not in fp16

    Fix:
        None: mixed precision or bf16 is the remedy, and which of them can run is not known.

    False positives:
        Implementations that compute in fp32 whatever they store (fused, 8-bit, apex; fairseq's own
        Adam) are not reported. Where no framework is known, `float16` may be the type of autocast:
        only `16-true` is taken for pure fp16.
    """
    precision, eps = unit.settings["precision"], unit.settings["eps"]
    optimizer = unit.settings["optimizer"]
    states = unit.get("state_precision")
    if precision.value != "fp16" or unit.optimizer not in _TWO_MOMENTS or eps.number is None:
        return
    if not 0 < eps.number <= _ROUNDS_TO_ZERO or (states is not None and states.value == "fp32"):
        return
    named = optimizer.raw.lower()
    if not named or any(word in named for word in _COMPUTES_IN_FP32):
        return
    if unit.composed.dialect["vocabulary"] and "16-true" not in precision.raw:
        return
    yield Finding(
        place_of(eps if eps.place is not None else precision, unit),
        f"eps {number(eps.number)} is 0 in fp16, and so is a small gradient's square: "
        f"{optimizer_name(unit)} divides by zero",
        severity=WARNING,
        confidence=MEDIUM,
        key=eps.key or precision.key,
        label="0 in fp16",
        related=[Related(place_of(precision, unit), "weights and moments in fp16")],
        why=["The step of such a weight is infinite or NaN, and with it the weight."],
        next="Train in mixed precision or bf16; an eps of 1e-4 only bounds the steps.",
        no_fix="which precision the hardware and the trainer can do is not known",
    )
