"""Operators on the batch, on what it feeds, and on the terms of the loss."""

from __future__ import annotations

from gradaudit.dialects import GENERIC
from gradaudit.plan.model import LossTerm, TrainingUnit

from . import semantics as why
from .change import own, to, together, written
from .model import Case, Make, Mutation, Operator
from .optimiser import _times
from .rates import _negated, _value

_WORDS = GENERIC["loss_terms"]


def _micro(case: Case, size: int) -> Mutation | None:
    micro = written(case, "micro_batch")
    if micro is None or micro.unit or not micro.number or micro.number <= size:
        return None
    return to(case, micro, size)


def _normed(case: Case) -> bool:
    return case.unit.norm in ("batch", "sync_batch")


def _tiny_norm_batch(case: Case) -> Mutation | None:
    return _micro(case, 2) if _normed(case) else None


def _accumulated(case: Case) -> Mutation | None:
    """Micro-batch 6, and accumulation x 4 for it: the trade that a full card suggests."""
    accumulation = written(case, "accumulation")
    if not _normed(case) or accumulation is None or not accumulation.number:
        return None
    return together(_micro(case, 6), to(case, accumulation, int(accumulation.number * 4)))


def _terms(case: Case, words: str) -> list[LossTerm]:
    wanted = set(_WORDS[words])
    return [t for t in case.unit.loss_terms if t.weight > 0 and not wanted.isdisjoint(t.tokens)]


def _few_pairs(case: Case) -> Mutation | None:
    return _micro(case, 4) if _terms(case, "pairwise") else None


def _few_for_statistics(case: Case) -> Mutation | None:
    auxiliary = [term for term in _terms(case, "batch_statistic") if term.is_auxiliary]
    return _micro(case, 4) if auxiliary else None


def _has_queue(case: Case, after: TrainingUnit | None) -> str:
    if case.unit.has_word(("queue", "bank")):
        return "a queue supplies the other side of the pairs (MoCo)"
    return ""


def _weight(factor: float, hinge: bool = False) -> Make:
    """The first auxiliary weight beside a primary one. Gradient penalties are large by design."""

    def make(case: Case) -> Mutation | None:
        unit = case.unit
        apart = set(_WORDS["apart"])
        if unit.terms_by_design or not any(
            term.weight > 0 and not term.is_auxiliary for term in unit.loss_terms
        ):
            return None
        for term in unit.loss_terms:
            if not term.is_auxiliary or term.weight <= 0 or not apart.isdisjoint(term.tokens):
                continue
            if hinge and set(_WORDS["hinge"]).isdisjoint(term.tokens):
                continue
            setting = own(case, term.setting)
            if setting is not None and setting.number == term.weight:
                return to(case, setting, float(f"{term.weight * factor:.6g}"))
        return None

    return make


def _game(case: Case, after: TrainingUnit | None) -> str:
    adversarial = set(_WORDS["adversarial"])
    if any(not adversarial.isdisjoint(term.tokens) for term in case.unit.loss_terms):
        return "a game of two networks is no sum to balance: its terms answer each other"
    return ""


def _any_weight(factor: float) -> Make:
    def make(case: Case) -> Mutation | None:
        if case.unit.terms_by_design:
            return None
        for term in case.unit.loss_terms:
            setting = own(case, term.setting)
            if setting is not None and term.weight > 0 and setting.number == term.weight:
                return to(case, setting, term.weight * factor)
        return None

    return make


def _product(case: Case) -> Mutation | None:
    """The global batch doubled where all its factors are written, and make it."""
    unit = case.unit
    whole = written(case, "global_batch")
    factors = [written(case, n) for n in ("micro_batch", "accumulation", "world_size")]
    if whole is None or not whole.number:
        return None
    product = 1.0
    for factor in factors:
        if factor is None or not factor.number or factor.unit:
            return None
        product *= factor.number
    if product != whole.number or unit.others.get("global_batch"):
        return None
    return to(case, whole, int(whole.number * 2))


BATCH = [
    Operator("batch-norm-micro-2", "micro-batch 2 under trainable BatchNorm", ("GA301",),
             _tiny_norm_batch, why.synchronised, companions=("GA302", "GA303", "GA304", "GA305"),
             also=("accumulation",)),
    Operator("batch-norm-accumulated", "micro-batch 6 and accumulation x 4 under BatchNorm",
             ("GA302",), _accumulated, why.synchronised,
             companions=("GA301", "GA303", "GA304", "GA305"), also=("accumulation", "micro_batch")),
    Operator("pairs-micro-4", "micro-batch 4 under a ranking or contrastive loss", ("GA303",),
             _few_pairs, _has_queue, companions=("GA301", "GA302", "GA304", "GA305"),
             also=("accumulation",)),
    Operator("statistics-micro-4", "micro-batch 4 under a penalty on statistics of the batch",
             ("GA304",), _few_for_statistics, companions=("GA301", "GA302", "GA303", "GA305"),
             also=("accumulation",)),
    Operator("auxiliary-weight-x100", "the first auxiliary loss weight x 100, a primary one beside it",
             ("GA401", "GA404"), _weight(100.0), _game,
             companions=("GA101", "GA402", "GA403", "GA404"), also=("@terms",)),
    Operator("hinge-weight-x100", "the first hinge's loss weight x 100, a primary one beside it",
             ("GA403",), _weight(100.0, hinge=True), _game,
             companions=("GA101", "GA401", "GA402", "GA404")),
    Operator("loss-weight-sign", "sign of the first loss weight flipped", ("GA405",),
             _any_weight(-1.0), companions=("GA401", "GA402", "GA404")),
    Operator("batch-product", "global batch doubled, its written factors left as they are",
             ("GA305",), _product),
    Operator("micro-batch-negative", "sign of the micro-batch flipped", ("GA703",),
             _negated("micro_batch"), companions=("GA305",)),
    Operator("micro-batch-zero", "micro-batch 0", ("GA703",), _value("micro_batch", 0),
             companions=("GA305",)),
    Operator("accumulation-zero", "accumulation 0", ("GA703",), _value("accumulation", 0),
             companions=("GA305",)),
    Operator("epochs-zero", "epochs 0", ("GA703",), _value("epochs", 0),
             why.read_as_off("epochs", "no limit")),
    Operator("steps-negative", "sign of the number of steps flipped", ("GA703",),
             _negated("total_steps")),
    Operator("dropout-x100", "dropout x 100 (per cent for a share)", ("GA703",),
             _times("dropout", 100.0)),
    Operator("dropout-0.95", "dropout 0.95", ("GA621",), _value("dropout", 0.95)),
    Operator("smoothing-x100", "label smoothing x 100 (per cent for a share)", ("GA703",),
             _times("label_smoothing", 100.0), companions=("GA407",)),
    Operator("smoothing-0.8", "label smoothing 0.8", ("GA407",), _value("label_smoothing", 0.8)),
    Operator("temperature-over-1000", "temperature of the loss / 1000", ("GA409",),
             _times("temperature", 0.001)),
]
