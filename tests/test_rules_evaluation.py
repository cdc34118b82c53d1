"""The rules on averages, dropout, the best checkpoint and reproducibility: their bounds, and what
they must not accuse."""

from __future__ import annotations

import pytest
from support import audit_text
from test_rules_precision import HF, findings, severity

from gradaudit.audit import audit_source
from gradaudit.findings import Fix
from gradaudit.fix.splice import apply, splices
from gradaudit.options import Options
from gradaudit.settings import Settings
from gradaudit.source import Source

ADAM = "optimizer: adamw\nlearning_rate: 1.0e-4\n"


def fixed_by(fix: Fix, text: str) -> str:
    return apply(text, [splice for edit in fix.edits for splice in splices(edit)])


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ("ema_decay: 0.9999\nmax_steps: 5000\n", "warning"),
        ("ema_decay: 0.9999\nmax_steps: 20000\n", "warning"),
        ("ema_decay: 0.9999\nmax_steps: 20030\n", None),
        ("ema_decay: 0.999\nmax_steps: 5000\n", None),
        ("ema_decay: 0.9999\nepochs: 5\n", None),
        ("ema_decay: 0.9999\nepochs: 5\nsteps_per_epoch: 1000\n", "warning"),
        ("ema_decay: 0.9999\nepochs: 50\nsteps_per_epoch: 1000\n", None),
        ("ema_decay: 0.9999\nmax_steps: 5000\nema_warmup: true\n", None),
        ("ema_decay: 0.9999\nmax_steps: 5000\nema_warmup: 1000\n", None),
        ("ema_decay: 0.9999\nmax_steps: 5000\nema_warmup: false\n", "warning"),
        ("ema_decay: 0.9999\nmax_steps: 5000\nema_warmup: auto\n", None),
        ("ema: {decay: 0.9999, use_warmup: true}\nmax_steps: 5000\n", None),
        ("ema_decay: 1\nmax_steps: 5000\n", None),
        ("ema_decay: 0\nmax_steps: 5000\n", None),
        ("ema_decay: 0.9999\nmax_steps: -1\n", None),
    ],
)
def test_ema_outlasts_training(entries: str, expected: str | None) -> None:
    assert severity("GA620", ADAM + entries) == expected


def test_an_average_without_a_key_for_its_ramp_is_judged_with_less_confidence() -> None:
    text = ADAM + "ema_decay: 0.9999\nmax_steps: 5000\n"
    assert findings("GA620", text)[0].confidence == "low"
    assert findings("GA620", text + "ema_warmup: false\n")[0].confidence == "medium"
    assert "61 %" in findings("GA620", text)[0].message


def test_a_trained_models_average_is_an_info() -> None:
    text = ADAM + "ema_decay: 0.9999\nmax_steps: 5000\npretrained: {}\n"
    assert severity("GA620", text.format("true")) == "info"
    assert severity("GA620", text.format("false")) == "warning"


def test_no_decay_is_offered_to_a_training_of_a_few_steps() -> None:
    assert findings("GA620", ADAM + "ema_decay: 0.9999\nmax_steps: 100\n")[0].fix is None


@pytest.mark.parametrize(
    ("average", "expected"),
    [("mean", None), ("ExpMomentumEMA", None), ("ExponentialMovingAverage", "warning")],
)
def test_the_ramp_of_mmengines_average(average: str, expected: str | None) -> None:
    kind = "" if average == "mean" else f"ema_type='{average}', "
    hooks = f"custom_hooks = [dict(type='EMAHook', {kind}momentum=0.0001)]\n" if kind else ""
    text = (
        "default_scope = 'mmdet'\n"
        "optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01))\n"
        f"train_cfg = dict(type='IterBasedTrainLoop', max_iters=4000)\n{hooks}"
    )
    options = Options()
    options.select = ["GA620"]
    found = audit_source(Source("config.py", text), options, Settings()).findings
    assert [one.severity for one in found] == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0.5", None), ("0.7", None), ("0.71", "info"), ("0.89", "info"), ("0.9", "warning"),
        ("0.99", "warning"), ("1.0", None), ("1.5", None), ("0", None), ("null", None),
    ],
)  # fmt: skip
def test_dropout_out_of_range(value: str, expected: str | None) -> None:
    assert severity("GA621", ADAM + f"dropout: {value}\n") == expected


def test_every_dropout_is_judged() -> None:
    text = ADAM + "model:\n  dropout: 0.1\n  attention_dropout: 0.95\n"
    (found,) = findings("GA621", text)
    assert found.key == "model.attention_dropout"


def test_the_dropout_of_an_encoder_is_judged_in_wenet() -> None:
    text = (
        "encoder: conformer\nencoder_conf: {output_size: 256, dropout_rate: 0.9}\n"
        "dataset_conf: {filter_conf: {}, batch_conf: {batch_type: static}, spec_aug_conf: {}}\n"
    )
    assert severity("GA621", text) == "warning"


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ("epochs: 10\nearly_stopping_patience: 10\n", "info"),
        ("epochs: 10\nearly_stopping_patience: 9\n", None),
        ("epochs: 10\nearly_stopping_patience: 0\n", None),
        ("max_steps: 1000\nearly_stopping_patience: 5\n", None),
        ("max_steps: 1000\neval_steps: 100\nearly_stopping_patience: 10\n", "info"),
        ("max_steps: 1000\neval_steps: 100\nearly_stopping_patience: 9\n", None),
        ("epochs: 100\neval_steps: 100\nearly_stopping_patience: 200\n", None),
        ("epochs: 100\nwarmup_epochs: 10\nearly_stopping_patience: 9\n", "info"),
        ("epochs: 100\nwarmup_epochs: 10\nearly_stopping_patience: 10\n", None),
        (
            "max_steps: 9000\nwarmup_steps: 500\neval_steps: 100\nearly_stopping_patience: 3\n",
            "info",
        ),
        ("epochs: 9\neval_steps: 1\neval_strategy: epoch\nearly_stopping_patience: 9\n", "info"),
    ],
)  # fmt: skip
def test_early_stop_never_or_too_soon(entries: str, expected: str | None) -> None:
    assert severity("GA622", ADAM + entries) == expected


def test_a_trainer_that_evaluates_in_an_unknown_interval_is_not_judged() -> None:
    text = (
        "base_model: a/b\ndatasets:\n  - {path: c/d, type: alpaca}\nmicro_batch_size: 4\n"
        "num_epochs: 3\nearly_stopping_patience: 3\n"
    )
    assert severity("GA622", text) == "info"
    assert severity("GA622", text + "eval_steps: 50\n") is None
    assert severity("GA622", text + "evals_per_epoch: 4\n") is None


def test_early_stopping_is_a_matter_of_the_strict_profile() -> None:
    text = ADAM + "epochs: 10\nearly_stopping_patience: 20\n"
    assert not [f for f in audit_text(text).findings if f.rule.code == "GA622"]


@pytest.mark.parametrize(
    ("metric", "greater", "expected"),
    [
        ("eval_loss", "true", "error"), ("eval_loss", "false", None), ("loss", "true", "error"),
        ("accuracy", "false", "error"), ("accuracy", "true", None), ("eval_f1", "false", "error"),
        ("val/acc_macro", "false", "error"), ("wer", "true", "error"), ("coco/bbox_mAP", "false",
        "error"), ("mean_iou", "false", "error"), ("sacrebleu", "false", "error"),
        ("perplexity", "true", "error"), ("neg_loss", "true", None),
        ("loss_reduction", "true", None), ("eval_error_gain", "true", None),
        ("reward", "false", None), ("lossless_ratio", "true", None),
        ("map_loss", "true", "error"), ("eval_loss", "null", None), ("eval_loss", "auto", None),
        ("-", "true", None), ("1-accuracy", "false", None), ("val/1-acc", "false", None),
        ("accuracy/top1", "false", "error"), ("coco/bbox_mAP_50", "false", "error"),
        ("recall@1", "false", "error"), ("pass@1", "false", None), ("f1_score", "false", "error"),
        ("val_exact_match", "false", "error"), ("SI-SDR", "false", "error"),
        ("character_error_rate", "true", "error"), ("learning_rate", "true", None),
        ("abs_rel", "true", "error"), ("val/loss_ctc", "true", "error"),
        ("val/loss_simple_ema", "true", "error"), ("loss_ratio", "true", None),
        ("loss_scale", "true", None), ("val_per", "true", "error"), ("chrf", "false", "error"),
        ("val_lpips", "true", "error"), ("precision_map", "true", None), ("simple", "false", None),
    ],
)  # fmt: skip
def test_best_metric_direction(metric: str, greater: str, expected: str | None) -> None:
    text = ADAM + f"metric_for_best_model: '{metric}'\ngreater_is_better: {greater}\n"
    assert severity("GA623", text) == expected


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ("metric_for_best_model: wer\nload_best_model_at_end: true\n", "error"),
        ("metric_for_best_model: wer\n", "warning"),
        ("metric_for_best_model: eval_loss\nload_best_model_at_end: true\n", None),
        ("metric_for_best_model: eval_dev_loss\nload_best_model_at_end: true\n", None),
        ("metric_for_best_model: accuracy\nload_best_model_at_end: true\n", None),
        ("greater_is_better: true\nload_best_model_at_end: true\n", None),
    ],
)
def test_the_default_direction_of_transformers(entries: str, expected: str | None) -> None:
    assert severity("GA623", HF + entries) == expected


LLAMA_FACTORY = "model_name_or_path: a/b\nstage: sft\nfinetuning_type: lora\ntemplate: x\n"


def test_llama_factory_hands_its_arguments_to_the_same_trainer() -> None:
    text = LLAMA_FACTORY + "metric_for_best_model: wer\nload_best_model_at_end: true\n"
    assert severity("GA623", text) == "error"
    assert severity("GA624", text) == "error"
    right = text + "greater_is_better: false\neval_strategy: epoch\nsave_strategy: epoch\n"
    assert severity("GA623", right) is severity("GA624", right) is None


def test_the_direction_is_written_beside_its_metric() -> None:
    text = HF + "metric_for_best_model: wer\nload_best_model_at_end: true\n"
    (found,) = findings("GA623", text)
    assert found.fix is not None
    fixed = fixed_by(found.fix, text)
    assert fixed == text.replace("wer\n", "wer\ngreater_is_better: false\n")
    assert severity("GA623", fixed) is None


def test_fairseq_takes_the_lowest_unless_told() -> None:
    text = (
        "common: {fp16: true}\ntask: {_name: audio_finetuning}\n"
        "checkpoint: {best_checkpoint_metric: bleu}\n"
        "optimization: {max_update: 100, lr: [0.0005]}\noptimizer: {_name: adam}\n"
    )
    assert severity("GA623", text) == "error"
    assert severity("GA623", text.replace("bleu", "wer")) is None
    told = text.replace("bleu}", "bleu, maximize_best_checkpoint_metric: true}")
    assert severity("GA623", told) is None


CALLBACK = """\
seed_everything: 0
trainer:
  max_epochs: 1
  callbacks:
    - class_path: lightning.pytorch.callbacks.EarlyStopping
      init_args: {monitor: val_loss, mode: min}
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {monitor: val_acc, mode: max}
model: {class_path: my.Model, init_args: {learning_rate: 2.0e-4}}
"""


def test_each_callback_of_lightning_has_a_direction_of_its_own() -> None:
    assert severity("GA623", CALLBACK) is None
    (found,) = findings("GA623", CALLBACK.replace("mode: max", "mode: min"))
    assert found.key == "trainer.callbacks.1.init_args.mode"
    assert found.fix is not None
    assert found.fix.edits[0].new == "max"
    assert severity("GA623", CALLBACK.replace("val_loss, mode: min", "val_loss, mode: max"))


def test_lightning_takes_the_lowest_unless_told() -> None:
    text = CALLBACK.replace(", mode: max", "").replace(
        "monitor: val_loss, mode: min", "patience: 3"
    )
    (found,) = findings("GA623", text)
    assert found.fix is not None
    assert fixed_by(found.fix, text).count("monitor: val_acc, mode: max}") == 1


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("{monitor: val_loss, mode: max, patience: 3}", "error"),
        ("{monitor: val_loss, mode: min, patience: 3}", None),
        ("{monitor: val_acc, mode: 'min'}", "error"),
        ("{monitor: val_acc, mode: auto}", None),
        ("{monitor: val_acc}", None),
    ],
)
def test_an_early_stopping_section_has_a_direction_too(section: str, expected: str | None) -> None:
    text = ADAM + f"early_stopping: {section}\n"
    assert severity("GA623", text) == expected
    for found in findings("GA623", text):
        assert found.fix is not None
        assert severity("GA623", fixed_by(found.fix, text)) is None


def test_a_direction_of_another_section_is_not_the_metrics() -> None:
    text = ADAM + "metric_for_best_model: wer\nearly_stopping: {mode: max}\n"
    assert severity("GA623", text) is None


BEST = HF + "load_best_model_at_end: true\n"


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ("eval_strategy: steps\neval_steps: 200\nsave_steps: 500\n", "no multiple"),
        ("eval_strategy: steps\neval_steps: 200\nsave_steps: 400\n", ""),
        ("eval_strategy: steps\neval_steps: 200\nsave_steps: 200\n", ""),
        ("eval_strategy: steps\neval_steps: 200\nsave_steps: 100\n", "no multiple"),
        ("eval_strategy: steps\neval_steps: 200\n", "(the default)"),
        ("eval_strategy: steps\neval_steps: 250\n", ""),
        ("eval_strategy: steps\nlogging_steps: 300\nsave_steps: 500\n", "no multiple"),
        ("eval_strategy: steps\nsave_steps: 700\n", ""),
        ("eval_strategy: steps\neval_steps: 0.02\nsave_steps: 0.1\n", ""),
        ("eval_strategy: steps\neval_steps: 0.03\nsave_steps: 0.1\n", "no multiple"),
        ("eval_strategy: steps\neval_steps: 0.1\nsave_steps: 500\n", "no multiple"),
        ("eval_strategy: steps\neval_steps: 0.5\nsave_steps: 500\n", ""),  # nor to transformers
        ("eval_strategy: epoch\nsave_strategy: epoch\n", ""),
        ("eval_strategy: epoch\n", "evaluates by epochs, saves by steps"),
        ("eval_strategy: steps\nsave_strategy: epoch\n", "evaluates by steps, saves by epochs"),
        ("evaluation_strategy: epoch\nsave_strategy: epoch\n", ""),
        ("eval_strategy: epoch\nsave_strategy: best\n", ""),
        ("eval_strategy: no\nsave_strategy: epoch\n", "evaluates never"),
        ("", "evaluates never, saves by steps"),
        ('eval_strategy: "no"\nsave_strategy: "no"\n', ""),
    ],
)
def test_save_and_eval_out_of_step(entries: str, says: str) -> None:
    found = findings("GA624", BEST + entries)
    assert len(found) == bool(says)
    if found:
        assert says in found[0].message
        assert found[0].severity == "error"
        fix = found[0].fix
        if fix is not None:
            fixed = fixed_by(fix, BEST + entries)
            assert not findings("GA624", fixed)
    assert not findings("GA624", HF + entries)


@pytest.mark.parametrize(
    ("code", "entries", "confidence"),
    [
        ("GA624", "eval_strategy: epoch\nsave_strategy: steps\n", "high"),
        ("GA624", "eval_strategy: epoch\n", "medium"),
        ("GA624", "eval_strategy: steps\neval_steps: 200\nsave_steps: 300\n", "high"),
        ("GA624", "eval_strategy: steps\neval_steps: 200\n", "medium"),
        ("GA623", "metric_for_best_model: wer\n", "medium"),
        ("GA623", "metric_for_best_model: wer\ngreater_is_better: true\n", "high"),
    ],
)
def test_what_a_command_line_may_still_say_is_less_certain(
    code: str, entries: str, confidence: str
) -> None:
    (found,) = findings(code, BEST + entries)
    assert found.confidence == confidence


def test_saving_is_not_judged_where_a_framework_sets_it_itself() -> None:
    text = (
        "base_model: a/b\ndatasets:\n  - {path: c/d, type: alpaca}\nmicro_batch_size: 4\n"
        "load_best_model_at_end: true\neval_steps: 200\nsave_steps: 500\n"
    )
    assert not findings("GA624", text)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [("seed: null\n", "info"), ("seed: 0\n", None), ("", None), ("seed: auto\n", None)],
)
def test_no_seed(entries: str, expected: str | None) -> None:
    assert severity("GA625", ADAM + entries) == expected
    assert not [f for f in audit_text(ADAM + entries).findings if f.rule.code == "GA625"]


def test_a_seed_of_minus_one_is_none_in_detectron2() -> None:
    text = "MODEL: {META_ARCHITECTURE: GeneralizedRCNN}\nSOLVER: {IMS_PER_BATCH: 16}\nSEED: -1\n"
    assert severity("GA625", text) == "info"
    assert severity("GA625", text.replace("-1", "1")) is None


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ("deterministic: true\ncudnn_benchmark: true\n", "warning"),
        ("cudnn_deterministic: true\ncudnn_benchmark: true\n", "warning"),
        ("deterministic: true\ncudnn_benchmark: false\n", None),
        ("deterministic: false\ncudnn_benchmark: true\n", None),
        ("deterministic: true\n", None),
        ("deterministic: true\nbenchmark: true\n", None),
    ],
)
def test_deterministic_and_benchmark(entries: str, expected: str | None) -> None:
    assert severity("GA626", ADAM + entries) == expected


def test_a_loop_that_is_not_known_may_turn_the_benchmark_off() -> None:
    (found,) = findings("GA626", ADAM + "deterministic: true\ncudnn_benchmark: true\n")
    assert found.confidence == "medium"


def test_lightning_warns_of_the_pair_too() -> None:
    text = CALLBACK.replace(
        "max_epochs: 1", "max_epochs: 1\n  deterministic: warn\n  benchmark: true"
    )
    assert severity("GA626", text) == "warning"
    assert severity("GA626", text.replace("benchmark: true", "benchmark: null")) is None
