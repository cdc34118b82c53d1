"""Rules on adapters, fine-tuning rates, moments, eps, decay and momentum: bounds and exceptions."""

from __future__ import annotations

import pytest

from gradaudit.audit import FileResult, audit_source
from gradaudit.findings import Finding
from gradaudit.options import Options
from gradaudit.rules import load
from gradaudit.rules.docs import parse
from gradaudit.settings import Settings
from gradaudit.source import Source

RULES = load()


def audit(text: str, *more: str, path: str = "example.yaml") -> FileResult:
    options = Options()
    options.extend_select = list(more)
    return audit_source(Source(path, text), options, Settings())


def found(code: str, text: str, path: str = "example.yaml") -> list[Finding]:
    result = audit(text, code, path=path)
    return [finding for finding in result.findings if finding.rule.code == code]


def severity(code: str, text: str, path: str = "example.yaml") -> str | None:
    findings = found(code, text, path)
    assert len(findings) <= 1
    return findings[0].severity if findings else None


def codes(text: str) -> set[str]:
    return {finding.rule.code for finding in audit(text).findings}


AXOLOTL = (
    "base_model: x\ndatasets: [{path: d, type: alpaca}]\nmicro_batch_size: 1\n"
    "gradient_accumulation_steps: 4\nsequence_len: 512\n"
)
LLAMA_FACTORY = "model_name_or_path: x\nstage: sft\ntemplate: default\ncutoff_len: 512\n"
HF = "model_name_or_path: x\nper_device_train_batch_size: 8\nnum_train_epochs: 1\n"
TORCHTUNE = (
    "tokenizer: {_component_: torchtune.models.llama3.llama3_tokenizer, path: x}\n"
    "checkpointer: {_component_: torchtune.training.FullModelHFCheckpointer}\n"
)


# GA218


@pytest.mark.parametrize(
    ("optimizer", "rate", "expected"),
    [
        ("adamw", 0.001, None),
        ("adamw", 0.0011, "warning"),
        ("adamw", 0.01, "warning"),
        ("adamw", 0.011, None),  # GA201 has it
        ("lion", 0.0003, None),
        ("lion", 0.0004, "warning"),
        ("adafactor", 0.005, None),
        ("sgd", 0.005, None),
        ("muon", 0.005, None),
        ("schedulefree_adamw", 0.005, None),
        ("prodigy", 1.0, None),
    ],
)
def test_fine_tuning_rate(optimizer: str, rate: float, expected: str | None) -> None:
    text = f"optimizer: {optimizer}\nlearning_rate: {rate}\nfinetuning_type: full\n"
    assert severity("GA218", text) == expected


@pytest.mark.parametrize(
    "more",
    [
        "layer_decay: 0.75\n",
        "pre_seq_len: 128\n",
        "freeze_encoder: true\n",
        "pretrained: false\n",
        "finetuning_type: freeze\n",
        "scheduler: noam\n",
    ],
)
def test_rates_that_are_no_fine_tuning_of_all_weights(more: str) -> None:
    full = "" if "finetuning" in more else "finetuning_type: full\n"
    text = f"optimizer: adamw\nlearning_rate: 0.005\n{full}{more}"
    assert severity("GA218", text) is None


def test_fine_tuning_rate_in_dialects() -> None:
    assert severity("GA218", HF + "learning_rate: 0.005\n") == "warning"
    assert severity("GA218", HF + "learning_rate: 0.005\nuse_peft: true\n") is None
    assert severity("GA218", HF + "learning_rate: 0.005\nlora_r: 8\n") is None
    assert severity("GA218", AXOLOTL + "learning_rate: 0.005\n") == "warning"
    assert severity("GA218", AXOLOTL + "learning_rate: 0.005\nreinit_weights: true\n") is None
    text = LLAMA_FACTORY + "learning_rate: 5.0e-3\n"
    assert severity("GA218", text + "finetuning_type: full\n") == "warning"
    assert severity("GA218", text + "finetuning_type: full\ntrain_from_scratch: true\n") is None
    assert severity("GA218", text) is None  # a LoRA where nothing is said


# GA219


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        ("1.1e-2", None),  # GA201 has it
        ("1.0e-2", "warning"),
        ("3.1e-3", "warning"),
        ("3.0e-3", None),
        ("2.0e-4", None),
        ("1.0e-6", None),
        ("9.0e-7", "info"),
        ("9.0e-8", None),  # GA202 has it
    ],
)
def test_adapter_rate(rate: str, expected: str | None) -> None:
    text = f"optimizer: adamw\nlearning_rate: {rate}\nlora_r: 16\nlora_alpha: 32\n"
    assert severity("GA219", text) == expected


def test_a_rate_counts_by_a_small_scale() -> None:
    text = "optimizer: adamw\nlearning_rate: 0.008\nlora_r: 32\nlora_alpha: {}\n"
    assert severity("GA219", text.format(8)) is None
    assert severity("GA219", text.format(16)) == "warning"


@pytest.mark.parametrize("more", ["beta: 0.1\n", "num_generations: 8\n", "pref_beta: 0.1\n"])
def test_learning_from_preferences_takes_low_rates(more: str) -> None:
    text = "optimizer: adamw\nlearning_rate: 5.0e-7\nlora_r: 16\nadam_beta1: 0.9\n"
    assert severity("GA219", text) == "info"
    assert severity("GA219", text + more) is None


def test_adapters_of_other_kinds_are_not_judged() -> None:
    text = "optimizer: {}\nlearning_rate: 0.008\n{}\n"
    assert severity("GA219", text.format("adamw", "peft_type: PROMPT_TUNING")) is None
    assert severity("GA219", text.format("adamw", "use_lora: false\nlora_r: 8")) is None
    assert severity("GA219", text.format("adamw", "lora: {enabled: false, r: 8}")) is None
    assert severity("GA219", text.format("sgd", "lora_r: 8")) is None
    assert severity("GA219", text.format("adamw", "use_lora: true")) == "warning"
    assert severity("GA219", text.format("adamw", "peft_type: LORA")) == "warning"
    assert severity("GA219", text.format("adamw", "lora: {r: 8, alpha: 16}")) == "warning"


def test_adapter_rate_in_dialects() -> None:
    more = "adapter: lora\nlora_r: 8\nlora_alpha: 16\nlora_target_linear: true\n"
    assert severity("GA219", AXOLOTL + more + "learning_rate: 0.008\n") == "warning"
    assert severity("GA219", LLAMA_FACTORY + "learning_rate: 8.0e-3\n") == "warning"


# GA220


@pytest.mark.parametrize("optimizer", ["prodigy", "dadaptadam", "dadaptlion"])
@pytest.mark.parametrize(
    ("rate", "expected"),
    [("1.0", None), ("0.01", None), ("0.0099", "warning"), ("1.0e-7", "warning"), ("9.0e-8", None)],
)
def test_rate_of_a_learning_rate_free_optimizer(
    optimizer: str, rate: str, expected: str | None
) -> None:
    assert severity("GA220", f"optimizer: {optimizer}\nlearning_rate: {rate}\n") == expected


def test_rate_of_prodigy_in_dialects() -> None:
    kohya = (
        'pretrained_model_name_or_path = "x"\nnetwork_module = "networks.lora"\n'
        'optimizer_type = "Prodigy"\nlearning_rate = 1e-4\n'
    )
    assert severity("GA220", kohya, "a.toml") == "warning"
    toolkit = (
        "job: extension\nconfig:\n  name: a\n  process:\n    - type: sd_trainer\n"
        "      network: {type: lora, linear: 16, linear_alpha: 16}\n"
        "      train: {optimizer: prodigy, lr: 1e-4, steps: 10}\n      model: {name_or_path: x}\n"
    )
    assert severity("GA220", toolkit) == "warning"


def test_adafactor_with_a_rate_of_its_own() -> None:
    text = "optimizer: {{type: {}, lr: {}, relative_step: {}}}\n"
    assert severity("GA220", text.format("adafactor", 0.001, "true")) == "warning"
    assert severity("GA220", text.format("adafactor", 0.001, "false")) is None
    assert severity("GA220", text.format("adafactor", "null", "true")) is None
    assert severity("GA220", text.format("adamw", 0.001, "true")) is None


# GA221


@pytest.mark.parametrize(
    ("backbone", "more", "expected"),
    [
        ("1.1e-4", "pretrained: true\n", "warning"),
        ("1.1e-4", "pretrained: model.pth\n", "warning"),
        ("1.1e-4", "", "info"),
        ("1.1e-4", "pretrained: false\n", None),
        ("1.0e-4", "pretrained: true\n", None),
        ("1.0e-5", "pretrained: true\n", None),
        ("0.0", "pretrained: true\n", None),
    ],
)
def test_backbone_rate(backbone: str, more: str, expected: str | None) -> None:
    text = f"optimizer: adamw\nlr: 1.0e-4\nlr_backbone: {backbone}\n{more}"
    assert severity("GA221", text) == expected


def test_backbone_rate_of_mask2former() -> None:
    text = (
        "MODEL: {{META_ARCHITECTURE: MaskFormer, WEIGHTS: r50.pkl, MASK_FORMER: {{}}}}\n"
        "SOLVER: {{BASE_LR: 0.0001, IMS_PER_BATCH: 16, BACKBONE_MULTIPLIER: {}}}\n"
    )
    assert severity("GA221", text.format(10.0)) == "warning"
    assert severity("GA221", text.format(0.1)) is None


# GA601


@pytest.mark.parametrize(
    ("optimizer", "betas", "expected"),
    [
        ("adamw", "[0.999, 0.9]", "warning"),
        ("adam", "[0.99, 0.95]", "warning"),
        ("adamw", "[0.95, 0.91]", "info"),
        ("adamw", "[0.95, 0.95]", None),
        ("adamw", "[0.9, 0.95]", None),
        ("adamw", "[0.9, 0.999]", None),
        ("adam", "[0.0, 0.9]", None),
        ("adam", "[0.5, 0.999]", None),
        ("adamw", "[0.8, 0.99]", None),
        ("adamw", "[0.9, 0.0]", "warning"),
        ("adamw", "[0.9, 1.0]", None),  # GA703 has it
        ("novograd", "[0.8, 0.25]", None),
        ("lion", "[0.95, 0.9]", None),
        ("adan", "[0.98, 0.92]", None),
        ("adamax", "[0.999, 0.9]", None),
        ("adabelief", "[0.999, 0.9]", None),
        ("amsgrad", "[0.999, 0.9]", None),
        ("schedulefree_adamw", "[0.999, 0.9]", None),
    ],
)
def test_order_of_betas(optimizer: str, betas: str, expected: str | None) -> None:
    assert severity("GA601", f"optimizer: {optimizer}\nlr: 1.0e-4\nbetas: {betas}\n") == expected


def test_betas_in_two_keys_and_in_dialects() -> None:
    assert severity("GA601", HF + "adam_beta1: 0.999\nadam_beta2: 0.9\n") == "warning"
    timm = "model: resnet50\nopt: adamw\nsched: cosine\nwarmup_lr: 1.0e-6\nopt_betas: [0.99, 0.9]\n"
    assert severity("GA601", timm) == "warning"


# GA602


def test_memory_of_the_second_moment() -> None:
    text = "optimizer: adamw\nlr: 1.0e-4\nbetas: [0.9, {}]\nmax_steps: {}\n"
    assert severity("GA602", text.format(0.999, 1999)) == "info"
    assert severity("GA602", text.format(0.999, 2001)) is None
    assert severity("GA602", text.format(0.999, 101)) == "info"
    assert severity("GA602", text.format(0.999, 100)) is None  # a test
    assert severity("GA602", text.format(0.95, 41)) is None
    text = "optimizer: adamw\nlr: 1.0e-4\nbetas: [0.9, 0.999]\nepochs: 2\n"
    assert severity("GA602", text) is None
    assert severity("GA602", text + "steps_per_epoch: 900\n") == "info"
    text = HF + "learning_rate: 2.0e-5\nmax_steps: 500\n"  # beta2 as it is by default
    assert [finding.key for finding in found("GA602", text)] == ["max_steps"]
    assert "GA602" not in codes("optimizer: adamw\nbetas: [0.9, 0.999]\nmax_steps: 100\n")


# GA603


@pytest.mark.parametrize(
    ("optimizer", "eps", "expected"),
    [
        ("adamw", "1.0e-2", "info"),
        ("adam", "1.1e-3", "info"),
        ("adamw", "1.0e-3", None),
        ("adamw", "1.0e-8", None),
        ("rmsprop", "1.0", None),
        ("lamb", "1.0e-2", None),
        ("adagrad", "1.0e-2", None),
        ("adafactor", "1.0e-2", None),
        ("adabelief", "1.0e-2", None),
        ("amsgrad", "1.0e-2", "info"),
    ],
)
def test_large_eps(optimizer: str, eps: str, expected: str | None) -> None:
    text = f"optimizer: {optimizer}\nlearning_rate: 1.0e-4\nadam_epsilon: {eps}\n"
    assert severity("GA603", text) == expected


def test_large_eps_in_dialects() -> None:
    assert severity("GA603", HF + "adam_epsilon: 0.1\n") == "info"
    assert severity("GA603", LLAMA_FACTORY + "adam_epsilon: 0.1\n") == "info"


# GA604


@pytest.mark.parametrize(
    ("precision", "eps", "optimizer", "expected"),
    [
        ("16-true", "1.0e-8", "adamw", "warning"),
        ("16-true", "2.9e-8", "adam", "warning"),
        ("16-true", "3.0e-8", "adamw", None),
        ("16-true", "1.0e-8", "sgd", None),
        ("16-true", "1.0e-8", "adamw_torch_fused", None),
        ("16-true", "1.0e-8", "paged_adamw_8bit", None),
        ("16-mixed", "1.0e-8", "adamw", None),
        ("bf16-true", "1.0e-8", "adamw", None),
        ("float16", "1.0e-8", "adamw", None),  # of autocast, perhaps
    ],
)
def test_eps_in_fp16(precision: str, eps: str, optimizer: str, expected: str | None) -> None:
    text = f"optimizer: {optimizer}\nlr: 1.0e-4\nadam_epsilon: {eps}\nprecision: {precision}\n"
    assert severity("GA604", text) == expected


def test_eps_in_fp16_in_dialects() -> None:
    pure = "bf16: false\nfp16: false\nfloat16: true\nlearning_rate: 1.0e-4\n"
    assert severity("GA604", AXOLOTL + pure + "optimizer: adamw_torch\n") == "warning"
    assert severity("GA604", AXOLOTL + pure + "optimizer: adamw_torch_fused\n") is None
    assert severity("GA604", AXOLOTL + pure) is None  # fused, where nothing is said
    fairseq = (
        "common: {memory_efficient_fp16: true}\ntask: {_name: t}\ncriterion: {_name: c}\n"
        "optimization: {max_update: 100, lr: [0.0005]}\noptimizer: {_name: adam}\n"
    )
    assert severity("GA604", fairseq) is None  # its Adam keeps fp32 moments


# GA605


@pytest.mark.parametrize(
    ("optimizer", "decay", "expected"),
    [
        ("adam", 0.01, "warning"),
        ("adam", 0.0099, None),
        ("torch.optim.RAdam", 0.05, "warning"),
        ("radam", 0.05, None),  # the authors' decouples
        ("adamw", 0.05, None),
        ("sgd", 0.05, None),
        ("lion", 0.05, None),
        ("rmsprop", 0.05, None),
    ],
)
def test_l2_in_adam(optimizer: str, decay: float, expected: str | None) -> None:
    text = f"optimizer: {optimizer}\nlearning_rate: 0.001\nweight_decay: {decay}\n"
    assert severity("GA605", text) == expected


def test_adam_that_decouples_is_adamw() -> None:
    torch = "optimizer: {_target_: torch.optim.NAdam, lr: 0.001, weight_decay: 0.05MORE}\n"
    assert severity("GA605", torch.replace("MORE", "")) == "warning"
    decoupled = torch.replace("MORE", ", decoupled_weight_decay: true")
    assert severity("GA605", decoupled) is None
    deepspeed = (
        '{"train_micro_batch_size_per_gpu": 4, "zero_optimization": {"stage": 1}, "optimizer": '
        '{"type": "Adam", "params": {"lr": 1e-4, "weight_decay": 0.1MODE}}}'
    )
    assert severity("GA605", deepspeed.replace("MODE", ""), "ds.json") is None
    coupled = deepspeed.replace("MODE", ', "adam_w_mode": false')
    assert severity("GA605", coupled, "ds.json") == "warning"
    fairseq = (
        "task: {_name: t}\ncriterion: {_name: c}\noptimization: {max_update: 100, lr: [0.0005]}\n"
        "optimizer: {_name: adam, weight_decay: 0.1}\n"
    )
    assert severity("GA605", fairseq) is None
    timm = "opt: adam\nsched: cosine\nwarmup_lr: 1.0e-6\ncooldown_epochs: 0\nweight_decay: 0.05\n"
    assert severity("GA605", timm) == "warning"


# GA606


@pytest.mark.parametrize(
    ("optimizer", "rate", "decay", "more", "expected"),
    [
        ("adamw", 0.001, 10.0, "", "warning"),
        ("adamw", 0.001, 9.9, "", None),
        ("adamw", 0.001, 1000.0, "", "error"),
        ("adamw", 0.003, 0.3, "", None),
        ("adamw", 0.001, 0.4, "", None),
        ("lion", 0.0001, 3.0, "", None),
        ("lion", 0.001, 10.0, "", "warning"),
        ("adan", 0.001, 2000.0, "", "warning"),  # never all of it: it divides by 1 + 2
        ("adamw", 0.5, 0.5, "", None),  # GA201 has the rate
        ("adam", 0.001, 20.0, "", None),  # GA605
        ("lamb", 0.01, 2.0, "", None),
        ("adafactor", 0.01, 2.0, "", None),
        ("muon", 0.02, 2.0, "", None),
        ("prodigy", 1.0, 0.01, "", None),
        ("sgd", 0.1, 0.01, "momentum: 0.9\n", "warning"),
        ("sgd", 0.1, 0.01, "", None),
        ("sgd", 0.1, 0.0005, "momentum: 0.9\n", None),
        ("sgd", 0.5, 0.5, "momentum: 0.9\n", "warning"),
        ("sgd", 0.5, 3.0, "momentum: 0.9\n", "error"),
    ],
)
def test_decay_a_step(
    optimizer: str, rate: float, decay: float, more: str, expected: str | None
) -> None:
    text = f"optimizer: {optimizer}\nlearning_rate: {rate}\nweight_decay: {decay}\n{more}"
    assert severity("GA606", text) == expected


def test_decay_that_no_rate_multiplies() -> None:
    text = (
        "max_seq_len: 2048\nmodel: {{name: mpt_causal_lm}}\ntrain_loader: {{name: text}}\n"
        "scheduler: {{name: cosine_with_warmup, t_warmup: 100ba, alpha_f: 0.1}}\n"
        "optimizer: {{name: {}, lr: 6.0e-4, weight_decay: {}}}\nmax_duration: 4800ba\n"
        "global_train_batch_size: 256\ndevice_train_microbatch_size: 16\n"
    )
    assert severity("GA606", text.format("decoupled_adamw", 0.1)) == "warning"
    assert severity("GA606", text.format("decoupled_lionw", 1.0)) == "error"
    assert severity("GA606", text.format("decoupled_adamw", 1.0e-05)) is None
    assert severity("GA606", text.format("adamw", 0.1)) is None


def test_decay_is_judged_with_a_known_rate_only() -> None:
    assert severity("GA606", "optimizer: adamw\nweight_decay: 100.0\n") is None
    text = "optimizer: adamw\nlearning_rate: 5.0\nscheduler: noam\nweight_decay: 0.1\n"
    assert severity("GA606", text) is None


# GA607


def test_decay_of_norms() -> None:
    text = "optimizer: adamw\nlr: 1.0e-4\nweight_decay: 0.1\nweight_decay_norm: {}\n"
    assert severity("GA607", text.format(0.01)) == "info"
    assert severity("GA607", text.format(0.0099)) is None
    assert "GA607" not in codes(text.format(0.1))  # strict
    detectron2 = (
        "MODEL: {META_ARCHITECTURE: GeneralizedRCNN, ROI_HEADS: {}}\n"
        "SOLVER: {IMS_PER_BATCH: 16, WEIGHT_DECAY_NORM: 0.05}\n"
    )
    assert severity("GA607", detectron2) == "info"


# GA608


@pytest.mark.parametrize(
    ("optimizer", "momentum", "more", "expected"),
    [
        ("sgd", 0.99, "", None),
        ("sgd", 0.991, "", "warning"),
        ("sgd", 1.0, "", None),  # GA703 has it
        ("sgd", 0.999, "dampening: 0.999\n", None),
        ("sgd", 0.0, "dampening: 0.9\nnesterov: true\n", "error"),
        ("sgd", 0.0, "", None),
        ("sgd", 0.0, "nesterov: false\n", None),
        ("sgd", 0.0, "nesterov: true\n", "error"),
        ("sgd", 0.9, "nesterov: true\n", None),
        ("lars", 0.999, "", None),
        ("rmsprop", 0.999, "", None),
    ],
)
def test_momentum(optimizer: str, momentum: float, more: str, expected: str | None) -> None:
    text = f"optimizer: {optimizer}\nlearning_rate: 0.01\nmomentum: {momentum}\n{more}"
    assert severity("GA608", text) == expected


def test_momentum_in_dialects() -> None:
    detectron2 = (
        "MODEL: {{META_ARCHITECTURE: GeneralizedRCNN, ROI_HEADS: {{}}}}\n"
        "SOLVER: {{IMS_PER_BATCH: 16, NESTEROV: true, MOMENTUM: {}}}\n"
    )
    assert severity("GA608", detectron2.format(0.0)) == "error"
    assert severity("GA608", detectron2.format(0.999)) == "warning"
    assert severity("GA608", detectron2.format(0.9)) is None


# GA609


def test_clip_beside_an_optimizer_that_bounds_its_steps() -> None:
    text = "optimizer: {}\nlr: 0.001\nmax_grad_norm: {}\n"
    for optimizer in ("adafactor", "lamb", "lars"):
        assert severity("GA609", text.format(optimizer, 1.0)) == "info"
        assert severity("GA609", text.format(optimizer, 0)) is None
    assert severity("GA609", text.format("adamw", 1.0)) is None
    assert "GA609" not in codes(text.format("adafactor", 1.0))  # strict
    assert severity("GA609", HF + "optim: adafactor\n") is None  # a clip that nobody wrote
    assert severity("GA609", HF + "optim: adafactor\nmax_grad_norm: 1.0\n") == "info"


# GA630


@pytest.mark.parametrize(
    ("rank", "alpha", "more", "expected"),
    [
        (4, 32, "", None),  # LoRA's GPT-2
        (4, 33, "", "warning"),
        (1, 32, "", None),
        (3, 96, "", None),
        (64, 16, "", None),  # QLoRA
        (16, 32, "", None),
        (512, 32, "", None),
        (128, 1, "", "info"),
        (16, 1, "", None),
        (64, 128, "use_rslora: true\n", None),
        (128, 256, "use_rslora: true\n", "info"),
        (4, 32, "use_rslora: true\n", None),
        (16, 256, "use_rslora: false\n", "warning"),
        (8, 0, "", "warning"),
        (8, 256, "use_lora: false\n", None),
        (8, 256, "finetuning_type: full\n", None),
    ],
)
def test_lora_scale(rank: int, alpha: int, more: str, expected: str | None) -> None:
    text = f"optimizer: adamw\nlearning_rate: 1.0e-4\nlora_r: {rank}\nlora_alpha: {alpha}\n{more}"
    assert severity("GA630", text) == expected


def test_lora_scale_in_dialects() -> None:
    lora = "adapter: lora\nlora_target_linear: true\nlearning_rate: 2.0e-4\n"
    assert severity("GA630", AXOLOTL + lora + "lora_r: 8\nlora_alpha: 256\n") == "warning"
    assert severity("GA630", AXOLOTL + lora + "lora_r: 8\nlora_alpha: 0\n") == "error"
    # 0 is twice the rank there
    assert severity("GA630", LLAMA_FACTORY + "lora_rank: 8\nlora_alpha: 0\n") is None
    assert severity("GA630", LLAMA_FACTORY + "lora_rank: 8\nlora_alpha: 128\n") == "warning"
    kohya = (
        'pretrained_model_name_or_path = "x"\nnetwork_module = "networks.lora"\n'
        "network_dim = 64\nlearning_rate = 1e-4\n"
    )
    assert severity("GA630", kohya, "a.toml") is None  # its default of 1
    assert severity("GA630", kohya + "network_alpha = 1\n", "a.toml") == "info"
    assert severity("GA630", kohya + "network_alpha = 0\n", "a.toml") is None  # the rank
    toolkit = (
        "job: extension\nconfig:\n  name: a\n  process:\n    - type: sd_trainer\n"
        "      network: {type: lora, linear: 16, linear_alpha: ALPHA}\n"
        "      train: {optimizer: adamw, lr: 1.0e-4, steps: 10}\n      model: {name_or_path: x}\n"
    )
    assert severity("GA630", toolkit.replace("ALPHA", "0")) is None  # the rank
    assert severity("GA630", toolkit.replace("ALPHA", "256")) == "warning"
    lokr = kohya.replace("networks.lora", "lycoris.kohya").replace("= 64", "= 100000")
    assert severity("GA630", lokr + "network_alpha = 1\n", "a.toml") is None


# GA631


def test_lora_without_targets() -> None:
    lora = "adapter: lora\nlora_r: 8\nlora_alpha: 16\nlearning_rate: 2.0e-4\n"
    for more in ("", "lora_target_linear: false\n", "lora_target_modules: []\n"):
        assert severity("GA631", AXOLOTL + lora + more) == "error", more
    for more in (
        "lora_target_linear: true\n",
        "lora_target_modules: [q_proj]\n",
        "lora_target_modules: 'layers.*(q|v)_proj'\n",
        "lora_target_parameters: [mlp.experts.gate_up_proj]\n",
        "lora_model_dir: ./adapter\n",
    ):
        assert severity("GA631", AXOLOTL + lora + more) is None, more
    assert severity("GA631", AXOLOTL + "learning_rate: 2.0e-5\n") is None
    model = (
        "model: {{_component_: torchtune.models.llama3.lora_llama3_8b, lora_rank: 8, "
        "lora_alpha: 16, lora_attn_modules: {}}}\n"
    )
    tune = TORCHTUNE + "optimizer: {_component_: torch.optim.AdamW, lr: 3.0e-4}\n"
    assert severity("GA631", tune + model.format("[]")) == "error"
    assert severity("GA631", tune + model.format("[q_proj]")) is None


# GA632


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("use_lora: true\n", "info"),
        ("lora_r: 8\n", "info"),
        ("finetuning_type: freeze\n", "info"),
        ("finetuning_type: full\n", None),
        ("", None),
        ("use_lora: true\nenable_input_require_grads: true\n", None),
        ("use_lora: true\nenable_input_require_grads: false\n", "warning"),
    ],
)
def test_reentrant_checkpointing(more: str, expected: str | None) -> None:
    text = (
        f"optimizer: adamw\nlr: 1.0e-4\ngradient_checkpointing: true\nuse_reentrant: true\n{more}"
    )
    assert severity("GA632", text) == expected
    assert severity("GA632", text.replace("checkpointing: true", "checkpointing: false")) is None
    assert severity("GA632", text.replace("reentrant: true", "reentrant: false")) is None


def test_stage_3_of_deepspeed_needs_reentrant_checkpointing() -> None:
    text = "optimizer: adamw\nuse_lora: true\ngradient_checkpointing: true\nuse_reentrant: true\n"
    assert found("GA632", text)[0].fix is not None
    beside = found("GA632", text + "deepspeed: zero3.json\n")[0]
    assert beside.fix is None
    assert "DeepSpeed" in beside.no_fix


def test_reentrant_checkpointing_in_dialects() -> None:
    reentrant = (
        "gradient_checkpointing: true\ngradient_checkpointing_kwargs: {use_reentrant: true}\n"
        "learning_rate: 1.0e-4\n"
    )
    lora = "adapter: lora\nlora_r: 8\nlora_alpha: 16\nlora_target_linear: true\n"
    assert severity("GA632", AXOLOTL + reentrant + lora) is None
    assert severity("GA632", AXOLOTL + reentrant + "unfrozen_parameters: [lm_head]\n") == "error"
    assert severity("GA632", HF + reentrant + "use_peft: true\n") is None
    assert severity("GA632", LLAMA_FACTORY + "learning_rate: 1.0e-4\n") is None


# All


def test_no_value_is_reported_twice() -> None:
    """What the families of these rules say of one example is said by one rule."""
    for code in ("GA218", "GA219", "GA220", "GA606", "GA608"):
        doc = parse(RULES[code])
        assert codes(doc.bad) == {code}
