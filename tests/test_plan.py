"""From a config to training units: what is found where, and what is left alone."""

from __future__ import annotations

import pytest
from support import audit_text

from gradaudit.plan.model import TrainingUnit
from gradaudit.plan.schedule import rate_at
from gradaudit.plan.values import norm_kind, optimizer_family


def units(text: str) -> dict[str, TrainingUnit]:
    return {unit.name: unit for unit in audit_text(text).units}


def values(text: str, unit: str = "main") -> dict[str, object]:
    return {name: setting.value for name, setting in units(text)[unit].settings.items()}


def test_sections_with_their_own_optimiser_are_units_of_their_own() -> None:
    found = units(
        "seed: 1\n"
        "encoder:\n  optimizer: AdamW\n  learning_rate: 1.0e-4\n  batch_size: 8\n"
        "policy:\n  optim: {name: SGD, lr: 0.1}\n"
        "data:\n  batch_size: 32\n"
    )
    assert list(found) == ["encoder", "policy"]
    assert found["encoder"].number("micro_batch") == 8
    assert found["policy"].number("micro_batch") == 32, "shared by those that have none"
    assert found["policy"].settings["micro_batch"].note == "stands outside the section; shared"
    assert found["policy"].optimizer == "sgd"
    assert found["encoder"].number("seed") == 1


def test_grouping_sections_belong_to_the_unit_around_them() -> None:
    assert values(
        "model:\n  norm: BatchNorm2d\n  optimizer:\n    type: torch.optim.Adam\n    lr: 0.001\n"
        "trainer:\n  gradient_clip_val: 0.5\n  max_epochs: 10\n"
        "data:\n  batch_size: 16\n"
    ) == {
        "norm": "batch", "optimizer": "adam", "learning_rate": 0.001, "clip_norm": 0.5,
        "epochs": 10, "micro_batch": 16,
    }  # fmt: skip


def test_two_optimisers_share_what_stands_at_the_top() -> None:
    found = units(
        "batch_size: 4\nepochs: 5\noptimizer_g:\n  lr: 0.0002\noptimizer_d:\n  lr: 0.0001\n"
    )
    assert list(found) == ["optimizer_g", "optimizer_d"]
    assert [unit.number("epochs") for unit in found.values()] == [5, 5]


def test_parameter_groups_are_further_occurrences_and_no_units() -> None:
    unit = units(
        "optimizer:\n  type: AdamW\n  lr: 0.0001\n"
        "  param_groups:\n    - {lr: 0.00001}\n    - {lr: 0.000001}\n"
    )["main"]
    assert unit.number("learning_rate") == 0.0001
    assert [other.value for other in unit.others["learning_rate"]] == [0.00001, 0.000001]


def test_an_evaluation_section_says_nothing_of_the_training() -> None:
    found = values("optimizer: sgd\nlr: 0.1\nevaluation:\n  batch_size: 1\n  dropout: 2\n")
    assert found == {"optimizer": "sgd", "learning_rate": 0.1}


@pytest.mark.parametrize(
    "key",
    [
        "clip_qkv", "clip_range", "LR_CLIP", "num_clips", "value_clip_range", "do_clip",
        "adagrad_accumulator_init", "output_weight_std", "loss_scale_window", "warmup_momentum",
        "augment_warmup", "gradient_accumulation_fusion", "accumulate_grad_in_fp32",
        "use_bnb_optimizer", "clip_bbox", "frames_per_clip", "warmup_teacher_temp",
    ],
)  # fmt: skip
def test_look_alikes_are_no_match(key: str) -> None:
    assert values(f"optimizer: adamw\nlr: 0.001\n{key}: 7\n") == {
        "optimizer": "adamw", "learning_rate": 0.001
    }  # fmt: skip


def test_of_two_equal_keys_the_last_is_in_force_and_the_other_is_kept() -> None:
    unit = units("optimizer: adamw\nlearning_rate: 0.1\nlearning_rate: 0.2\n")["main"]
    assert unit.number("learning_rate") == 0.2
    assert [other.value for other in unit.others["learning_rate"]] == [0.1]


def test_a_text_number_is_a_number_that_is_known_to_be_text() -> None:
    setting = units("optimizer: adamw\nlearning_rate: 1e-4\n")["main"].settings["learning_rate"]
    assert (setting.value, setting.is_text, setting.raw) == (1e-4, True, "1e-4")


def test_interpolations_are_unknown_and_say_why() -> None:
    unit = units("optimizer: adamw\nlearning_rate: ${base.lr}\nbatch_size: auto\n")["main"]
    assert unit.unknown == {
        "learning_rate": "'${base.lr}' is filled in elsewhere",
        "micro_batch": "'auto' is not a number",
    }


def test_off_is_spelt_in_several_ways() -> None:
    for written in ("max_grad_norm: 0", "gradient_clip_val: 0.0", "gradient_clip_norm: null"):
        setting = units(f"optimizer: adamw\nlr: 0.001\n{written}\n")["main"].settings["clip_norm"]
        assert setting.value is None, written
        assert "off" in setting.note


def test_clipping_by_value_is_not_clipping_by_norm() -> None:
    found = values("lr: 0.1\ngradient_clip_val: 0.5\ngradient_clip_algorithm: value\n")
    assert found["clip_value"] == 0.5
    assert "clip_norm" not in found


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("mse_weight: 1\ncalib_max_weight: 2.5\nweight_decay: 0.1\nclass_weight: 3\n",
         [("mse", 1, "primary"), ("calib_max", 2.5, "auxiliary")]),
        ("loss_weights:\n  ranking: 0.7\n  entropy: 0.01\n  thing: 3\n",
         [("ranking", 0.7, "primary"), ("entropy", 0.01, "regulariser"), ("thing", 3, "unknown")]),
        ("loss_weights:\n  - ranking: 0.7\n  - mse: 0.2\n",
         [("ranking", 0.7, "primary"), ("mse", 0.2, "primary")]),
        ("losses:\n  mask:\n    weight: 2.0\n  dice: {weight: 5.0}\n",
         [("mask", 2.0, "primary"), ("dice", 5.0, "primary")]),
        ("edge_weight: 1\nnode_weight: 2\nrelation_weight: 3\n", []),
        ("data:\n  mse_weight: 1\n", []),
        ("lambda_ce: 1\nce_coef: 2\n", [("ce", 1, "primary"), ("ce", 2, "primary")]),
    ],
)  # fmt: skip
def test_loss_terms(text: str, terms: list[tuple[str, float, str]]) -> None:
    unit = units("optimizer: adamw\nlr: 0.001\n" + text)["main"]
    assert [(term.name, term.weight, term.role) for term in unit.loss_terms] == terms


def test_anchors_aliases_and_merges_are_followed() -> None:
    found = units(
        "base: &base\n  optimizer: adamw\n  lr: 0.001\n"
        "one:\n  <<: *base\n  lr: 0.002\n  batch_size: 4\ntwo: *base\n"
    )
    assert found["one"].number("learning_rate") == 0.002
    assert found["one"].optimizer == "adamw"
    assert found["two"].number("learning_rate") == 0.001


def test_recursive_anchors_and_alias_bombs_end() -> None:
    assert audit_text("a: &a\n  lr: 0.1\n  self: *a\n").units
    bomb = "x0: &x0 {lr: 0.1}\n" + "".join(
        f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9)}]\n" for i in range(1, 12)
    )
    assert audit_text(bomb).units


@pytest.mark.parametrize(
    ("written", "family"),
    [("AdamW", "adamw"), ("torch.optim.SGD", "sgd"), ("paged_adamw_8bit", "adamw"),
     ("adamw_torch_fused", "adamw"), ("FusedAdam", "adam"), ("Lion", "lion")],
)  # fmt: skip
def test_optimizer_families(written: str, family: str) -> None:
    assert optimizer_family(written) == family


@pytest.mark.parametrize(
    ("written", "kind"),
    [("BN", "batch"), ("nn.BatchNorm1d", "batch"), ("SyncBN", "sync_batch"), ("GN", "group"),
     ("FrozenBN", "frozen_batch"), ("layer_norm", "layer"), ("RMSNorm", "rms"), ("LN", "layer"),
     ("instance", "instance"), ("none", "none"), ("backward", None), ("ortho", None)],
)  # fmt: skip
def test_norm_kinds(written: str, kind: str | None) -> None:
    assert norm_kind(written) == kind


def test_frozen_wins_over_batch_norm() -> None:
    assert values("lr: 0.1\nnorm: BN\nfreeze_bn: true\n")["norm"] == "frozen_batch"
    assert values("lr: 0.1\nnorm: BN\nfreeze_bn: false\n")["norm"] == "batch"


WARM = "optimizer: adamw\nlearning_rate: 8.0e-5\nwarmup_epochs: 6\nwarmup_start_factor: 0.02\n"


def test_rate_at_an_epoch_of_the_warm_up_as_torch_has_it() -> None:
    """LinearLR(start_factor=0.02, total_iters=6): 8e-5 * (0.02 + 0.98 * e / 6)."""
    unit = units(WARM)["main"]
    third = rate_at(unit, epoch=3)
    assert third is not None
    assert third.low == pytest.approx(2.7733e-5, rel=1e-4)
    assert third.high == pytest.approx(4.08e-5, rel=1e-4)
    assert third.inside_warmup
    after = rate_at(unit, epoch=7)
    assert after is not None
    assert after.low == pytest.approx(8e-5)
    assert not after.inside_warmup


def test_rate_at_a_step_needs_the_same_unit_or_the_steps_of_an_epoch() -> None:
    assert rate_at(units(WARM)["main"], step=10) is None
    known = rate_at(units(WARM + "steps_per_epoch: 100\n")["main"], step=301)
    assert known is not None
    assert known.low == known.high == pytest.approx(8e-5 * (0.02 + 0.98 / 2))


def test_durations_compare_across_units_only_where_that_is_known() -> None:
    text = "optimizer: sgd\nlr: 0.1\nwarmup_steps: 500\nepochs: 10\n"
    unit = units(text)["main"]
    assert unit.warmup is not None
    assert unit.warmup.share_of(unit.length, None) is None
    assert unit.warmup.share_of(unit.length, 100) == 0.5
