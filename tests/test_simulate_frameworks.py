"""Schedules of frameworks, each against its own source written down a second time.

The references follow the frameworks' code line by line, where the formulas of the package are put
together from shared parts; none of these frameworks is installed.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable

import pytest
from support import audit_text

pytest.importorskip("torch")

from gradaudit.options import Options
from gradaudit.plan.schedule import rate_at
from gradaudit.probe import curve
from gradaudit.probe.simulate import simulate
from gradaudit.settings import Settings


def rates(dialect: str, text: str, **assumed: str) -> list[float]:
    options, settings = Options(), Settings()
    options.assume.update(assumed)
    settings.dialects["*"] = dialect
    result = audit_text(text, options, settings)
    assert result.composed is not None
    assert result.composed.dialect["name"] == dialect
    found = simulate(result.units[0])
    assert found.schedule.basis == "framework", (found.schedule, found.missing)
    assert found.schedule.curve is not None, found.missing
    return [rate for _, rate in found.schedule.curve.points]


@pytest.fixture(autouse=True)
def every_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve, "MOST_POINTS", 10_000)


def same(found: list[float], reference: Callable[[int], float]) -> None:
    expected = [reference(t) for t in range(len(found))]
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-15)
    assert len(set(found)) > 5  # a level line would prove little


def test_wenet_and_espnet() -> None:
    def reference(last_epoch: int) -> float:
        step_num = last_epoch + 1
        return float(2e-3 * 40**0.5 * min(step_num**-0.5, step_num * 40**-1.5))

    text = "optim: adam\noptim_conf: {lr: 0.002}\nscheduler: warmuplr\n"
    text += "scheduler_conf: {warmup_steps: 40}\nmax_epoch: 3\naccum_grad: 1\ngrad_clip: 5\n"
    for dialect in ("wenet", "espnet"):
        found = rates(dialect, text, steps_per_epoch="50")
        same(found, reference)
        assert max(found) == found[39] == pytest.approx(2e-3)


def test_verl_begins_at_its_floor() -> None:
    def reference(current_step: int) -> float:
        min_lr_ratio = 0.1
        if current_step < 20:
            return 1e-6 * (min_lr_ratio + (1.0 - min_lr_ratio) * (current_step / 20))
        coef, intercept = (1 - min_lr_ratio) * 0.5, (1 + min_lr_ratio) * 0.5
        x = math.cos(math.pi * 0.5 * 2.0 * (current_step - 20) / 180)
        return 1e-6 * max(min_lr_ratio, x * coef + intercept)

    text = (
        "data: {train_batch_size: 64}\nactor_rollout_ref:\n  actor:\n    optim: {lr: 1.0e-6, "
        "lr_warmup_steps: 20, lr_scheduler_type: cosine, min_lr_ratio: 0.1}\n"
        "trainer: {total_training_steps: 200}\nalgorithm: {adv_estimator: grpo}\n"
    )
    same(rates("verl", text), reference)


@pytest.mark.parametrize("style", ["cosine", "linear", "exponential"])
def test_gpt_neox(style: str) -> None:
    end_iter, warmup_iter, start_lr, min_lr = 200, 20, 1e-3, 1e-5

    def reference(num_iters: int) -> float:
        n = min(num_iters, end_iter - warmup_iter)
        if warmup_iter > 0 and num_iters <= warmup_iter:
            return start_lr * n / warmup_iter
        n = n - warmup_iter
        if style == "linear":
            lr = start_lr * (end_iter - n) / end_iter
        elif style == "cosine":
            lr = start_lr / 2.0 * (math.cos(math.pi * n / end_iter) + 1)
        else:
            lr = start_lr * math.exp(-0.693 * n / end_iter)
        return max(lr, min_lr)

    text = (
        '"train_micro_batch_size_per_gpu": 4\n'
        '"optimizer": {"type": "Adam", "params": {"lr": 0.001}}\n"min_lr": 0.00001\n'
        '"train_iters": 200\n"lr_decay_iters": 200\n'
        f'"lr_decay_style": "{style}"\n"warmup": 0.1\n'
    )
    found = rates("gpt-neox", text)
    same(found, reference)
    if style == "linear":  # as docs/dryrun-simulate.md has it
        assert found[-1] == pytest.approx(0.2 * start_lr)


@pytest.mark.parametrize("kind", ["linear", "sqrt", "cosine"])
@pytest.mark.parametrize("ratio", [None, 0.4])
def test_torchtitan(kind: str, ratio: float | None) -> None:
    training_steps, warmup_steps, lr_min = 100, 10, 0.1
    decay_steps = training_steps - warmup_steps if ratio is None else round(training_steps * ratio)
    stable = warmup_steps + (training_steps - warmup_steps - decay_steps)

    def reference(current_step: int) -> float:
        if current_step < warmup_steps:
            return 8e-4 * (current_step + 1) / (warmup_steps + 1)
        if current_step < stable or decay_steps == 0:
            return 8e-4
        progress = ((current_step + 1) - stable) / (decay_steps + 1)
        if kind == "linear":
            adjusted = 1 - progress
        elif kind == "sqrt":
            adjusted = 1 - math.sqrt(progress)
        else:
            adjusted = 0.5 * (1.0 + math.cos(math.pi * progress))
        return 8e-4 * (lr_min + (1 - lr_min) * adjusted)

    text = (
        "optimizer: {name: AdamW, lr: 8.0e-4}\ntraining: {steps: 100, local_batch_size: 8}\n"
        f"lr_scheduler: {{warmup_steps: 10, decay_type: {kind}, min_lr_factor: 0.1"
        + (f", decay_ratio: {ratio}}}\n" if ratio else "}\n")
    )
    same(rates("torchtitan", text), reference)


def test_detectron2_steps_and_cosine() -> None:
    common = (
        "MODEL: {META_ARCHITECTURE: X}\nSOLVER:\n  BASE_LR: 0.02\n  MAX_ITER: 200\n"
        "  WARMUP_ITERS: 20\n  WARMUP_FACTOR: 0.001\n  IMS_PER_BATCH: 16\n"
    )

    def steps(t: int) -> float:
        if t < 20:
            start, end = 0.001, 1.0
            return 0.02 * (start * (1 - t / 20) + end * (t / 20))
        return float(0.02 * 0.2 ** bisect.bisect_right([100, 150], t))

    text = common + "  STEPS: (100, 150, 500)\n  GAMMA: 0.2\n"
    same(rates("detectron2", text), steps)

    def cosine(t: int) -> float:
        def wave(where: float) -> float:
            return 0.5 * (1 + math.cos(math.pi * where))

        if t < 20:
            return 0.02 * (0.001 * (1 - t / 20) + wave(20 / 200) * (t / 20))
        return 0.02 * wave(t / 200)

    same(rates("detectron2", common + "  LR_SCHEDULER_NAME: WarmupCosineLR\n"), cosine)


def test_fairseq() -> None:
    common = (
        "task: {_name: t}\ncriterion: {_name: ctc}\noptimization: {max_update: 200, lr: [0.001]}\n"
        "optimizer: {_name: adam}\n"
    )

    def polynomial(num_updates: int) -> float:
        if num_updates <= 20:
            return 1e-3 * num_updates / 20
        if num_updates >= 150:
            return 1e-5
        remaining = 1 - (num_updates - 20) / (150 - 20)
        return float((1e-3 - 1e-5) * remaining**2.0 + 1e-5)

    text = common + "lr_scheduler: {_name: polynomial_decay, warmup_updates: 20, "
    text += "total_num_update: 150, end_learning_rate: 1.0e-5, power: 2.0}\n"
    same(rates("fairseq", text), polynomial)

    def tri_stage(t: int) -> float:
        if t < 20:
            return 1e-5 + (1e-3 - 1e-5) / 20 * t
        if t < 80:
            return 1e-3
        if t <= 180:
            return 1e-3 * math.exp(math.log(0.05) / 100 * (t - 80))
        return 1e-3 * 0.05

    text = common + "lr_scheduler: {_name: tri_stage, warmup_steps: 20, hold_steps: 60, "
    text += "decay_steps: 100, final_lr_scale: 0.05}\n"
    same(rates("fairseq", text), tri_stage)

    def cosine(t: int) -> float:
        if t < 20:
            return 1e-6 + t * (1e-3 - 1e-6) / 20
        cycle = math.floor((t - 20) / 60)
        low, high = 1e-6 * 0.1**cycle, 1e-3 * 0.1**cycle
        return float(low + 0.5 * (high - low) * (1 + math.cos(math.pi * ((t - 20) % 60) / 60)))

    text = common + "lr_scheduler: {_name: cosine, warmup_updates: 20, min_lr: 1.0e-6, "
    text += "lr_period_updates: 60}\n"
    same(rates("fairseq", text), cosine)

    def inverse(t: int) -> float:
        return 1e-3 / 20 * t if t < 20 else 1e-3 * 20**0.5 * t**-0.5

    text = common + "lr_scheduler: {_name: inverse_sqrt, warmup_updates: 20}\n"
    same(rates("fairseq", text), inverse)


def test_swin_calls_the_scheduler_after_a_step_with_its_own_number() -> None:
    def timm(t: int) -> float:
        if t < 40:
            return 5e-6 + t * (1e-3 - 5e-6) / 40
        return 1e-5 + 0.5 * (1e-3 - 1e-5) * (1 + math.cos(math.pi * (t - 40) / 160))

    text = (
        "MODEL: {TYPE: swin, NAME: x}\nDATA: {BATCH_SIZE: 128}\nTRAIN:\n  EPOCHS: 10\n"
        "  WARMUP_EPOCHS: 2\n  BASE_LR: 5.0e-4\n  MIN_LR: 5.0e-6\n  WARMUP_LR: 5.0e-6\n"
    )
    found = rates("swin", text, steps_per_epoch="20", learning_rate="0.001",
                  min_learning_rate="1e-5")  # fmt: skip
    assert found[1] == found[0] == pytest.approx(5e-6)
    same(found, lambda t: timm(max(t - 1, 0)))


def test_slowfast() -> None:
    def lr(epoch: float) -> float:
        return 0.001 + (0.1 - 0.001) * (math.cos(math.pi * epoch / 10) + 1.0) * 0.5

    def reference(t: int) -> float:
        epoch = t / 20
        if epoch < 2:
            return epoch * (lr(2) - 0.01) / 2 + 0.01
        return lr(epoch)

    text = (
        "TRAIN: {ENABLE: True, BATCH_SIZE: 16}\nNUM_GPUS: 8\nSOLVER:\n  BASE_LR: 0.1\n"
        "  LR_POLICY: cosine\n  MAX_EPOCH: 10\n  WARMUP_EPOCHS: 2\n  WARMUP_START_LR: 0.01\n"
        "  COSINE_END_LR: 0.001\n  OPTIMIZING_METHOD: sgd\n"
    )
    same(rates("slowfast", text, steps_per_epoch="20"), reference)


def test_slowfast_steps() -> None:
    def lr(epoch: float) -> float:
        steps = [0, 4, 7, 10]
        index = next((i for i, step in enumerate(steps) if epoch < step), len(steps))
        return float(0.1 * [1, 0.1, 0.01][index - 1])

    def reference(t: int) -> float:
        epoch = t / 20
        if epoch < 2:
            return epoch * (lr(2) - 0.01) / 2 + 0.01
        return lr(epoch)

    text = (
        "TRAIN: {ENABLE: True, BATCH_SIZE: 16}\nNUM_GPUS: 8\nSOLVER:\n  BASE_LR: 0.1\n"
        "  LR_POLICY: steps_with_relative_lrs\n  STEPS: [0, 4, 7]\n  LRS: [1, 0.1, 0.01]\n"
        "  MAX_EPOCH: 10\n  WARMUP_EPOCHS: 2\n  WARMUP_START_LR: 0.01\n  OPTIMIZING_METHOD: sgd\n"
    )
    same(rates("slowfast", text, steps_per_epoch="20"), reference)


def test_fairchem() -> None:
    def warmup_lr_lambda(current_step: int) -> float:
        if current_step <= 20:
            alpha = current_step / 20.0
            return 4e-4 * (0.2 * (1.0 - alpha) + alpha)
        return float(4e-4 * pow(0.3, bisect.bisect([100, 150], current_step)))

    text = (
        "trainer: forces\nmodel: {name: scn}\noptim:\n  batch_size: 4\n  optimizer: AdamW\n"
        "  lr_initial: 4.0e-4\n  lr_gamma: 0.3\n  lr_milestones: [100, 150]\n  warmup_steps: 20\n"
        "  warmup_factor: 0.2\n  max_epochs: 10\n"
    )
    same(rates("fairchem", text, steps_per_epoch="20"), warmup_lr_lambda)


def test_openpcdet_one_cycle() -> None:
    def annealing_cos(start: float, end: float, pct: float) -> float:
        return end + (start - end) / 2 * (math.cos(math.pi * pct) + 1)

    def reference(step: int) -> float:
        total, low = 200, 0.003 / 10
        if step < int(0.4 * total):
            return annealing_cos(low, 0.003, step / int(0.4 * total))
        begin = int(0.4 * total)
        return annealing_cos(0.003, low / 1e4, (step - begin) / (total - begin))

    text = (
        "OPTIMIZATION:\n  BATCH_SIZE_PER_GPU: 4\n  NUM_EPOCHS: 10\n  OPTIMIZER: adam_onecycle\n"
        "  LR: 0.003\n  PCT_START: 0.4\n  DIV_FACTOR: 10\n"
    )
    same(rates("openpcdet", text, steps_per_epoch="20"), reference)


def test_nemo() -> None:
    def reference(step: int) -> float:
        if step <= 20:
            return 1e-3 * (step + 1) / 21
        mult = 0.5 * (1 + math.cos(math.pi * (step - 20) / 180))
        return (1e-3 - 1e-5) * mult + 1e-5

    text = (
        "model:\n  optim:\n    name: adamw\n    lr: 0.001\n    sched:\n"
        "      name: CosineAnnealing\n"
        "      warmup_steps: 20\n      min_lr: 1.0e-5\ntrainer: {max_steps: 200}\n"
    )
    same(rates("nemo", text), reference)

    def with_level(step: int) -> float:
        if step <= 20:
            return 1e-3 * (step + 1) / 21
        if step > 20 + 130:
            return 1e-5
        return 1e-5 + 0.5 * (math.cos(math.pi * (step - 20) / 130) + 1.0) * (1e-3 - 1e-5)

    level = text.replace("min_lr", "constant_steps: 50\n      min_lr")
    same(rates("nemo", level), with_level)


@pytest.mark.parametrize("kind", ["log", "linear"])
def test_deepspeed_counts_from_the_second_step(kind: str) -> None:
    def get_lr(last_batch_iteration: int) -> float:
        if last_batch_iteration < 0:
            return 1e-5
        if last_batch_iteration < 20:
            gamma = last_batch_iteration / 20
            if kind == "log":
                gamma = 1.0 / math.log(20) * math.log(last_batch_iteration + 1)
        else:
            gamma = max(0.0, (200 - last_batch_iteration) / max(1.0, 200 - 20))
        return 1e-5 + (1e-3 - 1e-5) * gamma

    text = (
        "train_micro_batch_size_per_gpu: 4\nzero_optimization: {stage: 2}\n"
        "optimizer: {type: AdamW, params: {lr: 0.001}}\nscheduler: {type: WarmupDecayLR, params: "
        "{warmup_min_lr: 1.0e-5, warmup_max_lr: 0.001, warmup_num_steps: 20, "
        f"warmup_type: {kind}, total_num_steps: 200}}}}\n"
    )
    same(rates("deepspeed", text), lambda t: get_lr(t - 1))


def test_basicsr() -> None:
    common = (
        "model_type: SRModel\nscale: 4\nnetwork_g: {type: EDSR}\ntrain:\n  optim_g: {type: Adam, "
        "lr: 1.0e-3}\n  total_iter: 200\n  warmup_iter: 10\n"
    )

    def steps(t: int) -> float:
        current_iter = t + 1
        lr = 1e-3 * 0.5 ** bisect.bisect_right([100, 150], t)
        return 1e-3 / 10 * current_iter if current_iter < 10 else lr

    text = common + "  scheduler: {type: MultiStepLR, milestones: [100, 150], gamma: 0.5}\n"
    same(rates("basicsr", text), steps)

    def cosine(t: int) -> float:
        current_iter = t + 1
        if current_iter < 10:
            return 1e-3 / 10 * current_iter
        index = 0 if t <= 50 else 1
        start, period = (0, 50) if index == 0 else (50, 150)
        weight = (1, 0.5)[index]
        wave = 1 + math.cos(math.pi * ((t - start) / period))
        return 1e-7 + weight * 0.5 * (1e-3 - 1e-7) * wave

    text = common + "  scheduler: {type: CosineAnnealingRestartLR, periods: [50, 150], "
    text += "restart_weights: [1, 0.5], eta_min: 1.0e-7}\n"
    same(rates("basicsr", text), cosine)


def test_torchtune_litgpt_and_audiocraft() -> None:
    def cosine(current_step: int) -> float:
        if current_step < 20:
            return 1e-3 * current_step / 20
        progress = (current_step - 20) / (200 - 20)
        return 1e-3 * max(0.0, 0.5 * (1.0 + math.cos(math.pi * 0.5 * 2.0 * progress)))

    text = (
        "tokenizer: {_component_: torchtune.models.llama3.llama3_tokenizer}\noptimizer:\n"
        "  _component_: torch.optim.AdamW\n  lr: 1.0e-3\nlr_scheduler:\n  _component_: "
        "torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup\n"
        "  num_warmup_steps: 20\nepochs: 2\nmax_steps_per_epoch: null\nbatch_size: 2\n"
    )
    same(rates("torchtune", text, steps_per_epoch="100"), cosine)

    def get_lr(it: int) -> float:
        if it < 20:
            return 1e-3 * it / 20
        if it > 200:
            return 1e-4
        coeff = 0.5 * (1.0 + math.cos(math.pi * (it - 20) / (200 - 20)))
        return 1e-4 + coeff * (1e-3 - 1e-4)

    text = (
        "model_name: pythia-14m\ntrain: {global_batch_size: 8, micro_batch_size: 4, "
        "max_tokens: 1000, lr_warmup_steps: 20, min_lr: 1.0e-4, max_norm: 1.0}\n"
        "optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 1.0e-3}}\n"
    )
    same(rates("litgpt", text, total_steps="200"), get_lr)

    def linear_warmup(step: int) -> float:
        return step * 1e-3 / 20 if step < 20 else 1e-3

    text = (
        "solver: musicgen\ndataset: {batch_size: 8}\noptim: {epochs: 2, updates_per_epoch: 50, "
        "lr: 1.0e-3, optimizer: adamw}\nschedule: {lr_scheduler: linear_warmup, "
        "linear_warmup: {warmup: 20}}\n"
    )
    same(rates("audiocraft", text), linear_warmup)


DEEPSPEED = (
    "train_micro_batch_size_per_gpu: 4\nzero_optimization: {stage: 2}\n"
    "optimizer: {type: AdamW, params: {lr: 0.001}}\nscheduler: {type: WarmupDecayLR, params: "
    "{warmup_min_lr: 1.0e-5, warmup_max_lr: 0.001, warmup_num_steps: 20, total_num_steps: 200}}\n"
)


def test_a_warm_up_that_is_not_linear_is_not_by_the_plan_either() -> None:
    """What rules say of the rate at an observed step, and what the scheduler gives there."""
    one_cycle = (
        "OPTIMIZATION:\n  BATCH_SIZE_PER_GPU: 4\n  NUM_EPOCHS: 10\n  OPTIMIZER: adam_onecycle\n"
        "  LR: 0.003\n  PCT_START: 0.4\n  DIV_FACTOR: 10\n"
    )
    for dialect, text, steps in (("deepspeed", DEEPSPEED, 20), ("openpcdet", one_cycle, 80)):
        options, settings = Options(), Settings()
        options.assume["steps_per_epoch"] = "20"
        settings.dialects["*"] = dialect
        unit = audit_text(text, options, settings).units[0]
        planned = [rate_at(unit, step=step + 1) for step in range(steps)]
        found = rates(dialect, text, steps_per_epoch="20")[:steps]
        assert [at.low for at in planned if at] == pytest.approx(found, rel=1e-9)
        assert planned[steps // 2] is not None
