"""The dry run's rate in each step is the simulation's, and that of the real schedulers."""

from __future__ import annotations

from typing import Any

import pytest
from support import audit_text
from test_simulate import HF, NAMES, generic

torch = pytest.importorskip("torch")

from gradaudit.evidence.series import Series, Warmup, find_warmup  # noqa: E402
from gradaudit.options import Options  # noqa: E402
from gradaudit.plan.model import TrainingUnit  # noqa: E402
from gradaudit.probe import curve  # noqa: E402
from gradaudit.probe.curve import Rates, rates_of  # noqa: E402
from gradaudit.probe.recipe import recipe_of  # noqa: E402
from gradaudit.probe.simulate import simulate  # noqa: E402
from gradaudit.settings import Settings  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.slow]


@pytest.fixture(autouse=True)
def every_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve, "MOST_POINTS", 10_000)


def unit(text: str, dialect: str = "", **assumed: str) -> TrainingUnit:
    options, settings = Options(), Settings()
    options.assume.update(assumed)
    if dialect:
        settings.dialects["*"] = dialect
    (found,) = audit_text(text, options, settings).units
    return found


def dry(found: TrainingUnit, steps: int, **more: Any) -> Rates:
    """The rates of a dry run of so many steps."""
    recipe = recipe_of(found, **more)
    assert recipe.planned is not None, recipe.notes
    return rates_of(recipe.planned, recipe.clock, [recipe.planned.terms.peak], steps)


def simulated(found: TrainingUnit) -> list[float]:
    """The simulation's rate in every step: that of a point holds until the next."""
    drawn = simulate(found).schedule.curve
    assert drawn is not None
    assert drawn.steps is not None
    starts = [round(x) for x, _ in drawn.points] + [drawn.steps + 1]
    return [
        rate
        for (_, rate), start, end in zip(drawn.points, starts[:-1], starts[1:], strict=True)
        for _ in range(end - start)
    ]


TORCH = {
    "constant": "", "cosine": "", "linear": "", "poly": ", power: 0.9", "CosineAnnealingLR": "",
    "StepLR": ", step_size: 30, gamma: 0.5", "MultiStepLR": ", milestones: [20, 60], gamma: 0.2",
    "ExponentialLR": ", gamma: 0.98", "PolynomialLR": ", power: 2.0, total_iters: 100",
    "OneCycleLR": ", pct_start: 0.2, div_factor: 10.0",
    "CosineAnnealingWarmRestarts": ", T_0: 20, T_mult: 2",
    "CyclicLR": ", base_lr: 0.001, max_lr: 0.01, step_size_up: 25, mode: triangular",
}  # fmt: skip


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize(("warmup", "start"), [(0, 0.0), (10, 0.0), (10, 0.1)])
def test_schedules_of_torch_and_by_convention(name: str, warmup: int, start: float) -> None:
    found = unit(generic(name, 100, warmup, start, TORCH[name]))
    assert [dry(found, 100).at(step)[0] for step in range(1, 101)] == simulated(found)
    short = dry(found, 30)
    assert list(short.every[0]) == simulated(found)[:30]
    if name == "OneCycleLR":
        assert short.warmup == 19
    elif name != "CyclicLR":
        assert short.warmup == warmup


def recorded(rates: Rates) -> Warmup:
    """What `check --record` makes of the same rates."""
    count = len(rates.every[0])
    return find_warmup(
        Series(
            steps=list(range(1, count + 1)),
            learning_rates=[list(one) for one in rates.every],
            initial_rates=list(rates.peaks),
        )
    )


@pytest.mark.parametrize("steps", [100, 200])
@pytest.mark.parametrize(("share", "expected"), [(0.3, 59), (0.1, 19), (0.295, 58), (0.25, 49)])
def test_one_cycle_peaks_where_torch_says(share: float, expected: int, steps: int) -> None:
    """`float(pct_start * total_steps) - 1` calls of it come before: OneCycleLR's first phase."""
    assert expected == int(share * 200) - 1
    rates = dry(unit(generic("OneCycleLR", 200, 0, 0.0, f", pct_start: {share}")), steps)
    assert rates.warmup == expected
    assert recorded(rates).after == expected
    assert max(rates.every[0]) == rates.at(expected + 1)[0]


@pytest.mark.parametrize("name", [*TORCH, *NAMES])
@pytest.mark.parametrize("warmup", [0, 7, 40])
def test_dry_run_and_check_agree_on_the_warmup(name: str, warmup: int) -> None:
    if name in TORCH:
        found = unit(generic(name, 100, warmup, 0.1, TORCH[name]))
    else:
        found = unit(HF.format(steps=100, warmup=warmup, name=name))
    rates = dry(found, 100)
    after = recorded(rates)
    assert (after.after, after.over) == (rates.warmup, True)


def test_a_constant_rate_has_no_warmup_whatever_is_asked_for() -> None:
    """transformers' `constant` passes `warmup_steps` over."""
    found = unit(HF.format(steps=100, warmup=40, name="constant"))
    assert [dry(found, steps).warmup for steps in (20, 100)] == [0, 0]


def test_a_warmup_longer_than_the_run_is_that_of_the_config() -> None:
    assert dry(unit(generic("cosine", 100, 40, 0.0)), 20).warmup == 40


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("warmup", [0, 7])
def test_schedules_of_transformers(name: str, warmup: int) -> None:
    found = unit(HF.format(steps=50, warmup=warmup, name=name))
    rates = dry(found, 50)
    assert list(rates.every[0]) == simulated(found)
    if warmup and name != "constant":
        assert rates.at(1) == [0.0]  # transformers begins at 0: its first step trains nothing
        assert rates.warmup == warmup


DIALECTS = {
    "deepspeed": (
        '{"train_batch_size": 8, "optimizer": {"type": "AdamW", "params": {"lr": 1e-3}},'
        '"scheduler": {"type": "WarmupDecayLR", "params": {"total_num_steps": 80, '
        '"warmup_num_steps": 10, "warmup_max_lr": 1e-3}}}'
    ),
    "gpt-neox": (
        '"train_micro_batch_size_per_gpu": 4\n'
        '"optimizer": {"type": "Adam", "params": {"lr": 0.001}}\n"min_lr": 0.00001\n'
        '"train_iters": 80\n"lr_decay_iters": 80\n"lr_decay_style": "cosine"\n"warmup": 0.1\n'
    ),
    "wenet": (
        "optim: adam\noptim_conf: {lr: 0.002}\nscheduler: warmuplr\n"
        "scheduler_conf: {warmup_steps: 40}\nmax_epoch: 3\naccum_grad: 1\ngrad_clip: 5\n"
    ),
}  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS)
def test_schedules_of_frameworks(dialect: str) -> None:
    assumed = {"wenet": {"steps_per_epoch": "30"}, "deepspeed": {"total_steps": "80"}}
    found = unit(DIALECTS[dialect], dialect, **assumed.get(dialect, {}))
    expected = simulated(found)
    assert len(set(expected)) > 5
    assert list(dry(found, 1000).every[0]) == expected


def test_a_schedule_by_epochs_holds_its_rate_for_the_steps_of_one() -> None:
    text = (
        "optimizer: sgd\nlearning_rate: 0.1\nepochs: 6\nwarmup_epochs: 2\n"
        "scheduler: {name: CosineAnnealingLR, interval: epoch}\n"
    )
    found = unit(text, steps_per_epoch="7")
    expected = simulated(found)
    rates = dry(found, 60)
    assert list(rates.every[0]) == expected
    assert len(expected) == 42
    assert rates.warmup == 14
    assert rates.at(60) == [expected[-1]]  # beyond the end it stays


@pytest.mark.parametrize("steps", [1, 13, 100])
def test_the_real_schedulers_of_torch(steps: int) -> None:
    from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
    rise = LinearLR(optimizer, start_factor=0.1, total_iters=10)
    fall = CosineAnnealingLR(optimizer, T_max=90, eta_min=1e-4)
    real = SequentialLR(optimizer, [rise, fall], milestones=[10])
    expected = []
    for _ in range(steps):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        real.step()
    text = generic("CosineAnnealingLR", 100, 10, 0.1, ", T_max: 90, eta_min: 1e-4")
    assert list(dry(unit(text), steps).every[0]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_the_real_schedulers_of_transformers(name: str) -> None:
    """`get_scheduler`, as the Trainer calls it."""
    optimization = pytest.importorskip("transformers.optimization")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    real = optimization.get_scheduler(name, optimizer, num_warmup_steps=7, num_training_steps=50)
    expected = []
    for _ in range(50):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        real.step()
    found = unit(HF.format(steps=50, warmup=7, name=name))
    assert list(dry(found, 50).every[0]) == pytest.approx(expected, rel=1e-12, abs=1e-18)


def test_the_peak_is_that_of_the_scripts_own_optimiser_in_each_group() -> None:
    text = generic("CosineAnnealingLR", 100, 0, 0.0)
    recipe = recipe_of(unit(text), peak=0.5)
    assert recipe.planned is not None
    rates = rates_of(recipe.planned, recipe.clock, [0.5, 0.05], 100)
    assert rates.at(1) == [0.5, 0.05]
    assert rates.at(51) == pytest.approx([0.25, 0.025])


def test_a_long_training_is_stepped_only_as_far_as_it_is_run() -> None:
    """Of two billion steps, where a simulation gives up."""
    found = unit(generic("cosine", 2_000_000_000, 2_000))
    rates = dry(found, 20)
    assert len(rates.every[0]) == 20
    assert rates.warmup == 2_000
