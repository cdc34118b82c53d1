"""Whether what a step did to the weights is still there when the next one begins.

A program may put weights back after each step: a state that it restores, an average that it copies
in. Looked at now and then, in a few numbers of some tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from gradaudit_recorder.tensors import (
    Norms,
    are_zero,
    copies_of,
    local,
    norms_of,
    root_of_squares,
)

if TYPE_CHECKING:
    from collections.abc import Callable

EVERY = 11
"""Steps between two looks. No multiple of 2, 3, 5, 7 or 10: a program that restores its weights
once in so many steps (the inner loop of meta-learning) is not met each time."""

MOST_TENSORS = 8
MOST_NUMBERS = 1024


@dataclass
class Look:
    """The first numbers of some tensors before a step and after it."""

    tensors: list[Any]
    before: list[Any]
    after: list[Any] = field(default_factory=list)

    def extend(self, more: Look) -> None:
        """Those of a further piece, as far as there is room."""
        room = MOST_TENSORS - len(self.tensors)
        self.tensors += more.tensors[:room]
        self.before += more.before[:room]


@dataclass
class Compared:
    """Norms of four differences, an item a tensor: by the step, since before the step, since after
    it, and to what the step made, clamped to the range of what is there now."""

    moved: Norms
    left: Norms
    since: Norms
    clamped: Norms

    def counted(self, values_of: Callable[[Norms], list[float | None]]) -> dict[str, Any]:
        """As the record has it, by what gives the norms as numbers."""
        moved, left, since = values_of(self.moved), values_of(self.left), values_of(self.since)
        clamped = values_of(self.clamped)
        those = [i for i, norm in enumerate(moved) if norm]
        whole = root_of_squares([moved[i] for i in those])
        rest = root_of_squares([left[i] for i in those])
        return {
            "looked": len(moved),
            "moved": len(those),
            "kept": sum(since[i] == 0 for i in those),
            "back": sum(left[i] == 0 for i in those),
            "clamped": sum(since[i] != 0 and clamped[i] == 0 for i in those),
            "left": rest / whole if rest is not None and whole else None,
        }


def begin(parameters: list[Any], step: int) -> Look | None:
    """Before a step; None where it is not one that is looked at, or nothing can be."""
    if step % EVERY:
        return None
    usable = [tensor for tensor in parameters if _is_plain(tensor)]
    apart = max(-(-len(usable) // MOST_TENSORS), 1)
    chosen = usable[::apart]
    return Look(chosen, _numbers(chosen)) if chosen else None


def end(look: Look) -> None:
    """After the step."""
    look.after = _numbers(look.tensors)


def compare(look: Look) -> Compared | None:
    """Before the next step; None where a tensor has another size by now."""
    now = _numbers(look.tensors)
    with torch.no_grad():
        for one, other in zip(now, look.before, strict=True):
            if one.shape != other.shape or one.device != other.device or one.dtype != other.dtype:
                return None
        moved = norms_of(torch._foreach_sub(look.after, look.before))
        since = norms_of(torch._foreach_sub(now, look.after))
        if are_zero(since):
            return Compared(moved, moved, since, since)
        clamped = [a.clamp(*torch.aminmax(n)) for n, a in zip(now, look.after, strict=True)]
        left = norms_of(torch._foreach_sub(now, look.before))
        return Compared(moved, left, since, norms_of(torch._foreach_sub(now, clamped)))


def _is_plain(tensor: Any) -> bool:
    """Whether its first numbers can be read without a copy of the whole."""
    if tensor.grad is None:
        return False
    own = local(tensor)
    return (
        type(own) in (torch.Tensor, torch.nn.Parameter)
        and own.is_floating_point()
        and own.element_size() > 1  # torch has no arithmetic in float8
        and own.layout == torch.strided
        and own.is_contiguous()
        and own.numel() > 0
    )


def _numbers(tensors: list[Any]) -> list[Any]:
    with torch.no_grad():
        flat = [local(tensor).flatten() for tensor in tensors]
        return copies_of([one.narrow(0, 0, min(one.numel(), MOST_NUMBERS)) for one in flat])
