"""GA6: low-rank adapters: their scale, what they are put on, and checkpointing around them."""

from __future__ import annotations

from gradaudit.findings import (
    ERROR,
    HIGH,
    INFO,
    LOW,
    MEDIUM,
    RECOMMENDED,
    WARNING,
    Finding,
    Fix,
    Related,
)  # fmt: skip
from gradaudit.rules import rule
from gradaudit.rules.adapters import (
    PARTIAL,
    finetuning_of,
    lora_scale,
    scaled_by_root,
    trains_lora,
)
from gradaudit.rules.repair import change, place_of
from gradaudit.rules.text import number, times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import Setting, TrainingUnit
    from gradaudit.rules import Limits

_DEEPSPEED = frozenset(("deepspeed", "deepspeed_config", "zero_optimization", "zero_stage"))

LORA_PAPER = (
    "https://arxiv.org/abs/2106.09685 (Hu et al. 2021, LoRA: the output is scaled by alpha / r; "
    "GPT-2 with r 4 and alpha 32)"
)


@rule(
    "GA630",
    "lora-alpha-ratio",
    scope="unit",
    needs=("lora_rank", "lora_alpha"),
    severities=(ERROR, WARNING, INFO),
    confidence=MEDIUM,
    limits={"high": 8, "high_by_root": 16, "low": 0.05, "smallest_rank": 4},
    references=(
        LORA_PAPER,
        "https://arxiv.org/abs/2312.03732 (Kalajdzievski 2023, rsLoRA: alpha / the root of r)",
        "https://arxiv.org/abs/2305.14314 (Dettmers et al. 2023, QLoRA: r 64, alpha 16)",
        "https://huggingface.co/docs/peft/package_reference/lora (lora_alpha, use_rslora)",
    ),
)  # fmt: skip
def lora_alpha_ratio(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """What LoRA's output is scaled by is far from what is published, or zero.

    Why:
        The adapter adds scale x B A to a weight, and scale is alpha / r (alpha / the root of r with
        rsLoRA). Under Adam a step of B or A does not depend on the scale, but what it changes in
        the model does: a scale four times as large acts much like a learning rate four times as
        high. With alpha 0 the adapter adds nothing and its gradient is zero: nothing is trained.

    Bad:
        optimizer: adamw
        learning_rate: 2.0e-4
        lora_r: 8
        lora_alpha: 256

    Good:
        optimizer: adamw
        learning_rate: 2.0e-4
        lora_r: 8
        lora_alpha: 16

    Tell:
        Compare the loss of the first 100 steps with a run at alpha = 2 r and the same learning
        rate.

    Symptoms:
        loss rises, from the start or after falling
        loss is flat

    Fix:
        None: scale and learning rate belong together, and which of the two was tuned is not known.

    Limits:
        high: above this scale it is a warning. The highest that was seen published is 8 (LoRA's
            own GPT-2).
        high-by-root: above this scale, with rsLoRA, it is an info: alpha = 2 r, kept from plain
            LoRA, gives 22 at rank 128.
        low: below this scale, with an alpha below 8, it is an info.
        smallest-rank: ranks below this are not judged for a high scale: an alpha of 32 for every
            rank, 1 among them, is published practice too.

    False positives:
        Recipes that pair a high scale with a low learning rate. Kohya's default alpha of 1 at any
        rank is meant to go with a high rate: reported (an info) only where it is written. Code
        after Kohya's takes an alpha of 0 for the rank: known of Kohya's and ai-toolkit's files.
    """
    if not trains_lora(unit):
        return
    rank, alpha = unit.settings["lora_rank"], unit.settings["lora_alpha"]
    scale = lora_scale(unit)
    if scale is None or rank.number is None or alpha.number is None:
        return
    root = scaled_by_root(unit)
    formula = "alpha / the root of the rank" if root else "alpha / rank"
    scaled = f"LoRA's output is scaled by {number(scale)} ({formula})"
    if scale == 0:
        known = unit.composed.dialect["name"] != "generic"
        what = "with an alpha of 0 the adapter is multiplied by 0: nothing is trained"
        severity, sure = (ERROR, HIGH) if known else (WARNING, MEDIUM)
        why = "Both of its matrices get a gradient of zero from the first step on."
    elif scale > limits["high_by_root" if root else "high"]:
        if rank.number < limits["smallest_rank"]:
            return
        what = f"{scaled}; usual is {'1 to 8' if root else '0.25 to 4'}"
        severity, sure = INFO if root else WARNING, MEDIUM
        why = (
            "Next to alpha = 2 x rank without rsLoRA this acts, under Adam, much like a learning "
            f"rate {times(scale / 2)} as high."
        )
    elif 0 < scale < limits["low"] and alpha.number < 8 and alpha.raw:
        what, severity, sure = f"{scaled}: the adapter acts weakly", INFO, LOW
        why = "It needs a learning rate that is higher by about as much as the scale is lower."
    else:
        return
    yield _scale_finding(unit, alpha, rank, what, severity, sure, why)


def _scale_finding(
    unit: TrainingUnit, alpha: Setting, rank: Setting, what: str, severity: str, sure: str, why: str
) -> Finding:
    at = alpha if alpha.place is not None else rank
    other = rank if at is alpha else alpha
    related = []
    if other.place is not None:
        related.append(Related(other.place, f"{other.name.replace('lora_', '')} {other.raw}"))
    return Finding(
        place_of(at, unit),
        what,
        severity=severity,
        confidence=sure,
        key=at.key,
        label=f"alpha {number(alpha.number or 0)}, rank {number(rank.number or 0)}",
        related=related,
        why=[why],
        next="Set alpha between half the rank and twice the rank, then tune the learning rate.",
        no_fix="scale and learning rate belong together; which of them was tuned is not known",
    )


@rule(
    "GA631",
    "lora-without-targets",
    scope="unit",
    needs=("lora_targets",),
    severities=(ERROR,),
    confidence=HIGH,
    references=(
        "https://huggingface.co/docs/peft/package_reference/lora (target_modules)",
        (
            "https://github.com/axolotl-ai-cloud/axolotl/blob/main/src/axolotl/loaders/adapter.py "
            "(hands peft an empty list where nothing names targets)"
        ),
        (
            "https://github.com/meta-pytorch/torchtune (torchtune/models/*/_component_builders.py "
            "raises for an empty lora_attn_modules)"
        ),
    ),
)
def lora_without_targets(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """A LoRA is put on no module.

    Why:
        There is nothing to train: peft and torchtune refuse to build the adapter ("Target modules
        ... not found in the base model"; "Must pass one or more of ... as lora_modules").

    Bad:
        base_model: meta-llama/Llama-3.2-1B
        datasets: [{path: data.jsonl, type: alpaca}]
        adapter: lora
        lora_r: 16
        lora_alpha: 32
        micro_batch_size: 2
        gradient_accumulation_steps: 4
        learning_rate: 2.0e-4

    Good:
        base_model: meta-llama/Llama-3.2-1B
        datasets: [{path: data.jsonl, type: alpaca}]
        adapter: lora
        lora_r: 16
        lora_alpha: 32
        lora_target_linear: true
        micro_batch_size: 2
        gradient_accumulation_steps: 4
        learning_rate: 2.0e-4

    Tell:
        Build the model: the framework ends with the message above.

    Symptoms:
        training ends with an error, or never starts

    Fix:
        None: which modules are meant is not known.

    False positives:
        Where a trained adapter is loaded, its own targets hold; where a framework has targets of
        its own for each model, an absent list means those. Neither is reported.
    """
    targets = unit.settings["lora_targets"]
    if targets.number != 0 or not trains_lora(unit):
        return
    at = targets
    if targets.place is None:
        at = next(
            (
                unit.settings[name]
                for name in ("finetuning", "lora_rank")
                if name in unit.settings and unit.settings[name].place is not None
            ),
            targets,
        )
    yield Finding(
        place_of(at, unit),
        "this LoRA is put on no module: there is nothing to train",
        severity=ERROR,
        confidence=HIGH,
        key=at.key,
        label="no targets",
        why=["The framework refuses to build such an adapter."],
        next="Name the modules (all linear layers is a usual choice).",
        no_fix="which modules are meant is not known",
    )


@rule(
    "GA632",
    "checkpointing-blocks-adapter-gradients",
    scope="unit",
    needs=("gradient_checkpointing", "reentrant_checkpointing"),
    severities=(ERROR, WARNING, INFO),
    confidence=MEDIUM,
    references=(
        (
            "https://docs.pytorch.org/docs/stable/checkpoint.html (use_reentrant=True needs an "
            "input that requires a gradient; use_reentrant=False is recommended)"
        ),
        "https://github.com/huggingface/transformers/issues/21381",
        "https://github.com/huggingface/peft/issues/137",
        "https://github.com/huggingface/trl/issues/2514 (ZeRO-3 needs reentrant checkpointing)",
        (
            "https://github.com/axolotl-ai-cloud/axolotl (check_use_reentrant_mismatch refuses it "
            "for a partly frozen model)"
        ),
    ),
)
def checkpointing_blocks_adapter_gradients(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """Reentrant checkpointing over frozen embeddings: the blocks get no gradient.

    Why:
        Reentrant checkpointing runs a block again in the backward pass only if one of its inputs
        requires a gradient. Where the embeddings are frozen none does, so what is trained inside
        the blocks gets no gradient, whatever the optimiser. Mostly the first backward pass fails
        ("element 0 of tensors does not require grad"); where something outside the blocks is
        trained too, the run goes on without training them.

    Bad:
        optimizer: adamw
        learning_rate: 2.0e-4
        use_lora: true
        gradient_checkpointing: true
        gradient_checkpointing_kwargs:
          use_reentrant: true

    Good:
        optimizer: adamw
        learning_rate: 2.0e-4
        use_lora: true
        gradient_checkpointing: true
        gradient_checkpointing_kwargs:
          use_reentrant: false

    Tell:
        After the first backward pass, count the trainable parameters whose `.grad` is None.

    Symptoms:
        training ends with an error, or never starts
        loss is flat

    Fix:
        Recommended: `use_reentrant: false`, which PyTorch recommends for all. None beside
        DeepSpeed, whose stage 3 needs reentrant checkpointing for adapters.

    False positives:
        Training code that calls `enable_input_require_grads()`: a file does not say so, hence an
        info. What TRL, LLaMA-Factory, and axolotl for its adapters do themselves is known and not
        reported. An error only where axolotl refuses to start (`unfrozen_parameters`).
    """
    reentrant = unit.settings["reentrant_checkpointing"]
    checkpointing = unit.settings["gradient_checkpointing"]
    how = finetuning_of(unit)
    if checkpointing.value is not True or reentrant.value is not True or how not in PARTIAL:
        return
    made = unit.get("input_gradients")
    if made is not None and made.value is True:
        return
    severity, sure = INFO, LOW
    if made is not None and made.value is False:
        severity, sure = WARNING, MEDIUM
    if how == "freeze" and unit.composed.dialect["name"] == "axolotl":
        severity, sure = ERROR, HIGH
    zero = not unit.keys.isdisjoint(_DEEPSPEED)
    edit = None if zero else change(reentrant, False, "false")
    fix = None
    if edit is not None:
        fix = Fix(
            RECOMMENDED,
            f"set `{reentrant.last_key}` to false",
            [edit],
            ["the gradients are the same where reentrant checkpointing gives any"],
        )
    yield Finding(
        place_of(reentrant, unit),
        "reentrant checkpointing gives no gradient to blocks whose input requires none"
        + (": axolotl refuses it" if severity == ERROR else ""),
        severity=severity,
        confidence=sure,
        key=reentrant.key,
        label="reentrant",
        related=[Related(place_of(checkpointing, unit), "checkpointing is on")],
        why=[
            (
                "The embeddings are not trained, so the first block's input requires no gradient, "
                "unless the code calls `enable_input_require_grads()`."
            )
        ],
        next="Call `enable_input_require_grads()` before the training."
        if zero
        else "Set `use_reentrant` to false.",
        fix=fix,
        no_fix="stage 3 of DeepSpeed needs reentrant checkpointing for adapters" if zero else "",
    )
