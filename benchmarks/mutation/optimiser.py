"""Operators on clipping, moments, decay and the adapter."""

from __future__ import annotations

from gradaudit.plan.model import TrainingUnit
from gradaudit.syntax.tree import Sequence, last_leaf

from . import semantics as why
from .change import (
    beside,
    flipped,
    items,
    negated,
    node_at,
    positive,
    respelled,
    times,
    to,
    value,
    where,
    word,
    written,
)
from .model import Case, Make, Mutation, Operator


def _moments(name: str, new: float) -> Make:
    """`beta1` or `beta2`, written alone or as one of a pair."""
    index = ("beta1", "beta2").index(name)

    def make(case: Case) -> Mutation | None:
        alone = written(case, name)
        if alone is not None:
            return to(case, alone, new)
        pair = items(case, "betas")
        return respelled(case, [pair[index]], [repr(new)]) if len(pair) == 2 else None

    return make


def _rate_known(case: Case) -> bool:
    """What a decay takes off is its product with the rate."""
    return bool(case.unit.number("learning_rate") and case.unit.optimizer)


def _still_in_order(case: Case, after: TrainingUnit | None) -> str:
    betas = after.get("betas") if after is not None else None
    first = after.number("beta1") if after is not None else None
    if betas is not None and isinstance(betas.value, tuple):
        first = betas.value[0]
    if case.unit.optimizer == "novograd":
        return "NovoGrad's second average is one of layers, published with 0 to 0.5"
    if first is not None and first <= 0.5:
        return "beta1 is 0.5 or less, as GANs have it: the second average is not the shorter one"
    return ""


def _eps_of_rmsprop(case: Case, after: TrainingUnit | None) -> str:
    if case.unit.optimizer == "adadelta":
        return "Adadelta has eps above and below the line: it sets the first steps"
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
    """The list of modules made empty."""
    targets = case.unit.get("lora_targets")
    node = node_at(case, targets.key) if targets is not None and targets.key else None
    if type(node) is not Sequence or not node.items or id(node) in case.tree.aliased:
        return None
    end = last_leaf(node).end
    if node.flow or node.parent is None:
        return Mutation([(node.start, node.end, "[]")], [node.start])
    key = next((k for k, v in getattr(node.parent, "pairs", ()) if v is node), None)
    return Mutation([(key.end, end, ": []")], [key.start]) if key is not None else None


def _peft(case: Case, after: TrainingUnit | None) -> str:
    """peft/peft_model.py, `_prepare_model_for_gradient_checkpointing`."""
    if case.dialect in ("axolotl", "hf-trainer", "llama-factory"):
        return "PEFT lets the inputs require gradients itself"
    return ""


def _byvalue(case: Case) -> Mutation | None:
    kind = word(case, "clip_kind")
    if kind is None or str(kind.value).lower() != "norm" or not case.unit.number("clip_norm"):
        return None
    return to(case, kind, "value")


def _by_value(case: Case) -> Mutation | None:
    kind = word(case, "clip_kind")
    if kind is None or str(kind.value).lower() != "norm" or not case.unit.number("clip_norm"):
        return None
    return to(case, kind, "value")


def _second_clip(case: Case) -> Mutation | None:
    clip = written(case, "clip_norm")
    if clip is None or not clip.number or case.dialect != "generic":
        return None
    return None if case.unit.get("clip_value") else beside(case, clip, "clip_grad_value", 0.5)


def _recurrent(case: Case) -> bool:
    return case.unit.get("recurrent") is not None and bool(case.unit.number("clip_norm"))


def _clip_off(case: Case) -> Mutation | None:
    return to(case, written(case, "clip_norm"), None)


def _adapter_checkpointed(case: Case) -> bool:
    checkpointing = case.unit.get("gradient_checkpointing")
    return bool(case.unit.number("lora_rank")) and bool(checkpointing and checkpointing.value)


OPTIMISER = [
    Operator(
        "clip-zero",
        "clip norm 0",
        ("GA102",),
        positive("clip_norm", 0.0),
        why.read_as_off("clip_norm"),
        companions=("GA107", "GA108"),
        note="Most frameworks test for a threshold above 0, and their dialects say so.",
    ),
    Operator(
        "clip-minus-one",
        "clip norm -1",
        ("GA102",),
        positive("clip_norm", -1.0),
        why.read_as_off("clip_norm"),
        companions=("GA107", "GA108"),
        note="As clip-zero: what is not above 0 is off to most frameworks.",
    ),
    Operator(
        "clip-sign",
        "sign of the clip norm flipped",
        ("GA102",),
        negated("clip_norm"),
        why.read_as_off("clip_norm"),
        companions=("GA107", "GA108"),
        note="As clip-zero: what is not above 0 is off to most frameworks.",
    ),
    Operator(
        "clip-1e-6",
        "clip norm 1e-6",
        ("GA103",),
        positive("clip_norm", 1e-6),
        why.only_the_sign_counts,
        companions=("GA101", "GA609"),
    ),
    Operator(
        "clip-0.001",
        "clip norm 0.001",
        ("GA103",),
        positive("clip_norm", 1e-3),
        why.scale_cancels,
        companions=("GA101", "GA609"),
        note="Under Adam and its kin a threshold that clips every step cancels: in the "
        "measured runs it trained as well as 1.0. Under SGD every mutant counts.",
    ),
    Operator("clip-1e6", "clip norm 1e6", ("GA104",), positive("clip_norm", 1e6)),
    Operator(
        "clip-twice",
        "a clip by value beside that by norm, in configs of no known framework",
        ("GA105",),
        _second_clip,
        companions=("GA106",),
    ),
    Operator("clip-by-value", "kind of the clip from norm to value", ("GA106",), _by_value),
    Operator(
        "momentum-x10",
        "momentum x 10 (9.0 for 0.9)",
        ("GA703",),
        times("momentum", 10.0),
        companions=("GA608",),
    ),
    Operator(
        "momentum-0.9999",
        "momentum 0.9999",
        ("GA608",),
        positive("momentum", 0.9999),
        companions=("GA606",),
    ),
    Operator(
        "beta2-one", "beta2 1.0", ("GA703",), _moments("beta2", 1.0), companions=("GA601", "GA602")
    ),
    Operator("beta2-half", "beta2 0.5", ("GA601",), _moments("beta2", 0.5), _still_in_order),
    Operator(
        "beta1-above-one",
        "beta1 9.0 (for 0.9)",
        ("GA703",),
        _moments("beta1", 9.0),
        companions=("GA601",),
    ),
    Operator("eps-0.01", "eps 0.01", ("GA603",), value("eps", 0.01), _eps_of_rmsprop),
    Operator("eps-negative", "sign of eps flipped", ("GA703",), negated("eps")),
    Operator(
        "decay-x1000",
        "weight decay x 1000, optimiser and learning rate known",
        ("GA606", "GA605"),
        where(_rate_known, times("weight_decay", 1000.0)),
        why.decays_as_published,
        companions=("GA602",),
        note="Under a fine-tuning's rate even a decay of 10 takes off less a step than published "
        "trainings "
        "from scratch do: only the product acts.",
    ),
    Operator(
        "decay-negative", "sign of the weight decay flipped", ("GA703",), negated("weight_decay")
    ),
    Operator(
        "lora-alpha-x64",
        "LoRA's alpha x 64, its rank known",
        ("GA630",),
        _adapter_rank(64.0),
        companions=("GA219",),
    ),
    Operator(
        "recurrent-clip-off",
        "the clip of a recurrent network off",
        ("GA108", "GA107"),
        where(_recurrent, _clip_off),
    ),
    Operator(
        "backbone-x1000",
        "learning rate of the backbone x 1000",
        ("GA221",),
        times("backbone_learning_rate", 1000.0),
        companions=("GA201", "GA218"),
    ),
    Operator(
        "reentrant-adapter",
        "checkpointing of an adapter's training made re-entrant",
        ("GA632",),
        where(_adapter_checkpointed, flipped("reentrant_checkpointing", True)),
        _peft,
        note="Nearly all of them train with PEFT.",
    ),
    Operator(
        "lora-no-targets",
        "the list of modules that LoRA adapts made empty",
        ("GA631",),
        _no_targets,
    ),
]
