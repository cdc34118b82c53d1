"""GA9: what backward was called on, as far as it tells of the loss; a rate at its limit."""

from __future__ import annotations

from math import isfinite

from gradaudit.evidence.dry_run import TENFOLD, rate_tests
from gradaudit.evidence.statistics import median, mode
from gradaudit.findings import INFO, MEDIUM, WARNING
from gradaudit.plan.measured import PARTIAL
from gradaudit.rules import rule
from gradaudit.rules.batch import GAN
from gradaudit.rules.recorded import RECORD_PAGE, report
from gradaudit.rules.text import number, percent, times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.evidence.record import Step
    from gradaudit.findings import Finding
    from gradaudit.plan.measured import Measured
    from gradaudit.rules import Limits

NO_LOSS = (
    *GAN, "rollout", "replay", "reward", "discount", "gae", "ppo", "sac", "dqn", "td3", "grpo",
    "reinforce", "policy", "curriculum", "anneal", "annealing", "ramp", "rampup", "continual",
    "moco", "byol", "dino", "teacher", "distill", "queue", "mining", "triplet", "reversal",
)  # fmt: skip
"""Words of trainings whose loss need not fall: games, moving targets, terms that come in late."""


def losses_of(measured: Measured) -> list[tuple[Step, float]]:
    """The steps after the warm-up with the sum of what backward was called on, without the scale.

    It is the loss up to a factor that is the same at every step (the accumulation). Only steps with
    the usual number of calls and the last loss scale; empty where a call had no number.
    """
    if measured.record.topics & PARTIAL:
        return []
    used = [step for step in measured.after if step.backward_roots]
    calls = mode(len(step.backward_roots) for step in used)
    scale = used[-1].loss_scale if used else None
    found = []
    for step in used:
        roots = [root for root in step.backward_roots if root is not None]
        if len(step.backward_roots) != calls or step.loss_scale != scale:
            continue
        if len(roots) < len(step.backward_roots):
            return []
        found.append((step, sum(roots) / (scale or 1.0)))
    return found


@rule(
    "GA954",
    "loss-rises",
    scope="record",
    severities=(WARNING,),
    confidence=MEDIUM,
    limits={"rise": 2, "steps": 100},
    references=(
        "Zhang et al. 2021, AUTOTRAINER, ICSE (a loss that grows: exploding or unstable)",
        "Ben Braiek & Khomh 2023, TheDeepChecker (a loss that diverges)",
        RECORD_PAGE,
    ),
)
def loss_rises(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """The loss doubles from the beginning of the record to its end, and goes on rising.

    Why:
        Each step follows the gradient downhill. A loss that is at the end above all that it was at
        the beginning says that the steps are too long for it, whatever the optimiser, or that
        something other than the steps raises it.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 29, "events": "ZBS", "learning_rate": [1e-3],
         "backward_roots": [1.0]}
        {"kind": "step", "step": 30, "to": 59, "events": "ZBS", "learning_rate": [1e-3],
         "backward_roots": [1.4]}
        {"kind": "step", "step": 60, "to": 89, "events": "ZBS", "learning_rate": [1e-3],
         "backward_roots": [1.9]}
        {"kind": "step", "step": 90, "to": 120, "events": "ZBS", "learning_rate": [1e-3],
         "backward_roots": [2.6]}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 59, "events": "ZBS", "learning_rate": [1e-3],
         "backward_roots": [1.4]}
        {"kind": "step", "step": 60, "to": 120, "events": "ZBS", "learning_rate": [1e-3],
         "backward_roots": [1.0]}

    Tell:
        Plot the training loss of some hundred steps more, and that at half the rate.

    Symptoms:
        loss rises, from the start or after falling

    Fix:
        None: halve the learning rate and record again; else look at what raises it beside the
        steps: `maximize=True`, a term on a schedule, a target or data that change.

    Limits:
        rise: median loss of the last quarter over that of the first. Every loss of the last quarter
          must be above every one of the first, and its median above that of the third.
        steps: fewest steps after the warm-up to judge.

    False positives:
        A loss that is no measure of success: games of two networks, values in reinforcement
        learning, a term whose weight is raised by a schedule, a curriculum. Records with several
        optimizers, and configs with words of these, are not judged; nor is a loss that is not
        positive throughout. A loss that does not fall is not reported: over some hundred steps the
        noise of batches hides a slow fall, and a training that has converged does not fall.
    """
    found = losses_of(measured)
    if len(measured.record.optimizers) > 1 or not found:
        return
    if len(found) < limits["steps"]:
        if len(measured.after) < limits["steps"]:
            measured.want("GA954", int(limits["steps"]))
        return
    losses = [loss for _, loss in found]
    if measured.unit.has_word(NO_LOSS) or not all(isfinite(loss) and loss > 0 for loss in losses):
        return
    quarter = len(losses) // 4
    first, third, last = losses[:quarter], losses[-2 * quarter : -quarter], losses[-quarter:]
    ratio = median(last) / median(first)
    if ratio < limits["rise"] or min(last) <= max(first) or median(last) <= median(third):
        return
    yield report(
        measured,
        ["learning_rate", "optimizer"],
        f"the loss rises: at the end of {len(losses)} steps it is {times(ratio)} what it was",
        severity=WARNING,
        confidence=MEDIUM,
        label="the loss rises",
        why=["The steps are too long for this loss, or what is minimised is not what is meant."],
        evidence=[
            (
                f"median of what backward was called on {number(median(first))} in the first "
                f"quarter of {len(losses)} steps, {number(median(last))} in the last; no value of "
                "the last is as low as any of the first"
            )
        ],
        next="Halve the learning rate and record again; if it still rises, something else raises "
        "it: `maximize=True`, a term on a schedule, a target or data that change.",
    )


@rule(
    "GA944",
    "rate-at-its-limit",
    scope="record",
    severities=(INFO,),
    confidence=MEDIUM,
    limits={"factor": 2, "worse": 0.5},
    references=(
        (
            "https://github.com/google-research/tuning_playbook (a rate is at its limit where "
            "twice the rate makes the training unstable)"
        ),
        RECORD_PAGE,
    ),
)
def rate_at_its_limit(measured: Measured, limits: Limits) -> Iterator[Finding]:
    """At twice the learning rate the loss of the dry run's next steps is far higher, or NaN.

    Why:
        A rate lies close to its limit where twice as much spoils the next steps: another seed, a
        shorter warm-up or a harder batch may tip it over, under every optimiser. Just below the
        limit the best rate is often found, so that this is no fault.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3]}
        {"kind": "rate_test", "learning_rate": 1e-3, "factors": [1.0, 2.0],
         "losses": [[0.9, 0.8, 0.9, 0.8], [0.9, 2.1, 4.0, "nan"]]}

    Good:
        optimizer: adamw
        learning_rate: 1.0e-3
        --- record
        {"kind": "optimizer", "class": "AdamW"}
        {"kind": "step", "step": 1, "to": 40, "events": "ZBS", "learning_rate": [1e-3]}
        {"kind": "rate_test", "learning_rate": 1e-3, "factors": [1.0, 2.0],
         "losses": [[0.9, 0.8, 0.9, 0.8], [0.9, 0.8, 0.8, 0.8]]}

    Tell:
        Train some hundred steps at twice the rate.

    Symptoms:
        loss spikes
        gradient norm spikes

    Fix:
        None: a lower rate is farther from the limit and costs time. A longer warm-up helps where
        the start is unstable, a clip against single large gradients; neither is known to help
        against a loss that is higher all along.

    Limits:
        factor: multiple of the rate that is tried, up to which a worse loss is reported.
        worse: the loss at it over that at the rate itself, less 1, of the second half of the steps;
          the lower end of its 95 % interval must be above it.

    False positives:
        A few dozen steps are tried: a loss that recovers later is reported, one that rises later
        is not.
    """
    tests, rate = rate_tests(measured.record) if measured.comparable else ([], None)
    # A batch whose loss is NaN at every rate says nothing of the rate.
    own = next((test.finite for test in tests if test.factor == 1), None)
    bad = [
        test
        for test in tests
        if 1 < test.factor <= limits["factor"]
        and (
            (test.diverged and (own is None or test.finite < own))
            or (test.interval is not None and test.interval[0] > limits["worse"])
        )
    ]
    if not bad or rate is None:
        return
    test = min(bad, key=lambda one: one.factor)
    if test.diverged or test.change is None or test.interval is None:
        how = "is no number any more"
    elif test.change > TENFOLD:
        times = 1 + test.change
        how = f"is {f'{times:.0e}' if times >= 1e6 else f'{times:.0f}'} times as high"
    else:
        low, high = test.interval
        how = f"is {percent(test.change)} higher (95 % interval {percent(low)} to {percent(high)})"
    yield report(
        measured,
        ["learning_rate", "optimizer"],
        f"at {number(test.factor)} times the rate the loss {how} after a few steps",
        severity=INFO,
        confidence=MEDIUM,
        label="near the limit",
        why=["Another seed or a harder batch may tip it over; the best rate is often close by."],
        evidence=[f"the same batches from the same state, at {number(rate)} and at that multiple"],
        next="Nothing has to change where the loss falls steadily. Where it does not: a lower "
        "rate, or a longer warm-up if the start is what is unstable.",
    )
