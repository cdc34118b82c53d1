"""GA6: which checkpoint is kept as the best, and whether it is saved at all."""

from __future__ import annotations

from gradaudit.edits import insert_after, replace_value
from gradaudit.findings import (
    ERROR,
    HIGH,
    MEDIUM,
    RECOMMENDED,
    SAFE,
    WARNING,
    Edit,
    Finding,
    Fix,
    Related,
)  # fmt: skip
from gradaudit.plan.model import DEFAULT, WRITTEN
from gradaudit.rules import rule
from gradaudit.rules.repair import change, place_of, switch
from gradaudit.rules.text import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import Setting, TrainingUnit
    from gradaudit.rules import Limits

TRAINING_ARGUMENTS = (
    "https://github.com/huggingface/transformers/blob/main/src/transformers/training_args.py "
    "(__post_init__)"
)

_LOW_IS_BEST = frozenset((
    "loss", "logloss", "nll", "perplexity", "ppl", "bpb", "bpc", "error", "errorrate", "mae", "mse",
    "rmse", "nmse", "mape", "smape", "crps", "wer", "cer", "per", "eer", "der", "ter", "mindcf",
    "mcd", "fid", "fvd", "lpips", "niqe", "epe", "mpjpe", "nme", "absrel", "hd95", "minade",
    "minfde",
))  # fmt: skip
_HIGH_IS_BEST = frozenset((
    "acc", "accuracy", "accuracies", "exactmatch", "f1", "f1score", "fscore", "mfscore", "mcc",
    "matthewscorrelation", "kappa", "auc", "auroc", "rocauc", "aucroc", "auprc", "recall",
    "precision", "ap", "ap50", "ap75", "map", "map50", "nds", "mota", "hota", "idf1", "iou",
    "miou", "dice", "mdice", "dicescore", "hmean", "pck", "psnr", "ssim", "snr", "sdr", "sisdr",
    "sisnr", "pesq", "stoi", "bleu", "bleuscore", "sacrebleu", "chrf", "cider", "meteor", "rouge",
    "rouge1", "rouge2", "rougel", "rougelsum", "mrr", "ndcg", "pearson", "pearsonr", "spearman",
    "spearmanr", "r2", "r2score", "lddt",
))  # fmt: skip
_OF_ALL = frozenset((
    "macro", "micro", "weighted", "mean", "avg", "average", "epoch", "ema", "top1", "top5",
))  # fmt: skip
_LOSSES = frozenset(("ce", "ctc", "kl", "energy", "simple", "total"))
"""What a loss is of, where its name follows: `loss_ctc`."""
_TURNED = frozenset((
    "neg", "negative", "negated", "minus", "inverse", "inverted", "inv", "reduction",
    "improvement", "gain", "drop", "delta",
))  # fmt: skip


def _wants_high(metric: str) -> bool | None:
    """Whether more of a metric is better, by the last word of its name; None where unknown."""
    spaced = metric.lower()
    for mark in "/.-: @":
        spaced = spaced.replace(mark, "_")
    words = [word for word in spaced.split("_") if word]
    if not _TURNED.isdisjoint(words) or "1" in words[:-1] or metric.startswith("-"):
        return None  # `1-accuracy`
    while words and (words[-1] in _OF_ALL or words[-1].isdigit()):
        words.pop()  # `bbox_mAP_50`, `recall@10`
    if "loss" in words[-2:-1] and words[-1] in _LOSSES:
        return False
    last = {*words[-1:], "".join(words[-2:])}
    if last & _LOW_IS_BEST:
        return False
    return True if last & _HIGH_IS_BEST else None


@rule(
    "GA623",
    "best-metric-direction",
    scope="unit",
    needs=("best_metric", "greater_is_better"),
    severities=(ERROR, WARNING),
    confidence=HIGH,
    references=(
        TRAINING_ARGUMENTS,
        (
            "https://github.com/huggingface/transformers/pull/31142 (a metric that ended with loss "
            "kept the worst model)"
        ),
        (
            "https://lightning.ai/docs/pytorch/stable/api/lightning.pytorch.callbacks."
            "ModelCheckpoint.html (mode)"
        ),
    ),
)
def best_metric_direction(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The checkpoint with the worst value of its metric is taken for the best.

    Why:
        A loss or an error rate is better where it is lower, an accuracy where it is higher. The
        wrong way round, the worst checkpoint is kept, the better ones are deleted, and early
        stopping ends the run while it improves. transformers takes every metric for one to be
        raised unless its name ends with `loss`, so that `wer` alone is enough.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        metric_for_best_model: eval_loss
        greater_is_better: true
        load_best_model_at_end: true

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        metric_for_best_model: eval_loss
        greater_is_better: false
        load_best_model_at_end: true

    Tell:
        Compare the step of the checkpoint that is kept with the curve of the metric.

    Symptoms:
        best checkpoint is not the best
        validation far worse than training

    Fix:
        Recommended: the other direction. It changes which checkpoint is kept.

    False positives:
        A metric that is logged with its sign turned. Names that say so (`neg_loss`,
        `loss_reduction`) are not reported, nor those whose last word is not known.
    """
    for metric in unit.every("best_metric"):
        direction = _of_the_same(metric, unit)
        name = metric.value
        if direction is None or not isinstance(name, str):
            continue
        if (
            direction.origin == DEFAULT
            and name.lower().endswith("loss")
            and direction.value is True
        ):
            continue  # to be raised before transformers 4.42, to be lowered since
        high = _wants_high(name)
        taken = direction.value if isinstance(direction.value, bool) else None
        if direction.value in ("max", "min"):
            taken = direction.value == "max"
        if high is None or taken is None or taken is high:
            continue
        yield _worst_is_kept(metric, direction, high, unit)


def _of_the_same(metric: Setting, unit: TrainingUnit) -> Setting | None:
    """The direction that stands beside a metric, or its default."""
    section = metric.key.rpartition(".")[0]
    for direction in unit.every("greater_is_better"):
        if direction.key.rpartition(".")[0] == section or direction.origin == DEFAULT:
            return direction
    return None


def _worst_is_kept(metric: Setting, direction: Setting, high: bool, unit: TrainingUnit) -> Finding:
    kept = unit.get("load_best_at_end")
    sure = kept is None or kept.value is True
    written = direction.origin != DEFAULT
    edit = _turned(metric, direction, high)
    shown = direction if written else metric
    name = str(metric.value)
    said = f"`{direction.key}: {direction.raw}`" if written else f"`{metric.key}: {name}` alone"
    return Finding(
        place_of(shown, unit),
        f"{said} takes the {'lowest' if high else 'highest'} value for the best",
        severity=ERROR if sure else WARNING,
        confidence=HIGH if written else MEDIUM,
        key=shown.key,
        label=f"{'more' if high else 'less'} of `{name}` is better",
        related=[Related(place_of(metric, unit), "the metric")] if written else (),
        why=["The worst checkpoint is kept as the best one, and better ones may be deleted."],
        next="Look at which step was kept by runs so far.",
        fix=Fix(RECOMMENDED, f"set `{edit.key}` to {edit.new}", [edit]) if edit else None,
    )


def _turned(metric: Setting, direction: Setting, high: bool) -> Edit | None:
    if direction.origin != DEFAULT:
        if direction.raw.strip("\"'") in ("max", "min"):
            return _respelt(direction, "max" if high else "min")
        return switch(direction, high)
    if metric.origin != WRITTEN or metric.tree is None or metric.key_node is None:
        return None
    if metric.last_key == "monitor":  # Lightning's callbacks
        return insert_after(metric.tree, metric.key_node, "mode", "max" if high else "min")
    if metric.last_key == "metric_for_best_model":
        return insert_after(metric.tree, metric.key_node, "greater_is_better", high)
    return None


def _respelt(setting: Setting, word: str) -> Edit | None:
    """Another word for a written one, in its quotes."""
    if setting.node is None or setting.tree is None or setting.origin != WRITTEN:
        return None
    return replace_value(setting.tree, setting.node, setting.key, word)


@rule(
    "GA624",
    "save-and-eval-out-of-step",
    scope="unit",
    needs=("load_best_at_end", "eval_strategy", "save_strategy"),
    severities=(ERROR,),
    confidence=HIGH,
    references=(
        TRAINING_ARGUMENTS,
        (
            "https://github.com/huggingface/transformers/pull/12786 (save and evaluation have to "
            "match where the best model is loaded)"
        ),
    ),
)
def save_and_eval_out_of_step(unit: TrainingUnit, limits: Limits) -> Iterator[Finding]:
    """The best model is to be loaded at the end, but is not saved when it is evaluated.

    Why:
        `load_best_model_at_end` needs a checkpoint of every evaluation that may be the best.
        transformers ends with a ValueError where the two strategies differ, or where both count
        steps and `save_steps` is no multiple of `eval_steps`.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4
        load_best_model_at_end: true
        eval_strategy: steps
        save_strategy: steps
        eval_steps: 200
        save_steps: 500

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        load_best_model_at_end: true
        eval_strategy: steps
        save_strategy: steps
        eval_steps: 200
        save_steps: 600

    Tell:
        Start the training: it ends at once, before the model is loaded.

    Symptoms:
        training ends with an error, or never starts

    Fix:
        Safe: the next multiple of `eval_steps`, or the strategy of the evaluation. The run could
        not have started.

    False positives:
        A launcher that gives the other of the two on its command line: medium confidence where one
        of them is the default. `save_strategy: best` is exempt, as in transformers. Before 4.10
        (2021) it saved at every evaluation instead.
    """
    if unit.settings["load_best_at_end"].value is not True:
        return
    evaluates, saves = unit.settings["eval_strategy"], unit.settings["save_strategy"]
    when, saved = _strategy(evaluates), _strategy(saves)
    if when is None or saved is None or (when == saved and when != "steps"):
        return
    if when != saved:
        yield _strategies_differ(evaluates, saves, when, saved, unit)
        return
    every, each = unit.get("eval_steps"), unit.get("save_steps")
    if every is None or each is None or not every.number or not each.number:
        return
    if _divides(every.number, each.number):
        return
    multiple = every.number * -(-each.number // every.number)
    whole = every.number >= 1 and each.number >= 1
    yield Finding(
        place_of(each if each.key else every, unit),
        f"saves every {number(each.number)} steps"
        f"{'' if each.key else ' (the default)'}, evaluates every {number(every.number)}: no "
        "multiple, and the trainer refuses to start",
        severity=ERROR,
        confidence=HIGH if each.key else MEDIUM,
        key=each.key or every.key,
        label=f"no multiple of {number(every.number)}",
        related=[Related(place_of(every, unit), "evaluates here")] if each.key else (),
        why=["`load_best_model_at_end` needs a checkpoint of an evaluation at every save."],
        next="Save at a multiple of the evaluations.",
        fix=_save_every(multiple, each, every) if whole else None,
        no_fix="" if whole else "both have to be steps, or both shares of the training",
    )


def _strategy(setting: Setting) -> str | None:
    """`steps`, `epoch` or `no`; None where it is another (`best`)."""
    value = setting.value
    if value is False:  # `no` to YAML 1.1
        return "no"
    text = str(value).lower()
    return text if text in ("steps", "epoch", "no") else None


def _divides(small: float, large: float) -> bool:
    """Whether saves are a multiple of evaluations, as transformers counts: shares in millionths."""
    if large % small == 0:
        return True
    if small < 1 and large < 1:
        return round(large * 1_000_000) % max(round(small * 1_000_000), 1) == 0
    return False


def _save_every(multiple: float, each: Setting, every: Setting) -> Fix | None:
    steps = int(multiple)
    if each.key:
        edit = change(each, steps)
    elif every.origin == WRITTEN and every.tree is not None and every.key_node is not None:
        edit = insert_after(every.tree, every.key_node, "save_steps", steps)
    else:
        edit = None
    return Fix(SAFE, f"set `save_steps` to {steps}", [edit]) if edit else None


def _strategies_differ(
    evaluates: Setting, saves: Setting, when: str, saved: str, unit: TrainingUnit
) -> Finding:
    load = unit.settings["load_best_at_end"]
    edit = None
    if when == "epoch" and saves.key:
        edit = _respelt(saves, "epoch")
    elif when == "epoch" and evaluates.origin == WRITTEN and evaluates.tree is not None:
        if evaluates.key_node is not None:
            edit = insert_after(evaluates.tree, evaluates.key_node, "save_strategy", "epoch")
    shown = next((setting for setting in (saves, evaluates) if setting.key), load)
    said = {"no": "never", "steps": "by steps", "epoch": "by epochs"}
    return Finding(
        place_of(shown, unit),
        f"evaluates {said[when]}, saves {said[saved]}: the trainer refuses to load the best model",
        severity=ERROR,
        confidence=HIGH if evaluates.key and saves.key else MEDIUM,
        key=shown.key,
        label="not when the other is",
        related=[Related(place_of(load, unit), "the best model is to be loaded")]
        if shown is not load
        else (),
        why=["`load_best_model_at_end` needs a checkpoint of every evaluation."],
        next="Give both the same strategy.",
        fix=Fix(SAFE, "set `save_strategy` to epoch", [edit]) if edit else None,
        no_fix="" if edit else "how often to evaluate and save is not known",
    )
