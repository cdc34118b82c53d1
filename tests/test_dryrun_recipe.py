"""What a dry run takes from the plan, and the config that it hands over. No torch needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradaudit.audit import audit_path, audit_source
from gradaudit.compose.plain import MOST_NODES, TooLarge, plain_config
from gradaudit.options import Options
from gradaudit.plan.schedule import rate_at
from gradaudit.probe.recipe import NO_SCHEDULER, Recipe, recipe_of
from gradaudit.settings import Finder, Settings
from gradaudit.source import Source


def recipe(text: str, per_epoch: float | None = None, **assumed: str) -> Recipe:
    options = Options()
    options.assume = assumed
    result = audit_source(Source("c.yaml", text), options, Settings())
    return recipe_of(result.units[0], per_epoch=per_epoch)


def warmup_of(found: Recipe) -> int:
    assert found.planned is not None
    return found.planned.terms.warmup


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
    assert found.notes == [NO_SCHEDULER]


def test_a_clip_that_is_off_is_none() -> None:
    assert recipe(ADAMW + "gradient_clip_norm: null\n").clip_norm is None
    assert recipe("optimizer: sgd\nlearning_rate: 0.1\n").adaptive is False


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("warmup_epochs: 3\n", "the warm-up of 3 epochs is left out, the rate is the peak from"),
        ("warmup_epochs: 3\n", "steps_per_epoch is not known); say `--assume steps_per_epoch=N`"),
        ("warmup_ratio: 0.1\n", "say `--assume total_steps=N` or `--assume epochs=N`"),
        ("scheduler: reduce_on_plateau\n", "scheduler reduce_on_plateau is not reproduced ("),
        ("scheduler: cosine\nepochs: 3\n", "(steps_per_epoch is not known): the rate stays at"),
        ("scheduler: cosine\n", "(how long the training is, is not known): the rate stays at"),
        ("scheduler: cosine\nmax_steps: 9\n", "cosine: only the shape is known from the name"),
        ("max_steps: 9\n", "names no scheduler: after its warm-up, if any, the rate stays"),
        (
            "world_size: 16\n",
            "one process stands for 16 (more than 8 would make each step 16 times",
        ),
        (
            "world_size: 2\nbatch_size: 4\nglobal_batch_size: 12\ngradient_accumulation_steps: 1\n",
            "(micro_batch x accumulation x devices is not the global batch)",
        ),
    ],
)
def test_what_is_not_reproduced_is_said(more: str, said: str) -> None:
    notes = recipe(ADAMW + more).notes
    assert any(said in note for note in notes), notes


def test_precision_and_devices() -> None:
    found = recipe(ADAMW + "precision: fp16-mixed\nworld_size: 8\nnorm: sync_batch\n")
    assert (found.precision, found.ranks, found.sync_batch_norm) == ("fp16-mixed", 8, True)
    assert found.loss_scale is not None
    assert (found.loss_scale.initial, found.loss_scale.fixed) == (65536.0, False)
    assert recipe(ADAMW + "precision: bf16-mixed\n").loss_scale is None


def test_steps_of_an_epoch_are_the_plans_before_the_scripts() -> None:
    text = ADAMW + "warmup_epochs: 3\n"
    assert warmup_of(recipe(text, 10)) == 30
    assert warmup_of(recipe(text, 10, steps_per_epoch="7")) == 21


HF = "output_dir: out\nper_device_train_batch_size: 8\nlearning_rate: 1.0e-3\nnum_train_epochs: 2\n"
LLAMA_FACTORY = HF + "stage: sft\ntemplate: llama3\nfinetuning_type: lora\n"
AXOLOTL = (
    "base_model: NousResearch/Llama-3.2-1B\ndatasets: [{path: x}]\nmicro_batch_size: 2\n"
    "gradient_accumulation_steps: 1\nlearning_rate: 1.0e-4\nnum_epochs: 2\n"
)


@pytest.mark.parametrize("text", [HF, LLAMA_FACTORY, AXOLOTL])
@pytest.mark.parametrize("steps", [300, 100])
def test_max_steps_wins_over_epochs_where_the_framework_lets_it(text: str, steps: int) -> None:
    """A training of transformers with these (300 steps beside 2 epochs of 64) ended at step 300."""
    found = recipe(text + f"max_steps: {steps}\n", 64)
    assert found.clock.steps == steps
    (said,) = [note for note in found.notes if "gives way" in note]
    assert said.endswith(
        f"epochs 2 (128 steps) gives way to max_steps: the training is {steps} steps long"
    )


def test_where_max_steps_is_off_epochs_end_the_training() -> None:
    for text in (HF, HF + "max_steps: -1\n", HF + "max_steps: 128\n"):
        found = recipe(text, 64)
        assert found.clock.steps == 128
        assert not [note for note in found.notes if "steps long" in note]


def test_of_two_lengths_that_nobody_ranks_the_shorter_ends_it() -> None:
    found = recipe(ADAMW + "epochs: 2\nmax_steps: 300\n", 64)
    assert found.clock.steps == 128
    assert "300 steps in the other unit: the shorter ends the training here" in found.notes


def test_steps_of_an_epoch_from_the_length_of_the_loader() -> None:
    """A loader of one process gives micro-batches: a step takes accumulation x devices of them."""
    text = ADAMW + "warmup_epochs: 3\nbatch_size: 4\n"
    for more, steps in (
        ("", 100), ("gradient_accumulation_steps: 8\n", 13),
        ("gradient_accumulation_steps: 8\nworld_size: 2\n", 7),
    ):  # fmt: skip
        result = audit_source(Source("c.yaml", text + more), Options(), Settings())
        found = recipe_of(result.units[0], batches=100)
        assert warmup_of(found) == 3 * steps
        assert warmup_of(recipe_of(result.units[0], per_epoch=5, batches=100)) == 15


@pytest.mark.parametrize(
    ("more", "warmup"),
    [
        ("scheduler: reduce_on_plateau\nwarmup_steps: 9\n", 9),
        ("scheduler: cosine\nwarmup_steps: 9\n", 9),
        ("warmup_steps: 9\n", 9),
        ("scheduler: cosine\nwarmup_steps: 9\nepochs: 4\n", 9),
        ("scheduler: reduce_on_plateau\nmax_steps: 50\nwarmup_ratio: 0.1\n", 5),
    ],
)
def test_where_a_schedule_cannot_be_made_its_warm_up_is_kept(more: str, warmup: int) -> None:
    found = recipe(ADAMW + more)
    assert warmup_of(found) == warmup
    assert found.planned is found.held


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
    assert warmup_of(recipe_of(unit)) == warmup
    before, first = (rate_at(unit, step=step) for step in (warmup, warmup + 1))
    assert before is not None
    assert first is not None
    assert before.inside_warmup
    assert not first.inside_warmup


@pytest.mark.parametrize(
    ("name", "written", "momentum", "nesterov"),
    [
        ("momentum", "", 0.9, False),
        ("nesterov", "", 0.9, True),
        ("nesterov", "momentum: 0.8\n", 0.8, True),
        ("sgd", "", None, False),
    ],
)
def test_the_name_of_sgd_says_whether_it_has_a_momentum(
    name: str, written: str, momentum: float | None, nesterov: bool
) -> None:
    found = recipe(f"optimizer: {name}\nlearning_rate: 0.1\n{written}max_steps: 100\n")
    assert found.arguments.get("momentum") == momentum
    assert found.arguments.get("nesterov", False) is nesterov
    said = [note for note in found.notes if "0.9 is taken" in note]
    assert bool(said) is (momentum == 0.9)
