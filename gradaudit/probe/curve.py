"""The scheduler of a plan, constructed for real and stepped through the whole training.

torch is imported here: import this module only where a simulation runs.
"""

from __future__ import annotations

import warnings
from array import array
from math import fsum, log1p
from typing import Any, NamedTuple

import torch
from torch.optim import lr_scheduler

from gradaudit.evidence.series import end_of_warmup, rises_at_its_end
from gradaudit.probe.formulas import Lacking
from gradaudit.probe.schedule_terms import CURVE
from gradaudit.probe.scheduler_names import BY_POSITION, EPOCHS, STEPS
from gradaudit.probe.simulated import Curve, Fact, Missing, Schedule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gradaudit.probe.lengths import Clock
    from gradaudit.probe.schedule_terms import Planned

MOST_POINTS = 240
"""Points kept of a curve; first, last and peak are always among them."""

MOST_CALLS = 2_000_000
"""Calls of a scheduler before a curve is refused: about 2 microseconds each, 8 bytes a rate."""

LEAST_FACTOR = 1e-8
"""What stands for 0 in torch's `LinearLR`, which takes no factor of 0."""


class Stepped(NamedTuple):
    """A schedule and the rate of each group at every call."""

    said: Schedule
    ends: tuple[float, ...]
    decay_logs: tuple[float, ...] | None


def step_through(
    planned: Planned, clock: Clock, rates: tuple[float, ...], decays: tuple[float, ...]
) -> Stepped | Missing:
    """Construct the scheduler on an optimiser with these groups, and call it to the end.

    rates   learning rate of each group at the peak, the main one first.
    decays  weight decay of each group, for what it alone leaves of a weight.
    """
    terms = planned.terms
    if terms.total > MOST_CALLS:
        return Missing(CURVE, f"the training has more than {MOST_CALLS:,} steps")
    said = Schedule(planned.name, follows=planned.follows, basis=planned.making.basis,
                    notes=planned.notes)  # fmt: skip
    optimizer = torch.optim.SGD(
        [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    )
    try:
        scheduler, said = _construct(optimizer, planned, said)
    except Lacking as lacking:
        return Missing(CURVE, f"scheduler {planned.name!r}: {lacking}")
    except (ValueError, TypeError, ZeroDivisionError, OverflowError) as error:
        return Stepped(said._replace(refused=str(error)), (), None)
    try:
        every = _run(scheduler, optimizer, terms.total)
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        return Stepped(said._replace(refused=str(error)), (), None)
    if any(rate - rate != 0 for rate in every[0]):
        return Stepped(said._replace(refused="its rate is not a finite number"), (), None)
    weights = _weights(terms.total, clock, planned.follows)
    knows_steps = clock.steps is not None and (planned.follows == STEPS or weights is not None)
    logs = None
    if decays and knows_steps:
        pairs = zip(every, decays, strict=True)
        logs = tuple(_decay_log(rates, decay, weights) for rates, decay in pairs)
    curve = _curve(every[0], weights, planned, clock)
    return Stepped(said._replace(curve=curve), tuple(rates[-1] for rates in every), logs)


class Rates(NamedTuple):
    """The rate of each group in each optimiser step.

    every   [group][step], the first step at 0. peaks: of each group.
    warmup  steps before no rate rises to its peak any more (`end_of_warmup`): of a warm-up, or of a
            schedule that rises itself.
    others  of each group what else the schedule changes: hyperparameter -> its value in each step.
    """

    every: list[array[float]]
    peaks: Sequence[float]
    warmup: int
    others: Sequence[Mapping[str, Sequence[Any]]] = ()

    def at(self, step: int) -> list[float]:
        """Of each group in a step, counted from 1; beyond the end the last one stays."""
        return [rates[min(step, len(rates)) - 1] for rates in self.every]

    def put(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Set every group as it is in a step, counted from 1."""
        for group, rate in zip(optimizer.param_groups, self.at(step), strict=True):
            group["lr"] = rate
        for group, others in zip(optimizer.param_groups, self.others, strict=False):
            group.update({name: each[min(step, len(each)) - 1] for name, each in others.items()})


def rates_of(planned: Planned, clock: Clock, peaks: Sequence[float], steps: int) -> Rates:
    """The same schedule as `step_through` constructs, step by step, for the first steps.

    peaks   the rate that each group starts from, its peak.
    steps   so many optimiser steps, or to the end of the training where that comes first.

    Raises:
        ValueError: it cannot be constructed or stepped; the message has the reason.
    """
    optimizer = torch.optim.SGD(
        [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": peak} for peak in peaks]
    )
    terms = planned.terms
    try:
        scheduler, _ = _construct(optimizer, planned, Schedule(planned.name))
        begins = step_of(clock, planned.follows)
        calls = next((c for c in range(1, steps) if begins(c) >= steps), steps)
        every = _run(scheduler, optimizer, min(calls, terms.total))
        if any(rate - rate != 0 for rates in every for rate in rates):
            raise ValueError("its rate is not a finite number")
        warmup = terms.warmup
        level = len(every[0]) > 1 and all(rates[0] == rates[-1] for rates in every)
        if warmup < len(every[0]) or level:  # else it is longer than the run: not stepped through
            _to_the_top(scheduler, optimizer, every, min(terms.total, MOST_CALLS))
            warmup = end_of_warmup(every)
    except (ValueError, TypeError, ZeroDivisionError, OverflowError) as error:
        raise ValueError(str(error)) from error
    ends = min(steps, clock.steps or steps)
    for at, rates in enumerate(every):
        by_step = array("d")
        for call, rate in enumerate(rates):
            by_step.extend([rate] * (min(begins(call + 1), ends) - min(begins(call), ends)))
        every[at] = by_step
    return Rates(every, peaks, begins(warmup))


def step_of(clock: Clock, follows: str) -> Callable[[int], int]:
    """Optimiser steps done before so many calls of the scheduler."""
    if follows == STEPS:
        return lambda call: call
    if clock.per_epoch is None:
        raise ValueError("steps_per_epoch is not known")
    scale = clock.per_epoch
    return lambda call: round(call * scale)


def _to_the_top(
    scheduler: lr_scheduler.LRScheduler,
    optimizer: torch.optim.Optimizer,
    every: list[array[float]],
    most: int,
) -> None:
    """Where a rate still rises, go on until none does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while len(every[0]) < most and any(rises_at_its_end(rates) for rates in every):
            scheduler.step()
            for group, rates in zip(optimizer.param_groups, every, strict=True):
                rates.append(group["lr"])


def _construct(
    optimizer: torch.optim.Optimizer, planned: Planned, said: Schedule
) -> tuple[lr_scheduler.LRScheduler, Schedule]:
    making, terms = planned.making, planned.terms
    if making.made is not None:
        factor = making.made(terms)
        said = said._replace(built="LambdaLR", formula=making.source)
        return lr_scheduler.LambdaLR(optimizer, factor), said
    assert making.keywords is not None
    keywords = making.keywords(terms)
    said = said._replace(
        built=making.built,
        takes=tuple(Fact(name, value, "computed") for name, value in keywords.items()),
    )
    made: Any = getattr(lr_scheduler, making.built)
    if making.built == "OneCycleLR":
        rates = [group["lr"] for group in optimizer.param_groups]
        if terms.number("max_lr") is not None:  # torch gives it to every group
            rates = [keywords["max_lr"]] * len(rates)
        keywords = {**keywords, "max_lr": rates, "cycle_momentum": False}
    warmup = terms.warmup
    if not warmup:
        return made(optimizer, **keywords), said
    start = terms.start
    if making.built in BY_POSITION:
        rise: lr_scheduler.LRScheduler = lr_scheduler.LinearLR(
            optimizer, start_factor=min(max(start, LEAST_FACTOR), 1.0), total_iters=warmup
        )
        return lr_scheduler.ChainedScheduler([rise, made(optimizer, **keywords)]), said
    rise = lr_scheduler.LambdaLR(optimizer, lambda t: start + (1 - start) * min(t / warmup, 1.0))
    after = made(optimizer, **keywords)
    return lr_scheduler.SequentialLR(optimizer, [rise, after], milestones=[warmup]), said


def _run(
    scheduler: lr_scheduler.LRScheduler, optimizer: torch.optim.Optimizer, calls: int
) -> list[array[float]]:
    """The rate of each group at each call; the first is in force before any."""
    groups = optimizer.param_groups
    every = [array("d") for _ in groups]
    kept = list(zip(groups, every, strict=True))
    step = scheduler.step
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a scheduler's step that no step of the optimiser precedes
        optimizer.step()
        for group, rates in kept:
            rates.append(group["lr"])
        for _ in range(calls - 1):
            step()
            for group, rates in kept:
                rates.append(group["lr"])
    return every


def _decay_log(rates: array[float], decay: float, weights: list[float] | None) -> float:
    """The logarithm of what decoupled decay alone leaves of a weight."""
    shrunk = [rate * decay for rate in rates]
    if max(shrunk) >= 1:
        return float("-inf")
    if weights is None:
        return fsum(log1p(-part) for part in shrunk)
    return fsum(times * log1p(-part) for part, times in zip(shrunk, weights, strict=True))


def _weights(calls: int, clock: Clock, follows: str) -> list[float] | None:
    """Optimiser steps that fall to each call: those of an epoch, the last cut short; None for
    one each."""
    per_epoch, steps = clock.per_epoch, clock.steps
    if follows == STEPS or per_epoch is None or steps is None:
        return None
    return [max(0.0, min(per_epoch, steps - call * per_epoch)) for call in range(calls)]


def _curve(
    every: array[float], weights: list[float] | None, planned: Planned, clock: Clock
) -> Curve:
    """All numbers are of every step; only the points are thinned."""
    calls = len(every)
    peak = max(every)
    at = next(index for index, rate in enumerate(every) if rate >= peak * (1 - 1e-12))
    kept = _kept(calls, at)
    by_epoch = planned.follows == EPOCHS
    in_steps = clock.steps is not None and (not by_epoch or clock.per_epoch is not None)
    if weights is None:
        total, count, zeros = fsum(every), float(calls), float(every.count(0.0))
    else:
        total = fsum(rate * times for rate, times in zip(every, weights, strict=True))
        count = sum(weights)
        zeros = sum(times for rate, times in zip(every, weights, strict=True) if rate == 0)
    if in_steps:
        scale = clock.per_epoch if by_epoch and clock.per_epoch else 1.0
        # An epoch's rate holds from its first step on: x is that step's number, from 1.
        points = tuple((float(round(call * scale) + 1), every[call]) for call in kept)
        length, begins = float(clock.steps or calls), float(round(at * scale))
        peak_at = begins + 1
    else:
        a_unit = planned.nominal or 1
        points = tuple((call / a_unit, every[call]) for call in kept)
        length, begins = clock.epochs or calls / a_unit, at / a_unit
        peak_at = begins
    return Curve(
        STEPS if in_steps else EPOCHS, points, length, clock.steps, planned.nominal, every[0],
        peak, peak_at, begins / length, every[-1], min(every),
        total / count / peak if peak else 0.0, total if in_steps else None, round(zeros),
    )  # fmt: skip


def _kept(calls: int, peak: int) -> list[int]:
    """Evenly spread calls, and the first, the last and the peak."""
    if calls <= MOST_POINTS:
        return list(range(calls))
    spread = {round(i * (calls - 1) / (MOST_POINTS - 2)) for i in range(MOST_POINTS - 1)}
    return sorted(spread | {peak})
