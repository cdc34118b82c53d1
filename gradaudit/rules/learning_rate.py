"""GA2: how high the peak learning rate is, for its optimiser."""

from __future__ import annotations

from gradaudit.findings import ERROR, INFO, MEDIUM, WARNING, Finding, Related
from gradaudit.plan.model import LEARNING_RATE_FREE, SIGN
from gradaudit.rules import rule
from gradaudit.rules.optimisers import (
    LENIENT,
    RELATIVE,
    forgets_scale,
    rate_bounds,
    rate_is_factor,
    steps_with_gradient,
)  # fmt: skip
from gradaudit.rules.repair import place_of
from gradaudit.rules.text import number, optimizer_name, percent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import TrainingUnit
    from gradaudit.rules import Limits


@rule(
    "GA201",
    "learning-rate-too-high",
    scope="unit",
    needs=("learning_rate", "optimizer"),
    severities=(ERROR, WARNING, INFO),
    confidence=MEDIUM,
    limits={
        "adaptive_warning": 1e-2, "adaptive_error": 0.1, "sgd_warning": 1.0, "sgd_error": 100.0,
        "large_batch": 4096, "sign_warning": 1e-3, "free_warning": 10.0, "relative_warning": 0.1,
    },
    references=(
        "https://arxiv.org/abs/1706.02677 (Goyal et al. 2017: 0.1 x batch / 256 for ResNet-50)",
        ("https://arxiv.org/abs/1412.6980 (Kingma & Ba 2015: a step is at most about the learning "
        "rate per weight)"),
        ("https://arxiv.org/abs/2302.06675 (Chen et al. 2023: Lion's rate is 3 to 10 times below "
        "AdamW's)"),
        "https://arxiv.org/abs/1904.00962 (You et al. 2020, LAMB: batches of up to 65,536)",
        "https://arxiv.org/abs/1911.05722 (He et al. 2020, MoCo: linear classifier at 30)",
        "https://arxiv.org/abs/1708.02182 (Merity et al. 2018, AWD-LSTM: SGD at 30)",
        "https://docs.pytorch.org/docs/stable/generated/torch.optim.Adadelta.html (default 1.0)",
    ),
)  # fmt: skip
def learning_rate_too_high(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The learning rate is above what is published for this kind of optimiser.

    Why:
        Under Adam and its kin each weight moves by about the learning rate a step, whatever the
        gradient: at 0.01 most weights of a usual network move by their own size within a few
        steps. Under LAMB, and Adafactor as it comes, each layer moves by about the learning rate
        times its own norm. Under SGD the step grows with the gradient; 0.1 x global batch / 256
        is the reference for residual networks. Lion's step is a sign for every weight, before
        weight decay, so its rates are 3 to 10 times below AdamW's.

    Bad:
        optimizer: adamw
        learning_rate: 0.5
        batch_size: 64

    Good:
        optimizer: adamw
        learning_rate: 0.001
        batch_size: 64

    Tell:
        After the warm-up, the ratio of update to weight per matrix is far above 1e-3, or the loss
        rises within the first hundred steps. Train 500 steps at half the rate and compare.

    Symptoms:
        loss is nan
        loss is nan after some hundred steps
        loss spikes
        loss rises, from the start or after falling
        gradient norm grows

    Fix:
        None: the right rate depends on the model. Start from a published recipe of its kind.

    Limits:
        adaptive-warning: above this under Adam and its kin.
        adaptive-error: above this it is an error; for Adagrad, NovoGrad and RMSprop, which are
            published with higher rates, the first warning.
        sgd-warning: above this under SGD.
        sgd-error: above this under SGD it is an error, whatever the batch.
        relative-warning: above this under LAMB and Adafactor, whose rate is relative to each
            layer's norm.
        large-batch: from this batch on, sgd-warning does not apply, nor does the warning for
            Adagrad, NovoGrad and RMSprop.
        sign-warning: above this under Lion and other optimisers that step by the sign.
        free-warning: above this where the optimiser finds its own rate (Prodigy, D-Adaptation,
            Adadelta) and this is a factor on it.

    False positives:
        MoCo's linear classifier on frozen features (SGD at 30, batch 256) and AWD-LSTM (SGD at 30)
        get a warning, as does TensoRF (Adam at 0.02 for its grids). Tiny networks, hash grids and
        implicit representations train at 0.01 under Adam, the opacities of Gaussian splats at 0.05
        with an eps of 1e-15 (not reported); networks that are scale-invariant through BatchNorm
        tolerate more. LARS and Muon are not judged. A Noam scheduler's rate is a factor and never
        judged; Prodigy, D-Adaptation and Adadelta use 1.0.
    """
    rate = unit.settings["learning_rate"]
    value = rate.number
    bounds = rate_bounds(unit, limits)
    if value is None or bounds is None or value <= bounds[0]:
        return
    severity = ERROR if value > bounds[1] else WARNING
    bound = bounds[1] if severity == ERROR else bounds[0]
    name = optimizer_name(unit)
    optimizer = unit.settings["optimizer"]
    yield Finding(
        place_of(rate, unit),
        f"learning rate {number(value)} is above {number(bound)}, high for {name}",
        severity=severity,
        confidence=MEDIUM,
        key=rate.key,
        label=f"peak rate {number(value)}",
        related=[Related(place_of(optimizer, unit), f"for {name}")],
        why=[_too_high(unit, bound)],
        next="Compare with a published recipe of the same model and optimiser; train 500 steps "
        "at half the rate before the long run.",
        no_fix="the right rate depends on the model",
    )


def _too_high(unit: TrainingUnit, bound: float) -> str:
    family, name = unit.optimizer, optimizer_name(unit)
    if family in LEARNING_RATE_FREE or family == "adadelta":
        return f"{name} scales its own steps; `learning_rate` multiplies them, normally by 1."
    if family in SIGN:
        return (
            f"{name} moves every weight by at most about this a step, before weight decay; usual "
            "is 3e-5 to 3e-4."
        )
    if family in RELATIVE:
        as_it_comes = " (unless `scale_parameter` is off)" if family == "adafactor" else ""
        return (
            f"Under {name} each layer moves by about the learning rate times its own norm"
            f"{as_it_comes}: at this rate by more than {percent(bound)} of itself a step."
        )
    if family in LENIENT:
        return f"Published rates for {name} go up to about {number(bound)}."
    if forgets_scale(unit):
        return (
            f"Under {name} each weight moves by about the learning rate a step, whatever the "
            "gradient: at this rate most weights change by their own size in a few steps."
        )
    batch = unit.number("global_batch")
    known = (
        f"{number(0.1 * batch / 256)} for a global batch of {number(batch)}"
        if batch
        else "and the global batch is not known here"
    )
    return (
        f"Under {name} the reference for residual networks is 0.1 x global batch / 256"
        f"{': ' if batch else ', '}{known}."
    )


@rule(
    "GA202",
    "learning-rate-too-low",
    scope="unit",
    needs=("learning_rate",),
    severities=(WARNING, INFO),
    confidence=MEDIUM,
    limits={"smallest": 1e-7},
    references=(
        (
            "https://arxiv.org/abs/1412.6980 (Kingma & Ba 2015: a step is at most about the "
            "learning rate per weight)"
        ),
        "https://github.com/hiyouga/LLaMA-Factory/issues/7710 (a fine-tuning at 1e-7)",
        "https://arxiv.org/abs/1802.10062 (Li et al. 2018, CSRNet: SGD at 1e-6 and below)",
    ),
)
def learning_rate_too_low(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The learning rate is so low that no weight moves noticeably.

    Why:
        Under Adam and Lion a weight moves by at most about learning rate x steps over the whole
        run: at 5e-8 and 10,000 steps that is 0.0005. Under SGD the step grows with the gradient: a
        loss that is summed over pixels or samples makes tiny rates normal (CSRNet), so there, and
        where the optimiser is unknown, it is an info. Prodigy and D-Adaptation find the rate
        themselves and multiply it by this number.

    Bad:
        optimizer: adamw
        learning_rate: 5.0e-9
        batch_size: 64

    Good:
        optimizer: adamw
        learning_rate: 5.0e-5
        batch_size: 64

    Tell:
        The median ratio of update to weight per matrix stays below 1e-6 after the warm-up.

    Symptoms:
        loss is flat
        slow or wasted training

    Fix:
        None: a slip of the exponent is likely, but which one is not known.

    Limits:
        smallest: a learning rate below this is reported. The lowest that were seen in use, for
            fine-tuning, are 1e-7 and 2e-7.

    False positives:
        Reinforcement learning from preferences (DPO, GRPO) goes down to 1e-7, which is not
        reported. Summed losses under SGD (an info). A rate of 0 is judged by value-out-of-domain.
    """
    rate = unit.settings["learning_rate"]
    value = rate.number
    if value is None or not 0 < value < limits["smallest"] or rate_is_factor(unit):
        return
    severity, what, why = _too_low(unit, value)
    yield Finding(
        place_of(rate, unit),
        f"learning rate {number(value)} is below {number(limits['smallest'])}: {what}",
        severity=severity,
        confidence=MEDIUM,
        key=rate.key,
        label=f"peak rate {number(value)}",
        why=[why],
        next="Check the exponent; compare with a published recipe of the same model.",
        no_fix="which rate was meant is not known",
    )


def _too_low(unit: TrainingUnit, value: float) -> tuple[str, str, str]:
    """Severity, what follows and why: it depends on what a rate is to the optimiser."""
    name = optimizer_name(unit)
    if unit.optimizer in LEARNING_RATE_FREE or unit.optimizer == "adadelta":
        return (
            WARNING,
            "its usual value is 1",
            f"{name} scales its own steps; `learning_rate` multiplies them, normally by 1.",
        )
    if forgets_scale(unit):
        moves = f"Under {name} a weight moves by at most about {number(value * 10_000)}"
        if unit.optimizer in RELATIVE or unit.optimizer == "lars":
            moves = (
                f"Under {name} a layer moves by at most about {number(value * 10_000)} of its norm"
            )
        return WARNING, "no weight moves noticeably", f"{moves} in 10,000 such steps."
    unknown = (
        ""
        if steps_with_gradient(unit)
        else "; under Adam a weight would move by at most about "
        f"{number(value * 10_000)} in 10,000 such steps"
    )
    return (
        INFO,
        "usual for a summed loss only",
        f"Under SGD the step grows with the gradient: check whether the loss is a sum{unknown}.",
    )
