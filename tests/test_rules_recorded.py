"""The bounds of the rules on records, and the false positives that they name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from record_support import audit_recorded, record_of, write_record
from record_support import optimizer as made_by
from support import run_cli

from gradaudit.findings import Finding

ADAMW = "optimizer: adamw\nlearning_rate: 1.0e-3\n"
SGD = "optimizer: sgd\nlearning_rate: 0.1\n"


def found(
    config: str,
    steps: list[dict[str, Any]],
    optimizer: dict[str, Any] | None = None,
    more: list[dict[str, Any]] | None = None,
    ranks: int = 1,
) -> dict[str, Finding]:
    first = {"kind": "optimizer", "class": "AdamW", "module": "torch.optim.adamw",
             "layers": ["a.weight", "b.weight"], "shapes": [[4, 4], [4, 4]]}  # fmt: skip
    record = record_of([{**first, **(optimizer or {})}, *steps, *(more or [])], ranks)
    return {finding.rule.code: finding for finding in audit_recorded(config, record).findings}


def run(count: int, **step: Any) -> list[dict[str, Any]]:
    """`count` equal steps."""
    return [{"kind": "step", "step": 1, "to": count, "events": "ZBS", "learning_rate": [1e-3],
             **step}]  # fmt: skip


def varied(count: int, norms: list[float], **step: Any) -> list[dict[str, Any]]:
    """Steps whose norm goes through a list, again and again."""
    return [
        {**run(1, **step)[0], "step": n, "to": n, "pre_clip_norm": norms[n % len(norms)],
         "post_clip_norm": norms[n % len(norms)]}
        for n in range(1, count + 1)
    ]  # fmt: skip


# The config against the run


def test_more_backward_calls_than_planned_are_an_info() -> None:
    config = ADAMW + "gradient_accumulation_steps: 2\n"
    assert found(config, run(9, backward_calls=4))["GA904"].severity == "info"
    assert found(config, run(9, backward_calls=1))["GA904"].severity == "warning"
    assert "GA904" not in found(config, run(9, backward_calls=2))


def test_backward_calls_of_a_closure_are_no_accumulation() -> None:
    config = "optimizer: lbfgs\nlearning_rate: 1.0e-3\ngradient_accumulation_steps: 1\n"
    steps = run(9, backward_calls=5, closure_calls=5)
    assert "GA904" not in found(config, steps, {"class": "LBFGS"})


def test_more_samples_in_batch_norm_than_in_the_batch_are_an_info() -> None:
    config = ADAMW + "batch_size: 32\n"
    for seen, severity in ((64, "info"), (16, "warning")):
        steps = run(9, batch_norm=[{"mode": "train", "batch": seen, "calls": 1}])
        assert found(config, steps)["GA903"].severity == severity
    last = [{**run(1, batch_norm=[{"mode": "train", "batch": 5, "calls": 1}])[0], "step": 9}]
    steps = run(9, batch_norm=[{"mode": "train", "batch": 32, "calls": 1}]) + last
    assert "GA903" not in found(config, steps)  # the last batch of an epoch is smaller


@pytest.mark.parametrize(
    ("written", "dtype", "autocast", "fires"),
    [
        ("bf16-mixed", "float32", "bfloat16", False),
        ("bf16-mixed", "bfloat16", None, False),
        ("bf16-mixed", "float32", None, True),
        ("bf16-mixed", "float32", "float16", True),
        ("fp16-mixed", "float32", "float16", False),
        ("fp32", "float32", "bfloat16", True),
        ("fp32", "float32", None, False),
    ],
)
def test_precision(written: str, dtype: str, autocast: str | None, fires: bool) -> None:
    casts = [{"device": "cuda", "dtype": autocast}] if autocast else []
    config = ADAMW + f"precision: {written}\n"
    steps = run(9, autocast=casts)
    assert ("GA905" in found(config, steps, {"dtypes": {f"torch.{dtype}": 2}})) == fires
    sharded = {"dtypes": {f"torch.{dtype}": 2}, "sharded": True}
    assert "GA905" not in found(config, steps, sharded)


@pytest.mark.parametrize(
    ("written", "name", "module", "fires"),
    [
        ("adamw", "AdamW", "torch.optim.adamw", False),
        ("adamw", "AdamW8bit", "bitsandbytes.optim.adamw", False),
        ("adamw", "Adam", "torch.optim.adam", True),
        ("adamw", "FusedAdam", "deepspeed.ops.adam", False),
        ("adamw", "SGD", "torch.optim.sgd", True),
        ("adamw", "OurOwn", "project.optim", False),
        ("sgd", "RMSprop", "torch.optim.rmsprop", True),
    ],
)
def test_optimisers(written: str, name: str, module: str, fires: bool) -> None:
    config = f"optimizer: {written}\nlearning_rate: 1.0e-3\n"
    assert ("GA906" in found(config, run(9), {"class": name, "module": module})) == fires


@pytest.mark.parametrize("written", ["sam", "lookahead"])
def test_a_wrapper_steps_an_optimiser_that_the_file_does_not_name(written: str) -> None:
    config = f"optimizer: {written}\nlearning_rate: 1.0e-3\n"
    assert "GA906" not in found(config, run(9), {"class": "SGD", "module": "torch.optim.sgd"})


@pytest.mark.parametrize(("section", "fires"), [("adamw", False), ("head", True)])
def test_a_section_may_be_called_as_its_optimiser(section: str, fires: bool) -> None:
    config = f"optimizer:\n  name: muon\n  lr: 0.02\n{section}:\n  lr: 3.0e-4\n"
    both = [
        {"kind": "optimizer", "optimizer": 0, "class": "Muon", "module": "__main__"},
        *[{**step, "learning_rate": [0.02]} for step in run(9, optimizer=0)],
        {"kind": "optimizer", "optimizer": 1, "class": "AdamW", "module": "torch.optim.adamw"},
        *[{**step, "learning_rate": [3e-4]} for step in run(9, optimizer=1)],
    ]
    result = audit_recorded(config, record_of(both))
    assert {one.unit.name for unit in result.units for one in unit.measured} >= {section}
    assert ("GA906" in {finding.rule.code for finding in result.findings}) == fires


def by_value(at: float) -> list[dict[str, Any]]:
    clips = [{"what": "value", "clip_value": at}]
    return run(40, events="ZBCS", clips=clips, pre_clip_norm=0.5, post_clip_norm=0.4)


def test_a_clip_of_the_other_kind_is_not_the_one_of_the_file() -> None:
    config = ADAMW + "gradient_clip_norm: 1.0\n"
    said = found(config, by_value(0.1))
    assert said["GA902"].message == "the file clips by norm at 1, the run by value at 0.1"
    assert "GA105" not in said  # the file has one clip, and the run called one
    norm = [{"what": "norm", "clip_norm": 2.0, "pre_clip_norm": 0.5}]
    said = found(ADAMW + "gradient_clip_value: 0.1\n", run(40, events="ZBCS", clips=norm))
    assert said["GA902"].message == "the file clips by value at 0.1, the run by norm at 2"


def test_two_clips_that_the_run_calls_are_no_two_of_the_file() -> None:
    clips = [
        {"what": "norm", "clip_norm": 1.0, "pre_clip_norm": 0.5},
        {"what": "value", "clip_value": 0.1},
    ]
    steps = run(40, events="ZBCCS", clips=clips, pre_clip_norm=0.5, post_clip_norm=0.4)
    assert "GA105" not in found(ADAMW, steps)
    assert "GA105" not in found(ADAMW + "gradient_clip_norm: 1.0\n", steps)


@pytest.mark.parametrize(("norm", "severity"), [(0.5, "warning"), (0.3, "info")])
def test_a_bound_for_entries_is_told_by_the_norm_of_a_layer(norm: float, severity: str) -> None:
    """16 entries of at most 0.1 have a norm of at most 0.4."""
    steps = run(40, layer_norms=[norm, 0.1], pre_clip_norm=norm, post_clip_norm=norm)
    said = found(ADAMW + "gradient_clip_value: 0.1\n", steps)["GA902"]
    assert said.severity == severity
    assert "by value" in said.message
    assert "clip_grad_value_" in said.next


def test_a_threshold_that_the_run_did_not_have_would_act() -> None:
    clips = [{"what": "norm", "clip_norm": 5.0, "pre_clip_norm": 2.0}]
    steps = run(40, events="ZBCS", clips=clips, pre_clip_norm=2.0, post_clip_norm=2.0)
    said = found(ADAMW + "gradient_clip_norm: 1.0\n", steps)["GA931"]
    assert "the clip at 1 would act on 40 of 40 steps" in said.message
    assert said.label == "would clip 100 % of the steps"


def test_a_code_that_does_not_read_the_key_is_a_cause_of_a_small_batch() -> None:
    steps = run(9, batch_norm=[{"mode": "train", "batch": 8, "calls": 1}])
    (why,) = found(ADAMW + "batch_size: 16\n", steps)["GA903"].why
    assert "from somewhere else" in why


def test_hyperparameters_of_any_group_count() -> None:
    config = ADAMW + "weight_decay: 0.1\nbetas: [0.9, 0.95]\n"
    groups = [{"weight_decay": 0.1, "betas": [0.9, 0.95]}, {"weight_decay": 0.0}]
    assert "GA907" not in found(config, run(9), {"groups": groups})
    groups = [{"weight_decay": 0.1, "betas": [0.9, 0.999]}]
    assert "betas are (0.9, 0.999)" in found(config, run(9), {"groups": groups})["GA907"].message
    assert "GA907" not in found(config, run(9), {"groups": [{"lr": 1.0}]})


def test_what_a_trainer_hides_is_not_compared() -> None:
    config = ADAMW + "gradient_clip_norm: 1.0\ngradient_accumulation_steps: 4\nprecision: bf16\n"
    steps = varied(30, [3.0, 4.0, 5.0], backward_calls=1)
    note = {"kind": "note", "topic": "deepspeed", "text": "DeepSpeed: partial"}
    types = {"dtypes": {"torch.float32": 2}}
    assert {"GA902", "GA904", "GA905"} <= set(found(config, steps, types))
    assert not {"GA902", "GA905"} & set(found(config, steps, types, [note]))


@pytest.mark.parametrize("topic", ["deepspeed", "zero", "fsdp1"])
def test_what_a_trainer_shows_is_compared(topic: str) -> None:
    """The engine's own threshold is in the record, and its calls of backward."""
    clips = [{"what": "deepspeed", "clip_norm": 5.0, "pre_clip_norm": 3.0, "covered": 1, "of": 1}]
    note = {"kind": "note", "topic": topic, "text": "partial"}
    config = ADAMW + "gradient_clip_norm: 0.5\ngradient_accumulation_steps: 4\n"
    seen = found(config, run(30, events="BBCS", backward_calls=2, clips=clips), None, [note])
    assert "the run clips at 5, the file says 0.5" in seen["GA902"].message
    assert "2 times a step, the file accumulates 4" in seen["GA904"].message
    config = ADAMW + "gradient_clip_norm: 5.0\ngradient_accumulation_steps: 2\n"
    seen = found(config, run(30, events="BBCS", backward_calls=2, clips=clips), None, [note])
    assert not {"GA902", "GA904"} & set(seen)


def test_no_clip_is_an_info_where_the_norm_never_needed_one() -> None:
    config = ADAMW + "gradient_clip_norm: 5.0\n"
    assert found(config, varied(30, [1.0, 2.0]))["GA902"].severity == "info"
    assert found(config, varied(30, [1.0, 9.0]))["GA902"].severity == "warning"
    assert "GA902" not in found(config, varied(4, [1.0, 9.0]))


def test_a_clip_that_the_file_switches_off() -> None:
    clips = [{"what": "norm", "clip_norm": 1.0}]
    steps = run(9, events="ZBCS", clips=clips)
    config = "optimizer: adamw\nlearning_rate: 1.0e-3\nmax_grad_norm: null\n"
    assert "the file says no clip" in found(config, steps)["GA902"].message


# What is left out


def test_clips_of_parts_that_cover_everything_together() -> None:
    clips = [
        {"what": "norm", "clip_norm": 1.0, "covered": 1, "of": 2},
        {"what": "norm", "clip_norm": 1.0, "covered": 1, "of": 2},
    ]
    assert "GA921" not in found(ADAMW, run(9, events="ZBCCS", clips=clips))
    assert found(ADAMW, run(9, events="ZBCS", clips=clips[:1]))["GA921"].severity == "info"


def test_frozen_groups_and_shards_need_no_gradient() -> None:
    steps = run(20, layer_norms=[0.5, None], learning_rate=[1e-3, 0.0])
    assert "GA922" in found(ADAMW, steps)
    groups = {"groups": [{"tensors": 1}, {"tensors": 1}]}
    assert "GA922" not in found(ADAMW, steps, groups)
    assert "GA922" not in found(ADAMW, steps, {"sharded": True})
    assert "GA922" not in found(ADAMW, run(9, layer_norms=[0.5, None]))


def test_what_is_frozen_on_purpose_is_no_fault() -> None:
    """The tensor asks for no gradient. A record that does not tell is judged less surely."""
    steps = run(20, layer_norms=[0.5, None])
    assert "GA922" not in found(ADAMW, steps, {"frozen": [1]})
    reached = found(ADAMW, steps, {"frozen": []})["GA922"]
    assert (reached.severity, reached.confidence) == ("warning", "medium")
    older = found(ADAMW, steps)["GA922"]
    assert (older.severity, older.confidence) == ("info", "low")
    assert "or they are frozen on purpose" in older.why[0]


def test_a_gradient_of_zero_is_told_once() -> None:
    steps = run(30, layer_norms=[0.5, 0.0], update_ratio=[1e-3, 0.0], weight_norms=[1.0, 1.0])
    codes = found(ADAMW, steps)
    assert "GA941" in codes
    assert "GA922" not in codes


def test_weights_that_do_not_move() -> None:
    steps = run(30, layer_norms=[0.5, 0.5], update_ratio=[1e-3, 0.0], weight_norms=[1.0, 1.0])
    assert "does not move: `b.weight`" in found(ADAMW, steps)["GA922"].message
    bias = {"bias_before_batch_norm": [1]}
    assert "GA922" not in found(ADAMW, steps, bias)


# The norm


def test_one_outlier_is_no_heavy_tail_below_fifty_times() -> None:
    norms = [1.0, 1.1, 0.9, 1.05]
    steps = varied(120, norms)
    steps[60] |= {"pre_clip_norm": 40.0, "post_clip_norm": 40.0}
    assert "GA933" not in found(ADAMW, steps)
    steps[60] |= {"pre_clip_norm": 60.0, "post_clip_norm": 60.0}
    assert "GA933" in found(ADAMW, steps)


def test_the_first_step_alone_is_that_of_the_initial_weights() -> None:
    norms = [1.0, 1.1, 0.9, 1.05]
    first = varied(120, norms)
    first[0] |= {"pre_clip_norm": 60.0, "post_clip_norm": 60.0}
    finding = found(ADAMW, first)["GA933"]
    assert (finding.severity, finding.message) == (
        "info", "the norm of the first step is 59 times the median, and no other stands out"
    )  # fmt: skip
    later = [{**step, "step": step["step"] + 5, "to": step["step"] + 5} for step in first]
    assert found(ADAMW, later)["GA933"].severity == "warning"  # a record that begins later
    first[60] |= {"pre_clip_norm": 55.0, "post_clip_norm": 55.0}
    assert found(ADAMW, first)["GA933"].severity == "warning"  # another stands out, too
    nan = [{**varied(1, norms)[0], "pre_clip_norm": "nan"}, *varied(120, norms)[1:]]
    nan[1] |= {"pre_clip_norm": 60.0, "post_clip_norm": 60.0}
    assert found(ADAMW, nan)["GA933"].severity == "warning"  # of the second


def test_a_single_norm_that_the_limits_let_through_is_the_first_step_alone(
    tmp_path: Path,
) -> None:
    folder = str(write_record(tmp_path / "r", [
        {"kind": "optimizer", "class": "AdamW"}, *run(1, pre_clip_norm=3.0),
    ]))  # fmt: skip
    config, settings = tmp_path / "c.yaml", tmp_path / "gradaudit.toml"
    config.write_text(ADAMW)
    settings.write_text("[rules.GA933]\nsteps = 1\nlargest = 1\n")
    ran = run_cli("check", str(config), "--record", folder, "--config", str(settings))
    assert ran.code == 0
    assert "Found 1 info" in ran.out


def test_a_norm_that_falls_is_not_reported() -> None:
    steps = [{**step, "pre_clip_norm": 50 * 0.95 ** step["step"]} for step in varied(80, [1.0])]
    assert "GA935" not in found(ADAMW, steps)


def test_a_norm_that_falls_by_orders_has_no_heavy_tail() -> None:
    falling = [10 * 0.95**n * (1 + 0.1 * (n % 3)) for n in range(121)]
    steps = varied(120, falling)
    assert "GA933" not in found(ADAMW, steps)
    clips = [{"what": "norm", "clip_norm": 0.001}]
    steps = varied(120, falling, events="ZBCS", clips=clips)
    clipped = found(SGD + "gradient_clip_norm: 0.001\n", steps, {"class": "SGD"})["GA931"]
    assert clipped.fix is None
    assert "has settled" in clipped.no_fix
    spiky = [norm * (20 if n % 10 == 0 else 1) for n, norm in enumerate(falling)]
    assert "GA933" in found(ADAMW, varied(120, spiky))


def test_a_rise_that_has_ended_is_no_growth() -> None:
    settled = [min(1 + n / 8, 5) + 0.05 * (n % 4) for n in range(121)]
    assert "GA935" not in found(ADAMW, varied(120, settled))
    rising = [1.03**n + 0.05 * (n % 4) for n in range(121)]
    young = found(ADAMW, varied(120, rising))["GA935"]
    assert (young.severity, young.confidence) == ("warning", "low")
    later = [{**step, "step": step["step"] + 500, "to": step["step"] + 500}
             for step in varied(120, rising)]  # fmt: skip
    assert found(ADAMW, later)["GA935"].confidence == "medium"


@pytest.mark.parametrize(
    ("name", "group", "said"),
    [
        ("Adam", {"weight_decay": 0.01}, True),
        ("Adam", {"weight_decay": 0.01, "decoupled_weight_decay": True}, False),
        ("Adam", {"weight_decay": 0}, False),
        ("AdamW", {"weight_decay": 0.01}, False),
    ],
)
def test_a_decay_inside_the_gradient_does_not_cancel(
    name: str, group: dict[str, Any], said: bool
) -> None:
    clips = [{"what": "norm", "clip_norm": 0.1}]
    steps = varied(120, [1.0, 2.0], events="ZBCS", clips=clips)
    optimizer = {"class": name, "module": "torch.optim", "groups": [group]}
    config = f"optimizer: {name.lower()}\nlearning_rate: 1.0e-3\ngradient_clip_norm: 0.1\n"
    assert ("does not cancel" in str(found(config, steps, optimizer)["GA931"].why)) is said


def test_a_hidden_clip_needs_steps_below_it() -> None:
    same = varied(40, [0.5])
    assert "GA936" not in found(ADAMW, same)  # a constant gradient has one norm
    assert "GA936" in found(ADAMW, varied(40, [0.5, 0.5000001, 0.5, 0.4]))
    assert "GA936" not in found(ADAMW, varied(19, [0.5, 0.5000001, 0.5, 0.4]))
    seen = varied(40, [0.5, 0.5000001, 0.5, 0.4], clips=[{"what": "norm", "clip_norm": 0.5}])
    assert "GA936" not in found(ADAMW, seen)


def test_a_clip_far_above_all_norms() -> None:
    clips = [{"what": "norm", "clip_norm": 50.0}]
    steps = varied(120, [1.0, 2.0, 1.5], events="ZBCS", clips=clips)
    assert "GA932" in found(ADAMW + "gradient_clip_norm: 50.0\n", steps)
    assert "GA932" not in found(ADAMW + "gradient_clip_norm: 9.0\n", steps)


# Layers


def test_a_bias_before_batch_norm_is_not_dead() -> None:
    steps = run(30, layer_norms=[0.5, 6.7e-9])
    assert "GA941" in found(SGD, steps, {"class": "SGD", "module": "torch.optim.sgd"})
    bias = {"class": "SGD", "module": "torch.optim.sgd", "bias_before_batch_norm": [1]}
    assert "GA941" not in found(SGD, steps, bias)


@pytest.mark.parametrize("bias", [0.0, 1e-9])
def test_a_bias_that_cancels_is_not_dead_while_its_weight_lives(bias: float) -> None:
    names = {"layers": ["k.weight", "k.bias"], "shapes": [[4, 4], [4]]}
    moves = {"update_ratio": [1e-3, 0.0], "weight_norms": [1.0, 1.0]}
    codes = found(SGD, run(30, layer_norms=[0.5, bias], **moves), {"class": "SGD", **names})
    assert not {"GA941", "GA922"} & set(codes)
    dead = found(SGD, run(30, layer_norms=[0.0, bias]), {"class": "SGD", **names})
    assert "GA941" in dead


def test_a_ratio_of_layers_has_two_digits() -> None:
    steps = run(30, layer_norms=[1.0, 1 / 123456])
    assert "is 120,000 times that" in found(SGD, steps, {"class": "SGD"})["GA942"].message
    steps = run(30, layer_norms=[1.0, 1.23456e-8])
    assert "is 8.1e7 times that" in found(SGD, steps, {"class": "SGD"})["GA942"].message


def test_layers_far_apart_are_an_info_under_adam() -> None:
    steps = run(30, layer_norms=[1.0, 1e-5])
    assert found(ADAMW, steps)["GA942"].severity == "info"
    assert found(SGD, steps, {"class": "SGD"})["GA942"].severity == "warning"


def test_a_tiny_gradient_is_an_info_under_adam() -> None:
    steps = run(30, layer_norms=[0.5, 6.7e-9])
    assert found(ADAMW, steps)["GA941"].severity == "info"
    dead = found(ADAMW, run(30, layer_norms=[0.5, 0.0]))
    assert dead["GA941"].severity == "warning"
    assert "GA941" not in found(ADAMW, run(19, layer_norms=[0.5, 0.0]))


def test_layers_of_a_short_record_are_not_judged_and_what_lacks_is_said(tmp_path: Path) -> None:
    config = tmp_path / "train.yaml"
    config.write_text(ADAMW)
    layers = {"kind": "optimizer", "class": "AdamW", "layers": ["a.weight"], "shapes": [[4, 4]]}
    steps = varied(12, [1.0, 1.1], layer_norms=[0.0])
    folder = write_record(tmp_path / "r", [layers, *steps])
    out = " ".join(run_cli("check", str(config), "--record", str(folder)).out.split())
    assert "8 more steps: vanishing layers (GA941), layers far apart (GA942)" in out


def test_embeddings_and_vectors_are_not_compared() -> None:
    steps = run(30, layer_norms=[1.0, 1e-5])
    sgd = {"class": "SGD", "module": "torch.optim.sgd"}
    assert "GA942" in found(SGD, steps, sgd)
    assert "GA942" not in found(SGD, steps, {**sgd, "layers": ["a.weight", "embed.weight"]})
    assert "GA942" not in found(SGD, steps, {**sgd, "shapes": [[4, 4], [16]]})


def test_gradients_that_bear_an_unknown_scale_are_not_judged() -> None:
    steps = run(30, layer_norms=[0.5, 0.0], unscaled=False)
    assert "GA941" not in found(ADAMW, steps)
    known = run(30, layer_norms=[0.5, 0.0], unscaled=False, loss_scale=1024.0)
    assert "GA941" in found(ADAMW, known)  # the recorder has divided it out


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [(0.2, "warning"), (0.03, "info"), (5e-3, None), (2e-5, None), (1e-6, "info")],
)
def test_update_ratios(ratio: float, expected: str | None) -> None:
    steps = run(30, update_ratio=[ratio, ratio], weight_norms=[1.0, 1.0])
    finding = found(ADAMW, steps).get("GA943")
    assert (finding.severity if finding else None) == expected
    vectors = found(ADAMW, steps, {"shapes": [[4], [4]]})
    assert "GA943" not in vectors
    zero = run(30, update_ratio=[ratio, ratio], weight_norms=[0.0, 0.0])
    assert "GA943" not in found(ADAMW, zero)


def test_a_rate_that_moves_weights_as_usual_is_not_too_high() -> None:
    config = "optimizer: adamw\nlearning_rate: 0.02\n"
    steps = run(30, learning_rate=[0.02], update_ratio=[1e-3, 1e-3], weight_norms=[1.0, 1.0])
    assert found(config, steps)["GA201"].severity == "info"
    steps = run(30, learning_rate=[0.02], update_ratio=[0.1, 0.1], weight_norms=[1.0, 1.0])
    high = found(config, steps)["GA201"]
    assert (high.severity, high.confidence) != ("info", "medium")


@pytest.mark.parametrize(("ratio", "confidence"), [(0.3, "high"), (0.05, "medium")])
def test_a_rate_is_not_told_of_twice(ratio: float, confidence: str) -> None:
    config = "optimizer: adamw\nlearning_rate: 0.02\n"
    steps = run(30, learning_rate=[0.02], update_ratio=[ratio, ratio], weight_norms=[1.0, 1.0])
    codes = found(config, steps)
    assert codes["GA201"].confidence == confidence
    assert str(ratio) in str(codes["GA201"].evidence)
    assert "GA943" not in codes


@pytest.mark.parametrize(
    ("now", "severity"),
    [
        (ADAMW, "warning"),  # a comment may have changed
        (ADAMW.replace("1.0e-3", "1.0e-4"), "info"),
        (ADAMW.replace("adamw", "lion"), "info"),
    ],
)
@pytest.mark.parametrize("older", [True, False])
def test_how_far_a_step_moves_is_of_the_rate_that_the_run_had(
    now: str, severity: str, older: bool, tmp_path: Path
) -> None:
    finding = changed_since(tmp_path, now, 0.3, older)["GA943"]
    assert finding["severity"] == (severity if older else "warning")
    assert ("changed after the record" in str(finding["evidence"])) == (
        older and severity == "info"
    )


@pytest.mark.parametrize("older", [True, False])
def test_a_changed_rate_is_not_held_against_how_far_the_old_one_moved(
    older: bool, tmp_path: Path
) -> None:
    """GA202 would be withdrawn by steps of a rate a hundred thousand times as high."""
    low = ADAMW.replace("1.0e-3", "1.0e-8")
    assert ("GA202" in changed_since(tmp_path, low, 5e-3, older)) == older


def changed_since(folder: Path, now: str, ratio: float, older: bool) -> dict[str, Any]:
    """The findings of a file beside a record that is older than it, or not."""
    (folder / "c.yaml").write_text(now)
    lines = [made_by(), *run(30, update_ratio=[ratio, ratio], weight_norms=[1.0, 1.0])]
    started = "2001-01-01T00:00:00Z" if older else "2999-01-01T00:00:00Z"
    record = write_record(folder / "r", lines, started=started)
    ran = run_cli("check", "--format", "json", "--record", str(record), str(folder / "c.yaml"))
    (file,) = json.loads(ran.out)["files"]
    return {finding["code"]: finding for finding in file["findings"]}


# Health


def test_overflows_that_a_scaler_skips_are_no_nan() -> None:
    broken = {"pre_clip_norm": "inf", "post_clip_norm": "nan", "non_finite": ["a.weight"]}
    steps = varied(30, [1.0, 1.2], loss_scale=1024.0)
    steps[1] |= {**broken, "skipped": True, "events": "ZBUK"}
    assert "GA951" not in found(ADAMW, steps)
    steps[5] |= broken
    finding = found(ADAMW, steps)["GA951"]
    assert "step 6, first in `a.weight`" in finding.message


def test_what_a_dry_run_stopped_before_is_a_finding() -> None:
    """No step has it: it was not taken."""
    stop = {"kind": "non_finite", "step": 31, "what": "term `mse` is nan"}
    finding = found(ADAMW, varied(30, [1.0, 1.2]), more=[stop])["GA951"]
    assert finding.severity == "error"
    assert finding.message.startswith("at step 31 term `mse` is nan: the dry run stopped")
    assert "30 steps before it were finite" in finding.evidence[0]


def test_a_scaler_that_finds_its_scale_is_not_reported() -> None:
    steps = varied(100, [1.0, 1.2], loss_scale=1024.0)
    for step in steps[:10]:
        step["skipped"] = True
    assert "GA952" not in found(ADAMW, steps)
    for step in steps[30::7]:
        step["skipped"] = True
    assert "skipped 10 of 80" in found(ADAMW, steps)["GA952"].message
    low = varied(100, [1.0, 1.2], loss_scale=1024.0)
    low[-1]["loss_scale"] = 0.5
    assert "fell to 0.5" in found(ADAMW, low)["GA952"].message


def test_ranks_that_agree_and_ranks_that_do_not() -> None:
    agree = run(9, pre_clip_norm=[1.0, 1.0], post_clip_norm=[1.0, 1.0])
    assert "GA953" not in found(ADAMW, agree, ranks=2)
    differ = run(9, pre_clip_norm=[1.0, 1.5], post_clip_norm=[1.0, 1.5])
    assert "norms 1 and 1.5 at step 1" in found(ADAMW, differ, ranks=2)["GA953"].message
    note = {"kind": "note", "topic": "zero", "text": "ZeRO: partial"}
    assert "GA953" not in found(ADAMW, differ, more=[note], ranks=2)


def ranks_of(
    layers: list[list[float]], pre: list[float], post: list[float], **more: Any
) -> dict[str, Finding]:
    lines = run(9, pre_clip_norm=pre, post_clip_norm=post, layer_norms=layers, **more)
    return found(ADAMW, lines, ranks=2)


def test_ranks_that_a_clip_makes_equally_long_still_disagree() -> None:
    """A clip that always acts leaves one norm on every rank, of gradients that are apart."""
    one = ranks_of([[0.08, 0.06], [0.06, 0.08]], [0.34, 0.43], [0.1, 0.1])["GA953"]
    assert "norms before the clip 0.34 and 0.43 at step 1" in one.message
    assert "at 9 of 9 steps" in one.evidence[0]
    single = ranks_of([[0.1], [0.1]], [0.34, 0.43], [0.1, 0.1])
    assert "GA953" in single
    # clipped on each rank and averaged then: all step with the same gradient
    assert "GA953" not in ranks_of([[0.08, 0.06], [0.08, 0.06]], [0.34, 0.43], [0.1, 0.1])
    # rounding of a layer that has next to nothing of the gradient
    assert "GA953" not in ranks_of([[0.1, 1e-9], [0.1, 2e-9]], [0.34, 0.34], [0.1, 0.1])


def test_ranks_that_disagree_do_so_at_clipped_steps_too() -> None:
    lines = run(9, pre_clip_norm=[0.34, 0.43], post_clip_norm=[0.3, 0.3],
                layer_norms=[[0.24, 0.18], [0.18, 0.24]])  # fmt: skip
    free = {"step": 5, "to": 5, "pre_clip_norm": [0.2, 0.25], "post_clip_norm": [0.2, 0.25]}
    lines.append({**lines[-1], **free})
    assert "at 9 of 9 steps" in found(ADAMW, lines, ranks=2)["GA953"].evidence[0]


# What a dry run measured of batches


def test_cosines_that_noise_hides_say_nothing() -> None:
    line = {"kind": "batch_size_bias", "micro_batch": 6, "large": 24, "batches": 64}
    for cosine, fires in (
        (None, False),
        ([0.5, 0.2, 0.9], False),
        ([0.5, 0.4, 0.6], True),
        ([0.5, 0.4], False),
        ("nan", False),
    ):
        assert ("GA972" in found(ADAMW, run(9), more=[{**line, "cosine": cosine}])) == fires


@pytest.mark.parametrize(
    ("noise", "expected"), [(0.1, None), (0.35, "info"), (0.6, "warning"), (None, None)]
)
def test_batch_norm_noise(noise: float | None, expected: str | None) -> None:
    layers = [{"layer": "a", "noise": 0.01}, {"layer": "b", "noise": noise}, "odd"]
    finding = found(ADAMW, run(9), more=[{"kind": "batch_norm_noise", "layers": layers}])
    assert (finding["GA971"].severity if "GA971" in finding else None) == expected


@pytest.mark.parametrize(
    ("line", "fires"),
    [
        ({"refused": "BatchNorm couples the samples of a batch"}, False),
        ({"noise_scale": 900, "low": 600, "high": 1200, "micro_batch": 8}, True),
        ({"noise_scale": 90, "low": 60, "high": 120, "micro_batch": 8}, False),
        ({"noise_scale": 4, "low": 2, "high": 6, "micro_batch": 128}, True),
        ({"low": 2, "high": None, "lower_bound_only": True, "micro_batch": 128}, False),
        ({"low": 2, "high": 6, "lower_bound_only": True, "micro_batch": 128}, False),
    ],
)
def test_noise_scale(line: dict[str, Any], fires: bool) -> None:
    steps = run(9, backward_calls=1)
    assert ("GA974" in found(ADAMW, steps, more=[{"kind": "noise", **line}])) == fires


def test_the_batch_of_a_dry_run_is_that_of_all_devices_it_stands_for() -> None:
    noise = {"kind": "noise", "noise_scale": 900, "low": 600, "high": 1200, "micro_batch": 8}
    for ranks, fires in ((1, True), (8, False)):
        trajectory = {"kind": "trajectory", "ranks": ranks}
        given = found(ADAMW, run(9, backward_calls=2), more=[trajectory, noise])
        assert ("GA974" in given) == fires


def test_terms_that_conflict_need_a_share_each() -> None:
    def terms(norm: float) -> dict[str, Any]:
        pair = [{"name": "mse", "weight": 1.0, "gradient_norm": 1.0},
                {"name": "ce", "weight": 1.0, "gradient_norm": norm}]  # fmt: skip
        return {"kind": "terms", "step": 1, "to": 30, "terms": pair}

    cosine = [-0.6, -0.7, -0.5]
    line = {"kind": "frozen", "names": ["mse", "ce"], "cosines": [[None, cosine], [cosine, None]]}
    assert "GA973" in found(ADAMW, run(30), more=[terms(1.0), line])
    assert "GA973" not in found(ADAMW, run(30), more=[terms(0.05), line])
    assert "GA973" not in found(ADAMW, run(30), more=[line])


def test_biases_of_a_record_that_does_not_name_them_are_left_out() -> None:
    steps = run(30, layer_norms=[0.5, 6.7e-9])
    layers = {"layers": ["a.weight", "b.bias"], "shapes": [[4, 4], [4]]}
    assert "GA941" in found(ADAMW, steps, layers)
    assert "GA941" not in found(ADAMW, steps, {**layers, "batch_norm_layers": 1})


def test_a_clip_by_hand_shows_through_the_rounding_of_halves() -> None:
    steps = varied(40, [0.2, 0.1996, 0.1997, 0.2003])
    half = found(ADAMW, steps, {"dtypes": {"torch.bfloat16": 2}})
    assert "at 40 of 40 steps" in half["GA936"].message
    assert "GA936" not in found(ADAMW, steps, {"dtypes": {"torch.float32": 2}})


def test_a_clip_after_the_step_cuts_what_is_never_zeroed() -> None:
    clips = [{"what": "norm", "clip_norm": 1.0, "pre_clip_norm": 2.0, "with_gradient": 2}]
    assert "does nothing" in found(ADAMW, run(40, events="CZBS", clips=clips))["GA912"].message
    kept = found(ADAMW, run(40, events="CBS", clips=clips))["GA912"]
    assert "too late" in kept.message
    assert "added to what it leaves" in kept.why[0]
