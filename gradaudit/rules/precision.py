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
from gradaudit.rules.repair import place_of, switch
from gradaudit.rules.text import number, optimizer_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import TrainingUnit
    from gradaudit.rules import Limits

MASTER = (
    "https://arxiv.org/abs/1710.03740 (Micikevicius et al. 2018, Mixed Precision Training: a copy "
    "of the weights in fp32 keeps small updates)"
)

_HALF = ("fp16-mixed", "fp16")


_REFUSES = frozenset(("hf-trainer", "llama-factory", "deepspeed"))
"""Dialects whose framework ends with an error where fp16 and bf16 are both asked for."""


@rule(
    "GA502",
    "fp16-and-bf16",
    scope="unit",
    needs=("fp16", "bf16"),
    severities=(ERROR, WARNING, INFO),
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

    Symptoms:
        training ends with an error, or never starts
        works in fp32, not in fp16

    Fix:
        Recommended: turn fp16 off. bf16 has the range of fp32 and needs no loss scaling; on a GPU
        older than Ampere keep fp16 instead.

    False positives:
        axolotl lets bf16 win: an info there, and the fix changes nothing. Code that reads one of
        the two for something other than the training.
    """
    fp16, bf16 = unit.settings["fp16"], unit.settings["bf16"]
    if fp16.value is not True or bf16.value is not True:
        return
    framework = unit.composed.dialect["name"]
    refused, wins = framework in _REFUSES, framework == "axolotl"
    if refused:
        said, why = "the trainer refuses to start", "The run ends before its first step."
    elif wins:
        said, why = "bf16 is in force", "axolotl asks for bf16 first: `fp16` does nothing."
    else:
        said = "only one can be in force"
        why = "The code decides which of the two is in force, and so whether the loss is scaled."
    edit = switch(fp16, False)
    yield Finding(
        place_of(fp16, unit),
        f"fp16 and bf16 are both on: {said}",
        severity=ERROR if refused else INFO if wins else WARNING,
        confidence=HIGH if refused or wins else MEDIUM,
        key=fp16.key,
        label="fp16",
        related=[Related(place_of(bf16, unit), "bf16")],
        why=[why],
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


_HELD = 512
"""A bf16 number has 8 significant bits: what is added to a weight is rounded away where it is less
than 1/512 of it, and for some weights, those just above a power of 2, up to 1/256."""


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
        MASTER,
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

    Symptoms:
        loss is flat
        worse than the published result

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
        "https://github.com/huggingface/transformers/issues/9295 (which T5 work in fp16)",
        "https://github.com/huggingface/transformers/issues/10830 (t5-large: nan in fp16)",
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

    Symptoms:
        loss is nan
        loss is nan after some hundred steps
        works in fp32, not in fp16

    Fix:
        None: bf16 where the GPU has it, else fp32; which is not known here.

    False positives:
        `t5-small` stays in range and is not reported. Recent versions of transformers clamp some
        of the layers, and other small checkpoints may stay in range too. Most models that were
        pretrained in bf16 (Llama, Qwen, Mistral) train in fp16 and are not reported. Unsloth
        computes Gemma 3 in fp32 where fp16 is asked for. A model of one's own with such a name.
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
    if last == "t5-small":
        return ""  # https://github.com/huggingface/transformers/issues/9295
    return next((_OUTGROW[word] for word in last.split("-") if word in _OUTGROW), "")
