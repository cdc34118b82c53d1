"""A training as numbers by step: what a probe records, and what run logs hold.

Independent of where it comes from: lists of one length, None where a number is not known.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from math import isfinite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

REACHED = 0.99
"""Share of the peak from which a warm-up is over that nears its peak for ever, as 1 - exp(-t)."""

BELOW_PEAK = 0.9
"""A first rate at more than this share of the peak is no warm-up."""


@dataclass
class Series:
    """One training's numbers by optimiser step.

    steps          from 1, rising. epochs: the epoch of each, from 1, where known.
    pre_clip_norm  total 2-norm of the gradient before any clip. post_clip_norm: after it.
    clip_norm      the threshold that was passed to the clip at that step.
    learning_rates of each parameter group, a list by step; None before a group was added.
    loss           as the trainer says it.
    initial_rates  of each group the rate that a scheduler multiplies, where one says so: mostly
                   the peak.
    """

    steps: list[int] = field(default_factory=list)
    epochs: list[float | None] = field(default_factory=list)
    pre_clip_norm: list[float | None] = field(default_factory=list)
    post_clip_norm: list[float | None] = field(default_factory=list)
    clip_norm: list[float | None] = field(default_factory=list)
    learning_rates: list[list[float | None]] = field(default_factory=list)
    loss: list[float | None] = field(default_factory=list)
    initial_rates: list[float | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.steps)

    def norms_from(self, position: int) -> list[float]:
        """The finite pre-clip norms from a position on."""
        return [n for n in self.pre_clip_norm[position:] if n is not None and isfinite(n)]


@dataclass(frozen=True)
class Warmup:
    """What the learning rate says about a warm-up inside a series.

    after  the position of the first step after it; 0 where there is none, the length of the series
           where it is not over.
    over   whether it is, as far as the series shows. more: optimiser steps until it is; None where
           that cannot be told.
    """

    after: int
    over: bool
    more: int | None = None


def find_warmup(series: Series) -> Warmup:
    """Find the end of the warm-up from the learning rates alone, of all groups: the gradient's norm
    is that of all their weights.

    Over where `end_of_warmup` says so. Not over where the rate of a group still rises at the end,
    or where no group has come to nine tenths of the rate that the scheduler multiplies and none has
    fallen (a scheduler that steps per epoch, or a run that was resumed: which of the two is not
    known). Where no rate is known, it is taken that there is none.
    """
    groups = series.learning_rates
    initial = [*series.initial_rates, *(None for _ in groups)]
    moving = [pair for pair in zip(map(_moving, groups), initial, strict=False) if pair[0]]
    if not moving:  # at 0 throughout, or not known
        at_zero = bool(groups) and all(rate is not None for rates in groups for rate in rates)
        return Warmup(len(series), False) if at_zero and any(initial) else Warmup(0, True)
    inside = [pair for pair in moving if _still_rises(*pair)]
    if not inside and all(_is_below(*pair) for pair in moving):
        inside = moving
    if not inside:
        return Warmup(end_of_warmup(groups, series.initial_rates), True)
    left = [_steps_to(rates, target) for rates, target in inside]
    known = [steps for steps in left if steps is not None]
    return Warmup(len(series), False, max(known) if len(known) == len(left) else None)


def end_of_warmup(
    groups: Sequence[Sequence[float | None]], initial: Sequence[float | None] = ()
) -> int:
    """Steps before no group's rate rises to its peak any more; 0 where none does.

    groups  the rate of each parameter group by step, None before it was added. A group counts from
            its first rate above 0 on: one that is frozen, by a rate of 0, does not warm up. While
            all are at 0 the training has not begun.
    initial of each group the rate that its scheduler multiplies: a series that begins inside the
            warm-up and rises to that has a rest of it, however short.
    """
    moving = [(len(rates), _moving(rates)) for rates in groups]
    starts = [whole - len(rates) for whole, rates in moving if rates]
    ends = []
    for (whole, rates), target in zip(moving, [*initial, *(None for _ in groups)], strict=False):
        if end := _top(rates, target):
            ends.append(whole - len(rates) + end)
    return max([min(starts, default=0), *ends])


def rises_at_its_end(rates: Sequence[float]) -> bool:
    """Whether the top of a rise may lie further on: the last rate is higher than that before it, or
    the only one."""
    return len(rates) < 2 or rates[-2] < rates[-1]


def _moving(rates: Sequence[float | None]) -> list[float]:
    """From the first rate above 0 on; nothing where one after it is not known."""
    found = list(itertools.dropwhile(lambda rate: rate is None or rate <= 0, rates))
    known = [rate for rate in found if rate is not None]
    return known if len(known) == len(found) else []


def climbs(rates: Sequence[float], target: float | None) -> bool:
    """Whether rates rise to a target, and never fall on their way; they may not have arrived. What
    rises above it is a cycle's or a one-cycle's."""
    if not target or not rates or max(rates) > target * (1 + 1e-6):
        return False
    end = next((at for at, rate in enumerate(rates) if rate >= REACHED * target), len(rates) - 1)
    way = rates[: end + 1]
    return way[0] < way[-1] and all(a <= b for a, b in itertools.pairwise(way))


def _top(rates: Sequence[float], target: float | None) -> int:
    """Position of the top of the rise to the peak; 0 where it begins there, or less than a tenth
    below it and no scheduler says that its rate goes on rising to the target.

    It is looked for from the first rate at 99 % of the peak on, and no more than a tenth further: a
    cosine's rise has its last hundredth in the last 6.4 % of its length. A rate that rises for
    longer, as 1 - exp(-t), only nears its peak, and counts as there.
    """
    peak = max(rates, default=0.0)
    if not rates or (rates[0] >= BELOW_PEAK * peak and not climbs(rates, target)):
        return 0
    begin = end = next(at for at, rate in enumerate(rates) if rate >= REACHED * peak)
    most = min(begin + begin // 10 + 1, len(rates) - 1)
    while end < most and rates[end + 1] >= rates[end]:
        end += 1
    if end == most and rates[end] < rates[min(end + 1, len(rates) - 1)]:
        return begin
    top = rates[end] * (1 - 1e-12)
    return next(at for at in range(begin, end + 1) if rates[at] >= top)


def _is_below(rates: list[float], initial: float | None) -> bool:
    """Whether a rate has neither come near the one that the scheduler multiplies, nor fallen."""
    fell = any(later < earlier * 0.9999 for earlier, later in itertools.pairwise(rates))
    return bool(initial) and not fell and max(rates) < BELOW_PEAK * (initial or 0.0)


def _still_rises(rates: list[float], initial: float | None) -> bool:
    """Whether a rate is on its way to a peak when the series ends. One at the rate that the
    scheduler multiplies is there; one far above it is a one-cycle's, whose peak is not known. One
    that begins less than a tenth below its highest rises where that still lies ahead."""
    if _is_below(rates, initial):
        return rates[-1] > rates[0]
    arrived = initial and abs(rates[-1] - initial) <= (1 - REACHED) * initial
    if rates[0] >= BELOW_PEAK * max(rates):
        return max(rates) < REACHED * (initial or 0.0) and climbs(rates, initial)
    return rates[-2] < rates[-1] == max(rates) and not arrived


def _steps_to(rates: list[float], target: float | None) -> int | None:
    """Steps until a rate that rises linearly arrives; None where it does not rise there."""
    if not target or target <= rates[-1] or len(rates) < 3:
        return None
    window = rates[-min(len(rates), 20) :]
    slope = (window[-1] - window[0]) / (len(window) - 1)
    if slope <= 0:
        return None
    return max(int((target - window[-1]) / slope + 0.999), 1)
