"""What is measured at fixed weights on many micro-batches: noise, and what a small batch changes.

Every function leaves the training as it found it, bit by bit.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from gradaudit.evidence.gram import FEWEST_BATCHES
from gradaudit.probe.batches import join, size_of
from gradaudit.probe.coupling import batch_norms
from gradaudit.probe.entry import LESS_MEMORY, is_out_of_memory
from gradaudit.probe.fetch import finite_gradients, memory_for, numbers_of
from gradaudit.probe.gradients import (
    KEPT_BYTES,
    dots_of,
    read_terms,
    term_gradients,
    total_gradient,
    weighted_sum,
)
from gradaudit.probe.state import kept_buffers, same_buffers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from gradaudit.probe.protocol import Training

JOINED = 4
"""Micro-batches that make one large batch: enough to see a bias, few enough to fit in memory."""

BIAS_BATCHES = JOINED * FEWEST_BATCHES
"""Micro-batches below which no cosine of small and large ones has an interval."""

NOT_FINITE = "gradients are not finite"


class Frozen(NamedTuple):
    """Inner products of the gradients of M micro-batches at the same weights.

    names   of the T terms. dots: [M T][M T], batch major, weights included; empty where nothing
            could be kept. why: the reason then.
    """

    names: list[str]
    dots: list[list[float]]
    why: str = ""


def kept_batches(elements: int, terms: int, wanted: int, kept_bytes: int = KEPT_BYTES) -> int:
    """How many batches' gradients of all terms fit."""
    return min(wanted, kept_bytes // max(elements * terms * 4, 1))


def frozen_products(
    training: Training,
    batches: Sequence[Any],
    parameters: Sequence[Tensor],
    device: torch.device,
    kept_bytes: int = KEPT_BYTES,
    *,
    scale: float = 1.0,
) -> Frozen:
    """Gradients of every term on each of the batches, in training mode, and their products.

    A batch on which one is not finite (at a loss `scale`) is left out, as the trainer skips it.
    """
    try:
        return _products(training, batches, parameters, device, kept_bytes, scale)
    except (RuntimeError, MemoryError) as error:  # what the steps showed is not lost with it
        if not is_out_of_memory(error):
            raise
        return Frozen([], [], f"out of memory with the gradients of single terms: {LESS_MEMORY}")


def _products(
    training: Training,
    batches: Sequence[Any],
    parameters: Sequence[Tensor],
    device: torch.device,
    kept_bytes: int,
    scale: float,
) -> Frozen:
    names: list[str] = []
    rows: list[Tensor] = []
    elements, fit = sum(p.numel() for p in parameters), 0
    kept_bytes = memory_for(device, kept_bytes)
    with same_buffers(training.model, device):
        for batch in batches:
            terms = read_terms(training.losses(training.model, batch))
            if not names:
                names = [term.name for term in terms]
                fit = kept_batches(elements, len(names), len(batches), kept_bytes)
                if fit < min(FEWEST_BATCHES, len(batches)):
                    return Frozen(names, [], f"{elements:,} elements x {len(names)} terms are too "
                                  f"many to keep for {FEWEST_BATCHES} batches")  # fmt: skip
            if [term.name for term in terms] != names:
                return Frozen(names, [], "the terms change from batch to batch")
            row = term_gradients(terms, parameters, scale)
            if bool(torch.isfinite(row).all()):
                rows.append(row)
            if len(rows) == fit:
                break
    if len(rows) < FEWEST_BATCHES:
        why = f"gradients are finite on {len(rows)} of {len(batches)} batches"
        return Frozen(names, [], f"{why if rows else NOT_FINITE}; it takes {FEWEST_BATCHES}")
    return Frozen(names, dots_of(rows))


class SizeBias(NamedTuple):
    """Total gradients of M micro-batches and of M / `joined` large ones made of the same samples.

    dots     [M + M / joined][M + M / joined], the small ones first.
    members  for each large batch, the small ones in it.
    """

    small: int
    joined: int
    dots: list[list[float]]
    why: str = ""


def size_bias(
    training: Training,
    batches: Sequence[Any],
    parameters: Sequence[Tensor],
    device: torch.device,
    *,
    frozen_norm: bool = False,
    kept_bytes: int = KEPT_BYTES,
    scale: float = 1.0,
) -> SizeBias:
    """Gradients of single micro-batches beside those of `JOINED` of them in one.

    frozen_norm  with BatchNorm on its running statistics, so that only the loss couples samples.
    """
    elements = sum(p.numel() for p in parameters)
    kept_bytes = memory_for(device, kept_bytes)
    count = min(len(batches), kept_bytes // max(elements * 5, 1))
    count -= count % JOINED
    if any(size_of(batch) is None for batch in batches):
        return SizeBias(0, JOINED, [], "batches of this kind cannot be joined")
    if len(batches) < BIAS_BATCHES:
        return SizeBias(0, JOINED, [], f"{len(batches)} batches; it takes {BIAS_BATCHES}")
    if count < BIAS_BATCHES:
        why = f"{elements:,} elements are too many parameters to keep for {BIAS_BATCHES} batches"
        return SizeBias(0, JOINED, [], why)
    with same_buffers(training.model, device):
        if frozen_norm:
            for module in batch_norms(training.model):
                module.eval()
        try:
            rows = [_total(training, batch, parameters, scale) for batch in batches[:count]]
            for start in range(0, count, JOINED):
                large = join(batches[start : start + JOINED])
                rows.append(_total(training, large, parameters, scale))
            finite = all(bool(torch.isfinite(row).all()) for row in rows)
            dots = dots_of(rows) if finite else []
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                why = f"out of memory with {JOINED} micro-batches in one: {LESS_MEMORY}"
                return SizeBias(0, JOINED, [], why)
            return SizeBias(0, JOINED, [], f"batches cannot be joined ({error})")
    return SizeBias(count, JOINED, dots) if finite else SizeBias(0, JOINED, [], NOT_FINITE)


def _total(training: Training, batch: Any, parameters: Sequence[Tensor], scale: float) -> Tensor:
    loss = weighted_sum(read_terms(training.losses(training.model, batch)))
    return total_gradient(loss, parameters, scale)


@torch.no_grad()
def batch_norm_noise(
    training: Training, batches: Sequence[Any], device: torch.device
) -> list[dict[str, Any]]:
    """For each BatchNorm layer, how far a batch's mean strays from the mean of all batches.

    `noise` is the standard deviation of the batch means over that of the activations, the median
    over channels; `values` the numbers behind one mean: batch x positions.
    """
    layers = {id(module) for module in batch_norms(training.model)}
    names = {id(module): name for name, module in training.model.named_modules()}
    means: dict[int, list[Tensor]] = {}
    variances: dict[int, list[Tensor]] = {}
    values: dict[int, int] = {}

    def look(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        x = inputs[0].detach().float()
        dims = [d for d in range(x.dim()) if d != 1]
        means.setdefault(id(module), []).append(x.mean(dims))
        variances.setdefault(id(module), []).append(x.var(dims, unbiased=False))
        values[id(module)] = x.numel() // x.shape[1]

    handles = [
        module.register_forward_pre_hook(look)
        for module in training.model.modules()
        if id(module) in layers
    ]
    try:
        with same_buffers(training.model, device):
            for batch in batches:
                training.losses(training.model, batch)
    finally:
        for handle in handles:
            handle.remove()
    found = []
    for key, own in means.items():
        of = torch.stack(own).cpu()
        if len(of) < 2:
            continue
        size = (torch.stack(variances[key]).cpu().mean(0) + of.var(0, unbiased=False)).sqrt()
        ratio = of.std(0) / size.clamp(min=1e-12)
        found.append({
            "layer": names[key], "noise": float(ratio.median()), "values": values[key],
        })  # fmt: skip
    return found


def rate_test(
    training: Training,
    optimizer: torch.optim.Optimizer,
    batches: Sequence[Any],
    device: torch.device,
    *,
    factors: Sequence[float],
    clip_norm: float | None,
    clip_value: float | None = None,
    scale: float = 1.0,
    micro_batches: int = 1,
    accumulation: int = 1,
) -> list[list[float]]:
    """Losses of the next steps at several multiples of the learning rate, from the same state.

    Clipped as in the trajectory, by value first. The same batches and random numbers for every
    factor. [factor][step]; a run ends where its loss is not finite. Costs one copy of the
    training's state at a time.

    scale          the loss scale of one micro-batch's pass, which stays; a step at which gradients
                   overflow is skipped, as a scaler does. Empty where all were.
    micro_batches  whose gradients a step averages. accumulation: how many of them are the first
                   device's, at most; the rest stand for other devices, as in the trajectory.
    """
    from gradaudit.probe.state import same_training

    rates = [group["lr"] for group in optimizer.param_groups]
    held = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    steps = [
        batches[at : at + micro_batches]
        for at in range(0, len(batches) - micro_batches + 1, micro_batches)
    ]
    found: list[list[float]] = []
    for factor in factors:
        losses: list[float] = []
        taken = 0
        with same_training(training.model, optimizer, device):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            for of_step in steps:
                optimizer.zero_grad()
                losses.append(_backward(training, of_step, accumulation, scale))
                if not isfinite(losses[-1]):
                    break
                if scale != 1 and not _unscaled(held, scale * micro_batches):
                    continue
                if clip_value is not None:
                    torch.nn.utils.clip_grad_value_(held, clip_value)
                if clip_norm is not None:
                    torch.nn.utils.clip_grad_norm_(held, clip_norm)
                optimizer.step()
                taken += 1
        found.append(losses)
        if not taken and len(losses) == len(steps):
            found = []  # every step overflowed at this loss scale: no rate was tried
            break
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    return found


def _backward(training: Training, batches: Sequence[Any], own: int, scale: float) -> float:
    """The passes of a step's micro-batches, as the trajectory makes them, and their mean loss."""
    values = []
    others = batches[own:]
    for group, kept in ((batches[:own], False), (others, bool(others))):
        # of other devices: DDP hands every one the buffers of the first
        with kept_buffers(training.model if kept else nn.Module()):
            for batch in group:
                loss = weighted_sum(read_terms(training.losses(training.model, batch)))
                values.append(loss.detach())
                (loss / len(batches) if scale == 1 else loss.float() * scale).backward()
    return sum(numbers_of(values)) / len(values)


def _unscaled(tensors: Sequence[Tensor], scale: float) -> bool:
    """Divide the gradients by the loss scale; whether they are finite."""
    for tensor in tensors:
        if tensor.grad is not None:
            tensor.grad.div_(scale)
    return finite_gradients(tensors)
