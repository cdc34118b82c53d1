"""What a record makes of the findings of a file: the one place where a measurement changes one.

Three things happen, in this order. A finding that the record speaks against is withdrawn. One that
it bears out gains confidence and, where the measurement says so, another severity. A finding of a
record that is about the same fault as one of the file is told in that one and not a second time.
"""

from __future__ import annotations

from gradaudit.evidence.statistics import median, tail_ratio
from gradaudit.findings import CONFIDENCES, HIGH, INFO, MEDIUM, RECOMMENDED, WARNING
from gradaudit.plan.measured import ENOUGH_TO_JUDGE, PARTIAL
from gradaudit.plan.terms import norm_moved, shares_of
from gradaudit.rules import load
from gradaudit.rules.batch import GAN
from gradaudit.rules.recorded import share_text, source, steps_by_gradient
from gradaudit.rules.recorded_layers import update_ratios
from gradaudit.rules.recorded_threshold import clip_fix, clip_norms_text, norms_text
from gradaudit.rules.term_weights import shares_text, weights_fix
from gradaudit.rules.text import listed, number, percent, rounded, times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from gradaudit.findings import Finding
    from gradaudit.plan.measured import Measured
    from gradaudit.rules import Limits

    Withdrawn = tuple[Finding, str]

MOVE_THE_NORM = ("GA301", "GA303", "GA304", "GA401", "GA402", "GA403", "GA961", "GA964")
"""Rules whose fix changes the batch or the weights of the loss, and with them the norm."""

RATIO = "a step changes the weights by"

TELLS: dict[str, tuple[str, ...]] = {
    "GA931": ("GA101",),
    "GA961": ("GA401", "GA402"),
    "GA964": ("GA403",),
}
"""A rule on records -> the rules on files whose fault it measures; the first that is there tells it
all, and the rest only bear the measurement."""


SELDOM = 0.01
"""Share of the steps up to which a hinge that was never seen at work is no danger: 299 without."""


class Verdict:
    """What a record says of one finding.

    against   it does not hold, and why. Else `text` bears it out, with a confidence and, where the
              measurement decides it, a severity.
    """

    __slots__ = ("against", "confidence", "severity", "text")

    def __init__(
        self, text: str, *, against: bool = False, severity: str = "", confidence: str = HIGH
    ) -> None:
        self.text = text
        self.against = against
        self.severity = severity
        self.confidence = confidence


def weigh(
    findings: list[Finding],
    measured: list[Measured],
    fixed: Collection[str] = (),
    clip_limits: Limits | None = None,
) -> tuple[list[Finding], list[Withdrawn]]:
    """The findings of a unit in the light of its records, and those that were withdrawn.

    `fixed` are the codes whose severity the settings set: a measurement does not change those.
    `clip_limits` are those of GA931 as the user has them, for a clip norm that GA101 recommends.
    """
    chosen = [one for one in measured if one.comparable]
    if not chosen:
        return findings, []
    one = chosen[0]
    kept, withdrawn = [], []
    for finding in findings:
        judge = JUDGES.get(finding.rule.code)
        verdict = judge(finding, one) if judge is not None else None
        if judge is _clip and verdict is not None and not verdict.against:
            finding.fix, finding.no_fix = clip_fix(one, clip_limits or load()["GA931"].limits)
        if verdict is None:
            kept.append(finding)
        elif verdict.against:
            withdrawn.append((finding, verdict.text))
        else:
            _bear_out(finding, one, verdict, fixed)
            kept.append(finding)
    kept = _told_once(_without_ratio(kept, one), fixed)
    _hold_back_clip(kept)
    return kept, withdrawn


def _hold_back_clip(findings: list[Finding]) -> None:
    """Recommend no measured clip norm beside a change of the batch or of the loss weights."""
    moving = [
        finding.rule.code
        for finding in findings
        if finding.rule.code in MOVE_THE_NORM
        and finding.fix is not None
        and finding.fix.applicability == RECOMMENDED
    ]
    for finding in findings if moving else []:
        fix = finding.fix
        if finding.rule.code in ("GA101", "GA931") and fix and fix.applicability == RECOMMENDED:
            finding.fix = None
            finding.no_fix = (
                f"mend {listed(sorted(set(moving)))} first and record again: it changes the norm"
            )


def _without_ratio(findings: list[Finding], one: Measured) -> list[Finding]:
    """Leave out GA943 where GA201 or GA202 holds its figure: one rate is not told of twice."""
    rates = [finding for finding in findings if finding.rule.code in ("GA201", "GA202")]
    if not any(RATIO in text for finding in rates for text in finding.evidence):
        return findings
    return [f for f in findings if f.rule.code != "GA943" or not f.message.startswith(one.name)]


def _bear_out(finding: Finding, one: Measured, verdict: Verdict, fixed: Collection[str]) -> None:
    finding.evidence = (*finding.evidence, f"{source(one)}: {verdict.text}")
    finding.confidence = verdict.confidence
    if verdict.severity and finding.rule.code not in fixed:
        finding.severity = verdict.severity


def _told_once(findings: list[Finding], fixed: Collection[str]) -> list[Finding]:
    """Put what a finding of the record says into that of the file about the same fault."""
    dropped = set()
    for finding in findings:
        about = TELLS.get(finding.rule.code, ())
        same = [f for code in about for f in findings if f.rule.code == code]
        for position, other in enumerate(same):
            other.confidence = finding.confidence
            if other.rule.code not in fixed:
                other.severity = finding.severity
            if position:
                other.evidence = (*other.evidence, finding.message, *finding.evidence[:1])
                continue
            dropped.add(id(finding))
            other.evidence = (*other.evidence, finding.message, *finding.evidence)
            other.next = finding.next
            if finding.fix is not None or finding.no_fix:
                other.fix, other.no_fix = finding.fix, finding.no_fix
    return [finding for finding in findings if id(finding) not in dropped]


def _clip(finding: Finding, one: Measured) -> Verdict | None:
    """GA101: tight only where it acts on most steps; GA931 tells that."""
    threshold = one.clip_norm
    if threshold is None or len(one.clip_norms) < ENOUGH_TO_JUDGE or not one.clip_acts:
        return None
    if norm_moved(one):
        return None  # these are the norms of another batch, or of other weights
    clipped, count = one.clipped(threshold), len(one.clip_norms)
    low, high = one.clip_interval(threshold)
    if high >= 0.5:
        if low > 0.5:
            return None  # GA931 says so, and is told in this finding
        return Verdict(
            f"the clip acts on {clipped} of {count} steps, which may be more or less than half "
            f"({percent(low)} to {percent(high)}); {clip_norms_text(one)}",
            severity=INFO,
            confidence=MEDIUM,
        )
    return Verdict(
        f"the clip at {number(threshold)} acts on {clipped} of {count} steps only (95 % interval "
        f"{percent(low)} to {percent(high)}), median norm {number(median(one.clip_norms))}",
        against=True,
    )


def _batch_norm(finding: Finding, one: Measured) -> Verdict | None:
    """GA301, GA302: what BatchNorm really saw."""
    optimizer = one.optimizer
    seen, ranks = optimizer.batch_norm_batch, optimizer.batch_norm_synced
    if seen is None and all(other.batch_norm_layers == 0 for other in one.record.optimizers):
        return Verdict("the model has no BatchNorm layer", against=True)
    if optimizer.batch_norm_modes == {"eval"} and "batch_norm_unseen" not in one.record.topics:
        return Verdict("BatchNorm ran in eval mode at every step: it took nothing from the batch",
                       against=True)  # fmt: skip
    if seen is None:
        return None
    if ranks is None and (one.record.world_size > 1 or one.unit.norm == "sync_batch"):
        return None  # whether the ranks shared their statistics is not known
    if one.older and one.unit.number("micro_batch") not in (None, seen):
        return None  # the file has another batch than the run had
    if finding.rule.code == "GA302" and _calls(one) == 1:
        return Verdict("backward is called once a step: nothing is accumulated", against=True)
    together = seen * (ranks or 1)
    text = f"BatchNorm saw {together} samples at a time"
    if together > seen:
        text += f", {seen} on each of {ranks} ranks"
    limits = load()["GA301"].limits
    if together >= limits["info"]:
        written = one.unit.number("micro_batch")
        if written and seen > written:
            text += " (views of a sample, or parts of a series, are counted as samples)"
        return Verdict(text, against=True)
    tiny = together < limits["warning"] and not one.unit.has_word(GAN)
    return Verdict(text, severity=WARNING if tiny else INFO, confidence=HIGH)


def _calls(one: Measured) -> int | None:
    return None if one.record.topics & PARTIAL else one.optimizer.backward_calls


def _weights(finding: Finding, one: Measured) -> Verdict | None:
    """GA401: auxiliary terms by their gradients. Above one half, GA961 tells it."""
    if len(one.settled_terms) < ENOUGH_TO_JUDGE:
        if one.terms and finding.fix is not None:
            finding.fix, finding.no_fix = weights_fix(one, shares_of(one))
        return None
    shares = shares_of(one)
    together = sum(share.share for share in shares if share.is_auxiliary)
    if together > load()["GA961"].limits["share"] or not any(s.is_auxiliary for s in shares):
        return None
    text = f"auxiliary terms have {percent(together)} of the gradient: "
    text += shares_text(shares, len(one.settled_terms))
    if together < 0.2:
        return Verdict(text, against=True)
    # What was measured decides over what the numbers look like: no weight is lowered on a guess.
    finding.fix, finding.no_fix = None, "their measured gradients do not lead the training"
    return Verdict(text, severity=INFO, confidence=MEDIUM)


def _balance(finding: Finding, one: Measured) -> Verdict | None:
    """GA402: unbalanced where an auxiliary term has four fifths, or a term has 100 times the norm
    of a task. A task that leads is as it should be, and a satisfied penalty has no norm."""
    if len(one.settled_terms) < ENOUGH_TO_JUDGE:
        return None
    shares = [share for share in shares_of(one) if share.rms > 0]
    tasks = [share for share in shares if not share.is_auxiliary]
    if len(shares) < 2 or not tasks:
        return None
    largest = max((share.share for share in shares if share.is_auxiliary), default=0.0)
    spread = max(share.rms for share in shares) / min(share.rms for share in tasks)
    text = (
        f"the largest share that an auxiliary term has of the gradient is {percent(largest)}, the "
        f"largest norm of a term {times(spread)} that of the smallest task"
    )
    if largest > 0.8 or spread > 100:
        return Verdict(text, severity=WARNING, confidence=HIGH)
    together = sum(share.share for share in shares if share.is_auxiliary)
    if together > load()["GA961"].limits["share"]:
        return None
    return Verdict(text, against=True)


def _hinge(finding: Finding, one: Measured) -> Verdict | None:
    """GA403: a steep penalty harms where its gradient comes now and then, and larger than the
    task's."""
    if len(one.settled_terms) < ENOUGH_TO_JUDGE:
        return None
    shares = shares_of(one)
    own = [share for share in shares if share.setting is not None
           and share.setting.key == finding.key]  # fmt: skip
    tasks = [share.rms for share in shares if share not in own and not share.is_auxiliary]
    if not own or not tasks:
        return None
    share = own[0]
    if not share.rms:
        text = f"`{share.name}` had no gradient at any of {len(one.settled_terms)} steps"
        most = 1 - 0.05 ** (1 / len(one.settled_terms))  # 95 %, for a share of which none was seen
        if most <= SELDOM:
            return Verdict(text, against=True)
        text += f"; it may still act at up to {percent(most)} of such steps"
        return Verdict(text, severity=INFO, confidence=MEDIUM)
    text = (
        f"`{share.name}` is active at {percent(share.active)} of the steps with a norm of "
        f"{number(share.rms)}, the task has {number(max(tasks))}"
    )
    if share.rms < max(tasks):
        return Verdict(text, against=True)
    if share.active >= 1:
        return Verdict(f"{text}: it pulls, and did not jump", severity=INFO, confidence=MEDIUM)
    return Verdict(text, confidence=MEDIUM)


def _ratio(one: Measured) -> tuple[float, str] | None:
    """How far a step changes the weights, in the middle of all matrices, and that in words; None
    where it was looked at too rarely, or at another rate than the file has now."""
    if one.step_moved:
        return None
    ratios = list(update_ratios(one).values())
    looks = sum(bool(step.update_ratio) for step in one.after)
    if not ratios or looks < load()["GA943"].limits["updates"]:
        return None
    middle = median(ratios)
    return middle, f"{RATIO} {number(rounded(middle))} of their size (1e-3 is usual)"


def _rate(finding: Finding, one: Measured) -> Verdict | None:
    """GA201: too high shows in how far a step moves the weights, and in a norm that grows."""
    found = _ratio(one)
    if found is None or one.optimizer.uses_closure:
        return None
    middle, text = found
    limits = load()["GA943"].limits
    if middle > limits["warning"]:
        return Verdict(text, confidence=HIGH)
    if middle > limits["high"]:
        return Verdict(text, confidence=MEDIUM)
    return Verdict(text, severity=INFO, confidence=MEDIUM)


def _rate_low(finding: Finding, one: Measured) -> Verdict | None:
    """GA202: too low shows in the same ratio."""
    found = _ratio(one)
    if found is None:
        return None
    middle, text = found
    if middle < 1e-4:
        return Verdict(text, confidence=HIGH)
    return Verdict(text, against=True)


def _scaler(finding: Finding, one: Measured) -> Verdict | None:
    """GA501: a scale in the record is a scaler in the run."""
    scales = [step.loss_scale for step in one.optimizer.settled_steps if step.loss_scale]
    if scales:
        return Verdict(f"a loss scale was in use, {number(scales[-1])} at last", against=True)
    if one.optimizer.precision in ("fp16-mixed", "fp16") and one.optimizer.settled_steps:
        if one.record.topics & PARTIAL:
            return None
        return Verdict("autocast in fp16 and no GradScaler were seen", confidence=HIGH)
    return None


def _no_clip(finding: Finding, one: Measured) -> Verdict | None:
    """GA107, GA108: a clip that no file names may still be called."""
    limit = one.optimizer.clip_norm
    if limit is not None:
        return Verdict(f"the run clips at {number(limit)}", against=True)
    if one.optimizer.clip_value is not None:
        return Verdict(f"the run clips values at {number(one.optimizer.clip_value)}", against=True)
    tail = tail_ratio(one.norms)
    if len(one.norms) < ENOUGH_TO_JUDGE or tail is None or one.record.topics & PARTIAL:
        return None
    return Verdict(f"no clip was called; {norms_text(one)}", confidence=HIGH)


def _inside_warmup(finding: Finding, one: Measured) -> Verdict | None:
    """GA206 asks for steps after the warm-up: the record may have them."""
    if not one.warmup.over or len(one.norms) < ENOUGH_TO_JUDGE:
        return None
    return Verdict(f"the record goes beyond the warm-up; {norms_text(one)}", against=True)


def _never_acts(finding: Finding, one: Measured) -> Verdict | None:
    """GA103, GA104: a threshold so small that it always acts, or so large that it never does."""
    threshold = one.clip_norm
    if threshold is None or len(one.clip_norms) < ENOUGH_TO_JUDGE or norm_moved(one):
        return None
    clipped, count = one.clipped(threshold), len(one.clip_norms)
    low, high = one.clip_interval(threshold)
    text = f"the clip acts on {clipped} of {count} steps ({share_text(low, high)})"
    small = finding.rule.code == "GA103"
    if (small and high < 0.5) or (not small and low > 0):
        return Verdict(text, against=True)
    if small and not steps_by_gradient(one):
        return Verdict(text, confidence=MEDIUM)
    return Verdict(text, confidence=CONFIDENCES[-1])


JUDGES: dict[str, Callable[[Finding, Measured], Verdict | None]] = {
    "GA101": _clip,
    "GA103": _never_acts,
    "GA104": _never_acts,
    "GA107": _no_clip,
    "GA108": _no_clip,
    "GA201": _rate,
    "GA202": _rate_low,
    "GA206": _inside_warmup,
    "GA301": _batch_norm,
    "GA302": _batch_norm,
    "GA401": _weights,
    "GA402": _balance,
    "GA403": _hinge,
    "GA501": _scaler,
}
"""A rule on files -> what a record says of one of its findings; None where it says nothing."""
