"""What a dry run's record says, as numbers: for the screen and for whoever reads the record."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from math import isfinite

from gradaudit.evidence.compared import compared
from gradaudit.evidence.gram import RESAMPLES, interval_of
from gradaudit.evidence.record import number_of
from gradaudit.evidence.statistics import median, quantile, series_quantile, series_share
from gradaudit.evidence.terms import (
    EVEN,
    Balance,
    TermSummary,
    balance,
    norms_with,
    percentiles,
    summarise,
    without_each,
)
from gradaudit.evidence.warmup import settled, told_warmup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from gradaudit.evidence.record import Record, Terms

    Interval = tuple[float, float]

CLIP_STEPS = 100
"""Steps after the warm-up below which no threshold is recommended: the 90th percentile of 100 steps
of a heavy-tailed series is known to a factor of 3, of 50 steps to a factor of 5."""

CLIP_SHARE = 0.9
"""The percentile that is recommended as a clip threshold (google-research/tuning_playbook, "the
90th percentile of gradient norms as an initial guess")."""

LEAST_COSINE = 0.9
"""Cosine of the expected gradients of a micro-batch and of four in one, below which the small one
is said to train another objective. 0.97 is what sampling alone left at 9600 samples
(docs/measurements.md)."""

TENFOLD = 9.0
"""Relative change of a loss above which it is told as a factor: per cent say nothing any more."""

TOP_LAYERS = 5

SAID = ("rate_test", "batch_norm_noise", "interrupted", "failed")
"""Topics of the record's notes that the screen of a dry run has no other place for."""


@dataclass
class Spread:
    """A series of norms: percentiles with intervals of 95 % between order statistics, which count
    steps that are like their neighbours for less."""

    count: int
    median: float
    p95: float
    max: float
    median_interval: Interval | None
    p95_interval: Interval | None

    @property
    def tail(self) -> float | None:
        """95th percentile over median: 1.5 to 4 for most trainings, above 10 something is wrong."""
        return self.p95 / self.median if self.median > 0 else None


@dataclass
class RateTest:
    """Losses at a multiple of the learning rate beside those at the rate itself.

    finite    steps until the loss was not finite; of all where it stayed so.
    diverged  whether it did not.
    change    mean over the second half of the steps of the loss's relative difference, with its
              interval of 95 % over batches; None where either of the two was not finite.
    """

    factor: float
    finite: int
    diverged: bool
    change: float | None = None
    interval: Interval | None = None


@dataclass
class DryRun:
    """All that is said of a dry run. Every norm is that of steps after the warm-up.

    term_norm  of the micro-batches on which the terms were measured, which is what they are held
               against: with accumulation the norm of a step is that of several. without: its 95th
               percentile had a term weighed nothing; without_largest: its largest.
    non_finite  the step before which the run stopped, as something was not finite, and what.
    in_file    terms of the advice, each with why `fix` does not write it (also where no key is
               known), empty where it does; not in it where the file could not be looked into.
    clipped, clip_advice  by the norm that the clip compares: after a clip by value what that left.
    clip_value  at which each element was cut, before any clip by norm: how often is not recorded.
    clip_written  whether `fix` writes the threshold. clip_stays: whether no rule asks for another.
    also       what else `fix` changes in the file, in words.
    rate_micro_batches  in each step of the rate test; None where it was not made, or is not known.
    """

    about: dict[str, Any] = field(default_factory=dict)
    first: int = 0
    last: int = 0
    terms: list[TermSummary] = field(default_factory=list)
    values: dict[str, float] = field(default_factory=dict)
    samples: dict[str, str] = field(default_factory=dict)
    without_graph: list[str] = field(default_factory=list)
    without: dict[str, float] = field(default_factory=dict)
    without_largest: dict[str, float] = field(default_factory=dict)
    balance: Balance = field(default_factory=Balance)
    norm: Spread | None = None
    term_norm: Spread | None = None
    norm_after: Spread | None = None
    clip_norm: float | None = None
    clip_value: float | None = None
    clipped: int = 0
    clipped_interval: Interval = (0.0, 1.0)
    clip_advice: float | None = None
    clip_interval: Interval | None = None
    clip_why: str = ""
    clip_written: bool = False
    clip_stays: bool = False
    in_file: dict[str, str] = field(default_factory=dict)
    also: list[str] = field(default_factory=list)
    update_ratio: float | None = None
    layers: list[tuple[str, float]] = field(default_factory=list)
    frozen: dict[str, Any] = field(default_factory=dict)
    noise: dict[str, Any] = field(default_factory=dict)
    batch_norm: dict[str, Any] = field(default_factory=dict)
    bias: dict[str, Any] = field(default_factory=dict)
    rates: list[RateTest] = field(default_factory=list)
    rate_micro_batches: int | None = None
    learning_rate: float | None = None
    notes: list[str] = field(default_factory=list)
    non_finite: tuple[int, str] | None = None

    @property
    def micro_batches(self) -> int:
        """Whose gradients a step of the run averages, of all devices that it stands for."""
        return (self.about.get("accumulation") or 1) * (self.about.get("ranks") or 1)


def read_dry_run(record: Record, roles: Mapping[str, str]) -> DryRun:
    """Sum up the record of a dry run. `roles`: of its terms, by name (`primary`, ...)."""
    run = DryRun(about=_only(record, "trajectory"))
    warmup = told_warmup(record) or 0
    after = settled(record.terms, warmup)
    shown = after or record.terms
    if shown:
        run.first, run.last = shown[0].step, shown[-1].step
    run.terms = summarise(shown)
    for line in record.others.get("term", []):
        run.values[line["name"]] = line.get("median_value") or 0.0
        run.samples[line["name"]] = line.get("samples") or "unknown"
        if line.get("without_graph") == line.get("steps"):
            run.without_graph.append(line["name"])
    for name, (p95, largest) in without_each(shown).items():
        run.without[name], run.without_largest[name] = p95, largest
    measured = norms_with(shown, {})
    run.term_norm = spread(measured) if measured else None
    run.balance = balance(after, roles)
    _read_norms(run, record, warmup)
    _read_advice(run, after)
    run.frozen, run.noise = _only(record, "frozen"), _only(record, "noise")
    run.batch_norm, run.bias = _only(record, "batch_norm_noise"), _only(record, "batch_size_bias")
    run.rates, run.learning_rate = rate_tests(record)
    run.rate_micro_batches = _only(record, "rate_test").get("micro_batches")
    run.non_finite = record.non_finite
    run.notes = list(run.about.get("notes") or [])
    run.notes += [text for topic, text in record.notes if topic in SAID]
    return run


def _only(record: Record, kind: str) -> dict[str, Any]:
    found = record.others.get(kind, [])
    return found[-1] if found else {}


def _read_norms(run: DryRun, record: Record, warmup: int) -> None:
    steps = [step for optimizer in record.optimizers[:1] for step in optimizer.steps]
    after = [step for step in steps if step.step > warmup] or steps
    norms = [s.pre_clip_norm for s in after if s.pre_clip_norm is not None]
    norms = [norm for norm in norms if isfinite(norm)]
    if not norms:
        return
    if not run.first:
        run.first, run.last = after[0].step, after[-1].step
    run.norm = spread(norms)
    clip_norms = compared(after).known  # as rules and fixes: of two clips the second sees less
    run.clip_norm, run.clip_value = run.about.get("clip_norm"), record.optimizers[0].clip_value
    if run.clip_norm is not None:
        above = [norm > run.clip_norm for norm in clip_norms]
        run.clipped, run.clipped_interval = sum(above), series_share(above)
    enough = len(steps) > warmup
    run.clip_advice, run.clip_interval, run.clip_why = clip_advice(clip_norms if enough else [])
    ratios = [
        ratio
        for step in after
        for ratio, shape in zip(step.update_ratio, record.optimizers[0].shapes, strict=False)
        if ratio is not None and len(shape) >= 2
    ]
    run.update_ratio = median(ratios) if ratios else None
    run.layers = _layers(record, after)


def _layers(record: Record, steps: Sequence[Any]) -> list[tuple[str, float]]:
    """The tensors with the largest share of the squared norm, post-clip, largest first."""
    names = record.optimizers[0].layers
    squares = [0.0] * len(names)
    for step in steps:
        total = sum(n * n for n in step.layer_norms if n is not None and isfinite(n))
        for at, norm in enumerate(step.layer_norms[: len(names)]):
            if norm is not None and isfinite(norm) and total:
                squares[at] += norm * norm / total / len(steps)  # steps weigh alike
    ranked = sorted(zip(names, squares, strict=True), key=lambda pair: -pair[1])
    return ranked[:TOP_LAYERS]


def _read_advice(run: DryRun, after: Sequence[Terms]) -> None:
    if run.balance.to_apply:
        factors = {a.name: a.new / a.weight for a in run.balance.to_apply}
        norms = norms_with(after, factors)
        if norms:
            run.norm_after = spread(norms)


def spread(norms: Sequence[float]) -> Spread:
    """Raises: ValueError where there are none."""
    middle, high = percentiles(norms)
    return Spread(
        len(norms), middle, high, max(norms), series_quantile(norms, 0.5),
        series_quantile(norms, 0.95),
    )  # fmt: skip


def clip_advice(norms: Sequence[float]) -> tuple[float | None, Interval | None, str]:
    """A threshold, its interval, and why there is none."""
    if len(norms) < CLIP_STEPS:
        missing = CLIP_STEPS - len(norms)
        return None, None, f"{missing} more steps after the warm-up are needed ({CLIP_STEPS})"
    middle, high = percentiles(norms)
    if middle <= 0 or high / middle > EVEN:
        return None, None, "fix what makes the spikes first"
    return quantile(norms, CLIP_SHARE), series_quantile(norms, CLIP_SHARE), ""


def rate_tests(record: Record) -> tuple[list[RateTest], float | None]:
    """What was tried at multiples of the learning rate, and that rate; none where it was not. The
    rate itself (factor 1) is among them only where its own loss was not finite."""
    line = _only(record, "rate_test")
    factors, losses = line.get("factors"), line.get("losses")
    rate = number_of(line.get("learning_rate"))
    if not isinstance(factors, list) or not isinstance(losses, list) or rate is None:
        return [], None
    runs = {
        float(factor): values
        for factor, values in zip(factors, losses, strict=False)
        if isinstance(factor, (int, float)) and isinstance(values, list)
    }
    if not runs.get(1.0):
        return [], None
    steps = max(len(values) for values in runs.values())
    base = _finite(runs[1.0])
    found = []
    for factor, values in runs.items():
        own = _finite(values)
        test = RateTest(factor, len(own), len(own) < steps)
        if not test.diverged and len(base) == steps:
            if factor == 1.0 or not _compare(test, own, base):
                continue
        found.append(test)
    return found, rate


def _finite(values: list[Any]) -> list[float]:
    return [value for value in values if isinstance(value, (int, float)) and isfinite(value)]


def _compare(test: RateTest, own: list[float], base: list[float]) -> bool:
    """False where the losses at the rate itself are 0."""
    half = len(base) // 2
    size = sum(abs(value) for value in base[half:]) / (len(base) - half)
    if not size:
        return False
    apart = [(a - b) / size for a, b in zip(own[half:], base[half:], strict=True)]
    draw = random.Random(0)
    means = [sum(draw.choice(apart) for _ in apart) / len(apart) for _ in range(RESAMPLES)]
    test.change, test.interval = sum(apart) / len(apart), interval_of(means)
    return True
