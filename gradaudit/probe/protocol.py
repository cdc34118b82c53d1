"""What a dry run asks of a user's script: one function `build(config)` that returns a `Training`.

Nothing here imports torch, so a script that imports it starts no slower. A script that should run
without gradaudit may return any object with the same attributes instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from torch import Tensor, nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    Losses = Callable[[nn.Module, Any], Mapping[str, tuple[Tensor, float]]]


class Config(dict[str, Any]):
    """The config as its framework would load it: a plain mapping of the whole file, composed.

    unit       the section of the training that is measured; the whole where a file has one.
    unit_name  its name, as `gradaudit show` prints it.
    """

    unit: Mapping[str, Any]
    unit_name: str

    def __init__(self, whole: Mapping[str, Any], unit: Mapping[str, Any], unit_name: str) -> None:
        super().__init__(whole)
        self.unit = unit
        self.unit_name = unit_name


@dataclass
class Training:
    """One training, ready to take its first step.

    model      an `nn.Module`, on any device: it is moved to that of `--device`.
    batches    what the training loop iterates over; begun anew when it ends, if it can be.
    losses     `losses(model, batch) -> {name: (tensor, weight)}`: calls the model and returns every
               term of the loss as a scalar tensor *without* its weight, and the weight beside it.
               The loss is the sum of weight x tensor. Call the model once for all terms.
    optimizer  None: made as the config says. Else yours: its rates are taken as the peak of the
               schedule.
    scheduler  None: the config's schedule. Else yours, of that optimizer: the rates of the first
               steps, and whatever else it changes in the groups, are those that its calls make. It
               is called ahead, without arguments, and then put back.
    scheduler_step  what your loop calls it after: `step` (each optimiser step) or `epoch`.
    total      None, or `total(model, batch) -> tensor`: the loss as the script itself computes it.
               It is compared with the sum of the terms, which catches a term that was forgotten.
    steps_per_epoch  optimiser steps of an epoch, for a warm-up or schedule counted in epochs. None:
               from the config, or the length of `batches` over accumulation x devices.
    primary    the names of the terms that are the task: their weights are never touched, and all
               others count as auxiliary. Empty: judged by the words of their names.
    move       None, or `move(batch, device) -> batch` for a batch that is no tensor, nor a list,
               tuple or mapping of tensors.
    """

    model: nn.Module
    batches: Iterable[Any]
    losses: Losses
    optimizer: Optimizer | None = None
    total: Callable[[nn.Module, Any], Tensor] | None = None
    steps_per_epoch: int | None = None
    primary: Collection[str] = ()
    move: Callable[[Any, Any], Any] | None = None
    scheduler: LRScheduler | None = None
    scheduler_step: Literal["step", "epoch"] = "step"


class DryRunError(Exception):
    """The dry run cannot go on, for a reason that its user can mend: one message, exit code 2."""
