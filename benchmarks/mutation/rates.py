"""Operators on the learning rate, its warm-up and its schedule."""

from __future__ import annotations

from gradaudit.plan.model import Duration, TrainingUnit

from . import semantics as why
from .change import (
    beside,
    inserted,
    items,
    negated,
    own,
    positive,
    respelled,
    to,
    value,
    word,
    written,
)
from .model import Case, Make, Mutation, Operator


def _rate(factor: float) -> Make:
    def make(case: Case) -> Mutation | None:
        rate = written(case, "learning_rate")
        if rate is None or not rate.number or why.noam(case) or not case.unit.optimizer:
            return None
        return to(case, rate, float(f"{rate.number * factor:.6g}"))

    return make


def _rate_down(case: Case) -> Mutation | None:
    # Under SGD a rate alone says nothing: a summed loss makes 1e-6 and less right (CSRNet).
    return None if why.sgd(case) else _rate(1e-4)(case)


def _warmup_of(share: float) -> Make:
    """The warm-up as a share of the training, in the unit that it is written in."""

    def make(case: Case) -> Mutation | None:
        warmup, length = case.unit.warmup, case.unit.length
        if warmup is None or own(case, warmup.setting) is None:
            return None
        if warmup.unit == "ratio":
            return to(case, warmup.setting, share)
        whole = _in_unit_of(warmup, length, case.unit.number("steps_per_epoch"))
        if whole is None or whole * share < 1:
            return None
        return to(case, warmup.setting, round(whole * share))

    return make


def _in_unit_of(warmup: Duration, length: Duration | None, per_epoch: float | None) -> float | None:
    if length is None or length.value <= 0:
        return None
    if length.unit == warmup.unit:
        return length.value
    if not per_epoch:
        return None
    return length.value * per_epoch if warmup.unit == "steps" else length.value / per_epoch


def _floor_above_peak(case: Case) -> Mutation | None:
    rate = case.unit.number("learning_rate")
    floor = written(case, "min_learning_rate")
    if floor is None or not rate or why.noam(case):
        return None
    return to(case, floor, float(f"{rate * 10:.6g}"))


def _two_units(case: Case) -> Mutation | None:
    steps = written(case, "warmup_steps")
    if steps is not None and steps.number:
        ratio = inserted(case, "warmup_ratio", 0.02)
        return ratio or (
            beside(case, steps, "warmup_ratio", 0.02) if case.dialect == "generic" else None
        )
    return None


def _start_factor(case: Case, after: TrainingUnit | None) -> str:
    steps = case.unit.get("warmup_steps")
    if steps is not None and "iter" in steps.last_key.lower():
        return "beside iterations `warmup_ratio` is the factor that mmcv's warm-up starts from"
    return ""


def _horizon(share: float) -> Make:
    """The schedule's own length as a share of the training's, both in one unit."""

    def make(case: Case) -> Mutation | None:
        by_calls = "epochs" if "epoch" in why.text_of(case.unit, "scheduler_interval") else ""
        if "step" in why.text_of(case.unit, "scheduler_interval"):
            by_calls = "total_steps"
        for name, length in (
            ("decay_steps", "total_steps"), ("decay_epochs", "epochs"), ("decay_calls", by_calls),
        ):  # fmt: skip
            horizon, whole = written(case, name), case.unit.number(length)
            if horizon is not None and horizon.number and whole:
                return to(case, horizon, max(1, round(whole * share)))
        return None

    return make


def _other_interval(case: Case) -> Mutation | None:
    """A schedule of as many calls as the training has epochs, called at every step."""
    calls, epochs = case.unit.number("decay_calls"), case.unit.number("epochs")
    interval = word(case, "scheduler_interval")
    if interval is None or not calls or calls != epochs or interval.raw.lower() != "epoch":
        return None
    return to(case, interval, "step")


def _late_milestones(case: Case) -> Mutation | None:
    nodes = items(case, "milestones")
    if case.unit.length is None or not all(node.value.isdigit() for node in nodes):
        return None
    return respelled(case, nodes, [str(int(node.value) * 10) for node in nodes])


def _milestones_unread(case: Case, after: TrainingUnit | None) -> str:
    name = why.text_of(case.unit, "scheduler")
    if name and "step" not in name:
        return f"a schedule `{name}` reads no milestones"
    if len(items(case, "milestones")) == 1:
        return (
            "one milestone beyond the end is how recipes write a constant rate (Real-ESRGAN, "
            "RT-DETR)"
        )
    return ""


def _holds_its_floor(case: Case, after: TrainingUnit | None) -> str:
    """Megatron's schedules stay at `min_lr` after their end, as GPT-3's did; torch's cosine does
    not stay."""
    setting = case.unit.get("decay_steps") or case.unit.get("decay_epochs")
    if setting is not None and case.unit.number("min_learning_rate"):
        return "the schedule holds a rate above 0 after its end, as GPT-3's did"
    return _restarts(case, after)


def _restarts(case: Case, after: TrainingUnit | None) -> str:
    name = why.text_of(case.unit, "scheduler")
    if "restart" in name or "cycl" in name:
        return "a schedule with restarts begins anew by design"
    return why.schedule_ignores_warmup(case, after)


def _plateau(case: Case) -> Mutation | None:
    patience, stop = written(case, "plateau_patience"), written(case, "early_stop_patience")
    if patience is None or stop is None or not stop.number:
        return None
    return to(case, patience, stop.number * 10)


RATES = [
    Operator(
        "rate-x100",
        "learning rate x 100, the optimiser known",
        ("GA201", "GA218", "GA219", "GA220"),
        _rate(100.0),
        why.as_published(upwards=True),
        companions=("GA207", "GA606", "GA221"),
        note="A fine-tuning's 1e-5 x 100 is the default rate of Adam, and published by many: no "
        "file says that it is wrong for the model.",
    ),
    Operator(
        "rate-over-10000",
        "learning rate / 1e4, the optimiser known and not SGD (whose step depends on a loss's sum)",
        ("GA202", "GA220"),
        _rate_down,
        why.as_published(upwards=False),
        companions=("GA207", "GA504", "GA219", "GA221"),
        note="1e-3 / 1e4 is 1e-7, a rate that preference training uses.",
    ),
    Operator(
        "rate-negative",
        "sign of the learning rate flipped",
        ("GA703",),
        negated("learning_rate"),
        companions=("GA207",),
    ),
    Operator(
        "rate-zero",
        "learning rate 0",
        ("GA703",),
        value("learning_rate", 0.0),
        companions=("GA207",),
    ),
    Operator(
        "warmup-twice-the-training",
        "warm-up twice as long as the training, both known in one unit",
        ("GA203", "GA703"),
        _warmup_of(2.0),
        why.schedule_ignores_warmup,
        companions=("GA211", "GA212", "GA213"),
    ),
    Operator(
        "warmup-half-the-training",
        "warm-up of half of the training, both known in one unit",
        ("GA204",),
        _warmup_of(0.5),
        why.one_cycle,
        companions=("GA211", "GA212", "GA213"),
    ),
    Operator(
        "warmup-factor-2",
        "start factor of the warm-up 2.0 (for 0.02)",
        ("GA205",),
        value("warmup_start_factor", 2.0),
    ),
    Operator(
        "floor-above-peak",
        "lowest learning rate of the decay set to ten times the peak",
        ("GA207",),
        _floor_above_peak,
        why.schedule_ignores_warmup,
    ),
    Operator(
        "warmup-in-two-units",
        "a warm-up ratio added where warm-up steps are written and the framework has both",
        ("GA209",),
        _two_units,
        _start_factor,
    ),
    Operator(
        "warmup-as-share-in-steps",
        "warm-up steps 0.1: a share where steps are counted",
        ("GA210", "GA703"),
        value("warmup_steps", 0.1),
        why.read_as_share,
    ),
    Operator(
        "horizon-half",
        "the schedule's own length half of the training's, both known in one unit",
        ("GA211",),
        _horizon(0.5),
        _holds_its_floor,
        companions=("GA203", "GA204"),
        note="Language models are trained on with the floor of their schedule.",
    ),
    Operator(
        "horizon-x3",
        "the schedule's own length three times the training's, both known in one unit",
        ("GA212",),
        _horizon(3.0),
        _restarts,
    ),
    Operator(
        "schedule-by-step",
        "interval of the schedule from epoch to step, its length being that of the training",
        ("GA213", "GA211"),
        _other_interval,
    ),
    Operator(
        "milestones-x10",
        "milestones x 10, the training's length known",
        ("GA214",),
        _late_milestones,
        _milestones_unread,
        note="Configs keep the milestones of a schedule that is not chosen.",
    ),
    Operator(
        "training-of-50-steps",
        "number of steps 50",
        ("GA217",),
        positive("total_steps", 50),
        companions=("GA203", "GA204", "GA211", "GA212", "GA214", "GA602", "GA620", "GA622"),
    ),
    Operator(
        "plateau-outlasts-early-stop",
        "patience of the plateau schedule ten times that of early stopping",
        ("GA216",),
        _plateau,
    ),
]
