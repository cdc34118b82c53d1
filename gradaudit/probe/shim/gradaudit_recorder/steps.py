"""From an optimizer step to its line of the record."""

from __future__ import annotations

import sys
import time
from typing import Any

import torch

from gradaudit_recorder import output, state, stop, undone
from gradaudit_recorder.state import ClipCall, Watched
from gradaudit_recorder.tensors import (
    Norms,
    find_model,
    is_sharded,
    local,
    norms_of,
    parameters_of,
    replicas_of,
    root_of_squares,
)

EVERY = 10
"""Steps between two looks at the size of the update: it needs a copy of all weights."""

FLUSH_SECONDS = 0.5
"""Between two writes: each waits for the device once."""

MOST_NAMES = 200
MOST_NON_FINITE = 3
FREE_SHARE = 0.5
"""Of a GPU's free memory, which a copy of the weights may take."""

_waiting: list[dict[str, Any]] = []


class _Written:
    at = 0.0


_written = _Written()


def scale_of(scaler: Any) -> Any:
    """A GradScaler's scale, as a tensor that its next update does not change."""
    scale = getattr(scaler, "_scale", None)
    if scale is None:
        return float(scaler.get_scale())
    return scale.detach().clone()


def measure(optimizer: Any, watched: Watched) -> None:
    """What the optimizer is about to use: norms of all gradients, and a copy of the weights."""
    now = state.current
    if watched.step < now.skip_steps:
        return
    parameters = parameters_of(optimizer)
    if watched.measured is None:  # a closure comes here at each evaluation
        watched.compared = undone.compare(watched.look) if watched.look else None
        watched.look = undone.begin(parameters, watched.step + 1)
    watched.measured = norms_of([tensor.grad for tensor in parameters])
    watched.fused_scale = _kept(getattr(optimizer, "grad_scale", None))
    watched.found_inf = _kept(getattr(optimizer, "found_inf", None))
    if (watched.step + 1) % EVERY == 0 and watched.weights is None:
        # Once a step: a closure comes here at each evaluation, with weights half way (LBFGS).
        positions = [i for i, tensor in enumerate(parameters) if tensor.grad is not None]
        held = [local(parameters[i]).detach() for i in positions]
        if held and _room_for(held):
            with torch.no_grad():
                watched.weights = positions, [tensor.clone() for tensor in held]


def _kept(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def _room_for(tensors: list[Any]) -> bool:
    device = tensors[0].device
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    if sum(t.numel() * t.element_size() for t in tensors) <= free * FREE_SHARE:
        return True
    output.note("update_ratio", "no update ratio: a copy of the weights needs more GPU memory")
    return False


def record(optimizer: Any, watched: Watched, skipped: bool) -> None:
    """A step is over, or was skipped by the scaler: keep its line, write what waits, maybe end."""
    now = state.current
    now.stepped += 1
    watched.step += 1
    watched.last_of_all = now.stepped
    watched.events.append("K" if skipped else "S")
    if watched.look is not None:
        undone.end(watched.look)
    if watched.step > now.skip_steps:
        if watched.index is None:
            watched.index = next(now.indices)
        _describe_where_new(optimizer, watched)
        _waiting.append(_line(optimizer, watched, skipped))
    _begin_next(watched)
    clock = time.perf_counter()
    if clock - _written.at >= FLUSH_SECONDS:
        flush()
        _written.at = clock
    stop.end_where_due()


def _begin_next(watched: Watched) -> None:
    now = state.current
    watched.forget_gradients()
    watched.zeroed = False
    watched.unscaled = True  # by the scaler's step at the latest; the next backward scales again
    watched.closure_calls = 0
    watched.clips, watched.stale = [], []
    watched.measured = watched.weights = watched.fused_scale = watched.found_inf = None
    watched.compared = None
    watched.events.clear()
    now.clips = []
    now.batch_norm_seen = now.batch_norm_seen or bool(now.batch_norm)
    now.batch_norm, now.autocast = {}, set()


def _line(optimizer: Any, watched: Watched, skipped: bool) -> dict[str, Any]:
    """A step's line; tensors in it are read when it is written."""
    now = state.current
    parameters = parameters_of(optimizer)
    held = {id(tensor) for tensor in parameters if tensor.grad is not None}
    scaler = now.scaler()
    norms = watched.measured or Norms(len(parameters))
    line: dict[str, Any] = {
        "kind": "step",
        "optimizer": watched.index,
        "step": watched.step,
        "time": time.perf_counter() - now.clock,
        "events": "".join(watched.events),
        "backward_calls": watched.backward_calls,
        "learning_rate": [_kept(group.get("lr")) for group in optimizer.param_groups],
        "pre_clip_norm": None,
        "post_clip_norm": None,
        "clips": [_clip(call, held) for call in (*now.clips, *watched.clips)],
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
        "_unknown": watched.unknown_before or (watched.hidden_clip and not watched.clips),
        "_fused_scale": watched.fused_scale,
        "_found_inf": watched.found_inf,
        "_names": watched,
    }
    if now.autocast:
        line["autocast"] = [{"device": d, "dtype": t} for d, t in sorted(now.autocast)]
    if scaler is not None:
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
    """Norms of each layer's change and of its weights before."""
    positions, old = before
    changed: list[Any] = [None] * len(parameters)
    weights: list[Any] = [None] * len(parameters)
    with torch.no_grad():
        for position, tensor in zip(positions, old, strict=True):
            changed[position] = local(parameters[position]).detach() - tensor
            weights[position] = tensor
        return norms_of(changed), norms_of(weights)


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def flush() -> None:
    """Write the lines that wait: here, and only here, tensors are read."""
    for line in _waiting:
        output.write(_read(line))
    _waiting.clear()
    output.flush()


def forget() -> None:
    """In a forked child: the lines that wait are the parent's."""
    _waiting.clear()


def _read(line: dict[str, Any]) -> dict[str, Any]:
    """The line with numbers in place of tensors, and what only numbers can say."""
    watched: Watched = line.pop("_names")
    fused = _scalar(line.pop("_fused_scale")) or 1.0
    norms = [None if n is None else n / fused for n in line["layer_norms"].values()]
    line["layer_norms"] = norms
    line["post_clip_norm"] = root_of_squares(norms)
    before, scale = line.pop("_before_clip"), _scalar(line.pop("_before_scale")) or 1.0
    unknown = line.pop("_unknown")
    if before is not None:
        total = before.total if isinstance(before, ClipCall) else before
        value = root_of_squares(total.values()) if isinstance(total, Norms) else _scalar(total)
        if watched.flat_pieces and getattr(before, "what", "") != "fsdp":
            value = None  # of this rank's pieces only
        line["pre_clip_norm"] = None if value is None else value / scale
    elif not unknown and line["layer_norms_are"] == "global":
        line["pre_clip_norm"] = line["post_clip_norm"]
    for clip in line["clips"]:
        clip["pre_clip_norm"] = _scalar(clip["pre_clip_norm"])
    line["learning_rate"] = [_number(rate) for rate in line["learning_rate"]]
    line["backward_roots"] = [_scalar(root) for root in line["backward_roots"]]
    if "loss_scale" in line:
        line["loss_scale"] = _scalar(line["loss_scale"])
    if isinstance(line.get("stale_gradients"), list):
        looks = [look.values() for look in line["stale_gradients"]]
        line["stale_gradients"] = min(sum(bool(n) for n in look) for look in looks)
    if _scalar(line.pop("_found_inf")):  # a fused optimizer was called, and did nothing
        line["skipped"] = True
        line["events"] = line["events"][:-1] + "K"
    if "last_update" in line:
        line["last_update"] = line["last_update"].values()
    if "update_ratio" in line:
        weights = line["weight_norms"].values()
        changes = line["update_ratio"].values()
        line["weight_norms"] = weights
        line["update_ratio"] = [
            None if not w or c is None else c / w for c, w in zip(changes, weights, strict=True)
        ]
    bad = [i for i, n in enumerate(norms) if n is not None and not -torch.inf < n < torch.inf]
    if bad:
        names = watched.groups_seen[1] if watched.groups_seen else []
        line["non_finite"] = [names[i] if i < len(names) else f"?{i}" for i in bad]
        del line["non_finite"][MOST_NON_FINITE:]
    return line


def _scalar(value: Any) -> float | None:
    if isinstance(value, torch.Tensor):
        return float(value.item())
    return None if value is None else float(value)


# the optimizer's own line


def _describe_where_new(optimizer: Any, watched: Watched) -> None:
    """Write what the optimizer is, at its first step and when its groups have changed."""
    sizes = tuple(len(group["params"]) for group in optimizer.param_groups)
    if watched.groups_seen and watched.groups_seen[0] == sizes:
        return
    now = state.current
    parameters = parameters_of(optimizer)
    flush()  # in order: earlier lines are of the earlier groups
    output.begin(parameters[0].device.type if parameters else "cpu")
    model = find_model(parameters)
    layers = [model.names.get(id(tensor), f"?{i}") for i, tensor in enumerate(parameters)]
    watched.groups_seen = (sizes, layers)
    watched.sharded = any(map(is_sharded, parameters))
    line: dict[str, Any] = {
        "kind": "optimizer",
        "optimizer": watched.index,
        "class": type(optimizer).__name__,
        "module": type(optimizer).__module__,
        "groups": [_group(group) for group in optimizer.param_groups],
        "layers": layers,
        "shapes": [list(tensor.shape) for tensor in parameters],
        "dtypes": _counted([str(tensor.dtype) for tensor in parameters]),
    }
    apart = [o for o in now.optimizers if o.param_groups is not optimizer.param_groups]
    others = {id(tensor) for other in apart for tensor in parameters_of(other)}
    line["shared_tensors"] = sum(id(tensor) in others for tensor in parameters)
    if model.trainable:
        everywhere = {id(t) for other in now.optimizers for t in parameters_of(other)}
        outside = [name for key, name in model.trainable.items() if key not in everywhere]
        biases = [i for i, t in enumerate(parameters) if id(t) in model.biases_before_batch_norm]
        line |= {
            "model_tensors": len(model.trainable),
            "not_in_optimizer": outside[:MOST_NAMES],
            "batch_norm_layers": model.batch_norm_layers,
            "bias_before_batch_norm": biases,
        }
    if watched.sharded:
        world = output.world_size()
        line["replicas"] = [replicas_of(tensor, world) for tensor in parameters]
    _note_what_is_partial(optimizer, watched, model.classes, line)
    line["sharded"] = watched.sharded
    output.write(line)
    now.batch_norm_seen = now.batch_norm_seen or bool(now.batch_norm)
    if model.batch_norm_layers and not now.batch_norm_seen:
        output.note(
            "batch_norm_unseen",
            "the model has BatchNorm layers, and none was called from Python before the first "
            "recorded step: in a compiled model their batch and mode are not seen",
        )


def _note_what_is_partial(
    optimizer: Any, watched: Watched, classes: set[str], line: dict[str, Any]
) -> None:
    if "FullyShardedDataParallel" in classes:
        watched.sharded = watched.flat_pieces = output.world_size() > 1
        line.pop("replicas", None)
        output.note(
            "fsdp1",
            "FSDP1: norms of layers are of this rank's flat pieces; joined they are the whole's "
            "only where no two ranks hold the same piece (FULL_SHARD). The norm before its clip "
            "is the whole's",
        )
    if "DeepSpeedEngine" in classes or "deepspeed.runtime.engine" in sys.modules:
        watched.hidden_clip = True
        output.note(
            "deepspeed",
            "DeepSpeed clips inside its engine, which is not seen: norms before the clip are not "
            "known; under ZeRO the tensors are flat pieces without names",
        )
    if type(optimizer).__name__ == "ZeroRedundancyOptimizer":
        output.note(
            "zero", "ZeroRedundancyOptimizer: norms are whole, updates are of this rank's share"
        )
    if any(is_sharded(t) for t in parameters_of(optimizer)) and max(line["replicas"]) > 1:
        output.note("hsdp", "pieces are held by several ranks: see `replicas`")


def _group(group: dict[str, Any]) -> dict[str, Any]:
    tensors = group["params"]
    found: dict[str, Any] = {
        "tensors": len(tensors),
        "elements": sum(tensor.numel() for tensor in tensors),
        "learning_rate": _number(group.get("lr")),
        "initial_learning_rate": _number(group.get("initial_lr")),
    }
    for name, value in group.items():
        if name in ("params", "lr", "initial_lr") or name in found:
            continue
        if isinstance(value, torch.Tensor) and value.numel() == 1:
            value = value.item()
        if isinstance(value, (tuple, list)):
            if all(isinstance(item, (int, float)) for item in value) and len(value) <= 8:
                found[str(name)] = list(value)
        elif value is None or isinstance(value, (bool, int, float, str)):
            found[str(name)] = value
    return found


def _counted(words: list[str]) -> dict[str, int]:
    return {word: words.count(word) for word in dict.fromkeys(words)}
