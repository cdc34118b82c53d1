"""DeepSpeed: its engine clips, and ZeRO steps an optimizer of torch with pieces for parameters.

Seen in 0.19 (`deepspeed/runtime/engine.py`, `zero/`, `bf16_optimizer.py`, `fp16/`). What wraps the
optimizer has computed the norm of the whole gradient, over all ranks and without the loss scale,
when it steps it; where that attribute is not there, nothing is said of the norm before the clip.
ZeRO steps the optimizer once for each group (stage 3: for each part of one), with that piece alone:
what its wrapper's own `step` does is one step of the record.
"""

from __future__ import annotations

import gc
import sys
import weakref
from typing import TYPE_CHECKING, Any

from gradaudit_recorder import output, state
from gradaudit_recorder.listen import replace
from gradaudit_recorder.reading import kept
from gradaudit_recorder.state import ClipCall, Watched
from gradaudit_recorder.tensors import parameters_of

if TYPE_CHECKING:
    from collections.abc import Callable

PIECES = ("deepspeed.runtime.zero.", "deepspeed.runtime.bf16_optimizer")
"""Modules of the wrappers whose optimizer holds this rank's flat pieces, one a group."""


STEPPED_IN_PIECES = (
    ("deepspeed.runtime.zero.stage_1_and_2", "DeepSpeedZeroOptimizer"),
    ("deepspeed.runtime.zero.stage3", "DeepSpeedZeroOptimizer_Stage3"),
)
"""Wrappers whose `step` steps the optimizer several times. Of another, only the first piece is
recorded, and the record says so."""


def look_for(optimizer: Any, watched: Watched) -> None:
    """Once, at an optimizer's first step: whether DeepSpeed steps it, and what wraps it then."""
    if watched.engine_sought or "deepspeed.runtime.engine" not in sys.modules:
        return
    watched.engine_sought = True
    engine, wrapper = _found(optimizer)
    watched.in_engine = engine is not None or wrapper is not None
    if wrapper is not None:
        watched.wrapper = weakref.ref(wrapper)
        if type(wrapper).__module__.startswith("deepspeed.runtime.zero."):
            watched.first_piece = id(next(iter(parameters_of(optimizer)), None))
        if type(wrapper).__module__.startswith(PIECES):
            watched.flat_pieces = output.world_size() > 1
    elif engine is not None:  # its own clip, unless it has a wrapper that keeps no norm
        alone = getattr(engine, "optimizer", None) is optimizer
        watched.hidden_clip = not (alone and _clip_is_wrapped())


def _found(optimizer: Any) -> tuple[Any, Any]:
    """The engine that has this optimizer, and what it has wrapped around it; None where there is
    none: the module may be loaded and not used."""
    engine = wrapper = None
    for found in gc.get_objects():
        kind = type(found)
        if not str(kind.__module__).startswith("deepspeed."):
            continue
        own = getattr(found, "__dict__", {})
        if own.get("basic_optimizer") is optimizer:
            engine = found
        elif own.get("optimizer") is optimizer and "_global_grad_norm" in own:
            wrapper = found
    return engine, wrapper


def is_other_piece(optimizer: Any) -> bool:
    """Whether this call is one of the later ones of a step whose end is not seen."""
    watched = state.current.optimizers.get(optimizer)
    if watched is None or watched.first_piece is None or watched.pieces is not None:
        return False
    return all(id(piece) != watched.first_piece for piece in parameters_of(optimizer))


def clip_of(watched: Watched, given: list[Any]) -> ClipCall | None:
    """The clip that the wrapper has just made; None where there is none, or it is not known."""
    wrapper = watched.wrapper() if watched.wrapper is not None else None
    norm = getattr(wrapper, "_global_grad_norm", None)
    limit = getattr(wrapper, "clip_grad", None)
    if wrapper is None or norm is None or limit is None:
        watched.hidden_clip = watched.hidden_clip or wrapper is not None
        return None
    held = {id(tensor) for tensor in given if tensor.grad is not None}
    return ClipCall("deepspeed", float(limit), 2.0, held, len(held), kept(norm))


def clip_reaches(watched: Watched, given: list[Any]) -> None:
    """A further piece, which that clip has scaled too."""
    for call in {id(call): call for call in (*watched.clips, watched.before_clip)}.values():
        if isinstance(call, ClipCall) and call.what == "deepspeed":
            call.given |= {id(tensor) for tensor in given if tensor.grad is not None}
            call.with_gradient = len(call.given)


def wrap_clip(make: Callable[[Any], Any]) -> None:
    """The engine's own clip, of float32 without ZeRO, where that module is loaded."""
    module = sys.modules.get("deepspeed.runtime.engine")
    if hasattr(module, "clip_grad_norm_") and not _clip_is_wrapped():
        replace(module, "clip_grad_norm_", make)
        module.clip_grad_norm_._gradaudit = True  # type: ignore[union-attr]


def wrap_steps(begins: Callable[[Any], Any], ends: Callable[[Any], Any]) -> None:
    """The steps that are made of several, where their modules are loaded. `begins` and `ends` are
    given the optimizer of torch in them."""

    def make(original: Any) -> Any:
        def step(self: Any, *words: Any, **named: Any) -> Any:
            begins(self.optimizer)
            result = original(self, *words, **named)
            ends(self.optimizer)
            return result

        return step

    for module, name in STEPPED_IN_PIECES:
        owner = getattr(sys.modules.get(module), name, None)
        if owner is not None and not hasattr(owner.step, "_gradaudit"):
            replace(owner, "step", make)
            owner.step._gradaudit = True


def _clip_is_wrapped() -> bool:
    module = sys.modules.get("deepspeed.runtime.engine")
    return hasattr(getattr(module, "clip_grad_norm_", None), "_gradaudit")
