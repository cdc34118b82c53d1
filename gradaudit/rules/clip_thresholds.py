"""GA1: clip thresholds that no gradient survives: zero, negative, or next to nothing."""

from __future__ import annotations

from gradaudit.findings import ERROR, INFO, MEDIUM, SPECULATIVE, WARNING, Finding, Fix
from gradaudit.rules import rule
from gradaudit.rules.optimisers import (
    divides_by_eps,
    eps_of,
    forgets_scale,
    steps_with_gradient,
    why_scale_cancels,
)  # fmt: skip
from gradaudit.rules.repair import change, place_of
from gradaudit.rules.text import number, optimizer_name, times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import TrainingUnit
    from gradaudit.rules import Limits


def _who_clips(unit: TrainingUnit) -> str:
    """Whether the trainer is known to call the clip with such a value."""
    dialect = unit.composed.dialect
    if dialect["name"] == "generic":
        return (
            "Many trainers read 0 or -1 as off and never call it; which trainer loads this file "
            "is not known."
        )
    if _off_is_known("clip_norm", unit):
        return f"{dialect['title']} calls it with every value."
    return f"{dialect['title']} is not known to read this value as off."


def _off_is_known(name: str, unit: TrainingUnit) -> bool:
    """Whether the unit's dialect says that no value turns a clip off (`off: []`)."""
    return any(
        spec["name"] == name and spec.get("off") == () for spec in unit.composed.dialect["paths"]
    )


SMALLEST = 1e-3
"""A tenth of the lowest clip norm that is published (Mask2Former's 0.01)."""


@rule(
    "GA102",
    "clip-not-positive",
    scope="unit",
    needs=(("clip_norm", "clip_value"),),
    severities=(ERROR, WARNING),
    confidence=MEDIUM,
    references=(
        "https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html",
        "https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_value_.html",
    ),
)
def clip_not_positive(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The clip threshold is zero or negative.

    Why:
        torch scales every gradient by threshold / norm. With 0 all gradients become zero and
        nothing is learnt; with a negative threshold their sign flips and the training climbs the
        loss. This holds for every optimiser: Adam keeps the sign. Clipping by value is no better:
        under a negative bound every entry of every gradient becomes that bound. Many trainers test
        for 0 or "greater than zero" first and read 0 or -1 as off (nanoGPT's `grad_clip: 0.0`);
        what a known framework reads as off is not reported.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        gradient_clip_norm: -2.0

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        gradient_clip_norm: 2.0

    Tell:
        `grep clip_grad_norm_` in the trainer: is it called under `if clip > 0`? With 0 the logged
        loss stays flat from the first step; with a negative threshold it rises.

    Symptoms:
        loss is flat
        loss rises, from the start or after falling

    Fix:
        Speculative, for a negative threshold other than -1: the same number without its sign. None
        where that would be too small for a norm.

    False positives:
        0 for `max_grad_norm`, `gradient_clip_val`, `gradient_clipping`, `clip_norm` and
        `clip_max_norm` is read as off and not reported: their trainers all test for it. -1 is
        "off" in ParallelWaveGAN and in espnet's GAN trainer, but flips the sign in espnet's
        ordinary one.
    """
    for setting in (*unit.every("clip_norm"), *unit.every("clip_value")):
        value = setting.number
        if value is None or value > 0:
            continue
        fix = None
        by_value = setting.name == "clip_value"
        if value == 0:
            what = (
                f"zeroes every gradient if it reaches torch's "
                f"`clip_grad_{'value' if by_value else 'norm'}_`; some trainers read 0 as off"
                if not _off_is_known(setting.name, unit)
                else f"zeroes every gradient: {unit.composed.dialect['title']} clips whatever it is"
            )
        else:
            what = (
                f"makes every entry of every gradient {number(value)} in torch"
                if by_value
                else "flips the sign of every gradient in torch: the training climbs the loss"
            )
            too_small = not by_value and -value <= SMALLEST  # the next finding: GA103
            edit = change(setting, -value) if value != -1 and not too_small else None
            if edit is not None:
                fix = Fix(
                    SPECULATIVE,
                    f"drop the sign of `{setting.last_key}`: {edit.new}",
                    [edit],
                    ["right if the sign is a slip of the pen; `null` if clipping is to be off"],
                )
        yield Finding(
            place_of(setting, unit),
            f"clip threshold {number(value)} {what}",
            severity=ERROR if value < 0 and value != -1 else WARNING,
            confidence=MEDIUM,
            key=setting.key,
            label="bounds every entry by this" if by_value else "scales gradients by this / norm",
            why=[
                (
                    "`clip_grad_value_` clamps to [-bound, bound] without looking at its sign. "
                    if by_value
                    else "`clip_grad_norm_` multiplies by threshold / norm without looking at its "
                    "sign. "
                )
                + _who_clips(unit)
            ],
            next="Write a threshold above 0; one that no gradient reaches turns clipping off."
            if _off_is_known(setting.name, unit)
            else f"Look for a `> 0` test around `clip_grad_{'value' if by_value else 'norm'}_` in "
            "the trainer; to turn clipping off without doubt, use the trainer's own spelling "
            "(often null).",
            fix=fix,
        )


@rule(
    "GA103",
    "clip-norm-degenerate",
    scope="unit",
    needs=("clip_norm",),
    severities=(ERROR, WARNING, INFO),
    confidence=MEDIUM,
    limits={"smallest": SMALLEST, "over_eps": 1e5},
    references=(
        (
            "https://github.com/facebookresearch/Mask2Former/blob/main/configs/coco/"
            "instance-segmentation/Base-COCO-InstanceSegmentation.yaml (clip norm 0.01)"
        ),
        "https://github.com/facebookresearch/detr/issues/91 (DETR, clip norm 0.1)",
        "docs/measurements.md",
    ),
)
def clip_norm_degenerate(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The clip norm is ten times below the lowest that is published.

    Why:
        Under SGD every step is at most learning rate x threshold long, before momentum and weight
        decay: the training crawls. Under Adam and its kin a constant factor cancels, until the
        clipped coordinates come near `eps`: over P parameters one is about threshold / sqrt(P),
        and below 10 x eps (1e-8 where the file names none) the steps shrink. Above that it is
        usually a misunderstanding, not a fault. Of 418 counted clip norms none lies below 0.05
        (measurements#how-published-configs-clip); Mask2Former's 0.01 is the lowest known.

    Bad:
        optimizer: sgd
        learning_rate: 0.1
        gradient_clip_norm: 0.0001

    Good:
        optimizer: sgd
        learning_rate: 0.1
        gradient_clip_norm: 1.0

    Tell:
        Every logged pre-clip norm is far above the threshold, and under SGD the loss hardly moves.

    Symptoms:
        loss is flat
        slow or wasted training

    Fix:
        Speculative: 1.0, the threshold of 42 % of the 418. Better: the 90th percentile of 100
        measured pre-clip norms.

    Limits:
        smallest: a clip norm of this or less is reported.
        over-eps: threshold over `eps` below which it is a warning under Adam and its kin. With
            1e5, a coordinate of 1e8 parameters is below 10 x eps.

    False positives:
        A loss scaled down by a large constant makes small gradients and small thresholds honest.
        Clipping by value is another matter and not judged here.
    """
    clip = unit.settings["clip_norm"]
    value = clip.number
    if value is None or not 0 < value <= limits["smallest"]:
        return
    if steps_with_gradient(unit):
        severity = ERROR
        why = (
            f"Under {optimizer_name(unit)} a step is at most learning rate x {number(value)} long, "
            "before momentum and weight decay: the training crawls."
        )
    elif forgets_scale(unit):
        severity, why = _near_eps(unit, value, limits)
    else:
        severity = WARNING
        which = (
            f"What `{unit.optimizer}` does is not known here."
            if unit.optimizer
            else "The file does not say which optimiser it is."
        )
        why = f"Under SGD the training crawls; under Adam a constant scale cancels. {which}"
    edit = change(clip, 1.0)
    yield Finding(
        place_of(clip, unit),
        f"clip norm {number(value)} is {times(0.01 / value)} below the lowest published (0.01)",
        severity=severity,
        confidence=MEDIUM,
        key=clip.key,
        label="clips every step",
        why=[why],
        next="Log the value that `clip_grad_norm_` returns for 100 steps and clip at its p90.",
        fix=Fix(
            SPECULATIVE,
            f"set `{clip.last_key}` to {edit.new}",
            [edit],
            ["1.0 is the commonest threshold of published recipes, 42 % of 418"],
        )
        if edit
        else None,
    )


def _near_eps(unit: TrainingUnit, value: float, limits: Limits) -> tuple[str, str]:
    """Where a constant scale cancels: whether so small a clip comes near `eps`."""
    name = optimizer_name(unit)
    if not divides_by_eps(unit):
        because, _ = why_scale_cancels(unit)
        return INFO, (
            f"Under {name} a constant scale cancels, because {because}: the threshold hardly "
            "matters, and is probably not what was meant."
        )
    eps, known = eps_of(unit)
    each = (
        f"spread over 1e8 parameters a coordinate is about {number(value)} / sqrt(1e8) = "
        f"{number(value / 1e4)}, and eps is {number(eps)} ({known})"
    )
    cancels = f"Under {name} a constant scale cancels while the clipped gradients stay well above"
    if value < limits["over_eps"] * eps:
        return WARNING, (
            f"{cancels} eps: {each}. The nearer to eps, or the further below it, the more the "
            "steps shrink with the threshold."
        )
    return INFO, f"{cancels} eps: {each}. Probably not what was meant."
