"""What weight decay takes off a weight at each step, by who takes the step."""

from __future__ import annotations

from gradaudit.rules import RULES
from gradaudit.rules.optimisers import rate_bounds, rate_is_factor
from gradaudit.rules.text import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.plan.model import TrainingUnit

COUPLED_ADAM = frozenset(("adam", "amsgrad", "nadam", "radam", "adamax"))
"""torch adds their weight decay to the gradient, which is then divided by its running size."""

SHRINKS_BY_RATE = frozenset((
    "adamw", "nadamw", "lion", "galore_adamw", "apollo_adamw", "schedulefree_adamw", "adan",
))  # fmt: skip
"""Each step takes learning rate x weight decay off the weights. Not LAMB, whose decay goes through
the trust ratio, and Adafactor, whose rate is relative."""


class Shrinking:
    """What decay does to a weight at the peak rate.

    share   of the weight that goes with each step, in the long run.
    at_once whether one step alone takes all of it or more.
    how     the product that it comes from, in words.
    """

    __slots__ = ("at_once", "how", "share")

    def __init__(self, share: float, at_once: bool, how: str) -> None:
        self.share = share
        self.at_once = at_once
        self.how = how


def shrinking_of(unit: TrainingUnit, decay: float) -> Shrinking | None:
    """None where the optimiser's decay works another way, or the rate is not known."""
    plain = unit.get("decay_without_rate")
    if plain is not None and plain.value is True:
        return Shrinking(decay, decay >= 1, "the decay itself: no learning rate multiplies it")
    rate = unit.number("learning_rate")
    if not rate or rate_is_factor(unit):
        return None
    bounds = rate_bounds(unit, RULES["GA201"].limits)
    if bounds is not None and rate > bounds[0]:  # learning-rate-too-high speaks of it
        return None
    product = rate * decay
    how = f"learning rate {number(rate)} x weight decay {number(decay)}"
    if unit.optimizer == "adan":  # it divides by 1 + the product
        return Shrinking(product / (1 + product), False, how)
    if unit.optimizer in SHRINKS_BY_RATE:
        return Shrinking(product, product >= 1, how)
    momentum = unit.number("momentum") or 0
    if unit.optimizer == "sgd" and 0 <= momentum < 1:
        adds = f" / (1 - momentum {number(momentum)})" if momentum else ""
        return Shrinking(product / (1 - momentum), product >= 1, how + adds)
    return None
