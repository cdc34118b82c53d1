"""Where torch is listened to. Each wrap calls what it wraps with the same arguments, once.

Functions of torch are met in three ways, each by what the program may already hold:
the hooks that torch offers (optimizer steps); methods of classes (found anew at each call); and for
the clips, which programs import by name, the cell of torch's own wrapper, so that a name that was
bound earlier is reached and the function stays the same object.
"""

from __future__ import annotations

import functools
import sys
import types
import weakref
from typing import Any

import torch
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from gradaudit_recorder import engines, forwards, graphs, schedulers, state, stepping, steps
from gradaudit_recorder.clips import wrap_clips, wrap_deepspeed, wrap_fully_sharded
from gradaudit_recorder.listen import (
    STEP,
    capture_listener,
    captured,
    hidden_by_fullgraph,
    listener,
    replace,
)
from gradaudit_recorder.reading import kept
from gradaudit_recorder.state import MOST_ROOTS, Watched
from gradaudit_recorder.tensors import norms_of, parameters_of, whole

STALE_UNTIL = 20
"""Left-over gradients are looked for up to this step and at every tenth: it costs one more norm."""
MOST_STALE_LOOKS = 8


def install() -> None:
    register_optimizer_step_pre_hook(stepping.before_step)
    register_optimizer_step_post_hook(stepping.after_step)
    _wrap_optimizer(torch.optim.Optimizer)
    wrap_clips()
    _wrap_backward()
    _wrap_scaler(getattr(torch.amp, "GradScaler", None) or torch.cuda.amp.GradScaler)
    _wrap_autocast(torch.amp.autocast_mode.autocast)
    for layer in (torch.nn.modules.batchnorm._BatchNorm, torch.nn.SyncBatchNorm):
        _wrap_batch_norm(layer)
    schedulers.wrap(torch.optim.lr_scheduler)
    graphs.wrap()


# optimizers


def _wrap_optimizer(optimizer_class: Any) -> None:
    def make_init(original: Any) -> Any:
        def made(self: Any, *words: Any, **named: Any) -> None:
            original(self, *words, **named)
            _optimizer_made(self)

        return made

    def make_zero(original: Any) -> Any:
        def zero_grad(self: Any, *words: Any, **named: Any) -> Any:
            result = original(self, *words, **named)
            _zeroed(self, None)
            return result

        return zero_grad

    def make_module_zero(original: Any) -> Any:
        def zero_grad(self: Any, *words: Any, **named: Any) -> Any:
            result = original(self, *words, **named)
            _zeroed(None, self)
            return result

        return zero_grad

    replace(optimizer_class, "__init__", make_init)
    replace(optimizer_class, "zero_grad", make_zero)
    replace(torch.nn.Module, "zero_grad", make_module_zero)


@listener
def _optimizer_made(optimizer: Any) -> None:
    state.current.watch(optimizer)


def _zeroed(optimizer: Any, module: Any) -> None:
    if hidden_by_fullgraph("zero_grad"):
        return
    if captured():
        _zero_captured(optimizer, module)
    else:
        _zeroed_now(optimizer, module)


@capture_listener
def _zero_captured(optimizer: Any, module: Any) -> None:
    graphs.at_each_replay(functools.partial(_forget, _zeroed_of(optimizer, module)))


@listener
def _zeroed_now(optimizer: Any, module: Any) -> None:
    _forget(_zeroed_of(optimizer, module))


def _zeroed_of(optimizer: Any, module: Any) -> list[Watched]:
    now = state.current
    if optimizer is not None:
        return [now.watch(optimizer)]
    ids = {id(parameter) for parameter in module.parameters()}
    return [
        watched
        for other, watched in now.optimizers.items()
        if not ids.isdisjoint(watched.ids_in(other))
    ]


def _forget(those: list[Watched]) -> None:
    for watched in those:
        watched.forget_gradients()
        watched.events.append("Z")


# backward


def _wrap_backward() -> None:
    original = torch.autograd.backward

    @functools.wraps(original)
    def backward(tensors: Any, *words: Any, **named: Any) -> Any:
        now = state.current
        if now.in_backward or hidden_by_fullgraph(
            "a backward"
        ):  # checkpointing calls it from inside
            return original(tensors, *words, **named)
        in_graph = captured()
        before = _capture_begins() if in_graph else _backward_begins(tensors)
        now.in_backward = True
        try:
            result = original(tensors, *words, **named)
        finally:
            now.in_backward = False
        if in_graph:
            _capture_ends(before)
        else:
            _backward_ends(before)
        return result

    torch.autograd.backward = backward


@listener
def _backward_begins(tensors: Any) -> tuple[dict[int, list[Any]], Any]:
    """What each optimizer's gradients are now, where there are several to tell apart; and the root,
    which is asked for here: after a backward the caches of the processor hold nothing of ours."""
    now = state.current
    if now.stepping and not now.closures:
        now.stepping.clear()  # of a step that raised, and was caught
    known = list(now.optimizers.items())
    if not all(watched.step for _, watched in known) or not known:
        # What is imported late is there before the first step of what uses it.
        wrap_fully_sharded()
        wrap_deepspeed()
        engines.wrap_steps(stepping.pieces_begin, stepping.pieces_end)
    for optimizer, watched in known:
        if watched.step and not watched.zeroed:
            _look_for_stale(optimizer, watched)
    forwards.backward_begins(tensors)
    now.root, now.stepped_inside = _root_of(tensors), []
    now.root_scaled = now.scaled > 0
    if now.root_scaled:
        now.scaled -= 1
    return _signatures(), now.root


@capture_listener
def _capture_begins() -> dict[int, list[Any]]:
    return _signatures()


@capture_listener
def _capture_ends(before: dict[int, list[Any]] | None) -> None:
    graphs.at_each_replay(functools.partial(_reached, _reached_since(before), None))


def _signatures() -> dict[int, list[Any]]:
    known = state.current.optimizers
    return {id(one): _signature(one) for one in known} if len(known) > 1 else {}


def _look_for_stale(optimizer: Any, watched: Watched) -> None:
    gradients = [tensor.grad for tensor in parameters_of(optimizer)]
    if not any(gradient is not None for gradient in gradients):
        watched.forget_gradients()  # set to None by hand
    elif watched.step < STALE_UNTIL or (watched.step + 1) % steps.EVERY == 0:
        if len(watched.stale) < MOST_STALE_LOOKS:
            watched.stale.append(norms_of(gradients))


def _signature(optimizer: Any) -> list[Any]:
    """Changes whenever a gradient is set or added to: neither reads a value."""
    found = []
    for tensor in parameters_of(optimizer):
        gradient = tensor.grad
        found.append(None if gradient is None else (id(gradient), gradient._version))
    return found


@listener
def _backward_ends(before: tuple[dict[int, list[Any]], Any] | None) -> None:
    signatures, root = before or (None, None)
    inside = state.current.stepped_inside
    _reached([one for one in _reached_since(signatures) if one not in inside], root)


def _reached_since(before: dict[int, list[Any]] | None) -> list[Watched]:
    """The optimizers that have a gradient which this backward set or added to."""
    return [
        watched
        for optimizer, watched in state.current.optimizers.items()
        if not before
        or id(optimizer) not in before
        or before[id(optimizer)] != _signature(optimizer)
    ]


def _reached(those: list[Watched], root: Any) -> None:
    for watched in those:
        watched.events.append("B")
        watched.backward_calls += 1
        watched.before_clip = watched.before_scale = None
        watched.unknown_before = False
        if watched.has_scaler or state.current.root_scaled:
            watched.unscaled = False
        elif watched.backward_calls == 1:  # no scaler has to do with it
            watched.unscaled = True
        if len(watched.roots) < MOST_ROOTS:
            watched.roots.append(root)


def _root_of(tensors: Any) -> Any:
    if not isinstance(tensors, torch.Tensor):
        if not isinstance(tensors, (list, tuple)) or len(tensors) != 1:
            return None
        tensors = tensors[0]
    if not isinstance(tensors, torch.Tensor) or tensors.numel() != 1:
        return None
    return kept(whole(tensors))


# scaler, autocast, BatchNorm


def _wrap_scaler(scaler_class: Any) -> None:
    def make_scale(original: Any) -> Any:
        def scale(self: Any, *words: Any, **named: Any) -> Any:
            if self._enabled:
                now = state.current
                now.scaler = weakref.ref(self)
                now.scaled += 1
            return original(self, *words, **named)

        return scale

    def make_unscale(original: Any) -> Any:
        def unscale_(self: Any, optimizer: Any) -> Any:
            if self._enabled:  # one of a class whose own `scale` we do not see: FSDP1's
                state.current.scaler = weakref.ref(self)
            result = original(self, optimizer)
            if self._enabled:
                _unscaled(optimizer)
            return result

        return unscale_

    def make_step(original: Any) -> Any:
        def step(self: Any, optimizer: Any, *words: Any, **named: Any) -> Any:
            before = state.current.stepped
            result = original(self, optimizer, *words, **named)
            if self._enabled and state.current.stepped == before:
                _step_skipped(optimizer)
            return result

        return step

    replace(scaler_class, "scale", make_scale)
    replace(scaler_class, "unscale_", make_unscale)
    replace(scaler_class, "step", make_step)


@listener
def _unscaled(optimizer: Any) -> None:
    state.current.happened("U", optimizer)
    if hasattr(optimizer, "param_groups"):
        for other, watched in state.current.optimizers.items():
            if other is optimizer or other.param_groups is optimizer.param_groups:
                watched.unscaled = watched.has_scaler = True


@listener
def _step_skipped(optimizer: Any) -> None:
    """The scaler found inf or nan, and did not call the optimizer. The gradients are there yet.

    Not known where the step of an optimizer is hidden: it may have been called.
    """
    if STEP in state.current.hidden:
        return
    for other, watched in list(state.current.optimizers.items()):
        if other is optimizer or other.param_groups is getattr(optimizer, "param_groups", None):
            if watched.pieces is not None:  # the end of the whole is not here
                return
            steps.measure(other, watched)
            steps.record(other, watched, skipped=True)
            return


def _wrap_autocast(autocast: Any) -> None:
    def make(original: Any) -> Any:
        def enter(self: Any) -> Any:
            if not torch.jit.is_scripting() and getattr(self, "_enabled", False):
                _autocast_entered(str(self.device), str(self.fast_dtype))
            return original(self)

        return enter

    replace(autocast, "__enter__", make)


@listener
def _autocast_entered(device: str, dtype: str) -> None:
    forwards.autocast_entered(device, dtype.removeprefix("torch."))


def _wrap_batch_norm(layer: Any) -> None:
    """A class's method, not a hook on each layer: a pickled model must not name the recorder.

    It has the globals of torch's method, so that TorchScript, which reads the source of the wrapped
    one, finds its names.
    """
    original = layer.forward
    seen = batch_norm_called

    def forward(self, *words, **named):  # type: ignore[no-untyped-def]
        seen(self, words)
        return original(self, *words, **named)

    scope = sys.modules[original.__module__].__dict__
    own = types.FunctionType(forward.__code__, scope, "forward", None, forward.__closure__)
    layer.forward = functools.wraps(original)(own)


def batch_norm_called(layer: Any, words: Any) -> None:
    """Count a call by its mode, batch, ranks that share it, and whether it can be part of a
    gradient. In a compiled graph it is traced away, in a CUDA graph it is replayed:
    not seen."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or captured() or not words:
        return
    try:
        of_batch = layer.training or layer.running_mean is None
        key = (
            "train" if of_batch else "eval",
            int(words[0].shape[0]),
            _synced_over(layer),
            torch.is_grad_enabled(),
        )
    except (AttributeError, IndexError, TypeError):  # no batch: the layer itself says so
        return
    forwards.batch_norm_called(key)


def _synced_over(layer: Any) -> int:
    """How many ranks' samples a layer normalises together, as SyncBatchNorm decides it itself."""
    distributed = torch.distributed
    if not isinstance(layer, torch.nn.SyncBatchNorm) or not layer.training:
        return 1
    if not distributed.is_available() or not distributed.is_initialized():
        return 1
    return int(distributed.get_world_size(layer.process_group or distributed.group.WORLD))
