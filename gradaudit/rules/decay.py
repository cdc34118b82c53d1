"""GA6: weight decay, which means another thing under each optimiser."""

from __future__ import annotations

from math import log

from gradaudit.edits import replace_value
from gradaudit.findings import (
    ERROR,
    HIGH,
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
from gradaudit.plan.model import WRITTEN
from gradaudit.rules import RULES, rule
from gradaudit.rules.repair import change, place_of
from gradaudit.rules.shrinking import COUPLED_ADAM, shrinking_of
from gradaudit.rules.text import number, optimizer_name, percent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import TrainingUnit
    from gradaudit.rules import Limits

DECOUPLED = "https://arxiv.org/abs/1711.05101 (Loshchilov & Hutter 2019: decoupled weight decay)"


@rule(
    "GA605",
    "l2-in-adam",
    scope="unit",
    needs=("weight_decay", "optimizer"),
    severities=(WARNING,),
    confidence=MEDIUM,
    limits={"from": 0.01},
    references=(
        DECOUPLED,
        "https://docs.pytorch.org/docs/stable/generated/torch.optim.Adam.html (weight_decay: L2)",
    ),
)
def l2_in_adam(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """A weight decay of AdamW's size in an Adam that adds it to the gradient.

    Why:
        torch's Adam adds weight decay x weight to the gradient before it divides by the gradient's
        running size. Weights with small gradients are then driven to zero at up to the full
        learning rate, weights with large gradients hardly decay at all. In AdamW each step takes
        learning rate x weight decay off every weight alike, so its numbers, 0.01 to 0.1, mean
        something far stronger here: usual for Adam's L2 is 1e-6 to 5e-4.

    Bad:
        optimizer: adam
        learning_rate: 1.0e-3
        weight_decay: 0.05

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        weight_decay: 0.05

    Tell:
        Log the norms of the weights by layer: those with small gradients fall to zero within
        about 0.1 / learning rate steps.

    Symptoms:
        worse than the published result

    Fix:
        Recommended for torch's own class by its path, speculative for another name of Adam, which
        the program may not know with a W: AdamW with this number (Loshchilov & Hutter 2019). None
        where that would take a hundredth of a weight at a step. A number of 1e-4 and below is the
        other way.

    Limits:
        from: from this weight decay on it is reported.

    False positives:
        Trainers whose `adam` decouples (fairseq, DeepSpeed, verl): known to their dialects. A
        project of one's own may build AdamW under the name of Adam. Not reported: torch's
        `decoupled_weight_decay`, and a RAdam that is not said to be torch's, since the authors'
        decouples. Graph networks were published with 0.01 (GCNII).
    """
    decay = unit.settings["weight_decay"]
    value = decay.number
    if value is None or unit.optimizer not in COUPLED_ADAM or value < limits["from"]:
        return
    if unit.optimizer == "radam" and "torch.optim" not in unit.settings["optimizer"].raw:
        return
    if "decoupled_weight_decay" in unit.keys:
        return
    name = optimizer_name(unit)
    fix = _with_w(unit, value)
    yield Finding(
        place_of(decay, unit),
        f"weight decay {number(value)} is L2 in the gradient under {name}, not AdamW's decay",
        severity=WARNING,
        confidence=MEDIUM,
        key=decay.key,
        label=f"added to the gradient: {number(value)} x weight",
        related=[Related(place_of(unit.settings["optimizer"], unit), f"{name}, not AdamW")],
        why=[
            (
                f"{name} divides it by the gradient's running size: weights with small gradients "
                "are driven to zero at up to the full learning rate, others hardly decay."
            )
        ],
        next="Take AdamW with this number, or 1e-4 and below here.",
        fix=fix,
        no_fix="" if fix else "whether AdamW or a smaller number was meant is not known",
    )


def _with_w(unit: TrainingUnit, decay: float) -> Fix | None:
    """Adam's name with a W, where the decay means what AdamW makes of it."""
    setting, rate = unit.settings["optimizer"], unit.number("learning_rate")
    if setting.origin != WRITTEN or setting.node is None or setting.tree is None:
        return None
    name = setting.node.value
    if name.rpartition(".")[2] not in ("Adam", "adam", "ADAM"):
        return None
    if rate is None or rate * decay >= RULES["GA606"].limits["share"]:
        return None
    new = name + ("w" if name.endswith("adam") else "W")
    edit = replace_value(setting.tree, setting.node, setting.key, new)
    return Fix(
        RECOMMENDED if name == "torch.optim.Adam" else SPECULATIVE,
        f"set `{setting.last_key}` to {new}",
        [edit],
        [f"each step then takes {number(rate)} x {number(decay)} off every weight alike"],
    )


@rule(
    "GA606",
    "weight-decay-out-of-range",
    scope="unit",
    needs=("weight_decay", "optimizer"),
    severities=(ERROR, WARNING),
    confidence=MEDIUM,
    limits={"share": 0.01},
    references=(
        DECOUPLED,
        (
            "https://arxiv.org/abs/2405.13698 (Wang & Aitchison 2024: weights are a mean over "
            "1 / (learning rate x weight decay) steps)"
        ),
        (
            "https://github.com/mosaicml/composer (composer/optim/decoupled_weight_decay.py: decay "
            "that is not multiplied by the learning rate; its default is 1e-5)"
        ),
        "docs/measurements.md",
    ),
)
def weight_decay_out_of_range(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """Weight decay takes so much off at each step that weights forget within a hundred steps.

    Why:
        What counts is what a step takes off: learning rate x weight decay under AdamW and Lion,
        the same over (1 - momentum) under SGD, the weight decay itself in Composer's Decoupled
        optimisers. The weights are then a mean over about 1 / that many steps of what the
        gradients add. At 0.01 that is a hundred steps, and half of a weight is gone within 69
        (measurements#what-optimisers-make-of-odd-numbers): the model cannot hold what it has
        learnt, and its outputs shrink. Published recipes take off 1e-7 to 1e-3.

    Bad:
        optimizer: adamw
        learning_rate: 0.001
        weight_decay: 20.0

    Good:
        optimizer: adamw
        learning_rate: 0.001
        weight_decay: 0.1

    Tell:
        Log the norm of all weights: it falls from the first step on, and levels off far below
        where it began.

    Symptoms:
        loss is flat
        worse than the published result

    Fix:
        None: the right decay depends on the model and the length of the training.

    Limits:
        share: what a step at the peak rate takes off each weight, from which it is reported. From
            1 on it is an error: one step takes all of a weight, or turns its sign round.

    False positives:
        A rate that is at its peak for a few steps only. The number alone says nothing: Lion with 3
        at 1e-4 and ViT with 0.3 at 3e-3 are not reported, nor are optimisers whose decay works
        another way (torch's Adam: see l2-in-adam; LAMB, Adafactor, Muon).
    """
    decay = unit.settings["weight_decay"]
    value = decay.number
    if value is None or value <= 0:
        return
    shrinking = shrinking_of(unit, value)
    if shrinking is None or shrinking.share < limits["share"] * (1 - 1e-9):
        return
    share = shrinking.share
    related = []
    rate = unit.get("learning_rate")
    if rate is not None and rate.place is not None and shrinking.how.startswith("learning"):
        related.append(Related(rate.place, f"peak rate {number(rate.number or 0)}"))
    if shrinking.at_once:
        what, label, halved = "takes all of a weight or more at each step", "all of it a step", ""
    else:
        what = f"takes {percent(share)} off every weight at each step"
        label = f"{percent(share)} a step"
        steps = round(log(2) / share)
        halved = f" Half of a weight is gone within about {steps} steps." if steps > 1 else ""
    yield Finding(
        place_of(decay, unit),
        f"weight decay {number(value)} {what} at the peak rate",
        severity=ERROR if shrinking.at_once else WARNING,
        confidence=HIGH if shrinking.at_once else MEDIUM,
        key=decay.key,
        label=label,
        related=related,
        why=[f"Under {optimizer_name(unit)} this is {shrinking.how}.{halved}"],
        next="Check the exponent; "
        + (
            "1e-5 is usual where no learning rate multiplies it."
            if shrinking.how.startswith("the decay")
            else "0.01 to 0.1 is usual for AdamW, 1e-4 for SGD."
        ),
        no_fix="the right decay depends on the model and the length of the training",
    )


@rule(
    "GA607",
    "decay-on-norm-and-bias",
    scope="unit",
    needs=("norm_decay",),
    severities=(INFO,),
    confidence=LOW,
    limits={"from": 0.01},
    references=(
        "https://arxiv.org/abs/1706.02677 (Goyal et al. 2017: no decay on gamma and beta)",
        "https://arxiv.org/abs/1812.01187 (He et al. 2019: no decay on biases and BatchNorm)",
    ),
    profile="strict",
)
def decay_on_norm_and_bias(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The gains of normalisation layers decay as the weights do.

    Why:
        Decay pulls a gain towards 0, which shrinks what the layer hands on, and with it the
        gradients of the layers before; it does not regularise as it does for weights. Recipes
        leave gains and biases out.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        weight_decay: 0.1
        weight_decay_norm: 0.1

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        weight_decay: 0.1
        weight_decay_norm: 0.0

    Tell:
        Log the mean of the normalisation layers' gains: it falls over the whole training.

    Symptoms:
        worse than the published result

    Fix:
        Speculative: 0. The effect is small.

    Limits:
        from: from this decay on it is reported.

    False positives:
        Models that were tuned with it. It runs in the strict profile only.
    """
    decay = unit.settings["norm_decay"]
    value = decay.number
    if value is None or value < limits["from"]:
        return
    edit = change(decay, 0.0)
    yield Finding(
        place_of(decay, unit),
        f"normalisation layers decay by {number(value)}: their gains are pulled towards 0",
        severity=INFO,
        confidence=LOW,
        key=decay.key,
        label="usual: 0",
        why=["Smaller gains hand less on and shrink the gradients of the layers before."],
        next="Leave gains and biases out of the decay, and compare.",
        fix=Fix(SPECULATIVE, f"set `{decay.last_key}` to {edit.new}", [edit], ["a small effect"])
        if edit is not None
        else None,
    )
