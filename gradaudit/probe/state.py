"""Take the whole state of a training, and put it back bit by bit."""

from __future__ import annotations

import random
import sys
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


class RandomState(NamedTuple):
    """The generators that a forward pass may draw from."""

    python: Any
    numpy: Any
    cpu: torch.Tensor
    device: torch.Tensor | None


def take_random(device: torch.device) -> RandomState:
    """The state of Python's, numpy's (where it is loaded), torch's and the device's generator."""
    numpy = sys.modules.get("numpy")
    own = None
    if device.type == "cuda":
        own = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        own = torch.mps.get_rng_state()
    return RandomState(
        random.getstate(),
        numpy.random.get_state() if numpy is not None else None,
        torch.get_rng_state(),
        own,
    )


def put_random(state: RandomState, device: torch.device) -> None:
    """Put the generators back."""
    random.setstate(state.python)
    if state.numpy is not None:
        sys.modules["numpy"].random.set_state(state.numpy)
    torch.set_rng_state(state.cpu)
    if state.device is not None:
        if device.type == "cuda":
            torch.cuda.set_rng_state(state.device, device)
        else:
            torch.mps.set_rng_state(state.device)


def seed_all(seed: int) -> None:
    """Seed Python's, numpy's (where it is loaded) and torch's generators."""
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextmanager
def kept_buffers(model: torch.nn.Module) -> Iterator[None]:
    """What happens inside changes no buffer, also where a pass assigns another tensor to its name.
    Costs a copy of them."""
    places = [(module._buffers, dict(module._buffers)) for module in model.modules()]
    kept = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for buffers, before in places:
            buffers.update(before)
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)


@contextmanager
def same_buffers(model: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """What happens inside changes neither buffers (BatchNorm's running statistics), the modes of
    the modules, nor any generator. Costs a copy of the buffers."""
    modes = [(module, module.training) for module in model.modules()]
    generators = take_random(device)
    try:
        with kept_buffers(model):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        put_random(generators, device)


@contextmanager
def same_training(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
) -> Iterator[None]:
    """What happens inside changes nothing: parameters, gradients and optimiser state, too, also of
    parameters that the optimizer holds outside the model.

    Costs a copy of the parameters, of their gradients and of the optimiser's state.
    """
    held = [p for group in optimizer.param_groups for p in group["params"]]
    every = {id(p): p for p in [*model.parameters(), *held]}.values()
    parameters = [(p, p.detach().clone(), p.grad) for p in every]
    gradients = [None if g is None else g.detach().clone() for _, _, g in parameters]
    state = deepcopy(optimizer.state_dict())
    with same_buffers(model, device):
        try:
            yield
        finally:
            with torch.no_grad():
                for (parameter, value, gradient), copy in zip(parameters, gradients, strict=True):
                    parameter.copy_(value)
                    parameter.grad = gradient
                    if gradient is not None and copy is not None:
                        gradient.copy_(copy)
            optimizer.load_state_dict(state)
            _uncast(optimizer, state)


def _uncast(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Put back the types of a state that was loaded. Loading makes every float of it one of its
    weight's type: an optimizer that keeps float32 beside weights in bfloat16 lost its digits."""
    held = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    for at, kept in state.get("state", {}).items():
        own = optimizer.state.get(held[at]) if isinstance(at, int) and at < len(held) else None
        if not isinstance(own, dict) or not isinstance(kept, dict):
            continue  # of an optimizer that loads its state in its own way
        for name, value in kept.items():
            cast = own.get(name)
            if isinstance(value, torch.Tensor) and isinstance(cast, torch.Tensor):
                if cast.dtype != value.dtype:
                    own[name] = value
