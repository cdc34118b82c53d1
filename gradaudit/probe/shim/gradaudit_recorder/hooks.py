"""Where torch is listened to. Each wrap calls what it wraps with the same arguments, once.

Functions of torch are met in three ways, each by what the program may already hold:
the hooks that torch offers (optimizer steps); methods of classes (found anew at each call); and for
the clips, which programs import by name, the cell of torch's own wrapper, so that a name that was bound
earlier is reached and the function stays the same object.
"""

from __future__ import annotations

import functools
import sys
import time
import types
import weakref
from typing import TYPE_CHECKING, Any

import torch
from gradaudit_recorder import output, state, steps
from gradaudit_recorder.state import MOST_CLIPS, MOST_ROOTS, ClipCall, Watched
from gradaudit_recorder.tensors import norms_of, parameters_of, whole
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

if TYPE_CHECKING:
    from collections.abc import Callable

STALE_UNTIL = 20
"""Left-over gradients are looked for up to this step and at every tenth: it costs one more norm."""
MOST_STALE_LOOKS = 8


def listener(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of ours that torch calls: timed, never compiled, and its faults end only itself."""

    @functools.wraps(function)
    def guarded(*words: Any, **named: Any) -> Any:
        now = state.current
        if not now.recording():
            return None
        began = time.perf_counter()
        try:
            return function(*words, **named)
        except Exception as error:
            now.active = False
            fault = f"the recorder failed in {function.__name__} and stopped listening: {error!r}"
            sys.stderr.write(f"gradaudit: {fault}; the training goes on\n")
            output.note("recorder", fault)
            output.flush()
            return None
        finally:
            now.seconds += time.perf_counter() - began

    # torch's own optimizers use this; torch.compiler.disable would import the compiler now.
    disable = getattr(torch, "_disable_dynamo", None) or torch.compiler.disable
    return disable(guarded)  # type: ignore[no-any-return]


def install() -> None:
    register_optimizer_step_pre_hook(_before_step)
    register_optimizer_step_post_hook(_after_step)
    _wrap_optimizer(torch.optim.Optimizer)
    _wrap_clips()
    _wrap_backward()
    _wrap_scaler(torch.amp.GradScaler)
    _wrap_autocast(torch.amp.autocast_mode.autocast)
    for layer in (torch.nn.modules.batchnorm._BatchNorm, torch.nn.SyncBatchNorm):
        _wrap_batch_norm(layer)
    for scheduler in ("LRScheduler", "ReduceLROnPlateau"):
        _wrap_scheduler(getattr(torch.optim.lr_scheduler, scheduler))
    _wrap_compile()


def _replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    original = getattr(owner, name)
    setattr(owner, name, functools.wraps(original)(make(original)))


# optimizer steps


def _hidden_by_fullgraph() -> bool:
    """In a region that the program compiles as one graph, a call of ours would be an error."""
    return _fullgraph.used and torch.compiler.is_compiling()


class _Fullgraph:
    used = False


_fullgraph = _Fullgraph()


def _wrap_compile() -> None:
    def make(original: Any) -> Any:
        def compile(*words: Any, **named: Any) -> Any:
            if named.get("fullgraph"):
                _fullgraph.used = True
            return original(*words, **named)

        return compile

    _replace(torch, "compile", make)


def _before_step(optimizer: Any, args: Any, kwargs: Any) -> Any:
    return None if _hidden_by_fullgraph() else _step_begins(optimizer, args, kwargs)


def _after_step(optimizer: Any, args: Any, kwargs: Any) -> None:
    if not _hidden_by_fullgraph():
        _step_ends(optimizer)


@listener
def _step_begins(optimizer: Any, args: Any, kwargs: Any) -> Any:
    now = state.current
    if now.stepping and now.stepping[0]() is optimizer:
        now.stepping.clear()  # the step before raised, and was caught
    now.stepping.append(weakref.ref(optimizer))
    if len(now.stepping) > 1:  # an optimizer inside of another: the outer one is recorded
        return None
    watched = now.watch(optimizer)
    place = 1 if len(args) > 1 and callable(args[1]) else None
    closure = args[1] if place else kwargs.get("closure")
    if closure is None:
        steps.measure(optimizer, watched)
        return None

    @functools.wraps(closure)
    def counted(*words: Any, **named: Any) -> Any:
        result = closure(*words, **named)
        _closure_ran(optimizer)
        return result

    if place:
        return (args[0], counted, *args[2:]), kwargs
    return args, {**kwargs, "closure": counted}


@listener
def _closure_ran(optimizer: Any) -> None:
    watched = state.current.watch(optimizer)
    watched.closure_calls += 1
    steps.measure(optimizer, watched)


@listener
def _step_ends(optimizer: Any) -> None:
    now = state.current
    if now.stepping:
        now.stepping.pop()
    if not now.stepping:
        steps.record(optimizer, now.watch(optimizer), skipped=False)


def _wrap_optimizer(optimizer_class: Any) -> None:
    def make_init(original: Any) -> Any:
        def __init__(self: Any, *words: Any, **named: Any) -> None:
            original(self, *words, **named)
            _optimizer_made(self)

        return __init__

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

    _replace(optimizer_class, "__init__", make_init)
    _replace(optimizer_class, "zero_grad", make_zero)
    _replace(torch.nn.Module, "zero_grad", make_module_zero)


@listener
def _optimizer_made(optimizer: Any) -> None:
    state.current.watch(optimizer)


@listener
def _zeroed(optimizer: Any, module: Any) -> None:
    now = state.current
    now.events.append("Z")
    if optimizer is not None:
        now.watch(optimizer).forget_gradients()
        return
    ids = {id(parameter) for parameter in module.parameters()}
    for other, watched in now.optimizers.items():
        if not ids.isdisjoint(ids_of(other, watched)):
            watched.forget_gradients()


def ids_of(optimizer: Any, watched: Watched) -> frozenset[int]:
    """Of an optimizer's parameters; made anew when its groups change."""
    sizes = tuple(len(group["params"]) for group in optimizer.param_groups)
    if watched.ids_of != sizes:
        watched.ids_of = sizes
        watched.ids = frozenset(map(id, parameters_of(optimizer)))
    return watched.ids


# clips


def _wrap_clips() -> None:
    utils = torch.nn.utils
    for name, what in (
        ("clip_grad_norm_", "norm"),
        ("clip_grad_value_", "value"),
        ("clip_grads_with_norm_", "with_norm"),
    ):
        function = getattr(utils, name)
        variables = getattr(function, "__code__", None) and function.__code__.co_freevars
        if variables and "func" in variables:
            cell = function.__closure__[variables.index("func")]
            cell.cell_contents = _clip(what, cell.cell_contents)
        else:  # another torch than 2.13: reach at least those who look the name up later
            wrapped = _clip(what, function)
            for module in (utils, utils.clip_grad):
                if hasattr(module, name):
                    setattr(module, name, wrapped)


def _clip(what: str, original: Any) -> Any:
    @functools.wraps(original)
    def clip(*words: Any, **named: Any) -> Any:
        if _hidden_by_fullgraph() or state.current.in_clip:
            return original(*words, **named)
        # A generator is read once: by us, and a list goes on. An empty one stays a generator, for
        # torch warns of it.
        given = words[0] if words else named.get("parameters")
        if isinstance(given, types.GeneratorType):
            listed = list(given)
            given = listed if listed else (nothing for nothing in ())
            words, named = _with_parameters(given, words, named)
        elif not isinstance(given, (list, tuple, torch.Tensor)) and given is not None:
            given = list(given)
            words, named = _with_parameters(given, words, named)
        call = _clip_begins(what, given, words[1:], named)
        state.current.in_clip = True
        try:
            result = original(*words, **named)
        finally:
            state.current.in_clip = False
        _clip_ends(call, result)
        return result

    return clip


def _with_parameters(given: Any, words: Any, named: Any) -> tuple[Any, Any]:
    return ((given, *words[1:]), named) if words else (words, {**named, "parameters": given})


@listener
def _clip_begins(what: str, given: Any, words: Any, named: Any) -> ClipCall:
    now = state.current
    now.events.append("C")
    tensors = [given] if isinstance(given, torch.Tensor) else [] if _is_empty(given) else given
    limit_name = "clip_value" if what == "value" else "max_norm"
    limit = words[0] if words else named.get(limit_name)
    second = words[1] if len(words) > 1 else None
    call = ClipCall(
        what,
        None if limit is None else float(limit),
        None,
        {id(tensor) for tensor in tensors},
        sum(tensor.grad is not None for tensor in tensors),
    )
    if what in ("norm", "fsdp"):
        call.norm_type = float(second if second is not None else named.get("norm_type", 2.0))
    elif what == "with_norm":
        call.norm_type = 2.0
        call.total = whole(second if second is not None else named.get("total_norm"))
    _look_before_clip(call)
    return call


def _is_empty(given: Any) -> bool:
    return given is None or isinstance(given, types.GeneratorType)


def _look_before_clip(call: ClipCall) -> None:
    """Each optimizer's norm before its first clip: the clip's own result where it is of all its
    tensors and no others, else one more norm."""
    now = state.current
    scaler = now.scaler()
    touched = False
    for optimizer, watched in now.optimizers.items():
        ids = ids_of(optimizer, watched)
        if call.given.isdisjoint(ids):
            continue
        touched = True
        if len(watched.clips) < MOST_CLIPS:
            watched.clips.append(call)
        if scaler is not None and not watched.unscaled:
            call.scale = steps.scale_of(scaler)
        if watched.before_clip is not None or watched.unknown_before or not call.with_gradient:
            continue
        if watched.step < now.skip_steps - 1:
            continue
        watched.before_scale = call.scale
        own = parameters_of(optimizer)
        held = {id(tensor) for tensor in own if tensor.grad is not None}
        # Of exactly these: those of the optimizer with a gradient are all that have one there.
        same = held <= call.given and len(held) == call.with_gradient
        if same and call.norm_type == 2.0 and call.what != "with_norm":
            watched.before_clip = call
        elif call.what == "fsdp":
            watched.unknown_before = True
        else:
            norms = norms_of([tensor.grad for tensor in own])
            if not norms.sharded:
                watched.before_clip = norms
            elif same and call.norm_type == 2.0:
                watched.before_clip = call
            else:
                watched.unknown_before = True
    if not touched and len(now.clips) < MOST_CLIPS:
        now.clips.append(call)


@listener
def _clip_ends(call: ClipCall | None, result: Any) -> None:
    if call is not None and call.what in ("norm", "fsdp"):
        call.total = whole(result)


def _wrap_fully_sharded() -> None:
    """The method of FSDP1, where that module is loaded: it has a clip of its own."""
    module = sys.modules.get("torch.distributed.fsdp.fully_sharded_data_parallel")
    owner = getattr(module, "FullyShardedDataParallel", None)
    if owner is None or hasattr(owner.clip_grad_norm_, "_gradaudit"):
        return

    def make(original: Any) -> Any:
        def clip_grad_norm_(self: Any, *words: Any, **named: Any) -> Any:
            call = _clip_begins("fsdp", list(self.parameters()), words, named)
            result = original(self, *words, **named)
            _clip_ends(call, result)
            return result

        return clip_grad_norm_

    _replace(owner, "clip_grad_norm_", make)
    owner.clip_grad_norm_._gradaudit = True


# backward


def _wrap_backward() -> None:
    original = torch.autograd.backward

    @functools.wraps(original)
    def backward(tensors: Any, *words: Any, **named: Any) -> Any:
        now = state.current
        if now.in_backward:  # checkpointing calls it from inside
            return original(tensors, *words, **named)
        before = _backward_begins()
        now.in_backward = True
        try:
            result = original(tensors, *words, **named)
        finally:
            now.in_backward = False
        _backward_ends(tensors, before)
        return result

    torch.autograd.backward = backward


@listener
def _backward_begins() -> dict[int, list[Any]]:
    """What each optimizer's gradients are now, where there are several to tell apart."""
    now = state.current
    _wrap_fully_sharded()
    several = len(now.optimizers) > 1
    before: dict[int, list[Any]] = {}
    for optimizer, watched in now.optimizers.items():
        if watched.step and not watched.zeroed:
            _look_for_stale(optimizer, watched)
        if several:
            before[id(optimizer)] = _signature(optimizer)
    return before


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
def _backward_ends(tensors: Any, before: dict[int, list[Any]] | None) -> None:
    now = state.current
    now.events.append("B")
    root = _root_of(tensors)
    for optimizer, watched in now.optimizers.items():
        if before and id(optimizer) in before and before[id(optimizer)] == _signature(optimizer):
            continue
        watched.backward_calls += 1
        watched.before_clip = watched.before_scale = None
        watched.unknown_before = watched.unscaled = False
        if len(watched.roots) < MOST_ROOTS:
            watched.roots.append(root)


def _root_of(tensors: Any) -> Any:
    if not isinstance(tensors, torch.Tensor):
        if not isinstance(tensors, (list, tuple)) or len(tensors) != 1:
            return None
        tensors = tensors[0]
    if not isinstance(tensors, torch.Tensor) or tensors.numel() != 1:
        return None
    root = whole(tensors.detach())
    return None if root is None else root.clone()


# scaler, autocast, BatchNorm, scheduler


def _wrap_scaler(scaler_class: Any) -> None:
    def make_scale(original: Any) -> Any:
        def scale(self: Any, *words: Any, **named: Any) -> Any:
            if self._enabled:
                state.current.scaler = weakref.ref(self)
            return original(self, *words, **named)

        return scale

    def make_unscale(original: Any) -> Any:
        def unscale_(self: Any, optimizer: Any) -> Any:
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

    _replace(scaler_class, "scale", make_scale)
    _replace(scaler_class, "unscale_", make_unscale)
    _replace(scaler_class, "step", make_step)


@listener
def _unscaled(optimizer: Any) -> None:
    state.current.events.append("U")
    if hasattr(optimizer, "param_groups"):
        for other, watched in state.current.optimizers.items():
            if other is optimizer or other.param_groups is optimizer.param_groups:
                watched.unscaled = True


@listener
def _step_skipped(optimizer: Any) -> None:
    """The scaler found inf or nan, and did not call the optimizer. Its gradients are still there."""
    for other, watched in list(state.current.optimizers.items()):
        if other is optimizer or other.param_groups is getattr(optimizer, "param_groups", None):
            steps.measure(other, watched)
            steps.record(other, watched, skipped=True)
            return


def _wrap_autocast(autocast: Any) -> None:
    def make(original: Any) -> Any:
        def __enter__(self: Any) -> Any:
            if not torch.jit.is_scripting() and getattr(self, "_enabled", False):
                _autocast_entered(str(self.device), str(self.fast_dtype))
            return original(self)

        return __enter__

    _replace(autocast, "__enter__", make)


@listener
def _autocast_entered(device: str, dtype: str) -> None:
    state.current.autocast.add((device, dtype.removeprefix("torch.")))


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
    """Count a call by its mode and batch. In a compiled graph it is traced away: not seen."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or not words:
        return
    try:
        of_batch = layer.training or layer.running_mean is None
        key = ("train" if of_batch else "eval", int(words[0].shape[0]))
    except (AttributeError, IndexError, TypeError):  # no batch: the layer itself says so
        return
    seen = state.current.batch_norm
    seen[key] = seen.get(key, 0) + 1


def _wrap_scheduler(scheduler: Any) -> None:
    def make(original: Any) -> Any:
        def step(self: Any, *words: Any, **named: Any) -> Any:
            if not getattr(self, "_is_initial", False):  # a scheduler's own first call
                _scheduler_stepped()
            return original(self, *words, **named)

        return step

    _replace(scheduler, "step", make)


@listener
def _scheduler_stepped() -> None:
    state.current.events.append("L")
