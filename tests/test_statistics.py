"""The statistics of measured series, against simulations and against what must always hold."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradaudit.evidence.series import Series, find_warmup
from gradaudit.evidence.statistics import (
    effective_count,
    growth,
    median,
    mode,
    quantile,
    quantile_interval,
    root_sum_of_squares,
    series_quantile,
    series_share,
    spikes,
    tail_ratio,
    wilson,
)

positive = st.floats(1e-6, 1e6)


# Shares


@given(st.integers(0, 400), st.integers(0, 400))
def test_wilson_holds_the_share_and_stays_inside(successes: int, failures: int) -> None:
    count = successes + failures
    low, high = wilson(successes, count)
    assert 0 <= low <= high <= 1
    if count:
        assert low <= successes / count <= high
    mirrored = wilson(failures, count)
    assert low == pytest.approx(1 - mirrored[1], abs=1e-12)


def test_wilson_against_published_values() -> None:
    """Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    for successes, count, low, high in (
        (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):  # fmt: skip
        assert wilson(successes, count) == pytest.approx((low, high), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="3 of 2"):
        wilson(3, 2)


# Quantiles


@given(st.lists(positive, min_size=1, max_size=60), st.floats(0.01, 0.99))
def test_a_quantile_lies_among_the_values(values: list[float], share: float) -> None:
    assert min(values) <= quantile(values, share) <= max(values)
    interval = quantile_interval(values, share)
    if interval is not None:
        assert interval[0] in values
        assert interval[1] in values
        assert interval[0] <= interval[1]


def test_quantiles_as_numpy_gives_them() -> None:
    assert quantile([1, 2, 3, 4], 0.5) == 2.5
    assert quantile([3.0, 1.0, 2.0], 0.9) == pytest.approx(2.8)
    assert median([5.0]) == 5.0
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)


@pytest.mark.parametrize(("share", "count"), [(0.5, 25), (0.9, 60), (0.9, 100), (0.95, 150)])
def test_a_quantile_interval_covers_as_often_as_it_says(share: float, count: int) -> None:
    """At least 95 %, for a heavy-tailed series too; order statistics cannot be exact."""
    draw = random.Random(count)
    trials, hits = 1500, 0
    truth = math.exp(1.5 * _normal_quantile(share))
    for _ in range(trials):
        values = [draw.lognormvariate(0, 1.5) for _ in range(count)]
        interval = quantile_interval(values, share)
        assert interval is not None
        hits += interval[0] <= truth <= interval[1]
    assert 0.94 <= hits / trials <= 0.995


def correlated(draw: random.Random, count: int, correlation: float) -> list[float]:
    """A lognormal series whose logarithms have that correlation from step to step."""
    values, last = [], draw.gauss(0, 1)
    for _ in range(count):
        last = correlation * last + math.sqrt(1 - correlation**2) * draw.gauss(0, 1)
        values.append(math.exp(last))
    return values


@pytest.mark.parametrize(("correlation", "least"), [(0.0, 0.92), (0.5, 0.88)])
def test_intervals_of_a_series_hold_where_neighbours_are_alike(
    correlation: float, least: float
) -> None:
    """docs/measured.md has the shares; taken as independent the second would be 0.83 and 0.87."""
    draw = random.Random(7)
    truth = math.exp(_normal_quantile(0.9))
    shares = quantiles = known = 0
    for _ in range(400):
        values = correlated(draw, 100, correlation)
        low, high = series_share([value > truth for value in values])
        shares += low <= 0.1 <= high
        interval = series_quantile(values, 0.9)
        if interval is not None:
            known += 1
            quantiles += interval[0] <= truth <= interval[1]
    assert shares / 400 >= least
    assert quantiles / known >= least
    assert known >= 340


@given(st.lists(st.booleans(), max_size=80))
def test_steps_that_are_alike_count_for_less(hits: list[bool]) -> None:
    count = effective_count(hits)
    assert 0 <= count <= max(len(hits), 1)
    low, high = series_share(hits)
    assert 0 <= low <= high <= 1
    if hits:
        assert low <= sum(hits) / len(hits) <= high


def test_effective_counts() -> None:
    assert effective_count([True] * 50) == 50  # one value throughout tells nothing of likeness
    assert effective_count([True, False] * 50) == 100
    blocks = ([True] * 10 + [False] * 10) * 5
    assert effective_count(blocks) < 30
    assert series_quantile([], 0.9) is None
    assert series_share([]) == (0.0, 1.0)


def _normal_quantile(share: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(share)


def test_too_few_values_have_no_interval() -> None:
    """The fewest for 95 %: 6 for a median, 36 for a 90th percentile."""
    assert quantile_interval(list(range(5)), 0.5) is None
    assert quantile_interval(list(range(6)), 0.5) == (0, 5)
    assert quantile_interval(list(range(35)), 0.9) is None
    assert quantile_interval(list(range(36)), 0.9) is not None


# Shape


def test_mode() -> None:
    assert mode([]) is None
    assert mode([4, 4, 3]) == 4
    assert mode([2, 4]) == 2


@given(st.lists(positive, min_size=1, max_size=50), st.floats(1e-3, 1e3))
def test_the_tail_has_no_unit(values: list[float], factor: float) -> None:
    tail = tail_ratio(values)
    scaled = tail_ratio([value * factor for value in values])
    assert tail is not None
    assert tail >= 0.99
    assert scaled == pytest.approx(tail, rel=1e-6)


def test_one_outlier_does_not_make_a_tail() -> None:
    values = [1.0 + 0.01 * (n % 7) for n in range(100)]
    assert tail_ratio([*values, 1e6]) == pytest.approx(tail_ratio(values), rel=0.05)
    assert tail_ratio([]) is None
    assert tail_ratio([0.0, 0.0, 1.0]) is None


def test_spikes_are_found_and_do_not_hide_the_next() -> None:
    draw = random.Random(1)
    values = [draw.lognormvariate(0, 0.2) for _ in range(200)]
    assert len(spikes(values, 0.97, 4, 25)) <= 1
    values[100] = values[101] = values[150] = 8.0
    assert {100, 101, 150} <= set(spikes(values, 0.97, 4, 25))


def test_a_slow_drift_is_no_spike() -> None:
    assert spikes([1.02**n for n in range(200)], 0.97, 4, 25) == []
    assert spikes([1.0, 0.0, 2.0] * 20, 0.97, 4, 25) == []  # a zero has no logarithm
    assert spikes([1.0] * 10, 0.97, 4, 25) == []


def test_growth_beyond_chance() -> None:
    draw = random.Random(2)
    level = [draw.lognormvariate(0, 0.3) for _ in range(80)]
    found = growth(level)
    assert found is not None
    assert not found[1] or 0.5 < found[0] < 2
    rising = [value * 1.03**n for n, value in enumerate(level)]
    found = growth(rising)
    assert found is not None
    assert found[0] > 3
    assert found[1]
    assert growth(level[:20]) is None
    assert growth([0.0] * 40) is None


@given(st.lists(st.floats(-1e150, 1e150), max_size=8))
def test_root_sum_of_squares_is_the_norm_and_does_not_overflow(values: list[float]) -> None:
    assert root_sum_of_squares(values) == pytest.approx(math.hypot(*values), rel=1e-12)


def test_root_sum_of_squares_of_what_is_no_number() -> None:
    assert root_sum_of_squares([1.0, math.inf]) == math.inf
    assert math.isnan(root_sum_of_squares([math.nan]))
    assert root_sum_of_squares([3e200, 4e200]) == pytest.approx(5e200)


# Warm-up


def series(rates: list[float], initial: float | None = None) -> Series:
    count = len(rates)
    return Series(
        steps=list(range(1, count + 1)), epochs=[None] * count, pre_clip_norm=[1.0] * count,
        post_clip_norm=[1.0] * count, clip_norm=[None] * count, learning_rates=[list(rates)],
        loss=[None] * count, initial_rates=[initial],
    )  # fmt: skip


def linear(steps: int, count: int, peak: float = 1e-3) -> list[float]:
    return [peak * min((n + 1) / steps, 1.0) for n in range(count)]


@pytest.mark.parametrize("initial", [None, 1e-3])
def test_a_linear_warmup_that_ends(initial: float | None) -> None:
    found = find_warmup(series(linear(20, 60), initial))
    assert found.over
    assert found.after == 19


def test_a_warmup_that_is_not_over_says_how_many_steps_are_left() -> None:
    found = find_warmup(series(linear(100, 40), 1e-3))
    assert (found.over, found.after, found.more) == (False, 40, 60)


def test_a_rate_that_still_rises_without_a_known_peak() -> None:
    found = find_warmup(series(linear(100, 40)))
    assert not found.over
    assert found.more is None


@pytest.mark.parametrize(
    "rates",
    [
        [1e-3] * 50,
        [1e-3 * (1 + math.cos(math.pi * n / 100)) / 2 for n in range(80)],
        [1e-3 * 0.95**n for n in range(80)],
    ],
)
def test_no_warmup(rates: list[float]) -> None:
    found = find_warmup(series(rates, 1e-3))
    assert (found.after, found.over) == (0, True)


def test_a_scheduler_that_steps_per_epoch_keeps_the_rate_low_all_through() -> None:
    found = find_warmup(series([2e-5] * 100, 1e-3))
    assert not found.over
    assert found.after == 100
    assert found.more is None


def test_one_cycle_is_judged_from_its_peak() -> None:
    rates = [4e-5 + 9.6e-4 * math.sin(math.pi * n / 100) for n in range(100)]
    found = find_warmup(series(rates, 4e-5))
    assert found.over
    assert 40 <= found.after <= 50


def test_one_cycle_is_not_over_where_it_still_rises() -> None:
    """torch's initial rate is then the lowest, a 25th of the peak."""
    rates = [4e-5 + 9.6e-4 * math.sin(math.pi * n / 100) for n in range(40)]
    found = find_warmup(series(rates, 4e-5))
    assert (found.over, found.after, found.more) == (False, 40, None)


def rise(length: int, count: int, peak: float = 1e-3) -> list[float]:
    """By half a cosine, as torch's OneCycleLR; then level."""
    share = [min(n / length, 1.0) for n in range(count)]
    return [peak * (1 - math.cos(math.pi * part)) / 2 + 1e-9 for part in share]


@pytest.mark.parametrize("length", [10, 59, 600])
def test_a_warmup_ends_at_the_top_and_not_before(length: int) -> None:
    for after in (rise(length, 1000), [*rise(length, length + 1), *[2e-4] * 300]):
        found = find_warmup(series(after))
        assert (found.after, found.over) == (length, True)


def test_a_rate_that_only_nears_its_peak_has_an_end_of_its_warmup() -> None:
    rates = [1e-3 * (1 - math.exp(-(n + 1) / 20)) for n in range(400)]
    found = find_warmup(series(rates, 1e-3))
    assert (found.after, found.over) == (92, True)


def test_a_record_from_the_last_tenth_of_a_warmup_is_inside_it() -> None:
    """As `--skip-steps 1850` of 2,000 leaves: it rises from 0.925 of the scheduler's rate on."""
    whole = linear(2000, 2100)
    found = find_warmup(series(whole[1850:1970], 1e-3))
    assert (found.over, found.after, found.more) == (False, 120, 30)
    found = find_warmup(series(linear(300, 400)[275:395], 1e-3))
    assert (found.over, found.after) == (True, 24)


@pytest.mark.parametrize(
    ("rates", "initial"),
    [
        (linear(2000, 2100)[1850:1970], None),  # where it ends is not known
        (linear(2000, 2100)[1850:1970], 5e-4),  # it is beyond what the scheduler multiplies
        ([0.95e-3] * 120, 1e-3),  # held below
        ([*(1e-3 * (1 - 0.002 * n) for n in range(40)), *[1e-3] * 80], 1e-3),  # starts anew
        ([1e-3 * (0.96 + 0.03 * math.sin(n / 8)) for n in range(120)], 1e-3),  # a cycle
        (linear(2000, 2100)[1985:2090], 1e-3),  # above 99 %
    ],
)
def test_rates_near_their_peak_that_do_not_climb_to_it(
    rates: list[float], initial: float | None
) -> None:
    found = find_warmup(series(rates, initial))
    assert (found.over, found.after) == (True, 0)


LEVEL: list[Any] = [1e-3] * 60
COLD: list[Any] = [0.0] * 60


@pytest.mark.parametrize(
    ("groups", "after"),
    [
        ([COLD, linear(20, 60)], 19),
        ([LEVEL, linear(20, 60)], 19),
        ([linear(20, 60), COLD], 19),
        ([linear(10, 60), linear(30, 60)], 29),
        ([LEVEL, [None] * 10 + linear(20, 50)], 29),  # added later
        ([LEVEL, [None] * 10 + LEVEL[:50]], 0),
        ([LEVEL, COLD[:40] + LEVEL[:20]], 0),  # unfrozen at once
        ([LEVEL, COLD[:10] + linear(20, 50)], 29),
        ([COLD[:5] + LEVEL[:55], COLD[:8] + LEVEL[:52]], 5),  # nothing moves before
        ([LEVEL, [1e-3, None, *LEVEL[:58]]], 0),  # not known
    ],
)
def test_the_warmup_is_that_of_all_groups(groups: list[Any], after: int) -> None:
    whole = series(LEVEL)
    whole.learning_rates = groups
    found = find_warmup(whole)
    assert (found.after, found.over) == (after, True)


@pytest.mark.parametrize("first", [COLD, LEVEL, linear(10, 60)])
def test_a_second_group_that_still_warms_up(first: list[Any]) -> None:
    whole = series(LEVEL)
    whole.learning_rates = [first, [*linear(100, 60, 1e-4)]]
    whole.initial_rates = [1e-3, 1e-4]
    found = find_warmup(whole)
    assert (found.over, found.after, found.more) == (False, 60, 40)


def test_a_group_that_is_held_below_its_rate_beside_one_at_it_does_not_warm_up() -> None:
    """`LambdaLR(o, [lambda s: 1.0, lambda s: 0.1])`: a tenth for the backbone."""
    whole = series(LEVEL)
    whole.learning_rates = [LEVEL, [1e-4] * 60]
    whole.initial_rates = [1e-3, 1e-3]
    assert find_warmup(whole).over


def test_a_training_at_a_rate_of_0_has_not_begun() -> None:
    assert not find_warmup(series(COLD, 1e-3)).over


def test_rates_that_are_not_known_are_no_warmup() -> None:
    assert find_warmup(series([])).over
    unknown = series([1e-3] * 5)
    unknown.learning_rates[0][2] = None
    assert find_warmup(unknown).over


@given(st.lists(st.floats(1e-9, 1.0), min_size=1, max_size=80), st.none() | st.floats(1e-9, 1.0))
def test_a_warmup_lies_inside_its_series(rates: list[float], initial: float | None) -> None:
    found = find_warmup(series(rates, initial))
    assert 0 <= found.after <= len(rates)
    assert found.over or found.after == len(rates)
    assert found.more is None or found.more >= 1
