"""GA7: settings that are written and do nothing."""

from __future__ import annotations

from gradaudit.findings import HIGH, INFO, MEDIUM, Finding, Related
from gradaudit.plan.model import WRITTEN
from gradaudit.rules import rule
from gradaudit.rules.deepspeed import TRANSFORMERS
from gradaudit.rules.repair import place_of
from gradaudit.rules.text import listed, optimizer_name, precision_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import Setting, TrainingUnit
    from gradaudit.rules import Limits

_ADAM = frozenset(("adam", "adamw", "adamax", "nadam", "nadamw", "radam", "amsgrad", "lamb"))
"""Optimisers without a `momentum`: their first beta is one."""

_WARMUPS = ("warmup_steps", "warmup_ratio", "warmup_epochs")
_UNSCALED = frozenset(("bf16", "bf16-mixed", "fp32", "tf32"))
_ALL_SCALED = frozenset(("generic", "mmengine"))
"""Dialects whose `loss_scale` may do something in bf16 and fp32 too."""


@rule(
    "GA710",
    "setting-without-effect",
    scope="unit",
    needs=(("optimizer", "scheduler", "precision"),),
    severities=(INFO,),
    confidence=MEDIUM,
    references=(
        "https://docs.pytorch.org/docs/stable/optim.html (arguments of each optimiser)",
        (
            "https://github.com/huggingface/transformers/blob/main/src/transformers/optimization.py"
            " (get_scheduler hands no warm-up to `constant`)"
        ),
        "https://docs.pytorch.org/docs/stable/amp.html (gradient scaling is for float16)",
    ),
)
def setting_without_effect(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """A setting is written that nothing in this training reads.

    Why:
        Its author believes that it acts. `lr_scheduler_type: constant` with a warm-up begins at
        the full rate in transformers (`constant_with_warmup` warms up); betas do nothing in SGD, a
        momentum nothing in Adam, a loss scale nothing in bf16 and fp32.

    Bad:
        per_device_train_batch_size: 8
        learning_rate: 2.0e-5
        num_train_epochs: 3
        lr_scheduler_type: constant
        warmup_ratio: 0.03

    Good:
        per_device_train_batch_size: 8
        learning_rate: 2.0e-5
        num_train_epochs: 3
        lr_scheduler_type: constant_with_warmup
        warmup_ratio: 0.03

    Tell:
        Plot the logged learning rate, or print the optimiser: the value does not show.

    Symptoms:
        loads other values than the file seems to say

    Fix:
        None: whether the setting or what makes it idle is meant is not known.

    False positives:
        A file from which trainings with several optimisers begin; where the framework is not known,
        what belongs to another optimiser is not reported for that reason. Nor are a value of 0,
        which says that it is off, and what a base file holds. QLoRA's published recipe has a
        warm-up beside `constant`: it trains well, and at the full rate from its first step. A
        `loss_scale` is not reported where it may weigh a loss (a framework that is not known) or is
        applied in bf16 too (mmengine).
    """
    framework = unit.composed.dialect["name"]
    # A config of one's own often holds what every optimiser that may be chosen would take.
    optimizer = unit.optimizer if framework != "generic" else None
    if optimizer == "sgd":
        betas = [s for name in ("betas", "beta1", "beta2") if (s := _written(unit, name))]
        yield from _idle(unit, betas, "optimizer", "SGD has no betas")
        eps = _written(unit, "eps")
        yield from _idle(unit, [eps] if eps else [], "optimizer", "SGD has no eps")
    elif optimizer in _ADAM:
        momentum = _written(unit, "momentum")
        why = f"{optimizer_name(unit)} has betas and no momentum"
        yield from _idle(unit, [momentum] if momentum else [], "optimizer", why)
    precision = unit.get("precision")
    scale = _written(unit, "loss_scale")
    if scale and precision and precision.value in _UNSCALED and framework not in _ALL_SCALED:
        why = f"gradients are scaled in fp16 alone, and this is {precision_name(precision.value)}"
        yield from _idle(unit, [scale], "precision", why)
    scheduler = unit.get("scheduler")
    if scheduler and scheduler.value == "constant" and framework in TRANSFORMERS:
        warmups = [s for name in _WARMUPS if (s := _written(unit, name))]
        why = "transformers' `constant` has no warm-up: `constant_with_warmup` has"
        yield from _idle(unit, warmups, "scheduler", why)


def _written(unit: TrainingUnit, name: str) -> Setting | None:
    """A setting that this file writes, and that is not off."""
    setting = unit.get(name)
    if setting is None or setting.origin != WRITTEN or not setting.value or not setting.key:
        return None
    return setting


def _idle(unit: TrainingUnit, idle: list[Setting], by: str, why: str) -> Iterator[Finding]:
    """`idle` does nothing because of the setting `by`."""
    if not idle:
        return
    cause = unit.settings[by]
    names = dict.fromkeys(f"`{setting.last_key}`" for setting in idle)
    yield Finding(
        place_of(idle[0], unit),
        f"{listed(list(names))} {'does' if len(names) == 1 else 'do'} nothing: {why}",
        severity=INFO,
        confidence=HIGH if cause.origin == WRITTEN else MEDIUM,
        key=idle[0].key,
        label="does nothing",
        related=[Related(cause.place, "because of this")] if cause.place else [],
        why=["What is set here does not reach the training."],
        next="Take it out, or change what makes it idle.",
        no_fix="whether the setting or what makes it idle is meant is not known",
    )
