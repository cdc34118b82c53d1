"""Operators on the learning rate, its warm-up and its schedule."""

from __future__ import annotations

from gradaudit.plan.model import Duration

from . import semantics as why
from .change import beside, inserted, own, to, written
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


def _value(name: str, value: float) -> Make:
    def make(case: Case) -> Mutation | None:
        setting = written(case, name)
        if setting is None or setting.number == value:
            return None
        return to(case, setting, value)

    return make


def _negated(name: str) -> Make:
    def make(case: Case) -> Mutation | None:
        setting = written(case, name)
        if setting is None or not setting.number or setting.number < 0:
            return None
        return to(case, setting, -setting.number)

    return make


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
        ratio = inserted(case, "warmup_ratio", 0.05)
        return ratio or (
            beside(case, steps, "warmup_ratio", 0.05) if case.dialect == "generic" else None
        )
    return None


def _horizon(name: str, factor: float) -> Make:
    def make(case: Case) -> Mutation | None:
        horizon = written(case, name)
        length = case.unit.length
        if horizon is None or not horizon.number or length is None:
            return None
        return to(case, horizon, max(1, round(horizon.number * factor)))

    return make


def _first_of(*makes: Make) -> Make:
    def make(case: Case) -> Mutation | None:
        return next((made for one in makes if (made := one(case)) is not None), None)

    return make


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
        "learning rate / 1e4, the optimiser known and not SGD, whose step depends on the loss's sum",
        ("GA202", "GA220"),
        _rate_down,
        why.as_published(upwards=False),
        companions=("GA207", "GA504", "GA219"),
        note="1e-3 / 1e4 is 1e-7, a rate that preference training uses.",
    ),
    Operator("rate-negative", "sign of the learning rate flipped", ("GA703",), _negated("learning_rate"),
             companions=("GA207",)),
    Operator("rate-zero", "learning rate 0", ("GA703",), _value("learning_rate", 0.0),
             companions=("GA207",)),
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
        _value("warmup_start_factor", 2.0),
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
    ),
    Operator(
        "warmup-as-share-in-steps",
        "warm-up steps 0.1: a share where steps are counted",
        ("GA210", "GA703"),
        _value("warmup_steps", 0.1),
        why.read_as_share,
    ),
    Operator(
        "horizon-half",
        "length of the schedule halved, the training's length known",
        ("GA211",),
        _first_of(_horizon("schedule_steps", 0.5), _horizon("schedule_epochs", 0.5)),
        companions=("GA203", "GA204"),
    ),
    Operator(
        "horizon-x3",
        "length of the schedule x 3, the training's length known",
        ("GA212",),
        _first_of(_horizon("schedule_steps", 3.0), _horizon("schedule_epochs", 3.0)),
    ),
    Operator(
        "plateau-outlasts-early-stop",
        "patience of the plateau schedule ten times that of early stopping",
        ("GA216",),
        _plateau,
    ),
]
