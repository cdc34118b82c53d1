"""GA9: the terms of a loss by their measured gradients, and the weights that these recommend."""

from __future__ import annotations

from math import isfinite

from gradaudit.evidence.terms import CAP, balance, norms_with, percentiles, summarise
from gradaudit.findings import HIGH, MEDIUM, RECOMMENDED, WARNING, Finding, Fix, Related
from gradaudit.plan.measured_terms import planned_terms, term_roles
from gradaudit.rules import rule
from gradaudit.rules.optimisers import forgets_scale
from gradaudit.rules.recorded import RECORD_PAGE, STEPS_APART, source
from gradaudit.rules.repair import change, place_of
from gradaudit.rules.text import listed, number, percent, times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.evidence.record import Terms
    from gradaudit.evidence.terms import Advice, Balance, TermSummary
    from gradaudit.plan.measured import Measured
    from gradaudit.plan.model import LossTerm
    from gradaudit.rules import Limits

MANY_STEPS = 100
"""Measured steps from which the confidence is high."""


@rule(
    "GA961",
    "measured-auxiliary-gradients-lead",
    scope="record",
    needs=("loss_terms",),
    severities=(WARNING,),
    confidence=HIGH,
    references=(
        "https://arxiv.org/abs/1711.02257 (Chen et al. 2018, GradNorm: weights from norms)",
        "docs/measured-sample.md (the rule's own weights, trained over several seeds)",
        RECORD_PAGE,
    ),
)
def measured_auxiliary_gradients_lead(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """Auxiliary terms make most of the measured gradient.

    Why:
        The primary terms are what the training is for; a penalty is there to guide them. Where
        penalties make most of the gradient, the model is trained for the penalties, and a penalty
        that acts at few steps makes each of them a spike. No optimiser evens out the ratio of
        terms inside one sum: Adam rescales the sum, not its parts.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        loss_weights:
          mse: 1.0
          calib: 8.0
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 60, "events": "ZBS", "learning_rate": [1e-3],
         "pre_clip_norm": 20.0}
        {"kind": "terms", "step": 1, "to": 60, "terms": [
         {"name": "mse", "weight": 1.0, "value": 0.5, "gradient_norm": 1.0, "active": true},
         {"name": "calib", "weight": 8.0, "value": 0.5, "gradient_norm": 20.0, "active": true}],
         "cosines": [[1.0, 0.0], [0.0, 1.0]], "total_norm": 20.0}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        loss_weights:
          mse: 1.0
          calib: 0.27
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 60, "events": "ZBS", "learning_rate": [1e-3],
         "pre_clip_norm": 20.0}
        {"kind": "terms", "step": 1, "to": 60, "terms": [
         {"name": "mse", "weight": 1.0, "value": 0.5, "gradient_norm": 1.0, "active": true},
         {"name": "calib", "weight": 8.0, "value": 0.5, "gradient_norm": 20.0, "active": true}],
         "cosines": [[1.0, 0.0], [0.0, 1.0]], "total_norm": 20.0}

    Tell:
        `gradaudit dryrun` lists each term's share. By hand: `torch.autograd.grad` of each weighted
        term on one batch, and the norms of the results.

    Symptoms:
        gradient norm spikes
        one loss term drowns the others

    Fix:
        Recommended: each auxiliary weight times (pi_i / pi_1) (r_1 / r_i), where r are the norms
        measured at the steps at which the term acts, pi_1 = 0.6 the share of the strongest primary
        term and the pi_i equal parts of the rest; never below a hundredth in one round. Primary
        weights stay. Weights only come down, and not where the measurement leaves it open.

    False positives:
        Training a penalty on purpose, in a phase of its own. A record that was made with other
        weights than the file has now is not judged.
    """
    unit = measured.unit
    steps = settled_terms(measured)
    if not steps or unit.terms_by_design:
        return
    names = list(dict.fromkeys(name for step in steps for name in step.names))
    planned = planned_terms(unit, names)
    found = balance(steps, term_roles(unit, names))
    if found.missing:
        measured.wanted["GA961"] = found.missing
    if not found.dominated or found.reference is None:
        return
    chosen = [(a, planned[a.name]) for a in found.advice if a.name in planned]
    chosen = [(advice, term) for advice, term in chosen if _is_as_measured(advice, term)]
    if not chosen:
        return
    summaries = {summary.name: summary for summary in summarise(steps)}
    chosen.sort(key=lambda pair: -summaries[pair[0].name].energy)
    first = chosen[0][1].setting
    together = sum(summaries[advice.name].energy for advice, _ in chosen)
    named = listed([f"`{term.setting.last_key}`" for _, term in chosen])
    yield Finding(
        place_of(first, unit),
        f"measured: {named} make{'s' if len(chosen) == 1 else ''} {percent(together)} of the "
        "squared gradient norm",
        severity=WARNING,
        confidence=HIGH if len(steps) >= MANY_STEPS else MEDIUM,
        key=first.key,
        label=f"{percent(summaries[chosen[0][0].name].energy)} of the squared norm",
        related=[
            Related(place_of(term.setting, unit), f"{percent(summaries[advice.name].energy)}")
            for advice, term in chosen[1:]
        ],
        why=[
            (
                f"The primary terms stay behind: `{found.reference.name}` has a norm of "
                f"{number(found.reference.rms)}. "
                + ("Adam rescales the whole sum, not its parts." if forgets_scale(unit) else
                   "The penalties decide how long a step is and where it goes.")
            )
        ],
        evidence=_evidence(measured, steps, found, chosen, summaries),
        next="Apply the weights, then run the dry run again: gradients change when weights do.",
        fix=_fix(steps, found, chosen, planned),
        no_fix="the weights stand in no place that can be edited",
        cause="loss-weights",
    )  # fmt: skip


def settled_terms(measured: Measured) -> list[Terms]:
    """The measured steps after the warm-up."""
    first = measured.after[0].step if measured.after else None
    return [step for step in measured.terms if first is not None and step.step >= first]


def _is_as_measured(advice: Advice, term: LossTerm) -> bool:
    """Whether the file still has the weight that the record was made with."""
    weight = term.weight
    return isfinite(weight) and abs(weight - advice.weight) <= 1e-6 * abs(advice.weight)


def _evidence(
    measured: Measured,
    steps: list[Terms],
    found: Balance,
    chosen: list[tuple[Advice, LossTerm]],
    summaries: dict[str, TermSummary],
) -> list[str]:
    assert found.reference is not None
    lines = []
    for advice, _ in chosen:
        summary = summaries[advice.name]
        lines.append(
            f"`{advice.name}`: norm {number(_short(summary.rms))} where active "
            f"({percent(summary.active_share)} of {summary.steps} steps), "
            f"{times(summary.rms / found.reference.rms)} that of `{found.reference.name}`"
        )
    lines[0] = f"{source(measured)}: {lines[0]}"
    before, after = norms_with(steps, {}), norms_with(steps, _factors(chosen))
    if before and after:
        lines.append(
            "with the new weights, at the same weights of the model, the 95th percentile of the "
            f"norm is {number(_short(percentiles(after)[1]))} instead of "
            f"{number(_short(percentiles(before)[1]))}"
        )
    return [*lines, STEPS_APART]


def _factors(chosen: list[tuple[Advice, LossTerm]]) -> dict[str, float]:
    return {advice.name: advice.new / advice.weight for advice, _ in chosen}


def _fix(
    steps: list[Terms],
    found: Balance,
    chosen: list[tuple[Advice, LossTerm]],
    planned: dict[str, LossTerm],
) -> Fix | None:
    edits, notes, parts = [], [], []
    for advice, term in chosen:
        edit = change(term.setting, advice.new)
        if edit is None:
            continue
        edits.append(edit)
        parts.append(f"`{term.setting.last_key}` to {edit.new}")
        notes.append(
            f"`{advice.name}` x {number(_short(advice.wanted))} "
            f"({number(_short(advice.low))} to {number(_short(advice.high))}) by its measured norm"
            + (f": more than the x {CAP:g} of one round; the penalty is effectively off"
               if advice.is_off else "")
        )  # fmt: skip
    if not edits:
        return None
    for advice in found.advice:
        if advice.name not in planned:
            notes.append(
                f"`{advice.name}` has no key here: in the code, {number(advice.weight)} -> "
                f"{number(advice.new)}"
            )
    notes.append("primary weights stay; it changes the objective: compare the task's own metric")
    return Fix(RECOMMENDED, f"lower {listed(parts)}", edits, notes)


def _short(value: float) -> float:
    return float(f"{value:.3g}")
