"""GA8: a config against the DeepSpeed config that it names, and against its launcher's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import run_cli
from test_rules import audit, audit_launched, of, only, severity

from gradaudit.audit import audit_path
from gradaudit.options import Options
from gradaudit.settings import Finder

HF = """\
per_device_train_batch_size: 8
gradient_accumulation_steps: 2
learning_rate: 2.0e-5
num_train_epochs: 3
lr_scheduler_type: cosine
"""
AXOLOTL = """\
base_model: x
micro_batch_size: 8
num_epochs: 1
learning_rate: 2.0e-5
sequence_len: 2048
adapter: lora
"""
LAUNCH = "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_GPU\n"


def deepspeed(section: str, more: str = "") -> list[str]:
    """The messages of GA801 on a config that carries a DeepSpeed section."""
    text = f"{HF}{more}deepspeed: {{zero_optimization: {{stage: 2}}, {section}}}\n"
    return [finding.message for finding in of(audit(text), "GA801")]


@pytest.mark.parametrize(
    ("section", "more"),
    [
        ("train_micro_batch_size_per_gpu: 4", ""),
        ("gradient_accumulation_steps: 1", ""),
        ("gradient_clipping: 0.5", "max_grad_norm: 1.0\n"),
        ("gradient_clipping: 0.5", ""),  # the trainer's default is 1.0
        ("gradient_clipping: 0.0", "max_grad_norm: 1.0\n"),
        ("gradient_clipping: 1.0", "max_grad_norm: 0\n"),
        ("optimizer: {type: AdamW, params: {lr: 3.0e-5}}", ""),
        ("optimizer: {type: AdamW, params: {lr: auto, eps: 1.0e-6}}", ""),
        ("optimizer: {type: AdamW, params: {weight_decay: 0.1}}", ""),
        ("optimizer: {type: AdamW, params: {betas: [0.9, 0.95]}}", ""),
        ("scheduler: {type: WarmupLR, params: {warmup_max_lr: 1.0e-3}}", ""),
        ("scheduler: {type: WarmupLR, params: {warmup_num_steps: 50}}", "warmup_steps: 100\n"),
        ("scheduler: {type: WarmupLR, params: {warmup_num_steps: 50}}", ""),
        ("scheduler: {type: WarmupDecayLR, params: {total_num_steps: 50}}", "max_steps: 100\n"),
        ("fp16: {enabled: true}", "bf16: true\n"),
        ("bf16: {enabled: true}", "fp16: true\n"),
        ("bf16: {enabled: true}", "bf16: false\n"),
        ("bf16: {enabled: true}", ""),
        ("bf16: {enabled: false}", "bf16: true\n"),
        ("train_batch_size: 40", ""),
        ("train_batch_size: 8", ""),
        ("gradient_accumulation_steps: '2'", ""),  # `2 != "2"`
    ],
)
def test_what_deepspeed_says_otherwise_is_refused(section: str, more: str) -> None:
    assert len(deepspeed(section, more)) == 1


@pytest.mark.parametrize(
    ("section", "more"),
    [
        ("train_micro_batch_size_per_gpu: 8", ""),
        ("train_micro_batch_size_per_gpu: auto", ""),
        ("train_micro_batch_size_per_gpu: 4", "auto_find_batch_size: true\n"),
        ("train_batch_size: 40", "auto_find_batch_size: true\n"),
        ("gradient_clipping: 1", "max_grad_norm: 1.0\n"),
        ("gradient_clipping: 0.0", "max_grad_norm: 0\n"),
        ("optimizer: {type: AdamW, params: {lr: auto, betas: auto, eps: auto}}", ""),
        ("optimizer: {type: AdamW, params: {lr: 2.0e-5, betas: [0.9, 0.999], eps: 1.0e-8}}", ""),
        ("optimizer: {type: AdamW, params: {betas: [0.8, 0.9]}}", "optim: sgd\n"),  # unknown
        ("scheduler: {type: WarmupLR, params: {warmup_num_steps: 50}}", "warmup_ratio: 0.1\n"),
        ("scheduler: {type: WarmupDecayLR, params: {total_num_steps: 50}}", ""),
        ("scheduler: {type: WarmupDecayLR, params: {total_num_steps: 50}}", "max_steps: -1\n"),
        ("fp16: {enabled: auto}, bf16: {enabled: auto}", "bf16: true\n"),
        ("fp16: {enabled: false}", "bf16: true\n"),
        ("bf16: {enabled: true}", "dataset_name: x\n"),  # TRL turns it on
        ("bf16: {enabled: true}", "dataset_name: x\nfp16: false\n"),
        ("train_batch_size: 48", ""),  # three processes
        ("train_batch_size: auto", ""),
    ],
)
def test_what_agrees_or_is_not_known_is_not(section: str, more: str) -> None:
    assert deepspeed(section, more) == []


def test_a_precision_is_named_as_people_name_it() -> None:
    (message,) = deepspeed("fp16: {enabled: true}", "bf16: true\n")
    assert message == "the trainer's precision is bf16, DeepSpeed's `fp16.enabled` says fp16"


def test_a_precision_alone_is_not_set_to_auto() -> None:
    both = only("GA801", HF + "bf16: true\ndeepspeed: {fp16: {enabled: true}, prescale: 1}\n")
    assert both.fix is None
    assert "both" in both.no_fix
    off = only("GA801", HF + "bf16: true\ndeepspeed: {bf16: {enabled: false}, prescale: 1}\n")
    assert off.fix is not None
    assert off.fix.edits[0].key == "deepspeed.bf16.enabled"


def test_a_default_is_less_sure() -> None:
    written = only("GA801", HF + "max_grad_norm: 1.0\ndeepspeed: {gradient_clipping: 0.5}\n")
    default = only("GA801", HF + "deepspeed: {gradient_clipping: 0.5}\n")
    assert (written.confidence, default.confidence) == ("high", "medium")
    assert written.place.line == 6
    assert "by default" in default.message


@pytest.mark.parametrize(
    "config",
    [
        HF + "deepspeed: ds.json\n",
        AXOLOTL + "bf16: auto\ndeepspeed: ds.json\n",
        "stage: sft\nfinetuning_type: lora\ntemplate: qwen\n" + HF + "deepspeed: ds.json\n",
    ],
    ids=["transformers", "axolotl", "llama-factory"],
)
def test_a_file_of_its_own_is_compared_and_never_edited(tmp_path: Path, config: str) -> None:
    ds = {"train_micro_batch_size_per_gpu": 4, "bf16": {"enabled": "auto"}}
    (tmp_path / "ds.json").write_text(json.dumps(ds))
    path = tmp_path / "train.yaml"
    path.write_text(config)
    (finding,) = of(audit_path(str(path), Options(), Finder(None, True)), "GA801")
    assert finding.fix is None
    assert "a file" in finding.no_fix
    assert finding.place.source.path == str(path)
    assert finding.related[0].place.source.path.endswith("ds.json")


def test_a_file_that_is_not_there_says_nothing() -> None:
    assert severity("GA801", HF + "deepspeed: nowhere.json\n") is None


FP16 = "train_micro_batch_size_per_gpu: 8\nzero_optimization: {{stage: 2}}\nfp16: {{{}}}\n"


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("enabled: true, initial_scale_power: 6", "info"),
        ("enabled: true, initial_scale_power: 7", None),
        ("enabled: true, initial_scale_power: 16", None),
        ("enabled: true, loss_scale: 0, initial_scale_power: 4", "info"),
        ("enabled: true, loss_scale: 128, initial_scale_power: 4", None),
        ("enabled: false, initial_scale_power: 4", None),
        ("enabled: auto, initial_scale_power: 4", None),
    ],
)
def test_tiny_initial_loss_scale(section: str, expected: str | None) -> None:
    assert severity("GA805", FP16.format(section)) == expected


def launched(code: str, launcher: str, text: str) -> str | None:
    found = of(audit_launched(LAUNCH + launcher, text), code)
    assert len(found) <= 1
    return found[0].severity if found else None


PLAIN = "optimizer: adamw\nlearning_rate: 1.0e-4\nbatch_size: 16\n"


@pytest.mark.parametrize(
    ("launcher", "text", "expected"),
    [
        ("mixed_precision: fp16", HF + "bf16: false\n", "warning"),
        ("mixed_precision: fp16", HF + "bf16: true\n", "info"),  # the trainer's own flag wins
        ("mixed_precision: fp16", PLAIN + "mixed_precision: bf16\n", "warning"),
        ("mixed_precision: bf16", HF + "bf16: true\n", None),
        ("mixed_precision: 'no'", HF + "bf16: true\n", None),
        ("mixed_precision: bf16", HF, None),  # left to the launcher
        ("mixed_precision: bf16", HF + "fp16: false\n", None),
        ("num_processes: 2", HF + "bf16: true\n", None),
    ],
)
def test_launcher_precision(launcher: str, text: str, expected: str | None) -> None:
    assert launched("GA802", launcher, text) == expected


@pytest.mark.parametrize(
    ("steps", "text", "expected"),
    [
        ("4", HF, "error"),
        ("2", HF, None),
        ("auto", HF, None),
        ("4", HF.replace("gradient_accumulation_steps: 2\n", ""), None),
        ("4", PLAIN + "accumulation_steps: 2\n", "warning"),
    ],
)
def test_launcher_accumulation(steps: str, text: str, expected: str | None) -> None:
    launcher = f"deepspeed_config: {{gradient_accumulation_steps: {steps}, zero_stage: 2}}"
    assert launched("GA803", launcher, text) == expected


@pytest.mark.parametrize(
    ("clip", "text", "expected"),
    [
        ("0.5", HF + "max_grad_norm: 1.0\n", "error"),
        ("0.5", HF, "error"),
        ("1.0", HF, None),
        ("auto", HF, None),
        ("0.5", PLAIN + "max_grad_norm: 1.0\n", None),  # a script of its own
    ],
)
def test_the_clip_of_a_launcher(clip: str, text: str, expected: str | None) -> None:
    launcher = f"deepspeed_config: {{gradient_clipping: {clip}, zero_stage: 2}}"
    assert launched("GA801", launcher, text) == expected


def test_a_launcher_that_leaves_the_accumulation_out_is_not_compared() -> None:
    assert launched("GA803", "deepspeed_config: {zero_stage: 2}", HF) is None


@pytest.mark.parametrize(
    ("processes", "gpus", "expected"),
    [(2, 8, "warning"), (8, 8, None), (16, 8, None), (12, 8, "warning"), (8, 1, None)],
)
def test_launcher_world_size(processes: int, gpus: int, expected: str | None) -> None:
    found = launched("GA804", f"num_processes: {processes}", f"{PLAIN}num_gpus: {gpus}\n")
    assert found == expected


def test_files_named_together_are_compared_and_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    steps = "deepspeed_config: {gradient_accumulation_steps: 4, zero_stage: 2}\n"
    Path("accelerate.yaml").write_text(LAUNCH + steps)
    Path("train.yaml").write_text(HF)
    Path("other.yaml").write_text(HF)
    assert "GA803" in run_cli("check", "accelerate.yaml", "train.yaml").out
    assert "GA803" in run_cli("check", "train.yaml", "accelerate.yaml").out
    assert "GA803" not in run_cli("check", "train.yaml").out
    assert "GA803" not in run_cli("check", ".").out
    # Which of two trainings it launches is not known.
    assert "GA803" not in run_cli("check", "accelerate.yaml", "train.yaml", "other.yaml").out
    assert "GA803" not in run_cli("check", "train.yaml", "other.yaml").out


def test_a_deepspeed_file_named_beside_them_is_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    steps = "deepspeed_config: {gradient_accumulation_steps: 4, zero_stage: 2}\n"
    Path("accelerate.yaml").write_text(LAUNCH + steps)
    Path("train.yaml").write_text(HF)
    Path("ds.yaml").write_text(FP16.format("enabled: auto"))
    assert "GA803" in run_cli("check", "accelerate.yaml", "train.yaml", "ds.yaml").out
    Path("ds.yaml").write_text(FP16.format("enabled: auto") + "gradient_accumulation_steps: 2\n")
    assert "GA803" not in run_cli("check", "accelerate.yaml", "ds.yaml").out
