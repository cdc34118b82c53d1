"""Operators on precision, the weight average, evaluation and reproducibility."""

from __future__ import annotations

from .change import inserted, to, without, word, written
from .model import Case, Make, Mutation, Operator
from .rates import _value


def _flag(name: str, flipped: bool) -> Make:
    """A switch turned, where it stands as true or false."""

    def make(case: Case) -> Mutation | None:
        setting = word(case, name)
        if setting is None or setting.value is not (not flipped):
            return None
        return to(case, setting, flipped)

    return make


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


def _both_precisions(case: Case) -> Mutation | None:
    """The framework's own two switches: the other one on as well."""
    from .change import at_path
    from gradaudit.dialects.paths import steps

    precision = case.unit.get("precision")
    setting = word(case, "precision")
    if precision is None or setting is None or setting.raw.lower() != "true":
        return None
    *above, name = setting.key.split(".")
    other = {"fp16": "bf16", "bf16": "fp16"}.get(name)
    if other is None:
        return None
    return at_path(case, [*above, other], True) or _switched_on(case, above, other)


def _switched_on(case: Case, above: list[str], name: str) -> Mutation | None:
    from gradaudit.edits import replace_value
    from gradaudit.fix.splice import Refused, splices
    from gradaudit.syntax.tree import Scalar

    from .change import child

    node = case.tree.roots[0]
    for part in (*above, name):
        below = child(node, part)
        if below is None:
            return None
        node = below
    if type(node) is not Scalar or node.value.lower() != "false":
        return None
    try:
        return Mutation(splices(replace_value(case.tree, node, None, True)), [node.start])
    except Refused:
        return None


def _scaler_off(case: Case) -> Mutation | None:
    precision = case.unit.get("precision")
    if precision is None or not str(precision.value).startswith("fp16"):
        return None
    return _flag("loss_scaling", False)(case) or inserted(case, "loss_scaling", False)


PRECISION = [
    Operator("fp16-without-scaler", "loss scaling off under fp16", ("GA501",), _scaler_off),
    Operator("fp16-and-bf16", "the other of the two switches `fp16` and `bf16` on as well",
             ("GA502",), _both_precisions, companions=("GA505",)),
    Operator("loss-scale-2-to-30", "static loss scale 2^30", ("GA503",),
             _value("loss_scale", 2.0**30)),
    Operator("ema-one", "decay of the weight average 1.0", ("GA703",), _value("ema_decay", 1.0),
             companions=("GA620",)),
    Operator("ema-beyond-training", "weight average with a memory of ten times the training",
             ("GA620",), _ema_beyond_training),
    Operator("best-metric-direction", "`greater_is_better` flipped, the metric named", ("GA623",),
             lambda case: _flag("greater_is_better", True)(case)
             or _flag("greater_is_better", False)(case)),
    Operator("no-seed", "the seed deleted", ("GA625",), lambda case: without(case, word(case, "seed"))),
    Operator("deterministic-and-benchmark", "cuDNN's benchmark on beside `deterministic`",
             ("GA626",), _flag("cudnn_benchmark", True)),
]
