"""From a unit's plan to the terms of its schedule, or to what is missing. Knows no torch."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from gradaudit.plan.arguments import arguments_of, number_in
from gradaudit.plan.model import DEFAULT, WRITTEN
from gradaudit.plan.schedule import whole_warmup
from gradaudit.probe.formulas import Terms, constant
from gradaudit.probe.scheduler_names import (
    BY_POSITION,
    EPOCHS,
    NONE,
    STEPS,
    Making,
    key_of,
    making_of,
)  # fmt: skip
from gradaudit.probe.simulated import CONVENTION, FRAMEWORK, TORCH, Missing
from gradaudit.rules.lengths import call_unit, horizon_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.plan.model import Setting, TrainingUnit
    from gradaudit.probe.lengths import Clock


CURVE = "learning-rate curve"

ENDLESS = 10**12
"""Steps of a training whose length is not known, where nothing depends on it."""

_FACTORS = ("world_size", "micro_batch", "global_batch", "accumulation", "base_learning_rate")
"""What a framework computes a learning rate from, as the plan names it where it is not known."""


class Planned(NamedTuple):
    """A schedule ready to be constructed."""

    name: str
    making: Making
    terms: Terms
    follows: str
    nominal: int
    notes: tuple[str, ...]


class _Stop(Exception):
    """Why there is no curve, and what the user can say about it."""

    def __init__(self, why: str, *assume: str) -> None:
        super().__init__(why)
        self.missing = Missing(CURVE, why, assume)


def plan_schedule(unit: TrainingUnit, clock: Clock, peak: float | None = None) -> Planned | Missing:
    """The schedule of a unit with all that it is made from, or what is not known for it.

    peak  the rate that it starts from, where an optimiser is there; else the plan's.
    """
    try:
        return _planned(unit, clock, peak)
    except _Stop as stop:
        return stop.missing


def warmup_alone(unit: TrainingUnit, clock: Clock, peak: float | None = None) -> Planned | Missing:
    """The warm-up, then the peak for good: what is left of a schedule that cannot be made.

    The length of the training may be unknown, so long as the warm-up is no share of it.
    """
    peak = peak or unit.number("learning_rate")
    making = making_of(scheduler_of(unit), unit.composed.dialect["name"])
    try:
        if peak is None:
            raise _Stop("learning_rate is not known", "learning_rate")
        if clock.steps is None and unit.warmup is not None and unit.warmup.unit == "ratio":
            raise _Stop("how long the training is, is not known", "total_steps", "epochs")
        length = _Length(clock._replace(steps=clock.steps or ENDLESS, epochs=None), STEPS)
        # the constant schedule of transformers has no warm-up, whatever the file says
        none = isinstance(making, Making) and making.made is constant
        calls = 0 if none else _warmup(unit, length, making)[0]
    except _Stop as stop:
        return stop.missing
    start = unit.number("warmup_start_factor") or 0.0
    terms = Terms(peak, length.total, calls, start, None, None, (), length.per_epoch, {})
    return Planned("none", NONE, terms, STEPS, 0, ())


def scheduler_of(unit: TrainingUnit) -> str:
    """The name of the scheduler; empty where there is none."""
    setting = unit.get("scheduler")
    return setting.value if setting and isinstance(setting.value, str) else ""


def _planned(unit: TrainingUnit, clock: Clock, peak: float | None) -> Planned:
    peak = peak or unit.number("learning_rate")
    name = scheduler_of(unit)
    if peak is None or peak <= 0:
        reason = unit.unknown.get("learning_rate", "")
        if peak is not None:
            raise _Stop(f"the learning rate is {peak:g}")
        why = "learning_rate is not known" + (f" ({reason})" if reason else "")
        factors = [name for name in _FACTORS if f"{name} is not known" in reason]
        raise _Stop(why, *(factors or ["learning_rate"]))
    if not name and "scheduler" in unit.unknown:
        raise _Stop(f"scheduler is not known ({unit.unknown['scheduler']})", "scheduler")
    end = None if name else _end_of_a_decay(unit)
    if end is not None:
        why = f"the config names no scheduler, but `{end.last_key}` belongs to one"
        raise _Stop(why, "scheduler")
    making = making_of(name, unit.composed.dialect["name"]) if name else NONE
    if isinstance(making, str):
        raise _Stop(f"scheduler {name!r}: {making}")
    if not clock.known:
        raise _Stop("how long the training is, is not known", "total_steps", "epochs")
    notes = []
    follows = making.follows
    written = call_unit(unit)
    if making.basis != FRAMEWORK and written:
        follows = written
    if not follows:
        follows, note = _habit(unit, clock, making)
        notes += note
    if making.basis == CONVENTION:
        notes.append(making.source)
        if making.follows and not written and name:
            notes.append(f"taken to be called after each {follows[:-1]}")
    length = _Length(clock, follows)
    warmup, note = _warmup(unit, length, making)
    notes += note
    decay = _decay(unit, length)
    arguments, low = arguments_of(unit), unit.number("min_learning_rate")
    share = number_in(arguments, "min_lr_ratio", "min_lr_rate")
    if low is None and share is not None and 0 <= share <= 1 and making.basis == CONVENTION:
        low = share * peak
    start = unit.number("warmup_start_factor")
    begin = number_in(arguments, "warmup_lr", "warmup_init_lr")
    if warmup and start is None and begin is not None and making.basis == CONVENTION:
        if 0 <= begin <= peak:
            start = begin / peak
            notes.append(f"the warm-up is taken to begin at a rate of {begin:g}, as timm's does")
    terms = Terms(
        peak, length.total, warmup, start or 0.0, low, decay, _milestones(unit, length),
        length.per_epoch, arguments,
    )  # fmt: skip
    if making.made is None and warmup:
        notes.append(
            "the config does not say how warm-up and schedule join: "
            + (
                "here drops keep their place in the training"
                if making.built in BY_POSITION
                else "here the warm-up comes first, then the schedule over the rest"
            )
        )
    if making.built in BY_POSITION and warmup and terms.start == 0:
        notes.append("the warm-up begins at 1e-8 of the rate: torch's LinearLR takes no 0")
    return Planned(name or "none", making, terms, follows, length.nominal, tuple(notes))


def _end_of_a_decay(unit: TrainingUnit) -> Setting | None:
    """What the config says of a decay, though its scheduler has no name: set in code, it is no
    level rate."""
    found = (
        unit.get(name) for name in ("decay_steps", "decay_epochs", "decay_calls", "milestones",
                                    "min_learning_rate")
    )  # fmt: skip
    return next((one for one in found if one is not None and one.origin == WRITTEN), None)


def _habit(unit: TrainingUnit, clock: Clock, making: Making) -> tuple[str, list[str]]:
    """What one call follows where neither the framework nor the config says so."""
    milestones = unit.get("milestones")
    if milestones is not None and milestones.unit in (STEPS, EPOCHS) and "Step" in making.built:
        return milestones.unit, []
    horizon = horizon_of(unit)
    if horizon is not None:
        sure = horizon[1] == "high"
        note = f"taken to be called after each of its {horizon[0].unit}: nothing else fits"
        return horizon[0].unit, [] if sure else [note]
    if clock.epochs is not None and (clock.steps is None or clock.per_epoch):
        return EPOCHS, ["taken to be called after each epoch, as in torch's examples"]
    return STEPS, ["taken to be called after each step: the length is in steps"]


class _Length:
    """The training in calls of the scheduler."""

    def __init__(self, clock: Clock, follows: str) -> None:
        self.clock = clock
        self.follows = follows
        self.nominal = 0
        self.per_epoch: float | None = 1.0 if follows == EPOCHS else clock.per_epoch
        if follows == EPOCHS:
            if clock.epochs is None:
                raise _Stop("the scheduler is called after each epoch, and how many epochs there "
                            "are is not known", "epochs", "steps_per_epoch")  # fmt: skip
            self.total = max(1, ceil(clock.epochs - 1e-9))
        elif clock.steps is not None:
            self.total = clock.steps
        else:
            assert clock.epochs is not None
            self.nominal = clock.nominal
            self.per_epoch = float(clock.nominal)
            self.total = max(1, round(clock.epochs * clock.nominal))

    def calls(self, value: float, unit: str, what: str) -> float:
        """Raises: _Stop where the units cannot be compared."""
        if unit == "ratio":
            return value * self.total
        if unit == self.follows and not (unit == STEPS and self.nominal):
            return value
        if unit == EPOCHS and self.per_epoch:
            return value * self.per_epoch
        if unit == STEPS and self.follows == EPOCHS and self.clock.per_epoch:
            return value / self.clock.per_epoch
        said = "in steps, the training in epochs"
        if unit == EPOCHS:
            said = "in epochs, the training in steps"
        raise _Stop(f"{what} is {said}, and steps_per_epoch is not known", "steps_per_epoch")


def _warmup(unit: TrainingUnit, length: _Length, making: Making | str) -> tuple[int, list[str]]:
    """The warm-up in whole calls: up where the schedule is of transformers, else the nearest."""
    warmup = unit.warmup
    if warmup is None:
        for name in ("warmup_steps", "warmup_epochs", "warmup_ratio"):
            if name in unit.unknown and name not in unit.settings:
                raise _Stop(f"{name} is not known ({unit.unknown[name]})", name)
        return 0, []
    calls = length.calls(warmup.value, warmup.unit, "the warm-up")
    if warmup.unit == "ratio":
        calls = whole_warmup(unit.composed.dialect["name"], calls)
    if isinstance(making, str):
        return round(calls), []
    whole = ceil(calls - 1e-9) if making.rounds_up else round(calls)
    if making.basis == TORCH and key_of(making.built) in ("onecyclelr", "linearlr", "cycliclr"):
        return 0, [f"the warm-up of {warmup} is left out: {making.built} rises by itself"]
    return whole, []


def _decay(unit: TrainingUnit, length: _Length) -> int | None:
    horizon = horizon_of(unit)
    if horizon is None:
        calls = unit.number("decay_calls")
        return round(calls) if calls and calls > 0 else None
    if horizon[0].setting.origin == DEFAULT and horizon[0].unit != length.follows:
        return None
    return round(length.calls(horizon[0].value, horizon[0].unit, "the schedule")) or None


def _milestones(unit: TrainingUnit, length: _Length) -> tuple[float, ...]:
    setting = unit.get("milestones")
    if setting is None or not isinstance(setting.value, tuple):
        return ()
    measure = setting.unit if setting.unit in (STEPS, EPOCHS) else length.follows
    try:
        return tuple(length.calls(value, measure, "a milestone") for value in setting.value)
    except _Stop:
        return ()
