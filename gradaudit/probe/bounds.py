"""How far one step can move a weight, given what is not known: algebra only. Knows no torch.

Under Adam an element moves by learning_rate x m / sqrt(v), with m and v the running means after
their correction for the start (`eps` makes it smaller). For three sequences of gradients that is:

- the same gradient at every step: learning_rate x 1;
- one gradient after a long silence: learning_rate x (1 - b1) / sqrt(1 - b2) (Kingma & Ba 2015,
  section 2.1, "the most severe case of sparsity");
- no sequence can exceed that divided by sqrt(1 - b1^2 / b2), where b1^2 < b2: by Cauchy and
  Schwarz over the weights of the two means; gradients that grow by b2 / b1 a step come up to it.

`tests/test_simulate.py` runs torch's AdamW on all three.
"""

from __future__ import annotations

from math import sqrt

from gradaudit.plan.model import SGD_LIKE, SIGN
from gradaudit.probe.simulated import Bound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.plan.model import TrainingUnit

ADAM = ("adam", "adamw")


def after_silence(beta1: float, beta2: float) -> float:
    """A step under Adam, in learning rates, of one gradient after a long silence."""
    return (1 - beta1) / sqrt(1 - beta2)


def most(beta1: float, beta2: float) -> float | None:
    """The largest step under Adam, in learning rates; None where beta1 ** 2 >= beta2."""
    if not 0 <= beta1 < 1 or not 0 < beta2 < 1 or beta1 * beta1 >= beta2:
        return None
    return after_silence(beta1, beta2) / sqrt(1 - beta1 * beta1 / beta2)


def bounds_of(unit: TrainingUnit, peak: float | None = None) -> tuple[Bound, ...]:
    """What clip, rate and momentum allow one step to be, whatever the gradient is.

    peak  the highest rate of the schedule, where it was stepped through; else the plan's.
    """
    found: list[Bound] = []
    clip, value = unit.number("clip_norm"), unit.number("clip_value")
    if clip and clip > 0:
        found.append(Bound(
            f"the clip acts in a step whose total gradient norm is above {clip:g}; whether any "
            "is cannot be known from the config", clip, "gradient norm",
        ))  # fmt: skip
    elif value and value > 0:
        found.append(Bound(
            f"each gradient element is cut to between -{value:g} and {value:g}; whether any is "
            "beyond cannot be known from the config", value, "gradient element",
        ))  # fmt: skip
    rate, family = peak or unit.number("learning_rate"), unit.optimizer
    if rate is None or rate <= 0:
        return tuple(found)
    if family in ADAM:
        found += _of_adam(unit, rate)
    elif family in SGD_LIKE and family == "sgd" and clip and clip > 0:
        found += _of_sgd(unit, rate, clip)
    elif family in SIGN:
        found.append(Bound(
            "each element moves by the learning rate in every step, whatever the gradient's "
            "size (weight decay apart)", rate, "per element",
        ))  # fmt: skip
    return tuple(found)


def _of_sgd(unit: TrainingUnit, rate: float, clip: float) -> list[Bound]:
    momentum = unit.number("momentum") or 0.0
    found = [Bound(
        "largest step of all weights together (2-norm) at the peak rate, momentum and weight "
        "decay apart: learning_rate x clip_norm", rate * clip, "weight norm",
    )]  # fmt: skip
    if 0 < momentum < 1:
        found.append(Bound(
            f"the same with momentum {momentum:g}, were every gradient at the clip and of one "
            "direction: learning_rate x clip_norm / (1 - momentum)",
            rate * clip / (1 - momentum), "weight norm",
        ))  # fmt: skip
    return found


def _of_adam(unit: TrainingUnit, rate: float) -> list[Bound]:
    setting = unit.get("betas")
    pair = setting.value if setting is not None else (0.9, 0.999)
    found = [Bound(
        "an element whose gradient stays the same moves by the learning rate in each step, from "
        "the first on, however large that gradient is (eps apart)", rate, "per element",
    )]  # fmt: skip
    clip, value = unit.number("clip_norm"), unit.number("clip_value")
    if clip and clip > 0:
        found.append(Bound(
            "the clip does not bound the step: a factor on every gradient cancels (eps and weight "
            "decay apart); it bounds what one spike weighs in the running means", None, "clip",
        ))  # fmt: skip
    elif value and value > 0:
        found.append(Bound(
            "cutting elements does not bound the step: one that is cut at every step still moves "
            "by the learning rate (eps and weight decay apart); it bounds what one spike weighs "
            "in the running means", None, "clip",
        ))  # fmt: skip
    if isinstance(pair, tuple) and len(pair) == 2:
        limit = most(*pair)
        if limit is not None:
            after = f"{after_silence(*pair):.3g}"
            found.append(Bound(
                f"after a long silence one gradient moves it by {after} "
                f"learning rate{'s' * (after != '1')}: (1 - beta1) / sqrt(1 - beta2)",
                rate * after_silence(*pair), "per element",
            ))  # fmt: skip
            found.append(Bound(
                f"no sequence of gradients moves it by more than {limit:.3g} learning rates in "
                "one step at the peak rate (weight decay apart)", rate * limit, "per element",
            ))  # fmt: skip
    return found
