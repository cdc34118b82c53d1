"""The loss scale of fp16 training, as the plan has it. Knows no torch."""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.plan.model import TrainingUnit

LONGEST = 2**31 - 1
"""The longest interval that torch's counter holds: no training comes so far."""

MOST_SKIPPED = 60
"""Steps in a row that a scaler may skip before it is given up: 2 ** -44 of torch's first scale."""


class LossScale(NamedTuple):
    """initial   scale of the first step. growth_interval: steps without overflow before it doubles.
    fixed     whether it never changes.
    """

    initial: float
    growth_interval: int
    fixed: bool = False


def loss_scale_of(unit: TrainingUnit) -> LossScale | None:
    """None where the precision is not fp16 with fp32 weights. What the plan does not say is the
    default of torch's `GradScaler`: 65,536 and 2,000 steps."""
    precision = unit.get("precision")
    if precision is None or precision.value != "fp16-mixed":
        return None
    fixed = unit.number("loss_scale")
    if fixed is not None and fixed > 0:
        return LossScale(fixed, LONGEST, fixed=True)
    power, window = unit.number("loss_scale_power"), unit.number("loss_scale_window")
    initial = 2.0**power if power is not None and 0 <= power <= 126 else 65536.0
    interval = int(min(window, LONGEST)) if window is not None and window >= 1 else 2000
    return LossScale(initial, interval)
