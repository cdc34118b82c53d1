"""The learning rates of the clean corpus: what nobody can call a fault from the file alone.

A mutated rate that other repositories publish for the same kind of optimiser is an ordinary recipe:
a rule that spoke of it would speak of theirs too. No rule's threshold is read here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from gradaudit.plan.model import TrainingUnit

_ADAM = frozenset((
    "adam", "adamw", "radam", "nadam", "nadamw", "adamax", "amsgrad", "adabelief", "adam_mini",
    "galore_adamw", "apollo_adamw", "schedulefree_adamw",
))  # fmt: skip

TORCH = {
    "adam": 1e-3, "sgd": 1e-3, "rmsprop": 1e-2, "adagrad": 1e-2, "adadelta": 1.0,
    "adafactor": 1e-2, "muon": 1e-3,
}  # fmt: skip
"""What `torch.optim` hands out where no rate is named: no file says that it is too high."""

PRACTICE = 2
"""Repositories, besides the mutant's own, that make a rate a practice: one may be a slip."""


def kind(optimizer: str | None) -> str:
    """Optimisers whose rates mean the same: a step of every Adam is about as long as the rate."""
    return "adam" if optimizer in _ADAM else optimizer or ""


class Published:
    def __init__(self) -> None:
        self._rates: dict[str, list[tuple[float, str]]] = defaultdict(list)

    def add(self, units: Iterable[TrainingUnit], repository: str) -> None:
        for unit in units:
            rate = unit.number("learning_rate")
            if rate is not None and rate > 0 and unit.optimizer:
                self._rates[kind(unit.optimizer)].append((rate, repository))

    def is_practice(self, rate: float, optimizer: str | None, without: str, upwards: bool) -> bool:
        """Whether `PRACTICE` other repositories train at this rate or further out."""
        others = {
            repository
            for value, repository in self._rates[kind(optimizer)]
            if repository != without and (value >= rate if upwards else value <= rate)
        }
        return len(others) >= PRACTICE
