"""A dialect's formula in words: `base_learning_rate x global_batch / 256`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def said(formula: dict[str, Any]) -> str:
    """The formula, with the dialect's note after it."""
    text = _product(formula["of"], formula.get("over", 1))
    if "root_of" in formula:
        text += f" x sqrt({_product(formula['root_of'], formula.get('root_over', 1))})"
    if formula.get("rounded"):
        text = f"{text}, rounded, at least 1"
    note = formula.get("note")
    return f"{text} ({note})" if note else text


def _product(factors: Any, over: Any) -> str:
    """Factors and divisors as a dialect's file or its compiled table has them."""
    text = " x ".join(_names(factors))
    if isinstance(over, (tuple, list, str)):
        return " / ".join((text, *_names(over)))
    return text if over == 1 else f"{text} / {over:g}"


def _names(factors: Any) -> list[str]:
    every = factors if isinstance(factors, (tuple, list)) else [factors]
    return [str(factor).lstrip("_") for factor in every]
