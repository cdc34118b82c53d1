"""What a dry run takes from the plan: the optimiser, the schedule, clip, accumulation.

The rate of each step is that of the simulation (`schedule_terms`, `curve`): one way to do a thing.
What the plan does not say is the optimiser's own default; what it says and is not reproduced
stands in `notes`, so that nobody takes it for measured. Knows no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, Any

from gradaudit.probe.formulas import constant, constant_with_warmup
from gradaudit.probe.lengths import Clock, batch_of, clock_of, end_of
from gradaudit.probe.loss_scale import loss_scale_of
from gradaudit.probe.protocol import DryRunError
from gradaudit.probe.schedule_terms import plan_schedule, scheduler_of, warmup_alone
from gradaudit.probe.scheduler_names import EPOCHS, Making, making_of
from gradaudit.probe.simulated import Missing

if TYPE_CHECKING:
    from gradaudit.plan.model import TrainingUnit
    from gradaudit.probe.loss_scale import LossScale
    from gradaudit.probe.protocol import Training
    from gradaudit.probe.schedule_terms import Planned

UNKNOWN_LENGTH = Clock(None, None, None, 0)

MOST_RANKS = 8
"""Devices whose micro-batches are drawn for each step: one machine's worth. Each costs as long as
the first."""


@dataclass
class Recipe:
    """How the trajectory is trained.

    optimizer       family in lower case, None where the plan has none.
    arguments       of its class, as the plan has them: `lr`, `betas`, `weight_decay`, ...
    clip_norm, clip_value  thresholds, None for off. accumulation: micro-batches a step.
    planned         the schedule; None: the rate is the peak at every step.
    held            what stands for it where torch refuses to make it: its warm-up, then the peak.
    clock           the length of the training.
    precision       as the plan has it: `bf16-mixed`, ...; empty where it says nothing.
    loss_scale      of `fp16-mixed`.
    ranks           devices whose micro-batches are drawn one after another, averaged as by DDP.
    sync_batch_norm whether the config asks for SyncBatchNorm.
    notes           what is not as the config says, one sentence each.
    """

    optimizer: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    clip_norm: float | None = None
    clip_value: float | None = None
    accumulation: int = 1
    micro_batch: int | None = None
    planned: Planned | None = None
    held: Planned | None = None
    clock: Clock = UNKNOWN_LENGTH
    adaptive: bool = True
    precision: str = ""
    loss_scale: LossScale | None = None
    ranks: int = 1
    sync_batch_norm: bool = False
    notes: list[str] = field(default_factory=list)


def recipe_of(
    unit: TrainingUnit, *, peak: float | None = None, per_epoch: float | None = None,
    batches: int | None = None, own_schedule: bool = False,
) -> Recipe:  # fmt: skip
    """The recipe of a training unit.

    peak       the rate of an optimiser that the script made; else the plan's.
    per_epoch  optimiser steps of an epoch, as the script says; where the plan has none written.
    batches    micro-batches of an epoch in one process; used where nothing else is known.
    own_schedule  whether the script has a scheduler of its own, so that the plan's is not used.
    """
    recipe = Recipe(optimizer=unit.optimizer, adaptive=not unit.is_sgd)
    _read_optimizer(recipe, unit)
    if peak is None:
        _read_momentum(recipe, unit)
    recipe.clip_norm = _above_zero(unit.number("clip_norm"))
    recipe.clip_value = _above_zero(unit.number("clip_value"))
    recipe.accumulation = max(int(unit.number("accumulation") or 1), 1)
    micro = unit.number("micro_batch")
    recipe.micro_batch = int(micro) if micro else None
    world = unit.number("world_size")
    batch = batch_of(unit, per_epoch)
    if batch.steps_per_epoch is None and batches:
        each = recipe.accumulation * max(int(world or 1), 1)
        batch = batch_of(unit, float(ceil(batches / each)))
    recipe.clock = clock_of(unit, batch)
    which_ends = end_of(unit, batch.steps_per_epoch)[1]
    if which_ends:
        recipe.notes.append(which_ends)
    if not own_schedule:
        _read_schedule(recipe, unit, peak)
    precision, norm = unit.get("precision"), unit.get("norm")
    if precision is not None and precision.value is not None:
        recipe.precision = str(precision.value)
        recipe.loss_scale = loss_scale_of(unit)
    recipe.sync_batch_norm = norm is not None and norm.value == "sync_batch"
    _read_ranks(recipe, world, batch.agrees)
    return recipe


def _read_ranks(recipe: Recipe, world: float | None, agrees: bool | None) -> None:
    """So many devices as there are, where that is affordable and they are what is averaged over."""
    if not world or world <= 1:
        return
    why = ""
    if world > MOST_RANKS:
        why = f"more than {MOST_RANKS} would make each step {world:g} times as long"
    elif agrees is False:
        why = "micro_batch x accumulation x devices is not the global batch"
    if why:
        recipe.notes.append(alone(world, why))
    else:
        recipe.ranks = int(world)


def alone(world: float, why: str) -> str:
    """What to say where one process stands for many."""
    return (
        f"one process stands for {world:g} ({why}): a step sees 1/{world:g} of the global batch, "
        "so gradients are noisier than in the training"
    )


def recipe_for(unit: TrainingUnit, training: Training) -> Recipe:
    """The recipe of a unit as one script trains it: with its optimiser, its epochs, its loader, its
    scheduler."""
    peak = None
    if training.optimizer is not None:
        peak = float(training.optimizer.param_groups[0]["lr"])
    try:
        batches = len(training.batches)  # type: ignore[arg-type]
    except TypeError:
        batches = None
    return recipe_of(
        unit, peak=peak, per_epoch=training.steps_per_epoch, batches=batches,
        own_schedule=training.scheduler is not None,
    )  # fmt: skip


def not_reproduced(planned: Planned, why: str) -> str:
    """What to say of a schedule that torch refuses to make."""
    return f"scheduler {planned.name} is not reproduced ({why}): {_STAYS}"


NO_SCHEDULER = (
    "the config names no scheduler: after its warm-up, if any, the rate stays at its peak; one "
    "that the script makes is followed where `build` passes it (optimizer=, scheduler=)"
)

_STAYS = "the rate stays at its peak, after the warm-up where there is one"


def _above_zero(number: float | None) -> float | None:
    return number if number is not None and number > 0 else None


def _read_optimizer(recipe: Recipe, unit: TrainingUnit) -> None:
    rate = unit.number("learning_rate")
    if rate is not None:
        recipe.arguments["lr"] = rate
    for name, key in (("weight_decay", "weight_decay"), ("eps", "eps"), ("momentum", "momentum")):
        value = unit.number(name)
        if value is not None:
            recipe.arguments[key] = value
    betas = unit.get("betas")
    if betas is not None and isinstance(betas.value, tuple):
        recipe.arguments["betas"] = betas.value
    nesterov = unit.get("nesterov")
    if nesterov is not None and isinstance(nesterov.value, bool):
        recipe.arguments["nesterov"] = nesterov.value


_MOMENTUM = {"momentum": False, "sgd_momentum": False, "nesterov": True}
"""Names of SGD that say it has a momentum, and whether it is Nesterov's."""

USUAL_MOMENTUM = 0.9
"""Where a name says that there is one and no number does (Goyal et al. 2017, arXiv:1706.02677)."""


def _read_momentum(recipe: Recipe, unit: TrainingUnit) -> None:
    """What the name of the optimiser says besides its family: `nesterov` is no plain SGD."""
    written = unit.get("optimizer")
    name = written.raw.strip("'\"").lower() if written is not None else ""
    if recipe.optimizer != "sgd" or name not in _MOMENTUM:
        return
    if _MOMENTUM[name]:
        recipe.arguments.setdefault("nesterov", True)
    if "momentum" not in recipe.arguments:
        recipe.arguments["momentum"] = USUAL_MOMENTUM
        recipe.notes.append(
            f"optimiser {name}: its momentum does not stand in the config; {USUAL_MOMENTUM} is "
            "taken, as is usual"
        )


def _read_schedule(recipe: Recipe, unit: TrainingUnit, peak: float | None) -> None:
    """The plan's schedule, where every step of it is known; else its warm-up, and why."""
    clock, name = recipe.clock, scheduler_of(unit)
    held = warmup_alone(unit, clock, peak)
    recipe.held = None if isinstance(held, Missing) else held
    planned = plan_schedule(unit, clock, peak)
    if not isinstance(planned, Missing) and (
        clock.steps is None or (planned.follows == EPOCHS and clock.per_epoch is None)
    ):
        planned = Missing("", "steps_per_epoch is not known", ("steps_per_epoch",))
    if not isinstance(planned, Missing):
        recipe.planned = planned
        if not name:
            recipe.notes.append(NO_SCHEDULER)
        elif planned.notes:
            recipe.notes.append(f"scheduler {name}: {'; '.join(planned.notes)}")
        return
    recipe.planned = recipe.held
    if "learning_rate" in planned.assume:
        return  # said where the optimiser is made
    making = making_of(name, unit.composed.dialect["name"]) if name else ""
    level = isinstance(making, Making) and making.made in (constant, constant_with_warmup)
    if not name and "scheduler" not in unit.unknown:
        recipe.notes.append(NO_SCHEDULER)
    elif not level:
        recipe.notes.append(
            f"scheduler {name} is not reproduced ({planned.why}): {_STAYS}{_hint(planned)}"
        )
    if isinstance(held, Missing):
        recipe.notes.append(
            f"the warm-up{f' of {unit.warmup}' if unit.warmup else ''} is left out, the rate is "
            f"the peak from the first step ({held.why}){_hint(held)}"
        )


def _hint(missing: Missing) -> str:
    """How to say what is not known; empty where no setting does."""
    named = " or ".join(f"`--assume {name}=N`" for name in missing.assume)
    return f"; say {named}" if named else ""


_OTHER_STEPS = ("lbfgs", "muon", "adafactor", "sparseadam", "sparse_adam", "rprop")
"""Families whose step asks for more than gradients of any shape, or for other arguments than the
plan has: a closure, matrices, sparse gradients, a pair for eps."""


def make_optimizer(recipe: Recipe, parameters: list[Any]) -> Any:
    """The optimiser that the config names, of torch's own.

    Raises: DryRunError where the config names none, or one that torch has not.
    """
    from inspect import signature

    import torch

    from gradaudit.probe.construct import CLASSES, FIXED

    if recipe.optimizer is None:
        raise DryRunError(
            "the config names no optimiser: return one as Training(..., optimizer=...), or say "
            "`--assume optimizer=adamw learning_rate=1e-3`"
        )
    name = CLASSES.get(recipe.optimizer, "")
    made = getattr(torch.optim, name, None)
    if made is None or recipe.optimizer in _OTHER_STEPS:
        why = "is none of torch's" if made is None else "cannot be made from the config alone"
        raise DryRunError(
            f"optimiser `{recipe.optimizer}` {why}: make it in `build` and return it as "
            "Training(..., optimizer=...)"
        )
    if "lr" not in recipe.arguments:
        raise DryRunError(
            "the config has no learning rate that could be read: return the optimiser as "
            "Training(..., optimizer=...), or say `--assume learning_rate=1e-3`"
        )
    takes = signature(made).parameters
    arguments = {key: value for key, value in recipe.arguments.items() if key in takes}
    arguments |= FIXED.get(recipe.optimizer, {})
    try:
        return made(parameters, **arguments)
    except (TypeError, ValueError) as error:
        said = ", ".join(f"{key}={value}" for key, value in arguments.items())
        raise DryRunError(f"torch.optim.{name}({said}) refused: {error}") from error
