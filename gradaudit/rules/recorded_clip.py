"""GA9: how often a clip acts, and the threshold that the measured norms recommend."""

from __future__ import annotations

from gradaudit.evidence.statistics import (
    median,
    quantile,
    series_quantile,
    steady_tail_ratio,
    tail_ratio,
    wilson,
)
from gradaudit.findings import ERROR, HIGH, INFO, MEDIUM, RECOMMENDED, WARNING, Fix
from gradaudit.plan.measured import ENOUGH_TO_RECOMMEND, same
from gradaudit.plan.terms import balance_is_open, norm_moved, weights_changed
from gradaudit.rules import load, rule
from gradaudit.rules.recorded import (
    PARTIAL,
    RECORD_PAGE,
    STEPS_APART,
    report,
    share_text,
    steps_by_gradient,
)  # fmt: skip
from gradaudit.rules.recorded_layers import update_ratios
from gradaudit.rules.repair import change
from gradaudit.rules.text import number, percent, rounded, times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.findings import Finding
    from gradaudit.plan.measured import Measured
    from gradaudit.rules import Limits

PLAYBOOK = (
    "https://github.com/google-research/tuning_playbook (clip at the 90th percentile; more than "
    "half of the steps clipped is extremely aggressive)"
)
AUTOCLIP = "https://arxiv.org/abs/2007.14469 (Seetharaman et al. 2020, AutoClip: by percentile)"
BROWN = "https://doi.org/10.1214/ss/1009213286 (Brown, Cai & DasGupta 2001: intervals of a share)"

PERCENTILE = 0.9
DOMINATED = 0.5
"""Share of the gradient that auxiliary terms have where GA961 lowers their weights."""

USUAL = 1e-3
"""Update over weight that is the rule of thumb (GA943)."""

HEAVY = 10
"""A 95th percentile at this many times the median: 38 on the reconstructed training as written, 8
with its heavy penalties lowered; a looser clip there was worse (docs/measurements.md)."""


@rule(
    "GA931",
    "clip-acts-on-most-steps",
    scope="record",
    needs=("clip_norm",),
    severities=(ERROR, WARNING, INFO),
    confidence=HIGH,
    limits={
        "share": 0.5,
        "tail": HEAVY,
        "steps": 20,
        "recommend_steps": ENOUGH_TO_RECOMMEND,
        "error_share": 0.9,
        "error_ratio": 10,
        "still": 1e-5,
    },
    references=(PLAYBOOK, AUTOCLIP, BROWN, RECORD_PAGE),
)
def clip_acts_on_most_steps(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """The measured norm is above the clip norm at more than half of the steps.

    Why:
        Under SGD each clipped step is learning rate x threshold long whatever the gradient is: the
        clip has become the learning rate, and lowering the rate says the same more plainly. Under
        Adam, AdamW and Lion a factor that is the same at every step cancels: there a clip that
        always acts is a normalisation and no fault, but for `eps` and for the decay that Adam (not
        AdamW) adds to the gradient. DETR trains so. Under these it is a warning
        only where the norms have a heavy tail as well, and then the spikes are the fault. It is an
        error under SGD where nine steps in ten are clipped to a tenth of their norm or less and the
        measured update hardly moves the weights: the run all but stands still. A rate that was set
        for clipped steps moves them, and stays a warning.

    Bad:
        optimizer: sgd
        learning_rate: 0.1
        gradient_clip_norm: 1.0
        --- record
        {"kind": "optimizer", "class": "SGD"}
        {"kind": "step", "step": 1, "to": 120, "events": "ZBCS", "learning_rate": [0.1],
         "pre_clip_norm": 4.0, "post_clip_norm": 1.0,
         "clips": [{"what": "norm", "clip_norm": 1.0, "pre_clip_norm": 4.0}]}
        {"kind": "step", "step": 2, "to": 120, "every": 5, "events": "ZBCS",
         "learning_rate": [0.1], "pre_clip_norm": 6.5, "post_clip_norm": 1.0,
         "clips": [{"what": "norm", "clip_norm": 1.0, "pre_clip_norm": 6.5}]}

    Good:
        optimizer: sgd
        learning_rate: 0.1
        gradient_clip_norm: 6.5
        --- record
        {"kind": "optimizer", "class": "SGD"}
        {"kind": "step", "step": 1, "to": 120, "events": "ZBCS", "learning_rate": [0.1],
         "pre_clip_norm": 4.0, "post_clip_norm": 4.0,
         "clips": [{"what": "norm", "clip_norm": 6.5, "pre_clip_norm": 4.0}]}
        {"kind": "step", "step": 2, "to": 120, "every": 5, "events": "ZBCS",
         "learning_rate": [0.1], "pre_clip_norm": 6.6, "post_clip_norm": 6.5,
         "clips": [{"what": "norm", "clip_norm": 6.5, "pre_clip_norm": 6.6}]}

    Tell:
        Count the steps after the warm-up whose pre-clip norm is above the threshold.

    Symptoms:
        slow or wasted training

    Fix:
        Recommended: the 90th percentile of the measured norms, with its interval, from 100 steps
        after the warm-up. None where the tail is heavy (95th percentile over ten times the
        median): then the terms that make the spikes come first. A clip cannot lower the norm that
        is logged.

    Limits:
        share: share of clipped steps; the lower end of its 95 % interval must be above it.
        tail: 95th percentile over the median, from which the tail is heavy.
        steps: fewest steps after the warm-up to judge.
        recommend-steps: fewest steps after the warm-up to recommend a threshold.
        error-share: share of clipped steps that an error needs, likewise the lower end.
        error-ratio: median norm over the threshold that it needs.
        still: median update over weight, from which the weights move and it is no error; nor is it
          one where that was not measured.

    False positives:
        Normalised gradient descent on purpose. Under adaptive optimisers the finding is an info.
    """
    threshold = measured.clip_norm
    if threshold is None or not measured.enough("GA931", int(limits["steps"])):
        return
    if not measured.clip_acts and not measured.record.topics & PARTIAL:
        return  # no clip is called, or out of order: GA902, GA912, GA913 and GA921 say so
    clipped, count = measured.clipped(threshold), len(measured.norms)
    low, high = measured.clip_interval(threshold)
    if low <= limits["share"]:
        return
    middle = median(measured.norms)
    tail = steady_tail_ratio(measured.norms) or 0.0
    heavy = tail >= limits["tail"]
    learns = steps_by_gradient(measured)
    name = measured.optimizer.class_name or "this optimiser"
    if learns:
        why = (
            f"Under {name} such a step is learning rate x {number(threshold)} long, before "
            "momentum and decay, whatever the gradient is: the clip has become the learning rate."
        )
    else:
        why = (
            f"Under {name} a factor that is the same at every step cancels: a clip that always "
            "acts is a normalisation, and among such thresholds the choice hardly matters."
        )
        if _decay_in_gradient(measured):
            why += " Its weight decay is added to the clipped gradient and does not cancel."
        if heavy:
            why += " Spikes among the steps do not cancel; they are the fault here."
    moves = _moves(measured)
    still = learns and moves is not None and moves < limits["still"]
    stuck = still and low > limits["error_share"] and middle >= limits["error_ratio"] * threshold
    evidence = [norms_text(measured), STEPS_APART]
    if still and moves is not None:
        why += " The weights hardly move."
        evidence.append(f"a step changes the weights by {number(rounded(moves))} of their size")
    fix, no_fix = clip_fix(measured, limits)
    yield report(
        measured,
        ["clip_norm"],
        f"the clip at {number(threshold)} acts on {clipped} of {count} steps "
        f"({percent(clipped / count)}; {share_text(low, high)}); the median norm is "
        f"{times(middle / threshold)} the threshold",
        severity=ERROR if stuck else WARNING if learns or heavy else INFO,
        confidence=HIGH if learns else MEDIUM,
        label=f"clips {percent(clipped / count)} of the steps",
        why=[why],
        evidence=evidence,
        next="Mend what makes the spikes first; a clip cannot lower the norm."
        if heavy
        else "Clip at the 90th percentile: steps as short as these train very slowly."
        if still
        else "Lower the learning rate instead, or clip at the 90th percentile."
        if learns
        else "Nothing has to change; at the 90th percentile the clip would guard against spikes "
        "only.",
        fix=fix,
        no_fix=no_fix,
        cause="loss-weights",
    )


@rule(
    "GA932",
    "clip-never-acted",
    scope="record",
    needs=("clip_norm",),
    severities=(INFO,),
    confidence=HIGH,
    limits={"steps": ENOUGH_TO_RECOMMEND, "above": 5},
    references=(PLAYBOOK, BROWN, RECORD_PAGE),
)
def clip_never_acted(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """The clip norm is far above every measured norm.

    Why:
        The clip did not act and would pass a spike of several times the largest norm seen. That is
        no harm by itself; as a guard it is set too high to guard.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        gradient_clip_norm: 100.0
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 120, "events": "ZBCS", "learning_rate": [1e-3],
         "pre_clip_norm": 0.8, "post_clip_norm": 0.8,
         "clips": [{"what": "norm", "clip_norm": 100.0, "pre_clip_norm": 0.8}]}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        gradient_clip_norm: 1.0
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 120, "events": "ZBCS", "learning_rate": [1e-3],
         "pre_clip_norm": 0.8, "post_clip_norm": 0.8,
         "clips": [{"what": "norm", "clip_norm": 1.0, "pre_clip_norm": 0.8}]}

    Tell:
        Compare the largest pre-clip norm of some hundred steps with the threshold.

    Symptoms:
        None: nothing happens until there is a spike.

    Fix:
        None: no spike was seen, so none is known to need a guard.

    Limits:
        steps: fewest steps after the warm-up to judge.
        above: threshold over the largest measured norm.

    False positives:
        A clip that is meant as a last resort against one bad batch in a million.
    """
    threshold = measured.clip_norm
    if threshold is None or not measured.clip_acts:
        return
    if not measured.enough("GA932", int(limits["steps"])):
        return
    largest, count = max(measured.norms), len(measured.norms)
    if largest <= 0 or threshold < limits["above"] * largest:
        return
    _, high = wilson(0, count)
    yield report(
        measured,
        ["clip_norm"],
        f"the clip at {number(threshold)} acted on none of {count} steps: the largest norm was "
        f"{number(largest)}",
        severity=INFO,
        label="never acted",
        why=[("As a guard against spikes it is set too high: it would pass one of several times "
             "the largest norm.")],
        evidence=[(f"{norms_text(measured)}; at most {percent(high)} of the steps are clipped "
                  "(95 % interval)")],
        next=f"To guard against spikes, set it near {number(rounded(_p90(measured)))}, the 90th "
        "percentile; or leave it.",
        no_fix="no spike was seen, so none is known to need a guard",
    )  # fmt: skip


_DECAY_IN_GRADIENT = ("adam", "adamax", "adagrad", "nadam", "radam", "rmsprop")


def _decay_in_gradient(measured: Measured) -> bool:
    """Whether an adaptive optimiser adds its weight decay to the gradient, after the clip."""
    return measured.family in _DECAY_IN_GRADIENT and any(
        group.get("weight_decay") and not group.get("decoupled_weight_decay")
        for group in measured.optimizer.groups
    )


def _moves(measured: Measured) -> float | None:
    """How far a step changes the weights: median of update over weight; None: not measured, or at
    another rate than the file has now."""
    ratios = {} if measured.step_moved else update_ratios(measured)
    return median(list(ratios.values())) if ratios else None


def _longer_steps(measured: Measured, before: float, value: float) -> str:
    """What a looser clip does to the steps of SGD, and to which side the rate should then go: an
    update is at most as many times as long as the threshold is higher."""
    factor = value / before
    text = f"under {measured.optimizer.class_name} a step may then be {times(factor)} as long"
    used = measured.optimizer.clip_norm
    moves = _moves(measured) if used is not None and same(used, before) else None
    if moves is None:
        return f"{text}: if the run was stable, lower the learning rate with it"
    limits = load()["GA943"].limits
    now, then = number(rounded(moves)), number(rounded(moves * factor))
    text += f": an update of up to {then} of the weights instead of {now}"
    if moves * factor > limits["high"]:
        return f"{text}, which is far (1e-3 is usual): lower the learning rate with it"
    if moves * factor <= USUAL:
        return f"{text}, no more than is usual (1e-3): leave the learning rate as it is"
    return f"{text} (1e-3 is usual): if the loss gets unsteady, lower the learning rate with it"


def norms_text(measured: Measured) -> str:
    """`pre-clip norm over 98 steps (steps 3 to 100): median 1.2, p95 8.1, largest 24`."""
    norms = measured.norms
    return (
        f"pre-clip norm of {len(norms)} steps ({measured.span}): median {number(median(norms))}, "
        f"p95 {number(quantile(norms, 0.95))}, largest {number(max(norms))}"
    )


def _p90(measured: Measured) -> float:
    return quantile(measured.norms, PERCENTILE)


def clip_fix(measured: Measured, limits: Limits) -> tuple[Fix | None, str]:
    """The threshold that the measured norms recommend, or why there is none.

    `limits` are those of GA931.
    """
    lacking = measured.lacking(int(limits["recommend_steps"]))
    if lacking is None:
        return None, "a threshold is recommended from steps after the warm-up only"
    if lacking:
        return None, (
            f"a threshold is recommended from {number(limits['recommend_steps'])} steps after the "
            f"warm-up: record {lacking} more"
        )
    if measured.terms and weights_changed(measured):
        return None, (
            "the loss weights are no longer those of the record, and they change the norm: record "
            "again"
        )
    if balance_is_open(measured, DOMINATED):
        return None, "set the loss weights first, then record again: they change the norm"
    if norm_moved(measured):
        return None, (
            f"the file {measured.changed}, maybe in its loss weights or its batch, which change "
            "the norm: record again"
        )
    tail = tail_ratio(measured.norms)
    if tail is None or tail >= limits["tail"]:
        if tail and (steady_tail_ratio(measured.norms) or 0) < limits["tail"]:
            return None, (
                "the norm changes by more than ten times over the record: record steps from "
                "where it has settled (`--skip-steps`)"
            )
        return None, (
            f"the 95th percentile is {times(tail or 0)} the median: mend what makes the spikes "
            "first, then record again"
        )
    setting = measured.unit.settings.get("clip_norm") if measured.comparable else None
    interval = series_quantile(measured.norms, PERCENTILE)
    value = rounded(_p90(measured))
    if interval is None:
        return None, (
            "neighbouring steps are so alike that the 90th percentile has no interval yet: record "
            "more steps"
        )
    if setting is None or value <= 0:
        return None, ""
    edit = change(setting, int(value) if value == int(value) and "." not in setting.raw else value)
    if edit is None:
        return None, "the threshold does not stand in this file as a plain number"
    low, high = map(number, interval)
    notes = [
        (
            f"{number(value)} is the 90th percentile of {len(measured.norms)} measured norms; 95 % "
            f"interval {low} to {high}"
        ),
        "it cannot lower the logged norm, which is the one before clipping",
    ]
    if steps_by_gradient(measured):
        before = setting.number
        if before is not None and 0 < before < value:
            notes.append(_longer_steps(measured, before, value))
    else:
        notes.append(
            f"under {measured.optimizer.class_name} little changes; the clip then acts on spikes "
            "only"
        )
    title = f"set `{setting.last_key}` to {edit.new}, the measured 90th percentile"
    return Fix(RECOMMENDED, title, [edit], notes), ""
