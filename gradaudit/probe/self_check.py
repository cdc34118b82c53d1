"""The self-check of a dry run: that the terms' gradients add up to the gradient of the loss."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

import torch

from gradaudit.probe.fetch import numbers_of
from gradaudit.probe.gradients import reduced_precision
from gradaudit.probe.protocol import DryRunError

if TYPE_CHECKING:
    from collections.abc import Collection

    from torch import Tensor

    from gradaudit.probe.gradients import Products, Term

TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-4}
"""Largest relative difference between the sum of the terms' gradients and the loss's. Measured on
an MLP, a CNN and a transformer: 3e-7 to 2e-6 in float32, 1e-15 to 4e-15 in float64."""

HALF_TOLERANCE = 3e-2
"""The same where gradients are rounded to bfloat16 on their way: up to 2 ** -8 of each element at
every layer, at random, so that the difference grows with the root of the depth. Measured
(tests/test_dryrun_precision.py): 2e-3 to 6e-3 for MLPs of 4 to 64 layers and transformers of 2 to
24, 3e-3, 7e-3 and 1.1e-2 for CNNs of 5, 17 and 33 convolutions; in float16 an eighth. By the root
it holds for some two hundred layers, and a forgotten term of 3 % is not seen. That is why a run
under autocast is checked without it."""


def relative(found: Products, extra: int) -> float:
    """The difference between the gradient of a loss and the sum of the terms', over the largest of
    the norms. `extra`: the loss's place among those that were held against the terms."""
    largest = max([found.total_norm, found.extra_norms[extra],
                   *(found.norm(i) for i in range(len(found.gram)))])  # fmt: skip
    return found.difference[extra] / largest if largest else 0.0


def hold(
    step: int,
    terms: list[Term],
    found: Products,
    losses: list[Tensor],
    dtypes: Collection[torch.dtype],
    least: float,
) -> float | None:
    """How far, relatively, the terms are from their sum; None where a gradient is not finite, which
    the step itself will meet.

    losses  the weighted sum and, where the script gives one, its own total.
    dtypes  of the parameters. least: tolerance at least.

    Raises: DryRunError beyond the tolerance of the dtypes, or `least`.
    """
    tolerance = max(least, *(TOLERANCE.get(dtype, HALF_TOLERANCE) for dtype in dtypes))
    off = relative(found, 0)
    if not isfinite(off):
        return None
    worst = max(relative(found, at) for at in range(len(losses)))
    if tolerance < min(worst, HALF_TOLERANCE) and reduced_precision(losses):
        tolerance = HALF_TOLERANCE
    if off > tolerance:
        raise DryRunError(
            f"self-check at step {step}: the terms' gradients add up to another gradient than "
            f"the sum of the terms has (relative difference {off:.1e}); an operation with a "
            "random or wrong backward pass is in the model, and no share can be trusted"
        )
    if len(losses) > 1 and not relative(found, 1) <= tolerance:
        *values, own = numbers_of([*(term.tensor for term in terms), losses[1]])
        said = sum(term.weight * value for term, value in zip(terms, values, strict=True))
        raise DryRunError(
            f"self-check at step {step}: the terms do not add up to `total`: their gradients "
            f"differ by {relative(found, 1):.1%}, their values are {said:.6g} and {own:.6g}. "
            "A term is missing from `losses`, a weight differs, or a term is detached"
        )
    return off
