"""The terms of a loss as a dry run measured them: who makes the gradient, and with which weights
it would be in balance.

All norms are 2-norms of weight x gradient over all parameters, at one step.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from math import floor, isfinite, log10, sqrt

from gradaudit.evidence.gram import RESAMPLES, interval_of
from gradaudit.evidence.statistics import quantile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gradaudit.evidence.record import Terms

    Interval = tuple[float, float]

PRIMARY_SHARE = 0.6
"""Of the gradient, what the primary terms are to have at least; the auxiliary ones divide the rest
evenly. No paper fixes this number: GradNorm (Chen et al. 2018) gives every *task* the same, and a
penalty is none. docs/measured-sample.md shows what it does."""

CAP = 1e-2
"""Smallest factor on a weight in one round. Gradients change when the weights do, so the rest is
for a second measurement."""

NEAR = 0.5
"""Factor on a weight above which it stays: norms move by as much during a training."""

DOMINATED = 0.5
"""Share of all auxiliary terms together above which they lead the training (GA961)."""

LEAST_ACTIVE = 0.01
"""Share of steps with a gradient below which a term is left alone, unless it makes spikes: what it
asks for is in hardly any step."""

FEWEST_ACTIVE = 5
"""Active steps below which a factor has the range over them in place of an interval, and is called
a rough guess: that all of five come from above the median of what the term does has a chance of
3 %, of fewer more."""

SEEN = 2
"""Active steps below which a term is left alone, unless it makes a spike: one says nothing of how
large it is as a rule."""

FEWEST_STEPS = 30
"""Measured steps after the warm-up below which no weight is recommended."""

EVEN = 10.0
"""95th percentile over median of the norm above which no clip threshold is recommended: such a
series is made by a cause, and a threshold on it is a guess (p90 was the worse choice in
docs/measurements.md)."""

NEAR_SHARE = "its gradient is near its share, or below"
"""Why a weight stays that is as it should be: of no interest beside others that change."""

SPIKE = EVEN
"""Norm of a term, at every step at which it is active, over the median norm of all steps, from
which it makes spikes: where it acts at one step in twenty, the tail is heavy. Even at one in a
hundred it makes as much of the mean squared norm as all other steps: 10 ** 2 / 100."""


@dataclass
class TermSummary:
    """One term over the measured steps.

    weights     each that was seen. steps: of those, active: those with a gradient.
    rms         root mean square of its norm over the active steps; 0 where it never was.
    share       of the sum of all terms' norms, mean over all steps with 0 where inactive.
    energy      share of the sum of all terms' squared norms: who makes the large steps.
    """

    name: str
    weights: list[float]
    steps: int
    active: int
    rms: float
    share: float
    energy: float

    @property
    def active_share(self) -> float:
        return self.active / self.steps if self.steps else 0.0

    @property
    def weight(self) -> float | None:
        """The weight, where it was the same at every step."""
        return self.weights[0] if len(self.weights) == 1 else None


def summarise(terms: Sequence[Terms]) -> list[TermSummary]:
    """Every term, those with the largest share of the squared norms first."""
    names = list(dict.fromkeys(name for step in terms for name in step.names))
    weights: dict[str, list[float]] = {name: [] for name in names}
    norms: dict[str, list[float]] = {name: [] for name in names}
    for step in terms:
        for name, weight, norm in zip(step.names, step.weights, step.norms, strict=True):
            if weight is not None and weight not in weights[name]:
                weights[name].append(weight)
            norms[name].append(norm if norm is not None and isfinite(norm) else 0.0)
    sums = {name: sum(own) for name, own in norms.items()}
    squares = {name: sum(n * n for n in own) for name, own in norms.items()}
    total, square = sum(sums.values()), sum(squares.values())
    found = []
    for name in names:
        active = sum(n > 0 for n in norms[name])
        found.append(
            TermSummary(
                name,
                weights[name],
                len(terms),
                active,
                sqrt(squares[name] / active) if active else 0.0,
                sums[name] / total if total else 0.0,
                squares[name] / square if square else 0.0,
            )
        )
    return sorted(found, key=lambda term: -term.energy)


@dataclass
class Advice:
    """A weight from the measurement: `new` = weight x factor, rounded to two digits.

    wanted    the factor before `CAP`. low, high: its interval of 95 % (resampled steps).
    spikes    whether its steps are spikes (`SPIKE`). few: of a term that is active at fewer than
              `FEWEST_ACTIVE` steps, or at less than `LEAST_ACTIVE` of all: at so many; `low` and
              `high` are then the range over these. 0 for any other.
    is_off    whether even the cap leaves it above its share: in effect the penalty is off.
    """

    name: str
    weight: float
    new: float
    factor: float
    wanted: float
    low: float
    high: float
    spikes: bool = False
    few: int = 0

    @property
    def is_off(self) -> bool:
        return self.wanted < CAP


@dataclass
class Balance:
    """What the terms' gradients say of the weights.

    reference  the primary term with the largest gradient; its weight and the other primaries' stay.
    advice     terms whose weight should come down, those that count most first.
    left       auxiliary terms that stay, with the reason. rare: those of them that act rarely, and
               make no spike then; those that never act, too.
    usual      median norm of all steps.
    why_not    why nothing can be said; empty where something can.
    missing    measured steps that are lacking.
    share       of all auxiliary terms together, of the sum of all terms' norms.
    dominated   whether auxiliary terms lead: `share` is above `DOMINATED`.
    helpers_unnamed  there are several terms, and none is auxiliary by its role.
    """

    reference: TermSummary | None = None
    advice: list[Advice] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)
    rare: list[TermSummary] = field(default_factory=list)
    usual: float = 0.0
    why_not: str = ""
    missing: int = 0
    share: float = 0.0
    dominated: bool = False
    helpers_unnamed: bool = False

    @property
    def to_apply(self) -> list[Advice]:
        """What is recommended: all of it where auxiliary terms lead, else what makes spikes."""
        return [advice for advice in self.advice if self.dominated or advice.spikes]

    @property
    def held_back(self) -> list[tuple[str, str]]:
        """Terms that were judged and stay, with the reason that their user should know: of those
        near their share only where auxiliary terms lead and nothing is recommended."""
        rare = {term.name for term in self.rare}
        alone = self.dominated and not self.to_apply
        return [
            (name, why)
            for name, why in self.left
            if name not in rare and (alone or why != NEAR_SHARE)
        ]


def balance(terms: Sequence[Terms], roles: Mapping[str, str]) -> Balance:
    """Weights from measured norms: w' = w (pi_i / pi_1) (r_1 / r_i).

    r_i is the rms norm over the steps where term i is active, term 1 the primary one with the
    largest, pi the share that each is to have: `PRIMARY_SHARE` for term 1, the rest in equal parts
    for the auxiliary terms. `roles`: name -> `primary`, `auxiliary`, ...; an unknown role counts
    as primary. Weights only come down, by `CAP` at most, and only where the factor is below `NEAR`
    and its interval below 1. A term that acts too rarely to be judged by that comes down where each
    of its steps is a spike (`SPIKE`). The primary weights stay.
    """
    summaries = summarise(terms)
    if len(terms) < FEWEST_STEPS:
        missing = FEWEST_STEPS - len(terms)
        steps = "1 step" if len(terms) == 1 else f"{len(terms)} steps"
        return Balance(why_not=f"{steps} after the warm-up", missing=missing)
    helpers = [s for s in summaries if roles.get(s.name) in ("auxiliary", "regulariser")]
    primary = [s for s in summaries if s not in helpers and s.rms > 0]
    if not primary:
        return Balance(why_not="no primary term has a gradient")
    if not helpers:
        largest = max(primary, key=lambda s: s.rms)
        several = len(primary) > 1
        return Balance(largest, why_not="no term is auxiliary", helpers_unnamed=several)
    reference = max(primary, key=lambda s: s.rms)
    result = Balance(reference)
    result.usual = usual_norm(terms)
    few = [s for s in helpers if s.active < FEWEST_ACTIVE or s.active_share < LEAST_ACTIVE]
    result.rare = [s for s in few if not _is_judged(s, terms, result.usual)]
    counted = [s for s in helpers if s not in result.rare]
    result.share = sum(s.share for s in helpers)
    result.dominated = result.share > DOMINATED
    target = (1 - PRIMARY_SHARE) / max(len(counted), 1) / PRIMARY_SHARE
    result.left += [(s.name, f"active at {s.active} of {s.steps} steps") for s in result.rare]
    for term in counted:
        wanted = target * reference.rms / term.rms
        if term in few:
            norms = _active(terms, term.name)
            low, high = (target * reference.rms / norm for norm in (max(norms), min(norms)))
        else:
            low, high = _factor_interval(terms, reference.name, term.name, target)
        if high >= 1 or wanted > NEAR:
            result.left.append((term.name, NEAR_SHARE))
        elif term.weight is None:
            span = f"{min(term.weights):g} to {max(term.weights):g}"
            why = f"its weight changes during training ({span}): lower the schedule itself"
            result.left.append((term.name, why))
        else:
            factor = max(wanted, CAP)
            new = rounded(term.weight * factor)
            result.advice.append(Advice(
                term.name, term.weight, new, factor, wanted, low, high,
                spikes=term.rms >= SPIKE * result.usual, few=term.active if term in few else 0,
            ))  # fmt: skip
    return result


def usual_norm(terms: Sequence[Terms]) -> float:
    """The median over steps of the norm of all terms together; of the sum of their norms, which it
    cannot exceed, where that is not known."""
    found = []
    for step in terms:
        norm = step.total_norm if step.total_norm is not None else norm_with(step, {})
        if norm is None:
            norm = sum(n for n in step.norms if n is not None and isfinite(n))
        found.append(norm)
    return quantile(found, 0.5)


def _active(terms: Sequence[Terms], name: str) -> list[float]:
    """The norms of a term at the steps at which it is active."""
    return [sqrt(square) for step in terms if (square := _square(step, name)) > 0]


def _is_judged(term: TermSummary, terms: Sequence[Terms], usual: float) -> bool:
    """Whether a term that is rarely active was seen often enough, or made a spike each time."""
    if term.active >= SEEN and term.active_share >= LEAST_ACTIVE:
        return True
    return term.active > 0 and min(_active(terms, term.name)) >= SPIKE * usual


def _factor_interval(terms: Sequence[Terms], reference: str, name: str, target: float) -> Interval:
    """Resample steps (Efron 1979); a resample in which the term is never active says nothing."""
    squares = [(_square(step, reference), _square(step, name)) for step in terms]
    draw = random.Random(0)
    factors = []
    for _ in range(RESAMPLES):
        drawn = [squares[draw.randrange(len(squares))] for _ in squares]
        ours = [own for own, _ in drawn if own > 0]
        theirs = [other for _, other in drawn if other > 0]
        if ours and theirs:
            factors.append(target * sqrt(_mean(ours) / _mean(theirs)))
    return interval_of(factors) if factors else (0.0, 1.0)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _square(step: Terms, name: str) -> float:
    norm = step.norms[step.names.index(name)] if name in step.names else None
    return norm * norm if norm is not None and isfinite(norm) else 0.0


def rounded(value: float, digits: int = 2) -> float:
    """To so many significant digits: 0.036729 -> 0.037."""
    if value == 0 or not isfinite(value):
        return value
    return round(value, digits - 1 - floor(log10(abs(value))))


def norm_with(step: Terms, factors: Mapping[str, float]) -> float | None:
    """What the total norm at a step would have been, at the same weights of the model, had the
    terms these factors: sqrt(f' G f) with G from norms and cosines. None where a cosine that
    counts is missing."""
    square = 0.0
    norms = [norm if norm is not None and isfinite(norm) else 0.0 for norm in step.norms]
    for i, a in enumerate(step.names):
        if not norms[i]:
            continue
        for j, b in enumerate(step.names):
            if not norms[j]:
                continue
            row = step.cosines[i] if i < len(step.cosines) else []
            cosine = row[j] if j < len(row) else None
            if cosine is None:
                return None
            square += factors.get(a, 1.0) * factors.get(b, 1.0) * norms[i] * norms[j] * cosine
    return sqrt(max(square, 0.0))


def norms_with(terms: Sequence[Terms], factors: Mapping[str, float]) -> list[float]:
    """`norm_with` at every step where it is known."""
    found = (norm_with(step, factors) for step in terms)
    return [norm for norm in found if norm is not None]


def percentiles(norms: Sequence[float]) -> tuple[float, float]:
    """Median and 95th percentile. Raises: ValueError where there are none."""
    return quantile(norms, 0.5), quantile(norms, 0.95)


def without_each(terms: Sequence[Terms]) -> dict[str, tuple[float, float]]:
    """Term -> 95th percentile and largest norm had it weighed nothing, at the same weights."""
    names = dict.fromkeys(name for step in terms for name in step.names)
    found = {}
    for name in names:
        norms = norms_with(terms, {name: 0.0})
        if norms:
            found[name] = percentiles(norms)[1], max(norms)
    return found
