"""Numbers from tensors, with one wait for the device.

Every single number that is read from a GPU waits until all that was asked of it before is done; a
step that reads one for each parameter leaves the GPU idle for most of its time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

LEAST = 16 * 2**20
"""Bytes that are taken even where a GPU is nearly full."""

HALVES = (torch.float16, torch.bfloat16)


def wide(tensor: Tensor) -> Tensor:
    """In double precision, on the same device where it has that: MPS has none."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


def numbers_in(tensor: Tensor) -> int:
    """Real numbers in it: two in each complex one."""
    count: int = tensor.numel()
    return 2 * count if tensor.is_complex() else count


def as_real(tensor: Tensor) -> Tensor:
    """Of complex numbers the real and imaginary parts, side by side; what is real as it is."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def numbers_of(scalars: Sequence[Tensor]) -> list[float]:
    """The values of tensors of one element each, whatever their devices and dtypes."""
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for at, scalar in enumerate(scalars):
        groups.setdefault((scalar.device, scalar.dtype), []).append(at)
    found = [0.0] * len(scalars)
    with torch.no_grad():
        for places in groups.values():
            together = torch.stack([scalars[at].detach().reshape(()) for at in places])
            for at, value in zip(places, together.tolist(), strict=True):
                found[at] = value
    return found


def norms_of(tensors: Sequence[Tensor]) -> list[float]:
    """The 2-norm of each. Halves are summed in float32, so that a norm over 65,504 is no
    overflow of the measurement."""
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for at, tensor in enumerate(tensors):
        groups.setdefault((tensor.device, tensor.dtype), []).append(at)
    norms: list[Tensor] = [torch.zeros(())] * len(tensors)
    with torch.no_grad():
        for (_, dtype), places in groups.items():
            members = [tensors[at].detach() for at in places]
            own = torch._foreach_norm(
                members, 2.0, dtype=torch.float32 if dtype in HALVES else None
            )
            for at, norm in zip(places, own, strict=True):
                norms[at] = norm
    return numbers_of(norms)


def layer_norms(parameters: list[Tensor]) -> list[float | None]:
    """The 2-norm of each parameter's gradient; None where it has none."""
    grads = [p.grad for p in parameters]
    present = [g.coalesce().values() if g.is_sparse else g for g in grads if g is not None]
    numbers = iter(norms_of(present))
    return [None if g is None else next(numbers) for g in grads]


def update_ratios(
    before: list[Tensor], after: list[Tensor]
) -> tuple[list[float | None], list[float | None]]:
    """For each parameter the 2-norm of its change over that of its value before, and the latter;
    None where the value was 0."""
    sizes = norms_of(before)
    changes = norms_of([new.detach() - old for old, new in zip(before, after, strict=True)])
    ratios = [change / size if size else None for change, size in zip(changes, sizes, strict=True)]
    return ratios, [*sizes]


def finite_gradients(tensors: Sequence[Tensor]) -> bool:
    """Whether every gradient that is there is finite."""
    grads = [t.grad for t in tensors if t.grad is not None]
    values = [g.coalesce().values() if g.is_sparse else g for g in grads]
    return all(numbers_of([torch.isfinite(value).all() for value in values]))


def memory_for(device: torch.device, wanted: int, share: float = 0.25) -> int:
    """`wanted` bytes, or the share of what is free on a GPU where that is less; `LEAST` anyway, as
    with none every parameter would need a pass of its own."""
    if device.type != "cuda":
        return wanted
    free, _ = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min(wanted, max(int((free + kept) * share), LEAST))
