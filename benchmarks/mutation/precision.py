"""Operators on precision, the weight average, evaluation and reproducibility."""

from __future__ import annotations

from gradaudit.plan.model import TrainingUnit
from gradaudit.syntax.scalars import Value
from gradaudit.syntax.tree import Scalar

from . import semantics as why
from .change import (
    at_path,
    beside,
    child,
    first_of,
    flipped,
    times,
    to,
    value,
    where,
    word,
    written,
)
from .model import Case, Mutation, Operator


def _ema_beyond_training(case: Case) -> Mutation | None:
    """A memory of ten times the training."""
    decay, length = written(case, "ema_decay"), case.unit.length
    if decay is None or not decay.number or length is None:
        return None
    steps = length.value
    if length.unit == "epochs":
        per_epoch = case.unit.number("steps_per_epoch")
        if not per_epoch:
            return None
        steps *= per_epoch
    return to(case, decay, 1 - 1 / (10 * steps))


def _ema_warms_up(case: Case, after: TrainingUnit | None) -> str:
    warmup = case.unit.get("ema_warmup")
    if warmup is not None and warmup.value:
        return "the average's decay is ramped up from a short memory"
    return ""


def _both_precisions(case: Case) -> Mutation | None:
    """The other of two switches that stand side by side, on as well."""
    for one, other in (("fp16", "bf16"), ("bf16", "fp16")):
        setting = word(case, one) or word(case, "precision")
        if setting is None or setting.raw.lower() != "true" or setting.last_key.lower() != one:
            continue
        *above, _ = setting.key.split(".")
        node = case.tree.roots[0]
        for part in (*above, other):
            below = child(node, part)
            if below is None:
                return at_path(case, [*above, other], True)
            node = below
        if type(node) is Scalar and node.value.lower() == "false":
            text = {"False": "True", "FALSE": "TRUE"}.get(node.value, "true")
            return Mutation([(node.start, node.end, text)], [node.start])
    return None


def _is_fp16(case: Case) -> bool:
    return why.text_of(case.unit, "precision").startswith("fp16")


def _scaler_off(case: Case) -> Mutation | None:
    return flipped("grad_scaler", False)(case) if _is_fp16(case) else None


def _huge_scale(case: Case) -> Mutation | None:
    """Static, where a scale is written; 0 and "dynamic" stand for none."""
    if not _is_fp16(case):
        return None
    power = written(case, "loss_scale_power")
    if power is not None:
        return to(case, power, 40)
    scale = word(case, "loss_scale")
    return to(case, scale, 2**30) if scale is not None and scale.raw.strip("0.").isdigit() else None


def _direction(case: Case) -> Mutation | None:
    """`greater_is_better` or `mode` turned, the metric being named."""
    setting = word(case, "greater_is_better")
    metric = case.unit.get("best_metric")
    if setting is None or metric is None or not isinstance(metric.value, str):
        return None
    turned: dict[str, Value] = {"true": False, "false": True, "min": "max", "max": "min"}
    other = turned.get(setting.raw.lower())
    return to(case, setting, other) if other is not None else None


def _saved_between(case: Case) -> Mutation | None:
    save, evaluate = written(case, "save_steps"), case.unit.number("eval_steps")
    best = case.unit.get("load_best_at_end")
    if save is None or not evaluate or evaluate < 2 or best is None or best.value is not True:
        return None
    return to(case, save, int(evaluate) + int(evaluate) // 2)


def _fp16_for_bf16(case: Case) -> Mutation | None:
    precision = word(case, "precision")
    if precision is None or "bf16" not in precision.raw or case.unit.get("model_name") is None:
        return None
    lightning = {"bf16-true": "16-true", "bf16-mixed": "16-mixed"}
    return to(case, precision, lightning.get(precision.raw, precision.raw.replace("bf16", "fp16")))


def _not_born_in_bf16(case: Case, after: TrainingUnit | None) -> str:
    if why.text_of(after, "precision") == "fp16":
        return ""  # all of it, master weights too, and no loss scaling
    name = why.text_of(case.unit, "model_name")
    if any(family in name for family in ("t5", "gemma")):
        return ""
    return "activations of this model are not known to leave fp16's range (those of T5, Gemma do)"


def _deterministic(case: Case) -> bool:
    return why.text_of(case.unit, "deterministic") in ("true", "warn")


def _benchmark(case: Case) -> bool:
    return why.text_of(case.unit, "cudnn_benchmark") == "true"


def _benchmark_added(case: Case) -> Mutation | None:
    setting = word(case, "deterministic")
    if case.dialect != "generic" or case.unit.get("cudnn_benchmark") is not None:
        return None
    return beside(case, setting, "cudnn_benchmark", True)


def _seed_off(case: Case) -> Mutation | None:
    seed = written(case, "seed")
    return to(case, seed, None) if case.tree.format != "toml" else None


def _default_seed(case: Case, after: TrainingUnit | None) -> str:
    seed = after.get("seed") if after is not None else None
    if seed is not None and seed.value is not None:
        return "the framework has a seed of its own where none is written"
    return ""


PRECISION = [
    Operator("fp16-without-scaler", "loss scaling off under fp16", ("GA501",), _scaler_off),
    Operator(
        "fp16-and-bf16",
        "the other of the two switches `fp16` and `bf16` on as well",
        ("GA502",),
        _both_precisions,
        companions=("GA501", "GA505"),
        also=("fp16", "bf16"),
    ),
    Operator(
        "loss-scale-2-to-30",
        "static loss scale 2^30, or a first one of 2^40, under fp16",
        ("GA503",),
        _huge_scale,
    ),
    Operator(
        "first-scale-2", "first loss scale 2^1", ("GA805", "GA503"), value("loss_scale_power", 1)
    ),
    Operator(
        "fp16-for-bf16",
        "`bf16` replaced by `fp16`, the model named",
        ("GA505", "GA501"),
        _fp16_for_bf16,
        _not_born_in_bf16,
        companions=("GA501", "GA604"),
        note="Only some families are known to overflow in fp16.",
    ),
    Operator(
        "ema-one",
        "decay of the weight average 1.0",
        ("GA703",),
        value("ema_decay", 1.0),
        companions=("GA620",),
    ),
    Operator(
        "ema-beyond-training",
        "weight average with a memory of ten times the training",
        ("GA620",),
        _ema_beyond_training,
        _ema_warms_up,
    ),
    Operator(
        "best-metric-direction",
        "direction of the best metric turned, the metric named",
        ("GA623",),
        _direction,
        also=("greater_is_better",),
    ),
    Operator(
        "saved-between-evaluations",
        "saving at one and a half times the evaluation's interval",
        ("GA624",),
        _saved_between,
        also=("eval_steps",),
    ),
    Operator(
        "early-stop-x1000",
        "patience of early stopping x 1000",
        ("GA622",),
        where(lambda case: case.unit.length is not None, times("early_stop_patience", 1000.0)),
    ),
    Operator(
        "no-seed",
        "the seed null",
        ("GA625",),
        _seed_off,
        _default_seed,
        note="Many frameworks have a default seed.",
    ),
    Operator(
        "deterministic-and-benchmark",
        "cuDNN's benchmark on beside `deterministic`",
        ("GA626",),
        first_of(
            where(_deterministic, flipped("cudnn_benchmark", True)),
            where(_benchmark, flipped("deterministic", True)),
            where(_deterministic, _benchmark_added),
        ),
    ),
]
