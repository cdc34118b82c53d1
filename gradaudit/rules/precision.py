"""GA5: in which format numbers are kept, and what is lost in it."""

from __future__ import annotations

from gradaudit.findings import (
    ERROR,
    HIGH,
    INFO,
    MEDIUM,
    RECOMMENDED,
    WARNING,
    Finding,
    Fix,
    Related,
)  # fmt: skip
from gradaudit.plan.model import ADAPTIVE, SIGN
from gradaudit.rules import rule
from gradaudit.rules.optimisers import LENIENT, RELATIVE, rate_is_factor
from gradaudit.rules.repair import change, place_of, switch
from gradaudit.rules.text import number, optimizer_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import TrainingUnit
    from gradaudit.rules import Limits

MIXED = (
    "https://arxiv.org/abs/1710.03740 (Micikevicius et al. 2018, Mixed Precision Training: loss "
    "scaling keeps small gradients)"
)
AMP = "https://docs.pytorch.org/docs/stable/amp.html (gradient scaling)"

_HALF = ("fp16-mixed", "fp16")


@rule(
    "GA501",
    "fp16-without-loss-scaling",
    scope="unit",
    needs=("precision", "grad_scaler"),
    severities=(WARNING,),
    confidence=HIGH,
    references=(MIXED, AMP),
)
def fp16_without_loss_scaling(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """Gradients are computed in fp16 and the loss is not scaled.

    Why:
        The smallest number that fp16 can hold is 6e-8. Gradients below it become exactly 0 in the
        backward pass, before any optimiser sees them, so that Adam cannot rescale them either.
        Scaling the loss lifts them into range; bf16 has the range of fp32 and needs no scaling.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        mixed_precision: fp16
        use_grad_scaler: false

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        mixed_precision: fp16
        use_grad_scaler: true

    Tell:
        Count the zeros in the gradients of one step, in fp16 and in fp32: many more in fp16 is
        underflow.

    Fix:
        Recommended: turn the scaler on (Micikevicius et al. 2018). Where one setting says both, as
        Lightning's `16-true`, none: `16-mixed` and `bf16-true` differ in memory.

    False positives:
        Trainers that add the scaler themselves have no key for it, and its absence is never
        reported. A loss that is multiplied by hand keeps small gradients too.
    """
    precision, scaler = unit.settings["precision"], unit.settings["grad_scaler"]
    if precision.value not in _HALF or scaler.value is not False:
        return
    edit = switch(scaler, True)
    whole = scaler.key == precision.key
    yield Finding(
        place_of(scaler, unit),
        "fp16 training without loss scaling: small gradients become 0",
        severity=WARNING,
        confidence=HIGH,
        key=scaler.key,
        label="no gradient scaler" if whole else "the scaler is off",
        related=() if whole else [Related(place_of(precision, unit), "in fp16")],
        why=[
            (
                "fp16 holds nothing below 6e-8: smaller gradients are 0 before the optimiser sees "
                "them, and Adam cannot bring them back."
            )
        ],
        next="Use bf16 where the GPU has it, or loss scaling with fp32 weights.",
        fix=Fix(RECOMMENDED, f"turn `{scaler.last_key}` on", [edit]) if edit else None,
        no_fix="" if edit else "bf16 and mixed precision differ in memory and hardware",
    )


_REFUSES = frozenset(("hf-trainer", "llama-factory", "deepspeed"))
"""Dialects whose framework ends with an error where fp16 and bf16 are both asked for."""


@rule(
    "GA502",
    "fp16-and-bf16",
    scope="unit",
    needs=("fp16", "bf16"),
    severities=(ERROR, WARNING),
    confidence=HIGH,
    references=(
        (
            "https://github.com/huggingface/transformers/blob/main/src/transformers/"
            "training_args.py (at most one of fp16 and bf16 can be True)"
        ),
        (
            "https://github.com/deepspeedai/DeepSpeed/blob/master/deepspeed/runtime/config.py "
            "(fp16 and bf16 cannot be enabled together)"
        ),
        "https://docs.pytorch.org/docs/stable/amp.html (bfloat16 has the range of float32)",
    ),
)
def fp16_and_bf16(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """fp16 and bf16 are both on.

    Why:
        A training runs in one of them. transformers and DeepSpeed refuse the pair; elsewhere the
        one that is asked first wins in silence, and with it whether the loss is scaled.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        fp16: true
        bf16: true

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        fp16: false
        bf16: true

    Tell:
        Start the training: transformers ends with `At most one of fp16 and bf16 can be True`.

    Fix:
        Recommended: turn fp16 off. bf16 has the range of fp32 and needs no loss scaling; on a GPU
        older than Ampere keep fp16 instead.

    False positives:
        axolotl lets bf16 win; there the fix changes nothing. Code that reads one of the two for
        something other than the training.
    """
    fp16, bf16 = unit.settings["fp16"], unit.settings["bf16"]
    if fp16.value is not True or bf16.value is not True:
        return
    refused = unit.composed.dialect["name"] in _REFUSES
    edit = switch(fp16, False)
    yield Finding(
        place_of(fp16, unit),
        "fp16 and bf16 are both on"
        + (": the trainer refuses to start" if refused else ": only one can be in force"),
        severity=ERROR if refused else WARNING,
        confidence=HIGH if refused else MEDIUM,
        key=fp16.key,
        label="fp16",
        related=[Related(place_of(bf16, unit), "bf16")],
        why=[
            "The run ends before its first step."
            if refused
            else "Which of the two is in force, and whether the loss is scaled, is left to chance."
        ],
        next="Keep bf16 on Ampere or newer, fp16 on older GPUs.",
        fix=Fix(
            RECOMMENDED,
            f"turn `{fp16.key}` off",
            [edit],
            ["bf16 needs an Ampere GPU or newer; on an older one turn bf16 off instead"],
        )
        if edit
        else None,
    )


@rule(
    "GA503",
    "loss-scale-out-of-range",
    scope="unit",
    needs=("precision", ("loss_scale", "loss_scale_power", "loss_scale_window")),
    severities=(WARNING, INFO),
    confidence=MEDIUM,
    limits={"static": 2**24, "power": 32, "window": 10},
    references=(
        MIXED,
        "https://docs.pytorch.org/docs/stable/amp.html (GradScaler: 65536, growth every 2000)",
        "https://www.deepspeed.ai/docs/config-json/#fp16-training-options",
    ),
)
def loss_scale_out_of_range(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The loss scale of an fp16 training overflows, or is raised so often that it does.

    Why:
        fp16 ends at 65504. A static scale far above it makes gradients overflow, and each such
        step is skipped or spoilt. A dynamic scale is doubled after each window of good steps until
        a step overflows and is skipped: a window of a few steps throws away a share of the
        training. A dynamic scale that begins too high is halved by a skipped step each time, while
        the schedule may go on.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        mixed_precision: fp16
        loss_scale_window: 2

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        mixed_precision: fp16
        loss_scale_window: 1000

    Tell:
        Look for skipped steps in the log (`overflow`, `Attempted loss scale`): more than one in
        a few hundred after the start is too many.

    Fix:
        Recommended: a window of 1000 steps, DeepSpeed's default (torch has 2000). For the scale
        none: what fits depends on the loss; a dynamic scale finds it.

    Limits:
        static: a static scale above this.
        power: a dynamic scale that begins above 2 to this power.
        window: a window of fewer steps than this.

    False positives:
        A loss that is tiny by design stands a large static scale. Megatron and old versions of
        DeepSpeed begin at 2^32: not reported.
    """
    if unit.settings["precision"].value not in _HALF:
        return
    yield from _static_scale(unit, limits["static"])
    yield from _first_scale(unit, limits["power"])
    yield from _window(unit, limits["window"])


def _static_scale(unit: TrainingUnit, largest: float) -> Iterator[Finding]:
    scale = unit.get("loss_scale")
    if scale is None or scale.number is None or scale.number <= largest:
        return
    yield Finding(
        place_of(scale, unit),
        f"static loss scale {number(scale.number)}: gradients overflow in fp16",
        severity=WARNING,
        confidence=MEDIUM,
        key=scale.key,
        label="fp16 ends at 65504",
        why=["A static scale is not lowered: every step that overflows is skipped or spoilt."],
        next="Use a dynamic scale.",
        no_fix="what fits depends on the loss; a dynamic scale finds it",
    )


def _first_scale(unit: TrainingUnit, largest: float) -> Iterator[Finding]:
    power, static = unit.get("loss_scale_power"), unit.get("loss_scale")
    if power is None or power.number is None or power.number <= largest:
        return
    if static is not None and static.number:
        return
    skipped = power.number - 16
    yield Finding(
        place_of(power, unit),
        f"the loss scale begins at 2^{number(power.number)}",
        severity=INFO,
        confidence=MEDIUM,
        key=power.key,
        label=f"about {number(skipped)} halvings from a usual scale",
        why=["Each halving costs a skipped step; the schedule may go on meanwhile."],
        next="Begin at 2^16, as torch and transformers do.",
        no_fix="it costs a few steps at most",
    )


def _window(unit: TrainingUnit, smallest: float) -> Iterator[Finding]:
    window, static = unit.get("loss_scale_window"), unit.get("loss_scale")
    if window is None or window.number is None or not 0 < window.number < smallest:
        return
    if static is not None and static.number:
        return  # a static scale has no window
    edit = change(window, 1000)
    steps = number(window.number)
    yield Finding(
        place_of(window, unit),
        f"the loss scale is doubled every {steps} step{'' if window.number == 1 else 's'}: "
        "about as often a step overflows and is skipped",
        severity=WARNING,
        confidence=MEDIUM,
        key=window.key,
        label="usual: 1000 to 2000 steps",
        why=["Once the scale is at the edge, each doubling ends in a step that is thrown away."],
        next="Count the skipped steps in the log.",
        fix=Fix(RECOMMENDED, f"set `{window.last_key}` to 1000", [edit]) if edit else None,
    )


_HELD = 512
"""A bf16 number has 8 significant bits: what is added to a weight is rounded away where it is less
than 1/512 of it, and for half of the weights where it is less than 1/256."""


def _steps_by_the_rate(family: str | None) -> bool:
    """Whether each weight moves by about the learning rate a step."""
    if family in SIGN:
        return True
    return family in ADAPTIVE and family not in RELATIVE | LENIENT and family != "adadelta"


_COMPENSATED = ("kahan", "stochastic", "anyprecision")


@rule(
    "GA504",
    "bf16-updates-vanish",
    scope="unit",
    needs=("precision", "learning_rate", "optimizer"),
    severities=(INFO,),
    confidence=MEDIUM,
    profile="strict",
    limits={"rate": 1e-4},
    references=(
        "https://arxiv.org/abs/2010.06192 (Zamirai et al. 2020, Revisiting BFloat16 Training)",
        MIXED,
    ),
)
def bf16_updates_vanish(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """Weights are kept in bf16 and updated by less than bf16 can add.

    Why:
        bf16 has 8 significant bits: 1 + 0.001 is 1. Under Adam a weight moves by about the
        learning rate a step, so that weights above 512 learning rates do not move at all
        unless a copy of them is kept in fp32, rounding is stochastic or what is lost is carried
        over (Kahan summation).

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-5
        precision: bf16-true

    Good:
        optimizer: adamw
        learning_rate: 1.0e-5
        precision: bf16-mixed

    Tell:
        Compare the weights before and after a step: the share that is bit for bit the same.

    Fix:
        None: fp32 weights take twice the memory, stochastic rounding another optimiser.

    Limits:
        rate: learning rates up to this are reported.

    False positives:
        Many fine-tuning recipes train so and are content: large gradients still move small
        weights. It runs in the strict profile for that reason. Adapters begin at 0 and are not
        reported; nor are optimisers that round stochastically or carry over.
    """
    rate, precision = unit.settings["learning_rate"], unit.settings["precision"]
    value = rate.number
    if precision.value != "bf16" or value is None or not 0 < value <= limits["rate"]:
        return
    if not _steps_by_the_rate(unit.optimizer) or rate_is_factor(unit):
        return
    optimizer = unit.settings["optimizer"]
    spelled = optimizer.raw.lower()
    if any(word in spelled for word in _COMPENSATED) or unit.has_word(_COMPENSATED):
        return
    if unit.has_word(("lora", "qlora", "dora", "adapter", "peft")):
        return
    largest = value * _HELD
    yield Finding(
        place_of(precision, unit),
        f"weights in bf16 and a learning rate of {number(value)}: weights above "
        f"{number(largest)} hardly move",
        severity=INFO,
        confidence=MEDIUM,
        key=precision.key,
        label="weights in bf16",
        related=[Related(place_of(rate, unit), "an update is about this large")],
        why=[
            (
                f"Under {optimizer_name(unit)} a weight moves by about the learning rate a step; "
                "bf16 rounds away what is less than 1/512 of the weight."
            )
        ],
        next="Count the weights that are the same after a step.",
        no_fix="fp32 weights take more memory, stochastic rounding another optimiser",
    )


@rule(
    "GA505",
    "fp16-for-bf16-model",
    scope="unit",
    needs=("precision", "model_name"),
    severities=(WARNING,),
    confidence=MEDIUM,
    references=(
        "https://github.com/huggingface/transformers/pull/10956 (T5 and mT5: inf and nan in fp16)",
        "https://github.com/huggingface/transformers/issues/11461 (t5-large: nan in fp16)",
        (
            "https://github.com/google-research/text-to-text-transfer-transformer/issues/539 (its "
            "authors used bfloat16 activations)"
        ),
        "https://github.com/huggingface/trl/issues/3236 (gemma-3-12b-it: nan in fp16)",
        (
            "https://github.com/vllm-project/vllm/blob/main/vllm/config/model.py (refuses float16 "
            "for Gemma 2 and Gemma 3: numerical instability)"
        ),
    ),
)
def fp16_for_bf16_model(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """A model that was pretrained in bf16 and outgrows fp16 is trained in fp16.

    Why:
        Activations of T5, mT5, Gemma 2 and Gemma 3 can go beyond 65504, where fp16 ends: they
        become inf, and then nan in the loss. bf16, in which these models were pretrained, has the
        range of fp32. Loss scaling does not help, because the forward pass overflows.

    Bad:
        model_name_or_path: google/mt5-base
        optimizer: adamw
        learning_rate: 1.0e-4
        mixed_precision: fp16

    Good:
        model_name_or_path: google/mt5-base
        optimizer: adamw
        learning_rate: 1.0e-4
        mixed_precision: bf16

    Tell:
        The loss is nan, or the scaler skips every step, in the first hundreds of steps.
        transformers' `debug: underflow_overflow` names the layer.

    Fix:
        None: bf16 where the GPU has it, else fp32; which is not known here.

    False positives:
        Small T5 checkpoints often stay in range, and recent versions of transformers clamp some of
        the layers. Most models that were pretrained in bf16 (Llama, Qwen, Mistral) train in fp16
        and are not reported. A model of one's own with such a name.
    """
    precision, model = unit.settings["precision"], unit.settings["model_name"]
    if precision.value not in _HALF or not isinstance(model.value, str):
        return
    family = _outgrows_fp16(model.value)
    if not family:
        return
    yield Finding(
        place_of(precision, unit),
        f"fp16 for {family}, whose activations go beyond what fp16 can hold",
        severity=WARNING,
        confidence=MEDIUM,
        key=precision.key,
        label="fp16 ends at 65504",
        related=[Related(place_of(model, unit), "pretrained in bf16")],
        why=["The forward pass overflows to inf, then nan; scaling the loss cannot help."],
        next="Train in bf16, or in fp32 where the GPU has no bf16.",
        no_fix="whether the GPU has bf16 is not known",
    )


_OUTGROW = {
    "t5": "T5", "byt5": "T5", "ul2": "T5", "mt5": "mT5", "umt5": "mT5", "gemma2": "Gemma 2",
    "gemma3": "Gemma 3", "gemma3n": "Gemma 3",
}  # fmt: skip


def _outgrows_fp16(name: str) -> str:
    """The family of a checkpoint by a whole word of its name: `google/flan-t5-xl`, `gemma-2-9b`."""
    last = name.rstrip("/").rsplit("/", 1)[-1].lower().replace("_", "-").replace("gemma-", "gemma")
    return next((_OUTGROW[word] for word in last.split("-") if word in _OUTGROW), "")
