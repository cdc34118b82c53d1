"""Arguments of a schedule that change its curve: each is used, or there is no curve."""

from __future__ import annotations

import math
from collections.abc import Callable
from math import cos, pi, sqrt
from typing import Any

import pytest
from support import audit_text

torch = pytest.importorskip("torch")

from torch.optim import lr_scheduler  # noqa: E402

from gradaudit.options import Options  # noqa: E402
from gradaudit.probe.simulate import simulate  # noqa: E402
from gradaudit.probe.simulated import Simulation  # noqa: E402
from gradaudit.settings import Settings  # noqa: E402

STEPS = 200


def run(text: str, dialect: str = "") -> Simulation:
    settings = Settings()
    if dialect:
        settings.dialects["*"] = dialect
    result = audit_text(text, Options(), settings)
    assert result.composed is not None
    assert not dialect or result.composed.dialect["name"] == dialect
    return simulate(result.units[0])


def rates(found: Simulation) -> list[float]:
    assert found.schedule.curve is not None, (found.schedule.refused, found.missing)
    assert found.schedule.curve.steps == STEPS  # few enough that every step is a point
    return [rate for _, rate in found.schedule.curve.points]


def lacking(found: Simulation) -> str:
    assert found.schedule.curve is None
    return next(one.why for one in found.missing if one.what == "learning-rate curve")


def half_wave(done: float, cycles: float = 0.5) -> float:
    return (1 + cos(2 * pi * cycles * done)) / 2


HF = """\
output_dir: out
per_device_train_batch_size: 4
learning_rate: 0.001
max_steps: 200
warmup_steps: 10
lr_scheduler_type: {name}
lr_scheduler_kwargs: {{{more}}}
"""


def stable(
    rise: Callable[[float], float], fall: Callable[[float], float], low: float = 0.0
) -> Callable[[int], float]:
    def factor(t: int) -> float:
        if t < 10:
            return low + (1 - low) * rise(t / 10)
        return 1.0 if t < 150 else low + (1 - low) * fall((t - 150) / 50)

    return factor


@pytest.mark.parametrize(
    ("name", "more", "after"),
    [
        ("cosine", "num_cycles: 1.5", lambda done: half_wave(done, 1.5)),
        ("cosine_with_restarts", "num_cycles: 3", lambda done: half_wave((3 * done) % 1.0)),
        ("polynomial", "lr_end: 1.0e-5, power: 2.0", lambda done: 0.01 + 0.99 * (1 - done) ** 2),
        ("inverse_sqrt", "timescale: 50", lambda done: 1 / sqrt((190 * done + 50) / 50)),
    ],
)
def test_the_arguments_of_transformers_schedules_are_used(
    name: str, more: str, after: Callable[[float], float]
) -> None:
    expected = [1e-3 * t / 10 if t < 10 else 1e-3 * after((t - 10) / 190) for t in range(STEPS)]
    assert rates(run(HF.format(name=name, more=more))) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("more", "factor"),
    [
        ("", stable(lambda x: x, half_wave)),
        ("warmup_type: cosine", stable(lambda x: (1 - cos(pi * x)) / 2, half_wave)),
        ("warmup_type: 1-sqrt", stable(lambda x: 1 - sqrt(1 - x), half_wave)),
        ("num_cycles: 1.0", stable(lambda x: x, lambda x: half_wave(x, 1.0))),
        ("decay_type: 1-sqrt, min_lr_ratio: 0.1",
         stable(lambda x: x, lambda x: 1 - sqrt(x), 0.1)),
    ],
)  # fmt: skip
def test_warm_up_stable_decay_is_that_of_transformers(
    more: str, factor: Callable[[int], float]
) -> None:
    more = f"num_decay_steps: 50, {more}"
    found = rates(run(HF.format(name="warmup_stable_decay", more=more)))
    assert found == pytest.approx([1e-3 * factor(t) for t in range(STEPS)], rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("begin", [None, 0.2])
def test_a_cosine_of_transformers_that_begins_above_zero(begin: float | None) -> None:
    more = "min_lr_rate: 0.1" + (f", warmup_lr_rate: {begin}" if begin else "")
    found = run(HF.format(name="cosine_warmup_with_min_lr", more=more))
    expected = []
    for t in range(STEPS):
        if t < 10:
            factor = (t + 1) / 10 if begin is None else begin + (1 - begin) * t / 9
        else:
            factor = 0.1 + 0.9 * half_wave((t - 10 + 1) / 190)
        expected.append(1e-3 * factor)
    assert found.schedule.basis == "framework"
    assert rates(found) == pytest.approx(expected, rel=1e-9)


def test_kohya_has_its_own_names_for_cycles_and_power() -> None:
    text = "max_train_steps: 200\nlearning_rate: 0.001\nnetwork_module: networks.lora\n"
    cycles = "lr_scheduler: cosine_with_restarts\nlr_scheduler_num_cycles: 4\n"
    expected = [1e-3 * half_wave((4 * t / STEPS) % 1.0) for t in range(STEPS)]
    assert rates(run(text + cycles, "kohya")) == pytest.approx(expected, rel=1e-9, abs=1e-15)
    power = "lr_scheduler: polynomial\nlr_scheduler_power: 3\n"
    expected = [1e-7 + (1e-3 - 1e-7) * (1 - t / STEPS) ** 3 for t in range(STEPS)]
    assert rates(run(text + power, "kohya")) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("key", ["lr_quadratic_warmup: true", "cosine_constant_lr_ratio: 0.8"])
def test_another_cosine_of_axolotl_is_not_drawn_as_the_usual_one(key: str) -> None:
    text = "base_model: a/b\nmicro_batch_size: 2\nlr_scheduler: cosine\nlearning_rate: 1.0e-3\n"
    text += "max_steps: 200\nwarmup_steps: 10\n"
    assert rates(run(text, "axolotl"))[10] == pytest.approx(1e-3)
    assert f"`{key.split(':')[0]}`" in lacking(run(f"{text}{key}\n", "axolotl"))


@pytest.mark.parametrize("kind", ["log", "linear"])
def test_deepspeeds_cosine(kind: str) -> None:
    text = (
        "train_micro_batch_size_per_gpu: 4\nzero_optimization: {stage: 2}\n"
        "optimizer: {type: AdamW, params: {lr: 0.001}}\nscheduler: {type: WarmupCosineLR, params: "
        "{warmup_min_ratio: 0.1, cos_min_ratio: 0.05, warmup_num_steps: 20, "
        f"warmup_type: {kind}, total_num_steps: 200}}}}\n"
    )

    def get_lr_ratio(last_batch_iteration: int) -> float:
        if last_batch_iteration < 0:
            return 0.0
        if last_batch_iteration < 20:
            ratio = last_batch_iteration / 20
            if kind == "log":
                ratio = 1.0 / math.log(20) * math.log(last_batch_iteration + 1)
            return 0.1 + ratio * 0.9
        progress = min(1.0, (last_batch_iteration - 20 + 1) / 180)
        return max(0.0, 0.05 + 0.95 * (1 + cos(pi * progress)) / 2)

    expected = [1e-3 * get_lr_ratio(t - 1) for t in range(STEPS)]
    found = run(text, "deepspeed")
    assert found.schedule.basis == "framework"
    assert rates(found) == pytest.approx(expected, rel=1e-9)


def of_torch(made: Callable[[Any], Any]) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.001)
    scheduler = made(optimizer)
    found = [optimizer.param_groups[0]["lr"]]
    for _ in range(STEPS - 1):
        optimizer.step()
        scheduler.step()
        found.append(optimizer.param_groups[0]["lr"])
    return found


TORCH = "optimizer: {{type: adamw, lr: 0.001}}\nscheduler: {{type: {more}}}\ntotal_steps: 200\n"


def test_a_one_cycle_schedule_rises_to_the_rate_that_it_is_given() -> None:
    more = "OneCycleLR, max_lr: 0.005, pct_start: 0.2, anneal_strategy: linear, three_phase: true"
    found = run(TORCH.format(more=more))
    expected = of_torch(
        lambda optimizer: lr_scheduler.OneCycleLR(
            optimizer, 0.005, total_steps=STEPS, pct_start=0.2, anneal_strategy="linear",
            three_phase=True, cycle_momentum=False,
        )
    )  # fmt: skip
    assert rates(found) == pytest.approx(expected, rel=1e-9)
    assert max(expected) == pytest.approx(0.005)
    steady = next(bound for bound in found.bounds if "stays the same" in bound.what)
    assert steady.value == pytest.approx(0.005)  # the highest rate of the schedule


def test_a_cyclic_schedule_falls_and_shrinks_as_it_is_told() -> None:
    more = "CyclicLR, base_lr: 0.001, max_lr: 0.1, step_size_up: 20, step_size_down: 5, "
    found = run(TORCH.format(more=f"{more}mode: exp_range, gamma: 0.99"))
    expected = of_torch(
        lambda optimizer: lr_scheduler.CyclicLR(
            optimizer, 0.001, 0.1, step_size_up=20, step_size_down=5, mode="exp_range",
            gamma=0.99, cycle_momentum=False,
        )
    )  # fmt: skip
    assert rates(found) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("key", ["lr_decay_iters: 200", "min_lr: 1.0e-4"])
def test_a_decay_whose_schedule_has_no_name_is_no_level_rate(key: str) -> None:
    text = "optimizer: adamw\nlearning_rate: 0.001\nmax_iters: 200\nwarmup_iters: 20\n"
    assert rates(run(text))[-1] == 0.001
    why = lacking(run(f"{text}{key}\n"))
    assert why == (f"the config names no scheduler, but `{key.split(':')[0]}` belongs to one")
    named = run(f"{text}{key}\nscheduler: cosine\n")
    assert rates(named)[-1] < 0.0002


def test_a_clip_by_value_is_no_factor_on_every_gradient() -> None:
    text = "optimizer: adamw\nlearning_rate: 0.001\nbetas: [0.9, 0.99]\n"
    by_value = " ".join(one.what for one in run(f"{text}clip_grad_value: 0.5\n").bounds)
    assert "cut to between -0.5 and 0.5" in by_value
    assert "cutting elements does not bound the step" in by_value
    assert "a factor on every gradient" not in by_value
    by_norm = " ".join(one.what for one in run(f"{text}gradient_clip_norm: 0.5\n").bounds)
    assert "a factor on every gradient cancels" in by_norm
    assert "moves it by 1 learning rate:" in by_norm


@pytest.mark.parametrize(("samples", "steps"), [(101, 23), (108, 23), (96, 20)])
def test_the_trainer_of_transformers_ends_a_begun_step(samples: int, steps: int) -> None:
    text = "output_dir: o\nper_device_train_batch_size: 4\ngradient_accumulation_steps: 3\n"
    text += "learning_rate: 0.001\nlr_scheduler_type: linear\nnum_train_epochs: 2.5\n"
    options = Options()
    options.assume.update(dataset_size=str(samples), world_size="1")
    assert simulate(audit_text(text, options).units[0]).batch.steps == steps


@pytest.mark.parametrize(
    ("optimizer", "further"),
    [
        ("AdamW, amsgrad: true", {"max_exp_avg_sq": 4}),
        ("AdamW, amsgrad: false", {}),
        ("RMSprop, centered: true", {"grad_avg": 4}),
    ],
)
def test_switches_of_an_optimiser_have_their_state(optimizer: str, further: dict[str, int]) -> None:
    found = run(f"optimizer: {{type: {optimizer}, lr: 0.001}}\ntotal_steps: 200\n").optimizer
    assert found.memory is not None
    usual = {"exp_avg": 4, "exp_avg_sq": 4} if "Adam" in optimizer else {"square_avg": 4}
    assert found.memory.state == usual | further


def test_a_cosine_by_convention_ends_at_its_share_of_the_peak() -> None:
    text = TORCH.format(more="cosine, min_lr_ratio: 0.1")
    expected = [1e-3 * (0.1 + 0.9 * half_wave(t / STEPS)) for t in range(STEPS)]
    assert rates(run(text)) == pytest.approx(expected, rel=1e-9)


def test_a_warm_up_by_convention_begins_at_its_written_rate() -> None:
    text = "opt: adamw\nlr: 0.001\nsched: cosine\nwarmup_steps: 20\ntotal_steps: 200\n"
    found = run(f"{text}warmup_lr: 1.0e-5\n")
    rising = [1e-5 + (1e-3 - 1e-5) * t / 20 for t in range(20)]
    assert rates(found)[:20] == pytest.approx(rising, rel=1e-9)
    assert any("begin at a rate of 1e-05" in note for note in found.schedule.notes)
    assert rates(run(text))[0] == 0.0
