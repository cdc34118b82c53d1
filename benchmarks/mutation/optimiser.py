"""Operators on clipping, moments, decay and the adapter."""

from __future__ import annotations

from gradaudit.plan.model import TrainingUnit
from gradaudit.syntax.tree import Scalar, Sequence, content_span

from . import semantics as why
from .change import child, inserted, to, without, word, written
from .model import Case, Make, Mutation, Operator
from .rates import _negated, _value


def _positive(name: str, value: float) -> Make:
    """Another value for a setting that is above 0 (and so in force)."""

    def make(case: Case) -> Mutation | None:
        setting = written(case, name)
        if setting is None or not setting.number or setting.number <= 0 or setting.number == value:
            return None
        return to(case, setting, value)

    return make


def _times(name: str, factor: float) -> Make:
    def make(case: Case) -> Mutation | None:
        setting = written(case, name)
        if setting is None or not setting.number or setting.number <= 0:
            return None
        return to(case, setting, float(f"{setting.number * factor:.6g}"))

    return make


def _moments(name: str, value: float) -> Make:
    """`beta1` or `beta2`, written alone or as one of a pair."""
    index = ("beta1", "beta2").index(name)

    def make(case: Case) -> Mutation | None:
        alone = written(case, name)
        if alone is not None:
            return to(case, alone, value)
        items = _pair(case)
        if items is None:
            return None
        start, end = content_span(items[index], case.tree.source.text)
        return Mutation([(start, end, repr(value))], [start])

    return make


def _pair(case: Case) -> list[Scalar] | None:
    """The items of a written pair of betas."""
    betas = case.unit.get("betas")
    if betas is None or betas.origin != "written" or betas.tree not in (None, case.tree):
        return None
    node = case.tree.roots[0]
    for part in betas.key.split("."):
        below = child(node, part)
        if below is None:
            return None
        node = below
    if type(node) is not Sequence or len(node.items) != 2 or id(node) in case.tree.aliased:
        return None
    items = [item for item in node.items if type(item) is Scalar and not item.style]
    return items if len(items) == 2 else None


def _still_in_order(case: Case, after: TrainingUnit | None) -> str:
    betas = after.get("betas") if after is not None else None
    first = after.number("beta1") if after is not None else None
    if betas is not None and isinstance(betas.value, tuple):
        first = betas.value[0]
    if first is not None and first <= 0.5:
        return "beta1 is 0.5 or less, as GANs have it: the second average is not the shorter one"
    return ""


def _eps_of_rmsprop(case: Case, after: TrainingUnit | None) -> str:
    if case.unit.optimizer in ("rmsprop", "adagrad"):
        return "RMSprop is published with eps of 1e-3 to 1 (MobileNet, Inception)"
    if not why.adam_like(case):
        return f"{case.unit.optimizer or 'the optimiser'} is not known to divide by eps"
    return ""


def _adapter_rank(factor: float) -> Make:
    def make(case: Case) -> Mutation | None:
        alpha = written(case, "lora_alpha")
        if alpha is None or not alpha.number or not case.unit.number("lora_rank"):
            return None
        return to(case, alpha, alpha.number * factor)

    return make


def _no_targets(case: Case) -> Mutation | None:
    return without(case, word(case, "lora_targets"))


def _by_value(case: Case) -> Mutation | None:
    kind = word(case, "clip_kind")
    if kind is None or str(kind.value).lower() != "norm" or not case.unit.number("clip_norm"):
        return None
    return to(case, kind, "value")


def _second_clip(case: Case) -> Mutation | None:
    clip = written(case, "clip_norm")
    if clip is None or not clip.number:
        return None
    return inserted(case, "clip_value", 0.5)


OPTIMISER = [
    Operator("clip-zero", "clip norm 0", ("GA102",), _positive("clip_norm", 0.0),
             why.read_as_off("clip_norm"),
             note="Most frameworks test for a positive threshold first, and their dialects say so."),
    Operator("clip-minus-one", "clip norm -1", ("GA102",), _positive("clip_norm", -1.0),
             why.read_as_off("clip_norm"),
             note="As clip-zero: what is not above 0 is off to most frameworks."),
    Operator("clip-sign", "sign of the clip norm flipped", ("GA102",), _negated("clip_norm"),
             why.read_as_off("clip_norm"),
             note="As clip-zero: what is not above 0 is off to most frameworks."),
    Operator("clip-1e-6", "clip norm 1e-6", ("GA103",), _positive("clip_norm", 1e-6),
             why.only_the_sign_counts, companions=("GA101", "GA609")),
    Operator("clip-0.001", "clip norm 0.001", ("GA103",), _positive("clip_norm", 1e-3),
             why.scale_cancels, companions=("GA101", "GA609"),
             note="Under Adam and its kin a threshold that clips every step cancels: in the "
             "measured runs it trained as well as 1.0. Under SGD every mutant counts."),
    Operator("clip-1e6", "clip norm 1e6", ("GA104",), _positive("clip_norm", 1e6)),
    Operator("clip-twice", "a clip by value beside the clip by norm, where the framework has both",
             ("GA105",), _second_clip, companions=("GA106",)),
    Operator("clip-by-value", "kind of the clip from norm to value", ("GA106",), _by_value),
    Operator("momentum-x10", "momentum x 10 (9.0 for 0.9)", ("GA703",), _times("momentum", 10.0),
             companions=("GA608",)),
    Operator("momentum-0.9999", "momentum 0.9999", ("GA608",), _positive("momentum", 0.9999)),
    Operator("beta2-one", "beta2 1.0", ("GA703",), _moments("beta2", 1.0),
             companions=("GA601", "GA602")),
    Operator("beta2-half", "beta2 0.5", ("GA601",), _moments("beta2", 0.5), _still_in_order),
    Operator("beta1-above-one", "beta1 9.0 (for 0.9)", ("GA703",), _moments("beta1", 9.0),
             companions=("GA601",)),
    Operator("eps-0.01", "eps 0.01", ("GA603",), _value("eps", 0.01), _eps_of_rmsprop),
    Operator("eps-negative", "sign of eps flipped", ("GA703",), _negated("eps")),
    Operator("decay-x1000", "weight decay x 1000", ("GA606", "GA605"),
             _times("weight_decay", 1000.0)),
    Operator("decay-negative", "sign of the weight decay flipped", ("GA703",),
             _negated("weight_decay")),
    Operator("lora-alpha-x64", "LoRA's alpha x 64, its rank known", ("GA630",),
             _adapter_rank(64.0), companions=("GA219",)),
    Operator("lora-no-targets", "the modules that LoRA adapts deleted", ("GA631",), _no_targets),
]
