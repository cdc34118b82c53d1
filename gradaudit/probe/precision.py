"""Forward passes under autocast and backward passes with a loss scale, as the config says.

What a trainer does for `bf16-mixed` and `fp16-mixed`: fp32 weights, `torch.autocast` around model
and loss, and under fp16 torch's `GradScaler`. Weights in bf16 or fp16 are the builder's.
"""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any

import torch

from gradaudit.probe.fetch import finite_gradients
from gradaudit.probe.loss_scale import MOST_SKIPPED

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from gradaudit.probe.loss_scale import LossScale
    from gradaudit.probe.protocol import Training

AUTOCAST = {"bf16-mixed": torch.bfloat16, "fp16-mixed": torch.float16}


class Precision:
    """How passes are run on one device.

    dtype   of autocast; None: none, everything in the model's own dtype.
    skipped steps that the scaler has skipped, and of these `in_a_row` without one between.
    """

    def __init__(
        self,
        device: torch.device,
        dtype: torch.dtype | None = None,
        loss_scale: LossScale | None = None,
    ) -> None:
        self.device = device
        self.dtype = dtype
        self.skipped = 0
        self.in_a_row = 0
        self._fixed = loss_scale is not None and loss_scale.fixed
        self._scaler: torch.amp.GradScaler | None = None
        if loss_scale is not None:
            self._scaler = torch.amp.GradScaler(
                device.type, init_scale=loss_scale.initial,
                growth_interval=loss_scale.growth_interval,
            )  # fmt: skip

    @property
    def name(self) -> str:
        """`bfloat16` or `float16`; empty without autocast."""
        return str(self.dtype).removeprefix("torch.") if self.dtype is not None else ""

    @property
    def scales(self) -> bool:
        return self._scaler is not None

    @property
    def scale(self) -> float:
        """The loss scale now; 1 where there is none."""
        return float(self._scaler.get_scale()) if self._scaler is not None else 1.0

    @property
    def given_up(self) -> bool:
        """Whether so many steps in a row were skipped that no scale will do."""
        return self.in_a_row > MOST_SKIPPED

    def cast(self) -> Any:
        """The context in which a forward pass and its loss run."""
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def over(self, training: Training) -> Training:
        """The same training with its forward passes in `cast`."""
        if self.dtype is None:
            return training
        total = training.total
        return replace(
            training,
            losses=self._wrapped(training.losses),
            total=None if total is None else self._wrapped(total),
        )

    def _wrapped(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def under(model: Any, batch: Any) -> Any:
            with self.cast():
                return function(model, batch)

        return under

    def backward(self, loss: Tensor) -> None:
        """A backward pass of the scaled loss."""
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """The gradients divided by the scale, as a clip must see them."""
        if self._scaler is not None:
            self._scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> bool:
        """Take the step, unless a gradient overflowed at this scale; whether it was taken."""
        if self._scaler is None:
            optimizer.step()
            return True
        scale = self.scale
        held = [tensor for group in optimizer.param_groups for tensor in group["params"]]
        overflowed = not finite_gradients(held)
        self._scaler.step(optimizer)
        self._scaler.update(scale if self._fixed else None)
        self.skipped += overflowed
        self.in_a_row = self.in_a_row + 1 if overflowed else 0
        return not overflowed


def precision_of(name: str, loss_scale: LossScale | None, device: torch.device) -> Precision:
    """The precision that a plan names (`bf16-mixed`, ...), where there is autocast for it.

    Raises:
        ValueError: this device has no autocast of that kind.
    """
    dtype = AUTOCAST.get(name)
    if dtype is None:
        return Precision(device)
    if device.type == "cuda" and dtype == torch.bfloat16 and not torch.cuda.is_bf16_supported():
        raise ValueError("this GPU has no bfloat16")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says in a warning that it disables autocast
        try:
            with torch.autocast(device.type, dtype=dtype):
                on = torch.is_autocast_enabled(device.type)
        except RuntimeError:
            on = False
    if not on:
        raise ValueError(f"torch has no {dtype} autocast on {device.type}")
    return Precision(device, dtype, loss_scale)
