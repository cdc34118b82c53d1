"""Whether a term of the loss treats the samples of a batch apart: measured, not guessed."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from gradaudit.probe.batches import cut, size_of
from gradaudit.probe.entry import LESS_MEMORY, is_out_of_memory
from gradaudit.probe.gradients import read_terms, values_of
from gradaudit.probe.state import put_random, same_buffers, take_random

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradaudit.probe.gradients import Term
    from gradaudit.probe.protocol import Training

MEAN, SUM, COUPLED, UNKNOWN = "mean", "sum", "coupled", "unknown"
"""A mean over samples; a sum over samples; neither: it compares samples, or takes statistics of the
batch; not seen active on any batch, or a batch that cannot be cut in halves."""

RANDOM = "random"
"""Another value for the same batch with other random numbers (noise that a generator or a diffusion
draws in `losses`): the halves of a batch get other draws than the whole, so nothing can be told."""

TOLERANCE = 1e-3
"""Relative. float32 reductions differ by 1e-6; the weakest coupling met (a variance ratio at batch
64) by 1e-2."""


class Coupling(NamedTuple):
    """How each term, by name, treats the samples of a batch. why: no pass succeeded because memory
    is short, and the mend; else empty."""

    kinds: dict[str, str]
    why: str = ""


def norm_layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The BatchNorm layers, whatever they normalise with."""
    from torch.nn.modules.batchnorm import _BatchNorm

    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def batch_norms(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The BatchNorm layers that normalise with the statistics of the batch."""
    return [
        module for module in norm_layers(model) if module.training or not module.track_running_stats
    ]


def norm_modes(model: torch.nn.Module) -> dict[str, int]:
    """How many BatchNorm layers are in `train` and how many in `eval` mode; none with none."""
    every, active = len(norm_layers(model)), len(batch_norms(model))
    modes = {"train": active, "eval": every - active}
    return {mode: count for mode, count in modes.items() if count}


def biases_before_batch_norm(model: torch.nn.Module) -> set[int]:
    """The ids of biases whose layer is followed by a BatchNorm, which subtracts them again: they
    have no gradient by construction. By the order of the children, as the recorder tells them."""
    from torch.nn.modules.batchnorm import _BatchNorm

    found = set()
    for module in model.modules():
        for before, after in pairwise(module.children()):
            bias = getattr(before, "bias", None)
            if isinstance(after, _BatchNorm) and isinstance(bias, torch.nn.Parameter):
                if bias.shape == (after.num_features,):
                    found.add(id(bias))
    return found


@torch.no_grad()
def couplings(training: Training, batches: Sequence[Any], device: torch.device) -> Coupling:
    """How each term treats the samples of a batch.

    In `eval()`, so that neither BatchNorm nor dropout couples anything, a mean over samples has
    on the whole batch the mean of its values on the halves, and a sum their sum. What has neither
    compares samples with each other. Changes nothing (`same_buffers`).
    """
    seen: dict[str, set[str]] = {}
    why = ""
    with same_buffers(training.model, device):
        training.model.eval()
        for batch in batches:
            size = size_of(batch)
            if size is None or size < 2:
                continue
            half = size // 2
            whole_batch = cut(batch, 0, 2 * half)
            parts = [whole_batch, cut(batch, 0, half), cut(batch, half, 2 * half)]
            values: list[dict[str, float]] = []
            generators = take_random(device)
            try:
                for part in parts:
                    put_random(generators, device)
                    returned = read_terms(training.losses(training.model, part))
                    values.append(_by_name(returned))
                # the generator has moved on: the same samples with other draws
                returned = read_terms(training.losses(training.model, whole_batch))
                values.append(_by_name(returned))
            except (RuntimeError, ValueError, IndexError, MemoryError) as error:
                if is_out_of_memory(error):
                    why = f"out of memory in full precision: {LESS_MEMORY}"
                continue  # else a batch of half the size is none to this model
            for name, whole in values[0].items():
                kind = _kind(whole, values[1].get(name), values[2].get(name))
                again = values[3].get(name, whole)
                if abs(again - whole) > TOLERANCE * max(abs(again), abs(whole)):
                    kind = RANDOM
                seen.setdefault(name, set()).add(kind)
    kinds = {name: _decide(found) for name, found in seen.items()}
    return Coupling(kinds, "" if kinds else why)


def _by_name(terms: list[Term]) -> dict[str, float]:
    return dict(zip([term.name for term in terms], values_of(terms), strict=True))


def _kind(whole: float, first: float | None, second: float | None) -> str:
    if first is None or second is None:
        return UNKNOWN
    scale = max(abs(whole), abs(first), abs(second))
    if not scale < float("inf") or scale < 1e-12:
        return UNKNOWN
    if abs(whole - (first + second) / 2) <= TOLERANCE * scale:
        return MEAN
    if abs(whole - (first + second)) <= TOLERANCE * scale:
        return SUM
    return COUPLED


def _decide(kinds: set[str]) -> str:
    if RANDOM in kinds:
        return RANDOM
    if COUPLED in kinds:
        return COUPLED
    known = kinds - {UNKNOWN}
    return known.pop() if len(known) == 1 else UNKNOWN if not known else COUPLED
