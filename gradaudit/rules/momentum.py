"""GA6: what is added to a gradient before the step, and what bounds the step: momentum, clips."""

from __future__ import annotations

from gradaudit.findings import ERROR, HIGH, INFO, MEDIUM, WARNING, Finding, Related
from gradaudit.rules import rule
from gradaudit.rules.optimisers import why_scale_cancels
from gradaudit.rules.repair import place_of
from gradaudit.rules.text import number, optimizer_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import TrainingUnit
    from gradaudit.rules import Limits


@rule(
    "GA608",
    "momentum-out-of-range",
    scope="unit",
    needs=("optimizer", "momentum"),
    severities=(ERROR, WARNING),
    confidence=MEDIUM,
    limits={"highest": 0.99},
    references=(
        "https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html",
        (
            "https://proceedings.mlr.press/v28/sutskever13.html (Sutskever et al. 2013: up to "
            "0.999, with a schedule that raises it, at low rates, and 0.9 for the last steps)"
        ),
        "https://arxiv.org/abs/1809.10486 (Isensee et al. 2018, nnU-Net: 0.99)",
    ),
)
def momentum_out_of_range(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """SGD's momentum is so high that it multiplies the rate by hundreds, or too low for Nesterov.

    Why:
        Under SGD gradients that agree add up to 1 / (1 - momentum) times one gradient: 10 times at
        0.9, 100 at 0.99, 1,000 at 0.999, and as many steps pass before the direction follows a new
        gradient. Nesterov's variant needs a momentum: torch refuses it with 0.

    Bad:
        optimizer: sgd
        learning_rate: 0.01
        momentum: 0.999

    Good:
        optimizer: sgd
        learning_rate: 0.01
        momentum: 0.9

    Tell:
        The loss swings in slow waves, even at a tenth of the learning rate.

    Symptoms:
        loss rises, from the start or after falling
        loss spikes
        training ends with an error, or never starts

    Fix:
        None: momentum and learning rate belong together.

    Limits:
        highest: above this momentum it is reported.

    False positives:
        A very low learning rate that was tuned with such a momentum, or a momentum that a schedule
        raises to this. nnU-Net's 0.99 is not reported, nor is anything beside a `dampening`, which
        takes the factor back. A momentum of 1 or more is reported by value-out-of-domain.
    """
    momentum = unit.settings["momentum"]
    value = momentum.number
    if value is None or unit.optimizer != "sgd":
        return
    nesterov = unit.get("nesterov")
    if value == 0 and nesterov is not None and nesterov.value is True:
        yield Finding(
            place_of(momentum, unit),
            "Nesterov's momentum with a momentum of 0: torch refuses it",
            severity=ERROR,
            confidence=HIGH,
            key=momentum.key,
            label="0",
            related=[Related(place_of(nesterov, unit), "needs a momentum")],
            why=["torch.optim.SGD raises an error when it is made."],
            next="Set the momentum (0.9 is usual), or turn Nesterov off.",
            no_fix="which of the two is meant is not known",
        )
    elif limits["highest"] < value < 1 and "dampening" not in unit.keys:  # keys are slow
        rate = unit.number("learning_rate")
        factor = 1 / (1 - value)
        known = f", {number(rate * factor)} here" if rate else ""
        yield Finding(
            place_of(momentum, unit),
            f"momentum {number(value)} adds up about {number(round(factor))} gradients",
            severity=WARNING,
            confidence=MEDIUM,
            key=momentum.key,
            label="usual: 0.9 to 0.99",
            why=[
                (
                    f"Where gradients agree the rate is in effect {number(round(factor))} times "
                    f"the learning rate{known}, and as many steps pass before the direction "
                    "follows a new gradient."
                )
            ],
            next="Take 0.9, or lower the learning rate by as much as the momentum adds.",
            no_fix="momentum and learning rate belong together",
        )


@rule(
    "GA609",
    "clip-beside-own-clip",
    scope="unit",
    needs=("clip_norm", "optimizer"),
    severities=(INFO,),
    confidence=MEDIUM,
    references=(
        (
            "https://huggingface.co/docs/transformers/main_classes/optimizer_schedules (Adafactor: "
            "other operations like gradient clipping should not be used beside it)"
        ),
        "https://arxiv.org/abs/1804.04235 (Shazeer & Stern 2018: update clipping)",
        "https://arxiv.org/abs/1904.00962 (You et al. 2020, LAMB)",
    ),
    profile="strict",
)
def clip_beside_own_clip(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """A gradient clip beside an optimiser that bounds its own steps.

    Why:
        Adafactor clips each update by its root mean square; LAMB and LARS set the length of each
        layer's step from the layer's own size. A clip of the gradient before that is a constant
        factor at most steps, which cancels: the threshold does little, but for rare spikes.

    Bad:
        optimizer: adafactor
        learning_rate: 0.001
        max_grad_norm: 1.0

    Good:
        optimizer: adafactor
        learning_rate: 0.001

    Tell:
        Train 500 steps with and without the clip and compare the loss.

    Symptoms:
        None: the clip does little either way, and no log shows it.

    Fix:
        None: where spikes occur, the clip still limits what they weigh in the moments.

    False positives:
        Published LAMB recipes clip at 1.0 too. It runs in the strict profile only.
    """
    clip = unit.settings["clip_norm"]
    threshold = clip.number
    if threshold is None or threshold <= 0 or not clip.raw:
        return
    if unit.optimizer not in ("adafactor", "lamb", "lars"):
        return
    name = optimizer_name(unit)
    because, _ = why_scale_cancels(unit)
    yield Finding(
        place_of(clip, unit),
        f"clip norm {number(threshold)} beside {name}, which bounds its own steps",
        severity=INFO,
        confidence=MEDIUM,
        key=clip.key,
        label=f"clips at {number(threshold)}",
        related=[Related(place_of(unit.settings["optimizer"], unit), f"{name} bounds its steps")],
        why=[f"A factor that is the same at every step cancels: {because}."],
        next="Leave it out, unless the logged norm has spikes.",
        no_fix="where spikes occur, the clip still limits what they weigh in the moments",
    )
