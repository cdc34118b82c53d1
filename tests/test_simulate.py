"""The learning-rate curve of a simulation: against numbers made by hand, and against torch."""

from __future__ import annotations

from math import cos, pi, sqrt

import pytest
from support import audit_text

torch = pytest.importorskip("torch")

from hypothesis import assume, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from gradaudit.options import Options  # noqa: E402
from gradaudit.plan.model import TrainingUnit  # noqa: E402
from gradaudit.plan.schedule import rate_at  # noqa: E402
from gradaudit.probe import curve  # noqa: E402
from gradaudit.probe.simulate import simulate  # noqa: E402
from gradaudit.probe.simulated import Curve, Simulation  # noqa: E402

HF = """\
output_dir: out
per_device_train_batch_size: 4
gradient_accumulation_steps: 2
learning_rate: 0.001
max_steps: {steps}
warmup_steps: {warmup}
lr_scheduler_type: {name}
"""


def unit(text: str, **assumed: str) -> TrainingUnit:
    options = Options()
    options.assume.update(assumed)
    result = audit_text(text, options)
    assert len(result.units) == 1
    return result.units[0]


def run(text: str, **assumed: str) -> Simulation:
    return simulate(unit(text, **assumed))


@pytest.fixture(autouse=True)
def every_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep all points: exactness is of every step."""
    monkeypatch.setattr(curve, "MOST_POINTS", 10_000)


def curve_of(simulation: Simulation) -> Curve:
    found = simulation.schedule.curve
    assert found is not None, simulation.missing
    return found


def rates(simulation: Simulation) -> list[float]:
    found = curve_of(simulation)
    assert [x for x, _ in found.points] == [float(step) for step in range(1, len(found.points) + 1)]
    return [rate for _, rate in found.points]


def hf(name: str, t: int, warmup: int, steps: int) -> float:
    """transformers/optimization.py, written down once more."""
    if name == "constant":
        return 1.0
    if t < warmup:
        return t / max(1, warmup)
    done = (t - warmup) / max(1, steps - warmup)
    return {
        "linear": max(0.0, (steps - t) / max(1, steps - warmup)),
        "cosine": max(0.0, 0.5 * (1 + cos(pi * 0.5 * 2.0 * done))),
        "cosine_with_restarts": 0.0 if done >= 1 else 0.5 * (1 + cos(pi * (done % 1.0))),
        "polynomial": ((1e-3 - 1e-7) * (1 - done) + 1e-7) / 1e-3,
        "constant_with_warmup": 1.0,
        "inverse_sqrt": 1 / sqrt((t + (warmup or 10_000) - warmup) / (warmup or 10_000)),
    }[name]


NAMES = (
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup",
    "inverse_sqrt",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("steps", "warmup"), [(50, 0), (50, 7), (200, 50)])
def test_the_schedules_of_transformers_are_those_of_its_source(
    name: str, steps: int, warmup: int
) -> None:
    found = run(HF.format(steps=steps, warmup=warmup, name=name))
    assert (found.schedule.basis, found.schedule.built) == ("framework", "LambdaLR")
    expected = [1e-3 * hf(name, t, warmup, steps) for t in range(steps)]
    assert rates(found) == pytest.approx(expected, rel=1e-12, abs=1e-18)


GENERIC = """\
optimizer: adamw
learning_rate: 0.01
total_steps: {steps}
warmup_steps: {warmup}
warmup_start_factor: {start}
scheduler: {{name: {name}, interval: step{more}}}
"""


def generic(
    name: str, steps: int = 100, warmup: int = 0, start: float = 0.0, more: str = ""
) -> str:
    return GENERIC.format(steps=steps, warmup=warmup, start=start, name=name, more=more)


def of_torch(made: object, steps: int) -> list[float]:
    """The rates of a scheduler that is called after each step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
    scheduler = made(optimizer)  # type: ignore[operator]
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_a_half_cosine_of_torch_by_hand() -> None:
    found = run(generic("CosineAnnealingLR", more=", T_max: 100, eta_min: 0.001"))
    assert (found.schedule.basis, found.schedule.built) == ("torch", "CosineAnnealingLR")
    hand = [0.001 + 0.009 * (1 + cos(pi * t / 100)) / 2 for t in range(100)]
    assert rates(found) == pytest.approx(hand, rel=1e-9)


def test_a_cosine_shorter_than_the_training_climbs_back_as_torch_lets_it() -> None:
    found = rates(run(generic("CosineAnnealingLR", more=", T_max: 50")))
    assert min(found) == pytest.approx(0, abs=1e-12)
    assert found[50:] == sorted(found[50:])
    assert found[-1] == pytest.approx(0.01 * (1 + cos(pi * 99 / 50)) / 2, rel=1e-6)


def test_torchs_own_schedulers_by_hand() -> None:
    stepped = rates(run(generic("StepLR", more=", step_size: 30, gamma: 0.5")))
    assert stepped == pytest.approx([0.01 * 0.5 ** (t // 30) for t in range(100)], rel=1e-12)
    milestones = rates(run(generic("MultiStepLR", more=", milestones: [20, 60], gamma: 0.2")))
    hand = [0.01 * 0.2 ** ((t >= 20) + (t >= 60)) for t in range(100)]
    assert milestones == pytest.approx(hand, rel=1e-12)
    shrunk = rates(run(generic("ExponentialLR", more=", gamma: 0.98")))
    assert shrunk == pytest.approx([0.01 * 0.98**t for t in range(100)], rel=1e-9)
    power = rates(run(generic("PolynomialLR", more=", power: 2.0, total_iters: 100")))
    assert power == pytest.approx([0.01 * (1 - t / 100) ** 2 for t in range(100)], abs=1e-12)


def test_a_one_cycle_schedule_is_torchs() -> None:
    from torch.optim.lr_scheduler import OneCycleLR

    found = run(generic("OneCycleLR", more=", pct_start: 0.2, div_factor: 10.0"))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
    real = OneCycleLR(
        optimizer, 0.01, total_steps=100, pct_start=0.2, div_factor=10.0, cycle_momentum=False
    )
    expected = []
    for step in range(100):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < 99:
            real.step()
    assert rates(found) == pytest.approx(expected, rel=1e-12)
    assert curve_of(found).peak_at == 20  # step 0.2 x 100 - 1 of torch's, counted from 1
    assert curve_of(found).start == pytest.approx(0.001)


@given(
    steps=st.integers(10, 300), share=st.floats(0.02, 0.8), start=st.sampled_from([0.0, 0.01, 0.5])
)
@settings(max_examples=25, deadline=None)
def test_the_warm_up_is_that_of_the_plan(steps: int, share: float, start: float) -> None:
    """`plan/schedule.py`, by which rules judge, has the same rate at every step of a warm-up."""
    warmup = max(1, round(share * steps))
    for name in ("cosine", "CosineAnnealingLR", "linear", "constant"):
        text = generic(name, steps, warmup, start)
        found = rates(run(text))
        for step in range(1, warmup + 1):
            at = rate_at(unit(text), step=step)
            assert at is not None
            assert at.inside_warmup
            assert found[step - 1] == pytest.approx(at.low, rel=1e-9, abs=1e-18)
        assert found[warmup] == pytest.approx(0.01) if warmup < steps else True


def test_a_linear_warm_up_of_the_plan_is_torchs_linear_lr() -> None:
    from torch.optim.lr_scheduler import LinearLR

    real = of_torch(lambda o: LinearLR(o, start_factor=0.1, total_iters=20), 40)
    text = generic("constant", 40, 20, 0.1)
    planned = [rate_at(unit(text), step=step) for step in range(1, 41)]
    assert [at.low for at in planned if at] == pytest.approx(real, rel=1e-9)
    assert rates(run(text)) == pytest.approx(real, rel=1e-9)


def test_drops_keep_their_place_beside_a_warm_up() -> None:
    text = generic("MultiStepLR", 100, 10, 0.1, ", milestones: [50], gamma: 0.1")
    found = rates(run(text))
    assert found[9] < found[10] == pytest.approx(0.01)
    assert found[49] == pytest.approx(0.01)
    assert found[50] == pytest.approx(0.001)


@given(name=st.sampled_from(NAMES), steps=st.integers(2, 400), warmup=st.integers(0, 300))
@settings(max_examples=40, deadline=None)
def test_no_rate_is_above_the_peak_or_below_zero(name: str, steps: int, warmup: int) -> None:
    assume(warmup < steps)
    found = run(HF.format(steps=steps, warmup=warmup, name=name))
    drawn = curve_of(found)
    every = rates(found)
    assert len(every) == steps == drawn.steps
    assert 0 <= min(every) <= max(every) <= 1e-3 * (1 + 1e-12)
    assert drawn.area == pytest.approx(sum(every), rel=1e-9, abs=1e-15)
    assert (drawn.start, drawn.end, drawn.peak) == (every[0], every[-1], max(every))
    assert every[int(drawn.peak_at) - 1] == pytest.approx(drawn.peak)
    assert drawn.peak_share == (drawn.peak_at - 1) / steps
    assert drawn.zeros == every.count(0.0)


def test_points_are_thinned_and_numbers_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve, "MOST_POINTS", 240)
    found = curve_of(run(HF.format(steps=5000, warmup=333, name="cosine")))
    assert len(found.points) <= 240
    xs = [x for x, _ in found.points]
    assert {1.0, 334.0, 5000.0} <= set(xs)
    assert xs == sorted(set(xs))
    hand = sum(1e-3 * hf("cosine", t, 333, 5000) for t in range(5000))
    assert found.area == pytest.approx(hand, rel=1e-12)


@pytest.mark.parametrize("warmup", [1, 10, 40])
def test_a_cosine_of_torch_follows_its_warm_up(warmup: int) -> None:
    text = generic("CosineAnnealingLR", 100, warmup, 0.1, f", T_max: {100 - warmup}, eta_min: 1e-4")
    hand = [0.01 * (0.1 + 0.9 * t / warmup) for t in range(warmup)]
    hand += [
        1e-4 + (0.01 - 1e-4) * (1 + cos(pi * t / (100 - warmup))) / 2 for t in range(100 - warmup)
    ]
    assert rates(run(text)) == pytest.approx(hand, rel=1e-8)


def test_warm_restarts_and_triangles_are_torchs() -> None:
    restarts = rates(run(generic("CosineAnnealingWarmRestarts", more=", T_0: 20, T_mult: 2")))
    at = [(t, 20) if t < 20 else (t - 20, 40) if t < 60 else (t - 60, 80) for t in range(100)]
    hand = [0.01 * (1 + cos(pi * into / period)) / 2 for into, period in at]
    assert restarts == pytest.approx(hand, rel=1e-9, abs=1e-15)
    more = ", base_lr: 0.001, max_lr: 0.01, step_size_up: 25, mode: triangular"
    triangle = rates(run(generic("CyclicLR", more=more)))
    hand = [0.001 + 0.009 * (1 - abs((t % 50) - 25) / 25) for t in range(100)]
    assert triangle == pytest.approx(hand, rel=1e-9)
