"""Norms without waiting for the device, pieces of sharded tensors, names of parameters."""

from __future__ import annotations

import gc
import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch

HALVES = (torch.float16, torch.bfloat16)
PLAIN = (torch.Tensor, torch.nn.Parameter)
"""Types of which nothing need be asked: they are no pieces. Subclasses are."""


def parameters_of(optimizer: Any) -> list[Any]:
    return parameters_in(optimizer.param_groups)


def parameters_in(groups: list[dict[str, Any]]) -> list[Any]:
    return [tensor for group in groups for tensor in group["params"]]


def local(tensor: Any) -> Any:
    """This rank's piece of a DTensor, without communication; any other tensor as it is."""
    if type(tensor) in PLAIN or not hasattr(tensor, "to_local"):
        return tensor
    return tensor.to_local()


def copies_of(tensors: list[Any]) -> list[Any]:
    """Copies, where they can be had in one call of the device by it: times one changes no value.
    To be called where no gradient is recorded."""
    if tensors and all(type(tensor) in PLAIN for tensor in tensors):
        return list(torch._foreach_mul(tensors, 1))
    return [tensor.clone() for tensor in tensors]


def subtract(tensors: list[Any], others: list[Any]) -> None:
    """In the memory of the first. To be called where no gradient is recorded."""
    if tensors and all(type(tensor) in PLAIN for tensor in (*tensors, *others)):
        torch._foreach_sub_(tensors, others)
        return
    for tensor, other in zip(tensors, others, strict=True):
        tensor.sub_(other)


def is_sharded(tensor: Any) -> bool:
    return any(not place.is_replicate() for place in getattr(tensor, "placements", ()))


def whole(tensor: Any) -> Any | None:
    """A scalar that may be a DTensor as a plain one; None where each rank has only a part of it."""
    if type(tensor) in PLAIN or not isinstance(tensor, torch.Tensor):
        return tensor
    if is_sharded(tensor):
        return None
    return local(tensor.detach())


def is_here(tensor: Any) -> bool:
    """Whether its numbers can be read without waiting for a device."""
    return type(tensor) in PLAIN and tensor.device.type == "cpu"


@dataclass
class Norms:
    """2-norms of some tensors.

    count   of all, those without a gradient too. parts: positions and their norms, each of one
            device and dtype: numbers, or a tensor where the device would have to be waited for.
    sharded whether they are of this rank's pieces.
    """

    count: int
    parts: list[tuple[list[int], list[float] | Any]] = field(default_factory=list)
    sharded: bool = False

    def extend(self, more: Norms) -> None:
        """Those of further tensors, behind these."""
        self.parts += [([self.count + at for at in places], norms) for places, norms in more.parts]
        self.count += more.count
        self.sharded = self.sharded or more.sharded


def root_of_squares(values: list[float | None]) -> float | None:
    """The whole's norm from its parts' norms; None where there is no part."""
    known = [value for value in values if value is not None]
    largest = max(known, default=0.0)
    if any(value != value for value in known):
        return float("nan")
    if not known or largest in (0.0, float("inf")):
        return largest if known else None
    return float(largest * sum((value / largest) ** 2 for value in known) ** 0.5)


def norms_of(tensors: list[Any]) -> Norms:
    """2-norms of gradients or weights; None stands for a tensor that is not there.

    Halves are summed in float32, so that a norm over 65,504 is no overflow of the measurement.
    """
    found = Norms(len(tensors))
    groups: dict[tuple[Any, Any], tuple[list[int], list[Any]]] = {}
    kind: tuple[Any, Any] | None = None
    positions: list[int] = []
    members: list[Any] = []
    with torch.no_grad():
        for position, tensor in enumerate(tensors):
            if tensor is None:
                continue
            if type(tensor) not in PLAIN and hasattr(tensor, "to_local"):
                found.sharded = found.sharded or is_sharded(tensor)
                tensor = tensor.to_local()
            if tensor.is_sparse:
                tensor = tensor.coalesce().values()
            own = tensor.device, tensor.dtype
            if own != kind:  # nearly all are of the one before
                kind = own
                positions, members = groups.setdefault(own, ([], []))
            positions.append(position)
            members.append(tensor)
        for (_, dtype), (positions, members) in groups.items():
            each = torch._foreach_norm(
                members, 2.0, dtype=torch.float32 if dtype in HALVES else None
            )
            here = is_here(each[0])
            found.parts.append(
                (positions, [norm.item() for norm in each] if here else torch.stack(each))
            )
    return found


def are_zero(norms: Norms) -> bool:
    """Whether all are known to be: False where a device would have to be waited for."""
    return all(isinstance(part, list) and not any(part) for _, part in norms.parts)


WRAPPERS = {"DistributedDataParallel", "DataParallel", "DeepSpeedEngine"}
INNER = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"}


@dataclass
class Model:
    """The modules that hold an optimizer's parameters. names: by the parameter's id."""

    names: dict[int, str] = field(default_factory=dict)
    trainable: dict[int, str] = field(default_factory=dict)
    batch_norm_layers: int = 0
    biases_before_batch_norm: set[int] = field(default_factory=set)
    classes: set[str] = field(default_factory=set)


def find_model(parameters: list[Any]) -> Model:
    """Look through all objects for the modules that hold these parameters. Once an optimizer.

    `issubclass(type(...))`, not `isinstance`: that asks an object for its `__class__`, which wakes
    lazy objects and their warnings.
    """
    modules = [found for found in gc.get_objects() if issubclass(type(found), torch.nn.Module)]
    modules = [one for one in modules if hasattr(one, "_modules")]  # its `__init__` has run
    children = {id(child) for one in modules for child in one._modules.values()}
    wanted = {id(parameter) for parameter in parameters}
    roots: list[tuple[int, int, Any, dict[str, Any]]] = []
    for one in modules:
        if id(one) not in children:
            named = dict(one.named_parameters())
            if any(id(parameter) in wanted for parameter in named.values()):
                roots.append((len(named), len(roots), one, named))
    model = Model()
    homes: dict[int, Any] = {}
    for _, _, root, named in sorted(roots, key=lambda entry: (-entry[0], entry[1])):
        strip = type(root).__name__ in WRAPPERS
        for name, parameter in named.items():
            shown = _without_wrappers(name, strip)
            model.names.setdefault(id(parameter), shown)
            homes.setdefault(id(parameter), root)
            if parameter.requires_grad:
                model.trainable.setdefault(id(parameter), shown)
        _look_at_layers(root, model)
    if len(set(model.names.values())) < len(model.names):
        _tell_apart(model, homes, parameters)
    return model


def _tell_apart(model: Model, homes: dict[int, Any], parameters: list[Any]) -> None:
    """Models beside each other that have a name in common: `Linear.weight`, `Linear#2.weight`.

    Numbered in the order of the optimizer, which is the same on every rank; then the others.
    """
    common = {name for name, count in Counter(model.names.values()).items() if count > 1}
    counted: Counter[str] = Counter()
    labels: dict[int, str] = {}
    for key in [*map(id, parameters), *model.names]:
        if model.names.get(key) in common and id(homes[key]) not in labels:
            kind = type(homes[key]).__name__
            counted[kind] += 1
            labels[id(homes[key])] = f"{kind}#{counted[kind]}" if counted[kind] > 1 else kind
    for names in (model.names, model.trainable):
        for key, name in names.items():
            label = labels.get(id(homes[key]))
            if label is not None:
                names[key] = f"{label}.{name}"


def _without_wrappers(name: str, strip: bool) -> str:
    parts = [part for part in name.split(".") if part not in INNER]
    if strip and len(parts) > 1 and parts[0] == "module":
        del parts[0]
    return ".".join(parts)


def _look_at_layers(root: Any, model: Model) -> None:
    batch_norm = torch.nn.modules.batchnorm._BatchNorm
    for module in root.modules():
        model.classes.add(type(module).__name__)
        model.batch_norm_layers += isinstance(module, batch_norm)
        layers = list(module.children())
        for before, after in itertools.pairwise(layers):
            bias = getattr(before, "bias", None)
            if isinstance(after, batch_norm) and isinstance(bias, torch.nn.Parameter):
                if bias.shape == (after.num_features,):
                    model.biases_before_batch_norm.add(id(bias))


def replicas_of(parameter: Any, world_size: int) -> int:
    """How many ranks hold the same piece of a tensor."""
    mesh = getattr(parameter, "device_mesh", None)
    if mesh is None:
        return world_size
    held: int = max(world_size // max(mesh.size(), 1), 1)
    for dimension, place in enumerate(parameter.placements):
        if place.is_replicate():
            held *= mesh.size(dimension)
    return held
