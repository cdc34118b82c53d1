"""The rules on depth and initialisation: their bounds, and what they must not accuse."""

from __future__ import annotations

import pytest
from test_rules_precision import severity

ADAM = "optimizer: adamw\nlearning_rate: 1.0e-4\n"


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ("num_layers: 20\nuse_residual: false\n", "warning"),
        ("num_layers: 19\nuse_residual: false\n", None),
        ("num_layers: 24\nuse_residual: true\n", None),
        ("num_layers: 24\n", None),
        ("num_layers: 8\nuse_residual: false\nactivation: sigmoid\n", "warning"),
        ("num_layers: 8\nuse_residual: false\nactivation: tanh\n", None),  # as in PINNs
        ("num_layers: 8\nuse_residual: false\nactivation: torch.nn.Sigmoid\n", "warning"),
        ("num_layers: 7\nuse_residual: false\nactivation: sigmoid\n", None),
        ("num_layers: 8\nuse_residual: false\nactivation: relu\n", None),
        ("num_layers: 24\nuse_residual: false\nsiren: true\n", None),
        ("num_layers: 24\nuse_residual: null\n", None),
        ("num_layers: 24\nskip_connections: false\n", None),  # a U-Net's or a NeRF's
        ("encoder: {num_layers: 24}\npostnet: {use_residual: false}\n", None),
        ("encoder: {num_layers: 24, block: {use_residual: false}}\n", "warning"),
        ("net: {num_layers: 9, use_residual: false}\nhead: {activation: sigmoid}\n", None),
    ],
)
def test_deep_without_residual(entries: str, expected: str | None) -> None:
    assert severity("GA310", ADAM + entries) == expected


POST = "num_layers: 12\npre_norm: false\n"


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (POST + "warmup_steps: 0\n", "warning"),
        (POST + "warmup_ratio: 0\n", "warning"),
        (POST + "warmup_epochs: 0\n", "warning"),
        (POST, None),
        (POST + "warmup_steps: 100\n", None),
        (POST + "warmup_steps: auto\n", None),
        (POST + "warmup_steps: 0\nwarmup_ratio: 0.1\n", None),
        (POST + "warmup_steps: 0\nscheduler: warmup_cosine\n", None),
        (POST + "warmup_steps: 0\nscheduler: OneCycleLR\n", None),
        (POST + "warmup_steps: 0\npretrained: true\n", None),
        (POST + "warmup_steps: 0\nmodel_name_or_path: bert-base\n", None),
        (POST.replace("12", "11") + "warmup_steps: 0\n", None),
        (POST.replace("false", "true") + "warmup_steps: 0\n", None),
        ("num_layers: 12\nwarmup_steps: 0\n", None),
        (POST + "warmup_steps: 0\npatch_size: 16\n", None),  # timm's `pre_norm` is another
        (POST + "warmup_steps: 0\nrestore_file: x.pt\n", None),
    ],
)
def test_deep_post_norm_without_warmup(entries: str, expected: str | None) -> None:
    assert severity("GA311", ADAM + entries) == expected


@pytest.mark.parametrize("optimizer", ["radam", "sgd", "sophia"])
def test_post_norm_is_judged_under_adam_alone(optimizer: str) -> None:
    text = ADAM.replace("adamw", optimizer) + POST + "warmup_steps: 0\n"
    assert severity("GA311", text) is None


WENET = (
    "encoder: transformer\n"
    "encoder_conf: {{output_size: 256, num_blocks: 12, normalize_before: {}}}\n"
    "dataset_conf: {{filter_conf: {{}}, batch_conf: {{batch_type: static, batch_size: 16}}, "
    "spec_aug_conf: {{}}}}\n"
    "optim: adam\noptim_conf: {{lr: 0.001}}\nscheduler: warmuplr\n"
    "scheduler_conf: {{warmup_steps: {}}}\n"
)


def test_the_encoder_of_wenet_is_read() -> None:
    """Its scheduler is named after its warm-up, so that a 0 there is another matter."""
    assert severity("GA311", WENET.format("false", 25000)) is None
    assert severity("GA311", WENET.format("true", 25000)) is None
    constant = WENET.replace("scheduler: warmuplr\n", "scheduler: constant\n")
    assert severity("GA311", constant.format("false", 0)) == "warning"


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ("initializer_range: 0.1\n", None),
        ("initializer_range: 0.11\n", "warning"),
        ("model:\n  weight_init_std: 0.5\n", "warning"),
        ("actor:\n  init_std: 1.0\n", None),  # of the actions, not of weights
        ("init_method_std: 0.02\n", None),
        ("initializer_range: 0.5\nsiren: true\n", None),
        ("initializer_range: auto\n", None),
        ("initializer_range: 0.5\nmodel_name_or_path: bert-base\n", None),
    ],
)
def test_init_std_too_large(entries: str, expected: str | None) -> None:
    assert severity("GA312", ADAM + entries) == expected


def test_the_initialisation_of_nemo_is_read() -> None:
    text = (
        "trainer: {devices: 1, precision: 32, max_epochs: 5}\nexp_manager: {name: x}\n"
        "model:\n  init_method_std: 0.3\n  train_ds: {batch_size: 4}\n"
        "  optim: {name: adamw, lr: 1.0e-3}\n"
    )
    assert severity("GA312", text) == "warning"
    assert severity("GA312", text.replace("std: 0.3", "std: 0.03")) is None
