"""Small pure functions on measured series, each with its source.

Steps of a training are not independent draws. `wilson` and `quantile_interval` take them as such;
`series_share` and `series_quantile` count steps that resemble their neighbours for less.
"""

from __future__ import annotations

from collections import Counter
from math import ceil, exp, inf, isfinite, lgamma, log, sqrt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Z95 = 1.959964
"""The 97.5th percentile of the normal distribution: two-sided intervals of 95 %."""


def wilson(successes: int, count: int, z: float = Z95) -> tuple[float, float]:
    """The Wilson score interval of a share (Wilson 1927, JASA 22).

    Unlike p ± z sd it stays inside [0, 1] and says something at 0 and at 1 (Brown, Cai & DasGupta
    2001). With `count` 0 nothing is known: (0, 1).

    Raises: ValueError where there are more successes than trials, or fewer than none.
    """
    if not 0 <= successes <= count:
        raise ValueError(f"{successes} of {count}")
    return _wilson(successes / count, count, z) if count else (0.0, 1.0)


def _wilson(share: float, count: float, z: float) -> tuple[float, float]:
    square = z * z
    centre = (share + square / (2 * count)) / (1 + square / count)
    half = z * sqrt(share * (1 - share) / count + square / (4 * count * count))
    half /= 1 + square / count
    low = 0.0 if share == 0 else max(centre - half, 0.0)
    high = 1.0 if share == 1 else min(centre + half, 1.0)
    return low, high


def effective_count(hits: Sequence[bool]) -> float:
    """How many independent draws tell as much about the share of `hits` as this series does.

    n / (1 + 2 sum of the autocorrelations), summed from lag 1 on until one is below 1 / sqrt(n) or
    the lag exceeds five times the sum (Sokal 1997); each is corrected for the bias of a short
    series, about -1 / n a step of correlation time (Marriott & Pope 1954).
    """
    count = len(hits)
    share = sum(hits) / count if count else 0.0
    variance = share * (1 - share) * count
    if count < 8 or not variance:
        return float(count)
    centred = [hit - share for hit in hits]
    time = 1.0
    for lag in range(1, count // 4):
        product = sum(a * b for a, b in zip(centred, centred[lag:], strict=False))
        correlation = product / variance + time / count
        if correlation < 1 / sqrt(count):
            break
        time += 2 * correlation
        if lag >= 5 * time:
            break
    return max(count / time, 1.0)


def series_share(hits: Sequence[bool]) -> tuple[float, float]:
    """Wilson's interval of 95 % of a share, with the effective number of steps."""
    count = len(hits)
    if not count:
        return 0.0, 1.0
    return _wilson(sum(hits) / count, effective_count(hits), Z95)


def quantile(values: Sequence[float], share: float) -> float:
    """The quantile by linear interpolation between order statistics (Hyndman & Fan 1996, type 7).

    Raises: ValueError where there are no values.
    """
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    at = share * (len(ordered) - 1)
    below = int(at)
    if below + 1 >= len(ordered) or at == below:
        return ordered[below]
    return ordered[below] + (at - below) * (ordered[below + 1] - ordered[below])


def median(values: Sequence[float]) -> float:
    """Raises: ValueError where there are no values."""
    return quantile(values, 0.5)


def quantile_interval(
    values: Sequence[float], share: float, confidence: float = 0.95
) -> tuple[float, float] | None:
    """An interval of a quantile between two order statistics, whatever the distribution is.

    The number of values below the quantile is binomial (n, share), so that order statistics l and u
    hold it with probability P(l <= B < u) (David & Nagaraja 2003, Order Statistics, 7.1). None
    where even the smallest and the largest value do not reach the confidence: too few values.
    """
    count = len(values)
    tail = (1 - confidence) / 2
    below = _binomial_cdf(count, share)
    low = next((k for k in range(count) if below[k] > tail), count)
    high = next((k for k in range(count + 1) if below[k] >= 1 - tail), count)
    # B <= low - 1 has at most `tail`, and so has B >= high + 1: from x(low) to x(high + 1).
    if low < 1 or high + 1 > count:
        return None
    ordered = sorted(values)
    return ordered[low - 1], ordered[high]


def series_quantile(values: Sequence[float], share: float) -> tuple[float, float] | None:
    """`quantile_interval` with the effective number of steps: that of being above the quantile.

    None where so few steps have no interval.
    """
    if not values:
        return None
    at = quantile(values, share)
    few = max(int(effective_count([value > at for value in values])), 1)
    ranks = quantile_interval(range(few), share)
    if ranks is None:
        return None
    count, ordered = len(values), sorted(values)
    low = int((ranks[0] + 0.5) / few * count - 0.5)
    high = ceil((ranks[1] + 0.5) / few * count - 0.5)
    return ordered[max(low, 0)], ordered[min(high, count - 1)]


def _binomial_cdf(count: int, share: float) -> list[float]:
    """P(B <= k) for k from 0 to `count`."""
    sums, total = [], 0.0
    for k in range(count + 1):
        total += exp(
            lgamma(count + 1) - lgamma(k + 1) - lgamma(count - k + 1)
            + k * log(share) + (count - k) * log(1 - share)
        )  # fmt: skip
        sums.append(min(total, 1.0))
    return sums


def mode(values: Iterable[int]) -> int | None:
    """The commonest value, the smaller of two; None where there is none."""
    counts = Counter(values)
    if not counts:
        return None
    most = max(counts.values())
    return min(value for value, seen in counts.items() if seen == most)


def tail_ratio(values: Sequence[float]) -> float | None:
    """The 95th percentile over the median: how heavy the upper tail is.

    One outlier cannot move it, unlike the maximum or a kurtosis. A lognormal series with a
    coefficient of variation of 1 has 3.9, an exponential one 4.3.

    None where there are no values or the median is 0.
    """
    if not values:
        return None
    middle = median(values)
    return quantile(values, 0.95) / middle if middle > 0 else None


def steady_tail_ratio(values: Sequence[float], reach: int = 12) -> float | None:
    """`tail_ratio` of what is left when the level of the series is taken out; never above it.

    Each value is divided by the median of those within `reach` positions. A norm that falls by
    orders while a training converges has a tail over its whole length, and none by this.

    None as `tail_ratio`.
    """
    whole, level = tail_ratio(values), levelled(values, reach)
    rest = tail_ratio(level)
    return whole if whole is None or rest is None else min(whole, rest)


def levelled(values: Sequence[float], reach: int = 12) -> list[float]:
    """Each value over the median of those within `reach` positions; a median of 0 is left out."""
    found = []
    for at, value in enumerate(values):
        middle = median(values[max(at - reach, 0) : at + reach + 1])
        if middle > 0:
            found.append(value / middle)
    return found


def spikes(values: Sequence[float], decay: float, deviations: float, start: int) -> list[int]:
    """The positions of values that stand out of those before them.

    On logarithms, against a running mean and variance with the weight `decay` for the past, as
    ZClip does on the values themselves (Kumar et al. 2025). A spike does not enter the running
    figures. They begin with the median of the first `start` values and their mean square distance
    from it. A standard deviation counts as 0.05 (5 %) at least.
    """
    logs = [log(value) for value in values if value > 0 and isfinite(value)]
    if len(logs) <= start or len(logs) != len(values):
        return []
    centre = median(logs[:start])
    variance = sum((value - centre) ** 2 for value in logs[:start]) / start
    found = []
    for position in range(start, len(logs)):
        distance = logs[position] - centre
        if distance > deviations * max(sqrt(variance), 0.05):
            found.append(position)
            continue
        centre += (1 - decay) * distance
        variance = decay * variance + (1 - decay) * distance * distance
    return found


def growth(values: Sequence[float]) -> tuple[float, bool] | None:
    """The median of the last quarter over that of the first, and whether it is beyond chance.

    Beyond chance where the intervals of the two medians do not overlap. None for fewer than 24
    values (a median's interval needs 6), or a median of 0.
    """
    quarter = len(values) // 4
    if quarter < 6:
        return None
    first, last = values[:quarter], values[-quarter:]
    before, after = median(first), median(last)
    bounds = quantile_interval(first, 0.5), quantile_interval(last, 0.5)
    if before <= 0 or bounds[0] is None or bounds[1] is None:
        return None
    apart = bounds[0][1] < bounds[1][0] or bounds[1][1] < bounds[0][0]
    return after / before, apart


def root_sum_of_squares(values: Iterable[float]) -> float:
    """The norm of a vector whose parts have these norms, without overflow."""
    kept = list(values)
    largest = max((abs(value) for value in kept), default=0.0)
    if largest == 0 or largest == inf or largest != largest:
        return largest
    return largest * sqrt(sum((value / largest) ** 2 for value in kept))
