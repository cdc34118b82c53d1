"""Rules on kinds of clipping, on batches that do not add up, on normalisation layers and on loss
terms: bounds, dialects, and what must stay silent."""

from __future__ import annotations

import json

import pytest

from gradaudit.audit import audit_source
from gradaudit.evidence.observed import Observed
from gradaudit.findings import Finding
from gradaudit.options import Options
from gradaudit.settings import Settings
from gradaudit.source import Source

ADAM = "optimizer: adamw\nlearning_rate: 1.0e-4\n"
SGD = "optimizer: sgd\nlearning_rate: 0.1\n"
TERMS = ADAM + "loss_weights:\n"


def found(
    code: str, text: str, path: str = "example.yaml", observed: float = 0, **assume: str
) -> list[Finding]:
    options = Options()
    options.extend_select = [code]
    options.assume = assume
    if observed:
        options.observed = Observed(observed, None, None)
    result = audit_source(Source(path, text), options, Settings())
    return [finding for finding in result.findings if finding.rule.code == code]


def severity(code: str, text: str, path: str = "example.yaml", **assume: str) -> str | None:
    """The severity with which a rule fires, None where it is silent."""
    findings = found(code, text, path, 0, **assume)
    assert len(findings) <= 1
    return findings[0].severity if findings else None


def words(finding: Finding) -> str:
    return " ".join((finding.message, *finding.why, *finding.evidence, finding.next))


def deepspeed(**more: float | str) -> str:
    return json.dumps({
        "zero_optimization": {"stage": 2}, "train_micro_batch_size_per_gpu": 8,
        "optimizer": {"type": "AdamW", "params": {"lr": 1e-4}}, **more,
    })  # fmt: skip


# GA104 clip-norm-never-acts


@pytest.mark.parametrize(
    ("clip", "expected"), [("999.0", None), ("1000.0", "info"), ("40000.0", "info"), (".inf", None)]
)
def test_a_clip_norm_from_a_thousand_on_never_acts(clip: str, expected: str | None) -> None:
    assert severity("GA104", f"{ADAM}gradient_clip_norm: {clip}\n") == expected


def test_a_summed_loss_has_large_norms() -> None:
    text = f"{ADAM}gradient_clip_norm: 1000.0\nloss_reduction: "
    assert severity("GA104", f"{text}sum\n") is None
    assert severity("GA104", f"{text}mean\n") == "info"


def test_a_clip_below_an_observed_norm_acts() -> None:
    text = f"{ADAM}gradient_clip_norm: 1000.0\n"
    assert not found("GA104", text, observed=2500.0)
    assert found("GA104", text, observed=28.9)


def test_a_frameworks_own_huge_clip_is_not_reported() -> None:
    text = json.dumps({
        "model": "neuralhmm_tts", "run_name": "x", "audio": {"sample_rate": 22050}, "r": 1,
        "batch_size": 32, "lr": 1e-3, "optimizer": "Adam", "output_path": "out",
    })  # fmt: skip
    assert not found("GA104", text, "config.json")


HF = "model_name_or_path: x\noutput_dir: z\nper_device_train_batch_size: 4\nlearning_rate: 5.0e-5\n"


def test_a_clip_norm_that_never_acts_in_two_frameworks() -> None:
    assert severity("GA104", f"{HF}max_grad_norm: 5000\n") == "info"
    assert severity("GA104", f"{HF}max_grad_norm: 5\n") is None
    assert severity("GA104", deepspeed(gradient_clipping=5000.0), "ds.json") == "info"


# GA105 two-clips


@pytest.mark.parametrize(
    ("norm", "value", "expected"),
    [
        ("1.0", "0.5", "warning"),
        ("1.0", "1.0", "info"),  # after a clip to norm 1 no entry exceeds 1
        ("1.0", "5.0", "info"),
        ("1.0", "null", None),
        ("null", "0.5", None),
        ("1.0", "0.0", None),
    ],
)
def test_two_clips(norm: str, value: str, expected: str | None) -> None:
    text = f"{ADAM}gradient_clip_norm: {norm}\ngradient_clip_value: {value}\n"
    assert severity("GA105", text) == expected


def test_two_clips_in_joeynmt() -> None:
    text = """
name: x
data: {train: a, src: {lang: de}, trg: {lang: en}}
training: {optimizer: adam, learning_rate: 1.0e-3, batch_size: 80, clip_grad_norm: 1.0%s}
model: {encoder: {type: transformer}, decoder: {type: transformer}}
"""
    assert severity("GA105", text % ", clip_grad_val: 0.5") == "warning"
    assert severity("GA105", text % "") is None


def test_the_kind_of_one_clip_is_no_second_clip() -> None:
    text = f"{ADAM}trainer: {{gradient_clip_val: 0.5, gradient_clip_algorithm: value}}\n"
    assert severity("GA105", text) is None
    assert severity("GA106", text) == "info"


# GA106 clip-by-value


@pytest.mark.parametrize(
    ("optimizer", "says"),
    [
        ("sgd", "Under SGD the step then no longer points down the gradient."),
        ("adamw", "counts for less"),
        ("lars", "LARS drops the gradient's length and keeps its direction"),
        ("muon", "Muon drops the gradient's length and keeps its direction"),
        ("unheard_of", "under Adam that counts for less"),
    ],
)
def test_what_a_clip_by_value_does_depends_on_the_optimiser(optimizer: str, says: str) -> None:
    text = f"optimizer: {optimizer}\nlearning_rate: 0.01\ngradient_clip_value: 0.5\n"
    [finding] = found("GA106", text)
    assert says in words(finding)


def test_clipping_by_value_is_said_in_the_strict_profile_only() -> None:
    text = f"{SGD}gradient_clip_value: 0.5\n"
    result = audit_source(Source("example.yaml", text), Options(), Settings())
    assert not [f for f in result.findings if f.rule.code == "GA106"]


def test_detectron2s_default_kind_of_clip() -> None:
    text = """
MODEL: {META_ARCHITECTURE: GeneralizedRCNN}
SOLVER: {IMS_PER_BATCH: 16, BASE_LR: 0.02, MAX_ITER: 90000%s}
"""
    on = ", CLIP_GRADIENTS: {ENABLED: true, CLIP_VALUE: 0.5}"
    assert severity("GA106", text % on) == "info"
    assert severity("GA106", text % "") is None


# GA107 clip-missing


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{ADAM}gradient_clip_norm: null\n", "info"),
        (ADAM, None),  # absent is not off
        (f"{ADAM}gradient_clip_norm: null\ngradient_clip_value: 0.5\n", None),
        (f"{SGD}gradient_clip_norm: null\n", None),  # vision, as a rule
        (f"{SGD}gradient_clip_norm: null\nnorm: batch\n", None),
        (f"{SGD}gradient_clip_norm: null\nnorm: layer\n", "info"),
        ("optimizer: adafactor\nlearning_rate: 0.01\ngradient_clip_norm: null\n", None),
        ("optimizer: lamb\nlearning_rate: 0.01\ngradient_clip_norm: null\n", None),
        (f"{ADAM}gradient_clip_norm: null\nrnn_type: gru\n", None),  # GA108 says it
    ],
)
def test_no_clip(text: str, expected: str | None) -> None:
    assert severity("GA107", text) == expected


def test_where_a_spike_stays_is_said_in_full() -> None:
    [finding] = found("GA107", f"{ADAM}gradient_clip_norm: null\n")
    assert "divided by its own running size, and a spike stays in that size" in words(finding)


def test_a_clip_that_a_framework_leaves_off() -> None:
    [finding] = found("GA107", deepspeed(), "ds.json")
    assert "by default" in finding.label
    assert not found("GA107", deepspeed(gradient_clipping=1.0), "ds.json")
    assert not found("GA107", HF)  # clips at 1.0 by default
    assert found("GA107", f"{HF}max_grad_norm: 0\n")


# GA108 recurrent-without-clip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rnn_type: lstm\nseq_len: 100\ngradient_clip_norm: null\n", "warning"),
        ("rnn_type: lstm\nseq_len: 99\ngradient_clip_norm: null\n", "info"),
        ("rnn_type: SRU\ngradient_clip_norm: null\n", None),
        ("rnn_type: sligru\ngradient_clip_norm: null\n", "info"),
        ("rnn_type: gru\ngradient_clip_norm: null\n", "info"),
        ("rnn_type: gru\nbptt: 35\ngradient_clip_norm: null\n", "info"),
        ("rnn_type: lstm\nseq_len: 400\n", None),  # whether the trainer clips is not known
        ("rnn_type: lstm\nseq_len: 400\ngradient_clip_norm: 0.25\n", None),
        ("rnn_type: lstm\ngradient_clip_norm: null\ngradient_clip_value: 1.0\n", None),
        ("rnn_type: null\ngradient_clip_norm: null\n", None),
    ],
)
def test_a_recurrent_network(text: str, expected: str | None) -> None:
    assert severity("GA108", ADAM + text) == expected


def test_adafactor_bounds_the_step_of_a_recurrent_network() -> None:
    text = "optimizer: adafactor\nrnn_type: lstm\nseq_len: 400\ngradient_clip_norm: null\n"
    assert severity("GA108", text) is None


def test_a_recurrent_network_in_joeynmt() -> None:
    text = """
name: x
data: {train: a, src: {lang: de}, trg: {lang: en}}
training: {optimizer: adam, learning_rate: 1.0e-3, batch_size: 80%s}
model: {encoder: {type: %s}, decoder: {type: recurrent}}
"""
    assert severity("GA108", text % ("", "recurrent")) == "info"
    assert severity("GA108", text % (", clip_grad_norm: 1.0", "recurrent")) is None
    assert severity("GA108", text % ("", "transformer")) is None


def test_a_recurrent_network_in_opennmt() -> None:
    text = (
        "src_vocab: a\ntgt_vocab: b\nencoder_type: brnn\ndecoder_type: rnn\nrnn_size: 512\n"
        "word_vec_size: 512\noptim: adam\nlearning_rate: 0.001\n"
    )
    assert severity("GA108", text) is None  # clips at 5 by default
    assert severity("GA108", f"{text}max_grad_norm: 0\n") == "info"


# GA305 batch-product-mismatch

BATCH = f"{ADAM}global_batch_size: {{}}\nmicro_batch_size: {{}}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("100 8 gradient_accumulation_steps: 4", "warning"),  # no multiple of 32
        ("96 8 gradient_accumulation_steps: 4", None),
        ("100 8", None),  # the accumulation may be worked out, rounded
        ("96 8 gradient_accumulation_steps: auto", None),
        ("100 8 gradient_accumulation_steps: auto", None),
        ("auto 8 gradient_accumulation_steps: 4", None),
        ("64 8 gradient_accumulation_steps: 4\nworld_size: 2", None),
        ("64 8 gradient_accumulation_steps: 4\nworld_size: 4", "warning"),
        ("128 8 gradient_accumulation_steps: 4\nworld_size: 2", "warning"),
        # the devices of one machine: two of them make up for it
        ("128 8 gradient_accumulation_steps: 4\nnum_gpus: 2", None),
        ("96 8 gradient_accumulation_steps: 4\nnum_gpus: 2", "warning"),
        # tensor parallel ranks see the same samples
        ("64 8 gradient_accumulation_steps: 4\nworld_size: 4\ntensor_parallel_size: 2", None),
        # but no number of devices makes 100 of 32
        ("100 8 gradient_accumulation_steps: 4\ntensor_parallel_size: 2", "warning"),
    ],
)
def test_batches_multiply(text: str, expected: str | None) -> None:
    total, micro, *rest = text.split(" ", 2)
    text = BATCH.format(total, micro) + "".join(f"{line}\n" for line in rest)
    assert severity("GA305", text) == expected


def test_a_key_that_may_mean_all_devices_makes_it_an_info() -> None:
    text = f"{ADAM}global_batch_size: 64\nbatch_size: 64\ngradient_accumulation_steps: 4\n"
    assert severity("GA305", text) == "info"


@pytest.mark.parametrize(
    ("total", "micro", "steps", "world", "expected"),
    [
        (100, 8, 4, None, "error"),
        (96, 8, 4, None, None),
        (96, 8, 4, "3", None),
        (96, 8, 4, "2", "error"),
        (100, 8, None, None, "error"),
        (96, 8, None, "4", None),  # accumulated three times
        (96, 8, None, "8", "error"),
        ("auto", 8, 4, "2", None),
        (96, "auto", "auto", "5", None),
        (96, 8, "auto", None, None),
    ],
)
def test_deepspeed_refuses_numbers_that_do_not_multiply(
    total: int | str, micro: int | str, steps: int | str | None, world: str | None,
    expected: str | None,
) -> None:  # fmt: skip
    batch = {"train_batch_size": total, "train_micro_batch_size_per_gpu": micro}
    if steps is not None:
        batch["gradient_accumulation_steps"] = steps
    assumed = {"world_size": world} if world else {}
    assert severity("GA305", deepspeed(**batch), "ds.json", **assumed) == expected


@pytest.mark.parametrize(
    ("total", "expected"),
    [(32, None), (36, "warning"), (64, None), (100, "warning"), (30, "error")],
)
def test_nemos_batch_is_a_multiple_of_its_data_parallel_share(
    total: int, expected: str | None
) -> None:
    text = (
        "trainer: {devices: 16, num_nodes: 1, precision: bf16, max_steps: 9}\n"
        "exp_manager: {name: x}\n"
        f"model:\n  micro_batch_size: 4\n  global_batch_size: {total}\n"
        "  tensor_model_parallel_size: 2\n  optim: {name: fused_adam, lr: 1.0e-4}\n"
    )
    assert severity("GA305", text) == expected


def test_a_computed_value_is_not_said_to_be_written() -> None:
    text = (
        "trainer: {devices: 8, num_nodes: 1, precision: bf16, max_steps: 9}\n"
        "exp_manager: {name: x}\n"
        "model:\n  micro_batch_size: 4\n  global_batch_size: 24\n"
        "  tensor_model_parallel_size: 1\n  optim: {name: fused_adam, lr: 1.0e-4}\n"
    )
    [finding] = found("GA703", text)
    assert finding.message == "`global_batch_size` makes accumulation 0.75: must be 1 or more"


def test_an_elastic_deepspeed_chooses_its_batch_itself() -> None:
    batch = {"train_batch_size": 100, "gradient_accumulation_steps": 4}
    assert severity("GA305", deepspeed(**batch), "ds.json") == "error"
    elastic = json.loads(deepspeed(**batch)) | {
        "elasticity": {"enabled": True, "ignore_non_elastic_batch_info": True}
    }
    assert severity("GA305", json.dumps(elastic), "ds.json") is None


@pytest.mark.parametrize(
    ("total", "expected"),
    [("524288", None), ("131071", "warning"), ("98304\nseq_len: 1024", None), ("98305", "warning")],
)
def test_a_global_batch_in_tokens_is_not_compared(total: str, expected: str | None) -> None:
    text = f"{ADAM}micro_batch_size: 12\ngradient_accumulation_steps: 5\n"
    assert severity("GA305", f"{text}global_batch_size: {total}\n") == expected


@pytest.mark.parametrize(("world", "label"), [(1, "x 1 device"), (2, "x 2 devices")])
def test_devices_are_counted_in_words(world: int, label: str) -> None:
    text = f"{ADAM}global_batch_size: 32\nmicro_batch_size: 4\ngradient_accumulation_steps: 2\n"
    [finding] = found("GA305", f"{text}world_size: {world}\n")
    assert finding.related[-1].message == label


def test_frameworks_that_split_an_uneven_batch_are_left_alone() -> None:
    text = """
max_duration: 100ba
global_train_batch_size: 100
device_train_microbatch_size: 8
optimizer: {name: decoupled_adamw, lr: 1.0e-4}
scheduler: {name: cosine_with_warmup, t_warmup: 10ba}
model: {name: mpt_causal_lm}
"""
    assert severity("GA305", text) is None


# GA307 last-batch-of-one

LAST = f"{ADAM}batch_size: 32\nnorm: {{}}\ndataset_size: {{}}\ndrop_last: {{}}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LAST.format("batch", 3201, "false"), "warning"),
        (LAST.format("batch", 3202, "false"), None),
        (LAST.format("batch", 3200, "false"), None),
        (LAST.format("batch", 1, "false"), None),  # a share of the data, 1.0, is as likely
        (LAST.format("batch", 3201, "true"), None),
        (LAST.format("layer", 3201, "false"), None),
        (f"{LAST.format('batch', 3201, 'false')}freeze_bn: true\n", None),
        (f"{ADAM}batch_size: 32\nnorm: batch\ndataset_size: 3201\n", None),  # not known to be off
        # each of two processes has 1601 samples, padded
        (f"{LAST.format('batch', 3201, 'false')}world_size: 2\n", "warning"),
        (f"{LAST.format('batch', 3201, 'false')}world_size: 3\n", None),
        (f"{LAST.format('sync_batch', 3201, 'false')}world_size: 2\n", None),
        (LAST.format("sync_batch", 3201, "false"), None),
        (f"{LAST.format('batch', 3201, 'false')}world_size: auto\n", None),
    ],
)
def test_a_last_batch_of_one(text: str, expected: str | None) -> None:
    assert severity("GA307", text) == expected


def test_a_last_batch_of_one_from_what_is_assumed() -> None:
    text = """
epoches: 72
train_dataloader: {batch_size: 4, drop_last: %s}
optimizer: {type: AdamW, lr: 1.0e-4}
clip_max_norm: 0.1
RTDETR: {backbone: PResNet}
use_ema: true
"""
    known = {"dataset_size": "101", "norm": "batch", "world_size": "1"}
    assert severity("GA307", text % "False", **known) == "warning"
    assert severity("GA307", text % "True", **known) is None
    assert severity("GA307", text % "False", dataset_size="101", norm="batch") is None


def test_the_spelling_of_a_switch_is_kept() -> None:
    [finding] = found("GA307", LAST.format("batch", 3201, "False"))
    assert finding.fix is not None
    assert [edit.new for edit in finding.fix.edits] == ["True"]


# GA308 batch-norm-momentum


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# torch\nbn_momentum: 0.99\n", "warning"),
        ("bn_momentum: 0.99\n", "info"),  # who reads it is not known
        ("# keras\nbn_momentum: 0.99\n", None),
        ("backend: paddle\nbn_momentum: 0.9\n", None),
        ("# torch\nbn_momentum: 0.49\n", None),
        ("# torch\nbn_momentum: 0.5\nbnm_decay: 0.5\n", None),  # PointNet++
        ("# torch\nbn_momentum: 0.5\nbn_decay: 0.5\n", None),
        ("# torch\nmodel: {name: efficientnet-b0, batch_norm_momentum: 0.99}\n", None),
        ("# torch\nbn_momentum: 0.5\n", "warning"),
        ("# torch\nbn_momentum: 1.0\n", None),
        ("# torch\nbn_momentum: 0.0\n", None),
        ("# torch\nbn_momentum: 0.1\n", None),
        ("# torch\nbn_momentum: 0.99\nfreeze_bn: true\n", None),
        ("# torch\nnorm_cfg: {type: BN, momentum: 0.99}\n", "warning"),
        ("# torch\nmodel: {batch_norm: {momentum: 0.99}}\n", "warning"),
        # what is left of the first statistics
        ("# torch\nbn_momentum: 0.001\nmax_steps: 2900\n", "info"),
        ("# torch\nbn_momentum: 0.001\nmax_steps: 3100\n", None),
        ("# torch\nbn_momentum: 0.001\nepochs: 29\nsteps_per_epoch: 100\n", "info"),
        ("# torch\nbn_momentum: 0.001\nepochs: 29\n", None),
        ("bn_momentum: 0.001\nmax_steps: 2900\n", None),
    ],
)
def test_the_momentum_of_batch_norm(text: str, expected: str | None) -> None:
    assert severity("GA308", SGD + text) == expected


def test_an_optimisers_momentum_is_another() -> None:
    assert severity("GA308", f"# torch\n{SGD}momentum: 0.9\n") is None


@pytest.mark.parametrize(("momentum", "new"), [("0.9", "0.1"), ("0.997", "0.003"), ("0.6", None)])
def test_a_momentum_in_kerass_sense_is_turned_around(momentum: str, new: str | None) -> None:
    [finding] = found("GA308", f"# torch\n{SGD}bn_momentum: {momentum}\n")
    assert (finding.fix.edits[0].new if finding.fix else None) == new


def test_the_momentum_of_batch_norm_in_timm_and_mmengine() -> None:
    timm = "model: resnet50\nopt: sgd\nlr: 0.1\nsched: cosine\nsmoothing: 0.1\ndrop_path: 0.1\n"
    assert severity("GA308", f"{timm}aa: rand-m9\nreprob: 0.2\nbn_momentum: 0.99\n") == "warning"
    text = """
model = dict(type='FCOS', backbone=dict(type='ResNet', norm_cfg=dict(type='%s', momentum=0.97)))
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9))
"""
    assert severity("GA308", text % "BN", "fcos.py") == "warning"
    assert severity("GA308", text % "GN", "fcos.py") is None


# GA309 group-norm-groups


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("norm_cfg: {num_groups: 32, num_channels: 48}\n", "error"),
        ("norm_cfg: {num_groups: 32, num_channels: 64}\n", None),
        ("unet: {norm_num_groups: 32, model_channels: 48}\n", "warning"),
        ("unet: {norm_num_groups: 32}\nvae: {model_channels: 48}\n", None),
        ("conv: {num_groups: 2, num_channels: 3}\n", None),
        ("norm: group\nnorm_cfg: {num_groups: 32, num_channels: 48}\n", "error"),
        ("norm: batch\nnorm_cfg: {num_groups: 32, num_channels: 48}\n", None),
    ],
)
def test_channels_and_groups(text: str, expected: str | None) -> None:
    assert severity("GA309", ADAM + text) == expected


def test_latent_diffusion_has_32_groups() -> None:
    text = """
model:
  base_learning_rate: 1.0e-4
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    unet_config:
      target: %s
      params: {model_channels: %d}
data: {target: main.DataModuleFromConfig, params: {batch_size: 8}}
"""
    unet = "ldm.modules.diffusionmodules.openaimodel.UNetModel"
    assert severity("GA309", text % (unet, 48)) == "error"
    assert severity("GA309", text % (unet, 192)) is None
    assert severity("GA309", text % ("mine.UNet", 48)) is None


# GA404 loss-weights-far-apart


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ("  ce: 1.0\n  mse: 0.001\n", "info"),
        ("  ce: 1.0\n  mse: 0.0011\n", None),
        ("  ce: 1.0\n  mse: 0.0\n", None),
        ("  ce: 1.0\n  entropy: 0.0001\n", None),  # a regulariser
        ("  recon: 1.0\n  kl: 0.000001\n", None),  # no task by its name
        ("  ce: 1.0\n  consistency: 0.0001\n", None),  # auxiliary
        ("  l1: 100.0\n  gan: 0.001\n", None),
        ("  ce: 1.0\n  gp: 10000.0\n", None),
        ("  ce: 1.0\n  mse: 0.0001\nuse_gradnorm: true\n", None),
    ],
)
def test_weights_far_apart(terms: str, expected: str | None) -> None:
    assert severity("GA404", TERMS + terms) == expected


# GA405 negative-loss-weight


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ("  ce: 1.0\n  mse: -0.5\n", "warning"),
        ("  ce: 1.0\n  mse: -1\n", "info"),  # perhaps off
        ("  ce: 1.0\n  mse: 0.0\n", None),
        ("  ce: 1.0\n  entropy: -0.01\n", None),
        ("  ce: 1.0\n  domain_adv: -0.1\n", None),
        ("  ce: 1.0\n  mutual_information: -0.1\n", None),
        ("  ce: 1.0\n  reward: -0.1\n", None),
    ],
)
def test_a_negative_weight(terms: str, expected: str | None) -> None:
    assert severity("GA405", TERMS + terms) == expected


def test_a_negative_weight_beside_others_of_the_same_ending() -> None:
    assert severity("GA405", f"{ADAM}mse_weight: 1.0\ndice_weight: -0.2\n") == "warning"
    assert severity("GA405", f"{ADAM}wer_sil_weight: -2\n") is None


def test_a_negative_weight_in_a_hydra_config() -> None:
    text = """
defaults: [_self_]
trainer: {_target_: lightning.pytorch.trainer.Trainer, max_epochs: 3}
model:
  _target_: src.Model
  optimizer: {_target_: torch.optim.Adam, _partial_: true, lr: 1.0e-3}
  loss_weights: {mse: 1.0, dice: -0.5}
"""
    assert severity("GA405", text) == "warning"


def test_a_negative_weight_in_a_config_that_is_read_by_its_paths() -> None:
    assert severity("GA405", f"{HF}vf_coef: -0.1\nentropy_coef: -0.01\n") == "warning"
    assert severity("GA405", f"{HF}vf_coef: 0.1\nentropy_coef: -0.01\n") is None


def test_a_negative_weight_is_not_weighed_against_the_others() -> None:
    terms = "  ce: 1.0\n  mse: 1.0\n  calibration: -9.0\n  dice: 1.0\n"
    for code in ("GA101", "GA401", "GA402", "GA404"):
        assert not found(code, f"{TERMS}{terms}gradient_clip_norm: 0.1\n")


# GA406 loss-summed-over-batch


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{SGD}loss_reduction: sum\n", "warning"),
        (f"{SGD}loss: {{type: ce, reduction: sum}}\n", "warning"),
        (f"{SGD}loss_reduction: mean\n", None),
        (f"{SGD}loss_reduction: batchmean\n", None),
        (f"{ADAM}loss_reduction: sum\n", None),  # cancels
        (f"{ADAM}loss_reduction: sum\ngradient_clip_norm: 1.0\n", "info"),
        (f"{ADAM}loss_reduction: sum\ngradient_clip_norm: null\n", None),
        (f"{ADAM}loss_reduction: sum\nweight_decay: 0.01\n", None),  # decoupled
        (
            "optimizer: adam\nlearning_rate: 1.0e-4\nloss_reduction: sum\nweight_decay: 0.01\n",
            "info",
        ),
        ("learning_rate: 0.1\nloss_reduction: sum\n", None),
        ("optimizer: unheard_of\nlearning_rate: 0.1\nloss_reduction: sum\n", None),
    ],
)
def test_a_summed_loss(text: str, expected: str | None) -> None:
    assert severity("GA406", text) == expected


def test_a_summed_loss_in_joeynmt() -> None:
    text = """
name: x
data: {train: a, src: {lang: de}, trg: {lang: en}}
training: {optimizer: sgd, learning_rate: 0.1, batch_size: 80, normalization: "%s"}
model: {encoder: {type: transformer}, decoder: {type: transformer}}
"""
    assert severity("GA406", text % "none") == "warning"
    assert severity("GA406", text % "batch") is None


# GA407 label-smoothing-out-of-range


@pytest.mark.parametrize(
    ("smoothing", "expected"),
    [("0.1", None), ("0.39", None), ("0.4", "warning"), ("0.99", "warning"), ("1.0", None)],
)
def test_label_smoothing(smoothing: str, expected: str | None) -> None:
    text = f"{ADAM}label_smoothing: {smoothing}\n"
    assert severity("GA407", text) == expected
    assert not (found("GA407", text) and found("GA703", text))


def test_a_gans_target_of_real_samples_is_left_alone() -> None:
    assert severity("GA407", f"{ADAM}discriminator: {{label_smoothing: 0.9}}\n") is None


@pytest.mark.parametrize(("smoothing", "says"), [("0.9", "stays, 0.1."), ("0.5", "0.1, or 0.")])
def test_the_share_that_stays_is_named_where_it_may_be_meant(smoothing: str, says: str) -> None:
    [finding] = found("GA407", f"{ADAM}label_smoothing: {smoothing}\n")
    assert finding.next.endswith(says)


def test_what_lies_outside_its_domain_is_said_by_another_rule() -> None:
    for smoothing in ("-0.1", "1.0", "1.5"):
        text = f"{ADAM}label_smoothing: {smoothing}\n"
        assert not found("GA407", text)
        assert found("GA703", text)


def test_swapped_preferences() -> None:
    text = f"{HF}dataset_name: y\nbeta: 0.1\nlabel_smoothing: {{}}\n"
    assert severity("GA407", text.format("0.45")) is None
    [half] = found("GA407", text.format("0.5"))
    assert "say nothing" in half.message
    [most] = found("GA407", text.format("0.9"))
    assert "rejected" in most.message


def test_label_smoothing_of_a_classifier_in_timm() -> None:
    text = "model: vit\nopt: adamw\nlr: 0.001\nsched: cosine\naa: rand-m9\nreprob: 0.2\n"
    assert severity("GA407", f"{text}drop_path: 0.1\nsmoothing: 0.9\n") == "warning"


# GA408 extreme-class-weight


@pytest.mark.parametrize(("weight", "expected"), [("100.0", None), ("101.0", "info")])
def test_a_weight_of_positives(weight: str, expected: str | None) -> None:
    assert severity("GA408", f"{ADAM}loss: {{type: bce, pos_weight: {weight}}}\n") == expected


def test_a_clip_undoes_the_weight_of_positives() -> None:
    [finding] = found("GA408", f"{ADAM}pos_weight: 500.0\ngradient_clip_norm: 1.0\n")
    assert "undoes part of the weight" in words(finding)


# GA409 temperature-out-of-range


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("contrastive_temperature: 0.0099\n", "warning"),
        ("contrastive_temperature: 0.01\n", None),
        ("contrastive_temperature: 1.0\n", None),
        ("contrastive_temperature: 1.5\n", "info"),
        ("contrastive_temperature: 0.0\n", "warning"),
        ("loss: {type: NTXent, temperature: 0.001}\n", "warning"),
        ("loss: {contrastive: {weight: 1.0, temperature: 0.001}}\n", "warning"),
        ("loss: {type: kd, temperature: 4.0}\n", None),
        ("loss: {type: clip_distillation, temperature: 4.0}\n", None),
        ("loss: {distillation: {weight: 1.0, temperature: 4.0}}\n", None),
        ("temperature: 0.0\n", None),
        ("sampling: {temperature: 0.0}\n", None),
    ],
)
def test_a_temperature(text: str, expected: str | None) -> None:
    assert severity("GA409", ADAM + text) == expected


def test_a_temperature_in_vissl() -> None:
    text = """
config:
  DATA: {TRAIN: {BATCHSIZE_PER_REPLICA: 64}}
  MODEL: {TRUNK: {NAME: resnet}, HEAD: {PARAMS: []}}
  LOSS: {name: simclr_info_nce_loss, simclr_info_nce_loss: {temperature: %s}}
  OPTIMIZER: {name: sgd, num_epochs: 100, param_schedulers: {lr: {values: [0.1]}}}
"""
    assert severity("GA409", text % "0.001") == "warning"
    assert severity("GA409", text % "0.1") is None
