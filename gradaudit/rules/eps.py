"""GA6: the eps that Adam adds to its denominator."""

from __future__ import annotations

from gradaudit.findings import INFO, MEDIUM, RECOMMENDED, WARNING, Finding, Fix, Related
from gradaudit.rules import rule
from gradaudit.rules.repair import change, place_of
from gradaudit.rules.text import number, optimizer_name
from gradaudit.rules.update import ADAM, TWO_MOMENTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import TrainingUnit
    from gradaudit.rules import Limits

_ROUNDS_TO_ZERO = 2.0**-25
"""Half of fp16's smallest number above 0: from here down a number becomes 0."""

_COMPUTES_IN_FP32 = ("fused", "8bit", "4bit", "bnb", "paged", "apex", "xla", "npu")
"""In an optimiser's name: an implementation that computes each step in fp32 whatever it stores."""


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
    if value is None or value <= limits["largest"] or unit.optimizer not in TWO_MOMENTS - {"lamb"}:
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
        adam_epsilon: 1.0e-4
        precision: 16-true

    Tell:
        After the first step, count the weights that are not finite.

    Symptoms:
        loss is nan
        works in fp32, not in fp16

    Fix:
        Recommended: an eps of 1e-4. Measured in pure fp16, the held-out error is then that of fp32;
        with 1e-6, which fp16 can hold too, single steps are hundreds of rates long
        (measurements#what-optimisers-make-of-odd-numbers). Mixed precision or bf16, where the
        hardware has them, cure the cause.

    False positives:
        Implementations that compute in fp32 whatever they store (fused, 8-bit, apex; fairseq's own
        Adam) are not reported. Where no framework is known, `float16` may be the type of autocast:
        only `16-true` is taken for pure fp16.
    """
    precision, eps = unit.settings["precision"], unit.settings["eps"]
    optimizer = unit.settings["optimizer"]
    states = unit.get("state_precision")
    if precision.value != "fp16" or unit.optimizer not in TWO_MOMENTS or eps.number is None:
        return
    if not 0 < eps.number <= _ROUNDS_TO_ZERO or (states is not None and states.value == "fp32"):
        return
    named = optimizer.raw.lower()
    if not named or any(word in named for word in _COMPUTES_IN_FP32):
        return
    if unit.composed.dialect["vocabulary"] and "16-true" not in precision.raw:
        return
    edit = change(eps, 1e-4, "1.0e-4")
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
        next="Train in mixed precision or bf16; where neither can be had, an eps of 1e-4 bounds "
        "the steps.",
        fix=Fix(
            RECOMMENDED,
            f"set `{eps.last_key}` to {edit.new}",
            [edit],
            ["steps stay finite; mixed precision or bf16 is the better cure"],
        )
        if edit
        else None,
        no_fix="" if edit else "no key for eps stands in the file",
    )
