"""GA710: settings that are written and do nothing."""

from __future__ import annotations

import pytest
from test_rules import audit, of, only, severity

HF = "per_device_train_batch_size: 8\nlearning_rate: 2.0e-5\nnum_train_epochs: 3\n"
TORCHTUNE = """\
model: {{_component_: torchtune.models.llama3.llama3_8b}}
tokenizer: {{_component_: torchtune.models.llama3.llama3_tokenizer}}
optimizer: {{_component_: torch.optim.{}, lr: 1.0e-5, momentum: 0.9}}
batch_size: 2
"""
CONSTANT = HF + "lr_scheduler_type: constant\n"
PLAIN = "optimizer: {}\nlearning_rate: 1.0e-3\nbatch_size: 16\n"
DEEPSPEED = (
    "train_micro_batch_size_per_gpu: 4\nzero_optimization: {{stage: 1}}\nsteps_per_print: 10\n"
    "fp16: {{enabled: {}, loss_scale: 128}}\n"
)
AMP = (
    "default_scope: mmdet\ntrain_cfg: {{type: EpochBasedTrainLoop, max_epochs: 12}}\n"
    "optim_wrapper: {{type: AmpOptimWrapper, dtype: {}, loss_scale: 512, "
    "optimizer: {{type: SGD, lr: 0.01}}}}\n"
)
AXOLOTL = (
    "base_model: x\nmicro_batch_size: 8\nnum_epochs: 1\nlearning_rate: 2.0e-5\n"
    "sequence_len: 2048\nadapter: lora\n"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CONSTANT + "warmup_steps: 100\n", "info"),
        (CONSTANT + "warmup_ratio: 0\n", None),
        (CONSTANT, None),
        (HF + "lr_scheduler_type: constant_with_warmup\nwarmup_steps: 100\n", None),
        (AXOLOTL + "lr_scheduler: constant\nwarmup_steps: 10\n", "info"),
        # What other frameworks make of `constant` is not known.
        (PLAIN.format("adamw") + "lr_scheduler: constant\nwarmup_steps: 100\n", None),
        (HF + "optim: sgd\nadam_beta2: 0.95\n", "info"),
        (HF + "optim: adamw_torch\nadam_beta2: 0.95\n", None),
        (HF + "optim: lion_32bit\nadam_beta2: 0.95\n", None),
        (PLAIN.format("sgd") + "betas: [0.9, 0.95]\n", None),  # for another choice
        (PLAIN.format("adamw") + "optimizer_momentum: 0.9\n", None),
        (TORCHTUNE.format("AdamW"), "info"),
        (TORCHTUNE.format("SGD"), None),
        (TORCHTUNE.format("RMSprop"), None),
        (TORCHTUNE.format("AdamW").replace("0.9", "0.0"), None),
        (DEEPSPEED.format("false"), "info"),
        (DEEPSPEED.format("true"), None),
        (PLAIN.format("adamw") + "precision: bf16\nloss_scale: 10\n", None),  # weighs a loss
        (AMP.format("bfloat16"), None),  # mmengine's scaler acts in bf16 too
        (HF + "optim: sgd\nadam_epsilon: 1.0e-6\n", "info"),
    ],
)
def test_setting_without_effect(text: str, expected: str | None) -> None:
    assert severity("GA710", text) == expected


def test_both_betas_are_one_finding() -> None:
    finding = only("GA710", HF + "optim: sgd\nadam_beta1: 0.8\nadam_beta2: 0.9\n")
    assert "`adam_beta1` and `adam_beta2` do nothing" in finding.message


def test_what_a_base_holds_is_not_reported() -> None:
    assert not of(audit(HF + "optim: sgd\n"), "GA710")
