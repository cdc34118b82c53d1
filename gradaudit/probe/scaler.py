"""torch's `GradScaler` run for real on a CPU, on gradients of chosen size.

What the gradients of a training are is not known: each try says what would happen if the largest
element were so large. torch is imported here.
"""

from __future__ import annotations

import torch

from gradaudit.probe.loss_scale import MOST_SKIPPED, loss_scale_of
from gradaudit.probe.simulated import Scale, Scaler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.plan.model import TrainingUnit

LARGEST = (0.001, 0.1, 1.0, 10.0, 1000.0)
"""Largest gradient elements tried, from calm to wild."""

_OWN = {
    "deepspeed": "DeepSpeed lets `hysteresis` overflows pass before it halves",
    "fairseq": "fairseq halves only where a share of steps overflowed (`fp16_scale_tolerance`)",
}


def scaler_of(unit: TrainingUnit) -> Scaler | None:
    """The scaler's dynamics, where the precision is fp16 with a dynamic loss scale."""
    scale = loss_scale_of(unit)
    if scale is None or scale.fixed:
        return None  # a static scale has no dynamics
    initial, interval = scale.initial, scale.growth_interval
    dialect = unit.composed.dialect
    notes = ["torch's GradScaler; its largest number in fp16 is 65,504"]
    if dialect["name"] in _OWN:
        notes.append(f"its own scaler differs: {_OWN[dialect['name']]}")
    tries = tuple(try_scale(largest, initial, interval) for largest in LARGEST)
    return Scaler(initial, 2.0, 0.5, interval, tries, interval + 1, tuple(notes))


def try_scale(largest: float, initial: float, interval: int) -> Scale:
    """Step a real scaler until a step is not skipped.

    The loss has a gradient of `largest` in fp16, times the scale as in any scaled backward pass.
    """
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float32))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=initial, growth_interval=interval)
    skipped = 0
    while skipped < MOST_SKIPPED:
        weight.grad = None
        scaled = scaler.scale(torch.tensor(float(largest)))
        # The overflow is fp16's: the product is rounded to it, as a backward pass in fp16 does.
        weight.grad = scaled.to(torch.float16).to(torch.float32).reshape(1)
        before = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        if scaler.get_scale() >= before:
            break
        skipped += 1
    return Scale(largest, skipped, scaler.get_scale())
