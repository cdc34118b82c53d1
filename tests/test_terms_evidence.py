"""What inner products of gradients, and norms of terms, say: pure numbers, no torch."""

from __future__ import annotations

import random
from math import sqrt

import pytest

from gradaudit.evidence.gram import (
    block,
    corrected_cosine,
    noise_scale,
    off_diagonal,
    size_cosine,
    summed,
)
from gradaudit.evidence.record import Terms
from gradaudit.evidence.terms import (
    CAP,
    balance,
    norm_with,
    norms_with,
    rounded,
    summarise,
    without_each,
)

Vector = list[float]


def dot(a: Vector, b: Vector) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def dots(first: list[Vector], second: list[Vector] | None = None) -> list[list[float]]:
    return [[dot(a, b) for b in second or first] for a in first]


def noisy(mean: Vector, spread: float, count: int, draw: random.Random) -> list[Vector]:
    return [[m + draw.gauss(0, spread) for m in mean] for _ in range(count)]


def test_noise_scale_finds_the_truth() -> None:
    """|G|^2 = 4, tr(Sigma) per sample = 8 x (dimension 50 x 0.2^2) with batches of 8."""
    hits = 0
    for seed in range(20):
        draw = random.Random(seed)
        mean = [2 / sqrt(50)] * 50
        found = noise_scale(dots(noisy(mean, 0.2, 24, draw)), micro_batch=8)
        truth = 8 * 50 * 0.2**2 / 4
        assert not found.low_only
        hits += found.low <= truth <= found.high
        assert found.value == pytest.approx(truth, rel=0.5)
    assert hits >= 16  # of 20; 95 % intervals of resamples are a little narrow


def test_noise_scale_is_a_lower_bound_where_the_gradient_drowns() -> None:
    draw = random.Random(3)
    found = noise_scale(dots(noisy([0.01] * 50, 1.0, 16, draw)), micro_batch=8)
    assert found.low_only
    assert found.high == float("inf")
    assert found.low < 8 * 50 / (50 * 0.01**2)  # the truth, 80,000, is not excluded


def test_noise_scale_wants_several_batches() -> None:
    with pytest.raises(ValueError, match="takes 6"):
        noise_scale([[1.0]], 4)


def test_corrected_cosine_is_free_of_the_noise_that_terms_share() -> None:
    """Two orthogonal expected gradients with one noise: in a batch their cosine is near 1."""
    hits = 0
    for seed in range(10):
        draw = random.Random(seed)
        first, second = [], []
        for _ in range(24):
            shared = [draw.gauss(0, 0.3) for _ in range(30)]
            first.append([s + (1.0 if at == 0 else 0.0) for at, s in enumerate(shared)])
            second.append([s + (1.0 if at == 1 else 0.0) for at, s in enumerate(shared)])
        same_batch = [
            dot(a, b) / sqrt(dot(a, a) * dot(b, b)) for a, b in zip(first, second, strict=True)
        ]  # fmt: skip
        assert sum(same_batch) / len(same_batch) > 0.5
        found = corrected_cosine(dots(first), dots(second), dots(first, second))
        assert found is not None
        assert abs(found.value) < 0.4
        hits += found.low <= 0 <= found.high
    assert hits >= 8


def test_corrected_cosine_says_nothing_of_pure_noise() -> None:
    draw = random.Random(1)
    first, second = noisy([0.0] * 30, 1, 20, draw), noisy([0.0] * 30, 1, 20, draw)
    assert corrected_cosine(dots(first), dots(second), dots(first, second)) is None


@pytest.mark.parametrize(("angle", "low", "high"), [(0.0, 0.9, 1.0), (1.0, 0.35, 0.7)])
def test_size_cosine_tells_a_bias_from_noise(angle: float, low: float, high: float) -> None:
    """Large batches whose expectation is turned by `angle`, cos 1 = 0.54; noise is shared."""
    from math import cos, sin

    draw = random.Random(5)
    small = noisy([1.0, 0.0, *[0.0] * 20], 0.3, 64, draw)
    large = []
    for start in range(0, 64, 4):
        mean = [sum(v[at] for v in small[start : start + 4]) / 4 for at in range(22)]
        mean[0] += cos(angle) - 1
        mean[1] += sin(angle)
        large.append(mean)
    found = size_cosine(dots(small + large), 64, 4)
    assert found is not None
    assert low <= found.value <= high
    assert found.low <= cos(angle) <= found.high or found.value == pytest.approx(1, abs=0.01)


def test_blocks_and_sums_of_terms() -> None:
    """Two batches, two terms, batch major."""
    vectors = [[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [0.0, 4.0]]
    every = dots(vectors)
    assert block(every, 2, 0, 0) == [[1, 3], [3, 9]]
    assert block(every, 2, 0, 1) == [[0, 0], [0, 0]]
    assert summed(every, 2) == [[5, 11], [11, 25]]
    assert off_diagonal(summed(every, 2), [0, 1]) == 11
    assert off_diagonal(summed(every, 2), [1, 1]) != off_diagonal(summed(every, 2), [1, 1])  # nan


# --- weights from norms ---


def step(number: int, weights: Vector, norms: list[float | None], cosine: float = 0.0) -> Terms:
    names = ["mse", "calib", "var"][: len(norms)]
    size = range(len(norms))
    cosines: list[list[float | None]] = [
        [None if not norms[i] or not norms[j] else 1.0 if i == j else cosine for j in size]
        for i in size
    ]
    return Terms(number, names, list(weights), norms, cosines)


ROLES = {"mse": "primary", "calib": "auxiliary", "var": "auxiliary"}


def test_summary_counts_active_steps_only() -> None:
    steps = [step(n, [1, 2, 10], [1.0, 2.0, 30.0 if n == 1 else None]) for n in range(1, 11)]
    found = {term.name: term for term in summarise(steps)}
    assert found["var"].active == 1
    assert found["var"].rms == 30
    assert found["var"].share == pytest.approx(30 / 60)
    assert found["var"].energy == pytest.approx(900 / 950)
    assert found["calib"].rms == 2
    assert next(iter(found)) == "var"  # who makes the large steps comes first


def test_weights_follow_the_formula() -> None:
    """w' = w (pi_i / pi_1) (r_1 / r_i), pi_1 = 0.6, two auxiliaries with 0.2 each."""
    steps = [step(n, [1, 2, 10], [1.0, 4.0, 30.0]) for n in range(1, 41)]
    found = balance(steps, ROLES)
    assert found.dominated
    assert found.reference is not None
    assert found.reference.name == "mse"
    new = {advice.name: advice.new for advice in found.advice}
    assert new == {"calib": rounded(2 * (0.2 / 0.6) / 4), "var": rounded(10 * (0.2 / 0.6) / 30)}


def test_one_round_goes_down_a_hundredfold_at_most() -> None:
    steps = [step(n, [1, 2, 10], [1.0, 0.1, 900.0]) for n in range(1, 41)]
    (advice,) = balance(steps, ROLES).advice
    assert advice.factor == CAP
    assert advice.is_off
    assert advice.new == 0.1


def test_weights_stay_where_nothing_leads() -> None:
    steps = [step(n, [1, 2, 10], [1.0, 0.2, 0.3]) for n in range(1, 41)]
    found = balance(steps, ROLES)
    assert not found.dominated
    assert not found.advice
    assert {name for name, _ in found.left} == {"calib", "var"}


def rarely(norm: float, times: int, steps: int = 200, calib: float = 0.1) -> list[Terms]:
    """`var` acts at the first steps alone, so many times."""
    return [step(n, [1, 2, 10], [1.0, calib, norm if n <= times else None]) for n in range(steps)]


@pytest.mark.parametrize(("times", "steps"), [(0, 200), (1, 100), (8, 2000)])
def test_a_term_that_hardly_acts_and_makes_no_spike_is_left_alone(times: int, steps: int) -> None:
    """Once, or at less than one step in a hundred; 9 is no ten times the usual step."""
    found = balance(rarely(9.0, times - 1, steps), ROLES)
    assert not found.to_apply
    assert [term.name for term in found.rare] == ["var"]
    assert dict(found.left)["var"] == f"active at {times} of {steps} steps"


@pytest.mark.parametrize(("times", "steps"), [(1, 100), (3, 100), (8, 2000)])
def test_a_term_that_hardly_acts_and_makes_spikes_is_lowered(times: int, steps: int) -> None:
    found = balance(rarely(50.0, times - 1, steps), ROLES)
    assert not found.dominated or times == 3
    (advice,) = found.to_apply
    assert (advice.name, advice.few) == ("var", times)
    assert advice.wanted == pytest.approx((0.4 / 2) / 0.6 / 50)
    assert advice.low == pytest.approx(advice.high) == pytest.approx(advice.wanted)
    assert not found.rare


def test_a_spike_is_one_at_each_of_its_steps() -> None:
    steps = rarely(50.0, 1, 300)
    steps.append(step(300, [1, 2, 10], [1.0, 0.1, 5.0]))
    found = balance(steps, ROLES)
    assert not found.to_apply
    assert [term.name for term in found.rare] == ["var"]


def test_a_few_steps_give_a_range_and_not_an_interval() -> None:
    """At 3 of 100, each asking for much less, beside a term that leads."""
    steps = rarely(4.0, 1, calib=8.0, steps=98)
    steps.append(step(300, [1, 2, 10], [1.0, 8.0, 2.0]))
    (advice,) = [a for a in balance(steps, ROLES).to_apply if a.name == "var"]
    assert (advice.few, advice.spikes) == (3, False)
    assert (advice.low, advice.high) == pytest.approx((0.2 / 0.6 / 4, 0.2 / 0.6 / 2))


def test_five_steps_are_judged_as_any_other_term() -> None:
    """By resampling; and where they are spikes its weight comes down though it does not lead."""
    found = balance(rarely(12.0, 4), ROLES)
    assert not found.dominated
    (advice,) = found.to_apply
    assert (advice.name, advice.spikes, advice.few) == ("var", True, 0)
    found = balance(rarely(9.0, 4), ROLES)
    assert [advice.name for advice in found.advice] == ["var"]
    assert not found.to_apply


def test_too_few_steps_say_how_many_more() -> None:
    found = balance([step(n, [1, 2, 10], [1.0, 4.0, 30.0]) for n in range(1, 11)], ROLES)
    assert found.missing == 20
    assert not found.advice


def test_a_weight_on_a_schedule_is_not_set() -> None:
    steps = [step(n, [1, 2 + n, 10], [1.0, 40.0, 0.1]) for n in range(1, 41)]
    found = balance(steps, ROLES)
    assert not found.advice
    assert "changes during training" in dict(found.left)["calib"]


def test_all_terms_primary_is_no_imbalance() -> None:
    steps = [step(n, [1, 2, 10], [1.0, 4.0, 30.0]) for n in range(1, 41)]
    found = balance(steps, dict.fromkeys(ROLES, "primary"))
    assert not found.advice
    assert found.why_not


def test_norm_with_other_weights_is_that_of_the_sum() -> None:
    one = step(1, [1, 1, 1], [3.0, 4.0, None], cosine=0.0)
    assert norm_with(one, {}) == pytest.approx(5)
    assert norm_with(one, {"calib": 0.5}) == pytest.approx(sqrt(9 + 4))
    against = step(2, [1, 1, 1], [3.0, 4.0, None], cosine=-1.0)
    assert norm_with(against, {}) == pytest.approx(1)
    assert norms_with([one, against], {"calib": 0.0}) == pytest.approx([3, 3])
    assert without_each([one, against])["mse"] == pytest.approx((4, 4))
