"""A training as numbers by step: what a probe records, and what run logs hold.

Independent of where it comes from: lists of one length, None where a number is not known.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from math import isfinite

_REACHED = 0.99
"""Share of the peak from which a warm-up is over: rounding, and schedules that end just below."""

BELOW_PEAK = 0.9
"""A first rate at more than this share of the peak is no warm-up."""


@dataclass
class Series:
    """One training's numbers by optimiser step.

    steps          from 1, rising. epochs: the epoch of each, from 1, where known.
    pre_clip_norm  total 2-norm of the gradient before any clip. post_clip_norm: after it.
    clip_norm      the threshold that was passed to the clip at that step.
    learning_rate  of the first parameter group. loss: as the trainer says it.
    initial_rate   the rate that a scheduler multiplies, where one says so: mostly the peak.
    """

    steps: list[int] = field(default_factory=list)
    epochs: list[float | None] = field(default_factory=list)
    pre_clip_norm: list[float | None] = field(default_factory=list)
    post_clip_norm: list[float | None] = field(default_factory=list)
    clip_norm: list[float | None] = field(default_factory=list)
    learning_rate: list[float | None] = field(default_factory=list)
    loss: list[float | None] = field(default_factory=list)
    initial_rate: float | None = None

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
    """Find the end of the warm-up from the learning rate alone.

    Over at the first step at 99 % of the peak. Not over where the rate still rises at the end, or
    stays below nine tenths of the rate that the scheduler multiplies without having fallen (a
    scheduler that steps per epoch, or a run that was resumed: which of the two is not known).
    Where no rate is known, it is taken that there is none.
    """
    rates = [rate for rate in series.learning_rate if rate is not None]
    if not rates or len(rates) != len(series):
        return Warmup(0, True)
    peak, first, last = max(rates), rates[0], rates[-1]
    initial = series.initial_rate
    fell = any(later < earlier * 0.9999 for earlier, later in itertools.pairwise(rates))
    if initial and peak < BELOW_PEAK * initial and not fell:
        return Warmup(len(series), False, _steps_to(rates, initial))
    if peak <= 0 or first >= BELOW_PEAK * peak:
        return Warmup(0, True)
    reached = next(at for at, rate in enumerate(rates) if rate >= _REACHED * peak)
    still = last == peak and len(rates) > 1 and rates[-2] < last
    if still and not (initial and last >= _REACHED * initial):
        target = initial if initial and initial > last else None
        more = _steps_to(rates, target) if target else None
        return Warmup(len(series), False, more)
    return Warmup(reached, True)


def _steps_to(rates: list[float], target: float) -> int | None:
    """Steps until a rate that rises linearly arrives; None where it does not rise."""
    if len(rates) < 3:
        return None
    window = rates[-min(len(rates), 20) :]
    slope = (window[-1] - window[0]) / (len(window) - 1)
    if slope <= 0:
        return None
    return max(int((target - window[-1]) / slope + 0.999), 1)
