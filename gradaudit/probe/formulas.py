"""The learning rate at step t as frameworks document it, as functions for torch's `LambdaLR`.

Each function takes the terms of a schedule and gives a factor of the peak rate; `t` counts the
calls of the scheduler before the step, from 0. Here are the terms, and the shapes that bear the
names of transformers' schedules; others in `framework_formulas`. Knows no torch.
"""

from __future__ import annotations

from math import cos, pi, sqrt
from typing import NamedTuple

from gradaudit.plan.arguments import number_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from gradaudit.plan.arguments import Argument

    Factor = Callable[[int], float]


class Lacking(ValueError):
    """An argument without which there is no curve; the message names it."""


class Terms(NamedTuple):
    """What a schedule is made from. Lengths are in calls of the scheduler.

    peak       the rate that factors multiply. low: the lowest rate, absolute; None if not said.
    total      calls of the whole training. warmup: calls of the warm-up, 0 for none.
    start      the factor at the first step of the warm-up.
    decay      calls after which the schedule ends, where the config says so.
    per_epoch  calls in one epoch; None where that is not known.
    arguments  further keys beside the scheduler.
    """

    peak: float
    total: int
    warmup: int
    start: float
    low: float | None
    decay: int | None
    milestones: tuple[float, ...]
    per_epoch: float | None
    arguments: dict[str, Argument]

    @property
    def floor(self) -> float:
        """The lowest rate as a factor of the peak; 0 where none is said."""
        return (self.low or 0.0) / self.peak

    @property
    def end(self) -> int:
        return self.decay or self.total

    def number(self, *names: str) -> float | None:
        return number_in(self.arguments, *names)

    def needed(self, *names: str) -> float:
        """Raises: Lacking."""
        value = self.number(*names)
        if value is None:
            raise Lacking(f"`{names[0]}` is not known")
        return value


def constant(terms: Terms) -> Factor:
    return lambda t: 1.0


def constant_with_warmup(terms: Terms) -> Factor:
    """Linear from `start` to 1 after `warmup` calls, then 1."""
    w, s = terms.warmup, terms.start
    return lambda t: s + (1 - s) * t / w if t < w else 1.0


def _after_warmup(terms: Terms, decay: Callable[[float], float]) -> Factor:
    """Warm-up to 1, then `decay` of the share done of what remains (1 at the end)."""
    w, s, rest = terms.warmup, terms.start, max(1, terms.end - terms.warmup)
    return lambda t: s + (1 - s) * t / w if t < w else decay((t - w) / rest)


def linear(terms: Terms) -> Factor:
    floor = terms.floor
    return _after_warmup(terms, lambda done: floor + (1 - floor) * max(0.0, 1 - done))


def power(terms: Terms) -> Factor:
    floor, exponent = terms.floor, terms.number("power") or 1.0
    return _after_warmup(terms, lambda done: floor + (1 - floor) * max(0.0, 1 - done) ** exponent)


def cosine(terms: Terms) -> Factor:
    """transformers' `num_cycles` is 0.5 for half a wave; after the end it is followed on."""
    cycles, floor = terms.number("num_cycles") or 0.5, terms.floor
    return _after_warmup(
        terms, lambda done: max(0.0, floor + (1 - floor) * (1 + cos(2 * pi * cycles * done)) / 2)
    )


def cosine_once(terms: Terms) -> Factor:
    """A half wave from the peak to the floor, where it stays."""
    floor = terms.floor
    return _after_warmup(
        terms, lambda done: floor + (1 - floor) * (1 + cos(pi * min(done, 1.0))) / 2
    )


def cosine_with_restarts(terms: Terms) -> Factor:
    cycles = terms.number("num_cycles", "lr_scheduler_num_cycles") or 1  # the second is kohya's
    return _after_warmup(
        terms, lambda done: 0.0 if done >= 1 else (1 + cos(pi * ((cycles * done) % 1.0))) / 2
    )


def polynomial(terms: Terms) -> Factor:
    """transformers' own end is 1e-7, not 0."""
    low = terms.number("lr_end")
    end = (1e-7 if low is None else low) / terms.peak
    power = terms.number("power", "lr_scheduler_power") or 1.0  # the second is kohya's
    return _after_warmup(terms, lambda done: end + (1 - end) * max(0.0, 1 - done) ** power)


def inverse_sqrt(terms: Terms) -> Factor:
    w, s = terms.warmup, terms.start
    scale = terms.number("timescale") or w or 10_000
    return lambda t: s + (1 - s) * t / w if t < w else 1 / sqrt((t + scale - w) / scale)


def warmup_stable_decay(terms: Terms) -> Factor:
    """Raises: Lacking: how long the decay is."""
    d = int(terms.needed("num_decay_steps", "decay_steps"))
    w, s = terms.warmup, terms.start
    ratio = terms.number("min_lr_ratio")
    floor = terms.floor if ratio is None else ratio
    stable = terms.number("num_stable_steps", "stable_steps")
    begins = w + int(stable) if stable is not None else max(w, terms.total - d)
    kind = str(terms.arguments.get("decay_type", "cosine"))
    cycles = terms.number("num_cycles") or 0.5
    shapes: dict[str, Callable[[float], float]] = {
        "linear": lambda done: 1 - done, "1-sqrt": lambda done: 1 - sqrt(done),
        "cosine": lambda done: (1 + cos(2 * pi * cycles * done)) / 2,
    }  # fmt: skip
    rises: dict[str, Callable[[float], float]] = {
        "linear": lambda done: done, "1-sqrt": lambda done: 1 - sqrt(1 - done),
        "cosine": lambda done: (1 - cos(pi * done)) / 2,
    }  # fmt: skip
    rising = str(terms.arguments.get("warmup_type", "linear"))
    if kind not in shapes:
        raise Lacking(f"decay_type {kind!r} is none of {', '.join(shapes)}")
    if rising not in rises:
        raise Lacking(f"warmup_type {rising!r} is none of {', '.join(rises)}")
    shape, rise = shapes[kind], rises[rising]

    def factor(t: int) -> float:
        if t < w:
            return floor + (1 - floor) * (s + (1 - s) * rise(t / w))
        if t < begins:
            return 1.0
        return floor + (1 - floor) * shape((t - begins) / d) if t < begins + d else floor

    return factor
