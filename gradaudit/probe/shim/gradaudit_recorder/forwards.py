"""What a step's forwards ran in: the precision of autocast, the batch and mode of BatchNorm.

Several optimizers may step on one forward, and in a GAN each has forwards of its own. So what was
seen is not forgotten at a step but where, after one, the next forward begins: a region of autocast
or a BatchNorm, or the backward of a loss that was made since.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from gradaudit_recorder import state
from gradaudit_recorder.state import MOST_EVENTS, MOST_ROOTS

if TYPE_CHECKING:
    from gradaudit_recorder.state import Watched

_made_so_far = getattr(torch._C._autograd, "_get_sequence_nr", None)
"""The number that the next node of a graph gets in this thread. None: a torch that tells not, where
each backward after a step counts as one of a new forward."""


def autocast_entered(device: str, dtype: str) -> None:
    now = state.current
    if now.stepped_since and not now.in_backward:  # checkpointing enters the same once more
        forget()
    now.autocast.add((device, dtype))


def batch_norm_called(key: tuple[str, int, int, bool]) -> None:
    """key: mode, samples, ranks that share them, whether it can be part of a gradient."""
    now = state.current
    if now.stepped_since and not now.in_backward:
        forget()
    now.batch_norm[key] = now.batch_norm.get(key, 0) + 1


def backward_begins(tensors: Any) -> None:
    """Of a loss that was made before the last step: it shares that step's forward."""
    now = state.current
    if now.stepped_since and not _is_older(tensors, now.nodes_at_step):
        forget()


def _is_older(tensors: Any, nodes: int | None) -> bool:
    root = tensors if isinstance(tensors, torch.Tensor) else next(iter(tensors or ()), None)
    made = getattr(getattr(root, "grad_fn", None), "_sequence_nr", None)
    return made is not None and nodes is not None and made() < nodes


def at_step(watched: Watched) -> None:
    """Nothing that is seen tells the forward of this step from that of its last one: it had one all
    the same, unless a backward was seen to share that."""
    now = state.current
    if watched.forward == now.forward and now.stepped_since and not watched.backward_calls:
        forget()
    watched.forward = now.forward


def stepped_inside_backward(watched: Watched) -> None:
    """From a hook on its gradient. Its backward is that in progress, before any clip there."""
    now = state.current
    if watched in now.stepped_inside:  # a second step in the same one
        return
    now.stepped_inside.append(watched)
    events = watched.events
    if len(events) < MOST_EVENTS:
        events.insert(events.index("C") if "C" in events else len(events) - 1, "B")
    watched.backward_calls += 1
    if len(watched.roots) < MOST_ROOTS:
        watched.roots.append(now.root)


def stepped() -> None:
    now = state.current
    now.stepped_since = True
    now.nodes_at_step = _made_so_far() if _made_so_far is not None else None


def forget() -> None:
    """A forward begins, and is no part of the last step. A region that is still open goes on."""
    now = state.current
    now.forward += 1
    now.stepped_since = False
    now.batch_norm_seen = now.batch_norm_seen or bool(now.batch_norm)
    now.batch_norm = {}
    now.autocast = {region for region in now.autocast if _is_open(*region)}


def _is_open(device: str, dtype: str) -> bool:
    try:
        return bool(
            torch.is_autocast_enabled(device)
            and str(torch.get_autocast_dtype(device)) == f"torch.{dtype}"
        )
    except (AttributeError, TypeError, RuntimeError):  # another torch, or no such device
        return False
