"""The clips of torch: what each was given, at which threshold, and the norm before it."""

from __future__ import annotations

import functools
import sys
import types
from typing import Any

import torch

from gradaudit_recorder import engines, graphs, state, steps
from gradaudit_recorder.listen import (
    capture_listener,
    captured,
    hidden_by_fullgraph,
    listener,
    replace,
)
from gradaudit_recorder.reading import kept, number
from gradaudit_recorder.state import MOST_CLIPS, ClipCall, Watched
from gradaudit_recorder.tensors import norms_of, parameters_of, whole


def wrap_clips() -> None:
    utils = torch.nn.utils
    for name, what in (
        ("clip_grad_norm_", "norm"),
        ("clip_grad_value_", "value"),
        ("clip_grads_with_norm_", "with_norm"),
    ):
        function = getattr(utils, name, None)
        if function is None:  # older than 2.6
            continue
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
        if state.current.in_clip or hidden_by_fullgraph("a clip"):
            return original(*words, **named)
        # A generator is read once: by us, and a list goes on. An empty one stays a generator, for
        # torch warns of it.
        given = words[0] if words else named.get("parameters")
        if isinstance(given, types.GeneratorType):
            listed = list(given)
            given = listed if listed else (tensor for tensor in listed)
            words, named = _with_parameters(given, words, named)
        elif not isinstance(given, (list, tuple, torch.Tensor)) and given is not None:
            given = list(given)
            words, named = _with_parameters(given, words, named)
        if captured():
            _clip_captured(what, given, words[1:], named)
            call = None
        else:
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


@capture_listener
def _clip_captured(what: str, given: Any, words: Any, named: Any) -> None:
    """It goes into a CUDA graph: its threshold is known where it is a number, its norm is not."""
    call = _call_of(what, given, words, named)
    known = state.current.optimizers.items()
    those = [watched for one, watched in known if not call.given.isdisjoint(watched.ids_in(one))]
    if not graphs.at_each_replay(functools.partial(_replayed, call, those)):
        state.current.hidden.add("a clip")


def _replayed(call: ClipCall, those: list[Watched]) -> None:
    for watched in those:
        watched.events.append("C")
        watched.unknown_before = watched.unknown_before or watched.before_clip is None
        if len(watched.clips) < MOST_CLIPS:
            watched.clips.append(call)


@listener
def _clip_begins(what: str, given: Any, words: Any, named: Any) -> ClipCall:
    call = _call_of(what, given, words, named)
    _look_before_clip(call)
    return call


def _call_of(what: str, given: Any, words: Any, named: Any) -> ClipCall:
    tensors = [given] if isinstance(given, torch.Tensor) else [] if _is_empty(given) else given
    limit_name = "clip_value" if what == "value" else "max_norm"
    limit = words[0] if words else named.get(limit_name)
    second = words[1] if len(words) > 1 else None
    call = ClipCall(
        what,
        _limit(limit),
        None,
        {id(tensor) for tensor in tensors},
        sum(tensor.grad is not None for tensor in tensors),
    )
    if what in ("norm", "fsdp"):
        call.norm_type = float(second if second is not None else named.get("norm_type", 2.0))
    elif what == "with_norm":
        call.norm_type = 2.0
        if not captured():  # a tensor of the graph: read later, it would be another replay's
            total = second if second is not None else named.get("total_norm")
            call.total = kept(whole(total))
    return call


def _limit(limit: Any) -> Any:
    if isinstance(limit, torch.Tensor):
        return None if captured() else kept(limit)
    return number(limit)


def _is_empty(given: Any) -> bool:
    return given is None or isinstance(given, types.GeneratorType)


def _look_before_clip(call: ClipCall) -> None:
    """Each optimizer's norm before its first clip: the clip's own result where it is of all its
    tensors and no others, else one more norm."""
    now = state.current
    scaler = now.scaler()
    touched = False
    for optimizer, watched in now.optimizers.items():
        ids = watched.ids_in(optimizer)
        if call.given.isdisjoint(ids):
            continue
        touched = True
        watched.events.append("C")
        if len(watched.clips) < MOST_CLIPS:
            watched.clips.append(call)
        if scaler is not None and not watched.unscaled:
            call.scale = steps.scale_of(scaler)
        if watched.before_clip is not None or watched.unknown_before or not call.with_gradient:
            continue
        if watched.step < now.skip_steps:
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
    if not touched:
        now.happened("C", None)
        for watched in now.optimizers.values():
            if len(watched.clips) < MOST_CLIPS:
                watched.clips.append(call)


@listener
def _clip_ends(call: ClipCall | None, result: Any) -> None:
    if call is not None and call.what in ("norm", "fsdp"):
        call.total = kept(whole(result))  # a program may change it: all_reduce, div_


def wrap_fully_sharded() -> None:
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

    replace(owner, "clip_grad_norm_", make)
    owner.clip_grad_norm_._gradaudit = True


def wrap_deepspeed() -> None:
    """The clip of its engine; those of its wrappers around an optimizer are seen at the step."""
    engines.wrap_clip(functools.partial(_clip, "norm"))
