"""GA1: gradient clipping."""

from __future__ import annotations

from gradaudit.findings import ERROR, INFO, LOW, MEDIUM, SPECULATIVE, WARNING, Finding, Fix, Related
from gradaudit.plan.schedule import rate_at
from gradaudit.rules import rule
from gradaudit.rules.optimisers import effect_of_clip, steps_with_gradient
from gradaudit.rules.repair import change, place_of
from gradaudit.rules.text import median, number, percent, times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import LossTerm, Setting, TrainingUnit
    from gradaudit.rules import Limits

CUSTOMARY = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Clip norms that published recipes use: of 418 counted, 42 % are 1.0, 20 % are 10 and 17 % are 5
(docs/measurements.md, How published configs clip)."""

PRE_CLIP = (
    "`clip_grad_norm_` returns the norm before clipping, and that is what trainers log: a reported "
    "norm above the threshold is what a working clip looks like, not a clip that failed."
)


@rule(
    "GA101",
    "clip-norm-too-tight",
    scope="unit",
    needs=("clip_norm",),
    severities=(ERROR, WARNING, INFO),
    confidence=LOW,
    limits={"terms": 4, "sum_to_clip": 5, "spread": 5, "norm_to_clip": 5, "norm_to_clip_sgd": 10},
    references=(
        "https://arxiv.org/abs/1211.5063 (Pascanu et al. 2013: clipping the norm)",
        "https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html",
        (
            "https://github.com/google-research/tuning_playbook (clip at the 90th percentile; more "
            "than half of the steps clipped is extremely aggressive)"
        ),
        (
            "https://github.com/volcengine/verl/issues/2282 (the logged norm is the one before "
            "clipping)"
        ),
        "https://github.com/hiyouga/LLaMA-Factory/issues/3996 (the same)",
        "https://github.com/facebookresearch/detr/issues/198 (norms of 10 to 100 under 0.1)",
        (
            "https://github.com/facebookresearch/detr/issues/91 (its authors saw no faster "
            "convergence without the clip)"
        ),
        "docs/measurements.md",
    ),
)
def clip_norm_too_tight(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The clip norm is small against what the loss can produce, or against a measured norm.

    Why:
        The norm that trainers log is the one before clipping, so a large number beside a small
        threshold is no proof of a failed clip, and raising the threshold cannot lower it. What a
        tight clip does depends on the optimiser. Under SGD each clipped step is learning rate x
        threshold long, before momentum and weight decay. Under Adam, AdamW and Lion a factor that
        is the same at every step cancels (under plain Adam but for a weight decay, which is added
        to the gradient), so that among thresholds which clip every step the choice hardly
        matters; clipping only the rare spikes does matter: it limits how much a spike weighs in
        the moments, which is usually wanted.

        Without a measured norm this is a suspicion: several summed terms, one of them heavy and
        auxiliary, under a threshold far below their weights. With a record it has the severity of
        the measurement, GA931: an error only where clipped steps under SGD hardly move the weights.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        gradient_clip_norm: 0.2
        loss_weights:
          ce: 0.10
          mse: 0.10
          dice: 0.10
          calibration: 0.85

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        gradient_clip_norm: 0.25
        loss_weights:
          ce: 0.10
          mse: 0.10
          dice: 0.10
          calibration: 0.85

    Tell:
        Log the value that `clip_grad_norm_` returns for 100 steps after the warm-up. Look at the
        median, the 90th percentile and the largest, never at one step or an epoch's mean. Over
        half of the steps clipped is aggressive under SGD; under Adam it is a normalisation, and
        only a heavy tail (90th percentile at ten times the median) is worth a repair.

    Symptoms:
        gradient norm spikes
        slow or wasted training

    Fix:
        Speculative: the smallest customary threshold that is at least a fifth of the sum of the
        weights. It cannot lower the norm. Measured on the reconstructed training: raised from 2.0
        to 5.0 it lowered no gradient, and the held-out error was lower in 4 of 24 runs only
        (measurements#clip_norm-50). Lower the heavy term first, measure, then clip at the 90th
        percentile.

    Limits:
        terms: fewest loss terms with a weight.
        sum-to-clip: sum of the weights, over the threshold.
        spread: largest weight, over the median one. The largest must be an auxiliary one.
        norm-to-clip: measured norm over the threshold from which the suspicion gains confidence.
        norm-to-clip-sgd: the same under SGD, where it is a warning even without heavy terms.

    False positives:
        DETR trains with 0.1 where norms of 10 to 100 were seen, Mask2Former with 0.01, QLoRA with
        0.3. A threshold alone is therefore never reported: several unbalanced terms or a measured
        norm are needed.
    """
    clip = unit.settings["clip_norm"]
    threshold = clip.number
    if threshold is None or threshold <= 0:
        return
    crowded = _crowded(unit, threshold, limits)
    if unit.observed is not None:
        yield from _with_evidence(unit, clip, threshold, crowded, limits)
    elif crowded:
        terms, heaviest = crowded
        total = sum(term.weight for term in terms)
        yield Finding(
            place_of(clip, unit),
            f"clip norm {number(threshold)} is tight for {len(terms)} summed loss terms whose "
            f"weights add up to {number(total)}",
            severity=WARNING,
            confidence=LOW,
            key=clip.key,
            label=f"clips at {number(threshold)}",
            related=[_heaviest(heaviest, terms, unit)],
            why=[_what_a_clip_does(unit, threshold), PRE_CLIP],
            next="Log the pre-clip norm of 100 steps after the warm-up, then check again with "
            "--observed-grad-norm.",
            fix=_raise(unit, clip, threshold, total),
            cause="loss-weights",
        )


def _crowded(
    unit: TrainingUnit, threshold: float, limits: Limits
) -> tuple[list[LossTerm], LossTerm] | None:
    """The terms and the heaviest auxiliary one, where the static part of the rule holds."""
    terms = [term for term in unit.loss_terms if term.weight > 0]
    auxiliary = [term for term in terms if term.is_auxiliary]
    primary = [term for term in terms if not term.is_auxiliary]
    if len(terms) < limits["terms"] or not auxiliary or not primary:
        return None
    weights = [term.weight for term in terms]
    heaviest = max(auxiliary, key=lambda term: term.weight)
    holds = (
        sum(weights) / threshold >= limits["sum_to_clip"]
        and max(weights) / median(weights) >= limits["spread"]
        and heaviest.weight > max(term.weight for term in primary)
    )
    return (terms, heaviest) if holds else None


def _heaviest(term: LossTerm, terms: list[LossTerm], unit: TrainingUnit) -> Related:
    share = term.weight / sum(t.weight for t in terms)
    return Related(
        place_of(term.setting, unit), f"the heaviest term: {percent(share)} of the sum of weights"
    )


def _what_a_clip_does(unit: TrainingUnit, threshold: float) -> str:
    after = (
        "Raising the threshold lengthens those steps; it cannot lower the norm."
        if steps_with_gradient(unit)
        else "Raising the threshold cannot lower the norm."
    )
    return f"{effect_of_clip(unit, threshold)} {after}"


def _with_evidence(
    unit: TrainingUnit,
    clip: Setting,
    threshold: float,
    crowded: tuple[list[LossTerm], LossTerm] | None,
    limits: Limits,
) -> Iterator[Finding]:
    observed = unit.observed
    assert observed is not None
    norm = observed.grad_norm
    ratio = norm / threshold
    severity, confidence = _judged(unit, ratio, bool(crowded), limits)
    if ratio <= 1 and not crowded:
        return
    if ratio > 1:
        message = (
            f"{number(norm)}{observed.when} is the norm before clipping, {times(ratio)} the "
            f"threshold {number(threshold)}: that step's gradient was scaled by "
            f"{threshold / norm:.2g}"
        )
        label = f"clipped {number(norm)} to {number(threshold)}"
    else:
        message = (
            f"{number(norm)}{observed.when} is below the threshold {number(threshold)}: "
            "the clip did not act on that step"
        )
        label = "did not act"
    if not unit.observed_here:
        message = f"if it is of `{unit.name}`: {message}"
    evidence = [f"given: gradient norm {number(norm)}{observed.when}, taken as the pre-clip norm"]
    if not unit.observed_here:
        evidence.append(
            "which unit of this file it was measured on is not known: say so with --unit"
        )
    evidence.extend(_rate_then(unit))
    related = []
    fix = None
    following = (
        "Measure the pre-clip norm over 100 steps after the warm-up and report median, p90 and "
        "maximum: one number, or an epoch's mean, says little about a series with spikes."
    )
    if crowded:
        terms, heaviest = crowded
        related.append(_heaviest(heaviest, terms, unit))
        fix = _raise(unit, clip, threshold, sum(term.weight for term in terms))
        following += (
            f" Log the gradient norm of each loss term too: is it `{heaviest.name}`? "
            "Lower that weight first; then set the threshold to p90."
        )
    else:
        following += " Then set the threshold to p90, or leave it."
    yield Finding(
        place_of(clip, unit),
        message,
        severity=severity,
        confidence=confidence if unit.observed_here else LOW,
        key=clip.key,
        label=label,
        related=related,
        why=[PRE_CLIP, _what_a_clip_does(unit, threshold)],
        evidence=evidence,
        next=following,
        fix=fix,
        cause="loss-weights" if crowded else "",
    )


def _judged(unit: TrainingUnit, ratio: float, crowded: bool, limits: Limits) -> tuple[str, str]:
    if steps_with_gradient(unit):
        if ratio >= limits["norm_to_clip_sgd"]:
            return WARNING, MEDIUM if crowded else LOW
        return (WARNING, LOW) if crowded else (INFO, LOW)
    if crowded:
        if ratio >= limits["norm_to_clip"]:
            return WARNING, MEDIUM
        return (WARNING, LOW) if ratio > 1 else (INFO, LOW)
    return INFO, MEDIUM if ratio >= limits["norm_to_clip"] else LOW


def _rate_then(unit: TrainingUnit) -> Iterator[str]:
    observed = unit.observed
    assert observed is not None
    rate = rate_at(unit, observed.epoch, observed.step)
    if rate is None:
        return
    if rate.inside_warmup and unit.number("warmup_start_factor") is None:
        yield "the warm-up is taken from 0: the file names no start factor"
    if not rate.inside_warmup:
        yield f"the warm-up was over{observed.when}: the learning rate had reached its peak"
    elif rate.high > rate.low:
        yield (
            f"the learning rate{observed.when} was {number(rate.low)} if the scheduler steps per "
            f"epoch, up to {number(rate.high)} if it steps per batch: {percent(rate.share)} to "
            f"{percent(rate.high / rate.peak)} of the peak {number(rate.peak)}, still in the "
            "warm-up"
        )
    else:
        yield (
            f"the learning rate{observed.when} was {number(rate.low)}, {percent(rate.share)} of "
            f"the peak {number(rate.peak)}, still in the warm-up"
        )


def _raise(unit: TrainingUnit, clip: Setting, threshold: float, total: float) -> Fix | None:
    target = next((c for c in CUSTOMARY if c >= total / 5), None)
    if target is None or target <= threshold:
        return None
    edit = change(clip, target)
    if edit is None:
        return None
    return Fix(
        SPECULATIVE,
        f"raise `{clip.last_key}` from {clip.raw} to {edit.new}",
        [edit],
        [
            (
                f"{number(target)} is the smallest customary threshold that is at least a fifth of "
                f"the sum of the weights, {number(total)}"
            ),
            (
                "it cannot lower the reported norm, and no gain was measured over 8 seeds "
                "(docs/measurements.md)"
            ),
        ],
    )
