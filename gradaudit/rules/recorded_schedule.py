"""GA901: a warm-up or a schedule of the file that the run's learning rates do not show."""

from __future__ import annotations

from gradaudit.findings import MEDIUM, WARNING
from gradaudit.plan.measured import same
from gradaudit.plan.model import LEARNING_RATE_FREE
from gradaudit.rules.recorded import differs, written
from gradaudit.rules.text import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gradaudit.evidence.record import Step
    from gradaudit.findings import Finding
    from gradaudit.plan.measured import Measured
    from gradaudit.plan.model import Setting

_FALLING = frozenset(("cosine", "linear", "polynomial"))
_LEVEL = 1e-6
_SHORTEST = 5
"""A warm-up of fewer steps may be over after one: some schedulers are called once a process."""


def falls_in_warmup(measured: Measured, base: float) -> bool:
    """Whether the peak may be the base times what a schedule has fallen by during its warm-up: the
    rate rises and falls again, and no scheduler says what it multiplies."""
    peak = measured.optimizer.peak_rate
    if measured.optimizer.initial_rate or not peak or not base / 2 <= peak < base:
        return False
    rates = [step.learning_rate[0] for step in measured.optimizer.steps if step.learning_rate]
    return rates[0] < peak and rates[-1] < peak


def unlike_schedule(measured: Measured) -> Iterator[Finding]:
    """Only what no reading of the file explains: a rate that does not move at all."""
    steps = [step for step in measured.optimizer.steps if step.learning_rate]
    if measured.record.source != "probe" or len(steps) < _SHORTEST or _inside(measured):
        return
    scheduler = written(measured, "scheduler")
    name = str(scheduler.value).lower() if scheduler is not None else ""
    warmup = written(measured, "warmup_steps")
    if warmup is not None and not (name.startswith("constant") and "warmup" not in name):
        yield from _no_warmup(measured, warmup, steps)
    total = written(measured, "total_steps")
    if scheduler is None or scheduler.place is None or name not in _FALLING:
        return
    if total is None or not total.number:
        return
    if steps[-1].step * 2 < total.number or not _level(steps):
        return
    rate = number(steps[0].learning_rate[0])
    yield differs(
        measured, scheduler,
        f"the run's learning rate stays at {rate}, the file's schedule is {scheduler.raw or name}",
        severity=WARNING, confidence=MEDIUM, label="the rate does not move",
        why="A rate that does not fall keeps the loss from settling at the end. Nobody makes the "
        "scheduler, or nobody calls its `step`.",
        evidence=f"{rate} at each of the steps {steps[0].step} to {steps[-1].step} of "
        f"{number(total.number)}",
        next="Look where the scheduler is made and stepped, or write into the file what the code "
        "does.",
    )  # fmt: skip


def _no_warmup(measured: Measured, warmup: Setting, steps: Sequence[Step]) -> Iterator[Finding]:
    """A run that goes on from a checkpoint has its warm-up behind it."""
    length = warmup.number or 0
    first = [step for step in steps if step.step <= length]
    resumed = any(line.get("operation") == "read" for line in measured.record.files)
    late = bool(measured.record.skip_steps) or not first or first[0].step != 1
    if length < _SHORTEST or len(first) < _SHORTEST or late or resumed:
        return
    if not _level(first):
        return
    rate = number(first[0].learning_rate[0])
    yield differs(
        measured, warmup,
        f"the run has no warm-up: its learning rate is {rate} from the first step on, the file "
        f"warms up for {number(length)} steps",
        severity=WARNING, confidence=MEDIUM, label="no warm-up in the run",
        why="The first steps, whose gradients say least, are as long as all others. Nobody makes "
        "the scheduler, or it does not read the key.",
        evidence=f"{rate} at each of the steps 1 to {first[-1].step}",
        next="Look where the scheduler is made, or write into the file what the code does. Of a "
        "run that was resumed this says nothing.",
    )  # fmt: skip


def _level(steps: Sequence[Step]) -> bool:
    """Whether no group's rate moves, and one is above 0."""
    first = steps[0].learning_rate
    return any(first) and all(
        len(step.learning_rate) == len(first)
        and all(
            same(a, b, _LEVEL) or a == b for a, b in zip(step.learning_rate, first, strict=True)
        )
        for step in steps
    )


def _inside(measured: Measured) -> bool:
    """Whether the optimizer may have its schedule inside, not in its groups' rates."""
    optimizer = measured.optimizer
    name = optimizer.class_name.lower()
    inside = measured.family in LEARNING_RATE_FREE or "free" in name or "radam" in name
    return inside or any("warmup" in key for group in optimizer.groups for key in group)
