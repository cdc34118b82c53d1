"""Settings that a framework computes from others: a learning rate rescaled by the batch, ..."""

from __future__ import annotations

from math import prod, sqrt

from gradaudit.dialects.formula import said
from gradaudit.plan.model import COMPUTED, DEFAULT, Setting
from gradaudit.plan.values import is_usable, without_noise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gradaudit.plan.model import TrainingUnit
    from gradaudit.plan.paths import Reader
    from gradaudit.syntax.scalars import Number


def add_by_formula(unit: TrainingUnit, reader: Reader) -> None:
    """Compute what the dialect has a formula for and no file writes.

    The first of `of` is what is rescaled: without it there is nothing to compute. Where another
    factor is not known, the setting is unknown and its note says which.
    """
    settings = unit.settings
    for _ in range(_ROUNDS):
        before = set(settings)
        for spec in reader.dialect["formulas"]:
            present = settings.get(spec["name"])
            if present is not None and present.origin != DEFAULT:
                continue
            for formula in spec["compute"]:
                if formula["of"][0] in settings and reader.applies(formula):
                    if _apply(unit, spec["name"], formula):
                        break
        if settings.keys() == before:
            return


_ROUNDS = 4
"""What one formula computes is a factor of another, in whatever order a dialect has them."""


def _apply(unit: TrainingUnit, name: str, formula: dict[str, Any]) -> bool:
    """Returns whether the formula decides the setting, with a value or with a reason."""
    base = unit.settings.get(formula["of"][0])
    if base is None or base.number is None:
        return False
    factors = {}
    over = formula.get("over", 1)
    divisors = over if isinstance(over, tuple) else (over,)
    for factor in (*formula["of"], *divisors, *formula.get("root_of", ())):
        if isinstance(factor, str):
            number = unit.number(factor)
            if number is None:
                unit.settings.pop(name, None)
                unit.unknown[name] = f"{said(formula)}; {factor.lstrip('_')} is not known"
                return True
            factors[factor] = number
        else:
            factors[factor] = factor
    divisor = prod(factors[factor] for factor in divisors)
    if not divisor:
        return False
    value: Number = prod(factors[factor] for factor in formula["of"]) / divisor
    if "root_of" in formula:
        value *= sqrt(
            prod(factors[factor] for factor in formula["root_of"]) / formula.get("root_over", 1)
        )
    if not is_usable(value):
        return False
    value = without_noise(value)
    if formula.get("rounded"):
        value = max(round(value), 1)
    if value == int(value) and all(isinstance(factor, int) for factor in factors.values()):
        value = int(value)
    unit.settings[name] = Setting(
        name, value, origin=COMPUTED, key=base.key, place=base.place, tree=base.tree,
        note=said(formula),
    )  # fmt: skip
    unit.unknown.pop(name, None)
    return True
