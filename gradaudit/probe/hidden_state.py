"""Whether `losses` keeps something between its calls, which a dry run makes twice a step."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradaudit.probe.gradients import Term

TOLERANCE = 1e-3
"""Of a term's value, or a thousandth of that of the whole loss: kernels of a GPU that add in any
order differ by less."""


class Seen(NamedTuple):
    """A term as one call of `losses` returned it."""

    name: str
    value: float
    weight: float
    has_graph: bool


def seen_of(terms: Sequence[Term], values: Sequence[float]) -> list[Seen]:
    """The terms with their values, without weights."""
    return [
        Seen(term.name, value, term.weight, term.has_graph)
        for term, value in zip(terms, values, strict=True)
    ]


def unlike(step: int, measured: Sequence[Seen], trained: Sequence[Seen]) -> str:
    """What to say where the pass that measures and the one that trains, of one batch at the same
    weights and random numbers, had other terms; empty where they had the same. `trained` is empty
    where the step ended."""
    if not trained:
        return ""
    what = _difference(measured, trained)
    if not what:
        return ""
    return (
        f"`losses` keeps something between its calls (a counter, a generator of its own): at step "
        f"{step}, for the same batch, {what}. A dry run calls it more often than your loop does: "
        "what follows it is not as in your training, and terms and clip may be of other losses. "
        "Count in a buffer of the model (`register_buffer`), which is put back"
    )


def _difference(measured: Sequence[Seen], trained: Sequence[Seen]) -> str:
    before, after = ({one.name: one for one in terms} for terms in (measured, trained))
    for name in sorted(before.keys() ^ after.keys()):
        where = "measured" if name in before else "trained"
        return f"term `{name}` was there only in the pass that {where}"
    whole = sum(abs(one.weight * one.value) for one in measured)
    for name, one in before.items():
        other = after[name]
        if abs(one.weight - other.weight) > 1e-9 * max(abs(one.weight), abs(other.weight)):
            return f"term `{name}` had the weights {one.weight:.4g} and {other.weight:.4g}"
        apart = abs(one.value - other.value)
        if apart > TOLERANCE * max(abs(one.value), abs(other.value)):
            if abs(one.weight) * apart > TOLERANCE * TOLERANCE * whole:
                return f"term `{name}` was {one.value:.4g} and {other.value:.4g}"
    return ""
