"""Operators on the batch, on what it feeds, and on the terms of the loss."""

from __future__ import annotations

from gradaudit.dialects import GENERIC
from gradaudit.plan.model import LossTerm, TrainingUnit

from . import semantics as why
from .change import flipped, negated, own, times, to, together, value, where, word, written
from .model import Case, Make, Mutation, Operator

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
    """The accumulation tripled and the global batch left, where its factors made it before and no
    number of devices does afterwards."""
    unit = case.unit
    if unit.others.get("global_batch") or unit.others.get("micro_batch"):
        return None
    names = ("global_batch", "micro_batch", "accumulation")
    settings = [written(case, name) for name in names]
    whole, micro, steps = (s.number if s is not None and not s.unit else None for s in settings)
    if not whole or not micro or not steps:
        return None
    devices = unit.number("world_size")
    fits = whole == micro * steps * devices if devices else whole % (micro * steps) == 0
    if not fits or whole % (micro * steps * 3) == 0:
        return None
    return to(case, settings[2], int(steps * 3))


def _one_left_over(case: Case) -> Mutation | None:
    """A data set that leaves a last batch of one, which is not dropped."""
    drop, micro = case.unit.get("drop_last"), case.unit.number("micro_batch")
    samples = written(case, "dataset_size")
    if not _normed(case) or samples is None or not micro or micro < 2:
        return None
    if drop is None or drop.value is not False:
        return None
    return to(case, samples, int(micro) * 100 + 1)


def _odd_groups(case: Case) -> Mutation | None:
    groups, channels = written(case, "norm_groups"), case.unit.number("norm_channels")
    if groups is None or not groups.number or not channels or channels % (groups.number + 1) == 0:
        return None
    return to(case, groups, int(groups.number + 1))


def _summed(case: Case) -> Mutation | None:
    reduction = word(case, "loss_reduction")
    return to(case, reduction, "sum") if reduction and reduction.raw == "mean" else None


def _constant_factor(case: Case, after: TrainingUnit | None) -> str:
    if not case.unit.number("clip_norm"):
        reason = why.scale_cancels(case, after)
        if reason:
            return "the sum is the mean times the batch, and under Adam and its kin that cancels"
    return ""


def _few_layers(case: Case, after: TrainingUnit | None) -> str:
    depth = case.unit.number("depth")
    if depth and depth <= 6:
        return "six post-norm layers train without a warm-up in DETR"
    return ""


def _post_norm(case: Case) -> Mutation | None:
    warmup = case.unit.warmup
    scheduler = why.text_of(case.unit, "scheduler")
    if warmup is None or not case.unit.number("depth"):
        return None
    if "warm" in scheduler or "noam" in scheduler:
        return None  # the warm-up is in the formula of the rate, and 0 is an error or infinite
    return together(flipped("pre_norm", False)(case), to(case, own(case, warmup.setting), 0))


BATCH = [
    Operator(
        "batch-norm-micro-2",
        "micro-batch 2 under trainable BatchNorm",
        ("GA301",),
        _tiny_norm_batch,
        why.synchronised,
        companions=("GA302", "GA303", "GA304", "GA305"),
        also=("accumulation",),
    ),
    Operator(
        "batch-norm-accumulated",
        "micro-batch 6 and accumulation x 4 under BatchNorm",
        ("GA302",),
        _accumulated,
        why.synchronised,
        companions=("GA301", "GA303", "GA304", "GA305"),
        also=("accumulation", "micro_batch"),
    ),
    Operator(
        "pairs-micro-4",
        "micro-batch 4 under a ranking or contrastive loss",
        ("GA303",),
        _few_pairs,
        _has_queue,
        companions=("GA301", "GA302", "GA304", "GA305"),
        also=("accumulation",),
    ),
    Operator(
        "statistics-micro-4",
        "micro-batch 4 under a penalty on statistics of the batch",
        ("GA304",),
        _few_for_statistics,
        companions=("GA301", "GA302", "GA303", "GA305"),
        also=("accumulation",),
    ),
    Operator(
        "auxiliary-weight-x100",
        "the first auxiliary loss weight x 100, beside a primary one",
        ("GA401", "GA404"),
        _weight(100.0),
        _game,
        companions=("GA101", "GA402", "GA403", "GA404"),
        also=("@terms",),
    ),
    Operator(
        "hinge-weight-x100",
        "the first hinge's loss weight x 100, a primary one beside it",
        ("GA403",),
        _weight(100.0, hinge=True),
        _game,
        companions=("GA101", "GA401", "GA402", "GA404"),
    ),
    Operator(
        "loss-weight-sign",
        "sign of the first loss weight flipped",
        ("GA405",),
        _any_weight(-1.0),
        companions=("GA401", "GA402", "GA404"),
    ),
    Operator(
        "accumulation-x3",
        "accumulation x 3, the global batch that it made left as it is",
        ("GA305",),
        _product,
    ),
    Operator(
        "last-batch-of-one",
        "a data set that leaves one sample, under BatchNorm",
        ("GA307",),
        _one_left_over,
        also=("drop_last",),
    ),
    Operator(
        "batch-norm-momentum-0.99",
        "BatchNorm's momentum 0.99, as Keras means it",
        ("GA308",),
        value("norm_momentum", 0.99),
    ),
    Operator(
        "groups-plus-one", "one more group than divides the channels", ("GA309",), _odd_groups
    ),
    Operator(
        "no-residual",
        "the residual connections off",
        ("GA310",),
        where(lambda case: bool(case.unit.number("depth")), flipped("residual", False)),
    ),
    Operator(
        "post-norm-without-warmup",
        "a pre-norm transformer made post-norm, warm-up 0",
        ("GA311",),
        _post_norm,
        _few_layers,
        note="Most published transformers with such a switch have six layers.",
        companions=("GA208",),
    ),
    Operator(
        "init-std-x50",
        "standard deviation of the first weights x 50",
        ("GA312",),
        times("init_std", 50.0),
    ),
    Operator(
        "loss-summed",
        "reduction of the loss from mean to sum",
        ("GA406",),
        _summed,
        _constant_factor,
        note="BasicSR's losses, under Adam and without a clip.",
    ),
    Operator(
        "class-weight-x1000",
        "weight of the positive class x 1000",
        ("GA408",),
        times("pos_weight", 1000.0),
    ),
    Operator(
        "micro-batch-negative",
        "sign of the micro-batch flipped",
        ("GA703",),
        negated("micro_batch"),
        companions=("GA305",),
    ),
    Operator(
        "micro-batch-zero",
        "micro-batch 0",
        ("GA703",),
        value("micro_batch", 0),
        companions=("GA305",),
    ),
    Operator(
        "accumulation-zero",
        "accumulation 0",
        ("GA703",),
        value("accumulation", 0),
        companions=("GA305",),
    ),
    Operator(
        "epochs-zero",
        "epochs 0",
        ("GA703",),
        value("epochs", 0),
        why.read_as_off("epochs", "no limit"),
    ),
    Operator(
        "steps-negative", "sign of the number of steps flipped", ("GA703",), negated("total_steps")
    ),
    Operator(
        "dropout-x100", "dropout x 100 (per cent for a share)", ("GA703",), times("dropout", 100.0)
    ),
    Operator("dropout-0.95", "dropout 0.95", ("GA621",), value("dropout", 0.95)),
    Operator(
        "smoothing-x100",
        "label smoothing x 100 (per cent for a share)",
        ("GA703",),
        times("label_smoothing", 100.0),
        companions=("GA407",),
    ),
    Operator("smoothing-0.8", "label smoothing 0.8", ("GA407",), value("label_smoothing", 0.8)),
    Operator(
        "temperature-over-1000",
        "temperature of the loss / 1000",
        ("GA409",),
        times("temperature", 0.001),
    ),
]
