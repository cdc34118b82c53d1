"""Lines of a dry run's record that say what is trained, and numbers as JSON has them."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import torch

from gradaudit.evidence.record import spelled
from gradaudit.evidence.record_reader import SCHEMA
from gradaudit.probe.coupling import biases_before_batch_norm, norm_layers

if TYPE_CHECKING:
    from gradaudit.probe.protocol import Training


def header_line(about: dict[str, Any], steps: int, device: torch.device) -> dict[str, Any]:
    """The first line. `about`: as in `run_dry`; `steps`: asked for."""
    return {
        "kind": "header", "schema": SCHEMA, "source": "dryrun", "rank": 0, "world_size": 1,
        "pid": os.getpid(), "torch": torch.__version__, "python": platform.python_version(),
        "device": device.type, "program": about.get("program", ""), "steps_asked": steps,
        "skip_steps": 0, "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "configs": about.get("configs", []),
    }  # fmt: skip


_GROUP = (
    "weight_decay", "betas", "eps", "momentum", "nesterov", "fused", "foreach", "amsgrad",
    "dampening", "alpha", "maximize",
)  # fmt: skip


def optimizer_line(training: Training, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimizer, its groups, and which tensors it holds, as the recorder has them."""
    names = {id(p): name for name, p in training.model.named_parameters()}
    held = [p for group in optimizer.param_groups for p in group["params"]]
    inside = {id(p) for p in held}
    groups = []
    for group in optimizer.param_groups:
        own = {name: group[name] for name in _GROUP if name in group}
        groups.append({
            "tensors": len(group["params"]), "elements": sum(p.numel() for p in group["params"]),
            "learning_rate": float(group["lr"]),
            "initial_learning_rate": float(group.get("initial_lr", group["lr"])),
            **{k: list(v) if isinstance(v, tuple) else v for k, v in own.items()},
        })  # fmt: skip
    subtracted = biases_before_batch_norm(training.model)
    dtypes: dict[str, int] = {}
    for parameter in held:
        dtypes[str(parameter.dtype)] = dtypes.get(str(parameter.dtype), 0) + 1
    return {
        "kind": "optimizer", "optimizer": 0, "class": type(optimizer).__name__,
        "module": type(optimizer).__module__, "groups": groups,
        "layers": [names.get(id(p), f"?{at}") for at, p in enumerate(held)],
        "shapes": [list(p.shape) for p in held], "dtypes": dtypes,
        "model_tensors": sum(p.requires_grad for p in training.model.parameters()),
        "not_in_optimizer": [
            name for name, p in training.model.named_parameters()
            if p.requires_grad and id(p) not in inside
        ],
        "batch_norm_layers": len(norm_layers(training.model)),
        "frozen": [at for at, p in enumerate(held) if not p.requires_grad],
        "bias_before_batch_norm": [at for at, p in enumerate(held) if id(p) in subtracted],
        "sharded": False,
    }  # fmt: skip


def to_json(value: Any) -> Any:
    """Tensors as numbers; numbers that JSON has not as words."""
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, torch.Tensor):
        value = value.item() if value.numel() == 1 else value.tolist()
    return spelled(value) if isinstance(value, float) else value
