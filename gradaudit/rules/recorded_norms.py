"""GA9: the shape of the gradient norm's series."""

from __future__ import annotations

from math import isfinite

from gradaudit.evidence.statistics import (
    growth,
    median,
    quantile,
    quantile_interval,
    spikes,
    steady_tail_ratio,
)
from gradaudit.findings import INFO, LOW, MEDIUM, WARNING
from gradaudit.plan.measured import ENOUGH_TO_RECOMMEND
from gradaudit.rules import rule
from gradaudit.rules.recorded import RECORD_PAGE, report
from gradaudit.rules.recorded_loss import losses_of
from gradaudit.rules.recorded_threshold import HEAVY, norms_text
from gradaudit.rules.text import number, percent, times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.findings import Finding
    from gradaudit.plan.measured import Measured
    from gradaudit.rules import Limits


@rule(
    "GA934",
    "gradient-norm-spikes",
    scope="record",
    severities=(INFO,),
    confidence=MEDIUM,
    limits={"deviations": 4, "share": 0.01, "memory": 0.97, "steps": ENOUGH_TO_RECOMMEND},
    references=(
        "https://arxiv.org/abs/2504.02507 (Kumar et al. 2025, ZClip: spikes by z-score)",
        RECORD_PAGE,
    ),
)
def gradient_norm_spikes(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """Single norms stand far out of those before them.

    Why:
        A norm at four standard deviations of its logarithm comes once in 30,000 steps if norms are
        lognormal and the deviation is known; once in some thousand where it is estimated from few
        steps, as here. One in a hundred mostly has a cause: a bad sample, a bad batch, a rate at
        its limit.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 120, "events": "ZBS", "learning_rate": [1e-3],
         "pre_clip_norm": 1.0, "post_clip_norm": 1.0}
        {"kind": "step", "step": 50, "to": 120, "every": 30, "events": "ZBS",
         "learning_rate": [1e-3], "pre_clip_norm": 6.0, "post_clip_norm": 6.0}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 120, "events": "ZBS", "learning_rate": [1e-3],
         "pre_clip_norm": 1.0, "post_clip_norm": 1.0}

    Tell:
        Look at the batches of these steps.

    Symptoms:
        gradient norm spikes
        loss spikes

    Fix:
        None: a clip bounds them, their cause lies in the data or the rate.

    Limits:
        deviations: standard deviations of the logarithm, against a running mean.
        share: share of spikes among the steps.
        memory: weight of the past in the running mean (ZClip's 0.97).
        steps: fewest steps after the warm-up to judge.

    False positives:
        Norms that are not lognormal. Where the whole series has a heavy tail, GA933 says it
        instead.
    """
    if not measured.enough("GA934", int(limits["steps"])):
        return
    tail = steady_tail_ratio(measured.norms)
    if tail is None or tail >= HEAVY:
        return
    found = spikes(measured.norms, limits["memory"], limits["deviations"], 25)
    if len(found) <= limits["share"] * len(measured.norms):
        return
    finite = [
        step
        for step in measured.after
        if step.is_in_true_units and step.pre_clip_norm is not None and isfinite(step.pre_clip_norm)
    ]
    losses = {step.step: loss for step, loss in losses_of(measured)}
    alike = [losses[step.step] for step in finite if step.step in losses]
    together = ""
    if len(alike) == len(finite) and min(alike) > 0:
        also = set(found) & set(spikes(alike, limits["memory"], limits["deviations"], 25))
        together = (
            f"; the loss stands out at {len(also)} of them: an unusual batch, or a step before it "
            "that went too far"
            if also
            else "; the loss stands out at none of them"
        )
    at = ", ".join(
        f"step {finite[position].step} ({number(measured.norms[position])})"
        for position in found[:3]
    )
    yield report(
        measured,
        ["clip_norm", "optimizer"],
        f"{len(found)} of {len(measured.norms)} norms stand far out of those before them",
        severity=INFO,
        confidence=MEDIUM,
        why=["If norms are lognormal, chance makes such a step once in some thousand."],
        evidence=[f"{at}{', ...' if len(found) > 3 else ''}; {norms_text(measured)}{together}"],
        next="Look at the batches of these steps; a clip at the 90th percentile bounds them.",
    )


@rule(
    "GA935",
    "gradient-norm-grows",
    scope="record",
    severities=(WARNING,),
    confidence=MEDIUM,
    limits={"growth": 3, "goes_on": 1.2, "steps": 40},
    references=(
        "Ben Braiek & Khomh 2023, TheDeepChecker (gradients that grow from step to step)",
        RECORD_PAGE,
    ),
)
def gradient_norm_grows(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """The gradient norm rises from the beginning of the record to its end.

    Why:
        After the warm-up a norm mostly falls or stays. One that multiplies, and still grows at the
        end of the record, may be a divergence that the loss does not show yet.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 60, "events": "ZBS", "learning_rate": [1e-3],
         "pre_clip_norm": 1.0, "post_clip_norm": 1.0}
        {"kind": "step", "step": 46, "to": 60, "events": "ZBS", "learning_rate": [1e-3],
         "pre_clip_norm": 4.0, "post_clip_norm": 4.0}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 60, "events": "ZBS", "learning_rate": [1e-3],
         "pre_clip_norm": 1.0, "post_clip_norm": 1.0}
        {"kind": "step", "step": 41, "to": 60, "events": "ZBS", "learning_rate": [1e-3],
         "pre_clip_norm": 1.2, "post_clip_norm": 1.2}

    Tell:
        Plot the logarithm of the norm over some hundred steps more.

    Symptoms:
        gradient norm grows
        loss rises, from the start or after falling

    Fix:
        None: lower the learning rate or clip, and record again.

    Limits:
        growth: median of the last quarter over that of the first.
        goes-on: median of the last quarter over that of the third: a fifth more at least, where
          growth by 3 at an even pace has 1.44.
        steps: fewest steps after the warm-up to judge.

    False positives:
        Losses that are switched on by a schedule; a slow growth late under SGD. In the first steps
        of a training the norm often rises before it settles: a rise that has ended is not
        reported, one that goes on in a record from step 1 has low confidence.
    """
    if not measured.enough("GA935", int(limits["steps"])):
        return
    found = growth(measured.norms)
    if found is None or not found[1] or found[0] < limits["growth"]:
        return
    quarter = len(measured.norms) // 4
    third, end = measured.norms[-2 * quarter : -quarter], measured.norms[-quarter:]
    first, last = median(measured.norms[:quarter]), median(end)
    before, now = quantile_interval(third, 0.5), quantile_interval(end, 0.5)
    if last < limits["goes_on"] * median(third) or not before or not now or now[0] <= before[1]:
        return
    young = measured.after[0].step == 1
    yield report(
        measured,
        ["learning_rate", "optimizer"],
        f"the median norm grew {times(found[0])} within {len(measured.norms)} steps",
        severity=WARNING,
        confidence=LOW if young else MEDIUM,
        why=[
            "A norm that multiplies may be a divergence"
            + ("; in the first steps of a training it may also just settle." if young else ".")
        ],
        evidence=[
            (
                f"median {number(first)} in the first quarter of {measured.span}, {number(last)} "
                "in the last; their 95 % intervals do not overlap"
            )
        ],
        next="Record some hundred steps from here on (`--skip-steps`); if it goes on, lower the "
        "learning rate.",
    )


HALVES = 1 / 256
"""How far the rounding of a clipped gradient to bf16 moves its norm, at most."""


@rule(
    "GA936",
    "hidden-clip",
    scope="record",
    severities=(INFO,),
    confidence=MEDIUM,
    limits={"spread": 0.001, "share": 0.5, "steps": 20},
    references=(RECORD_PAGE,),
)
def hidden_clip(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """The norm at the step is one constant, and no clip was called.

    Why:
        Something clips or normalises where the record cannot see it: a clip by hand, one inside
        the trainer, a gradient hook. The threshold that counts is then not that of the file, and
        the norms recorded here are those after it.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3],
         "pre_clip_norm": 0.5, "post_clip_norm": 0.5}
        {"kind": "step", "step": 6, "to": 40, "every": 10, "events": "ZBS",
         "learning_rate": [1e-3], "pre_clip_norm": 0.41, "post_clip_norm": 0.41}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3],
         "pre_clip_norm": 0.5, "post_clip_norm": 0.5}
        {"kind": "step", "step": 2, "to": 40, "every": 2, "events": "ZBS",
         "learning_rate": [1e-3], "pre_clip_norm": 0.7, "post_clip_norm": 0.7}

    Tell:
        Search the training code for `.grad.mul_`, `.grad.div_`, `register_hook`.

    Symptoms:
        None: the training may be as meant.

    Fix:
        None: find it first.

    Limits:
        spread: relative difference up to which two norms are one; 1/256 at least where weights are
          bf16 or fp16, whose gradients are rounded again after a clip.
        share: share of the steps at the largest norm.
        steps: fewest steps to judge.

    False positives:
        A loss with a constant gradient (a sign, L1 of one output) has one norm by itself: where it
        is the same to the last digit at every step, nothing is said.
    """
    norms = [
        step.post_clip_norm
        for step in measured.after
        if step.post_clip_norm is not None and isfinite(step.post_clip_norm)
    ]
    if len(norms) < limits["steps"] or any(step.clips for step in measured.optimizer.steps):
        return
    top = max(norms)
    halves = any("16" in kind for kind in measured.optimizer.dtypes)
    spread = max(limits["spread"], HALVES) if halves else limits["spread"]
    at_top = sum(norm >= top * (1 - spread) for norm in norms)
    if top <= 0 or at_top <= limits["share"] * len(norms) or len(set(norms)) == 1:
        return
    yield report(
        measured,
        ["clip_norm", "optimizer"],
        f"the norm at the step is {number(top)} at {at_top} of {len(norms)} steps and never more, "
        "and no clip was called: something clips where it cannot be seen",
        severity=INFO,
        confidence=MEDIUM,
        why=["The threshold that counts is then not the file's, and no norm before it is known."],
        evidence=[
            (
                f"largest {number(top)}, median {number(median(norms))}, p5 "
                f"{number(quantile(norms, 0.05))}: {percent(at_top / len(norms))} at the largest"
            )
        ],
        next="Search the code for `.grad.mul_`, `.grad.div_` and gradient hooks.",
    )
