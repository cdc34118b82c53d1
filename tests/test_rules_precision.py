"""The rules on precision: their bounds, and what they must not accuse."""

from __future__ import annotations

import pytest
from support import audit_text

from gradaudit.findings import Finding
from gradaudit.options import Options

ADAM = "optimizer: adamw\nlearning_rate: 1.0e-5\n"
HF = (
    "output_dir: out\nper_device_train_batch_size: 4\ngradient_accumulation_steps: 1\n"
    "num_train_epochs: 3\nwarmup_ratio: 0.1\n"
)
LIGHTNING = (
    "seed_everything: 1\nmodel: {{class_path: my.Model, init_args: {{learning_rate: 2.0e-4}}}}\n"
    "trainer: {{max_epochs: 5, devices: 1, precision: {}}}\n"
)


def findings(code: str, text: str) -> list[Finding]:
    options = Options()
    options.select = [code]
    return audit_text(text, options).findings


def severity(code: str, text: str) -> str | None:
    """What a rule says of a text: one severity, or nothing."""
    found = findings(code, text)
    assert len(found) <= 1
    return found[0].severity if found else None


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ("mixed_precision: fp16\nuse_grad_scaler: false\n", "warning"),
        ("mixed_precision: fp16\nuse_grad_scaler: true\n", None),
        ("mixed_precision: fp16\n", None),
        ("mixed_precision: bf16\nuse_grad_scaler: false\n", None),
        ("precision: 16-true\ngrad_scaler: false\n", "warning"),
        ("grad_scaler: false\n", None),
    ],
)
def test_fp16_without_loss_scaling(entries: str, expected: str | None) -> None:
    assert severity("GA501", ADAM + entries) == expected


@pytest.mark.parametrize(("precision", "fixed"), [("16-true", False), ("16-mixed", True)])
def test_no_scaler_is_turned_on_that_torch_would_refuse(precision: str, fixed: bool) -> None:
    (found,) = findings("GA501", ADAM + f"precision: {precision}\ngrad_scaler: false\n")
    assert (found.fix is not None) == fixed
    assert fixed or found.no_fix


@pytest.mark.parametrize(
    ("precision", "expected"), [("16-true", "warning"), ("16-mixed", None), ("bf16-true", None)]
)
def test_lightnings_true_half_has_no_scaler(precision: str, expected: str | None) -> None:
    text = LIGHTNING.format(precision)
    assert severity("GA501", text) == expected
    assert all(found.fix is None for found in findings("GA501", text))


def test_timms_half_weights_have_no_scaler() -> None:
    text = "sched: step\nopt: adamw\nreprob: 0.0\nremode: pixel\nrecount: 2\nmodel_dtype: float16\n"
    assert severity("GA501", text) == "warning"
    assert severity("GA501", text.replace("model_dtype: float16", "amp: true")) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ADAM + "fp16: true\nbf16: true\n", "warning"),
        (ADAM + "fp16: true\nbf16: false\n", None),
        (ADAM + "fp16: true\nbf16: auto\n", None),
        (ADAM + "fp16: true\n", None),
        (ADAM + "fp16: null\nbf16: true\n", None),
        (ADAM + "fp16: 'O1'\nbf16: true\n", None),
        (HF + "fp16: true\nbf16: true\n", "error"),
        (HF + "fp16: false\nbf16: true\n", None),
    ],
)
def test_fp16_and_bf16(text: str, expected: str | None) -> None:
    assert severity("GA502", text) == expected


def test_axolotl_lets_bf16_win() -> None:
    text = (
        "base_model: a/b\ndatasets:\n  - {path: c/d, type: alpaca}\nmicro_batch_size: 4\n"
        "fp16: true\nbf16: true\n"
    )
    assert severity("GA502", text) == "info"


@pytest.mark.parametrize("name", ["gemma-2-2b", "Llama-3-8B"])
def test_what_litgpt_trains_in_half(name: str) -> None:
    text = (
        f"checkpoint_dir: checkpoints/x/{name}\nout_dir: out\nprecision: 16-true\nlora_r: 8\n"
        "train: {global_batch_size: 8, micro_batch_size: 1, epochs: 1}\n"
    )
    assert severity("GA501", text) == "warning"
    assert severity("GA505", text) == ("warning" if "gemma" in name else None)


def test_deepspeed_refuses_the_pair() -> None:
    text = (
        '{"train_micro_batch_size_per_gpu": 4, "zero_optimization": {"stage": 1}, '
        '"steps_per_print": 10, "fp16": {"enabled": true}, "bf16": {"enabled": true}}'
    )
    found = findings("GA502", text)
    assert [one.severity for one in found] == ["error"]
    assert found[0].key == "fp16.enabled"


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ("loss_scale: 16777216\n", None),
        ("loss_scale: 16777217\n", "warning"),
        ("loss_scale: 0\n", None),
        ("loss_scale: dynamic\n", None),
        ("initial_scale_power: 32\n", None),
        ("initial_scale_power: 33\n", "info"),
        ("initial_scale_power: 33\nloss_scale: 128\n", None),
        ("loss_scale_window: 10\n", None),
        ("loss_scale_window: 9\n", "warning"),
        ("loss_scale_window: 0\n", None),
        ("loss_scale_window: 9\nloss_scale: 128\n", None),
        ("loss_scale_window: auto\n", None),
    ],
)
def test_loss_scale_out_of_range(entries: str, expected: str | None) -> None:
    assert severity("GA503", ADAM + "mixed_precision: fp16\n" + entries) == expected
    assert severity("GA503", ADAM + "mixed_precision: bf16\n" + entries) is None


def test_the_window_of_deepspeed_is_read_where_it_stands() -> None:
    text = (
        '{"train_micro_batch_size_per_gpu": 4, "zero_optimization": {"stage": 1}, '
        '"steps_per_print": 10, "fp16": {"enabled": true, "loss_scale": 0, "loss_scale_window": 2}}'
    )
    (found,) = findings("GA503", text)
    assert found.key == "fp16.loss_scale_window"
    assert found.fix is not None
    assert found.fix.edits[0].new == "1000"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ADAM + "precision: bf16-true\n", "info"),
        (ADAM.replace("e-5", "e-4") + "precision: bf16-true\n", "info"),
        (ADAM.replace("1.0e-5", "1.1e-4") + "precision: bf16-true\n", None),
        (ADAM + "precision: bf16-mixed\n", None),
        (ADAM.replace("adamw", "sgd") + "precision: bf16-true\n", None),
        (ADAM.replace("adamw", "lion") + "precision: bf16-true\n", "info"),
        (ADAM.replace("adamw", "adafactor") + "precision: bf16-true\n", None),
        (ADAM.replace("adamw", "muon") + "precision: bf16-true\n", None),
        (ADAM.replace("adamw", "adamw_anyprecision") + "precision: bf16-true\n", None),
        (ADAM + "precision: bf16-true\nstochastic_rounding: true\n", None),
        (ADAM + "precision: bf16-true\nlora_rank: 8\n", None),
    ],
)
def test_bf16_updates_vanish(text: str, expected: str | None) -> None:
    assert severity("GA504", text) == expected


def test_bf16_weights_are_a_matter_of_the_strict_profile() -> None:
    assert not audit_text(ADAM + "precision: bf16-true\n").findings


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("t5-large", "warning"), ("t5-small", None), ("t5/t5-small/", None),
        ("google/flan-t5-xl", "warning"), ("google/mt5-base", "warning"),
        ("google/umt5-small", "warning"), ("google/ul2", "warning"), ("models/t5_base/", "warning"),
        ("google/gemma-2-9b-it", "warning"), ("google/gemma-3-12b-it", "warning"),
        ("unsloth/gemma2-9b", "warning"), ("google/gemma-7b", None),
        ("meta-llama/Llama-2-7b", None),
        ("bert-base-uncased", None), ("my/gpt5", None), ("t5/llama", None), ("", None),
    ],
)  # fmt: skip
def test_fp16_for_bf16_model(name: str, expected: str | None) -> None:
    text = HF + f"model_name_or_path: '{name}'\n"
    assert severity("GA505", text + "fp16: true\n") == expected
    assert severity("GA505", text + "bf16: true\n") is None
    assert severity("GA505", text) is None
