"""The optimiser of a plan, constructed for real on a few small parameters.

torch is imported here: import this module only where a simulation runs.
"""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import torch

from gradaudit.plan.arguments import arguments_of, number_in
from gradaudit.plan.model import DECOUPLED, DEFAULT, LEARNING_RATE_FREE
from gradaudit.probe.simulated import Fact, Group, Memory, Optimizer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.plan.model import TrainingUnit

CLASSES = {
    "adam": "Adam", "adamw": "AdamW", "amsgrad": "Adam", "sgd": "SGD", "nadam": "NAdam",
    "nadamw": "NAdam", "radam": "RAdam", "rmsprop": "RMSprop", "adagrad": "Adagrad",
    "adadelta": "Adadelta", "adamax": "Adamax", "asgd": "ASGD", "rprop": "Rprop",
    "lbfgs": "LBFGS", "muon": "Muon", "adafactor": "Adafactor", "sparseadam": "SparseAdam",
    "sparse_adam": "SparseAdam",
}  # fmt: skip
"""Canonical family -> class of `torch.optim`."""

FIXED: dict[str, dict[str, object]] = {
    "amsgrad": {"amsgrad": True}, "nadamw": {"decoupled_weight_decay": True},
}  # fmt: skip

HYPERPARAMETERS = {
    "learning_rate": "lr", "betas": "betas", "eps": "eps", "weight_decay": "weight_decay",
    "momentum": "momentum", "nesterov": "nesterov",
}  # fmt: skip
"""Canonical setting -> the name that torch's constructors give it."""

FURTHER = {
    "rmsprop": ("alpha", "centered"), "adadelta": ("rho",), "sgd": ("dampening",),
    "adam": ("amsgrad",), "adamw": ("amsgrad",),
    "adagrad": ("lr_decay", "initial_accumulator_value"), "nadam": ("momentum_decay",),
    "lbfgs": ("max_iter", "history_size"), "muon": ("ns_steps",),
}  # fmt: skip
"""Arguments that are no canonical settings, read beside the optimiser's name."""

_SWITCHES = ("centered", "amsgrad")
_WHOLE = ("max_iter", "history_size", "ns_steps")

_QUANTISED = ("8bit", "bnb", "4bit")
_OWN_ADAFACTOR = ("hf-trainer", "llama-factory", "axolotl", "kohya")

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp64": torch.float64}
"""Precisions under which the weights themselves are not kept in fp32."""

SIDE = 8
"""Side of the square parameter: large enough that no state tensor of its size is a counter."""


class Built(NamedTuple):
    """What was constructed; `optimizer` is None where nothing was."""

    said: Optimizer
    optimizer: torch.optim.Optimizer | None
    groups: tuple[Group, ...]


def build(unit: TrainingUnit) -> Built:
    """Construct the optimiser of a unit with the hyperparameters of its plan.

    What its constructor refuses is kept word for word in `said.refused`; nothing is raised.
    """
    family = unit.optimizer
    reason = _why_not(unit, family)
    if reason or family is None:
        return Built(Optimizer(family or "", reason=reason), None, _groups(unit, family))
    name = CLASSES[family]
    made = getattr(torch.optim, name)
    takes, notes = _arguments(unit, family, made)
    groups = _groups(unit, family)
    keywords = {fact.name: fact.value for fact in takes}
    shown = f"torch.optim.{name}"
    try:
        optimizer = made(_parameters(unit, groups, keywords), **keywords)
    except (ValueError, TypeError) as error:
        said = Optimizer(family, shown, str(error), "", takes, notes)
        return Built(said, None, groups)
    memory = _memory(unit, made, keywords) if family != "lbfgs" else None
    return Built(Optimizer(family, shown, "", "", takes, notes, memory), optimizer, groups)


def _why_not(unit: TrainingUnit, family: str | None) -> str:
    """Why torch alone cannot construct it; empty where it can."""
    if family is None:
        why = unit.unknown.get("optimizer", "")
        return "the config names no optimizer" + (f" ({why})" if why else "")
    raw = unit.settings["optimizer"].raw.lower()
    if any(word in raw for word in _QUANTISED):
        return f"{raw!r} keeps its state in few bits, in bitsandbytes and not in torch"
    if family in LEARNING_RATE_FREE:
        return f"{family!r} is not in torch, and finds its own learning rate as it trains"
    dialect = unit.composed.dialect
    if family == "adafactor" and dialect["name"] in _OWN_ADAFACTOR:
        return (
            f"{dialect['title']} uses the Adafactor of transformers, whose arguments and steps "
            "are not those of torch.optim.Adafactor"
        )
    if family not in CLASSES or not hasattr(torch.optim, CLASSES[family]):
        return f"{family!r} is not in torch {torch.__version__.partition('+')[0]}"
    return ""


def _arguments(
    unit: TrainingUnit, family: str, made: type[torch.optim.Optimizer]
) -> tuple[tuple[Fact, ...], tuple[str, ...]]:
    """The arguments that the plan gives, by torch's names; and what the class has no place for."""
    accepted = inspect.signature(made).parameters
    takes: list[Fact] = []
    notes: list[str] = []
    for setting_name, name in HYPERPARAMETERS.items():
        setting = unit.get(setting_name)
        if setting is None or setting.value is None:
            continue
        value: Any = setting.value
        if name not in accepted:
            if setting.origin != DEFAULT and value:
                notes.append(f"{made.__name__} has no argument for {setting_name} {value}")
            continue
        if isinstance(value, str):
            notes.append(f"{setting_name} {value!r} is no number: left out")
            continue
        if name == "eps" and family == "adafactor":
            notes.append("its eps is a pair: left at torch's default")
            continue
        takes.append(Fact(name, value, setting.origin))
    found = arguments_of(unit, "optimizer") if family in FURTHER else {}
    for name in FURTHER.get(family, ()):
        number = number_in(found, name)
        switch = found.get(name)
        if name in _SWITCHES and isinstance(switch, bool):
            takes.append(Fact(name, switch, "written"))
        elif number is not None and name not in _SWITCHES:
            takes.append(Fact(name, int(number) if name in _WHOLE else number, "written"))
    takes += [Fact(name, value, "computed") for name, value in FIXED.get(family, {}).items()]
    known = {fact.name for fact in takes}
    if "lr" not in known:
        default = accepted["lr"].default
        notes.append(f"learning_rate is not known: constructed with torch's default, {default:g}")
    return tuple(takes), tuple(notes)


def _groups(unit: TrainingUnit, family: str | None) -> tuple[Group, ...]:
    """The groups that the plan names. More may be made in code, which is not seen here."""
    rate, decay = unit.number("learning_rate"), unit.number("weight_decay")
    found = [Group("all parameters", rate, decay)]
    backbone, norm = unit.number("backbone_learning_rate"), unit.number("norm_decay")
    if backbone is not None:
        found.append(Group("backbone", backbone, decay))
    if norm is not None:
        found.append(Group("normalisation layers", rate, norm))
    if len(found) > 1:
        found[0] = found[0]._replace(name="all other parameters")
    return tuple(found)


def _parameters(
    unit: TrainingUnit, groups: tuple[Group, ...], keywords: dict[str, Any]
) -> list[dict[str, Any]]:
    """One square parameter a group, with what sets the group apart."""
    found = []
    for index, group in enumerate(groups):
        own: dict[str, Any] = {"params": [torch.nn.Parameter(torch.ones(SIDE, SIDE))]}
        if index and group.learning_rate is not None:
            own["lr"] = group.learning_rate
        if index and group.weight_decay is not None and "weight_decay" in keywords:
            own["weight_decay"] = group.weight_decay
        found.append(own)
    return found


def _memory(
    unit: TrainingUnit, made: type[torch.optim.Optimizer], keywords: dict[str, Any]
) -> Memory | None:
    """Take two real steps and count the bytes of the state's tensors."""
    precision = unit.get("precision")
    said = precision.value if precision is not None else None
    dtype = _DTYPES.get(said, torch.float32) if isinstance(said, str) else torch.float32
    weight = torch.nn.Parameter(torch.ones(SIDE, SIDE, dtype=dtype))
    factory: Any = made
    if "fused" in inspect.signature(made).parameters:
        keywords = {**keywords, "fused": False}
    optimizer = factory([weight], **keywords)
    try:
        for _ in range(2):
            weight.grad = torch.full_like(weight, 1e-3)
            if made is torch.optim.SparseAdam:
                weight.grad = weight.grad.to_sparse()
            optimizer.step()
    except (RuntimeError, NotImplementedError):  # no CPU kernel in this dtype: nothing is counted
        return None
    state: dict[str, int] = {}
    per_tensor = 0
    for name, value in optimizer.state[weight].items():
        if not isinstance(value, torch.Tensor):
            continue
        if value.numel() == weight.numel():
            state[name] = value.element_size()
        else:
            per_tensor += value.numel() * value.element_size() if value.numel() == 1 else 0
    size = weight.element_size()
    return Memory(str(dtype).removeprefix("torch."), size, size, state, per_tensor)


def is_decoupled(family: str | None) -> bool:
    """Whether decay multiplies the weight by 1 - learning_rate x weight_decay in each step."""
    return family in DECOUPLED or family == "muon"
