"""GA9: the terms of the loss by their measured gradients, from a dry run."""

from __future__ import annotations

from gradaudit.evidence.statistics import wilson
from gradaudit.findings import HIGH, INFO, MEDIUM, WARNING
from gradaudit.plan.terms import shares_of
from gradaudit.rules import load, rule
from gradaudit.rules.recorded import RECORD_PAGE, report
from gradaudit.rules.term_weights import shares_text, spiking, weights_fix
from gradaudit.rules.text import listed, number, percent, times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.findings import Finding
    from gradaudit.plan.measured import Measured
    from gradaudit.rules import Limits

GRADNORM = "https://arxiv.org/abs/1711.02257 (Chen et al. 2018, GradNorm)"


def _enough(measured: Measured, code: str, needed: float) -> bool:
    """Whether terms were measured at so many steps after the warm-up; else it is kept who asked."""
    count = len(measured.settled_terms)
    if measured.terms and count < needed:
        measured.want(code, int(needed), count)
    return count >= needed


@rule(
    "GA961",
    "term-dominates-gradient",
    scope="record",
    severities=(WARNING,),
    confidence=HIGH,
    limits={"share": 0.5, "probes": 20},
    references=(GRADNORM, "docs/measurements.md", RECORD_PAGE),
)
def term_dominates_gradient(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """Auxiliary terms make up more than half of the gradient, as measured.

    Why:
        The model is trained to satisfy penalties, and the task gets what is left. No optimiser
        evens this out: Adam is indifferent to the scale of the sum, not to the ratios inside it.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        loss_weights:
          mse: 0.20
          calibration: 0.20
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3]}
        {"kind": "terms", "step": 1, "to": 40, "terms": [
          {"name": "mse", "weight": 0.2, "gradient_norm": 0.4},
          {"name": "calibration", "weight": 0.2, "gradient_norm": 3.2}]}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        loss_weights:
          mse: 0.20
          calibration: 0.017
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3]}
        {"kind": "terms", "step": 1, "to": 40, "terms": [
          {"name": "mse", "weight": 0.2, "gradient_norm": 0.4},
          {"name": "calibration", "weight": 0.017, "gradient_norm": 0.272}]}

    Tell:
        `gradaudit dryrun` measures the gradient norm of each weighted term.

    Symptoms:
        one loss term drowns the others
        gradient norm spikes

    Fix:
        Recommended: lower each auxiliary weight until the root mean square of its gradient, over
        the steps at which the term is active, has its share: 60 % are meant for the largest
        primary term, the rest for the auxiliary ones in equal parts. From 30 steps after the
        warm-up, by no more than 100 times at once; primary weights stay. It changes the
        objective: compare the task's own metric.

    Limits:
        share: summed share of the auxiliary terms; a term's share is the mean of its norm over
          all steps after the warm-up, over the sum of these means.
        probes: fewest steps after the warm-up at which terms were measured.

    False positives:
        Phases in which a penalty is meant to lead. A term whose name has no known role counts as
        primary.
    """
    if not _enough(measured, "GA961", limits["probes"]):
        return
    shares = shares_of(measured)
    auxiliary = [share for share in shares if share.is_auxiliary]
    together = sum(share.share for share in auxiliary)
    if not auxiliary or len(auxiliary) == len(shares) or together <= limits["share"]:
        return
    heaviest = max(auxiliary, key=lambda share: share.share)
    fix, no_fix = weights_fix(measured, shares)
    yield report(
        measured,
        [],
        f"auxiliary terms make up {percent(together)} of the gradient; `{heaviest.name}` alone "
        f"{percent(heaviest.share)}",
        severity=WARNING,
        confidence=HIGH,
        label=f"{percent(heaviest.share)} of the gradient",
        why=["The model is trained to satisfy the penalties; the task gets what is left."],
        evidence=[shares_text(shares, len(measured.settled_terms))],
        next="Lower their weights, then measure again.",
        fix=fix,
        no_fix=no_fix,
        cause="loss-weights",
        at=heaviest.setting,
    )


@rule(
    "GA962",
    "primary-term-starved",
    scope="record",
    severities=(WARNING, INFO),
    confidence=HIGH,
    limits={"share": 0.05, "probes": 20},
    references=(GRADNORM, RECORD_PAGE),
)
def primary_term_starved(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """A term that is the task has less than a twentieth of the gradient, as measured.

    Why:
        What has no share in the gradient is not learnt, but by way of the other terms.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        loss_weights:
          ranking: 0.7
          mse: 0.2
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3]}
        {"kind": "terms", "step": 1, "to": 40, "terms": [
          {"name": "ranking", "weight": 0.7, "gradient_norm": 4.0},
          {"name": "mse", "weight": 0.2, "gradient_norm": 0.05}]}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        loss_weights:
          ranking: 0.7
          mse: 0.2
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3]}
        {"kind": "terms", "step": 1, "to": 40, "terms": [
          {"name": "ranking", "weight": 0.7, "gradient_norm": 4.0},
          {"name": "mse", "weight": 0.2, "gradient_norm": 1.5}]}

    Tell:
        `gradaudit dryrun` measures the gradient norm of each weighted term.

    Symptoms:
        one loss term drowns the others
        worse than the published result

    Fix:
        None: how much of the gradient a task should have is the user's choice.

    Limits:
        share: a primary term's share, below which it is starved.
        probes: fewest steps after the warm-up at which terms were measured.

    False positives:
        A term that has converged has no gradient left. It is an info where other primary terms
        have their share.
    """
    if not _enough(measured, "GA962", limits["probes"]):
        return
    shares = shares_of(measured)
    primary = [share for share in shares if not share.is_auxiliary]
    starved = [share for share in primary if 0 < share.share < limits["share"]]
    if not starved or len(shares) < 2:
        return
    together = sum(share.share for share in primary)
    names = listed([f"`{share.name}` {percent(share.share)}" for share in starved])
    yield report(
        measured,
        [],
        f"of the gradient {names}: hardly learnt",
        severity=WARNING if together < limits["share"] else INFO,
        confidence=HIGH if together < limits["share"] else MEDIUM,
        label="hardly in the gradient",
        why=["What has no share in the gradient is learnt by way of the other terms, or not."],
        evidence=[shares_text(shares, len(measured.settled_terms))],
        next="If it is a task of its own, lower what drowns it before raising it.",
        cause="loss-weights",
        at=starved[0].setting,
    )


@rule(
    "GA963",
    "term-never-active",
    scope="record",
    severities=(INFO,),
    confidence=HIGH,
    limits={"active": 0.01, "probes": 20},
    references=(RECORD_PAGE,),
)
def term_never_active(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """A term of the loss had no gradient at any measured step.

    Why:
        Its weight means nothing: a penalty that is satisfied, or a term that a `detach`, an
        `argmax` or a rounding cuts off from the model.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        loss_weights:
          mse: 1.0
          bounds: 0.5
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3]}
        {"kind": "terms", "step": 1, "to": 40, "terms": [
          {"name": "mse", "weight": 1.0, "gradient_norm": 0.4},
          {"name": "bounds", "weight": 0.5, "gradient_norm": 0, "active": false}]}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        loss_weights:
          mse: 1.0
          bounds: 0.5
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3]}
        {"kind": "terms", "step": 1, "to": 40, "terms": [
          {"name": "mse", "weight": 1.0, "gradient_norm": 0.4},
          {"name": "bounds", "weight": 0.5, "gradient_norm": 0.2}]}

    Tell:
        Differentiate the term alone: is there a gradient when it is not 0?

    Symptoms:
        None: nothing happens, which is the point.

    Fix:
        None: whether it is satisfied or cut off has to be looked at.

    Limits:
        active: share of steps with a gradient, up to which it counts as never.
        probes: fewest steps after the warm-up at which terms were measured.

    False positives:
        A penalty that is satisfied from the start: keep it as a guard, or drop it.
    """
    if not _enough(measured, "GA963", limits["probes"]):
        return
    for share in shares_of(measured, measured.terms):  # in the warm-up, too: it is not cut off
        if share.active > limits["active"] or share.weight == 0:
            continue
        count = len(measured.terms)
        _, high = wilson(round(share.active * count), count)
        yield report(
            measured,
            [],
            f"the term `{share.name}` has no gradient: its weight means nothing",
            severity=INFO,
            label="no gradient",
            why=["A penalty that is satisfied, or a term that is cut off from the model."],
            evidence=[
                (
                    f"active at {percent(share.active)} of {count} steps (at most {percent(high)}, "
                    "95 % interval)"
                )
            ],
            next="Is the term 0, or is there a `detach`, an `argmax` or a rounding in it?",
            at=share.setting,
        )


@rule(
    "GA964",
    "term-makes-spikes",
    scope="record",
    severities=(WARNING,),
    confidence=MEDIUM,
    limits={"active": 0.3, "over_others": 10, "probes": 20},
    references=("docs/measurements.md", RECORD_PAGE),
)
def term_makes_spikes(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """A term is active at few steps, and its gradient then dwarfs all others.

    Why:
        It makes the spikes of the norm: most steps train the task, and now and then one step
        belongs to this term alone. Under Adam the spike fills the second moment and shortens the
        steps after it.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        loss_weights:
          mse: 1.0
          variance: 1.0
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3]}
        {"kind": "terms", "step": 1, "to": 40, "terms": [
          {"name": "mse", "weight": 1.0, "gradient_norm": 5.0},
          {"name": "variance", "weight": 1.0, "active": false}]}
        {"kind": "terms", "step": 9, "to": 40, "every": 20, "terms": [
          {"name": "mse", "weight": 1.0, "gradient_norm": 5.0},
          {"name": "variance", "weight": 1.0, "gradient_norm": 60.0}]}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        loss_weights:
          mse: 1.0
          variance: 0.056
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3]}
        {"kind": "terms", "step": 1, "to": 40, "terms": [
          {"name": "mse", "weight": 1.0, "gradient_norm": 5.0},
          {"name": "variance", "weight": 0.056, "gradient_norm": 3.3}]}

    Tell:
        Log which terms are not 0 at the steps with the largest norm.

    Symptoms:
        gradient norm spikes
        loss spikes
        one loss term drowns the others

    Fix:
        Recommended: lower its weight until its gradient has its share where it is active, as for
        term-dominates-gradient, from 30 steps after the warm-up: where that gradient is ten times
        the median norm of all steps; of a term that acts once, or at less than 1 % of the steps, at
        each of these. How low it belongs is then a rough guess. A smooth penalty in place of a
        hinge does without one.

    Limits:
        active: share of the steps at which it has a gradient, below which it is rare.
        over-others: root mean square norm over the steps at which it is active, over the largest
          of the other terms'. Whose weight is to come down for its spikes (see Fix) is told of
          without these two.
        probes: fewest steps after the warm-up at which terms were measured.

    False positives:
        A term that is switched on late by a schedule.
    """
    if not _enough(measured, "GA964", limits["probes"]):
        return
    shares = shares_of(measured)
    together = sum(share.share for share in shares if share.is_auxiliary)
    leads = together > load()["GA961"].limits["share"]  # then that finding has the fix
    fix, no_fix = (None, "") if leads else weights_fix(measured, shares)
    spikes = {} if leads else spiking(measured, shares)
    for share in shares:
        others = [other.rms for other in shares if other is not share and other.rms > 0]
        if not others:
            continue
        ratio = share.rms / max(others)
        than = f"{times(ratio)} any other term"
        if ratio < limits["over_others"] or not 0 < share.active < limits["active"]:
            if share.name not in spikes:
                continue
            than = f"{times(spikes[share.name])} the norm of the usual step"
        yield report(
            measured,
            [],
            f"`{share.name}` is active at {percent(share.active)} of the steps, and then {than}",
            severity=WARNING,
            confidence=MEDIUM,
            label="makes the spikes",
            why=["Most steps train the task; now and then one belongs to this term alone."],
            evidence=[
                (
                    f"root mean square norm {number(share.rms)} where it is active, of the others "
                    f"at most {number(max(others))}; {len(measured.settled_terms)} steps measured"
                )
            ],
            next="Make the penalty smooth at its bound, or lower its weight.",
            fix=fix,
            no_fix=no_fix,
            cause="loss-weights",
            at=share.setting,
        )
