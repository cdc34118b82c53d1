"""The analysis of the learning rate, with the rate in force during the warm-up."""

from __future__ import annotations

from gradaudit.plan.schedule import rate_at, rise_of
from gradaudit.render.report.analyses import (
    NO_OBJECTION,
    UNKNOWN,
    Analysis,
    judged,
    observed_text,
)  # fmt: skip
from gradaudit.render.report.part import RATE
from gradaudit.render.report.words import finding_lines, settings_lines, table
from gradaudit.rules.optimisers import (
    forgets_scale,
    rate_bounds,
    rate_is_factor,
    steps_with_gradient,
    why_scale_cancels,
)  # fmt: skip
from gradaudit.rules.text import number, optimizer_name, percent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.plan.model import Duration, TrainingUnit
    from gradaudit.render.report.part import Part

EACH = 12
"""Warm-ups of up to this many epochs are shown epoch by epoch, longer ones at a few points."""


def learning_rate(part: Part) -> Analysis:
    unit = part.unit
    assert unit is not None
    settings = settings_lines(
        unit,
        ("learning_rate", "optimizer", "warmup_epochs", "warmup_steps", "warmup_ratio",
         "warmup_start_factor", "scheduler", "min_learning_rate", "epochs", "total_steps"),
    )  # fmt: skip
    findings = part.about(RATE)
    faults = [finding for finding in findings if finding.rule.code != "GA206"]
    status = judged(faults, _without_findings(unit))
    if len(faults) < len(findings):
        status += " (the observed norm is from the warm-up)"
    lines = [*_reasons(part), *_table(unit)]
    bullets: list[str] = []
    for finding in findings:
        bullets += finding_lines(finding, part.source)
    if bullets:
        lines += ["", *bullets]
    return Analysis("Learning rate", settings, status, lines)


def _without_findings(unit: TrainingUnit) -> str:
    rate = unit.get("learning_rate")
    if rate is None or rate.number is None:
        reason = unit.unknown.get("learning_rate", "")
        return f"{UNKNOWN} the learning rate is not known" + (f": {reason}" if reason else "")
    if unit.optimizer is None:
        return (
            f"{UNKNOWN} what is high depends on the optimiser, which is not known: "
            "`--assume optimizer=adamw`"
        )
    if rate_is_factor(unit):
        return f"{UNKNOWN} a Noam scheduler multiplies it: it is a factor, not a rate"
    return NO_OBJECTION


def _reasons(part: Part) -> list[str]:
    unit = part.unit
    assert unit is not None
    rate = unit.number("learning_rate")
    if rate is None or rate <= 0:
        return []
    lines = []
    low = part.limit("GA202", "smallest")
    bounds = rate_bounds(unit, part.all_limits("GA201"))
    high = bounds[0] if bounds else None
    if high is not None and low <= rate <= high:
        lines.append(
            f"- {number(rate)} lies between the bounds beyond which a rate is reported for "
            f"{optimizer_name(unit)} ({number(low)} and {number(high)}). Whether it is right for "
            "this model, no file can say."
        )
    lines.append(f"- {_not_claimed(unit, rate)}")
    return lines


def _not_claimed(unit: TrainingUnit, rate: float) -> str:
    """What the product of rate and norm is, and is not."""
    norm = f" ({number(rate)} x {number(unit.observed.grad_norm)})" if unit.observed else ""
    if forgets_scale(unit):
        because, _ = why_scale_cancels(unit)
        return (
            f"Not claimed: that learning rate x gradient norm{norm} is the size of a step. Under "
            f"{optimizer_name(unit)} it is not: {because}, "
            "so gradients that are larger throughout make no larger steps. Judge the steps by the "
            "ratio of update to weight."
        )
    if steps_with_gradient(unit):
        clip = unit.number("clip_norm")
        if clip is not None and clip <= 0:
            what = f"a clip norm {number(clip)}"
            return f"The size of a step depends on what the trainer makes of {what}."
        if clip:
            return (
                f"Not claimed: that learning rate x logged norm{norm} is the size of a step. The "
                f"logged norm is taken before the clip at {number(clip)}; "
                "momentum comes on top."
            )
        return (
            f"Under {optimizer_name(unit)} without a clip, learning rate x gradient norm{norm} is "
            "the size of a step before momentum and weight decay."
        )
    return (
        f"Not claimed: that learning rate x gradient norm{norm} is the size of a step. That "
        "depends on the optimiser, and on the clip."
    )


def _table(unit: TrainingUnit) -> list[str]:
    warmup = unit.warmup
    if warmup is None or unit.number("learning_rate") is None:
        return ["- No warm-up in the file."] if unit.number("learning_rate") else []
    duration, measure = _in_time(unit, warmup)
    if duration is None:
        return [
            (
                f"- The warm-up lasts {warmup}; the length of the training is not known, so the "
                "rate at a given time is not either (`--assume epochs=N` or `--assume "
                "total_steps=N`)."
            )
        ]
    lines = ["", f"The rate during the warm-up of {warmup}, {_shape(unit)}:", ""]
    points = _points(duration, measure, unit)
    by_epoch = measure == "epochs"
    header = ["step", "rate", "of the peak", ""]
    if by_epoch:
        header = ["epoch", "rate at its start", "rate at its end", "of the peak", ""]
    rows = []
    for point in points:
        rate = rate_at(unit, epoch=point) if by_epoch else rate_at(unit, step=point)
        if rate is None:
            return []
        mark = _mark(unit, measure, point, rate.inside_warmup)
        cells = [f"{point:,}", number(rate.low)]
        share = percent(rate.share)
        if by_epoch:
            cells.append(number(rate.high))
            if rate.high > rate.low:
                share += f" to {percent(rate.high / rate.peak)}"
        rows.append([*cells, share, mark])
    lines += table(header, rows)
    if by_epoch:
        lines += [
            "",
            (
                "A scheduler that steps once an epoch keeps the rate of the start all through it; "
                "one that steps every batch reaches that of the end."
            ),
        ]
    return [*lines, *_elsewhere(unit, measure)]


def _in_time(unit: TrainingUnit, warmup: Duration) -> tuple[float | None, str]:
    if warmup.unit != "ratio":
        return warmup.value, warmup.unit
    length = unit.length
    return (warmup.value * length.value, length.unit) if length else (None, "")


def _shape(unit: TrainingUnit) -> str:
    rise = rise_of(unit)
    start = rise.start if rise else None
    if rise is not None and start is not None and rise.shape != "linear":
        framework = unit.composed.dialect["title"]
        return f"{rise.shape} from {number(start)} x the peak, as {framework} does it"
    if start is None:
        return "taken as linear from 0, because the file names no start factor"
    return f"taken as linear from {number(start)} x the peak, as torch's `LinearLR` does"


def _points(duration: float, measure: str, unit: TrainingUnit) -> list[int]:
    """Epochs or steps, from 1: each one of a short warm-up, a few of a long one, the first after
    it, and the observed one."""
    last = max(1, int(-(-duration // 1)))
    if measure == "epochs" and last <= EACH:
        points = set(range(1, last + 2))
    else:
        points = {1, *(1 + round(last * quarter / 4) for quarter in (1, 2, 3)), last, last + 1}
    seen = _observed_at(unit, measure)
    return sorted(points | ({seen} if seen else set()))


def _observed_at(unit: TrainingUnit, measure: str) -> int | None:
    observed = unit.observed
    if observed is None:
        return None
    return observed.epoch if measure == "epochs" else observed.step


def _mark(unit: TrainingUnit, measure: str, point: int, inside: bool) -> str:
    marks = []
    if _observed_at(unit, measure) == point:
        marks.append(f"**observed: {observed_text(unit).split(' at ')[0]}**")
    if not inside:
        marks.append("after the warm-up; the scheduler decides")
    return "; ".join(marks)


def _elsewhere(unit: TrainingUnit, measure: str) -> list[str]:
    """Where the observation is counted in another measure than the warm-up."""
    observed = unit.observed
    if observed is None or _observed_at(unit, measure) is not None:
        return []
    if observed.epoch is None and observed.step is None:
        return ["", "When the norm was observed is not given (`--observed-epoch`)."]
    rate = rate_at(unit, observed.epoch, observed.step)
    if rate is None:
        return [
            "",
            (
                f"Whether the observation{observed.when} is inside the warm-up cannot be said: "
                f"`--assume steps_per_epoch=N` ties epochs to steps."
            ),
        ]
    where = "inside" if rate.inside_warmup else "after"
    return [
        "",
        f"The observation{observed.when} is {where} the warm-up: the rate was {number(rate.low)}"
        + (f" to {number(rate.high)}" if rate.high > rate.low else "")
        + ("." if rate.inside_warmup else ", if the scheduler had not lowered it yet."),
    ]
