"""What a simulation says beside the curve: optimiser, memory, bounds, batches, scaler, screens."""

from __future__ import annotations

import json
import subprocess
import sys
from math import exp, log1p, sqrt
from pathlib import Path

import pytest
from support import SAMPLE, audit_text

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from gradaudit.options import Options  # noqa: E402
from gradaudit.probe import bounds  # noqa: E402
from gradaudit.probe.construct import CLASSES  # noqa: E402
from gradaudit.probe.lengths import batch_of  # noqa: E402
from gradaudit.probe.scaler import try_scale  # noqa: E402
from gradaudit.probe.simulate import NoUnit, run_simulation, simulate  # noqa: E402
from gradaudit.probe.simulated import Simulation  # noqa: E402
from gradaudit.render.layout import plain  # noqa: E402
from gradaudit.render.plot import plot  # noqa: E402
from gradaudit.render.simulate import SAID, as_json, simulation_lines  # noqa: E402
from gradaudit.settings import Finder  # noqa: E402


def run(text: str, **assumed: str) -> Simulation:
    options = Options()
    options.assume.update(assumed)
    result = audit_text(text, options)
    assert len(result.units) == 1
    return simulate(result.units[0])


def screen(simulation: Simulation, width: int) -> str:
    return "\n".join(plain(line) for line in simulation_lines([simulation], width))


def test_what_a_constructor_refuses_is_said_in_its_words() -> None:
    found = run("optimizer: adamw\nlearning_rate: 1.0e-3\nbetas: [0.9, 1.5]\n").optimizer
    assert (found.built, found.refused) == (
        "torch.optim.AdamW", "Invalid beta parameter at index 1: 1.5",
    )  # fmt: skip
    nesterov = run("optimizer: sgd\nlearning_rate: 0.1\nnesterov: true\n").optimizer
    assert "Nesterov momentum requires a momentum" in nesterov.refused
    assert run("optimizer: adam\nlearning_rate: 1.0e-3\n").optimizer.refused == ""


@pytest.mark.parametrize("family", sorted(CLASSES))
def test_every_family_of_torch_is_constructed(family: str) -> None:
    found = run(f"optimizer: {family}\nlearning_rate: 1.0e-3\n").optimizer
    assert found.reason == ""
    assert found.refused == ""
    assert found.built == f"torch.optim.{CLASSES[family]}"
    assert next((fact.name, fact.value) for fact in found.takes) == ("lr", 1e-3)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("lion", "'lion' is not in torch"), ("lamb", "'lamb' is not in torch"),
        ("lars", "'lars' is not in torch"), ("prodigy", "finds its own learning rate"),
        ("adamw_8bit", "bitsandbytes"), ("paged_adamw_32bit", ""),
    ],
)  # fmt: skip
def test_what_torch_does_not_have_is_said_not_to_be_constructed(written: str, says: str) -> None:
    found = run(f"optimizer: {written}\nlearning_rate: 1.0e-3\n").optimizer
    assert says in found.reason
    assert (found.built == "") is bool(says)
    assert found.memory is None or not says


def test_the_adafactor_of_transformers_is_not_that_of_torch() -> None:
    text = "output_dir: out\nper_device_train_batch_size: 4\nlearning_rate: 1.0e-3\n"
    found = run(f"{text}optim: adafactor\nlr_scheduler_type: constant\n").optimizer
    assert "the Adafactor of transformers" in found.reason


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("optimizer: adamw", {"exp_avg": 4, "exp_avg_sq": 4}),
        ("optimizer: amsgrad", {"exp_avg": 4, "exp_avg_sq": 4, "max_exp_avg_sq": 4}),
        ("optimizer: sgd", {}),
        ("optimizer: sgd\nmomentum: 0.9", {"momentum_buffer": 4}),
        ("optimizer: adamw\nprecision: bf16-true", {"exp_avg": 2, "exp_avg_sq": 2}),
        ("optimizer: adamw\nprecision: bf16-mixed", {"exp_avg": 4, "exp_avg_sq": 4}),
    ],
)  # fmt: skip
def test_memory_is_counted_on_the_state_after_a_step(text: str, state: dict[str, int]) -> None:
    memory = run(f"{text}\nlearning_rate: 1.0e-3\n").optimizer.memory
    assert memory is not None
    assert memory.state == state
    assert memory.weight == memory.gradient == (2 if "true" in text else 4)


def test_groups_that_the_config_names_are_groups() -> None:
    found = run(
        "optimizer: adamw\nlearning_rate: 1.0e-3\nweight_decay: 0.1\ntotal_steps: 100\n"
        "backbone_lr: 1.0e-4\nscheduler: {name: linear, interval: step}\n"
    )
    if len(found.groups) == 1:
        pytest.fail("backbone_lr is not read as a setting")
    main, backbone = found.groups
    assert (main.name, backbone.name) == ("all other parameters", "backbone")
    assert main.end == pytest.approx(1e-3 * 0.01)
    assert backbone.end == pytest.approx(1e-4 * 0.01)


def test_what_decay_alone_leaves_is_what_adamw_leaves() -> None:
    found = run(
        "optimizer: adamw\nlearning_rate: 1.0e-2\nweight_decay: 0.5\ntotal_steps: 120\n"
        "warmup_steps: 10\nscheduler: {name: linear, interval: step}\n"
    )
    weight = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = torch.optim.AdamW([weight], lr=1e-2, weight_decay=0.5)
    curve = found.schedule.curve
    assert curve is not None
    assert len(curve.points) == 120
    for _, rate in curve.points:
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
    assert found.groups[0].kept_by_decay == pytest.approx(weight[0].item(), rel=1e-9)
    hand = exp(sum(log1p(-rate * 0.5) for _, rate in curve.points))
    assert found.groups[0].kept_by_decay == pytest.approx(hand, rel=1e-12)


def test_decay_that_goes_through_adam_is_not_said_to_leave_anything() -> None:
    text = "learning_rate: 1.0e-2\nweight_decay: 0.5\ntotal_steps: 120\n"
    assert run(f"optimizer: adam\n{text}").groups[0].kept_by_decay is None
    assert run(f"optimizer: sgd\n{text}").groups[0].kept_by_decay is None
    assert run(f"optimizer: adamw\n{text}").groups[0].kept_by_decay is not None


def step_of_adam(gradients: list[float], beta1: float, beta2: float) -> float:
    """How far torch's AdamW moves in the last step, in learning rates."""
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.AdamW(
        [weight], lr=1.0, betas=(beta1, beta2), eps=0.0, weight_decay=0.0, foreach=False
    )
    before = 0.0
    for gradient in gradients:
        before = weight.item()
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
    return abs(float(weight.item()) - float(before))


def test_the_same_gradient_moves_adam_by_the_learning_rate() -> None:
    for gradient in (1e-6, 1.0, 1e6):
        for count in (1, 2, 50):
            assert step_of_adam([gradient] * count, 0.9, 0.999) == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize(("beta1", "beta2"), [(0.9, 0.99), (0.9, 0.95), (0.5, 0.9)])
def test_one_gradient_after_silence_moves_adam_as_far_as_said(beta1: float, beta2: float) -> None:
    silence = [1e-30] * 3000
    moved = step_of_adam([*silence, 1.0], beta1, beta2)
    assert moved == pytest.approx(bounds.after_silence(beta1, beta2), rel=1e-6)


@pytest.mark.parametrize(("beta1", "beta2"), [(0.9, 0.999), (0.9, 0.99), (0.9, 0.95), (0.5, 0.9)])
def test_growing_gradients_move_adam_to_the_bound_and_not_past_it(
    beta1: float, beta2: float
) -> None:
    limit = bounds.most(beta1, beta2)
    assert limit is not None
    last = 6000
    worst = [(beta1 / beta2) ** (last - step) for step in range(last - 600, last)]
    moved = step_of_adam([1e-40] * 5400 + worst, beta1, beta2)
    assert moved <= limit * (1 + 1e-9)
    assert moved == pytest.approx(limit, rel=2e-2)


@given(
    gradients=st.lists(
        st.floats(-1e3, 1e3).filter(lambda g: abs(g) > 1e-6), min_size=1, max_size=40
    ),
    betas=st.sampled_from([(0.9, 0.999), (0.9, 0.95), (0.9, 0.99), (0.5, 0.9), (0.0, 0.9)]),
)
@settings(max_examples=60, deadline=None)
def test_no_gradients_move_adam_past_the_bound(
    gradients: list[float], betas: tuple[float, float]
) -> None:
    limit = bounds.most(*betas)
    assert limit is not None
    assert step_of_adam(gradients, *betas) <= max(limit, 1.0) * (1 + 1e-6)


def test_there_is_no_bound_where_the_first_mean_is_longer_than_the_second() -> None:
    assert bounds.most(0.9, 0.5) is None
    assert bounds.most(1.0, 0.999) is None


def test_sgd_at_the_clip_moves_as_far_as_said() -> None:
    found = run("optimizer: sgd\nlearning_rate: 0.1\nmomentum: 0.9\ngradient_clip_norm: 2.0\n")
    values = [bound.value for bound in found.bounds]
    assert values == [2.0, pytest.approx(0.2), pytest.approx(2.0)]
    weight = torch.nn.Parameter(torch.zeros(4, dtype=torch.float64))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    moved = []
    for _ in range(300):
        weight.grad = torch.full_like(weight, 77.0)
        torch.nn.utils.clip_grad_norm_([weight], 2.0)
        before = weight.detach().clone()
        optimizer.step()
        moved.append((weight.detach() - before).norm().item())
    assert moved[0] == pytest.approx(0.2)
    assert max(moved) == pytest.approx(2.0, rel=1e-6)
    assert max(moved) <= 2.0 * (1 + 1e-9)


@pytest.mark.parametrize(
    ("largest", "skipped", "settles"),
    [
        (0.1, 0, 65536.0),
        (0.9, 0, 65536.0),
        (1.0, 1, 32768.0),
        (10.0, 4, 4096.0),
        (60000.0, 16, 1.0),
    ],
)
def test_the_scaler_halves_until_fp16_holds_the_gradient(
    largest: float, skipped: int, settles: float
) -> None:
    found = try_scale(largest, 65536.0, 2000)
    assert (found.skipped, found.settles) == (skipped, settles)
    assert settles * largest < 65520  # rounds to a finite fp16


def test_a_scaler_that_may_grow_at_once_does() -> None:
    assert try_scale(0.1, 1024.0, 1).settles == 2048.0


def test_only_dynamic_fp16_has_a_scaler() -> None:
    text = "optimizer: adamw\nlearning_rate: 1.0e-3\nprecision: "
    found = run(f"{text}fp16\n").scaler
    assert found is not None
    assert (found.initial, found.growth_interval, found.again) == (65536.0, 2000, 2001)
    assert run(f"{text}bf16\n").scaler is None
    assert run(f"{text}fp16\nloss_scale: 128\n").scaler is None


def test_the_batch_is_a_product() -> None:
    found = run(
        "optimizer: adamw\nlearning_rate: 1.0e-3\nbatch_size: 4\naccumulation_steps: 8\n"
        "total_steps: 1000\n",
        world_size="2",
    )
    batch = found.batch
    assert (batch.global_batch, batch.samples, batch.backward_calls) == (64, 64_000, 8000)
    assert not [missing for missing in found.missing if missing.what == "samples per step"]
    assert [fact.name for fact in found.assumed] == ["world_size"]


def test_a_product_that_is_not_the_global_batch_is_said() -> None:
    found = run(
        "optimizer: adamw\nlearning_rate: 1.0e-3\nbatch_size: 4\naccumulation_steps: 8\n"
        "global_batch_size: 60\n",
        world_size="2",
    )
    assert found.batch.agrees is False
    assert "is 64, the global batch 60" in found.batch.notes[0]


def test_what_is_missing_names_the_setting_that_fills_it() -> None:
    text = "optimizer: adamw\nlearning_rate: 1.0e-3\nwarmup_steps: 100\nepochs: 5\n"
    without = run(text)
    assert without.schedule.curve is None
    [missing] = [m for m in without.missing if m.what == "learning-rate curve"]
    assert missing.assume == ("steps_per_epoch",)
    told = run(text, steps_per_epoch="40")
    assert told.schedule.curve is not None
    assert told.schedule.curve.steps == 200
    assert run("optimizer: adamw\nlearning_rate: 1.0e-3\n").missing[-1].assume == (
        "total_steps", "epochs",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "why"),
    [("ReduceLROnPlateau", "validation metric"), ("LambdaLR", "in code"), ("noam", "width"),
     ("StepLR", "`step_size` is not known"), ("wobble", "none that gradaudit knows"),
     ("linear_warmup", "what follows its warm-up"), ("multi_step", "`gamma` is not known")],
)  # fmt: skip
def test_a_schedule_that_the_config_does_not_fix_has_no_curve(name: str, why: str) -> None:
    text = "optimizer: adamw\nlearning_rate: 1.0e-3\ntotal_steps: 100\n"
    found = run(f"{text}scheduler: {{name: {name}, interval: step}}\n")
    assert found.schedule.curve is None
    [missing] = [m for m in found.missing if m.what == "learning-rate curve"]
    assert why in missing.why


def test_an_epoch_scheduler_holds_its_rate_through_the_epoch() -> None:
    text = (
        "optimizer: adamw\nlearning_rate: 1.0e-3\nepochs: 4\n"
        "scheduler: {name: StepLR, step_size: 2, gamma: 0.1, interval: epoch}\n"
    )
    by_epoch = run(text).schedule.curve
    assert by_epoch is not None
    assert (by_epoch.axis, by_epoch.nominal, by_epoch.area) == ("epochs", 0, None)
    assert [x for x, _ in by_epoch.points] == [0, 1, 2, 3]
    in_steps = run(text, steps_per_epoch="10").schedule.curve
    assert in_steps is not None
    assert [x for x, _ in in_steps.points] == [1, 11, 21, 31]
    assert in_steps.area == pytest.approx(20 * 1e-3 + 20 * 1e-4)
    assert in_steps.mean_share == pytest.approx(by_epoch.mean_share) == pytest.approx(0.55)


def test_epochs_alone_give_the_shape_and_say_so() -> None:
    found = run("optimizer: adamw\nlearning_rate: 1.0e-3\nepochs: 10\nwarmup_epochs: 1\n"
                "scheduler: cosine\n")  # fmt: skip
    curve = found.schedule.curve
    assert curve is not None
    assert (curve.axis, curve.steps, curve.area) == ("epochs", None, None)
    assert curve.nominal == 200
    assert curve.peak_at == pytest.approx(1.0)
    assert "one step's place is not" in " ".join(screen(found, 100).split())


def test_the_length_follows_from_the_data_set() -> None:
    text = "optimizer: adamw\nlearning_rate: 1.0e-3\nepochs: 3\nbatch_size: 32\n"
    options = Options()
    options.assume.update(dataset_size="1000", accumulation="1", world_size="1")
    found = batch_of(audit_text(text, options).units[0])
    assert (found.steps_per_epoch, found.steps, found.samples) == (32, 96, 3000)
    assert "rounded up" in found.notes[0]


def test_the_first_line_says_that_nothing_was_measured() -> None:
    found = run("optimizer: adamw\nlearning_rate: 1.0e-3\ntotal_steps: 100\nclip_grad_norm: 1.0\n")
    assert screen(found, 80).splitlines()[0] == SAID
    said = as_json(found)
    assert said["note"] == SAID
    assert said["source"] == "simulated"
    text = json.dumps(said, allow_nan=False)
    for measured in ("pre_clip_norm", "post_clip_norm", "gradient_norm", "clip_share", "severity"):
        assert measured not in text
    assert "whether any is cannot be known from the config" in " ".join(screen(found, 80).split())


@pytest.mark.parametrize("width", [60, 80, 140])
def test_no_line_is_wider_than_the_screen(width: int) -> None:
    for found in run_simulation(SAMPLE, None, Options(), Finder(None, True)):
        for line in screen(found, width).splitlines():
            assert len(line) <= width, line


NAME = "torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup"
TUNE = """\
optimizer: {_component_: torch.optim.AdamW, lr: 2.0e-5}
lr_scheduler:
  _component_: torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup
  num_warmup_steps: 100
loss: {_component_: torchtune.modules.loss.LinearCrossEntropyLoss}
batch_size: 2
epochs: 3
max_steps_per_epoch: 250
model: {_component_: torchtune.models.llama3_1.llama3_1_8b}
tokenizer: {_component_: torchtune.models.llama3.llama3_tokenizer, path: x}
"""


@pytest.mark.parametrize("width", [60, 80])
def test_a_schedulers_class_path_does_not_leave_the_screen(width: int) -> None:
    found = run(TUNE)
    shown = screen(found, width).splitlines()
    assert max(map(len, shown)) <= width
    assert any(line.split()[:2] == ["scheduler", NAME.rpartition(".")[2]] for line in shown)
    assert found.schedule.name == NAME, "the JSON has all of it"
    wide = found._replace(schedule=found.schedule._replace(name="a" * 90))
    assert max(map(len, screen(wide, width).splitlines())) <= width


def test_the_sample_has_four_units_and_one_can_be_chosen() -> None:
    every = run_simulation(SAMPLE, None, Options(), Finder(None, True))
    assert len(every) == 4
    assert [found.schedule.curve is not None for found in every] == [True, True, False, False]
    assert [found.missing[-1].assume for found in every[2:]] == [
        ("steps_per_epoch",), ("total_steps", "epochs"),
    ]  # fmt: skip
    [one] = run_simulation(SAMPLE, every[1].unit, Options(), Finder(None, True))
    assert one == every[1]
    with pytest.raises(NoUnit, match="no unit `priority_nett`; did you mean `priority_net`"):
        run_simulation(SAMPLE, "priority_nett", Options(), Finder(None, True))


def test_a_file_that_does_not_parse_is_said(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1,\n")
    with pytest.raises(NoUnit, match="cannot be read: line"):
        run_simulation(str(broken), None, Options(), Finder(None, True))


def test_a_plot_goes_from_the_bottom_to_the_top() -> None:
    rows = plot(((0.0, 0.0), (10.0, 1.0)), 0.0, 10.0, 1.0, 20)
    assert len(rows) == 5
    assert rows[-1][0] != " "
    assert rows[0][-1] != " "
    assert rows[0][0] == rows[-1][-1] == " "
    stairs = plot(((0.0, 0.0), (5.0, 1.0)), 0.0, 10.0, 1.0, 20, held=True)
    assert stairs[0][11:] == "⠉" * 9
    assert stairs[-1][:9] == "⣀" * 9
    flat = plot(((0.0, 1.0), (10.0, 1.0)), 0.0, 10.0, 1.0, 20)
    assert set(flat[0]) == {"⠉"}
    assert {char for row in flat[1:] for char in row} == {" "}


def test_the_screen_needs_no_torch() -> None:
    """Reading and drawing a simulation must be possible where torch is not installed."""
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "import gradaudit.render.simulate, gradaudit.probe.simulated, gradaudit.probe.simulate\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_kingma_and_bas_numbers() -> None:
    assert bounds.after_silence(0.9, 0.999) == pytest.approx(0.1 / sqrt(0.001))
    assert bounds.most(0.9, 0.999) == pytest.approx(7.27, abs=0.01)


NUMBERS = st.sampled_from(
    ["0", "1", "-1", "0.5", "3", "7", "100", "1.0e-3", "-0.1", "1.0e+30", "null", "1.5", "2000"]
)
SCHEDULERS = st.sampled_from([
    "CosineAnnealingLR", "OneCycleLR", "StepLR", "MultiStepLR", "ExponentialLR", "LinearLR",
    "PolynomialLR", "ConstantLR", "CyclicLR", "CosineAnnealingWarmRestarts", "cosine", "poly",
    "linear", "warmup_stable_decay", "inverse_sqrt", "polynomial", "cosine_with_restarts",
])  # fmt: skip
KEYS = (
    "T_max", "eta_min", "step_size", "gamma", "milestones", "power", "total_iters", "T_0", "T_mult",
    "pct_start", "div_factor", "base_lr", "max_lr", "step_size_up", "num_cycles", "lr_end",
    "num_decay_steps", "num_stable_steps", "min_lr_ratio", "start_factor", "end_factor", "factor",
)  # fmt: skip
SETTINGS = (
    "total_steps", "epochs", "warmup_steps", "warmup_epochs", "warmup_ratio", "min_lr", "momentum",
    "weight_decay", "eps", "batch_size", "accumulation_steps", "world_size", "steps_per_epoch",
    "clip_grad_norm", "initial_scale_power", "loss_scale_window", "warmup_start_factor",
    "dataset_size", "global_batch_size", "backbone_lr",
)  # fmt: skip


@given(
    family=st.sampled_from(["adamw", "adam", "sgd", "rmsprop", "muon", "lbfgs", "lion"]),
    rate=NUMBERS, scheduler=SCHEDULERS, arguments=st.dictionaries(st.sampled_from(KEYS), NUMBERS),
    written=st.dictionaries(st.sampled_from(SETTINGS), NUMBERS, min_size=4), total=NUMBERS,
    interval=st.sampled_from(["step", "epoch", ""]), betas=st.tuples(NUMBERS, NUMBERS),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_no_config_is_a_crash(
    family: str, rate: str, scheduler: str, arguments: dict[str, str], written: dict[str, str],
    interval: str, betas: tuple[str, str], total: str,
) -> None:  # fmt: skip
    """What torch refuses and what makes no sense is said; nothing is raised, all can be drawn."""
    if "milestones" in arguments:
        arguments = {**arguments, "milestones": f"[{arguments['milestones']}, 3, 50]"}
    section = [f"name: {scheduler}", *(f"{key}: {value}" for key, value in arguments.items())]
    written = {"total_steps": total, **written}
    if interval:
        section.append(f"interval: {interval}")
    lines = [f"optimizer: {family}", f"learning_rate: {rate}", "precision: fp16",
             f"betas: [{betas[0]}, {betas[1]}]", f"scheduler: {{{', '.join(section)}}}",
             *(f"{key}: {value}" for key, value in written.items())]  # fmt: skip
    for unit in audit_text("\n".join(lines) + "\n").units:
        found = simulate(unit)
        assert screen(found, 80).splitlines()[0] == SAID
        json.dumps(as_json(found), allow_nan=False)
        curve = found.schedule.curve
        if curve is not None:
            assert curve.points[0][1] == curve.start
            assert 0 <= curve.peak_share <= 1
