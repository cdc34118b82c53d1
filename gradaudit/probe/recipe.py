"""What a dry run takes from the plan: the optimiser, the rate at each step, clip, accumulation.

What the plan does not say is the optimiser's own default; what it says and is not reproduced
stands in `notes`, so that nobody takes it for measured.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import cos, pi
from typing import TYPE_CHECKING, Any

from gradaudit.plan.schedule import whole_warmup
from gradaudit.probe.lengths import batch_of, clock_of
from gradaudit.probe.protocol import DryRunError
from gradaudit.probe.schedule_terms import plan_schedule, whole_calls
from gradaudit.probe.scheduler_names import making_of
from gradaudit.probe.simulated import Missing

if TYPE_CHECKING:
    from gradaudit.plan.model import TrainingUnit
    from gradaudit.probe.lengths import Clock
    from gradaudit.probe.schedule_terms import Planned

CONSTANT = ("constant", "none", "constant_with_warmup", "warmup_constant", "fixed")
COSINE = ("cosine", "cosineannealinglr", "cosine_with_warmup", "warmup_cosine", "cosine_annealing",
          "cosineannealing", "cos", "cosinelr", "cosine_with_min_lr")  # fmt: skip
LINEAR = ("linear", "linear_with_warmup", "linearwarmup")


@dataclass
class Recipe:
    """How the trajectory is trained.

    optimizer       family in lower case, None where the plan has none.
    arguments       of its class, as the plan has them: `lr`, `betas`, `weight_decay`, ...
    clip_norm, clip_value  thresholds, None for off. accumulation: micro-batches a step.
    warmup_steps    optimiser steps; 0 for none. start_factor: of the first step's rate.
    total_steps     length of the training in optimiser steps, None where it is not known.
    floor           rate at the end over the peak.
    notes           what is not as the config says, one sentence each.
    planned         a scheduler that is neither constant, cosine nor linear, and the length.
    """

    optimizer: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    clip_norm: float | None = None
    clip_value: float | None = None
    accumulation: int = 1
    micro_batch: int | None = None
    warmup_steps: int = 0
    start_factor: float = 0.0
    scheduler: str = "constant"
    total_steps: int | None = None
    floor: float = 0.0
    adaptive: bool = True
    notes: list[str] = field(default_factory=list)
    planned: tuple[Planned, Clock] | None = None
    _factors: list[float] = field(default_factory=list)

    def factor(self, step: int) -> float:
        """The rate in step `step` (from 1) over the peak.

        The warm-up is linear in steps, as torch's `LinearLR` has it: start + (1 - start) k / n
        after k of n steps; without a start factor from 1/n, for a rate of 0 trains nothing. Then
        the scheduler's shape over what is left of `total_steps`. Where `planned` is set the rate is
        that of the scheduler itself, as a simulation steps it (needs torch).
        """
        if self.planned is not None:
            self._step_through(*self.planned)
        if self._factors:
            return self._factors[min(step, len(self._factors)) - 1]
        done = step - 1
        if done < self.warmup_steps:
            start = self.start_factor or 1 / self.warmup_steps
            return start + (1 - start) * done / self.warmup_steps
        if self.total_steps is None or self.total_steps <= self.warmup_steps:
            return 1.0
        progress = min((done - self.warmup_steps) / (self.total_steps - self.warmup_steps), 1.0)
        if self.scheduler == "cosine":
            return self.floor + (1 - self.floor) * (1 + cos(pi * progress)) / 2
        if self.scheduler == "linear":
            return self.floor + (1 - self.floor) * (1 - progress)
        return 1.0

    def _step_through(self, planned: Planned, clock: Clock) -> None:
        from gradaudit.probe.curve import factors_of

        self.planned = None
        try:
            self._factors = factors_of(planned, clock)
        except ValueError as error:
            self.notes.append(_not_reproduced(planned.name, str(error)))
            return
        if not self.warmup_steps and self._factors and self._factors[0] < max(self._factors):
            # a one-cycle rises by itself, and its rise is a warm-up
            self.warmup_steps = self._factors.index(max(self._factors))


def _not_reproduced(name: str, why: str) -> str:
    return (
        f"scheduler {name} is not reproduced ({why}): after the warm-up the rate stays at its peak"
    )


def recipe_of(unit: TrainingUnit, steps_per_epoch: float | None) -> Recipe:
    """The recipe of a training unit. `steps_per_epoch` is used where the plan knows none."""
    recipe = Recipe(optimizer=unit.optimizer, adaptive=not unit.is_sgd)
    per_epoch = unit.number("steps_per_epoch") or steps_per_epoch
    _read_optimizer(recipe, unit)
    recipe.clip_norm = _above_zero(unit.number("clip_norm"))
    recipe.clip_value = _above_zero(unit.number("clip_value"))
    recipe.accumulation = max(int(unit.number("accumulation") or 1), 1)
    micro = unit.number("micro_batch")
    recipe.micro_batch = int(micro) if micro else None
    _read_schedule(recipe, unit, per_epoch)
    precision = unit.get("precision")
    if precision is not None and precision.value not in (None, "fp32", "tf32"):
        recipe.notes.append(
            f"precision {precision.value} is not reproduced: everything is measured in the "
            "model's own dtype, without autocast or loss scaling"
        )
    world = unit.number("world_size")
    if world and world > 1:
        recipe.notes.append(
            f"one process stands for {world:g}: a step sees 1/{world:g} of the global batch, so "
            "gradients are noisier than in the training"
        )
    return recipe


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


def _read_schedule(recipe: Recipe, unit: TrainingUnit, per_epoch: float | None) -> None:
    length = unit.length
    if length is not None and length.unit == "steps":
        recipe.total_steps = int(length.value)
    elif length is not None and per_epoch:
        recipe.total_steps = int(length.value * per_epoch)
    warmup = unit.warmup
    if warmup is not None:
        steps: float | None = warmup.value
        if warmup.unit == "ratio":
            steps = warmup.value * recipe.total_steps if recipe.total_steps else None
        elif warmup.unit == "epochs":
            steps = warmup.value * per_epoch if per_epoch else None
        if steps is None:
            missing = "`total_steps`" if warmup.unit == "ratio" else "`steps_per_epoch`"
            recipe.notes.append(
                f"the warm-up of {warmup} is left out, the rate is the peak from the first step: "
                f"its length in steps needs {missing} (--assume, or Training.steps_per_epoch)"
            )
        else:
            named = unit.get("scheduler")
            name = str(named.value) if named is not None and named.value is not None else ""
            making = making_of(name, unit.composed.dialect["name"]) if name else ""
            if warmup.unit == "ratio":
                steps = whole_warmup(unit.composed.dialect["name"], steps)
            recipe.warmup_steps = whole_calls(steps, making)
            recipe.start_factor = unit.number("warmup_start_factor") or 0.0
    scheduler = unit.get("scheduler")
    name = scheduler.value if scheduler is not None and isinstance(scheduler.value, str) else ""
    shape = name.rsplit(".", 1)[-1].lower()
    if shape in COSINE:
        recipe.scheduler = "cosine"
    elif shape in LINEAR:
        recipe.scheduler = "linear"
    elif name and shape not in CONSTANT:
        clock = clock_of(unit, batch_of(unit))
        if clock.per_epoch is None and per_epoch:
            steps = round(clock.epochs * per_epoch) if clock.epochs else clock.steps
            clock = clock._replace(steps=steps, per_epoch=per_epoch, nominal=0)
        planned = plan_schedule(unit, clock)
        if isinstance(planned, Missing):
            recipe.notes.append(_not_reproduced(name, planned.why))
        elif clock.steps is None:
            recipe.notes.append(_not_reproduced(name, "steps_per_epoch is not known"))
        else:
            recipe.planned = (planned, clock)
    peak, lowest = unit.number("learning_rate"), unit.number("min_learning_rate")
    if peak and lowest is not None:
        recipe.floor = min(max(lowest / peak, 0.0), 1.0)
    if recipe.scheduler != "constant" and recipe.total_steps is None:
        recipe.notes.append(
            "after the warm-up the rate stays at its peak: the length of the training in steps is "
            "not known (--assume steps_per_epoch=N or total_steps=N)"
        )


_CLASSES = {
    "adam": "Adam", "adamw": "AdamW", "sgd": "SGD", "momentum": "SGD", "nesterov": "SGD",
    "rmsprop": "RMSprop", "adagrad": "Adagrad", "adadelta": "Adadelta", "adamax": "Adamax",
    "nadam": "NAdam", "radam": "RAdam", "asgd": "ASGD",
}  # fmt: skip
_WITHOUT = {
    "betas": ("SGD", "RMSprop", "Adagrad", "Adadelta", "ASGD"),
    "momentum": ("Adam", "AdamW", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam", "ASGD"),
    "eps": ("SGD", "ASGD"),
}


def make_optimizer(recipe: Recipe, parameters: list[Any]) -> Any:
    """The optimiser that the config names, of torch's own.

    Raises: DryRunError where the config names none, or one that torch has not.
    """
    import torch

    if recipe.optimizer is None:
        raise DryRunError(
            "the config names no optimiser: return one as Training(..., optimizer=...), or say "
            "`--assume optimizer=adamw learning_rate=1e-3`"
        )
    name = _CLASSES.get(recipe.optimizer)
    if name is None:
        raise DryRunError(
            f"optimiser `{recipe.optimizer}` is none of torch's: make it in `build` and return it "
            "as Training(..., optimizer=...)"
        )
    if "lr" not in recipe.arguments:
        raise DryRunError(
            "the config has no learning rate that could be read: return the optimiser as "
            "Training(..., optimizer=...), or say `--assume learning_rate=1e-3`"
        )
    arguments = {
        key: value for key, value in recipe.arguments.items() if name not in _WITHOUT.get(key, ())
    }
    if name != "SGD":
        arguments.pop("nesterov", None)
    if recipe.optimizer == "nesterov":
        arguments["nesterov"] = True
    if name == "SGD" and recipe.optimizer != "sgd":
        arguments.setdefault("momentum", 0.9)
    try:
        return getattr(torch.optim, name)(parameters, **arguments)
    except (TypeError, ValueError) as error:
        said = ", ".join(f"{key}={value}" for key, value in arguments.items())
        raise DryRunError(f"torch.optim.{name}({said}) refused: {error}") from error
