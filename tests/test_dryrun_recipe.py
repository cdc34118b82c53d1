"""What a dry run takes from the plan, and the config that it hands over. No torch needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradaudit.audit import audit_path, audit_source
from gradaudit.compose.plain import MOST_NODES, TooLarge, plain_config
from gradaudit.options import Options
from gradaudit.plan.schedule import rate_at
from gradaudit.probe.recipe import Recipe, recipe_of
from gradaudit.settings import Finder, Settings
from gradaudit.source import Source


def recipe(text: str, per_epoch: float | None = None, **assumed: str) -> Recipe:
    options = Options()
    options.assume = assumed
    result = audit_source(Source("c.yaml", text), options, Settings())
    return recipe_of(result.units[0], per_epoch)


ADAMW = "optimizer: adamw\nlearning_rate: 1.0e-3\n"


def test_optimiser_clip_and_batch() -> None:
    found = recipe(
        ADAMW + "betas: [0.8, 0.99]\nweight_decay: 0.1\ngradient_clip_norm: 2.0\n"
        "batch_size: 6\ngradient_accumulation_steps: 4\n"
    )
    assert found.optimizer == "adamw"
    assert found.arguments == {"lr": 1e-3, "betas": (0.8, 0.99), "weight_decay": 0.1}
    assert (found.clip_norm, found.accumulation, found.micro_batch) == (2.0, 4, 6)
    assert found.adaptive
    assert not found.notes


def test_a_clip_that_is_off_is_none() -> None:
    assert recipe(ADAMW + "gradient_clip_norm: null\n").clip_norm is None
    assert recipe("optimizer: sgd\nlearning_rate: 0.1\n").adaptive is False


def test_rate_in_each_step() -> None:
    """LinearLR(0.02 -> 1 in 6 epochs of 2 steps), then a cosine to min_lr."""
    found = recipe(
        ADAMW + "warmup_epochs: 6\nwarmup_start_factor: 0.02\nepochs: 80\nscheduler: cosine\n"
        "min_lr: 1.0e-6\n", 2,
    )  # fmt: skip
    assert (found.warmup_steps, found.total_steps) == (12, 160)
    assert found.factor(1) == pytest.approx(0.02)
    assert found.factor(7) == pytest.approx(0.02 + 0.98 * 6 / 12)
    assert found.factor(13) == 1
    assert found.factor(87) == pytest.approx(0.001 + 0.999 / 2)
    assert found.factor(161) == pytest.approx(0.001)
    assert found.factor(10_000) == pytest.approx(0.001)


def test_a_warm_up_without_start_factor_trains_from_its_first_step() -> None:
    found = recipe(ADAMW + "warmup_steps: 10\nmax_steps: 110\nscheduler: linear\n")
    assert found.factor(1) == pytest.approx(0.1)
    assert found.factor(11) == 1
    assert found.factor(61) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("warmup_epochs: 3\n", "the warm-up of 3 epochs is left out"),
        ("warmup_ratio: 0.1\n", "needs `total_steps`"),
        ("scheduler: reduce_on_plateau\n", "scheduler reduce_on_plateau is not reproduced ("),
        ("scheduler: cosine\nepochs: 3\n", "the length of the training in steps is not known"),
        ("precision: bf16-mixed\n", "precision bf16-mixed is not reproduced"),
        ("world_size: 8\nbatch_size: 4\n", "one process stands for 8"),
    ],
)
def test_what_is_not_reproduced_is_said(more: str, said: str) -> None:
    notes = recipe(ADAMW + more).notes
    assert any(said in note for note in notes), notes


def test_steps_of_an_epoch_are_the_plans_before_the_scripts() -> None:
    text = ADAMW + "warmup_epochs: 3\n"
    assert recipe(text, 10).warmup_steps == 30
    assert recipe(text, 10, steps_per_epoch="7").warmup_steps == 21


# --- the config that is handed over ---


def plain(folder: Path, text: str) -> tuple[dict[str, object], dict[str, object]]:
    (folder / "c.yaml").write_text(text)
    result = audit_path(str(folder / "c.yaml"), Options(), Finder(None, True))
    assert result.composed is not None
    return plain_config(result.composed, result.units[0].mapping)


def test_values_anchors_and_references(tmp_path: Path) -> None:
    whole, section = plain(
        tmp_path,
        "base: &base {width: 3, drop: 0.1}\nnet:\n  <<: *base\n  drop: 0.2\n  optimizer: adamw\n"
        "  learning_rate: 1e-3\n  name: ${base.width}\n  flags: [true, null, 'no', 0x10]\n",
    )
    net = whole["net"]
    assert isinstance(net, dict)
    assert net["width"] == 3
    assert net["drop"] == 0.2
    assert net["learning_rate"] == 1e-3
    assert net["flags"] == [True, None, "no", 16]
    assert section is net or section is whole


def test_a_bomb_of_aliases_is_refused(tmp_path: Path) -> None:
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    text = "\n".join(["a0: &a0 [1, 2]", *levels, "optimizer: adamw", "learning_rate: 0.1", ""])
    assert MOST_NODES < 9**8
    with pytest.raises(TooLarge):
        plain(tmp_path, text)


@pytest.mark.parametrize(
    ("dialect", "steps", "warmup"),
    [
        ("hf-trainer", 100, 4), ("llama-factory", 100, 4), ("axolotl", 100, 3),
        ("axolotl", 34, 2), ("hf-trainer", 34, 2),
    ],
)  # fmt: skip
def test_a_warm_up_ratio_is_rounded_as_its_framework_does(
    dialect: str, steps: int, warmup: int
) -> None:
    """transformers up, axolotl down (and 1 becomes 2): 3.3 and 1.122 steps."""
    settings = Settings()
    settings.dialects["*"] = dialect
    text = (
        f"learning_rate: 1.0e-3\nwarmup_ratio: 0.033\nmax_steps: {steps}\n"
        "lr_scheduler_type: cosine\nlr_scheduler: cosine\noptimizer: adamw_torch\n"
        "optim: adamw_torch\n"
    )
    (unit,) = audit_source(Source("c.yaml", text), Options(), settings).units
    assert recipe_of(unit, None).warmup_steps == warmup
    before, first = (rate_at(unit, step=step) for step in (warmup, warmup + 1))
    assert before is not None
    assert first is not None
    assert before.inside_warmup
    assert not first.inside_warmup


@pytest.mark.torch
@pytest.mark.slow
def test_a_scheduler_that_a_simulation_steps_is_followed() -> None:
    """Drops by epochs of 3 steps, and a one-cycle, whose rise is a warm-up."""
    pytest.importorskip("torch")
    found = recipe(ADAMW + "epochs: 4\nscheduler: StepLR\nstep_size: 1\ngamma: 0.1\n", 3)
    rates = [found.factor(step) for step in range(1, 20)]
    assert rates == pytest.approx([1.0] * 3 + [0.1] * 3 + [0.01] * 3 + [0.001] * 10)
    assert not found.notes
    assert found.warmup_steps == 0
    found = recipe(ADAMW + "max_steps: 100\nscheduler: OneCycleLR\npct_start: 0.3\n")
    assert found.factor(1) == pytest.approx(1 / 25)
    assert found.warmup_steps == 29
    assert found.factor(30) == pytest.approx(1)
    assert found.factor(1000) == pytest.approx(1 / 25 / 1e4)
