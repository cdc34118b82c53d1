"""The optimizer's own line: its class, groups and layers, and what of it is seen in part only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from gradaudit_recorder import output, state
from gradaudit_recorder.reading import number
from gradaudit_recorder.state import Named
from gradaudit_recorder.tensors import (
    find_model,
    is_sharded,
    parameters_in,
    parameters_of,
    replicas_of,
)

if TYPE_CHECKING:
    from gradaudit_recorder.state import Watched

MOST_NAMES = 200


def sizes_of(groups: list[dict[str, Any]]) -> tuple[int, ...]:
    """What changes when a group is added."""
    return tuple(len(group["params"]) for group in groups)


def is_new(optimizer: Any, watched: Watched) -> bool:
    """Whether its line is to be written: at its first step, and when its groups have changed."""
    return watched.groups_seen != sizes_of(watched.groups_in(optimizer))


def describe(optimizer: Any, watched: Watched) -> None:
    """Write what the optimizer is."""
    now = state.current
    groups = watched.groups_in(optimizer)
    parameters = parameters_in(groups)
    output.begin(parameters[0].device.type if parameters else "cpu")
    model = find_model(parameters)
    layers = [model.names.get(id(tensor), f"?{i}") for i, tensor in enumerate(parameters)]
    watched.groups_seen = sizes_of(groups)
    watched.sharded = any(map(is_sharded, parameters))
    line: dict[str, Any] = {
        "kind": "optimizer",
        "optimizer": watched.index,
        "class": type(optimizer).__name__,
        "module": type(optimizer).__module__,
        "groups": [_group(group) for group in groups],
        "layers": layers,
        "shapes": [list(tensor.shape) for tensor in parameters],
        "frozen": [i for i, tensor in enumerate(parameters) if not tensor.requires_grad],
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
    watched.named = Named(layers, watched.flat_pieces)
    line["sharded"] = watched.sharded
    output.write(line)
    now.batch_norm_seen = now.batch_norm_seen or bool(now.batch_norm)
    if model.batch_norm_layers and not now.batch_norm_seen:
        output.note(
            "batch_norm_unseen",
            "the model has BatchNorm layers, and none was called from Python before the first "
            "recorded step: in a compiled model their batch and mode are not seen",
        )


def called(optimizer: Any, watched: Watched) -> str:
    """How a note names it. Asks nothing of a device."""
    name = type(optimizer).__name__
    if watched.index is not None:
        return f"optimizer {watched.index} ({name})"
    parameters = parameters_of(optimizer)
    names = find_model(parameters).names
    known = [names[id(tensor)] for tensor in parameters if id(tensor) in names]
    first = f", of which the first is {known[0]}" if known else ""
    return f"an optimizer ({name}) of {len(parameters)} tensors{first}"


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
    if watched.in_engine:
        watched.sharded = watched.sharded or watched.flat_pieces
        output.note("deepspeed", _of_deepspeed(watched))
    if type(optimizer).__name__ == "ZeroRedundancyOptimizer":
        output.note(
            "zero", "ZeroRedundancyOptimizer: norms are whole, updates are of this rank's share"
        )
    if any(is_sharded(t) for t in parameters_of(optimizer)) and max(line["replicas"]) > 1:
        output.note("hsdp", "pieces are held by several ranks: see `replicas`")


def _of_deepspeed(watched: Watched) -> str:
    if watched.hidden_clip:
        return (
            "DeepSpeed clips inside its engine, which is not seen: norms before the clip are not "
            "known; under ZeRO the tensors are flat pieces without names"
        )
    if watched.flat_pieces:
        only = watched.first_piece is not None and watched.pieces is None
        return (
            "DeepSpeed: the norm before the clip and its threshold are the engine's own, of the "
            "whole; norms of layers and updates are of this rank's flat pieces, which have no names"
        ) + (", and of several groups of parameters only the first is recorded" if only else "")
    return "DeepSpeed: the precision that its engine computes in is not seen"


def _group(group: dict[str, Any]) -> dict[str, Any]:
    tensors = group["params"]
    found: dict[str, Any] = {
        "tensors": len(tensors),
        "elements": sum(tensor.numel() for tensor in tensors),
        "learning_rate": number(group.get("lr")),
        "initial_learning_rate": number(group.get("initial_lr")),
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
