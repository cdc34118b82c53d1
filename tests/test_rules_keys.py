"""GA7: switches that are text, keys that nobody reads, two names, references into nothing."""

from __future__ import annotations

import pytest
from test_rules import audit, of, only, severity

PLAIN = "optimizer: adamw\nlearning_rate: 1.0e-4\nbatch_size: 16\n"
HF = (
    "per_device_train_batch_size: 8\nlearning_rate: 2.0e-5\nnum_train_epochs: 3\n"
    "lr_scheduler_type: cosine\n"
)
AXOLOTL = (
    "base_model: x\nmicro_batch_size: 8\nnum_epochs: 1\nlearning_rate: 2.0e-5\n"
    "sequence_len: 2048\nadapter: lora\n"
)
TORCHTITAN = (
    '[job]\ndump_folder = "x"\n[training]\nlocal_batch_size = 8\nseq_len = 2048\nsteps = 1000\n'
    '[optimizer]\nname = "AdamW"\nlr = 8e-4\n[activation_checkpoint]\nmode = "none"\n'
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PLAIN + "gradient_checkpointing: 'no'\n", "warning"),
        (PLAIN + "use_ema: 'False'\n", "warning"),
        (PLAIN + "sync_bn: 'off'\n", "warning"),
        (PLAIN + "max_grad_norm: None\n", "warning"),
        (PLAIN + "max_grad_norm: 'null'\n", "warning"),
        (PLAIN + "max_grad_norm: null\n", None),
        (PLAIN + "use_ema: false\n", None),
        (PLAIN + "use_ema: no\n", None),
        (PLAIN + "use_ema: 'True'\n", None),  # true either way
        (PLAIN + "mixed_precision: 'no'\n", None),  # takes a text
        (PLAIN + "save_strategy: 'no'\n", None),
        (PLAIN + "my_own_key: None\n", None),
        (HF + "bf16: 'false'\n", "warning"),
        (AXOLOTL + "bf16: 'false'\n", None),  # pydantic converts
    ],
)
def test_text_for_a_switch(text: str, expected: str | None) -> None:
    assert severity("GA707", text) == expected


def test_a_key_that_takes_texts_is_no_switch() -> None:
    assert not of(audit(TORCHTITAN, path="example.toml"), "GA707")


def test_json_has_its_own_words() -> None:
    text = '{"optimizer": "adamw", "lr": 0.001, "batch_size": 8, "use_ema": "false"}\n'
    (finding,) = of(audit(text, path="example.json"), "GA707")
    assert finding.fix is not None
    assert finding.fix.edits[0].new == "false"


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("learing_rate", "learning_rate"),
        ("leraning_rate", "learning_rate"),
        ("learning_rrate", "learning_rate"),
        ("learningg_rate", "learning_rate"),
        ("weight_dacay", "weight_decay"),
        ("gradient_clippng", "gradient_clipping"),
        ("max_grad_nrom", "max_grad_norm"),
        ('"weight_decay "', "weight_decay"),
    ],
)
def test_misspelt_keys(key: str, meant: str) -> None:
    finding = only("GA708", f"optimizer: adamw\nbatch_size: 16\nlr: 0.001\n{key}: 0.1\n")
    assert f"`{meant}`" in finding.message


@pytest.mark.parametrize(
    "key",
    ["patch_size", "learning_rates", "schedulers", "num_cpus", "nprocs_per_node", "my_key",
     "training_step", "learnung_rote", "weight_decay_2", "scheduled"],
)  # fmt: skip
def test_keys_of_ones_own(key: str) -> None:
    assert severity("GA708", f"optimizer: adamw\nlr: 0.001\nbatch_sizes: 1\n{key}: 0.1\n") is None


def test_beside_the_right_key_and_where_a_framework_has_it_a_key_is_left_alone() -> None:
    assert severity("GA708", PLAIN + "learing_rate: 0.1\n") is None
    # A key of mmf, a letter from everyone's `adam_betas`.
    assert severity("GA708", PLAIN + "adamw_betas: [0.9, 0.95]\n") is None


def test_a_value_of_another_kind_is_another_key() -> None:
    """DeepSpeed's autotuner maps names of settings to options of the command line."""
    text = "optimizer: adamw\nlr: 0.001\nmapping: {'gradient_accumulation_steps ': '--steps'}\n"
    assert severity("GA708", text) is None


YACS = "MODEL: {{META_ARCHITECTURE: GeneralizedRCNN}}\nSOLVER: {{IMS_PER_BATCH: 16, {}}}\n{}"


@pytest.mark.parametrize(
    ("solver", "more", "expected"),
    [
        ("BSAE_LR: 0.02", "", "warning"),
        ("BAE_LR: 0.02", "", "warning"),
        ("STPES: [1, 2]", "", "warning"),
        ("BASE_LR: 0.02, BASE_LRS: 1", "", None),
        ("BASE_LR: 0.02", "INPUT: {BSAE_LR: 1}\n", None),  # not where the right one belongs
        ("BASE_LR: 0.02, STEP: 3", "", None),
        ("CASE_LR: 0.02", "", None),
        ("BASE_WD: 0.02", "", None),
        ("MX_ITER: 100", "", "warning"),  # 8 letters: anywhere
    ],
)
def test_short_keys_of_yacs_in_their_own_section(
    solver: str, more: str, expected: str | None
) -> None:
    assert severity("GA708", YACS.format(solver, more)) == expected


def test_short_keys_of_others_are_left_alone() -> None:
    assert severity("GA708", "optimizer: adamw\nlr: 0.001\nepohcs: 3\n") is None


def test_misspelt_keys_of_a_framework() -> None:
    text = HF.replace("learning_rate", "learing_rate")
    assert severity("GA708", text) == "warning"
    text = AXOLOTL.replace("learning_rate", "learnig_rate")
    assert severity("GA708", text) == "warning"


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("lr: 3.0e-4\n", "warning"),
        ("lr: 1.0e-4\n", None),
        ("max_lr: 3.0e-4\n", None),  # of a cycle
        ("weight_decay: 0.1\nwd: 0.01\n", "warning"),
        ("max_grad_norm: 1.0\ngrad_clip: 5.0\n", "warning"),
        ("grad_clip: 1.0\nclip_grad_value: 5.0\n", None),
        ("per_device_train_batch_size: 4\n", None),  # `batch_size` may be that of all
        ("epochs: 10\nmax_epochs: 20\n", "warning"),
        ("training: {lr: 3.0e-4}\n", None),  # another section
        ("learning_rate: 3.0e-4\n", None),  # one name: GA701
    ],
)
def test_two_names(more: str, expected: str | None) -> None:
    assert severity("GA709", PLAIN + more) == expected


def test_two_names_of_a_framework() -> None:
    assert severity("GA709", HF + "per_gpu_train_batch_size: 4\n") == "warning"
    assert severity("GA709", HF + "max_steps: 100\n") is None


TORCHTUNE = """\
model: {{_component_: torchtune.models.llama3.llama3_8b}}
tokenizer: {{_component_: torchtune.models.llama3.llama3_tokenizer}}
optimizer: {{_component_: torch.optim.AdamW, lr: "{}"}}
batch_size: 2
rates: {{base: 2.0e-5}}
"""
SPEECHBRAIN = """\
__set_seed: !apply:torch.manual_seed [1]
number_of_epochs: 10
batch_size: 8
opt_class: !name:torch.optim.AdamW
    lr: !ref <{}>
counter: !new:speechbrain.utils.epoch_loop.EpochCounter
    limit: !ref <number_of_epochs>
known: 0.001
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TORCHTUNE.format("${base_lr}"), "warning"),
        (TORCHTUNE.format("${rates.bass}"), "warning"),
        (TORCHTUNE.format("${rates.base}"), None),
        (TORCHTUNE.format("${base}"), None),  # a section may become a root of its own
        (TORCHTUNE.format("${oc.env:LR}"), None),
        (TORCHTUNE.format("${hydra.job.num}"), None),
        (TORCHTUNE.format("${oc.select:base_lr,0.1}"), None),
        (TORCHTUNE.format("???"), None),
        (SPEECHBRAIN.format("unknown"), "error"),
        (SPEECHBRAIN.format("known"), None),
        (PLAIN.replace("1.0e-4", "${base_lr}"), None),  # who reads `${}` is not known
    ],
)
def test_unresolved_reference(text: str, expected: str | None) -> None:
    assert severity("GA711", text) == expected


def test_where_a_file_was_not_read_a_reference_may_lead_there() -> None:
    text = "defaults: [base, _self_]\n" + TORCHTUNE.format("${base_lr}")
    result = audit(text)
    assert result.composed is not None
    assert bool(of(result, "GA711")) == (not result.composed.missing)


def test_the_whole_way_to_a_lost_reference_is_followed() -> None:
    text = TORCHTUNE.format("${rates.base}").replace("2.0e-5", "'${nowhere}'")
    finding = only("GA711", text)
    assert "`${nowhere}`" in finding.message
