"""The learning rates of the clean corpus: what nobody can call a fault from the file alone.

A mutated rate that other repositories publish for the same kind of optimiser is an ordinary recipe:
a rule that spoke of it would speak of theirs too. No rule's threshold is read here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from gradaudit.plan.model import DECOUPLED, SGD_LIKE, TrainingUnit

_ADAM = frozenset((
    "adam", "adamw", "radam", "nadam", "nadamw", "adamax", "amsgrad", "adabelief", "adam_mini",
    "galore_adamw", "apollo_adamw", "schedulefree_adamw",
))  # fmt: skip

TORCH = {
    "adam": 1e-3, "sgd": 1e-3, "rmsprop": 1e-2, "adagrad": 1e-2, "adadelta": 1.0,
    "adafactor": 1e-2, "muon": 1e-3,
}  # fmt: skip
"""What `torch.optim` hands out where no rate is named: no file says that it is too high."""

PRODUCT = "rate x decay"

VIT = 0.3 * 3e-3
"""Dosovitskiy et al. 2021, https://arxiv.org/abs/2010.11929, table 3: ImageNet from scratch."""

PRACTICE = 2
"""Repositories, besides the mutant's own, that make a rate a practice: one may be a slip."""


def kind(optimizer: str | None) -> str:
    """Optimisers whose rates mean the same: a step of every Adam is about as long as the rate."""
    return "adam" if optimizer in _ADAM else optimizer or ""


class Published:
    def __init__(self) -> None:
        self._rates: dict[str, list[tuple[float, str]]] = defaultdict(list)
        self._decays: dict[str, list[tuple[float, str]]] = defaultdict(list)

    def add(self, units: Iterable[TrainingUnit], repository: str) -> None:
        for unit in units:
            rate = unit.number("learning_rate")
            if rate is not None and rate > 0 and unit.optimizer:
                self._rates[kind(unit.optimizer)].append((rate, repository))
            kind_of_decay, decay = decay_of(unit)
            if decay:
                self._decays[kind_of_decay].append((decay, repository))

    def is_practice(self, rate: float, optimizer: str | None, without: str, upwards: bool) -> bool:
        """Whether `PRACTICE` other repositories train at this rate or further out."""
        return _is_practice(self._rates[kind(optimizer)], rate, without, upwards)

    def decays_as_much(self, unit: TrainingUnit, without: str) -> str:
        """Who decays weights as much or more a step: a paper, or `PRACTICE` other repositories."""
        kind_of_decay, decay = decay_of(unit)
        if not decay:
            return ""
        if kind_of_decay == PRODUCT and decay <= VIT:
            return "ViT is trained with a decay of 0.3 at a rate of 3e-3: as much a step"
        if _is_practice(self._decays[kind_of_decay], decay, without, True):
            return "two or more other repositories take as much off each weight a step"
        return ""


def decay_of(unit: TrainingUnit) -> tuple[str, float]:
    """What one step takes off a weight: rate x decay where the two are decoupled, and under SGD;
    the decay itself where it is added to a gradient that is divided by its own size."""
    decay = unit.number("weight_decay") or 0.0
    if unit.optimizer in DECOUPLED or unit.optimizer in SGD_LIKE:
        return PRODUCT, decay * (unit.number("learning_rate") or 0.0)
    return f"decay of {kind(unit.optimizer)}", decay


def _is_practice(
    known: list[tuple[float, str]], wanted: float, without: str, upwards: bool
) -> bool:
    others = {
        repository
        for value, repository in known
        if repository != without and (value >= wanted if upwards else value <= wanted)
    }
    return len(others) >= PRACTICE
