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


def _product(factors: tuple[Any, ...], over: float | tuple[Any, ...]) -> str:
    text = " x ".join(str(factor).lstrip("_") for factor in factors)
    if isinstance(over, tuple):
        return " / ".join((text, *(str(factor).lstrip("_") for factor in over)))
    return text if over == 1 else f"{text} / {over:g}"
