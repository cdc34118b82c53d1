"""GA2: learning rates that are usual for one kind of training or optimiser and not for another."""

from __future__ import annotations

from gradaudit.findings import (
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
from gradaudit.plan.model import LEARNING_RATE_FREE, SIGN
from gradaudit.rules import RULES, rule
from gradaudit.rules.adapters import begins_trained, finetuning_of, lora_scale, trains_lora
from gradaudit.rules.optimisers import PER_WEIGHT, rate_bounds, rate_is_factor
from gradaudit.rules.repair import change, place_of, start_at
from gradaudit.rules.text import number, optimizer_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import TrainingUnit
    from gradaudit.rules import Limits

_LAYER_DECAY = frozenset(
    ("layer_decay", "layer_decay_rate", "layerwise_lr_decay", "llrd", "lr_layer_decay")
)
"""Beside these the rate in the file is the head's, and lower layers get a small part of it."""

_TRAINS_A_PART = frozenset((
    "pre_seq_len", "num_virtual_tokens", "prefix_projection", "prompt_tuning", "prefix_tuning",
    "linear_probe", "linear_probing", "train_head_only",
))  # fmt: skip
_FREEZES = frozenset(("freeze", "frozen", "freezing", "unfreeze"))
"""Words of trainings in which part of the model stays as it is: prompts take rates up to 0.3."""

_PREFERENCES = frozenset((
    "beta", "completion", "dpo", "generations", "grpo", "kl", "kto", "orpo", "ppo", "pref",
    "reward", "rewards", "rl", "rollout", "simpo",
))  # fmt: skip
"""Words of learning from preferences or rewards, at 5e-7 to 5e-6 with adapters, too."""


def _is_reported(unit: TrainingUnit, rate: float) -> bool:
    """Whether GA201 or GA202 speaks of this rate already."""
    bounds = rate_bounds(unit, RULES["GA201"].limits)
    return (bounds is not None and rate > bounds[0]) or rate < RULES["GA202"].limits["smallest"]


@rule(
    "GA218",
    "fine-tuning-rate-too-high",
    scope="unit",
    needs=("learning_rate", "optimizer", "finetuning"),
    severities=(WARNING,),
    confidence=MEDIUM,
    limits={"highest": 1e-3, "sign_ratio": 3},
    references=(
        "https://arxiv.org/abs/1810.04805 (Devlin et al. 2019, BERT: fine-tuning at 2e-5 to 5e-5)",
        "https://arxiv.org/abs/1801.06146 (Howard & Ruder 2018: forgetting at high rates)",
        (
            "https://github.com/huggingface/alignment-handbook (recipes/smollm: 1e-3 for 135 "
            "million weights, the highest that was seen published)"
        ),
        (
            "https://arxiv.org/abs/2302.06675 (Chen et al. 2023: Lion's rate is 3 to 10 times "
            "below AdamW's)"
        ),
    ),
)
def fine_tuning_rate_too_high(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """All weights of a trained model are fine-tuned at a rate for training from scratch.

    Why:
        Under Adam and its kin every weight moves by about the learning rate a step, whatever the
        gradient. Trained weights are near a good point and mostly 0.01 to 0.1 in size: at rates
        above 1e-3 they move by a good part of themselves within tens of steps, and what was
        learnt before is lost. Published fine-tunings of whole language models use 5e-6 to 5e-5;
        only small models go up to 1e-3.

    Bad:
        optimizer: adamw
        learning_rate: 0.005
        finetuning_type: full

    Good:
        optimizer: adamw
        learning_rate: 2.0e-5
        finetuning_type: full

    Tell:
        The loss jumps up in the first steps after the warm-up, above where it began.

    Symptoms:
        loss rises, from the start or after falling
        worse than the published result

    Fix:
        Speculative under Adam and its kin: 2e-5, a usual start for language models. The right rate
        depends on the model.

    Limits:
        highest: above this rate it is reported.
        sign-ratio: under Lion and others that step by the sign, the bound is so many times lower.

    False positives:
        Adafactor's rate is relative to each weight and not judged, nor are Muon, SGD, Prodigy and
        Schedule-Free. Layer-wise decay of the rate gives the head the rate in the file and all
        else a part of it: not reported, nor is a file that freezes a part of the model or trains a
        prompt (P-tuning, at 0.01 to 0.3). Adapters are judged by adapter-rate-out-of-range.
    """
    rate = unit.settings["learning_rate"]
    value = rate.number
    if value is None or finetuning_of(unit) != "full" or begins_trained(unit) is False:
        return
    sign = unit.optimizer in SIGN
    if not sign and unit.optimizer not in PER_WEIGHT:
        return
    bound = limits["highest"] / (limits["sign_ratio"] if sign else 1)
    if value <= bound or rate_is_factor(unit) or _is_reported(unit, value):
        return
    if not unit.keys.isdisjoint(_LAYER_DECAY | _TRAINS_A_PART) or unit.has_word(_FREEZES):
        return
    name = optimizer_name(unit)
    how = unit.settings["finetuning"]
    note = (
        "a usual start for language models (Devlin et al. 2019); the right rate is found by trying"
    )
    fix = None if sign else start_at(unit, rate, 2e-5, "2.0e-5", note)
    yield Finding(
        place_of(rate, unit),
        f"learning rate {number(value)} is high for fine-tuning a whole model with {name}",
        severity=WARNING,
        confidence=MEDIUM,
        key=rate.key,
        label=f"peak rate {number(value)}",
        related=[Related(how.place, "all weights are trained")] if how.place is not None else [],
        why=[
            (
                f"Under {name} each weight moves by about the learning rate a step: what was "
                "learnt before is soon lost. Published fine-tunings use 5e-6 to 5e-5, small "
                "models up to 1e-3."
            )
        ],
        next="Compare with a published fine-tuning of the same model; 2e-5 is a usual start.",
        fix=fix,
        no_fix="" if fix else "the right rate depends on the model",
    )


@rule(
    "GA219",
    "adapter-rate-out-of-range",
    scope="unit",
    needs=("learning_rate", "optimizer", ("finetuning", "use_lora", "lora_rank")),
    severities=(WARNING, INFO),
    confidence=MEDIUM,
    limits={"highest": 3e-3, "lowest": 1e-6},
    references=(
        "https://arxiv.org/abs/2106.09685 (Hu et al. 2021, LoRA: 1e-4 to 5e-4)",
        "https://arxiv.org/abs/2305.14314 (Dettmers et al. 2023, QLoRA: 1e-4 to 2e-4)",
        (
            "https://github.com/axolotl-ai-cloud/axolotl (examples; 3e-3 is the highest that was "
            "seen published)"
        ),
    ),
)
def adapter_rate_out_of_range(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """A LoRA is trained at a rate far from those that are published.

    Why:
        An adapter begins at zero and takes a rate about ten times that of fine-tuning all weights:
        1e-4 to 5e-4 are usual under Adam. Far above, the first steps already change the model by
        more than a fine-tuning needs, and the loss tends to rise; far below, the adapter stays near
        zero and the model hardly changes.

    Bad:
        optimizer: adamw
        learning_rate: 0.008
        lora_r: 16
        lora_alpha: 32

    Good:
        optimizer: adamw
        learning_rate: 2.0e-4
        lora_r: 16
        lora_alpha: 32

    Tell:
        Too high: the loss rises in the first hundred steps. Too low: it stays where the model
        without an adapter is.

    Symptoms:
        loss rises, from the start or after falling
        loss is flat

    Fix:
        Speculative, where it is too high: 2e-4, the rate of QLoRA's 7B models. The right one
        depends on the model, the rank and alpha.

    Limits:
        highest: above this rate it is a warning; where alpha is below the rank, the rate counts by
            their ratio.
        lowest: below this rate it is an info.

    False positives:
        Learning from preferences (DPO, GRPO) with adapters goes down to 5e-7: not reported where a
        key tells of it (`beta`, `rl`, `pref_...`, `num_generations`), else an info. Adapters
        other than LoRA and its kin (prompt tuning at 0.3, IA3 at 3e-3) are not judged, nor are
        optimisers other than Adam and its kin.
    """
    rate = unit.settings["learning_rate"]
    value = rate.number
    if value is None or not trains_lora(unit) or unit.optimizer not in PER_WEIGHT:
        return
    if rate_is_factor(unit) or _is_reported(unit, value):
        return
    scale, fix = lora_scale(unit), None
    acts_like = value * min(1.0, scale if scale is not None else 1.0)
    if acts_like > limits["highest"]:
        severity, sure, what = WARNING, MEDIUM, "high for a LoRA"
        why = "The first steps change the model by more than a fine-tuning needs."
        fix = start_at(unit, rate, 2e-4, "2.0e-4", "QLoRA's 7B models; others are found by trying")
    elif value < limits["lowest"] and not unit.has_word(_PREFERENCES):
        severity, sure, what = INFO, LOW, "low for a LoRA, unless it learns from preferences"
        why = "The adapter begins at zero and hardly leaves it: the model stays as it is."
    else:
        return
    yield Finding(
        place_of(rate, unit),
        f"learning rate {number(value)} is {what}; usual is 1e-4 to 5e-4",
        severity=severity,
        confidence=sure,
        key=rate.key,
        label=f"peak rate {number(value)}",
        why=[why],
        next="Start at 2e-4, the rate of QLoRA's 7B models, and compare.",
        fix=fix,
        no_fix="" if fix else "the right rate depends on the model, the rank and alpha",
    )


@rule(
    "GA220",
    "rate-of-another-optimizer",
    scope="unit",
    needs=("learning_rate", "optimizer"),
    severities=(WARNING,),
    confidence=HIGH,
    limits={"free_lowest": 0.01},
    references=(
        "docs/measurements.md",
        "https://github.com/konstmish/prodigy (recommends lr=1)",
        "https://github.com/facebookresearch/dadaptation (set the learning rate to 1.0)",
        (
            "https://huggingface.co/docs/transformers/main_classes/optimizer_schedules (Adafactor: "
            "a manual lr and relative_step=True cannot be combined)"
        ),
    ),
)
def rate_of_another_optimizer(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The learning rate is in the units of another optimiser.

    Why:
        Prodigy and D-Adaptation find the step size themselves and multiply it by the learning
        rate, which is 1 or near it. Their estimate begins at 1e-6 and grows with the way that the
        weights have gone: at a rate for Adam, 1e-4, they go nowhere and it does not begin to
        grow. Measured with Prodigy: no change of the loss in 2,000 steps
        (measurements#what-optimisers-make-of-odd-numbers). Adafactor with `relative_step` makes its
        own rate from the step count: transformers and fairseq refuse another beside it.

    Bad:
        optimizer: prodigy
        learning_rate: 1.0e-4

    Good:
        optimizer: prodigy
        learning_rate: 1.0

    Tell:
        Log the optimiser's own estimate `d` times the learning rate: it stays near zero, and so
        does the change of the loss.

    Symptoms:
        loss is flat
        training ends with an error, or never starts

    Fix:
        Recommended: 1.0 for Prodigy and D-Adaptation. None for Adafactor.

    Limits:
        free-lowest: below this, under Prodigy and D-Adaptation, it is reported.

    False positives:
        The estimate makes up for 0.01 and above after some hundred steps: not reported. Code that
        does not hand the rate to Adafactor where `relative_step` is on (medium confidence). Rates
        above 10 are reported by learning-rate-too-high.
    """
    rate = unit.settings["learning_rate"]
    value = rate.number
    if value is None or value <= 0:
        return
    optimizer = unit.settings["optimizer"]
    name = optimizer_name(unit)
    if unit.optimizer in LEARNING_RATE_FREE:
        if value >= limits["free_lowest"] or _is_reported(unit, value):
            return
        edit = change(rate, 1.0)
        yield Finding(
            place_of(rate, unit),
            f"learning rate {number(value)} multiplies the steps that {name} finds itself; usual "
            "is 1",
            severity=WARNING,
            confidence=HIGH,
            key=rate.key,
            label=f"a factor of {number(value)}",
            related=[Related(place_of(optimizer, unit), f"for {name}")],
            why=[
                (
                    "Its estimate begins at about 1e-6 and grows only as the weights move: at this "
                    "rate it grows very late or never, and nothing is learnt."
                )
            ],
            next="Set it to 1; the schedule may lower it from there.",
            fix=Fix(
                RECOMMENDED,
                f"set `{rate.last_key}` to {edit.new}",
                [edit],
                [f"the rate that the authors of {name} recommend"],
            )
            if edit is not None
            else None,
        )
        return
    own = unit.get("relative_step")
    if unit.optimizer == "adafactor" and own is not None and own.value is True and rate.raw:
        yield Finding(
            place_of(rate, unit),
            f"learning rate {number(value)} beside `{own.last_key}: {own.raw}`: Adafactor makes "
            "its own",
            severity=WARNING,
            confidence=MEDIUM,
            key=rate.key,
            label="not used, or refused",
            related=[Related(place_of(own, unit), "the rate follows the step count")],
            why=["transformers and fairseq refuse both together; other code drops one of them."],
            next="Turn `relative_step` (and `warmup_init`) off to use this rate, or set the rate "
            "to null.",
            no_fix="which of the two is meant is not known",
        )


@rule(
    "GA221",
    "backbone-faster-than-head",
    scope="unit",
    needs=("learning_rate", "backbone_learning_rate"),
    severities=(WARNING, INFO),
    confidence=LOW,
    references=(
        "https://github.com/facebookresearch/detr/blob/main/main.py (1e-4, backbone 1e-5)",
        "https://github.com/facebookresearch/Mask2Former (BACKBONE_MULTIPLIER 0.1)",
        "https://arxiv.org/abs/1801.06146 (Howard & Ruder 2018: lower rates for lower layers)",
    ),
)
def backbone_faster_than_head(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The backbone has a higher learning rate than the rest of the model.

    Why:
        A trained backbone is near a good point, while the head begins at random: while the head
        learns, its noisy gradients pass through the backbone, and a high rate there spoils what
        was learnt before. Published recipes give the backbone a tenth of the rate, or the same.

    Bad:
        optimizer: adamw
        lr: 1.0e-4
        lr_backbone: 1.0e-3
        pretrained: true

    Good:
        optimizer: adamw
        lr: 1.0e-4
        lr_backbone: 1.0e-5
        pretrained: true

    Tell:
        Train 500 steps with both at the lower rate and compare the validation loss.

    Symptoms:
        worse than the published result

    Fix:
        None: which of the two numbers is meant is not known.

    False positives:
        A backbone that is trained from scratch beside a trained head. Where the file does not say
        that the weights begin as trained ones, it is an info.
    """
    head, backbone = unit.settings["learning_rate"], unit.settings["backbone_learning_rate"]
    trained = begins_trained(unit)
    if head.number is None or backbone.number is None or trained is False:
        return
    if not 0 < head.number < backbone.number:
        return
    yield Finding(
        place_of(backbone, unit),
        f"the backbone's learning rate {number(backbone.number)} is above the rest's, "
        f"{number(head.number)}",
        severity=WARNING if trained else INFO,
        confidence=LOW,
        key=backbone.key,
        label=f"backbone {number(backbone.number)}",
        related=[Related(place_of(head, unit), f"the rest {number(head.number)}")],
        why=["A trained backbone usually gets a tenth of the rate, or the same."],
        next="Check that the two numbers are not swapped.",
        no_fix="which of the two numbers is meant is not known",
    )
