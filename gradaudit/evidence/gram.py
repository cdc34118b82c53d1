"""What the inner products of gradients of several batches say, free of their shared noise.

`dots[a][b]` is the inner product of the gradient of batch a with that of batch b, all taken at the
same weights, the batches independent. Its diagonal holds the noise; off it, the expectation is the
inner product of the expected gradients. Intervals come from resampling batches (Efron 1979); pairs
of a batch with itself never enter, so that they stay free of the noise.
"""

from __future__ import annotations

import random
from math import inf, sqrt

from gradaudit.evidence.statistics import quantile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Dots = Sequence[Sequence[float]]
    Interval = tuple[float, float]

RESAMPLES = 400
"""Enough for the ends of a 95 % interval to a few per cent of its width (Efron & Tibshirani
1993)."""

FEWEST_BATCHES = 6
"""Below it the resampled interval is too narrow to be said (from 15 pairs on)."""


class Estimate:
    """A number with its interval of 95 %; `low_only` where just its lower end can be told."""

    __slots__ = ("high", "low", "low_only", "value")

    def __init__(self, value: float, low: float, high: float, low_only: bool = False) -> None:
        self.value = value
        self.low = low
        self.high = high
        self.low_only = low_only


def off_diagonal(dots: Dots, drawn: Sequence[int]) -> float:
    """The mean inner product of two different batches among those drawn; nan without a pair."""
    total, pairs = 0.0, 0
    for place, a in enumerate(drawn):
        row = dots[a]
        for b in drawn[place + 1 :]:
            if a != b:
                total += row[b] + dots[b][a]
                pairs += 2
    return total / pairs if pairs else float("nan")


def diagonal(dots: Dots, drawn: Sequence[int]) -> float:
    """The mean squared norm of the batches drawn."""
    return sum(dots[a][a] for a in drawn) / len(drawn)


def resampled(count: int, estimate: Callable[[Sequence[int]], float], seed: int = 0) -> list[float]:
    """The estimate on `RESAMPLES` draws of batches with replacement; nan left out."""
    draw = random.Random(seed)
    values = (
        estimate([draw.randrange(count) for _ in range(count)]) for _ in range(RESAMPLES)
    )  # fmt: skip
    return [value for value in values if value == value]


def interval_of(values: Sequence[float]) -> Interval:
    """The 2.5th and 97.5th percentile."""
    return quantile(values, 0.025), quantile(values, 0.975)


def signal_to_noise(dots: Dots) -> float:
    """Squared norm of the expected gradient over the variance of one batch's; below 0 by chance."""
    everything = range(len(dots))
    signal = off_diagonal(dots, everything)
    noise = diagonal(dots, everything) - signal
    return signal / noise if noise > 0 else inf


def noise_scale(dots: Dots, micro_batch: int) -> Estimate:
    """B_simple of McCandlish et al. 2018 (arXiv:1812.06162, appendix A) from batches of one size.

    |G|^2 is the mean inner product of different batches, tr(Sigma) the batch size times what is
    left of the mean squared norm; both are averaged before they are divided. Where the interval of
    |G|^2 touches 0 only a lower bound can be said. In samples.

    Only for losses that are means over independent samples: not with BatchNorm in training mode,
    nor with terms that compare samples of a batch.

    Raises: ValueError for fewer than `FEWEST_BATCHES` batches.
    """
    count = len(dots)
    if count < FEWEST_BATCHES:
        raise ValueError(f"{count} batches; takes {FEWEST_BATCHES}")

    def both(drawn: Sequence[int]) -> tuple[float, float]:
        square = off_diagonal(dots, drawn)
        return square, micro_batch * (diagonal(dots, drawn) - square)

    square, trace = both(range(count))
    squares = interval_of(resampled(count, lambda drawn: both(drawn)[0]))
    traces = interval_of(resampled(count, lambda drawn: both(drawn)[1]))
    if squares[0] <= 0 or square <= 0:
        high = max(squares[1], 0.0)
        low = max(traces[0], 0.0) / high if high else 0.0
        return Estimate(trace / square if square > 0 else inf, low, inf, True)
    ratios = []
    for drawn in _draws(count):
        part = both(drawn)
        if part[0] == part[0]:
            ratios.append(part[1] / part[0] if part[0] > 0 else inf)
    low, high = interval_of([min(r, 1e30) for r in ratios])
    return Estimate(trace / square, max(low, 0.0), inf if high >= 1e30 else high)


def _draws(count: int) -> list[list[int]]:
    draw = random.Random(1)
    return [[draw.randrange(count) for _ in range(count)] for _ in range(RESAMPLES)]


LEAST_SIGNAL = 0.1
"""Signal to noise over all batches below which no corrected cosine is said: dividing by a norm that
is mostly noise makes any number."""


def corrected_cosine(own: Dots, other: Dots, cross: Dots) -> Estimate | None:
    """Cosine of two expected gradients, from gradients of independent batches.

    cos = E[g_i^A . g_j^B] / sqrt(E[g_i^A . g_i^B] E[g_j^A . g_j^B]), A and B different batches:
    the noise that two terms share in one batch cancels, and so does the bias to 0 of a cosine of
    noisy vectors. `cross[a][b]` is g_i of batch a times g_j of batch b.

    None where the expected gradient of either does not stand out of its noise: a mean over the
    batches has `len(own)` times the signal-to-noise ratio of one, which must be above
    `LEAST_SIGNAL` and its square above 0 in 97.5 % of the resamples.
    """
    count = len(own)
    if count < FEWEST_BATCHES:
        return None
    for dots in (own, other):
        if signal_to_noise(dots) * count < LEAST_SIGNAL:
            return None
        squares = resampled(count, lambda drawn, d=dots: off_diagonal(d, drawn))  # type: ignore[misc]
        if quantile(squares, 0.025) <= 0:
            return None

    def cosine(drawn: Sequence[int]) -> float:
        size = off_diagonal(own, drawn) * off_diagonal(other, drawn)
        return off_diagonal(cross, drawn) / sqrt(size) if size > 0 else float("nan")

    value = cosine(range(count))
    low, high = interval_of(resampled(count, cosine))
    return Estimate(_bounded(value), _bounded(low), _bounded(high))


def _bounded(cosine: float) -> float:
    return min(max(cosine, -1.0), 1.0)


def block(dots: Dots, terms: int, i: int, j: int) -> list[list[float]]:
    """Of inner products of M batches x T terms (batch major), those of term i with term j."""
    rows = range(i, len(dots), terms)
    return [[dots[row][column] for column in range(j, len(dots), terms)] for row in rows]


def summed(dots: Dots, terms: int) -> list[list[float]]:
    """Of inner products of M batches x T terms, those of the sums of all terms."""
    count = len(dots) // terms
    return [
        [
            sum(sum(dots[a * terms + i][b * terms : (b + 1) * terms]) for i in range(terms))
            for b in range(count)
        ]
        for a in range(count)
    ]


def size_cosine(dots: Dots, small: int, joined: int) -> Estimate | None:
    """Cosine of the expected gradient at a micro-batch with that at `joined` of them in one.

    `dots` of `small` micro-batches and then of the large batches that they make. Only products of
    gradients without a sample in common enter, so that both noises cancel; groups are resampled.
    Below 1 the small batch trains another objective (BatchNorm, pairs, statistics of the batch):
    averaging more of its gradients cannot mend that. None where noise hides it.
    """
    groups = small // joined
    if groups < FEWEST_BATCHES:
        return None
    own = [[0.0] * groups for _ in range(groups)]  # sums over the micro-batches of two groups
    cross = [[0.0] * groups for _ in range(groups)]
    large = [row[small : small + groups] for row in dots[small : small + groups]]
    for a in range(small):
        for b in range(small):
            own[a // joined][b // joined] += dots[a][b] / joined**2
        for b in range(groups):
            cross[a // joined][b] += dots[a][small + b] / joined
    return corrected_cosine(own, large, cross)
