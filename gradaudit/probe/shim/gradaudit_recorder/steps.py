"""From an optimizer step to its line of the record."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch

from gradaudit_recorder import engines, forwards, output, state, stop, undone
from gradaudit_recorder.described import describe, is_new
from gradaudit_recorder.reading import Sent, kept
from gradaudit_recorder.tensors import (
    Norms,
    copies_of,
    local,
    norms_of,
    parameters_in,
    parameters_of,
    subtract,
)

if TYPE_CHECKING:
    from gradaudit_recorder.state import ClipCall, Watched

EVERY = 10
"""Steps between two looks at the size of the update: it needs a copy of all weights."""

FLUSH_SECONDS = 0.5
"""Between two writes."""

FREE_SHARE = 0.5
"""Of a GPU's free memory, which a copy of the weights may take."""

_waiting: list[dict[str, Any]] = []


class _Written:
    """at: when lines were last sent for. sent: those whose numbers are on their way here.
    of_parent: in a forked child, what it must not let go (see `forget`)."""

    at = 0.0
    sent: Sent | None = None
    of_parent: tuple[Any, ...] = ()


_written = _Written()


def scale_of(scaler: Any) -> Any:
    """A GradScaler's scale, as its next update does not change it."""
    scale = getattr(scaler, "_scale", None)
    if scale is None:
        return float(scaler.get_scale())
    return kept(scale)


def measure(optimizer: Any, watched: Watched) -> None:
    """What the optimizer is about to use: norms of all gradients, and a copy of the weights."""
    now = state.current
    engines.look_for(optimizer, watched)
    if watched.step < now.skip_steps:
        return
    parameters = parameters_of(optimizer)
    if watched.measured is None:  # a closure comes here at each evaluation
        watched.compared = undone.compare(watched.look) if watched.look else None
        watched.look = undone.begin(parameters, watched.step + 1)
    _look_at_engine(optimizer, watched, parameters)
    watched.held = _with_gradient(parameters)
    watched.measured = norms_of([tensor.grad for tensor in parameters])
    _look_at_scale(optimizer, watched)
    if watched.weights is None:
        # Once a step: a closure comes here at each evaluation, with weights half way (LBFGS).
        _hold_weights(watched, parameters)


def measure_piece(optimizer: Any, watched: Watched) -> None:
    """The same of a step that is made of several calls: of the parameters of one."""
    engines.look_for(optimizer, watched)
    pieces = watched.pieces
    assert pieces is not None
    pieces.take(optimizer.param_groups)
    if watched.step < state.current.skip_steps:
        return
    parameters = parameters_of(optimizer)
    look = undone.begin(parameters, watched.step + 1)
    norms = norms_of([tensor.grad for tensor in parameters])
    watched.held |= _with_gradient(parameters)
    if watched.measured is None:
        watched.compared = undone.compare(watched.look) if watched.look else None
        watched.look = look
        watched.measured = norms
        _look_at_engine(optimizer, watched, parameters)
        _look_at_scale(optimizer, watched)
    else:
        watched.measured.extend(norms)
        engines.clip_reaches(watched, parameters)
        if watched.look is not None and look is not None:
            watched.look.extend(look)
    _hold_weights(watched, parameters)


def piece_done(optimizer: Any, watched: Watched) -> None:
    """One call of a step in pieces is over. What it changed is taken now: its copies need not wait
    for the others, and ZeRO may move its tensors elsewhere."""
    pieces = watched.pieces
    if pieces is None or watched.step < state.current.skip_steps:
        return
    parameters = parameters_of(optimizer)
    changed, weights = Norms(len(parameters)), Norms(len(parameters))
    if watched.weights is not None:
        changed, weights = _update(parameters, watched.weights)
        watched.weights = None
    if pieces.changed is None or pieces.weights is None:
        pieces.changed, pieces.weights = changed, weights
    else:
        pieces.changed.extend(changed)
        pieces.weights.extend(weights)


def _with_gradient(parameters: list[Any]) -> set[int]:
    return {id(tensor) for tensor in parameters if tensor.grad is not None}


def _look_at_scale(optimizer: Any, watched: Watched) -> None:
    watched.fused_scale = kept(getattr(optimizer, "grad_scale", None))
    watched.has_scaler = watched.has_scaler or watched.fused_scale is not None
    watched.found_inf = kept(getattr(optimizer, "found_inf", None))


def _hold_weights(watched: Watched, parameters: list[Any]) -> None:
    """A copy of the weights, at every tenth step, where there is room."""
    if (watched.step + 1) % EVERY:
        return
    positions = [
        i
        for i, tensor in enumerate(parameters)
        if tensor.grad is not None and tensor.element_size() > 1  # torch computes not in float8
    ]
    held = [local(parameters[i]).detach() for i in positions]
    if held and _room_for(held):
        with torch.no_grad():
            watched.weights = positions, copies_of(held)


def _look_at_engine(optimizer: Any, watched: Watched, parameters: list[Any]) -> None:
    """A clip that DeepSpeed has made in this step, before it calls the optimizer."""
    call = engines.clip_of(watched, parameters) if watched.wrapper is not None else None
    if call is None:
        return
    watched.before_clip = call
    if call.limit:  # 0 is none: the norm is known all the same
        watched.events.append("C")
        watched.clips.append(call)


def _room_for(tensors: list[Any]) -> bool:
    """Whether a copy fits on every GPU that holds some of them; elsewhere it is not asked."""
    needed: dict[Any, int] = {}
    for tensor in tensors:
        if tensor.device.type == "cuda":
            size = tensor.numel() * tensor.element_size()
            needed[tensor.device] = needed.get(tensor.device, 0) + size
    for device, size in needed.items():
        if size > torch.cuda.mem_get_info(device)[0] * FREE_SHARE:
            output.note(
                "update_ratio", "no update ratio: a copy of the weights needs more GPU memory"
            )
            return False
    return True


def record(optimizer: Any, watched: Watched, skipped: bool) -> None:
    """A step is over, or was skipped by the scaler: keep its line, write what waits, maybe end."""
    now = state.current
    now.stepped += 1
    watched.step += 1
    watched.blind = False
    watched.last_of_all = now.stepped
    watched.events.append("K" if skipped else "S")
    if watched.look is not None:
        undone.end(watched.look)
    forwards.at_step(watched)
    if now.in_backward:
        forwards.stepped_inside_backward(watched)
    if watched.step > now.skip_steps:
        if watched.index is None:
            watched.index = next(now.indices)
        if is_new(optimizer, watched):
            flush()  # in order: earlier lines are of the earlier groups
            describe(optimizer, watched)
        _waiting.append(_line(optimizer, watched, skipped))
    begin_next(watched)
    _write_what_is_here()
    stop.end_where_due()


def begin_next(watched: Watched) -> None:
    """A step is over, seen or not: what comes now is of the next one."""
    watched.forget_gradients()
    watched.zeroed = False
    watched.unscaled = True  # by the scaler's step at the latest; the next backward scales again
    watched.closure_calls = 0
    watched.clips, watched.stale = [], []
    watched.held = set()
    watched.measured = watched.weights = watched.fused_scale = watched.found_inf = None
    watched.compared = None
    watched.events.clear()
    forwards.stepped()


def _line(optimizer: Any, watched: Watched, skipped: bool) -> dict[str, Any]:
    """A step's line; tensors in it are read when it is written."""
    now = state.current
    groups = watched.groups_in(optimizer)
    parameters = parameters_in(groups)
    held = watched.held
    scaler = now.scaler()
    norms = watched.measured or Norms(len(parameters))
    hidden_clip = watched.hidden_clip or "a clip" in now.hidden
    line: dict[str, Any] = {
        "kind": "step",
        "optimizer": watched.index,
        "step": watched.step,
        "time": time.perf_counter() - now.clock,
        "events": "".join(watched.events),
        "backward_calls": watched.backward_calls,
        "learning_rate": [kept(group.get("lr")) for group in groups],
        "pre_clip_norm": None,
        "post_clip_norm": None,
        "clips": [_clip(call, held) for call in watched.clips],
        "with_gradient": sum(len(positions) for positions, _ in norms.parts),
        "layer_norms": norms,
        "layer_norms_are": "local" if watched.sharded else "global",
        "batch_norm": [
            {"mode": mode, "batch": batch, "calls": calls, "synced_over": ranks}
            | ({} if with_grad else {"no_grad": True})
            for (mode, batch, ranks, with_grad), calls in sorted(now.batch_norm.items())
        ],
        "backward_roots": watched.roots,
        "skipped": skipped,
        "_before_clip": watched.before_clip,
        "_before_scale": watched.before_scale,
        "_unknown": watched.unknown_before or (hidden_clip and not watched.clips),
        "_fused_scale": watched.fused_scale,
        "_found_inf": watched.found_inf,
        "_named": watched.named,
    }
    if now.autocast:
        line["autocast"] = [{"device": d, "dtype": t} for d, t in sorted(now.autocast)]
    if scaler is not None and (watched.has_scaler or not watched.unscaled):
        line["loss_scale"] = scale_of(scaler)
        line["unscaled"] = watched.unscaled or watched.fused_scale is not None
    if watched.closure_calls:
        line["closure_calls"] = watched.closure_calls
    if watched.zeroed:
        line["stale_gradients"] = 0
    elif watched.stale:
        line["stale_gradients"] = watched.stale
    if watched.compared is not None:
        line["last_update"] = watched.compared
    if watched.weights is not None and not skipped:
        line["update_ratio"], line["weight_norms"] = _update(parameters, watched.weights)
    elif watched.pieces is not None and watched.pieces.changed and watched.pieces.changed.parts:
        line["update_ratio"], line["weight_norms"] = watched.pieces.changed, watched.pieces.weights
    return line


def _clip(call: ClipCall, held: set[int]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "what": call.what,
        "clip_value" if call.what == "value" else "clip_norm": call.limit,
        "norm_type": call.norm_type,
        "pre_clip_norm": call.total,
        "covered": len(held & call.given),
        "of": len(held),
        "with_gradient": call.with_gradient,
    }
    if call.scale is not None:
        found["unscaled"] = False
    return found


def _update(parameters: list[Any], before: tuple[list[int], list[Any]]) -> tuple[Norms, Norms]:
    """Norms of each layer's change and of its weights before. Uses up the copies in `before`: the
    change is taken in their memory."""
    positions, old = before
    copies: list[Any] = [None] * len(parameters)
    for position, tensor in zip(positions, old, strict=True):
        copies[position] = tensor
    with torch.no_grad():
        weights = norms_of(copies)
        subtract(old, [local(parameters[position]).detach() for position in positions])
        return norms_of(copies), weights


def _send() -> None:
    """Ask for the numbers of the lines that wait, and write what is here at once: all of them,
    unless they come from a GPU, which is not waited for."""
    _written.sent = Sent(_waiting)
    _waiting.clear()
    if _written.sent.is_here():
        _write_sent()


def _write_what_is_here() -> None:
    """At most one sending is under way, so that lines are written in order. With one step in two
    seconds, that of this step leaves as that of the last arrives."""
    if _written.sent is not None and _written.sent.is_here():
        _write_sent()
    clock = time.perf_counter()
    if _written.sent is None and clock - _written.at >= FLUSH_SECONDS:
        _written.at = clock
        _send()


def _write_sent() -> None:
    sent, _written.sent = _written.sent, None
    for line in sent.lines() if sent is not None else ():
        output.write(line)
    output.flush()


def flush() -> None:
    """Write all lines that wait. This waits for the devices."""
    _write_sent()
    _send()
    _write_sent()


def forget() -> None:
    """In a forked child: the lines that wait are the parent's.

    They are kept, not freed: to free pinned memory that a copy was made to, torch records an event
    on its GPU, and in a fork of a process that has used CUDA that is an error which ends the child
    (each worker of a DataLoader is one).
    """
    _written.of_parent = (_written.of_parent, list(_waiting), _written.sent)
    _waiting.clear()
    _written.sent = None
