"""From a config to training units: what is found where, and what is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import audit_text, run_cli

from gradaudit.dialects import GENERIC, may_train
from gradaudit.options import Options
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
        "adagrad_accumulator_init", "output_weight_std", "warmup_momentum",
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
        "learning_rate": "${base.lr}: there is no `base.lr` in what the file is made of",
        "micro_batch": "`auto` leaves it to the framework or the launcher",
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
        ("ce_loss_coefficient: 1\nentropy_coefficient: 0.01\nmel_loss_multiplier: 2\n",
         [("ce", 1, "primary"), ("entropy", 0.01, "regulariser"), ("mel", 2, "primary")]),
        ("warmup_coefficient: 1\nweight_decay_coefficient: 2\ntrust_coefficient: 3\n", []),
        ("lr_coefficient: 1\nlr_multiplier: 4\ndepth_multiplier: 2\nchannel_multiplier: 2\n", []),
        ("losses: {ranking: 0.7, mse: 0.2, calibration: 4}\n",
         [("ranking", 0.7, "primary"), ("mse", 0.2, "primary"), ("calibration", 4, "auxiliary")]),
        ("losses:\n  - ranking: 0.7\n  - mse: 0.2\n  - thing: 3\n",
         [("ranking", 0.7, "primary"), ("mse", 0.2, "primary"), ("thing", 3, "unknown")]),
        ("loss: {name: multi, box: 7.5, cls: 0.5, gamma: 2.0, ignore_index: 255, reg_max: 16}\n",
         [("box", 7.5, "primary"), ("cls", 0.5, "primary")]),
        ("loss: {weights: {ce: 1, thing: 2.5}}\n",
         [("ce", 1, "primary"), ("thing", 2.5, "unknown")]),
        ("loss_weights: {ce: {weight: 1}, kd: {weight: 0.5}}\n",
         [("ce", 1, "primary"), ("kd", 0.5, "auxiliary")]),
        ("losses: [{name: ce, weight: 1}, {type: nn.SmoothL1Loss, loss_weight: 2}]\n",
         [("ce", 1, "primary"), ("smooth_l1", 2, "primary")]),
        ("loss_weights: [{name: ce, weight: 1}, {type: CrossEntropyLoss, weight: 3}]\n",
         [("ce", 1, "primary"), ("cross_entropy", 3, "primary")]),
        ("loss: {type: focal, gamma: 2.0, alpha: 0.25, smoothing: 0.1}\n", []),
        ("loss: {type: focal, mse: 2.0, rank_margin: 1}\n", []),
        ("loss: {ce: {class_weights: {class: 1, box: 3}, weights: {0: 1, 1: 2}}}\n", []),
        ("loss:\n  - {type: focal, gamma: 2, alpha: 1}\n  - {type: dice, eps: 1}\n", []),
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


def test_a_warm_up_in_epochs_compares_with_epochs_where_steps_are_written_too() -> None:
    text = "optimizer: sgd\nlr: 0.1\nwarmup_epochs: 30\nepochs: 10\nmax_steps: 100000\n"
    messages = [f.message for f in audit_text(text).findings if f.rule.code == "GA203"]
    assert len(messages) == 1
    assert messages[0].startswith("warm-up lasts 30 epochs, the training 10 epochs")
    known = units(text + "steps_per_epoch: 100\n")["main"].length
    assert known is not None
    assert (known.value, known.unit) == (100000, "steps")


def test_the_passes_of_ppo_over_a_rollout_are_no_length_of_the_training() -> None:
    ppo = "lr: 0.1\nn_epochs: 10\n"
    assert values(ppo)["epochs"] == 10
    for key in ("n_steps: 2048", "total_timesteps: 100000", "ppo_clip: 0.2", "rollout_size: 8"):
        assert "epochs" not in values(ppo + key + "\n"), key
    assert values(ppo + "n_steps: 8\nmax_epochs: 3\n")["epochs"] == 3


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("clip_gradients: {ENABLED: false, CLIP_VALUE: 1.0e-5}", ["clip_value"]),
        ("CLIP_GRADIENTS: {ENABLED: False, max_norm: 1.0e-5, norm_type: 2}", ["clip_norm"]),
        ("warmup: {enabled: false, epochs: 50}", ["warmup_epochs"]),
        ("warmup: {use: no, params: {steps: 50}}", ["warmup_steps"]),
        ("ema: {enable: false, decay: 7}", ["ema_decay"]),
        ("early_stopping: {active: off, patience: 3}", ["early_stop_patience"]),
        ("label_smoothing: {_enabled: false, value: 7}", ["label_smoothing"]),
    ],
)
def test_a_section_that_is_switched_off_is_off(text: str, names: list[str]) -> None:
    result = audit_text(f"optimizer: adamw\nlr: 0.001\nepochs: 10\n{text}\n")
    found = result.units[0].settings
    assert [name for name, setting in found.items() if setting.value is None] == names
    assert found[names[0]].note.startswith("off (")
    assert not [f for f in result.findings if f.severity != "info"]
    on = text.replace("false", "true").replace("no,", "yes,").replace("off", "on")
    on = on.replace("False", "True")
    assert units(f"lr: 0.1\n{on}\n")["main"].number(names[0]) is not None


def test_what_is_on_elsewhere_wins_over_a_section_that_is_off() -> None:
    text = "lr: 0.1\ngrad_clip: {enabled: false, max_norm: 5}\ntrainer: {max_grad_norm: 1}\n"
    assert values(text)["clip_norm"] == 1


@pytest.mark.parametrize(
    ("section", "name"),
    [
        ("{clip_value: 1.0}", "clip_value"),
        ("{value: 1.0}", "clip_value"),
        ("{type: value, value: 1.0}", "clip_value"),
        ("{clip_type: full_model, clip_value: 1.0, norm_type: 2.0}", "clip_norm"),
        ("{algorithm: norm, value: 1.0}", "clip_norm"),
        ("{mode: global_norm, value: 1.0}", "clip_norm"),
        ("{max_norm: 1.0}", "clip_norm"),
    ],
)
def test_a_clip_section_says_what_it_clips(section: str, name: str) -> None:
    unit = units(f"lr: 0.1\nclip_gradients: {section}\n")["main"]
    assert unit.number(name) == 1
    assert "norm" not in unit.settings
    assert "norm" not in unit.unknown
    assert len({"clip_norm", "clip_value"} & set(unit.settings)) == 1


def test_what_is_left_to_the_framework_is_no_fault() -> None:
    result = audit_text(
        "optimizer: adamw\nlr: 0.001\nglobal_batch_size: -1\nnum_gpus: -1\n"
        "gradient_accumulation_steps: -1\n"
    )
    found = result.units[0].settings
    for name in ("global_batch", "world_size", "accumulation"):
        assert found[name].value is None
        assert found[name].note == "-1: left to the framework"
    assert not result.findings


def test_no_gpu_is_one_process() -> None:
    result = audit_text("optimizer: adamw\nlr: 0.001\nngpu: 0\nbatch_size: 8\naccum_steps: 2\n")
    assert result.units[0].number("world_size") == 1
    assert result.units[0].number("global_batch") == 16
    assert not result.findings


def test_a_share_of_the_batch_is_not_guessed_where_the_accumulation_is_automatic() -> None:
    text = "lr: 0.1\nglobal_batch_size: 64\nworld_size: 8\ngradient_accumulation_steps: "
    assert values(text + "2\n")["micro_batch"] == 4
    assert "micro_batch" not in values(text + "auto\n")
    assert "micro_batch" not in values(text + "-1\n")


def test_items_that_each_have_an_optimiser_are_units_of_their_own() -> None:
    found = units(
        "batch_size: 4\nmodels:\n  - {name: g, optimizer: adam, lr: 0.001}\n"
        "  - {optimizer: {type: sgd, lr: 30}}\n"
    )
    assert list(found) == ["g", "models.1"]
    assert [unit.optimizer for unit in found.values()] == ["adam", "sgd"]
    assert found["models.1"].number("micro_batch") == 4
    assert found["models.1"].number("learning_rate") == 30
    two = units("optimizers:\n  - {name: adam, lr: 0.1}\n  - {name: sgd, lr: 0.2}\n")
    assert list(two) == ["optimizers.0", "optimizers.1"]
    assert [unit.optimizer for unit in two.values()] == ["adam", "sgd"]


def test_items_with_only_a_rate_are_further_occurrences() -> None:
    for items in ("param_groups", "stages"):
        unit = units(f"optimizer: adam\n{items}:\n  - {{lr: 0.1}}\n  - {{lr: 0.2}}\n")["main"]
        assert [setting.value for setting in unit.every("learning_rate")] == [0.1, 0.2]
    one = "param_groups:\n  - {name: a, optimizer: adam, lr: 0.1}\n  - {optimizer: sgd, lr: 1}\n"
    assert list(units(one)) == ["main"]


@pytest.mark.parametrize("key", ["smoothing", "ema_momentum"])
def test_a_key_of_two_opposite_meanings_is_left_alone(key: str) -> None:
    assert values(f"lr: 0.1\n{key}: 0.9\n") == {"learning_rate": 0.1}


def test_units_are_named_by_the_key_of_their_section() -> None:
    body = "{optimizer: adam, lr: 0.1}\n"
    assert list(units(f"a.b: {body}c.b: {body}")) == ["a.b", "c.b"]
    assert list(units(f'"": {body}x: {body}')) == ['""', "x"]
    assert list(units(f"one:\n  run:\n    g: {body}two:\n  run:\n    g: {body}")) == [
        "one.run.g", "two.run.g",
    ]  # fmt: skip
    assert list(units(f"one:\n  run:\n    a.g: {body}two:\n  run:\n    h: {body}")) == ["a.g", "h"]


def test_an_unknown_setting_knows_its_node() -> None:
    unit = units("optimizer: adamw\nother: 1.0e_8\nlearning_rate: 1.0e_8\n")["main"]
    node = unit.unknown_nodes["learning_rate"]
    assert (node.value, unit.tree.source.position(node.start)[0]) == ("1.0e_8", 3)
    assert unit.unknown_nodes.keys() == unit.unknown.keys()


ODD = st.one_of(
    st.builds(
        "{}{}{}{}{}".format,
        st.sampled_from(["", "-", "+"]),
        st.integers(0, 999),
        st.sampled_from([0, 3, 200, 307, 320, 400, 5000]).map("0".__mul__),
        st.sampled_from(["", ".", ".0", ".5"]),
        st.sampled_from(["", "e5", "e-5", "E+200", "e-320", "e9999"]),
    ),
    st.sampled_from([
        ".inf", "-.inf", ".nan", "1e400", "-1e400", "1.0e-400", "1.0e+308", "5e-324", "1e60",
        "0x" + "f" * 300,
        "0b" + "1" * 2000, "0o" + "7" * 400, "1" + "_0" * 400, "0." + "0" * 400 + "1", "1" * 5000,
        "-0", "0", "-1", "1.7976931348623157e+308", "9" * 249, "!!float 1", "!!int 12", "'1'",
        "1e-60", "auto", "null", "true", "[1, 2]",
    ]),
)  # fmt: skip
KEYS = (
    "learning_rate", "batch_size", "accum_steps", "world_size", "global_batch_size", "clip_norm",
    "epochs", "max_steps", "warmup_epochs", "warmup_steps", "warmup_ratio", "weight_decay", "eps",
    "momentum", "beta1", "beta2", "dropout", "mse_weight", "calib_max_weight", "steps_per_epoch",
    "warmup_start_factor", "ema_decay", "label_smoothing", "min_lr", "seed", "loss_scale",
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(KEYS), ODD, min_size=2), st.sampled_from(["adamw", "sgd"]))
@settings(max_examples=100, deadline=None)
def test_no_number_is_too_odd_to_be_judged_shown_and_reported(
    tmp_path_factory: pytest.TempPathFactory, numbers: dict[str, str], optimizer: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "odd.yaml"
    lines = [f"{key}: {text}" for key, text in numbers.items()]
    path.write_text("\n".join([f"optimizer: {optimizer}", "norm: BN", *lines, ""]))
    for command in ("check", "show", "report"):
        ran = run_cli(command, str(path))
        assert ran.code in (0, 1), ran.err


@pytest.mark.parametrize("text", ["1" + "0" * 400, "1" + "0" * 5000, "0x" + "f" * 300, "1.0e+90"])
def test_a_number_that_no_training_can_use_is_unknown(text: str, tmp_path: Path) -> None:
    unit = units(f"optimizer: adamw\nlearning_rate: {text}\nmse_weight: {text}\n")["main"]
    assert "learning_rate" not in unit.settings
    assert unit.unknown["learning_rate"].endswith("is no number that a training can use")
    assert len(unit.unknown["learning_rate"]) < 100
    assert not unit.loss_terms


def test_networks_nested_in_a_section_are_units_of_their_own() -> None:
    found = units(
        "gan:\n  epochs: 5\n"
        "  generator: {optimizer: adam, lr: 0.0002}\n"
        "  discriminator: {optimizer: adam, lr: 0.0004}\n"
    )
    assert list(found) == ["generator", "discriminator"]
    assert found["discriminator"].number("learning_rate") == 0.0004


def test_a_section_with_only_a_rate_beside_a_rate_is_a_parameter_group() -> None:
    unit = units("pnet:\n  optimizer: adamw\n  lr: 0.001\n  encoder: {lr: 0.0001}\n")["pnet"]
    assert unit.number("learning_rate") == 0.001
    assert [other.value for other in unit.others["learning_rate"]] == [0.0001]


def test_every_word_for_an_optimiser_or_a_rate_passes_the_cheap_test() -> None:
    """`may_train` lets a file go unparsed: it must never let a training go."""
    keys = [key for key, name in GENERIC["keys"].items() if name in ("optimizer", "learning_rate")]
    sections = [key for key, kind in GENERIC["sections"].items() if kind == "optimizer"]
    within = {
        section
        for section, inner in GENERIC["in"].items()
        if {"optimizer", "learning_rate"} & set(inner.values())
    }
    known = {"optimizer", "own_optimizer"}
    assert within == known, "another section names one: add its words to may_train"
    for word in (*keys, *sections, *GENERIC["own_optimizer"]["words"]):
        assert may_train(f"{word.upper()}: x"), word
    assert not may_train("name: x\nimage: y\n")


def test_an_optimiser_named_by_its_network_is_a_training_of_its_own() -> None:
    found = units("bs: 1\nbatch_size: 4\noptim_g: {name: Adam, lr: 0.1}\ncritic_opt: {lr: 0.2}\n")
    assert set(found) == {"optim_g", "critic_opt"}
    assert found["optim_g"].settings["optimizer"].value == "adam"
    assert found["critic_opt"].settings["learning_rate"].value == 0.2
    assert found["critic_opt"].settings["micro_batch"].value == 4
    assert set(units("optimizer: {name: Adam, lr: 0.1}\noption_g: {lr: 1}\n")) != {"option_g"}


def test_an_assumption_fills_a_length_that_is_null_and_not_a_clip_that_is_off() -> None:
    options = Options()
    options.assume.update(steps_per_epoch="50", clip_norm="1.0", epochs="9")
    text = "optimizer: adamw\nlr: 1.0e-3\nepochs: 3\nsteps_per_epoch: null\nclip_grad_norm: null\n"
    unit = audit_text(text, options).units[0]
    assert (unit.number("steps_per_epoch"), unit.number("epochs")) == (50, 3)
    assert unit.settings["clip_norm"].value is None
