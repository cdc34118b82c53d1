"""What a simulation from the config alone says: plain data, for every output. Knows no torch.

Nothing in here was measured on a training: no gradient was computed. There is no place for a
gradient norm, a clip rate or a noise scale, because a config cannot know them.
"""

from __future__ import annotations

from typing import NamedTuple

SOURCE = "simulated"
"""The tag of everything here. A probe and a dry run with an entry have tags of their own."""


class Fact(NamedTuple):
    """A value that the simulation was given, and how it is known (`written`, `default`, ...)."""

    name: str
    value: object
    origin: str


class Missing(NamedTuple):
    """What could not be simulated, what is not known for it, and what the user can say of it.

    assume  settings for `--assume`, any one of which fills the gap; empty where none does.
    """

    what: str
    why: str
    assume: tuple[str, ...] = ()


class Group(NamedTuple):
    """A parameter group. Which parameters are in it depends on the model, which is not known.

    kept_by_decay  the share of a weight that decoupled weight decay alone leaves at the end of
                   the training, were its gradient always 0: the product of 1 - learning_rate x
                   weight_decay over all steps. None where the decay is not decoupled, or the
                   steps are not known.
    """

    name: str
    learning_rate: float | None
    weight_decay: float | None
    end: float | None = None
    kept_by_decay: float | None = None


class Memory(NamedTuple):
    """Bytes for one parameter, counted on the tensors of an optimiser after a real step.

    state       of those as large as the parameter: name -> bytes.
    per_tensor  further bytes for one parameter tensor, however large (step counters).
    """

    dtype: str
    weight: int
    gradient: int
    state: dict[str, int]
    per_tensor: int

    @property
    def state_bytes(self) -> int:
        return sum(self.state.values())


class Optimizer(NamedTuple):
    """The optimiser as constructed.

    built    the class that was constructed, as `torch.optim.AdamW`; empty where none was.
    refused  what its constructor said against the arguments, word for word.
    reason   why nothing was constructed.
    takes    the arguments that it was given.
    """

    family: str
    built: str = ""
    refused: str = ""
    reason: str = ""
    takes: tuple[Fact, ...] = ()
    notes: tuple[str, ...] = ()
    memory: Memory | None = None


class Curve(NamedTuple):
    """The learning rate at every step, thinned to at most `curve.MOST_POINTS`.

    axis        `steps`: x is the number of the optimiser step, from 1; `epochs`: epochs done.
    points      (x, learning rate in that step).
    length      of the training, on the axis.
    steps       optimiser steps in all; None where they are not known.
    nominal     steps an epoch at which it was drawn where the real number is not known, else 0.
    peak_at     x of the first step at the peak; peak_share: steps before it, as a share of all.
    mean_share  mean of the learning rate over all steps, as a share of the peak.
    area        the sum of the learning rate over all steps; None where steps are not known.
    zeros       steps at a rate of exactly 0.
    """

    axis: str
    points: tuple[tuple[float, float], ...]
    length: float
    steps: int | None
    nominal: int
    start: float
    peak: float
    peak_at: float
    peak_share: float
    end: float
    lowest: float
    mean_share: float
    area: float | None
    zeros: int


TORCH, FRAMEWORK, CONVENTION = "torch", "framework", "convention"


class Schedule(NamedTuple):
    """The scheduler as constructed and stepped.

    built   the torch class. formula: where the function of a `LambdaLR` is written down.
    basis   `torch`: its own scheduler. `framework`: that framework's documented formula.
            `convention`: the name gives the shape only; `notes` say what was taken for granted.
    follows what one call of the scheduler follows: `steps` or `epochs`.
    refused what its constructor said against the arguments, word for word.
    """

    name: str
    built: str = ""
    formula: str = ""
    basis: str = ""
    follows: str = ""
    takes: tuple[Fact, ...] = ()
    refused: str = ""
    notes: tuple[str, ...] = ()
    curve: Curve | None = None


class Batch(NamedTuple):
    """micro_batch x accumulation x world_size = global_batch, and what follows from it.

    agrees  whether the product is the global batch; None where one of the four is not known.
    None stands for what is not known.
    """

    micro_batch: float | None
    accumulation: float | None
    world_size: float | None
    global_batch: float | None
    agrees: bool | None
    steps_per_epoch: float | None
    epochs: float | None
    steps: int | None
    samples: float | None
    backward_calls: float | None
    notes: tuple[str, ...] = ()


class Scale(NamedTuple):
    """One try of the scaler: the largest gradient element before scaling, and what follows.

    skipped   steps skipped before the first that is not. settles: the loss scale then.
    """

    largest: float
    skipped: int
    settles: float


class Scaler(NamedTuple):
    """torch's `GradScaler`, run on gradients of chosen size. What a training's are is not known.

    again  after `growth_interval` steps without overflow the scale doubles; where that is too
           much, one step in so many is skipped.
    """

    initial: float
    growth_factor: float
    backoff_factor: float
    growth_interval: int
    tries: tuple[Scale, ...]
    again: int
    notes: tuple[str, ...] = ()


class Bound(NamedTuple):
    """How far one step can move: `what` in words, and the number where it is one."""

    what: str
    value: float | None
    unit: str = ""


class Simulation(NamedTuple):
    """All that the config of one unit allows.

    problems  what was asked of the file and could not be done, as the audit says it.
    """

    path: str
    unit: str
    torch: str
    assumed: tuple[Fact, ...]
    optimizer: Optimizer
    groups: tuple[Group, ...]
    schedule: Schedule
    batch: Batch
    scaler: Scaler | None
    bounds: tuple[Bound, ...]
    missing: tuple[Missing, ...]
    problems: tuple[str, ...] = ()
    source: str = SOURCE
