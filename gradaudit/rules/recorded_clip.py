"""GA9: how often a clip acts."""

from __future__ import annotations

from gradaudit.evidence.statistics import median, steady_tail_ratio, wilson
from gradaudit.findings import ERROR, HIGH, INFO, MEDIUM, WARNING
from gradaudit.plan.measured import ENOUGH_TO_RECOMMEND, PARTIAL, same
from gradaudit.rules import rule
from gradaudit.rules.recorded import (
    RECORD_PAGE,
    STEPS_APART,
    report,
    share_text,
    steps_by_gradient,
)  # fmt: skip
from gradaudit.rules.recorded_threshold import (
    HEAVY,
    clip_fix,
    clip_norms_text,
    median_move,
    recommended,
)
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
        Count the steps after the warm-up at which the norm that the clip returns is above the
        threshold.

    Symptoms:
        slow or wasted training

    Fix:
        Recommended: the 90th percentile of the measured norms, with its interval, from 100 steps
        after the warm-up. None where the tail is heavy (95th percentile over ten times the
        median, or GA933): then the terms that make the spikes come first. None where under SGD the
        looser clip would let a step change the weights by more than GA943's `high`: a rate that
        was set for clipped steps comes down first. A clip cannot lower the norm that is logged.

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
        The norm is the one that the clip compared: over two optimizers that of both, with another
        `norm_type` that norm. A clip of each tensor by itself compares no one norm and is not
        judged.
    """
    threshold = measured.clip_norm
    if threshold is None or not measured.enough("GA931", int(limits["steps"])):
        return
    if not measured.clip_acts and not measured.record.topics & PARTIAL:
        return  # no clip is called, or out of order: GA902, GA912, GA913 and GA921 say so
    clipped, count = measured.clipped(threshold), len(measured.clip_norms)
    if count < limits["steps"]:
        return  # what it compared is not known, or is no one norm
    low, high = measured.clip_interval(threshold)
    if low <= limits["share"]:
        return
    middle = median(measured.clip_norms)
    tail = steady_tail_ratio(measured.clip_norms) or 0.0
    heavy = tail >= limits["tail"]
    learns = steps_by_gradient(measured)
    name = measured.optimizer.class_name or "this optimiser"
    if learns:
        long = f"learning rate x {number(threshold)} long"
        if measured.compared.what:
            long = "as long as the threshold allows"
        why = (
            f"Under {name} such a step is {long}, before momentum and decay, whatever the "
            "gradient is: the clip has become the learning rate."
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
    moves = median_move(measured)
    still = learns and moves is not None and moves < limits["still"]
    stuck = still and low > limits["error_share"] and middle >= limits["error_ratio"] * threshold
    evidence = [clip_norms_text(measured), STEPS_APART]
    if still and moves is not None:
        why += " The weights hardly move."
        evidence.append(f"a step changes the weights by {number(rounded(moves))} of their size")
    passed = measured.optimizer.clip_norm
    would = passed is not None and not same(passed, threshold)  # the run had another: GA902
    fix, no_fix = clip_fix(measured, limits)
    yield report(
        measured,
        ["clip_norm"],
        f"the clip at {number(threshold)} {'would act' if would else 'acts'} on {clipped} of "
        f"{count} steps "
        f"({percent(clipped / count)}; {share_text(low, high)}); the median norm is "
        f"{times(middle / threshold)} the threshold",
        severity=ERROR if stuck else WARNING if learns or heavy else INFO,
        confidence=HIGH if learns else MEDIUM,
        label=f"{'would clip' if would else 'clips'} {percent(clipped / count)} of the steps",
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
    count = len(measured.clip_norms)
    if count < limits["steps"]:
        return
    largest = max(measured.clip_norms)
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
        evidence=[(f"{clip_norms_text(measured)}; at most {percent(high)} of the steps are clipped "
                  "(95 % interval)")],
        next=f"To guard against spikes, set it near {number(recommended(measured))}, the 90th "
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
