"""The rates that a script's own scheduler gives: it is called ahead, and put back.

What it changes in the optimizer's groups, step by step, is all that the trajectory needs of it: the
rates, and whatever else it cycles (OneCycleLR the momentum).
"""

from __future__ import annotations

import warnings
from array import array
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from gradaudit.evidence.series import end_of_warmup, rises_at_its_end
from gradaudit.probe.curve import Rates, step_of
from gradaudit.probe.protocol import DryRunError
from gradaudit.probe.scheduler_names import EPOCHS, STEPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import torch
    from torch.optim.lr_scheduler import LRScheduler

    from gradaudit.probe.lengths import Clock
    from gradaudit.probe.protocol import Training

FOLLOWS = {"step": STEPS, "epoch": EPOCHS}
"""What one call of the scheduler follows, by the script's word for it."""

MOST_CALLS = 100_000
"""So far a rate that only rises is followed, to tell how long its warm-up is: a second or so. A
longer one counts as that long, which no dry run comes near."""


def own_rates(
    training: Training, optimizer: torch.optim.Optimizer, clock: Clock, steps: int
) -> tuple[Rates, str]:
    """The rates of the first steps of a training that has a scheduler, and what is to be said.

    The scheduler and the groups are afterwards as they were.

    Raises: DryRunError where it cannot be called or gives what is no rate, or where an epoch's
        steps are not known.
    """
    scheduler: LRScheduler | None = training.scheduler
    assert scheduler is not None
    name = type(scheduler).__name__
    try:
        begins = step_of(clock, FOLLOWS[training.scheduler_step])
    except ValueError as error:
        raise DryRunError(
            f"`scheduler` is called once an epoch, and {error}: say steps_per_epoch=N in the "
            "Training, or `--assume steps_per_epoch=N`"
        ) from error
    calls = next((call for call in range(1, steps) if begins(call) >= steps), steps)
    with _put_back(scheduler, optimizer):
        every, others, refused = _ahead(scheduler, optimizer.param_groups, calls)
        ahead = _to_the_top(scheduler, optimizer.param_groups, every)
    if refused and len(every[0]) == 1:  # no end of a cycle: as it is it cannot train at all
        raise DryRunError(f"`scheduler`: {name}.step() refuses its first call ({refused})")
    for rates in every:
        for call, rate in enumerate(rates):
            if not 0 <= rate < float("inf"):
                raise DryRunError(
                    f"`scheduler`: {name} gives a learning rate of {rate} after {call} calls"
                )
    by_step = [array("d", _by_step(rates, begins, steps)) for rates in every]
    more = [{key: _by_step(found, begins, steps) for key, found in of.items()} for of in others]
    note = (
        f"the schedule is the script's own {name}, called once "
        f"{'a step' if training.scheduler_step == 'step' else 'an epoch'}; the config's is not used"
    )
    if refused and begins(len(every[0])) < steps:
        note += f". It refuses call {len(every[0])} ({refused}): from there on the rate stays"
    peaks = [max(rates) for rates in ahead]
    return Rates(by_step, peaks, begins(end_of_warmup(ahead)), more), note


def _ahead(
    scheduler: LRScheduler, groups: list[dict[str, Any]], calls: int
) -> tuple[list[array[float]], list[dict[str, list[Any]]], str]:
    """The rate of each group at each of `calls` positions, what else changes in the groups, and
    with which words the scheduler refused to go on, if it did."""
    every = [array("d", [float(group["lr"])]) for group in groups]
    values = [{name: [value] for name, value in _plain(group).items()} for group in groups]
    refused = ""
    for _ in range(calls - 1):
        refused = _call(scheduler)
        if refused:
            break
        for group, rates, own in zip(groups, every, values, strict=True):
            rates.append(float(group["lr"]))
            for name, found in own.items():
                found.append(group[name])
    others = [
        {name: found for name, found in own.items() if any(one != found[0] for one in found)}
        for own in values
    ]
    return every, others, refused


def _to_the_top(
    scheduler: LRScheduler, groups: list[dict[str, Any]], every: list[array[float]]
) -> list[array[float]]:
    """The rates of each group, further than `every` where one of them still rises: until none
    does."""
    ahead = [array("d", rates) for rates in every]
    while (
        len(ahead[0]) < MOST_CALLS
        and any(rises_at_its_end(rates) for rates in ahead)
        and not _call(scheduler)
    ):
        for group, rates in zip(groups, ahead, strict=True):
            rates.append(float(group["lr"]))
    return ahead


def _call(scheduler: LRScheduler) -> str:
    """Call it once; what it said where it refused, as OneCycleLR does at the end of its cycle.

    Raises: DryRunError where it failed otherwise.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that no step of the optimiser precedes
            scheduler.step()
    except ValueError as error:
        return str(error).split("\n")[0] or "ValueError"
    except Exception as error:
        raise DryRunError(
            f"`scheduler`: {type(scheduler).__name__}.step() failed ({type(error).__name__}: "
            f"{error}); a dry run calls it without arguments"
        ) from error
    return ""


def _plain(group: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters beside the rate that can be compared: numbers, and tuples of them."""
    return {
        name: value
        for name, value in group.items()
        if name not in ("params", "lr")
        and (
            isinstance(value, (int, float))
            or (isinstance(value, tuple) and all(isinstance(one, (int, float)) for one in value))
        )
    }


def _by_step(found: Sequence[Any], begins: Callable[[int], int], steps: int) -> list[Any]:
    """What holds at each call, for each of so many optimiser steps."""
    by_step: list[Any] = []
    for call, value in enumerate(found):
        length = min(begins(call + 1), steps) - min(begins(call), steps)
        by_step += [value] * length
        if begins(call + 1) >= steps:
            break
    return by_step


@contextmanager
def _put_back(scheduler: LRScheduler, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """What happens inside changes neither the scheduler nor the groups' hyperparameters.

    Raises: DryRunError where the scheduler's state cannot be copied.
    """
    try:
        state = deepcopy(scheduler.state_dict())
    except Exception as error:  # a lock, an open file or a writer among its attributes
        raise DryRunError(
            f"`scheduler`: the state of {type(scheduler).__name__} cannot be copied "
            f"({type(error).__name__}: {error}), so that it could not be put back after it was "
            "called ahead: keep such things out of its `state_dict()`, or leave it out"
        ) from error
    groups = [
        {name: deepcopy(value) for name, value in group.items() if name != "params"}
        for group in optimizer.param_groups
    ]
    try:
        yield
    finally:
        scheduler.load_state_dict(state)
        for group, kept in zip(optimizer.param_groups, groups, strict=True):
            group.update(kept)
